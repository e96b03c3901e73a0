//! One plan, driven to its end. What is about to be done is in the journal before it is done; a plan that is picked up
//! again goes on where it was, and a call whose fate is not known is repeated only under the same id and only when the
//! VM is still the one that was confirmed, and settings and baselines still ask for it.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::confirm::confirm;
use super::hands::Trouble;
use super::plans::Held;
use super::responder::Responder;
use super::why_not::WhyNot;
use crate::causes::chain;
use crate::google::ApiError;
use crate::google::compute::Instance;
use crate::google::compute_acts::{Operation, Target};
use crate::integrity::answer::{Action, Ended, Reason};
use crate::plan::rules::{Decision, decide};
use crate::plan::{CallState, Plan, What};
use crate::state::StateError;
use crate::track::VmFacts;

/// A plan that could not be carried out for so long is given up.
const GIVE_UP: TimeDelta = TimeDelta::hours(2);
/// The longest pause between two looks at an operation.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How far a plan came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// It has its answer.
    Ended,
    /// It has to wait; so long, when the service said so.
    Later(Option<Duration>),
}

/// Why a step broke off the way: it ended the plan, or put it off, or the store failed.
pub(super) enum Halt {
    Progress(Progress),
    Store(StateError),
}

impl From<StateError> for Halt {
    fn from(error: StateError) -> Self {
        Self::Store(error)
    }
}

pub(super) type Step<T> = Result<T, Halt>;

/// Drives one plan.
#[derive(Debug)]
pub struct Driver<'a> {
    pub(super) responder: &'a Responder,
    pub(super) held: Held,
}

impl<'a> Driver<'a> {
    /// A driver of this plan.
    pub fn new(responder: &'a Responder, held: Held) -> Self {
        Self { responder, held }
    }

    /// The plan as it stands.
    pub fn plan(&self) -> &Plan {
        &self.held.plan
    }

    /// Goes as far as it can.
    ///
    /// # Errors
    /// When the store cannot be used, or somebody else drives the plan.
    pub async fn drive(&mut self) -> Result<Progress, StateError> {
        if self.plan().answer.is_some() {
            return Ok(Progress::Ended);
        }
        match self.work().await {
            Ok(()) => Ok(Progress::Ended),
            Err(Halt::Progress(progress)) => Ok(progress),
            Err(Halt::Store(error)) => Err(error),
        }
    }

    async fn work(&mut self) -> Step<()> {
        self.still_wanted().await?;
        let found = self.look().await?;
        let under_way = self.action_state();
        if under_way == Some(CallState::Running) {
            return self.see_it_through().await;
        }
        let Some(mut instance) = found else {
            return self.refuse(Reason::Gone, "the VM is not there any more".to_owned()).await;
        };
        self.held.plan.name = Some(instance.name.clone());
        if under_way == Some(CallState::Intended) {
            match self.unless_it_looks_done(instance).await? {
                Some(still) => instance = still,
                None => return self.see_it_through().await,
            }
            self.may_be_repeated(&instance).await?;
        } else {
            self.decide_again(&instance).await?;
        }
        let mut action = self.confirmed(&instance).await?;
        self.count().await?;
        if self.plan().dry_run {
            return self.only_said(action).await;
        }
        if action != Action::Relearn && self.responder.rules.snapshot_first && under_way != Some(CallState::Intended) {
            self.snapshots(&instance).await?;
            // That took its time: the VM may be another one by now, its measurements approved, the plan too old.
            self.in_time().await?;
            instance = match self.look().await? {
                Some(instance) => instance,
                None => return self.refuse(Reason::Gone, "the VM is not there any more".to_owned()).await,
            };
            self.decide_again(&instance).await?;
            action = self.confirmed(&instance).await?;
        }
        self.act(action, &instance).await?;
        self.see_it_through().await
    }

