//! The door nobody knocks at: boots that did not complete in time are taken in like entries that came.

use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio_util::sync::CancellationToken;

use super::{Door, Intake};
use crate::causes::chain;
use crate::event::Event;
use crate::normalize::Element;
use crate::track::Tracker;

/// How often timers are looked at.
const EVERY: Duration = Duration::from_secs(20);

/// Takes in boots that did not complete.
#[derive(Debug, Clone)]
pub struct Overdue {
    /// Who knows the timers.
    pub tracker: Tracker,
    /// Where entries go.
    pub intake: Intake,
}

impl Overdue {
    /// One look. Returns how many boots did not complete.
    ///
    /// # Errors
    /// When state or outbox cannot be used; the timers stay.
    pub async fn step(&self, now: DateTime<Utc>) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
        let overdue = self.tracker.overdue(now).await?;
        for entry in &overdue {
            let body = serde_json::to_string(entry)?;
            let event = Event::Integrity(Box::new(entry.clone()));
            self.intake.take(Door::Own, vec![Element::Event { event, body }]).await?;
            self.tracker.overdue_written(entry).await?;
        }
        Ok(overdue.len())
    }

    /// Looks until `stop` is cancelled.
    pub async fn run(self, stop: CancellationToken) {
        loop {
            // First, as what came before a restart may still wait in the outbox: a late report, or that the VM was stopped.
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.step(Utc::now()).await {
                tracing::warn!(error = chain(&*error), "boots that may not have completed could not be looked at");
            }
        }
    }
}
