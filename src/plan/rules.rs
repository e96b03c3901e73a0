//! What a report calls for, by the setting. Pure.

use crate::config::acting::{ActingConfig, Mode};
use crate::integrity::answer::{Action, Reason};
use crate::integrity::diff::Change;
use crate::integrity::entry::{BootReport, Entry, Fact};
use crate::integrity::judgement::Judgement;
use crate::integrity::source::proven;
use crate::integrity::words::boot_report;

/// What is known about a report beside itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// What the baselines say.
    pub judgement: Judgement,
    /// How many baselines can be used at all.
    pub usable: usize,
    /// Registers that the approving baseline names and the report lacks.
    pub unreported: Vec<String>,
    /// Whether a baseline has the measurements that may be meant for VMs of its name or labels, which are not known.
    pub may_be_known: bool,
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It is no business of acting.
    Silent,
    /// It is only reported, and this is why.
    Leave(Reason, String),
    /// This, for this reason, approved by this baseline.
    Act(Action, String, Option<String>),
}

/// What the report in `entry` calls for.
pub fn decide(rules: &ActingConfig, entry: &Entry, known: &Assessment) -> Decision {
    let kind = match &entry.fact {
        Fact::EarlyBoot(_) => Kind::Early,
        Fact::LateBoot(_) => Kind::Late,
        Fact::BootIncomplete { .. } => Kind::Incomplete,
        _ => return Decision::Silent,
    };
    let Some(report) = boot_report(entry).filter(|_| rules.mode != Mode::Report && entry.failed() == Some(true)) else {
        return Decision::Silent;
    };
    if let Err(told) = proven(&entry.log.container, &entry.log.log_id, &entry.vm.project) {
        return Decision::Leave(Reason::LogUnproven, format!("nothing was done: {told}."));
    }
    if entry.vm.zone.is_empty() {
        let told = "nothing was done: the report does not say in which zone the VM is.";
        return Decision::Leave(Reason::Incomplete, told.to_owned());
    }
    if let Some((reason, told)) = unfit(report, kind) {
        return Decision::Leave(reason, told);
    }
    match (rules.mode, kind) {
        (Mode::Report, _) => Decision::Silent,
        (Mode::Stop, _) => act(Action::Stop, kind.told()),
        (Mode::Suspend, _) => act(Action::Suspend, kind.told()),
        (Mode::RelearnOrReport | Mode::RelearnOrStop, Kind::Early) => Decision::Leave(
            Reason::Early,
            "nothing was done: an early report does not cover what is loaded after it, so the late report of this boot decides; what came of that is on its finding.".to_owned(),
        ),
        (Mode::RelearnOrReport, Kind::Incomplete) => Decision::Leave(
            Reason::Early,
            "nothing was done: there is no late report to compare with the baselines.".to_owned(),
        ),
        (Mode::RelearnOrStop, Kind::Incomplete) => stop_unless_empty(rules, known, kind.told()),
        (Mode::RelearnOrReport | Mode::RelearnOrStop, Kind::Late) => late(rules, known),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Early,
    Late,
    Incomplete,
}

impl Kind {
    fn told(self) -> &'static str {
        match self {
            Self::Early => "its early boot integrity check failed",
            Self::Late => "its late boot integrity check failed",
            Self::Incomplete => "its early boot integrity check failed and its boot did not complete",
        }
    }
}

fn act(action: Action, because: &str) -> Decision {
    Decision::Act(action, because.to_owned(), None)
}

/// What is not said in full is never acted on.
fn unfit(report: &BootReport, kind: Kind) -> Option<(Reason, String)> {
    if report.stated.is_none() {
        let told = "nothing was done: the report does not say whether the check passed.";
        return Some((Reason::NotStated, told.to_owned()));
    }
    let incomplete = |what: String| Some((Reason::Incomplete, format!("nothing was done: {what}.")));
    if let Some(reason) = report.not_readable().next() {
        return incomplete(format!("the report cannot be read in full ({reason})"));
    }
    if report.actual.is_empty() {
        return incomplete("the report has no measurements".to_owned());
    }
    let differences = report.differences();
    let missing: Vec<String> = differences
        .iter()
        .filter(|difference| kind == Kind::Late && difference.change == Change::OnlyInPolicy)
        .map(|difference| difference.slot.to_string())
        .collect();
    if missing.is_empty() {
        return None;
    }
    incomplete(format!("the report has no measurement of {}, which the policy has", missing.join(", ")))
}

