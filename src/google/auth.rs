//! Access tokens: where they come from, and one cache in front of it.
//!
//! A token is fetched once for all who wait (single flight), and again five minutes before it ends, in the background:
//! callers go on with the old one meanwhile. When that fails, the old one is used for as long as it is valid.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::FutureExt;
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::{Mutex, OwnedMutexGuard, watch};

use super::auth_error::AuthError;
use super::credentials::{Credentials, Impersonated, ServiceAccount};
use super::exchange::{self, Granted};
use crate::clock::Clock;
use crate::telemetry::metrics::{TOKEN_EXPIRY, TOKEN_FETCHES};

/// How long before its end a token is replaced.
const EARLY: TimeDelta = TimeDelta::minutes(5);
/// How long to leave a failed early refresh alone while the old token is still valid.
const PATIENCE: TimeDelta = TimeDelta::seconds(30);
/// What is assumed when an endpoint does not say how long its token lives.
const ASSUMED_LIFE: TimeDelta = TimeDelta::minutes(30);
/// A service account's exchange may take this long.
const DEADLINE: Duration = Duration::from_secs(20);

/// One access token. `Debug` does not show it.
#[derive(Debug)]
pub struct Token {
    value: SecretString,
    expires: DateTime<Utc>,
    refresh_from: DateTime<Utc>,
    serial: u64,
}

impl Token {
    /// The token itself, for the `Authorization` header.
    pub fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    /// When it ends.
    pub fn expires(&self) -> DateTime<Utc> {
        self.expires
    }
}

/// Where tokens come from, with the cache. Clones share it.
#[derive(Clone)]
pub struct TokenSource {
    inner: Arc<Inner>,
    /// Who is charged for calls, where a setting says so.
    charged: Option<Arc<str>>,
}

enum Way {
    /// Rehearsals: calls go without a token.
    None,
    /// A token given as it is.
    Fixed(SecretString),
    File(Credentials),
    Metadata {
        host: String,
    },
}

struct Inner {
    way: Way,
    scopes: Vec<String>,
    quota_project: Option<String>,
    /// Absent where no token is ever fetched: a rehearsal must not need the system's certificates.
    http: Option<exchange::Http>,
    clock: Clock,
    current: watch::Sender<Option<Arc<Token>>>,
    /// Held by whoever fetches; holds what the last failed fetch said.
    flight: Arc<Mutex<Option<Failed>>>,
    flights: AtomicU64,
    /// Epoch milliseconds before which no early refresh is tried again.
    not_before: std::sync::atomic::AtomicI64,
}

struct Failed {
    flight: u64,
    error: AuthError,
}

impl TokenSource {
    /// No token at all: a rehearsal against a sandbox on loopback.
    pub fn none() -> Self {
        Self::with(Way::None, &[], Arc::new(Utc::now), None)
    }

    /// Always this token.
    pub fn fixed(token: SecretString) -> Self {
        Self::with(Way::Fixed(token), &[], Arc::new(Utc::now), None)
    }

    /// Tokens for a credential file, for these scopes.
    pub fn from_credentials(credentials: Credentials, scopes: &[&str]) -> Result<Self, AuthError> {
        Self::from_credentials_at(credentials, scopes, Arc::new(Utc::now))
    }

    /// The same with a clock of the caller's.
    pub fn from_credentials_at(credentials: Credentials, scopes: &[&str], clock: Clock) -> Result<Self, AuthError> {
        Ok(Self::with(Way::File(credentials), scopes, clock, Some(exchange::Http::new()?)))
    }

    /// Tokens of the metadata server at `host` (`name[:port]`), for these scopes.
    pub fn from_metadata(host: &str, scopes: &[&str]) -> Result<Self, AuthError> {
        Self::from_metadata_at(host, scopes, Arc::new(Utc::now))
    }

