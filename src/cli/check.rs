//! `check`: settings, all problems at once; then what the job needs on this machine.

use std::process::ExitCode;

use clap::Args;
use serde::Serialize;

use super::Format;
use crate::config::{Config, Env, Problems, secrets};
use crate::outbox::{Sqlite, Store, StoreError};

/// Check the settings, and whether each service would let us do our job.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Ask nobody outside this machine.
    #[arg(long)]
    offline: bool,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// One line of the answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Line {
    /// What was looked at.
    pub(crate) what: String,
    /// How it stands.
    pub(crate) state: State,
    /// What was found.
    pub(crate) found: String,
    /// The command, role or setting that mends it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remedy: Option<String>,
}

/// How a line stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Ok,
    Warning,
    Failed,
}

/// Checks. Status 0 when nothing failed.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let mut lines = Vec::new();
    let config = match read(args.offline)? {
        Ok(config) => {
            lines.push(ok("settings", "no problems"));
            Some(config)
        }
        Err(problems) => {
            let failed = |p: crate::config::Problem| Line {
                what: p.setting,
                state: State::Failed,
                found: p.wrong,
                remedy: Some(p.remedy),
            };
            lines.extend(problems.0.into_iter().map(failed));
            None
        }
    };
    if let Some(config) = &config {
        lines.push(outbox(config));
        lines.extend(tokens(config));
        if !args.offline {
            super::block_on(async {
                super::probe::outside(config, &mut lines).await;
                Ok(())
            })?;
        }
    }
    print(&lines, args.format)?;
    let failed = lines.iter().any(|line| line.state == State::Failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The settings; offline, secrets in Secret Manager are left as names.
fn read(offline: bool) -> anyhow::Result<Result<Config, Problems>> {
    if offline {
        return Ok(Config::read(Env::from_process()));
    }
    super::block_on(async { Ok(Config::read(secrets::environment().await)) })
}

/// A line that says that all is well.
pub(crate) fn ok(what: &str, found: &str) -> Line {
    Line { what: what.into(), state: State::Ok, found: found.into(), remedy: None }
}

fn outbox(config: &Config) -> Line {
    let path = config.outbox.path.display();
    let error = match Sqlite::open(&config.outbox.path, config.outbox.keep) {
        // A disk that cannot be written now is no obstacle to opening: only a write tells.
        Ok(store) => match super::block_on(async { anyhow::Ok(store.probe().await) }) {
            Ok(Ok(())) => return ok("outbox", &format!("{path} can be written")),
            Ok(Err(error)) => crate::telemetry::chain(&error),
            Err(error) => format!("{error:#}"),
        },
        Err(StoreError::InUse { .. }) => return ok("outbox", &format!("{path} is in use by a running connector")),
        Err(error @ StoreError::TooNew { .. }) => {
            return failed(&error, "run the newer version, or set OUTBOX_URL to another file");
        }
        Err(error) => crate::telemetry::chain(&error),
    };
    failed(&error, "make the file and its folder writable, or set OUTBOX_URL to a file on a lasting disk")
}

fn failed(found: &impl ToString, remedy: &str) -> Line {
    Line { what: "outbox".into(), state: State::Failed, found: found.to_string(), remedy: Some(remedy.into()) }
}

fn tokens(config: &Config) -> Option<Line> {
    use secrecy::ExposeSecret;
    let short = config.server.tokens.iter().any(|token| token.expose_secret().len() < 16);
    short.then(|| Line {
        what: "WEBHOOK_AUTHENTICATION_TOKEN".into(),
        state: State::Warning,
        found: "a token is shorter than 16 characters and can be guessed".into(),
        remedy: Some("make one with `openssl rand -hex 20`".into()),
    })
}

fn print(lines: &[Line], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        println!("{}", serde_json::to_string_pretty(lines)?);
        return Ok(());
    }
    let mut table = super::table(["check", "", "found", "remedy"]);
    for line in lines {
        let state = match line.state {
            State::Ok => "ok",
            State::Warning => "warning",
            State::Failed => "FAILED",
        };
        table.add_row([&line.what, state, &line.found, line.remedy.as_deref().unwrap_or_default()]);
    }
    println!("{table}");
    Ok(())
}
