//! Evidence first: a snapshot of every persistent disk, made and ended well, or the VM is left running.

use chrono::TimeDelta;

use super::drive::{Driver, Step};
use super::hands::Trouble;
use super::why_not::WhyNot;
use crate::google::compute::{AttachedDisk, Instance};
use crate::google::compute_acts::{Disk, Snapshot, SnapshotWish};
use crate::integrity::answer::Reason;
use crate::plan::{CallState, What};

/// How long a snapshot's operation may take.
const SNAPSHOT: TimeDelta = TimeDelta::minutes(45);

/// What a snapshot that is there is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Evidence {
    Ready,
    BeingMade,
    /// Nothing, and why.
    None(String),
}

/// Anybody who may make snapshots can have made one of this name, of whatever disk.
fn evidence(found: &Snapshot, disk: &Disk) -> Evidence {
    if Disk::parse(&found.source_disk).as_ref() != Some(disk) {
        return Evidence::None(format!("it is of another disk ({:?})", found.source_disk));
    }
    match found.status.as_str() {
        "READY" => Evidence::Ready,
        "CREATING" | "UPLOADING" => Evidence::BeingMade,
        other => Evidence::None(format!("its status is {other:?}")),
    }
}

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
        let name = crate::plan::names::snapshot(&event, self.plan().report.vm.id, &disk.name);
        let call = self.held.plan.call_mut(&name, now);
        let request = call.request_id.clone();
        // An attempt before this one may have arrived.
        let unsure = call.state == CallState::Intended;
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
                            self.back(&name, maybe_taken || unsure);
                            return self.put_off(after, told).await;
                        }
                        Trouble::Never { told, .. } => {
                            self.back(&name, unsure);
                            return self.no_snapshot(told).await;
                        }
                    },
                }
            }
        }
        let made = match self.operation(&name, SNAPSHOT).await? {
            Err(WhyNot { reason: Reason::NotConfirmed, .. }) => self.stands(&name, &disk).await?,
            made => made.map_err(|why| why.told),
        };
        match made {
            Ok(()) => Ok(()),
            Err(told) => self.no_snapshot(format!("snapshot {name}: {told}")).await,
        }
    }

    /// Nobody can say how its making went, as it was there already or its operation is not known: the snapshot itself
    /// is looked at until it is ready.
    async fn stands(&mut self, name: &str, disk: &Disk) -> Step<Result<(), String>> {
        let mut pause = self.responder.pause;
        loop {
            match self.responder.hands.find_snapshot(&disk.project, name).await {
                Ok(None) => return Ok(Err("there is no snapshot of this name after all".to_owned())),
                Ok(Some(found)) => match evidence(&found, disk) {
                    Evidence::Ready => break,
                    Evidence::BeingMade => {}
                    Evidence::None(told) => return Ok(Err(told)),
                },
                Err(error) => {
                    if let Trouble::Never { told, .. } = Trouble::of(&error) {
                        return Ok(Err(format!("it could not be looked at: {told}")));
                    }
                }
            }
            if self.since(name) > SNAPSHOT {
                return Ok(Err(format!("it was not seen to be ready within {} minutes", SNAPSHOT.num_minutes())));
            }
            pause = self.pause(pause).await;
        }
        let now = self.now();
        self.held.plan.call_mut(name, now).state = CallState::Finished;
        self.note(What::Finished, format!("snapshot {name} is READY, of disk {}", disk.name));
        self.save().await?;
        Ok(Ok(()))
    }

    async fn no_snapshot<T>(&mut self, told: String) -> Step<T> {
        let told = format!("a snapshot could not be made first, and without one the VM is left running: {told}");
        self.refuse(Reason::SnapshotFailed, told).await
    }
}
