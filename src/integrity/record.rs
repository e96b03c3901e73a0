//! What is known about a VM: for every check the newest failure and the newest pass, and what was done to it. Pure.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::answer;
use super::changed::Changes;
use super::entry::Check;
use super::learning::Learning;
use super::moment::Moment;

/// What is known about one check.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The newest failure.
    pub failed: Option<Moment>,
    /// The newest pass.
    pub passed: Option<Moment>,
    /// The pass that ended a failure: it has to close the finding, others only make sure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Moment>,
}

impl Standing {
    /// Whether a pass at this moment is the first after the newest failure. Asked again, it answers the same. A failure
    /// that came to be known after a later pass was never told.
    pub(super) fn ends(&mut self, moment: Moment) -> bool {
        let Some(failed) = self.failed.filter(|failed| *failed < moment) else { return false };
        let before = |end: Option<Moment>| end.is_none_or(|end| end < failed);
        if before(self.ended) && before(self.passed) {
            self.ended = Some(moment);
        }
        self.ended == Some(moment)
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
pub enum Action {
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
    /// Whether Compute Engine took the call. Until that is known, nobody can say that the boot was ended. The version
    /// before kept only what was taken.
    #[serde(default = "yes")]
    pub taken: bool,
}

fn yes() -> bool {
    true
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
    pub(super) fn pass_after_all(&mut self, check: Check, moment: Moment) -> Option<Action> {
        let failed = self.checks.get(&check)?.failed?;
        let time = moment.time.max(failed.time + TimeDelta::milliseconds(1));
        self.pass(check, Moment { time, ..moment }, false)
    }

    pub(super) fn fail(&mut self, check: Check, moment: Moment) -> Option<Action> {
        let standing = self.checks.entry(check).or_default();
        let old = standing.passed.max(standing.failed).is_some_and(|newest| newest > moment);
        standing.failed = standing.failed.max(Some(moment));
        // The same moment again is raised again: the first attempt may have died before it was delivered.
        (!old).then_some(Action::Raise(check))
    }

    /// `anyway`: close even without a failure that is known, as what was known may have been lost.
    pub(super) fn pass(&mut self, check: Check, moment: Moment, anyway: bool) -> Option<Action> {
        let standing = self.checks.entry(check).or_default();
        let old = standing.passed.is_some_and(|passed| passed > moment);
        let told = standing.ends(moment);
        standing.passed = standing.passed.max(Some(moment));
        let open = standing.failed.map_or(anyway, |failed| failed < moment);
        (!old && open).then_some(Action::Close { check, told })
    }
}
