//! Attestation: a token, keys, a policy and the time → a verdict that explains itself.
//!
//! Pure but for the fetching of keys. 

pub mod cel;
pub mod json;
pub mod nearest;
pub mod policy;
