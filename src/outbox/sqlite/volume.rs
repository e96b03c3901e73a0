//! Whether the volume has room for more. Delivering takes room too: leases and settlements go into the write-ahead log,
//! and the log into the file. What fills a volume is mostly our own backlog, so the last of it is not for events: else
//! nothing could be delivered any more, and no room would ever come.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;

use super::schema;
use crate::files;
use crate::outbox::{NewEntry, StoreError};

/// What is kept free for leases, settlements, pruning, and for the files that stand beside ours.
const KEPT_FREE: u64 = 16 * 1024 * 1024;
/// Of a small volume only this part. One settlement may write all of the ledger's rows and indexes, which with small
/// events are a seventh of the file.
const KEPT_PART: u64 = 5;
/// What a row takes beside what was sent: its other columns and its places in the indexes.
const ROW: u64 = 512;

/// The room on the volume, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// Of the whole volume.
    total: u64,
    /// Left for anybody.
    pub(crate) free: u64,
    /// By which the file grows when the log is moved into it.
    ahead: u64,
    /// In the file, of pages that are free.
    spare: u64,
    /// In the file, of all its pages.
    pages: u64,
}

impl Space {
    /// At least so much, without asking the database. `None` where the system does not tell.
    pub(crate) fn at_least(path: &Path) -> Option<Self> {
        let (free, total) = files::free_and_total(path)?;
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Some(Self { total, free, ahead: length(Path::new(&log)), spare: 0, pages: 0 })
    }

    /// Exactly so much.
    pub(crate) fn of(path: &Path, connection: &Connection) -> Option<Self> {
        let (free, total) = files::free_and_total(path)?;
        let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, u64>(0)).ok();
        let page = pragma("page_size")?;
        let pages = pragma("page_count")? * page;
        Some(Self {
            total,
            free,
            ahead: pages.saturating_sub(length(path)),
            spare: pragma("freelist_count")? * page,
            pages,
        })
    }

    /// Whether so many bytes may be written: first into the log; then into the file's free pages and, for want of
    /// those, behind them. Free pages do also for what is kept free, or it would be wanted for ever once it was used,
    /// because the file never shrinks; but not for all of it, because the log cannot use them.
    pub(crate) fn holds(&self, bytes: u64) -> bool {
        let kept = self.kept();
        let behind = bytes.saturating_add(kept).saturating_sub(self.spare).max(kept / 4);
        self.free >= self.ahead.saturating_add(bytes).saturating_add(behind)
    }

    /// Whether so many bytes might be written if enough of the file's pages became free: where they do not do, pruning gives
    /// its history away for nothing.
    pub(crate) fn may_hold(&self, bytes: u64) -> bool {
        Self { spare: self.pages, ..*self }.holds(bytes)
    }

    /// What is not for events.
    fn kept(&self) -> u64 {
        KEPT_FREE.min(self.total / KEPT_PART)
    }

    /// Why so many bytes are refused.
    pub(crate) fn refusal(&self, asked: u64) -> StoreError {
        StoreError::NoRoom { free: self.free, kept: self.kept().saturating_add(self.ahead), asked }
    }
}

/// What a batch takes.
pub(crate) fn bytes(batch: &[NewEntry]) -> u64 {
    let row = |new: &NewEntry| ROW + (new.body.len() + new.content.as_ref().map_or(0, |c| c.event.len())) as u64;
    batch.iter().map(row).sum()
}

/// Moves the log into the file and gives its room back to the volume. Who reads just now keeps it from that, and is not
/// waited for: there will be a next time.
pub(crate) fn cut_log(connection: &Connection) {
    let cut = connection
        .busy_timeout(Duration::ZERO)
        .and_then(|()| connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())));
    if let Err(error) = cut.and(connection.busy_timeout(schema::PATIENCE)) {
        tracing::debug!(%error, "the outbox's log could not be moved into its file; the next time will do");
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |found| found.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1024 * 1024;

    #[test]
    fn the_last_of_a_volume_is_for_delivering() {
        let space = |total: u64, free: u64, ahead: u64, spare: u64| Space {
            total: total * MB,
            free: free * MB,
            ahead: ahead * MB,
            spare: spare * MB,
            pages: spare * MB,
        };
        for (space, megabytes, holds) in [
            (space(1_000, 900, 64, 0), 100, true),
            // 16 MB are kept, and what the log will take; an event is written twice.
            (space(1_000, 16, 0, 0), 0, true),
            (space(1_000, 15, 0, 0), 0, false),
            (space(1_000, 79, 64, 0), 0, false),
            (space(1_000, 80, 64, 0), 0, true),
            (space(1_000, 25, 0, 0), 5, false),
            (space(1_000, 26, 0, 0), 5, true),
            // A fifth of a small volume.
            (space(20, 4, 0, 0), 0, true),
            (space(20, 5, 2, 0), 0, false),
            // Pages that became free in the file do for the file, and for what was kept; for the log they do not.
            (space(1_000, 15, 0, 1), 0, true),
            (space(1_000, 4, 0, 100), 0, true),
            (space(1_000, 3, 0, 100), 0, false),
            (space(1_000, 8, 0, 100), 5, false),
            (space(1_000, 9, 0, 100), 5, true),
        ] {
            assert_eq!(space.holds(megabytes * MB), holds, "{space:?} {megabytes}");
        }
    }

    #[test]
    fn pruning_helps_as_far_as_the_file_has_pages_and_the_log_has_room() {
        let space =
            |free: u64, pages: u64| Space { total: 64 * MB, free: free * MB, ahead: 0, spare: 0, pages: pages * MB };
        for (space, megabytes, holds, may_hold) in [
            (space(47, 5), 20, false, false),
            (space(47, 8), 20, false, true),
            (space(47, 5), 17, true, true),
            (space(24, 40), 22, false, false),
            (space(10, 40), 0, false, true),
        ] {
            assert_eq!(space.holds(megabytes * MB), holds, "{space:?} {megabytes}");
            assert_eq!(space.may_hold(megabytes * MB), may_hold, "{space:?} {megabytes}");
        }
        let told = space(47, 5).refusal(20 * MB).to_string();
        assert!(
            told.contains("49283072 bytes left") && told.contains("13421772;") && told.contains("20971520"),
            "{told}"
        );
    }

    #[test]
    fn a_log_that_is_moved_into_the_file_takes_no_room_any_more() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let connection = schema::open_writer(&path).unwrap();
        let before = Space::of(&path, &connection).unwrap();
        assert!(before.ahead > 0 && Space::at_least(&path).unwrap().ahead >= before.ahead, "{before:?}");
        cut_log(&connection);
        assert_eq!(Space::of(&path, &connection).unwrap().ahead, 0);
        assert_eq!(Space::at_least(&path).unwrap().ahead, 0);
    }
}
