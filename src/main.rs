//! The program: arguments in, exit status out.

use std::process::ExitCode;

/// An event is some hundred small pieces of memory, made on one thread and freed on another; see
/// `docs/decisions/0006-an-allocator-for-many-threads.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    sysdig_scc::cli::run()
}
