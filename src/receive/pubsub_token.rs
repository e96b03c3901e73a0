//! Who pushes: the OIDC token that Pub/Sub sends with every push, verified against the issuer's keys.

use chrono::{DateTime, Utc};
use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde::Deserialize;

use super::pubsub_keys::{NoKey, PushKeys};
use crate::config::pubsub::PushToken;

/// Clocks may disagree by this much.
const SKEW: i64 = 60;
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
    /// Nobody may push.
    #[error("pushes are not configured; set PUBSUB_PUSH_AUDIENCE and PUBSUB_PUSH_ACCOUNTS")]
    Closed,
}

impl Refused {
    /// All labels.
    pub const LABELS: [&str; 13] = [
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
            Self::Closed => "closed",
        }
    }

    /// The HTTP status: 401, 403 for an account that is not listed, 503 while keys cannot be had.
    pub fn status(self) -> u16 {
        match self {
            Self::NoKeys => 503,
            Self::Account | Self::Closed => 403,
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
    keys: PushKeys,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier").field("wanted", &self.wanted).finish_non_exhaustive()
    }
}

impl Verifier {
    /// A verifier for tokens like `wanted`; `http` asks for the keys.
    pub fn new(wanted: PushToken, http: reqwest::Client) -> Self {
        let keys = PushKeys::new(http, wanted.jwks.clone());
        Self { wanted, keys }
    }

    /// Checks the `Authorization` header. Answers the account's e-mail address.
    ///
    /// # Errors
    /// See [`Refused`].
    pub async fn check(&self, authorization: Option<&[u8]>, now: DateTime<Utc>) -> Result<String, Refused> {
        let token = bearer(authorization).ok_or(Refused::Missing)?;
        // jsonwebtoken knows no `none`: such a header does not parse, and is told apart here for the log.
        let header = decode_header(token).map_err(|_| malformed_or_algorithm(token))?;
        if header.alg != Algorithm::RS256 {
            return Err(Refused::Algorithm);
        }
        // jsonwebtoken reads such a header and does not do what it asks for.
        let members = header_of(token);
        if ["crit", "b64", "zip"].iter().any(|name| members.get(name).is_some()) {
            return Err(Refused::Extension);
        }
        let id = header.kid.as_deref().ok_or(Refused::Key)?;
        let key = self.keys.key(id, now).await.map_err(|none| match none {
            NoKey::Unknown => Refused::Key,
            NoKey::Unavailable => Refused::NoKeys,
        })?;
        let mut only_signature = Validation::new(Algorithm::RS256);
        only_signature.required_spec_claims.clear();
        only_signature.validate_exp = false;
        only_signature.validate_aud = false;
        let claims = decode::<Claims>(token, &key, &only_signature).map_err(|error| match error.kind() {
            jsonwebtoken::errors::ErrorKind::InvalidSignature => Refused::Signature,
            _ => Refused::Malformed,
        })?;
        self.judge(claims.claims, now)
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

fn malformed_or_algorithm(token: &str) -> Refused {
    if header_of(token).get("alg").is_some() { Refused::Algorithm } else { Refused::Malformed }
}

fn header_of(token: &str) -> serde_json::Value {
    use base64::Engine;
    let header = token.split('.').next().unwrap_or_default();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header).unwrap_or_default();
    serde_json::from_slice(&header).unwrap_or_default()
}
