//! What was told last of one category of a machine: what it rests on, and what an event does to it.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use super::Live;
use crate::event::attestation::Attestation;
use crate::text::ellipsis;

/// A state whose cause changes is told again so often, in the long run: causes that alternate must not make a storm.
const CHANGES_EVERY: TimeDelta = TimeDelta::minutes(1);
/// So many changes of cause are told before it counts.
const CHANGES_AT_ONCE: i32 = 5;
/// The longest sentence of a policy that is kept, in bytes.
const SENTENCE: usize = 1024;
/// The most policies whose sentences are kept.
const SENTENCES: usize = 32;

/// What was told last of one category.
#[derive(Debug, Clone)]
pub(super) struct State {
    pub(super) open: bool,
    /// The occurrence that brought it about.
    pub(super) by: String,
    /// Whether that closed what was told before.
    pub(super) closes: bool,
    pub(super) rests: Rests,
    /// Changes of its cause are told again from then on.
    spent: DateTime<Utc>,
}

/// What an open state rests on, as it is kept over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rests {
    /// When it was last told.
    pub(super) at: DateTime<Utc>,
    /// When the newest token that shows it was issued, by issuer; under no name, when nobody is known to have.
    #[serde(default)]
    issuers: BTreeMap<String, Option<DateTime<Utc>>>,
    /// The policies that deny.
    policies: BTreeSet<String>,
    /// Of those that were asked together with others: all of which one had to allow.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    together: BTreeMap<String, BTreeSet<String>>,
    /// What each of them said last, or, under no name, what made a state that is no policy's.
    causes: BTreeMap<String, Cause>,
    /// The policy that the finding names.
    named: Option<String>,
}

/// Why something is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Cause {
    /// What tells it from another cause.
    mark: String,
    /// What a policy said, for when it is the one left that denies.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    said: String,
}

impl Cause {
    fn of(event: &Attestation) -> Self {
        let terms = event.properties.get("failed_terms").filter(|_| event.category.is_of_a_policy());
        let text = json!([event.description, terms]).to_string();
        let mark = hex::encode(&Sha256::digest(text)[..8]);
        let said = policy_of(event).map_or_else(String::new, |_| ellipsis(&event.description, SENTENCE));
        Self { mark, said }
    }
}

/// The policy whose answer the event is, or whose limit it is about.
pub(super) fn policy_of(event: &Attestation) -> Option<&String> {
    event.evidence.policy.as_ref().filter(|_| event.category.is_of_a_policy() || event.evidence.by_limit)
}

fn issuer_of(event: &Attestation) -> &str {
    event.evidence.issuer.as_deref().unwrap_or_default()
}

/// What an event does to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// It opens or closes, or another policy denies, or for another reason.
    Changes,
    /// It says what is known.
    Stays,
    /// Something newer, or another policy, says otherwise.
    Loses,
    /// It closes nothing, but the policy that was named does not deny any more: another one does.
    Renames,
}

impl Rests {
    /// Notes the policy that denies, if one does. Whether it did not deny before. A policy that also denies alone, or with
    /// others, ends with none of those that it was once asked with.
    fn denies(&mut self, event: &Attestation) -> bool {
        let Some(policy) = policy_of(event) else { return false };
        let asked: BTreeSet<String> = event.evidence.asked.iter().cloned().collect();
        let is_new = self.policies.insert(policy.clone());
        if is_new {
            self.together.insert(policy.clone(), asked);
        } else if let Some(known) = self.together.get_mut(policy) {
            known.retain(|one| asked.contains(one));
        }
        self.together.retain(|_, all| !all.is_empty());
        is_new
    }

    /// As an earlier process or another replica kept it.
    pub(super) fn kept(kept: &Json) -> Option<Self> {
        Self::deserialize(kept).ok()
    }

    /// Whether the event's token is newer.
    pub(super) fn is_older_than(&self, event: &Attestation) -> bool {
        self.issued(event) < event.evidence.issued
    }

    /// When the newest token of the event's issuer was issued that shows it.
    fn issued(&self, event: &Attestation) -> Option<DateTime<Utc>> {
        let of = |issuer: &str| self.issuers.get(issuer).copied().flatten();
        of(issuer_of(event)).max(of(""))
    }

    /// The event's token shows it.
    fn shown_by(&mut self, event: &Attestation) {
        let known = self.issuers.entry(issuer_of(event).to_owned()).or_default();
        *known = event.evidence.issued.max(*known);
    }

    /// What both rest on, where two replicas told the same finding.
    pub(super) fn and(mut self, other: &Self) -> Self {
        for (issuer, issued) in &other.issuers {
            let known = self.issuers.entry(issuer.clone()).or_default();
            *known = (*known).max(*issued);
        }
        for policy in &other.policies {
            let asked = other.together.get(policy);
            if self.policies.insert(policy.clone()) {
                self.together.extend(asked.map(|all| (policy.clone(), all.clone())));
            } else if let Some(known) = self.together.get_mut(policy) {
                known.retain(|one| asked.is_some_and(|all| all.contains(one)));
            }
        }
        self.together.retain(|_, all| !all.is_empty());
        for (policy, cause) in &other.causes {
            self.causes.entry(policy.clone()).or_insert_with(|| cause.clone());
        }
        self
    }
}

