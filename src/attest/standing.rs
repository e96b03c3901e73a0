//! What stands open of each machine: so that a thousand tokens in the same state are told once, that no older token closes
//! what a newer one opened, and that a denial ends when the policy that denied allows.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json, json};

use crate::event::attestation::{Attestation, Category};

/// What was told about each machine.
#[derive(Debug)]
pub struct Told {
    machines: HashMap<String, Machine>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Machine {
    told: HashMap<Category, State>,
    /// Whether all that is open is in `told`, so that there is nothing else to close.
    complete: bool,
}

/// What was told last of one category.
#[derive(Debug, Clone)]
struct State {
    open: bool,
    /// The occurrence that brought it about.
    by: String,
    rests: Rests,
}

/// What an open state rests on, as it is kept over restarts.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Rests {
    /// When it was last told.
    at: DateTime<Utc>,
    /// When the newest token that shows it was issued.
    issued: Option<DateTime<Utc>>,
    /// The policies that deny.
    policies: BTreeSet<String>,
}

/// What an event does to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// It opens or closes, or another policy denies.
    Changes,
    /// It says what is known.
    Stays,
    /// Something newer, or another policy, says otherwise.
    Loses,
}

/// Whether a policy is still there; one that is gone cannot allow what it denied.
pub type Live<'l> = &'l (dyn Fn(&str) -> bool + Send + Sync);

impl State {
    fn of(event: &Attestation) -> Self {
        let policies = event.evidence.policy.iter().filter(|_| event.category.is_of_a_policy()).cloned().collect();
        let rests = Rests { at: event.time, issued: event.evidence.issued, policies };
        Self { open: event.open, by: event.occurrence.clone(), rests }
    }

    /// Whether the event's token was issued before what this rests on.
    fn is_newer_than(&self, event: &Attestation) -> bool {
        self.rests.issued.zip(event.evidence.issued).is_some_and(|(known, issued)| issued < known)
    }

    fn also(&mut self, event: &Attestation) -> Turn {
        self.rests.issued = self.rests.issued.max(event.evidence.issued);
        let policy = event.evidence.policy.as_ref().filter(|_| event.category.is_of_a_policy());
        match policy {
            Some(policy) if self.rests.policies.insert(policy.clone()) => Turn::Changes,
            _ => Turn::Stays,
        }
    }

    /// Takes away what the closing event allows. Whether nothing denies any more.
    fn allows(&mut self, event: &Attestation, live: Live<'_>) -> bool {
        let allowed = event.evidence.policy.as_deref();
        self.rests.policies.retain(|policy| allowed != Some(policy) && live(policy));
        self.rests.policies.is_empty()
    }
}

impl Machine {
    fn may_be_open(&self, category: Category) -> bool {
        self.told.get(&category).map_or(!self.complete, |state| state.open)
    }

    /// `in_order`: an opening event, too, yields to what is newer, as entries of a log come late and twice.
    fn turn(&mut self, event: &Attestation, in_order: bool, live: Live<'_>) -> Turn {
        let Some(state) = self.told.get_mut(&event.category) else {
            if !event.open && self.complete {
                return Turn::Stays;
            }
            self.told.insert(event.category, State::of(event));
            return Turn::Changes;
        };
        match (state.open, event.open) {
            (true, true) => return state.also(event),
            (false, false) => return Turn::Stays,
            (false, true) if in_order && state.is_newer_than(event) => return Turn::Loses,
            (true, false) if state.is_newer_than(event) || !state.allows(event, live) => return Turn::Loses,
            _ => {}
        }
        *state = State::of(event);
        Turn::Changes
    }
}

impl Told {
    /// Remembers so many machines.
    pub fn new(limit: usize) -> Self {
        Self { machines: HashMap::new(), limit }
    }

    /// Leaves only what is news: what opens or closes, and what is still open after `repeat`.
    pub fn news(&mut self, events: Vec<Attestation>, repeat: TimeDelta, live: Live<'_>) -> Vec<Attestation> {
        events.into_iter().filter(|event| self.is_news(event, repeat, live)).collect()
    }

