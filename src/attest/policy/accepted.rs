//! Which tokens a policy accepts at all.

use serde::Deserialize;

/// The issuer of Google's attestation tokens.
pub const GOOGLE: &str = "https://confidentialcomputing.googleapis.com";

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
