//! Evidence first: a snapshot of every persistent disk, made and ended well, or the VM is left running.

use chrono::TimeDelta;

use super::drive::{Driver, Step};
use super::hands::Trouble;
use super::plan::{CallState, What};
use crate::google::compute::{AttachedDisk, Instance};
use crate::google::compute_acts::{Disk, SnapshotWish};
use crate::integrity::answer::Reason;

/// How long a snapshot's operation may take.
const SNAPSHOT: TimeDelta = TimeDelta::minutes(45);

impl Driver<'_> {
    /// A snapshot of every persistent disk.
    pub(super) async fn snapshots(&mut self, instance: &Instance) -> Step<()> {
        for attached in instance.disks.iter().filter(|disk| disk.kind != "SCRATCH") {
            self.snapshot(attached).await?;
        }
        Ok(())
    }

    async fn snapshot(&mut self, attached: &AttachedDisk) -> Step<()> {
        let Some(disk) = Disk::parse(&attached.source) else {
            let told = format!("disk {:?} has no source that a snapshot can be made of", attached.device_name);
            return self.no_snapshot(told).await;
        };
        let (event, now) = (self.plan().event.clone(), self.now());
        let name = super::names::snapshot(&event, self.plan().report.vm.id, &disk.name);
        let call = self.held.plan.call_mut(&name, now);
        let request = call.request_id.clone();
        match call.state {
            CallState::Finished => return Ok(()),
            CallState::Running => {}
            CallState::Intended | CallState::PutOff => {
                call.state = CallState::Intended;
                self.note(What::Intent, format!("a snapshot {name} of disk {} is about to be made", disk.name));
                self.save().await?;
                let description = format!("Made by sysdig-scc before an answer to {event}.");
                let wish = SnapshotWish { name: &name, description: &description };
                match self.responder.hands.snapshot(&disk, &request, wish).await {
                    Ok(operation) => self.taken(&name, operation, &disk.project, &disk.place).await?,
                    Err(error) => match Trouble::of(&error) {
                        Trouble::Later { after, told, maybe_taken } => {
                            self.back(&name, maybe_taken);
                            return self.put_off(after, told).await;
                        }
                        Trouble::Never(_, told) => return self.no_snapshot(told).await,
                    },
                }
            }
        }
        match self.operation(&name, SNAPSHOT).await? {
            Ok(()) => Ok(()),
            Err((_, told)) => self.no_snapshot(format!("snapshot {name}: {told}")).await,
        }
    }

    async fn no_snapshot<T>(&mut self, told: String) -> Step<T> {
        let told = format!("a snapshot could not be made first, and without one the VM is left running: {told}");
        self.refuse(Reason::SnapshotFailed, told).await
    }
}
