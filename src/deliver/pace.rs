//! The pace all deliveries share: quotas, waits a service asked for, and holds.
//!
//! Quotas are governor's cell rate limits, set so that no window of a minute (writes) or a day (bytes) can hold more than
//! the setting: a burst and what is refilled in the window together make the budget. Deliveries take their turn in the
//! order they came. When the service says "not before", nobody goes before; when it refuses for a reason that holds
//! for everybody, one delivery at a time goes ahead as a probe, at growing distances, until one succeeds, or until
//! nothing waits any more.
//!
//! The budgets live in memory: after a restart they begin full.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::calls::pause;
use crate::telemetry::metrics::PACE_WAIT;

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const FIRST_PROBE: Duration = Duration::from_secs(5);
const LAST_PROBE: Duration = Duration::from_secs(300);
/// A hold whose probe is overdue by so long, while nothing waits, holds nothing: whatever waited was finished otherwise.
const IDLE_HOLD: Duration = Duration::from_secs(60);
/// The longest that a service may ask everybody to wait: what asks for more may be a mistake.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);
/// The pause after a second refusal in a row, however short the wait that was asked for; it doubles up to the last.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LAST_PAUSE: Duration = Duration::from_secs(60);

/// How fast deliveries may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaceSettings {
    /// Calls that write, in any minute; 0 for no limit.
    pub writes_per_minute: u32,
    /// Bytes of findings, in any 24 hours; 0 for no limit.
    pub bytes_per_day: u64,
    /// How long one delivery waits for its turn before it gives up and is given back.
    pub patience: Duration,
}

impl Default for PaceSettings {
    fn default() -> Self {
        Self { writes_per_minute: 600, bytes_per_day: 500_000_000, patience: Duration::from_secs(20 * 60) }
    }
}

/// A delivery's turn did not come in time. Nothing was sent.
#[derive(Debug, Clone, thiserror::Error)]
#[error("its turn did not come within {} s: {why}", .patience.as_secs())]
pub struct NotYet {
    /// How long it waited at most.
    pub patience: Duration,
    /// What it waited for.
    pub why: String,
}

/// How things stand, for readiness and for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaceReport {
    /// How many deliveries wait for their turn.
    pub waiting: usize,
    /// The hold, while there is one.
    pub held: Option<Held>,
    /// How much longer the service asked everybody to wait.
    pub not_before: Option<Duration>,
}

/// A hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What the service said.
    pub reason: String,
    /// For how long already.
    pub since: Duration,
    /// How long until the next probe.
    pub next_probe: Duration,
}

/// The pace. One for all workers.
#[derive(Debug)]
pub struct Pace {
    writes: Option<Limiter>,
    bytes: Option<Limiter>,
    patience: Duration,
    /// Whoever holds it is next; the others queue in the order they came.
    queue: tokio::sync::Mutex<()>,
    gate: Mutex<Gate>,
    changed: Notify,
    waiting: AtomicUsize,
}

#[derive(Debug, Default)]
struct Gate {
    not_before: Option<Instant>,
    /// How often everybody was asked to wait since a call last went through.
    asked: u32,
    hold: Option<Hold>,
}

#[derive(Debug)]
struct Hold {
    reason: String,
    since: Instant,
    distance: Duration,
    next_probe: Instant,
    probing: bool,
}

impl Hold {
    /// A probe found this.
    fn told(&mut self, reason: &str) {
        reason.clone_into(&mut self.reason);
        self.distance = (self.distance * 2).min(LAST_PROBE);
        self.next_probe = Instant::now() + self.distance;
    }
}

/// What the gate says to whoever is next.
enum Gated {
    Open,
    Probe,
    Until(Instant),
    Changed,
}

impl Pace {
    /// A pace; its budgets are full.
    pub fn new(settings: PaceSettings) -> Self {
        let writes = u64::from(settings.writes_per_minute);
        Self {
            // A burst of five seconds' worth: enough for a batch, little beside the minute.
            writes: Limiter::new(writes, writes / 12, MINUTE),
            bytes: Limiter::new(settings.bytes_per_day, settings.bytes_per_day / 4, DAY),
            patience: settings.patience,
            queue: tokio::sync::Mutex::new(()),
            gate: Mutex::default(),
            changed: Notify::new(),
            waiting: AtomicUsize::new(0),
        }
    }

