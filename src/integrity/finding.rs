//! An entry that is bad news → the finding.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::answer::{Action, Answer, Reason};
use super::context::{Context, shown};
use super::diff::{Change, Difference};
use super::entry::{Audit, BootReport, Check, Entry, Fact, INTEGRITY_LOG, UNNAMED};
use super::explain::explain;
use super::judgement::Judgement;
use super::measurement::Measurements;
use super::steps::next_steps;
use super::words::{boot_report, category, headline, notes, summary};
use crate::finding::Properties;
use crate::finding::{Access, CloudLoggingEntry, Finding, FindingClass, FindingSeverity, LogEntry, MitreAttack};
use crate::text;

/// The longest text in a property, in bytes.
const LONGEST: usize = 2_000;

/// The finding about an entry that is bad news. `now` keeps its time out of the future.
pub fn finding(entry: &Entry, check: Check, context: &Context, now: DateTime<Utc>) -> Finding {
    let time = context.record.told(check).unwrap_or(entry.time).min(now - TimeDelta::seconds(1));
    let mut finding = Finding::new(category(check), severity(entry, check, context), resource(entry), time);
    finding.finding_class = class(check);
    finding.module_name = Some(format!("shieldedvm/{}", check.label().replace('_', "-")));
    finding.description = Some(text::ellipsis(&description(entry, check, context), 4 * 1024));
    finding.next_steps = Some(next_steps(entry, check, context));
    finding.log_entries = log_entries(entry);
    finding.source_properties = properties(entry, check, context);
    finding.access = entry.audit().map(access);
    // Pre-OS Boot (T1542) is not among the techniques that Security Command Center knows.
    if matches!(check, Check::EarlyBoot | Check::LateBoot | Check::BootIncomplete | Check::NotApproved) {
        finding.mitre_attack = Some(MitreAttack {
            primary_tactic: Some("PERSISTENCE"),
            additional_tactics: vec!["DEFENSE_EVASION"],
            ..MitreAttack::default()
        });
        finding.source_properties.insert("mitre_attack_technique", json!("T1542 Pre-OS Boot"));
    }
    finding
}

fn class(check: Check) -> FindingClass {
    match check {
        Check::Options => FindingClass::Misconfiguration,
        Check::Relearned => FindingClass::Observation,
        _ => FindingClass::Threat,
    }
}

fn severity(entry: &Entry, check: Check, context: &Context) -> FindingSeverity {
    if check == Check::NotApproved {
        return FindingSeverity::Critical;
    }
    if let Some(answer) = context.answer.as_ref().filter(|answer| answer.reason == Reason::OtherVm) {
        // A boot that nobody looked at may be another VM's standard now.
        let learned = answer.action == Some(Action::Relearn);
        return if learned { FindingSeverity::Critical } else { FindingSeverity::High };
    }
    if matches!(context.judgement, Some(Judgement::Known { .. })) {
        return FindingSeverity::Low;
    }
    match check {
        Check::NotApproved => FindingSeverity::Critical,
        Check::BootIncomplete | Check::Launch => FindingSeverity::High,
        Check::EarlyBoot | Check::LateBoot => boot_report(entry).map_or(FindingSeverity::High, boot_severity),
        Check::Options | Check::VtpmCleared => FindingSeverity::Medium,
        Check::Relearned => FindingSeverity::Low,
    }
}

fn boot_severity(report: &BootReport) -> FindingSeverity {
    let differences = report.differences();
    let mut changed = differences.iter().filter(|difference| difference.change != Change::Equal).peekable();
    // A failure that its own values do not explain is not harmless.
    if changed.peek().is_none() || changed.any(|difference| difference.meaning().grave) {
        return FindingSeverity::High;
    }
    FindingSeverity::Medium
}

fn resource(entry: &Entry) -> String {
    if entry.vm.zone.is_empty() {
        return format!("//cloudresourcemanager.googleapis.com/projects/{}", entry.vm.project);
    }
    entry.vm.resource()
}

fn description(entry: &Entry, check: Check, context: &Context) -> String {
    let boot = entry.boot.map(|boot| format!(", boot {boot}")).unwrap_or_default();
    let zone = if entry.vm.zone.is_empty() { String::new() } else { format!(" ({})", entry.vm.zone) };
    let place = format!("on VM {} in {}{zone}{boot}.", shown(entry, context), entry.vm.project);
    if check == Check::NotApproved {
        return text::printable(&not_approved(entry, &place, context)).into_owned();
    }
    let mut parts = vec![format!("{} {place}", headline(entry))];
    parts.extend(over(check, context));
    // First, so that it is not what is cut off.
    parts.extend(context.answer.as_ref().map(Answer::sentence));
    if let Some(report) = boot_report(entry) {
        let changed: Vec<Difference> = report.differences().into_iter().filter(|d| d.change != Change::Equal).collect();
        parts.extend(changed.iter().map(|difference| {
            let harmless =
                difference.harmless().map(|cause| format!(" Usual harmless cause: {cause}.")).unwrap_or_default();
            format!("{}.{harmless}", difference.sentence())
        }));
    }
    parts.extend(notes(entry));
    parts.extend(context.judgement.as_ref().map(Judgement::sentence));
    let names_it = matches!(entry.fact, Fact::BaselineRelearned(_));
    let about_it = boot_report(entry).is_some() || (check == Check::Relearned && !names_it);
    if let (Some((who, time)), true) = (&context.record.relearned, about_it) {
        parts.push(format!("The baseline was last relearned by {who} on {}.", time.format("%Y-%m-%d %H:%M UTC")));
    }
    if check == Check::Relearned {
        parts.extend(context.record.learned_from_others());
    }
    if entry.check() == Some(Check::Options) {
        let off = context.record.off();
        let none = if off.is_empty() { "nothing, since it was switched on again" } else { "" };
        parts.push(format!("Now off: {none}{}.", off.join(", ")));
        parts.extend(context.record.switched_off());
    }
    text::printable(&parts.join("\n")).into_owned()
}

