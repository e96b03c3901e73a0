//! Where conditions are evaluated: at once, when that takes no longer than a few milliseconds, as nearly always; else
//! apart from the threads that answer requests, only so many at a time, so that none of those waits for a condition.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::attest::cel::Budget;
use crate::attest::policy::{Explanation, Policy};
use crate::attest::reason::Reason;
use crate::attest::verify::{Verified, explain, judge};

/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no judgement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unjudged {
    /// Too many conditions are being evaluated.
    Busy,
    /// Evaluating it broke off.
    Broken,
}

/// As many places as there are processors.
#[derive(Debug)]
pub(super) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Semaphore::new(processors)))
    }
}

/// How much an evaluation may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effort {
    Little,
    Whole,
}

impl Effort {
    /// What `work` makes; nothing when a little was too little.
    fn spend<T>(self, work: impl FnOnce(&mut Budget) -> T) -> Option<T> {
        let mut budget = if self == Self::Little { Budget::little() } else { Budget::default() };
        let made = work(&mut budget);
        (self == Self::Whole || !budget.short).then_some(made)
    }
}

/// Something made of claims and a policy, if the effort is enough for it; the whole always is.
type Work<T> = fn(&Verified, &Policy, Effort) -> Option<T>;

impl Places {
    /// What `work` makes with little; when that is too little, what it makes with the whole on another thread.
    async fn evaluate<T: Send + 'static>(
        &self,
        verified: &Verified,
        policy: &Arc<Policy>,
        work: Work<T>,
    ) -> Result<T, Unjudged> {
        if let Some(made) = work(verified, policy, Effort::Little) {
            return Ok(made);
        }
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.0).acquire_owned()).await;
        let Ok(Ok(place)) = turn else { return Err(Unjudged::Busy) };
        let (verified, policy) = (verified.clone(), Arc::clone(policy));
        let evaluating = tokio::task::spawn_blocking(move || {
            let made = work(&verified, &policy, Effort::Whole);
            // Also when nobody waits for it any more, the place is taken until here.
            drop(place);
            made
        });
        evaluating.await.ok().flatten().ok_or(Unjudged::Broken)
    }
}

/// Why the claims do not pass, and, where that is the policy's, the explanation.
pub(super) type Judgement = Result<(), (Reason, Option<Explanation>)>;

/// Whether the claims pass, and the explanation.
pub(super) type Explained = (Result<(), Reason>, Explanation);

/// In one go, so that nobody waits for a turn twice.
fn judge_and_explain_denial(verified: &Verified, policy: &Policy, effort: Effort) -> Option<Judgement> {
    let judged = effort.spend(|budget| judge(verified, policy, budget))?;
    Some(match judged {
        Ok(()) => Ok(()),
        Err(reason @ (Reason::PolicyDenied | Reason::PolicyError)) => {
            let (_, explanation) = judge_and_explain(verified, policy, effort)?;
            Err((reason, Some(explanation)))
        }
        Err(reason) => Err((reason, None)),
    })
}

fn judge_and_explain(verified: &Verified, policy: &Policy, effort: Effort) -> Option<Explained> {
    effort.spend(|budget| explain(verified, policy, budget))
}

impl Places {
    /// Whether the policy lets the claims pass; with the explanation of a denial.
    pub(super) async fn judge(&self, verified: &Verified, policy: &Arc<Policy>) -> Result<Judgement, Unjudged> {
        self.evaluate(verified, policy, judge_and_explain_denial).await
    }

    /// The same, explained also when it passes.
    pub(super) async fn explain(&self, verified: &Verified, policy: &Arc<Policy>) -> Result<Explained, Unjudged> {
        self.evaluate(verified, policy, judge_and_explain).await
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::attest::policy::TokenKind;
    use crate::attest::token::TokenHash;

    #[tokio::test]
    async fn what_breaks_off_is_not_called_busy_and_gives_its_place_back() {
        let claims = json!({});
        let verified = Verified { claims, hash: TokenHash([0; 32]), kid: None, kind: TokenKind::Oidc, expires: 0 };
        let policy = Arc::new(Policy::read("audiences: [a]\ncondition: assertion.a == 1\n", "p").unwrap());
        let places = Places(Arc::new(Semaphore::new(1)));
        let breaks: Work<()> = |_, _, effort| match effort {
            Effort::Little => None,
            Effort::Whole => panic!("as a mistake of ours would"),
        };
        for _ in 0..2 {
            assert_eq!(places.evaluate(&verified, &policy, breaks).await, Err(Unjudged::Broken));
        }
        let long: Work<Effort> = |_, _, effort| (effort == Effort::Whole).then_some(effort);
        assert_eq!(places.evaluate(&verified, &policy, long).await, Ok(Effort::Whole));
    }
}
