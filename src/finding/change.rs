//! What should change in Security Command Center: a finding is made, told again or closed.

use chrono::{DateTime, Utc};

use super::{Finding, FindingId};

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
    /// A stateful finding whose occurrence stands there already: what it says is brought up to date, and its state
    /// stays. Left as it is when a newer occurrence has taken its place.
    Amend {
        /// Its id.
        id: FindingId,
        /// What it says.
        finding: Box<Finding>,
        /// Only where it is INACTIVE. One that is ACTIVE was raised just before, and its time has to stay as it is: what
        /// closes it next may be dated only a moment later.
        only_closed: bool,
    },
    /// A stateful finding whose cause has gone: set INACTIVE if it exists and is older than `time`. One that is INACTIVE
    /// gets the time as well, so that an older occurrence that is still on its way does not reopen it.
    Close {
        /// Its id.
        id: FindingId,
        /// When the cause was seen to be gone.
        time: DateTime<Utc>,
        /// Whether it was told before: then it will stand there, and the closing waits until it does.
        told: bool,
        /// Another failure before `time`, whose finding is not delivered yet and is closed by whoever delivers it: what
        /// stands there of an earlier one is closed under a time before that, or it could not be told any more.
        untold_failure: Option<DateTime<Utc>>,
    },
}

impl FindingChange {
    /// What it says of the finding; nothing when it is closed.
    pub fn finding_mut(&mut self) -> Option<&mut Finding> {
        match self {
            Self::Create { finding, .. } | Self::Raise { finding, .. } | Self::Amend { finding, .. } => Some(finding),
            Self::Close { .. } => None,
        }
    }
}
