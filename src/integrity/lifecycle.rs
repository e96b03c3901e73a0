//! One finding a VM and check: what an entry changes, given what was seen before. Pure.
//!
//! Entries come in any order and more than once. For every check the newest failure and the newest pass are kept; an
//! entry older than what decides is news no more. Moments are ordered by the entry's time, then by its boot counter.
//! What audit entries say adds up instead, in [`super::changes`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::changes::Changes;
use super::entry::{BootReport, Check, Entry, Fact};
use super::halts::Halted;
use super::learning::{Learned, Learning};
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

/// What to do about the timer that watches for the late report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Leave it.
    Leave,
    /// Watch for the late report of this boot.
    Start,
    /// The boot went on.
    Stop,
}

/// What follows from an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// What is known now.
    pub record: Record,
    /// What to change.
    pub actions: Vec<Action>,
    /// The timer.
    pub timer: Timer,
}

/// What follows from `entry`, given what is known. `None`: nothing was ever seen of this VM.
pub fn step(known: Option<&Record>, entry: &Entry) -> Step {
    let mut record = known.cloned().unwrap_or_default();
    let mut actions = Vec::new();
    let moment = entry.moment();
    record.see(entry, moment);
    record.see_shutdown(entry);
    let mut timer = Timer::Leave;
    let fresh = known.is_none();
    let failed = match &entry.fact {
        _ if entry.audit().is_some() => {
            actions.extend(record.asked(entry, fresh));
            None
        }
        Fact::Launch(report) if report.passed.is_none() && !report.alarming() => None,
        // What says that it was stopped may have come after its time was up.
        Fact::BootIncomplete { .. } if record.was_ended(moment) => None,
        _ => entry.failed(),
    };
    if let (Some(check), Some(failed)) = (entry.check(), failed) {
        actions.extend(if failed { record.fail(check, moment) } else { record.pass(check, moment, fresh) });
    }
    match &entry.fact {
        Fact::LateBoot(report) => {
            timer = Timer::Stop;
            // The boot went on, whatever was measured.
            actions.extend(record.pass(Check::BootIncomplete, moment, false));
            actions.extend(record.learned(report, moment));
        }
        Fact::EarlyBoot(report)
            if !report.passed() && record.newest(Check::LateBoot).is_none_or(|late| late < moment) =>
        {
            timer = Timer::Start;
        }
        _ => {}
    }
    Step { record, actions, timer }
}

impl Record {
    /// The newest entry about a check.
    pub fn newest(&self, check: Check) -> Option<Moment> {
        let standing = self.checks.get(&check)?;
        standing.failed.max(standing.passed)
    }

    /// Whether the check has passed since this moment.
    pub fn passed_since(&self, check: Check, moment: Moment) -> Option<Moment> {
        self.checks.get(&check)?.passed.filter(|passed| *passed > moment)
    }

    /// Notes that this boot was seen.
    fn see(&mut self, entry: &Entry, moment: Moment) {
        let boots = matches!(entry.fact, Fact::Startup | Fact::EarlyBoot(_) | Fact::LateBoot(_));
        if boots && self.newest_boot.is_none_or(|newest| newest.time < moment.time) {
            self.newest_boot = Some(moment);
        }
    }

    /// Compares what was learned with what was approved, in reports of later boots.
    fn learned(&mut self, report: &BootReport, moment: Moment) -> Option<Action> {
        let learning = self.learning.as_mut()?;
        let later = moment.time > learning.boot.time && (moment.boot.is_none() || moment.boot != learning.boot.boot);
        if !later {
            return None;
        }
        match learning.learned(report, moment.time) {
            Learned::Approved => {
                learning.verified = learning.verified.max(Some(moment));
                self.pass(Check::NotApproved, moment, false)
            }
            // Once it was seen to have learned what was approved, later changes are somebody else's.
            Learned::Other if learning.verified.is_none_or(|verified| verified > moment) => {
                let others = self.relearned_by_others(moment.time);
                if others { None } else { self.fail(Check::NotApproved, moment) }
            }
            Learned::Other | Learned::NotYet => None,
        }
    }

    fn fail(&mut self, check: Check, moment: Moment) -> Option<Action> {
        let standing = self.checks.entry(check).or_default();
        let old = standing.passed.max(standing.failed).is_some_and(|newest| newest > moment);
        standing.failed = standing.failed.max(Some(moment));
        // The same moment again is raised again: the first attempt may have died before it was delivered.
        (!old).then_some(Action::Raise(check))
    }

