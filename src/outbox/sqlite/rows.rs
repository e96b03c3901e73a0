//! The statements: what each request does to the rows, and to the sums beside them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use chrono::{DateTime, Utc};
use rusqlite::{Connection, Row, Transaction, params};

use super::Keep;
use super::schema::{CLOSED, LEASED, PARKED, WAITING};
use crate::event::{Event, Outcome};
use crate::outbox::entry::Ending;
use crate::outbox::patience::IN_TIME;
use crate::outbox::{Accepted, Content, Desk, Leased, NewContent, NewEntry, Room, Settlement, StoreError, backoff};
use crate::text::cut;

/// The classes of urgency, the first one first.
const URGENCIES: std::ops::RangeInclusive<u8> = 0..=3;
/// How many bytes a probe takes as a trial while the outbox is failing.
pub(crate) const PROBED_ROOM: u32 = 256 * 1024;
/// As many rows are pruned in one turn: some ten milliseconds, which senders wait.
pub(crate) const PRUNED_AT_ONCE: usize = 250;
/// While the volume is short of room: pages that are given up are written into the log, too.
pub(crate) const PRUNED_FOR_ROOM: usize = 50;
/// A clock that is further back than this has been set back.
const CLOCKS_JITTER_MS: i64 = 1_000;
/// The longest reason that is kept, in bytes.
const REASON_LIMIT: usize = 2_000;

/// What stands between the rows and the worker: its desk, and whether older rows wait that have to go there first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Front {
    desk: Weak<Desk>,
    lease: Duration,
    caught_up: bool,
    /// When was last looked for due rows, by the clock of then.
    looked_ms: Option<i64>,
}

/// What one transaction changes on the desk, once it is durable.
#[derive(Debug)]
pub(crate) struct Effect {
    front: Front,
    settled: Vec<i64>,
    leased: Vec<Leased>,
}

impl Effect {
    /// Frees the places of settled rows, then puts leased ones down: the same row may be both, when what was to be tried
    /// again at once had to wait for the disk. Without a desk (the worker is gone) the next process takes the rows back.
    pub(crate) fn happen(self) -> Front {
        if let Some(desk) = self.front.desk.upgrade() {
            if !self.settled.is_empty() {
                desk.done(self.settled.into_iter());
            }
            if !self.leased.is_empty() {
                desk.put(self.leased);
            }
        }
        self.front
    }
}

/// One transaction's work. The sums are written once, at the end.
pub(crate) struct Batch<'t> {
    transaction: &'t Transaction<'t>,
    failing: bool,
    front: Front,
    /// What is still free on the desk, as far as it may be given to new rows.
    room: Room,
    handed: Vec<Leased>,
    settled: Vec<i64>,
    accepted: i64,
    closed: [i64; Outcome::ALL.len()],
}

impl<'t> Batch<'t> {
    /// `failing`: the last writes failed, and a probe has to show more than room for one page.
    pub(crate) fn new(transaction: &'t Transaction<'t>, failing: bool, front: Front) -> Self {
        let room = front.desk.upgrade().map_or(Room::default(), |desk| desk.room());
        Self {
            transaction,
            failing,
            front,
            room,
            handed: Vec::new(),
            settled: Vec::new(),
            accepted: 0,
            closed: [0; Outcome::ALL.len()],
        }
    }

    pub(crate) fn accept(
        &mut self,
        entries: &mut [NewEntry],
        ignored: u64,
        now: DateTime<Utc>,
    ) -> Result<Accepted, StoreError> {
        let mut accepted = Accepted::default();
        for NewEntry { key, body, content, door } in entries.iter_mut() {
            let inserted = match content {
                Ok(content) => {
                    let before = self.room;
                    let handed = self.hand_over(content);
                    let inserted = self.insert_event(key, door, content, handed.is_some(), now)?;
                    match handed {
                        Some(event) if inserted => {
                            let key = std::mem::take(key);
                            self.handed.push(self.fresh(key, content, event, now));
                            accepted.handed += 1;
                        }
                        // A duplicate leaves its place to the next.
                        Some(_) => self.room = before,
                        None => {}
                    }
                    accepted.waiting += u64::from(inserted);
                    inserted
                }
                Err(reason) => {
                    let inserted = self.insert_unreadable(key, door, reason, now)?;
                    accepted.parked += u64::from(inserted);
                    inserted
                }
            };
            if inserted {
                self.insert_body(body, content.as_ref().ok())?;
            }
            accepted.duplicates += u64::from(!inserted);
        }
        self.accepted += as_sum(entries.len() as u64 + ignored);
        self.count(Outcome::Ignored, as_sum(ignored));
        self.count(Outcome::Duplicate, as_sum(accepted.duplicates));
        self.count(Outcome::Parked, as_sum(accepted.parked));
        Ok(accepted)
    }

