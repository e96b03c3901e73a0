//! Why the state store could not do what was asked.

use std::error::Error;
use std::time::Duration;

use crate::telemetry::metrics::STATE_ERRORS;

/// The cause underneath.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why the state store could not do what was asked. Keys are named; bodies never are.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Somebody else wrote first: read again and decide anew.
    #[error("the state document {kind}/{key} was changed by somebody else")]
    Conflict {
        /// The document's kind.
        kind: String,
        /// The document's key.
        key: String,
    },
    /// What stands in the store cannot be understood.
    #[error("the state document {kind}/{key} cannot be read")]
    Corrupt {
        /// The document's kind.
        kind: String,
        /// The document's key.
        key: String,
        /// What is wrong with it.
        source: Cause,
    },
    /// What should be written cannot be kept by this store.
    #[error("the state document {kind}/{key} cannot be written as it is")]
    Unfit {
        /// The document's kind.
        kind: String,
        /// The document's key.
        key: String,
        /// What is wrong with it.
        source: Cause,
    },
    /// The store does not answer now; later it may.
    #[error("the state store {place} cannot be used now")]
    Unavailable {
        /// The file, or the database's name.
        place: String,
        /// How long the store asks to be left alone.
        after: Option<Duration>,
        /// The cause.
        source: Cause,
    },
    /// The file is no sound database any more. What is still readable in it may be half of the truth, so none of it is used.
    #[error(
        "the state store {place} is damaged: stop this program, move the file and what stands beside it (-wal, -shm) away, \
         and put a copy back or start without; \"A damaged state store\" in docs/operations.md says what that costs"
    )]
    Damaged {
        /// The file.
        place: String,
        /// The first thing that is wrong with it.
        source: Cause,
    },
    /// The store refuses us: permission or configuration. Waiting does not help.
    #[error("the state store {place} refuses: {remedy}")]
    Refused {
        /// The file, or the database's name.
        place: String,
        /// What an operator should do.
        remedy: String,
        /// The cause.
        source: Cause,
    },
}

impl StateError {
    /// The labels of failures that are nobody else's turn.
    pub const LABELS: [&str; 5] = ["unavailable", "refused", "damaged", "corrupt", "unfit"];

    /// Whether somebody else wrote first.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Conflict { .. })
    }

    /// Whether the same call may pass later without anybody doing anything.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Conflict { .. })
    }

    /// The metric label, from a closed set.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Conflict { .. } => "conflict",
            Self::Corrupt { .. } => "corrupt",
            Self::Unfit { .. } => "unfit",
            Self::Unavailable { .. } => "unavailable",
            Self::Damaged { .. } => "damaged",
            Self::Refused { .. } => "refused",
        }
    }

    /// Counts it. That somebody else wrote first is no failure.
    pub(super) fn counted(self) -> Self {
        if !self.is_conflict() {
            metrics::counter!(STATE_ERRORS.name, "error" => self.label()).increment(1);
        }
        self
    }
}
