//! `/metrics`: what was counted since the start, and what is only known by asking at that moment.

use std::sync::Arc;

use actix_web::{HttpResponse, web};
use chrono::Utc;

use crate::causes::chain;
use crate::deliver::pace::Pace;
use crate::outbox::worker::Heartbeat;
use crate::outbox::{Stats, Store};
use crate::receive::poller::ReadTo;
use crate::telemetry::metrics;

/// Who is asked when somebody looks.
#[derive(Debug, Clone)]
pub struct Numbers {
    /// The ledger's sums.
    pub store: Arc<dyn Store>,
    /// When the worker last looked for due events.
    pub heartbeat: Arc<Heartbeat>,
    /// Whether deliveries are held, and how many wait for their turn.
    pub pace: Arc<Pace>,
    /// Up to where the poller has read, when it is on.
    pub read_to: Option<Arc<ReadTo>>,
}

/// `GET /metrics`. What stands still is measured here, as whatever stands still cannot report it.
pub async fn page(numbers: web::Data<Numbers>) -> HttpResponse {
    let now = Utc::now();
    match numbers.store.stats(now).await {
        Ok(stats) => show_ledger(&stats),
        Err(error) => tracing::warn!(error = chain(&error), "the ledger's sums could not be read for /metrics"),
    }
    if let Some(idle) = numbers.heartbeat.idle_secs(now) {
        metrics::show(&metrics::WORKER_LAST_STEP, idle);
    }
    let pace = numbers.pace.report();
    metrics::show(&metrics::HELD, u64::from(pace.held.is_some()));
    metrics::show(&metrics::PACE_WAITING, u64::try_from(pace.waiting).unwrap_or(u64::MAX));
    if let Some(lag) = numbers.read_to.as_ref().and_then(|read_to| read_to.lag_secs(now)) {
        metrics::show(&metrics::POLL_LAG, lag);
    }
    HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(metrics::render())
}

/// Shows the ledger's sums, as just read from the store.
fn show_ledger(stats: &Stats) {
    let sums = [("accepted", stats.accepted), ("waiting", stats.waiting), ("leased", stats.leased)];
    for (sum, count) in sums.into_iter().chain(stats.closed.iter().map(|(outcome, count)| (*outcome, *count))) {
        metrics::show_each(&metrics::LEDGER, "sum", sum, count);
    }
    metrics::show(&metrics::OLDEST_WAITING, stats.oldest_waiting_secs.unwrap_or_default());
    metrics::show(&metrics::OUTBOX_BYTES, stats.bytes);
}
