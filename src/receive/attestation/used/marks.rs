//! The marks in the state store that say what was used, for all replicas. Those that come while the store is busy are
//! written together when it is done, so that a thousand tokens cost a few syncs of the disk. Each is answered only after
//! its own mark is durable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::sync::oneshot;

use super::Thing;
use crate::state::{Body, Change, Document, Expected, Page, StateError, Store};

/// The kind of the facts in the store.
pub(super) const KIND: &str = "attestation-used";
/// The most marks that are written together.
const BATCH: usize = 256;

/// One mark in the store.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    pub(super) what: [u8; 32],
    pub(super) until: i64,
    /// Whose it is.
    pub(super) by: String,
    /// The number of the try: each makes a revision of its own.
    pub(super) tries: u64,
}

#[derive(Debug)]
pub(super) struct Everywhere {
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

impl Mark {
    /// The first try, under a name of its own.
    pub(super) fn new(thing: Thing) -> Self {
        let mut random = [0u8; 12];
        rand::fill(&mut random);
        Self { what: thing.what, until: thing.until, by: hex::encode(random), tries: 0 }
    }

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
    pub(super) fn new(store: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self { store, queue: Mutex::default() })
    }

    /// Makes a mark; whether nothing was used before. A mark that its own maker finds released nothing.
    pub(super) async fn mark(self: &Arc<Self>, mark: &Mark) -> Result<bool, StateError> {
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

    /// Makes a mark in place of whatever stands there, so that who made that does not remove it.
    pub(super) async fn mark_over(&self, mark: &Mark) -> Result<(), StateError> {
        self.store.write(KIND, &mark.key(), &mark.body(), Expected::Any).await.map(drop)
    }

    /// Removes a mark, and no other; whether it was there.
    pub(super) async fn remove(&self, mark: &Mark) -> Result<bool, StateError> {
        let Some(found) = self.store.read(KIND, &mark.key()).await? else { return Ok(false) };
        if !mark.made(&found) || mark.is_before(&found) {
            return Ok(false);
        }
        match self.store.remove(KIND, &mark.key(), Expected::Version(found.version)).await {
            Err(StateError::Conflict { .. }) => Ok(false),
            other => other,
        }
    }

    /// Removes what has expired anyway.
    pub(super) async fn tidy(&self, now: i64) -> Result<(), StateError> {
        let mut token = None;
        loop {
            let listing = self.store.list(KIND, Page { size: 500, token }).await?;
            let over = listing.documents.into_iter().filter(|document| {
                let until = document.body.get("until").and_then(serde_json::Value::as_i64).unwrap_or_default();
                until <= now
            });
            let gone = over.map(|document| Change { key: document.key, body: None, expected: Expected::Any }).collect();
            self.store.change(KIND, gone).await.into_iter().collect::<Result<(), _>>()?;
            token = listing.next;
            if token.is_none() {
                return Ok(());
            }
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

/// The store gave no answer.
pub(super) fn unavailable(source: impl std::error::Error + Send + Sync + 'static) -> StateError {
    StateError::Unavailable { place: "the state store".to_owned(), after: None, source: Box::new(source) }
}
