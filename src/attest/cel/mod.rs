//! The Common Expression Language as Workload Identity Federation uses it, with bounds.
//!
//! `cel` reads the text; its tree is turned at once into [`node::Node`], which is checked (names, depth, size) and
//! evaluated here. The crate's own evaluator has no limit of steps, memory or depth, and a legal condition of 4096
//! characters can end the process with it; ours counts every step and byte. The language is the same: a property
//! test compares the two.

mod checker;
mod eval;
mod functions;
mod limits;
mod loops;
pub mod machine;
mod macros;
pub mod node;
mod number;
mod operators;
mod parse;
mod pattern;
pub mod reference;
mod stack;
mod text;
mod time;
pub mod value;

pub use limits::{Limits, Refusal};
pub use machine::{Budget, EvalError, Scope};
pub use node::Expression;
pub use parse::compile_all;
pub use text::{Tree, split_terms};
pub use value::Value;

/// What is wrong with a pattern of `matches()`, if anything is.
pub fn pattern_problem(pattern: &str) -> Option<String> {
    pattern::compile(pattern).err()
}
