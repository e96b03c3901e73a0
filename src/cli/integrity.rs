//! `integrity explain` (and `integrity actions`, `integrity baseline`): what a Shielded VM's log entries say, in words.

use std::io::{IsTerminal, Read};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, bail};
use chrono::Utc;
use clap::{Args, Subcommand};
use serde_json::json;

use super::{Format, actions, baseline};
use crate::integrity::envelope::{Item, entries};
use crate::integrity::explain::{Paint, explain};
use crate::integrity::{Entry, Reading, read};

/// Shielded VM integrity: explain reports, manage known-good baselines.
#[derive(Debug, Args)]
pub(super) struct IntegrityArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what log entries mean: which registers changed, what they cover, what usually changes them.
    ///
    /// Reads one entry, one entry a line, what `gcloud logging read --format=json` prints, or Pub/Sub messages.
    Explain {
        /// A file, or - for standard input.
        file: String,
        /// How to print.
        #[arg(long, value_enum, default_value_t = Format::Text)]
        format: Format,
    },
    /// What was done about failed boots, and what was not and why: the journal, and how much of the caps is used.
    Actions(actions::ActionsArgs),
    /// The known-good baselines; the same as `baseline`.
    Baseline(baseline::BaselineArgs),
}

/// Runs the command.
///
/// # Errors
/// When the file cannot be read, or holds no entry.
pub(super) fn run(args: IntegrityArgs) -> anyhow::Result<ExitCode> {
    match args.command {
        Command::Explain { file, format } => explain_file(&file, format),
        Command::Actions(args) => actions::run(args),
        Command::Baseline(args) => baseline::run(args),
    }
}

fn explain_file(file: &str, format: Format) -> anyhow::Result<ExitCode> {
    let items = entries(&contents(file)?);
    if items.is_empty() {
        bail!(
            "{} is empty; give it a log entry as JSON, for example from `gcloud logging read … --format=json`",
            named(file)
        );
    }
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut unreadable = 0;
    for item in items {
        let (text, json) = match opened(item) {
            Opened::Entry(entry) => {
                let explanation = explain(&entry);
                (explanation.text(Paint(colour)), json!(explanation))
            }
            Opened::Foreign(reason) => (format!("{reason}\n"), json!({"ignored": reason})),
            Opened::Unreadable(reason) => {
                unreadable += 1;
                (format!("This cannot be read: {reason}.\n"), json!({"unreadable": reason}))
            }
        };
        match format {
            Format::Text => println!("{text}"),
            Format::Json => println!("{json}"),
        }
    }
    Ok(if unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

enum Opened {
    Entry(Box<Entry>),
    Foreign(String),
    Unreadable(String),
}

fn opened(item: Item) -> Opened {
    match item {
        Item::NoData => Opened::Foreign("The message has no data.".to_owned()),
        Item::Unreadable { reason, .. } => Opened::Unreadable(hint(reason)),
        Item::Entry(json) => match read(&json, Utc::now()) {
            Ok(Reading::Entry(entry)) => Opened::Entry(entry),
            Ok(Reading::Foreign(foreign)) => Opened::Foreign(foreign.reason().to_owned()),
            Err(error) => Opened::Unreadable(error.0),
        },
    }
}

fn hint(reason: String) -> String {
    if reason.starts_with("it is not JSON") { format!("{reason}; with gcloud, add --format=json") } else { reason }
}

/// Every entry in a file that is news about a Shielded VM.
///
/// # Errors
/// When the file cannot be read, or something in it cannot.
pub(super) fn known_entries(file: &str) -> anyhow::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for item in entries(&contents(file)?) {
        match opened(item) {
            Opened::Entry(entry) => found.push(*entry),
            Opened::Foreign(_) => {}
            Opened::Unreadable(reason) => bail!("{} cannot be read: {reason}", named(file)),
        }
    }
    Ok(found)
}

/// The bytes of a file, or of standard input.
fn contents(file: &str) -> anyhow::Result<Vec<u8>> {
    if file != "-" {
        return std::fs::read(Path::new(file)).with_context(|| format!("{file} cannot be read"));
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).context("standard input cannot be read")?;
    Ok(bytes)
}

fn named(file: &str) -> &str {
    if file == "-" { "standard input" } else { file }
}
