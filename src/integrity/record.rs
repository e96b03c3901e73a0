//! What is known about a VM: for every check the newest failure and the newest pass, and what was done to it. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::answer;
use super::changed::Changes;
use super::entry::Check;
use super::learning::Learning;
use super::moment::Moment;

/// The least between two updates of a finding that are not dated by what happened. Not a millisecond: each time that
/// something is put on it, as an answer, moves the time that stands there by one, and the next has to be later.
pub(super) const STEP: TimeDelta = TimeDelta::milliseconds(10);

/// What is known about one check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The newest failure.
    pub failed: Option<Moment>,
    /// The newest pass.
    pub passed: Option<Moment>,
    /// The pass that ended a failure: it has to close the finding, others only make sure.
    #[serde(rename = "ended", default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<Moment>,
    /// The entry that told of the newest failure, by its moment, until its finding is delivered. Nobody waits for that
    /// finding, which may never come: whoever delivers it looks whether the check has passed since.
    #[serde(rename = "underway", default, skip_serializing_if = "Option::is_none")]
    pub untold_entry: Option<Moment>,
    /// When the entry of the newest pass was accepted: a failure that was accepted before is no old news, only late
    /// to be handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<DateTime<Utc>>,
}

impl Standing {
    /// Whether a pass at this moment is the first after the newest failure. Asked again, it answers the same. A failure
    /// that came to be known after a later pass was never told, and one whose finding is not delivered is not told yet.
    pub(super) fn ends(&mut self, moment: Moment) -> bool {
        let Some(failed) = self.failed.filter(|failed| *failed < moment) else { return false };
        let before = |end: Option<Moment>| end.is_none_or(|end| end < failed);
        if before(self.ended_by) && before(self.passed) {
            self.ended_by = Some(moment);
        }
        self.ended_by == Some(moment) && self.untold_entry.is_none()
    }

    /// Whether a failure is to be told: no newer one is known, and the check had not passed since when word of it
    /// came in. Asked again, it answers the same: the first attempt may have died before its finding was delivered.
    pub(super) fn is_news(&self, failed: Moment, accepted: DateTime<Utc>) -> bool {
        if self.untold_entry == Some(failed) {
            return true;
        }
        let passed_since = self.passed.is_some_and(|passed| passed > failed);
        let came_before = self.heard.is_some_and(|heard| accepted <= heard);
        self.failed <= Some(failed) && (!passed_since || came_before)
    }
}

/// What is known about a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// By check.
    pub checks: BTreeMap<Check, Standing>,
    /// Whether an option is on, and since when, by its name.
    pub options: BTreeMap<String, (bool, DateTime<Utc>)>,
    /// Who had the baseline learned again last, and when.
    pub relearned: Option<(String, DateTime<Utc>)>,
    /// The newest boot of which anything was seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_boot: Option<Moment>,
    /// When it was last said to have stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shutdown: Option<Moment>,
    /// Until when the boot that did not complete last was waited for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waited_until: Option<DateTime<Utc>>,
    /// The boot that we stopped or suspended last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<Halted>,
    /// What it should have learned after we told it to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning: Option<Learning>,
    /// What was asked of it, of which options and relearning above are the sum.
    #[serde(skip_serializing_if = "Changes::is_empty")]
    pub changes: Changes,
}

/// What an entry changes in Security Command Center.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FindingStep {
    /// Raise the finding about the entry's own check.
    Raise(Check),
    /// Close the finding about this check.
    Close {
        /// The check.
        check: Check,
        /// Whether this is what ends a failure that was told; else it only makes sure.
        told: bool,
    },
}

/// A boot that we stopped or suspended, or asked for it to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// What was done.
    pub action: answer::Action,
    /// The check that failed.
    pub check: Check,
    /// The report of it.
    pub report: Moment,
    /// When it was asked for: by Compute Engine's clock where it says so.
    pub time: DateTime<Utc>,
    /// Whether Compute Engine took the call. Until that is known, nobody can say that the boot was ended.
    pub taken: bool,
}

impl Halted {
    pub(super) fn end(&self) -> Moment {
        Moment { time: self.time, boot: self.report.boot }
    }
}

impl Record {
    /// The newest entry about a check.
    pub fn newest(&self, check: Check) -> Option<Moment> {
        let standing = self.checks.get(&check)?;
        standing.failed.max(standing.passed)
    }

    /// When the check passed last.
    pub fn passed(&self, check: Check) -> Option<DateTime<Utc>> {
        Some(self.checks.get(&check)?.passed?.time)
    }

