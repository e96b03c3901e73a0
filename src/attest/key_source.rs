//! Where an issuer's keys come from: its discovery document and key set, or a key set alone, cached, never fetched in a
//! storm.
//!
//! A set is good as long as its `Cache-Control` says (5 minutes to 24 hours) and renewed at four fifths of that. An
//! unknown key id asks once, and then not again before the floor has passed, whoever asks; fetches for other reasons do
//! not count. When the issuer is slow, down, or answers garbage, the last good set is used for a bounded time, and then
//! there are no keys, and it is asked a little sooner. Only who needs a key that is not held waits for the issuer.

use std::fs::{File, Metadata};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, watch};
use url::Url;

pub use super::discovery::FetchError;
use super::discovery::{self, Fetched};
use super::keys::KeySet;
use crate::calls::{self, may_carry_a_token};
use crate::files;
use crate::telemetry::metrics as names;

/// Callers who are told that there are no keys come again after so long, and must then not wait for the floor.
const AGAIN: Duration = Duration::from_secs(10);
/// While the issuer fails, the pauses between two fetches in the background grow up to this.
const LAST_WAIT: Duration = Duration::from_secs(300);
/// Clocks may disagree by so much about which came first, a set or an entry in a log.
const SKEW: Duration = Duration::from_secs(5);

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
    /// How long after the start the issuer's keys are waited for while there are only those from the disk.
    pub recalled: Duration,
    /// How long who has a key that should have been renewed waits for the issuer to say whether it still holds.
    pub patience: Duration,
}

impl Default for FetchRules {
    fn default() -> Self {
        let (short, long) = (Duration::from_secs(300), Duration::from_secs(86_400));
        let timeout = Duration::from_secs(5);
        Self {
            floor: Duration::from_secs(30),
            stale: long,
            timeout,
            fresh: (short, long),
            recalled: timeout,
            patience: Duration::ZERO,
        }
    }
}

/// The keys of one issuer, wherever they come from. Clones share them.
#[derive(Debug, Clone)]
pub struct KeySource {
    origin: Origin,
    current: watch::Sender<Option<Arc<Held>>>,
    /// When keys were asked for. The lock is held while fetching, so that there is one at a time.
    asked: Arc<Mutex<Asked>>,
    rules: FetchRules,
}

#[derive(Debug, Clone)]
enum Origin {
    Fixed,
    Issuer {
        client: reqwest::Client,
        base: Url,
        issuer: String,
        disk: Option<PathBuf>,
    },
    /// A key set at an address that is known.
    KeySet {
        client: reqwest::Client,
        url: Url,
    },
}

/// When keys were asked for.
#[derive(Debug, Default)]
struct Asked {
    /// Last, for whatever reason.
    any: Option<Instant>,
    /// Last for a key id that was not known.
    unknown: Option<Instant>,
}

/// Why keys are to be fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// There are none.
    None,
    /// They should have been renewed.
    Stale,
    /// They lack the id.
    Unknown,
}

impl Asked {
    /// Whether to ask now, or leave it at what was asked before.
    fn may(&self, why: Why, now: Instant, floor: Duration) -> bool {
        let rested = |last: Option<Instant>, pause| last.is_none_or(|last| now.duration_since(last) >= pause);
        match why {
            Why::None => rested(self.any, floor.min(AGAIN)),
            Why::Stale => rested(self.any, floor),
            Why::Unknown => rested(self.unknown, floor),
        }
    }
}

/// A set to look a key id up in.
#[derive(Debug, Clone)]
pub struct LookedUp {
    /// The set. It may lack the id.
    pub keys: Arc<KeySet>,
    /// How long before the look-up it was fetched; zero when it was fetched for it.
    age: Duration,
    /// Whether the issuer answered when it was last asked.
    answered: bool,
}

impl LookedUp {
    /// Whether the set says anything about an id: it has it, or it is what the issuer answered when it was last asked.
    /// The key that an older set lacks may be a new one: nobody could look.
    pub fn speaks_of(&self, kid: &str) -> bool {
        self.answered || self.keys.find(kid).is_some()
    }

