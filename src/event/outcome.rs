//! The closed list of ways an event can end.

use serde::{Deserialize, Serialize};

/// How an event ended. Each accepted event ends in exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Its finding stands in Security Command Center.
    Delivered,
    /// The same event had been taken before.
    Duplicate,
    /// It is of a kind that opens no finding: an `OK` notification, a Monitor alert, a test delivery, an audit record.
    Ignored,
    /// A setting says that it is not wanted.
    Filtered,
    /// A newer event about the same thing made it pointless.
    Superseded,
    /// It could not be read or delivered; it is kept with its reason until an operator retries or discards it.
    Parked,
    /// An operator discarded it after it was parked.
    Discarded,
}

impl Outcome {
    /// Every outcome, in the order they are printed.
    pub const ALL: [Self; 7] = [
        Self::Delivered,
        Self::Duplicate,
        Self::Ignored,
        Self::Filtered,
        Self::Superseded,
        Self::Parked,
        Self::Discarded,
    ];

    /// The metric label, and the word in the ledger.
    pub fn label(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Duplicate => "duplicate",
            Self::Ignored => "ignored",
            Self::Filtered => "filtered",
            Self::Superseded => "superseded",
            Self::Parked => "parked",
            Self::Discarded => "discarded",
        }
    }
}
