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
    ///
    /// One in the form of [`FindingId::ours`] is hashed too: whoever may send events could otherwise take the place of a
    /// finding about a machine before it is opened, as what its id is made of is known to everybody on the machine.
    pub fn from_foreign(kind: &str, id: &str) -> Self {
        let fits = (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric());
        if fits && !is_ours(id) { Self(id.to_owned()) } else { Self(digest(kind, id)) }
    }

    /// The first 32 hex digits, in capitals, of a SHA-256 over kind and stable key: a finding of this connector's own making.
    pub fn ours(kind: &str, key: &str) -> Self {
        Self(digest(kind, key).to_ascii_uppercase())
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

/// 16 bytes of a SHA-256 over a kind and what is stable of a thing, in hex.
pub fn digest(kind: &str, key: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(kind.as_bytes());
    hash.update(b"|");
    hash.update(key.as_bytes());
    hex::encode(&hash.finalize()[..16])
}

/// Whether it has the form of an id of ours. Sysdig's have small letters.
fn is_ours(id: &str) -> bool {
    id.len() == 32
        && id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'A'..=b'F'))
        && id.bytes().any(|b| b.is_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_senders_id_is_one_of_ours() {
        let ours = FindingId::ours("integrity", "acme-prod/4417382950617283945/late_boot");
        assert!(is_ours(ours.as_str()), "{ours}");
        let taken = FindingId::from_foreign("runtime", ours.as_str());
        assert_ne!(taken, ours);
        assert!(!is_ours(taken.as_str()), "{taken}");
        for theirs in ["17dec715376910362c8c3f62a4ced001", "12345678901234567890123456789012", "ABC123", "F"] {
            assert_eq!(FindingId::from_foreign("runtime", theirs).as_str(), theirs);
        }
        for strange in ["", "a-b", "17dec715376910362c8c3f62a4ced0011"] {
            assert_eq!(FindingId::from_foreign("runtime", strange).as_str().len(), 32, "{strange}");
        }
    }
}