fn late(rules: &ActingConfig, known: &Assessment) -> Decision {
    match &known.judgement {
        Judgement::Known { baseline } if known.unreported.is_empty() => Decision::Act(
            Action::Relearn,
            format!("baseline {baseline} approves all its measurements"),
            Some(baseline.clone()),
        ),
        Judgement::Known { baseline } => Decision::Leave(
            Reason::Incomplete,
            format!(
                "nothing was done: baseline {baseline} approves what was reported, but also names {}, which was not.",
                known.unreported.join(", ")
            ),
        ),
        Judgement::Unfit { reason } => Decision::Leave(Reason::Incomplete, format!("nothing was done: {reason}.")),
        Judgement::Unknown { .. } if rules.mode == Mode::RelearnOrStop => stop_unless_empty(
            rules,
            known,
            "its late boot integrity check failed and no baseline knows its measurements",
        ),
        Judgement::Unknown { .. } if known.may_be_known => act(
            Action::Relearn,
            "a baseline may be meant for VMs of its name or labels, which Compute Engine is asked for",
        ),
        Judgement::Unknown { .. } => Decision::Leave(
            Reason::NotKnownGood,
            "nothing was done: no baseline knows these measurements, and INTEGRITY_ACTION says to report that."
                .to_owned(),
        ),
    }
}

