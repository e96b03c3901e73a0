//! Boots whose late report is missing. Pure.
//!
//! A boot that follows puts off nothing, and says nothing about those before it: a late report that comes out of order
//! may end the first, and its own shutdown the newest, while one between them hung. So each is kept until it is told or
//! ended.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::integrity::entry::Entry;

/// How many boots of a VM are waited for. Of more, the first, whose time is up next, and the newest are kept.
const MOST: usize = 16;

/// The boots of a VM whose late reports are missing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    /// Until when the late report of the first is waited for.
    pub due: DateTime<Utc>,
    /// Its early report, which failed.
    pub early: Entry,
    /// The boots since, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    later: Vec<Boot>,
}

/// One boot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Boot {
    due: DateTime<Utc>,
    early: Entry,
}

impl Waiting {
    /// Nothing but this boot.
    pub(super) fn new(early: &Entry, due: DateTime<Utc>) -> Self {
        Self { due, early: early.clone(), later: Vec::new() }
    }

    /// The same, and those of another. One that is known keeps its time.
    pub(super) fn with(self, other: Self) -> Self {
        let mut boots: Vec<Boot> = self.boots().chain(other.boots()).collect();
        boots.sort_by_key(|boot| boot.early.time);
        boots.dedup_by_key(|boot| boot.early.time);
        let Boot { due, early } = boots.remove(0);
        boots.drain(..boots.len().saturating_sub(MOST - 1));
        Self { due, early, later: boots }
    }

    /// What is still waited for after an entry of this time, which ended the boots until then.
    pub(super) fn after(self, time: DateTime<Utc>) -> Option<Self> {
        let mut boots = self.boots().filter(|boot| boot.early.time > time);
        let Boot { due, early } = boots.next()?;
        Some(Self { due, early, later: boots.collect() })
    }

    fn boots(self) -> impl Iterator<Item = Boot> {
        std::iter::once(Boot { due: self.due, early: self.early }).chain(self.later)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::integrity::entry::{BootReport, Fact, LogLine, Vm};

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn boot(second: i64) -> Waiting {
        let vm = Vm { project: "p".into(), zone: "z".into(), id: 1, name: None };
        let fact = Fact::EarlyBoot(BootReport::default());
        let early = Entry { vm, time: at(second), boot: None, fact, log: LogLine::default() };
        Waiting::new(&early, at(second) + TimeDelta::seconds(60))
    }

    #[test]
    fn every_boot_keeps_its_time_in_whatever_order_they_come() {
        for order in [[0, 40, 80], [80, 40, 0], [40, 80, 0], [40, 0, 80]] {
            let [one, two, three] = order.map(boot);
            let all = one.with(two).with(three).with(boot(80));
            let left = |time| all.clone().after(at(time)).map(|left| (left.early.time, left.due));
            for (time, first) in [(-1, Some(0)), (0, Some(40)), (50, Some(80)), (80, None)] {
                assert_eq!(left(time), first.map(|first| (at(first), at(first + 60))), "{order:?} {time}");
            }
        }
        let again = Waiting { due: at(99), ..boot(0) };
        assert_eq!(boot(0).with(again), boot(0));
    }

    #[test]
    fn of_too_many_boots_the_first_and_the_newest_are_kept() {
        let all = (1..20).map(boot).fold(boot(0), Waiting::with);
        let times: Vec<_> = all.boots().map(|boot| boot.early.time).collect();
        let kept: Vec<_> = [0].into_iter().chain(5..20).map(at).collect();
        assert_eq!(times, kept);
    }

    #[test]
    fn what_is_stored_is_read() {
        for boots in [boot(0), boot(0).with(boot(40)).with(boot(80))] {
            let stored = serde_json::to_value(&boots).unwrap();
            assert_eq!(serde_json::from_value::<Waiting>(stored).unwrap(), boots);
        }
    }
}
