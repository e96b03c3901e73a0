//! The outbox: events we have promised to deliver.
//!
//! An event is ours from the moment [`Store::accept`] returns; from then on it is delivered, or parked with a reason
//! that a person can read. Nothing leaves silently: **accepted = waiting + closed**, and each closed row has exactly
//! one [`Outcome`](crate::event::Outcome). Both sides are kept apart (rows here, sums there), so the equation is a
//! check and not a definition.
//!
//! Rows are leased, not removed, while the worker holds them. A process that dies leaves its leases behind; the next
//! one on the same file takes them back when it opens it. So **an event may be delivered twice**; findings have
//! deterministic ids and sinks are written for that.
//!
//! Not here: what an event means ([`crate::event`]), what becomes of it ([`crate::decide`]), how long a service wants
//! us to wait (the sink's verdict).
//!
//! ## Races we know of
//! - *The process dies between the finding's creation and the row's closing.* The finding is created again under the
//!   same id; Security Command Center answers 409, which is success.
//! - *A lease runs out while a slow delivery is under way.* The same, within one process.
//! - *Two processes on one file.* The second is refused by a lock on `FILE.lock`. The commands `outbox …` do not take
//!   it: they change parked rows only, in transactions of their own.
//! - *The clock steps back.* Fresh rows carry no time and are always due; planned retries are moved with the clock, and one
//!   that lies further ahead than any retry may be planned, as after a restart, is due at once. The time from which a row
//!   counts as failing goes with them.
//! - *The clock steps forward, or nobody runs for days.* [`patience`] leaves out time in which nothing was tried.

pub mod attempt;
pub mod backoff;
pub mod desk;
pub mod entry;
pub mod patience;
pub mod sqlite;
pub mod worker;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;

pub use desk::{Desk, Room};
pub use entry::{Content, Ending, Leased, NewContent, NewEntry, Settlement, Stats};
pub use sqlite::Sqlite;

