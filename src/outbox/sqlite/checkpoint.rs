//! The thread that moves the write-ahead log into the file, so that no sender waits for it: with SQLite's own
//! checkpoint inside the writer, one commit in a thousand pages takes 30 ms.

use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::mpsc::WeakSender;

use super::place::Place;
use super::writer::Command;
use crate::files::Identity;

const PAUSE: Duration = Duration::from_millis(200);

/// Runs until the store is dropped. A failed checkpoint is harmless: the writer's own limit bounds the log.
pub(crate) fn run(place: Place, store: &WeakSender<Command>) {
    let mut checkpoints = Checkpoints { place, open: None };
    while store.strong_count() > 0 {
        std::thread::sleep(PAUSE);
        checkpoints.next();
    }
}

struct Checkpoints {
    place: Place,
    open: Option<(Identity, Connection)>,
}

impl Checkpoints {
    fn next(&mut self) {
        // Another file in the place of ours is never opened: the log beside it would be moved into it.
        if !self.place.is_ours() {
            self.open = None;
            return;
        }
        let identity = self.place.identity();
        self.open = self.open.take().filter(|(opened, _)| *opened == identity).or_else(|| self.open_file(identity));
        let done = self.open.as_ref().map(|(_, c)| c.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(())));
        if let Some(Err(error)) = done {
            tracing::debug!(%error, "a checkpoint of the outbox failed; the next one will do");
            self.open = None;
        }
    }

    fn open_file(&self, identity: Identity) -> Option<(Identity, Connection)> {
        // Never creates the file: that is the writer's part.
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(self.place.path(), flags).ok()?;
        connection.pragma_update(None, "wal_autocheckpoint", 0).ok()?;
        // Asked again: it may have been replaced just before it was opened.
        self.place.is_ours().then_some((identity, connection))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::sqlite::schema;

    #[test]
    fn the_log_is_moved_into_our_file_and_into_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let writer = schema::open_writer(&path).unwrap();
        let mut checkpoints = Checkpoints { place: Place::of(&path), open: None };
        let size = |path: &std::path::Path| std::fs::metadata(path).unwrap().len();
        let before = size(&path);
        checkpoints.next();
        assert!(size(&path) > before, "{before}");

        writer.execute("INSERT INTO ledger VALUES ('x', 1)", []).unwrap();
        std::fs::rename(&path, path.with_extension("away")).unwrap();
        std::fs::write(&path, "somebody's").unwrap();
        checkpoints.next();
        checkpoints.next();
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");

        std::fs::rename(path.with_extension("away"), &path).unwrap();
        checkpoints.next();
        assert!(checkpoints.open.is_some(), "ours again");
    }
}
