//! The door's inside: what it is built of, and what runs beside the requests.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use secrecy::ExposeSecret;

use super::answers::Refused;
use super::checked::Asked;
use super::fault::BuildError;
use super::issuers::Issuers;
use super::journal::Journal;
use super::judging::Places;
use super::memory::Memory;
use super::secrets::{Resolver, Secrets};
use super::unsigned::Unsigned;
use super::used::Used;
use crate::attest::chain::Roots;
use crate::attest::key_source::FetchRules;
use crate::attest::keys_file::KeysFile;
use crate::attest::nonce::Challenges;
use crate::attest::outcome::{Expected, Flood, Forged};
use crate::attest::policies::{Check, FolderError, Policies};
use crate::attest::seen::Seen;
use crate::config::Setting;
use crate::config::attestation::{ATTESTATION_LOG_POLICY, ATTESTATION_POLICY, ATTESTATION_SECRETS, AttestationConfig};
use crate::receive::{Intake, client};

/// How often it is looked whether policies or keys in files changed.
const LOOK: Duration = Duration::from_secs(2);

/// How often a state that stays is told again.
const REPEAT: TimeDelta = TimeDelta::hours(1);

/// How many machines are missed at most.
pub(super) const WATCHED: usize = 20_000;

/// What an [`Attestor`] is made of beside its settings.
#[derive(Default)]
pub struct Parts {
    /// Where events go.
    pub intake: Option<Intake>,
    /// Where used tokens are kept for all replicas; without it, for this process.
    pub state: Option<Arc<dyn crate::state::Store>>,
    /// The state does not outlive this process, so it says nothing about what earlier ones told.
    pub forgetful: bool,
    /// Asks Secret Manager.
    pub resolver: Option<Resolver>,
    /// How many proxies are trusted to name the caller.
    pub trusted_hops: usize,
    /// How keys are fetched.
    pub fetch: FetchRules,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("trusted_hops", &self.trusted_hops).finish_non_exhaustive()
    }
}

/// The door's inside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Attestor(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub(super) policies: Arc<Policies>,
    pub(super) asked: Vec<String>,
    pub(super) logged: Vec<String>,
    pub(super) issuers: Arc<Issuers>,
    pub(super) roots: Roots,
    pub(super) challenges: Challenges,
    pub(super) used: Arc<Used>,
    pub(super) judging: Places,
    pub(super) require_nonce: bool,
    pub(super) allow_reuse: bool,
    pub(super) secrets: Secrets,
    pub(super) codelab: Option<String>,
    pub(super) journal: Journal,
    /// Refusals that the journal has, of addresses beyond their share.
    pub(super) noted: Seen,
    /// Decisions about entries of logs that the journal has.
    pub(super) noted_of_logs: Seen,
    /// Refusals of what nobody signed, of all addresses together.
    pub(super) unsigned: Unsigned,
    pub(super) failures: DefaultKeyedRateLimiter<IpAddr>,
    /// Apart from the failures: whoever shares an address with a bad caller must still get a nonce.
    pub(super) nonces: DefaultKeyedRateLimiter<IpAddr>,
    /// And so are denied verdicts: who asks for them is told each one, and they count as nobody's failures.
    pub(super) verdicts: DefaultKeyedRateLimiter<IpAddr>,
    pub(super) intake: Option<Intake>,
    pub(super) flood: Mutex<Flood>,
    pub(super) forged: Mutex<Forged>,
    pub(super) told: Memory,
    pub(super) attested: Mutex<Expected>,
    pub(super) released_findings: bool,
    pub(super) trusted_hops: usize,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attestor")
            .field("policies", &self.policies)
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

impl Attestor {
    /// Builds it; `None` when attestation is switched off.
    ///
    /// # Errors
    /// What cannot be used, of folder, keys, root or journal.
    pub fn build(config: &AttestationConfig, parts: Parts) -> Result<Option<Self>, BuildError> {
        let Some(folder) = &config.policies else { return Ok(None) };
        let policies = Policies::load(folder)?;
        let issuers = Arc::new(Issuers::new(config, &policies.all(), parts.fetch)?);
        let policies = policies.checked(usable(named(config), Arc::clone(&issuers)))?;
        let mut key = [0u8; 32];
        rand::fill(&mut key);
        let key = config.nonce_key.as_ref().map_or(key.to_vec(), |key| key.expose_secret().as_bytes().to_vec());
        let quota = Quota::per_minute(NonZeroU32::new(config.failures_per_minute).unwrap_or(NonZeroU32::MIN));
        Ok(Some(Self(Arc::new(Inner {
            issuers,
            policies: Arc::new(policies),
            asked: config.asked.clone(),
            logged: config.logged.clone(),
            roots: roots(config.root.as_deref())?,
            challenges: Challenges::new(&key, config.challenge_secs),
            told: Memory::new(parts.state.clone().filter(|_| !parts.forgetful), REPEAT),
            used: Arc::new(Used::new(200_000, parts.state)),
            judging: Places::default(),
            require_nonce: config.require_nonce,
            allow_reuse: config.allow_reuse,
            secrets: Secrets::new(config.secrets.clone(), config.secret_cache, parts.resolver),
            codelab: config.codelab.as_ref().map(|(_, secret)| secret.clone()),
            journal: Journal::open(&config.journal)
                .map_err(|source| BuildError::Journal { path: config.journal.clone(), source })?,
            noted: Seen::new(20_000),
            noted_of_logs: Seen::new(20_000),
            unsigned: Unsigned::new(config.failures_per_minute),
            failures: RateLimiter::keyed(quota),
            nonces: RateLimiter::keyed(quota),
            verdicts: RateLimiter::keyed(quota),
            intake: parts.intake,
            flood: Mutex::default(),
            forged: Mutex::default(),
            attested: Mutex::new(Expected::every(config.expect_every_hours, WATCHED)),
            released_findings: config.released_findings,
            trusted_hops: parts.trusted_hops,
        }))))
    }

