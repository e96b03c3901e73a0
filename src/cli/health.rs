//! `health`: asks the connector on this machine whether it is alive, for container health checks without a shell.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use crate::config::{Env, server};

/// Ask the connector on this machine whether it is alive (status 0) or not (status 1).
#[derive(Debug, Args)]
pub(super) struct HealthArgs {
    /// Ask whether it is ready to do its job, too.
    #[arg(long)]
    ready: bool,
}

/// Asks.
///
/// # Errors
/// When nobody answers.
pub(super) fn run(args: &HealthArgs) -> anyhow::Result<ExitCode> {
    let port = Env::from_process().text(&server::PORT).unwrap_or_default();
    let url = format!("http://127.0.0.1:{port}/{}", if args.ready { "readyz" } else { "healthz" });
    super::block_on(async move {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(3)).build()?;
        let answer = client.get(&url).send().await.with_context(|| format!("nobody answers at {url}"))?;
        let status = answer.status();
        println!("{}", answer.text().await?);
        Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}
