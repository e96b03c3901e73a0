//! The worker's desk: the rows it holds, bounded in number and in bytes. The store puts rows there, hands take them off.
//!
//! A row lies on the desk only after its lease is durable, so a desk that burns loses nothing.
//!
//! A new event that finds a place goes from memory to the worker; one that finds none is read from its row again, and so
//! are those after it. So the desk is as large as what is settled in a moment: large under load, where reading again costs
//! a tenth of all time, and small where the service is slow, because what is urgent cannot overtake what lies there in hand.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::{Notify, Semaphore};

use super::Leased;

/// The desk holds what was settled in this time, as long as it was looked at.
const SPAN: TimeDelta = TimeDelta::milliseconds(125);
/// As many places as it ever has.
const MOST_PLACES: usize = 1_024;
/// As many bytes of events, as their rows have them, as lie there at once; the last row may go beyond.
const MOST_BYTES: usize = 8 * 1024 * 1024;

/// Rows that are leased and not yet settled, and those of them that wait for a hand.
#[derive(Debug)]
pub struct Desk {
    fewest: usize,
    rows: Mutex<Rows>,
    /// As many permits as rows wait for a hand.
    ready: Semaphore,
    room: Notify,
}

#[derive(Debug, Default)]
struct Rows {
    places: usize,
    /// By urgency.
    waiting: [VecDeque<Leased>; 4],
    /// The bytes of each row that is not settled.
    under_way: HashMap<i64, usize>,
    bytes: usize,
    /// How many were settled since when.
    settled: usize,
    since: Option<DateTime<Utc>>,
    closed: bool,
}

/// What a desk can still take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    rows: usize,
    bytes: usize,
}

impl Room {
    /// Whether there is room for a row.
    pub fn is_left(self) -> bool {
        self.rows > 0 && self.bytes > 0
    }

    /// As many rows, if they are small.
    pub fn rows(self) -> usize {
        if self.bytes > 0 { self.rows } else { 0 }
    }

    /// Takes a place for a row of so many bytes: `false`, and nothing taken, when there is no room.
    pub fn take(&mut self, bytes: usize) -> bool {
        let is_left = self.is_left();
        if is_left {
            self.rows -= 1;
            self.bytes = self.bytes.saturating_sub(bytes);
        }
        is_left
    }
}

impl Desk {
    /// An empty desk with so many places at the least.
    pub fn new(fewest: usize) -> Self {
        let rows = Rows { places: fewest, ..Rows::default() };
        Self { fewest, rows: Mutex::new(rows), ready: Semaphore::new(0), room: Notify::new() }
    }

    /// What more it can take: nothing when it is closed.
    pub fn room(&self) -> Room {
        let rows = self.locked();
        if rows.closed {
            return Room::default();
        }
        Room { rows: rows.places.saturating_sub(rows.under_way.len()), bytes: MOST_BYTES.saturating_sub(rows.bytes) }
    }

    /// Whether more than half of it is taken.
    pub fn is_rather_full(&self) -> bool {
        let rows = self.locked();
        rows.under_way.len() > rows.places / 2 || rows.bytes > MOST_BYTES / 2
    }

    /// Makes it as large as what was settled lately, in the time that its places are meant to last.
    pub fn fit(&self, now: DateTime<Utc>) {
        let mut rows = self.locked();
        let elapsed = rows.since.map(|since| now - since);
        // A clock that was set back begins anew.
        if elapsed.is_some_and(|elapsed| TimeDelta::zero() <= elapsed && elapsed < SPAN) {
            return;
        }
        let millis = elapsed.map_or(0, |elapsed| elapsed.num_milliseconds());
        if let Ok(millis @ 1..) = usize::try_from(millis) {
            let span = usize::try_from(SPAN.num_milliseconds()).unwrap_or_default();
            rows.places = (rows.settled.saturating_mul(span) / millis).min(MOST_PLACES).max(self.fewest);
        }
        rows.settled = 0;
        rows.since = Some(now);
    }

    /// Puts rows down; one that lies there already, because its lease ran out meanwhile, is not taken up twice.
    pub fn put(&self, leased: Vec<Leased>) {
        let put = {
            let mut rows = self.locked();
            let before = rows.under_way.len();
            for row in leased {
                if let Entry::Vacant(place) = rows.under_way.entry(row.id) {
                    place.insert(row.bytes);
                    rows.bytes += row.bytes;
                    let class = usize::from(row.urgency).min(rows.waiting.len() - 1);
                    rows.waiting[class].push_back(row);
                }
            }
            rows.under_way.len() - before
        };
        self.ready.add_permits(put);
    }

    /// The next row: the most urgent, and of equals the one that was put down first. Waits for one.
    pub async fn next(&self) -> Leased {
        loop {
            if let Ok(permit) = self.ready.acquire().await {
                permit.forget();
            }
            if let Some(row) = self.locked().pop() {
                return row;
            }
        }
    }

