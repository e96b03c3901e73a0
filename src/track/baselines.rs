//! The baselines in the state store: read through a short cache, changed with a journal.
//!
//! Whoever changes one here stamps that, and whoever remembers them looks at the stamp first: what was changed elsewhere,
//! as in the console, is remembered until its time is up.
//!
//! Fails closed: when they cannot be read, the caller gets an error, never an empty list.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::causes::chain;
use crate::integrity::baseline::Baseline;
use crate::state::{self, Body, Expected, StateError, Store, Version, body_of};

/// The kind of the documents, which is the collection's name in Firestore.
pub const KIND: &str = "known_good_measurements";
/// The kind of the journal's documents.
pub const JOURNAL: &str = "baseline_journal";

/// The kind of the stamp, and its key.
const STAMP: (&str, &str) = ("baseline_stamp", "changed");

/// One change of a baseline.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// When.
    pub time: DateTime<Utc>,
    /// Who.
    pub who: String,
    /// Which baseline.
    pub baseline: String,
    /// What was done.
    pub what: What,
    /// The document before.
    pub before: Option<Body>,
    /// The document after.
    pub after: Option<Body>,
}

/// What was done to a baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It was imported.
    Import,
    /// Its expiry was set.
    Expire,
    /// It was removed.
    Remove,
}

/// The baselines.
#[derive(Debug, Clone)]
pub struct Baselines {
    store: Arc<dyn Store>,
    fresh_for: TimeDelta,
    cache: Arc<Mutex<Option<Cached>>>,
}

#[derive(Debug, Clone)]
struct Cached {
    read: DateTime<Utc>,
    stamp: Option<Version>,
    baselines: Arc<Vec<Baseline>>,
}

impl Baselines {
    /// The baselines in `store`; what was read is used for `fresh_for`.
    pub fn new(store: Arc<dyn Store>, fresh_for: TimeDelta) -> Self {
        Self { store, fresh_for, cache: Arc::default() }
    }

    /// All of them, ordered by name.
    pub async fn all(&self, now: DateTime<Utc>) -> Result<Arc<Vec<Baseline>>, StateError> {
        let cached = self.cache.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // Before the baselines: they are at least as new.
        let stamp = if self.fresh_for > TimeDelta::zero() { self.stamp().await? } else { None };
        let fresh = |cached: &Cached| now - cached.read < self.fresh_for && now >= cached.read && cached.stamp == stamp;
        if let Some(cached) = cached.filter(fresh) {
            return Ok(cached.baselines);
        }
        let documents = state::all(&*self.store, KIND).await?;
        let baselines =
            Arc::new(documents.iter().map(|found| Baseline::read(&found.key, &found.body)).collect::<Vec<_>>());
        *self.cache.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(Cached { read: now, stamp, baselines: Arc::clone(&baselines) });
        Ok(baselines)
    }

    /// Which change was the last that was made here, by any process.
    async fn stamp(&self) -> Result<Option<Version>, StateError> {
        let (kind, key) = STAMP;
        Ok(self.store.read(kind, key).await?.map(|document| document.version))
    }

    /// Records a baseline under its name. One that stands there is only replaced when `replace` is set.
    ///
    /// # Errors
    /// [`StateError::Conflict`] when one stands there, or somebody else changed it meanwhile.
    pub async fn import(
        &self,
        baseline: &Baseline,
        replace: bool,
        who: &str,
        now: DateTime<Utc>,
    ) -> Result<(), StateError> {
        let found = self.store.read(KIND, &baseline.name).await?;
        let (expected, before) = match found {
            None => (Expected::Absent, None),
            Some(found) if replace => (Expected::Version(found.version), Some(found.body)),
            Some(_) => return Err(StateError::Conflict { kind: KIND.to_owned(), key: baseline.name.clone() }),
        };
        let body = baseline.body();
        let change = change(&baseline.name, What::Import, who, now, before, Some(body.clone()));
        self.journalled(&change, self.store.write(KIND, &baseline.name, &body, expected)).await.map(drop)
    }

    /// Sets when a baseline stops being used. `false`: there is none of this name.
    pub async fn expire(
        &self,
        name: &str,
        at: DateTime<Utc>,
        who: &str,
        now: DateTime<Utc>,
    ) -> Result<bool, StateError> {
        let Some(found) = self.store.read(KIND, name).await? else { return Ok(false) };
        let text = at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
        let members = Body::from_iter([("expiresAt".to_owned(), text.into())]);
        let mut after = found.body.clone();
        after.extend(members.clone());
        let change = change(name, What::Expire, who, now, Some(found.body.clone()), Some(after));
        self.journalled(&change, self.store.amend(KIND, &found, &members)).await?;
        Ok(true)
    }

