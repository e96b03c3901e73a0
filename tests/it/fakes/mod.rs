//! The outside world, small and stateful.

pub mod loopback;
pub mod sysdig;
