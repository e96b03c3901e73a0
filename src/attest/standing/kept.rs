//! What is written down of what stands open, for later processes and for the other replicas.
//!
//! Each process writes only what it changed itself, and looks up from time to time what the others wrote. What it told
//! and has not written down yet stays as it knows it. A finding that two replicas changed at once is rather taken for open:
//! then the next good attestation closes it once more.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value as Json, json};

use super::state::{Rests, State};
use super::{Machine, Told};
use crate::event::attestation::Category;

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
    fn recall(&mut self, stored: HashMap<Category, Rests>) {
        for category in Category::ALL {
            let (ours, kept, theirs) = (self.rests(category), self.kept.get(&category), stored.get(&category));
            if ours.is_some() != kept.is_some() || theirs == kept {
                continue;
            }
            let changed = ours != kept;
            match (self.told.get_mut(&category).filter(|state| state.open), theirs) {
                (Some(state), Some(theirs)) if changed => state.rests = state.rests.clone().and(theirs),
                (Some(state), Some(theirs)) => state.rests = theirs.clone(),
                (Some(state), None) => state.open = false,
                (None, Some(theirs)) => {
                    self.told.insert(category, State::told(theirs.clone()));
                }
                (None, None) => {}
            }
        }
        self.kept = stored;
        self.complete = true;
    }
}

impl Told {
    /// What is open, by category, and what it rests on.
    pub fn open(&self, subject: &str) -> Map<String, Json> {
        let Some(machine) = self.machines.get(subject) else { return Map::new() };
        let open = |category: Category| Some((category.name().to_owned(), json!(machine.rests(category)?)));
        Category::ALL.into_iter().filter_map(open).collect()
    }

    /// Everything that is open of a machine, as it is written down.
    pub fn recall(&mut self, subject: &str, stored: &Map<String, Json>) {
        let rests = |category: Category| Some((category, Rests::kept(stored.get(category.name())?)?));
        let stored = Category::ALL.into_iter().filter_map(rests).collect();
        self.machine(subject).recall(stored);
    }

    /// What is written down was looked up, or could not be.
    pub fn looked(&mut self, subject: &str, now: DateTime<Utc>) {
        if let Some(machine) = self.machines.get_mut(subject) {
            machine.looked = Some(now);
        }
    }

    /// Whether it was looked up less than `within` ago.
    pub fn has_looked(&self, subject: &str, now: DateTime<Utc>, within: TimeDelta) -> bool {
        let looked = self.machines.get(subject).and_then(|machine| machine.looked);
        looked.is_some_and(|looked| (now - looked).abs() < within)
    }

    /// What of these categories is not written down as it is; nothing when all is.
    pub fn unkept(&self, subject: &str, categories: &[Category]) -> Option<Unkept> {
        let machine = self.machines.get(subject)?;
        let change = |category: &Category| {
            let (before, now) = (machine.kept.get(category), machine.rests(*category));
            (before != now).then(|| (*category, before.cloned(), now.cloned()))
        };
        let unkept: Vec<_> = categories.iter().filter_map(change).collect();
        (!unkept.is_empty()).then_some(Unkept(unkept))
    }

    /// It is written down.
    pub fn kept(&mut self, subject: &str, unkept: Unkept) {
        let Some(machine) = self.machines.get_mut(subject) else { return };
        for (category, _, now) in unkept.0 {
            match now {
                Some(now) => machine.kept.insert(category, now),
                None => machine.kept.remove(&category),
            };
        }
    }
}
