//! What was used before, here and at the other replicas: a memory of this process in front of the state store.
//!
//! A mark may stand in the store although nothing was released for it: the store's answer was lost, the secret could not
//! be had, the request was dropped. A mark therefore says whose it is, under a random name that this process remembers as
//! long as nothing was released. The next try here takes its own mark over, and in the background such marks are removed
//! for the other replicas. What another process marked is used, whatever became of it: only that process knows. Marks are
//! taken over and removed by revision and every try changes them, so that a change that arrives late cannot undo a later
//! one.
//!
//! In this process a thing is in one hand at a time. Who wants it too waits for what becomes of it, so that a request that
//! releases nothing makes no other one a replay.

mod marks;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use self::marks::{Everywhere, Mark, unavailable};
use crate::attest::seen::{Seen, Use};
use crate::causes::chain;
use crate::state::{StateError, Store};

/// How long the store is waited for: its caller should still be there to be told, and a secret must not go to nobody.
const PATIENCE: Duration = Duration::from_secs(8);
/// How long a thing that is in another hand is waited for, within that.
const HAND: Duration = Duration::from_secs(5);
/// How often a mark that released nothing is looked for when it is not there: it may still be on its way.
const LOOKS: u8 = 2;

/// Used tokens and nonces.
#[derive(Debug)]
pub(super) struct Used {
    here: Seen,
    everywhere: Option<Arc<Everywhere>>,
    /// What is being used now. Its hand ends the channel.
    hands: Mutex<HashMap<[u8; 32], watch::Receiver<()>>>,
    /// Marks of this process that may stand in the store although nothing was released for them.
    idle: Mutex<HashMap<[u8; 32], Idle>>,
    limit: usize,
}

/// A token or nonce by its hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Thing {
    pub(super) what: [u8; 32],
    /// How long it is remembered, Unix seconds.
    pub(super) until: i64,
}

/// What a release uses up.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// None of them may have been used before. Those who want some of the same ones name them in the same order, else
    /// neither might get all of them.
    pub(super) unused: Vec<Thing>,
    /// Counts as used from then on, also when it was before.
    pub(super) also: Option<Thing>,
}

#[derive(Debug)]
struct Idle {
    mark: Mark,
    looks: u8,
}

/// What became of a claim to be the first.
#[derive(Debug)]
pub(super) enum Taken {
    /// It is the first.
    First(Held),
    /// Something of it was used before.
    Again,
    /// There is no room to remember it.
    Full,
    /// Something of it is in another request's hand, and what becomes of that is not known yet.
    Busy,
}

/// The same of one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    First,
    Again,
    Full,
    Busy,
}

impl From<Use> for Claim {
    fn from(found: Use) -> Self {
        match found {
            Use::First => Self::First,
            Use::Again => Self::Again,
            Use::Full => Self::Full,
        }
    }
}

/// What is being used: used up once a secret was released for it, else given back, also when it is dropped.
#[derive(Debug)]
pub(super) struct Held {
    used: Arc<Used>,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    mark: Mark,
    /// It counts as used whatever becomes of this try.
    stays: bool,
    _hand: Option<Hand>,
}

/// While it is there, nobody else in this process has the thing.
#[derive(Debug)]
struct Hand {
    used: Arc<Used>,
    what: [u8; 32],
    /// Ends, when dropped, the waiting of the others.
    _holds: watch::Sender<()>,
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.used.hands().remove(&self.what);
    }
}

impl Held {
    fn of(used: &Arc<Used>) -> Self {
        Self { used: Arc::clone(used), parts: Vec::new() }
    }

    /// A secret was released for it.
    pub(super) fn use_up(mut self) {
        for part in self.parts.drain(..) {
            self.used.idle().remove(&part.mark.what);
        }
    }

    /// Nothing was released for it; the other replicas are told now, as far as the store can be reached.
    pub(super) async fn give_back(mut self) {
        // Who waits for them here waits until they are removed: else its mark and the removal would be in each other's way.
        let parts = std::mem::take(&mut self.parts);
        let left: Vec<&Part> = parts.iter().filter(|part| self.used.leave(part)).collect();
        let removed = tokio::time::timeout(PATIENCE, async {
            for part in left {
                self.used.remove(&part.mark).await?;
            }
            Ok(())
        });
        if let Err(error) = removed.await.unwrap_or_else(|late| Err(unavailable(late))) {
            tracing::warn!(
                error = chain(&error),
                "a token that released nothing stays marked as used for the other replicas until the store is back"
            );
        }
    }

    async fn take(&mut self, wanted: Wanted, now: i64) -> Result<Claim, StateError> {
        for thing in wanted.unused {
            let taken = self.take_unused(thing, now).await?;
            if taken != Claim::First {
                return Ok(taken);
            }
        }
        match wanted.also {
            Some(thing) => self.take_also(thing, now).await,
            None => Ok(Claim::First),
        }
    }

    async fn take_unused(&mut self, thing: Thing, now: i64) -> Result<Claim, StateError> {
        let hand = match Hand::on(&self.used, thing, now).await {
            (Claim::First, hand) => hand,
            (other, _) => return Ok(other),
        };
        let mark = self.used.next_try(thing);
        self.parts.push(Part { mark: mark.clone(), stays: false, _hand: hand });
        // Without an answer the mark may stand.
        let is_first = match &self.used.everywhere {
            Some(everywhere) => everywhere.mark(&mark).await?,
            None => true,
        };
        if is_first {
            return Ok(Claim::First);
        }
        // By another process: from now on this one knows it too.
        if let Some(part) = self.parts.last_mut() {
            part.stays = true;
        }
        Ok(Claim::Again)
    }

