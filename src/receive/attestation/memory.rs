//! What was told about each machine, kept over restarts: a memory of this process in front of the state store.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::TimeDelta;

use crate::attest::outcome::{Live, Told};
use crate::causes::chain;
use crate::event::Attestation;
use crate::state::{Expected, StateError, Store};

/// The kind of the facts in the store: one document a machine with open findings.
const KIND: &str = "attestation-open";

/// What was told.
#[derive(Debug)]
pub(super) struct Memory {
    told: Mutex<Told>,
    store: Option<Arc<dyn Store>>,
    repeat: TimeDelta,
}

impl Memory {
    /// Tells a state that stays again after `repeat`. Without a store nothing is known at the start.
    pub(super) fn new(store: Option<Arc<dyn Store>>, repeat: TimeDelta) -> Self {
        Self { told: Mutex::new(Told::new(20_000)), store, repeat }
    }

    /// What of these is news. Once it is told, or cannot be, say so to [`Memory::keep`] or [`Memory::forget`].
    pub(super) async fn news(&self, events: Vec<Attestation>, live: Live<'_>) -> Vec<Attestation> {
        if events.is_empty() {
            return events;
        }
        self.recall(&events).await;
        self.told().news(events, self.repeat, live)
    }

    /// What stands of what a log tells; it is remembered as told.
    pub(super) async fn standing(&self, events: Vec<Attestation>, live: Live<'_>) -> Vec<Attestation> {
        self.recall(&events).await;
        let standing = self.told().standing(events, live);
        self.keep(&standing).await;
        standing
    }

    /// Whether it is known that nothing of a machine is open.
    pub(super) fn settled(&self, machine: &str) -> bool {
        self.told().settled(machine)
    }

    /// Writes down which findings of these events' machines are open.
    pub(super) async fn keep(&self, events: &[Attestation]) {
        let Some(store) = &self.store else { return };
        for subject in subjects(events) {
            let open = self.told().open(subject);
            let kept: Result<(), StateError> = if open.is_empty() {
                store.remove(KIND, subject, Expected::Any).await.map(drop)
            } else {
                store.write(KIND, subject, &open, Expected::Any).await.map(drop)
            };
            if let Err(error) = kept {
                tracing::warn!(error = chain(&error), "which attestation findings are open could not be kept");
            }
        }
    }

    /// What was news was not told after all: it is news again.
    pub(super) fn forget(&self, events: &[Attestation]) {
        let mut told = self.told();
        subjects(events).into_iter().for_each(|subject| told.forget(subject));
    }

    /// Reads what an earlier process told about machines that this one does not know yet. When the store cannot be
    /// read, nothing is assumed: findings that may be open are closed again.
    async fn recall(&self, events: &[Attestation]) {
        let Some(store) = &self.store else { return };
        for subject in subjects(events) {
            self.recall_one(store, subject).await;
        }
    }

    async fn recall_one(&self, store: &Arc<dyn Store>, subject: &str) {
        if self.told().knows(subject) {
            return;
        }
        match store.read(KIND, subject).await {
            Ok(found) => self.told().recall(subject, &found.map(|document| document.body).unwrap_or_default()),
            Err(error) => {
                tracing::warn!(error = chain(&error), "which attestation findings are open could not be read");
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subjects(events: &[Attestation]) -> BTreeSet<&str> {
    events.iter().filter(|event| event.category.closes_itself()).map(|event| event.subject.as_str()).collect()
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::event::attestation::Category;

    fn event(category: Category, open: bool) -> Attestation {
        Attestation {
            category,
            open,
            resource: Some("machine/1".into()),
            subject: "machine/1".into(),
            time: DateTime::<Utc>::UNIX_EPOCH,
            description: String::new(),
            occurrence: "o".into(),
            evidence: Default::default(),
            properties: Default::default(),
        }
    }

    fn closings() -> Vec<Attestation> {
        let closing = Category::ALL.into_iter().filter(|category| category.closes_itself());
        closing.map(|category| event(category, false)).collect()
    }

    #[tokio::test]
    async fn after_a_restart_only_what_is_open_is_closed() {
        let store: Arc<dyn Store> = Arc::new(crate::state::sqlite::SqliteStore::in_memory().await.unwrap());
        let memory = || Memory::new(Some(store.clone()), TimeDelta::hours(1));
        assert!(memory().news(closings(), &|_| true).await.is_empty(), "nothing was ever told");
        let opened = vec![event(Category::AttestationWeakHardware, true)];
        let first = memory();
        assert_eq!(first.news(opened.clone(), &|_| true).await, opened);
        first.forget(&opened);
        assert_eq!(first.news(opened.clone(), &|_| true).await, opened, "it could not be taken in before");
        first.keep(&opened).await;
        let second = memory();
        assert!(second.news(opened.clone(), &|_| true).await.is_empty(), "told an hour ago at most");
        let closed = second.news(closings(), &|_| true).await;
        let mut closing = event(Category::AttestationWeakHardware, false);
        closing.evidence.told = true;
        assert_eq!(closed, [closing], "known to be open");
        second.keep(&closed).await;
        assert!(memory().news(closings(), &|_| true).await.is_empty());
        assert!(store.read(KIND, "machine/1").await.unwrap().is_none());
    }
}