    /// `anyway`: close even without a failure that is known, as what was known may have been lost.
    fn pass(&mut self, check: Check, moment: Moment, anyway: bool) -> Option<Action> {
        let standing = self.checks.entry(check).or_default();
        let old = standing.passed.is_some_and(|passed| passed > moment);
        let told = standing.ends(moment);
        standing.passed = standing.passed.max(Some(moment));
        let open = standing.failed.map_or(anyway, |failed| failed < moment);
        (!old && open).then_some(Action::Close { check, told })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::integrity::entry::{Audit, BootReport, LogLine, Vm};

    fn entry(second: i64, boot: u64, fact: Fact) -> Entry {
        let vm = Vm { project: "p".into(), zone: "z".into(), id: 1, name: None };
        let time = DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        Entry { vm, time, boot: Some(boot), fact, log: LogLine::default() }
    }

    fn report(passed: bool) -> BootReport {
        BootReport { stated: Some(passed), ..BootReport::default() }
    }

    fn late(boot: u64, passed: bool) -> Entry {
        entry(i64::try_from(boot).unwrap() * 100 + 30, boot, Fact::LateBoot(report(passed)))
    }

    fn early(boot: u64, passed: bool) -> Entry {
        entry(i64::try_from(boot).unwrap() * 100, boot, Fact::EarlyBoot(report(passed)))
    }

    /// The finding of a check as Security Command Center would have it after these entries.
    fn run(entries: &[Entry], check: Check) -> Option<bool> {
        let mut record: Option<Record> = None;
        let mut open = None;
        for entry in entries {
            let step = step(record.as_ref(), entry);
            for action in step.actions {
                match action {
                    Action::Raise(raised) if raised == check => open = Some(true),
                    Action::Close { check: closed, .. } if closed == check && open.is_some() => open = Some(false),
                    _ => {}
                }
            }
            record = Some(step.record);
        }
        open
    }

    #[test]
    fn only_the_pass_after_a_failure_that_was_told_has_to_close_its_finding() {
        let moment = |second| Moment { time: DateTime::from_timestamp(second, 0).unwrap(), boot: None };
        let mut standing = Standing { failed: Some(moment(100)), ..Standing::default() };
        assert_eq!([200, 200, 300].map(|second| standing.ends(moment(second))), [true, true, false]);
        standing.failed = Some(moment(400));
        assert!(standing.ends(moment(500)), "another one");
        // Reports out of order: this failure was superseded when it came.
        let mut standing = Standing { failed: Some(moment(100)), passed: Some(moment(200)), ended: None };
        assert!(!standing.ends(moment(300)));
    }

    #[test]
    fn a_failure_raises_and_a_later_pass_closes() {
        assert_eq!(run(&[late(1, false)], Check::LateBoot), Some(true));
        assert_eq!(run(&[late(1, false), late(2, true)], Check::LateBoot), Some(false));
        assert_eq!(run(&[late(1, false), early(2, true)], Check::LateBoot), Some(true), "another check");
        assert_eq!(run(&[late(2, true), late(1, false)], Check::LateBoot), None, "out of order: it has passed since");
        assert_eq!(
            run(&[late(1, false), late(2, true), late(1, false)], Check::LateBoot),
            Some(false),
            "delivered again"
        );
        assert_eq!(
            run(&[late(1, false), late(2, true), late(3, false)], Check::LateBoot),
            Some(true),
            "it failed anew"
        );
    }

    proptest! {
        #[test]
        fn the_order_of_deliveries_and_repeats_do_not_change_how_it_ends(
            boots in prop::collection::vec(any::<bool>(), 1..6), shuffle in prop::collection::vec(0..6_usize, 6..30)
        ) {
            let all: Vec<Entry> = (1..).zip(&boots).map(|(boot, passed)| late(boot, *passed)).collect();
            let mut delivered: Vec<Entry> = shuffle.iter().map(|n| all[n % all.len()].clone()).collect();
            delivered.extend(all.iter().rev().cloned());
            let open = run(&delivered, Check::LateBoot) == Some(true);
            prop_assert_eq!(open, !boots.last().unwrap());
        }
    }

    #[test]
    fn an_early_failure_starts_the_timer_unless_the_late_report_was_first() {
        assert_eq!(step(None, &early(1, false)).timer, Timer::Start);
        assert_eq!(step(None, &early(1, true)).timer, Timer::Leave);
        let after_late = step(None, &late(1, true)).record;
        assert_eq!(step(Some(&after_late), &early(1, false)).timer, Timer::Leave);
        assert_eq!(step(Some(&after_late), &early(2, false)).timer, Timer::Start);
        assert_eq!(step(None, &late(1, false)).timer, Timer::Stop);
    }

    #[test]
    fn a_late_report_of_any_kind_ends_an_incomplete_boot() {
        let incomplete = entry(100, 1, Fact::BootIncomplete { early: report(false), minutes: 5 });
        assert_eq!(run(std::slice::from_ref(&incomplete), Check::BootIncomplete), Some(true));
        assert_eq!(run(&[incomplete.clone(), late(1, false)], Check::BootIncomplete), Some(false));
        assert_eq!(run(&[late(1, true), incomplete], Check::BootIncomplete), None);
    }

    #[test]
    fn options_close_only_when_all_are_on_again() {
        let switch = |second, secure_boot, monitoring| {
            entry(second, 0, Fact::OptionsChanged { by: Audit::default(), secure_boot, vtpm: None, monitoring })
        };
        let both_off = [switch(1, Some(false), None), switch(2, None, Some(false))];
        assert_eq!(run(&both_off, Check::Options), Some(true));
        let one_on = [both_off[0].clone(), both_off[1].clone(), switch(3, Some(true), None)];
        assert_eq!(run(&one_on, Check::Options), Some(true));
        let all_on = [one_on[0].clone(), one_on[1].clone(), one_on[2].clone(), switch(4, None, Some(true))];
        assert_eq!(run(&all_on, Check::Options), Some(false));
        assert_eq!(run(&[all_on[3].clone(), both_off[1].clone()], Check::Options), None, "an older entry");
    }
}
