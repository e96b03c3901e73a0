//! One finding a VM and check: what an entry changes, given what was seen before. Pure.
//!
//! Entries come in any order and more than once. For every check the newest failure and the newest pass are kept; an
//! entry older than what decides is news no more. Moments are ordered by the entry's time, then by its boot counter.
//! What audit entries say adds up instead, in [`super::changes`].

use super::entry::{BootReport, Check, Entry, Fact};
use super::learning::Learned;
use super::moment::Moment;
use super::record::{Action, Record};

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
        // What says that it went on, or was stopped, may have come after its time was up.
        Fact::BootIncomplete { .. } if record.went_on(moment) || record.was_ended(moment) => None,
        _ => entry.failed(),
    };
    if let (Some(check), Some(failed)) = (entry.check(), failed) {
        actions.extend(if failed { record.fail(check, moment) } else { record.pass(check, moment, fresh) });
    }
    match &entry.fact {
        Fact::LateBoot(report) => {
            timer = Timer::Stop;
            // The boot went on, whatever was measured.
            actions.extend(record.went_through(moment));
            actions.extend(record.learned(report, moment));
        }
        Fact::EarlyBoot(report) if !report.passed() && !record.went_on(moment) => timer = Timer::Start,
        Fact::BootIncomplete { minutes, .. } if failed == Some(true) => record.given(moment, *minutes),
        Fact::Shutdown => actions.extend(record.ended_in_time(moment)),
        // Our own relearn is not to blame for what somebody else's did.
        Fact::BaselineRelearned(_) => actions.extend(record.not_ours(moment)),
        _ => {}
    }
    Step { record, actions, timer }
}

