//! `sandbox`: only the Security Command Center compatible server.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Args;
use secrecy::SecretString;

use super::out::{self, say};
use crate::sandbox::{self, DEFAULT_ORGANIZATION, DEFAULT_SOURCE, Quotas, SeedSource, Settings, V1};

/// Runs a small Security Command Center for rehearsals. It is not Google, keeps everything in memory and has no
/// protection of its own.
#[derive(Debug, Args)]
pub(super) struct SandboxArgs {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8089")]
    listen: SocketAddr,
    /// Allow an address that other machines can reach
    #[arg(long)]
    beyond_loopback: bool,
    /// The organization's number
    #[arg(long, value_name = "NUMBER", default_value = DEFAULT_ORGANIZATION)]
    organization: String,
    /// A source that exists from the start, as ID or ID=NAME; may be given several times
    #[arg(long = "source", value_name = "ID[=NAME]", default_value = DEFAULT_SOURCE)]
    sources: Vec<String>,
    /// Answer 401 to calls of the API without `Authorization: Bearer TOKEN`. Whoever asks the sandbox for a token gets it:
    /// it is for rehearsing refusals, and protects nothing
    #[arg(long, value_name = "TOKEN", value_parser = token)]
    require_token: Option<SecretString>,
    /// Refuse /v1, as organizations that know only API v2 do
    #[arg(long)]
    refuse_v1: bool,
    /// Accept updates whose event time is missing or not newer
    #[arg(long)]
    lenient_event_time: bool,
    /// Lift all quotas (they are 1,000 writes and 1,000 reads a minute and 500 MB a day)
    #[arg(long)]
    no_quotas: bool,
    /// Threads that answer
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,
}

impl SandboxArgs {
    fn settings(self) -> Settings {
        Settings {
            listen: self.listen,
            beyond_loopback: self.beyond_loopback,
            organization: self.organization,
            sources: self.sources.iter().map(|text| seed(text)).collect(),
            require_token: self.require_token,
            v1: if self.refuse_v1 { V1::Refuse } else { V1::On },
            strict_event_time: !self.lenient_event_time,
            quotas: if self.no_quotas { Quotas::LIFTED } else { Quotas::default() },
            workers: self.workers,
            ..Settings::default()
        }
    }
}

fn seed(text: &str) -> SeedSource {
    let (id, name) = text.split_once('=').unwrap_or((text, "Sysdig Secure"));
    SeedSource { id: id.to_owned(), display_name: name.to_owned() }
}

/// An empty token is what a call without a token shows, and no header holds spaces around one.
fn token(text: &str) -> Result<SecretString, &'static str> {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("a token is one word of ASCII letters, digits and signs, without spaces");
    }
    Ok(text.into())
}

/// Runs until Ctrl-C or SIGTERM.
pub(super) fn run(args: SandboxArgs) -> anyhow::Result<ExitCode> {
    super::block_on(serve(args.settings()))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(settings: Settings) -> anyhow::Result<()> {
    let parent = format!("organizations/{}/sources/{}", settings.organization, first(&settings));
    let asks = settings.require_token.is_some();
    let running = sandbox::start(settings).await?;
    let url = running.url();
    say!("Sandbox: a rehearsal stage for Security Command Center, not Google. Everything is kept in memory only.");
    say!("  findings   {url}/");
    say!("  API        {url}/v2/{parent}/locations/global/findings");
    say!("  steering   {url}/sandbox/stats · faults · quotas · reset (docs/sandbox.md)");
    say!("  gcloud     export CLOUDSDK_API_ENDPOINT_OVERRIDES_SECURITYCENTER={url}/ {}", gcloud_login(asks));
    if asks {
        say!("  token      calls of the API must show the token that was given: Authorization: Bearer TOKEN");
    }
    say!("Ctrl-C ends it.");
    if !out::is_lost() {
        ended().await.context("cannot wait for signals")?;
    }
    running.stop().await;
    Ok(())
}

/// What spares gcloud a login: it makes no call without one otherwise.
fn gcloud_login(asks: bool) -> &'static str {
    if asks { "CLOUDSDK_AUTH_ACCESS_TOKEN=TOKEN" } else { "CLOUDSDK_AUTH_DISABLE_CREDENTIALS=true" }
}

fn first(settings: &Settings) -> &str {
    settings.sources.first().map_or("-", |source| source.id.as_str())
}

async fn ended() -> std::io::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_one_that_a_call_can_show() {
        assert!(token("letmein").is_ok() && token("ya29.a0_b-c/d=").is_ok());
        for no_token in ["", " ", "two words", "ä", "line\n"] {
            assert!(token(no_token).is_err(), "{no_token:?}");
        }
    }
}
