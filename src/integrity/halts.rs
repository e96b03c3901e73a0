//! A boot that was ended from outside: by us, or by whoever stopped the VM. No late report can follow. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::answer;
use super::entry::{Check, Entry, Fact};
use super::lifecycle::{Action, Record};
use super::moment::Moment;

/// A boot that we stopped or suspended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Halted {
    /// What was done: Compute Engine took the call.
    pub action: answer::Action,
    /// The check that failed.
    pub check: Check,
    /// The report of it.
    pub report: Moment,
    /// When it was asked for.
    pub time: DateTime<Utc>,
}

impl Record {
    /// Notes that the VM stopped.
    pub(super) fn see_shutdown(&mut self, entry: &Entry) {
        if matches!(entry.fact, Fact::Shutdown) {
            self.shutdown = self.shutdown.max(Some(entry.moment()));
        }
    }

    /// What we did to the boot of this report.
    pub fn halted_in(&self, report: Moment) -> Option<&Halted> {
        self.halted.as_ref().filter(|halted| is_of(Moment { time: halted.time, boot: halted.report.boot }, report))
    }

    /// Whether nothing more can come of this boot, since the VM was stopped or suspended. One that stopped and came
    /// up again did not go through: that is a boot loop rather than somebody's decision.
    pub fn was_ended(&self, boot: Moment) -> bool {
        let stopped = self.shutdown.filter(|shutdown| is_of(*shutdown, boot));
        let stays = stopped.is_some_and(|shutdown| self.newest_boot.is_none_or(|newest| newest.time <= shutdown.time));
        stays || self.halted_in(boot).is_some()
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
    pub(super) fn went_through(&mut self, late: Moment) -> Option<Action> {
        let failed = self.checks.get(&Check::BootIncomplete).and_then(|standing| standing.failed);
        if failed.is_some_and(|failed| is_same(late, failed)) {
            self.pass_after_all(Check::BootIncomplete, late)
        } else {
            self.pass(Check::BootIncomplete, late, false)
        }
    }

    /// Notes until when a boot that did not complete was waited for.
    pub(super) fn given(&mut self, boot: Moment, minutes: u32) {
        if self.checks.get(&Check::BootIncomplete).is_some_and(|standing| standing.failed == Some(boot)) {
            self.waited_until = Some(boot.time + TimeDelta::minutes(minutes.into()));
        }
    }

    /// A shutdown that comes to be known only now: the boot that is told not to have completed had no time to, if it
    /// was stopped before its time was up. One that was stopped afterwards, by us or by others, did hang.
    pub(super) fn ended_in_time(&mut self, shutdown: Moment) -> Option<Action> {
        let failed = self.checks.get(&Check::BootIncomplete)?.failed?;
        let in_time = self.waited_until.is_some_and(|until| shutdown.time < until);
        if !in_time || !is_of(shutdown, failed) || !self.was_ended(failed) {
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
            assert_eq!(record.was_ended(early), ended, "{shutdown:?} {newest_boot:?}");
        }
        let (action, check) = (answer::Action::Stop, Check::EarlyBoot);
        let halted = Some(Halted { action, check, report: early, time: at(105, None).time });
        let record = Record { halted, newest_boot: Some(at(140, Some(4))), ..Record::default() };
        assert!(record.was_ended(early) && !record.was_ended(at(140, Some(4))));
    }
}
