//! Files of log entries, as commands are given them.

use std::io::Read;
use std::path::Path;

use anyhow::{Context, bail};
use chrono::Utc;

use crate::integrity::envelope::{Item, entries};
use crate::integrity::{Entry, Reading, read};

/// What one entry of a file turned out to be.
pub(super) enum Opened {
    /// News about a Shielded VM.
    Entry(Box<Entry>),
    /// Something else; the sentence says what.
    Foreign(String),
    /// It cannot be read, for this reason.
    Unreadable(String),
}

/// Reads one entry.
pub(super) fn opened(item: Item) -> Opened {
    match item {
        Item::NoData => Opened::Foreign("The message has no data.".to_owned()),
        Item::Unreadable { reason, .. } => Opened::Unreadable(hint(reason)),
        Item::Entry(json) => match read(&json, Utc::now()) {
            Ok(Reading::Entry(entry)) => Opened::Entry(entry),
            Ok(Reading::Foreign(foreign)) => Opened::Foreign(foreign.reason().to_owned()),
            Err(error) => Opened::Unreadable(error.0),
        },
    }
}

fn hint(reason: String) -> String {
    if reason.starts_with("it is not JSON") { format!("{reason}; with gcloud, add --format=json") } else { reason }
}

/// What a file holds, at least one entry of whatever kind.
///
/// # Errors
/// When the file cannot be read, or nothing is in it.
pub(super) fn items(file: &str) -> anyhow::Result<Vec<Item>> {
    let bytes = contents(file)?;
    let items = entries(&bytes);
    if items.is_empty() && !bytes.trim_ascii().is_empty() {
        bail!(
            "{} is an empty list: the query found no entries. gcloud looks back one day unless told otherwise; add --freshness=30d",
            named(file)
        );
    }
    if items.is_empty() {
        bail!(
            "{} is empty; give it a log entry as JSON, for example from `gcloud logging read … --format=json`",
            named(file)
        );
    }
    Ok(items)
}

/// Every entry in a file that is news about a Shielded VM.
///
/// # Errors
/// When the file cannot be read, or something in it cannot.
pub(super) fn known_entries(file: &str) -> anyhow::Result<Vec<Entry>> {
    let mut found = Vec::new();
    for item in items(file)? {
        match opened(item) {
            Opened::Entry(entry) => found.push(*entry),
            Opened::Foreign(_) => {}
            Opened::Unreadable(reason) => bail!("{} cannot be read: {reason}", named(file)),
        }
    }
    Ok(found)
}

/// The bytes of a file, or of standard input.
pub(super) fn contents(file: &str) -> anyhow::Result<Vec<u8>> {
    if file != "-" {
        return std::fs::read(Path::new(file)).with_context(|| format!("{file} cannot be read"));
    }
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).context("standard input cannot be read")?;
    Ok(bytes)
}

/// What the file is called in a sentence.
pub(super) fn named(file: &str) -> &str {
    if file == "-" { "standard input" } else { file }
}
