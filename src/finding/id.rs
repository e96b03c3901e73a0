//! The finding's id: deterministic, so that webhook, forwarder, poller and a repeated delivery agree.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// 1-32 ASCII alphanumerics, as SCC demands of `findingId` (API v2, CreateFinding).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FindingId(String);

impl FindingId {
    /// The sender's own id where SCC accepts it, so that people can find one from the other; else a hash of it.
    pub fn from_foreign(kind: &str, id: &str) -> Self {
        if (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Self(id.to_owned());
        }
        Self::from_key(kind, id)
    }

    /// The first 32 hex digits of a SHA-256 over kind and stable key.
    pub fn from_key(kind: &str, key: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(kind.as_bytes());
        hash.update(b"|");
        hash.update(key.as_bytes());
        Self(hex::encode(&hash.finalize()[..16]))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FindingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
