//! What Sysdig's API says, as far as we read it. Every member may be missing.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A page of either events feed. Elements are not looked into.
#[derive(Debug, Deserialize)]
pub(super) struct EventsPage {
    /// Null where there is nothing. Without it, or with anything else than an array, the answer is no page: a gateway
    /// may say its own error with a 200, and a window must not count as read then.
    #[serde(deserialize_with = "Option::deserialize")]
    pub(super) data: Option<Vec<Box<RawValue>>>,
    #[serde(default)]
    pub(super) page: Option<Cursors>,
    /// Whether bytes in it were not UTF-8, and are U+FFFD now.
    #[serde(skip)]
    pub(super) had_bad_bytes: bool,
}

/// Where the feed goes on.
#[derive(Debug, Default, Clone, Deserialize)]
pub(super) struct Cursors {
    #[serde(default)]
    pub(super) next: Option<String>,
    #[serde(default)]
    pub(super) prev: Option<String>,
    #[serde(default)]
    pub(super) total: Option<u64>,
}

/// What is read of one event to place it in time.
#[derive(Debug, Deserialize)]
pub(super) struct Placed {
    #[serde(default)]
    pub(super) id: Option<Value>,
    #[serde(default)]
    pub(super) timestamp: Option<Value>,
    #[serde(default, rename = "timestampNs")]
    pub(super) timestamp_ns: Option<Value>,
    #[serde(default, rename = "timestampRFC3339Nano")]
    pub(super) timestamp_text: Option<String>,
}

/// `GET /api/users/me`.
#[derive(Debug, Deserialize)]
pub(super) struct UserAnswer {
    pub(super) user: UserWire,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct UserWire {
    #[serde(default)]
    pub(super) username: Option<String>,
    #[serde(default)]
    pub(super) current_team: Option<i64>,
}
