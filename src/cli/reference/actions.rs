//! `docs/actions.md`: what is done about failed boots. The table of modes is what the rules say when they are asked.

use std::fmt::Write;

use chrono::DateTime;

use super::table_of;
use crate::config::acting::{AREA, ActingConfig, Mode};
use crate::integrity::answer::{Action, Ended, Reason};
use crate::integrity::entry::{BootReport, Entry, Fact, INTEGRITY_LOG, LogLine, Vm};
use crate::integrity::judgement::Judgement;
use crate::integrity::measurement::{Algorithm, Digest, Measurements, Pcr, Slot};
use crate::plan::rules::{Assessment, Decision, decide};

const INTRODUCTION: &str = "# Acting on failed boots\n\n\
    What `INTEGRITY_ACTION` can do to a Shielded VM whose boot integrity check failed, what must be so before, and the \
    permissions it needs. [integrity.md](integrity.md) tells the whole story. This page is printed by \
    `sysdig-scc reference actions`.\n";

const NO_PROOF: &str = "\n## Who can have it done\n\n\
    A report is a log entry, and no proof: assume that **whoever may write log entries in a VM's project \
    (`logging.logEntries.create`, as in `roles/logging.logWriter`) can write one into the integrity log.** It closes findings \
    of that project's VMs, or has one of them stopped, once it passed the gates below and within the caps. So see who may \
    (`gcloud projects get-iam-policy PROJECT`), also as the account of a workload, take it from whom you would not let stop \
    the VMs, and keep the caps low; where that cannot be, leave `INTEGRITY_ACTION` at `report`. With \
    `PUBSUB_PUSH_UNVERIFIED` it is whoever reaches the port, and `sysdig-scc check` warns of it.\n";

/// `docs/actions.md`.
pub fn actions_page() -> String {
    let mut page = String::from(INTRODUCTION);
    page += NO_PROOF;
    page += "\n## What each setting does\n\n";
    page += &modes();
    page += "\nA word in brackets is the reason on the finding. Other log entries than boot reports are never acted on. The baselines \
             are read anew right before, and compared with the VM's real name and labels.\n";
    page += "\n## What is done\n\n| action | effect | undone by |\n|---|---|---|\n";
    for action in Action::ALL {
        writeln!(page, "| `{}` | {} | {} |", action.label(), action.effect(), action.undone_by())
            .expect("writing to a string does not fail");
    }
    page += "\n## The permissions it needs\n\nOn the VMs' projects; `scripts/grant_acting` makes a role of them, `sysdig-scc check` asks which are missing.\n\n";
    page += &permissions();
    page += "\n## How it ends\n\n`action_result` on the finding, `result` in the journal and the metrics.\n\n| result | meaning |\n|---|---|\n";
    for result in Ended::ALL {
        writeln!(page, "| `{}` | {} |", result.label(), result.meaning()).expect("writing to a string does not fail");
    }
    page += "\n## The gates, and what else may stand in the way\n\nThe first that does is told (`asked` when nothing does), as `action_reason` on the finding and \
             `reason` in the journal. A refusal is final.\n\n| reason | meaning |\n|---|---|\n";
    for reason in Reason::ALL {
        writeln!(page, "| `{}` | {} |", reason.label(), reason.meaning()).expect("writing to a string does not fail");
    }
    page += "\n## The settings\n\n";
    page += &table_of(&AREA);
    page
}

/// What follows from each kind of failed report, as the rules themselves say.
fn modes() -> String {
    let cases = cases();
    let heads: String = cases.iter().map(|case| format!(" {} |", case.told)).collect();
    let mut table = format!("| `INTEGRITY_ACTION` |{heads}\n|---|{}\n", "---|".repeat(cases.len()));
    for mode in Mode::ALL {
        let rules = ActingConfig { mode, ..ActingConfig::default() };
        let cells: String = cases.iter().map(|case| format!(" {} |", case.follows(&rules))).collect();
        writeln!(table, "| `{}` |{cells}", mode.name()).expect("writing to a string does not fail");
    }
    table
}

/// A kind of failed report, and what the baselines say of it.
struct Case {
    told: &'static str,
    entry: Entry,
    known: Assessment,
}

impl Case {
    fn new(told: &'static str, fact: Fact, judgement: Judgement, usable: usize) -> Self {
        let vm = Vm { project: "p".to_owned(), zone: "z".to_owned(), id: 1, name: None };
        let log =
            LogLine { log_id: INTEGRITY_LOG.to_owned(), container: "projects/p".to_owned(), ..LogLine::default() };
        let entry = Entry { vm, time: DateTime::UNIX_EPOCH, boot: Some(1), fact, log };
        Self { told, entry, known: Assessment { judgement, usable, unreported: Vec::new(), may_be_known: false } }
    }

    fn follows(&self, rules: &ActingConfig) -> String {
        match decide(rules, &self.entry, &self.known) {
            Decision::Silent => "only the finding".to_owned(),
            Decision::Leave(reason, _) => format!("only the finding (`{}`)", reason.label()),
            Decision::Act(action, ..) => format!("**{}**", action.label()),
        }
    }
}

fn cases() -> [Case; 5] {
    let good = || Judgement::Known { baseline: "good".to_owned() };
    let unknown = || Judgement::Unknown { nearest: None, looked_at: 1 };
    let incomplete = Fact::BootIncomplete { early: failed(), minutes: 10 };
    [
        Case::new("late report failed, known to be good", Fact::LateBoot(failed()), good(), 1),
        Case::new("late report failed, not known", Fact::LateBoot(failed()), unknown(), 1),
        Case::new("the same, and no usable baseline at all", Fact::LateBoot(failed()), unknown(), 0),
        Case::new("early report failed", Fact::EarlyBoot(failed()), unknown(), 1),
        Case::new("early report failed, boot did not complete", incomplete, unknown(), 1),
    ]
}

/// A report in which one register changed.
fn failed() -> BootReport {
    let measured = |byte| {
        let slot = Pcr::new(4).map(|pcr| Slot { pcr, algorithm: Algorithm::Sha1 });
        Measurements(slot.into_iter().map(|slot| (slot, Digest(vec![byte; 20]))).collect())
    };
    BootReport { stated: Some(false), policy: measured(1), actual: measured(2), ..BootReport::default() }
}

fn permissions() -> String {
    let mut table = String::from(
        "| `INTEGRITY_ACTION` | with `INTEGRITY_DRY_RUN` | without, besides | with `INTEGRITY_SNAPSHOT_FIRST`, besides |\n|---|---|---|---|\n",
    );
    for mode in Mode::ALL {
        let needs = |dry_run, snapshot_first| {
            ActingConfig { mode, dry_run, snapshot_first, ..ActingConfig::default() }.permissions()
        };
        let (dry, plain, snapshots) = (needs(true, false), needs(false, false), needs(false, true));
        let row = [&dry[..], beyond(&plain, &dry), beyond(&snapshots, &plain)].map(quoted).join(" | ");
        writeln!(table, "| `{}` | {row} |", mode.name()).expect("writing to a string does not fail");
    }
    table
}

/// What the longer list has after the shorter one.
fn beyond<'a>(longer: &'a [&'static str], shorter: &[&'static str]) -> &'a [&'static str] {
    longer.strip_prefix(shorter).unwrap_or(longer)
}

fn quoted(names: &[&str]) -> String {
    match names {
        [] => "none".to_owned(),
        names => names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(" "),
    }
}
