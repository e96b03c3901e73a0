//! Why a poll did not go through. Nothing is lost by it: the watermark stays, and the window is read again.

use std::time::Duration;

use crate::normalize::NormalizeError;
use crate::receive::IntakeError;
use crate::state::StateError;
use crate::sysdig::SysdigError;

/// Why a poll did not go through.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// Sysdig did not give the events.
    #[error("the events could not be read from Sysdig")]
    Sysdig(#[from] SysdigError),
    /// A page could not be read at all.
    #[error("a page of the events feed could not be read")]
    Normalize(#[from] NormalizeError),
    /// The outbox did not take them.
    #[error("the events that were read could not be written down")]
    Intake(#[from] IntakeError),
    /// The watermark could not be read or moved.
    #[error("the poll's watermark could not be read or moved")]
    State(#[from] StateError),
    /// Another replica polls now.
    #[error("another replica has taken over polling")]
    TakenOver,
}

impl PollError {
    /// The metric label: a closed set.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Sysdig(error) => error.label(),
            Self::Normalize(_) => "garbage",
            Self::Intake(_) => "intake",
            Self::State(_) => "state",
            Self::TakenOver => "taken_over",
        }
    }

    /// Whether waiting alone does not help.
    pub fn needs_somebody(&self) -> bool {
        match self {
            Self::Sysdig(error) => !error.is_transient(),
            Self::State(error) => !error.is_transient(),
            Self::Normalize(_) | Self::Intake(_) | Self::TakenOver => false,
        }
    }

    /// How long the other side wants to be left alone.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Sysdig(error) => error.retry_after(),
            _ => None,
        }
    }

    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Sysdig(error) => error.remedy(),
            Self::State(_) => "check STATE_URL and its storage",
            Self::Intake(_) => "check OUTBOX_URL and its storage",
            Self::Normalize(_) | Self::TakenOver => "nothing needs to be done",
        }
    }
}