    /// The same with a clock of the caller's.
    pub fn from_metadata_at(host: &str, scopes: &[&str], clock: Clock) -> Result<Self, AuthError> {
        Ok(Self::with(Way::Metadata { host: host.to_owned() }, scopes, clock, Some(exchange::Http::new()?)))
    }

    fn with(way: Way, scopes: &[&str], clock: Clock, http: Option<exchange::Http>) -> Self {
        let quota_project = match &way {
            Way::File(credentials) => credentials.quota_project().map(str::to_owned),
            _ => None,
        };
        let inner = Inner {
            way,
            scopes: scopes.iter().map(|&s| s.to_owned()).collect(),
            quota_project,
            http,
            clock,
            current: watch::Sender::new(None),
            flight: Arc::default(),
            flights: AtomicU64::new(0),
            not_before: std::sync::atomic::AtomicI64::new(i64::MIN),
        };
        Self { inner: Arc::new(inner), charged: None }
    }

    /// The kind, for logs and `check`: `none`, `token`, `metadata server` or the credential file's type.
    pub fn kind(&self) -> &'static str {
        match &self.inner.way {
            Way::None => "none",
            Way::Fixed(_) => "token",
            Way::File(credentials) => credentials.kind(),
            Way::Metadata { .. } => exchange::METADATA,
        }
    }

    /// Whether calls go without a token.
    pub fn is_none(&self) -> bool {
        matches!(self.inner.way, Way::None)
    }

    /// The same tokens, with calls charged to this project; `None` leaves it to the credential.
    #[must_use]
    pub fn charged_to(self, project: Option<&str>) -> Self {
        Self { charged: project.map(Arc::from).or(self.charged), ..self }
    }

    /// The project that calls are charged to, when a setting or the credential names one; sent as `x-goog-user-project`.
    pub fn quota_project(&self) -> Option<&str> {
        self.charged.as_deref().or(self.inner.quota_project.as_deref())
    }

    /// Whom calls are made as: the service account's address where it can be known.
    pub async fn identity(&self) -> Result<Option<String>, AuthError> {
        match &self.inner.way {
            Way::None | Way::Fixed(_) => Ok(None),
            Way::File(credentials) => Ok(credentials.identity()),
            Way::Metadata { host } => exchange::metadata_email(self.inner.http()?, host).await.map(Some),
        }
    }

    /// A token that is valid now; `None` when calls go without one.
    pub async fn token(&self) -> Result<Option<Arc<Token>>, AuthError> {
        if self.is_none() {
            return Ok(None);
        }
        let now = (self.inner.clock)();
        match self.current() {
            Some(token) if now < token.refresh_from => Ok(Some(token)),
            Some(token) if now < token.expires => {
                self.refresh_in_background(now, token.serial);
                Ok(Some(token))
            }
            stale => self.fetch(stale.map(|t| t.serial)).await.map(Some),
        }
    }

    /// A token other than `rejected`, which a service refused. Many may ask at once; one fetch serves all.
    pub async fn replace(&self, rejected: &Token) -> Result<Option<Arc<Token>>, AuthError> {
        match &self.inner.way {
            Way::None => Ok(None),
            Way::Fixed(_) => Ok(self.current()),
            _ => self.fetch(Some(rejected.serial)).await.map(Some),
        }
    }

    /// Fetches unless someone else has meanwhile replaced the token with serial `old`, or failed to.
    async fn fetch(&self, old: Option<u64>) -> Result<Arc<Token>, AuthError> {
        let seen = self.inner.flights.load(Ordering::Acquire);
        let mut failed = self.inner.flight.clone().lock_owned().await;
        if let Some(token) = self.newer_than(old) {
            return Ok(token);
        }
        if let Some(last) = failed.as_ref().filter(|last| last.flight > seen) {
            return Err(last.error.clone());
        }
        self.fly(&mut failed).await
    }

    /// The token at hand. The borrow ends here: nothing may wait while it holds.
    fn current(&self) -> Option<Arc<Token>> {
        self.inner.current.borrow().clone()
    }

    fn newer_than(&self, old: Option<u64>) -> Option<Arc<Token>> {
        let now = (self.inner.clock)();
        self.current().filter(|token| Some(token.serial) != old && now < token.expires)
    }

    fn refresh_in_background(&self, now: DateTime<Utc>, old: u64) {
        if now.timestamp_millis() < self.inner.not_before.load(Ordering::Acquire) {
            return;
        }
        let Ok(mut flight) = self.inner.flight.clone().try_lock_owned() else { return };
        let source = self.clone();
        tokio::spawn(async move {
            if source.newer_than(Some(old)).is_some() {
                return;
            }
            if let Err(error) = source.fly(&mut flight).await {
                source.inner.not_before.store((now + PATIENCE).timestamp_millis(), Ordering::Release);
                tracing::warn!(error = %error, "The access token could not be refreshed early; the old one is still valid.");
            }
        });
    }

    async fn fly(&self, failed: &mut OwnedMutexGuard<Option<Failed>>) -> Result<Arc<Token>, AuthError> {
        let flight = self.inner.flights.fetch_add(1, Ordering::AcqRel) + 1;
        let now = (self.inner.clock)();
        // What a library makes of an answer may be a panic. That is no event's fault, and must not look like one's.
        // Boxed, because the room for this rare call would travel with each of the others: two kilobytes.
        let granted = AssertUnwindSafe(Box::pin(self.inner.grant(now))).catch_unwind().await;
        let granted = granted.unwrap_or_else(|_| Err(panicked(self.kind())));
        let outcome = granted.and_then(|granted| usable(self.kind(), token(granted, now, flight), now));
        let label = if outcome.is_ok() { "ok" } else { "failed" };
        metrics::counter!(TOKEN_FETCHES.name, "kind" => self.kind(), "result" => label).increment(1);
        match outcome {
            Ok(token) => {
                metrics::gauge!(TOKEN_EXPIRY.name, "kind" => self.kind()).set(token.expires.timestamp() as f64);
                let token = Arc::new(token);
                self.inner.current.send_replace(Some(Arc::clone(&token)));
                **failed = None;
                Ok(token)
            }
            Err(error) => {
                **failed = Some(Failed { flight, error: error.clone() });
                Err(error)
            }
        }
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TokenSource").field(&self.kind()).finish()
    }
}

