//! Our own words: what happened, and how it ended. Knows no wire format of a sender.

pub mod api_path;
pub mod attestation;
pub mod facts;
pub mod location;
pub mod outcome;
pub mod runtime;
pub mod scene;
pub mod severity;
pub(crate) mod sieve;

use serde::{Deserialize, Serialize};

pub use attestation::Attestation;
pub use outcome::Outcome;
pub use runtime::Runtime;
pub use severity::Severity;

use crate::finding::FindingId;
use crate::integrity::Entry;

/// Anything we promised to deliver, as the outbox keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Event {
    /// Something a runtime sensor saw: Sysdig Secure or Falco.
    Runtime(Box<Runtime>),
    /// Something a log entry says about a Shielded VM.
    Integrity(Box<Entry>),
    /// Something attestation found out.
    Attestation(Box<Attestation>),
}

/// How every runtime event begins that [`Event`] has written: serde puts the tag first.
const RUNTIME: &[u8] = br#"{"kind":"runtime","#;

impl Event {
    /// The event that was serialised. Reads what derived deserialisation reads, without its detour: of a tagged enum
    /// serde first makes a tree of everything, in case the tag comes last.
    ///
    /// # Errors
    /// When the text is no event, or one of a kind that this program does not know.
    pub fn from_json(text: &[u8]) -> Result<Self, serde_json::Error> {
        if text.starts_with(RUNTIME) {
            return serde_json::from_slice(text).map(Self::Runtime);
        }
        serde_json::from_slice(text)
    }

    /// The finding this event becomes: deterministic, so that a repeat meets itself.
    pub fn finding_id(&self) -> FindingId {
        match self {
            Self::Runtime(event) => event.finding_id(),
            Self::Integrity(entry) => entry.finding_id(),
            Self::Attestation(event) => event.finding_id(),
        }
    }

    /// What identifies the event itself: a second one with the same key is a repeat.
    pub fn key(&self) -> String {
        match self {
            Self::Runtime(event) => event.finding_id().to_string(),
            Self::Integrity(entry) => entry.key(),
            Self::Attestation(event) => event.key(),
        }
    }

    /// The label used in metrics and in the ledger.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Runtime(_) => "runtime",
            Self::Integrity(_) => "integrity",
            Self::Attestation(_) => "attestation",
        }
    }

    /// Which events go first when the quota is short: 0 is the most urgent class, 3 the least.
    pub fn urgency(&self) -> u8 {
        match self {
            Self::Runtime(event) => event.severity.urgency(),
            Self::Integrity(entry) if entry.failed() == Some(true) => 1,
            Self::Integrity(_) => 2,
            Self::Attestation(event) => event.urgency(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_the_short_way_and_the_long_one() {
        let written = r#"{"kind":"runtime","id":"a","shape":"falco","time":"2026-11-22T04:00:00Z","severity":4}"#;
        let event: Event = serde_json::from_str(written).unwrap();
        assert_eq!(serde_json::to_string(&event).unwrap(), written);
        assert_eq!(Event::from_json(written.as_bytes()).unwrap(), event);
        let tag_last = r#"{"id":"a","shape":"falco","time":"2026-11-22T04:00:00Z","severity":4,"kind":"runtime"}"#;
        assert_eq!(Event::from_json(tag_last.as_bytes()).unwrap(), event);
        assert!(Event::from_json(br#"{"kind":"unheard-of"}"#).is_err());
    }
}
