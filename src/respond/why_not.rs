//! Why nothing was done, or nothing came of it.

use crate::integrity::answer::Reason;

/// Why not: in a word from a closed set, and as people are told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhyNot {
    /// The word.
    pub reason: Reason,
    /// The rest of a sentence that begins with what was not done, without its full stop.
    pub told: String,
}

impl WhyNot {
    pub(super) fn new(reason: Reason, told: impl Into<String>) -> Self {
        Self { reason, told: told.into() }
    }
}
