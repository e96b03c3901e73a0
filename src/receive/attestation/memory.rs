//! What was told about each machine, kept over restarts and for the other replicas: a memory of this process in front of
//! the state store. What others told is known here after [`AGAIN`] at most; only what changed is written down.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};

use crate::attest::outcome::{Live, Told, is_tracked};
use crate::causes::chain;
use crate::event::Attestation;
use crate::state::{Body, Store, update};

/// The kind of the facts in the store: one document a machine with open findings.
const KIND: &str = "attestation-open";
/// What other replicas told of a machine is looked up again after so long, when it attests.
const AGAIN: TimeDelta = TimeDelta::seconds(30);
/// What changes while it is being written is written after it, so often.
const WRITES: usize = 3;

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
    pub(super) async fn news(&self, events: Vec<Attestation>, now: DateTime<Utc>, live: Live<'_>) -> Vec<Attestation> {
        self.look_at(&events, now).await;
        let changes = |told: &Told| subjects(&events).into_iter().map(|subject| told.changes(subject)).sum::<u64>();
        let (news, changed) = {
            let mut told = self.told();
            let before = changes(&told);
            (told.news(events.clone(), self.repeat, live), changes(&told) != before)
        };
        // Nothing to tell, but the others should know it, too.
        if news.is_empty() && changed {
            self.keep(&events).await;
        }
        news
    }

    /// What stands of what a log tells; it is remembered as told.
    pub(super) async fn standing(
        &self,
        events: Vec<Attestation>,
        now: DateTime<Utc>,
        live: Live<'_>,
    ) -> Vec<Attestation> {
        self.look_at(&events, now).await;
        let standing = self.told().standing(events.clone(), live);
        self.keep(&events).await;
        standing
    }

    /// Whether it is known that nothing of a machine is open: also of what other replicas told, until just now.
    pub(super) fn settled(&self, machine: &str, now: DateTime<Utc>) -> bool {
        let told = self.told();
        told.settled(machine) && (self.store.is_none() || told.has_looked(machine, now, AGAIN))
    }

    /// Writes down what is open of these events' machines, as far as that changed, beside what other replicas wrote.
    pub(super) async fn keep(&self, events: &[Attestation]) {
        let Some(store) = &self.store else { return };
        for subject in subjects(events) {
            self.keep_one(store.as_ref(), subject).await;
        }
    }

    async fn keep_one(&self, store: &dyn Store, subject: &str) {
        // More may have changed while this was being written.
        for _ in 0..WRITES {
            let unkept = self.told().unkept(subject);
            let Some(unkept) = unkept else { return };
            let over = |stored: Option<Body>| {
                let open = unkept.over(stored.unwrap_or_default());
                ((!open.is_empty()).then_some(open), ())
            };
            if let Err(error) = update(store, KIND, subject, over).await {
                tracing::warn!(error = chain(&error), "which attestation findings are open could not be kept");
                return;
            }
            self.told().kept(subject, unkept);
        }
    }

    /// What was news was not told after all: it is news again.
    pub(super) fn forget(&self, events: &[Attestation]) {
        let mut told = self.told();
        subjects(events).into_iter().for_each(|subject| told.forget(subject));
    }

    /// Reads what earlier processes and other replicas told about machines, unless that was done just now. When the
    /// store cannot be read, of a machine that is not known nothing is assumed: findings that may be open are closed again.
    async fn look_at(&self, events: &[Attestation], now: DateTime<Utc>) {
        let Some(store) = &self.store else { return };
        for subject in subjects(events) {
            let mut of_it = events.iter().filter(|event| event.subject == subject);
            let looked = {
                let told = self.told();
                told.has_looked(subject, now, AGAIN) && !of_it.any(|event| told.may_open_again(event))
            };
            if !looked {
                self.look(store.as_ref(), subject, now).await;
            }
        }
    }

    async fn look(&self, store: &dyn Store, subject: &str, now: DateTime<Utc>) {
        let changes = self.told().changes(subject);
        match store.read(KIND, subject).await {
            Ok(found) => {
                let open = found.map(|document| document.body).unwrap_or_default();
                self.told().recall(subject, &open, changes, now);
                // What could not be written down before.
                self.keep_one(store, subject).await;
            }
            Err(error) => {
                self.told().not_recalled(subject, now);
                tracing::warn!(error = chain(&error), "which attestation findings are open could not be read");
            }
        }
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subjects(events: &[Attestation]) -> BTreeSet<&str> {
    events.iter().filter(|event| is_tracked(event)).map(|event| event.subject.as_str()).collect()
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

    fn at(secs: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(secs, 0).unwrap()
    }

    /// A token of the machine, issued and shown then, and what it says of a category.
    fn token(category: Category, open: bool, (issued, now): (i64, i64)) -> Attestation {
        let mut event = event(category, open);
        (event.time, event.evidence.issued, event.occurrence) = (at(now), Some(at(issued)), issued.to_string());
        event
    }

    impl Memory {
        /// What is told of an event, and written down.
        async fn tell(&self, event: Attestation) -> Vec<Attestation> {
            let now = event.time;
            let news = self.news(vec![event], now, &|_| true).await;
            self.keep(&news).await;
            news
        }
    }

    fn closings() -> Vec<Attestation> {
        let closing = Category::ALL.into_iter().filter(|category| category.closes_itself());
        closing.map(|category| event(category, false)).collect()
    }

    #[tokio::test]
    async fn after_a_restart_only_what_is_open_is_closed() {
        let store: Arc<dyn Store> = Arc::new(crate::state::sqlite::SqliteStore::in_memory().unwrap());
        let memory = || Memory::new(Some(store.clone()), TimeDelta::hours(1));
        assert!(memory().news(closings(), at(0), &|_| true).await.is_empty(), "nothing was ever told");
        let opened = vec![event(Category::AttestationWeakHardware, true)];
        let first = memory();
        assert_eq!(first.news(opened.clone(), at(0), &|_| true).await, opened);
        first.forget(&opened);
        assert_eq!(first.news(opened.clone(), at(0), &|_| true).await, opened, "it could not be taken in before");
        first.keep(&opened).await;
        let second = memory();
        assert!(second.news(opened.clone(), at(0), &|_| true).await.is_empty(), "told an hour ago at most");
        let closed = second.news(closings(), at(0), &|_| true).await;
        let mut closing = event(Category::AttestationWeakHardware, false);
        closing.evidence.told = true;
        assert_eq!(closed, [closing], "known to be open");
        second.keep(&closed).await;
        assert!(memory().news(closings(), at(0), &|_| true).await.is_empty());
        assert!(store.read(KIND, "machine/1").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn what_one_replica_closed_another_opens_again_and_closes_what_it_did_not_see() {
        let store: Arc<dyn Store> = Arc::new(crate::state::sqlite::SqliteStore::in_memory().unwrap());
        let [one, other] = [(); 2].map(|()| Memory::new(Some(store.clone()), TimeDelta::hours(1)));
        let replayed = |now| token(Category::AttestationTokenReplayed, true, (100, now));
        let good = |issued, now| token(Category::AttestationTokenReplayed, false, (issued, now));
        let version = async || store.read(KIND, "machine/1").await.unwrap().map(|document| document.version);
        assert!(one.tell(good(90, 190)).await.is_empty() && one.settled("machine/1", at(190)));
        let mut keys = Vec::new();
        keys.push(other.tell(replayed(200)).await[0].key());
        let written = version().await;
        keys.push(other.tell(replayed(201)).await[0].key());
        assert_eq!(version().await, written, "nothing of it changed");
        assert!(one.settled("machine/1", at(202)) && !one.settled("machine/1", at(220)));
        let closed = one.tell(good(101, 220)).await;
        assert!(closed.len() == 1 && closed[0].evidence.told, "it looks again at what the other told");
        assert_eq!(version().await, None);
        keys.push(other.tell(replayed(221)).await[0].key());
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 3, "the other does not know yet that it was closed: no opening is a duplicate");
        let mut flood = BTreeSet::new();
        for second in 0..600 {
            flood.insert(other.tell(replayed(240 + second)).await[0].key());
        }
        assert!((10..30).contains(&flood.len()), "a few a minute at most: {}", flood.len());
    }

    #[tokio::test]
    async fn a_machine_that_fails_again_is_told_though_another_replica_closed_its_finding_just_now() {
        let store: Arc<dyn Store> = Arc::new(crate::state::sqlite::SqliteStore::in_memory().unwrap());
        let [one, other] = [(); 2].map(|()| Memory::new(Some(store.clone()), TimeDelta::hours(1)));
        let weak = |issued, open| token(Category::AttestationWeakHardware, open, (issued, issued + 100));
        assert_eq!(one.tell(weak(100, true)).await.len(), 1);
        assert_eq!(other.tell(weak(101, false)).await.len(), 1);
        assert_eq!(one.tell(weak(102, true)).await.len(), 1, "closed elsewhere a second ago");
        assert!(one.tell(weak(103, true)).await.is_empty());
        assert!(other.tell(weak(102, false)).await.is_empty(), "a newer token failed, as is written down");
        assert_eq!(other.tell(weak(140, false)).await.len(), 1);
        assert!(store.read(KIND, "machine/1").await.unwrap().is_none());
    }

    #[tokio::test]
    async fn replicas_write_down_only_what_they_changed() {
        let store: Arc<dyn Store> = Arc::new(crate::state::sqlite::SqliteStore::in_memory().unwrap());
        let [one, other] = [(); 2].map(|()| Memory::new(Some(store.clone()), TimeDelta::hours(1)));
        let [debug, weak, replayed] =
            [Category::AttestationDebugImage, Category::AttestationWeakHardware, Category::AttestationTokenReplayed];
        for memory in [&one, &other] {
            assert!(memory.tell(token(debug, false, (90, 190))).await.is_empty());
        }
        assert_eq!(one.tell(token(debug, true, (100, 200))).await.len(), 1);
        assert_eq!(other.tell(token(weak, true, (101, 201))).await.len(), 1);
        assert_eq!(one.tell(token(replayed, true, (120, 202))).await.len(), 1);
        assert_eq!(other.tell(token(replayed, true, (110, 203))).await.len(), 1);
        let restarted = Memory::new(Some(store.clone()), TimeDelta::hours(1));
        assert!(restarted.tell(token(replayed, false, (115, 204))).await.is_empty(), "made before the newest");
        for category in [debug, weak, replayed] {
            assert_eq!(restarted.tell(token(category, false, (130, 205))).await.len(), 1, "{category:?}");
        }
        assert!(store.read(KIND, "machine/1").await.unwrap().is_none());
        assert_eq!(one.tell(token(debug, true, (140, 240))).await.len(), 1, "it was closed elsewhere");
    }
}
