//! A boot that was ended from outside: by us, or by whoever stopped the VM. No late report can follow. Pure.

use chrono::{DateTime, TimeDelta, Utc};

use super::entry::{Check, Entry, Fact};
use super::moment::Moment;
use super::record::{FindingStep, Halted, Record};

/// How long an end that was asked for and not answered is waited for: longer than a plan goes on trying.
const UNANSWERED: TimeDelta = TimeDelta::hours(3);

impl Record {
    /// Notes that the VM stopped.
    pub(super) fn see_shutdown(&mut self, entry: &Entry) {
        if matches!(entry.fact, Fact::Shutdown) {
            self.shutdown = self.shutdown.max(Some(entry.moment()));
        }
    }

    /// What we did to the boot of this report.
    pub fn our_halt_of(&self, report: Moment) -> Option<&Halted> {
        self.halted.as_ref().filter(|halted| halted.taken && is_of(halted.end(), report))
    }

    /// Whether we asked for the end of this boot, and nobody knows yet what came of it.
    pub(crate) fn is_our_halt_open(&self, boot: Moment, now: DateTime<Utc>) -> bool {
        let unanswered = self.halted.as_ref().filter(|halted| !halted.taken && now - halted.time < UNANSWERED);
        unanswered.is_some_and(|halted| is_of(halted.end(), boot))
    }

    /// Notes that the end of a boot is about to be asked for, unless it is known that it was taken.
    pub(crate) fn halt_begins(&mut self, halted: &Halted) {
        let same = |known: &Halted| (known.report, known.check) == (halted.report, halted.check);
        if !self.halted.as_ref().is_some_and(|known| known.taken && same(known)) {
            self.halted = Some(halted.clone());
        }
    }

    /// What we ended, when that comes to be known only now: as with a shutdown.
    pub(crate) fn after_our_halt(&mut self) -> Option<FindingStep> {
        let end = self.halted.as_ref().filter(|halted| halted.taken)?.end();
        self.after_shutdown(end)
    }

    /// Whether nothing more can come of this boot, since the VM was stopped or suspended. One that stopped and came
    /// up again did not go through: that is a boot loop rather than somebody's decision.
    pub fn boot_was_stopped(&self, boot: Moment) -> bool {
        let stopped = self.shutdown.filter(|shutdown| is_of(*shutdown, boot));
        let stays = stopped.is_some_and(|shutdown| self.newest_boot.is_none_or(|newest| newest.time <= shutdown.time));
        stays || self.our_halt_of(boot).is_some()
    }
}

/// A boot that went on, or was ended in time, also where that came to be known late.
impl Record {
    /// Whether the late report of this boot was seen, or one of a later boot. Clocks may put the late report of a boot
    /// before its early one.
    pub(crate) fn went_on(&self, boot: Moment) -> bool {
        self.newest(Check::LateBoot).is_some_and(|late| late >= boot || is_same(late, boot))
    }

    /// A late report: the boot that is told not to have completed did, if it is this one or one before.
    pub(super) fn after_late_report(&mut self, late: Moment) -> Option<FindingStep> {
        let failed = self.checks.get(&Check::BootIncomplete).and_then(|standing| standing.failed);
        if failed.is_some_and(|failed| is_same(late, failed)) {
            self.pass_after_all(Check::BootIncomplete, late)
        } else {
            self.pass(Check::BootIncomplete, late)
        }
    }

    /// Notes until when a boot that did not complete was waited for.
    pub(super) fn given(&mut self, boot: Moment, minutes: u32) {
        if self.checks.get(&Check::BootIncomplete).is_some_and(|standing| standing.failed == Some(boot)) {
            self.waited_until = Some(boot.time + TimeDelta::minutes(minutes.into()));
        }
    }

