//! Settings: typed, read in one room, checked at start, all problems at once.
//!
//! Every variable is a [`Setting`] constant in the file of its area. An area reads itself from an [`Env`] and keeps
//! going after a mistake. The documents are printed from the same constants, so they cannot drift.

pub mod env;
pub mod finding;
pub mod problem;

pub use env::{Area, Env, Setting};
pub use problem::{Problem, Problems};
