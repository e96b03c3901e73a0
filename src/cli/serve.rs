//! `serve`: the connector.

use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::out::note;
use super::stage::Stage;
use crate::app::{App, ground};
use crate::config::telemetry::LOG_FORMAT;
use crate::config::{Config, Env, Problem, secrets};
use crate::telemetry;

/// Run the connector.
#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Deliver to an embedded sandbox on a free loopback port instead of Google. A rehearsal: nothing is kept.
    #[arg(long)]
    sandbox: bool,
}

/// Runs until SIGTERM or SIGINT, or until a part of it dies.
///
/// # Errors
/// All problems of the settings and of what they name on this machine at once, or what kept it from starting. Where log
/// lines are JSON, it is told in one of them.
pub(super) fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    let env = Env::from_process();
    let in_json = env.under(LOG_FORMAT.name).is_some_and(|format| format.eq_ignore_ascii_case("json"));
    match super::block_on(serve(args.sandbox, env)) {
        Err(error) if in_json => {
            note!("{}", telemetry::logs::last_words(format!("{error:#}").trim_end()));
            Ok(ExitCode::FAILURE)
        }
        done => done,
    }
}

async fn serve(sandbox: bool, env: Env) -> anyhow::Result<ExitCode> {
    // Before anything else: whoever starts it may stop it at once.
    let stop = stop_signal()?;
    tokio::pin!(stop);
    let (stage, config, app) = tokio::select! {
        started = start(sandbox, env) => started?,
        () = &mut stop => return Ok(ExitCode::SUCCESS),
    };
    let address = app.address();
    let (version, outbox) = (env!("CARGO_PKG_VERSION"), config.outbox.path.display());
    tracing::info!(version, %outbox, source = config.scc.source.as_ref().map(tracing::field::display), "sysdig-scc has started");
    match &stage {
        Some(stage) => {
            tracing::warn!(%address, sandbox = stage.url(), "sysdig-scc listens; findings go to the embedded SANDBOX, not to Google")
        }
        None if config.scc.dry_run => {
            tracing::warn!(%address, "sysdig-scc listens; DRY_RUN is set: findings are printed, not sent")
        }
        None => tracing::info!(%address, endpoint = %config.scc.endpoint, "sysdig-scc listens"),
    }
    // What died is told in the log.
    let code = if app.run(stop).await.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    if let Some(stage) = stage {
        stage.stop().await;
    }
    Ok(code)
}

async fn start(sandbox: bool, mut env: Env) -> anyhow::Result<(Option<Stage>, Config, App)> {
    let stage = if sandbox { Some(Stage::start(&mut env).await?) } else { None };
    secrets::resolve(&mut env).await;
    let file = env.file().map(Path::to_owned);
    let config = ground::stand_on(env).await?;
    telemetry::logs::start(&config.telemetry);
    if let Some(path) = file {
        tracing::info!(path = %path.display(), "settings were read from a file .env too");
    }
    for Problem { setting, wrong, remedy } in &config.doubts {
        tracing::warn!(remedy, "the setting {setting} {wrong}");
    }
    let app = App::build(&config).await?;
    Ok((stage, config, app))
}

/// Done at the first SIGTERM or SIGINT.
pub(super) fn stop_signal() -> std::io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
