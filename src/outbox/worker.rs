//! The worker: leases what is due, has it handled, and settles it. Knows rows, attempts and time, not what an event is.
//!
//! Several events are under way at once, and a slow one delays only itself. What is finished is settled in batches,
//! so that closing costs as little as accepting does.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::attempt::Attempt;
use super::entry::Ending;
use super::patience::ending;
use super::{Desk, Leased, Settlement, Store};
use crate::causes::chain;
use crate::clock::Clock;
use crate::deliver::Verdict;
use crate::event::Outcome;
use crate::telemetry::metrics as names;
use crate::telemetry::summed::{Sum, Summed};

/// What is done with a leased row: enrich, decide, deliver. Repeating it must be safe.
pub trait Handler: Send + Sync + std::fmt::Debug {
    /// One attempt.
    fn handle<'a>(&'a self, entry: &'a Leased, now: DateTime<Utc>) -> BoxFuture<'a, Attempt>;
}

/// How the worker works.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// Attempts under way at once.
    pub concurrency: usize,
    /// After failing for this long an event is parked; time in which it was not tried does not count.
    pub give_up_after: Duration,
    /// The file does not outlive the process. Then whoever stops the worker has let it work as long as there was time, and
    /// there is no next start to speak of.
    pub ephemeral: bool,
}

/// Longer than any attempt: a row that is not settled by then is taken by the next lease.
const LEASE: Duration = Duration::from_secs(3600);
/// An attempt that takes longer than this gives its row back. It is longer than a turn at the pace is waited for, so
/// that only what hangs takes so long.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(1800);
/// How often the worker looks for due rows when nobody wakes it: retries, and what an operator put back.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Leases and settlements are gathered for this long, because each costs a transaction and nobody waits for them:
/// senders, who do, find the writer free the sooner. The first event after a pause is leased at once.
const GATHER: Duration = Duration::from_millis(5);
const SETTLE_AGAIN_AFTER: Duration = Duration::from_secs(1);
const SETTLED_AT_ONCE: usize = 512;
/// How long rows under way may take to finish when the process stops.
const DRAIN: Duration = Duration::from_secs(5);
/// The same where it was stopped only at the very end.
const LAST_DRAIN: Duration = Duration::from_secs(1);

/// Failures of one kind are told at once, and then once in this time.
const TELL_EVERY: Duration = Duration::from_secs(60);
/// Kinds of failures that are kept apart; there are fewer.
const KINDS: usize = 64;

/// As what those are told that have not failed, but must wait for their turn.
const QUOTA: &str = "waits";

/// What failed and is tried again, by its label: in an outage every event fails of the same.
type Failures = Summed<&'static str>;

/// The worker. One a process.
pub struct Worker {
    store: Arc<dyn Store>,
    handler: Arc<dyn Handler>,
    manner: Manner,
    clock: Clock,
    wake: Arc<Notify>,
    heartbeat: Arc<Heartbeat>,
    failures: Arc<Failures>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("manner", &self.manner).finish_non_exhaustive()
    }
}

/// When the worker last looked for due rows: readiness asks.
#[derive(Debug, Default)]
pub struct Heartbeat(AtomicI64);

impl Heartbeat {
    /// Seconds since the last look; `None` before the first.
    pub fn idle_secs(&self, now: DateTime<Utc>) -> Option<u64> {
        let last = self.0.load(Ordering::Relaxed);
        (last != 0).then(|| u64::try_from(now.timestamp() - last).unwrap_or_default())
    }

    fn beat(&self, now: DateTime<Utc>) {
        self.0.store(now.timestamp(), Ordering::Relaxed);
    }
}

impl Worker {
    /// A worker over `store`; whoever accepts events calls `wake.notify_one()`.
    pub fn new(store: Arc<dyn Store>, handler: Arc<dyn Handler>, manner: Manner, clock: Clock) -> Self {
        let failures = Arc::new(Summed::new(TELL_EVERY, KINDS));
        Self { store, handler, manner, clock, wake: Arc::new(Notify::new()), heartbeat: Arc::default(), failures }
    }

