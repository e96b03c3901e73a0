//! Boots whose late report is missing. Pure.
//!
//! A boot that follows puts off nothing: a VM that boots again and again without coming through has its first failed
//! boot told when that one's time is up, and is watched from then on by the newest.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::integrity::entry::Entry;

/// The first boot whose late report is missing, and the newest one after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Waiting {
    /// Until when the late report is waited for.
    pub due: DateTime<Utc>,
    /// The early report, which failed.
    pub early: Entry,
    /// The newest of the boots since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    next: Option<Box<Waiting>>,
}

impl Waiting {
    /// Nothing but this boot.
    pub(super) fn new(early: &Entry, due: DateTime<Utc>) -> Self {
        Self { due, early: early.clone(), next: None }
    }

    /// The same, and another boot. One that is known keeps its time.
    pub(super) fn with(mut self, other: Self) -> Self {
        let next = self.next.take().map(|next| *next);
        let mut boots: Vec<Self> = [Some(self), next, Some(other)].into_iter().flatten().collect();
        boots.sort_by_key(|boot| boot.early.time);
        boots.dedup_by_key(|boot| boot.early.time);
        let newest = if boots.len() > 1 { boots.pop() } else { None };
        let mut first = boots.remove(0);
        first.next = newest.map(Box::new);
        first
    }

    /// What is still waited for after an entry of this time, which ended the boots until then.
    pub(super) fn after(self, time: DateTime<Utc>) -> Option<Self> {
        if self.early.time > time { Some(self) } else { self.next.and_then(|next| next.after(time)) }
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
    fn the_first_boot_keeps_its_time_and_the_newest_is_next_in_whatever_order_they_come() {
        for order in [[0, 40, 80], [80, 40, 0], [40, 80, 0], [40, 0, 80]] {
            let [one, two, three] = order.map(boot);
            let both = one.with(two).with(three).with(boot(80));
            assert_eq!((both.early.time, both.due), (at(0), at(60)), "{order:?}");
            let next = both.clone().after(at(30)).unwrap();
            assert_eq!((next.early.time, next.due), (at(80), at(140)), "{order:?}");
            assert_eq!((both.clone().after(at(-1)), both.after(at(80))), (Some(boot(0).with(boot(80))), None));
        }
        let again = Waiting { due: at(99), ..boot(0) };
        assert_eq!(boot(0).with(again), boot(0));
    }
}
