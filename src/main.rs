//! The program: arguments in, exit status out, and an error's chain in words.
#![allow(clippy::print_stderr, reason = "the last word of a failed command")]

use std::process::ExitCode;

use clap::Parser;

/// An event is some hundred small pieces of memory, made on one thread and freed on another; see
/// `docs/decisions/0006-an-allocator-for-many-threads.md`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    end_quietly_without_a_reader();
    match sysdig_scc::cli::run(sysdig_scc::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sysdig-scc: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A reader that has seen enough (`sysdig-scc outbox list | head`) is no failure of the command that still prints.
#[expect(clippy::disallowed_methods, reason = "this is main, which ends the process")]
fn end_quietly_without_a_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let said = panic.payload_as_str().unwrap_or_default();
        if said.starts_with("failed printing to stdout") && said.contains("Broken pipe") {
            std::process::exit(0);
        }
        usual(panic);
    }));
}
