//! The worker's desk: the rows it holds, bounded in number. The store puts rows there, hands take them off.
//!
//! A row lies on the desk only after its lease is durable, so a desk that burns loses nothing.

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, Semaphore};

use super::Leased;

/// Rows that are leased and not yet settled, and those of them that wait for a hand.
#[derive(Debug)]
pub struct Desk {
    places: usize,
    rows: Mutex<Rows>,
    /// As many permits as rows wait for a hand.
    ready: Semaphore,
    room: Notify,
}

#[derive(Debug, Default)]
struct Rows {
    /// By urgency.
    waiting: [VecDeque<Leased>; 4],
    under_way: HashSet<i64>,
    closed: bool,
}

impl Desk {
    /// An empty desk with so many places.
    pub fn new(places: usize) -> Self {
        Self { places, rows: Mutex::default(), ready: Semaphore::new(0), room: Notify::new() }
    }

    /// How many more rows it can take: none when it is closed.
    pub fn room(&self) -> usize {
        let rows = self.locked();
        if rows.closed { 0 } else { self.places.saturating_sub(rows.under_way.len()) }
    }

    /// Puts rows down; one that lies there already, because its lease ran out meanwhile, is not taken up twice.
    pub fn put(&self, leased: Vec<Leased>) {
        let put = {
            let mut rows = self.locked();
            let before = rows.under_way.len();
            for row in leased {
                if rows.under_way.insert(row.id) {
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
                rows.under_way.remove(&id);
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
        rows.under_way.drain().collect()
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
            attempts: 0,
            first_failed: None,
            accepted: chrono::DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_row_takes_its_place_until_it_is_settled() {
        let desk = Desk::new(2);
        desk.put(vec![row(1), row(2)]);
        assert_eq!(desk.room(), 0);
        assert_eq!(desk.take().unwrap().id, 1);
        assert_eq!(desk.room(), 0);
        desk.done([1].into_iter());
        assert_eq!((desk.room(), desk.len()), (1, 1));
        assert_eq!(desk.clear(), [2]);
        assert!(desk.take().is_none() && desk.is_empty());
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
        assert_eq!(desk.room(), 0);
    }
}
