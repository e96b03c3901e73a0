//! One event's way behind the outbox: enrich → decide → deliver.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;

use crate::causes::chain;
use crate::decide::{self, Decision, Rules};
use crate::deliver::{Sink, Verdict};
use crate::enrich::{Enriched, Enrichment};
use crate::event::Outcome;
use crate::finding::FindingChange;
use crate::integrity::Entry;
use crate::outbox::Leased;
use crate::outbox::attempt::Attempt;
use crate::outbox::worker::Handler;
use crate::plan::Plan;
use crate::respond::responder::Planner;
use crate::state::StateError;
use crate::telemetry::metrics as names;
use crate::track::{Followed, Tracker, VmFacts};

/// How long until a state store that refuses us is asked again; somebody has to mend it.
const REFUSED_STATE: Duration = Duration::from_secs(60);

/// A look-up that failed for the moment is tried this often before the finding goes out without it: its resource cannot
/// be changed later.
const LOOK_AGAIN: u32 = 3;

/// The same where the resource is known, and only what belongs to it is not: a workload may be told as its replica set, and
/// a machine may have a twin in a project that did not answer.
const LOOK_AGAIN_FOR_MORE: u32 = 1;

/// A look-up that asks for a longer pause is tried again after this one, and the finding goes out without it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// The note of a pass that has nothing to close yet.
const NOTHING_TO_CLOSE_YET: &str =
    "The finding of a failure before this is not delivered yet; whoever delivers it closes it.";

/// The stages behind the outbox, joined.
#[derive(Debug)]
pub struct Journey {
    /// What looks up where it happened.
    pub enrichment: Enrichment,
    /// What decides.
    pub rules: Rules,
    /// Where findings go.
    pub sink: Arc<dyn Sink>,
    /// What was seen of every Shielded VM.
    pub tracker: Tracker,
    /// Where plans for answers are written down.
    pub planner: Planner,
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
        let looks = if enriched.instance.is_none() { LOOK_AGAIN } else { LOOK_AGAIN_FOR_MORE };
        let placed = || decide::is_placed(&event, self.enrichment.names_machines());
        if enriched.unsettled && entry.attempts < looks && !placed() {
            let reason = format!("where it happened is not known yet: {}", enriched.gaps.join("; "));
            let pause = enriched.again_after.map(|pause| pause.min(LONGEST_PAUSE));
            return Attempt::Failed { reason, verdict: Verdict::Retry(pause), label: "enrich" };
        }
        match decide::decide(&event, &enriched, &self.rules, now) {
            Decision::Deliver(change) => {
                self.deliver(&[change]).await.map_or_else(|failed| failed, |()| delivered(None))
            }
            // Boxed, because it would travel with each runtime event: some kilobytes.
            Decision::Follow(integrity) => {
                Box::pin(self.follow(integrity, entry.accepted, &enriched, now)).await.unwrap_or_else(|failed| failed)
            }
        }
    }

    async fn deliver(&self, changes: &[FindingChange]) -> Result<(), Attempt> {
        for change in changes {
            self.sink.deliver(change).await.map_err(|error| Attempt::Failed {
                reason: chain(&error),
                verdict: error.verdict(),
                label: error.label(),
            })?;
        }
        Ok(())
    }

    /// What an entry about a Shielded VM changes depends on what was seen of the VM before. An error is an attempt that
    /// failed.
    async fn follow(
        &self,
        entry: &Entry,
        accepted: DateTime<Utc>,
        enriched: &Enriched,
        now: DateTime<Utc>,
    ) -> Result<Attempt, Attempt> {
        let instance = enriched.instance.as_ref();
        let facts = VmFacts {
            name: instance.map(|instance| instance.name.as_str()),
            labels: instance.map(|instance| &instance.labels),
            accepted: Some(accepted),
        };
        let (followed, plan) = self.tracker.follow_and_plan(entry, facts, now).await.map_err(not_now)?;
        let mut changes = match followed {
            Followed::Changes(changes) => changes,
            Followed::Nothing(note) => {
                let outcome = if entry.failed() == Some(true) { Outcome::Superseded } else { Outcome::Filtered };
                return Ok(Attempt::Done { outcome, note: Some(note.to_owned()) });
            }
        };
        self.rules.secrets.leave_out(&mut changes);
        // A closing may have to wait for its finding; what was found, and what follows from it, does not wait for that.
        let (closings, found): (Vec<_>, Vec<_>) =
            changes.into_iter().partition(|change| matches!(change, FindingChange::Close { .. }));
        self.deliver_found(entry, &found).await?;
        if let Some(plan) = plan {
            self.write_plan(&plan, facts, now).await?;
        }
        self.deliver(&closings).await?;
        let waits_for_failure =
            closings.iter().any(|change| matches!(change, FindingChange::Close { untold_failure: Some(_), .. }));
        Ok(delivered(waits_for_failure.then_some(NOTHING_TO_CLOSE_YET)))
    }

    /// Brings what was found, and closes it where the check passed before it was delivered: the pass does not wait.
    async fn deliver_found(&self, entry: &Entry, found: &[FindingChange]) -> Result<(), Attempt> {
        if found.is_empty() {
            return Ok(());
        }
        self.deliver(found).await?;
        let closings = self.tracker.closings_after(entry, found).await.map_err(not_now)?;
        if closings.is_empty() {
            return Ok(());
        }
        self.deliver(&closings).await?;
        self.tracker.closings_delivered(entry, found).await.map_err(not_now)
    }

    /// Writes a plan down once its finding says so: nothing is ever done from here. Another replica may have ended the
    /// same plan before, and our finding gone out over its answer. Whoever tells a plan looks at it afterwards, and
    /// whoever ends one tells it afterwards: so the last word is of its end, whoever was faster.
    async fn write_plan(&self, plan: &Plan, facts: VmFacts<'_>, now: DateTime<Utc>) -> Result<(), Attempt> {
        let Some(ended) = self.planner.record(plan).await.map_err(not_now)? else { return Ok(()) };
        match self.tracker.follow(&ended, facts, now).await.map_err(not_now)? {
            Followed::Changes(mut changes) => {
                self.rules.secrets.leave_out(&mut changes);
                self.deliver(&changes).await
            }
            Followed::Nothing(_) => Ok(()),
        }
    }
}

fn delivered(note: Option<&str>) -> Attempt {
    Attempt::Done { outcome: Outcome::Delivered, note: note.map(str::to_owned) }
}

/// State that cannot be used delays only the events that need it: the queue is never held for it.
fn not_now(error: StateError) -> Attempt {
    let verdict = match &error {
        StateError::Unavailable { after, .. } => Verdict::Retry(*after),
        StateError::Conflict { .. } => Verdict::Retry(None),
        StateError::Refused { .. } | StateError::Damaged { .. } => Verdict::Retry(Some(REFUSED_STATE)),
        StateError::Corrupt { .. } | StateError::Unfit { .. } => Verdict::Park,
    };
    Attempt::Failed { reason: chain(&error), verdict, label: "state" }
}
