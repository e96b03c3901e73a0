//! A secret is released: once for each token or nonce, if the secret's policy lets the token pass, and after the
//! decision is on the disk.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::answers::{Refused, Released, Shown};
use super::checked::{Asked, Checked};
use super::decision::{count, entry};
use super::service::Attestor;
use super::used::{Held, Taken, Thing, Wanted};
use crate::attest::claims::Claims;
use crate::attest::policy::Explanation;
use crate::attest::reason::Reason;
use crate::attest::seal::{self, Randomness};
use crate::attest::verify::Verified;
use crate::causes::chain;
use crate::config::attestation::SecretRule;
use crate::telemetry::metrics as names;

/// Why a token may not have a secret.
enum Not {
    /// For a reason of the token's; with the explanation, where the policy denied.
    For(Reason, Option<Explanation>),
    /// For one of ours: it may have it later.
    Now(Refused),
}

impl From<Reason> for Not {
    fn from(reason: Reason) -> Self {
        Self::For(reason, None)
    }
}

impl Attestor {
    /// Releases a secret to whoever shows a token that satisfies the secret's policy, once.
    ///
    /// # Errors
    /// Every reason why not.
    pub async fn release(
        &self,
        name: &str,
        shown: Shown<'_>,
        address: &IpAddr,
        now: DateTime<Utc>,
    ) -> Result<Released, Refused> {
        let asked = Asked { what: "secret", secret: Some(name), address: Some(address), now };
        let result = self.try_release(name, shown, asked).await;
        let label = match &result {
            Ok(Released::Plain(_)) => "released",
            Ok(Released::Sealed(_)) => "sealed",
            Err(refused) if refused.status() >= 500 => "unavailable",
            Err(_) => "refused",
        };
        metrics::counter!(names::ATTESTATION_SECRETS.name, "result" => label).increment(1);
        result
    }

    async fn try_release(&self, name: &str, shown: Shown<'_>, asked: Asked<'_>) -> Result<Released, Refused> {
        let rule = self.0.secrets.rule(name).ok_or(Refused::UnknownSecret)?;
        let policy = self.0.policies.find(&rule.policy).ok_or(Refused::UnknownPolicy)?;
        let checked = match self.check(shown.token, &policy, asked.now).await {
            Ok(checked) => checked,
            Err(reason) => return Err(self.refuse_unverified(asked, &policy, shown.token, reason).await),
        };
        // All that can be said without knowing what was used before: only releases use tokens and nonces.
        let (wanted, key) = match self.may_have(rule, shown, &checked, asked.now).await {
            Ok(good) => good,
            Err(Not::For(reason, explanation)) => return Err(self.refuse(&checked, reason, explanation, asked).await),
            Err(Not::Now(busy)) => return Err(self.undecided(&checked, busy, asked)),
        };
        let held = match self.take(wanted, asked.now).await {
            Ok(held) => held,
            Err(Refused::Token(reason)) => return Err(self.refuse(&checked, reason, None, asked).await),
            Err(unavailable) => return Err(self.undecided(&checked, unavailable, asked)),
        };
        let released = self.fetch(rule, key, &checked, asked).await;
        if released.is_ok() {
            held.use_up();
        } else {
            held.give_back().await;
        }
        released
    }

    /// Whether the token may have the secret if it was not used before: what its release uses up, and the key to seal to.
    async fn may_have(
        &self,
        rule: &SecretRule,
        shown: Shown<'_>,
        checked: &Checked,
        now: DateTime<Utc>,
    ) -> Result<(Wanted, Option<Vec<u8>>), Not> {
        let wanted = self.fresh(&rule.name, &checked.verified, now)?;
        let judged = self
            .0
            .judging
            .judge(&checked.verified, &checked.policy)
            .await
            .map_err(|unjudged| Not::Now(unjudged.into()))?;
        judged.map_err(|(reason, explanation)| Not::For(reason, explanation))?;
        if rule.sealed_only && shown.public_key.is_none() {
            return Err(Reason::SealedOnly.into());
        }
        let key = sealing_key(shown.public_key, &checked.verified).map_err(Reason::Sealing)?;
        Ok((wanted, key))
    }

