//! The stateful part: what was seen of every VM, kept in the state store, so that replicas agree.

pub mod baselines;
mod waiting;

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};

use crate::config::acting::ActingConfig;
use crate::finding::FindingChange;
use crate::integrity::answer;
use crate::integrity::baseline::Subject;
use crate::integrity::context::Context;
use crate::integrity::entry::Answered;
use crate::integrity::entry::{Check, Entry, Fact, Vm, finding_id};
use crate::integrity::finding::finding;
use crate::integrity::judgement::Judgement;
use crate::integrity::learning::Learning;
use crate::integrity::lifecycle::{Step, Timer, step};
use crate::integrity::matching::{judge, may_be_known};
use crate::integrity::measurement::{Measurements, Slot};
use crate::integrity::moment::Moment;
use crate::integrity::record::{FindingStep, Halted, Record};
use crate::integrity::words::boot_report;
use crate::plan::rules::{Assessment, decide};
use crate::plan::{Plan, Under};
use crate::state::{self, Expected, Skipped, StateError, Store, body_of};
use crate::text;
use baselines::Baselines;
use waiting::Waiting;

/// The kind of the documents about VMs.
pub const KIND: &str = "boot";
/// The kind of the timers that watch for late reports.
pub const TIMER: &str = "boot_timer";

/// What follows from an entry.
#[derive(Debug, Clone, PartialEq)]
pub enum Followed {
    /// These changes.
    Changes(Vec<FindingChange>),
    /// Nothing, as what is known is newer or there is nothing to close. The sentence says which.
    Nothing(&'static str),
}

/// What is known beside an entry: what look-ups found about its VM, if there were any, and when it was accepted.
#[derive(Debug, Clone, Copy, Default)]
pub struct VmFacts<'a> {
    /// Its name.
    pub name: Option<&'a str>,
    /// Its labels.
    pub labels: Option<&'a BTreeMap<String, String>>,
    /// When the outbox took the entry; nothing: just now.
    pub accepted: Option<DateTime<Utc>>,
}

/// What watches over the VMs.
#[derive(Debug, Clone)]
pub struct Tracker {
    store: Arc<dyn Store>,
    baselines: Baselines,
    patience: TimeDelta,
    acting: Arc<ActingConfig>,
    skipped: Arc<Skipped>,
}

impl Tracker {
    /// A tracker over `store`; a late report is waited for `patience` long after a failed early one.
    pub fn new(store: Arc<dyn Store>, baselines: Baselines, patience: TimeDelta) -> Self {
        Self { store, baselines, patience, acting: Arc::default(), skipped: Arc::default() }
    }

    /// The same, planning answers by these rules.
    #[must_use]
    pub fn acting(self, rules: Arc<ActingConfig>) -> Self {
        Self { acting: rules, ..self }
    }

    /// What should change for `entry`. Repeating it is safe.
    ///
    /// # Errors
    /// When the state store or the baselines cannot be read or written.
    pub async fn follow(&self, entry: &Entry, facts: VmFacts<'_>, now: DateTime<Utc>) -> Result<Followed, StateError> {
        Ok(self.follow_and_plan(entry, facts, now).await?.0)
    }

    /// The same, and the plan for an answer, to be written down once the changes are delivered.
    ///
    /// # Errors
    /// As [`Tracker::follow`].
    pub async fn follow_and_plan(
        &self,
        entry: &Entry,
        facts: VmFacts<'_>,
        now: DateTime<Utc>,
    ) -> Result<(Followed, Option<Plan>), StateError> {
        if let Fact::Answered(answered) = &entry.fact {
            return Ok((self.answered(answered, now).await?, None));
        }
        let step = self.advance(entry, facts.accepted.unwrap_or(now), now).await?;
        if step.finding_steps.is_empty() {
            return Ok((Followed::Nothing(why_nothing(entry, &step.record)), None));
        }
        let (mut changes, mut plan) = (Vec::new(), None);
        for finding_step in &step.finding_steps {
            match *finding_step {
                FindingStep::Close { check, told } => {
                    let time = step.record.passed(check).unwrap_or(entry.time);
                    changes.push(closing(&step.record, &entry.vm, check, time, told));
                }
                FindingStep::Raise(check) => {
                    let (raised, planned) = self.raising(entry, check, &step.record, facts, now).await?;
                    changes.extend(raised);
                    plan = planned.or(plan);
                }
            }
        }
        Ok((Followed::Changes(changes), plan))
    }

