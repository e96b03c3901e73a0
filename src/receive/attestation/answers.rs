//! What a caller shows, and what it is answered: a verdict, a secret, or why there is none.

use std::time::Duration;

use secrecy::SecretSlice;
use serde::Serialize;

use super::checked::Checked;
use super::judging::Unjudged;
use crate::attest::policy::{Explanation, TokenKind};
use crate::attest::reason::Reason;

/// What a caller shows.
#[derive(Clone, Copy)]
pub struct Shown<'s> {
    /// The token.
    pub token: &'s str,
    /// The key the secret should be sealed to.
    pub public_key: Option<&'s str>,
}

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

/// A released secret.
#[derive(Debug)]
pub enum Released {
    /// As it is.
    Plain(SecretSlice<u8>),
    /// Sealed to the caller's key: a JWE.
    Sealed(String),
}

/// Why a caller gets nothing.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each member's text says it")]
pub enum Refused {
    #[error("{0}")]
    Token(Reason),
    #[error("too many refused tokens from this address; try again later")]
    Throttled,
    #[error("too many challenges for this address; try again later")]
    TooManyChallenges,
    #[error("there is no secret of this name")]
    UnknownSecret,
    #[error("there is no policy of this name")]
    UnknownPolicy,
    #[error("the purpose is empty, too long, or names a secret that is not there")]
    Purpose,
    #[error("the secret cannot be had at the moment")]
    SecretUnavailable,
    #[error("the decision cannot be written down at the moment")]
    JournalUnavailable,
    #[error("too many tokens are remembered at the moment")]
    Full,
    #[error("too many conditions that take long are evaluated at the moment; try again later")]
    Busy,
    #[error("evaluating the condition broke off")]
    Broken,
    #[error("another request uses the token at the moment; try again later")]
    InUse,
    #[error("whether the token was used before cannot be looked up at the moment")]
    StateUnavailable,
}

impl Refused {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(reason) => reason.code(),
            Self::Throttled | Self::TooManyChallenges => "throttled",
            Self::UnknownSecret => "unknown_secret",
            Self::UnknownPolicy => "unknown_policy",
            Self::Purpose => "purpose_not_accepted",
            Self::SecretUnavailable => "secret_unavailable",
            Self::JournalUnavailable => "journal_unavailable",
            Self::Full | Self::Busy | Self::InUse => "busy",
            Self::Broken => "internal",
            Self::StateUnavailable => "state_unavailable",
        }
    }

    /// The status it is answered with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Token(reason) => reason.status(),
            Self::Throttled | Self::TooManyChallenges => 429,
            Self::UnknownSecret | Self::UnknownPolicy => 404,
            Self::Purpose => 400,
            Self::SecretUnavailable | Self::JournalUnavailable | Self::StateUnavailable => 503,
            Self::Full | Self::Busy | Self::InUse => 503,
            Self::Broken => 500,
        }
    }

    /// When to come back.
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self.status(), 429 | 503).then_some(Duration::from_secs(10))
    }
}

impl From<Unjudged> for Refused {
    fn from(unjudged: Unjudged) -> Self {
        match unjudged {
            Unjudged::Busy => Self::Busy,
            Unjudged::Broken => Self::Broken,
        }
    }
}

/// The answer of `/attestation/verify` for a token that its issuer signed.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Whether the policy lets it pass.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<&'static str>,
    /// The policy that decided.
    pub policy: String,
    /// The SHA-256 of the policy's file.
    pub policy_sha256: String,
    /// What identifies the token.
    pub token_sha256: String,
    /// `oidc` or `pki`.
    pub kind: &'static str,
    /// The machine.
    pub resource: Option<String>,
    /// When the token ends, Unix seconds.
    pub expires_at: i64,
    /// The condition, term by term.
    pub explanation: Explanation,
}

impl Verdict {
    pub(super) fn new(checked: &Checked, reason: Option<&Reason>, explanation: Explanation) -> Self {
        let Checked { policy, verified, resource, token, .. } = checked;
        Self {
            allowed: reason.is_none(),
            reason: reason.map(Reason::code),
            policy: policy.name.clone(),
            policy_sha256: policy.hash.clone(),
            token_sha256: token.clone(),
            kind: if verified.kind == TokenKind::Pki { "pki" } else { "oidc" },
            resource: resource.clone(),
            expires_at: verified.expires,
            explanation,
        }
    }
}
