//! The world around the program, in small.

pub mod compute;
pub mod compute_world;
pub mod emulator;
pub mod kubernetes;
pub mod lines;
pub mod logging;
pub mod loopback;
pub mod state;
pub mod subscription;
pub mod sysdig;
pub mod wire;
