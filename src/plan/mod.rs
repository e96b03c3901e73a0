//! What is to be done about a failed boot: decided by the setting ([`rules`]), and written down before anything is done, as
//! a plan with its journal, one document a report, kept for good. Pure; who does it is [`respond`](crate::respond).

pub mod names;
pub mod rules;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::config::acting::Mode;
use crate::integrity::Entry;
use crate::integrity::answer::{Action, Answer, Ended, Reason};
use crate::integrity::entry::Answered;
use crate::integrity::judgement::Judgement;
use rules::{Assessment, Decision};

/// What is to be done about a report, and everything that was done so far.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The key of the report's event, of which all names are made.
    pub event: String,
    /// The report.
    pub report: Entry,
    /// What the baselines said of it last.
    pub judgement: Option<Judgement>,
    /// The setting INTEGRITY_ACTION when it was planned.
    pub mode: Mode,
    /// Whether it only says what it would do.
    pub dry_run: bool,
    /// When it was planned.
    pub planned: DateTime<Utc>,
    /// What is going to be done; decided again before it is.
    pub action: Option<Action>,
    /// Why.
    pub because: String,
    /// The baseline that approves the measurements.
    pub baseline: Option<String>,
    /// The VM's name, when it is known.
    pub name: Option<String>,
    /// Its share of the caps was taken.
    pub counted: bool,
    /// The calls that change something, in order.
    pub calls: Vec<Call>,
    /// The journal, the oldest first.
    pub journal: Vec<Line>,
    /// How it ended.
    pub answer: Option<Answer>,
}

/// A call that changes something: written down before it is made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// What: `stop`, `suspend`, `relearn`, or the name of the snapshot.
    pub step: String,
    /// The request's id.
    pub request_id: String,
    /// When it was first written down.
    pub since: DateTime<Utc>,
    /// When it was taken, or seen to have been: its operation has its time from then on, however long it had to wait.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<DateTime<Utc>>,
    /// How far it is.
    pub state: CallState,
    /// The path of its operation, once it is known.
    pub operation: Option<String>,
    /// When it was asked for, by Compute Engine's clock, once its operation says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<DateTime<Utc>>,
    /// The numeric id of what it was taken for, once its operation says so: names are used again, ids are not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallState {
    /// It is about to be made, or was made and the answer is not known.
    Intended,
    /// It was refused for the moment: nothing was done.
    PutOff,
    /// It was taken; its operation runs.
    Running,
    /// Its operation ended well.
    Finished,
}

/// A line of the journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// When.
    pub time: DateTime<Utc>,
    /// What: a word of a closed set.
    pub what: What,
    /// The same as a sentence.
    pub told: String,
    /// The request's id, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// What a line of the journal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// It was planned.
    Planned,
    /// What is to be done was decided anew.
    Decided,
    /// Compute Engine confirmed the report.
    Confirmed,
    /// A call is about to be made.
    Intent,
    /// Compute Engine took the call.
    Taken,
    /// Its operation ended well.
    Finished,
    /// It has to wait.
    Waiting,
    /// It ended.
    Ended,
}

impl What {
    /// Its word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Planned => "planned",
            Self::Decided => "decided",
            Self::Confirmed => "confirmed",
            Self::Intent => "intent",
            Self::Taken => "taken",
            Self::Finished => "finished",
            Self::Waiting => "waiting",
            Self::Ended => "ended",
        }
    }
}

/// The settings a plan is made under.
#[derive(Debug, Clone, Copy)]
pub struct Under {
    /// INTEGRITY_ACTION.
    pub mode: Mode,
    /// INTEGRITY_DRY_RUN.
    pub dry_run: bool,
}

impl Plan {
    /// The plan that follows from a decision; nothing when there is none to be made.
    pub fn new(
        report: &Entry,
        decision: Decision,
        known: &Assessment,
        under: Under,
        now: DateTime<Utc>,
    ) -> Option<Self> {
        let mut plan = Self {
            event: report.key(),
            report: report.clone(),
            judgement: Some(known.judgement.clone()),
            mode: under.mode,
            dry_run: under.dry_run,
            planned: now,
            action: None,
            because: String::new(),
            baseline: None,
            name: report.vm.name.clone(),
            counted: false,
            calls: Vec::new(),
            journal: Vec::new(),
            answer: None,
        };
        match decision {
            Decision::Silent => return None,
            Decision::Leave(reason, told) => plan.end(Ended::Reported, reason, told, now),
            Decision::Act(action, because, baseline) => {
                (plan.action, plan.because, plan.baseline) = (Some(action), because, baseline);
                let told = plan.intention();
                plan.note(What::Planned, told, now);
            }
        }
        Some(plan)
    }

    /// The document's key: in the order of the reports, and the same for whoever plans for this one.
    pub fn key(&self) -> String {
        let time = self.report.logged().to_rfc3339_opts(chrono::SecondsFormat::Nanos, true);
        format!("{time} {}", self.event)
    }

    /// What is going to happen, in words.
    pub fn intention(&self) -> String {
        let dry = if self.dry_run { " This is a dry run: nothing will be changed." } else { "" };
        let action = match self.action {
            Some(Action::Relearn) => "be told to relearn its integrity policy baseline",
            Some(Action::Stop) => "be stopped",
            Some(Action::Suspend) => "be suspended",
            None => "not be touched",
        };
        format!("the VM is to {action}, because {}; Compute Engine is asked first.{dry}", self.because)
    }

    /// What the finding says now.
    pub fn answer_now(&self) -> Answer {
        self.answer
            .clone()
            .unwrap_or_else(|| self.answered(Ended::Planned, Reason::Asked, self.intention(), self.planned))
    }

