//! Why a token is refused.

use super::policy::Off;
use super::seal::SealError;

/// The longest token, in bytes. One with a certificate chain has about 11 kB.
pub const LIMIT: usize = 32 << 10;

/// Why a token is refused. Codes are stable; texts hold no claim values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "each member's text says it")]
pub enum Reason {
    #[error("there is no token")]
    TokenMissing,
    #[error("the token is larger than {} bytes", LIMIT)]
    TokenTooLarge,
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    #[error("the token is not signed with RS256")]
    Algorithm,
    #[error("the token's header asks for an extension that is not understood")]
    CriticalHeader,
    #[error("tokens of this kind are not accepted here: {0}")]
    KindNotAccepted(&'static str),
    #[error("the token names no key")]
    KeyMissing,
    #[error("the token's key is not among the issuer's keys")]
    KeyUnknown,
    #[error("the key is no RSA key for signatures with RS256, of at least 2048 bits and with the exponent 65537")]
    KeyUnsuitable,
    #[error("the issuer's keys cannot be had at the moment")]
    KeysUnavailable,
    #[error("the certificate chain is not accepted: {0}")]
    Chain(&'static str),
    #[error("a certificate of the chain is not valid at this time")]
    ChainExpired,
    #[error("the signature does not match")]
    Signature,
    #[error("the claims are malformed: {0}")]
    Claims(&'static str),
    #[error("the issuer is not the expected one")]
    Issuer,
    #[error("the audience is not one that is accepted here")]
    Audience,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    NotYetValid,
    #[error("the token's life is longer than accepted")]
    Lifetime,
    #[error("the token is older than accepted here; get a fresh one")]
    TooOld,
    #[error("the token holds no nonce of a challenge made here for this purpose")]
    NonceMissing,
    #[error("the challenge has expired; ask for a new one")]
    NonceExpired,
    #[error("the token or its nonce was used before")]
    Replayed,
    #[error("the token is of another family than the policy accepts")]
    Family,
    #[error("the policy's condition is false")]
    PolicyDenied,
    #[error("the policy's condition has no answer for this token")]
    PolicyError,
    #[error(transparent)]
    PolicyOff(Off),
    #[error("this secret is released only sealed: give public_key, whose SHA-256 is a nonce of the token")]
    SealedOnly,
    #[error("the key cannot be sealed to: {0}")]
    Sealing(SealError),
}

impl Reason {
    /// A stable code for callers, metrics and the journal.
    pub fn code(&self) -> &'static str {
        match self {
            Self::TokenMissing => "token_missing",
            Self::TokenTooLarge => "token_too_large",
            Self::Malformed(_) => "token_malformed",
            Self::Algorithm => "algorithm_not_accepted",
            Self::CriticalHeader => "header_not_understood",
            Self::KindNotAccepted(_) => "kind_not_accepted",
            Self::KeyMissing => "key_missing",
            Self::KeyUnknown => "key_unknown",
            Self::KeyUnsuitable => "key_unsuitable",
            Self::KeysUnavailable => "keys_unavailable",
            Self::Chain(_) => "chain_not_accepted",
            Self::ChainExpired => "chain_expired",
            Self::Signature => "signature_invalid",
            Self::Claims(_) => "claims_malformed",
            Self::Issuer => "issuer_not_accepted",
            Self::Audience => "audience_not_accepted",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Lifetime => "lifetime_not_accepted",
            Self::TooOld => "token_too_old",
            Self::NonceMissing => "nonce_missing",
            Self::NonceExpired => "nonce_expired",
            Self::Replayed => "replayed",
            Self::Family => "family_not_accepted",
            Self::PolicyDenied => "policy_denied",
            Self::PolicyError => "policy_error",
            Self::PolicyOff(_) => "policy_off",
            Self::SealedOnly => "sealed_only",
            Self::Sealing(_) => "key_not_accepted",
        }
    }

    /// The HTTP status it is answered with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Sealing(SealError::Key | SealError::Failed) => 400,
            Self::Family | Self::PolicyDenied | Self::PolicyError | Self::PolicyOff(_) => 403,
            Self::SealedOnly | Self::Sealing(SealError::NotInToken) => 403,
            Self::Replayed => 409,
            Self::KeysUnavailable => 503,
            _ => 401,
        }
    }

    /// Whether somebody shows what no accepted issuer vouches for, or what was made for another service. A token of ours
    /// that comes too late, too early or not as it should be is none of these; nor is one whose chain has run out with it.
    pub fn is_of_forgery(&self) -> bool {
        let is_late = *self == Self::ChainExpired;
        !(self.is_of_signed() || is_late) || matches!(self, Self::Issuer | Self::Audience)
    }

    /// Whether it is found only once the signature was good, so that the claims are known to be an issuer's.
    pub fn is_of_signed(&self) -> bool {
        matches!(
            self,
            Self::Claims(_)
                | Self::Issuer
                | Self::Audience
                | Self::Expired
                | Self::NotYetValid
                | Self::Lifetime
                | Self::TooOld
                | Self::NonceMissing
                | Self::NonceExpired
                | Self::Replayed
                | Self::Family
                | Self::PolicyDenied
                | Self::PolicyError
                | Self::PolicyOff(_)
                | Self::SealedOnly
                | Self::Sealing(_)
        )
    }
}
