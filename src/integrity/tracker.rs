//! The stateful part: what was seen of every VM, kept in the state store, so that replicas agree.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::baseline::Subject;
use super::baselines::Baselines;
use super::entry::{Check, Entry, Fact, finding_id};
use super::finding::{Context, finding};
use super::lifecycle::{Action, Moment, Record, Step, Timer, step};
use super::matching::{Judgement, judge};
use super::words::boot_report;
use crate::event::FindingChange;
use crate::state::{self, Expected, StateError, Store, body_of};

/// The kind of the documents about VMs.
pub const KIND: &str = "boot";
/// The kind of the timers that watch for late reports.
pub const TIMER: &str = "boot_timer";
/// How often a write is tried anew when somebody else was faster.
const TRIES: usize = 10;

/// What follows from an entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// These changes.
    Changes(Vec<FindingChange>),
    /// Nothing, as what is known is newer or there is nothing to close. The sentence says which.
    Nothing(&'static str),
}

/// What look-ups found about the VM; nothing when there were none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Its labels.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

/// What watches over the VMs.
#[derive(Debug, Clone)]
pub struct Tracker {
    store: Arc<dyn Store>,
    baselines: Baselines,
    patience: TimeDelta,
}

#[derive(Debug, Serialize, Deserialize)]
struct Waiting {
    due: DateTime<Utc>,
    early: Entry,
}

impl Tracker {
    /// A tracker over `store`; a late report is waited for `patience` long after a failed early one.
    pub fn new(store: Arc<dyn Store>, baselines: Baselines, patience: TimeDelta) -> Self {
        Self { store, baselines, patience }
    }

    /// What should change for `entry`. Repeating it is safe.
    ///
    /// # Errors
    /// When the state store or the baselines cannot be read or written.
    pub async fn follow(&self, entry: &Entry, known: Known<'_>, now: DateTime<Utc>) -> Result<Followed, StateError> {
        let step = self.advance(entry, now).await?;
        if step.actions.is_empty() {
            return Ok(Followed::Nothing(if entry.failed() == Some(true) {
                "A newer report of the same VM and check was seen before."
            } else {
                "The check passed, and no failure was open."
            }));
        }
        let mut changes = Vec::new();
        for action in &step.actions {
            changes.push(match *action {
                Action::Close(check) => FindingChange::Close { id: finding_id(&entry.vm, check), time: entry.time },
                Action::Raise(check) => {
                    let judgement = self.judgement(entry, known, now).await?;
                    let context =
                        Context { judgement, record: step.record.clone(), name: known.name.map(str::to_owned) };
                    let finding = Box::new(finding(entry, check, &context, now));
                    FindingChange::Raise { id: finding_id(&entry.vm, check), finding }
                }
            });
        }
        Ok(Followed::Changes(changes))
    }

    /// To be asked after the changes of `entry` were delivered: two workers may have delivered a failure and the pass
    /// after it in the wrong order; then the finding is closed here.
    pub async fn settle(&self, entry: &Entry) -> Result<Option<FindingChange>, StateError> {
        let (Some(check), Some(true)) = (entry.check(), entry.failed()) else { return Ok(None) };
        let Some(document) = self.store.read(KIND, &entry.vm.key()).await? else { return Ok(None) };
        let record: Record = document.parse(KIND)?;
        let passed = record.passed_since(check, Moment { time: entry.time, boot: entry.boot });
        Ok(passed.map(|passed| FindingChange::Close { id: finding_id(&entry.vm, check), time: passed.time }))
    }

    /// Boots that did not complete in time, as entries to be taken in like any other; then tell [`Tracker::taken`].
    pub async fn overdue(&self, now: DateTime<Utc>) -> Result<Vec<Entry>, StateError> {
        let mut overdue = Vec::new();
        for document in state::all(&*self.store, TIMER).await? {
            let waiting: Waiting = document.parse(TIMER)?;
            if waiting.due > now {
                continue;
            }
            if self.went_on(&waiting.early).await? {
                self.remove_timer(&waiting.early).await?;
                continue;
            }
            overdue.extend(incomplete(waiting.early, self.patience));
        }
        Ok(overdue)
    }