    /// Keeps keys fresh, watches the policies' folder and the file of keys, and misses machines, until `stop`.
    pub async fn run(self, stop: tokio_util::sync::CancellationToken) {
        let keys = self.0.issuers.held().into_iter().map(|source| {
            let stop = stop.clone();
            async move { source.keep_fresh(stop).await }
        });
        let folder = self.0.policies.clone().watch(LOOK, stop.clone());
        let file = self.0.issuers.file().map(|file| file.watch(LOOK, stop.clone()));
        let watching = futures_util::future::join(folder, futures_util::future::OptionFuture::from(file));
        let (missing, settling) = (self.miss(stop.clone()), self.settle(stop.clone()));
        futures_util::future::join4(futures_util::future::join_all(keys), watching, missing, settling).await;
    }

    /// The policies in use.
    pub fn policies(&self) -> &Policies {
        &self.0.policies
    }

    /// The keys of `ATTESTATION_JWKS_FILE`.
    pub fn keys_file(&self) -> Option<Arc<KeysFile>> {
        self.0.issuers.file()
    }

    /// Whether the journal's last lines could be written.
    pub fn journal_takes_lines(&self) -> bool {
        self.0.journal.takes_lines()
    }

    /// Waits until the journal has what was decided so far. `false` when it could not be written.
    pub async fn journal_is_settled(&self) -> bool {
        self.0.journal.settled().await
    }

    /// The codelab's secret.
    pub fn codelab(&self) -> Option<&str> {
        self.0.codelab.as_deref()
    }

    /// How many proxies are trusted to name the caller.
    pub fn trusted_hops(&self) -> usize {
        self.0.trusted_hops
    }

    /// A challenge for a purpose, and when it ends.
    ///
    /// # Errors
    /// When the purpose is not one, or the address asks too often.
    pub fn challenge(&self, purpose: &str, address: &IpAddr, now: DateTime<Utc>) -> Result<(String, i64), Refused> {
        let secret = purpose.strip_prefix("secret:");
        let known = secret.is_none_or(|name| self.0.secrets.rule(name).is_some());
        if purpose.is_empty() || purpose.len() > 200 || !known {
            return Err(Refused::Purpose);
        }
        self.0.nonces.check_key(&client::key(*address)).map_err(|_| Refused::TooManyChallenges)?;
        let mut random = [0u8; 12];
        rand::fill(&mut random);
        Ok(self.0.challenges.make(purpose, now.timestamp(), random))
    }

    pub(super) fn throttle(&self, asked: Asked<'_>) -> Result<(), Refused> {
        let Some(address) = asked.address else { return Ok(()) };
        self.0.failures.check_key(&client::key(*address)).map_err(|_| Refused::Throttled)
    }
}

/// The policies that settings name.
fn named(config: &AttestationConfig) -> Vec<(&'static str, String)> {
    let of = |setting: &'static Setting| move |name: &String| (setting.name, name.clone());
    let secrets = config.secrets.iter().map(|rule| &rule.policy).map(of(&ATTESTATION_SECRETS));
    let asked = config.asked.iter().map(of(&ATTESTATION_POLICY));
    secrets.chain(asked).chain(config.logged.iter().map(of(&ATTESTATION_LOG_POLICY))).collect()
}

/// Every policy that is named is there, and every issuer can be asked.
fn usable(named: Vec<(&'static str, String)>, issuers: Arc<Issuers>) -> Check {
    Box::new(move |table| match named.iter().find(|(_, name)| !table.contains_key(name)) {
        Some((setting, name)) => Err(FolderError::Missing { setting, name: name.clone() }),
        None => issuers.hold(table),
    })
}

fn roots(given: Option<&str>) -> Result<Roots, BuildError> {
    match given {
        None => Ok(Roots::default()),
        Some(text) => match Roots::fingerprint(text) {
            Ok(roots) => Ok(roots),
            Err(_) => Ok(Roots::certificates(&std::fs::read(text).map_err(BuildError::File)?)?),
        },
    }
}