    /// The entry that brings the answer to the finding.
    pub fn entry(&self) -> Option<Entry> {
        let answered = Answered {
            report: self.report.clone(),
            judgement: self.judgement.clone(),
            name: self.name.clone(),
            answer: self.answer.clone()?,
        };
        Some(Entry {
            vm: self.report.vm.clone(),
            time: answered.answer.time,
            boot: self.report.boot,
            log: self.report.log.clone(),
            fact: crate::integrity::Fact::Answered(Box::new(answered)),
        })
    }

    /// Writes a line. The same words again are not repeated.
    pub fn note(&mut self, what: What, told: String, now: DateTime<Utc>) {
        let request_id = match what {
            What::Intent | What::Taken | What::Finished => self.calls.last().map(|call| call.request_id.clone()),
            _ => None,
        };
        if self.journal.last().is_none_or(|last| last.what != what || last.told != told) {
            self.journal.push(Line { time: now, what, told, request_id });
        }
    }

    /// Ends it.
    pub fn end(&mut self, result: Ended, reason: Reason, told: String, now: DateTime<Utc>) {
        self.note(What::Ended, format!("{} ({}): {told}", result.label(), reason.label()), now);
        self.answer = Some(self.answered(result, reason, told, now));
    }

    /// The call for this step.
    pub fn call(&self, step: &str) -> Option<&Call> {
        self.calls.iter().find(|call| call.step == step)
    }

    /// The same, to be changed; made when there is none.
    pub fn call_mut(&mut self, step: &str, now: DateTime<Utc>) -> &mut Call {
        let place = self.calls.iter().position(|call| call.step == step).unwrap_or_else(|| {
            let request_id = names::request_id(&self.event, step);
            let state = CallState::PutOff;
            let call = Call {
                step: step.to_owned(),
                request_id,
                since: now,
                taken: None,
                state,
                operation: None,
                asked: None,
                target: None,
            };
            self.calls.push(call);
            self.calls.len() - 1
        });
        &mut self.calls[place]
    }

    /// The call for this step was taken.
    pub fn take(&mut self, step: &str, operation: Option<String>, now: DateTime<Utc>) {
        let call = self.call_mut(step, now);
        (call.state, call.operation, call.taken) = (CallState::Running, operation, Some(now));
    }

    /// What the action was taken for, as its operation says: whether that is the VM of the report.
    pub fn is_target(&self) -> Option<bool> {
        let target = self.call(self.action?.label())?.target.as_ref()?;
        Some(*target == self.report.vm.id.to_string())
    }

    /// The id of the VM that the action was taken for, when that is another one than the report's.
    pub fn other_vm(&self) -> Option<String> {
        self.is_target().filter(|is_target| !is_target)?;
        self.call(self.action?.label())?.target.clone()
    }

    /// Whether a call may have reached Compute Engine.
    pub fn has_called(&self) -> bool {
        self.calls.iter().any(|call| call.state != CallState::PutOff)
    }

    fn answered(&self, result: Ended, reason: Reason, told: String, time: DateTime<Utc>) -> Answer {
        let main = self.action.and_then(|action| self.call(action.label()));
        let is_snapshot = |call: &&Call| {
            call.state == CallState::Finished && Some(call.step.as_str()) != main.map(|call| call.step.as_str())
        };
        Answer {
            action: self.action,
            result,
            reason,
            told,
            time,
            mode: self.mode.name().to_owned(),
            baseline: self.baseline.clone(),
            request_id: main.map(|call| call.request_id.clone()),
            operation: main.and_then(|call| call.operation.as_deref()).map(|path| last(path).to_owned()),
            other_vm: self.other_vm(),
            snapshots: self.calls.iter().filter(is_snapshot).map(|call| call.step.clone()).collect(),
        }
    }
}

fn last(path: &str) -> &str {
    crate::google::compute::last_part(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::integrity::entry::{BootReport, Fact, LogLine, Vm};

    fn plan() -> Plan {
        let vm = Vm { project: "p".into(), zone: "z".into(), id: u64::MAX, name: None };
        let fact = Fact::LateBoot(BootReport { stated: Some(false), ..BootReport::default() });
        let time = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let report = Entry { vm, time, boot: Some(3), fact, log: LogLine::default() };
        let judgement = Judgement::Known { baseline: "b".into() };
        let known = Assessment { judgement, usable: 1, unreported: vec![], may_be_known: false };
        let decision = Decision::Act(Action::Stop, "it failed".into(), None);
        Plan::new(&report, decision, &known, Under { mode: Mode::Stop, dry_run: false }, time).unwrap()
    }

    #[test]
    fn an_answer_travels_as_an_event_of_its_own() {
        let mut plan = plan();
        assert_eq!((plan.entry(), plan.answer_now().result), (None, Ended::Planned));
        let now = plan.planned;
        plan.call_mut("stop", now).state = CallState::Finished;
        plan.end(Ended::Done, Reason::Asked, "done.".into(), now);
        let event = Event::Integrity(Box::new(plan.entry().unwrap()));
        let text = serde_json::to_string(&event).unwrap();
        assert_eq!(Event::from_json(text.as_bytes()).unwrap(), event);
        assert_ne!(event.key(), plan.report.key());
        assert_eq!(event.finding_id(), plan.report.finding_id());
        let body = serde_json::to_value(&plan).unwrap();
        assert_eq!(serde_json::from_value::<Plan>(body).unwrap(), plan);
    }

    #[test]
    fn the_journal_does_not_repeat_itself() {
        let mut plan = plan();
        let now = plan.planned;
        for _ in 0..3 {
            plan.note(What::Waiting, "slow down".into(), now);
        }
        assert_eq!(plan.journal.len(), 2);
        assert!(!plan.has_called());
        plan.call_mut("stop", now).state = CallState::Intended;
        assert!(plan.has_called());
    }
}
