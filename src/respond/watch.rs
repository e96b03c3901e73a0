//! What became of a call: its operation is waited for, then the VM itself is looked at.

use chrono::TimeDelta;

use super::drive::{Driver, Step};
use super::hands::Trouble;
use super::plan::{CallState, What};
use crate::google::compute::Instance;
use crate::integrity::answer::{Action, Reason, Result as Ended};

/// How long an action's operation may take.
const OPERATION: TimeDelta = TimeDelta::minutes(15);

impl Driver<'_> {
    /// The action's operation, then the VM itself.
    pub(super) async fn see_it_through(&mut self) -> Step<()> {
        let Some(action) = self.plan().action else { return Ok(()) };
        if let Err((reason, told)) = self.operation(action.label(), OPERATION).await? {
            if reason == Reason::OperationFailed {
                self.forget(action).await?;
            }
            return self
                .end(Ended::Failed, reason, format!("the VM may not have been {}: {told}.", action.done()))
                .await;
        }
        let because = self.plan().because.clone();
        let (wanted, passing): (&[&str], &[&str]) = match action {
            Action::Relearn => {
                let told = format!(
                    "the VM was {}, because {because}. The policy of its next boot is compared with what was approved.",
                    action.done()
                );
                return self.end(Ended::Done, Reason::Asked, told).await;
            }
            Action::Stop => (&["TERMINATED", "STOPPED"], &["STOPPING", "PENDING_STOP"]),
            Action::Suspend => (&["SUSPENDED"], &["SUSPENDING"]),
        };
        let mut pause = self.responder.pause;
        loop {
            let status = self.look().await?.map(|instance| instance.status);
            match status.as_deref() {
                None => {
                    return self
                        .end(
                            Ended::Done,
                            Reason::Asked,
                            format!("the VM was {}, because {because}; it has been deleted since.", action.done()),
                        )
                        .await;
                }
                Some(status) if wanted.contains(&status) => {
                    return self
                        .end(
                            Ended::Done,
                            Reason::Asked,
                            format!(
                                "the VM was {}, because {because}; Compute Engine confirms that it is {status}.",
                                action.done()
                            ),
                        )
                        .await;
                }
                Some(status) if !passing.contains(&status) || self.since(action.label()) > OPERATION => {
                    let told = format!(
                        "the operation ended well, but the VM is {status}: somebody may have started it again."
                    );
                    return self.end(Ended::Failed, Reason::NotConfirmed, told).await;
                }
                Some(_) => pause = self.pause(pause).await,
            }
        }
    }

    /// Waits for the operation of a call: done well, or why not.
    pub(super) async fn operation(&mut self, step: &str, deadline: TimeDelta) -> Step<Result<(), (Reason, String)>> {
        if self.plan().call(step).is_some_and(|call| call.state == CallState::Finished) {
            return Ok(Ok(()));
        }
        let path = self.plan().call(step).and_then(|call| call.operation.clone());
        let mut pause = self.responder.pause;
        while let Some(path) = &path {
            match self.responder.hands.wait(path).await {
                Ok(operation) if operation.is_done() => {
                    if let Some(told) = operation.failure() {
                        return Ok(Err((
                            Reason::OperationFailed,
                            format!("its operation ended with an error: {told}"),
                        )));
                    }
                    break;
                }
                Ok(_) => {}
                Err(error) => {
                    if let Trouble::Never(reason, told) = Trouble::of(&error) {
                        return Ok(Err((reason, format!("its operation could not be waited for: {told}"))));
                    }
                }
            }
            if self.since(step) > deadline {
                let told = format!("its operation has not ended within {} minutes", deadline.num_minutes());
                return Ok(Err((Reason::OperationSlow, told)));
            }
            pause = self.pause(pause).await;
        }
        let now = self.now();
        self.held.plan.call_mut(step, now).state = CallState::Finished;
        self.note(What::Finished, format!("the operation of {step} ended well"));
        self.save().await?;
        Ok(Ok(()))
    }

    /// Whether a call whose fate is not known has had its effect.
    pub(super) fn looks_done(&self, instance: &Instance) -> bool {
        let states: &[&str] = match self.plan().action {
            Some(Action::Stop) => &["STOPPING", "PENDING_STOP", "TERMINATED", "STOPPED"],
            Some(Action::Suspend) => &["SUSPENDING", "SUSPENDED"],
            _ => &[],
        };
        states.contains(&instance.status.as_str())
    }
}
