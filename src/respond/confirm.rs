//! Whether the VM is still the one of the report, and one that may be acted on. Pure.
//!
//! A log entry is not proof: it may be old, or written by somebody else. What Compute Engine says now decides.

use chrono::{DateTime, Utc};

use super::why_not::WhyNot;
use crate::config::acting::ActingConfig;
use crate::google::compute::{Instance, last_part, project_in};
use crate::integrity::answer::{Action, Reason};
use crate::integrity::entry::Entry;
use crate::integrity::record::Record;
use crate::text;

/// Confirms `report` against the instance and against what was seen of the VM since.
///
/// # Errors
/// The first thing that does not fit.
pub fn confirm(
    report: &Entry,
    action: Action,
    instance: &Instance,
    seen: &Record,
    rules: &ActingConfig,
) -> Result<(), WhyNot> {
    identity(report, instance)?;
    if instance.status != "RUNNING" {
        let status = if instance.status.is_empty() { "of unknown status" } else { &instance.status };
        let by_us = seen.our_halt_of(report.moment()).map(|halted| {
            let (done, check) = (halted.action.done(), halted.check.label().replace('_', " "));
            format!(": the connector had it {done} on {}, for the {check} check of this boot", text::stamp(halted.time))
        });
        return Err(WhyNot::new(
            Reason::NotRunning,
            format!("the VM is {status}, not RUNNING{}", by_us.unwrap_or_default()),
        ));
    }
    started(report, instance)?;
    nothing_newer(report, seen)?;
    not_relearned(report, action, seen)?;
    if !instance.shielded_instance_config.is_some_and(|shielded| shielded.enable_integrity_monitoring) {
        let told = "integrity monitoring is off on the VM, so that the report cannot be its own";
        return Err(WhyNot::new(Reason::MonitoringOff, told));
    }
    exempt(instance, rules)?;
    let scratch = instance.disks.iter().any(|disk| disk.kind == "SCRATCH");
    if action != Action::Relearn && scratch && !rules.discard_local_ssd {
        let told = "the VM has local SSDs, whose data would be lost (INTEGRITY_DISCARD_LOCAL_SSD=true allows that)";
        return Err(WhyNot::new(Reason::LocalSsd, told));
    }
    Ok(())
}

pub(super) fn identity(report: &Entry, instance: &Instance) -> Result<(), WhyNot> {
    if instance.id.0 != report.vm.id.to_string() {
        let told = format!("the VM that was found has the id {}, the report is about {}", instance.id.0, report.vm.id);
        return Err(WhyNot::new(Reason::IdDiffers, told));
    }
    let zone = last_part(&instance.zone);
    if zone != report.vm.zone {
        return Err(WhyNot::new(
            Reason::PlaceDiffers,
            format!("the VM is in zone {zone:?}, the report says {}", report.vm.zone),
        ));
    }
    let urls = [&instance.self_link, &instance.zone];
    match urls.into_iter().find_map(|url| project_in(url)) {
        Some(project) if project != report.vm.project => Err(WhyNot::new(
            Reason::PlaceDiffers,
            format!("the VM is in project {project}, the report says {}", report.vm.project),
        )),
        _ => Ok(()),
    }
}

/// A VM that was started after the report is about another boot.
fn started(report: &Entry, instance: &Instance) -> Result<(), WhyNot> {
    let Ok(start) = DateTime::parse_from_rfc3339(&instance.last_start_timestamp) else {
        let told = "Compute Engine does not say when the VM was started, so that the report may be about an older boot";
        return Err(WhyNot::new(Reason::StartUnknown, told));
    };
    if start > report.time {
        let told = format!(
            "the VM was started on {}, after the report of {}",
            text::stamp(start.with_timezone(&Utc)),
            text::stamp(report.time)
        );
        return Err(WhyNot::new(Reason::Restarted, told));
    }
    Ok(())
}

/// A reboot from inside does not count as a start; only later reports tell it.
fn nothing_newer(report: &Entry, seen: &Record) -> Result<(), WhyNot> {
    let newer = seen.newest_boot.filter(|newest| {
        let later = newest.time > report.time;
        match (newest.boot, report.boot) {
            (Some(newest), Some(ours)) => newest > ours || (later && newest != ours),
            _ => later,
        }
    });
    if let Some(newest) = newer {
        let boot = newest.boot.map_or_else(|| "a later boot".to_owned(), |boot| format!("boot {boot}"));
        return Err(WhyNot::new(Reason::NewerBoot, format!("a log entry of {boot} was seen, newer than the report")));
    }
    let Some(check) = report.check() else { return Ok(()) };
    let moment = report.moment();
    if let Some(passed) = seen.passed_since(check, moment) {
        return Err(WhyNot::new(
            Reason::PassedSince,
            format!("the check has passed since, on {}", text::stamp(passed.time)),
        ));
    }
    match seen.newest(check) {
        Some(newest) if newest > moment => Err(WhyNot::new(
            Reason::NewerReport,
            format!("there is a newer report of the same check, of {}", text::stamp(newest.time)),
        )),
        _ => Ok(()),
    }
}

