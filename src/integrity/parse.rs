//! A log entry's JSON → [`Entry`]. Lenient: what is not needed may be missing, odd or new.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::entry::{BootReport, Entry, Fact, INTEGRITY_LOG, LaunchReport, LogLine, Vm};
use super::measurement::Measurements;
use super::parse_audit;

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
            Self::UnknownEvent => "unknown_integrity_event",
            Self::OtherAudit => "other_audit",
        }
    }

    /// Why, in a sentence for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::OtherLog => "It is no entry of the Shielded VM integrity log.",
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
        return parse_audit::read(entry, audit, received);
    }
    let Some(payload) = entry.get("jsonPayload") else {
        return Ok(Reading::Foreign(Foreign::OtherLog));
    };
    let named = text(payload, "@type").ends_with("cloud_integrity.IntegrityEvent");
    if !named && log_id(entry) != INTEGRITY_LOG {
        return Ok(Reading::Foreign(Foreign::OtherLog));
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
        let container = container(entry);
        container.strip_prefix("projects/").map(str::to_owned)
    });
    let project = project.ok_or_else(|| Unreadable("resource.labels.project_id is missing".to_owned()))?;
    let id = match labels.get("instance_id") {
        Some(Value::String(id)) => id.trim().parse().ok(),
        Some(id) => id.as_u64(),
        None => return Err(Unreadable("resource.labels.instance_id is missing".to_owned())),
    };
    let id = id.ok_or_else(|| Unreadable("resource.labels.instance_id is not a 64-bit number".to_owned()))?;
    Ok(Vm { project, zone: text(labels, "zone"), id, name: None })
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
    LogLine { insert_id, log_id: log_id(entry), container: container(entry) }
}

fn log_name(entry: &Map<String, Value>) -> (&str, &str) {
    let name = entry.get("logName").and_then(Value::as_str).unwrap_or_default().trim();
    name.split_once("/logs/").unwrap_or(("", name))
}

fn log_id(entry: &Map<String, Value>) -> String {
    log_name(entry).1.replace("%2F", "/").replace("%2f", "/")
}

fn container(entry: &Map<String, Value>) -> String {
    log_name(entry).0.to_owned()
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
