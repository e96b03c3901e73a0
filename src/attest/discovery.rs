//! An issuer's discovery document, and the key set it leads to: fetched over https, without following redirects, never
//! from a host that is neither the issuer's nor Google's, in bounded time and size.

use std::time::Duration;

use serde_json::Value as Json;
use url::Url;

use super::json;
use super::keys::{KeySet, KeySetError};
use crate::calls::{self, BodyError, may_carry_a_token};

/// The most bytes of a document.
const LIMIT: usize = 64 << 10;

/// Why an issuer's keys could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The request failed.
    #[error("the {what} could not be fetched")]
    Request {
        /// Which document.
        what: &'static str,
        /// The cause.
        #[source]
        source: reqwest::Error,
    },
    /// The answer's status is not 200.
    #[error("the {what} was answered with status {status}")]
    Status {
        /// Which document.
        what: &'static str,
        /// The status.
        status: u16,
    },
    /// The answer is too large.
    #[error("the {0} is larger than 64 KiB")]
    TooLarge(&'static str),
    /// The discovery document is not one, is another issuer's, or leads elsewhere.
    #[error("the discovery document is not acceptable: {0}")]
    Discovery(&'static str),
    /// The key set is not one.
    #[error("the key set is not acceptable")]
    Keys(#[source] KeySetError),
    /// The address or client is not usable.
    #[error("the issuer's address is not usable: {0}")]
    Address(&'static str),
}

impl FetchError {
    /// For metrics.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Request { .. } => "unreachable",
            Self::Status { .. } => "status",
            Self::TooLarge(_) | Self::Discovery(_) | Self::Keys(_) => "garbage",
            Self::Address(_) => "address",
        }
    }
}

/// A key set: its text, its keys, and how long they are fresh.
pub(super) type Fetched = (Vec<u8>, KeySet, Duration);

/// Asks for the discovery document and the key set it leads to, which is fresh within bounds.
pub(super) async fn of_issuer(
    client: &reqwest::Client,
    base: &Url,
    issuer: &str,
    bounds: (Duration, Duration),
) -> Result<Fetched, FetchError> {
    let address = format!("{}/.well-known/openid-configuration", base.as_str().trim_end_matches('/'));
    let address = Url::parse(&address).map_err(|_| FetchError::Address("it is not a URL"))?;
    let (document, _) = get(client, address, "discovery document").await?;
    key_set(client, read_discovery(&document, base, issuer)?, bounds).await
}

/// Asks for a key set, which is fresh within bounds.
pub(super) async fn key_set(
    client: &reqwest::Client,
    keys_at: Url,
    bounds: (Duration, Duration),
) -> Result<Fetched, FetchError> {
    let (text, fresh) = get(client, keys_at, "key set").await?;
    let keys = KeySet::read(&text).map_err(FetchError::Keys)?;
    Ok((text, keys, fresh.unwrap_or(bounds.0).clamp(bounds.0, bounds.1)))
}

fn read_discovery(document: &[u8], base: &Url, issuer: &str) -> Result<Url, FetchError> {
    let document = json::read(document, 8).map_err(|_| FetchError::Discovery("it is not JSON"))?;
    let text = |name: &str| document.get(name).and_then(Json::as_str);
    if text("issuer").map(|found| found.trim_end_matches('/')) != Some(issuer) {
        return Err(FetchError::Discovery("it is of another issuer"));
    }
    let url =
        text("jwks_uri").and_then(|url| Url::parse(url).ok()).ok_or(FetchError::Discovery("it has no jwks_uri"))?;
    let near =
        url.host_str() == base.host_str() || url.host_str().is_some_and(|host| host.ends_with(".googleapis.com"));
    if !may_carry_a_token(&url) || !near {
        return Err(FetchError::Discovery("its jwks_uri leads to a host that is neither the issuer's nor Google's"));
    }
    Ok(url)
}

async fn get(
    client: &reqwest::Client,
    url: Url,
    what: &'static str,
) -> Result<(Vec<u8>, Option<Duration>), FetchError> {
    // Without the address, in which credentials may stand.
    let failed = |source: reqwest::Error| FetchError::Request { what, source: source.without_url() };
    let answer = client.get(url).send().await.map_err(failed)?;
    if answer.status() != reqwest::StatusCode::OK {
        return Err(FetchError::Status { what, status: answer.status().as_u16() });
    }
    let fresh = answer.headers().get(reqwest::header::CACHE_CONTROL).and_then(|value| max_age(value.to_str().ok()?));
    let body = calls::body(answer, LIMIT).await.map_err(|error| match error {
        BodyError::Broken(error) => failed(error),
        BodyError::TooLarge => FetchError::TooLarge(what),
    })?;
    Ok((body, fresh))
}

fn max_age(header: &str) -> Option<Duration> {
    let seconds = header
        .split(',')
        .filter_map(|part| part.trim().strip_prefix("max-age="))
        .find_map(|n| n.trim_matches('"').parse().ok());
    seconds.map(|seconds: u32| Duration::from_secs(seconds.into()))
}
