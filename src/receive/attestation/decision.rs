//! A decision: about which token, asked for what, and its line in the journal and the metrics.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use sha2::{Digest, Sha256};

use super::answers::Refused;
use super::checked::{Asked, Checked};
use super::journal::{ALLOWED, DENIED, Entry};
use super::service::Attestor;
use crate::attest::policy::{Explanation, Policy, TokenKind};
use crate::attest::reason::Reason;
use crate::attest::seen::Use;
use crate::attest::token::take_apart;
use crate::attest::verify::{Trust, Verified, kind, signed};
use crate::receive::client;
use crate::telemetry::metrics as names;

/// How often tokens nobody vouched for are told.
pub(super) const FLOOD: TimeDelta = TimeDelta::minutes(10);
/// How often the same refusal is written to the journal when its address is beyond its share or has none, in seconds.
const AGAIN: i64 = 60;

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
        count(Some(reason.code()));
        if reason == Reason::KeysUnavailable {
            return Refused::Token(reason);
        }
        if reason.is_of_forgery() {
            let event = self.flood().note(&reason, asked.now, FLOOD);
            self.tell_flood(event).await;
        }
        let throttled = self.throttle(asked).err();
        let token = take_apart(token).ok().map(|parts| parts.hash.to_string());
        let entry = Entry {
            policy: Some(&policy.name),
            policy_sha256: Some(&policy.hash),
            token_sha256: token.as_deref(),
            reason: Some(reason.code()),
            ..blank(asked)
        };
        // What nobody signed can be made without end, and must not fill the disk.
        if reason.is_of_signed() || (throttled.is_none() && self.0.unsigned.may(asked.now)) {
            self.note_refusal(asked, &entry, throttled.is_some());
        }
        throttled.unwrap_or(Refused::Token(reason))
    }

    /// Notes and tells a refusal of a token that its issuer signed; `throttled` when its address is beyond its share.
    pub(super) async fn deny(
        &self,
        checked: &Checked,
        reason: &Reason,
        explanation: Option<&Explanation>,
        asked: Asked<'_>,
        throttled: bool,
    ) {
        count(Some(reason.code()));
        self.note_refusal(asked, &entry(asked, checked, Some(reason.code())), throttled);
        self.tell_of(checked, Some(reason), explanation, asked).await;
    }

    /// Nothing was decided, for a reason that is ours: noted, and not held against the caller. So no share bounds how
    /// often he may come, and the same is noted once in [`AGAIN`] only.
    pub(super) fn undecided(&self, checked: &Checked, unavailable: Refused, asked: Asked<'_>) -> Refused {
        count(Some(unavailable.code()));
        self.note_refusal(asked, &entry(asked, checked, Some(unavailable.code())), true);
        unavailable
    }

    /// Notes a refusal of a token that its issuer signed, or one within its address's share. Beyond that the same
    /// token, refused for the same reason, is noted once in [`AGAIN`]: each further line costs an issuer's signature.
    pub(super) fn note_refusal(&self, asked: Asked<'_>, entry: &Entry<'_>, throttled: bool) {
        let now = asked.now.timestamp();
        let known = || self.0.noted.take(mark(asked, entry), now + AGAIN, now) == Use::Again;
        if !(throttled && known()) {
            self.0.journal.note(entry);
        }
    }
}

/// What tells a decision from another one.
pub(super) fn mark(asked: Asked<'_>, entry: &Entry<'_>) -> [u8; 32] {
    let address = asked.address.map(|address| client::key(*address).to_string());
    let parts = [Some(asked.what), asked.secret, entry.policy, entry.token_sha256, entry.reason, address.as_deref()];
    Sha256::digest(parts.map(Option::unwrap_or_default).join("\n")).into()
}

/// A decision's line in the journal: allowed, or denied for a reason with this code.
pub(super) fn entry<'e>(asked: Asked<'e>, checked: &'e Checked, reason: Option<&'static str>) -> Entry<'e> {
    Entry {
        policy: Some(&checked.policy.name),
        policy_sha256: Some(&checked.policy.hash),
        token_sha256: Some(&checked.token),
        instance: checked.resource.as_deref(),
        verdict: if reason.is_none() { ALLOWED } else { DENIED },
        reason,
        ..blank(asked)
    }
}

/// A line that says only who asked for what.
pub(super) fn blank(asked: Asked<'_>) -> Entry<'_> {
    Entry {
        time: asked.now,
        asked: asked.what,
        secret: asked.secret,
        policy: None,
        policy_sha256: None,
        token_sha256: None,
        instance: None,
        verdict: DENIED,
        reason: None,
        address: asked.address.map(IpAddr::to_string),
    }
}

/// Counts a decision: allowed, or denied for a reason with this code.
pub(super) fn count(reason: Option<&'static str>) {
    let (verdict, reason) = reason.map_or((ALLOWED, "none"), |reason| (DENIED, reason));
    metrics::counter!(names::ATTESTATION_DECISIONS.name, "verdict" => verdict, "reason" => reason).increment(1);
}
