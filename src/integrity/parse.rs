//! A log entry's JSON → [`Entry`]. Lenient: what is not needed may be missing, odd or new.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::entry::{BootReport, Entry, Fact, INTEGRITY_LOG, LaunchReport, LogLine, Vm};
use super::measurement::Measurements;
use super::parse_audit;
use super::source::{ACTIVITY_LOG, LogName, check};

/// What a log entry turned out to be.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// News about a Shielded VM.
    Entry(Box<Entry>),
    /// A valid entry that is not for us.
    Foreign(Foreign),
}

/// Why a valid entry is not for us: a closed list, the metric label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// It is of another log.
    OtherLog,
    /// It is of the log of another project than the VM's.
    OtherProject,
    /// It is about something that is no VM.
    OtherResource,
    /// An integrity event of a kind that is not known here.
    UnknownEvent,
    /// An audit entry of another method, of a failed call, or one that repeats another without its contents.
    OtherAudit,
}

impl Foreign {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::OtherLog => "other_log",
            Self::OtherProject => "other_project",
            Self::OtherResource => "other_resource",
            Self::UnknownEvent => "unknown_integrity_event",
            Self::OtherAudit => "other_audit",
        }
    }

    /// Why, in a sentence for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::OtherLog => {
                "It is no entry of the Shielded VM integrity log, or of the audit log for an audit entry."
            }
            Self::OtherProject => {
                "Its log is not of the project it says its VM is in (logName, resource.labels.project_id): anybody may have written it."
            }
            Self::OtherResource => "Its resource.type is not gce_instance.",
            Self::UnknownEvent => "It is an integrity event of a kind that this version does not know.",
            Self::OtherAudit => {
                "It is an audit entry that changes no Shielded VM option: another method, a refused call, or the end of an operation whose beginning says more."
            }
        }
    }
}

/// What is wrong with an entry that should be ours, naming the member.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

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
    let Some(fact) = fact(payload)? else { return Ok(Reading::Foreign(Foreign::UnknownEvent)) };
    let boot = payload.get("bootCounter").map(boot_counter).transpose()?;
    Ok(Reading::Entry(Box::new(Entry {
        vm: vm(entry)?,
        time: time(entry, received),
        boot,
        fact,
        log: log_line(entry),
    })))
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
    for (name, value) in payload {
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
    let (policy, mut unreadable) = list("policyMeasurements");
    let (actual, more) = list("actualMeasurements");
    unreadable.extend(more);
    BootReport { stated: flag(event.get("policyEvaluationPassed")), policy, actual, unreadable }
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

/// Which VM: from the resource's labels.
pub(super) fn vm(entry: &Map<String, Value>) -> Result<Vm, Unreadable> {
    let labels = entry.get("resource").and_then(|resource| resource.get("labels")).unwrap_or(&Value::Null);
    let project = Some(text(labels, "project_id")).filter(|project| !project.is_empty()).or_else(|| {
        let log = LogName::of(entry)?;
        log.container.strip_prefix("projects/").map(str::to_owned)
    });
    let project = project.ok_or_else(|| Unreadable("resource.labels.project_id is missing".to_owned()))?;
    let id = match labels.get("instance_id") {
        Some(Value::String(id)) => id.trim().parse().ok(),
        Some(id) => id.as_u64(),
        None => return Err(Unreadable("resource.labels.instance_id is missing".to_owned())),
    };
    let id = id.ok_or_else(|| Unreadable("resource.labels.instance_id is not a 64-bit number".to_owned()))?;
    // What is no zone's name must not come into the name of a resource.
    let is_name = |zone: &String| zone.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let zone = Some(text(labels, "zone")).filter(is_name).unwrap_or_default();
    Ok(Vm { project, zone, id, name: None })
}

/// The entry's own time, else when Logging received it, else when we did.
pub(super) fn time(entry: &Map<String, Value>, received: DateTime<Utc>) -> DateTime<Utc> {
    let read = |name: &str| DateTime::parse_from_rfc3339(entry.get(name)?.as_str()?.trim()).ok();
    read("timestamp").or_else(|| read("receiveTimestamp")).map_or(received, |time| time.with_timezone(&Utc))
}

/// Where the entry stands.
pub(super) fn log_line(entry: &Map<String, Value>) -> LogLine {
    let insert_id = match entry.get("insertId") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => String::new(),
    };
    let (container, log_id) = LogName::of(entry).map(|log| (log.container, log.id)).unwrap_or_default();
    LogLine { insert_id, log_id, container }
}

fn boot_counter(value: &Value) -> Result<u64, Unreadable> {
    let counter = match value {
        Value::String(text) => text.trim().parse().ok(),
        // Through a double it stays exact far beyond what a VM can be restarted.
        Value::Number(number) => number
            .as_u64()
            .or_else(|| number.as_f64().filter(|n| n.fract() == 0.0 && (0.0..1e15).contains(n)).map(|n| n as u64)),
        _ => None,
    };
    counter.ok_or_else(|| Unreadable(format!("jsonPayload.bootCounter is no whole number: {value}")))
}

/// A boolean, also as text.
pub(super) fn flag(value: Option<&Value>) -> Option<bool> {
    match value? {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A text member; empty when it is missing.
pub(super) fn text(json: &Value, name: &str) -> String {
    json.get(name).and_then(Value::as_str).unwrap_or_default().trim().to_owned()
}

/// What kind of JSON value this is, for error messages.
pub(super) fn kind_of(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
