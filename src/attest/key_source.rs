//! Where an issuer's keys come from: its discovery document and key set, cached, never fetched in a storm.
//!
//! A set is good as long as its `Cache-Control` says (5 minutes to 24 hours) and renewed at four fifths of that. An
//! unknown key id asks once, and then not again before the floor has passed, whoever asks. When the issuer is slow,
//! down, or answers garbage, the last good set is used for a bounded time, and then there are no keys.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use url::Url;

pub use super::discovery::FetchError;
use super::discovery::{fetch, safe};
use super::keys::KeySet;
use crate::telemetry::metrics as names;

/// How keys are fetched and how long they last.
#[derive(Debug, Clone)]
pub struct FetchRules {
    /// The time between two fetches that something asked for.
    pub floor: Duration,
    /// How long a set is used after it should have been renewed.
    pub stale: Duration,
    /// The time of one request.
    pub timeout: Duration,
    /// The bounds of what `Cache-Control` may say.
    pub fresh: (Duration, Duration),
}

impl Default for FetchRules {
    fn default() -> Self {
        let (short, long) = (Duration::from_secs(300), Duration::from_secs(86_400));
        Self { floor: Duration::from_secs(30), stale: long, timeout: Duration::from_secs(5), fresh: (short, long) }
    }
}

/// The keys of one issuer, wherever they come from.
#[derive(Debug)]
pub struct KeySource {
    from: From,
    current: ArcSwapOption<Held>,
    /// When the last fetch began. The lock is held while fetching, so that there is one at a time.
    attempt: Mutex<Option<Instant>>,
    rules: FetchRules,
}

#[derive(Debug)]
enum From {
    Fixed,
    Issuer { client: reqwest::Client, base: Url, issuer: String, disk: Option<PathBuf> },
}

#[derive(Debug)]
struct Held {
    keys: Arc<KeySet>,
    renew: Instant,
    dead: Instant,
}

/// There are no keys that may be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the issuer's keys cannot be had, and none are held that are fresh enough")]
pub struct Unavailable;

impl KeySource {
    /// Keys that never change: from a file or a policy.
    pub fn fixed(keys: KeySet) -> Self {
        let far = Instant::now() + Duration::from_secs(100 * 365 * 86_400);
        let held = Held { keys: Arc::new(keys), renew: far, dead: far };
        Self {
            from: From::Fixed,
            current: ArcSwapOption::from_pointee(held),
            attempt: Mutex::new(None),
            rules: FetchRules::default(),
        }
    }

