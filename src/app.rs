//! The only place where the parts meet: build from settings, run, drain, stop.

mod attestation;
mod destination;
mod doors;
mod ending;
mod enrichment;
pub(crate) mod ground;
mod integrity;
mod parts;
mod sysdig;
mod zeros;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix_web::dev::{Server, ServerHandle};
use chrono::Utc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attest::key_source::{FetchError, KeySource};
use crate::config::Config;
use crate::config::finding::FindingConfig;
use crate::config::google::Account;
use crate::config::sysdig::SysdigConfig;
use crate::decide::{KnownSecrets, Rules};
use crate::google::{ApiError, AuthError};
use crate::journey::Journey;
use crate::outbox::worker::{Manner, Worker};
use crate::outbox::{Sqlite, Store, StoreError};
use crate::receive::Intake;
use crate::receive::attestation::{Attestor, BuildError};
use crate::receive::entries::Entries;
use crate::receive::overdue::Overdue;
use crate::receive::poller::Poller;
use crate::receive::pubsub_pull::Subscriber;
use crate::respond::responder::{Planner, Responder};
use crate::server::{self, Doors, ListenError};
use crate::state::{self, StateError};
use crate::sysdig::{Credential, SysdigError};
use crate::track::Tracker;
use destination::Destination;
pub use destination::{ClientError, SOURCE_DISPLAY_NAME, scc_client};
use doors::Callers;
pub use parts::Died;
use parts::Parts;
use sysdig::ChannelSetup;

/// How often small things are tidied up.
const HOUSEKEEPING: Duration = Duration::from_secs(60);
/// How often measured times are folded into their histograms: at 10,000 events a second, 24 bytes each, this is what
/// bounds the memory they take.
const FOLDING: Duration = Duration::from_secs(3);

