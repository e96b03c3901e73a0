//! One event's way behind the outbox: enrich → decide → deliver.

use std::sync::Arc;
use std::time::Instant;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;

use crate::decide::{self, Decision, Rules};
use crate::deliver::{Sink, Verdict};
use crate::enrich::Enrichment;
use crate::event::Outcome;
use crate::outbox::Leased;
use crate::outbox::worker::{Attempt, Handler};
use crate::telemetry::{chain, metrics as names};

/// A look-up that failed for the moment is tried this often before the finding goes out without it: its resource cannot
/// be changed later.
const LOOK_AGAIN: u32 = 3;

/// The stages behind the outbox, joined.
#[derive(Debug)]
pub struct Journey {
    /// What looks up where it happened.
    pub enrichment: Enrichment,
    /// What decides.
    pub rules: Rules,
    /// Where findings go.
    pub sink: Arc<dyn Sink>,
}

impl Handler for Journey {
    fn handle<'a>(&'a self, entry: &'a Leased, now: DateTime<Utc>) -> BoxFuture<'a, Attempt> {
        Box::pin(async move {
            let began = Instant::now();
            let attempt = self.travel(entry, now).await;
            metrics::histogram!(names::DELIVER_SECONDS.name).record(began.elapsed().as_secs_f64());
            attempt
        })
    }
}

impl Journey {
    async fn travel(&self, entry: &Leased, now: DateTime<Utc>) -> Attempt {
        let event = match entry.event() {
            Ok(event) => event,
            Err(error) => {
                let reason = format!("its row was written by a version whose events this one cannot read: {error}");
                return Attempt::Failed { reason, verdict: Verdict::Park, label: "unreadable_row" };
            }
        };
        if let Some(note) = decide::unwanted(&event, &self.rules) {
            return Attempt::Done { outcome: Outcome::Filtered, note: Some(note) };
        }
        let enriched = self.enrichment.enrich(&event).await;
        if enriched.unsettled && enriched.instance.is_none() && entry.attempts < LOOK_AGAIN {
            let reason = format!("where it happened is not known yet: {}", enriched.gaps.join("; "));
            return Attempt::Failed { reason, verdict: Verdict::Retry(None), label: "enrich" };
        }
        match decide::decide(&event, &enriched, &self.rules, now) {
            Decision::Filtered(note) => Attempt::Done { outcome: Outcome::Filtered, note: Some(note) },
            Decision::Deliver(changes) => {
                for change in &changes {
                    if let Err(error) = self.sink.deliver(change).await {
                        return Attempt::Failed {
                            reason: chain(&error),
                            verdict: error.verdict(),
                            label: error.label(),
                        };
                    }
                }
                Attempt::Done { outcome: Outcome::Delivered, note: None }
            }
        }
    }
}
