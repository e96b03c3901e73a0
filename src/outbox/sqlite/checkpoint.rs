//! The thread that moves the write-ahead log into the file, so that no sender waits for it: with SQLite's own
//! checkpoint inside the writer, one commit in a thousand pages takes 30 ms.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::mpsc::WeakSender;

use super::place::Place;
use super::writer::Command;

const PAUSE: Duration = Duration::from_millis(200);

/// Runs until the store is dropped. A failed checkpoint is harmless: the writer's own limit bounds the log.
pub(crate) fn run(path: &Path, store: &WeakSender<Command>) {
    let mut connection: Option<Connection> = None;
    let mut place = Place::of(path);
    while store.strong_count() > 0 {
        std::thread::sleep(PAUSE);
        if connection.is_none() || !place.is_ours() {
            place = Place::of(path);
            connection = open(path);
        }
        let done = connection.as_ref().map(|c| c.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())));
        if let Some(Err(error)) = done {
            tracing::debug!(%error, "a checkpoint of the outbox failed; the next one will do");
            connection = None;
        }
    }
}

fn open(path: &Path) -> Option<Connection> {
    // Never creates the file: that is the writer's part.
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).ok()?;
    connection.pragma_update(None, "wal_autocheckpoint", 0).ok()?;
    Some(connection)
}