/// Why the connector cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The outbox.
    #[error("the outbox (OUTBOX_URL) cannot be opened")]
    Outbox(#[from] StoreError),
    /// The port.
    #[error("the server cannot start")]
    Listen(#[from] ListenError),
    /// The destination.
    #[error("there is no way to Security Command Center")]
    Destination(#[from] ClientError),
    /// The credentials for a service of Google Cloud.
    #[error("the credentials for Google Cloud cannot be used")]
    Credentials(#[from] AuthError),
    /// The state store.
    #[error("the state store (STATE_URL) cannot be opened")]
    State(#[from] StateError),
    /// Pub/Sub.
    #[error("Pub/Sub cannot be reached as configured")]
    Pubsub(#[source] ApiError),
    /// The keys that pushes are verified with.
    #[error("no keys can be asked for at PUBSUB_PUSH_JWKS_URL")]
    PushKeys(#[from] FetchError),
    /// Compute Engine, for look-ups and acting, or Resource Manager beside it.
    #[error("Compute Engine cannot be reached as configured")]
    Compute(#[source] ApiError),
    /// Sysdig's API.
    #[error("Sysdig's API cannot be reached as configured")]
    Sysdig(#[from] SysdigError),
    /// The Kubernetes API server.
    #[error(transparent)]
    Kubernetes(#[from] crate::enrich::login::ConnectError),
    /// The sources could not be listed, although SOURCE_ID is not set.
    #[error(
        "SOURCE_ID is not set, and the organization's sources cannot be listed to find it; set SOURCE_ID, or grant roles/securitycenter.sourcesViewer"
    )]
    Sources(#[source] ApiError),
    /// Several sources have our name.
    #[error(
        "{count} sources are named \"Sysdig Secure\"; set SOURCE_ID to the one to use (`sysdig-scc setup source` lists them)"
    )]
    SeveralSources {
        /// How many.
        count: usize,
    },
    /// Secret Manager.
    #[error("Secret Manager cannot be reached as configured")]
    SecretManager(#[source] ApiError),
    /// Attestation.
    #[error("attestation cannot start")]
    Attestation(#[from] BuildError),
    /// No source has our name.
    #[error(
        "SOURCE_ID is not set, and the organization has no source named \"Sysdig Secure\"; run `sysdig-scc setup source`"
    )]
    NoSource,
}

/// The connector, built and listening, not yet working.
pub struct App {
    address: SocketAddr,
    server: Server,
    worker: Worker,
    /// The outbox, when its disk does not outlive the instance.
    ephemeral: Option<Arc<dyn Store>>,
    callers: Callers,
    attestor: Option<Attestor>,
    poller: Option<Poller>,
    channel: Option<ChannelSetup>,
    overdue: Overdue,
    subscriber: Option<Subscriber>,
    push_keys: Option<KeySource>,
    responder: Responder,
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
    pub async fn build(config: &Config) -> Result<Self, StartError> {
        crate::telemetry::metrics::start();
        let (state, store) = stores(config).await?;
        let destination = Destination::build(config).await?;
        let tracker = integrity::tracker(config, &state, config.integrity.baselines_fresh_for);
        let planner = integrity::planner(config, &state);
        let journey = journey(config, &destination, &tracker, &planner).await?;
        let worker = Worker::new(Arc::clone(&store), Arc::new(journey), manner(config), Arc::new(Utc::now));
        let intake = Intake::new(Arc::clone(&store), worker.wake());

        let attestor = attestation::attestor(config, &intake, &state)?;
        let poller = sysdig::poller(config, &intake, &state)?;
        let channel = sysdig::channel(config)?;
        let entries = Entries { attestor: attestor.clone() };
        let subscriber = integrity::subscriber(config, &intake, entries.clone())?;
        let responder = integrity::responder(config, &state, &planner, &intake)?;
        let overdue = Overdue { tracker, intake: intake.clone() };

        let callers = Callers::of(config);
        let push = integrity::push(config, &intake, entries, &callers)?;
        let push_keys = push.guard.keys();
        zeros::show(doors::open(config, attestor.is_some(), poller.is_some(), subscriber.is_some()));
        let doors = Doors {
            attestation: attestor.clone().map(|attestor| (attestor, doors::codelab(config))),
            push,
            webhook: doors::webhook(config, intake, &callers),
            numbers: doors::numbers(&store, &worker, &destination, poller.as_ref()),
            traces: doors::traces(config),
            health: doors::health(config, &store, state, &worker, destination),
        };
        let (server, address) = server::start(&config.server, doors)?;
        Ok(Self {
            address,
            server,
            worker,
            ephemeral: config.outbox.ephemeral.then_some(store),
            callers,
            attestor,
            poller,
            channel,
            overdue,
            subscriber,
            push_keys,
            responder,
        })
    }

    /// The address it really listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Works until `stop` is done; then stops accepting, finishes what is in hand, gives back the rest, and returns, within
    /// ten seconds whatever others do.
    ///
    /// # Errors
    /// When a part died before that, which ends the others in the same way: half a connector would look like a whole one.
    pub async fn run(self, stop: impl Future<Output = ()>) -> Result<(), Died> {
        let (stopping, working) = (CancellationToken::new(), CancellationToken::new());
        let (handle, server): (ServerHandle, Server) = (self.server.handle(), self.server);
        let (mut parts, mut worker, mut beside) = (Parts::default(), Parts::default(), Parts::default());
        parts.start("server", async move {
            if let Err(error) = server.await {
                tracing::error!(%error, "the server broke off");
            }
        });
        // Gives its leases back, so that the next process goes on at once; so does the poller.
        parts.start("responder", self.responder.run(stopping.clone()));
        worker.start("worker", self.worker.run(working.clone()));
        // What was pulled is written down and acknowledged, so that it need not come again.
        if let Some(subscriber) = self.subscriber {
            parts.start("subscriber", subscriber.run(stopping.clone()));
        }
        if let Some(poller) = self.poller {
            parts.start("poller", poller.run(stopping.clone()));
        }
        // What runs beside the path keeps nothing in memory that is not in a store.
        beside.start("housekeeping", keep_house(self.callers, self.overdue.intake.clone()));
        beside.start("overdue boots", self.overdue.run(stopping.clone()));
        if let Some(attestor) = self.attestor.clone() {
            beside.start("attestation", attestor.run(stopping.clone()));
        }
        if let Some(channel) = self.channel {
            beside.start_passing("notification channel", channel.run(stopping.clone()), stopping.clone());
        }
        if let Some(keys) = self.push_keys {
            let stop = stopping.clone();
            beside.start("keys of pushes", async move {
                // Over at once where keys never change.
                keys.keep_fresh(stop.clone()).await;
                stop.cancelled().await;
            });
        }
        let asked = tokio::select! {
            biased;
            () = stop => Ok(()),
            died = parts.death() => Err(died),
            died = worker.death() => Err(died),
            died = beside.death() => Err(died),
        };
        tracing::info!("stopping: no more events are accepted, those in hand are finished");
        stopping.cancel();
        parts.start("doors", handle.stop(true));
        match self.ephemeral {
            None => {
                working.cancel();
                let deadline = Instant::now() + ending::GRACE;
                parts.end_by(deadline).await;
                worker.end_by(deadline).await;
            }
            Some(store) => ending::with_the_disk(&mut parts, &mut worker, &working, &*store).await,
        }
        beside.break_off().await;
        let answers = match &self.attestor {
            Some(attestor) => ending::of_journal(attestor.journal_is_settled()).await,
            None => true,
        };
        drop(self.attestor);
        match answers {
            true => tracing::info!("stopped"),
            false => {
                tracing::error!("stopped, but for a write to the attestation journal: its disk may hold the process")
            }
        }
        asked
    }
}

async fn keep_house(callers: Callers, intake: Intake) {
    let (mut tidy, mut fold) = (tokio::time::interval(HOUSEKEEPING), tokio::time::interval(FOLDING));
    loop {
        tokio::select! {
            _ = tidy.tick() => {
                callers.senders.forget_old_failures();
                callers.strangers.tell_rest(Utc::now());
                intake.tell_rest(Utc::now());
            }
            _ = fold.tick() => crate::telemetry::metrics::fold(),
        }
    }
}

/// The state store and the outbox. The outbox waits for a disk that is full; a state store that cannot be opened ends
/// the start, and should be all that is told.
async fn stores(config: &Config) -> Result<(Arc<dyn state::Store>, Arc<dyn Store>), StartError> {
    let tokens = config.google.token_source(Account::Security, &config.state.firestore_base())?;
    let state = state::open(&config.state, &tokens)?;
    Ok((state, Arc::new(Sqlite::open(&config.outbox.path, config.outbox.keep)?)))
}

/// An event's way behind the outbox.
async fn journey(
    config: &Config,
    destination: &Destination,
    tracker: &Tracker,
    planner: &Planner,
) -> Result<Journey, StartError> {
    Ok(Journey {
        enrichment: enrichment::build(config).await?,
        rules: rules(config.scc.organization.as_deref(), &config.sysdig, &config.finding, secrets(config)),
        sink: Arc::clone(&destination.sink),
        tracker: tracker.clone(),
        planner: planner.clone(),
    })
}

fn manner(config: &Config) -> Manner {
    Manner {
        concurrency: config.scc.concurrency,
        give_up_after: config.outbox.give_up_after,
        ephemeral: config.outbox.ephemeral,
    }
}

/// The secrets of the settings, which no finding shows, whoever put them into a command line. The keys of service accounts
/// are known by their form.
fn secrets(config: &Config) -> KnownSecrets {
    let sysdig = config.sysdig.access.as_ref().map(|access| match &access.credential {
        Credential::Token(token) | Credential::Ibm { api_key: token, .. } => token,
    });
    let released = config.attestation.secrets.iter().filter_map(|rule| rule.value.as_ref());
    KnownSecrets::new(config.server.tokens.iter().chain(sysdig).chain(released).chain(&config.attestation.nonce_key))
}

/// The rules that the settings make.
pub(crate) fn rules(
    organization: Option<&str>,
    sysdig: &SysdigConfig,
    finding: &FindingConfig,
    secrets: KnownSecrets,
) -> Rules {
    let console = sysdig.base.as_str().trim_end_matches('/').to_owned();
    Rules { console, finding: finding.clone(), secrets, ..Rules::new(organization.unwrap_or_default()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Env;

    async fn built() -> (tempfile::TempDir, App) {
        let folder = tempfile::tempdir().unwrap();
        let outbox = format!("sqlite:{}", folder.path().join("outbox.db").display());
        let env = Env::from_pairs([
            ("PORT", "0"),
            ("WEBHOOK_AUTHENTICATION_TOKEN", "0b54b2b5f0a94d0fa2c1"),
            ("OUTBOX_URL", &outbox),
            ("STATE_URL", "sqlite::memory:"),
            ("DRY_RUN", "true"),
        ]);
        (folder, App::build(&Config::read(env).unwrap()).await.unwrap())
    }

    #[tokio::test]
    async fn a_part_that_dies_takes_the_others_to_an_ordinary_end() {
        let (_folder, mut app) = built().await;
        let address = app.address();
        app.responder.clock = Arc::new(|| panic!("a defect"));
        let running = tokio::time::timeout(Duration::from_secs(10), app.run(std::future::pending()));
        assert_eq!(running.await.expect("within the time of an end").unwrap_err().part, "responder");
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody is served any more");
    }
}