    /// Waits for a turn to send `bytes` of a finding (0 for a call that sends none). Dropping the future gives the
    /// place in the queue back; dropping the turn without a word leaves everything as it was.
    ///
    /// # Errors
    /// [`NotYet`] when the turn did not come within the patience.
    pub async fn admit(&self, bytes: usize) -> Result<Turn<'_>, NotYet> {
        let began = Instant::now();
        let _counted = Waiting::new(self);
        let turn = tokio::time::timeout(self.patience, self.turn(bytes)).await;
        metrics::histogram!(PACE_WAIT.name).record(began.elapsed().as_secs_f64());
        turn.map_err(|_| NotYet { patience: self.patience, why: self.why() })
    }

    async fn turn(&self, bytes: usize) -> Turn<'_> {
        if self.writes.is_none() && self.bytes.is_none() {
            // Without budgets there is nothing to queue for unless the gate is closed.
            match self.look() {
                Gated::Open => return self.begin(false),
                Gated::Probe => return self.begin(true),
                Gated::Until(_) | Gated::Changed => {}
            }
        }
        let _next = self.queue.lock().await;
        let mut paid = false;
        loop {
            let turn = self.pass_gate().await;
            if paid {
                return turn;
            }
            // The scarce one first: what is taken is taken even if this delivery is given up while it waits on.
            let waited = wait(self.bytes.as_ref(), bytes).await | wait(self.writes.as_ref(), 1).await;
            paid = true;
            // While we waited somebody may have been told to wait; a probe goes ahead all the same.
            if turn.probe || !waited {
                return turn;
            }
        }
    }

    async fn pass_gate(&self) -> Turn<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            match self.look() {
                Gated::Open => return self.begin(false),
                Gated::Probe => return self.begin(true),
                Gated::Changed => changed.await,
                Gated::Until(time) => tokio::select! {
                    () = tokio::time::sleep_until(time) => {}
                    () = changed => {}
                },
            }
        }
    }

    fn begin(&self, probe: bool) -> Turn<'_> {
        Turn { pace: self, probe, asked: self.gate().asked }
    }

    /// Looks at the gate; claims the probe if there is one to be made.
    fn look(&self) -> Gated {
        let now = Instant::now();
        let mut gate = self.gate();
        if let Some(time) = gate.not_before {
            if now < time {
                return Gated::Until(time);
            }
            gate.not_before = None;
        }
        match &mut gate.hold {
            None => Gated::Open,
            Some(hold) if hold.probing => Gated::Changed,
            Some(hold) if now < hold.next_probe => Gated::Until(hold.next_probe),
            Some(hold) => {
                hold.probing = true;
                Gated::Probe
            }
        }
    }

    /// How things stand. A hold that holds nothing is over: what comes next asks for itself.
    pub fn report(&self) -> PaceReport {
        let now = Instant::now();
        let waiting = self.waiting.load(Ordering::Relaxed);
        let mut gate = self.gate();
        if waiting == 0 && gate.hold.take_if(|hold| !hold.probing && now > hold.next_probe + IDLE_HOLD).is_some() {
            tracing::info!("Nothing waits for Security Command Center any more, so nothing is held; it was not asked.");
        }
        PaceReport {
            waiting,
            held: gate.hold.as_ref().map(|hold| Held {
                reason: hold.reason.clone(),
                since: now - hold.since,
                next_probe: hold.next_probe.saturating_duration_since(now),
            }),
            not_before: gate.not_before.map(|time| time.saturating_duration_since(now)).filter(|wait| !wait.is_zero()),
        }
    }

    fn why(&self) -> String {
        let report = self.report();
        match (report.held, report.not_before) {
            (Some(held), _) => format!("deliveries are held: {}", held.reason),
            (None, Some(_)) => "the service asked everybody to wait".into(),
            (None, None) => "the quota settings allow no more now".into(),
        }
    }

    fn gate(&self) -> MutexGuard<'_, Gate> {
        // Every change is a whole one, so what a panicked holder left is sound.
        self.gate.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to make one call. Tell it how the call went.
#[derive(Debug)]
pub struct Turn<'a> {
    pace: &'a Pace,
    probe: bool,
    /// How often everybody had been asked to wait when it began.
    asked: u32,
}

