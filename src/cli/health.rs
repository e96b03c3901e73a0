//! `health`: asks the connector on this machine whether it is alive, for container health checks without a shell.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;

use super::out::say;
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
    let address = address(&mut Env::from_process())?;
    let url = format!("http://{address}/{}", if args.ready { "readyz" } else { "healthz" });
    super::block_on(async move {
        let client = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(3)).build()?;
        let answer = client.get(&url).send().await.with_context(|| format!("nobody answers at {url}"))?;
        let status = answer.status();
        say!("{}", answer.text().await?);
        Ok(if status.is_success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    })
}

/// What the connector that listens there says of a `member` of its readiness: `writable`, or why it is not.
///
/// # Errors
/// The address, when no connector answers there.
pub(super) async fn told(member: &str, listen: SocketAddr, patience: Duration) -> Result<String, String> {
    let url = format!("http://{}/readyz", SocketAddr::new(server::reachable(listen.ip()), listen.port()));
    let asked = async {
        let client = reqwest::Client::builder().no_proxy().timeout(patience).build().ok()?;
        let report: serde_json::Value = client.get(&url).send().await.ok()?.json().await.ok()?;
        report[member].as_str().map(str::to_owned)
    };
    asked.await.ok_or_else(|| url.clone())
}

/// Where the connector of these settings answers.
fn address(env: &mut Env) -> anyhow::Result<SocketAddr> {
    let text = env.text(&server::LISTEN_ADDRESS).unwrap_or_default();
    let listen = text.parse().with_context(|| format!("LISTEN_ADDRESS is {text:?}, which is no IP address"))?;
    let text = env.text(&server::PORT).unwrap_or_default();
    let port = text.parse().with_context(|| format!("PORT is {text:?}, which is no port"))?;
    Ok(SocketAddr::new(server::reachable(listen), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_asks_where_the_connector_listens() {
        let asked = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            address(&mut Env::from_pairs(pairs)).map(|address| address.to_string()).map_err(|error| error.to_string())
        };
        for (listen, expected) in [
            ("127.0.0.1", "127.0.0.1:81"),
            ("0.0.0.0", "127.0.0.1:81"),
            ("::", "[::1]:81"),
            ("::1", "[::1]:81"),
            ("10.0.0.7", "10.0.0.7:81"),
        ] {
            assert_eq!(asked(&[("LISTEN_ADDRESS", listen), ("PORT", "81")]).unwrap(), expected);
        }
        assert_eq!(asked(&[]).unwrap(), "127.0.0.1:8080");
        assert!(asked(&[("LISTEN_ADDRESS", "here")]).unwrap_err().contains("LISTEN_ADDRESS"));
        assert!(asked(&[("PORT", "http")]).unwrap_err().contains("PORT"));
    }
}
