//! The last changes that were asked of a VM through the Compute API, of every kind. Pure.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// How many changes of a kind are kept, and how many operations that failed: far more than run at once.
pub(super) const KEPT: usize = 16;

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The option's name, or that it was the baseline.
    pub what: String,
    /// Whether it was switched on.
    pub on: bool,
    /// Who asked for it.
    pub by: String,
    /// When.
    pub time: DateTime<Utc>,
    /// The operation it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
}

/// The last changes of a VM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Changes {
    pub(super) made: Vec<Change>,
    /// Operations that ended with an error, whose beginning may still arrive.
    pub(super) failed: Vec<String>,
}

impl Changes {
    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.made.is_empty() && self.failed.is_empty()
    }

    /// The newest change of a kind. Of two at the same time, being off counts.
    pub fn newest(&self, what: &str) -> Option<&Change> {
        self.made.iter().filter(|change| change.what == what).max_by_key(|change| (change.time, !change.on))
    }

    /// Notes a change; answers whether it is the newest of its kind.
    pub(super) fn take(&mut self, change: Change) -> bool {
        if change.operation.as_deref().is_some_and(|operation| self.has_failed(operation)) {
            return false;
        }
        let what = change.what.clone();
        if !self.made.contains(&change) {
            self.made.push(change.clone());
            self.forget_oldest(&what);
        }
        self.newest(&what) == Some(&change)
    }

    /// Whether this operation ended with an error.
    pub(super) fn has_failed(&self, operation: &str) -> bool {
        self.failed.iter().any(|failed| failed == operation)
    }

    /// Takes back what an operation began.
    pub(super) fn take_back(&mut self, operation: &str) {
        self.made.retain(|change| change.operation.as_deref() != Some(operation));
        if !self.has_failed(operation) {
            self.failed.push(operation.to_owned());
            let many = self.failed.len().saturating_sub(KEPT);
            self.failed.drain(..many);
        }
    }

    fn forget_oldest(&mut self, what: &str) {
        let of_kind = || self.made.iter().enumerate().filter(|(_, change)| change.what == what);
        if of_kind().count() > KEPT
            && let Some((oldest, _)) = of_kind().min_by_key(|(_, change)| (change.time, !change.on))
        {
            self.made.remove(oldest);
        }
    }
}
