//! The stories: the parts over real HTTP among small stateful fakes.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub, reason = "tests")]

mod fakes;
mod setup;
mod sysdig_feed;