    async fn fetch(
        &self,
        rule: &SecretRule,
        key: Option<Vec<u8>>,
        checked: &Checked,
        asked: Asked<'_>,
    ) -> Result<Released, Refused> {
        let value = self.0.secrets.value(rule).await.map_err(|error| {
            tracing::error!(
                secret = rule.name,
                error = chain(&error),
                "a secret could not be had for a token that may have it"
            );
            self.undecided(checked, Refused::SecretUnavailable, asked)
        })?;
        let released = match key {
            None => Released::Plain(value),
            Some(key) => match seal::seal(&key, value.expose_secret(), randomness()) {
                Ok(sealed) => Released::Sealed(sealed),
                Err(error) => return Err(self.refuse(checked, Reason::Sealing(error), None, asked).await),
            },
        };
        if !self.0.journal.write(&entry(asked, checked, None)).await {
            return Err(self.undecided(checked, Refused::JournalUnavailable, asked));
        }
        count(None);
        self.tell_of(checked, None, None, asked).await;
        Ok(released)
    }

    /// Every nonce made here for this secret that has not expired, none ever used; else, unless nonces are required or
    /// there is one made here for something else, a token never used. A token that was good for its nonce is no bearer's
    /// token any more, for any secret.
    fn fresh(&self, name: &str, verified: &Verified, now: DateTime<Utc>) -> Result<Wanted, Reason> {
        let token = Thing { what: verified.hash.0, until: verified.expires + 120 };
        let nonces = Claims(&verified.claims).nonces();
        match self.0.challenges.find(&nonces, &format!("secret:{name}"), now.timestamp()) {
            Ok(found) => {
                let thing =
                    |(nonce, ends): (&str, i64)| Thing { what: Sha256::digest(nonce).into(), until: ends + 120 };
                Ok(Wanted { unused: found.into_iter().map(thing).collect(), also: Some(token) })
            }
            // What was made here for something else was not made for this.
            Err(Reason::NonceMissing) if !self.0.require_nonce && !self.0.challenges.any_made_here(&nonces) => {
                let unused = if self.0.allow_reuse { Vec::new() } else { vec![token] };
                Ok(Wanted { unused, also: None })
            }
            Err(reason) => Err(reason),
        }
    }

    async fn take(&self, wanted: Wanted, now: DateTime<Utc>) -> Result<Held, Refused> {
        let taken = self.0.used.take(wanted, now.timestamp()).await;
        match taken.map_err(|error| {
            tracing::error!(error = chain(&error), "what was used before cannot be looked up; no secrets are released");
            Refused::StateUnavailable
        })? {
            Taken::First(held) => Ok(held),
            Taken::Again => Err(Refused::Token(Reason::Replayed)),
            Taken::Full => Err(Refused::Full),
            Taken::Busy => Err(Refused::InUse),
        }
    }

    async fn refuse(
        &self,
        checked: &Checked,
        reason: Reason,
        explanation: Option<Explanation>,
        asked: Asked<'_>,
    ) -> Refused {
        let throttled = self.throttle(asked);
        self.deny(checked, &reason, explanation.as_ref(), asked, throttled.is_err()).await;
        throttled.err().unwrap_or(Refused::Token(reason))
    }
}

fn randomness() -> Randomness {
    let mut random = Randomness { key: [0; 32], iv: [0; 12] };
    rand::fill(&mut random.key);
    rand::fill(&mut random.iv);
    random
}

fn sealing_key(given: Option<&str>, verified: &Verified) -> Result<Option<Vec<u8>>, seal::SealError> {
    let Some(text) = given else { return Ok(None) };
    let key = seal::read_key(text)?;
    if seal::vouched(&key, &Claims(&verified.claims).nonces()) {
        Ok(Some(key))
    } else {
        Err(seal::SealError::NotInToken)
    }
}
