//! What plans are driven with, what they are made by, and how their answers are counted.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::hands::Hands;
use super::plans::Plans;
use crate::clock::Clock;
use crate::config::acting::{ActingConfig, Mode};
use crate::integrity::Entry;
use crate::plan::Plan;
use crate::receive::Intake;
use crate::state::StateError;
use crate::telemetry::metrics as names;
use crate::track::Tracker;

/// Drives plans. Clones share everything.
#[derive(Clone)]
pub struct Responder {
    /// The plans.
    pub plans: Plans,
    /// What was seen of the VMs; its baselines are read without a cache.
    pub tracker: Tracker,
    /// The calls.
    pub hands: Hands,
    /// The rules.
    pub rules: Arc<ActingConfig>,
    /// Where answers go.
    pub intake: Intake,
    /// The time.
    pub clock: Clock,
    /// The first pause between two looks at an operation.
    pub pause: Duration,
    /// Who we are among replicas.
    pub holder: String,
    /// Rung when a plan was made.
    pub bell: Arc<Notify>,
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder").field("rules", &self.rules).field("holder", &self.holder).finish_non_exhaustive()
    }
}

/// Counts an answer, and logs it.
pub fn told(plan: &Plan) {
    let Some(answer) = &plan.answer else { return };
    let action = answer.action.map_or("none", crate::integrity::answer::Action::label);
    let (result, reason) = (answer.result.label(), answer.reason.label());
    metrics::counter!(names::INTEGRITY_ACTIONS.name, "action" => action, "result" => result, "reason" => reason)
        .increment(1);
    let vm = plan.report.vm.key();
    tracing::info!(vm, action, result, reason, detail = answer.told, "a failed boot was answered");
}

/// What plans are made by: the rules, the plans, the bell.
#[derive(Debug, Clone)]
pub struct Planner {
    /// The plans.
    pub plans: Plans,
    /// The rules.
    pub rules: Arc<ActingConfig>,
    /// Rung when a plan was made.
    pub bell: Arc<Notify>,
}

impl Planner {
    /// Whether there is anything to plan.
    pub fn acts(&self) -> bool {
        self.rules.mode != Mode::Report
    }

    /// Writes a plan down, and tells the responder. To be called when the finding has been told what was planned: hands
    /// back the entry with which the finding has to be told once more, since the plan that stands there ended otherwise
    /// and its answer may have been told before. One that ends later is told later.
    ///
    /// # Errors
    /// When the state store cannot be used; the plan is made again with the next attempt at the event.
    pub async fn record(&self, plan: &Plan) -> Result<Option<Entry>, StateError> {
        let standing = self.plans.record(plan).await?;
        if standing.is_none() {
            told(plan);
        }
        if plan.answer.is_none() {
            self.bell.notify_one();
        }
        let said = |plan: &Plan| plan.answer.as_ref().map(|answer| (answer.result, answer.reason, answer.told.clone()));
        Ok(standing.filter(|standing| said(standing) != said(plan)).and_then(|standing| standing.entry()))
    }
}