    /// What to notify when there is something new.
    pub fn wake(&self) -> Arc<Notify> {
        Arc::clone(&self.wake)
    }

    /// When it last looked.
    pub fn heartbeat(&self) -> Arc<Heartbeat> {
        Arc::clone(&self.heartbeat)
    }

    /// Works until `stop`, then finishes what is in hand, or gives it back.
    pub async fn run(self, stop: CancellationToken) {
        // More places than hands: no hand is idle while others' rows are being leased or settled.
        let desk = Arc::new(Desk::new((self.manner.concurrency * 8).max(8)));
        let (settled, settlements) = mpsc::channel(1_024);
        let clerk = settle_in_batches(Arc::clone(&self.store), settlements, Arc::clone(&self.clock));
        let clerk = tokio::spawn(clerk);
        let mut hands = JoinSet::new();
        for _ in 0..self.manner.concurrency {
            hands.spawn(self.hand(Arc::clone(&desk), settled.clone(), stop.clone()));
        }
        drop(settled);
        // Without its clerk it would deliver the same events again and again: who started it hears that it ended.
        while !stop.is_cancelled() && !clerk.is_finished() {
            let gathered = tokio::time::sleep(GATHER);
            let more = self.fill(&desk).await;
            tokio::select! {
                () = gathered.then(|()| self.pause(&desk, more)) => {}
                () = stop.cancelled() => {}
            }
        }
        desk.close();
        let patience = if self.manner.ephemeral { LAST_DRAIN } else { DRAIN };
        let drained = tokio::time::timeout(patience, async { while hands.join_next().await.is_some() {} }).await;
        if drained.is_err() {
            if !self.manner.ephemeral {
                tracing::info!(
                    rows = desk.len(),
                    "gave back what could not be finished in time; it is taken up at the next start"
                );
            }
            hands.shutdown().await;
        }
        if let Err(error) = clerk.await {
            tracing::error!(%error, "the last settlements were lost; their events are delivered again at the next start");
        }
        self.give_back(&desk).await;
    }

    /// Leases what is due. Whether there may be more: nobody wakes us for what was due before, so only a lease that
    /// found less than it had room for saw the end.
    async fn fill(&self, desk: &Arc<Desk>) -> bool {
        let now = (self.clock)();
        self.heartbeat.beat(now);
        desk.fit(now);
        self.failures.rest(now).iter().for_each(tell_failures);
        // Small leases cost as much as large ones: wait until half of the desk is free.
        if desk.is_rather_full() {
            return true;
        }
        // What went wrong the store has logged, and says at /readyz; the next look tries again.
        self.store.fill(desk, now, LEASE).await.unwrap_or_default()
    }

    async fn pause(&self, desk: &Desk, more: bool) {
        if desk.is_rather_full() {
            let _room_or_time = tokio::time::timeout(LOOK_EVERY, desk.settled()).await;
        } else if !more {
            let _woken_or_time = tokio::time::timeout(LOOK_EVERY, self.wake.notified()).await;
        }
    }

    /// One pair of hands: takes row after row from the desk.
    fn hand(
        &self,
        desk: Arc<Desk>,
        settled: mpsc::Sender<Settlement>,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (handler, manner, clock) = (Arc::clone(&self.handler), self.manner, Arc::clone(&self.clock));
        let failures = Arc::clone(&self.failures);
        async move {
            loop {
                let row = tokio::select! {
                    biased;
                    row = desk.next() => row,
                    () = stop.cancelled() => match desk.take() {
                        Some(row) => row,
                        None => return,
                    },
                };
                // A panic in one event's handling must not lose its row, nor stop the others.
                let handled =
                    AssertUnwindSafe(attempt(&*handler, &row, &manner, &clock, &failures)).catch_unwind().await;
                let settlement = handled.unwrap_or_else(|_| panicked(row.id));
                // Only fails when the process is stopping for good; then the lease is given back.
                let _delivered_to_clerk = settled.send(settlement).await;
            }
        }
    }

