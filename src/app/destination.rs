//! Where findings go: Security Command Center, or the dry run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::StartError;
use crate::config::Config;
use crate::config::google::Account;
use crate::deliver::Sink;
use crate::deliver::dry_run::DryRun;
use crate::deliver::pace::Pace;
use crate::deliver::scc::SccSink;
use crate::google::http::{Client, HttpSettings};
use crate::google::scc::{Scc, Source, SourceName, sources};
use crate::google::{ApiError, AuthError, TokenSource};
use crate::server::health::{Delivery, DeliveryState};

/// The display name that `setup source` gives to the source and by which it is found again.
pub const SOURCE_DISPLAY_NAME: &str = "Sysdig Secure";

/// Readiness does not wait longer than this for a token.
const TOKEN_PATIENCE: Duration = Duration::from_secs(3);

/// Where findings go, and how it can be asked how it is.
#[derive(Debug)]
pub(super) struct Destination {
    pub(super) sink: Arc<dyn Sink>,
    pub(super) pace: Arc<Pace>,
    tokens: TokenSource,
    was_usable: AtomicBool,
}

impl Destination {
    pub(super) async fn build(config: &Config) -> Result<Self, StartError> {
        let pace = Arc::new(Pace::new(config.scc.pace));
        if config.scc.dry_run {
            let sink: Arc<dyn Sink> = Arc::new(DryRun::to_stdout().map_err(ClientError::Output)?);
            return Ok(Self { sink, pace, tokens: TokenSource::none(), was_usable: AtomicBool::new(true) });
        }
        let client = scc_client(config)?;
        let tokens = client.tokens().clone();
        let source = match &config.scc.source {
            Some(source) => source.clone(),
            None => find_source(config, &client).await?,
        };
        let scc = Scc::new(client, source, config.scc.location.as_str());
        let sink: Arc<dyn Sink> = Arc::new(SccSink::new(scc, Arc::clone(&pace)));
        Ok(Self { sink, pace, tokens, was_usable: AtomicBool::new(false) })
    }
}

impl Delivery for Destination {
    fn state(&self) -> BoxFuture<'_, DeliveryState> {
        Box::pin(async move {
            // Once usable is enough: a metadata server that is away for a minute must not turn senders away.
            if !self.was_usable.load(Ordering::Relaxed) {
                let token = tokio::time::timeout(TOKEN_PATIENCE, self.tokens.token()).await;
                self.was_usable.store(matches!(token, Ok(Ok(_))), Ordering::Relaxed);
            }
            let report = self.pace.report();
            let held = report.held.map(|held| held.reason);
            let credentials_usable = self.was_usable.load(Ordering::Relaxed);
            DeliveryState { credentials_usable, held, wait: report.not_before }
        })
    }
}

/// The client for Security Command Center that the settings describe; commands use the same one.
///
/// # Errors
/// When the credentials cannot be read, or would travel over plain http.
pub fn scc_client(config: &Config) -> Result<Client, ClientError> {
    let tokens = config.google.token_source(Account::Security, &config.scc.endpoint)?;
    let settings = HttpSettings {
        timeout: config.scc.timeout,
        connections: config.scc.concurrency,
        ..HttpSettings::new(config.scc.endpoint.clone())
    };
    Ok(Client::new(settings, tokens)?)
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The credentials.
    #[error("the credentials for Security Command Center cannot be used")]
    Credentials(#[from] AuthError),
    /// The address.
    #[error("Security Command Center cannot be reached as configured")]
    Address(#[from] ApiError),
    /// Standard output, for a dry run.
    #[error("DRY_RUN is set, and standard output cannot be written")]
    Output(#[source] std::io::Error),
}

/// The one source with our display name, when only the organization is known.
async fn find_source(config: &Config, client: &Client) -> Result<SourceName, StartError> {
    let organization = config.scc.organization.as_deref().ok_or(StartError::NoSource)?;
    let all = sources(client, organization).await.map_err(StartError::Sources)?;
    let ours: Vec<&Source> = all.iter().filter(|source| source.display_name == SOURCE_DISPLAY_NAME).collect();
    match ours.as_slice() {
        [source] => {
            let id = source.name.rsplit('/').next().unwrap_or_default().to_owned();
            tracing::info!(source = source.name, "found the source by its name; set SOURCE_ID to save the question");
            Ok(SourceName { organization: organization.to_owned(), source: id })
        }
        [] => Err(StartError::NoSource),
        several => Err(StartError::SeveralSources { count: several.len() }),
    }
}
