//! What happens again and again is told at once the first time, and then once in a while with how often: a log that repeats
//! itself hides what else it has to say.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

/// Counts what happens, by what it has in common.
#[derive(Debug)]
pub struct Summed<K> {
    every: Duration,
    most: usize,
    tallies: Mutex<HashMap<Option<K>, Tally>>,
}

#[derive(Debug)]
struct Tally {
    told: DateTime<Utc>,
    untold: u64,
    last: String,
}

/// What is to be told now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sum<K> {
    /// What they have in common; `None` for what came when there were too many kinds to keep them apart.
    pub key: Option<K>,
    /// How many there were since the last time.
    pub count: u64,
    /// What was said of the last one.
    pub last: String,
}

impl<K: Eq + Hash + Clone> Summed<K> {
    /// Each kind is told so often, and so many are kept apart.
    pub fn new(every: Duration, most: usize) -> Self {
        Self { every, most, tallies: Mutex::default() }
    }

    /// One more of a kind; what is to be told of it, if it is time.
    pub fn add(&self, key: K, said: &str, now: DateTime<Utc>) -> Option<Sum<K>> {
        let mut tallies = self.locked();
        let key = Some(key);
        let key = if tallies.contains_key(&key) || tallies.len() < self.most { key } else { None };
        match tallies.get_mut(&key) {
            Some(tally) => {
                tally.untold += 1;
                said.clone_into(&mut tally.last);
                let is_due = self.is_due(tally, now);
                is_due.then(|| tally.take(key, now))
            }
            None => {
                let last = said.to_owned();
                tallies.insert(key.clone(), Tally { told: now, untold: 0, last: last.clone() });
                Some(Sum { key, count: 1, last })
            }
        }
    }

    /// What is to be told although nothing more of it came. Kinds that have become quiet are forgotten.
    pub fn rest(&self, now: DateTime<Utc>) -> Vec<Sum<K>> {
        let mut tallies = self.locked();
        tallies.retain(|_, tally| tally.untold > 0 || !self.is_due(tally, now));
        let due = tallies.iter_mut().filter(|(_, tally)| tally.untold > 0 && self.is_due(tally, now));
        due.map(|(key, tally)| tally.take(key.clone(), now)).collect()
    }

    /// A clock that steps back must not silence anything for long.
    fn is_due(&self, tally: &Tally, now: DateTime<Utc>) -> bool {
        (now - tally.told).abs().to_std().is_ok_and(|passed| passed >= self.every)
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Option<K>, Tally>> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn take<K>(&mut self, key: Option<K>, now: DateTime<Utc>) -> Sum<K> {
        self.told = now;
        Sum { key, count: std::mem::take(&mut self.untold), last: self.last.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn sum(key: Option<&'static str>, count: u64, last: &str) -> Sum<&'static str> {
        Sum { key, count, last: last.into() }
    }

    #[test]
    fn the_first_is_told_at_once_and_the_others_by_the_minute() {
        let summed = Summed::new(Duration::from_secs(60), 10);
        assert_eq!(summed.add("a", "x", at(0)), Some(sum(Some("a"), 1, "x")));
        assert!((1..60).all(|second| summed.add("a", "y", at(second)).is_none()));
        assert_eq!(summed.add("b", "z", at(30)), Some(sum(Some("b"), 1, "z")), "another kind");
        assert_eq!(summed.add("a", "w", at(60)), Some(sum(Some("a"), 60, "w")));
        assert_eq!(summed.add("a", "v", at(61)), None);
        assert_eq!(summed.rest(at(100)), []);
        assert_eq!(summed.rest(at(121)), [sum(Some("a"), 1, "v")], "none is left untold");
        assert_eq!(summed.rest(at(200)), []);
        assert!(summed.locked().is_empty());
        assert_eq!(summed.add("a", "u", at(201)).unwrap().count, 1, "at once again");
        assert!(summed.add("a", "t", at(-9_000)).is_some(), "the clock was set back");
    }

    #[test]
    fn no_more_kinds_are_kept_than_there_is_room_for() {
        let summed = Summed::new(Duration::from_secs(60), 2);
        assert!(summed.add("a", "", at(0)).is_some() && summed.add("b", "", at(0)).is_some());
        assert_eq!(summed.add("c", "first", at(0)), Some(sum(None, 1, "first")));
        assert_eq!((summed.add("d", "", at(1)), summed.add("e", "last", at(1))), (None, None));
        assert_eq!(summed.rest(at(60)), [sum(None, 2, "last")]);
        assert_eq!(summed.locked().len(), 1);
    }
}
