//! The journal: every decision, one JSON object a line, appended and never changed.

use std::io::Write;
use std::path::Path;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};

/// One decision. Holds no token, no nonce and no claim but the machine's name.
#[derive(Debug, Serialize)]
pub struct Entry<'e> {
    /// When.
    #[serde(serialize_with = "seconds")]
    pub time: DateTime<Utc>,
    /// `verify`, `secret` or `challenge`.
    pub asked: &'static str,
    /// The secret that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<&'e str>,
    /// The policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<&'e str>,
    /// The SHA-256 of the policy's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_sha256: Option<&'e str>,
    /// The SHA-256 of the token's parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<String>,
    /// The machine, once verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<String>,
    /// `allowed` or `denied`.
    pub verdict: &'static str,
    /// The reason's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Who asked.
    pub address: String,
}

fn seconds<S: serde::Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

struct Line {
    text: String,
    written: Option<oneshot::Sender<bool>>,
}

/// Appends lines on a thread of its own; those that come together are written together.
#[derive(Clone)]
pub struct Journal(mpsc::Sender<Line>);

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Journal")
    }
}

impl Journal {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// When it cannot be opened for appending.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)?;
        }
        let mut options = std::fs::OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(path)?;
        let (sender, receiver) = mpsc::channel(4096);
        std::thread::Builder::new().name("journal".into()).spawn(move || write_lines(file, receiver))?;
        Ok(Self(sender))
    }

    /// Appends an entry, without waiting for the disk.
    pub async fn note(&self, entry: &Entry<'_>) {
        if let Some(text) = line(entry) {
            // A closed channel means the thread is gone; that is logged where a line must be written.
            self.0.send(Line { text, written: None }).await.ok();
        }
    }

    /// Appends an entry and answers whether it is written.
    pub async fn write(&self, entry: &Entry<'_>) -> bool {
        let Some(text) = line(entry) else { return false };
        let (written, answer) = oneshot::channel();
        self.0.send(Line { text, written: Some(written) }).await.is_ok() && answer.await.unwrap_or(false)
    }
}

fn line(entry: &Entry<'_>) -> Option<String> {
    serde_json::to_string(entry).ok().map(|text| text + "\n")
}

fn write_lines(mut file: std::fs::File, mut lines: mpsc::Receiver<Line>) {
    while let Some(first) = lines.blocking_recv() {
        let mut batch = vec![first];
        while batch.len() < 512
            && let Ok(next) = lines.try_recv()
        {
            batch.push(next);
        }
        let text: String = batch.iter().map(|line| line.text.as_str()).collect();
        let good = file.write_all(text.as_bytes()).and_then(|()| file.flush());
        if let Err(error) = &good {
            tracing::error!(%error, "the attestation journal cannot be written; no secrets are released");
        }
        for waiting in batch.into_iter().filter_map(|line| line.written) {
            // Who waited may have gone.
            waiting.send(good.is_ok()).ok();
        }
    }
}
