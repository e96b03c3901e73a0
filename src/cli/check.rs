//! `check`: settings, all problems at once; then what the job needs on this machine and from the services outside.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;

use super::Format;
use super::out::say;
use super::probe::line::{Line, State};
use super::probe::{self, Ask};
use crate::app::ground;
use crate::config::{Areas, Config, Env, Problem, secrets};
use crate::google::secret_manager::is_place;

/// Check the settings, and whether each service would let us do our job. Nothing is changed anywhere.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Ask nobody outside this machine.
    #[arg(long)]
    offline: bool,
    /// How long to wait for each service, in seconds. All are asked at once.
    #[arg(long, value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=300))]
    timeout: u64,
    /// How to print.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// Checks. Status 0 when nothing failed.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let deadline = Duration::from_secs(args.timeout);
    let lines = super::block_on(async { anyhow::Ok(look(args.offline, deadline).await) })?;
    print(&lines, args.format)?;
    let failed = lines.iter().any(|line| line.state == State::Failed);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn look(offline: bool, deadline: Duration) -> Vec<Line> {
    let mut env = Env::from_process();
    // Offline, secrets in Secret Manager are left as names.
    let named = if offline { Vec::new() } else { resolve(&mut env, deadline).await };
    let areas = Areas::read(&mut env);
    ground::doubt(&areas, &mut env);
    let file = env.file().map(|path| ok(".env", &format!("{} was read", path.display())));
    let doubts = env.doubts().to_vec().into_iter().map(doubtful);
    let config = match env.has_problems() {
        false => areas.whole(&env),
        true => {
            let here = ground::look(&areas).await;
            let problems = env.finish().err().map(|problems| problems.0).unwrap_or_default();
            return problems.into_iter().chain(here).map(failed).chain(file).chain(doubts).collect();
        }
    };
    let Some(config) = config else { return vec![unread()] };
    let mut lines = vec![ok("settings", "no problems")];
    lines.extend(file);
    lines.extend(doubts);
    if !named.is_empty() {
        lines.push(ok("Secret Manager", &format!("{} can be read", named.join(", "))));
    }
    lines.extend(tokens(&config));
    let ask = Ask { config: Arc::new(config), offline, deadline };
    lines.extend(probe::gather(probe::all(&ask), deadline).await);
    lines
}

/// Puts the secrets in place of their names, and says which settings had names.
async fn resolve(env: &mut Env, deadline: Duration) -> Vec<&'static str> {
    let named = secrets::named(env);
    if tokio::time::timeout(deadline, secrets::resolve(env)).await.is_err() {
        let remedy = "check that this machine reaches secretmanager.googleapis.com and the metadata server";
        let wrong = format!("cannot be read: Secret Manager did not answer within {} s", deadline.as_secs());
        named.iter().for_each(|name| env.problem(name, &wrong, remedy));
    }
    named
}

fn failed(problem: Problem) -> Line {
    Line { what: problem.setting, state: State::Failed, found: problem.wrong, remedy: Some(problem.remedy) }
}

fn doubtful(problem: Problem) -> Line {
    Line { state: State::Warning, ..failed(problem) }
}

/// An area that says nothing about why it could not be read.
fn unread() -> Line {
    failed(Problem {
        setting: "settings".into(),
        wrong: "cannot be read".into(),
        remedy: "a mistake in this program: please report it".into(),
    })
}

/// A line that says that all is well.
fn ok(what: &str, found: &str) -> Line {
    Line { what: what.into(), state: State::Ok, found: found.into(), remedy: None }
}

fn tokens(config: &Config) -> Option<Line> {
    use secrecy::ExposeSecret;
    // Offline, the name of a secret stands for it.
    let is_short = |token: &str| !is_place(token) && token.len() < 16;
    let short = config.server.tokens.iter().any(|token| is_short(token.expose_secret()));
    short.then(|| Line {
        what: "WEBHOOK_AUTHENTICATION_TOKEN".into(),
        state: State::Warning,
        found: "a token is shorter than 16 characters and can be guessed".into(),
        remedy: Some("make one with `openssl rand -hex 20`".into()),
    })
}

fn print(lines: &[Line], format: Format) -> anyhow::Result<()> {
    if format == Format::Json {
        say!("{}", serde_json::to_string_pretty(lines)?);
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
    say!("{table}");
    Ok(())
}