impl Inner {
    fn http(&self) -> Result<&exchange::Http, AuthError> {
        let missing = || AuthError::settings("none", "no token is fetched for these credentials".into(), "");
        self.http.as_ref().ok_or_else(missing)
    }

    async fn grant(&self, now: DateTime<Utc>) -> Result<Granted, AuthError> {
        match &self.way {
            Way::None => Err(AuthError::settings("none", "calls go without a token".into(), "")),
            Way::Fixed(value) => Ok(Granted { value: value.clone(), expires: Some(DateTime::<Utc>::MAX_UTC) }),
            Way::File(credentials) => self.grant_for(credentials, &self.scopes, now).await,
            Way::Metadata { host } => exchange::metadata(self.http()?, host, &self.scopes, now).await,
        }
    }

    async fn grant_for(
        &self,
        credentials: &Credentials,
        scopes: &[String],
        now: DateTime<Utc>,
    ) -> Result<Granted, AuthError> {
        match credentials {
            Credentials::ServiceAccount(account) => service_account(account, scopes).await,
            Credentials::AuthorizedUser(user) => exchange::authorized_user(self.http()?, user, now).await,
            Credentials::ExternalAccount(account) => {
                exchange::external_account(self.http()?, account, scopes, now).await
            }
            Credentials::Impersonated(account) => self.impersonated(account, scopes, now).await,
        }
    }

