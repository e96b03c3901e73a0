//! A destination that only says what it would have sent: one JSON object a line.

use std::io::Write;
use std::sync::{Mutex, PoisonError};

use futures_util::future::BoxFuture;
use serde_json::json;

use super::{Delivered, Sink, SinkError, Verdict};
use crate::event::FindingChange;

/// Writes every change to a writer instead of sending it.
pub struct DryRun {
    out: Mutex<Box<dyn Write + Send>>,
}

impl DryRun {
    /// A dry run to this writer.
    pub fn new(out: impl Write + Send + 'static) -> Self {
        Self { out: Mutex::new(Box::new(out)) }
    }

    /// A dry run to standard output.
    pub fn to_stdout() -> Self {
        Self::new(std::io::stdout())
    }

    fn write(&self, change: &FindingChange) -> Result<Delivered, SinkError> {
        let failed = |error: std::io::Error| {
            SinkError::new("the dry run's line could not be written", Verdict::Retry(None), "dry_run").because(error)
        };
        let line = match change {
            FindingChange::Create { id, finding } => json!({ "would": "create", "findingId": id, "finding": finding }),
            FindingChange::Raise { id, finding } => json!({ "would": "raise", "findingId": id, "finding": finding }),
            FindingChange::Amend { id, finding } => json!({ "would": "amend", "findingId": id, "finding": finding }),
            FindingChange::Close { id, time, .. } => json!({ "would": "close", "findingId": id, "eventTime": time }),
        };
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(out, "{line}").and_then(|()| out.flush()).map_err(failed)?;
        Ok(Delivered::Written)
    }
}

impl std::fmt::Debug for DryRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DryRun").finish_non_exhaustive()
    }
}

impl Sink for DryRun {
    fn deliver<'a>(&'a self, change: &'a FindingChange) -> BoxFuture<'a, Result<Delivered, SinkError>> {
        Box::pin(std::future::ready(self.write(change)))
    }
}
