//! The program: arguments in, exit status out, and an error's chain in words.
#![allow(clippy::print_stderr, reason = "the last word of a failed command")]

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    match sysdig_scc::cli::run(sysdig_scc::cli::Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("sysdig-scc: {error:#}");
            ExitCode::FAILURE
        }
    }
}
