//! The file: how it is opened, and its tables.

use std::path::Path;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::outbox::StoreError;

/// The newest schema this program knows. `user_version` in the file says which one it has; each step up is one
/// entry of [`MIGRATIONS`].
pub(crate) const VERSION: i64 = MIGRATIONS.len() as i64;

/// Rows that wait: due when `next_ms <= now` (0 for fresh ones).
pub(crate) const WAITING: i64 = 0;
/// Rows the worker holds.
pub(crate) const LEASED: i64 = 1;
/// Rows that are finished.
pub(crate) const CLOSED: i64 = 2;
/// Rows an operator has to look at.
pub(crate) const PARKED: i64 = 3;

// Bodies live in a table of their own, so that leasing and closing rewrite a hundred bytes and not four thousand.
// The indexes are partial: each holds only the rows its question is about.
const MIGRATIONS: &[&str] = &["
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY,
        key TEXT NOT NULL UNIQUE,
        kind TEXT NOT NULL,
        door TEXT NOT NULL,
        state INTEGER NOT NULL,
        urgency INTEGER NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        accepted_ms INTEGER NOT NULL,
        next_ms INTEGER NOT NULL DEFAULT 0,
        lease_ms INTEGER,
        first_failed_ms INTEGER,
        closed_ms INTEGER,
        outcome TEXT,
        reason TEXT
    ) STRICT;
    CREATE INDEX entry_due ON entry (urgency, next_ms, accepted_ms) WHERE state = 0;
    CREATE INDEX entry_leased ON entry (lease_ms) WHERE state = 1;
    CREATE INDEX entry_closed ON entry (closed_ms) WHERE state = 2;
    CREATE INDEX entry_parked ON entry (closed_ms) WHERE state = 3;
    CREATE TABLE body (
        entry_id INTEGER PRIMARY KEY,
        delivered BLOB NOT NULL,
        event BLOB
    ) STRICT;
    CREATE TABLE ledger (name TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO ledger VALUES ('accepted', 0);
"];

/// The writer waits this long for an `outbox retry` or a backup to finish; then the sender is told 503.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

/// Opens the file for writing, creating it (readable by its owner only) and bringing its schema up to date.
pub(crate) fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    // Made before SQLite would: its side files get the mode of this one. What cannot be made, SQLite says in its own words.
    // Closed before SQLite opens it, and one that is there is not opened: closing a handle of a file gives up all locks
    // that this process has on it.
    drop(crate::files::private().create_new(true).open(path));
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(PATIENCE)?;
    // Readers (metrics, commands) never block the writer, and a commit is one sequential write.
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // An acknowledged event survives a power cut. With group commit, NORMAL would buy nothing.
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A second thread checkpoints every 200 ms; this is the brake that bounds the log when it cannot keep up (64 MB).
    connection.pragma_update(None, "wal_autocheckpoint", 16_384)?;
    connection.pragma_update(None, "journal_size_limit", 67_108_864)?;
    connection.pragma_update(None, "cache_size", -8_192)?;
    connection.set_prepared_statement_cache_capacity(32);
    // Keeps plans as they are: otherwise SQLite looks at each bound time anew and prepares every statement of a lease
    // again, a third of this thread's work.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    migrate(&mut connection, path)?;
    Ok(connection)
}

/// Opens the file for questions only.
pub(crate) fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let connection =
        Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    let found = version(&connection)?;
    if found > VERSION {
        return Err(StoreError::TooNew { path: path.display().to_string(), found, known: VERSION });
    }
    Ok(connection)
}

fn version(connection: &Connection) -> Result<i64, StoreError> {
    Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?)
}

fn migrate(connection: &mut Connection, path: &Path) -> Result<(), StoreError> {
    let found = version(connection)?;
    if found > VERSION {
        return Err(StoreError::TooNew { path: path.display().to_string(), found, known: VERSION });
    }
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(usize::try_from(found).unwrap_or_default()) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "user_version", step as i64 + 1)?;
        transaction.commit()?;
    }
    Ok(())
}