    /// Whether the issuer itself has answered for an id that has been in the world for so long. What is missing from an
    /// older set may be a new key: that was not asked for because of the floor, or because the issuer does not answer.
    pub fn is_certain(&self, kid: &str, known_for: Duration) -> bool {
        self.age.is_zero() || self.keys.find(kid).is_some() || self.age.saturating_add(SKEW) <= known_for
    }
}

#[derive(Debug)]
struct Held {
    keys: Arc<KeySet>,
    /// When they were fetched; unknown for what was kept on disk.
    fetched: Option<Instant>,
    renew: Instant,
    dead: Instant,
}

impl Held {
    fn fixed(keys: KeySet) -> Self {
        let far = Instant::now() + Duration::from_secs(100 * 365 * 86_400);
        Self { keys: Arc::new(keys), fetched: None, renew: far, dead: far }
    }
}

/// There are no keys that may be used now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the issuer's keys cannot be had, and none are held that are fresh enough")]
pub struct Unavailable;

impl KeySource {
    /// Keys that are not fetched: from a file or a policy.
    pub fn fixed(keys: KeySet) -> Self {
        let held = Held::fixed(keys);
        Self {
            origin: Origin::Fixed,
            current: watch::Sender::new(Some(Arc::new(held))),
            asked: Arc::default(),
            rules: FetchRules::default(),
        }
    }

    /// Others take the place of keys that are not fetched.
    pub fn replace(&self, keys: KeySet) {
        self.current.send_replace(Some(Arc::new(Held::fixed(keys))));
    }

    /// The keys of an issuer. `base` is where its discovery document is asked for: the issuer's own address, or a
    /// stand-in. `disk` keeps the last good set over restarts.
    ///
    /// # Errors
    /// When the address is neither https nor loopback.
    pub fn issuer(issuer: &str, base: &str, rules: FetchRules, disk: Option<PathBuf>) -> Result<Self, FetchError> {
        let base = Url::parse(base).map_err(|_| FetchError::Address("it is not a URL"))?;
        let client = client(&base, &rules)?;
        let issuer = issuer.trim_end_matches('/').to_owned();
        let source = Self::fetched(Origin::Issuer { client, base, issuer, disk }, rules);
        source.recall();
        Ok(source)
    }

    /// The keys of a set whose address is known, as of an issuer without a discovery document.
    ///
    /// # Errors
    /// When the address is neither https nor loopback.
    pub fn key_set(url: Url, rules: FetchRules) -> Result<Self, FetchError> {
        let client = client(&url, &rules)?;
        Ok(Self::fetched(Origin::KeySet { client, url }, rules))
    }

    fn fetched(origin: Origin, rules: FetchRules) -> Self {
        Self { origin, current: watch::Sender::new(None), asked: Arc::default(), rules }
    }

    /// The set to look a key id up in, and how current it is.
    ///
    /// # Errors
    /// When no set can be used.
    pub async fn look_up(&self, kid: &str) -> Result<LookedUp, Unavailable> {
        self.look_up_at(kid, Instant::now()).await
    }

