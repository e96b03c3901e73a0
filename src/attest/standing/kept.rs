//! What is written down of what stands open, for later processes and for the other replicas.
//!
//! Each process writes down what it changed itself, and looks up from time to time what the others wrote. What it changed
//! and has not written down yet stays as it knows it; all else is as it is written down. A finding that two replicas
//! changed at once is rather taken for open: then the next good attestation closes it once more.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value as Json, json};

use super::state::{Rests, State};
use super::{Machine, Told};
use crate::event::attestation::{Attestation, Category};

/// What of a machine is to be written down: of each category, what was written before, and what is to be from now on.
#[derive(Debug, Clone)]
pub struct Unkept(Vec<(Category, Option<Rests>, Option<Rests>)>);

impl Unkept {
    /// What is to stand in the store, where `stored` stands now.
    pub fn over(&self, mut stored: Map<String, Json>) -> Map<String, Json> {
        for (category, before, now) in &self.0 {
            let name = category.name();
            let there = stored.get(name).and_then(Rests::kept);
            let untouched = there == *before;
            match (now, there) {
                (Some(now), Some(there)) if !untouched => {
                    stored.insert(name.to_owned(), json!(now.clone().and(&there)));
                }
                (Some(now), _) => {
                    stored.insert(name.to_owned(), json!(now));
                }
                (None, _) if untouched => {
                    stored.remove(name);
                }
                // Another replica opened it meanwhile, or for more.
                (None, _) => {}
            }
        }
        stored
    }
}

impl Machine {
    /// What is written down of it now. What of it is not written down yet stays.
    fn recall(&mut self, stored: &Map<String, Json>) {
        for category in Category::ALL {
            if self.rests(category) != self.kept.get(&category) {
                continue;
            }
            let theirs = stored.get(category.name()).and_then(Rests::kept);
            match (self.told.get_mut(&category).filter(|state| state.open), &theirs) {
                (Some(state), Some(theirs)) => state.rests = theirs.clone(),
                (Some(state), None) => state.open = false,
                (None, Some(theirs)) => drop(self.told.insert(category, State::told(theirs.clone()))),
                (None, None) => {}
            }
            match theirs {
                Some(theirs) => drop(self.kept.insert(category, theirs)),
                None => drop(self.kept.remove(&category)),
            }
        }
        self.complete = true;
    }
}

impl Told {
    /// Everything that is open of a machine, as it was written down when [`Told::changes`] were so many: what was read before
    /// something changed here is of no use.
    pub fn recall(&mut self, subject: &str, stored: &Map<String, Json>, changes: u64, now: DateTime<Utc>) {
        let machine = self.machine(subject);
        if machine.changes == changes {
            machine.recall(stored);
            machine.looked = Some(now);
        }
    }

    /// It could not be looked up.
    pub fn not_recalled(&mut self, subject: &str, now: DateTime<Utc>) {
        if let Some(machine) = self.machines.get_mut(subject) {
            machine.looked = Some(now);
        }
    }

    /// How often something changed of what is known of a machine.
    pub fn changes(&self, subject: &str) -> u64 {
        self.machines.get(subject).map_or(0, |machine| machine.changes)
    }

    /// Whether it was looked up less than `within` ago.
    pub fn has_looked(&self, subject: &str, now: DateTime<Utc>, within: TimeDelta) -> bool {
        let looked = self.machines.get(subject).and_then(|machine| machine.looked);
        looked.is_some_and(|looked| (now - looked).abs() < within)
    }

    /// Whether the event's token is newer than what the same open finding rests on: it is no news here, but another replica
    /// may have closed the finding meanwhile.
    pub fn may_open_again(&self, event: &Attestation) -> bool {
        let known = self.machines.get(&event.subject).and_then(|machine| machine.rests(event.category));
        event.open && known.is_some_and(|rests| rests.is_older_than(event))
    }

    /// What is not written down as it is; `None` when all is.
    pub fn unkept(&self, subject: &str) -> Option<Unkept> {
        let machine = self.machines.get(subject)?;
        let change = |category: Category| {
            let (before, now) = (machine.kept.get(&category), machine.rests(category));
            (before != now).then(|| (category, before.cloned(), now.cloned()))
        };
        let unkept: Vec<_> = Category::ALL.into_iter().filter_map(change).collect();
        (!unkept.is_empty()).then_some(Unkept(unkept))
    }

    /// It is written down.
    pub fn kept(&mut self, subject: &str, unkept: Unkept) {
        let Some(machine) = self.machines.get_mut(subject) else { return };
        machine.changes += 1;
        for (category, _, now) in unkept.0 {
            match now {
                Some(now) => drop(machine.kept.insert(category, now)),
                None => drop(machine.kept.remove(&category)),
            }
        }
    }
}
