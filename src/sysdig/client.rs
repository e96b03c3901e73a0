//! One call to Sysdig: signed, bounded in time and size, repeated where that helps.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{TimeDelta, Utc};
use reqwest::header::RETRY_AFTER;
use reqwest::{Method, Response};
use secrecy::{ExposeSecret, SecretString};
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use super::access::{Access, Identity};
use super::error::{SysdigError, message_of, shorten};
use super::feed::KnownFeed;
use super::skew::Skew;
use crate::calls::{self, BodyError, pause, retry_after};

/// The largest answer read, in bytes: a page of 200 events is a few megabytes at worst.
const ANSWER_LIMIT: usize = 32 * 1024 * 1024;

/// How long and how often a call is tried.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Tries in all, at least one.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_wait: Duration,
    /// The longest wait. A server that asks for more (`Retry-After`) is not waited for: the caller is told.
    pub longest_wait: Duration,
    /// The whole time one try may take.
    pub timeout: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(65),
            timeout: Duration::from_secs(30),
        }
    }
}

/// A client of one Sysdig installation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    identity: Identity,
    patience: Patience,
    /// Which events feed it has.
    pub(super) feed: Arc<KnownFeed>,
    skew: Arc<Skew>,
    /// What we hand over there besides the token that we are known by, and is never told.
    hidden: Vec<SecretString>,
}

/// What is asked.
#[derive(Debug)]
pub(super) struct Call {
    /// Its name in errors: a noun phrase, "the events feed".
    pub(super) name: &'static str,
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
    /// Whether an answer counts in which some bytes are not UTF-8.
    pub(super) bears_bad_bytes: bool,
}

impl Call {
    pub(super) fn read(name: &'static str, path: impl Into<String>) -> Self {
        Self { name, method: Method::GET, path: path.into(), query: Vec::new(), body: None, bears_bad_bytes: false }
    }

    pub(super) fn write(name: &'static str, method: Method, path: impl Into<String>, body: Value) -> Self {
        Self { name, method, path: path.into(), query: Vec::new(), body: Some(body), bears_bad_bytes: false }
    }

    pub(super) fn bears_bad_bytes(mut self) -> Self {
        self.bears_bad_bytes = true;
        self
    }

    pub(super) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Whether doing it twice is the same as doing it once.
    fn is_repeatable(&self) -> bool {
        self.method != Method::POST
    }
}

impl Client {
    /// A client. Redirects are not followed: they would mean that the address is wrong, and could carry the token away.
    pub fn new(access: Access, patience: Patience) -> Result<Self, SysdigError> {
        let http = crate::calls::client(&access.base)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(patience.timeout)
            .connect_timeout(patience.timeout.min(Duration::from_secs(10)))
            .build()
            .map_err(|source| SysdigError::transport("the HTTP client", source))?;
        let identity = Identity::new(access.credential);
        Ok(Self {
            http,
            base: access.base,
            identity,
            patience,
            feed: Arc::default(),
            skew: Arc::default(),
            hidden: Vec::new(),
        })
    }

    /// The installation's address.
    pub fn base(&self) -> &Url {
        &self.base
    }

    /// IBM Cloud's instance and the team, when we ask for one of several behind the same address.
    pub fn tenant(&self) -> Option<(&str, Option<&str>)> {
        self.identity.tenant()
    }

    /// The same client, in whose errors `secret` is not repeated.
    pub(super) fn hiding(&self, secret: &SecretString) -> Self {
        let mut client = self.clone();
        client.hidden.push(secret.clone());
        client
    }

    /// How far this machine's clock is ahead of Sysdig's, as far as its last answers tell; else zero.
    pub fn clock_ahead(&self) -> TimeDelta {
        self.skew.ahead()
    }

    /// Asks, and reads the answer as JSON.
    pub(super) async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, SysdigError> {
        self.json_or_nearly(call).await.map(|(answer, _)| answer)
    }

