//! Something a runtime sensor saw. (Skeleton: the fields are to be completed.)

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::{FindingId, Severity};

/// One runtime event, whichever sender and shape it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Runtime {
    /// The sender's id, or one derived from what identifies the event.
    pub id: String,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// How bad the sender says it is.
    pub severity: Severity,
}

impl Runtime {
    /// The finding this event becomes.
    pub fn finding_id(&self) -> FindingId {
        FindingId::from_foreign("runtime", &self.id)
    }
}