impl Record {
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
                learning.lost = Some(learning.lost.map_or(moment, |lost| lost.min(moment)));
                let others = self.relearned_by_others(moment.time).is_some();
                if others { None } else { self.fail(Check::NotApproved, moment) }
            }
            Learned::Other | Learned::NotYet => None,
        }
    }

    /// The finding about our relearn is taken back when somebody else had the baseline relearned before the first report
    /// that gave rise to it, and the audit log told it only now. Asked again, it answers the same.
    fn not_ours(&mut self, relearned: Moment) -> Option<Action> {
        let lost = self.learning.as_ref()?.lost?;
        self.relearned_by_others(lost.time)?;
        self.pass_after_all(Check::NotApproved, relearned)
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta};
    use proptest::prelude::*;

    use super::*;
    use crate::integrity::entry::{Audit, BootReport, LaunchReport, LogLine, Vm};
    use crate::integrity::learning::Learning;
    use crate::integrity::measurement::{Algorithm, Digest, Measurements, Pcr, Slot};
    use crate::integrity::record::Standing;

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
        run_from(None, entries, check)
    }

    fn run_from(mut record: Option<Record>, entries: &[Entry], check: Check) -> Option<bool> {
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

    fn incomplete(boot: u64) -> Entry {
        Entry { fact: Fact::BootIncomplete { early: report(false), minutes: 10 }, ..early(boot, false) }
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

        /// The early report, that its late one is missing, and what came of the boot. A late report that is dated a
        /// second before the early one is of the same boot by its counter.
        #[test]
        fn a_boot_that_was_stopped_in_time_or_went_on_is_not_told_as_incomplete_in_any_order(
            stopped in any::<bool>(), second in -1..600_i64, shuffle in prop::collection::vec(0..3_usize, 3..12)
        ) {
            let fact = if stopped { Fact::Shutdown } else { Fact::LateBoot(report(false)) };
            let second = if stopped { second.max(0) } else { second };
            let all = [early(1, false), incomplete(1), entry(100 + second, 1, fact)];
            let mut delivered: Vec<Entry> = shuffle.iter().map(|n| all[*n].clone()).collect();
            delivered.extend(all.iter().cloned());
            prop_assert_ne!(run(&delivered, Check::BootIncomplete), Some(true));
            delivered.extend(all.iter().rev().cloned());
            prop_assert_ne!(run(&delivered, Check::BootIncomplete), Some(true));
        }

        /// We had it relearned; then a boot showed another policy, which is of somebody else's relearn if that was between.
        #[test]
        fn who_relearned_is_told_by_the_times_and_not_by_the_order(
            theirs in 1..400_i64, shuffle in prop::collection::vec(0..2_usize, 0..8)
        ) {
            let by = |operation: &str| Audit { principal: "bob".into(), operation: Some(operation.into()), ..Audit::default() };
            let relearned = |second, operation| {
                Entry { boot: None, ..entry(second, 0, Fact::BaselineRelearned(by(operation))) }
            };
            let all = [late(2, true), relearned(theirs, "theirs")];
            let mut delivered: Vec<Entry> = shuffle.iter().map(|n| all[*n].clone()).collect();
            delivered.extend(all.iter().cloned());
            delivered.insert(0, relearned(2, "ours"));
            let blamed = (5..230).contains(&theirs);
            let open = run_from(Some(relearnt()), &delivered, Check::NotApproved) == Some(true);
            prop_assert_eq!(open, !blamed, "{} {:?}", theirs, shuffle);
        }
    }

    /// Told to relearn what boot 1 measured; the reports here have no policy at all, which is another one.
    fn relearnt() -> Record {
        let slot = Slot { pcr: Pcr::new(4).unwrap(), algorithm: Algorithm::Sha1 };
        let learning = Learning {
            boot: early(0, false).moment(),
            called: early(0, false).time + TimeDelta::seconds(5),
            approved: Measurements([(slot, Digest(vec![1; 20]))].into()),
            taken: true,
            operation: Some("ours".into()),
            ..Learning::default()
        };
        Record { learning: Some(learning), ..Record::default() }
    }

    #[test]
    fn a_relearn_of_somebody_elses_is_named_where_ours_was_blamed() {
        let by = Audit { principal: "bob".into(), operation: Some("theirs".into()), ..Audit::default() };
        let theirs = Entry { boot: None, ..entry(100, 0, Fact::BaselineRelearned(by)) };
        let blamed = step(Some(&relearnt()), &late(2, true));
        assert!(blamed.actions.contains(&Action::Raise(Check::NotApproved)), "{:?}", blamed.actions);
        assert_eq!(blamed.record.learned_from_others(), None);
        let after = step(Some(&blamed.record), &theirs);
        let closed = Action::Close { check: Check::NotApproved, told: true };
        assert_eq!(after.actions, [Action::Raise(Check::Relearned), closed]);
        assert_eq!(step(Some(&after.record), &theirs), after, "the first attempt may have died");
        assert!(after.record.passed(Check::NotApproved) > Some(late(2, true).time), "or the raising would be newer");
        let told = after.record.learned_from_others().unwrap();
        assert!(told.contains("by bob on 2027-01-15 08:01:40 UTC, after the connector had"), "{told}");
    }

    #[test]
    fn a_launch_report_that_does_not_say_that_it_passed_has_failed() {
        let launch = |passed| entry(0, 0, Fact::Launch(LaunchReport { passed, ..LaunchReport::default() }));
        for passed in [None, Some(false)] {
            assert_eq!(run(&[launch(passed)], Check::Launch), Some(true), "{passed:?}");
        }
        assert_eq!(run(&[launch(Some(true))], Check::Launch), None);
        assert_eq!(
            run(&[launch(None), Entry { time: late(1, true).time, ..launch(Some(true)) }], Check::Launch),
            Some(false)
        );
    }

    #[test]
    fn only_a_shutdown_before_its_time_was_up_ends_an_incomplete_boot() {
        let shutdown = |second, boot| entry(second, boot, Fact::Shutdown);
        let told = |then: Entry| run(&[early(1, false), incomplete(1), then], Check::BootIncomplete);
        assert_eq!(told(shutdown(120, 1)), Some(false));
        assert_eq!(told(shutdown(701, 1)), Some(true), "it hung, and then somebody stopped it");
        assert_eq!(told(shutdown(120, 2)), Some(true), "another boot's");
        let up_again = [early(1, false), incomplete(1), entry(140, 2, Fact::Startup), shutdown(120, 1)];
        assert_eq!(run(&up_again, Check::BootIncomplete), Some(true), "a boot loop");
    }

    #[test]
    fn an_early_failure_starts_the_timer_unless_the_late_report_was_first() {
        assert_eq!(step(None, &early(1, false)).timer, Timer::Start);
        assert_eq!(step(None, &early(1, true)).timer, Timer::Leave);
        let after_late = step(None, &late(1, true)).record;
        assert_eq!(step(Some(&after_late), &early(1, false)).timer, Timer::Leave);
        assert_eq!(step(Some(&after_late), &early(2, false)).timer, Timer::Start);
        assert_eq!(step(None, &late(1, false)).timer, Timer::Stop);
        let skewed = step(None, &entry(99, 1, Fact::LateBoot(report(true)))).record;
        assert_eq!(step(Some(&skewed), &early(1, false)).timer, Timer::Leave, "of the same boot, by its counter");
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
