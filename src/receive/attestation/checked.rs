//! Who asks for what, and a token whose issuer vouches for it.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use crate::attest::claims::Claims;
use crate::attest::policy::Policy;
use crate::attest::reason::Reason;
use crate::attest::verify::{Verified, meant_for};

/// A token whose issuer vouches for it, beside the policy it was verified for.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) policy: Arc<Policy>,
    /// The policies of which one had to let it pass, where several were asked.
    pub(super) asked: Vec<String>,
    pub(super) verified: Verified,
    /// The machine.
    pub(super) resource: Option<String>,
    /// What identifies the token, in hex.
    pub(super) token: String,
}

/// Who asks for what, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// `verify`, `secret` or `log`.
    pub(super) what: &'static str,
    pub(super) secret: Option<&'a str>,
    /// Nobody's, when the token came by a log.
    pub(super) address: Option<&'a IpAddr>,
    pub(super) now: DateTime<Utc>,
}

impl Checked {
    /// Of claims that their issuer signed, if they are meant for the policy.
    pub(super) fn new(policy: &Arc<Policy>, verified: Verified, now: DateTime<Utc>) -> Result<Self, Reason> {
        meant_for(&verified, policy, now.timestamp())?;
        Ok(Self::of(policy, verified))
    }

    /// Of claims that their issuer signed, whether they are meant for the policy or not.
    pub(super) fn of(policy: &Arc<Policy>, verified: Verified) -> Self {
        let resource = Claims(&verified.claims).instance().map(|instance| instance.resource_name());
        let token = verified.hash.to_string();
        Self { policy: policy.clone(), asked: Vec::new(), verified, resource, token }
    }
}
