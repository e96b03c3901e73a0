//! What the door does behind its routes: keys, freshness, judgement, the journal, and what the findings should say.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use secrecy::{ExposeSecret, SecretSlice};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::journal::{Entry, Journal};
use super::memory::Memory;
use super::secrets::{Resolver, Secrets};
use super::used::Used;
use crate::attest::chain::{RootError, Roots};
use crate::attest::claims::Claims;
use crate::attest::gotpm;
use crate::attest::key_source::{FetchError, FetchRules, KeySource, Unavailable};
use crate::attest::keys::{KeySet, KeySetError};
use crate::attest::nonce::Challenges;
use crate::attest::outcome::{Decided, Flood, events};
use crate::attest::policies::{FolderError, Policies};
use crate::attest::policy::file::GOOGLE;
use crate::attest::policy::{Explanation, Policy, TokenKind};
use crate::attest::seal::{self, Randomness};
use crate::attest::seen::Use;
use crate::attest::token::{TokenHash, take_apart};
use crate::attest::verify::{Reason, Trust, Verified, explain, judge, kind, verify_parts};
use crate::config::attestation::AttestationConfig;
use crate::event::attestation::Category;
use crate::event::{Attestation, Event};
use crate::normalize::Element;
use crate::receive::{Door, Intake, client};
use crate::telemetry::{chain, metrics as names};

/// How often a state that stays is told again.
const REPEAT: TimeDelta = TimeDelta::hours(1);
/// How often tokens nobody vouched for are told.
const FLOOD: TimeDelta = TimeDelta::minutes(10);

/// What a caller shows.
#[derive(Clone, Copy)]
pub struct Shown<'s> {
    /// The token.
    pub token: &'s str,
    /// The key the secret should be sealed to.
    pub public_key: Option<&'s str>,
}

impl std::fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shown")
    }
}

/// A released secret.
#[derive(Debug)]
pub enum Released {
    /// As it is.
    Plain(SecretSlice<u8>),
    /// Sealed to the caller's key: a JWE.
    Sealed(String),
}

/// Why a caller gets nothing.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each member's text says it")]
pub enum Refused {
    #[error("{0}")]
    Token(Reason),
    #[error("too many refused tokens from this address; try again later")]
    Throttled,
    #[error("there is no secret of this name")]
    UnknownSecret,
    #[error("there is no policy of this name")]
    UnknownPolicy,
    #[error("the purpose is empty, too long, or names a secret that is not there")]
    Purpose,
    #[error("the key cannot be sealed to: {0}")]
    Seal(seal::SealError),
    #[error("the secret cannot be had at the moment")]
    SecretUnavailable,
    #[error("the decision cannot be written down at the moment")]
    JournalUnavailable,
    #[error("too many tokens are remembered at the moment")]
    Full,
    #[error("whether the token was used before cannot be looked up at the moment")]
    StateUnavailable,
}

impl Refused {
    /// A stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Token(reason) => reason.code(),
            Self::Throttled => "throttled",
            Self::UnknownSecret => "unknown_secret",
            Self::UnknownPolicy => "unknown_policy",
            Self::Purpose => "purpose_not_accepted",
            Self::Seal(_) => "key_not_accepted",
            Self::SecretUnavailable => "secret_unavailable",
            Self::JournalUnavailable => "journal_unavailable",
            Self::Full => "busy",
            Self::StateUnavailable => "state_unavailable",
        }
    }

    /// The status it is answered with.
    pub fn status(&self) -> u16 {
        match self {
            Self::Token(reason) => reason.status(),
            Self::Throttled => 429,
            Self::UnknownSecret | Self::UnknownPolicy => 404,
            Self::Purpose => 400,
            Self::Seal(seal::SealError::NotInToken) => 403,
            Self::Seal(_) => 400,
            Self::SecretUnavailable | Self::JournalUnavailable | Self::Full | Self::StateUnavailable => 503,
        }
    }

    /// When to come back.
    pub fn retry_after(&self) -> Option<Duration> {
        matches!(self.status(), 429 | 503).then_some(Duration::from_secs(10))
    }
}

/// The answer of `/attestation/verify` for a token that its issuer signed.
#[derive(Debug, Serialize)]
pub struct Verdict {
    /// Whether the policy lets it pass.
    pub allowed: bool,
    /// Why not.
    pub reason: Option<&'static str>,
    /// The policy that decided.
    pub policy: String,
    /// The SHA-256 of the policy's file.
    pub policy_sha256: String,
    /// What identifies the token.
    pub token_sha256: String,
    /// `oidc` or `pki`.
    pub kind: &'static str,
    /// The machine.
    pub resource: Option<String>,
    /// When the token ends, Unix seconds.
    pub expires_at: i64,
    /// The condition, term by term.
    pub explanation: Explanation,
}

