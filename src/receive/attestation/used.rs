//! What was used before, here and at the other replicas: a memory of this process in front of the state store.
//!
//! Those that come while the store is busy are written together when it is done, so that a thousand tokens cost a few
//! syncs of the disk. Each is answered only after its own mark is durable.
//!
//! A mark may stand although nothing was released for it: the store's answer was lost, the secret could not be had, the
//! request was dropped. A mark therefore says whose it is, under a random name that this process remembers as long as nothing
//! was released. The next try here takes its own mark over, and in the background such marks are removed for the other
//! replicas. What another process marked is used, whatever became of it: only that process knows. Marks are taken over
//! and removed by revision and every try changes them, so that a change that arrives late cannot undo a later one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::sync::oneshot;

use crate::attest::seen::{Seen, Use};
use crate::state::{Body, Change, Document, Expected, Page, StateError, Store};
use crate::telemetry::chain;

/// The kind of the facts in the store.
const KIND: &str = "attestation-used";
/// The most marks that are written together.
const BATCH: usize = 256;
/// How long the store is waited for: its caller should still be there to be told, and a secret must not go to nobody.
const PATIENCE: Duration = Duration::from_secs(8);
/// How often a mark that released nothing is looked for when it is not there: it may still be on its way.
const LOOKS: u8 = 2;

/// Used tokens and nonces.
#[derive(Debug)]
pub(super) struct Used {
    here: Seen,
    everywhere: Option<Arc<Everywhere>>,
    /// Marks of this process that may stand in the store although nothing was released for them.
    idle: Mutex<HashMap<[u8; 32], Idle>>,
    limit: usize,
}

/// One mark in the store.
#[derive(Debug, Clone)]
struct Mark {
    what: [u8; 32],
    until: i64,
    /// Whose it is.
    by: String,
    /// The number of the try: each makes a revision of its own.
    tries: u64,
}

#[derive(Debug)]
struct Idle {
    mark: Mark,
    looks: u8,
}

/// What became of a claim to be the first.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is the first.
    First(Held),
    /// It was used before.
    Again,
    /// There is no room to remember it.
    Full,
}

/// Something that is being used: used up once a secret was released for it, else given back, also when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    used: Arc<Used>,
    mark: Option<Mark>,
}

impl Held {
    /// A secret was released for it.
    pub(super) fn use_up(mut self) {
        if let Some(mark) = self.mark.take() {
            self.used.idle().remove(&mark.what);
        }
    }

    /// Nothing was released for it; the other replicas are told now, as far as the store can be reached.
    pub(super) async fn give_back(mut self) {
        let Some(mark) = self.mark.take() else { return };
        self.used.leave(mark.clone());
        let removed = tokio::time::timeout(PATIENCE, self.used.remove(&mark)).await;
        if let Err(error) = removed.unwrap_or_else(|late| Err(unavailable(late))) {
            tracing::warn!(
                error = chain(&error),
                "a token that released nothing stays marked as used for the other replicas until the store is back"
            );
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            self.used.leave(mark);
        }
    }
}

#[derive(Debug)]
struct Everywhere {
    store: Arc<dyn Store>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Vec<Waiting>,
    /// Somebody is writing, and looks again when done.
    busy: bool,
}

#[derive(Debug)]
struct Waiting {
    change: Change,
    answer: oneshot::Sender<Result<(), StateError>>,
}

impl Used {
    /// With room for so many in this process.
    pub(super) fn new(limit: usize, everywhere: Option<Arc<dyn Store>>) -> Self {
        let everywhere = everywhere.map(|store| Arc::new(Everywhere { store, queue: Mutex::default() }));
        Self { here: Seen::new(limit), everywhere, idle: Mutex::default(), limit }
    }

    /// Takes `what` until `until`, Unix seconds; only one caller of all replicas is the first.
    pub(super) async fn take(self: &Arc<Self>, what: [u8; 32], until: i64, now: i64) -> Result<Taken, StateError> {
        match self.here.take(what, until, now) {
            Use::First => {}
            Use::Again => return Ok(Taken::Again),
            Use::Full => return Ok(Taken::Full),
        }
        let mark = self.next_try(what, until);
        let held = Held { used: Arc::clone(self), mark: Some(mark.clone()) };
        let Some(everywhere) = &self.everywhere else { return Ok(Taken::First(held)) };
        // Without an answer `held` is dropped: the mark may stand, and nothing was released for it.
        let marked = tokio::time::timeout(PATIENCE, everywhere.mark(&mark)).await;
        if marked.unwrap_or_else(|late| Err(unavailable(late)))? {
            return Ok(Taken::First(held));
        }
        held.use_up();
        Ok(Taken::Again)
    }

