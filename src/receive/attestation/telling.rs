//! What the findings should say: of verified tokens, of machines that are missed, never of what nobody vouches for.

use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::checked::{Asked, Checked};
use super::decision::FLOOD;
use super::service::{Attestor, WATCHED};
use crate::attest::outcome::{Decided, Expected, Flood, Watch, closed, opened};
use crate::attest::policy::accepted::GOOGLE;
use crate::attest::policy::{Explanation, Policy};
use crate::attest::reason::Reason;
use crate::causes::chain;
use crate::event::{Attestation, Event};
use crate::normalize::Element;
use crate::receive::Door;
use crate::telemetry::metrics as names;

impl Attestor {
    /// Tells what a decision about a verified token says of its machine, as far as it is news.
    pub(super) async fn tell_of(
        &self,
        checked: &Checked,
        refused: Option<&Reason>,
        explanation: Option<&Explanation>,
        asked: Asked<'_>,
    ) {
        let allowed = refused.is_none();
        let released = asked.secret.filter(|_| allowed && self.0.released_findings);
        let (verified, policy, all) = (&checked.verified, checked.policy.as_ref(), checked.asked.as_slice());
        let attests = self.attests(policy);
        let decided = Decided { verified, policy, attests, asked: all, refused, explanation, released, now: asked.now };
        let mut events = opened(decided);
        if allowed && let Some(resource) = &checked.resource {
            self.has_attested(resource, asked.now);
        }
        let settled = checked.resource.as_deref().is_some_and(|machine| self.0.told.settled(machine, asked.now));
        if allowed && !settled {
            events.extend(closed(decided, &events));
        }
        // A token may be shown again after the machine's state changed: each change is an occurrence of its own.
        let change = format!("{}-{}", checked.token, asked.now.timestamp_micros());
        let lasts =
            |event: &&mut Attestation| event.category.closes_itself() && !(event.open && event.category.happens());
        let states = events.iter_mut().filter(lasts);
        states.for_each(|event| event.occurrence.clone_from(&change));
        self.tell_news(events, asked.now).await;
    }

    /// A machine attested. The answer is whether it is missed when it does not do so again.
    pub(super) fn has_attested(&self, machine: &str, now: DateTime<Utc>) -> bool {
        let watch = self.expected().seen(machine, now);
        if let Watch::Full(first) = watch {
            metrics::counter!(names::ATTESTATION_UNWATCHED.name).increment(1);
            if first {
                tracing::error!(most = WATCHED, "too many machines attest: those beyond are not missed when they stop");
            }
        }
        watch != Watch::Off
    }

    /// Whether all that is news was taken in.
    async fn tell_news(&self, events: Vec<Attestation>, now: DateTime<Utc>) -> bool {
        let news = self.0.told.news(events, now, &|name| self.is_there(name)).await;
        if news.is_empty() {
            return true;
        }
        let taken = self.tell(news.clone()).await;
        if taken {
            self.0.told.keep(&news).await;
        } else {
            self.0.told.forget(&news);
        }
        taken
    }

    /// Whether it was taken in.
    pub(super) async fn tell(&self, events: Vec<Attestation>) -> bool {
        let (Some(intake), false) = (&self.0.intake, events.is_empty()) else { return true };
        let elements = events.into_iter().map(|event| {
            let body = serde_json::to_string(&event).unwrap_or_default();
            Element::Event { event: Event::Attestation(Box::new(event)), body }
        });
        if let Err(error) = intake.take(Door::Attestation, elements.collect()).await {
            tracing::error!(error = chain(&error), "what attestation found out could not be written down");
            return false;
        }
        true
    }

    /// Removes marks of tokens that released nothing, until `stop`: sooner than a caller that was told to come again does.
    pub(super) async fn settle(&self, stop: tokio_util::sync::CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.0.used.settle(Utc::now().timestamp()) => {}
            }
        }
    }

    /// Looks every minute for machines that are missed, and tidies up, until `stop`.
    pub(super) async fn miss(&self, stop: tokio_util::sync::CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(60)) => {}
            }
            self.0.failures.retain_recent();
            self.0.nonces.retain_recent();
            self.0.verdicts.retain_recent();
            if let Err(error) = self.0.used.tidy(Utc::now().timestamp()).await {
                tracing::warn!(error = chain(&error), "expired marks of used tokens could not be removed");
            }
            let refusals = self.0.unsigned.left_out();
            if refusals > 0 {
                tracing::warn!(
                    refusals,
                    "too many tokens that nobody signed were refused: these are not in the journal"
                );
            }
            self.tell_missed(Utc::now()).await;
            self.tell_trailing(Utc::now()).await;
        }
    }

    /// Tells which machines are missed; those of which that could not be written down are told the next time.
    pub(super) async fn tell_missed(&self, now: DateTime<Utc>) {
        let missed = self.expected().missed(now);
        // Remembered as open, so that the next good attestation is news and closes them.
        if self.tell_news(missed.clone(), now).await {
            let mut expected = self.expected();
            missed.iter().for_each(|event| expected.told(event));
        }
    }

    /// Tells how many tokens nobody vouched for when those after the first have ended without being told.
    pub(super) async fn tell_trailing(&self, now: DateTime<Utc>) {
        let event = self.flood().due(now, FLOOD);
        self.tell_flood(event).await;
        let forged = self.0.forged.lock().unwrap_or_else(PoisonError::into_inner).due(now, FLOOD);
        let Some(forged) = forged else { return };
        if !self.tell(vec![forged.clone()]).await {
            self.0.forged.lock().unwrap_or_else(PoisonError::into_inner).put_back(&forged);
        }
    }

    pub(super) async fn tell_flood(&self, event: Option<Attestation>) {
        let Some(event) = event else { return };
        if !self.tell(vec![event.clone()]).await {
            self.flood().put_back(&event);
        }
    }

    /// Whether a policy's tokens are known to be of machines.
    pub(super) fn attests(&self, policy: &Policy) -> bool {
        policy.attests() || self.0.issuers.is_stood_in_for(&policy.issuer)
    }

    /// Whether a policy is there, or one of an issuer. Google's tokens in logs need none.
    pub(super) fn is_there(&self, name: &str) -> bool {
        let table = self.0.policies.all();
        name == GOOGLE || table.contains_key(name) || table.values().any(|policy| policy.issuer == name)
    }

    fn expected(&self) -> MutexGuard<'_, Expected> {
        self.0.attested.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn flood(&self) -> MutexGuard<'_, Flood> {
        self.0.flood.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