    /// Whether the check has passed since this moment.
    pub fn passed_since(&self, check: Check, moment: Moment) -> Option<Moment> {
        self.checks.get(&check)?.passed.filter(|passed| *passed > moment)
    }

    /// Ends a failure that may be dated later than what ends it.
    pub(super) fn pass_after_all(&mut self, check: Check, moment: Moment) -> Option<FindingStep> {
        let failed = self.checks.get(&check)?.failed?;
        let time = moment.time.max(failed.time + STEP);
        self.pass(check, Moment { time, ..moment })
    }

    /// `accepted`: when the entry that says so was.
    pub(super) fn fail(&mut self, check: Check, moment: Moment, accepted: DateTime<Utc>) -> Option<FindingStep> {
        let standing = self.checks.entry(check).or_default();
        let news = standing.is_news(moment, accepted);
        standing.failed = standing.failed.max(Some(moment));
        if news {
            standing.untold_entry = Some(moment);
        }
        news.then_some(FindingStep::Raise(check))
    }

    /// Notes when word came of the passes that were not known before.
    pub(super) fn hear(&mut self, known: Option<&Self>, accepted: DateTime<Utc>) {
        for (check, standing) in &mut self.checks {
            let before = known.and_then(|known| known.checks.get(check)).and_then(|standing| standing.passed);
            if standing.passed != before {
                standing.heard = Some(accepted);
            }
        }
    }

    /// Whether the finding that this entry tells of a check is not delivered yet.
    pub(super) fn is_untold(&self, check: Check, entry: Moment) -> bool {
        self.checks.get(&check).is_some_and(|standing| standing.untold_entry == Some(entry))
    }

    /// The finding that this entry told of a check is delivered. Answers when the check has passed since: then the
    /// entry stays untold until the finding is closed too, so that both are repeated together.
    pub(crate) fn mark_told_unless_passed(&mut self, check: Check, entry: Moment) -> Option<DateTime<Utc>> {
        let standing = self.checks.get(&check).filter(|standing| standing.untold_entry == Some(entry))?;
        let passed = standing.passed.filter(|passed| Some(*passed) > standing.failed);
        if passed.is_none() {
            self.mark_told(check, entry);
        }
        Some(passed?.time)
    }

    /// The finding that this entry told of a check is delivered, and closed where it was to be.
    pub(crate) fn mark_told(&mut self, check: Check, entry: Moment) {
        if let Some(standing) = self.checks.get_mut(&check).filter(|standing| standing.untold_entry == Some(entry)) {
            standing.untold_entry = None;
        }
    }

    /// The time of the failure whose finding is not delivered yet, although the check has passed since.
    pub(crate) fn overtaken_failure(&self, check: Check) -> Option<DateTime<Utc>> {
        let standing = self.checks.get(&check).filter(|standing| standing.untold_entry.is_some())?;
        Some(standing.failed.filter(|failed| Some(*failed) < standing.passed)?.time)
    }

    /// Closes the failure that is known, if there is one.
    pub(super) fn pass(&mut self, check: Check, moment: Moment) -> Option<FindingStep> {
        let known = self.checks.get(&check).is_some_and(|standing| standing.failed.is_some());
        self.pass_first_seen(check, moment).filter(|_| known)
    }

    /// Closes even without a failure that is known: of a VM that is seen for the first time, it may have been lost.
    pub(super) fn pass_first_seen(&mut self, check: Check, moment: Moment) -> Option<FindingStep> {
        let standing = self.checks.entry(check).or_default();
        let old = standing.passed.is_some_and(|passed| passed > moment);
        let told = standing.ends(moment);
        standing.passed = standing.passed.max(Some(moment));
        let open = standing.failed.is_none_or(|failed| failed < moment);
        (!old && open).then_some(FindingStep::Close { check, told })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_standing_is_stored_by_the_names_it_always_had() {
        let moment = |second| Moment { time: DateTime::from_timestamp(second, 0).unwrap(), boot: None };
        let standing = Standing {
            failed: Some(moment(1)),
            passed: Some(moment(2)),
            ended_by: Some(moment(3)),
            untold_entry: Some(moment(4)),
            heard: Some(moment(5).time),
        };
        let stored = serde_json::to_value(standing).unwrap();
        let names: BTreeSet<_> = stored.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(names, BTreeSet::from(["ended", "failed", "heard", "passed", "underway"]));
        assert_eq!(serde_json::from_value::<Standing>(stored).unwrap(), standing);
    }
}
