//! Where conditions are evaluated: at once, when that takes no longer than a few milliseconds, as nearly always; else
//! apart from the threads that answer requests, only so many at a time, so that none of those waits for a condition.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::service::Attestor;
use crate::attest::cel::Budget;
use crate::attest::policy::{Explanation, Policy};
use crate::attest::reason::Reason;
use crate::attest::verify::{Verified, explain_within, judge_within};

/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Too many conditions are being evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

/// As many places as there are processors.
#[derive(Debug)]
pub(super) struct Places(Arc<Semaphore>);

impl Default for Places {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self(Arc::new(Semaphore::new(processors)))
    }
}

impl Places {
    /// What `work` makes with little; when that is too little, what it makes of the whole budget on another thread.
    async fn evaluate<T: Send + 'static>(
        &self,
        verified: &Verified,
        policy: &Arc<Policy>,
        work: fn(&Verified, &Policy, &mut Budget) -> T,
    ) -> Result<T, Busy> {
        let mut little = Budget::little();
        let made = work(verified, policy, &mut little);
        if !little.short {
            return Ok(made);
        }
        let turn = tokio::time::timeout(PATIENCE, Arc::clone(&self.0).acquire_owned()).await;
        let (Ok(Ok(place)), verified, policy) = (turn, verified.clone(), Arc::clone(policy)) else { return Err(Busy) };
        let evaluating = tokio::task::spawn_blocking(move || {
            let made = work(&verified, &policy, &mut Budget::default());
            // Also when nobody waits for it any more, the place is taken until here.
            drop(place);
            made
        });
        evaluating.await.map_err(|_broken| Busy)
    }
}

/// Why the claims do not pass, and, where that is the policy's, the explanation.
pub(super) type Judgement = Result<(), (Reason, Option<Explanation>)>;

/// In one go, so that nobody waits for a turn twice.
fn judge_and_explain_denial(verified: &Verified, policy: &Policy, budget: &mut Budget) -> Judgement {
    let (mut asking, whole) = (*budget, budget.steps >= Budget::default().steps);
    let judged = judge_within(verified, policy, &mut asking);
    budget.short |= asking.short;
    judged.map_err(|reason| match reason {
        // With little, that was no answer.
        _ if asking.short && !whole => (reason, None),
        Reason::PolicyDenied | Reason::PolicyError => {
            let (_, explanation) = explain_within(verified, policy, budget);
            (reason, Some(explanation))
        }
        _ => (reason, None),
    })
}

impl Attestor {
    /// Whether the policy lets the claims pass; with the explanation of a denial.
    pub(super) async fn judge(&self, verified: &Verified, policy: &Arc<Policy>) -> Result<Judgement, Busy> {
        self.0.judging.evaluate(verified, policy, judge_and_explain_denial).await
    }

    /// The same, explained also when it passes.
    pub(super) async fn explain(
        &self,
        verified: &Verified,
        policy: &Arc<Policy>,
    ) -> Result<(Result<(), Reason>, Explanation), Busy> {
        self.0.judging.evaluate(verified, policy, explain_within).await
    }
}
