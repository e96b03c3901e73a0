//! Bringing findings to their destination, at the pace it allows.

pub mod dry_run;
pub mod pace;
pub mod scc;

use std::error::Error;
use std::time::Duration;

use futures_util::future::BoxFuture;

use crate::finding::FindingChange;

/// What the worker should do after a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Try again, not before this long from now when the service said so.
    Retry(Option<Duration>),
    /// A quota is used up: try again, not before this long from now. Waiting for it is no failure of this event, so the
    /// attempt is not counted.
    Wait(Duration),
    /// Nobody's event would pass (permission, configuration): hold the whole queue and alarm; the attempt is not counted.
    Hold,
    /// This one will never pass: park it with its reason.
    Park,
}

impl Verdict {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Retry(_) => "retry",
            Self::Wait(_) => "wait",
            Self::Hold => "hold",
            Self::Park => "park",
        }
    }
}

/// What a successful attempt did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// The finding was created or changed.
    Written,
    /// It stood there already; nothing was changed.
    AlreadyThere,
}

/// Why an attempt failed. The text says the layer's own part; the cause stays in `source`.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct SinkError {
    /// One sentence for the log and for the row.
    message: String,
    verdict: Verdict,
    label: &'static str,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl SinkError {
    /// An error without a cause beneath it.
    pub fn new(message: impl Into<String>, verdict: Verdict, label: &'static str) -> Self {
        Self { message: message.into(), verdict, label, source: None }
    }

    /// The same with its cause.
    #[must_use]
    pub fn because(mut self, cause: impl Error + Send + Sync + 'static) -> Self {
        self.source = Some(Box::new(cause));
        self
    }

    /// What to do next.
    pub fn verdict(&self) -> Verdict {
        self.verdict
    }

    /// The metric label, from a closed set.
    pub fn label(&self) -> &'static str {
        self.label
    }
}

/// Where findings go.
pub trait Sink: Send + Sync + std::fmt::Debug {
    /// Makes one change. Repeating it is safe.
    fn deliver<'a>(&'a self, change: &'a FindingChange) -> BoxFuture<'a, Result<Delivered, SinkError>>;
}
