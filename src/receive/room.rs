//! Room for large deliveries: how many bytes of them are in memory at once, so that those that are allowed one by one
//! are not too much together. Small ones take none.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

/// Deliveries of so many bytes or more take room.
pub const LARGE: usize = 256 * 1024;
/// How long a delivery waits for room before its sender is told to come again.
const PATIENCE: Duration = Duration::from_secs(10);
/// Room is counted in pieces of so many bytes.
const PIECE: usize = 1024;
/// While they only arrive, or wait to be read, deliveries take their own size: as much as so many of the largest.
const ARRIVING: usize = 4;

/// The rooms of a door.
#[derive(Debug)]
pub struct Rooms {
    /// For what arrives, until it is answered.
    pub arriving: Room,
    /// For what is being parsed and written, which takes some ten times its size: as much as the largest, so that one of
    /// that size has it to itself.
    pub at_work: Room,
}

impl Rooms {
    /// Rooms for a door whose largest delivery has so many bytes.
    pub fn new(largest: usize) -> Self {
        Self { arriving: Room::new(largest.saturating_mul(ARRIVING)), at_work: Room::new(largest) }
    }
}

/// So many bytes, and who is in.
#[derive(Debug)]
pub struct Room {
    free: Semaphore,
    pieces: u32,
}

/// A place in a room, given back when it is dropped. A small delivery has none.
pub type Place<'a> = Option<SemaphorePermit<'a>>;

/// There was no room in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many large deliveries are being taken at once")]
pub struct Full;

impl Room {
    /// A room of so many bytes.
    pub fn new(bytes: usize) -> Self {
        let pieces = pieces(bytes);
        Self { free: Semaphore::new(usize::try_from(pieces).unwrap_or(Semaphore::MAX_PERMITS)), pieces }
    }

    /// Waits for a place of so many bytes, in the order of asking. What is larger than the room takes the whole of it.
    ///
    /// # Errors
    /// When there was none in time.
    pub async fn take(&self, bytes: usize) -> Result<Place<'_>, Full> {
        if bytes < LARGE {
            return Ok(None);
        }
        let waiting = self.free.acquire_many(pieces(bytes).min(self.pieces));
        let place = tokio::time::timeout(PATIENCE, waiting).await.map_err(|_| Full)?;
        place.map(Some).map_err(|_| Full)
    }
}

/// The place without what `bytes` do not need of it.
pub fn shrink(place: Place<'_>, bytes: usize) -> Place<'_> {
    let mut place = place?;
    let needed = usize::try_from(pieces(bytes)).unwrap_or(usize::MAX);
    drop(place.num_permits().checked_sub(needed).and_then(|spare| place.split(spare)));
    (bytes >= LARGE).then_some(place)
}

fn pieces(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(PIECE)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const MIB: usize = 1024 * 1024;

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_room_is_in_at_once_and_everybody_gets_in() {
        let room = Room::new(8 * MIB);
        let (inside, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (room, inside, most) = (&room, &inside, &most);
        let sizes = (0..60).map(|number| (LARGE + number * 150_000).min(8 * MIB));
        let all = sizes.map(async |bytes| {
            let place = room.take(bytes).await.unwrap();
            most.fetch_max(inside.fetch_add(bytes, Ordering::SeqCst) + bytes, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            inside.fetch_sub(bytes, Ordering::SeqCst);
            drop(place);
        });
        assert_eq!(futures_util::future::join_all(all).await.len(), 60);
        let most = most.load(Ordering::SeqCst);
        assert!(most <= 8 * MIB && most > 6 * MIB, "{most}");
    }

    #[tokio::test(start_paused = true)]
    async fn small_ones_take_none_and_large_ones_do_not_wait_for_ever() {
        let room = Room::new(MIB);
        let all = room.take(usize::MAX).await.unwrap();
        assert!(room.take(LARGE - 1).await.unwrap().is_none());
        assert_eq!(room.take(LARGE).await.unwrap_err(), Full);
        let half = shrink(all, MIB / 2);
        assert!(room.take(MIB / 2).await.is_ok() && room.take(MIB / 2 + PIECE).await.is_err());
        assert!(shrink(half, LARGE - 1).is_none());
        assert!(room.take(MIB).await.is_ok());
    }
}
