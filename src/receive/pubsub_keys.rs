//! The keys that pushes are verified with: fetched by one at a time, kept as long as the issuer allows, and used on while
//! new ones cannot be had. Whoever has a key that is known waits for no one else's.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use jsonwebtoken::DecodingKey;
use jsonwebtoken::jwk::JwkSet;
use url::Url;

/// An unknown key makes us look for new ones, but not more often than this. So do keys that should be renewed.
const LOOK_AGAIN: TimeDelta = TimeDelta::seconds(30);
/// While there are no keys at all, they are asked for so often.
const NONE_AGAIN: TimeDelta = TimeDelta::seconds(10);
/// How long keys are used when the answer does not say.
const FRESH_FOR: TimeDelta = TimeDelta::minutes(10);
/// No longer than this are keys used whatever the answer says.
const FRESH_AT_MOST: TimeDelta = TimeDelta::hours(24);
/// How long one fetch may take.
const FETCH: Duration = Duration::from_secs(10);
/// How long a push waits for its key to be confirmed when it is known but old: Pub/Sub gives a push ten seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoKey {
    #[error("the key is not among the issuer's")]
    Unknown,
    #[error("the issuer's keys cannot be had now")]
    Unavailable,
}

#[derive(Debug, thiserror::Error)]
enum FetchError {
    #[error("the issuer's keys cannot be read")]
    Http(#[from] reqwest::Error),
    #[error("the issuer's answer holds no key that could be used; the ones it gave before are kept")]
    Empty,
}

/// The issuer's keys. Clones share them.
#[derive(Clone)]
pub(super) struct PushKeys {
    http: reqwest::Client,
    address: Url,
    kept: Arc<Mutex<Kept>>,
}

type Fetched = (HashMap<String, DecodingKey>, DateTime<Utc>);

#[derive(Default)]
struct Kept {
    by_id: HashMap<String, DecodingKey>,
    fresh_until: Option<DateTime<Utc>>,
    /// When keys were asked for last, for whatever reason.
    asked: Option<DateTime<Utc>>,
    /// When they were asked for last because one was not known.
    missed: Option<DateTime<Utc>>,
    /// Whether the last fetch failed.
    failed: bool,
    /// The fetch that is under way.
    under_way: Option<Shared<BoxFuture<'static, ()>>>,
}

impl Kept {
    /// Whether to ask for keys now.
    fn is_due(&self, known: bool, now: DateTime<Utc>) -> bool {
        // A clock that was set back does not make us wait.
        let rested = |last: Option<DateTime<Utc>>, pause| last.is_none_or(|last| now - last >= pause || now < last);
        if self.by_id.is_empty() {
            rested(self.asked, NONE_AGAIN)
        } else if known {
            rested(self.asked, LOOK_AGAIN)
        } else {
            rested(self.missed, LOOK_AGAIN)
        }
    }

    fn take_in(&mut self, fetched: Result<Fetched, FetchError>) {
        self.failed = fetched.is_err();
        match fetched {
            Ok((by_id, fresh_until)) => (self.by_id, self.fresh_until) = (by_id, Some(fresh_until)),
            Err(error) => tracing::warn!(
                error = crate::telemetry::chain(&error),
                "the keys for verifying pushes could not be fetched"
            ),
        }
    }
}

/// Whatever becomes of a fetch, it is under way no more.
struct Ending(PushKeys);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.lock().under_way = None;
    }
}

impl PushKeys {
    /// The keys at this address, asked for with `http`.
    pub(super) fn new(http: reqwest::Client, address: Url) -> Self {
        Self { http, address, kept: Arc::default() }
    }

    /// The key of this id. One that is known and fresh is answered at once.
    pub(super) async fn key(&self, id: &str, now: DateTime<Utc>) -> Result<DecodingKey, NoKey> {
        let (known, fetch) = match self.known(id, now) {
            (Some(key), true) => return Ok(key),
            (known, _) => (known.is_some(), self.fetch_if_due(known.is_some(), now)),
        };
        let waited = fetch.is_some();
        match fetch {
            // It goes on beside us when our patience ends.
            Some(fetch) if known => drop(tokio::time::timeout(PATIENCE, fetch).await),
            Some(fetch) => fetch.await,
            None => {}
        }
        let mut kept = self.lock();
        match kept.by_id.get(id) {
            Some(key) => Ok(key.clone()),
            None if kept.failed || kept.by_id.is_empty() => Err(NoKey::Unavailable),
            None => {
                // The first fetch of all may be for an unknown key too.
                if waited {
                    kept.missed = Some(now);
                }
                Err(NoKey::Unknown)
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn known(&self, id: &str, now: DateTime<Utc>) -> (Option<DecodingKey>, bool) {
        let kept = self.lock();
        (kept.by_id.get(id).cloned(), kept.fresh_until.is_some_and(|until| now < until))
    }

    /// The fetch under way, or a new one when it is time for one.
    fn fetch_if_due(&self, known: bool, now: DateTime<Utc>) -> Option<Shared<BoxFuture<'static, ()>>> {
        let mut kept = self.lock();
        if kept.under_way.is_none() && kept.is_due(known, now) {
            kept.asked = Some(now);
            if !known && !kept.by_id.is_empty() {
                kept.missed = Some(now);
            }
            // Until it is known better; also should the task end before it knows.
            kept.failed = true;
            let ending = Ending(self.clone());
            let task = tokio::spawn(async move {
                let fetched = ending.0.fetch(now).await;
                ending.0.lock().take_in(fetched);
            });
            kept.under_way = Some(task.map(drop).boxed().shared());
        }
        kept.under_way.clone()
    }

    async fn fetch(&self, now: DateTime<Utc>) -> Result<Fetched, FetchError> {
        let answer = self.http.get(self.address.clone()).timeout(FETCH).send().await?.error_for_status()?;
        let control = answer.headers().get(reqwest::header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
        let fresh_for = control.and_then(max_age).unwrap_or(FRESH_FOR).clamp(TimeDelta::zero(), FRESH_AT_MOST);
        let set: JwkSet = answer.json().await?;
        let keys = set.keys.iter().filter_map(|jwk| {
            let id = jwk.common.key_id.clone()?;
            DecodingKey::from_jwk(jwk).ok().map(|key| (id, key))
        });
        let keys: HashMap<_, _> = keys.collect();
        if keys.is_empty() { Err(FetchError::Empty) } else { Ok((keys, now + fresh_for)) }
    }
}

fn max_age(control: &str) -> Option<TimeDelta> {
    let seconds = control.split(',').find_map(|part| part.trim().strip_prefix("max-age="))?;
    TimeDelta::try_seconds(seconds.trim().parse().ok()?)
}
