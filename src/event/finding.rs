//! Finding: what we want Security Command Center to say, in the words of its API v2. (Skeleton.)

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::FindingId;

/// A finding, serialised as the v2 `Finding` message (securitycenter-v2.json, GoogleCloudSecuritycenterV2Finding).
/// Absent members are left out, never sent empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The id, in the request's query rather than its body.
    #[serde(skip)]
    pub id: Option<FindingId>,
    /// When it happened.
    pub event_time: DateTime<Utc>,
}

/// What should change in Security Command Center.
#[derive(Debug, Clone, PartialEq)]
pub enum FindingChange {
    /// A one-shot finding: create it; if it exists, leave it as it is (an analyst may have triaged it).
    Create {
        /// Its id.
        id: FindingId,
        /// What it says.
        finding: Box<Finding>,
    },
    /// A stateful finding: create it, or update and reopen it when this occurrence is newer than what stands there.
    Raise {
        /// Its id.
        id: FindingId,
        /// What it says.
        finding: Box<Finding>,
    },
    /// A stateful finding whose cause has gone: set INACTIVE if it exists and is ACTIVE and older than `time`.
    Close {
        /// Its id.
        id: FindingId,
        /// When the cause was seen to be gone.
        time: DateTime<Utc>,
    },
}