/// What an [`Attestor`] is made of beside its settings.
#[derive(Default)]
pub struct Parts {
    /// Where events go.
    pub intake: Option<Intake>,
    /// Where used tokens are kept for all replicas; without it, for this process.
    pub state: Option<Arc<dyn crate::state::Store>>,
    /// The state does not outlive this process, so it says nothing about what earlier ones told.
    pub forgetful: bool,
    /// Asks Secret Manager.
    pub resolver: Option<Resolver>,
    /// How many proxies are trusted to name the caller.
    pub trusted_hops: usize,
    /// How keys are fetched.
    pub fetch: FetchRules,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("trusted_hops", &self.trusted_hops).finish_non_exhaustive()
    }
}

/// Why the door cannot be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each member's text says it")]
pub enum BuildError {
    #[error("the attestation policies cannot be used")]
    Policies(#[from] FolderError),
    #[error("{0} names a policy that is not in the folder")]
    UnknownPolicy(String),
    #[error("ATTESTATION_ROOT cannot be used")]
    Root(#[from] RootError),
    #[error("ATTESTATION_ROOT or ATTESTATION_JWKS_FILE cannot be read")]
    File(#[source] std::io::Error),
    #[error("ATTESTATION_JWKS_FILE cannot be used")]
    Keys(#[from] KeySetError),
    #[error("the issuer's keys cannot be fetched as configured")]
    Fetch(#[from] FetchError),
    #[error("ATTESTATION_JOURNAL cannot be written")]
    Journal(#[source] std::io::Error),
}

/// The door's inside. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Attestor(Arc<Inner>);

struct Inner {
    policies: Arc<Policies>,
    asked: Vec<String>,
    keys: Keys,
    roots: Roots,
    challenges: Challenges,
    used: Used,
    require_nonce: bool,
    allow_reuse: bool,
    secrets: Secrets,
    codelab: Option<String>,
    journal: Journal,
    failures: DefaultKeyedRateLimiter<IpAddr>,
    intake: Option<Intake>,
    flood: Mutex<Flood>,
    forged: AtomicU64,
    told: Memory,
    attested: Mutex<crate::attest::outcome::Expected>,
    released_findings: bool,
    trusted_hops: usize,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attestor")
            .field("policies", &self.policies)
            .field("secrets", &self.secrets)
            .finish_non_exhaustive()
    }
}

type Checked = (Arc<Policy>, Verified);

impl Attestor {
    /// Builds it; `None` when attestation is switched off.
    ///
    /// # Errors
    /// What cannot be used, of folder, keys, root or journal.
    pub fn build(config: &AttestationConfig, parts: Parts) -> Result<Option<Self>, BuildError> {
        let Some(folder) = &config.policies else { return Ok(None) };
        let policies = Policies::load(folder)?;
        let table = policies.all();
        let named = config.asked.iter().chain(config.secrets.iter().map(|rule| &rule.policy));
        if let Some(unknown) = named.into_iter().find(|name| !table.contains_key(*name)) {
            return Err(BuildError::UnknownPolicy(unknown.clone()));
        }
        let mut key = [0u8; 32];
        rand::fill(&mut key);
        let key = config.nonce_key.as_ref().map_or(key.to_vec(), |key| key.expose_secret().as_bytes().to_vec());
        let quota = Quota::per_minute(NonZeroU32::new(config.failures_per_minute).unwrap_or(NonZeroU32::MIN));
        Ok(Some(Self(Arc::new(Inner {
            keys: Keys::new(config, &table, parts.fetch)?,
            policies: Arc::new(policies),
            asked: config.asked.clone(),
            roots: roots(config.root.as_deref())?,
            challenges: Challenges::new(&key, config.challenge_secs),
            told: Memory::new(parts.state.clone().filter(|_| !parts.forgetful), REPEAT),
            used: Used::new(200_000, parts.state),
            require_nonce: config.require_nonce,
            allow_reuse: config.allow_reuse,
            secrets: Secrets::new(config.secrets.clone(), config.secret_cache, parts.resolver),
            codelab: config.codelab.as_ref().map(|(_, secret)| secret.clone()),
            journal: Journal::open(&config.journal).map_err(BuildError::Journal)?,
            failures: RateLimiter::keyed(quota),
            intake: parts.intake,
            flood: Mutex::default(),
            forged: AtomicU64::new(0),
            attested: Mutex::new(crate::attest::outcome::Expected::every(config.expect_every_hours)),
            released_findings: config.released_findings,
            trusted_hops: parts.trusted_hops,
        }))))
    }

    /// Keeps keys fresh, watches the policies' folder, and misses machines, until `stop`.
    pub async fn run(self, stop: tokio_util::sync::CancellationToken) {
        let keys = self.0.keys.held().into_iter().map(|source| {
            let stop = stop.clone();
            async move { source.keep_fresh(stop).await }
        });
        let watching = self.0.policies.clone().watch(Duration::from_secs(2), stop.clone());
        let missing = self.miss(stop.clone());
        futures_util::future::join3(futures_util::future::join_all(keys), watching, missing).await;
    }

    async fn miss(&self, stop: tokio_util::sync::CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(Duration::from_secs(60)) => {}
            }
            self.0.failures.retain_recent();
            if let Err(error) = self.0.used.tidy(Utc::now().timestamp()).await {
                tracing::warn!(error = chain(&error), "expired marks of used tokens could not be removed");
            }
            let missed = self.0.attested.lock().unwrap_or_else(PoisonError::into_inner).missed(Utc::now());
            // Remembered as open, so that the next good attestation is news and closes them.
            self.tell_news(missed).await;
        }
    }

    /// The policies in use.
    pub fn policies(&self) -> &Policies {
        &self.0.policies
    }

    /// The codelab's secret.
    pub fn codelab(&self) -> Option<&str> {
        self.0.codelab.as_deref()
    }

    /// How many proxies are trusted to name the caller.
    pub fn trusted_hops(&self) -> usize {
        self.0.trusted_hops
    }

    /// A challenge for a purpose, and when it ends.
    ///
    /// # Errors
    /// When the purpose is not one, or the address asks too often.
    pub fn challenge(&self, purpose: &str, address: &IpAddr, now: DateTime<Utc>) -> Result<(String, i64), Refused> {
        let secret = purpose.strip_prefix("secret:");
        let known = secret.is_none_or(|name| self.0.secrets.rule(name).is_some());
        if purpose.is_empty() || purpose.len() > 200 || !known {
            return Err(Refused::Purpose);
        }
        self.throttle(address)?;
        let mut random = [0u8; 12];
        rand::fill(&mut random);
        Ok(self.0.challenges.make(purpose, now.timestamp(), random))
    }

    fn throttle(&self, address: &IpAddr) -> Result<(), Refused> {
        self.0.failures.check_key(&client::key(*address)).map_err(|_| Refused::Throttled)
    }

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
        let policies = self.asked(policy)?;
        let mut refused: Option<(Arc<Policy>, Reason)> = None;
        let mut denied: Option<(Checked, Reason)> = None;
        let mut passed = None;
        for policy in policies {
            match self.check(token, &policy, now).await {
                Ok(verified) => match judge(&verified, &policy) {
                    Ok(()) => {
                        passed = Some((policy, verified));
                        break;
                    }
                    Err(reason) => denied = denied.or(Some(((policy, verified), reason))),
                },
                Err(reason) => refused = refused.or(Some((policy, reason))),
            }
        }
        let (checked, reason) = match (passed, denied, refused) {
            (Some(checked), _, _) => (checked, None),
            (None, Some((checked, reason)), _) => (checked, Some(reason)),
            (None, None, Some((policy, reason))) => {
                return Err(self.refuse_unverified("verify", None, &policy, token, reason, address, now).await);
            }
            (None, None, None) => return Err(Refused::UnknownPolicy),
        };
        let (policy, verified) = &checked;
        let explanation = explain(verified, policy);
        self.note("verify", None, &checked, reason.as_ref(), address, now).await;
        self.tell_of(&checked, reason.as_ref(), Some(&explanation), None, now).await;
        Ok(verdict(policy, verified, reason.as_ref(), explanation))
    }

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
        let result = self.try_release(name, shown, address, now).await;
        let label = match &result {
            Ok(Released::Plain(_)) => "released",
            Ok(Released::Sealed(_)) => "sealed",
            Err(refused) if refused.status() == 503 => "unavailable",
            Err(_) => "refused",
        };
        metrics::counter!(names::ATTESTATION_SECRETS.name, "result" => label).increment(1);
        result
    }

    async fn try_release(
        &self,
        name: &str,
        shown: Shown<'_>,
        address: &IpAddr,
        now: DateTime<Utc>,
    ) -> Result<Released, Refused> {
        let rule = self.0.secrets.rule(name).ok_or(Refused::UnknownSecret)?;
        let policy = self.0.policies.find(&rule.policy).ok_or(Refused::UnknownPolicy)?;
        let verified = match self.check(shown.token, &policy, now).await {
            Ok(verified) => verified,
            Err(reason) => {
                return Err(self
                    .refuse_unverified("secret", Some(name), &policy, shown.token, reason, address, now)
                    .await);
            }
        };
        let checked = (policy, verified);
        let used = match self.fresh(name, &checked.1, now).await {
            Ok(used) => used,
            Err(Refused::Token(reason)) => return Err(self.refuse(name, &checked, reason, address, now).await),
            Err(other) => return Err(other),
        };
        let released = self.judge_and_fetch(name, shown, &checked, address, now).await;
        if released.is_err()
            && let Some(used) = used
        {
            // Nothing was released for it, so it is not used up.
            self.0.used.give_back(&used).await;
        }
        released
    }

    async fn judge_and_fetch(
        &self,
        name: &str,
        shown: Shown<'_>,
        checked: &Checked,
        address: &IpAddr,
        now: DateTime<Utc>,
    ) -> Result<Released, Refused> {
        if let Err(reason) = judge(&checked.1, &checked.0) {
            return Err(self.refuse(name, checked, reason, address, now).await);
        }
        let key = sealing_key(shown.public_key, &checked.1).map_err(Refused::Seal)?;
        let rule = self.0.secrets.rule(name).ok_or(Refused::UnknownSecret)?;
        let value = self.0.secrets.value(rule).await.map_err(|error| {
            tracing::error!(
                secret = name,
                error = chain(&error),
                "a secret could not be had for a token that may have it"
            );
            Refused::SecretUnavailable
        })?;
        let released = match key {
            None => Released::Plain(value),
            Some(key) => {
                let mut random = Randomness { key: [0; 32], iv: [0; 12] };
                rand::fill(&mut random.key);
                rand::fill(&mut random.iv);
                Released::Sealed(seal::seal(&key, value.expose_secret(), random).map_err(Refused::Seal)?)
            }
        };
        if !self.0.journal.write(&entry("secret", Some(name), checked, None, address, now)).await {
            return Err(Refused::JournalUnavailable);
        }
        count(None);
        self.tell_of(checked, None, None, Some(name), now).await;
        Ok(released)
    }

    /// Form, keys, signature, issuer, audience, times.
    async fn check(&self, token: &str, policy: &Policy, now: DateTime<Utc>) -> Result<Verified, Reason> {
        let parts = take_apart(token)?;
        let keys = match (kind(&parts), &policy.keys) {
            (TokenKind::Pki, _) => None,
            (TokenKind::Oidc, Some(keys)) => Some(keys.clone()),
            (TokenKind::Oidc, None) => {
                let kid = parts.kid.as_deref().ok_or(Reason::KeyMissing)?;
                let source = self.0.keys.of(&policy.issuer).ok_or(Reason::KeysUnavailable)?;
                source.keys_for(kid).await.ok()
            }
        };
        verify_parts(parts, policy, Trust { keys: keys.as_deref(), roots: &self.0.roots }, now.timestamp())
    }

    /// A nonce made here for this secret, never used; else, unless nonces are required, a token never used.
    async fn fresh(&self, name: &str, verified: &Verified, now: DateTime<Utc>) -> Result<Option<[u8; 32]>, Refused> {
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
            Use::First => Ok(Some(what)),
            Use::Again => Err(Refused::Token(Reason::Replayed)),
            Use::Full => Err(Refused::Full),
        }
    }

