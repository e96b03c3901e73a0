//! What an operator asks of the ledger: sums, lists, one row whole, retry, discard. Works on the file of a running
//! connector as well as on one at rest.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, TransactionBehavior, params, params_from_iter};
use serde::Serialize;

use super::rows;
use super::schema::{self, CLOSED, PARKED, WAITING};
use crate::event::Outcome;
use crate::outbox::{NewContent, Stats, StoreError};

/// Which rows are meant.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Only rows in this state: `waiting` (as in the sums, with those that are leased), `leased`, `closed` or `parked`.
    pub state: Option<String>,
    /// Only rows whose reason holds this text.
    pub reason: Option<String>,
    /// At most this many, the newest first.
    pub limit: u32,
}

/// One line of a list.
#[derive(Debug, Clone, Serialize)]
pub struct Listed {
    /// The row.
    pub id: i64,
    /// What identifies the event; for a Sysdig event the finding's id.
    pub key: String,
    /// The event's kind, or `unreadable`.
    pub kind: String,
    /// The door it came in by.
    pub door: String,
    /// `waiting`, `leased`, `closed` or `parked`.
    pub state: &'static str,
    /// Failed attempts.
    pub attempts: u32,
    /// When it was accepted.
    pub accepted: Option<DateTime<Utc>>,
    /// When it is tried next.
    pub next: Option<DateTime<Utc>>,
    /// When the first attempt failed, moved on by the time in which it was not tried since.
    pub failing_since: Option<DateTime<Utc>>,
    /// When it was closed or parked.
    pub closed: Option<DateTime<Utc>>,
    /// How it ended.
    pub outcome: Option<String>,
    /// The last failure, or why it ended so.
    pub reason: Option<String>,
}

/// One row whole.
#[derive(Debug, Clone, Serialize)]
pub struct Shown {
    /// The row.
    #[serde(flatten)]
    pub listed: Listed,
    /// What the sender delivered.
    pub delivered: String,
    /// The normalised event, when it could be read.
    pub event: Option<String>,
}

/// A connection for questions, and for changing parked rows.
#[derive(Debug)]
pub struct Admin {
    path: PathBuf,
    connection: Connection,
}

const COLUMNS: &str =
    "id, key, kind, door, state, attempts, accepted_ms, next_ms, first_failed_ms, closed_ms, outcome, reason";