    fn next_try(&self, what: [u8; 32], until: i64) -> Mark {
        if let Some(Idle { mark, .. }) = self.idle().get(&what) {
            return Mark { until, tries: mark.tries + 1, ..mark.clone() };
        }
        let mut random = [0u8; 12];
        rand::fill(&mut random);
        Mark { what, until, by: hex::encode(random), tries: 0 }
    }

    /// Nothing was released for a mark that may stand.
    fn leave(&self, mark: Mark) {
        let what = mark.what;
        let mut idle = self.idle();
        // Without room it stays used: its caller must come with a new token.
        if self.everywhere.is_some() && (idle.len() < self.limit || idle.contains_key(&what)) {
            idle.insert(what, Idle { mark, looks: LOOKS });
        }
        drop(idle);
        self.here.give_back(&what);
    }

    /// Removes a mark that released nothing, if it stands.
    async fn remove(&self, mark: &Mark) -> Result<(), StateError> {
        let Some(everywhere) = &self.everywhere else { return Ok(()) };
        let removed = everywhere.remove(mark).await?;
        let mut idle = self.idle();
        if let Some(left) = idle.get_mut(&mark.what).filter(|left| left.mark.tries == mark.tries) {
            left.looks = left.looks.saturating_sub(1);
            if removed {
                idle.remove(&mark.what);
            }
        }
        Ok(())
    }

    /// Removes from the store the marks of this process that released nothing. When the store does not answer, they are
    /// left for the next time.
    pub(super) async fn settle(&self, now: i64) {
        let waiting: Vec<Mark> = {
            let mut idle = self.idle();
            idle.retain(|_, left| left.mark.until > now);
            idle.values().filter(|left| left.looks > 0).map(|left| left.mark.clone()).collect()
        };
        for mark in waiting {
            if self.remove(&mark).await.is_err() {
                return;
            }
        }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<[u8; 32], Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Removes from the store what has expired anyway.
    pub(super) async fn tidy(&self, now: i64) -> Result<(), StateError> {
        let Some(Everywhere { store, .. }) = self.everywhere.as_deref() else { return Ok(()) };
        let mut token = None;
        loop {
            let listing = store.list(KIND, Page { size: 500, token }).await?;
            let over = listing.documents.into_iter().filter(|document| {
                let until = document.body.get("until").and_then(serde_json::Value::as_i64).unwrap_or_default();
                until <= now
            });
            let gone = over.map(|document| Change { key: document.key, body: None, expected: Expected::Any }).collect();
            store.change(KIND, gone).await.into_iter().collect::<Result<(), _>>()?;
            token = listing.next;
            if token.is_none() {
                return Ok(());
            }
        }
    }
}

impl Mark {
    fn key(&self) -> String {
        hex::encode(self.what)
    }

    fn body(&self) -> Body {
        let members = [("until", json!(self.until)), ("by", json!(self.by)), ("tries", json!(self.tries))];
        members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn made(&self, found: &Document) -> bool {
        found.body.get("by").and_then(serde_json::Value::as_str) == Some(self.by.as_str())
    }

    /// Whether a later try than this one made it.
    fn is_before(&self, found: &Document) -> bool {
        found.body.get("tries").and_then(serde_json::Value::as_u64).is_none_or(|tries| tries > self.tries)
    }
}

impl Everywhere {
    /// Makes a mark; whether nothing was used before. A mark that its own maker finds released nothing.
    async fn mark(self: &Arc<Self>, mark: &Mark) -> Result<bool, StateError> {
        let change = Change { key: mark.key(), body: Some(mark.body()), expected: Expected::Absent };
        let conflict = match self.make(change).await {
            Ok(()) => return Ok(true),
            Err(conflict @ StateError::Conflict { .. }) => conflict,
            Err(other) => return Err(other),
        };
        // One that was just removed says nothing about its token: the caller may come again.
        let Some(found) = self.store.read(KIND, &mark.key()).await? else { return Err(conflict) };
        if !mark.made(&found) {
            return Ok(false);
        }
        // A client that asks twice when an answer is lost meets what it wrote itself.
        if found.body == mark.body() {
            return Ok(true);
        }
        self.store.write(KIND, &mark.key(), &mark.body(), Expected::Version(found.version)).await.map(|_| true)
    }