    /// Leaves what stands of what a log tells: all but what something newer contradicts. Asked again for the same entry,
    /// it leaves the same.
    pub fn standing(&mut self, events: Vec<Attestation>, live: Live<'_>) -> Vec<Attestation> {
        events.into_iter().filter(|event| self.stands(event, live)).collect()
    }

    /// Whether anything is remembered of it.
    pub fn knows(&self, subject: &str) -> bool {
        self.machines.contains_key(subject)
    }

    /// Whether it is known that nothing of it is open, so that nothing can be closed.
    pub fn settled(&self, subject: &str) -> bool {
        self.machines.get(subject).is_some_and(|machine| {
            Category::ALL.into_iter().filter(|one| one.closes_itself()).all(|one| !machine.may_be_open(one))
        })
    }

    /// What is open, by category, and what it rests on.
    pub fn open(&self, subject: &str) -> Map<String, Json> {
        let told = self.machines.get(subject).into_iter().flat_map(|machine| &machine.told);
        let open = told.filter(|(_, state)| state.open);
        open.map(|(category, state)| (category.name().to_owned(), json!(state.rests))).collect()
    }

    /// Everything that is open of a machine that is not known yet, as [`Told::open`] gave it; an older version gave only
    /// the time.
    pub fn recall(&mut self, subject: &str, open: &Map<String, Json>) {
        if self.knows(subject) {
            return;
        }
        let state = |category: Category| {
            let kept = open.get(category.name())?;
            let time = || DateTime::parse_from_rfc3339(kept.as_str()?).ok();
            let bare = || Some(Rests { at: time()?.to_utc(), issued: None, policies: BTreeSet::new() });
            let rests = Rests::deserialize(kept).ok().or_else(bare)?;
            Some((category, State { open: true, by: String::new(), rests }))
        };
        let told = Category::ALL.into_iter().filter_map(state).collect();
        *self.machine(subject) = Machine { told, complete: true };
    }

    /// Forgets a machine.
    pub fn forget(&mut self, subject: &str) {
        self.machines.remove(subject);
    }

    fn machine(&mut self, subject: &str) -> &mut Machine {
        if self.machines.len() >= self.limit && !self.machines.contains_key(subject) {
            self.machines.clear();
        }
        self.machines.entry(subject.to_owned()).or_default()
    }

    fn is_news(&mut self, event: &Attestation, repeat: TimeDelta, live: Live<'_>) -> bool {
        // Each replay and each release is an event of its own.
        if !event.category.closes_itself() {
            return true;
        }
        let machine = self.machine(&event.subject);
        let turn = machine.turn(event, false, live);
        let state = machine.told.get_mut(&event.category).filter(|_| event.open);
        let due = state.is_some_and(|state| {
            let due = turn == Turn::Changes || event.time - state.rests.at >= repeat;
            if due {
                state.rests.at = event.time;
            }
            due
        });
        due || turn == Turn::Changes
    }