/// What came too late to be told while it was so.
fn over(check: Check, context: &Context) -> Option<String> {
    let what = match check {
        Check::Options => "everything was switched on again",
        Check::EarlyBoot | Check::LateBoot | Check::Launch => "the check has passed since",
        Check::BootIncomplete | Check::VtpmCleared | Check::Relearned | Check::NotApproved => "it is no longer so",
    };
    let time = text::stamp(context.over?);
    Some(format!("This is told late, and is over: {what}, as of {time}."))
}

/// The relearn race was lost.
fn not_approved(entry: &Entry, place: &str, context: &Context) -> String {
    let mut parts = vec![format!("The integrity policy baseline is not what was approved {place}")];
    parts.extend(over(Check::NotApproved, context));
    if let (Some(learning), Some(report)) = (&context.record.learning, boot_report(entry)) {
        let called = text::stamp(learning.called);
        let told = if learning.taken {
            format!("The connector had it relearned on {called}")
        } else {
            format!("The connector asked for a relearn on {called}, of which nobody knows whether it arrived,")
        };
        let lost = learning.lost_to(report, entry.time);
        parts.push(format!(
            "{told} because baseline {} approves what {} measured. {} differs from that in {}.",
            learning.baseline,
            learning.boot.boot.map_or_else(|| "the boot then".to_owned(), |boot| format!("boot {boot}")),
            if lost { "What this boot measured" } else { "The policy of this report" },
            learning.not_approved(report, entry.time).join(", ")
        ));
        if let Some((who, time)) = context.record.relearned.as_ref().filter(|_| !learning.taken) {
            let when = text::stamp(*time);
            parts.push(format!("The audit log's last relearn is of {who} on {when}."));
        }
        parts.push(if lost {
            format!(
                "This boot's report is of {}, before the relearn: Compute Engine learns what the most recent boot measured, so that these values, which nobody approved, are probably the VM's standard now. Reports that pass against them prove nothing.",
                text::stamp(entry.time)
            )
        } else if report.policy == learning.before {
            "It is still the policy from before: relearning had no effect.".to_owned()
        } else if !learning.taken {
            "Either it arrived, and Compute Engine learned another boot than the one that was approved, or somebody else had it relearned. Reports that pass against this policy prove nothing until somebody approves it.".to_owned()
        } else {
            "Compute Engine learns what the most recent boot measured: the VM was probably booted again between the check and the relearn, and a boot that nobody approved is now its standard. Reports that pass against this policy prove nothing.".to_owned()
        });
    }
    parts.join("\n")
}

fn log_entries(entry: &Entry) -> Vec<LogEntry> {
    let given = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let container = given(&entry.log.container).or_else(|| Some(format!("projects/{}", entry.vm.project)));
    vec![LogEntry {
        cloud_logging_entry: Some(CloudLoggingEntry {
            insert_id: given(&entry.log.insert_id),
            log_id: given(&entry.log.log_id).or_else(|| Some(INTEGRITY_LOG.to_owned())),
            resource_container: container,
            timestamp: Some(entry.logged()),
        }),
    }]
}

fn access(by: &Audit) -> Access {
    let clean = |text: &String| text::printable(text).into_owned();
    let principal = Some(&by.principal).filter(|principal| *principal != UNNAMED).map(clean);
    let is_email = by.principal.contains('@');
    Access {
        principal_email: principal.clone().filter(|_| is_email),
        principal_subject: principal.filter(|_| !is_email),
        caller_ip: by.caller_ip.as_ref().map(clean),
        user_agent: by.user_agent.as_ref().map(clean),
        service_name: Some("compute.googleapis.com".to_owned()),
        method_name: Some(clean(&by.method)),
        ..Access::default()
    }
}

