//! The doors. All of them end in one function, [`Intake::take`]: elements become durable rows, and only then is
//! anybody answered.

pub mod attestation;
mod body;
pub mod client;
pub mod entries;
pub mod overdue;
pub mod poller;
pub mod pubsub;
pub mod pubsub_pull;
pub mod pubsub_token;
pub mod refusal;
pub mod room;
pub mod sender;
pub mod strangers;
#[cfg(test)]
mod tests;
pub mod webhook;

use std::ops::AddAssign;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use crate::event::Event;
use crate::normalize::{Element, Ignored};
use crate::outbox::{NewContent, NewEntry, Store, StoreError};
use crate::telemetry::metrics as names;
use crate::telemetry::summed::{Sum, Summed};

/// As many bytes as a normalised event usually takes as JSON: room that need not grow while it is written.
const USUAL_EVENT: usize = 4 * 1024;

/// Of deliveries with more elements than this, no event keeps the room that it did not need.
const MANY: usize = 64;

/// So often the log tells at most that elements of no known shape come in by a door.
const TELL_UNKNOWN_EVERY: Duration = Duration::from_secs(60);

/// More doors than there are.
const DOORS: usize = 8;

/// Which door a delivery came in by: the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Door {
    /// `POST /events`.
    Webhook,
    /// The Sysdig events API.
    Poller,
    /// Pub/Sub push or pull.
    Pubsub,
    /// An attestation request.
    Attestation,
    /// None: what this process found out or did itself, such as a boot that did not complete, or an answer to a failed one.
    Own,
}

impl Door {
    /// What can become of an element, as the metric's label.
    pub const RESULTS: [&str; 4] = ["accepted", "duplicate", "ignored", "parked"];

    /// The metric label, and the word in the ledger.
    pub fn label(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Poller => "poller",
            Self::Pubsub => "pubsub",
            Self::Attestation => "attestation",
            Self::Own => "own",
        }
    }
}

/// What became of the elements of one delivery: the door's answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Events that are now ours to deliver.
    pub accepted: u64,
    /// Events that had been taken before.
    pub duplicates: u64,
    /// Elements that open no finding.
    pub ignored: u64,
    /// Elements that could not be read and are kept with their reason.
    pub parked: u64,
}

impl AddAssign for Receipt {
    fn add_assign(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.ignored += other.ignored;
        self.parked += other.parked;
    }
}

/// Why nothing of a delivery could be taken. The sender is told 503 and tries again.
#[derive(Debug, thiserror::Error)]
#[error("the outbox cannot take events now")]
pub struct IntakeError(#[source] pub StoreError);

/// The one function every door ends in.
#[derive(Debug, Clone)]
pub struct Intake {
    store: Arc<dyn Store>,
    wake: Arc<Notify>,
    /// Elements of no known shape: a whole stream of them must not vanish with only a counter.
    unknown: Arc<Summed<Door>>,
}

impl Intake {
    /// An intake over `store`; `wake` is the worker's.
    pub fn new(store: Arc<dyn Store>, wake: Arc<Notify>) -> Self {
        Self { store, wake, unknown: Arc::new(Summed::new(TELL_UNKNOWN_EVERY, DOORS)) }
    }

    /// Takes every element of one delivery in one transaction; when it returns `Ok`, all of them are durable.
    ///
    /// # Errors
    /// When the store cannot write; then none of them was taken.
    pub async fn take(&self, door: Door, elements: Vec<Element>) -> Result<Receipt, IntakeError> {
        let began = Instant::now();
        let many = elements.len() > MANY;
        let mut entries = Vec::with_capacity(elements.len());
        let (mut ignored, mut unknown) = (Vec::new(), Vec::new());
        let mut first_unreadable = None;
        for element in elements {
            match element {
                Element::Event { event, body } => {
                    let mut entry = entry(door, event, body);
                    if let Some(content) = entry.content.as_mut().ok().filter(|_| many) {
                        content.event.shrink_to_fit();
                    }
                    entries.push(entry);
                }
                Element::Unreadable { reason, body } => {
                    first_unreadable.get_or_insert_with(|| reason.clone());
                    entries.push(unreadable(door, reason, body));
                }
                Element::Ignored(kind) => ignored.push(kind),
                Element::Unknown { kind, members } => {
                    ignored.push(kind);
                    unknown.push(members);
                }
            }
        }
        let taken = self.store.accept(entries, ignored.len() as u64, Utc::now()).await.map_err(IntakeError)?;
        // Only now: what could not be taken is sent again.
        self.tell_ignored(door, &ignored, &unknown, Utc::now());
        // What was handed over lies on the worker's desk already.
        if taken.waiting > taken.handed {
            self.wake.notify_one();
        }
        let (accepted, duplicates, parked) = (taken.waiting, taken.duplicates, taken.parked);
        let receipt = Receipt { accepted, duplicates, ignored: ignored.len() as u64, parked };
        if let Some(reason) = first_unreadable.filter(|_| receipt.parked > 0) {
            tracing::warn!(
                parked = receipt.parked,
                reason,
                door = door.label(),
                "Elements that cannot be read were parked; `sysdig-scc outbox list --state parked` shows them."
            );
        }
        count(door, receipt);
        metrics::histogram!(names::ACCEPT_SECONDS.name).record(began.elapsed().as_secs_f64());
        Ok(receipt)
    }

    /// Counts what opens no finding. What nobody knows is told in the log too, by the names of its members.
    fn tell_ignored(&self, door: Door, ignored: &[Ignored], unknown: &[String], now: DateTime<Utc>) {
        for kind in ignored {
            metrics::counter!(names::IGNORED.name, "kind" => kind.label()).increment(1);
        }
        for members in unknown {
            if let Some(sum) = self.unknown.add(door, members, now) {
                tell_unknown(&sum);
            }
        }
    }

    /// Tells of elements of no known shape after which no more came.
    pub fn tell_rest(&self, now: DateTime<Utc>) {
        self.unknown.rest(now).iter().for_each(tell_unknown);
    }
}

fn tell_unknown(Sum { key, count, last }: &Sum<Door>) {
    let door = key.map(Door::label);
    tracing::warn!(door, members = last, count, "what came in is none of the known shapes and opens no finding");
}

/// The serialised part of a row: also used when a parked row is read anew.
pub fn content(event: Event) -> Result<NewContent, String> {
    let mut text = Vec::with_capacity(USUAL_EVENT);
    serde_json::to_writer(&mut text, &event).map_err(|error| format!("the event cannot be written down: {error}"))?;
    Ok(NewContent { event: text, kind: event.kind(), urgency: event.urgency(), in_hand: Some(event) })
}

fn entry(door: Door, event: Event, body: String) -> NewEntry {
    NewEntry { key: event.key(), body, content: content(event), door: door.label() }
}

// The same unreadable element delivered again is a duplicate, so that a sender that repeats it does not fill the disk.
fn unreadable(door: Door, reason: String, body: String) -> NewEntry {
    let key = format!("unreadable-{}", hex::encode(&Sha256::digest(body.as_bytes())[..16]));
    NewEntry { key, body, content: Err(reason), door: door.label() }
}

fn count(door: Door, receipt: Receipt) {
    let sums = [receipt.accepted, receipt.duplicates, receipt.ignored, receipt.parked];
    for (result, sum) in Door::RESULTS.into_iter().zip(sums).filter(|(_, sum)| *sum > 0) {
        metrics::counter!(names::RECEIVED.name, "door" => door.label(), "result" => result).increment(sum);
    }
}