    fn stands(&mut self, event: &Attestation, live: Live<'_>) -> bool {
        if !event.category.closes_itself() {
            return true;
        }
        let machine = self.machine(&event.subject);
        match machine.turn(event, true, live) {
            Turn::Changes => true,
            Turn::Loses => false,
            // The outbox knows what it has already; what closed something is told again in case it did not get there.
            Turn::Stays => {
                event.open || machine.told.get(&event.category).is_some_and(|one| one.by == event.occurrence)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Properties;
    use crate::event::attestation::Evidence;

    const DENIED: Category = Category::AttestationPolicyDenied;
    const DEBUG: Category = Category::AttestationDebugImage;

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(secs, 0).unwrap()
    }

    /// A token issued at `issued`, shown at `now` to a policy.
    fn event(category: Category, open: bool, (issued, now): (i64, i64), policy: &str) -> Attestation {
        Attestation {
            category,
            open,
            resource: None,
            subject: "machine".into(),
            time: at(now),
            description: String::new(),
            occurrence: format!("{issued}-{now}"),
            evidence: Evidence { issued: Some(at(issued)), policy: Some(policy.into()), ..Evidence::default() },
            properties: Properties::new(),
        }
    }

    fn news(told: &mut Told, event: Attestation) -> bool {
        !told.news(vec![event], TimeDelta::hours(1), &|_| true).is_empty()
    }

    #[test]
    fn a_newer_good_token_closes_and_an_older_one_does_not() {
        let mut told = Told::new(9);
        assert!(news(&mut told, event(DEBUG, true, (100, 200), "p")));
        assert!(!news(&mut told, event(DEBUG, false, (50, 210), "p")), "made before the failure");
        assert!(news(&mut told, event(DEBUG, false, (100, 220), "p")), "of the same second");
        assert!(news(&mut told, event(DEBUG, true, (100, 230), "p")), "shown again, it is so again");
        assert!(news(&mut told, event(DEBUG, false, (101, 240), "p")));
        assert!(!news(&mut told, event(DEBUG, false, (101, 250), "p")));
    }

    #[test]
    fn a_denial_ends_when_every_policy_that_denied_allows_or_is_gone() {
        let mut told = Told::new(9);
        assert!(news(&mut told, event(DENIED, true, (1, 1), "tdx")));
        assert!(!news(&mut told, event(DENIED, true, (2, 2), "tdx")));
        assert!(news(&mut told, event(DENIED, true, (2, 3), "prod")), "another policy's denial is news");
        assert!(!news(&mut told, event(DENIED, false, (4, 4), "weak")));
        assert!(!news(&mut told, event(DENIED, false, (5, 5), "tdx")));
        let mut after_restart = Told::new(9);
        after_restart.recall("machine", &told.open("machine"));
        assert!(news(&mut told, event(DENIED, false, (6, 6), "prod")));
        assert!(!news(&mut after_restart, event(DENIED, false, (6, 6), "weak")));
        let gone = event(DENIED, false, (7, 7), "weak");
        assert!(!after_restart.news(vec![gone], TimeDelta::hours(1), &|policy| policy != "prod").is_empty());
    }

    #[test]
    fn what_stays_open_is_told_again_after_a_while() {
        let mut told = Told::new(9);
        assert!(news(&mut told, event(DEBUG, true, (0, 0), "p")));
        assert!(!news(&mut told, event(DEBUG, true, (3599, 3599), "p")));
        assert!(news(&mut told, event(DEBUG, true, (3600, 3600), "p")));
        assert!(!news(&mut told, event(DEBUG, true, (3601, 3601), "p")));
    }

    #[test]
    fn what_a_log_delivers_late_or_twice_changes_nothing() {
        let mut told = Told::new(9);
        let mut stands = |event: Attestation| !told.standing(vec![event], &|_| true).is_empty();
        let [bad1, good, bad2] = [1, 2, 3].map(|issued| event(DEBUG, issued != 2, (issued, issued), "p"));
        assert!(stands(bad1.clone()) && stands(good.clone()));
        assert!(stands(good.clone()), "it may not have been taken in");
        assert!(!stands(bad1), "delivered again, it is over");
        assert!(stands(bad2.clone()) && stands(bad2));
        assert!(!stands(good), "delivered again, it closes nothing newer");
        assert!(stands(event(DEBUG, false, (4, 4), "p")));
    }

    #[test]
    fn what_an_older_version_kept_is_read() {
        let mut told = Told::new(9);
        let kept = json!({"ATTESTATION_DEBUG_IMAGE": "2026-11-22T04:00:00Z"});
        told.recall("machine", kept.as_object().unwrap());
        assert!(!told.settled("machine"));
        assert!(news(&mut told, event(DEBUG, false, (1, 1), "p")));
    }
}