    pub(crate) fn fill(&mut self, desk: &Arc<Desk>, now: DateTime<Utc>, lease: Duration) -> Result<bool, StoreError> {
        self.front.desk = Arc::downgrade(desk);
        self.front.lease = lease;
        self.follow_clock(now.timestamp_millis())?;
        let mut room = desk.room();
        for handed in &self.handed {
            room.take(handed.bytes);
        }
        let rows = self.lease(&mut room, now, lease)?;
        self.front.caught_up = room.is_left();
        self.room = room;
        self.handed.extend(rows);
        Ok(!self.front.caught_up)
    }

    /// Retries were planned by a clock that was ahead by so much: they are due so much earlier by this one.
    fn follow_clock(&mut self, now_ms: i64) -> Result<(), StoreError> {
        let ahead_ms = self.front.looked_ms.replace(now_ms).map_or(0, |looked| looked - now_ms);
        if ahead_ms <= CLOCKS_JITTER_MS {
            return Ok(());
        }
        let mut earlier = self.transaction.prepare_cached(
            "UPDATE entry SET next_ms = max(1, next_ms - ?1), first_failed_ms = first_failed_ms - ?1
                             WHERE state = 0 AND next_ms > 0",
        )?;
        let retries = earlier.execute([ahead_ms])?;
        tracing::warn!(
            retries,
            seconds = ahead_ms / 1_000,
            "the clock was set back; planned retries were moved with it"
        );
        Ok(())
    }

    /// The event of a new row, when the row can go to the desk at once; otherwise it waits, and so do those after it.
    fn hand_over(&mut self, content: &mut NewContent) -> Option<Event> {
        if self.front.caught_up && self.room.take(content.event.len()) {
            return content.in_hand.take();
        }
        self.front.caught_up = false;
        None
    }

    fn fresh(&self, key: String, content: &NewContent, event: Event, accepted: DateTime<Utc>) -> Leased {
        let (id, urgency, bytes) = (self.transaction.last_insert_rowid(), content.urgency, content.event.len());
        let (event, due) = (Content::InHand(event), DateTime::UNIX_EPOCH);
        Leased { id, key, urgency, event, bytes, attempts: 0, due, failing_since: None, accepted }
    }

    /// `leased`: it goes to the desk when this transaction is durable. `false`: the key is known.
    fn insert_event(
        &self,
        key: &str,
        door: &str,
        content: &NewContent,
        leased: bool,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        let now_ms = now.timestamp_millis();
        let (state, lease_ms) =
            if leased { (LEASED, Some(now_ms.saturating_add(as_millis(self.front.lease)))) } else { (WAITING, None) };
        let mut entry = self.transaction.prepare_cached(
            "INSERT INTO entry (key, kind, door, state, urgency, accepted_ms, lease_ms)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (key) DO NOTHING",
        )?;
        let inserted = entry.execute(params![key, content.kind, door, state, content.urgency, now_ms, lease_ms])?;
        Ok(inserted > 0)
    }

    fn insert_unreadable(&self, key: &str, door: &str, reason: &str, now: DateTime<Utc>) -> Result<bool, StoreError> {
        let mut entry = self.transaction.prepare_cached(
            "INSERT INTO entry (key, kind, door, state, urgency, accepted_ms, closed_ms, outcome, reason)
             VALUES (?1, 'unreadable', ?2, ?3, 0, ?4, ?4, ?5, ?6) ON CONFLICT (key) DO NOTHING",
        )?;
        let parked = Outcome::Parked.label();
        let inserted = entry.execute(params![key, door, PARKED, now.timestamp_millis(), parked, kept(reason)])?;
        Ok(inserted > 0)
    }

    /// What belongs to the row that was inserted just now.
    fn insert_body(&self, delivered: &str, content: Option<&NewContent>) -> Result<(), StoreError> {
        let mut body =
            self.transaction.prepare_cached("INSERT INTO body (entry_id, delivered, event) VALUES (?1, ?2, ?3)")?;
        let event = content.map(|content| content.event.as_slice());
        body.execute(params![self.transaction.last_insert_rowid(), delivered.as_bytes(), event])?;
        Ok(())
    }

