//! What was used before, here and at the other replicas: a memory of this process in front of the state store.

use std::sync::Arc;

use serde_json::json;

use crate::attest::seen::{Seen, Use};
use crate::state::{Body, Expected, Page, StateError, Store};

/// The kind of the facts in the store.
const KIND: &str = "attestation-used";

/// Used tokens and nonces.
#[derive(Debug)]
pub(super) struct Used {
    here: Seen,
    everywhere: Option<Arc<dyn Store>>,
}

impl Used {
    /// With room for so many in this process.
    pub(super) fn new(limit: usize, everywhere: Option<Arc<dyn Store>>) -> Self {
        Self { here: Seen::new(limit), everywhere }
    }

    /// Takes `what` until `until`, Unix seconds; only one caller of all replicas is the first.
    pub(super) async fn take(&self, what: [u8; 32], until: i64, now: i64) -> Result<Use, StateError> {
        match (self.here.take(what, until, now), &self.everywhere) {
            (Use::First, Some(store)) => {
                let body: Body = [("until".to_owned(), json!(until))].into_iter().collect();
                match store.write(KIND, &hex::encode(what), &body, Expected::Absent).await {
                    Ok(_) => Ok(Use::First),
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
        if let Some(store) = &self.everywhere
            && let Err(error) = store.remove(KIND, &hex::encode(what), Expected::Any).await
        {
            // It stays used: a caller that was refused must come with a new token.
            tracing::warn!(error = crate::telemetry::chain(&error), "a token that released nothing stays marked as used");
            return;
        }
        self.here.give_back(what);
    }

    /// Removes from the store what has expired anyway.
    pub(super) async fn tidy(&self, now: i64) -> Result<(), StateError> {
        let Some(store) = &self.everywhere else { return Ok(()) };
        let mut token = None;
        loop {
            let listing = store.list(KIND, Page { size: 500, token }).await?;
            for document in &listing.documents {
                let until = document.body.get("until").and_then(serde_json::Value::as_i64).unwrap_or_default();
                if until <= now {
                    store.remove(KIND, &document.key, Expected::Any).await?;
                }
            }
            token = listing.next;
            if token.is_none() {
                return Ok(());
            }
        }
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
}
