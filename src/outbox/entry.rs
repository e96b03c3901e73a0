//! What the outbox keeps about one event, and the ways a lease ends.

use std::borrow::Cow;
use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::Serialize;

use crate::event::{Event, Outcome};

/// An entry on its way in.
#[derive(Debug, Clone)]
pub struct NewEntry {
    /// What identifies the event; a second entry with the same key is a duplicate.
    pub key: String,
    /// The element as it was delivered.
    pub body: String,
    /// The normalised event as JSON, or why there is none.
    pub content: Result<NewContent, String>,
    /// The door it came in by.
    pub door: &'static str,
}

/// The normalised part of a [`NewEntry`].
#[derive(Debug, Clone)]
pub struct NewContent {
    /// The event, serialised.
    pub event: Vec<u8>,
    /// The same event as it stands in memory, for a worker that can take it at once; without it the text is read.
    pub in_hand: Option<Event>,
    /// The event's kind.
    pub kind: &'static str,
    /// 0 goes first, 3 last.
    pub urgency: u8,
}

/// A row the worker holds.
#[derive(Debug, Clone)]
pub struct Leased {
    /// The row.
    pub id: i64,
    /// What identifies the event.
    pub key: String,
    /// 0 goes first, 3 last.
    pub urgency: u8,
    /// The event; [`Leased::event`] reads it.
    pub event: Content,
    /// How many bytes its row keeps of it.
    pub bytes: usize,
    /// How many attempts have failed.
    pub attempts: u32,
    /// When it was due: for a fresh one at any time.
    pub due: DateTime<Utc>,
    /// When the first attempt failed, moved on by the time in which it was not tried since.
    pub failing_since: Option<DateTime<Utc>>,
    /// When it was accepted.
    pub accepted: DateTime<Utc>,
}

/// The event of a row.
#[derive(Debug, Clone)]
pub enum Content {
    /// As its row has it: serialised.
    Written(Vec<u8>),
    /// As it came in.
    InHand(Event),
}

impl Leased {
    /// The event.
    ///
    /// # Errors
    /// When the row was written by a version whose events this program cannot read.
    pub fn event(&self) -> Result<Cow<'_, Event>, serde_json::Error> {
        match &self.event {
            Content::InHand(event) => Ok(Cow::Borrowed(event)),
            Content::Written(text) => Event::from_json(text).map(Cow::Owned),
        }
    }
}

/// How a lease ends.
#[derive(Debug, Clone)]
pub struct Settlement {
    /// The row.
    pub id: i64,
    /// What happens to it.
    pub ending: Ending,
}

/// What happens to a row when its lease ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    /// It is finished; one that is parked has failed, and the attempt counts.
    Close {
        /// How.
        outcome: Outcome,
        /// A sentence, where the outcome alone does not tell.
        note: Option<String>,
    },
    /// The attempt failed; it is tried again at a time.
    Retry {
        /// Not before.
        at: DateTime<Utc>,
        /// What went wrong.
        reason: String,
    },
    /// The lease is given back as if nothing had happened; the attempt does not count.
    Release {
        /// Why, when there is something to tell.
        reason: Option<String>,
        /// Not before, when waiting makes sense.
        at: Option<DateTime<Utc>>,
    },
}

/// The sums of the ledger at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// All elements ever taken in.
    pub accepted: u64,
    /// Rows that wait or are leased: counted row by row.
    pub waiting: u64,
    /// Of these, rows the worker holds.
    pub leased: u64,
    /// Closed, by outcome: sums that outlive the pruned rows.
    pub closed: BTreeMap<&'static str, u64>,
    /// Age in seconds of the oldest waiting row.
    pub oldest_waiting_secs: Option<u64>,
    /// Rows in the file, closed ones included.
    pub rows: u64,
    /// Bytes the file's used pages take.
    pub bytes: u64,
}

impl Stats {
    /// All that ended.
    pub fn closed_total(&self) -> u64 {
        self.closed.values().sum()
    }

    /// Whether accepted = waiting + closed.
    pub fn balances(&self) -> bool {
        self.accepted == self.waiting + self.closed_total()
    }
}
