//! Logs and metrics.

pub mod logs;
pub mod metrics;
pub mod summed;
pub mod trace;
