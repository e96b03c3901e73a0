//! The world around the program, in small.

pub mod wire;