    /// It stays used whatever becomes of this try: so nobody has to wait until that is known.
    async fn take_also(&mut self, thing: Thing, now: i64) -> Result<Claim, StateError> {
        let _hand = match Hand::on(&self.used, thing, now).await {
            (Claim::First | Claim::Again, hand) => hand,
            (other, _) => return Ok(other),
        };
        // The mark that stands there may be of somebody who will release nothing and remove it: ours takes its place. It
        // has a name of its own, as one that this process knows as idle could be taken over.
        let mark = Mark::new(thing);
        self.parts.push(Part { mark: mark.clone(), stays: true, _hand: None });
        self.used.idle().remove(&thing.what);
        if let Some(everywhere) = &self.used.everywhere {
            everywhere.mark_over(&mark).await?;
        }
        Ok(Claim::First)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        for part in &self.parts {
            self.used.leave(part);
        }
    }
}

impl Hand {
    /// Waits until nobody has the thing, and takes it; and whether it is the first use.
    async fn on(used: &Arc<Used>, thing: Thing, now: i64) -> (Claim, Option<Self>) {
        match tokio::time::timeout(HAND, Self::in_turn(used, thing, now)).await {
            Ok((found, hand)) => (found.into(), Some(hand)),
            Err(_late) => (Claim::Busy, None),
        }
    }

    async fn in_turn(used: &Arc<Used>, thing: Thing, now: i64) -> (Use, Self) {
        loop {
            let mut busy = {
                let mut hands = used.hands();
                let Some(busy) = hands.get(&thing.what) else {
                    let (holds, held) = watch::channel(());
                    hands.insert(thing.what, held);
                    let found = used.here.take(thing.what, thing.until, now);
                    return (found, Self { used: Arc::clone(used), what: thing.what, _holds: holds });
                };
                busy.clone()
            };
            // Nothing is ever sent: it ends with its sender.
            busy.changed().await.ok();
        }
    }
}

impl Used {
    /// With room for so many in this process.
    pub(super) fn new(limit: usize, everywhere: Option<Arc<dyn Store>>) -> Self {
        let (hands, idle) = (Mutex::default(), Mutex::default());
        Self { here: Seen::new(limit), everywhere: everywhere.map(Everywhere::new), hands, idle, limit }
    }

    /// Takes all that is wanted; only one caller of all replicas is the first. Who is not, has nothing of it.
    pub(super) async fn take(self: &Arc<Self>, wanted: Wanted, now: i64) -> Result<Taken, StateError> {
        let mut held = Held::of(self);
        // Without an answer `held` is dropped: marks may stand, and nothing was released for them.
        let taken = tokio::time::timeout(PATIENCE, held.take(wanted, now)).await;
        let refused = match taken.unwrap_or_else(|late| Err(unavailable(late)))? {
            Claim::First => return Ok(Taken::First(held)),
            Claim::Again => Taken::Again,
            Claim::Full => Taken::Full,
            Claim::Busy => Taken::Busy,
        };
        held.give_back().await;
        Ok(refused)
    }

    fn next_try(&self, thing: Thing) -> Mark {
        match self.idle().get(&thing.what) {
            Some(Idle { mark, .. }) => Mark { until: thing.until, tries: mark.tries + 1, ..mark.clone() },
            None => Mark::new(thing),
        }
    }

    /// Nothing was released for it: whether that makes it free again.
    fn leave(&self, part: &Part) -> bool {
        let what = part.mark.what;
        let mut idle = self.idle();
        if part.stays {
            idle.remove(&what);
            return false;
        }
        // Without room it stays used: its caller must come with a new token.
        if self.everywhere.is_some() && (idle.len() < self.limit || idle.contains_key(&what)) {
            idle.insert(what, Idle { mark: part.mark.clone(), looks: LOOKS });
        }
        drop(idle);
        self.here.give_back(&what);
        true
    }

    /// Removes a mark that released nothing, if it stands.
    async fn remove(&self, mark: &Mark) -> Result<(), StateError> {
        let Some(everywhere) = &self.everywhere else { return Ok(()) };
        let removed = everywhere.remove(mark).await?;
        let mut idle = self.idle();
        if let Some(left) = idle.get_mut(&mark.what).filter(|left| left.mark.tries == mark.tries) {
            left.looks = left.looks.saturating_sub(1);
            if removed {
                idle.remove(&mark.what);
            }
        }
        Ok(())
    }

    /// Removes from the store the marks of this process that released nothing. When the store does not answer, they are
    /// left for the next time.
    pub(super) async fn settle(&self, now: i64) {
        let waiting: Vec<Mark> = {
            let mut idle = self.idle();
            idle.retain(|_, left| left.mark.until > now);
            idle.values().filter(|left| left.looks > 0).map(|left| left.mark.clone()).collect()
        };
        for mark in waiting {
            if self.remove(&mark).await.is_err() {
                return;
            }
        }
    }

    /// Removes from the store what has expired anyway.
    pub(super) async fn tidy(&self, now: i64) -> Result<(), StateError> {
        match &self.everywhere {
            Some(everywhere) => everywhere.tidy(now).await,
            None => Ok(()),
        }
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<[u8; 32], Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hands(&self) -> MutexGuard<'_, HashMap<[u8; 32], watch::Receiver<()>>> {
        self.hands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
