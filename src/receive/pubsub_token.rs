//! Who pushes: the OIDC token that Pub/Sub sends with every push, verified against the issuer's keys.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::attest::key_source::{FetchError, FetchRules, KeySource};
use crate::attest::reason::Reason;
use crate::attest::token::take_apart;
use crate::config::pubsub::PushToken;

/// Clocks may disagree by this much.
const SKEW: i64 = 60;
/// How long a push waits for its key to be confirmed when it is known but old: Pub/Sub gives a push ten seconds.
const PATIENCE: Duration = Duration::from_secs(2);

/// Why a push was refused. None of them shows the token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no bearer token.
    #[error("there is no bearer token; set oidcToken in the subscription's push configuration")]
    Missing,
    /// It is no JWT.
    #[error("the bearer token is no JWT")]
    Malformed,
    /// It is not signed with RS256.
    #[error("the token is not signed with RS256")]
    Algorithm,
    /// Its header asks for something that is not understood.
    #[error("the token's header asks for an extension that is not understood")]
    Extension,
    /// Its key is not among the issuer's.
    #[error("the token's key is not among the issuer's")]
    Key,
    /// The issuer's keys cannot be had now.
    #[error("the issuer's keys cannot be had now")]
    NoKeys,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
    /// Another issuer.
    #[error("the token's issuer is not in PUBSUB_PUSH_ISSUERS")]
    Issuer,
    /// Meant for somebody else.
    #[error("the token's audience is not in PUBSUB_PUSH_AUDIENCE")]
    Audience,
    /// Too old, or of the future.
    #[error("the token has expired or is not valid yet")]
    Expired,
    /// The issuer has not verified the e-mail address.
    #[error("the token's e-mail address is not verified")]
    Unverified,
    /// Somebody else's account.
    #[error("the token's account is not in PUBSUB_PUSH_ACCOUNTS")]
    Account,
    /// A page in a browser sends it.
    #[error("it has an Origin, which only browsers send: no page may push")]
    Browser,
    /// Nobody may push.
    #[error("pushes are not configured; set PUBSUB_PUSH_AUDIENCE and PUBSUB_PUSH_ACCOUNTS")]
    Closed,
}

impl Refused {
    /// All labels.
    pub const LABELS: [&str; 14] = [
        "missing",
        "malformed",
        "algorithm",
        "extension",
        "unknown_key",
        "no_keys",
        "signature",
        "issuer",
        "audience",
        "expired",
        "email_unverified",
        "account",
        "origin",
        "closed",
    ];

    /// The metric label, and the code in the answer.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::Extension => "extension",
            Self::Key => "unknown_key",
            Self::NoKeys => "no_keys",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Expired => "expired",
            Self::Unverified => "email_unverified",
            Self::Account => "account",
            Self::Browser => "origin",
            Self::Closed => "closed",
        }
    }

    /// Whether it is us who lack something.
    pub fn is_ours(self) -> bool {
        self == Self::NoKeys
    }

    /// The HTTP status: 401, 403 for an account that is not listed and for a browser, 503 while keys cannot be had.
    pub fn status(self) -> u16 {
        match self {
            Self::NoKeys => 503,
            Self::Account | Self::Browser | Self::Closed => 403,
            _ => 401,
        }
    }
}

#[derive(Debug, Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    #[serde(default)]
    aud: serde_json::Value,
    #[serde(default)]
    exp: f64,
    #[serde(default)]
    iat: Option<f64>,
    #[serde(default)]
    nbf: Option<f64>,
    #[serde(default)]
    email: String,
    #[serde(default)]
    email_verified: serde_json::Value,
}

/// Verifies pushes.
pub struct Verifier {
    wanted: PushToken,
    keys: KeySource,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for tokens like `wanted`.
    ///
    /// # Errors
    /// When no keys can be asked for at its address.
    pub fn new(wanted: PushToken) -> Result<Self, FetchError> {
        let rules = FetchRules { patience: PATIENCE, ..FetchRules::default() };
        Ok(Self { keys: KeySource::key_set(wanted.jwks.clone(), rules)?, wanted })
    }

    /// The issuer's keys.
    pub fn keys(&self) -> &KeySource {
        &self.keys
    }

    /// Checks the `Authorization` header. Answers the account's e-mail address.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn check(&self, authorization: Option<&[u8]>, now: DateTime<Utc>) -> Result<String, Refused> {
        self.check_at(authorization, now, Instant::now()).await
    }

    /// The same at another time, which `clock` tells for the keys.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn check_at(
        &self,
        authorization: Option<&[u8]>,
        now: DateTime<Utc>,
        clock: Instant,
    ) -> Result<String, Refused> {
        let token = bearer(authorization).ok_or(Refused::Missing)?;
        let parts = take_apart(token).map_err(|reason| match reason {
            Reason::Algorithm => Refused::Algorithm,
            Reason::CriticalHeader => Refused::Extension,
            // With the algorithm `none` there is no signature; that is told apart for the log.
            _ if names_another_algorithm(token) => Refused::Algorithm,
            _ => Refused::Malformed,
        })?;
        let id = parts.kid.as_deref().ok_or(Refused::Key)?;
        let found = self.keys.look_up_at(id, clock).await.map_err(|_| Refused::NoKeys)?;
        let key = match found.keys.find(id) {
            Some(key) => key,
            None if found.speaks_of(id) => return Err(Refused::Key),
            None => return Err(Refused::NoKeys),
        };
        if !key.verifies(parts.signed, &parts.signature) {
            return Err(Refused::Signature);
        }
        let claims = serde_json::from_slice(&parts.payload).map_err(|_| Refused::Malformed)?;
        self.judge(claims, now)
    }

    fn judge(&self, claims: Claims, now: DateTime<Utc>) -> Result<String, Refused> {
        if !self.wanted.issuers.contains(&claims.iss) {
            return Err(Refused::Issuer);
        }
        let audience = match &claims.aud {
            serde_json::Value::Array(one) if one.len() == 1 => one[0].as_str(),
            other => other.as_str(),
        };
        if !audience.is_some_and(|audience| self.wanted.audiences.iter().any(|wanted| wanted == audience)) {
            return Err(Refused::Audience);
        }
        let (now, skew) = (now.timestamp() as f64, SKEW as f64);
        let future = |time: Option<f64>| time.is_some_and(|time| time > now + skew);
        if claims.exp + skew <= now || future(claims.iat) || future(claims.nbf) {
            return Err(Refused::Expired);
        }
        if claims.email_verified != true {
            return Err(Refused::Unverified);
        }
        let listed = self.wanted.accounts.iter().any(|account| account.eq_ignore_ascii_case(&claims.email));
        if listed { Ok(claims.email) } else { Err(Refused::Account) }
    }
}

fn bearer(authorization: Option<&[u8]>) -> Option<&str> {
    let text = std::str::from_utf8(authorization?).ok()?.trim();
    let (scheme, token) = text.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn names_another_algorithm(token: &str) -> bool {
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap_or_default()).unwrap_or_default();
    let header: serde_json::Value = serde_json::from_slice(&header).unwrap_or_default();
    header.get("alg").is_some_and(|alg| alg != "RS256")
}