    fn lease(&mut self, room: &mut Room, now: DateTime<Utc>, lease: Duration) -> Result<Vec<Leased>, StoreError> {
        let now_ms = now.timestamp_millis();
        let until_ms = now_ms.saturating_add(as_millis(lease));
        let mut expired = self
            .transaction
            .prepare_cached("UPDATE entry SET state = 0, lease_ms = NULL WHERE state = 1 AND lease_ms < ?1")?;
        expired.execute([now_ms])?;
        let mut due = self.transaction.prepare_cached(
            "SELECT e.id, e.key, e.attempts, e.next_ms, e.first_failed_ms, e.accepted_ms, b.event
             FROM entry e JOIN body b ON b.entry_id = e.id
             WHERE e.state = 0 AND e.urgency = ?1 AND e.next_ms <= ?2 ORDER BY e.next_ms, e.accepted_ms LIMIT ?3",
        )?;
        // A retry further ahead than any retry may be planned: the clock has stepped back since.
        let mut stranded = self.transaction.prepare_cached(
            "UPDATE entry SET next_ms = ?2, first_failed_ms = first_failed_ms - (next_ms - ?2)
                             WHERE state = 0 AND urgency = ?1 AND next_ms > ?3",
        )?;
        let mut taken = self.transaction.prepare_cached("UPDATE entry SET state = ?1, lease_ms = ?2 WHERE id = ?3")?;
        let beyond_ms = now_ms.saturating_add(as_millis(backoff::LONGEST * 2));
        let mut rows = Vec::new();
        for urgency in URGENCIES {
            if !room.is_left() {
                break;
            }
            stranded.execute(params![urgency, now_ms, beyond_ms])?;
            let mut found = due.query(params![urgency, now_ms, as_sum(room.rows() as u64)])?;
            while room.is_left()
                && let Some(row) = found.next()?
            {
                let leased = leased(row, urgency)?;
                taken.execute(params![LEASED, until_ms, leased.id])?;
                room.take(leased.bytes);
                rows.push(leased);
            }
        }
        Ok(rows)
    }

    pub(crate) fn settle(&mut self, settlements: &[Settlement], now: DateTime<Utc>) -> Result<(), StoreError> {
        for Settlement { id, ending } in settlements {
            self.settled.push(*id);
            // What was leased before that is the row that is settled here; its lease had been taken back.
            self.handed.retain(|row| row.id != *id);
            match ending {
                Ending::Close { outcome: Outcome::Parked, note } => {
                    self.park(*id, note.as_deref().unwrap_or_default(), now)?
                }
                Ending::Close { outcome, note } => self.close(*id, *outcome, note.as_deref(), now)?,
                Ending::Retry { at, reason } => {
                    // What comes too late was not tried in between. Giving a row back moves the time from which it
                    // counts as failing on, also beyond now; a failure that is noted began now at the latest.
                    let mut retry = self.transaction.prepare_cached(
                        "UPDATE entry SET state = 0, lease_ms = NULL, attempts = attempts + 1, next_ms = ?1, reason = ?2,
                         first_failed_ms = coalesce(min(?3, first_failed_ms + max(0, ?3 - ?4 - next_ms)), ?3)
                         WHERE id = ?5 AND state = 1",
                    )?;
                    let (at_ms, now_ms) = (at.timestamp_millis(), now.timestamp_millis());
                    retry.execute(params![at_ms, kept(reason), now_ms, as_millis(IN_TIME), id])?;
                }
                Ending::Release { reason, at } => {
                    // Until then it is not tried.
                    let mut release = self.transaction.prepare_cached(
                        "UPDATE entry SET state = 0, lease_ms = NULL, next_ms = coalesce(?1, next_ms), reason = coalesce(?2, reason),
                         first_failed_ms = first_failed_ms + max(0, coalesce(?1, next_ms) - next_ms)
                         WHERE id = ?3 AND state = 1",
                    )?;
                    release.execute(params![at.map(|at| at.timestamp_millis()), reason.as_deref().map(kept), id])?;
                }
            }
        }
        Ok(())
    }

    /// A write that changes nothing but has to reach the disk.
    pub(crate) fn probe(&mut self) -> Result<(), StoreError> {
        let mut touch = self.transaction.prepare_cached(
            "INSERT INTO ledger VALUES ('probes', 1) ON CONFLICT (name) DO UPDATE SET count = count + 1",
        )?;
        touch.execute([])?;
        // One page fits into the write-ahead log of a full disk; events do not.
        if self.failing {
            let mut take = self
                .transaction
                .prepare_cached("INSERT OR REPLACE INTO body (entry_id, delivered) VALUES (0, zeroblob(?1))")?;
            take.execute([PROBED_ROOM])?;
        }
        Ok(())
    }

    /// Writes the sums, and tells what happens once the transaction is durable.
    pub(crate) fn finish(self) -> Result<Effect, StoreError> {
        add(self.transaction, "accepted", self.accepted)?;
        for (outcome, count) in Outcome::ALL.into_iter().zip(self.closed) {
            add(self.transaction, outcome.label(), count)?;
        }
        Ok(Effect { front: self.front, settled: self.settled, leased: self.handed })
    }