    /// Removes a mark, and no other; whether it was there.
    async fn remove(&self, mark: &Mark) -> Result<bool, StateError> {
        let Some(found) = self.store.read(KIND, &mark.key()).await? else { return Ok(false) };
        if !mark.made(&found) || mark.is_before(&found) {
            return Ok(false);
        }
        match self.store.remove(KIND, &mark.key(), Expected::Version(found.version)).await {
            Err(StateError::Conflict { .. }) => Ok(false),
            other => other,
        }
    }

    async fn make(self: &Arc<Self>, change: Change) -> Result<(), StateError> {
        let (answer, answered) = oneshot::channel();
        if self.is_first(Waiting { change, answer }) {
            // A task of its own: a caller that hangs up must not leave the others without an answer.
            tokio::spawn(Arc::clone(self).write_all());
        }
        answered.await.unwrap_or_else(|gone| Err(unavailable(gone)))
    }

    /// Puts one into the queue; whether nobody is writing.
    fn is_first(&self, waiting: Waiting) -> bool {
        let mut queue = self.queue();
        queue.waiting.push(waiting);
        !std::mem::replace(&mut queue.busy, true)
    }

    async fn write_all(self: Arc<Self>) {
        while let Some(batch) = self.next() {
            let (changes, answers): (Vec<_>, Vec<_>) = batch.into_iter().map(|one| (one.change, one.answer)).unzip();
            let results = self.store.change(KIND, changes).await;
            for (answer, result) in answers.into_iter().zip(results) {
                // Who waited may have gone.
                answer.send(result).ok();
            }
        }
    }

    fn next(&self) -> Option<Vec<Waiting>> {
        let mut queue = self.queue();
        let count = queue.waiting.len().min(BATCH);
        queue.busy = count > 0;
        (count > 0).then(|| queue.waiting.drain(..count).collect())
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> StateError {
    StateError::Unavailable { place: "the state store".to_owned(), after: None, source: Box::new(source) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use futures_util::future::BoxFuture;

    use super::*;
    use crate::state::{Listing, Version, sqlite::SqliteStore};

    /// A store that does what it is asked and, while it is deaf, does not say so; while it is slow, it says so in a minute.
    #[derive(Debug)]
    struct Mute {
        inner: SqliteStore,
        deaf: AtomicBool,
        slow: AtomicBool,
    }

    impl Mute {
        async fn new() -> Arc<Self> {
            Arc::new(Self {
                inner: SqliteStore::in_memory().await.unwrap(),
                deaf: AtomicBool::new(false),
                slow: AtomicBool::new(false),
            })
        }

        async fn said<T>(&self, result: Result<T, StateError>) -> Result<T, StateError> {
            if self.slow.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_secs(60)).await;
            }
            self.heard(result)
        }

        fn deaf(&self, deaf: bool) {
            self.deaf.store(deaf, Ordering::SeqCst);
        }

        fn heard<T>(&self, result: Result<T, StateError>) -> Result<T, StateError> {
            let lost = || StateError::Unavailable { place: "here".into(), after: None, source: "no answer".into() };
            if self.deaf.load(Ordering::SeqCst) { Err(lost()) } else { result }
        }
    }

    impl Store for Mute {
        fn read<'a>(&'a self, kind: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Document>, StateError>> {
            Box::pin(async move { self.heard(self.inner.read(kind, key).await) })
        }

        fn write<'a>(
            &'a self,
            kind: &'a str,
            key: &'a str,
            body: &'a Body,
            expected: Expected,
        ) -> BoxFuture<'a, Result<Version, StateError>> {
            Box::pin(async move { self.said(self.inner.write(kind, key, body, expected).await).await })
        }

        fn remove<'a>(
            &'a self,
            kind: &'a str,
            key: &'a str,
            expected: Expected,
        ) -> BoxFuture<'a, Result<bool, StateError>> {
            Box::pin(async move { self.heard(self.inner.remove(kind, key, expected).await) })
        }

        fn list<'a>(&'a self, kind: &'a str, page: Page) -> BoxFuture<'a, Result<Listing, StateError>> {
            self.inner.list(kind, page)
        }

