//! What is noted about the VM beside the plan, for the reports that come after the action.

use chrono::{DateTime, Utc};

use super::drive::{Driver, Step};
use crate::integrity::answer::Action;
use crate::integrity::learning::Learning;
use crate::integrity::record::Halted;
use crate::integrity::words::boot_report;

impl Driver<'_> {
    /// Before the call: the next late report is compared with this, or is not missed meanwhile, if the call arrives.
    pub(super) async fn expect(&self, action: Action, called: DateTime<Utc>) -> Step<()> {
        let report = &self.plan().report;
        if action != Action::Relearn {
            let Some(check) = report.check() else { return Ok(()) };
            let halted = Halted { action, check, report: report.moment(), time: called, taken: false };
            return Ok(self.responder.tracker.halt_begins(&report.vm, &halted).await?);
        }
        let Some(boot) = boot_report(report) else { return Ok(()) };
        let learning = Learning {
            boot: report.moment(),
            approved: boot.actual.clone(),
            before: boot.policy.clone(),
            baseline: self.plan().baseline.clone().unwrap_or_default(),
            called,
            taken: false,
            operation: None,
            verified: None,
            lost: None,
        };
        Ok(self.responder.tracker.relearn_begins(&report.vm, learning).await?)
    }

    /// Compute Engine took the call.
    pub(super) async fn remember(&self, action: Action) -> Step<()> {
        let report = &self.plan().report;
        let Some(call) = self.plan().call(action.label()) else { return Ok(()) };
        if action == Action::Relearn {
            let operation = call.operation.as_deref().map(crate::google::compute::last_part);
            self.responder.tracker.relearn_taken(&report.vm, report.moment(), operation, call.asked).await?;
        } else if let Some(check) = report.check() {
            let time = call.asked.or(call.taken).unwrap_or(call.since);
            let halted = Halted { action, check, report: report.moment(), time, taken: true };
            self.responder.tracker.halt_taken(&report.vm, &halted).await?;
        }
        Ok(())
    }

    /// Nothing came of the call.
    pub(super) async fn forget(&self, action: Action) -> Step<()> {
        let (report, tracker) = (&self.plan().report, &self.responder.tracker);
        match (action, report.check()) {
            (Action::Relearn, _) => tracker.relearn_not_taken(&report.vm, report.moment()).await?,
            (Action::Stop | Action::Suspend, Some(check)) => {
                tracker.halt_not_taken(&report.vm, report.moment(), check).await?;
            }
            (Action::Stop | Action::Suspend, None) => {}
        }
        Ok(())
    }
}