fn properties(entry: &Entry, check: Check, context: &Context) -> Properties {
    let mut properties = Properties::new();
    let mut put = |key: &'static str, value: Option<Value>| value.map(|value| properties.insert(key, value));
    put("check", Some(json!(check.label())));
    put("VM_Instance_Id", Some(json!(entry.vm.id.to_string())));
    put("VM_Instance_Name", context.name.clone().or_else(|| entry.vm.name.clone()).map(Value::from));
    put("project_id", Some(json!(entry.vm.project)));
    put("zone", Some(json!(entry.vm.zone)));
    put("boot_counter", entry.boot.map(Value::from));
    if let Some(report) = boot_report(entry) {
        put("policy_evaluation_passed", report.stated.map(Value::from));
        put("policy_measurements", Some(values(&report.policy)));
        put("actual_measurements", Some(values(&report.actual)));
        let differences = report.differences();
        put("difference", Some(json!(summary(report, &differences))));
        let changed = |wanted| differences.iter().filter(move |d| d.change == wanted).map(|d| d.slot.pcr.to_string());
        put("changed", Some(changed(Change::Changed).collect()));
        put("only_in_policy", Some(changed(Change::OnlyInPolicy).collect()));
        put("only_in_actual", Some(changed(Change::OnlyInActual).collect()));
        put("not_readable", Some(changed(Change::NotReadable).collect()).filter(|pcrs| *pcrs != json!([])));
        let explained = explain(entry);
        let firmware =
            |value: Option<&super::explain::Value>| value.and_then(|value| value.means.clone()).map(Value::from);
        let pcr_0 = explained.registers.iter().find(|register| register.pcr == "PCR_0");
        put("policy_firmware", pcr_0.and_then(|register| firmware(register.policy.as_ref())));
        put("actual_firmware", pcr_0.and_then(|register| firmware(register.actual.as_ref())));
    }
    if check == Check::NotApproved
        && let (Some(learning), Some(report)) = (&context.record.learning, boot_report(entry))
    {
        put("approved_measurements", Some(values(&learning.approved)));
        put("approved_by_baseline", Some(json!(text::ellipsis(&learning.baseline, 300))));
        put("not_approved", Some(json!(learning.not_approved(report, entry.time))));
        put(if learning.taken { "relearned_at" } else { "relearn_asked_at" }, Some(json!(learning.called)));
    }
    if let Some(answer) = context.answer.as_ref().filter(|_| check != Check::NotApproved) {
        put("action", Some(json!(answer.action.map_or("none", Action::label))));
        put("action_result", Some(json!(answer.result.label())));
        put("action_reason", Some(json!(answer.reason.label())));
        put("action_detail", Some(json!(text::ellipsis(&answer.told, LONGEST))));
        put("action_mode", Some(json!(answer.mode)));
        put("action_time", Some(json!(answer.time)));
        put("action_request_id", answer.request_id.clone().map(Value::from));
        put("action_operation", answer.operation.clone().map(Value::from));
        put("action_other_vm", answer.hit_vm().map(Value::from));
        put("action_snapshots", (!answer.snapshots.is_empty()).then(|| json!(answer.snapshots)));
    }
    if let Some(judgement) = &context.judgement {
        put("known_good", Some(json!(matches!(judgement, Judgement::Known { .. }))));
        put("known_good_detail", Some(json!(text::ellipsis(&judgement.sentence(), LONGEST))));
        if let Judgement::Known { baseline } = judgement {
            put("known_good_baseline", Some(json!(text::ellipsis(baseline, 300))));
        }
    }
    match &entry.fact {
        Fact::Launch(report) => {
            put("integrity_evaluation_passed", report.passed.map(Value::from));
            put(
                "launch_policy",
                Some(json!(text::ellipsis(&text::shown(&Value::Object(report.policy.clone()).to_string()), LONGEST))),
            );
        }
        Fact::BootIncomplete { minutes, .. } => {
            put("waited_minutes", Some(json!(minutes)));
        }
        _ => {}
    }
    if let Some(by) = entry.audit() {
        put("principal", Some(json!(text::ellipsis(&by.principal, 300))));
        put("operation", by.operation.as_ref().map(|operation| json!(text::ellipsis(operation, 300))));
        if check == Check::Options {
            put("off", Some(json!(context.record.off())));
        }
    }
    properties
}

/// Hex by register, as TPM tools print it; the bank is in the name.
fn values(measurements: &Measurements) -> Value {
    let named =
        measurements.0.iter().map(|(slot, digest)| (format!("{}_{}", slot.pcr, slot.algorithm), json!(digest.hex())));
    Value::Object(named.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_did_it_is_told_without_control_characters_and_only_when_it_is_known() {
        let by = |principal: &str| {
            let agent = Some("ua\u{1b}[31m".to_owned());
            access(&Audit { principal: principal.into(), user_agent: agent, ..Audit::default() })
        };
        for (principal, email, subject) in [
            ("a@b.c", Some("a@b.c"), None),
            ("\u{1b}[31mroot@x", Some(" [31mroot@x"), None),
            ("principal://x", None, Some("principal://x")),
            (UNNAMED, None, None),
        ] {
            let access = by(principal);
            assert_eq!(access.principal_email.as_deref(), email);
            assert_eq!(access.principal_subject.as_deref(), subject);
            assert_eq!(access.user_agent.as_deref(), Some("ua [31m"));
        }
    }
}
