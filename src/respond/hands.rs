//! The hands: the calls to Compute Engine, and what their failures mean.

use std::time::Duration;

use crate::causes::chain;
use crate::google::ApiError;
use crate::google::compute::{Compute, Instance, Scope};
use crate::google::compute_acts::{ComputeActs, Disk, Operation, Snapshot, SnapshotWish, Target};
use crate::integrity::Vm;
use crate::integrity::answer::{Action, Reason};

/// Reads and changes instances.
#[derive(Debug, Clone)]
pub struct Hands {
    reads: Compute,
    acts: ComputeActs,
}

/// What a failed call means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// It may pass later.
    Later {
        /// How long the service asks to be left alone.
        after: Option<Duration>,
        /// What it said.
        told: String,
        /// Whether the call may have been taken nevertheless.
        maybe_taken: bool,
    },
    /// It will not pass until somebody changes something.
    Never {
        /// Why, in a word.
        reason: Reason,
        /// What it said.
        told: String,
    },
}

impl Trouble {
    /// What this failure means.
    pub fn of(error: &ApiError) -> Self {
        let told = chain(error);
        let later = |maybe_taken| Self::Later { after: error.retry_after(), told: told.clone(), maybe_taken };
        if error.is_quota() {
            return later(false);
        }
        match error {
            ApiError::Auth { source, .. } if source.is_transient() => later(false),
            ApiError::Auth { .. } | ApiError::Refused { .. } => Self::Never { reason: Reason::Forbidden, told },
            ApiError::TooLarge { .. } => Self::Never { reason: Reason::Rejected, told },
            _ if error.is_transient() => later(true),
            // The token is not taken although it was renewed: nothing was done, and it passes as one that cannot be had.
            _ if error.status() == Some(401) => later(false),
            // Another operation on the same resource is under way: nothing was done, and it passes.
            _ if is_busy(error) => later(false),
            _ => {
                let reason = match error.status() {
                    Some(403) => Reason::Forbidden,
                    Some(404) => Reason::Gone,
                    _ => Reason::Rejected,
                };
                Self::Never { reason, told }
            }
        }
    }
}

/// Whether the resource is not in the state for the call, or another operation on it is under way.
pub fn is_busy(error: &ApiError) -> bool {
    error.status() == Some(409) || error.reason() == Some("resourceNotReady")
}

impl Hands {
    /// Hands over both halves of the service.
    pub fn new(reads: Compute, acts: ComputeActs) -> Self {
        Self { reads, acts }
    }

    /// The instance of this numeric id; `None` when there is none.
    pub async fn find(&self, vm: &Vm) -> Result<Option<Instance>, ApiError> {
        let id = vm.id.to_string();
        match self.reads.instance(&vm.project, &vm.zone, &id).await {
            Ok(Some(found)) => return Ok(Some(found)),
            Ok(None) => {}
            // A service that takes only names here.
            Err(error) if error.status() == Some(400) => {}
            Err(error) => return Err(error),
        }
        let listed =
            self.reads.instances::<Instance>(&vm.project, Scope::Zone(&vm.zone), Some(&format!("id eq {id}"))).await;
        let listed = match listed {
            Err(error) if error.status() == Some(404) => return Ok(None),
            listed => listed?,
        };
        match listed.instances.into_iter().find(|instance| instance.id.0 == id) {
            None => Ok(None),
            Some(found) => self.reads.instance(&vm.project, &vm.zone, &found.name).await,
        }
    }

    /// Does it.
    pub async fn act(
        &self,
        action: Action,
        target: &Target,
        request: &str,
        discard: Option<bool>,
    ) -> Result<Operation, ApiError> {
        match action {
            Action::Relearn => self.acts.relearn(target, request).await,
            Action::Stop => self.acts.stop(target, request, discard).await,
            Action::Suspend => self.acts.suspend(target, request, discard).await,
        }
    }

    /// Makes a snapshot; `None` when one of this name stands there already, which has to be looked at.
    pub async fn snapshot(
        &self,
        disk: &Disk,
        request: &str,
        wish: SnapshotWish<'_>,
    ) -> Result<Option<Operation>, ApiError> {
        match self.acts.snapshot(disk, request, wish).await {
            Err(error) if error.status() == Some(409) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// The snapshot of this name; `None` when there is none.
    pub async fn find_snapshot(&self, project: &str, name: &str) -> Result<Option<Snapshot>, ApiError> {
        self.acts.find_snapshot(project, name).await
    }

    /// Waits for an operation, at most two minutes.
    pub async fn wait(&self, operation: &str) -> Result<Operation, ApiError> {
        self.acts.wait(operation).await
    }
}
