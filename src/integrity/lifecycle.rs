//! One finding a VM and check: what an entry changes, given what was seen before. Pure.
//!
//! Entries come in any order and more than once. For every check the newest failure and the newest pass are kept; an
//! entry older than what decides is news no more. Moments are ordered by the entry's time, then by its boot counter.
//! What audit entries say adds up instead, in [`super::changes`].
//!
//! Entries are not handled in the order in which they were accepted: an outage delays some and not others. A failure is
//! told whatever came to be known while its own entry waited.

use chrono::{DateTime, Utc};

use super::entry::{BootReport, Check, Entry, Fact};
use super::learning::Learned;
use super::moment::Moment;
use super::record::{FindingStep, Record};

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
    /// What to change in Security Command Center.
    pub finding_steps: Vec<FindingStep>,
    /// The timer.
    pub timer: Timer,
}

/// What follows from `entry`, given what is known. `None`: nothing was ever seen of this VM.
pub fn step(known: Option<&Record>, entry: &Entry, accepted: DateTime<Utc>) -> Step {
    let mut record = known.cloned().unwrap_or_default();
    let mut finding_steps = Vec::new();
    let moment = entry.moment();
    record.see(entry, moment);
    record.see_shutdown(entry);
    let mut timer = Timer::Leave;
    let fresh = known.is_none();
    let failed = match &entry.fact {
        _ if entry.audit().is_some() => {
            finding_steps.extend(record.asked(entry, fresh, accepted));
            None
        }
        // It may be half told: then it is told, and closed.
        Fact::BootIncomplete { .. } if record.is_untold(Check::BootIncomplete, moment) => Some(true),
        // What says that it went on, or was stopped, may have come after its time was up.
        Fact::BootIncomplete { .. } if record.went_on(moment) || record.boot_was_stopped(moment) => None,
        _ => entry.failed(),
    };
    if let (Some(check), Some(failed)) = (entry.check(), failed) {
        finding_steps.extend(match failed {
            true => record.fail(check, moment, accepted),
            false if fresh => record.pass_first_seen(check, moment),
            false => record.pass(check, moment),
        });
    }
    match &entry.fact {
        Fact::LateBoot(report) => {
            timer = Timer::Stop;
            // The boot went on, whatever was measured.
            finding_steps.extend(record.after_late_report(moment));
            finding_steps.extend(record.learned(report, moment, accepted));
        }
        Fact::EarlyBoot(report) if !report.passed() && !record.went_on(moment) => timer = Timer::Start,
        Fact::BootIncomplete { minutes, .. } if failed == Some(true) => record.given(moment, *minutes),
        Fact::Shutdown => finding_steps.extend(record.after_shutdown(moment)),
        // Our own relearn is not to blame for what somebody else's did.
        Fact::BaselineRelearned(_) => finding_steps.extend(record.not_ours(moment)),
        _ => {}
    }
    record.hear(known, accepted);
    Step { record, finding_steps, timer }
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
    fn learned(&mut self, report: &BootReport, moment: Moment, accepted: DateTime<Utc>) -> Option<FindingStep> {
        let learning = self.learning.as_mut()?;
        let later = moment.time > learning.boot.time && (moment.boot.is_none() || moment.boot != learning.boot.boot);
        if !later {
            return None;
        }
        match learning.learned(report, moment.time) {
            Learned::Approved => {
                learning.verified = learning.verified.max(Some(moment));
                self.pass(Check::NotApproved, moment)
            }
            // Once it was seen to have learned what was approved, later changes are somebody else's.
            Learned::Other if learning.verified.is_none_or(|verified| verified > moment) => {
                learning.lost = Some(learning.lost.map_or(moment, |lost| lost.min(moment)));
                let half_told = self.is_untold(Check::NotApproved, moment);
                let others = self.relearned_by_others(moment.time).is_some();
                if others && !half_told { None } else { self.fail(Check::NotApproved, moment, accepted) }
            }
            Learned::Other | Learned::NotYet => None,
        }
    }

    /// The finding about our relearn is taken back when somebody else had the baseline relearned before the first report
    /// that gave rise to it, and the audit log told it only now. Asked again, it answers the same.
    fn not_ours(&mut self, relearned: Moment) -> Option<FindingStep> {
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
    use crate::integrity::lifecycle;
    use crate::integrity::measurement::{Algorithm, Digest, Measurements, Pcr, Slot};
    use crate::integrity::record::Standing;

    fn entry(second: i64, boot: u64, fact: Fact) -> Entry {
        let vm = Vm { project: "p".into(), zone: "z".into(), id: 1, name: None };
        let time = DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        Entry { vm, time, boot: Some(boot), fact, log: LogLine::default() }
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_900_000_000 + second, 0).unwrap()
    }

    /// What follows from an entry that came just now.
    fn step(known: Option<&Record>, entry: &Entry) -> Step {
        lifecycle::step(known, entry, at(0))
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
        let mut world = World::of(check);
        for (accepted, entry) in (0..).zip(entries) {
            world.handle(entry, at(accepted), true);
        }
        world.finding.map(|(_, open)| open)
    }

    /// The state store, and Security Command Center with the finding of one check.
    struct World {
        record: Option<Record>,
        check: Check,
        /// Under which time it is told, and whether it is open.
        finding: Option<(DateTime<Utc>, bool)>,
        /// Every failure that it was about.
        about: Vec<DateTime<Utc>>,
    }

    impl World {
        fn of(check: Check) -> Self {
            Self { record: None, check, finding: None, about: Vec::new() }
        }

        /// Whether the entry is done: not while Security Command Center does not answer, or is waited for.
        fn handle(&mut self, entry: &Entry, accepted: DateTime<Utc>, answers: bool) -> bool {
            let Step { mut record, finding_steps, .. } = lifecycle::step(self.record.as_ref(), entry, accepted);
            self.record = Some(record.clone());
            if !answers {
                return finding_steps.is_empty();
            }
            let mut done = true;
            for finding_step in finding_steps {
                match finding_step {
                    FindingStep::Raise(check) if check == self.check => {
                        self.raise(entry.time, record.overtaken_failure(check).is_some());
                        if let Some(passed) = record.mark_told_unless_passed(check, entry.moment()) {
                            self.close(passed, true, None);
                            record.mark_told(check, entry.moment());
                        }
                    }
                    FindingStep::Close { check, told } if check == self.check => {
                        done &= self.finding.is_some() || !told;
                        self.close(record.passed(check).unwrap(), told, record.overtaken_failure(check));
                    }
                    _ => {}
                }
            }
            self.record = Some(record);
            done
        }

        /// As a raising is delivered, and after it, when the check has passed since, an amendment of what is closed.
        fn raise(&mut self, time: DateTime<Utc>, passed_since: bool) {
            match &mut self.finding {
                Some((told, false)) if *told >= time && passed_since => *told += TimeDelta::milliseconds(1),
                Some((told, _)) if *told >= time => return,
                finding => *finding = Some((time, true)),
            }
            self.about.push(time);
        }

        fn close(&mut self, time: DateTime<Utc>, told: bool, untold_failure: Option<DateTime<Utc>>) {
            if let Some((stands, open)) = &mut self.finding {
                let before = untold_failure.filter(|next| next > stands).map(|next| next - TimeDelta::milliseconds(1));
                let time = before.unwrap_or(time);
                if time > *stands && (told || *open) {
                    (*stands, *open) = (time, false);
                }
            }
        }
    }

    #[test]
    fn a_failure_is_told_whatever_came_while_its_finding_was_underway() {
        let (failed, passed) = (late(3, false), late(4, true));
        let (first, second) = (at(1), at(2));
        for (before, after) in [(None, 1), (Some(late(1, false)), 2)] {
            let mut world = World::of(Check::LateBoot);
            before.iter().for_each(|before| assert!(world.handle(before, at(0), true)));
            assert!(!world.handle(&failed, first, false), "an outage");
            assert!(!world.handle(&passed, second, false));
            let restarted = serde_json::to_string(&world.record).unwrap();
            world.record = serde_json::from_str(&restarted).unwrap();
            assert!(world.handle(&passed, second, true), "it waits for nobody");
            assert_ne!(world.finding.map(|(_, open)| open), Some(true));
            assert!(world.handle(&failed, first, true));
            assert_eq!(world.finding, Some((passed.time, false)), "opened, and closed");
            assert_eq!((world.about.len(), world.about.last()), (after, Some(&failed.time)));
            assert_eq!(world.record.as_ref().unwrap().overtaken_failure(Check::LateBoot), None);
            assert!(world.handle(&failed, first, true) && world.finding.is_some_and(|(_, open)| !open), "again");
        }
        let mut handled_second = World::of(Check::LateBoot);
        assert!(handled_second.handle(&passed, second, true) && handled_second.handle(&failed, first, true));
        assert_eq!((handled_second.finding, handled_second.about.len()), (Some((passed.time, false)), 1));
        let mut came_second = World::of(Check::LateBoot);
        assert!(came_second.handle(&passed, first, true) && came_second.handle(&failed, second, true));
        assert_eq!(came_second.finding, None, "it had passed when the failure came");
    }

    #[test]
    fn a_pass_waits_for_the_finding_of_a_failure_only_when_that_is_delivered() {
        let mut world = World::of(Check::LateBoot);
        world.handle(&late(3, false), at(1), true);
        let told = |world: &World| lifecycle::step(world.record.as_ref(), &late(4, true), at(2)).finding_steps;
        assert_eq!(told(&world), [FindingStep::Close { check: Check::LateBoot, told: true }]);
        world.handle(&late(3, false), at(1), false);
        assert_eq!(told(&world), [FindingStep::Close { check: Check::LateBoot, told: false }]);
    }

    #[test]
    fn only_the_pass_after_a_failure_that_was_told_has_to_close_its_finding() {
        let moment = |second| Moment { time: DateTime::from_timestamp(second, 0).unwrap(), boot: None };
        let mut standing = Standing { failed: Some(moment(100)), ..Standing::default() };
        assert_eq!([200, 200, 300].map(|second| standing.ends(moment(second))), [true, true, false]);
        standing.failed = Some(moment(400));
        assert!(standing.ends(moment(500)), "another one");
        // Reports out of order: this failure was superseded when it came.
        let mut standing = Standing { failed: Some(moment(100)), passed: Some(moment(200)), ..Standing::default() };
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

        /// In whatever order entries are handled that were accepted in the order of their boots, and however often
        /// Security Command Center fails to answer: all come to an end, and the newest failure was told.
        #[test]
        fn no_failure_is_lost_to_an_outage_and_nothing_waits_for_what_never_comes(
            boots in prop::collection::vec(any::<bool>(), 1..6),
            attempts in prop::collection::vec((0..6_usize, any::<bool>()), 0..20),
            order in prop::collection::vec(0..6_usize, 1..2), discarded in 0..12_usize,
        ) {
            let all: Vec<Entry> = (1..).zip(&boots).map(|(boot, passed)| late(boot, *passed)).collect();
            let accepted = |row: usize| at(i64::try_from(row).unwrap());
            let mut world = World::of(Check::LateBoot);
            for (row, answers) in attempts.iter().map(|(row, answers)| (row % all.len(), *answers)) {
                if row != discarded {
                    world.handle(&all[row], accepted(row), answers);
                }
            }
            let rows = (0..all.len()).map(|row| (row + order[0]) % all.len()).filter(|row| *row != discarded);
            for row in rows.collect::<Vec<_>>() {
                prop_assert!(world.handle(&all[row], accepted(row), true), "{} waits", row);
            }
            let newest = boots.iter().rposition(|passed| !passed);
            if let Some(newest) = newest.filter(|_| discarded >= all.len()) {
                prop_assert_eq!(world.about.last(), Some(&all[newest].time));
                prop_assert_eq!(world.finding.unwrap().1, newest + 1 == all.len());
            }
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
            theirs in 1..400_i64, shuffle in prop::collection::vec((0..2_usize, any::<bool>()), 0..8)
        ) {
            let by = |operation: &str| Audit { principal: "bob".into(), operation: Some(operation.into()), ..Audit::default() };
            let relearned = |second, operation| {
                Entry { boot: None, ..entry(second, 0, Fact::BaselineRelearned(by(operation))) }
            };
            let all = [late(2, true), relearned(theirs, "theirs")];
            let mut world = World { record: Some(relearnt()), ..World::of(Check::NotApproved) };
            world.handle(&relearned(2, "ours"), at(0), true);
            // Each was accepted once, and may be tried in vain before.
            for (row, answers) in shuffle.iter().copied().chain([(0, true), (1, true), (0, true)]) {
                world.handle(&all[row], at(i64::try_from(row).unwrap()), answers);
            }
            let blamed = (5..230).contains(&theirs);
            let open = world.finding.is_some_and(|(_, open)| open);
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
        let mut blamed = step(Some(&relearnt()), &late(2, true));
        assert!(blamed.finding_steps.contains(&FindingStep::Raise(Check::NotApproved)), "{:?}", blamed.finding_steps);
        assert_eq!(blamed.record.learned_from_others(), None);
        assert_eq!(blamed.record.mark_told_unless_passed(Check::NotApproved, late(2, true).moment()), None);
        let after = step(Some(&blamed.record), &theirs);
        let closed = FindingStep::Close { check: Check::NotApproved, told: true };
        assert_eq!(after.finding_steps, [FindingStep::Raise(Check::Relearned), closed]);
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