/// An empty collection knows nothing, and would stop the whole fleet.
fn stop_unless_empty(rules: &ActingConfig, known: &Assessment, because: &str) -> Decision {
    if known.usable > 0 || rules.stop_without_baselines {
        return act(Action::Stop, because);
    }
    Decision::Leave(
        Reason::NoBaselines,
        "nothing was done: there is not one usable known-good baseline, so that every failing VM would be stopped; set INTEGRITY_STOP_WITHOUT_BASELINES=true if that is wanted.".to_owned(),
    )
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::integrity::entry::{INTEGRITY_LOG, LogLine, Vm};
    use crate::integrity::judgement::Miss;
    use crate::integrity::measurement::{Algorithm, Digest, Measurements, Pcr, Slot};

    fn values(list: &[(u8, u8)]) -> Measurements {
        let slot = |pcr| Slot { pcr: Pcr::new(pcr).unwrap(), algorithm: Algorithm::Sha1 };
        Measurements(list.iter().map(|(pcr, byte)| (slot(*pcr), Digest(vec![*byte; 20]))).collect())
    }

    fn report(stated: Option<bool>, actual: &[(u8, u8)]) -> BootReport {
        let policy = values(&[(0, 1), (4, 1), (7, 1)]);
        BootReport { stated, policy, actual: values(actual), ..BootReport::default() }
    }

    fn failed() -> BootReport {
        report(Some(false), &[(0, 1), (4, 2), (7, 1)])
    }

    fn entry(fact: Fact) -> Entry {
        let vm = Vm { project: "p".into(), zone: "z".into(), id: 1, name: None };
        let time = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let log = LogLine { log_id: INTEGRITY_LOG.into(), container: "projects/p".into(), ..LogLine::default() };
        Entry { vm, time, boot: Some(3), fact, log }
    }

    fn known(judgement: Judgement) -> Assessment {
        Assessment { judgement, usable: 1, unreported: vec![], may_be_known: false }
    }

    fn good() -> Assessment {
        known(Judgement::Known { baseline: "b".into() })
    }

    fn bad() -> Assessment {
        let miss = Miss { baseline: "b".into(), differs: vec![], uncovered: vec![], unreported: vec![], barred: None };
        known(Judgement::Unknown { nearest: Some(miss), looked_at: 1 })
    }

    fn empty() -> Assessment {
        Assessment { usable: 0, ..known(Judgement::Unknown { nearest: None, looked_at: 0 }) }
    }

    fn says(mode: Mode, fact: Fact, known: &Assessment) -> String {
        match decide(&ActingConfig { mode, ..ActingConfig::default() }, &entry(fact), known) {
            Decision::Silent => "silent".into(),
            Decision::Leave(reason, told) => {
                assert!(told.starts_with("nothing was done: ") && told.ends_with('.'), "{told}");
                reason.label().into()
            }
            Decision::Act(action, _, _) => action.label().into(),
        }
    }

    #[test]
    fn every_mode_and_every_report() {
        let late = || Fact::LateBoot(failed());
        let early = || Fact::EarlyBoot(failed());
        let hung = || Fact::BootIncomplete { early: failed(), minutes: 10 };
        let table = [
            (Mode::Report, ["silent"; 5]),
            (Mode::RelearnOrReport, ["relearn", "not_known_good", "not_known_good", "early_report", "early_report"]),
            (Mode::RelearnOrStop, ["relearn", "stop", "no_baselines", "early_report", "stop"]),
            (Mode::Stop, ["stop"; 5]),
            (Mode::Suspend, ["suspend"; 5]),
        ];
        for (mode, expected) in table {
            let found = [
                says(mode, late(), &good()),
                says(mode, late(), &bad()),
                says(mode, late(), &empty()),
                says(mode, early(), &good()),
                says(mode, hung(), &bad()),
            ];
            assert_eq!(found, expected, "{mode:?}");
        }
    }

    #[test]
    fn what_is_not_said_in_full_is_not_acted_on_in_any_mode() {
        let all = [Mode::RelearnOrReport, Mode::RelearnOrStop, Mode::Stop, Mode::Suspend];
        for mode in all {
            let unstated = Fact::LateBoot(report(None, &[(0, 1), (4, 2), (7, 1)]));
            assert_eq!(says(mode, unstated, &good()), "result_not_stated");
            let without_7 = Fact::LateBoot(report(Some(false), &[(0, 1), (4, 2)]));
            assert_eq!(says(mode, without_7, &bad()), "incomplete_report");
            let without_any = Fact::LateBoot(report(Some(false), &[]));
            assert_eq!(says(mode, without_any, &bad()), "incomplete_report");
            let garbled = Fact::LateBoot(BootReport { unreadable: vec!["x".into()], ..failed() });
            assert_eq!(says(mode, garbled, &bad()), "incomplete_report");
            let counter = Fact::LateBoot(BootReport { counter: Some("x".into()), ..failed() });
            assert_eq!(says(mode, counter, &bad()), "incomplete_report");
            for other in [Fact::VtpmCleared, Fact::Startup, Fact::LateBoot(report(Some(true), &[(0, 1)]))] {
                assert_eq!(says(mode, other, &bad()), "silent");
            }
        }
        let mut nowhere = entry(Fact::LateBoot(failed()));
        nowhere.vm.zone.clear();
        let stop = ActingConfig { mode: Mode::Stop, ..ActingConfig::default() };
        assert!(matches!(decide(&stop, &nowhere, &bad()), Decision::Leave(Reason::Incomplete, _)));
        let half = Assessment { unreported: vec!["PCR_9".into()], ..good() };
        assert_eq!(says(Mode::RelearnOrStop, Fact::LateBoot(failed()), &half), "incomplete_report");
    }

    #[test]
    fn only_what_the_integrity_log_of_its_own_project_says_is_acted_on() {
        let rules = ActingConfig { mode: Mode::Stop, ..ActingConfig::default() };
        for (container, log_id, expected) in [
            ("projects/p", INTEGRITY_LOG, ""),
            ("", "", "the entry does not name its log"),
            ("projects/p", "my-own-log", "the entry is of the log my-own-log"),
            ("projects/123", INTEGRITY_LOG, "by the number 123"),
            ("projects/attacker", INTEGRITY_LOG, "the entry's log is of projects/attacker"),
            ("organizations/1", INTEGRITY_LOG, "the entry's log is of organizations/1"),
        ] {
            let log = LogLine { log_id: log_id.into(), container: container.into(), ..LogLine::default() };
            let entry = Entry { log, ..entry(Fact::LateBoot(failed())) };
            match decide(&rules, &entry, &bad()) {
                Decision::Act(Action::Stop, ..) if expected.is_empty() => {}
                Decision::Leave(Reason::LogUnproven, told) => {
                    assert!(!expected.is_empty() && told.contains(expected), "{told}");
                }
                other => panic!("{container} {log_id}: {other:?}"),
            }
        }
    }

    #[test]
    fn a_vm_of_unknown_name_is_looked_up_before_its_baselines_are_judged() {
        let unknown = Assessment { may_be_known: true, ..bad() };
        assert_eq!(says(Mode::RelearnOrReport, Fact::LateBoot(failed()), &unknown), "relearn");
        let rules = ActingConfig { stop_without_baselines: true, mode: Mode::RelearnOrStop, ..ActingConfig::default() };
        assert!(matches!(decide(&rules, &entry(Fact::LateBoot(failed())), &empty()), Decision::Act(Action::Stop, ..)));
    }
}
