//! The loop that drives open plans to their end: several VMs at once, one plan of a VM at a time, under a lease, so that
//! replicas do not work on the same VM. It runs beside the path: no request and no delivery ever waits for it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::drive::{Driver, Progress};
use super::plans::KIND;
use super::responder::Responder;
use crate::calls::pause;
use crate::causes::chain;
use crate::config::acting::Mode;
use crate::event::Event;
use crate::normalize::Element;
use crate::plan::Plan;
use crate::receive::Door;
use crate::state::{Lease, StateError, lease};

/// How often open plans are looked for when nobody tells of one.
const EVERY: Duration = Duration::from_secs(15);
/// The same where acting is off, and only what is left of it is put away.
const SELDOM: Duration = Duration::from_secs(600);
/// How many VMs are worked on at once.
const AT_ONCE: usize = 8;
/// How long a VM is ours without renewing.
const LEASE: TimeDelta = TimeDelta::seconds(60);
/// How often the lease is renewed.
const RENEW: Duration = Duration::from_secs(20);
/// How long until something that failed for the moment is tried again, at first and at most.
const SOON: Duration = Duration::from_secs(2);
const LATEST: Duration = Duration::from_secs(60);
/// A pointer without its plan is an attempt that never came to an end.
const ORPHAN: TimeDelta = TimeDelta::hours(1);

/// What is left of the plans of one VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Something came to its end; more may have been planned meanwhile.
    LookAtOnce,
    /// They wait so long.
    Wait(Duration),
}

impl Responder {
    /// Drives everything that is due as far as it goes. Returns how many plans ended.
    ///
    /// # Errors
    /// When the plans cannot be listed.
    pub async fn step(&self) -> Result<usize, StateError> {
        let mut ended = 0;
        for (vm, keys) in self.due().await?.0 {
            let before = keys.len();
            self.vm(&vm, keys, &CancellationToken::new()).await;
            let left = self.plans.open((self.clock)()).await?.iter().filter(|(_, open)| open.vm == vm).count();
            ended += before.saturating_sub(left);
        }
        Ok(ended)
    }

    /// Drives plans until `stop` is cancelled; then gives back what is under way, for the next to go on with.
    pub async fn run(self, stop: CancellationToken) {
        // Which VM each task works on, also when a panic ends it.
        let mut busy: HashMap<task::Id, String> = HashMap::new();
        let mut queue: VecDeque<(String, Vec<String>)> = VecDeque::new();
        let mut working: JoinSet<Left> = JoinSet::new();
        let mut next = Instant::now();
        let every = if self.rules.mode == Mode::Report { SELDOM } else { EVERY };
        while !stop.is_cancelled() {
            if queue.is_empty() && next <= Instant::now() {
                next = Instant::now() + every;
                match self.due().await {
                    Ok((due, soonest)) => {
                        let is_free = |vm: &String| !busy.values().any(|taken| taken == vm);
                        queue = due.into_iter().filter(|(vm, _)| is_free(vm)).collect();
                        next = next.min(Instant::now() + soonest.unwrap_or(every));
                    }
                    Err(error) => tracing::warn!(error = chain(&error), "open plans could not be looked at"),
                }
            }
            while working.len() < AT_ONCE
                && let Some((vm, keys)) = queue.pop_front()
            {
                let (responder, worked_on, stop) = (self.clone(), vm.clone(), stop.clone());
                let work = working.spawn(async move { responder.vm(&worked_on, keys, &stop).await });
                busy.insert(work.id(), vm);
            }
            tokio::select! {
                Some(done) = working.join_next_with_id() => {
                    let vm = busy.remove(&done.as_ref().map_or_else(JoinError::id, |(task, _)| *task));
                    let wait = match done {
                        Ok((_, Left::LookAtOnce)) => Duration::ZERO,
                        Ok((_, Left::Wait(wait))) => wait,
                        Err(error) => {
                            tracing::error!(vm, %error, "work on a VM broke off; it is taken up again");
                            EVERY
                        }
                    };
                    next = next.min(Instant::now() + wait);
                }
                () = self.bell.notified() => next = Instant::now(),
                () = tokio::time::sleep_until(next), if queue.is_empty() => {}
                () = stop.cancelled() => {}
            }
        }
        while working.join_next().await.is_some() {}
    }

    /// What is due, by VM; and how long until the next is.
    async fn due(&self) -> Result<(BTreeMap<String, Vec<String>>, Option<Duration>), StateError> {
        let now = (self.clock)();
        let mut due: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut soonest = None;
        for (key, open) in self.plans.open(now).await? {
            if open.due <= now {
                due.entry(open.vm).or_default().push(key);
            } else {
                let wait = (open.due - now).to_std().unwrap_or(SOON);
                soonest = Some(soonest.map_or(wait, |known: Duration| known.min(wait)));
            }
        }
        Ok((due, soonest))
    }

