//! The time, as an argument.

use std::sync::Arc;

use chrono::{DateTime, Utc};

/// Reads the time: the system's, or a test's own.
pub type Clock = Arc<dyn Fn() -> DateTime<Utc> + Send + Sync>;
