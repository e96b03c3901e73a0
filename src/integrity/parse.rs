//! A log entry's JSON → [`Entry`]. Lenient: what is not needed may be missing, odd or new.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::entry::{BootReport, Entry, Fact, INTEGRITY_LOG, LaunchReport};
use super::measurement::{Garbled, Measurements, quoted};
use super::members::{flag, kind_of};
use super::parse_audit;
use super::reading::{Foreign, Reading, Unreadable};
use super::source::{ACTIVITY_LOG, LogName, check, log_line, time, vm};

/// Reads one log entry. `received` stands in where it has no time.
pub fn read(json: &Value, received: DateTime<Utc>) -> Result<Reading, Unreadable> {
    let Value::Object(entry) = json else {
        return Err(Unreadable(format!("a log entry is a JSON object, this is {}", kind_of(json))));
    };
    if let Some(audit) = entry.get("protoPayload").and_then(Value::as_object) {
        return match check(entry, ACTIVITY_LOG) {
            Ok(()) => parse_audit::read(entry, audit, received),
            Err(foreign) => Ok(Reading::Foreign(foreign)),
        };
    }
    let Some(payload) = entry.get("jsonPayload") else {
        return Ok(Reading::Foreign(Foreign::OtherLog));
    };
    if let Err(foreign) = check(entry, INTEGRITY_LOG).and_then(|()| check_type(entry, payload)) {
        return Ok(Reading::Foreign(foreign));
    }
    let Value::Object(payload) = payload else {
        return Err(Unreadable(format!("jsonPayload is {}, not an object", kind_of(payload))));
    };
    let Some(mut fact) = fact(payload)? else { return Ok(Reading::Foreign(Foreign::UnknownEvent)) };
    let (boot, garbled) = boot_counter(payload.get("bootCounter"));
    if let Fact::EarlyBoot(report) | Fact::LateBoot(report) = &mut fact {
        report.counter = garbled;
    }
    let time = time(entry, received);
    Ok(Reading::Entry(Box::new(Entry { vm: vm(entry)?, time, boot, fact, log: log_line(entry, time) })))
}

/// The payload's type must be the integrity event's. In the integrity log it may be left out.
fn check_type(entry: &Map<String, Value>, payload: &Value) -> Result<(), Foreign> {
    let is_ours = |name: &str| name.rsplit('/').next() == Some("cloud_integrity.IntegrityEvent");
    let named = LogName::of(entry).is_some();
    match payload.get("@type") {
        Some(name) if name.as_str().is_some_and(|name| is_ours(name.trim())) => Ok(()),
        None if named => Ok(()),
        Some(_) if named => Err(Foreign::UnknownEvent),
        _ => Err(Foreign::OtherLog),
    }
}

fn fact(payload: &Map<String, Value>) -> Result<Option<Fact>, Unreadable> {
    // A member that is null is one that is not there.
    for (name, value) in payload.iter().filter(|(_, value)| !value.is_null()) {
        let object = || match value {
            Value::Object(object) => Ok(object),
            other => Err(Unreadable(format!("jsonPayload.{name} is {}, not an object", kind_of(other)))),
        };
        return Ok(Some(match name.as_str() {
            "startupEvent" => Fact::Startup,
            "shutdownEvent" => Fact::Shutdown,
            "clearTPMEvent" | "clearTpmEvent" => Fact::VtpmCleared,
            "earlyBootReportEvent" => Fact::EarlyBoot(boot_report(object()?)),
            "lateBootReportEvent" => Fact::LateBoot(boot_report(object()?)),
            "sevLaunchAttestationReportEvent" => Fact::Launch(launch_report(object()?)),
            // Other technologies' reports are not documented; what looks like one is read like one.
            other if other.ends_with("LaunchAttestationReportEvent") => Fact::Launch(launch_report(object()?)),
            _ => continue,
        }));
    }
    Ok(None)
}

fn boot_report(event: &Map<String, Value>) -> BootReport {
    let list = |name: &str| Measurements::parse(name, event.get(name).unwrap_or(&Value::Null));
    let (policy, mut unreadable, in_policy) = list("policyMeasurements");
    let (actual, more, in_actual) = list("actualMeasurements");
    unreadable.extend(more);
    let garbled = Garbled { policy: in_policy, actual: in_actual };
    BootReport { stated: flag(event.get("policyEvaluationPassed")), policy, actual, unreadable, garbled, counter: None }
}

fn launch_report(event: &Map<String, Value>) -> LaunchReport {
    let policy = event.iter().find(|(name, _)| name.ends_with("Policy")).and_then(|(_, value)| value.as_object());
    let policy = policy.cloned().unwrap_or_default();
    LaunchReport {
        passed: flag(event.get("integrityEvaluationPassed")),
        debug_enabled: flag(policy.get("debugEnabled")),
        policy,
    }
}

/// The boot counter, or what stands in its place: what happened is told without it.
fn boot_counter(value: Option<&Value>) -> (Option<u64>, Option<String>) {
    let Some(value) = value else { return (None, None) };
    let counter = match value {
        Value::String(text) => text.trim().parse().ok(),
        // Through a double it stays exact far beyond what a VM can be restarted.
        Value::Number(number) => number
            .as_u64()
            .or_else(|| number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..1e15).contains(n)).map(|n| n as u64)),
        _ => None,
    };
    let shown = || value.as_str().map_or_else(|| quoted(&value.to_string()), quoted);
    (counter, counter.is_none().then(|| format!("bootCounter {} is no whole number", shown())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_member_that_is_null_is_one_that_is_not_there() {
        let check = |payload: Value| {
            let labels = json!({"project_id": "p", "zone": "z", "instance_id": "1"});
            let log = "projects/p/logs/compute.googleapis.com%2Fshielded_vm_integrity";
            let resource = json!({"type": "gce_instance", "labels": labels});
            let entry = json!({"logName": log, "resource": resource, "jsonPayload": payload});
            match read(&entry, Utc::now()).unwrap() {
                Reading::Entry(entry) => entry.check().map_or("lifecycle", super::super::Check::label),
                Reading::Foreign(foreign) => foreign.label(),
            }
        };
        let late = json!({"policyEvaluationPassed": false});
        for before in ["earlyBootReportEvent", "startupEvent", "clearTPMEvent", "sevLaunchAttestationReportEvent"] {
            assert_eq!(check(json!({before: null, "lateBootReportEvent": late})), "late_boot", "{before}");
            assert_eq!(check(json!({before: null})), "unknown_integrity_event", "{before}");
        }
        assert_eq!(check(json!({"startupEvent": {}, "lateBootReportEvent": null})), "lifecycle");
    }
}