    /// Removes a baseline. `false`: there is none of this name.
    pub async fn remove(&self, name: &str, who: &str, now: DateTime<Utc>) -> Result<bool, StateError> {
        let Some(found) = self.store.read(KIND, name).await? else { return Ok(false) };
        let change = change(name, What::Remove, who, now, Some(found.body), None);
        self.journalled(&change, self.store.remove(KIND, name, Expected::Version(found.version))).await
    }

    /// Every change that was journalled, the oldest first.
    pub async fn journal(&self) -> Result<Vec<Change>, StateError> {
        state::all(&*self.store, JOURNAL).await?.iter().map(|document| document.parse(JOURNAL)).collect()
    }

    /// Nothing changes without its line in the journal: the line comes first, and goes again when the change failed.
    async fn journalled<T>(
        &self,
        change: &Change,
        work: impl Future<Output = Result<T, StateError>>,
    ) -> Result<T, StateError> {
        let stamp = change.time.to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
        let key = format!("{stamp}-{}", change.baseline);
        let line = self.store.write(JOURNAL, &key, &body_of(JOURNAL, &key, change)?, Expected::Absent).await?;
        *self.cache.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let done = work.await;
        // Also where it is not known whether it was done: a stamp too many costs one reading.
        self.stamp_as(stamp).await;
        // What may have been done keeps its line. The first error is the one to tell; a line too many does no harm.
        if done.as_ref().is_err_and(|error| !matches!(error, StateError::Unavailable { .. })) {
            self.store.remove(JOURNAL, &key, Expected::Version(line)).await.ok();
        }
        done
    }

    /// The change counts without it too: once what was read before is too old.
    async fn stamp_as(&self, time: String) {
        let ((kind, key), body) = (STAMP, Body::from_iter([("time".to_owned(), time.into())]));
        if let Err(error) = self.store.write(kind, key, &body, Expected::Any).await {
            let error = chain(&error);
            tracing::warn!(
                error,
                "a change of a baseline counts only after BASELINE_CACHE_SECS, as it could not be told"
            );
        }
    }
}

/// Who approved a baseline: as its document says, else as the journal says of the import that made it what it is, but for
/// an end that was set since.
pub fn approved_by(baseline: &Baseline, journal: &[Change]) -> Option<String> {
    let journalled = || {
        let of_it = |change: &&Change| change.baseline == baseline.name;
        let last = journal.iter().rfind(|change| of_it(change) && change.what != What::Expire)?;
        let made = Baseline::read(&last.baseline, last.after.as_ref()?);
        let end = |change: &Change| Some(Baseline::read(&change.baseline, change.after.as_ref()?).expires);
        let expires = journal.iter().rfind(of_it).and_then(end)?;
        // Nobody approved what somebody else made of it: a scope that was taken away, another end.
        let approved = Baseline { expires, approved_by: None, ..made };
        (approved == *baseline).then(|| last.who.clone())
    };
    baseline.approved_by.clone().or_else(journalled)
}

fn change(name: &str, what: What, who: &str, time: DateTime<Utc>, before: Option<Body>, after: Option<Body>) -> Change {
    Change { time, who: who.to_owned(), baseline: name.to_owned(), what, before, after }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_journal_names_who_approved_what_stands_there_and_nothing_else() {
        let document = |members: Value| {
            let mut body = Body::new();
            body.insert("PCR_4".to_owned(), json!({"hashAlgo": "SHA1", "pcrNum": "PCR_4", "value": "AQ=="}));
            body.extend(members.as_object().cloned().unwrap_or_default());
            body
        };
        let scoped = json!({"projects": ["p"], "approvedBy": "alice", "description": "d"});
        let ended = json!({"expiresAt": "2027-01-31T00:00:00Z"});
        let [time, later] = [1, 2].map(|second| DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap());
        for (imported, expired, stands, approver) in [
            (json!({}), false, json!({}), Some("alice")),
            (scoped.clone(), false, json!({"projects": ["p"], "description": "d"}), Some("alice")),
            (scoped.clone(), false, json!({"description": "d"}), None),
            (scoped.clone(), false, json!({"projects": ["p"]}), None),
            (scoped.clone(), false, json!({"projects": ["q"], "description": "d"}), None),
            (scoped, false, json!({"projects": [], "description": "d"}), None),
            (json!({}), false, ended.clone(), None),
            (json!({}), true, ended.clone(), Some("alice")),
            (json!({}), true, json!({}), None),
            (ended.clone(), true, json!({"expiresAt": "2028-01-31T00:00:00Z"}), None),
        ] {
            let after = Some(document(imported.clone()));
            let mut journal = vec![change("b", What::Import, "alice", time, None, after.clone())];
            if expired {
                journal.push(change("b", What::Expire, "bob", later, after, Some(document(ended.clone()))));
            }
            journal.push(change("other", What::Import, "carol", later, None, Some(document(json!({})))));
            let baseline = Baseline::read("b", &document(stands.clone()));
            assert_eq!(approved_by(&baseline, &journal).as_deref(), approver, "{imported} {expired} {stands}");
        }
    }
}
