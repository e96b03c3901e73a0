//! Sysdig Secure's HTTP API: where it is, how one authenticates, and the calls we make. Knows no event.
//!
//! Two generations of the events feed exist: the public one, and an older one that on-premises installations still
//! have. [`Client::walk`] reads a window of time from whichever answers, page by page, and hands every element over as
//! the JSON text it came as.

pub mod access;
pub mod account;
pub mod channels;
pub mod client;
pub mod error;
pub mod events;
mod feed;
pub mod forwarders;
pub mod policies;
pub mod region;
mod skew;
mod wire;

pub use access::{Access, Credential};
pub use client::{Client, Patience};
pub use error::SysdigError;
pub use events::{Walk, Window};
