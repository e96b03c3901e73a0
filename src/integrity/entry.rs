//! What a log entry about a Shielded VM says, in our own words.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::answer::Answer;
use super::diff::{Change, Difference, compare};
use super::judgement::Judgement;
use super::measurement::{Garbled, Measurements};
use super::moment::Moment;
use crate::finding::FindingId;

/// The log of boot reports, decoded.
pub const INTEGRITY_LOG: &str = "compute.googleapis.com/shielded_vm_integrity";

/// Who did it, where the audit entry does not say.
pub const UNNAMED: &str = "somebody the entry does not name";

/// One log entry about a Shielded VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Which VM.
    pub vm: Vm,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// How often the VM had been restarted; only boot events have it.
    pub boot: Option<u64>,
    /// What it says.
    pub fact: Fact,
    /// Where the entry stands in Cloud Logging.
    pub log: LogLine,
}

/// A VM as a log entry names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vm {
    /// The project's id.
    pub project: String,
    /// The zone; empty when the entry has none.
    pub zone: String,
    /// The numeric id.
    #[serde(with = "as_text")]
    pub id: u64,
    /// The name, which only audit entries have.
    pub name: Option<String>,
}

impl Vm {
    /// The full resource name by numeric id.
    pub fn resource(&self) -> String {
        format!("//compute.googleapis.com/projects/{}/zones/{}/instances/{}", self.project, self.zone, self.id)
    }

    /// What identifies it: names are used again after a VM was removed, ids are not.
    pub fn key(&self) -> String {
        format!("{}/{}", self.project, self.id)
    }

    /// Its name when known, else its id.
    pub fn shown(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.id.to_string())
    }
}

/// Where an entry stands in Cloud Logging.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// Its insert id, unique only together with log and time.
    pub insert_id: String,
    /// The log's id, decoded.
    pub log_id: String,
    /// `projects/…`, `folders/…` or `organizations/…`.
    pub container: String,
    /// Its own time, where that is not when it happened: it was in the future.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<DateTime<Utc>>,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// The VM started.
    Startup,
    /// The VM stopped.
    Shutdown,
    /// The virtual TPM was cleared: sealed secrets are gone.
    VtpmCleared,
    /// From the firmware's start until the boot loader takes over.
    EarlyBoot(BootReport),
    /// From the boot loader until the kernel is loaded.
    LateBoot(BootReport),
    /// An early report failed and no late report followed in time. We say this, not the log.
    BootIncomplete {
        /// The early report that failed.
        early: BootReport,
        /// How long was waited, in minutes.
        minutes: u32,
    },
    /// The launch of a Confidential VM was attested.
    Launch(LaunchReport),
    /// Somebody had the policy baseline learned again.
    BaselineRelearned(Audit),
    /// Somebody changed the Shielded VM options.
    OptionsChanged {
        /// Who and how.
        by: Audit,
        /// Secure Boot, when it was set.
        secure_boot: Option<bool>,
        /// The virtual TPM, when it was set.
        vtpm: Option<bool>,
        /// Integrity monitoring, when it was set.
        monitoring: Option<bool>,
    },
    /// What somebody asked for through the Compute API came to nothing: its operation ended with an error.
    ChangeFailed {
        /// Who and how.
        by: Audit,
        /// What it was about: the options, or relearning.
        check: Check,
    },
    /// A report was answered. We say this, not the log.
    Answered(Box<Answered>),
}

/// A boot report.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BootReport {
    /// What the entry itself says about passing; `None` when the member was missing.
    pub stated: Option<bool>,
    /// The policy baseline.
    pub policy: Measurements,
    /// What this boot measured.
    pub actual: Measurements,
    /// Measurements that could not be read, one sentence each. Such a report never matches a baseline.
    pub unreadable: Vec<String>,
    /// The registers that these are of.
    #[serde(default, skip_serializing_if = "Garbled::is_empty")]
    pub garbled: Garbled,
    /// Why the boot counter cannot be read, when it cannot. Such a report never matches a baseline either.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counter: Option<String>,
}

impl BootReport {
    /// Every register of policy and actual.
    pub fn differences(&self) -> Vec<Difference> {
        let differences = compare(&self.policy, &self.actual).into_iter();
        differences.map(|difference| difference.given(&self.garbled)).collect()
    }

    /// What cannot be read, one sentence each.
    pub fn not_readable(&self) -> impl Iterator<Item = &String> {
        self.unreadable.iter().chain(&self.counter)
    }

    /// Whether it passed: as stated, else by comparing.
    pub fn passed(&self) -> bool {
        self.stated.unwrap_or_else(|| {
            let differences = self.differences();
            self.unreadable.is_empty()
                && !differences.is_empty()
                && differences.iter().all(|difference| difference.change == Change::Equal)
        })
    }
}

/// The attestation of a Confidential VM's launch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaunchReport {
    /// Whether it passed; `None` when the entry does not say.
    pub passed: Option<bool>,
    /// Whether the policy lets the memory be read for debugging.
    pub debug_enabled: Option<bool>,
    /// The SEV policy as delivered.
    pub policy: serde_json::Map<String, serde_json::Value>,
}

impl LaunchReport {
    /// Whether somebody should look at it. What does not say that it passed may have left out that it did not.
    pub fn alarming(&self) -> bool {
        self.passed != Some(true) || self.debug_enabled == Some(true)
    }
}