    fn close(&mut self, id: i64, outcome: Outcome, note: Option<&str>, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.end(id, CLOSED, outcome, note, now)
    }

    fn park(&mut self, id: i64, reason: &str, now: DateTime<Utc>) -> Result<(), StoreError> {
        self.end(id, PARKED, Outcome::Parked, Some(reason), now)
    }

    // `state < 2`: a row that was closed while this lease ran out is not closed, nor counted, twice. What is parked (3) has
    // failed once more, as what is tried again.
    fn end(
        &mut self,
        id: i64,
        state: i64,
        outcome: Outcome,
        note: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let mut end = self.transaction.prepare_cached(
            "UPDATE entry SET state = ?1, lease_ms = NULL, closed_ms = ?2, outcome = ?3, reason = ?4,
             attempts = attempts + (?1 = 3), first_failed_ms = iif(?1 = 3, coalesce(first_failed_ms, ?2), first_failed_ms)
             WHERE id = ?5 AND state < 2",
        )?;
        let ended = end.execute(params![state, now.timestamp_millis(), outcome.label(), note.map(kept), id])?;
        self.count(outcome, as_sum(ended as u64));
        Ok(())
    }

    fn count(&mut self, outcome: Outcome, by: i64) {
        if let Some(place) = Outcome::ALL.into_iter().position(|o| o == outcome) {
            self.closed[place] += by;
        }
    }
}

/// Undoes what a probe of a failing disk took; the pages stay in the file, free for events.
pub(crate) fn give_back_room(connection: &Connection) -> Result<(), rusqlite::Error> {
    connection.execute("DELETE FROM body WHERE entry_id = 0", []).map(drop)
}

/// Adds to a sum of the ledger.
pub(crate) fn add(connection: &Connection, name: &str, by: i64) -> Result<(), StoreError> {
    if by != 0 {
        let mut sum = connection.prepare_cached(
            "INSERT INTO ledger VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET count = count + excluded.count",
        )?;
        sum.execute(params![name, by])?;
    }
    Ok(())
}

/// Removes closed rows that are too old, or the oldest ones when the file has grown too large; a bounded number at a
/// time, so that no sender waits long. Parked rows are an operator's business and stay. Whether there is more to remove.
pub(crate) fn prune(
    connection: &mut Connection,
    keep: Keep,
    most: usize,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let before_ms = now.timestamp_millis().saturating_sub(as_millis(keep.closed_for));
    let transaction = connection.transaction()?;
    let mut removed = delete_closed(&transaction, before_ms, most)?;
    if used_bytes(&transaction)? > keep.bytes {
        removed = removed.max(delete_closed(&transaction, i64::MAX, most)?);
    }
    transaction.commit()?;
    Ok(removed >= most)
}

/// The bytes that the file's used pages take.
pub(crate) fn used_bytes(connection: &Connection) -> Result<u64, StoreError> {
    let pragma = |name: &str| connection.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or_default())
}

/// How many rows it removed: those closed first, so many at most. A batch is settled in one millisecond.
fn delete_closed(transaction: &Transaction<'_>, before_ms: i64, most: usize) -> Result<usize, StoreError> {
    const OLDEST: &str = "SELECT id FROM entry WHERE state = 2 AND closed_ms < ?1 ORDER BY closed_ms, id LIMIT ?2";
    let bounds = params![before_ms, as_sum(most as u64)];
    transaction.prepare_cached(&format!("DELETE FROM body WHERE entry_id IN ({OLDEST})"))?.execute(bounds)?;
    Ok(transaction.prepare_cached(&format!("DELETE FROM entry WHERE id IN ({OLDEST})"))?.execute(bounds)?)
}

fn leased(row: &Row<'_>, urgency: u8) -> Result<Leased, StoreError> {
    let event = row.get::<_, Option<Vec<u8>>>(6)?.unwrap_or_default();
    Ok(Leased {
        id: row.get(0)?,
        key: row.get(1)?,
        urgency,
        attempts: row.get(2)?,
        due: DateTime::from_timestamp_millis(row.get(3)?).unwrap_or_default(),
        failing_since: row.get::<_, Option<i64>>(4)?.and_then(DateTime::from_timestamp_millis),
        accepted: DateTime::from_timestamp_millis(row.get(5)?).unwrap_or_default(),
        bytes: event.len(),
        event: Content::Written(event),
    })
}

fn as_millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn as_sum(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// As much of a reason as is kept.
fn kept(reason: &str) -> &str {
    cut(reason, REASON_LIMIT)
}
