//! Quotas: calls a minute (token buckets) and bytes a day.

use std::num::NonZeroU32;
use std::time::Duration;

use chrono::{DateTime, NaiveDate, Utc};
use governor::clock::{Clock as GovernorClock, Reference as _};
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use serde_json::json;

use super::clock::Clock;
use super::error::{Refusal, Status};
use super::settings::Quotas;

type Bucket = RateLimiter<NotKeyed, InMemoryState, Ticks, NoOpMiddleware<Nanos>>;

/// Our clock as the buckets read it: nanoseconds since the sandbox was started.
#[derive(Debug, Clone)]
struct Ticks {
    clock: Clock,
    start: DateTime<Utc>,
}

impl GovernorClock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::from((self.clock.now() - self.start).to_std().unwrap_or(Duration::ZERO))
    }
}

/// The quotas in force.
pub(crate) struct Meter {
    ticks: Ticks,
    quotas: Quotas,
    writes: Option<Bucket>,
    reads: Option<Bucket>,
    day: NaiveDate,
    bytes: u64,
}

impl std::fmt::Debug for Meter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meter").field("quotas", &self.quotas).field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Meter {
    /// Full buckets.
    pub(crate) fn new(quotas: Quotas, clock: &Clock) -> Self {
        let ticks = Ticks { clock: clock.clone(), start: clock.now() };
        let bucket = |per_minute: Option<u32>| {
            let per_minute = NonZeroU32::new(per_minute?)?;
            Some(RateLimiter::direct_with_clock(Quota::per_minute(per_minute), ticks.clone()))
        };
        let (writes, reads) = (bucket(quotas.writes_per_minute), bucket(quotas.reads_per_minute));
        Self { writes, reads, quotas, day: ticks.start.date_naive(), bytes: 0, ticks }
    }

    pub(crate) fn quotas(&self) -> Quotas {
        self.quotas
    }

    /// Bytes counted today.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes one call, or refuses it.
    pub(crate) fn call(&self, writes: bool) -> Result<(), Refusal> {
        let (bucket, limit, name) = match writes {
            true => (&self.writes, self.quotas.writes_per_minute, "Write requests"),
            false => (&self.reads, self.quotas.reads_per_minute, "Read requests"),
        };
        let wait = match (limit, bucket) {
            (None, _) => return Ok(()),
            (Some(_), Some(bucket)) => match bucket.check() {
                Ok(()) => return Ok(()),
                Err(until) => until.earliest_possible().duration_since(self.ticks.now()).into(),
            },
            // A limit of nothing.
            (Some(_), None) => Duration::from_secs(60),
        };
        Err(exceeded(name, "per minute", u64::from(limit.unwrap_or_default()), wait))
    }

    /// Counts the bytes of a finding's upload, or refuses it.
    pub(crate) fn upload(&mut self, bytes: usize) -> Result<(), Refusal> {
        let now = self.ticks.clock.now();
        if now.date_naive() != self.day {
            self.day = now.date_naive();
            self.bytes = 0;
        }
        let total = self.bytes.saturating_add(bytes as u64);
        match self.quotas.bytes_per_day {
            Some(limit) if total > limit => {
                let midnight = self.day.succ_opt().unwrap_or(self.day).and_time(chrono::NaiveTime::MIN).and_utc();
                let wait = (midnight - now).to_std().unwrap_or_default();
                Err(exceeded("Bytes of finding uploads", "per day", limit, wait))
            }
            _ => {
                self.bytes = total;
                Ok(())
            }
        }
    }
}

/// 429 in Google's words.
fn exceeded(name: &str, unit: &str, limit: u64, wait: Duration) -> Refusal {
    let text = format!(
        "Quota exceeded for quota metric '{name}' and limit '{name} {unit}' of service 'securitycenter.googleapis.com'."
    );
    let metadata = json!({"service": "securitycenter.googleapis.com", "quota_limit": format!("{name} {unit}"),
        "quota_limit_value": limit.to_string()});
    Refusal::new(Status::ResourceExhausted, text)
        .reason("RATE_LIMIT_EXCEEDED", metadata)
        .retry_in(wait.as_secs_f64().ceil().max(1.0) as u64)
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn writes_are_refused_until_the_bucket_fills_again() {
        let (clock, hand) = Clock::by_hand("2026-11-20T10:00:00Z".parse().unwrap());
        let quotas = Quotas { writes_per_minute: Some(2), reads_per_minute: None, bytes_per_day: None };
        let meter = Meter::new(quotas, &clock);
        assert!(meter.call(true).is_ok() && meter.call(true).is_ok());
        let refusal = meter.call(true).unwrap_err();
        assert_eq!((refusal.code(), refusal.retry_after()), (429, Some(30)));
        assert!(refusal.body().to_string().contains("RATE_LIMIT_EXCEEDED"));
        assert!(meter.call(false).is_ok());
        hand.forward(TimeDelta::seconds(30));
        assert!(meter.call(true).is_ok());
        assert!(meter.call(true).is_err());
    }

    #[test]
    fn bytes_are_counted_by_day() {
        let (clock, hand) = Clock::by_hand("2026-11-20T23:00:00Z".parse().unwrap());
        let quotas = Quotas { bytes_per_day: Some(10), ..Quotas::LIFTED };
        let mut meter = Meter::new(quotas, &clock);
        assert!(meter.upload(8).is_ok());
        assert_eq!(meter.upload(8).unwrap_err().retry_after(), Some(3600));
        assert!(meter.upload(2).is_ok());
        hand.forward(TimeDelta::hours(1));
        assert!(meter.upload(10).is_ok());
    }
}