    /// A shutdown that comes to be known only now: the boot that is told not to have completed had no time to, if it
    /// was stopped before its time was up. One that was stopped afterwards, by us or by others, did hang. So did one that
    /// we stopped because it hung: that its time was up is by our clock, and when it was stopped by Google's.
    pub(super) fn after_shutdown(&mut self, shutdown: Moment) -> Option<FindingStep> {
        let failed = self.checks.get(&Check::BootIncomplete)?.failed?;
        let hung = |halted: &Halted| halted.check == Check::BootIncomplete && is_of(halted.end(), failed);
        let in_time = self.waited_until.is_some_and(|until| shutdown.time < until);
        if !in_time
            || self.halted.as_ref().is_some_and(hung)
            || !is_of(shutdown, failed)
            || !self.boot_was_stopped(failed)
        {
            return None;
        }
        self.pass_after_all(Check::BootIncomplete, shutdown)
    }
}

fn is_same(one: Moment, other: Moment) -> bool {
    one.boot.is_some() && one.boot == other.boot
}

/// Whether what happened at `end` ended this boot.
fn is_of(end: Moment, boot: Moment) -> bool {
    match (end.boot, boot.boot) {
        (Some(end), Some(boot)) => end == boot,
        _ => end.time >= boot.time,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::integrity::answer;

    fn at(second: i64, boot: Option<u64>) -> Moment {
        Moment { time: DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap(), boot }
    }

    #[test]
    fn a_boot_ends_with_its_own_shutdown_unless_the_vm_came_up_again() {
        let early = at(100, Some(3));
        for (ended, shutdown, newest_boot) in [
            (false, None, early),
            (true, Some(at(110, Some(3))), early),
            (true, Some(at(110, None)), early),
            (false, Some(at(90, None)), early),
            (false, Some(at(90, Some(2))), early),
            (false, Some(at(110, Some(3))), at(140, Some(4))),
        ] {
            let record = Record { shutdown, newest_boot: Some(newest_boot), ..Record::default() };
            assert_eq!(record.boot_was_stopped(early), ended, "{shutdown:?} {newest_boot:?}");
        }
        let (action, check) = (answer::Action::Stop, Check::EarlyBoot);
        let halted = Halted { action, check, report: early, time: at(105, None).time, taken: true };
        let newest_boot = Some(at(140, Some(4)));
        let record = Record { halted: Some(halted.clone()), newest_boot, ..Record::default() };
        assert!(record.boot_was_stopped(early) && !record.boot_was_stopped(at(140, Some(4))));
        let mut record = Record { newest_boot, ..Record::default() };
        record.halt_begins(&Halted { taken: false, ..halted.clone() });
        let (soon, late) = (at(200, None).time, at(100 + 4 * 3600, None).time);
        assert!(!record.boot_was_stopped(early) && record.our_halt_of(early).is_none(), "it has no answer");
        assert_eq!([soon, late].map(|now| record.is_our_halt_open(early, now)), [true, false]);
        record.halted = Some(halted.clone());
        record.halt_begins(&Halted { taken: false, ..halted });
        assert!(record.boot_was_stopped(early), "it stays taken");
    }

    #[test]
    fn a_boot_that_was_stopped_because_it_hung_did_hang_whatever_the_clocks_say() {
        let (early, stopped) = (at(100, Some(3)), at(690, Some(3)));
        for (check, taken, closes) in [
            (Check::EarlyBoot, true, true),
            (Check::BootIncomplete, true, false),
            (Check::BootIncomplete, false, false),
        ] {
            let action = answer::Action::Stop;
            let halted = Some(Halted { action, check, report: early, time: stopped.time, taken });
            let mut record = Record { halted, newest_boot: Some(early), ..Record::default() };
            record.fail(Check::BootIncomplete, early, early.time);
            record.given(early, 10);
            assert_eq!(record.clone().after_our_halt().is_some(), closes, "{check:?} {taken}");
            record.shutdown = Some(stopped);
            assert_eq!(record.after_shutdown(stopped).is_some(), closes, "its shutdown, {check:?} {taken}");
        }
    }
}