impl State {
    pub(super) fn of(event: &Attestation) -> Self {
        let policy = policy_of(event);
        let mut rests = Rests {
            at: event.time,
            issuers: BTreeMap::from([(issuer_of(event).to_owned(), event.evidence.issued)]),
            policies: BTreeSet::new(),
            together: BTreeMap::new(),
            causes: BTreeMap::from([(policy.cloned().unwrap_or_default(), Cause::of(event))]),
            named: policy.cloned(),
        };
        rests.denies(event);
        Self {
            open: event.open,
            by: event.occurrence.clone(),
            closes: event.evidence.told,
            rests,
            spent: DateTime::<Utc>::MIN_UTC,
        }
    }

    /// An open one, told by another process.
    pub(super) fn told(rests: Rests) -> Self {
        Self { open: true, by: String::new(), closes: false, rests, spent: DateTime::<Utc>::MIN_UTC }
    }

    /// Whether the event's token was issued before what this rests on.
    pub(super) fn is_newer_than(&self, event: &Attestation) -> bool {
        self.rests.issued(event).zip(event.evidence.issued).is_some_and(|(known, issued)| issued < known)
    }

    /// Whether the event's token may be the one that this rests on, shown again.
    pub(super) fn may_rest_on(&self, event: &Attestation) -> bool {
        self.rests.issued(event).zip(event.evidence.issued).is_some_and(|(known, issued)| issued <= known)
    }

    pub(super) fn also(&mut self, event: &Attestation) -> Turn {
        let late = self.is_newer_than(event);
        self.rests.shown_by(event);
        let policy = policy_of(event);
        if self.rests.denies(event) {
            self.says(event);
            return Turn::Changes;
        }
        let known = self.rests.causes.get(policy.map_or("", String::as_str));
        // An older token says nothing about the cause now.
        if late || known == Some(&Cause::of(event)) || !self.may_change(event.time) {
            return Turn::Stays;
        }
        self.says(event);
        Turn::Changes
    }

    /// The finding says what the event says.
    pub(super) fn says(&mut self, event: &Attestation) {
        let policy = policy_of(event);
        let key = policy.cloned().unwrap_or_default();
        if self.rests.causes.len() < SENTENCES || self.rests.causes.contains_key(&key) {
            self.rests.causes.insert(key, Cause::of(event));
        }
        self.rests.named = policy.cloned();
    }

    /// Whether another change is told, of which there may be a few at once and one a minute in the long run.
    pub(super) fn may_change(&mut self, now: DateTime<Utc>) -> bool {
        let spent = self.spent.max(now - CHANGES_EVERY * (CHANGES_AT_ONCE - 1));
        let may = spent <= now;
        if may {
            self.spent = spent + CHANGES_EVERY;
        }
        may
    }

    /// Takes away what the closing event allows, or its issuer takes back. Whether nothing denies any more.
    pub(super) fn allows(&mut self, event: &Attestation, live: Live<'_>) -> bool {
        let Rests { policies, together, causes, issuers, .. } = &mut self.rests;
        let allows = |policy: &String| {
            let allowed = event.evidence.policy.as_ref();
            allowed.is_some_and(|one| one == policy || together.get(policy).is_some_and(|all| all.contains(one)))
        };
        policies.retain(|policy| !allows(policy) && live(policy));
        together.retain(|policy, _| policies.contains(policy));
        causes.retain(|policy, _| policy.is_empty() || policies.contains(policy));
        // A policy has one issuer.
        if !policies.is_empty() || event.category.is_of_a_policy() {
            return policies.is_empty();
        }
        issuers.retain(|issuer, _| !issuer.is_empty() && issuer != issuer_of(event) && live(issuer));
        issuers.is_empty()
    }

    /// Whether the policy that the finding names denies no more, so that it names another one from this event on.
    pub(super) fn renames(&mut self, event: &Attestation) -> bool {
        let Rests { policies, causes, named, .. } = &mut self.rests;
        if named.as_ref().is_none_or(|named| policies.contains(named)) {
            return false;
        }
        *named = policies.iter().find(|policy| causes.contains_key(*policy)).cloned();
        self.by.clone_from(&event.occurrence);
        named.is_some()
    }

    /// What the finding says once it names another policy, told by the event that took the first one away.
    pub(super) fn renamed(&self, event: &Attestation) -> Option<Attestation> {
        let named = self.rests.named.as_ref()?;
        let cause = self.rests.causes.get(named)?;
        let mut renamed = Attestation { open: true, description: cause.said.clone(), ..event.clone() };
        renamed.evidence.told = false;
        renamed.evidence.issued = self.rests.issuers.values().copied().max().flatten();
        renamed.evidence.policy = Some(named.clone());
        renamed.properties.insert("policy", named.clone());
        Some(renamed)
    }
}
