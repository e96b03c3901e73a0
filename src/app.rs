//! The only place where the parts meet: build from settings, run, drain, stop.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use chrono::Utc;
use futures_util::future::BoxFuture;
use tokio::sync::watch;

use crate::config::Config;
use crate::config::google::Account;
use crate::decide::Rules;
use crate::deliver::Sink;
use crate::deliver::dry_run::DryRun;
use crate::deliver::pace::Pace;
use crate::deliver::scc::SccSink;
use crate::google::http::{Client, HttpSettings};
use crate::google::scc::Scc;
use crate::google::{ApiError, AuthError, TokenSource};
use crate::journey::Journey;
use crate::outbox::worker::{Manner, Worker};
use crate::outbox::{Sqlite, Store, StoreError};
use crate::receive::Intake;
use crate::receive::sender::Senders;
use crate::receive::webhook::Webhook;
use crate::server::health::{Delivery, DeliveryState, Health};
use crate::server::{self, Doors, ListenError};

/// How often small things are tidied up.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
/// How often measured times are folded into their histograms: at 10,000 events a second, 24 bytes each, this is what
/// bounds the memory they take.
const FOLDING: Duration = Duration::from_secs(3);

/// Why the connector cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The outbox.
    #[error("the outbox cannot be opened")]
    Outbox(#[from] StoreError),
    /// The port.
    #[error("the server cannot start")]
    Listen(#[from] ListenError),
    /// The credentials.
    #[error("the credentials for Security Command Center cannot be used")]
    Credentials(#[from] AuthError),
    /// The destination.
    #[error("Security Command Center cannot be reached as configured")]
    Destination(#[from] ApiError),
    /// No source although one is needed; the settings' check rules it out.
    #[error("SOURCE_ID is not known; run `sysdig-scc setup source`")]
    NoSource,
}

/// The connector, built and listening, not yet working.
pub struct App {
    address: SocketAddr,
    server: Server,
    worker: Worker,
    senders: Arc<Senders>,
}

impl std::fmt::Debug for App {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("App").field("address", &self.address).finish_non_exhaustive()
    }
}

impl App {
    /// Builds everything from settings and binds the port.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn build(config: &Config) -> Result<Self, StartError> {
        crate::telemetry::metrics::start();
        let store: Arc<dyn Store> = Arc::new(Sqlite::open(&config.outbox.path, config.outbox.keep)?);
        let destination = destination(config)?;
        let rules = rules(config);
        let manner = Manner { concurrency: config.scc.concurrency, give_up_after: config.outbox.give_up_after };
        let journey = Journey { rules, sink: Arc::clone(&destination.sink) };
        let worker = Worker::new(Arc::clone(&store), Arc::new(journey), manner, Arc::new(Utc::now));
        let senders = Arc::new(Senders::new(&config.server.tokens, config.server.auth_failures_per_minute));
        let doors = Doors {
            webhook: Webhook {
                intake: Intake::new(Arc::clone(&store), worker.wake()),
                senders: Arc::clone(&senders),
                trusted_hops: config.server.trusted_hops,
                body_limit: config.server.body_limit,
            },
            health: Health {
                store: Arc::clone(&store),
                heartbeat: worker.heartbeat(),
                delivery: Arc::new(destination),
            },
            store,
        };
        let (server, address) = server::start(&config.server, doors)?;
        Ok(Self { address, server, worker, senders })
    }

    /// The address it really listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Works until `stop` is done; then stops accepting, finishes what is in hand, gives back the rest, and returns.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let (stopping, told) = watch::channel(false);
        let handle: ServerHandle = self.server.handle();
        let server = tokio::spawn(self.server);
        let worker = tokio::spawn(self.worker.run(told));
        let housekeeping = tokio::spawn(keep_house(Arc::clone(&self.senders)));
        stop.await;
        tracing::info!("stopping: no more events are accepted, those in hand are finished");
        stopping.send_replace(true);
        handle.stop(true).await;
        housekeeping.abort();
        for (part, ended) in [("server", server.await.map(drop)), ("worker", worker.await)] {
            if let Err(error) = ended {
                tracing::error!(part, %error, "a part of the connector ended badly");
            }
        }
        tracing::info!("stopped");
    }
}

async fn keep_house(senders: Arc<Senders>) {
    let (mut tidy, mut fold) = (tokio::time::interval(HOUSEKEEPING), tokio::time::interval(FOLDING));
    loop {
        tokio::select! {
            _ = tidy.tick() => senders.forget_old_failures(),
            _ = fold.tick() => crate::telemetry::metrics::fold(),
        }
    }
}

/// Where findings go, and how it can be asked how it is.
#[derive(Debug)]
struct Destination {
    sink: Arc<dyn Sink>,
    pace: Arc<Pace>,
    tokens: TokenSource,
}

fn destination(config: &Config) -> Result<Destination, StartError> {
    let pace = Arc::new(Pace::new(config.scc.pace));
    if config.scc.dry_run {
        let sink: Arc<dyn Sink> = Arc::new(DryRun::new(std::io::stdout()));
        return Ok(Destination { sink, pace, tokens: TokenSource::none() });
    }
    let source = config.scc.source.clone().ok_or(StartError::NoSource)?;
    let tokens = config.google.token_source(Account::Security, &config.scc.endpoint)?;
    let settings = HttpSettings {
        timeout: config.scc.timeout,
        connections: config.scc.concurrency,
        quota_project: config.google.quota_project.clone(),
        ..HttpSettings::new(config.scc.endpoint.clone())
    };
    let scc = Scc::new(Client::new(settings, tokens.clone())?, source, config.scc.location.as_str());
    let sink: Arc<dyn Sink> = Arc::new(SccSink::new(scc, Arc::clone(&pace)));
    Ok(Destination { sink, pace, tokens })
}

fn rules(config: &Config) -> Rules {
    Rules { finding: config.finding.clone(), ..Rules::new(config.scc.organization.as_deref().unwrap_or_default()) }
}

impl Delivery for Destination {
    fn state(&self) -> BoxFuture<'_, DeliveryState> {
        Box::pin(async move {
            let held = self.pace.report().held.map(|held| held.reason);
            DeliveryState { credentials_usable: self.tokens.token().await.is_ok(), held }
        })
    }
}