    /// Works on the plans of one VM under its lease.
    async fn vm(&self, vm: &str, keys: Vec<String>, stop: &CancellationToken) -> Left {
        let name = format!("respond/{vm}");
        let claim = lease::Claim { name: &name, holder: &self.holder, ttl: LEASE };
        let lease = match lease::take(self.plans.store(), &claim, (self.clock)()).await {
            Ok(Some(lease)) => lease,
            Ok(None) => return Left::Wait(SOON),
            Err(error) => {
                tracing::warn!(vm, error = chain(&error), "the lease for a VM cannot be had; its plans wait");
                return Left::Wait(SOON);
            }
        };
        let left = tokio::select! {
            left = self.all_of(&keys) => left,
            () = self.hold(lease) => Left::Wait(SOON),
            () = stop.cancelled() => Left::Wait(SOON),
        };
        if let Err(error) = lease::release(self.plans.store(), &name, &self.holder, (self.clock)()).await {
            tracing::debug!(vm, error = chain(&error), "a lease was not given back; it runs out");
        }
        left
    }

    /// Renews the lease until it is lost.
    async fn hold(&self, mut lease: Lease) {
        loop {
            tokio::time::sleep(RENEW).await;
            match lease::renew(self.plans.store(), &lease, LEASE, (self.clock)()).await {
                Ok(Some(renewed)) => lease = renewed,
                Ok(None) => return,
                Err(error) if lease.until <= (self.clock)() => {
                    tracing::warn!(lease = lease.name, error = chain(&error), "a lease could not be renewed in time");
                    return;
                }
                Err(_) => {}
            }
        }
    }

    /// Drives the plans of one VM, one after the other.
    async fn all_of(&self, keys: &[String]) -> Left {
        let mut all = Left::Wait(EVERY);
        for key in keys {
            let left = match self.one(key).await {
                Ok(left) => left,
                Err(error) if error.is_conflict() => Left::Wait(SOON),
                Err(ref error @ StateError::Corrupt { ref kind, .. }) if kind == KIND => {
                    self.plans.skipped(error, (self.clock)());
                    Left::Wait(EVERY)
                }
                Err(error) => {
                    tracing::warn!(plan = key, error = chain(&error), "a plan could not be driven; it is tried again");
                    Left::Wait(if error.is_transient() { SOON } else { EVERY })
                }
            };
            all = match (all, left) {
                (Left::Wait(one), Left::Wait(other)) => Left::Wait(one.min(other)),
                _ => Left::LookAtOnce,
            };
        }
        all
    }

    /// Drives one plan; when it has its answer, takes that in and closes it.
    async fn one(&self, key: &str) -> Result<Left, StateError> {
        let now = (self.clock)();
        let Some(held) = self.plans.read(key).await? else {
            return self.orphan(key, now).await;
        };
        let mut driver = Driver::new(self, held);
        if let Progress::Later(after) = driver.drive().await? {
            let attempt = driver.plan().journal.iter().filter(|line| line.what == crate::plan::What::Waiting).count();
            // Never earlier than the service asks, and never at once, whatever it asks.
            let wait = backoff(driver.plan(), attempt, now).max(after.unwrap_or_default());
            self.plans.later(key, (self.clock)() + TimeDelta::from_std(wait).unwrap_or(TimeDelta::minutes(1))).await?;
            return Ok(Left::Wait(wait));
        }
        let Some(entry) = driver.plan().entry() else { return self.put_by(key, EVERY, now).await };
        let element = match serde_json::to_string(&entry) {
            Ok(body) => Element::Event { event: Event::Integrity(Box::new(entry)), body },
            Err(error) => {
                tracing::error!(plan = key, %error, "an answer cannot be written down");
                return self.plans.close(key).await.map(|()| Left::LookAtOnce);
            }
        };
        if let Err(error) = self.intake.take(Door::Own, vec![element]).await {
            tracing::warn!(plan = key, error = chain(&error), "an answer could not be taken in yet");
            return Ok(Left::Wait(SOON));
        }
        self.plans.close(key).await?;
        Ok(Left::LookAtOnce)
    }

    /// A pointer without its plan: whoever wrote it is about to write the plan, or died before. The next attempt at the
    /// report does.
    async fn orphan(&self, key: &str, now: DateTime<Utc>) -> Result<Left, StateError> {
        if self.plans.close_orphan(key, now - ORPHAN).await? {
            return Ok(Left::LookAtOnce);
        }
        let open = self.plans.open(now).await?;
        let since = open.iter().find(|(known, _)| known == key).map(|(_, open)| open.since);
        let fresh = since.is_some_and(|since| (now - since).to_std().unwrap_or_default() < EVERY);
        self.put_by(key, if fresh { SOON } else { EVERY }, now).await
    }

    /// Nothing can be done about it now.
    async fn put_by(&self, key: &str, wait: Duration, now: DateTime<Utc>) -> Result<Left, StateError> {
        self.plans.later(key, now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::minutes(1))).await?;
        Ok(Left::Wait(wait))
    }
}

/// Doubling, by how often it has been put off and how long it has waited so far; spread by the plan's own name.
fn backoff(plan: &Plan, attempt: usize, now: DateTime<Utc>) -> Duration {
    let waiting = plan.journal.iter().rev().find(|line| line.what == crate::plan::What::Waiting);
    let waited = waiting.and_then(|line| (now - line.time).to_std().ok()).unwrap_or_default();
    let spread =
        plan.event.bytes().fold(attempt as u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
    let doubled = pause(u32::try_from(attempt).unwrap_or(u32::MAX), SOON, LATEST, 0.0);
    waited.max(doubled).clamp(SOON, LATEST) + Duration::from_millis(spread % 1000)
}
