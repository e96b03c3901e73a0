//! The world around the program, in small.

pub mod compute;
pub mod emulator;
pub mod wire;
pub mod loopback;
pub mod sysdig;
