//! How one attempt at an event went.

use crate::deliver::Verdict;
use crate::event::Outcome;

/// How one attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attempt {
    /// The event is finished.
    Done {
        /// How.
        outcome: Outcome,
        /// A sentence, where the outcome alone does not tell.
        note: Option<String>,
    },
    /// It is not.
    Failed {
        /// What went wrong, with its causes, for the row and for the log.
        reason: String,
        /// What follows.
        verdict: Verdict,
        /// The metric label.
        label: &'static str,
    },
}
