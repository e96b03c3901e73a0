//! Policies: which tokens, which audience, and a condition in the Common Expression Language.

pub mod accepted;
mod anchor;
mod compared;
pub mod condition;
mod developing;
mod elements;
mod fault;
pub mod file;
pub mod form;
pub mod found;
mod guards;
mod hint;
pub mod known;
mod lacking;
mod length;
pub mod lint;
pub mod mapping;
mod members;
mod nonce;
mod overrides;
mod possible;
mod samples;
mod spelling;
mod spoken;
mod strangers;
mod wish;

use std::time::Duration;

use sha2::{Digest, Sha256};

pub use accepted::{Family, TokenKind};
pub use condition::{Answer, Condition, Explanation, Term, Truth};
pub use mapping::{Mapped, Mapping, MappingError, MappingRefusal};

use crate::attest::cel::{Budget, Refusal};

/// A policy, checked and compiled.
#[derive(Debug)]
pub struct Policy {
    /// Its name, for people and settings.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// The issuer, without a trailing slash; compared exactly.
    pub issuer: String,
    /// One of these must be the token's audience.
    pub audiences: Vec<String>,
    /// By which keys a token may be signed.
    pub tokens: Vec<TokenKind>,
    /// Which family of tokens is accepted.
    pub family: Family,
    /// What becomes of the claims before the condition is asked.
    pub mapping: Mapping,
    /// The condition.
    pub condition: Condition,
    /// The greatest age of a token, from `iat`.
    pub max_age: Option<Duration>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The longest `exp - iat`.
    pub max_lifetime: Duration,
    /// How old the TCB date may be before it is reported.
    pub max_tcb_age: Option<Duration>,
    /// Why nothing passes, if so it is.
    pub off: Option<Off>,
    /// The keys that the provider carries in itself.
    pub keys: Option<std::sync::Arc<crate::attest::keys::KeySet>>,
    /// SHA-256 of the file's text, in hex: the version in the journal.
    pub hash: String,
}

/// Why nothing passes a provider, whatever its condition says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Off {
    /// `disabled` is true.
    #[error("the provider is switched off, so nothing passes")]
    Disabled,
    /// `state` is `DELETED`.
    #[error("the provider is deleted, so nothing passes")]
    Deleted,
}

/// Why a policy cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    /// The file is not of a known form.
    #[error("the policy cannot be read: {0}")]
    Form(String),
    /// The condition is refused.
    #[error("the condition is refused: {0}")]
    Condition(Refusal),
    /// The mapping is refused.
    #[error(transparent)]
    Mapping(#[from] MappingRefusal),
    /// The condition is `true`, or cannot be anything else.
    #[error("the condition is always true, so every valid token passes; say allow_everything: true if that is meant")]
    AllowsEverything,
}

// The refusal is in the sentence; as a source it would be told twice.
impl From<Refusal> for PolicyError {
    fn from(refusal: Refusal) -> Self {
        Self::Condition(refusal)
    }
}

impl Policy {
    /// Reads a policy from the text of a file; `fallback` names it when the text does not.
    pub fn read(text: &str, fallback: &str) -> Result<Self, PolicyError> {
        file::read(text, fallback)
    }

    /// Maps the claims and asks the condition.
    pub fn ask(&self, claims: &serde_json::Value) -> Answer {
        self.ask_within(claims, &mut Budget::default())
    }

    /// The same with a budget, of which mapping and condition each have their share.
    pub fn ask_within(&self, claims: &serde_json::Value, budget: &mut Budget) -> Answer {
        if let Some(off) = self.off {
            return Answer::Error(off.to_string());
        }
        let mut maps = *budget;
        let mapped = self.mapping.apply_within(claims, &mut maps);
        budget.short |= maps.short;
        match mapped {
            Ok(mapped) => self.condition.ask_within(claims, &mapped, budget),
            Err(error) => Answer::Error(error.to_string()),
        }
    }

    /// Maps the claims and explains the condition.
    pub fn explain(&self, claims: &serde_json::Value) -> Explanation {
        self.ask_and_explain(claims, &mut Budget::default()).1
    }

    /// Maps the claims, asks the condition, and explains its answer.
    pub fn ask_and_explain(&self, claims: &serde_json::Value, budget: &mut Budget) -> (Answer, Explanation) {
        let (answer, mut explained) = self.condition.explain_within(claims, &self.mapping, budget);
        let Some(off) = self.off else { return (answer, explained) };
        explained.allowed = false;
        explained.error = Some(off.to_string());
        (Answer::Error(off.to_string()), explained)
    }
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
