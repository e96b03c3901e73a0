//! Settings: typed, read in one room, checked at start, all problems at once.
//!
//! Every variable is a [`Setting`] constant in the file of its area. An area reads itself from an [`Env`] and keeps
//! going after a mistake. The documents are printed from the same constants, so they cannot drift.

pub mod acting;
pub mod attestation;
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
pub mod sysdig;
pub mod telemetry;

pub use env::{Area, Env, Setting};
pub use problem::{Problem, Problems};

use acting::{ActingConfig, Mode};
use attestation::AttestationConfig;
use enrich::EnrichConfig;
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
        let server = ServerConfig::read(env);
        let google = GoogleConfig::read(env);
        let scc = SccConfig::read(env);
        if let Some(scc) = &scc {
            scc.require_source(env);
        }
        if let (Some(google), Some(scc)) = (&google, &scc)
            && !scc.dry_run
        {
            google.require_credentials(env, Account::Security, &scc.endpoint);
        }
        let finding = FindingConfig::read(env);
        let sysdig = SysdigConfig::read(env);
        let enrich = EnrichConfig::read(env);
        secrets::check(env);
        let outbox = OutboxConfig::read(env);
        let state = StateConfig::read(env);
        if let (Some(state), Some(outbox)) = (&state, &outbox) {
            state.require_own_file(env, &outbox.path);
        }
        let pubsub = PubsubConfig::read(env);
        let integrity = IntegrityConfig::read(env);
        let acting = ActingConfig::read(env);
        if let (Some(acting), Some(state)) = (&acting, &state) {
            acting.require_durable_state(env, state);
        }
        if let (Some(acting), Some(google), Some(enrich)) = (&acting, &google, &enrich)
            && acting.mode != Mode::Report
        {
            google.require_credentials(env, Account::Compute, &enrich.compute_endpoint);
        }
        let attestation = AttestationConfig::read(env);
        let telemetry = TelemetryConfig::read(env);
        Some(Self {
            server: server?,
            google: google?,
            scc: scc?,
            finding: finding?,
            sysdig: sysdig?,
            enrich: enrich?,
            outbox: outbox?,
            state: state?,
            pubsub: pubsub?,
            integrity: integrity?,
            acting: acting?,
            attestation: attestation?,
            telemetry: telemetry?,
        })
    }
}