    /// What an entry of the log `gotpm` with a token says: verified, compared with the entry's labels. Nothing is told
    /// from here: the caller takes it in, and may ask again for the same entry.
    ///
    /// # Errors
    /// When the issuer's keys cannot be had now.
    pub async fn logged(&self, entry: &serde_json::Value, now: DateTime<Utc>) -> Result<Vec<Attestation>, Unavailable> {
        let table = self.0.policies.all();
        let claimed = gotpm::claimed_issuer(entry);
        let mut known = table.values().filter(|policy| Some(&policy.issuer) == claimed.as_ref());
        let issuer = if known.clone().next().is_some() { claimed.as_deref().unwrap_or(GOOGLE) } else { GOOGLE };
        let keys = match (gotpm::key_id(entry), known.find_map(|policy| policy.keys.clone())) {
            (None, _) => None,
            (Some(_), Some(keys)) => Some(keys),
            (Some(kid), None) => Some(self.0.keys.of(issuer).ok_or(Unavailable)?.keys_for(&kid).await?),
        };
        let mut found = gotpm::examine(entry, issuer, Trust { keys: keys.as_deref(), roots: &self.0.roots }, now);
        for event in found.iter_mut().filter(|event| event.category == Category::AttestationTokenInvalid) {
            let count = self.0.forged.fetch_add(1, Ordering::Relaxed) + 1;
            event.properties.insert("count_since_start".to_owned(), count.into());
        }
        found.extend(self.seen_in_log(&found, now));
        self.0.told.note(&found).await;
        Ok(found)
    }

