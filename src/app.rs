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
use crate::config::state::StateUrl;
use crate::decide::Rules;
use crate::deliver::Sink;
use crate::deliver::dry_run::DryRun;
use crate::deliver::pace::Pace;
use crate::deliver::scc::SccSink;
use crate::google::http::{Client, HttpSettings};
use crate::google::pubsub;
use crate::google::scc::Scc;
use crate::google::{ApiError, AuthError, TokenSource};
use crate::integrity::baselines::Baselines;
use crate::integrity::tracker::Tracker;
use crate::journey::Journey;
use crate::outbox::worker::{Manner, Worker};
use crate::outbox::{Sqlite, Store, StoreError};
use crate::receive::Intake;
use crate::receive::overdue::Overdue;
use crate::receive::pubsub::{Guard, PushDoor};
use crate::receive::pubsub_pull::Subscriber;
use crate::receive::sender::Senders;
use crate::receive::webhook::Webhook;
use crate::server::health::{Delivery, DeliveryState, Health};
use crate::server::{self, Doors, ListenError};
use crate::state::{self, StateError};

/// How often small things are tidied up.
const HOUSEKEEPING: Duration = Duration::from_secs(60);

/// Why the connector cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The outbox.
    #[error("the outbox cannot be opened")]
    Outbox(#[from] StoreError),
    /// The state store.
    #[error("the state store cannot be opened")]
    State(#[from] StateError),
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
    overdue: Overdue,
    subscriber: Option<Subscriber>,
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
        let tracker = tracker(config)?;
        let journey = Journey { rules, sink: Arc::clone(&destination.sink), tracker: tracker.clone() };
        let worker = Worker::new(Arc::clone(&store), Arc::new(journey), manner, Arc::new(Utc::now));
        let senders = Arc::new(Senders::new(&config.server.tokens, config.server.auth_failures_per_minute));
        let intake = Intake::new(Arc::clone(&store), worker.wake());
        let overdue = Overdue { tracker, intake: intake.clone() };
        let subscriber = subscriber(config, &intake)?;
        let doors = Doors {
            push: PushDoor {
                intake: intake.clone(),
                guard: Guard::new(&config.pubsub.push, reqwest::Client::new()),
            },
            webhook: Webhook {
                intake,
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
        Ok(Self { address, server, worker, senders, overdue, subscriber })
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
        let overdue = tokio::spawn(self.overdue.run(told.clone()));
        let subscriber = self.subscriber.map(|subscriber| tokio::spawn(subscriber.run(told.clone())));
        let worker = tokio::spawn(self.worker.run(told));
        let housekeeping = tokio::spawn(keep_house(Arc::clone(&self.senders)));
        stop.await;
        tracing::info!("stopping: no more events are accepted, those in hand are finished");
        stopping.send_replace(true);
        handle.stop(true).await;
        housekeeping.abort();
        let subscriber = match subscriber {
            Some(subscriber) => subscriber.await,
            None => Ok(()),
        };
        let parts = [
            ("server", server.await.map(drop)),
            ("subscriber", subscriber),
            ("overdue boots", overdue.await),
            ("worker", worker.await),
        ];
        for (part, ended) in parts {
            if let Err(error) = ended {
                tracing::error!(part, %error, "a part of the connector ended badly");
            }
        }
        tracing::info!("stopped");
    }
}

async fn keep_house(senders: Arc<Senders>) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        senders.forget_old_failures();
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

/// What was seen of every Shielded VM, in the state store.
fn tracker(config: &Config) -> Result<Tracker, StartError> {
    let tokens = match config.state.url {
        StateUrl::Firestore { .. } => config.google.token_source(Account::Security, &config.state.firestore_base())?,
        StateUrl::Sqlite(_) | StateUrl::Memory => TokenSource::none(),
    };
    let state = state::open_blocking(&config.state, &tokens)?;
    let baselines = Baselines::new(Arc::clone(&state), config.integrity.baselines_fresh_for);
    Ok(Tracker::new(state, baselines, config.integrity.late_report_within))
}

fn subscriber(config: &Config, intake: &Intake) -> Result<Option<Subscriber>, StartError> {
    let Some(subscription) = config.pubsub.subscription.clone() else { return Ok(None) };
    let base = config.pubsub.base();
    let tokens = config.google.token_source(Account::Security, &base)?;
    let client = pubsub::Client::new(&base, &config.pubsub.tokens(&tokens))?;
    Ok(Some(Subscriber { client, subscription, most: config.pubsub.max_messages, intake: intake.clone() }))
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
