//! A secret is released: once for each token or nonce, if the secret's policy lets the token pass, and after the
//! decision is on the disk.

use std::net::IpAddr;

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use super::answers::{Refused, Released, Shown};
use super::decision::{Asked, Checked, count, entry};
use super::service::Attestor;
use super::used::{Held, Taken};
use crate::attest::claims::Claims;
use crate::attest::reason::Reason;
use crate::attest::seal::{self, Randomness};
use crate::attest::verify::{Verified, explain, judge};
use crate::telemetry::{chain, metrics as names};

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
        let result = self.try_release(name, shown, Asked { what: "secret", secret: Some(name), address, now }).await;
        let label = match &result {
            Ok(Released::Plain(_)) => "released",
            Ok(Released::Sealed(_)) => "sealed",
            Err(refused) if refused.status() == 503 => "unavailable",
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
        let used = match self.fresh(name, &checked.verified, asked.now).await {
            Ok(used) => used,
            Err(Refused::Token(reason)) => return Err(self.refuse(&checked, reason, asked).await),
            Err(unavailable) => return Err(self.undecided(&checked, unavailable, asked)),
        };
        let released = self.judge_and_fetch(name, shown, &checked, asked).await;
        match (used, &released) {
            (Some(held), Ok(_)) => held.use_up(),
            (Some(held), Err(_)) => held.give_back().await,
            (None, _) => {}
        }
        released
    }

    async fn judge_and_fetch(
        &self,
        name: &str,
        shown: Shown<'_>,
        checked: &Checked,
        asked: Asked<'_>,
    ) -> Result<Released, Refused> {
        if let Err(reason) = judge(&checked.verified, &checked.policy) {
            return Err(self.refuse(checked, reason, asked).await);
        }
        let key = match sealing_key(shown.public_key, &checked.verified) {
            Ok(key) => key,
            Err(error) => return Err(self.refuse(checked, Reason::Sealing(error), asked).await),
        };
        let rule = self.0.secrets.rule(name).ok_or(Refused::UnknownSecret)?;
        let value = self.0.secrets.value(rule).await.map_err(|error| {
            tracing::error!(
                secret = name,
                error = chain(&error),
                "a secret could not be had for a token that may have it"
            );
            self.undecided(checked, Refused::SecretUnavailable, asked)
        })?;
        let released = match key {
            None => Released::Plain(value),
            Some(key) => match seal::seal(&key, value.expose_secret(), randomness()) {
                Ok(sealed) => Released::Sealed(sealed),
                Err(error) => return Err(self.refuse(checked, Reason::Sealing(error), asked).await),
            },
        };
        if !self.0.journal.write(&entry(asked, checked, None)).await {
            return Err(Refused::JournalUnavailable);
        }
        count(None);
        self.tell_of(checked, None, None, asked).await;
        Ok(released)
    }

    /// A nonce made here for this secret, never used; else, unless nonces are required, a token never used.
    async fn fresh(&self, name: &str, verified: &Verified, now: DateTime<Utc>) -> Result<Option<Held>, Refused> {
        let nonces = Claims(&verified.claims).nonces();
        let found = self.0.challenges.find(&nonces, &format!("secret:{name}"), now.timestamp());
        let (what, until) = match found {
            Ok((nonce, ends)) => (Sha256::digest(nonce.as_bytes()).into(), ends + 120),
            Err(reason @ Reason::NonceExpired) => return Err(Refused::Token(reason)),
            Err(reason) if self.0.require_nonce => return Err(Refused::Token(reason)),
            Err(_) if self.0.allow_reuse => return Ok(None),
            Err(_) => (verified.hash.0, verified.expires + 120),
        };
        let taken = self.0.used.take(what, until, now.timestamp()).await;
        match taken.map_err(|error| {
            tracing::error!(error = chain(&error), "what was used before cannot be looked up; no secrets are released");
            Refused::StateUnavailable
        })? {
            Taken::First(held) => Ok(Some(held)),
            Taken::Again => Err(Refused::Token(Reason::Replayed)),
            Taken::Full => Err(Refused::Full),
        }
    }

    async fn refuse(&self, checked: &Checked, reason: Reason, asked: Asked<'_>) -> Refused {
        let throttled = self.throttle(asked.address);
        count(Some(reason.code()));
        // What is beyond an address's share must not fill the disk.
        if throttled.is_ok() {
            self.0.journal.note(&entry(asked, checked, Some(reason.code())));
        }
        let judged = matches!(reason, Reason::PolicyDenied | Reason::PolicyError);
        let explanation = judged.then(|| explain(&checked.verified, &checked.policy));
        self.tell_of(checked, Some(&reason), explanation.as_ref(), asked).await;
        throttled.err().unwrap_or(Refused::Token(reason))
    }

    /// Nothing was released, for a reason that is ours: noted, and not held against the caller.
    fn undecided(&self, checked: &Checked, unavailable: Refused, asked: Asked<'_>) -> Refused {
        count(Some(unavailable.code()));
        self.0.journal.note(&entry(asked, checked, Some(unavailable.code())));
        unavailable
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