    /// The entry made by [`Tracker::overdue`] is durable: its timer is done.
    pub async fn taken(&self, incomplete: &Entry) -> Result<(), StateError> {
        self.remove_timer(incomplete).await
    }

    async fn advance(&self, entry: &Entry, now: DateTime<Utc>) -> Result<Step, StateError> {
        let key = entry.vm.key();
        for _ in 0..TRIES {
            let found = self.store.read(KIND, &key).await?;
            let known: Option<Record> = found.as_ref().map(|document| document.parse(KIND)).transpose()?;
            let step = step(known.as_ref(), entry);
            // Before the record, so that a crash between the two leaves a timer too many rather than one too few.
            if step.timer == Timer::Start {
                self.start_timer(entry, now).await?;
            }
            if known.as_ref() != Some(&step.record) {
                let expected = found.map_or(Expected::Absent, |document| Expected::Version(document.version));
                match self.store.write(KIND, &key, &body_of(KIND, &key, &step.record)?, expected).await {
                    Err(error) if error.is_conflict() => continue,
                    result => drop(result?),
                }
            }
            if step.timer == Timer::Stop {
                self.remove_timer(entry).await?;
            }
            return Ok(step);
        }
        Err(StateError::Conflict { kind: KIND.to_owned(), key })
    }

    async fn start_timer(&self, entry: &Entry, now: DateTime<Utc>) -> Result<(), StateError> {
        let key = entry.vm.key();
        let expected = match self.store.read(TIMER, &key).await? {
            None => Expected::Absent,
            // A failure of a later boot takes over; the same one again keeps its time.
            Some(document) if document.parse::<Waiting>(TIMER)?.early.time >= entry.time => return Ok(()),
            Some(document) => Expected::Version(document.version),
        };
        // From its own time, but an old report that arrives only now gets its late report a moment to arrive too.
        let due = (entry.time + self.patience).max(now + TimeDelta::seconds(30));
        let waiting = Waiting { due, early: entry.clone() };
        match self.store.write(TIMER, &key, &body_of(TIMER, &key, &waiting)?, expected).await {
            Err(error) if error.is_conflict() => Ok(()),
            result => result.map(drop),
        }
    }

    /// Removes the timer unless it watches a boot newer than `entry`.
    async fn remove_timer(&self, entry: &Entry) -> Result<(), StateError> {
        let key = entry.vm.key();
        let Some(document) = self.store.read(TIMER, &key).await? else { return Ok(()) };
        if document.parse::<Waiting>(TIMER)?.early.time > entry.time {
            return Ok(());
        }
        match self.store.remove(TIMER, &key, Expected::Version(document.version)).await {
            Err(error) if error.is_conflict() => Ok(()),
            result => result.map(drop),
        }
    }

    async fn went_on(&self, early: &Entry) -> Result<bool, StateError> {
        let Some(document) = self.store.read(KIND, &early.vm.key()).await? else { return Ok(false) };
        let record: Record = document.parse(KIND)?;
        let moment = Moment { time: early.time, boot: early.boot };
        Ok(record.newest(Check::LateBoot).is_some_and(|late| late >= moment))
    }

    async fn judgement(
        &self,
        entry: &Entry,
        known: Known<'_>,
        now: DateTime<Utc>,
    ) -> Result<Option<Judgement>, StateError> {
        let Some(report) = boot_report(entry) else { return Ok(None) };
        let baselines = self.baselines.all(now).await?;
        let subject = Subject { vm: &entry.vm, name: known.name.or(entry.vm.name.as_deref()), labels: known.labels };
        Ok(Some(judge(report, subject, &baselines, now)))
    }
}

fn incomplete(early: Entry, patience: TimeDelta) -> Option<Entry> {
    let minutes = u32::try_from(patience.num_minutes()).unwrap_or(u32::MAX);
    match early.fact {
        Fact::EarlyBoot(report) => Some(Entry { fact: Fact::BootIncomplete { early: report, minutes }, ..early }),
        _ => None,
    }
}
