//! The command line: one file a command. The only room where `anyhow` is used; `out` is the only
//! one that prints.

mod actions;
mod attest;
mod baseline;
mod baseline_report;
mod check;
mod demo;
mod demo_samples;
mod health;
mod integrity;
mod log_file;
mod out;
mod outbox;
mod poll;
mod probe;
pub mod reference;
mod sandbox;
mod serve;
mod setup;
mod setup_sink;
mod setup_sink_plan;
mod stage;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tokio::signal::unix::{SignalKind, signal};

use out::note;

/// Brings runtime security events from Sysdig Secure and Falco into Google Cloud Security Command Center.
#[derive(Debug, Parser)]
#[command(name = "sysdig-scc", version, about, max_term_width = 110)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::DemoArgs),
    Serve(serve::ServeArgs),
    Sandbox(sandbox::SandboxArgs),
    Check(check::CheckArgs),
    Attest(attest::AttestArgs),
    Integrity(integrity::IntegrityArgs),
    Baseline(baseline::BaselineArgs),
    Setup(setup::SetupArgs),
    Poll(poll::PollArgs),
    Outbox(outbox::OutboxArgs),
    Reference(reference::ReferenceArgs),
    Health(health::HealthArgs),
}

/// How a command prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// How long what a finished command left running in the background may take: the look-up of a name has no end of its own.
const LEFT_OVER: std::time::Duration = std::time::Duration::from_millis(500);

/// Runs a command's future on the runtime that all commands share the shape of.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(async {
        survive_file_limits();
        future.await
    });
    runtime.shutdown_timeout(LEFT_OVER);
    result
}

/// The system's signal for a file that would grow beyond the limit of its process (`ulimit -f`).
const FILE_LIMIT: SignalKind = SignalKind::from_raw(25);

/// Its default is death. With a handler, which stays from now on, the write fails instead, as on a full disk.
fn survive_file_limits() {
    if let Err(error) = signal(FILE_LIMIT) {
        tracing::debug!(%error, "a limit on the size of files (ulimit -f) ends this process when it is reached");
    }
}

/// A table in the house's form.
fn table<const N: usize>(header: [&str; N]) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::UTF8_FULL_CONDENSED);
    table.set_content_arrangement(comfy_table::ContentArrangement::Dynamic);
    table.set_header(header);
    table
}

/// Runs the command that was typed. An error's chain in words is its last line.
pub fn run() -> ExitCode {
    let typed = match Cli::try_parse() {
        Ok(typed) => typed,
        Err(usage) => return asked_for(&usage),
    };
    let done = carry_out(typed);
    let printed = out::finish();
    match (done, printed) {
        (Ok(code), Ok(())) => code,
        (Err(error), _) => failed(&error),
        (Ok(_), Err(error)) => failed(&error.into()),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    note!("sysdig-scc: {error:#}");
    ExitCode::FAILURE
}

/// The help, the version, or what is wrong with what was typed.
fn asked_for(usage: &clap::Error) -> ExitCode {
    match usage.print() {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => failed(&out::Unwritten(error).into()),
        _ => ExitCode::from(u8::try_from(usage.exit_code()).unwrap_or(1)),
    }
}

fn carry_out(typed: Cli) -> anyhow::Result<ExitCode> {
    match typed.command {
        Command::Demo(args) => demo::run(&args),
        Command::Serve(args) => serve::run(&args),
        Command::Sandbox(args) => sandbox::run(args),
        Command::Check(args) => check::run(&args),
        Command::Attest(args) => attest::run(args),
        Command::Integrity(args) => integrity::run(args),
        Command::Baseline(args) => baseline::run(args),
        Command::Setup(args) => setup::run(args),
        Command::Poll(args) => poll::run(&args),
        Command::Outbox(args) => outbox::run(args),
        Command::Reference(args) => reference::run(&args),
        Command::Health(args) => health::run(&args),
    }
}