    /// Settings may have changed since it was planned, and nothing is done hours later. Snapshots that were asked for
    /// do not commit anybody to what should have followed them.
    async fn still_wanted(&mut self) -> Step<()> {
        if matches!(self.action_state(), None | Some(CallState::PutOff)) {
            if let Some(told) = self.other_mode() {
                return self.refuse(Reason::ModeChanged, told).await;
            }
            self.held.plan.dry_run |= self.responder.rules.dry_run;
        }
        self.in_time().await
    }

    pub(super) fn other_mode(&self) -> Option<String> {
        let (planned, now) = (self.plan().mode, self.responder.rules.mode);
        (planned != now)
            .then(|| format!("INTEGRITY_ACTION was {} when it was planned and is {} now", planned.name(), now.name()))
    }

    async fn in_time(&mut self) -> Step<()> {
        if self.now() - self.plan().planned > GIVE_UP {
            let told = format!("it could not be done within {} hours of planning it", GIVE_UP.num_hours());
            return self.refuse(Reason::TooLate, told).await;
        }
        Ok(())
    }

    async fn only_said(&mut self, action: Action) -> Step<()> {
        let beside = self.beside();
        let (done, because) = (action.done(), &self.plan().because);
        let told = format!(
            "the VM would have been {done}, because {because}; this is a dry run, and nothing was changed{beside}."
        );
        self.end(Ended::DryRun, Reason::Asked, told).await
    }

