//! When something happened to a VM.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

/// When something happened to a VM.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Moment {
    /// The entry's time.
    pub time: DateTime<Utc>,
    /// The boot counter, when the entry has one.
    pub boot: Option<u64>,
}
