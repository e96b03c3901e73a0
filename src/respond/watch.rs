//! What became of a call: its operation is waited for, then the VM itself is looked at.

use chrono::TimeDelta;

use super::drive::{Driver, Halt, Progress, Step};
use super::hands::Trouble;
use super::why_not::WhyNot;
use crate::google::compute_acts::Operation;
use crate::integrity::answer::{Action, Ended, Reason};
use crate::plan::{CallState, What};

/// How long an action's operation may take.
pub(super) const OPERATION: TimeDelta = TimeDelta::minutes(15);

/// The states of a VM to which this was done, and those on the way there.
pub(super) fn states(action: Action) -> (&'static [&'static str], &'static [&'static str]) {
    match action {
        Action::Relearn => (&[], &[]),
        Action::Stop => (&["TERMINATED", "STOPPED"], &["STOPPING", "PENDING_STOP"]),
        Action::Suspend => (&["SUSPENDED"], &["SUSPENDING"]),
    }
}

impl Driver<'_> {
    /// The action's operation, then the VM itself.
    pub(super) async fn see_it_through(&mut self) -> Step<()> {
        let Some(action) = self.plan().action else { return Ok(()) };
        // Here rather than where the call was taken: a crash between the two loses nothing.
        if self.plan().other_vm().is_none() {
            self.remember(action).await?;
        }
        let ended = self.operation(action.label(), OPERATION).await?;
        if self.plan().other_vm().is_some() {
            return self.hit_another(ended).await;
        }
        match ended {
            Ok(()) => self.look_at_it(action, None).await,
            Err(WhyNot { reason: Reason::NotConfirmed, told }) => self.look_at_it(action, Some(told)).await,
            Err(WhyNot { reason, told }) => {
                if reason == Reason::OperationFailed {
                    self.forget(action).await?;
                }
                let told = format!("the VM may not have been {}: {told}.", action.done());
                self.end(Ended::Failed, reason, told).await
            }
        }
    }

    /// What the VM itself shows. `unknown`: why nobody can say how the operation ended.
    async fn look_at_it(&mut self, action: Action, unknown: Option<String>) -> Step<()> {
        if action == Action::Relearn {
            return self.relearned(unknown).await;
        }
        let (wanted, passing) = states(action);
        let because = self.plan().because.clone();
        let mut pause = self.responder.pause;
        loop {
            let Some(instance) = self.look().await? else { return self.deleted(action, unknown).await };
            let status = instance.status.as_str();
            if wanted.contains(&status) {
                let done = action.done();
                let told =
                    format!("the VM was {done}, because {because}; Compute Engine confirms that it is {status}.");
                return self.end(Ended::Done, Reason::Asked, told).await;
            }
            if !passing.contains(&status) || self.since(action.label()) > OPERATION {
                let told = match unknown {
                    None => {
                        format!("the operation ended well, but the VM is {status}: somebody may have started it again.")
                    }
                    Some(told) => {
                        self.forget(action).await?;
                        format!("the VM may not have been {}: {told}, and the VM is {status}.", action.done())
                    }
                };
                return self.end(Ended::Failed, Reason::NotConfirmed, told).await;
            }
            pause = self.pause(pause).await;
        }
    }

    /// A VM does not show what it learned before it boots again.
    async fn relearned(&mut self, unknown: Option<String>) -> Step<()> {
        let done = Action::Relearn.done();
        let next = "The policy of its next boot is compared with what was approved.";
        let Some(unknown) = unknown else {
            if self.plan().is_target().is_none() && self.look().await?.is_none() {
                return self.deleted(Action::Relearn, None).await;
            }
            let told = format!("the VM was {done}, because {}. {next}", self.plan().because);
            return self.end(Ended::Done, Reason::Asked, told).await;
        };
        if self.look().await?.is_none() {
            return self.deleted(Action::Relearn, Some(unknown)).await;
        }
        let told = format!("the VM may not have been {done}: {unknown}, and nothing else shows it. {next}");
        self.end(Ended::Failed, Reason::NotConfirmed, told).await
    }

    /// A VM that is gone shows nothing: only its operation can say that it was this one, and not the next of its name.
    async fn deleted(&mut self, action: Action, unknown: Option<String>) -> Step<()> {
        let unnamed = || "its operation does not say which VM it was of".to_owned();
        let unknown = unknown.or_else(|| self.plan().is_target().is_none().then(unnamed));
        let (done, because) = (action.done(), &self.plan().because);
        match unknown {
            None => {
                let told = format!("the VM was {done}, because {because}; it has been deleted since.");
                self.end(Ended::Done, Reason::Asked, told).await
            }
            Some(unknown) => {
                let told = format!("the VM may not have been {done}: {unknown}, and the VM is not there any more.");
                self.end(Ended::Failed, Reason::Gone, told).await
            }
        }
    }

    /// Whether this operation is of another VM than the report's.
    pub(super) fn is_of_another(&self, operation: &Operation) -> bool {
        operation.target().is_some_and(|target| target != self.plan().report.vm.id.to_string())
    }

    /// The VM was deleted and made anew under its name between the look at it and the call, which hit the new one.
    pub(super) async fn hit_another<T>(&mut self, ended: Result<(), WhyNot>) -> Step<T> {
        let (Some(action), Some(other)) = (self.plan().action, self.plan().other_vm()) else {
            return Err(Halt::Progress(Progress::Later(None)));
        };
        self.forget(action).await?;
        let (done, id) = (action.done(), self.plan().report.vm.id);
        let which = format!(
            "the operation is of the VM with the id {other}, which had the name by then; the report is about {id}"
        );
        let (reason, told) = match ended {
            Ok(()) => (Reason::OtherVm, format!("another VM was {done} in its place: {which}.")),
            Err(WhyNot { reason: reason @ Reason::OperationFailed, told }) => {
                (reason, format!("neither the VM nor another one was {done}: {which}, and {told}."))
            }
            Err(WhyNot { told, .. }) => {
                (Reason::OtherVm, format!("another VM may have been {done} in its place: {which}, and {told}."))
            }
        };
        self.end(Ended::Failed, reason, told).await
    }

    /// Waits for the operation of a call: done well, or why not. `NotConfirmed`: nobody can say how it ended.
    pub(super) async fn operation(&mut self, step: &str, deadline: TimeDelta) -> Step<Result<(), WhyNot>> {
        if self.plan().call(step).is_some_and(|call| call.state == CallState::Finished) {
            return Ok(Ok(()));
        }
        let Some(path) = self.plan().call(step).and_then(|call| call.operation.clone()) else {
            let told = "Compute Engine named no operation that could be waited for";
            return Ok(Err(WhyNot::new(Reason::NotConfirmed, told)));
        };
        let mut pause = self.responder.pause;
        loop {
            let answer = self.responder.hands.wait(&path).await;
            if let Ok(operation) = &answer {
                self.reads(step, operation);
            }
            match answer {
                Ok(operation) if operation.is_done() => {
                    if let Some(told) = operation.failure() {
                        let told = format!("its operation ended with an error: {told}");
                        return Ok(Err(WhyNot::new(Reason::OperationFailed, told)));
                    }
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    // Whatever is said of looking at the operation, it says nothing of the operation.
                    if let Trouble::Never { told, .. } = Trouble::of(&error) {
                        let told = format!("its operation could not be waited for: {told}");
                        return Ok(Err(WhyNot::new(Reason::NotConfirmed, told)));
                    }
                }
            }
            if self.since(step) > deadline {
                let told = format!("its operation has not ended within {} minutes", deadline.num_minutes());
                return Ok(Err(WhyNot::new(Reason::OperationSlow, told)));
            }
            pause = self.pause(pause).await;
        }
        let now = self.now();
        self.held.plan.call_mut(step, now).state = CallState::Finished;
        self.note(What::Finished, format!("the operation of {step} ended well"));
        self.save().await?;
        Ok(Ok(()))
    }
}