        fn ping(&self) -> BoxFuture<'_, Result<(), StateError>> {
            self.inner.ping()
        }
    }

    fn replicas(store: &Arc<Mute>) -> [Arc<Used>; 2] {
        [(); 2].map(|()| Arc::new(Used::new(2000, Some(Arc::clone(store) as Arc<dyn Store>))))
    }

    /// Takes it, and uses it up when it is the first.
    async fn first(used: &Arc<Used>, what: u8, now: i64) -> bool {
        match used.take([what; 32], 100 + now, now).await.unwrap() {
            Taken::First(held) => {
                held.use_up();
                true
            }
            Taken::Again => false,
            Taken::Full => panic!("there is room"),
        }
    }

    #[tokio::test]
    async fn two_replicas_share_what_was_used() {
        let [one, two] = replicas(&Mute::new().await);
        assert!(first(&one, 1, 10).await);
        assert!(!first(&two, 1, 10).await);
        let Taken::First(held) = two.take([2; 32], 100, 10).await.unwrap() else { panic!("it is the first") };
        held.give_back().await;
        assert!(first(&one, 2, 10).await);
        one.tidy(111).await.unwrap();
        assert!(first(&two, 2, 200).await);
    }

    #[tokio::test]
    async fn a_mark_that_released_nothing_accuses_nobody() {
        let store = Mute::new().await;
        let [one, two] = replicas(&store);
        store.deaf(true);
        one.take([1; 32], 100, 10).await.unwrap_err();
        one.take([1; 32], 100, 10).await.unwrap_err();
        store.deaf(false);
        assert!(first(&one, 1, 10).await, "its own mark, for which nothing was released");
        assert!(!first(&one, 1, 10).await && !first(&two, 1, 10).await, "now it was used");
        one.settle(10).await;
        assert!(!first(&two, 1, 10).await, "what was used is not removed");

        store.deaf(true);
        one.take([2; 32], 100, 10).await.unwrap_err();
        store.deaf(false);
        one.settle(10).await;
        assert!(first(&two, 2, 10).await, "told to the other replica");
        assert!(!first(&one, 2, 10).await, "the other's mark is not taken over");
    }

    #[tokio::test]
    async fn a_slow_store_is_not_waited_for_until_nobody_is_there_any_more() {
        let store = Mute::new().await;
        let [one, two] = replicas(&store);
        store.slow.store(true, Ordering::SeqCst);
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        one.take([1; 32], 100, 10).await.unwrap_err();
        assert!(began.elapsed() < Duration::from_secs(9));
        store.slow.store(false, Ordering::SeqCst);
        one.settle(10).await;
        assert!(first(&two, 1, 10).await);
    }

    #[tokio::test]
    async fn what_could_not_be_given_back_is_taken_again_here_and_given_back_later() {
        let store = Mute::new().await;
        let [one, two] = replicas(&store);
        for what in [3, 4] {
            let Taken::First(held) = one.take([what; 32], 100, 10).await.unwrap() else { panic!("it is the first") };
            store.deaf(true);
            if what == 3 {
                held.give_back().await
            } else {
                drop(held)
            }
            store.deaf(false);
        }
        assert!(first(&one, 3, 10).await);
        one.settle(10).await;
        assert!(first(&two, 4, 10).await, "its request was dropped");
        assert!(!first(&two, 3, 10).await);
    }

    #[tokio::test]
    async fn a_removal_that_arrives_late_removes_no_later_mark() {
        let store = Mute::new().await;
        let [one, two] = replicas(&store);
        drop(one.take([5; 32], 100, 10).await.unwrap());
        let seen = store.read(KIND, &hex::encode([5; 32])).await.unwrap().unwrap();
        assert!(first(&one, 5, 10).await);
        let late = store.remove(KIND, &seen.key, Expected::Version(seen.version)).await;
        assert!(matches!(late, Err(StateError::Conflict { .. })));
        let stale = Mark { what: [5; 32], until: 100, by: seen.body["by"].as_str().unwrap().to_owned(), tries: 0 };
        one.remove(&stale).await.unwrap();
        assert!(!first(&two, 5, 10).await);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_that_come_together_each_is_the_first_once() {
        let replicas = replicas(&Mute::new().await);
        let takes = (0..1000u32).map(|number| {
            let mut what = [0; 32];
            what[..4].copy_from_slice(&(number / 2).to_be_bytes());
            let replica = replicas[number as usize % 2].clone();
            tokio::spawn(async move {
                let taken = replica.take(what, 100, 10).await.unwrap();
                if let Taken::First(held) = taken {
                    held.use_up();
                    return true;
                }
                false
            })
        });
        let first = futures_util::future::join_all(takes).await;
        assert_eq!(first.into_iter().filter(|joined| *joined.as_ref().unwrap()).count(), 500);
    }
}
