//! The end: all parts stop at once, and have the same few seconds together. Whoever asked waits ten, and then kills.

use std::time::Duration;

use chrono::Utc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::parts::Parts;
use crate::causes::chain;
use crate::event::Outcome;
use crate::outbox::{Stats, Store, StoreError};

/// How long all parts together may take for what is in hand.
pub(super) const GRACE: Duration = Duration::from_secs(8);
/// What the last lines of a journal may take.
const LAST_LINES: Duration = Duration::from_secs(1);
/// What the worker needs to end in order: its last attempts, and their settlements.
const LAST_STEPS: Duration = Duration::from_millis(1_500);
/// How often is asked whether anything still waits.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Waits for the journal's last lines, which their asker did not wait for. A disk may take nothing any more; `false` when
/// it does not even say so.
pub(super) async fn of_journal(settled: impl Future<Output = bool>) -> bool {
    let settled = tokio::time::timeout(LAST_LINES, settled).await;
    if settled != Ok(true) {
        tracing::error!("the last decisions about attestation may not stand in the journal");
    }
    settled.is_ok()
}

/// The end where the disk goes with the process: no next start takes anything up, so the worker goes on until nothing waits
/// or the time is over, and what is gone then is told.
pub(super) async fn with_the_disk(
    parts: &mut Parts,
    worker: &mut Parts,
    working: &CancellationToken,
    outbox: &dyn Store,
) {
    let deadline = Instant::now() + GRACE;
    // Nothing new comes in once they have ended.
    parts.end_by(deadline - LAST_STEPS).await;
    // Who is dead delivers nothing any more.
    if !worker.is_empty() {
        let _emptied_or_time = tokio::time::timeout_at(deadline - LAST_STEPS, until_nothing_waits(outbox)).await;
    }
    working.cancel();
    worker.end_by(deadline).await;
    tell_lost(outbox.stats(Utc::now()).await);
}

async fn until_nothing_waits(outbox: &dyn Store) {
    // What cannot be counted may be there.
    while outbox.stats(Utc::now()).await.map_or(true, |stats| stats.waiting > 0) {
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

fn tell_lost(left: Result<Stats, StoreError>) {
    match left {
        Err(error) => tracing::error!(
            error = chain(&error),
            "the outbox's disk does not outlive this instance: how many acknowledged events are gone with it is not known"
        ),
        Ok(stats) => {
            let (undelivered, parked) =
                (stats.waiting, stats.closed.get(Outcome::Parked.label()).copied().unwrap_or_default());
            if undelivered + parked > 0 {
                tracing::error!(
                    undelivered,
                    parked,
                    "the outbox's disk does not outlive this instance: {undelivered} acknowledged events that could not be \
                     delivered in time, and {parked} parked ones, are gone with it"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use chrono::DateTime;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::outbox::{Accepted, Desk, NewEntry, Settlement};

    /// An outbox of which one row is delivered whenever it is counted.
    #[derive(Debug)]
    struct Emptied(AtomicU64);

    impl Store for Emptied {
        fn accept(&self, _: Vec<NewEntry>, _: u64, _: DateTime<Utc>) -> BoxFuture<'_, Result<Accepted, StoreError>> {
            Box::pin(async { Err(StoreError::Closed) })
        }
        fn fill(&self, _: &Arc<Desk>, _: DateTime<Utc>, _: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
            Box::pin(async { Err(StoreError::Closed) })
        }
        fn settle(&self, _: Vec<Settlement>, _: DateTime<Utc>) -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async { Err(StoreError::Closed) })
        }
        fn stats(&self, _: DateTime<Utc>) -> BoxFuture<'_, Result<Stats, StoreError>> {
            let waiting = self.0.load(Ordering::Relaxed);
            self.0.store(waiting.saturating_sub(1), Ordering::Relaxed);
            Box::pin(async move { Ok(Stats { waiting, ..Stats::default() }) })
        }
        fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async { Err(StoreError::Closed) })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn where_the_disk_goes_too_the_worker_works_until_nothing_waits_or_the_time_is_over() {
        for (rows, least, most) in [(0, 0, 0), (20, 2_000, 2_200), (10_000, 6_500, 6_600)] {
            let (outbox, working) = (Emptied(AtomicU64::new(rows)), CancellationToken::new());
            let (began, stopped) = (Instant::now(), working.clone());
            let (mut others, mut worker) = (Parts::default(), Parts::default());
            worker.start("worker", stopped.cancelled_owned());
            with_the_disk(&mut others, &mut worker, &working, &outbox).await;
            let took = began.elapsed().as_millis();
            assert!((least..=most).contains(&took), "{rows}: {took} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_journal_whose_disk_does_not_answer_is_waited_for_a_second() {
        let began = Instant::now();
        assert!(!of_journal(std::future::pending()).await);
        assert!(began.elapsed() < Duration::from_millis(1_100));
        assert!(of_journal(async { false }).await && of_journal(async { true }).await);
    }
}