    /// The keys of an issuer. `base` is where its discovery document is asked for: the issuer's own address, or a
    /// stand-in. `disk` keeps the last good set over restarts.
    ///
    /// # Errors
    /// When the address is neither https nor loopback.
    pub fn issuer(issuer: &str, base: &str, rules: FetchRules, disk: Option<PathBuf>) -> Result<Self, FetchError> {
        let base = Url::parse(base).map_err(|_| FetchError::Address("it is not a URL"))?;
        if !safe(&base) {
            return Err(FetchError::Address("it must be https, or http on loopback"));
        }
        let client = reqwest::Client::builder()
            .timeout(rules.timeout)
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|_| FetchError::Address("no HTTP client could be made"))?;
        let source = Self {
            from: From::Issuer { client, base, issuer: issuer.trim_end_matches('/').to_owned(), disk },
            current: ArcSwapOption::empty(),
            attempt: Mutex::new(None),
            rules,
        };
        source.recall();
        Ok(source)
    }

    /// The set to look a key id up in. It may lack the id: then the key is unknown.
    ///
    /// # Errors
    /// When no set can be used.
    pub async fn keys_for(&self, kid: &str) -> Result<Arc<KeySet>, Unavailable> {
        let now = Instant::now();
        let held = self.current.load_full();
        if let Some(held) = held.as_ref().filter(|held| now < held.renew || matches!(self.from, From::Fixed)) {
            if held.keys.find(kid).is_some() || matches!(self.from, From::Fixed) {
                return Ok(held.keys.clone());
            }
            metrics::counter!(names::ATTESTATION_UNKNOWN_KIDS.name).increment(1);
        }
        self.renew_unless_recent().await;
        match self.current.load_full() {
            Some(held) if Instant::now() < held.dead => Ok(held.keys.clone()),
            _ => Err(Unavailable),
        }
    }

    /// Renews the keys in the background until `stop`.
    pub async fn keep_fresh(&self, stop: tokio_util::sync::CancellationToken) {
        if matches!(self.from, From::Fixed) {
            return;
        }
        let mut wait = Duration::ZERO;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let mut attempt = self.attempt.lock().await;
            *attempt = Some(Instant::now());
            let good = self.renew().await;
            drop(attempt);
            let renew = self.current.load().as_ref().map(|held| held.renew.saturating_duration_since(Instant::now()));
            let pause = self.rules.floor.max(Duration::from_millis(50));
            wait = match renew {
                Some(renew) if good => renew.max(pause),
                _ => (wait * 2).clamp(pause, Duration::from_secs(300).max(pause)),
            };
        }
    }

    /// Asks for the keys once and keeps nothing: whether the issuer can be reached, and gives keys.
    ///
    /// # Errors
    /// Why not.
    pub async fn ask(&self) -> Result<(), FetchError> {
        match &self.from {
            From::Fixed => Ok(()),
            From::Issuer { client, base, issuer, .. } => fetch(client, base, issuer, self.rules.fresh).await.map(drop),
        }
    }

    async fn renew_unless_recent(&self) {
        let asked = Instant::now();
        let mut attempt = self.attempt.lock().await;
        // Somebody else fetched while this waited, or not long ago.
        let quiet = attempt.is_some_and(|last| last >= asked || asked.duration_since(last) < self.rules.floor);
        if quiet {
            return;
        }
        *attempt = Some(Instant::now());
        self.renew().await;
    }

    async fn renew(&self) -> bool {
        let From::Issuer { client, base, issuer, disk } = &self.from else { return true };
        match fetch(client, base, issuer, self.rules.fresh).await {
            Ok((text, keys, fresh)) => {
                metrics::counter!(names::ATTESTATION_KEY_FETCHES.name, "result" => "good").increment(1);
                self.hold(keys, fresh);
                if let Some(path) = disk
                    && let Err(error) = keep(path, &text).await
                {
                    tracing::warn!(%error, "the issuer's keys could not be kept on disk");
                }
                true
            }
            Err(error) => {
                metrics::counter!(names::ATTESTATION_KEY_FETCHES.name, "result" => error.label()).increment(1);
                let held = self.current.load().is_some();
                tracing::warn!(%issuer, error = crate::telemetry::chain(&error), held, "the issuer's keys could not be renewed");
                false
            }
        }
    }

    fn hold(&self, keys: KeySet, fresh: Duration) {
        let now = Instant::now();
        let held = Held { keys: Arc::new(keys), renew: now + fresh * 4 / 5, dead: now + fresh + self.rules.stale };
        self.current.store(Some(Arc::new(held)));
    }

    /// What was kept on disk is used until the first fetch, as long as stale keys may be.
    fn recall(&self) {
        let From::Issuer { disk: Some(path), .. } = &self.from else { return };
        let age = std::fs::metadata(path).and_then(|meta| meta.modified()).ok().and_then(|at| at.elapsed().ok());
        let Some(left) = age.and_then(|age| self.rules.stale.checked_sub(age)) else { return };
        if let Some(keys) = std::fs::read(path).ok().and_then(|text| KeySet::read(&text).ok()) {
            let now = Instant::now();
            self.current.store(Some(Arc::new(Held { keys: Arc::new(keys), renew: now, dead: now + left })));
        }
    }
}

/// Written beside and renamed, so that half a file never replaces a whole one.
async fn keep(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    tokio::fs::write(&beside, text).await?;
    tokio::fs::rename(&beside, path).await
}