    /// The same at another time.
    ///
    /// # Errors
    /// As [`KeySource::look_up`].
    pub async fn look_up_at(&self, kid: &str, now: Instant) -> Result<LookedUp, Unavailable> {
        let held = self.held().filter(|held| now < held.dead);
        if matches!(self.origin, Origin::Fixed) {
            let fixed = |held: Arc<Held>| LookedUp { keys: held.keys.clone(), age: Duration::ZERO, answered: true };
            return held.map(fixed).ok_or(Unavailable);
        }
        let why = match &held {
            None => Some(Why::None),
            Some(held) if held.keys.find(kid).is_none() => {
                if matches!(self.origin, Origin::Issuer { .. }) {
                    metrics::counter!(names::ATTESTATION_UNKNOWN_KIDS.name).increment(1);
                }
                Some(Why::Unknown)
            }
            Some(held) => (now >= held.renew).then_some(Why::Stale),
        };
        let mut answered = true;
        match why {
            None => {}
            Some(Why::Stale) => {
                self.renew_beside(now);
                // Of keys from the disk nobody knows whether the issuer still has them: it is given a moment to say so.
                let patience = match held.filter(|held| held.fetched.is_none()) {
                    Some(held) => (held.renew + self.rules.recalled).saturating_duration_since(now),
                    None => self.rules.patience,
                };
                drop(tokio::time::timeout(patience, self.asked.lock()).await);
            }
            Some(why) => answered = self.renew_unless_recent(why, kid, now).await,
        }
        let held = self.held().filter(|held| now < held.dead).ok_or(Unavailable)?;
        let age = held.fetched.map_or(Duration::MAX, |fetched| now.duration_since(fetched));
        Ok(LookedUp { keys: held.keys.clone(), age, answered })
    }

    /// Renews the keys in the background until `stop`.
    pub async fn keep_fresh(&self, stop: tokio_util::sync::CancellationToken) {
        if matches!(self.origin, Origin::Fixed) {
            return;
        }
        let (mut wait, mut failures) = (Duration::ZERO, 0_u32);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
            let mut asked = self.asked.lock().await;
            let now = Instant::now();
            asked.any = Some(now);
            let good = self.renew(now).await;
            drop(asked);
            let renew = self.held().map(|held| held.renew.saturating_duration_since(Instant::now()));
            let least = self.rules.floor.max(Duration::from_millis(50));
            failures = if good { 0 } else { failures.saturating_add(1) };
            wait = match renew {
                Some(renew) if good => renew.max(least),
                _ => calls::pause(failures, least, LAST_WAIT.max(least), rand::random()),
            };
        }
    }

    /// Asks for the keys once and keeps nothing: whether the issuer can be reached, and gives keys.
    ///
    /// # Errors
    /// Why not.
    pub async fn ask(&self) -> Result<(), FetchError> {
        self.fetch().await.map_or(Ok(()), |answer| answer.map(drop))
    }

    /// Nothing where keys never change.
    async fn fetch(&self) -> Option<Result<Fetched, FetchError>> {
        let bounds = self.rules.fresh;
        match &self.origin {
            Origin::Fixed => None,
            Origin::Issuer { client, base, issuer, .. } => {
                Some(discovery::of_issuer(client, base, issuer, bounds).await)
            }
            Origin::KeySet { client, url } => Some(discovery::key_set(client, url.clone(), bounds).await),
        }
    }

    /// Renews in a task of its own, unless somebody is asking now or did not long ago: who has a key that may still be
    /// used does not wait for a slow issuer. The task lasts as long as a fetch may, and holds the lock, so there is
    /// one.
    fn renew_beside(&self, now: Instant) {
        let Ok(mut asked) = Arc::clone(&self.asked).try_lock_owned() else { return };
        if asked.may(Why::Stale, now, self.rules.floor) {
            asked.any = Some(now);
            let source = self.clone();
            tokio::spawn(async move {
                source.renew(now).await;
                drop(asked);
            });
        }
    }

    /// Whether what is held afterwards is what the issuer answered when it was last asked.
    async fn renew_unless_recent(&self, why: Why, kid: &str, now: Instant) -> bool {
        let began = Instant::now();
        let mut asked = self.asked.lock().await;
        let waited = now + began.elapsed();
        // Somebody else fetched while this waited, or not long ago.
        if asked.any.is_some_and(|last| last > now) || !asked.may(why, waited, self.rules.floor) {
            return self.held().is_some_and(|held| held.fetched.is_some() && held.fetched >= asked.any);
        }
        asked.any = Some(waited);
        let good = self.renew(waited).await;
        let missing = || self.held().is_none_or(|held| held.keys.find(kid).is_none());
        // The first fetch of all may be for an unknown id too.
        if why == Why::Unknown || (good && missing()) {
            asked.unknown = Some(waited);
        }
        good
    }

    /// What is held now. The borrow ends here: nothing may wait while it holds.
    fn held(&self) -> Option<Arc<Held>> {
        self.current.borrow().clone()
    }

    async fn renew(&self, now: Instant) -> bool {
        let Some(answer) = self.fetch().await else { return true };
        let (issuer, disk) = match &self.origin {
            Origin::Fixed => return true,
            Origin::Issuer { issuer, disk, .. } => {
                let result = answer.as_ref().map_or_else(FetchError::label, |_| "good");
                metrics::counter!(names::ATTESTATION_KEY_FETCHES.name, "result" => result).increment(1);
                (issuer.clone(), disk.as_ref())
            }
            Origin::KeySet { url, .. } => (calls::told(url), None),
        };
        match answer {
            Ok((text, keys, fresh)) => {
                self.hold(keys, fresh, now);
                if let Some(path) = disk
                    && let Err(error) = keep(path, &text).await
                {
                    tracing::warn!(%error, "the issuer's keys could not be kept on disk");
                }
                true
            }
            Err(error) => {
                let held = self.held().is_some();
                tracing::warn!(
                    issuer,
                    error = crate::causes::chain(&error),
                    held,
                    "the issuer's keys could not be renewed"
                );
                false
            }
        }
    }

    fn hold(&self, keys: KeySet, fresh: Duration, now: Instant) {
        let dead = now + fresh + self.rules.stale;
        let held = Held { keys: Arc::new(keys), fetched: Some(now), renew: now + fresh * 4 / 5, dead };
        self.current.send_replace(Some(Arc::new(held)));
    }

    /// What was kept on disk is used until the first fetch, as long as stale keys may be.
    fn recall(&self) {
        let Origin::Issuer { disk: Some(path), .. } = &self.origin else { return };
        let Some((found, text)) = read_own(path) else { return };
        let age = found.modified().ok().and_then(|at| at.elapsed().ok());
        let Some(left) = age.and_then(|age| self.rules.stale.checked_sub(age)) else { return };
        if let Ok(keys) = KeySet::read(&text) {
            let now = Instant::now();
            self.current.send_replace(Some(Arc::new(Held {
                keys: Arc::new(keys),
                fetched: None,
                renew: now,
                dead: now + left,
            })));
        }
    }
}

