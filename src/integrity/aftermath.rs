//! What the end of an answer says of the VM, as far as the next steps depend on it. Pure.

use super::answer::{Action, Answer, Ended, Reason};
use super::context::Context;
use super::entry::Entry;

/// How the VM is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Aftermath {
    /// As the report found it, as far as anybody knows.
    AsReported,
    /// This was done to it, and seen to be done.
    Done(Action),
    /// Whether the call did what it should is not known.
    Unknown,
    /// It booted since, or may have: what it would learn now is another boot than the report's.
    BootedSince,
    /// It learned its most recent boot since.
    Relearned,
    /// The check has passed since.
    Passed,
    /// There is no such VM where the report says.
    Gone,
    /// It is not where the report says, but elsewhere.
    Elsewhere,
    /// It did not run, or not yet.
    NotRunning,
    /// Stopping it loses what is on its local SSDs.
    LocalSsd,
    /// The finding of another report of this boot tells what was done about it, and what is left.
    ToldElsewhere,
}

impl Aftermath {
    /// How the VM of `entry` is left, by what was done about it and what was seen since.
    pub(super) fn of(entry: &Entry, context: &Context) -> Self {
        // Whether word of it came before the report or after it.
        let relearned = context.record.relearned.as_ref().is_some_and(|(_, time)| *time > entry.time);
        match context.answer.as_ref().map_or(Self::AsReported, Self::left) {
            Self::AsReported if relearned => Self::Relearned,
            left => left,
        }
    }

    fn left(answer: &Answer) -> Self {
        match (answer.result, answer.action) {
            (Ended::Done, Some(action)) => Self::Done(action),
            // The name was another VM's by then.
            _ if answer.other_vm.is_some() => Self::Gone,
            _ => Self::because(answer.reason),
        }
    }

    /// What the reason of an answer that was not done says.
    fn because(reason: Reason) -> Self {
        match reason {
            Reason::Gone | Reason::IdDiffers | Reason::OtherVm => Self::Gone,
            Reason::PlaceDiffers => Self::Elsewhere,
            Reason::NotRunning => Self::NotRunning,
            Reason::Restarted | Reason::StartUnknown | Reason::NewerBoot | Reason::NewerReport => Self::BootedSince,
            Reason::PassedSince => Self::Passed,
            Reason::Relearned => Self::Relearned,
            Reason::LocalSsd => Self::LocalSsd,
            Reason::Early => Self::ToldElsewhere,
            Reason::OperationFailed | Reason::OperationSlow | Reason::NotConfirmed | Reason::Interrupted => {
                Self::Unknown
            }
            Reason::Asked
            | Reason::LogUnproven
            | Reason::NotStated
            | Reason::Incomplete
            | Reason::NotKnownGood
            | Reason::NoBaselines
            | Reason::ModeChanged
            | Reason::TooLate
            | Reason::MonitoringOff
            | Reason::ExemptLabel
            | Reason::GroupMember
            | Reason::GkeNode
            | Reason::CapHour
            | Reason::CapProject
            | Reason::CapOverall
            | Reason::SnapshotFailed
            | Reason::Forbidden
            | Reason::Rejected => Self::AsReported,
        }
    }
}
