//! Settings: typed, read in one room, checked at start, all problems at once.
//!
//! Every variable is a [`Setting`] constant in the file of its area. An area reads itself from an [`Env`] and keeps
//! going after a mistake. The documents are printed from the same constants, so they cannot drift.

pub mod acting;
mod address;
pub mod attestation;
mod dotenv;
pub mod enrich;
pub mod env;
pub mod finding;
pub mod google;
pub mod integrity;
pub mod outbox;
pub mod problem;
pub mod pubsub;
pub mod scc;
pub mod secrets;
pub mod server;
pub mod state;
mod strays;
pub mod sysdig;
pub mod telemetry;
mod together;

pub use env::{Area, Env, Setting};
pub use problem::{Problem, Problems};

use acting::{ActingConfig, Mode};
use attestation::AttestationConfig;
use enrich::{EnrichConfig, KubernetesConfig};
use finding::FindingConfig;
use google::{Account, GoogleConfig};
use integrity::IntegrityConfig;
use outbox::OutboxConfig;
use pubsub::PubsubConfig;
use scc::SccConfig;
use server::ServerConfig;
use state::StateConfig;
use sysdig::SysdigConfig;
use telemetry::TelemetryConfig;

/// Every area, in the order of the documents.
pub static AREAS: &[&Area] = &[
    &server::AREA,
    &google::AREA,
    &scc::AREA,
    &finding::AREA,
    &sysdig::AREA,
    &enrich::AREA,
    &secrets::AREA,
    &outbox::AREA,
    &state::AREA,
    &pubsub::AREA,
    &integrity::AREA,
    &acting::AREA,
    &attestation::AREA,
    &telemetry::AREA,
];

/// All settings of the connector.
#[derive(Debug, Clone)]
pub struct Config {
    /// The server and its webhook.
    pub server: ServerConfig,
    /// Google's credentials.
    pub google: GoogleConfig,
    /// Security Command Center.
    pub scc: SccConfig,
    /// What the findings say.
    pub finding: FindingConfig,
    /// Sysdig's API.
    pub sysdig: SysdigConfig,
    /// The look-ups.
    pub enrich: EnrichConfig,
    /// Small durable facts.
    pub state: StateConfig,
    /// The outbox.
    pub outbox: OutboxConfig,
    /// Pub/Sub.
    pub pubsub: PubsubConfig,
    /// Shielded VM integrity.
    pub integrity: IntegrityConfig,
    /// Acting on failed boots.
    pub acting: ActingConfig,
    /// Attestation.
    pub attestation: AttestationConfig,
    /// Logs.
    pub telemetry: TelemetryConfig,
    /// What is probably not meant, and does no harm.
    pub doubts: Vec<Problem>,
}

/// Every area as far as it could be read: what one lacks says nothing about the others.
#[derive(Debug, Default)]
#[expect(missing_docs, reason = "as in Config")]
pub struct Areas {
    pub server: Option<ServerConfig>,
    pub google: Option<GoogleConfig>,
    pub scc: Option<SccConfig>,
    pub finding: Option<FindingConfig>,
    pub sysdig: Option<SysdigConfig>,
    pub enrich: Option<EnrichConfig>,
    pub kubernetes: Option<KubernetesConfig>,
    pub state: Option<StateConfig>,
    pub outbox: Option<OutboxConfig>,
    pub pubsub: Option<PubsubConfig>,
    pub integrity: Option<IntegrityConfig>,
    pub acting: Option<ActingConfig>,
    pub attestation: Option<AttestationConfig>,
    pub telemetry: Option<TelemetryConfig>,
}

impl Config {
    /// Reads everything.
    ///
    /// # Errors
    /// All problems at once.
    pub fn read(mut env: Env) -> Result<Self, Problems> {
        let config = Self::read_areas(&mut env);
        let problems = env.finish();
        match (config, problems) {
            (Some(config), Ok(())) => Ok(config),
            (_, Err(problems)) => Err(problems),
            (None, Ok(())) => Err(Problems(Vec::new())),
        }
    }

    /// Reads every area, whether or not the ones before had problems.
    pub fn read_areas(env: &mut Env) -> Option<Self> {
        Areas::read(env).whole(env)
    }
}

impl Areas {
    /// Reads every area, whether or not the ones before had problems, and how they go together.
    pub fn read(env: &mut Env) -> Self {
        secrets::check(env);
        let areas = Self {
            server: ServerConfig::read(env),
            google: GoogleConfig::read(env),
            scc: SccConfig::read(env),
            finding: FindingConfig::read(env),
            sysdig: SysdigConfig::read(env),
            enrich: EnrichConfig::read(env),
            // On its own too: what this machine lacks for it is told beside what is wrong with the other look-ups.
            kubernetes: enrich::kubernetes(env).flatten(),
            outbox: OutboxConfig::read(env),
            state: StateConfig::read(env),
            pubsub: PubsubConfig::read(env),
            integrity: IntegrityConfig::read(env),
            acting: ActingConfig::read(env),
            attestation: AttestationConfig::read(env),
            telemetry: TelemetryConfig::read(env),
        };
        areas.require(env);
        together::check(&areas, env);
        strays::doubt(env);
        areas
    }

    /// What one area needs of another.
    fn require(&self, env: &mut Env) {
        if let Some(scc) = &self.scc {
            scc.require_source(env);
        }
        if let (Some(google), Some(scc)) = (&self.google, &self.scc)
            && !scc.dry_run
        {
            google.require_credentials(env, Account::Security, &scc.endpoint);
        }
        if let (Some(state), Some(outbox)) = (&self.state, &self.outbox) {
            state.require_own_file(env, &outbox.path);
        }
        if let (Some(acting), Some(state)) = (&self.acting, &self.state) {
            acting.require_durable_state(env, state);
        }
        if let (Some(acting), Some(google), Some(enrich)) = (&self.acting, &self.google, &self.enrich)
            && acting.mode != Mode::Report
        {
            google.require_credentials(env, Account::Compute, &enrich.compute_endpoint);
        }
    }

    /// The whole, when all of it could be read from this `env`.
    pub fn whole(self, env: &Env) -> Option<Config> {
        Some(Config {
            server: self.server?,
            google: self.google?,
            scc: self.scc?,
            finding: self.finding?,
            sysdig: self.sysdig?,
            enrich: self.enrich?,
            outbox: self.outbox?,
            state: self.state?,
            pubsub: self.pubsub?,
            integrity: self.integrity?,
            acting: self.acting?,
            attestation: self.attestation?,
            telemetry: self.telemetry?,
            doubts: env.doubts().to_vec(),
        })
    }
}