/// What was learned since may be this very boot, by somebody who looked at it.
fn not_relearned(report: &Entry, action: Action, seen: &Record) -> Result<(), WhyNot> {
    // Our own call for this report, of which nobody knows whether it arrived.
    let ours = action == Action::Relearn && seen.learning.as_ref().is_some_and(|ours| ours.boot == report.moment());
    match &seen.relearned {
        Some((who, time)) if *time > report.time && !ours => Err(WhyNot::new(
            Reason::Relearned,
            format!("{who} had the baseline relearned on {}, after the report", text::stamp(*time)),
        )),
        _ => Ok(()),
    }
}

fn exempt(instance: &Instance, rules: &ActingConfig) -> Result<(), WhyNot> {
    let label = &rules.exempt;
    if instance.labels.get(&label.key).is_some_and(|value| label.value.as_ref().is_none_or(|wanted| wanted == value)) {
        let told = format!("the VM has the label {}, which exempts it (INTEGRITY_EXEMPT_LABEL)", label.key);
        return Err(WhyNot::new(Reason::ExemptLabel, told));
    }
    if rules.groups {
        return Ok(());
    }
    if instance.labels.keys().any(|key| key == "goog-gke-node") {
        let told = "the VM is a GKE node, which its cluster would repair (INTEGRITY_ACT_ON_GROUPS=true acts on it)";
        return Err(WhyNot::new(Reason::GkeNode, told));
    }
    let made_by = instance.metadata.items.iter().find(|item| item.key == "created-by");
    if let Some(group) = made_by.filter(|item| item.value.contains("/instanceGroupManagers/")) {
        let told = format!(
            "the VM is a member of the managed instance group {}, which would repair it (INTEGRITY_ACT_ON_GROUPS=true acts on it)",
            last_part(&group.value)
        );
        return Err(WhyNot::new(Reason::GroupMember, told));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::acting::Label;
    use crate::integrity::entry::{BootReport, Check, Fact, LogLine, Vm};
    use crate::integrity::learning::Learning;
    use crate::integrity::moment::Moment;
    use crate::integrity::record::Halted;
    use crate::integrity::record::Standing;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 500_000_000).unwrap()
    }

    fn report() -> Entry {
        let vm = Vm { project: "acme".into(), zone: "z-1a".into(), id: u64::MAX, name: None };
        let fact = Fact::LateBoot(BootReport { stated: Some(false), ..BootReport::default() });
        Entry { vm, time: at(100), boot: Some(3), fact, log: LogLine::default() }
    }

    fn vm() -> Value {
        json!({
            "id": u64::MAX.to_string(), "name": "web-1", "status": "RUNNING",
            "zone": "https://www.googleapis.com/compute/v1/projects/acme/zones/z-1a",
            "creationTimestamp": at(-900).to_rfc3339(), "lastStartTimestamp": at(90).to_rfc3339(), "labels": {"env": "prod"},
            "shieldedInstanceConfig": {"enableIntegrityMonitoring": true, "enableVtpm": true},
            "disks": [{"type": "PERSISTENT", "source": "x"}],
        })
    }

    fn said(instance: &Value, seen: &Record, rules: &ActingConfig, action: Action) -> &'static str {
        let instance: Instance = serde_json::from_value(instance.clone()).unwrap();
        match confirm(&report(), action, &instance, seen, rules) {
            Ok(()) => "go",
            Err(WhyNot { reason, told }) => {
                assert!(!told.ends_with('.') && !told.is_empty(), "{told}");
                reason.label()
            }
        }
    }

    #[test]
    fn what_compute_engine_says_decides() {
        let (seen, rules) = (Record::default(), ActingConfig::default());
        for (expected, member, value) in [
            ("go", "name", json!("web-1")),
            ("id_differs", "id", json!("7")),
            ("id_differs", "id", json!("18446744073709551614")),
            ("place_differs", "zone", json!("https://x/projects/acme/zones/z-1b")),
            ("place_differs", "zone", json!("https://x/projects/other/zones/z-1a")),
            ("place_differs", "selfLink", json!("https://x/projects/other/zones/z-1a/instances/web-1")),
            ("not_running", "status", json!("TERMINATED")),
            ("not_running", "status", json!("STOPPING")),
            ("not_running", "status", json!("")),
            ("restarted_since", "lastStartTimestamp", json!(at(101).to_rfc3339())),
            ("go", "lastStartTimestamp", json!(at(100).to_rfc3339())),
            ("go", "lastStartTimestamp", json!("2027-01-15T00:00:00.000-08:00")),
            ("start_unknown", "lastStartTimestamp", json!("")),
            ("start_unknown", "lastStartTimestamp", json!("yesterday")),
            ("monitoring_off", "shieldedInstanceConfig", json!({"enableVtpm": true})),
            ("monitoring_off", "shieldedInstanceConfig", Value::Null),
            ("exempt_label", "labels", json!({"sysdig-scc-exempt": "whatever"})),
            ("gke_node", "labels", json!({"goog-gke-node": ""})),
            (
                "group_member",
                "metadata",
                json!({"items": [{"key": "created-by", "value": "projects/1/zones/z/instanceGroupManagers/web"}]}),
            ),
            ("go", "metadata", json!({"items": [{"key": "created-by", "value": "alice"}]})),
            ("local_ssd", "disks", json!([{"type": "PERSISTENT"}, {"type": "SCRATCH"}])),
        ] {
            let mut instance = vm();
            instance[member] = value.clone();
            assert_eq!(said(&instance, &seen, &rules, Action::Stop), expected, "{member} {value}");
        }
    }

    #[test]
    fn the_settings_widen_and_narrow() {
        let seen = Record::default();
        let all = ActingConfig { groups: true, discard_local_ssd: true, ..ActingConfig::default() };
        let mut node = vm();
        node["labels"] = json!({"goog-gke-node": ""});
        node["disks"] = json!([{"type": "SCRATCH"}]);
        assert_eq!(said(&node, &seen, &all, Action::Suspend), "go");
        let relearn = ActingConfig { groups: true, ..ActingConfig::default() };
        assert_eq!(said(&node, &seen, &relearn, Action::Relearn), "go", "relearning loses no data");
        let label = |value: &str| Label { key: "env".into(), value: Some(value.into()) };
        for (value, expected) in [("prod", "exempt_label"), ("test", "go")] {
            let rules = ActingConfig { exempt: label(value), ..ActingConfig::default() };
            assert_eq!(said(&vm(), &seen, &rules, Action::Stop), expected);
        }
    }

    #[test]
    fn what_was_seen_since_decides_too() {
        let rules = ActingConfig::default();
        let boot = |second, boot| Record {
            newest_boot: Some(Moment { time: at(second), boot: Some(boot) }),
            ..Record::default()
        };
        let late = |standing| Record { checks: [(Check::LateBoot, standing)].into(), ..Record::default() };
        let moment = |second| Some(Moment { time: at(second), boot: None });
        for (expected, seen) in [
            ("go", boot(100, 3)),
            ("go", boot(105, 3)),
            ("newer_boot_seen", boot(105, 4)),
            ("newer_boot_seen", boot(95, 4)),
            ("newer_boot_seen", boot(105, 0)),
            ("go", boot(95, 2)),
            ("passed_since", late(Standing { passed: moment(101), ..Standing::default() })),
            ("newer_report_seen", late(Standing { failed: moment(101), ..Standing::default() })),
            (
                "go",
                late(Standing {
                    passed: moment(50),
                    failed: Some(Moment { time: at(100), boot: Some(3) }),
                    ..Standing::default()
                }),
            ),
        ] {
            assert_eq!(said(&vm(), &seen, &rules, Action::Relearn), expected, "{seen:?}");
        }
        let relearned = |second| Record { relearned: Some(("alice".into(), at(second))), ..Record::default() };
        for action in Action::ALL {
            assert_eq!(said(&vm(), &relearned(101), &rules, action), "relearned_since", "{action:?}");
            assert_eq!(said(&vm(), &relearned(99), &rules, action), "go", "{action:?}");
        }
        let ours = Learning { boot: report().moment(), ..Learning::default() };
        let asked = Record { learning: Some(ours), ..relearned(101) };
        assert_eq!(said(&vm(), &asked, &rules, Action::Relearn), "go", "that may have been our own call");
        assert_eq!(said(&vm(), &asked, &rules, Action::Stop), "relearned_since");
    }

    #[test]
    fn a_vm_that_we_stopped_ourselves_is_told_as_that() {
        let mut stopped = vm();
        stopped["status"] = json!("TERMINATED");
        let instance: Instance = serde_json::from_value(stopped).unwrap();
        let early = Moment { time: at(90), boot: Some(3) };
        let (action, check) = (Action::Stop, Check::EarlyBoot);
        let halted = Some(Halted { action, check, report: early, time: at(95), taken: true });
        let seen = Record { halted, ..Record::default() };
        let why = confirm(&report(), action, &instance, &seen, &ActingConfig::default()).unwrap_err();
        let by_us = "the VM is TERMINATED, not RUNNING: the connector had it stopped on 2027-01-15 08:01:35 UTC, for the early boot check of this boot";
        assert_eq!(why, WhyNot::new(Reason::NotRunning, by_us));
    }
}
