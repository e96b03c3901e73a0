//! `POST /attestation/verify`: a token is verified and judged; nothing is released or used up.

use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::answers::{Refused, Verdict};
use super::checked::{Asked, Checked};
use super::decision::{count, entry};
use super::service::Attestor;
use crate::attest::policy::{Explanation, Policy, Term};
use crate::attest::reason::Reason;
use crate::attest::verify::Verified;
use crate::receive::client;

/// A token, why a policy refuses it, if it does, and the terms.
pub(super) type Judged = (Checked, Option<Reason>, Explanation);

impl Attestor {
    /// Verifies a token and explains the verdict; releases and uses up nothing.
    ///
    /// # Errors
    /// When the token is not one that its issuer made for us, now.
    pub async fn verify(
        &self,
        token: &str,
        policy: Option<&str>,
        address: &IpAddr,
        now: DateTime<Utc>,
    ) -> Result<Verdict, Refused> {
        let asked = Asked { what: "verify", secret: None, address: Some(address), now };
        let (checked, reason, explanation) = self.first_that_allows(token, self.asked(policy)?, asked).await?;
        if let Some(reason) = &reason {
            let throttled = self.0.verdicts.check_key(&client::key(*address)).is_err();
            self.deny(&checked, reason, Some(&explanation), asked, throttled).await;
        } else {
            // Not waited for, as nothing is released; but what cannot be written down is not allowed.
            if !self.0.journal.note(&entry(asked, &checked, None)) {
                return Err(self.undecided(&checked, Refused::JournalUnavailable, asked));
            }
            count(None);
            self.tell_of(&checked, None, Some(&explanation), asked).await;
        }
        Ok(Verdict::new(&checked, reason.as_ref(), explanation))
    }

    /// The first policy that allows decides, else the one that came nearest of those that the token is meant for.
    async fn first_that_allows(
        &self,
        token: &str,
        policies: Vec<Arc<Policy>>,
        asked: Asked<'_>,
    ) -> Result<Judged, Refused> {
        let names: Vec<String> = policies.iter().map(|policy| policy.name.clone()).collect();
        let mut refused: Option<(Arc<Policy>, Reason)> = None;
        let mut denied: Option<Judged> = None;
        let (mut known, several): (Option<(Arc<Policy>, Verified)>, bool) = (None, policies.len() > 1);
        for policy in policies {
            // Policies of one issuer share its keys: the signature is checked once.
            let verified = match &known {
                Some((other, verified)) if same_keys(other, &policy) => Ok(verified.clone()),
                _ => self.signed(token, &policy, asked.now).await,
            };
            if several && let Ok(verified) = &verified {
                known = Some((policy.clone(), verified.clone()));
            }
            match verified.and_then(|verified| Checked::new(&policy, verified, asked.now)) {
                Err(reason) if refused.as_ref().is_some_and(|(_, known)| weight(known) >= weight(&reason)) => {}
                Err(reason) => refused = Some((policy, reason)),
                Ok(checked) => match self.0.judging.explain(&checked.verified, &policy).await {
                    Err(unjudged) => return Err(self.undecided(&checked, unjudged.into(), asked)),
                    Ok((Ok(()), explanation)) => return Ok((checked, None, explanation)),
                    Ok((Err(reason), explanation)) => {
                        denied = Some(nearer(denied, (checked, Some(reason), explanation)));
                    }
                },
            }
        }
        match (denied, refused) {
            (Some((checked, reason, explanation)), _) => {
                let asked = if several { names } else { Vec::new() };
                Ok((Checked { asked, ..checked }, reason, explanation))
            }
            (None, Some((policy, reason))) => Err(self.refuse_unverified(asked, &policy, token, reason).await),
            (None, None) => Err(Refused::UnknownPolicy),
        }
    }

    /// The policy that a caller names, else those that are configured. One that is not among these is none: strangers
    /// neither read its terms nor have it close what another policy opened.
    fn asked(&self, name: Option<&str>) -> Result<Vec<Arc<Policy>>, Refused> {
        let table = self.0.policies.all();
        let is_asked = |name: &str| self.0.asked.is_empty() || self.0.asked.iter().any(|asked| asked == name);
        let one = |name: &str| table.get(name).cloned().ok_or(Refused::UnknownPolicy);
        match name {
            Some(name) if is_asked(name) => Ok(vec![one(name)?]),
            Some(_) => Err(Refused::UnknownPolicy),
            None if self.0.asked.is_empty() => Ok(table.values().cloned().collect()),
            None => self.0.asked.iter().map(|name| one(name)).collect(),
        }
    }
}

/// How far a policy was from letting a token pass: one for another family, or that lets no token pass (also by a term
/// that looks at none of its claims), is the farthest, then the number of terms counts.
fn distance(reason: Option<&Reason>, explanation: &Explanation) -> (bool, usize) {
    let hopeless = |term: &Term| term.values.is_empty() && term.absent.is_empty();
    let farthest = matches!(reason, Some(Reason::Family | Reason::PolicyOff(_))) || explanation.causes().any(hopeless);
    (farthest, explanation.causes().count().max(1))
}

/// Of two denials the one whose policy came nearer, else the first.
pub(super) fn nearer(first: Option<Judged>, second: Judged) -> Judged {
    let near = |(_, reason, explanation): &Judged| distance(reason.as_ref(), explanation);
    first.filter(|first| near(first) <= near(&second)).unwrap_or(second)
}

/// Of what several policies say against a token, what is to be told: first what is only found behind a good signature;
/// then that keys cannot be had, as meanwhile it says nothing that another issuer does not know the key, or that the token
/// is not for another policy.
fn weight(reason: &Reason) -> u8 {
    match reason {
        Reason::Issuer | Reason::Audience => 1,
        signed if signed.is_of_signed() => 3,
        Reason::KeysUnavailable => 2,
        _ => 0,
    }
}

fn same_keys(one: &Policy, other: &Policy) -> bool {
    one.issuer == other.issuer && one.tokens == other.tokens && one.keys.is_none() && other.keys.is_none()
}
