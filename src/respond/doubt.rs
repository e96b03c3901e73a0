//! A call whose fate is not known: no answer came, or we died waiting for it.
//!
//! A VM that is stopped by now need not have been stopped by us: an operator may have, or a pre-emption. The same
//! request once more is harmless to a VM that has stopped, and Compute Engine answers it with the operation that it
//! made of the first one. An operation that was asked for before the VM stopped is ours; what was asked for afterwards
//! proves nothing. Both times are Compute Engine's own.

use chrono::{DateTime, FixedOffset};

use super::confirm::identity;
use super::drive::{Driver, Step};
use super::hands::{Trouble, is_busy};
use super::watch::{OPERATION, states};
use super::why_not::WhyNot;
use crate::google::compute::Instance;
use crate::google::compute_acts::Operation;
use crate::integrity::answer::{Action, Ended, Reason};
use crate::plan::rules::Decision;

impl Driver<'_> {
    /// A call whose fate is not known is only made once more while settings and baselines still ask for it.
    pub(super) async fn may_be_repeated(&mut self, instance: &Instance) -> Step<()> {
        match self.unwanted(instance).await? {
            Some(told) => self.refuse(Reason::Interrupted, told).await,
            None => Ok(()),
        }
    }

    async fn unwanted(&mut self, instance: &Instance) -> Step<Option<String>> {
        let dry_run = self.responder.rules.dry_run.then(|| "INTEGRITY_DRY_RUN is true now".to_owned());
        match self.other_mode().or(dry_run) {
            Some(told) => Ok(Some(told)),
            None => self.otherwise(instance).await,
        }
    }

    /// What the baselines say by now, when they do not ask for the same action any more: one may have been revoked or
    /// approved while the call had no answer.
    async fn otherwise(&mut self, instance: &Instance) -> Step<Option<String>> {
        let told = match self.decision(instance).await? {
            Decision::Act(action, because, baseline) if self.plan().action == Some(action) => {
                (self.held.plan.because, self.held.plan.baseline) = (because, baseline);
                return Ok(None);
            }
            Decision::Act(action, because, _) => {
                format!("the VM should be {} instead, because {because}", action.done())
            }
            Decision::Leave(_, told) => {
                told.strip_prefix("nothing was done: ").unwrap_or(&told).trim_end_matches('.').to_owned()
            }
            Decision::Silent => "the report calls for nothing any more".to_owned(),
        };
        Ok(Some(told))
    }

    /// The VM, unless it looks as the call should have made it look: then whether that was the call is found out.
    /// `None`: it was.
    pub(super) async fn unless_it_looks_done(&mut self, mut instance: Instance) -> Step<Option<Instance>> {
        let Some(action) = self.plan().action else { return Ok(Some(instance)) };
        let (wanted, passing) = states(action);
        let mut pause = self.responder.pause;
        while passing.contains(&instance.status.as_str()) {
            if self.since(action.label()) > OPERATION {
                let told = format!("the VM is {}, and has been for long", instance.status);
                return self.refuse(Reason::NotRunning, told).await;
            }
            pause = self.pause(pause).await;
            let Some(found) = self.look().await? else {
                return self.refuse(Reason::Gone, "the VM is not there any more".to_owned()).await;
            };
            instance = found;
        }
        if !wanted.contains(&instance.status.as_str()) {
            return Ok(Some(instance));
        }
        if let Err(WhyNot { reason, told }) = identity(&self.plan().report, &instance) {
            return self.refuse(reason, told).await;
        }
        if let Some(told) = self.unwanted(&instance).await? {
            let told = format!("the VM is {}, which others may have done, and {told}", instance.status);
            return self.refuse(Reason::Interrupted, told).await;
        }
        self.ours(action, &instance).await?;
        Ok(None)
    }

    /// Goes on only when the VM was stopped or suspended by our request.
    async fn ours(&mut self, action: Action, instance: &Instance) -> Step<()> {
        let told = match self.ask(action, instance).await? {
            // One of another VM is no proof, but has to be told as that.
            Ok(operation) if self.is_of_another(&operation) || was_asked_before(action, &operation, instance) => {
                return self.begun(action, operation).await;
            }
            Ok(operation) if operation.insert_time.is_empty() => "Compute Engine does not say since when".to_owned(),
            Ok(operation) => format!("Compute Engine knows of it since {}, which is no proof", operation.insert_time),
            Err(error) => match Trouble::of(&error) {
                Trouble::Later { after, told, .. } if !is_busy(&error) => return self.put_off(after, told).await,
                Trouble::Later { told, .. } | Trouble::Never { told, .. } => format!("Compute Engine says: {told}"),
            },
        };
        let request = self.plan().call(action.label()).map(|call| call.request_id.clone()).unwrap_or_default();
        let told = format!("the VM is {}; whether by request {request} is not known: {told}.", instance.status);
        self.end(Ended::Failed, Reason::Interrupted, told).await
    }
}

/// Whether the operation was asked for before the VM was stopped or suspended.
fn was_asked_before(action: Action, operation: &Operation, instance: &Instance) -> bool {
    let ended = match action {
        Action::Relearn => return false,
        Action::Stop => &instance.last_stop_timestamp,
        Action::Suspend => &instance.last_suspended_timestamp,
    };
    let time = |text: &str| -> Option<DateTime<FixedOffset>> { DateTime::parse_from_rfc3339(text).ok() };
    match (time(&operation.insert_time), time(ended), time(&instance.last_start_timestamp)) {
        // What is older than the last start was about another run of the VM.
        (Some(asked), Some(ended), started) => asked <= ended && started.is_none_or(|started| started <= asked),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_before_the_vm_stopped_can_have_stopped_it() {
        for (ours, asked, stopped, started) in [
            (true, "2026-11-20T02:12:00.000-08:00", "2026-11-20T02:12:40.000-08:00", "2026-11-20T02:00:00.000-08:00"),
            (true, "2026-11-20T10:12:00Z", "2026-11-20T02:12:00.000-08:00", ""),
            (false, "2026-11-20T02:13:00.000-08:00", "2026-11-20T02:12:40.000-08:00", "2026-11-20T02:00:00.000-08:00"),
            (false, "2026-11-19T02:12:00.000-08:00", "2026-11-19T02:12:40.000-08:00", "2026-11-20T02:00:00.000-08:00"),
            (false, "2026-11-20T02:12:00.000-08:00", "2026-11-20T02:30:00.000-08:00", "2026-11-20T02:20:00.000-08:00"),
            (false, "2026-11-20T02:12:00.000-08:00", "", "2026-11-20T02:00:00.000-08:00"),
            (false, "", "2026-11-20T02:12:40.000-08:00", "2026-11-20T02:00:00.000-08:00"),
        ] {
            let operation = Operation { insert_time: asked.into(), ..Operation::default() };
            let instance = Instance {
                last_stop_timestamp: stopped.into(),
                last_start_timestamp: started.into(),
                ..Instance::default()
            };
            let found = was_asked_before(Action::Stop, &operation, &instance);
            assert_eq!(found, ours, "{asked} {stopped} {started}");
            assert!(!was_asked_before(Action::Suspend, &operation, &instance));
        }
    }
}
