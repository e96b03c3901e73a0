//! Tokens that machines wrote to the log `gotpm`: verified, compared with their entry, and judged by the policies that
//! are configured for them.

use std::sync::Arc;
use std::sync::PoisonError;
use std::time::Duration;

use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, timeout_at};

use super::checked::{Asked, Checked};
use super::decision::{count, entry as line, mark};
use super::judging::Unjudged;
use super::service::Attestor;
use super::verdict::{Judged, nearer};
use crate::attest::claims::Claims;
use crate::attest::gotpm::{self, Examined};
use crate::attest::key_source::Unavailable;
use crate::attest::keys::KeySet;
use crate::attest::outcome::{Decided, closed, opened};
use crate::attest::policy::Policy;
use crate::attest::policy::accepted::GOOGLE;
use crate::attest::reason::Reason;
use crate::attest::seen::Use;
use crate::attest::verify::{Trust, Verified};
use crate::event::Attestation;
use crate::event::attestation::Category;

/// How long one delivery waits in all: less than the shortest deadline of a subscription, 10 seconds.
const WAIT: Duration = Duration::from_secs(7);

/// Why what a token in the log says cannot be told now. The entry must come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Later {
    /// The issuer's keys.
    #[error("the issuer's keys cannot be had")]
    Keys,
    /// The key that the token names, which may be a new one: others' may be held.
    #[error("the key that a token names is unknown and could not be asked for yet")]
    Key,
    /// Too many conditions are being evaluated.
    #[error("too many conditions that take long are evaluated")]
    Busy,
    /// What is open of its machine is not known.
    #[error("the state store does not answer")]
    State,
    /// A mistake of ours.
    #[error("evaluating a condition broke off")]
    Broken,
}

impl Later {
    /// All labels.
    pub const LABELS: [&str; 4] = ["keys", "busy", "state", "internal"];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Keys | Self::Key => "keys",
            Self::Busy => "busy",
            Self::State => "state",
            Self::Broken => "internal",
        }
    }
}

impl From<Unavailable> for Later {
    fn from(_: Unavailable) -> Self {
        Self::Keys
    }
}

impl From<Unjudged> for Later {
    fn from(unjudged: Unjudged) -> Self {
        match unjudged {
            Unjudged::Busy => Self::Busy,
            Unjudged::Broken => Self::Broken,
        }
    }
}

impl Attestor {
    /// What an entry of the log `gotpm` with a token says: verified, compared with the entry's labels, judged. Nothing
    /// is told from here: the caller takes it in, and may ask again for the same entry.
    ///
    /// # Errors
    /// See [`Later`].
    pub async fn logged(&self, entry: &serde_json::Value, now: DateTime<Utc>) -> Result<Vec<Attestation>, Later> {
        let end = Instant::now() + WAIT;
        let examined = timeout_at(end, self.examined(entry, now)).await;
        let mut examined = examined.map_err(|_| Later::Keys)??;
        for event in examined.events.iter_mut().filter(|event| event.category == Category::AttestationTokenInvalid) {
            self.0.forged.lock().unwrap_or_else(PoisonError::into_inner).note(event);
        }
        if let Some(verified) = &examined.live {
            let more = timeout_at(end, self.of_live(entry, verified, &examined, now)).await;
            examined.events.extend(more.map_err(|_| Later::Busy)??);
        }
        let known = |name: &str| self.is_there(name);
        let standing = timeout_at(end, self.0.told.standing(examined.events, now, &known)).await;
        standing.map_err(|_| Later::State)
    }

    /// An entry's token is verified with the keys that policies of its issuer hold themselves, else with those that the
    /// issuer publishes.
    async fn examined(&self, entry: &serde_json::Value, now: DateTime<Utc>) -> Result<Examined, Later> {
        let table = self.0.policies.all();
        let claimed = gotpm::claimed_issuer(entry);
        let named: Vec<_> = table.values().filter(|policy| Some(&policy.issuer) == claimed.as_ref()).collect();
        let issuer = claimed.as_deref().filter(|_| !named.is_empty()).unwrap_or(GOOGLE);
        let examine = |keys: Option<&KeySet>| gotpm::examine(entry, issuer, Trust { keys, roots: &self.0.roots }, now);
        let Some(kid) = gotpm::key_id(entry) else { return Ok(examine(None)) };
        let mut of_own = None;
        for keys in named.iter().filter_map(|policy| policy.keys.as_deref()) {
            let examined = examine(Some(keys));
            if examined.vouched {
                return Ok(examined);
            }
            of_own = Some(examined);
        }
        if let Some(examined) = of_own.filter(|_| named.iter().all(|policy| policy.keys.is_some())) {
            return Ok(examined);
        }
        let found = self.0.issuers.of(issuer).ok_or(Unavailable)?.look_up(&kid).await?;
        // Its key may be new and not asked for yet: a genuine token must not be taken for a forged one.
        if !found.is_certain(&kid, gotpm::known_for(entry, now)) {
            return Err(Later::Key);
        }
        Ok(examine(Some(&found.keys)))
    }

