//! Which tokens a policy accepts at all.

use serde::Deserialize;

use super::Policy;

/// The issuer of Google's attestation tokens.
pub const GOOGLE: &str = "https://confidentialcomputing.googleapis.com";

/// Intel Trust Authority, everywhere and in the EU, which attests Confidential Space too and spells the hardware in its
/// own way.
pub const INTEL: [&str; 2] = ["https://portal.trustauthority.intel.com", "https://portal.eu.trustauthority.intel.com"];

impl Policy {
    /// Whether it is about attestation tokens: providers for GitHub's or Terraform's tokens are of the same form, and
    /// say nothing of machines and images.
    pub(crate) fn attests(&self) -> bool {
        self.issuer == GOOGLE || INTEL.contains(&self.issuer.as_str()) || self.family != Family::Any
    }
}

/// Which family of tokens a policy accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Whatever the condition lets pass.
    #[default]
    Any,
    /// `swname` CONFIDENTIAL_SPACE.
    ConfidentialSpace,
    /// `swname` GCE.
    ConfidentialVm,
}

/// By which keys a token may be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// By the issuer's published keys.
    Oidc,
    /// By a certificate chain to the pinned root.
    Pki,
}
