//! Our own words: what happened, which finding it becomes, and how it ended. Knows no wire format of a sender.

pub mod attestation;
pub mod finding;
pub mod id;
pub mod outcome;
pub mod runtime;
pub mod severity;

use serde::{Deserialize, Serialize};

pub use attestation::Attestation;
pub use finding::{Finding, FindingChange};
pub use id::FindingId;
pub use outcome::Outcome;
pub use runtime::Runtime;
pub use severity::Severity;

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

impl Event {
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
