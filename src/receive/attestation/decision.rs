//! A decision: about which token, asked for what, and its line in the journal and the metrics.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use super::answers::Refused;
use super::journal::Entry;
use super::service::Attestor;
use crate::attest::claims::Claims;
use crate::attest::policy::{Policy, TokenKind};
use crate::attest::reason::Reason;
use crate::attest::token::take_apart;
use crate::attest::verify::{Trust, Verified, kind, meant_for, signed};
use crate::telemetry::metrics as names;

/// How often tokens nobody vouched for are told.
pub(super) const FLOOD: TimeDelta = TimeDelta::minutes(10);

/// A token whose issuer vouches for it, beside the policy it was verified for.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) policy: Arc<Policy>,
    pub(super) verified: Verified,
    /// The machine.
    pub(super) resource: Option<String>,
    /// What identifies the token, in hex.
    pub(super) token: String,
}

/// Who asks for what, and when.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// `verify` or `secret`.
    pub(super) what: &'static str,
    pub(super) secret: Option<&'a str>,
    pub(super) address: &'a IpAddr,
    pub(super) now: DateTime<Utc>,
}

impl Checked {
    /// Of claims that their issuer signed, if they are meant for the policy.
    pub(super) fn new(policy: &Arc<Policy>, verified: Verified, now: DateTime<Utc>) -> Result<Self, Reason> {
        meant_for(&verified, policy, now.timestamp())?;
        let resource = Claims(&verified.claims).instance().map(|instance| instance.resource_name());
        let token = verified.hash.to_string();
        Ok(Self { policy: policy.clone(), verified, resource, token })
    }
}

impl Attestor {
    /// Form, keys, signature, issuer, audience, times.
    pub(super) async fn check(&self, token: &str, policy: &Arc<Policy>, now: DateTime<Utc>) -> Result<Checked, Reason> {
        let verified = self.signed(token, policy, now).await?;
        Checked::new(policy, verified, now)
    }

    /// Form, keys and signature.
    pub(super) async fn signed(&self, token: &str, policy: &Policy, now: DateTime<Utc>) -> Result<Verified, Reason> {
        let parts = take_apart(token)?;
        let keys = match (kind(&parts), &policy.keys) {
            (TokenKind::Pki, _) => None,
            (TokenKind::Oidc, Some(keys)) => Some(keys.clone()),
            (TokenKind::Oidc, None) => {
                let kid = parts.kid.as_deref().ok_or(Reason::KeyMissing)?;
                let source = self.0.issuers.of(&policy.issuer).ok_or(Reason::KeysUnavailable)?;
                source.look_up(kid).await.ok().filter(|found| found.speaks_of(kid)).map(|found| found.keys)
            }
        };
        let trust = Trust { keys: keys.as_deref(), roots: &self.0.roots };
        signed(parts, &policy.tokens, trust, now.timestamp())
    }

    /// Notes a refusal of a token that nobody vouches for, or that is not for us.
    pub(super) async fn refuse_unverified(
        &self,
        asked: Asked<'_>,
        policy: &Policy,
        token: &str,
        reason: Reason,
    ) -> Refused {
        if reason == Reason::KeysUnavailable {
            return Refused::Token(reason);
        }
        count(Some(reason.code()));
        let event = self.flood().note(&reason, asked.now, FLOOD);
        self.tell_flood(event).await;
        if let Err(throttled) = self.throttle(asked.address) {
            return throttled;
        }
        let token = take_apart(token).ok().map(|parts| parts.hash.to_string());
        let entry = Entry {
            policy: Some(&policy.name),
            policy_sha256: Some(&policy.hash),
            token_sha256: token.as_deref(),
            reason: Some(reason.code()),
            ..blank(asked)
        };
        self.0.journal.note(&entry);
        Refused::Token(reason)
    }
}

/// A decision's line in the journal: allowed, or denied for a reason with this code.
pub(super) fn entry<'e>(asked: Asked<'e>, checked: &'e Checked, reason: Option<&'static str>) -> Entry<'e> {
    Entry {
        policy: Some(&checked.policy.name),
        policy_sha256: Some(&checked.policy.hash),
        token_sha256: Some(&checked.token),
        instance: checked.resource.as_deref(),
        verdict: if reason.is_none() { "allowed" } else { "denied" },
        reason,
        ..blank(asked)
    }
}

fn blank(asked: Asked<'_>) -> Entry<'_> {
    Entry {
        time: asked.now,
        asked: asked.what,
        secret: asked.secret,
        policy: None,
        policy_sha256: None,
        token_sha256: None,
        instance: None,
        verdict: "denied",
        reason: None,
        address: asked.address.to_string(),
    }
}

/// Counts a decision: allowed, or denied for a reason with this code.
pub(super) fn count(reason: Option<&'static str>) {
    let (verdict, reason) = reason.map_or(("allowed", "none"), |reason| ("denied", reason));
    metrics::counter!(names::ATTESTATION_DECISIONS.name, "verdict" => verdict, "reason" => reason).increment(1);
}