    async fn impersonated(
        &self,
        account: &Impersonated,
        scopes: &[String],
        now: DateTime<Utc>,
    ) -> Result<Granted, AuthError> {
        // Acting as an account needs this scope, whatever the wished token is for.
        let for_iam = [super::CLOUD_PLATFORM.to_owned()];
        let source = Box::pin(self.grant_for(&account.source, &for_iam, now)).await?;
        let wish = exchange::Impersonation {
            kind: "impersonated_service_account",
            url: &account.url,
            delegates: &account.delegates,
            lifetime: 3600,
        };
        exchange::impersonate(self.http()?, &wish, &source.value, scopes, now).await
    }
}

/// yup-oauth2 signs the assertion and exchanges it at the key's own `token_uri`.
async fn service_account(account: &ServiceAccount, scopes: &[String]) -> Result<Granted, AuthError> {
    const KIND: &str = "service_account";
    let unusable = "create a new JSON key for the service account and use the whole file";
    let fetch = async {
        let flow =
            yup_oauth2::ServiceAccountAuthenticator::builder(account.key.clone()).build().await.map_err(|error| {
                AuthError::settings(KIND, "the private key cannot be used".into(), unusable).because(error)
            })?;
        // Its own cache would hand out a token until a minute before the end.
        flow.force_refreshed_token(scopes).await.map_err(signed_exchange)
    };
    let late = |_| AuthError::passing(KIND, "the token endpoint did not answer in time".into(), "check the network");
    let token = tokio::time::timeout(DEADLINE, fetch).await.map_err(late)??;
    let expires = token.expiration_time().and_then(|t| DateTime::from_timestamp(t.unix_timestamp(), 0));
    match token.token() {
        Some(value) if !value.is_empty() => Ok(Granted { value: value.to_owned().into(), expires }),
        _ => Err(AuthError::passing(
            KIND,
            "the token endpoint's answer holds no access token".into(),
            "check its address",
        )),
    }
}

fn signed_exchange(error: yup_oauth2::Error) -> AuthError {
    const KIND: &str = "service_account";
    match error {
        yup_oauth2::Error::AuthError(refusal) => {
            let code = refusal.error.as_str().to_owned();
            let body = serde_json::json!({ "error": code, "error_description": refusal.error_description });
            // The status is not told by the library; an endpoint in trouble says so in the code.
            let status = if code.contains("unavailable") || code.contains("internal") { 503 } else { 400 };
            exchange::refused(KIND, status, body.to_string().as_bytes())
        }
        yup_oauth2::Error::JSONError(_) => AuthError::passing(
            KIND,
            "the token endpoint's answer is not the JSON of a token".into(),
            "check token_uri; it is tried again",
        ),
        other => AuthError::passing(
            KIND,
            "the token endpoint did not answer".into(),
            "check the network and token_uri; it is tried again",
        )
        .because(other),
    }
}

/// As over an answer whose `expires_in` is no time that a calendar has.
fn panicked(kind: &'static str) -> AuthError {
    let message = "reading the token endpoint's answer panicked, as over a lifetime beyond every calendar";
    AuthError::passing(kind, message.into(), "check what answers at the token endpoint's address; it is tried again")
}

/// A token that no call can be made with is none, and must not stand in a better one's place until its time is over.
fn usable(kind: &'static str, token: Token, now: DateTime<Utc>) -> Result<Token, AuthError> {
    if token.expires <= now {
        let message = "the token endpoint gave a token that has already ended";
        return Err(AuthError::passing(kind, message.into(), "check this machine's clock"));
    }
    if token.expose().is_empty() || HeaderValue::from_str(token.expose()).is_err() {
        let message = "the access token is empty, or cannot stand in a header";
        return Err(AuthError::passing(kind, message.into(), "check what gives it; it is tried again"));
    }
    Ok(token)
}

fn token(granted: Granted, now: DateTime<Utc>, serial: u64) -> Token {
    let expires = granted.expires.unwrap_or(now + ASSUMED_LIFE);
    // A token that lives less than twenty minutes is replaced in the last quarter of its life.
    let margin = EARLY.min((expires - now) / 4);
    Token { value: granted.value, expires, refresh_from: expires - margin, serial }
}