    async fn give_back(&self, desk: &Desk) {
        let left: Vec<_> = desk
            .clear()
            .into_iter()
            .map(|id| Settlement { id, ending: Ending::Release { reason: None, at: None } })
            .collect();
        if !left.is_empty()
            && let Err(error) = self.store.settle(left, (self.clock)()).await
        {
            tracing::warn!(error = chain(&error), "leases could not be given back; the next start takes them back");
        }
    }
}

fn panicked(id: i64) -> Settlement {
    tracing::error!(row = id, "handling an event panicked; it is parked");
    let note = Some("handling it panicked, which is a defect of this program; see the log".to_owned());
    metrics::counter!(names::CLOSED.name, "outcome" => Outcome::Parked.label()).increment(1);
    Settlement { id, ending: Ending::Close { outcome: Outcome::Parked, note } }
}

/// The clerk: settles everything that is finished in one transaction, and never gives up on one.
async fn settle_in_batches(store: Arc<dyn Store>, mut finished: mpsc::Receiver<Settlement>, clock: Clock) {
    let mut batch = Vec::new();
    while finished.recv_many(&mut batch, SETTLED_AT_ONCE).await > 0 {
        tokio::time::sleep(GATHER).await;
        while batch.len() < SETTLED_AT_ONCE
            && let Ok(next) = finished.try_recv()
        {
            batch.push(next);
        }
        let mut stopping_tries = 0;
        while store.settle(batch.clone(), clock()).await.is_err() {
            // While the process runs there is time; when it stops, a row settled twice is better than no stop.
            stopping_tries += u32::from(finished.is_closed());
            if stopping_tries > 2 {
                break;
            }
            tokio::time::sleep(SETTLE_AGAIN_AFTER).await;
        }
        batch.clear();
    }
}

async fn attempt(
    handler: &dyn Handler,
    row: &Leased,
    manner: &Manner,
    clock: &Clock,
    failures: &Failures,
) -> Settlement {
    let began = clock();
    let handled = tokio::time::timeout(LONGEST_ATTEMPT, handler.handle(row, began)).await;
    let now = clock();
    let (label, waits) = match &handled {
        Ok(Attempt::Failed { label, verdict, .. }) => {
            let word = verdict.label();
            metrics::counter!(names::ATTEMPTS_FAILED.name, "error" => *label, "verdict" => word).increment(1);
            (*label, matches!(verdict, Verdict::Wait(_)))
        }
        Ok(Attempt::Done { .. }) | Err(_) => ("", false),
    };
    let ending = match handled {
        Ok(attempt) => ending(row, attempt, manner.give_up_after, now, rand::random()),
        Err(_) => {
            let minutes = LONGEST_ATTEMPT.as_secs() / 60;
            let reason = format!("the attempt did not end within {minutes} minutes; it is made again");
            Ending::Release { reason: Some(reason), at: None }
        }
    };
    if waits
        && let Ending::Release { reason: Some(reason), .. } = &ending
        && let Some(sum) = failures.add(QUOTA, reason, now)
    {
        tell_failures(&sum);
    }
    tell(row, &ending, failures, label, now);
    Settlement { id: row.id, ending }
}

fn tell(row: &Leased, ending: &Ending, failures: &Failures, label: &'static str, now: DateTime<Utc>) {
    match ending {
        Ending::Close { outcome, note } => {
            metrics::counter!(names::CLOSED.name, "outcome" => outcome.label()).increment(1);
            let age = (now - row.accepted).to_std().unwrap_or_default();
            metrics::histogram!(names::END_TO_END_SECONDS.name).record(age.as_secs_f64());
            match (outcome, note) {
                (Outcome::Parked, Some(reason)) => tracing::error!(event.key = row.key, reason, "an event was parked"),
                (_, Some(note)) => {
                    tracing::debug!(event.key = row.key, note, outcome = outcome.label(), "an event was closed")
                }
                (_, None) => tracing::debug!(event.key = row.key, outcome = outcome.label(), "an event was closed"),
            }
        }
        Ending::Retry { at, reason } => {
            let attempt = row.attempts + 1;
            match failures.add(label, reason, now) {
                Some(sum) if sum.count > 1 => tell_failures(&sum),
                Some(_) => {
                    tracing::warn!(event.key = row.key, reason, attempt, next = %at, "delivery failed and is tried again")
                }
                None => {
                    tracing::debug!(event.key = row.key, reason, attempt, next = %at, "delivery failed and is tried again")
                }
            }
        }
        Ending::Release { .. } => tracing::debug!(event.key = row.key, "an event was given back"),
    }
}

