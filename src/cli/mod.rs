//! The command line: one file a command. The only room, with `main`, where `anyhow` is used and where text is printed.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "printing is what commands are for")]
