//! What commands print: the only room that writes on standard output and standard error.
//!
//! A command goes on with what it does when nobody can be told: what it changed is changed. The first failure is kept,
//! and is its last word.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::text::escaped;

/// Prints a line on standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::out::line(format_args!($($text)*)) };
}
/// Prints a line on standard error.
macro_rules! note {
    ($($text:tt)*) => { $crate::cli::out::aside(format_args!($($text)*)) };
}
pub(super) use note;
pub(super) use say;

/// Not everything could be printed.
#[derive(Debug, thiserror::Error)]
#[error("not everything could be printed")]
pub(super) struct Unwritten(#[source] pub(super) io::Error);

static FIRST_FAILURE: Mutex<Option<io::Error>> = Mutex::new(None);

fn first_failure() -> MutexGuard<'static, Option<io::Error>> {
    FIRST_FAILURE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Standard output. Writing there always succeeds: whether it did is asked in the end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Out;

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        keep(io::stdout().write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        keep(io::stdout().flush());
        Ok(())
    }
}

fn keep(done: io::Result<()>) {
    if let Err(error) = done {
        first_failure().get_or_insert(error);
    }
}

/// A line on standard output. What it repeats of others must not steer a terminal.
pub(super) fn line(text: Arguments<'_>) {
    painted(&escaped(&text.to_string()));
}

/// A line in colours: whatever others said in it is plain already.
pub(super) fn painted(text: &str) {
    if !is_lost() {
        keep(writeln!(io::stdout(), "{text}"));
    }
}

/// A line on standard error. When that cannot be written either, there is nobody left to tell.
pub(super) fn aside(text: Arguments<'_>) {
    drop(writeln!(io::stderr(), "{}", escaped(&text.to_string())));
}

/// Whether printing has failed, so that nothing that is only printed need be found out any more.
pub(super) fn is_lost() -> bool {
    first_failure().is_some()
}

/// Ends the printing.
///
/// # Errors
/// The first failure. A reader that has seen enough (`sysdig-scc outbox list | head`) is none.
pub(super) fn finish() -> Result<(), Unwritten> {
    keep(io::stdout().flush());
    match first_failure().take() {
        Some(error) if error.kind() != ErrorKind::BrokenPipe => Err(Unwritten(error)),
        _ => Ok(()),
    }
}
