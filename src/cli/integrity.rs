//! `integrity explain` (and `integrity actions`, `integrity baseline`): what a Shielded VM's log entries say, in words.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde_json::json;

use super::log_file::{Opened, items, opened};
use super::out::{painted, say};
use super::{Format, actions, baseline};
use crate::integrity::explain::{Paint, explain};
use crate::telemetry::logs::in_colour;
use crate::text::escaped;

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
    let items = items(file)?;
    let colour = in_colour(&std::io::stdout());
    let mut unreadable = 0;
    for item in items {
        let (text, json) = match opened(item) {
            Opened::Entry(entry) => {
                let explanation = explain(&entry);
                (explanation.text(Paint(colour)), json!(explanation))
            }
            Opened::Foreign(reason) => (format!("{}\n", escaped(&reason)), json!({"ignored": reason})),
            Opened::Unreadable(reason) => {
                unreadable += 1;
                (format!("This cannot be read: {}.\n", escaped(&reason)), json!({"unreadable": reason}))
            }
        };
        match format {
            Format::Text => painted(&text),
            Format::Json => say!("{json}"),
        }
    }
    Ok(if unreadable == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
