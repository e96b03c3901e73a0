//! What becomes of a log entry when it is read.

use super::entry::Entry;

/// What a log entry turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// News about a Shielded VM.
    Entry(Box<Entry>),
    /// A valid entry that is not for us.
    Foreign(Foreign),
}

/// Why a valid entry is not for us: a closed list, the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// It is of another log.
    OtherLog,
    /// It is of the log of another project than the VM's.
    OtherProject,
    /// It is about something that is no VM.
    OtherResource,
    /// An integrity event of a kind that is not known here.
    UnknownEvent,
    /// An audit entry of another method, of a failed call, or one that repeats another without its contents.
    OtherAudit,
}

impl Foreign {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::OtherLog => "other_log",
            Self::OtherProject => "other_project",
            Self::OtherResource => "other_resource",
            Self::UnknownEvent => "unknown_integrity_event",
            Self::OtherAudit => "other_audit",
        }
    }

    /// Why, in a sentence for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::OtherLog => {
                "It is no entry of the Shielded VM integrity log, or of the audit log for an audit entry."
            }
            Self::OtherProject => {
                "Its log is not of the project it says its VM is in (logName, resource.labels.project_id): anybody may have written it."
            }
            Self::OtherResource => "Its resource.type is not gce_instance.",
            Self::UnknownEvent => "It is an integrity event of a kind that this version does not know.",
            Self::OtherAudit => {
                "It is an audit entry that changes no Shielded VM option: another method, a call that was refused at once, or the end of an operation whose beginning says more."
            }
        }
    }
}

/// What is wrong with an entry that should be ours, naming the member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);
