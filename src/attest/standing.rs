//! What stands open of each machine: so that a thousand tokens in the same state are told once, that no older token
//! closes what a newer one opened, that what is open says what is so now, and that a denial ends when the policy that
//! denied allows, or one that was asked together with it.

mod kept;
mod state;

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};

pub use self::kept::Unkept;
use self::state::{Rests, State, Turn};
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
    /// What of it is written down.
    kept: HashMap<Category, Rests>,
    /// When it was last looked up what other processes wrote down.
    looked: Option<DateTime<Utc>>,
    /// How often something of this changed.
    changes: u64,
}

/// Whether a policy is still there, or one of an issuer; one that is gone cannot allow what it denied.
pub type Live<'l> = &'l (dyn Fn(&str) -> bool + Send + Sync);

impl Machine {
    /// What its open finding of a category rests on.
    fn rests(&self, category: Category) -> Option<&Rests> {
        self.told.get(&category).filter(|state| state.open).map(|state| &state.rests)
    }

    fn may_be_open(&self, category: Category) -> bool {
        self.told.get(&category).map_or(!self.complete, |state| state.open)
    }

    /// Whether it is known to have been told open.
    fn is_open(&self, category: Category) -> bool {
        self.told.get(&category).is_some_and(|state| state.open)
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
            (true, false) if state.is_newer_than(event) => return Turn::Loses,
            // Who uses a token twice, or reads it in a log, can show it once more: that is no other attestation.
            (true, false) if event.category.happens() && state.may_rest_on(event) => return Turn::Loses,
            (true, false) if !state.allows(event, live) => {
                return if state.renames(event) { Turn::Renames } else { Turn::Loses };
            }
            _ => {}
        }
        *state = State::of(event);
        Turn::Changes
    }

    fn as_news(&mut self, mut event: Attestation, repeat: TimeDelta, live: Live<'_>) -> Option<Attestation> {
        let was_open = self.is_open(event.category);
        event.evidence.told = !event.open && was_open;
        let turn = self.turn(&event, false, live);
        if event.open && event.category.happens() {
            // The same token may have opened it before, and another replica may have closed it since: no occurrence is
            // the token alone. In a flood it is one a minute, which the outbox takes once.
            let state = self.told.get_mut(&event.category);
            let apart = !was_open || state.is_none_or(|state| state.may_change(event.time));
            let minute = event.time.timestamp().div_euclid(60);
            let time = if apart { event.time.timestamp_micros() } else { minute };
            event.occurrence = format!("{}-{time}", event.occurrence);
            return Some(event);
        }
        let state = self.told.get_mut(&event.category);
        match (turn, state) {
            (Turn::Changes, state) => {
                if let Some(state) = state.filter(|state| state.open) {
                    state.rests.at = event.time;
                }
                Some(event)
            }
            (Turn::Renames, Some(state)) => state.renamed(&event),
            (_, Some(state)) if event.open && event.time - state.rests.at >= repeat && !state.is_newer_than(&event) => {
                state.rests.at = event.time;
                state.says(&event);
                Some(event)
            }
            _ => None,
        }
    }

    fn as_it_stands(&mut self, mut event: Attestation, live: Live<'_>) -> Option<Attestation> {
        event.evidence.told = !event.open && self.is_open(event.category);
        if event.open && event.category.happens() {
            // Also what comes late did happen.
            self.turn(&event, false, live);
            return Some(event);
        }
        let turn = self.turn(&event, true, live);
        let state = self.told.get_mut(&event.category);
        let by_this = state.as_ref().is_some_and(|state| state.by == event.occurrence);
        match (turn, state) {
            (Turn::Changes, _) => Some(event),
            (Turn::Renames, Some(state)) => state.renamed(&event),
            // The outbox knows what it has already; what closed or renamed something is told again in case it did not
            // get there.
            (Turn::Loses, Some(state)) if state.open && !event.open && by_this => state.renamed(&event),
            (Turn::Stays, Some(state)) if event.open => {
                if !state.is_newer_than(&event) {
                    state.says(&event);
                }
                Some(event)
            }
            (Turn::Stays, Some(state)) if by_this => {
                event.evidence.told = !event.open && state.closes;
                Some(event)
            }
            _ => None,
        }
    }
}