    /// What raises the finding of a check, and the plan for an answer where the check is the entry's own.
    async fn raising(
        &self,
        entry: &Entry,
        check: Check,
        record: &Record,
        facts: VmFacts<'_>,
        now: DateTime<Utc>,
    ) -> Result<(Vec<FindingChange>, Option<Plan>), StateError> {
        let assessment = self.assessed(entry, facts, now).await?;
        let over = record.overtaken_failure(check).and_then(|_| record.passed(check));
        let own = assessment.as_ref().filter(|_| entry.check() == Some(check));
        let plan = own.and_then(|assessment| self.plan(entry, assessment, over, now));
        let context = Context {
            judgement: assessment.map(|assessment| assessment.judgement),
            record: record.clone(),
            name: facts.name.map(str::to_owned),
            answer: plan.as_ref().map(Plan::answer_now),
            over,
            exempt: Some(self.acting.exempt.to_string()),
        };
        let (id, finding) = (finding_id(&entry.vm, check), Box::new(finding(entry, check, &context, now)));
        // It may stand there of a failure before this one, and closed since both.
        let amended =
            over.map(|_| FindingChange::Amend { id: id.clone(), finding: finding.clone(), only_closed: true });
        Ok((iter::once(FindingChange::Raise { id, finding }).chain(amended).collect(), plan))
    }

    /// What was seen of a VM.
    pub async fn record(&self, vm: &Vm) -> Result<Option<Record>, StateError> {
        self.store.read(KIND, &vm.key()).await?.map(|document| document.parse(KIND)).transpose()
    }

    /// What the baselines say of a boot report; for any other entry, that it cannot be judged.
    pub async fn assess(
        &self,
        entry: &Entry,
        facts: VmFacts<'_>,
        now: DateTime<Utc>,
    ) -> Result<Assessment, StateError> {
        let unfit = || Judgement::Unfit { reason: "it is no boot report".to_owned() };
        let none = || Assessment { judgement: unfit(), usable: 0, unreported: Vec::new(), may_be_known: false };
        Ok(self.assessed(entry, facts, now).await?.unwrap_or_else(none))
    }

    /// Notes what a VM should learn, before Compute Engine is asked for it.
    pub async fn relearn_begins(&self, vm: &Vm, learning: Learning) -> Result<(), StateError> {
        self.change(vm, |record| record.learning = Some(learning.clone())).await
    }

    /// Compute Engine took the call to learn this boot, as this operation. `asked`: when, if that says so: after a lost
    /// answer, the attempt that was written down last is not the one that was taken.
    pub async fn relearn_taken(
        &self,
        vm: &Vm,
        boot: Moment,
        operation: Option<&str>,
        asked: Option<DateTime<Utc>>,
    ) -> Result<(), StateError> {
        self.change(vm, |record| {
            if let Some(learning) = record.learning.as_mut().filter(|learning| learning.boot == boot) {
                learning.taken = true;
                learning.called = asked.unwrap_or(learning.called);
                learning.operation = operation.map(str::to_owned);
            }
        })
        .await
    }

    /// It did not take the call: nothing is expected of the boots after this one.
    pub async fn relearn_not_taken(&self, vm: &Vm, boot: Moment) -> Result<(), StateError> {
        self.change(vm, |record| {
            if record.learning.as_ref().is_some_and(|learning| learning.boot == boot) {
                record.learning = None;
            }
        })
        .await
    }

    /// Notes that a boot is about to be ended, before it is: that its late report is missing is not told meanwhile.
    pub async fn halt_begins(&self, vm: &Vm, halted: &Halted) -> Result<(), StateError> {
        self.change(vm, |record| record.halt_begins(halted)).await
    }

    /// Compute Engine took the call that ends a boot; no late report of it is waited for.
    pub async fn halt_taken(&self, vm: &Vm, halted: &Halted) -> Result<(), StateError> {
        self.change(vm, |record| record.halted = Some(halted.clone())).await
    }

    /// It did not take the call, and the boot goes on.
    pub async fn halt_not_taken(&self, vm: &Vm, boot: Moment, check: Check) -> Result<(), StateError> {
        self.change(vm, |record| {
            if record.halted.as_ref().is_some_and(|halted| (halted.report, halted.check) == (boot, check)) {
                record.halted = None;
            }
        })
        .await
    }

    /// The finding about a report says what was done, unless it is about a newer report by now.
    async fn answered(&self, answered: &Answered, now: DateTime<Utc>) -> Result<Followed, StateError> {
        let report = &answered.report;
        let Some(check) = report.check() else { return Ok(Followed::Nothing("The report has no finding.")) };
        let (closed, record) = self.closed_by_our_halt(&report.vm).await?;
        let mut changes: Vec<FindingChange> = closed.into_iter().collect();
        let moment = report.moment();
        if record.checks.get(&check).and_then(|standing| standing.failed).is_some_and(|failed| failed > moment) {
            let nothing = Followed::Nothing("The finding is about a newer report by now.");
            return Ok(if changes.is_empty() { nothing } else { Followed::Changes(changes) });
        }
        let context = Context {
            judgement: answered.judgement.clone(),
            record,
            name: answered.name.clone(),
            answer: Some(answered.answer.clone()),
            over: None,
            exempt: Some(self.acting.exempt.to_string()),
        };
        let finding = Box::new(finding(report, check, &context, now));
        let id = finding_id(&report.vm, check);
        changes.push(FindingChange::Amend { id, finding, only_closed: false });
        Ok(Followed::Changes(changes))
    }

