//! Shielded VM integrity: what the log entries say, what changed in words, which measurements are known to be good,
//! and which finding follows. Pure: what was seen before is kept by [`track`](crate::track).

mod aftermath;
pub mod answer;
pub mod baseline;
pub mod changed;
pub mod changes;
pub mod context;
pub mod diff;
pub mod entry;
pub mod envelope;
pub mod explain;
pub mod finding;
pub mod halts;
pub mod judgement;
pub mod known;
pub mod learning;
pub mod lifecycle;
pub mod matching;
pub mod meaning;
pub mod measurement;
mod members;
pub mod moment;
pub mod parse;
mod parse_audit;
mod reading;
pub mod record;
pub mod source;
mod steps;
pub mod words;

pub use entry::{Check, Entry, Fact, Vm};
pub use parse::read;
pub use reading::{Foreign, Reading, Unreadable};