    /// A live token that agrees with its entry shows that its machine attests: it is not missed, or no longer.
    fn seen_in_log(&self, found: &[Attestation], now: DateTime<Utc>) -> Option<Attestation> {
        let [live] = found else { return None };
        let resource = live.resource.clone().filter(|_| live.category == Category::AttestationTokenExposed)?;
        let mut attested = self.0.attested.lock().unwrap_or_else(PoisonError::into_inner);
        let found_again = Attestation {
            category: Category::AttestationMissing,
            open: false,
            description: String::new(),
            properties: Default::default(),
            ..live.clone()
        };
        attested.seen(resource, now).then_some(found_again)
    }

    fn asked(&self, name: Option<&str>) -> Result<Vec<Arc<Policy>>, Refused> {
        let table = self.0.policies.all();
        let one = |name: &str| table.get(name).cloned().ok_or(Refused::UnknownPolicy);
        match name {
            Some(name) => Ok(vec![one(name)?]),
            None if self.0.asked.is_empty() => Ok(table.values().cloned().collect()),
            None => self.0.asked.iter().map(|name| one(name)).collect(),
        }
    }

    async fn refuse(
        &self,
        name: &str,
        checked: &Checked,
        reason: Reason,
        address: &IpAddr,
        now: DateTime<Utc>,
    ) -> Refused {
        let throttled = self.throttle(address);
        self.note("secret", Some(name), checked, Some(&reason), address, now).await;
        let judged = matches!(reason, Reason::PolicyDenied | Reason::PolicyError);
        let explanation = judged.then(|| explain(&checked.1, &checked.0));
        self.tell_of(checked, Some(&reason), explanation.as_ref(), None, now).await;
        throttled.err().unwrap_or(Refused::Token(reason))
    }

