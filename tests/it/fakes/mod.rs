//! The world around the program, in small.

pub mod emulator;
pub mod wire;
pub mod loopback;
pub mod sysdig;
