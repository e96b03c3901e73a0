//! Foreign payload → [`Event`]: pure, one file per sender format.

use chrono::{DateTime, Utc};

use crate::event::Event;

/// One element of a delivery, told apart by content.
#[derive(Debug, Clone)]
pub enum Element {
    /// An event we map to a finding.
    Event {
        /// In our own words.
        event: Event,
        /// The element as it was delivered (its JSON text).
        body: String,
    },
    /// Something valid that opens no finding.
    Ignored(Ignored),
    /// One element that cannot be read although the delivery can: kept, with its reason.
    Unreadable {
        /// What is wrong, naming the member.
        reason: String,
        /// The element as it was delivered.
        body: String,
    },
}

/// Why a valid element opens no finding: a closed list, the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ignored {
    /// `state: OK` or `resolved: true`.
    Resolved,
}

impl Ignored {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Resolved => "resolved",
        }
    }
}

/// Why a whole delivery cannot be read. The sender gets 400.
#[derive(Debug, thiserror::Error)]
pub enum NormalizeError {
    /// Not JSON at all.
    #[error("the body is not JSON")]
    NotJson(#[source] serde_json::Error),
}

/// Every element of a delivery, in order. `received` stands in where a time is missing.
pub fn delivery(_body: &[u8], _received: DateTime<Utc>) -> Result<Vec<Element>, NormalizeError> {
    Ok(Vec::new())
}