    #[allow(clippy::too_many_arguments, reason = "the facts of one line in the journal")]
    async fn refuse_unverified(
        &self,
        asked: &'static str,
        secret: Option<&str>,
        policy: &Policy,
        token: &str,
        reason: Reason,
        address: &IpAddr,
        now: DateTime<Utc>,
    ) -> Refused {
        if reason == Reason::KeysUnavailable {
            return Refused::Token(reason);
        }
        count(Some(&reason));
        let event = self.0.flood.lock().unwrap_or_else(PoisonError::into_inner).note(&reason, now, FLOOD);
        self.tell(event.into_iter().collect()).await;
        if let Err(throttled) = self.throttle(address) {
            return throttled;
        }
        let token_sha256 = take_apart(token).ok().map(|parts| parts.hash.to_string());
        let entry = Entry {
            time: now,
            asked,
            secret,
            policy: Some(&policy.name),
            policy_sha256: Some(&policy.hash),
            token_sha256,
            instance: None,
            verdict: "denied",
            reason: Some(reason.code()),
            address: address.to_string(),
        };
        self.0.journal.note(&entry).await;
        Refused::Token(reason)
    }

    async fn note(
        &self,
        asked: &'static str,
        secret: Option<&str>,
        checked: &Checked,
        reason: Option<&Reason>,
        address: &IpAddr,
        now: DateTime<Utc>,
    ) {
        count(reason);
        self.0.journal.note(&entry(asked, secret, checked, reason, address, now)).await;
    }