    /// What was asked for although the VM was left alone.
    fn beside(&self) -> &'static str {
        if self.plan().has_called() { " beside snapshots that were asked for before" } else { "" }
    }

    pub(super) async fn look(&mut self) -> Step<Option<Instance>> {
        match self.responder.hands.find(&self.plan().report.vm).await {
            Ok(found) => Ok(found),
            Err(error) => match Trouble::of(&error) {
                Trouble::Later { after, told, .. } => self.put_off(after, told).await,
                Trouble::Never { reason, told } => {
                    let told = format!("the VM could not be confirmed with Compute Engine: {told}");
                    self.refuse(reason, told).await
                }
            },
        }
    }

    /// With fresh baselines, and with the name and labels that the VM really has.
    async fn decide_again(&mut self, instance: &Instance) -> Step<()> {
        match self.decision(instance).await? {
            Decision::Act(action, because, baseline) => {
                let plan = &mut self.held.plan;
                let changed = plan.action != Some(action) || plan.baseline != baseline;
                (plan.action, plan.because, plan.baseline) = (Some(action), because, baseline);
                if changed {
                    let told = self.plan().intention();
                    self.note(What::Decided, told);
                }
                Ok(())
            }
            Decision::Leave(reason, told) => {
                (self.held.plan.action, self.held.plan.baseline) = (None, None);
                self.end(Ended::Reported, reason, told).await
            }
            Decision::Silent => {
                let told = "the report calls for nothing any more".to_owned();
                self.refuse(Reason::ModeChanged, told).await
            }
        }
    }

    /// What the report calls for by what the baselines say now.
    pub(super) async fn decision(&mut self, instance: &Instance) -> Step<Decision> {
        let facts = VmFacts { name: Some(&instance.name), labels: Some(&instance.labels), accepted: None };
        let assessment = self.responder.tracker.assess(&self.plan().report, facts, self.now()).await?;
        let decision = decide(&self.responder.rules, &self.plan().report, &assessment);
        self.held.plan.judgement = Some(assessment.judgement);
        Ok(decision)
    }

    async fn confirmed(&mut self, instance: &Instance) -> Step<Action> {
        let Some(action) = self.plan().action else {
            return self.refuse(Reason::ModeChanged, "there is nothing to be done".to_owned()).await;
        };
        let seen = self.responder.tracker.record(&self.plan().report.vm).await?.unwrap_or_default();
        match confirm(&self.plan().report, action, instance, &seen, &self.responder.rules) {
            Ok(()) => {
                let told = format!("{} is RUNNING, started on {}", instance.name, instance.last_start_timestamp);
                self.note(What::Confirmed, told);
                Ok(action)
            }
            Err(WhyNot { reason, told }) => self.refuse(reason, told).await,
        }
    }

    /// The share of the caps is taken before the journal says so: a crash between the two takes it twice at worst.
    async fn count(&mut self) -> Step<()> {
        if self.plan().counted {
            return Ok(());
        }
        let now = self.now();
        match self.responder.plans.take(&self.held.plan, &self.responder.rules.limits, now).await? {
            Ok(()) => {
                self.held.plan.counted = true;
                Ok(())
            }
            Err(WhyNot { reason, told }) if self.plan().dry_run => {
                self.refuse(reason, format!("by the counts of the dry run, {told}")).await
            }
            Err(WhyNot { reason, told }) => self.refuse(reason, told).await,
        }
    }

    async fn act(&mut self, action: Action, instance: &Instance) -> Step<()> {
        // An attempt before this one may have arrived: what becomes of this one does not say that nothing was done.
        let unsure = self.action_state() == Some(CallState::Intended);
        let answer = self.ask(action, instance).await?;
        match answer {
            Ok(operation) => self.begun(action, operation).await,
            Err(error) => match Trouble::of(&error) {
                Trouble::Later { after, told, maybe_taken } => {
                    let maybe_taken = maybe_taken || unsure;
                    if !maybe_taken {
                        self.forget(action).await?;
                    }
                    self.back(action.label(), maybe_taken);
                    self.put_off(after, told).await
                }
                Trouble::Never { told, .. } if unsure => {
                    let told = format!("an attempt before may have arrived, and now Compute Engine says: {told}");
                    self.refuse(Reason::Interrupted, told).await
                }
                Trouble::Never { reason, told } => self.not_taken(action, reason, told).await,
            },
        }
    }

    /// The call itself, written down before it is made.
    pub(super) async fn ask(&mut self, action: Action, instance: &Instance) -> Step<Result<Operation, ApiError>> {
        let vm = &self.plan().report.vm;
        let target = Target { project: vm.project.clone(), zone: vm.zone.clone(), name: instance.name.clone() };
        let now = self.now();
        let call = self.held.plan.call_mut(action.label(), now);
        call.state = CallState::Intended;
        let request = call.request_id.clone();
        self.note(What::Intent, format!("{} of {} is about to be asked for", action.label(), target.name));
        self.save().await?;
        self.expect(action, now).await?;
        let scratch = instance.disks.iter().any(|disk| disk.kind == "SCRATCH");
        Ok(self.responder.hands.act(action, &target, &request, scratch.then_some(true)).await)
    }

    /// Compute Engine took the action's call.
    pub(super) async fn begun(&mut self, action: Action, operation: Operation) -> Step<()> {
        let vm = &self.plan().report.vm;
        let (project, place) = (vm.project.clone(), format!("zones/{}", vm.zone));
        self.taken(action.label(), Some(operation), &project, &place).await
    }

    /// Compute Engine does not take the call. Only a VM that is not there is gone: it may say "not found" of anything.
    async fn not_taken(&mut self, action: Action, mut reason: Reason, told: String) -> Step<()> {
        self.forget(action).await?;
        self.back(action.label(), false);
        if reason == Reason::Gone && self.look().await?.is_some() {
            reason = Reason::Rejected;
        }
        self.end(Ended::Failed, reason, format!("the VM was not {}: {told}.", action.done())).await
    }

    /// Compute Engine took a call.
    pub(super) async fn taken(
        &mut self,
        step: &str,
        operation: Option<Operation>,
        project: &str,
        place: &str,
    ) -> Step<()> {
        let path = operation.as_ref().filter(|operation| !operation.name.is_empty()).map(|o| o.path(project, place));
        let now = self.now();
        self.held.plan.take(step, path.clone(), now);
        if let Some(operation) = &operation {
            self.reads(step, operation);
        }
        let told = match (&operation, &path) {
            (None, _) => format!("{step} stands there already"),
            (Some(_), Some(path)) => format!("{step} was taken: {path}"),
            (Some(_), None) => format!("{step} was taken, without naming an operation"),
        };
        self.note(What::Taken, told);
        self.save().await
    }

    /// What the operation of a call says of it.
    pub(super) fn reads(&mut self, step: &str, operation: &Operation) {
        let now = self.now();
        let call = self.held.plan.call_mut(step, now);
        call.asked = operation.asked().or(call.asked);
        call.target = operation.target().map(str::to_owned).or_else(|| call.target.take());
    }

    fn action_state(&self) -> Option<CallState> {
        let call = self.plan().call(self.plan().action?.label())?;
        // What ended well is looked at again, should the answer have been lost.
        Some(if call.state == CallState::Finished { CallState::Running } else { call.state })
    }

    /// The call was put off: nothing was done, or it may have been.
    pub(super) fn back(&mut self, step: &str, maybe_taken: bool) {
        let now = self.now();
        self.held.plan.call_mut(step, now).state = if maybe_taken { CallState::Intended } else { CallState::PutOff };
    }

    pub(super) fn now(&self) -> DateTime<Utc> {
        (self.responder.clock)()
    }

    /// How long ago a call was taken.
    pub(super) fn since(&self, step: &str) -> TimeDelta {
        let now = self.now();
        self.plan().call(step).map_or_else(TimeDelta::zero, |call| now - call.taken.unwrap_or(call.since))
    }

    pub(super) fn note(&mut self, what: What, told: String) {
        let now = self.now();
        self.held.plan.note(what, told, now);
    }

    pub(super) async fn save(&mut self) -> Step<()> {
        Ok(self.responder.plans.save(&mut self.held).await?)
    }

    pub(super) async fn pause(&self, pause: Duration) -> Duration {
        tokio::time::sleep(pause).await;
        (pause * 2).min(LONGEST_PAUSE)
    }

    pub(super) async fn put_off<T>(&mut self, after: Option<Duration>, told: String) -> Step<T> {
        self.note(What::Waiting, told);
        self.save().await?;
        Err(Halt::Progress(Progress::Later(after)))
    }

    /// Not done, by a rule of ours. After a call whose fate is not known, nobody can say that nothing was done.
    pub(super) async fn refuse<T>(&mut self, reason: Reason, told: String) -> Step<T> {
        let call = self.plan().action.and_then(|action| self.plan().call(action.label()));
        let request =
            call.map(|call| format!("request {} to {} the VM", call.request_id, call.step)).unwrap_or_default();
        match call.map(|call| call.state) {
            Some(CallState::Intended) => {
                let told = format!("whether {request} arrived is not known, and it is not repeated: {told}.");
                return self.end(Ended::Failed, Reason::Interrupted, told).await;
            }
            Some(CallState::Running | CallState::Finished) if self.plan().other_vm().is_some() => {
                return self.hit_another(Err(WhyNot::new(Reason::NotConfirmed, told))).await;
            }
            Some(CallState::Running | CallState::Finished) => {
                let told = format!("{request} was taken, but it could not be seen what became of it: {told}.");
                return self.end(Ended::Failed, Reason::NotConfirmed, told).await;
            }
            Some(CallState::PutOff) | None => {}
        }
        self.end(Ended::Refused, reason, format!("nothing was done{}: {told}.", self.beside())).await
    }

    pub(super) async fn end<T>(&mut self, result: Ended, reason: Reason, told: String) -> Step<T> {
        // What became of the call is never known: that its late report is missing may be told. What was learned may
        // still be seen.
        if let (Reason::Interrupted, Some(action @ (Action::Stop | Action::Suspend))) = (reason, self.plan().action) {
            self.forget(action).await?;
        }
        let now = self.now();
        self.held.plan.end(result, reason, told, now);
        self.save().await?;
        super::responder::told(self.plan());
        // Last: a crash before it keeps the share, as a state store does that fails here, and nothing is done that was not
        // counted.
        if self.plan().counted
            && !self.plan().has_called()
            && let Err(error) = self.responder.plans.give_back(self.plan(), now).await
        {
            tracing::warn!(error = chain(&error), "an answer's share of the caps could not be given back");
        }
        Err(Halt::Progress(Progress::Ended))
    }
}