impl Told {
    /// Remembers so many machines.
    pub fn new(limit: usize) -> Self {
        Self { machines: HashMap::new(), limit }
    }

    /// Leaves only what is news: what opens or closes, what is open for another reason, and what is still open after
    /// `repeat`.
    pub fn news(&mut self, events: Vec<Attestation>, repeat: TimeDelta, live: Live<'_>) -> Vec<Attestation> {
        let news = |machine: &mut Machine, event| machine.as_news(event, repeat, live);
        events.into_iter().filter_map(|event| self.of_machine(event, news)).collect()
    }

    /// Leaves what stands of what a log tells: all but what something newer contradicts. Asked again for the same
    /// entry, it leaves the same.
    pub fn standing(&mut self, events: Vec<Attestation>, live: Live<'_>) -> Vec<Attestation> {
        let standing = |machine: &mut Machine, event| machine.as_it_stands(event, live);
        events.into_iter().filter_map(|event| self.of_machine(event, standing)).collect()
    }

    /// Whether it is known that nothing of it is open, so that nothing can be closed.
    pub fn settled(&self, subject: &str) -> bool {
        self.machines.get(subject).is_some_and(|machine| {
            Category::ALL.into_iter().filter(|one| one.closes_itself()).all(|one| !machine.may_be_open(one))
        })
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

    /// What one event's machine makes of it.
    fn of_machine(
        &mut self,
        event: Attestation,
        turn: impl FnOnce(&mut Machine, Attestation) -> Option<Attestation>,
    ) -> Option<Attestation> {
        if !is_tracked(&event) {
            return Some(event);
        }
        let (machine, category) = (self.machine(&event.subject), event.category);
        let before = machine.rests(category).cloned();
        let told = turn(machine, event);
        machine.changes += u64::from(machine.rests(category) != before.as_ref());
        told
    }
}

/// Whether it is remembered, so that it can be closed. What happens, each time for itself, is always told; what of it is no
/// machine's is closed by none.
pub fn is_tracked(event: &Attestation) -> bool {
    event.category.closes_itself() && (event.resource.is_some() || !event.category.happens())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::attestation::Evidence;
    use crate::finding::Properties;

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

    /// What would be written down of the machine.
    fn open(told: &Told) -> serde_json::Map<String, serde_json::Value> {
        told.unkept("machine").map(|unkept| unkept.over(Default::default())).unwrap_or_default()
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
    fn what_happened_is_told_each_time_and_closed_by_another_token() {
        for category in [Category::AttestationTokenReplayed, Category::AttestationTokenExposed] {
            let one = |open: bool, times: (i64, i64)| Attestation {
                resource: Some("machine".into()),
                ..event(category, open, times, "p")
            };
            let mut told = Told::new(9);
            let first = told.news(vec![one(true, (100, 200))], TimeDelta::hours(1), &|_| true);
            assert!(news(&mut told, one(true, (90, 201))), "each for itself");
            let mut after_restart = Told::new(9);
            after_restart.recall("machine", &open(&told), 0, at(0));
            for told in [&mut told, &mut after_restart] {
                assert!(!news(told, one(false, (90, 210))), "made before");
                assert!(!news(told, one(false, (100, 220))), "the same token again");
                let closed = told.news(vec![one(false, (101, 230))], TimeDelta::hours(1), &|_| true);
                assert!(closed.len() == 1 && closed[0].evidence.told);
                assert!(!news(told, one(false, (102, 240))));
            }
            let again = told.news(vec![one(true, (100, 250))], TimeDelta::hours(1), &|_| true);
            assert!(again[0].key() != first[0].key(), "shown again, it is open again");
            assert!(news(&mut told, one(false, (103, 260))));
            let mut logged = Told::new(9);
            let mut stands = |event: Attestation| !logged.standing(vec![event], &|_| true).is_empty();
            assert!(stands(one(false, (5, 5))) && stands(one(true, (4, 6))), "told also when it comes late");
            assert!(stands(one(false, (6, 7))));
            let nobodys = Attestation { resource: None, ..one(true, (1, 1)) };
            assert!(news(&mut told, nobodys));
            assert!(open(&told).is_empty(), "no machine's");
        }
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
        after_restart.recall("machine", &open(&told), 0, at(0));
        assert!(news(&mut told, event(DENIED, false, (6, 6), "prod")));
        assert!(!news(&mut after_restart, event(DENIED, false, (6, 6), "weak")));
        let gone = event(DENIED, false, (7, 7), "weak");
        assert!(!after_restart.news(vec![gone], TimeDelta::hours(1), &|policy| policy != "prod").is_empty());
    }

    #[test]
    fn a_denial_of_several_policies_ends_when_one_of_them_allows() {
        let asked = |all: &[&str], event: Attestation| {
            let asked = all.iter().map(|one| (*one).to_owned()).collect();
            Attestation { evidence: Evidence { asked, ..event.evidence.clone() }, ..event }
        };
        let mut told = Told::new(9);
        let both = ["europe", "us"];
        assert!(news(&mut told, asked(&both, event(DENIED, true, (1, 1), "us"))));
        let mut after_restart = Told::new(9);
        after_restart.recall("machine", &open(&told), 0, at(0));
        for told in [&mut told, &mut after_restart] {
            assert!(!news(told, event(DENIED, false, (2, 2), "asia")), "not asked with it");
            assert!(news(told, event(DENIED, false, (3, 3), "europe")));
            assert!(news(told, asked(&both, event(DENIED, true, (4, 4), "us"))));
            assert!(!news(told, event(DENIED, true, (5, 5), "us")), "known, but now it is also denied alone");
            assert!(!news(told, event(DENIED, false, (6, 6), "europe")));
            assert!(news(told, event(DENIED, false, (7, 7), "us")));
        }
    }

    fn by(issuer: &str, event: Attestation) -> Attestation {
        Attestation { evidence: Evidence { issuer: Some(issuer.into()), ..event.evidence.clone() }, ..event }
    }

    #[test]
    fn what_one_issuer_says_no_other_takes_back() {
        let said = |issuer: &str, open: bool, issued: i64| by(issuer, event(DEBUG, open, (issued, issued), "p"));
        let mut told = Told::new(9);
        assert!(news(&mut told, said("google", true, 5)));
        assert!(!news(&mut told, said("partner", false, 6)));
        let mut after_restart = Told::new(9);
        after_restart.recall("machine", &open(&told), 0, at(0));
        for told in [&mut told, &mut after_restart] {
            assert!(!news(told, said("google", false, 4)), "another issuer's later token makes none newer");
            assert!(!news(told, said("partner", true, 7)), "both say so now");
            assert!(!news(told, said("google", false, 8)) && news(told, said("partner", false, 9)));
        }
        let mut told = Told::new(9);
        assert!(news(&mut told, said("gone", true, 1)));
        let good = said("google", false, 2);
        assert_eq!(told.news(vec![good], TimeDelta::hours(1), &|issuer| issuer != "gone").len(), 1);
        let missing = event(Category::AttestationMissing, true, (3, 3), "p");
        let seen = by("google", event(Category::AttestationMissing, false, (3, 4), "p"));
        assert!(news(&mut told, missing) && news(&mut told, seen), "nobody's word is taken back by anybody");
    }

    #[test]
    fn what_a_policys_limit_opened_another_without_it_does_not_close() {
        let said = |open: bool, second: i64, policy: &str| {
            let mut event = event(Category::AttestationTcbOutOfDate, open, (second, second), policy);
            event.evidence.by_limit = open;
            by("google", event)
        };
        let mut told = Told::new(9);
        assert!(news(&mut told, said(true, 1, "strict")) && !news(&mut told, said(false, 2, "lax")));
        let mut after_restart = Told::new(9);
        after_restart.recall("machine", &open(&told), 0, at(0));
        for told in [&mut told, &mut after_restart] {
            assert!(!news(told, said(false, 3, "lax")) && news(told, said(false, 4, "strict")));
        }
    }

    #[test]
    fn what_is_not_written_down_yet_stays_as_it_is_known() {
        let weak = |issued: i64| because(&issued.to_string(), event(DEBUG, true, (issued, issued), "p"));
        let mut told = Told::new(9);
        let look = |told: &mut Told, stored: &serde_json::Map<_, _>| {
            let changes = told.changes("machine");
            told.recall("machine", stored, changes, at(0));
        };
        let nothing = serde_json::Map::new();
        look(&mut told, &nothing);
        assert!(told.settled("machine") && news(&mut told, weak(1)));
        let written = told.unkept("machine").unwrap();
        let stored = written.over(nothing.clone());
        told.kept("machine", written);
        assert!(told.unkept("machine").is_none());
        // Another replica closed it, and what is told now could not be written down.
        assert!(news(&mut told, weak(2)));
        look(&mut told, &nothing);
        assert!(!told.settled("machine") && told.unkept("machine").is_some());
        // Closed while that was being written.
        let late = told.unkept("machine").unwrap();
        assert!(news(&mut told, event(DEBUG, false, (3, 3), "p")));
        told.kept("machine", late);
        let closing = told.unkept("machine").unwrap();
        assert!(closing.over(open(&told)).is_empty());
        let other = closing.over(stored.clone());
        assert_eq!(other, stored, "another replica opened it meanwhile");
        told.kept("machine", closing);
        // What was read before something changed is of no use.
        let changes = told.changes("machine");
        assert!(news(&mut told, weak(4)));
        told.recall("machine", &nothing, changes, at(0));
        assert!(!told.settled("machine"));
    }

    /// The same for another reason.
    fn because(description: &str, event: Attestation) -> Attestation {
        Attestation { description: description.into(), ..event }
    }

    #[test]
    fn another_cause_is_news_and_causes_that_alternate_make_no_storm() {
        for (category, policy) in [(DENIED, "tdx"), (Category::AttestationWeakHardware, "tdx")] {
            let mut told = Told::new(9);
            let say = |told: &mut Told, cause: &str, second: i64| {
                news(told, because(cause, event(category, true, (second, second), policy)))
            };
            assert!(say(&mut told, "a", 0) && !say(&mut told, "a", 1) && say(&mut told, "b", 2), "{category:?}");
            assert!(!news(&mut told, because("a", event(category, true, (1, 3), policy))), "an older token");
            let mut after_restart = Told::new(9);
            after_restart.recall("machine", &open(&told), 0, at(0));
            assert!(!say(&mut after_restart, "b", 3) && say(&mut after_restart, "a", 4));
            let alternating = (10..610).filter(|second| say(&mut told, ["a", "b"][*second as usize % 2], *second));
            assert!((10..=15).contains(&alternating.count()));
        }
        let mut told = Told::new(9);
        let with = |value: &str| {
            let mut event = event(DENIED, true, (1, 1), "tdx");
            event.properties.insert("failed_terms", json!([{"values": {"assertion.hwmodel": value}}]));
            event
        };
        assert!(news(&mut told, with("A")) && !news(&mut told, with("A")) && news(&mut told, with("B")));
    }

    #[test]
    fn a_finding_names_a_policy_that_still_denies() {
        let mut told = Told::new(9);
        for (second, policy) in [(1, "a"), (2, "b"), (3, "c")] {
            assert!(news(
                &mut told,
                because(&format!("{policy} says no"), event(DENIED, true, (second, second), policy))
            ));
        }
        let mut from_logs = Told::new(9);
        from_logs.recall("machine", &open(&told), 0, at(0));
        let allowed = event(DENIED, false, (4, 4), "c");
        let left = told.news(vec![allowed.clone()], TimeDelta::hours(1), &|_| true);
        let [left] = left.as_slice() else { panic!("{left:?}") };
        assert_eq!((left.open, left.description.as_str(), left.time), (true, "a says no", at(4)));
        assert_eq!(left.properties.get("policy"), Some(&json!("a")));
        assert!(!news(&mut told, event(DENIED, false, (5, 5), "b")), "it was not the one that is named");
        assert!(news(&mut told, event(DENIED, false, (6, 6), "a")));
        for _ in 0..2 {
            let stands = from_logs.standing(vec![allowed.clone()], &|_| true);
            assert_eq!(stands.as_slice(), std::slice::from_ref(left), "asked again, it says the same");
        }
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
}