fn tell_failures(Sum { key, count, last }: &Sum<&'static str>) {
    let error = key.unwrap_or_default();
    if error == QUOTA {
        return tracing::info!(
            deliveries = count,
            reason = last,
            "deliveries wait for their quota; this is the last of them"
        );
    }
    tracing::warn!(
        error,
        attempts = count,
        reason = last,
        "deliveries failed and are tried again; this is the last of them"
    );
}

#[cfg(test)]
mod tests {
    use super::super::entry::Content;
    use super::super::{Accepted, NewEntry, Stats, StoreError};
    use super::*;

    fn row(id: i64) -> Leased {
        Leased {
            id,
            key: "k".into(),
            urgency: 1,
            event: Content::Written(Vec::new()),
            bytes: 1,
            attempts: 0,
            due: DateTime::UNIX_EPOCH,
            failing_since: None,
            accepted: DateTime::UNIX_EPOCH,
        }
    }

    /// A store with one row, whose settling panics.
    #[derive(Debug)]
    struct Unsettled;

    impl Store for Unsettled {
        fn accept(&self, _: Vec<NewEntry>, _: u64, _: DateTime<Utc>) -> BoxFuture<'_, Result<Accepted, StoreError>> {
            Box::pin(async { Err(StoreError::Closed) })
        }
        fn fill(&self, desk: &Arc<Desk>, _: DateTime<Utc>, _: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
            desk.put(vec![row(1)]);
            Box::pin(async { Ok(false) })
        }
        fn settle(&self, _: Vec<Settlement>, _: DateTime<Utc>) -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async { panic!("a defect") })
        }
        fn stats(&self, _: DateTime<Utc>) -> BoxFuture<'_, Result<Stats, StoreError>> {
            Box::pin(async { Err(StoreError::Closed) })
        }
        fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
            Box::pin(async { Err(StoreError::Closed) })
        }
    }

    /// Everything is done at once.
    #[derive(Debug)]
    struct Done;

    impl Handler for Done {
        fn handle<'a>(&'a self, _: &'a Leased, _: DateTime<Utc>) -> BoxFuture<'a, Attempt> {
            Box::pin(async { Attempt::Done { outcome: Outcome::Delivered, note: None } })
        }
    }

    /// Never ends.
    #[derive(Debug)]
    struct Hangs;

    impl Handler for Hangs {
        fn handle<'a>(&'a self, _: &'a Leased, _: DateTime<Utc>) -> BoxFuture<'a, Attempt> {
            std::future::pending().boxed()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_hangs_gives_its_row_back_and_says_so() {
        let manner = Manner { concurrency: 1, give_up_after: Duration::from_secs(60), ephemeral: false };
        let (clock, failures): (Clock, _) = (Arc::new(|| DateTime::UNIX_EPOCH), Failures::new(TELL_EVERY, KINDS));
        let Settlement { id, ending } = attempt(&Hangs, &row(7), &manner, &clock, &failures).await;
        let reason = "the attempt did not end within 30 minutes; it is made again".to_owned();
        assert_eq!((id, ending), (7, Ending::Release { reason: Some(reason), at: None }));
    }

    #[tokio::test(start_paused = true)]
    async fn without_its_clerk_a_worker_does_not_go_on() {
        let manner = Manner { concurrency: 1, give_up_after: Duration::from_secs(60), ephemeral: false };
        let worker = Worker::new(Arc::new(Unsettled), Arc::new(Done), manner, Arc::new(Utc::now));
        let running = tokio::spawn(worker.run(CancellationToken::new()));
        assert!(tokio::time::timeout(Duration::from_secs(60), running).await.is_ok(), "it ends by itself");
    }
}
