//! What was used before, here and at the other replicas: a memory of this process in front of the state store.
//!
//! Those that come while the store is busy are written together when it is done, so that a thousand tokens cost a few
//! syncs of the disk. Each is answered only after its own mark is durable.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::json;
use tokio::sync::oneshot;

use crate::attest::seen::{Seen, Use};
use crate::state::{Body, Change, Expected, Page, StateError, Store};

/// The kind of the facts in the store.
const KIND: &str = "attestation-used";
/// The most marks that are written together.
const BATCH: usize = 256;

/// Used tokens and nonces.
#[derive(Debug)]
pub(super) struct Used {
    here: Seen,
    everywhere: Option<Arc<Everywhere>>,
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
        Self { here: Seen::new(limit), everywhere }
    }

    /// Takes `what` until `until`, Unix seconds; only one caller of all replicas is the first.
    pub(super) async fn take(&self, what: [u8; 32], until: i64, now: i64) -> Result<Use, StateError> {
        match (self.here.take(what, until, now), &self.everywhere) {
            (Use::First, Some(everywhere)) => {
                let body: Body = [("until".to_owned(), json!(until))].into_iter().collect();
                let change = Change { key: hex::encode(what), body: Some(body), expected: Expected::Absent };
                match everywhere.make(change).await {
                    Ok(()) => Ok(Use::First),
                    Err(StateError::Conflict { .. }) => Ok(Use::Again),
                    Err(error) => {
                        self.here.give_back(&what);
                        Err(error)
                    }
                }
            }
            (other, _) => Ok(other),
        }
    }

    /// Gives back what was taken, when nothing was released for it.
    pub(super) async fn give_back(&self, what: &[u8; 32]) {
        let change = Change { key: hex::encode(what), body: None, expected: Expected::Any };
        if let Some(everywhere) = &self.everywhere
            && let Err(error) = everywhere.make(change).await
        {
            // It stays used: a caller that was refused must come with a new token.
            tracing::warn!(
                error = crate::telemetry::chain(&error),
                "a token that released nothing stays marked as used"
            );
            return;
        }
        self.here.give_back(what);
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

impl Everywhere {
    async fn make(self: &Arc<Self>, change: Change) -> Result<(), StateError> {
        let (answer, answered) = oneshot::channel();
        if self.is_first(Waiting { change, answer }) {
            // A task of its own: a caller that hangs up must not leave the others without an answer.
            tokio::spawn(Arc::clone(self).write_all());
        }
        answered.await.unwrap_or_else(|gone| {
            Err(StateError::Unavailable { place: "the state store".to_owned(), after: None, source: Box::new(gone) })
        })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_replicas_share_what_was_used() {
        let store: Arc<dyn Store> = Arc::new(crate::state::sqlite::SqliteStore::in_memory().await.unwrap());
        let (one, two) = (Used::new(10, Some(store.clone())), Used::new(10, Some(store)));
        assert_eq!(one.take([1; 32], 100, 10).await.unwrap(), Use::First);
        assert_eq!(two.take([1; 32], 100, 10).await.unwrap(), Use::Again);
        assert_eq!(two.take([2; 32], 100, 10).await.unwrap(), Use::First);
        two.give_back(&[2; 32]).await;
        assert_eq!(one.take([2; 32], 100, 10).await.unwrap(), Use::First);
        one.tidy(101).await.unwrap();
        assert_eq!(two.take([2; 32], 300, 200).await.unwrap(), Use::First);
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn of_many_that_come_together_each_is_the_first_once() {
        let store: Arc<dyn Store> = Arc::new(crate::state::sqlite::SqliteStore::in_memory().await.unwrap());
        let replicas = [(); 2].map(|()| Arc::new(Used::new(2000, Some(store.clone()))));
        let takes = (0..1000u32).map(|number| {
            let mut what = [0; 32];
            what[..4].copy_from_slice(&(number / 2).to_be_bytes());
            let replica = replicas[number as usize % 2].clone();
            tokio::spawn(async move { replica.take(what, 100, 10).await.unwrap() })
        });
        let results: Vec<Use> =
            futures_util::future::join_all(takes).await.into_iter().map(|joined| joined.unwrap()).collect();
        assert_eq!(results.iter().filter(|result| **result == Use::First).count(), 500);
    }
}