/// Nobody on the way may change keys: neither a proxy for what is on this machine, nor a redirect that leads elsewhere.
fn client(to: &Url, rules: &FetchRules) -> Result<reqwest::Client, FetchError> {
    if !may_carry_a_token(to) {
        return Err(FetchError::Address("it must be https, or http on loopback"));
    }
    let client = calls::client(to).timeout(rules.timeout).redirect(reqwest::redirect::Policy::none());
    client.build().map_err(|_| FetchError::Address("no HTTP client could be made"))
}

/// A file and what it holds, unless somebody else may write it: whoever chooses the keys makes every token good. It is what was
/// opened that is looked at, and what is no file is not opened.
fn read_own(path: &Path) -> Option<(Metadata, Vec<u8>)> {
    std::fs::metadata(path).ok().filter(Metadata::is_file)?;
    let mut file = File::open(path).ok()?;
    let found = file.metadata().ok()?;
    if let Some(who) = files::others_who_write(&found) {
        let path = path.display();
        tracing::warn!(%path, "the keys that were kept on disk are not used, and the issuer is asked anew: the file {who}");
        return None;
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    Some((found, text))
}

/// Written beside and renamed, so that half a file never replaces a whole one. Made anew, so that it is ours, whatever a run
/// that broke off or somebody else has left there.
async fn keep(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    tokio::fs::remove_file(&beside).await.or_else(|error| match error.kind() {
        ErrorKind::NotFound => Ok(()),
        _ => Err(error),
    })?;
    let mut file = tokio::fs::OpenOptions::from(files::private()).create_new(true).open(&beside).await?;
    file.write_all(text).await?;
    file.flush().await?;
    tokio::fs::rename(&beside, path).await
}