/// Why the store could not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space left on the device, or the file's size limit is reached.
    #[error("the outbox's disk is full")]
    Full(#[source] rusqlite::Error),
    /// What is left on the device is needed for delivering what is in the outbox.
    #[error(
        "the outbox's disk is too full: it has {free} bytes left, of which delivering takes {kept}; there is no room for {asked} bytes, \
         written to the log and to the file"
    )]
    NoRoom {
        /// What is left.
        free: u64,
        /// What is kept of that for delivering, with what the log still takes.
        kept: u64,
        /// What was to be written.
        asked: u64,
    },
    /// The file or its folder cannot be written.
    #[error("the outbox's file or folder is read-only")]
    ReadOnly(#[source] rusqlite::Error),
    /// Another program holds the file's write lock.
    #[error("the outbox's file is locked by another program")]
    Locked(#[source] rusqlite::Error),
    /// The file, or the log beside it, cannot be opened or made.
    #[error(
        "the outbox's file or the log beside it cannot be opened; is its folder missing, read-only, or another user's?"
    )]
    CannotOpen(#[source] rusqlite::Error),
    /// Another connector runs on this file.
    #[error("another sysdig-scc process is running on {path}; stop it, or give this one its own OUTBOX_URL")]
    InUse {
        /// The file.
        path: String,
    },
    /// The file's schema is newer than this program.
    #[error("{path} was written by a newer version (schema {found}, this program knows {known}); use that version")]
    TooNew {
        /// The file.
        path: String,
        /// The version found in it.
        found: i64,
        /// The newest version this program knows.
        known: i64,
    },
    /// Another file stands where the open one was.
    #[error(
        "{path} was replaced by another file while in use; restart this program to use that one, or put the old one back"
    )]
    Replaced {
        /// The file.
        path: String,
    },
    /// The lock file or its folder could not be made.
    #[error("the outbox's folder {path} cannot be used")]
    Folder {
        /// The folder.
        path: String,
        /// The operating system's words.
        #[source]
        source: std::io::Error,
    },
    /// One of the threads that work on the file could not be started.
    #[error("the thread {name} cannot be started; are there too many, or is there too little memory?")]
    Thread {
        /// Its name.
        name: &'static str,
        /// The operating system's words.
        #[source]
        source: std::io::Error,
    },
    /// The file, or the log beside it, is no database any more.
    #[error(
        "the outbox's file is damaged: stop this program, move the file and what stands beside it (-wal, -shm) away, start \
         again, and read what can be saved from them with `sqlite3 FILE .recover`, for which it takes sqlite.org's own sqlite3 \
         (Debian's fails)"
    )]
    Damaged(#[source] rusqlite::Error),
    /// Any other answer of the database.
    #[error("the outbox's database failed")]
    Database(#[source] rusqlite::Error),
    /// The whole batch in which this write travelled failed; the cause was logged once.
    #[error("the outbox cannot write now: {0}")]
    Batch(String),
    /// A row that was read back does not make sense.
    #[error("the outbox holds a row that cannot be read: {0}")]
    Corrupt(String),
    /// The writer has ended; the process is stopping.
    #[error("the outbox is closed")]
    Closed,
}

impl StoreError {
    /// The labels of failures that a store in use can have.
    pub const LABELS: [&str; 12] = [
        "full",
        "read_only",
        "locked",
        "cannot_open",
        "too_new",
        "replaced",
        "folder",
        "damaged",
        "database",
        "batch",
        "corrupt",
        "closed",
    ];

    /// The metric label.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Full(_) | Self::NoRoom { .. } => "full",
            Self::ReadOnly(_) => "read_only",
            Self::Locked(_) => "locked",
            Self::CannotOpen(_) => "cannot_open",
            Self::InUse { .. } => "in_use",
            Self::TooNew { .. } => "too_new",
            Self::Replaced { .. } => "replaced",
            Self::Folder { .. } => "folder",
            Self::Thread { .. } => "thread",
            Self::Damaged(_) => "damaged",
            Self::Database(_) => "database",
            Self::Batch(_) => "batch",
            Self::Corrupt(_) => "corrupt",
            Self::Closed => "closed",
        }
    }

    /// Whether it may mend itself while the process runs.
    pub fn is_transient(&self) -> bool {
        !matches!(self, Self::InUse { .. } | Self::TooNew { .. } | Self::Corrupt(_) | Self::Closed)
    }

    /// Whether the connection should be opened anew before the next try.
    pub(crate) fn wants_reopen(&self) -> bool {
        matches!(self, Self::ReadOnly(_) | Self::CannotOpen(_) | Self::Damaged(_) | Self::Database(_))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::Full(error),
            Some(ErrorCode::ReadOnly) => Self::ReadOnly(error),
            Some(ErrorCode::CannotOpen) => Self::CannotOpen(error),
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked(error),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            _ => Self::Database(error),
        }
    }
}

/// How many of a batch became rows to deliver, met themselves, or were closed or parked at once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Rows that are now ours to deliver.
    pub waiting: u64,
    /// Those of them that went to the worker's desk at once; the others have to be leased.
    pub handed: u64,
    /// Entries whose key had been taken before.
    pub duplicates: u64,
    /// Rows that were parked at once because they could not be read.
    pub parked: u64,
}

/// Where accepted events live until they are closed.
pub trait Store: Send + Sync + std::fmt::Debug {
    /// Makes a batch durable, whole or not at all. `ignored` elements are only counted, as accepted and closed.
    fn accept(
        &self,
        batch: Vec<NewEntry>,
        ignored: u64,
        now: DateTime<Utc>,
    ) -> BoxFuture<'_, Result<Accepted, StoreError>>;

    /// Leases what is due, the most urgent first, and puts it on the desk, as much as it has room for. Whether there
    /// may be more.
    ///
    /// From then on, what is accepted is leased and put there at once, with its event in hand, as long as the desk has
    /// room and nothing older waits: so nothing is read back that was written a moment ago.
    fn fill(&self, desk: &Arc<Desk>, now: DateTime<Utc>, lease: Duration) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// Ends leases: each row is closed, parked, planned anew, or given back. When that is durable its place on the desk
    /// is free.
    fn settle(&self, settlements: Vec<Settlement>, now: DateTime<Utc>) -> BoxFuture<'_, Result<(), StoreError>>;

    /// The sums of the ledger at one moment.
    fn stats(&self, now: DateTime<Utc>) -> BoxFuture<'_, Result<Stats, StoreError>>;

    /// Whether a write would succeed now: makes one.
    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>>;
}
