//! A destination that only says what it would have sent: one JSON object a line.

use std::io::Write;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::{mpsc, oneshot};

use super::{Delivered, Sink, SinkError, Verdict};
use crate::finding::FindingChange;

/// Lines on their way to whoever reads.
const LINES: usize = 64;

type Line = (String, oneshot::Sender<std::io::Result<()>>);

/// Writes every change to a writer instead of sending it.
#[derive(Debug)]
pub struct DryRun {
    lines: mpsc::Sender<Line>,
}

impl DryRun {
    /// A dry run to this writer. It has a thread of its own: a reader who stalls holds up neither others nor the end.
    pub fn new(mut out: impl Write + Send + 'static) -> Self {
        let (lines, mut waiting) = mpsc::channel::<Line>(LINES);
        std::thread::spawn(move || {
            while let Some((line, written)) = waiting.blocking_recv() {
                // Whoever asked may have given up; the line is written all the same.
                drop(written.send(writeln!(out, "{line}").and_then(|()| out.flush())));
            }
        });
        Self { lines }
    }

    /// A dry run to standard output, by a handle of its own: whoever else writes there waits for no reader of ours.
    ///
    /// # Errors
    /// When there are no handles left.
    pub fn to_stdout() -> std::io::Result<Self> {
        #[cfg(unix)]
        return Ok(Self::new(std::fs::File::from(std::os::fd::AsFd::as_fd(&std::io::stdout()).try_clone_to_owned()?)));
        #[cfg(not(unix))]
        Ok(Self::new(std::io::stdout()))
    }

    async fn write(&self, change: &FindingChange) -> Result<Delivered, SinkError> {
        let failed = |error: std::io::Error| {
            SinkError::new("the dry run's line could not be written", Verdict::Retry(None), "dry_run").because(error)
        };
        let ended = || failed(std::io::ErrorKind::BrokenPipe.into());
        let line = match change {
            FindingChange::Create { id, finding } => json!({ "would": "create", "findingId": id, "finding": finding }),
            FindingChange::Raise { id, finding } => json!({ "would": "raise", "findingId": id, "finding": finding }),
            FindingChange::Amend { id, finding, .. } => {
                json!({ "would": "amend", "findingId": id, "finding": finding })
            }
            FindingChange::Close { id, time, .. } => json!({ "would": "close", "findingId": id, "eventTime": time }),
        };
        let (written, answer) = oneshot::channel();
        self.lines.send((line.to_string(), written)).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?.map_err(failed)?;
        Ok(Delivered::Written)
    }
}

impl Sink for DryRun {
    fn deliver<'a>(&'a self, change: &'a FindingChange) -> BoxFuture<'a, Result<Delivered, SinkError>> {
        Box::pin(self.write(change))
    }
}