/// Who did what through the Compute API.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// The e-mail address or subject of who called.
    pub principal: String,
    /// The method, as the entry names it.
    pub method: String,
    /// The caller's address.
    pub caller_ip: Option<String>,
    /// The caller's program.
    pub user_agent: Option<String>,
    /// The operation it started.
    pub operation: Option<String>,
}

/// A report that was answered: what the finding about it should say now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answered {
    /// The report.
    pub report: Entry,
    /// What the baselines said of it.
    pub judgement: Option<Judgement>,
    /// The VM's name, when it was found out.
    pub name: Option<String>,
    /// What was done.
    pub answer: Answer,
}

/// What a finding is about: there is one finding a VM and check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// The early boot report.
    EarlyBoot,
    /// The late boot report.
    LateBoot,
    /// The boot ended between the two.
    BootIncomplete,
    /// The launch attestation of a Confidential VM.
    Launch,
    /// The virtual TPM was cleared.
    VtpmCleared,
    /// Secure Boot, vTPM or monitoring is off.
    Options,
    /// The baseline was learned again.
    Relearned,
    /// After we had the baseline learned again, the policy is not what was approved.
    NotApproved,
}

impl Check {
    /// The word in finding ids, state and metrics.
    pub fn label(self) -> &'static str {
        match self {
            Self::EarlyBoot => "early_boot",
            Self::LateBoot => "late_boot",
            Self::BootIncomplete => "boot_incomplete",
            Self::Launch => "launch",
            Self::VtpmCleared => "vtpm_cleared",
            Self::Options => "options",
            Self::Relearned => "relearned",
            Self::NotApproved => "not_approved",
        }
    }
}

impl Entry {
    /// When it happened: its time, and the boot it belongs to.
    pub fn moment(&self) -> Moment {
        Moment { time: self.time, boot: self.boot }
    }

    /// The check it bears on; `None` for starting and stopping.
    pub fn check(&self) -> Option<Check> {
        Some(match &self.fact {
            Fact::Startup | Fact::Shutdown => return None,
            Fact::VtpmCleared => Check::VtpmCleared,
            Fact::EarlyBoot(_) => Check::EarlyBoot,
            Fact::LateBoot(_) => Check::LateBoot,
            Fact::BootIncomplete { .. } => Check::BootIncomplete,
            Fact::Launch(_) => Check::Launch,
            Fact::BaselineRelearned(_) => Check::Relearned,
            Fact::OptionsChanged { .. } => Check::Options,
            Fact::ChangeFailed { check, .. } => *check,
            Fact::Answered(answered) => return answered.report.check(),
        })
    }

    /// Whether it is bad news; `None` for starting, stopping, and what came to nothing.
    pub fn failed(&self) -> Option<bool> {
        Some(match &self.fact {
            Fact::Startup | Fact::Shutdown | Fact::ChangeFailed { .. } => return None,
            Fact::EarlyBoot(report) | Fact::LateBoot(report) => !report.passed(),
            Fact::Launch(report) => report.alarming(),
            Fact::VtpmCleared | Fact::BootIncomplete { .. } | Fact::BaselineRelearned(_) | Fact::Answered(_) => true,
            Fact::OptionsChanged { secure_boot, vtpm, monitoring, .. } => {
                [secure_boot, vtpm, monitoring].contains(&&Some(false))
            }
        })
    }

    /// Who did what through the Compute API, when it is about that.
    pub fn audit(&self) -> Option<&Audit> {
        match &self.fact {
            Fact::BaselineRelearned(by) | Fact::OptionsChanged { by, .. } | Fact::ChangeFailed { by, .. } => Some(by),
            _ => None,
        }
    }

    /// What identifies the entry: the same for every delivery of it, different for every boot and report.
    pub fn key(&self) -> String {
        if let Fact::Answered(answered) = &self.fact {
            return format!("{}/answered", answered.report.key());
        }
        let boot = self.boot.map(|boot| boot.to_string()).unwrap_or_default();
        let kind = self.check().map_or("lifecycle", Check::label);
        let own = match &self.fact {
            Fact::BaselineRelearned(by) | Fact::OptionsChanged { by, .. } => by.operation.clone(),
            Fact::ChangeFailed { by, .. } => by.operation.as_ref().map(|operation| format!("{operation}/failed")),
            Fact::Startup => Some("startup".to_owned()),
            Fact::Shutdown => Some("shutdown".to_owned()),
            _ => None,
        };
        let own = match own {
            // Both entries of an operation are the same news, unless the last one says that it failed.
            Some(operation) if self.check().is_some() => operation,
            Some(word) => format!("{word}/{}", self.stamp()),
            None => self.stamp(),
        };
        format!("{}/{kind}/{boot}/{own}", self.vm.key())
    }

    /// The id of the finding it bears on: one a VM and check.
    pub fn finding_id(&self) -> FindingId {
        match self.check() {
            None => FindingId::ours("integrity", &self.key()),
            Some(check) => finding_id(&self.vm, check),
        }
    }

    /// The time under which it stands in its log: the same with every delivery.
    pub fn logged(&self) -> DateTime<Utc> {
        self.log.timestamp.unwrap_or(self.time)
    }

    fn stamp(&self) -> String {
        self.logged().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true)
    }
}

/// The id of the finding about a check of a VM.
pub fn finding_id(vm: &Vm, check: Check) -> FindingId {
    FindingId::ours("integrity", &format!("{}/{}", vm.key(), check.label()))
}

mod as_text {
    //! A 64-bit id as text: JSON readers elsewhere would lose its last digits.
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(id: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}
