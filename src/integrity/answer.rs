//! What was done about a failed boot, or why nothing was: kept in the journal, and put on the finding.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::words::words;

words! {
    /// What can be done to a VM.
    Action.label {
        /// Let it learn its integrity policy baseline from its last boot.
        Relearn = "relearn",
        /// Stop it.
        Stop = "stop",
        /// Suspend it: memory is kept, nothing runs.
        Suspend = "suspend",
    }
}

impl Action {
    /// What it does to a VM, and when it counts as done.
    pub fn effect(self) -> &'static str {
        match self {
            Self::Relearn => {
                "`setShieldedInstanceIntegrityPolicy`: what the most recent boot measured becomes the policy. The VM keeps running. The policy of its next late report must be what was approved."
            }
            Self::Stop => {
                "`stop`: the VM is shut down; its disks stay, what was only in memory is lost. Compute Engine must then say `TERMINATED`."
            }
            Self::Suspend => "`suspend`: memory is kept, nothing runs. Compute Engine must then say `SUSPENDED`.",
        }
    }

    /// What an operator does to undo it.
    pub fn undone_by(self) -> String {
        let nothing = "nothing brings the old policy back; after a boot that is good, relearning again learns that one";
        let command = self.undo("VM", "--zone ZONE --project PROJECT");
        command.map_or_else(|| nothing.to_owned(), |command| format!("`{command}`"))
    }

    /// The command that undoes it, for a VM in a place as gcloud's flags name it.
    pub fn undo(self, vm: &str, place: &str) -> Option<String> {
        let verb = match self {
            Self::Relearn => return None,
            Self::Stop => "start",
            Self::Suspend => "resume",
        };
        Some(format!("gcloud compute instances {verb} {vm} {place}"))
    }

    /// As a sentence has it: "the VM was …".
    pub fn done(self) -> &'static str {
        match self {
            Self::Relearn => "told to relearn its integrity policy baseline",
            Self::Stop => "stopped",
            Self::Suspend => "suspended",
        }
    }
}

words! {
    /// How it ended.
    Ended.label {
        /// It will be done as soon as Compute Engine confirms what the report says.
        Planned = "planned",
        /// The rules say that this is only reported.
        Reported = "reported",
        /// It was done, and seen to be done.
        Done = "done",
        /// It would have been done; this is a dry run.
        DryRun = "dry_run",
        /// It was not done, for a reason that is a rule of ours.
        Refused = "refused",
        /// It was tried, and did not work, or is not known to have worked.
        Failed = "failed",
    }
}

words! {
    /// Why it ended so.
    Reason.label {
        /// The rules ask for it.
        Asked = "asked",
        /// The entry does not name the integrity log of the VM's own project.
        LogUnproven = "log_unproven",
        /// An early report, in a mode in which only late ones are answered.
        Early = "early_report",
        /// The report does not say whether the check passed.
        NotStated = "result_not_stated",
        /// The report has no measurements, or lacks a register as a late one, cannot be read in full, or does not say in
        /// which zone the VM is.
        Incomplete = "incomplete_report",
        /// No baseline knows the measurements, and the mode says to report that.
        NotKnownGood = "not_known_good",
        /// There is no usable baseline at all, and `INTEGRITY_STOP_WITHOUT_BASELINES` is not set.
        NoBaselines = "no_baselines",
        /// `INTEGRITY_ACTION` was changed after it was planned.
        ModeChanged = "mode_changed",
        /// It could not be done in time.
        TooLate = "too_late",
        /// The VM is not there.
        Gone = "instance_gone",
        /// What answers to the id is another VM.
        IdDiffers = "id_differs",
        /// It is in another project or zone.
        PlaceDiffers = "place_differs",
        /// It does not run.
        NotRunning = "not_running",
        /// It was started after the report.
        Restarted = "restarted_since",
        /// Compute Engine does not say when it was started.
        StartUnknown = "start_unknown",
        /// A report of a later boot was seen.
        NewerBoot = "newer_boot_seen",
        /// A newer report of the same check was seen.
        NewerReport = "newer_report_seen",
        /// The check has passed since.
        PassedSince = "passed_since",
        /// The baseline was relearned after the report.
        Relearned = "relearned_since",
        /// Integrity monitoring is off: the report cannot be its own.
        MonitoringOff = "monitoring_off",
        /// It has the label that exempts, `INTEGRITY_EXEMPT_LABEL`.
        ExemptLabel = "exempt_label",
        /// A managed instance group would repair it, and `INTEGRITY_ACT_ON_GROUPS` is not set.
        GroupMember = "group_member",
        /// A GKE cluster would repair it, and `INTEGRITY_ACT_ON_GROUPS` is not set.
        GkeNode = "gke_node",
        /// It has local SSDs, whose data would be lost, and `INTEGRITY_DISCARD_LOCAL_SSD` is not set.
        LocalSsd = "local_ssd",
        /// The cap of an hour is reached, `INTEGRITY_ACTIONS_PER_HOUR`.
        CapHour = "cap_hour",
        /// The cap of an hour for one project is reached, `INTEGRITY_ACTIONS_PER_PROJECT_HOUR`.
        CapProject = "cap_project",
        /// The cap of all actions is reached, `INTEGRITY_ACTIONS_OVERALL`.
        CapOverall = "cap_overall",
        /// A snapshot could not be made, and `INTEGRITY_SNAPSHOT_FIRST` asks for one.
        SnapshotFailed = "snapshot_failed",
        /// Compute Engine refuses: a permission is missing.
        Forbidden = "forbidden",
        /// Compute Engine refuses the call for another reason.
        Rejected = "rejected",
        /// The operation ended with an error.
        OperationFailed = "operation_failed",
        /// The operation did not end in time.
        OperationSlow = "operation_slow",
        /// Another VM was hit, which had been given the name of the report's right before the call.
        OtherVm = "other_vm",
        /// The call was taken, but the VM does not look it, or nothing shows how the operation ended.
        NotConfirmed = "not_confirmed",
        /// The connector was interrupted or got no answer, and things have changed since: whether the call arrived, or
        /// whether it was what stopped the VM, is not known.
        Interrupted = "interrupted",
    }
}

/// What was done about a report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// What; nothing when the rules say that this is only reported.
    pub action: Option<Action>,
    /// How it ended.
    pub result: Ended,
    /// Why.
    pub reason: Reason,
    /// The same as a sentence.
    pub told: String,
    /// When.
    pub time: DateTime<Utc>,
    /// The setting INTEGRITY_ACTION.
    pub mode: String,
    /// The baseline that approves the measurements.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub baseline: Option<String>,
    /// The id of the request to Compute Engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Compute Engine's operation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The id of the VM that the operation is of, when that is another one than the report's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub other_vm: Option<String>,
    /// The snapshots that were made.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub snapshots: Vec<String>,
}

impl Answer {
    /// The id of the other VM that was hit. An operation that is known to have failed did nothing to it.
    pub fn hit_vm(&self) -> Option<&str> {
        self.other_vm.as_deref().filter(|_| self.reason == Reason::OtherVm)
    }

    /// The answer as a sentence for the finding.
    pub fn sentence(&self) -> String {
        format!("Answer (INTEGRITY_ACTION={}): {}", self.mode, self.told)
    }
}