    /// A boot that we ended in time may have been told not to have completed before that came to be known. Beside what
    /// closes its finding, what is known of the VM.
    async fn closed_by_our_halt(&self, vm: &Vm) -> Result<(Option<FindingChange>, Record), StateError> {
        let closed = |record: &mut Record| {
            let close = record.after_our_halt().and_then(|finding_step| match finding_step {
                FindingStep::Close { check, told } => Some(closing(record, vm, check, record.passed(check)?, told)),
                FindingStep::Raise(_) => None,
            });
            (close, record.clone())
        };
        self.change_with(vm, closed).await
    }

    /// `over`: when the check passed, if it has since. Then nothing is done, and nobody need ask Compute Engine.
    fn plan(
        &self,
        entry: &Entry,
        assessment: &Assessment,
        over: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Option<Plan> {
        let under = Under { mode: self.acting.mode, dry_run: self.acting.dry_run };
        let mut plan = Plan::new(entry, decide(&self.acting, entry, assessment), assessment, under, now)?;
        if let Some(passed) = over.filter(|_| plan.answer.is_none()) {
            let passed = text::stamp(passed);
            let told = format!("nothing was done: the check has passed since, on {passed}.");
            plan.end(answer::Ended::Refused, answer::Reason::PassedSince, told, now);
        }
        Some(plan)
    }

    /// To be told once `raised` of `entry` is delivered. A check may have passed before that: what closes it then.
    pub async fn closings_after(
        &self,
        entry: &Entry,
        raised: &[FindingChange],
    ) -> Result<Vec<FindingChange>, StateError> {
        let close = |record: &mut Record, check: Check| {
            let time = record.mark_told_unless_passed(check, entry.moment())?;
            Some(FindingChange::Close { id: finding_id(&entry.vm, check), time, told: true, untold_failure: None })
        };
        let closings = |record: &mut Record| {
            let checks = checks_of(record, entry, raised);
            checks.into_iter().filter_map(|check| close(record, check)).collect()
        };
        self.change_with(&entry.vm, closings).await
    }

    /// What [`Tracker::closings_after`] answered is delivered too.
    pub async fn closings_delivered(&self, entry: &Entry, raised: &[FindingChange]) -> Result<(), StateError> {
        let close = |record: &mut Record| {
            checks_of(record, entry, raised).into_iter().for_each(|check| record.mark_told(check, entry.moment()));
        };
        self.change(&entry.vm, close).await
    }

    /// Boots that did not complete in time, as entries to be taken in like any other; then tell
    /// [`Tracker::overdue_written`].
    pub async fn overdue(&self, now: DateTime<Utc>) -> Result<Vec<Entry>, StateError> {
        let mut overdue = Vec::new();
        let timers = self.skipped.parsed::<Waiting>(TIMER, state::all(&*self.store, TIMER).await?, now);
        for (_, waiting) in timers.into_iter().filter(|(_, waiting)| waiting.due <= now) {
            let moment = waiting.early.moment();
            match self.record(&waiting.early.vm).await.map(Option::unwrap_or_default) {
                Ok(record) if record.went_on(moment) || record.boot_was_stopped(moment) => {
                    self.remove_timer(&waiting.early).await?;
                }
                // What comes of our own call is waited for, or we would tell of what we did ourselves.
                Ok(record) if record.is_our_halt_open(moment, now) => {}
                Ok(_) => overdue.extend(incomplete(waiting.early, self.patience)),
                // What is known of this VM cannot be read; that of the others can.
                Err(error @ StateError::Corrupt { .. }) => self.skipped.tell(KIND, &error, now),
                Err(error) => return Err(error),
            }
        }
        Ok(overdue)
    }

    /// The entry made by [`Tracker::overdue`] is durable: its timer is done.
    pub async fn overdue_written(&self, incomplete: &Entry) -> Result<(), StateError> {
        self.remove_timer(incomplete).await
    }

    async fn advance(&self, entry: &Entry, accepted: DateTime<Utc>, now: DateTime<Utc>) -> Result<Step, StateError> {
        let key = entry.vm.key();
        for _ in 0..state::TRIES {
            let found = self.store.read(KIND, &key).await?;
            let stored: Option<Record> = found.as_ref().map(|document| document.parse(KIND)).transpose()?;
            let step = step(stored.as_ref(), entry, accepted);
            // Before the record, so that a crash between the two leaves a timer too many rather than one too few.
            if step.timer == Timer::Start {
                self.start_timer(entry, now).await?;
            }
            if stored.as_ref() != Some(&step.record) {
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
        // From its own time, but an old report that arrives only now gets its late report a moment to arrive too.
        let due = (entry.time + self.patience).max(now + TimeDelta::seconds(30));
        let waiting = || Waiting::new(entry, due);
        self.set_timer(&entry.vm, |stored| Some(stored.map_or_else(waiting, |stored| stored.with(waiting())))).await
    }

    /// Ends the wait for the boots that were until `entry`; one that is newer is watched on.
    async fn remove_timer(&self, entry: &Entry) -> Result<(), StateError> {
        self.set_timer(&entry.vm, |stored| stored?.after(entry.time)).await
    }

    async fn set_timer(&self, vm: &Vm, wanted: impl Fn(Option<Waiting>) -> Option<Waiting>) -> Result<(), StateError> {
        state::update(&*self.store, TIMER, &vm.key(), |stored| (wanted(stored), ())).await
    }

    async fn assessed(
        &self,
        entry: &Entry,
        facts: VmFacts<'_>,
        now: DateTime<Utc>,
    ) -> Result<Option<Assessment>, StateError> {
        let Some(report) = boot_report(entry) else { return Ok(None) };
        let baselines = self.baselines.all(now).await?;
        let subject = Subject { vm: &entry.vm, name: facts.name.or(entry.vm.name.as_deref()), labels: facts.labels };
        let judgement = judge(report, subject, &baselines, now);
        let approving = match &judgement {
            Judgement::Known { baseline } => baselines.iter().find(|one| one.name == *baseline),
            _ => None,
        };
        Ok(Some(Assessment {
            unreported: approving
                .map(|baseline| unreported(&baseline.measurements, &report.actual))
                .unwrap_or_default(),
            usable: baselines.iter().filter(|baseline| baseline.usable(now)).count(),
            may_be_known: may_be_known(report, subject, &baselines, now),
            judgement,
        }))
    }

    async fn change(&self, vm: &Vm, change: impl Fn(&mut Record)) -> Result<(), StateError> {
        self.change_with(vm, change).await
    }

    /// The same, with what the change answers. Of a VM of which nothing is known, nothing is written down that says as much.
    async fn change_with<T>(&self, vm: &Vm, change: impl Fn(&mut Record) -> T) -> Result<T, StateError> {
        let changed = |stored: Option<Record>| {
            let known = stored.is_some();
            let mut record = stored.unwrap_or_default();
            let answer = change(&mut record);
            (Some(record).filter(|record| known || *record != Record::default()), answer)
        };
        state::update(&*self.store, KIND, &vm.key(), changed).await
    }
}

/// What closes the finding of a check, and says whether a failure before `time` is still to be told.
fn closing(record: &Record, vm: &Vm, check: Check, time: DateTime<Utc>, told: bool) -> FindingChange {
    FindingChange::Close { id: finding_id(vm, check), time, told, untold_failure: record.overtaken_failure(check) }
}

/// Why nothing follows from `entry`, now that `record` is known.
fn why_nothing(entry: &Entry, record: &Record) -> &'static str {
    match entry.failed() {
        None if entry.audit().is_some() => "The operation failed, and nothing had been told of it.",
        Some(true) if record.boot_was_stopped(entry.moment()) => "The boot was ended from outside.",
        Some(true) => "A newer report of the same VM and check is known.",
        Some(false) => "The check passed, and no failure was open.",
        None => "A start or a stop is only noted.",
    }
}

/// The checks whose findings are among what `entry` raised.
fn checks_of(record: &Record, entry: &Entry, raised: &[FindingChange]) -> Vec<Check> {
    let is_raised = |check: &Check| {
        let wanted = finding_id(&entry.vm, *check);
        raised.iter().any(|change| matches!(change, FindingChange::Raise { id, .. } if *id == wanted))
    };
    record.checks.keys().copied().filter(is_raised).collect()
}

/// Registers that a baseline names and a report lacks in every bank.
fn unreported(approved: &Measurements, actual: &Measurements) -> Vec<String> {
    let reported = |slot: &&Slot| actual.0.keys().any(|seen| seen.pcr == slot.pcr);
    let mut missing: Vec<String> =
        approved.0.keys().filter(|slot| !reported(slot)).map(|slot| slot.pcr.to_string()).collect();
    missing.dedup();
    missing
}

fn incomplete(early: Entry, patience: TimeDelta) -> Option<Entry> {
    let minutes = u32::try_from(patience.num_minutes()).unwrap_or(u32::MAX);
    match early.fact {
        Fact::EarlyBoot(report) => Some(Entry { fact: Fact::BootIncomplete { early: report, minutes }, ..early }),
        _ => None,
    }
}