    async fn tell_of(
        &self,
        checked: &Checked,
        refused: Option<&Reason>,
        explanation: Option<&Explanation>,
        released: Option<&str>,
        now: DateTime<Utc>,
    ) {
        let (policy, verified) = checked;
        let released = released.filter(|_| self.0.released_findings);
        let events = events(Decided { verified, policy, refused, explanation, released, now });
        if refused.is_none() {
            let resource = Claims(&verified.claims).instance().map(|instance| instance.resource_name());
            let mut attested = self.0.attested.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(resource) = resource {
                attested.seen(resource, now);
            }
        }
        self.tell_news(events).await;
    }

    async fn tell_news(&self, events: Vec<Attestation>) {
        let news = self.0.told.news(events).await;
        if news.is_empty() {
            return;
        }
        if self.tell(news.clone()).await {
            self.0.told.keep(&news).await;
        } else {
            self.0.told.forget(&news);
        }
    }

    /// Whether it was taken in.
    async fn tell(&self, events: Vec<Attestation>) -> bool {
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
}

fn verdict(policy: &Policy, verified: &Verified, reason: Option<&Reason>, explanation: Explanation) -> Verdict {
    Verdict {
        allowed: reason.is_none(),
        reason: reason.map(Reason::code),
        policy: policy.name.clone(),
        policy_sha256: policy.hash.clone(),
        token_sha256: hash(verified.hash),
        kind: if verified.kind == TokenKind::Pki { "pki" } else { "oidc" },
        resource: Claims(&verified.claims).instance().map(|instance| instance.resource_name()),
        expires_at: verified.expires,
        explanation,
    }
}

fn hash(hash: TokenHash) -> String {
    hash.to_string()
}

fn entry<'e>(
    asked: &'static str,
    secret: Option<&'e str>,
    checked: &'e Checked,
    reason: Option<&Reason>,
    address: &IpAddr,
    now: DateTime<Utc>,
) -> Entry<'e> {
    let (policy, verified) = checked;
    Entry {
        time: now,
        asked,
        secret,
        policy: Some(&policy.name),
        policy_sha256: Some(&policy.hash),
        token_sha256: Some(hash(verified.hash)),
        instance: Claims(&verified.claims).instance().map(|instance| instance.resource_name()),
        verdict: if reason.is_none() { "allowed" } else { "denied" },
        reason: reason.map(Reason::code),
        address: address.to_string(),
    }
}

fn count(reason: Option<&Reason>) {
    let (verdict, reason) = reason.map_or(("allowed", "none"), |reason| ("denied", reason.code()));
    metrics::counter!(names::ATTESTATION_DECISIONS.name, "verdict" => verdict, "reason" => reason).increment(1);
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

/// The issuers' keys. A policy that is reloaded with another issuer adds a source.
#[derive(Debug)]
struct Keys {
    sources: Mutex<std::collections::BTreeMap<String, Arc<KeySource>>>,
    file: Option<Arc<KeySource>>,
    endpoint: Option<String>,
    cache: Option<std::path::PathBuf>,
    rules: FetchRules,
}

impl Keys {
    fn new(
        config: &AttestationConfig,
        table: &crate::attest::policies::Table,
        rules: FetchRules,
    ) -> Result<Self, BuildError> {
        let file = match &config.jwks_file {
            Some(path) => {
                Some(Arc::new(KeySource::fixed(KeySet::read(&std::fs::read(path).map_err(BuildError::File)?)?)))
            }
            None => None,
        };
        let keys = Self {
            sources: Mutex::default(),
            file,
            endpoint: config.endpoint.clone(),
            cache: config.keys_cache.clone(),
            rules,
        };
        for policy in table.values().filter(|policy| policy.keys.is_none()) {
            keys.source(&policy.issuer)?;
        }
        Ok(keys)
    }

    fn source(&self, issuer: &str) -> Result<Arc<KeySource>, FetchError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(issuer) {
            return Ok(source.clone());
        }
        let base = self.endpoint.as_deref().unwrap_or(issuer);
        let source = Arc::new(KeySource::issuer(issuer, base, self.rules.clone(), self.cache.clone())?);
        sources.insert(issuer.to_owned(), source.clone());
        Ok(source)
    }

    fn of(&self, issuer: &str) -> Option<Arc<KeySource>> {
        self.source(issuer).ok()
    }

    fn held(&self) -> Vec<Arc<KeySource>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

fn roots(given: Option<&str>) -> Result<Roots, BuildError> {
    match given {
        None => Ok(Roots::default()),
        Some(text) => match Roots::fingerprint(text) {
            Ok(roots) => Ok(roots),
            Err(_) => Ok(Roots::certificates(&std::fs::read(text).map_err(BuildError::File)?)?),
        },
    }
}
