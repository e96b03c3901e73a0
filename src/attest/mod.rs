//! Attestation: a token, keys, a policy and the time → a verdict that explains itself.
//!
//! Pure but for the fetching of keys. The order in which a token is looked at is fixed in [`verify`].

pub mod cel;
pub mod chain;
pub mod claims;
mod discovery;
pub mod expected;
pub mod flood;
pub mod gotpm;
pub mod json;
pub mod key_source;
pub mod keys;
pub mod keys_file;
mod look;
pub mod nearest;
pub mod nonce;
pub mod outcome;
pub mod policies;
pub mod policy;
pub mod reason;
pub mod seal;
pub mod seen;
pub mod standing;
pub mod token;
pub mod verify;