impl Turn<'_> {
    /// The service did, or knowingly declined, what it was asked, or found fault with that finding alone: it works, and
    /// any hold ends.
    pub fn succeeded(self) {
        let ended = {
            let mut gate = self.pace.gate();
            gate.asked = 0;
            gate.hold.take()
        };
        if let Some(hold) = ended {
            tracing::info!(
                held_for_secs = hold.since.elapsed().as_secs(),
                "Deliveries to Security Command Center go on; the hold is over."
            );
        }
    }

    /// The service asked for patience: nobody goes before `wait` has passed, an hour at most; nor, when it asks again
    /// and again, before a pause that grows.
    pub fn later(self, wait: Duration) {
        let mut gate = self.pace.gate();
        // Calls that were under way together and are refused together were asked once.
        if self.asked == gate.asked {
            gate.asked = gate.asked.saturating_add(1);
        }
        let time = Instant::now() + wait.min(LONGEST_ASKED).max(pause_after(gate.asked));
        gate.not_before = Some(gate.not_before.map_or(time, |known| known.max(time)));
    }

    /// The service did not come to say whether what holds everybody is mended, as in an outage: the hold goes on, that is
    /// its reason from now on, and the next probe comes later. `false` when this was no probe, or nothing is held any more.
    pub fn unanswered(&self, reason: &str) -> bool {
        let mut gate = self.pace.gate();
        let Some(hold) = gate.hold.as_mut().filter(|_| self.probe) else { return false };
        hold.told(reason);
        true
    }

    /// The service refused for a reason that holds for everybody: hold all, and probe.
    pub fn held(self, reason: &str) {
        let now = Instant::now();
        let mut gate = self.pace.gate();
        match &mut gate.hold {
            Some(hold) if self.probe => hold.told(reason),
            // Refusals of calls that were under way when the hold began put no probe off.
            Some(hold) => reason.clone_into(&mut hold.reason),
            none => {
                let next_probe = now + FIRST_PROBE;
                *none = Some(Hold {
                    reason: reason.to_owned(),
                    since: now,
                    distance: FIRST_PROBE,
                    next_probe,
                    probing: false,
                });
                tracing::error!(
                    reason,
                    "Deliveries to Security Command Center are held until this is mended; nothing is lost."
                );
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.probe
            && let Some(hold) = &mut self.pace.gate().hold
        {
            hold.probing = false;
            // A probe that told nothing is made again, not at once.
            hold.next_probe = hold.next_probe.max(Instant::now() + FIRST_PROBE);
        }
        self.pace.changed.notify_waiters();
    }
}

/// The least pause after so many refusals in a row, spread over +0..25 %.
fn pause_after(refusals: u32) -> Duration {
    if refusals < 2 { Duration::ZERO } else { pause(refusals - 1, FIRST_PAUSE, LAST_PAUSE, rand::random()) }
}

struct Waiting<'a>(&'a Pace);

impl<'a> Waiting<'a> {
    fn new(pace: &'a Pace) -> Self {
        pace.waiting.fetch_add(1, Ordering::Relaxed);
        Self(pace)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The runtime's clock, so that waiting and counting agree (and a test's paused time moves both).
#[derive(Debug, Clone)]
struct RuntimeClock(Instant);

impl Clock for RuntimeClock {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from(self.0.elapsed())
    }
}

#[derive(Debug)]
struct Limiter {
    cells: RateLimiter<NotKeyed, InMemoryState, RuntimeClock, NoOpMiddleware<Nanos>>,
    clock: RuntimeClock,
    burst: NonZeroU32,
}

impl Limiter {
    /// At most `budget` in any `window`, of which `burst` at once. `None` when the budget is 0: no limit.
    fn new(budget: u64, burst: u64, window: Duration) -> Option<Self> {
        if budget == 0 {
            return None;
        }
        // In a window fit the burst and what is refilled at the steps within it: burst + ceil(window / step) - 1.
        let burst = burst.clamp(1, u64::from(u32::MAX)).min(budget);
        let steps = u128::from(budget - burst + 1);
        let step = u64::try_from(window.as_nanos().div_ceil(steps)).unwrap_or(u64::MAX);
        let burst = u32::try_from(burst).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(Duration::from_nanos(step.max(1)))?.allow_burst(burst);
        let clock = RuntimeClock(Instant::now());
        Some(Self { cells: RateLimiter::direct_with_clock(quota, clock.clone()), clock, burst })
    }

    /// How long until `amount` may pass; `None` when it has just passed. What is larger than the burst counts as the burst,
    /// or it could never pass.
    fn take(&self, amount: usize) -> Option<Duration> {
        let amount = u32::try_from(amount).unwrap_or(u32::MAX).min(self.burst.get());
        let amount = NonZeroU32::new(amount)?;
        match self.cells.check_n(amount) {
            Ok(Ok(())) => None,
            Ok(Err(not_until)) => Some(not_until.wait_time_from(self.clock.now()).max(Duration::from_millis(1))),
            // Cannot happen: the amount is within the burst.
            Err(_) => None,
        }
    }
}

/// Waits until the limiter lets `amount` pass; tells whether there was any waiting.
async fn wait(limiter: Option<&Limiter>, amount: usize) -> bool {
    let Some(limiter) = limiter else { return false };
    let mut waited = false;
    while let Some(time) = limiter.take(amount) {
        waited = true;
        tokio::time::sleep(time).await;
    }
    waited
}
