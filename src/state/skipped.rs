//! Documents that cannot be read and are left out. Lists are looked at every few seconds, for ever: each document is told
//! at once, and then by the hour.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::de::DeserializeOwned;

use super::{Document, StateError};
use crate::causes::chain;
use crate::telemetry::metrics::STATE_UNREADABLE;
use crate::telemetry::summed::{Sum, Summed};

const EVERY: Duration = Duration::from_secs(3600);
/// More documents than these are told together.
const MOST: usize = 1000;

/// What was left out lately, by kind and key.
#[derive(Debug)]
pub struct Skipped(Summed<(&'static str, String)>);

impl Default for Skipped {
    fn default() -> Self {
        Self(Summed::new(EVERY, MOST))
    }
}

impl Skipped {
    /// What the documents of a list say, by key, where each stands for itself: one that cannot be read is told and
    /// counted, and keeps no other one waiting. Not for what is judged as a whole, such as baselines.
    pub fn parsed<T: DeserializeOwned>(
        &self,
        kind: &'static str,
        documents: Vec<Document>,
        now: DateTime<Utc>,
    ) -> Vec<(String, T)> {
        let read = |document: Document| match document.parse(kind) {
            Ok(body) => Some((document.key, body)),
            Err(error) => {
                self.tell(kind, &error, now);
                None
            }
        };
        documents.into_iter().filter_map(read).collect()
    }

    /// Counts a document that is left out, and tells of it when it is time.
    pub fn tell(&self, kind: &'static str, error: &StateError, now: DateTime<Utc>) {
        metrics::counter!(STATE_UNREADABLE.name, "kind" => kind).increment(1);
        if let Some(Sum { count, last, .. }) = self.due(kind, error, now) {
            tracing::error!(
                times = count,
                error = last,
                "a state document cannot be read and is left out; the others are used"
            );
        }
    }

    fn due(&self, kind: &'static str, error: &StateError, now: DateTime<Utc>) -> Option<Sum<(&'static str, String)>> {
        let key = if let StateError::Corrupt { key, .. } = error { key.clone() } else { String::new() };
        self.0.add((kind, key), &chain(error), now)
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_document_is_told_at_once_and_then_by_the_hour() {
        let skipped = Skipped::default();
        let began = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let corrupt = |key: &str| StateError::Corrupt { kind: "k".into(), key: key.into(), source: "bad".into() };
        let told = |kind, key, second| {
            skipped.due(kind, &corrupt(key), began + TimeDelta::seconds(second)).map(|sum| sum.count)
        };
        assert_eq!(told("k", "a", 0), Some(1));
        assert!((1..240).all(|look| told("k", "a", look * 15).is_none()));
        assert_eq!((told("k", "b", 15), told("l", "a", 15)), (Some(1), Some(1)), "another one");
        assert_eq!(told("k", "a", 3600), Some(240));
    }
}