    /// As [`Self::json`]; and whether bytes that are not UTF-8 were replaced, where the call allows it.
    pub(super) async fn json_or_nearly<T: DeserializeOwned>(&self, call: Call) -> Result<(T, bool), SysdigError> {
        let mut failed = 0;
        loop {
            let error = match self.try_json(&call).await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            failed += 1;
            match self.wait_before_repeat(&call, &error, failed) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(error),
            }
        }
    }

    /// How long to wait before the next try; `None` when there is none.
    fn wait_before_repeat(&self, call: &Call, error: &SysdigError, failed: u32) -> Option<Duration> {
        let helps = error.is_transient() && (call.is_repeatable() || error.is_rate_limit());
        if !helps || failed >= self.patience.attempts {
            return None;
        }
        let Patience { first_wait, longest_wait, .. } = self.patience;
        let due = pause(failed, first_wait, longest_wait, rand::random());
        match error.retry_after() {
            Some(asked) if asked > longest_wait => None,
            Some(asked) => Some(asked.max(due)),
            None => Some(due),
        }
    }

    async fn try_json<T: DeserializeOwned>(&self, call: &Call) -> Result<(T, bool), SysdigError> {
        let mut response = self.send(call).await?;
        if response.status().as_u16() == 401 && self.identity.forget().await {
            response = self.send(call).await?;
        }
        let status = response.status();
        let asked = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked.and_then(|value| retry_after(value, Utc::now()));
        let body = calls::body(response, ANSWER_LIMIT).await;
        if !status.is_success() {
            // The status says enough, even when the body breaks off.
            let body = self.scrub(&String::from_utf8_lossy(&body.unwrap_or_default()));
            // Once more: it may have been written otherwise in the JSON.
            let message = self.scrub(&message_of(body.as_bytes()));
            return Err(SysdigError::Status { status: status.as_u16(), call: call.name, message, retry_after });
        }
        let body = body.map_err(|error| match error {
            BodyError::Broken(source) => SysdigError::transport(call.name, source),
            BodyError::TooLarge => SysdigError::TooLarge { call: call.name, limit: ANSWER_LIMIT },
        })?;
        // Some writes are answered with nothing.
        let text: &[u8] = if body.is_empty() { b"null" } else { &body };
        let source = match serde_json::from_slice(text) {
            Ok(answer) => return Ok((answer, false)),
            Err(source) => source,
        };
        let lossy = String::from_utf8_lossy(text);
        if call.bears_bad_bytes
            && matches!(lossy, Cow::Owned(_))
            && let Ok(answer) = serde_json::from_str(&lossy)
        {
            return Ok((answer, true));
        }
        let excerpt = self.scrub(&lossy).chars().take(80).collect::<String>();
        Err(SysdigError::Body { call: call.name, excerpt: shorten(&excerpt), source })
    }

    /// `text` without our secrets, should a server echo them.
    fn scrub(&self, text: &str) -> String {
        let hidden = self.hidden.iter().map(ExposeSecret::expose_secret).filter(|secret| !secret.is_empty());
        hidden.fold(self.identity.scrub(text), |text, secret| text.replace(secret, "[token]"))
    }

    async fn send(&self, call: &Call) -> Result<Response, SysdigError> {
        let address = format!("{}{}", self.base.as_str().trim_end_matches('/'), call.path);
        let mut request = self.http.request(call.method.clone(), address).header("Accept", "application/json");
        if !call.query.is_empty() {
            request = request.query(&call.query);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        let request = self.identity.sign(&self.http, request).await?;
        let asked = Instant::now();
        let answer = request.send().await.map_err(|source| SysdigError::transport(call.name, source))?;
        self.skew.answered(answer.headers(), Utc::now(), asked, Instant::now());
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Credential;
    use super::*;

    #[test]
    fn what_is_asked_for_lengthens_a_pause_and_never_shortens_it() {
        let base = Url::parse("https://sysdig.test").unwrap();
        let access = Access { base, credential: Credential::Token("t".into()) };
        let client = Client::new(access, Patience::default()).unwrap();
        let call = Call::read("the events feed", "/");
        let wait = |asked: Option<u64>, failed| {
            let retry_after = asked.map(Duration::from_secs);
            let error = SysdigError::Status { status: 503, call: "x", message: String::new(), retry_after };
            client.wait_before_repeat(&call, &error, failed)
        };
        for failed in 1..=3 {
            for asked in [None, Some(0)] {
                assert!(
                    wait(asked, failed).unwrap() >= Duration::from_millis(500 << (failed - 1)),
                    "{asked:?} {failed}"
                );
            }
            assert_eq!(wait(Some(30), failed), Some(Duration::from_secs(30)));
            assert_eq!(wait(Some(66), failed), None);
        }
    }
}