    /// What a live token says beside what was found about its entry. A token that agrees with its entry shows that its
    /// machine attests; one that the policies for logged tokens let pass is a good attestation.
    async fn of_live(
        &self,
        entry: &serde_json::Value,
        verified: &Verified,
        examined: &Examined,
        now: DateTime<Utc>,
    ) -> Result<Vec<Attestation>, Later> {
        let Some(machine) = Claims(&verified.claims).instance().map(|instance| instance.resource_name()) else {
            return Ok(Vec::new());
        };
        let policies = self.for_logged(verified);
        let judged = self.judged(entry, &policies, now).await?;
        // The keys of none of them verify it, but those of another policy: to them it says nothing.
        if judged.is_none() && !policies.is_empty() {
            return Ok(Vec::new());
        }
        let found = examined.events.as_slice();
        let agrees = found.iter().all(|event| event.category == Category::AttestationTokenExposed);
        let missed = agrees && self.has_attested(&machine, now);
        // What labels that differ opened is closed by such as name the machine: the guest may leave them out.
        let named = agrees && examined.labelled;
        let closes = |category| match category {
            Category::AttestationMissing => missed,
            Category::AttestationClaimsInconsistent => named,
            _ => false,
        };
        let Some((checked, refused, explanation)) = judged else {
            return Ok(found.first().map(|exposed| closing(exposed, closes)).unwrap_or_default());
        };
        let (refused, explanation) = (refused.as_ref(), Some(&explanation));
        self.note_logged(entry, &checked, refused, now);
        let (policy, asked) = (checked.policy.as_ref(), self.0.logged.as_slice());
        let attests = self.attests(policy);
        let decided = Decided { verified, policy, attests, asked, refused, explanation, released: None, now };
        let mut more = opened(decided);
        let all = [found, &more].concat();
        if agrees {
            let closed = closed(decided, &all).into_iter();
            more.extend(closed.filter(|one| named || one.category != Category::AttestationClaimsInconsistent));
        }
        if refused.is_some()
            && let Some(exposed) = found.first()
        {
            more.extend(closing(exposed, |category| {
                closes(category) && all.iter().all(|one| one.category != category)
            }));
        }
        Ok(more)
    }

    /// Writes a decision into the journal, and counts it: once for each entry, however often that is delivered.
    fn note_logged(&self, entry: &serde_json::Value, checked: &Checked, refused: Option<&Reason>, now: DateTime<Utc>) {
        let asked = Asked { what: "log", secret: None, address: None, now };
        let reason = refused.map(Reason::code);
        let written = line(asked, checked, reason);
        let mark: [u8; 32] =
            Sha256::digest([mark(asked, &written).as_slice(), &gotpm::identity(entry)].concat()).into();
        // As long as it could be judged again.
        if self.0.noted_of_logs.take(mark, checked.verified.expires, now.timestamp()) == Use::Again {
            return;
        }
        count(reason);
        if !self.0.journal.note(&written) {
            self.0.noted_of_logs.give_back(&mark);
        }
    }

    /// The policies for logged tokens of this issuer and kind.
    fn for_logged(&self, verified: &Verified) -> Vec<Arc<Policy>> {
        let issuer = Claims(&verified.claims).text("iss").unwrap_or_default();
        let all = self.0.logged.iter().filter_map(|name| self.0.policies.find(name));
        all.filter(|policy| policy.issuer == issuer && policy.tokens.contains(&verified.kind)).collect()
    }

    /// The first policy that allows, else the one that came nearest, of those whose own keys, or their issuer's, verify the
    /// token: another policy's are not theirs. Audience and age are not looked at: the token was made for another service.
    async fn judged(
        &self,
        entry: &serde_json::Value,
        policies: &[Arc<Policy>],
        now: DateTime<Utc>,
    ) -> Result<Option<Judged>, Later> {
        let token = gotpm::token(entry).unwrap_or_default();
        let mut denied: Option<Judged> = None;
        for policy in policies {
            let verified = match self.signed(token, policy, now).await {
                Ok(verified) => verified,
                Err(Reason::KeysUnavailable) => return Err(Later::Key),
                Err(_) => continue,
            };
            let (judged, explanation) = self.0.judging.explain(&verified, policy).await?;
            let this = (Checked::of(policy, verified), judged.err(), explanation);
            if this.1.is_none() {
                return Ok(Some(this));
            }
            denied = Some(nearer(denied, this));
        }
        Ok(denied)
    }
}

/// The events that close what `closes` says, of the machine of another event.
fn closing(like: &Attestation, closes: impl Fn(Category) -> bool) -> Vec<Attestation> {
    let close = |category: Category| Attestation {
        category,
        open: false,
        description: String::new(),
        properties: Default::default(),
        ..like.clone()
    };
    Category::ALL.into_iter().filter(|category| closes(*category)).map(close).collect()
}