impl Admin {
    /// Opens an existing file.
    ///
    /// # Errors
    /// When there is none, when it is newer than this program, or cannot be read.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        Ok(Self { path: path.to_owned(), connection: schema::open_reader(path)? })
    }

    /// The sums of the ledger, all read at one moment.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn stats(&mut self, now: DateTime<Utc>) -> Result<Stats, StoreError> {
        let moment = self.connection.transaction()?;
        let count = |state: i64| {
            moment.query_row("SELECT count(*) FROM entry WHERE state = ?1", [state], |r| r.get::<_, u64>(0))
        };
        let leased = count(schema::LEASED)?;
        let waiting = count(WAITING)? + leased;
        let rows = waiting + count(CLOSED)? + count(PARKED)?;
        let oldest: Option<i64> = moment.query_row(
            "SELECT min(ms) FROM (SELECT min(accepted_ms) AS ms FROM entry WHERE state = 0
             UNION ALL SELECT min(accepted_ms) FROM entry WHERE state = 1)",
            [],
            |row| row.get(0),
        )?;
        let mut sums: BTreeMap<String, u64> = BTreeMap::new();
        for row in moment.prepare("SELECT name, count FROM ledger")?.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))? {
            let (name, sum) = row?;
            sums.insert(name, sum);
        }
        let closed =
            Outcome::ALL.map(|outcome| (outcome.label(), sums.get(outcome.label()).copied().unwrap_or_default()));
        Ok(Stats {
            accepted: sums.get("accepted").copied().unwrap_or_default(),
            waiting,
            leased,
            closed: closed.into(),
            oldest_waiting_secs: oldest
                .map(|ms| u64::try_from((now.timestamp_millis() - ms) / 1000).unwrap_or_default()),
            rows,
            bytes: rows::used_bytes(&moment)?,
        })
    }

    /// What ends the reading of [`Admin::check`] from another thread.
    pub fn interrupt(&self) -> rusqlite::InterruptHandle {
        self.connection.get_interrupt_handle()
    }

    /// Whether the whole file is a sound database; reads all of it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with the first thing that is wrong; otherwise when the file cannot be read.
    pub fn check(&self) -> Result<(), StoreError> {
        let found: String = self.connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if found == "ok" {
            return Ok(());
        }
        let damage = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        Err(StoreError::Damaged(rusqlite::Error::SqliteFailure(damage, Some(found))))
    }

    /// Rows, the newest first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn list(&self, selection: &Selection) -> Result<Vec<Listed>, StoreError> {
        let mut wanted = vec!["1"];
        let mut values: Vec<Value> = Vec::new();
        if let Some(state) = selection.state.as_deref().and_then(state_number) {
            wanted.push("state IN (?, ?)");
            values.extend([state.into(), if state == WAITING { schema::LEASED } else { state }.into()]);
        }
        if let Some(reason) = &selection.reason {
            wanted.push("instr(reason, ?) > 0");
            values.push(reason.clone().into());
        }
        values.push(i64::from(selection.limit).into());
        let sql = format!("SELECT {COLUMNS} FROM entry WHERE {} ORDER BY id DESC LIMIT ?", wanted.join(" AND "));
        let mut query = self.connection.prepare(&sql)?;
        let rows = query.query_map(params_from_iter(values), listed)?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// One row whole, by its number or its key. A sender may choose a number as its event's key: the row of that number
    /// goes first.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn show(&self, name: &str) -> Result<Option<Shown>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS}, delivered, event FROM entry JOIN body ON entry_id = id WHERE key = ?1 OR id = ?2
             ORDER BY id = ?2 DESC LIMIT 1"
        );
        let shown = self.connection.query_row(&sql, params![name, name.parse::<i64>().ok()], |row| {
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            Ok(Shown {
                listed: listed(row)?,
                delivered: text(row.get(12)?),
                event: row.get::<_, Option<Vec<u8>>>(13)?.map(text),
            })
        });
        Ok(shown.optional()?)
    }

    /// Puts a parked row back to be delivered; one that could not be read needs its `content` read anew.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn retry(&mut self, id: i64, content: Option<&NewContent>) -> Result<bool, StoreError> {
        self.change(|transaction| {
            let changed = transaction.execute(
                "UPDATE entry SET state = 0, attempts = 0, next_ms = 0, first_failed_ms = NULL, closed_ms = NULL, outcome = NULL
                 WHERE id = ?1 AND state = 3",
                [id],
            )?;
            if changed == 1 {
                rows::add(transaction, Outcome::Parked.label(), -1)?;
                if let Some(content) = content {
                    transaction.execute("UPDATE entry SET kind = ?1, urgency = ?2 WHERE id = ?3", params![content.kind, content.urgency, id])?;
                    transaction.execute("UPDATE body SET event = ?1 WHERE entry_id = ?2", params![content.event, id])?;
                }
            }
            Ok(changed == 1)
        })
    }

    /// Closes a parked row for good.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn discard(&mut self, id: i64, now: DateTime<Utc>) -> Result<bool, StoreError> {
        self.change(|transaction| {
            let changed = transaction.execute(
                "UPDATE entry SET state = 2, outcome = 'discarded', closed_ms = ?1 WHERE id = ?2 AND state = 3",
                params![now.timestamp_millis(), id],
            )?;
            if changed == 1 {
                rows::add(transaction, Outcome::Parked.label(), -1)?;
                rows::add(transaction, Outcome::Discarded.label(), 1)?;
            }
            Ok(changed == 1)
        })
    }

    fn change<T>(&mut self, body: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let done = body(&transaction)?;
        transaction.commit()?;
        Ok(done)
    }
}

const STATES: [(&str, i64); 4] =
    [("waiting", WAITING), ("leased", schema::LEASED), ("closed", CLOSED), ("parked", PARKED)];

fn state_number(name: &str) -> Option<i64> {
    STATES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

fn state_name(number: i64) -> &'static str {
    STATES.iter().find(|(_, known)| *known == number).map_or("unknown", |(name, _)| name)
}

fn listed(row: &Row<'_>) -> rusqlite::Result<Listed> {
    let time = |ms: Option<i64>| ms.filter(|ms| *ms > 0).and_then(DateTime::from_timestamp_millis);
    Ok(Listed {
        id: row.get(0)?,
        key: row.get(1)?,
        kind: row.get(2)?,
        door: row.get(3)?,
        state: state_name(row.get(4)?),
        attempts: row.get(5)?,
        accepted: time(row.get(6)?),
        next: time(row.get(7)?),
        failing_since: time(row.get(8)?),
        closed: time(row.get(9)?),
        outcome: row.get(10)?,
        reason: row.get(11)?,
    })
}