    /// The next row, if one waits.
    pub fn take(&self) -> Option<Leased> {
        self.ready.try_acquire().ok()?.forget();
        self.locked().pop()
    }

    /// These rows are settled.
    pub fn done(&self, ids: impl Iterator<Item = i64>) {
        {
            let mut rows = self.locked();
            for id in ids {
                if let Some(bytes) = rows.under_way.remove(&id) {
                    rows.bytes -= bytes;
                    rows.settled += 1;
                }
            }
        }
        self.room.notify_one();
    }

    /// Waits until rows were settled.
    pub async fn settled(&self) {
        self.room.notified().await;
    }

    /// How many rows lie there that are not yet settled.
    pub fn len(&self) -> usize {
        self.locked().under_way.len()
    }

    /// Whether no row lies there.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// From now on nothing is put down any more.
    pub fn close(&self) {
        self.locked().closed = true;
    }

    /// Clears it: the rows that are not settled, whether somebody has them in hand or not.
    pub fn clear(&self) -> Vec<i64> {
        let mut rows = self.locked();
        rows.waiting.iter_mut().for_each(VecDeque::clear);
        rows.bytes = 0;
        rows.under_way.drain().map(|(id, _)| id).collect()
    }

    fn locked(&self) -> MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn pop(&mut self) -> Option<Leased> {
        self.waiting.iter_mut().find_map(VecDeque::pop_front)
    }
}

#[cfg(test)]
mod tests {
    use super::super::entry::Content;
    use super::*;

    fn row(id: i64) -> Leased {
        Leased {
            id,
            key: id.to_string(),
            urgency: 1,
            event: Content::Written(Vec::new()),
            bytes: 1_000,
            attempts: 0,
            due: DateTime::UNIX_EPOCH,
            failing_since: None,
            accepted: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_row_takes_its_place_until_it_is_settled() {
        let desk = Desk::new(2);
        desk.put(vec![row(1), row(2)]);
        assert!(!desk.room().is_left());
        assert_eq!(desk.take().unwrap().id, 1);
        assert!(!desk.room().is_left());
        desk.done([1].into_iter());
        assert_eq!((desk.room().rows(), desk.len()), (1, 1));
        assert_eq!(desk.clear(), [2]);
        assert!(desk.take().is_none() && desk.is_empty());
    }

    #[test]
    fn large_rows_take_the_room_of_many() {
        let desk = Desk::new(8);
        desk.put(vec![Leased { bytes: MOST_BYTES / 2, ..row(1) }]);
        assert!(!desk.is_rather_full());
        let mut room = desk.room();
        assert!(room.take(MOST_BYTES) && !room.take(1), "{room:?}");
        desk.put(vec![Leased { bytes: MOST_BYTES, ..row(2) }]);
        assert!(desk.is_rather_full() && !desk.room().is_left());
        desk.done([2].into_iter());
        assert_eq!(desk.room().rows(), 7);
        desk.clear();
        assert_eq!(desk.room(), Desk::new(8).room());
    }

    #[test]
    fn it_is_as_large_as_what_was_settled_in_a_moment() {
        let desk = Desk::new(8);
        let at = |ms| DateTime::UNIX_EPOCH + TimeDelta::milliseconds(ms);
        let settle = |count: i64| {
            desk.put((0..count).map(row).collect());
            desk.done(0..count);
        };
        desk.fit(at(0));
        settle(100);
        desk.fit(at(100));
        assert_eq!(desk.room().rows(), 8, "too short a time to tell");
        desk.fit(at(200));
        assert_eq!(desk.room().rows(), 62);
        settle(100_000);
        desk.fit(at(325));
        assert_eq!(desk.room().rows(), MOST_PLACES);
        settle(100);
        desk.fit(at(0));
        assert_eq!(desk.room().rows(), MOST_PLACES, "the clock was set back: nothing is known");
        settle(1);
        desk.fit(at(1_000));
        assert_eq!(desk.room().rows(), 8);
    }

    #[test]
    fn what_is_urgent_overtakes_what_waits_there() {
        let desk = Desk::new(8);
        desk.put(vec![Leased { urgency: 3, ..row(1) }, row(2), row(3)]);
        desk.put(vec![Leased { urgency: 0, ..row(4) }]);
        let order: Vec<i64> = std::iter::from_fn(|| desk.take()).map(|row| row.id).collect();
        assert_eq!(order, [4, 2, 3, 1]);
    }

    #[test]
    fn a_row_whose_lease_ran_out_is_not_taken_up_twice_and_a_closed_desk_has_no_room() {
        let desk = Desk::new(8);
        desk.put(vec![row(1)]);
        desk.put(vec![row(1), row(2)]);
        assert_eq!([desk.take().unwrap().id, desk.take().unwrap().id], [1, 2]);
        assert!(desk.take().is_none());
        desk.close();
        assert!(!desk.room().is_left());
    }
}
