//! Where a log entry comes from: which log, which VM, when. Anybody with the right to write log entries chooses payload, labels
//! and the rest of what an entry says, so these decide nothing, and the log's name is asked for. That is no proof: whether
//! others may write into Compute Engine's own logs is not documented, so that nothing is done before Compute Engine confirms it.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Map, Value};

use super::entry::{INTEGRITY_LOG, LogLine, Vm};
use super::members::text;
use super::reading::{Foreign, Unreadable};

/// The audit log that changes of a VM's options and baseline stand in, decoded.
pub const ACTIVITY_LOG: &str = "cloudaudit.googleapis.com/activity";

/// An entry's `logName`, in its parts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct LogName {
    /// `projects/…`, `folders/…` or `organizations/…`.
    pub container: String,
    /// The log's id, decoded.
    pub id: String,
}

impl LogName {
    /// The name an entry has; `None` when it has none. What is no log name at all has neither part.
    pub(super) fn of(entry: &Map<String, Value>) -> Option<Self> {
        let name = match entry.get("logName")? {
            Value::Null => return None,
            Value::String(name) if name.trim().is_empty() => return None,
            Value::String(name) => name.trim(),
            _ => return Some(Self::default()),
        };
        let (container, id) = name.split_once("/logs/").unwrap_or_default();
        Some(Self { container: container.to_owned(), id: id.replace("%2F", "/").replace("%2f", "/") })
    }

    fn project(&self) -> Option<&str> {
        self.container.strip_prefix("projects/").filter(|project| !project.is_empty() && !project.contains('/'))
    }
}

/// Whether an entry is of the log `id`, or has no name of a log: nobody gets such an entry through Cloud Logging.
///
/// # Errors
/// Why it is not for us.
pub(super) fn check(entry: &Map<String, Value>, id: &str) -> Result<(), Foreign> {
    let resource = entry.get("resource").unwrap_or(&Value::Null);
    if !matches!(text(resource, "type").as_str(), "" | "gce_instance") {
        return Err(Foreign::OtherResource);
    }
    let Some(log) = LogName::of(entry) else { return Ok(()) };
    if log.id != id {
        return Err(Foreign::OtherLog);
    }
    let labelled = text(resource.get("labels").unwrap_or(&Value::Null), "project_id");
    match log.project() {
        Some(project) if labelled.is_empty() || project == labelled => Ok(()),
        // The label is the id; a number cannot be compared with it.
        Some(project) if is_number(project) && !is_number(&labelled) => Ok(()),
        _ => Err(Foreign::OtherProject),
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

/// How far our clock may be behind Cloud Logging's.
const BEHIND: TimeDelta = TimeDelta::minutes(1);

/// The entry's own time, but none later than when Logging received it: whoever may write entries chooses their time, and
/// one from the future would outdate everything that happens until then. `received` by us: Logging's time is not
/// believed far beyond it, and it counts where Logging's is not known.
pub(super) fn time(entry: &Map<String, Value>, received: DateTime<Utc>) -> DateTime<Utc> {
    let logged = stamp(entry, "receiveTimestamp").filter(|logged| *logged <= received + BEHIND).unwrap_or(received);
    stamp(entry, "timestamp").unwrap_or(logged).min(logged)
}

fn stamp(entry: &Map<String, Value>, name: &str) -> Option<DateTime<Utc>> {
    let time = DateTime::parse_from_rfc3339(entry.get(name)?.as_str()?.trim()).ok()?;
    Some(time.with_timezone(&Utc))
}

/// Where the entry stands, given when it happened.
pub(super) fn log_line(entry: &Map<String, Value>, time: DateTime<Utc>) -> LogLine {
    let insert_id = match entry.get("insertId") {
        Some(Value::String(id)) => id.clone(),
        Some(Value::Number(id)) => id.to_string(),
        _ => String::new(),
    };
    let (container, log_id) = LogName::of(entry).map(|log| (log.container, log.id)).unwrap_or_default();
    let timestamp = stamp(entry, "timestamp").filter(|stamp| *stamp != time);
    LogLine { insert_id, log_id, container, timestamp }
}

/// Whether an entry that stands in `log_id` of `container` can be Compute Engine's own about a VM of `project`. What
/// is good enough for a finding (no name at all, a project's number) is not good enough for acting.
///
/// # Errors
/// Why not: the rest of a sentence that begins "nothing was done: ".
pub fn proven(container: &str, log_id: &str, project: &str) -> Result<(), String> {
    if container.is_empty() && log_id.is_empty() {
        return Err("the entry does not name its log, so that anybody may have written it".to_owned());
    }
    if log_id != INTEGRITY_LOG {
        return Err(format!("the entry is of the log {log_id}, not of {INTEGRITY_LOG}"));
    }
    match container.strip_prefix("projects/") {
        Some(log) if log == project => Ok(()),
        Some(log) if is_number(log) => Err(format!(
            "the entry's log names its project by the number {log}, which cannot be compared with the VM's project {project}"
        )),
        _ => Err(format!("the entry's log is of {container}, the VM is in project {project}")),
    }
}

fn is_number(project: &str) -> bool {
    !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::integrity::{Reading, read};

    const LOG: &str = "projects/demo-int/logs/compute.googleapis.com%2Fshielded_vm_integrity";
    const AUDIT: &str = "projects/demo-int/logs/cloudaudit.googleapis.com%2Factivity";

    fn report() -> Value {
        json!({
            "logName": LOG, "timestamp": "2026-11-20T10:11:12Z",
            "resource": {"type": "gce_instance", "labels": {"project_id": "demo-int", "zone": "z", "instance_id": "7"}},
            "jsonPayload": {"@type": "type.googleapis.com/cloud_integrity.IntegrityEvent", "bootCounter": "3",
                "lateBootReportEvent": {"policyEvaluationPassed": true}},
        })
    }

    fn audit() -> Value {
        let mut entry = report();
        entry["logName"] = json!(AUDIT);
        entry.as_object_mut().unwrap().remove("jsonPayload");
        entry["protoPayload"] = json!({"methodName": "v1.compute.instances.setShieldedInstanceIntegrityPolicy"});
        entry
    }

    /// What becomes of it when the member at `pointer` is `value`; null removes it.
    fn said(mut entry: Value, pointer: &str, value: &Value) -> &'static str {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let parent = entry.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        match value {
            Value::Null => drop(parent.remove(name)),
            value => drop(parent.insert(name.to_owned(), value.clone())),
        }
        match read(&entry, Utc::now()).unwrap() {
            Reading::Entry(_) => "taken",
            Reading::Foreign(foreign) => foreign.label(),
        }
    }

    #[test]
    fn a_report_counts_only_from_the_integrity_log_of_its_own_project() {
        for (expected, pointer, value) in [
            ("taken", "/logName", json!(LOG)),
            ("taken", "/logName", json!(LOG.replace("%2F", "/"))),
            ("taken", "/logName", json!(LOG.replace("%2F", "%2f"))),
            ("taken", "/logName", json!(LOG.replace("demo-int", "123456"))),
            ("taken", "/logName", Value::Null),
            ("other_project", "/logName", json!(LOG.replace("demo-int", "attacker"))),
            ("other_project", "/logName", json!(LOG.replace("projects/demo-int", "organizations/1"))),
            ("other_project", "/logName", json!(LOG.replace("projects/demo-int", "projects/"))),
            ("other_log", "/logName", json!("projects/demo-int/logs/my-own-log")),
            (
                "other_log",
                "/logName",
                json!("projects/demo-int/logs/x%2Flogs%2Fcompute.googleapis.com%2Fshielded_vm_integrity"),
            ),
            ("other_log", "/logName", json!("compute.googleapis.com/shielded_vm_integrity")),
            ("other_log", "/logName", json!(AUDIT)),
            ("other_log", "/logName", json!(5)),
            ("other_project", "/resource/labels/project_id", json!("victim")),
            ("taken", "/resource/labels/project_id", Value::Null),
            ("other_resource", "/resource/type", json!("global")),
            ("taken", "/resource/type", Value::Null),
            ("unknown_integrity_event", "/jsonPayload/@type", json!("type.googleapis.com/other.Thing")),
            ("unknown_integrity_event", "/jsonPayload/@type", json!("x/my_cloud_integrity.IntegrityEvent")),
            ("unknown_integrity_event", "/jsonPayload/@type", json!(1)),
            ("taken", "/jsonPayload/@type", Value::Null),
        ] {
            assert_eq!(said(report(), pointer, &value), expected, "{pointer} {value}");
        }
        let mut pasted = report();
        pasted.as_object_mut().unwrap().remove("logName");
        assert_eq!(
            said(pasted, "/jsonPayload/@type", &Value::Null),
            "other_log",
            "neither log nor type says what it is"
        );
    }

    #[test]
    fn what_is_dated_in_the_future_happened_when_it_was_received_and_keeps_its_identity() {
        let received: DateTime<Utc> = "2026-11-20T10:11:20Z".parse().unwrap();
        let entry = |stamp: &str, logged: &str| {
            let mut entry = report();
            entry["timestamp"] = json!(stamp);
            entry["receiveTimestamp"] = json!(logged);
            let Reading::Entry(entry) = read(&entry, received).unwrap() else { panic!() };
            *entry
        };
        for (stamp, logged, expected) in [
            ("2026-11-20T10:11:12Z", "2026-11-20T10:11:13Z", "2026-11-20T10:11:12Z"),
            ("2026-11-21T06:11:12Z", "2026-11-20T10:11:13Z", "2026-11-20T10:11:13Z"),
            ("9999-12-31T23:59:59Z", "", "2026-11-20T10:11:20Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z", "2026-11-20T10:11:20Z"),
            ("", "2026-11-20T10:11:13Z", "2026-11-20T10:11:13Z"),
            ("", "", "2026-11-20T10:11:20Z"),
            // Our clock is behind.
            ("2026-11-20T10:11:49Z", "2026-11-20T10:11:50Z", "2026-11-20T10:11:49Z"),
        ] {
            let entry = entry(stamp, logged);
            assert_eq!(entry.time, expected.parse::<DateTime<Utc>>().unwrap(), "{stamp} {logged}");
            let known = stamp.parse::<DateTime<Utc>>().ok();
            assert_eq!(entry.logged(), known.unwrap_or(entry.time), "{stamp} {logged}");
        }
        let once = entry("2026-11-21T06:11:12Z", "2026-11-20T10:11:13Z");
        assert_eq!(once.key(), entry("2026-11-21T06:11:12Z", "").key(), "however it is delivered");
    }

    #[test]
    fn what_is_no_zones_name_comes_into_no_resources_name() {
        let mut entry = report();
        entry["resource"]["labels"]["zone"] = json!("../x");
        let Reading::Entry(entry) = read(&entry, Utc::now()).unwrap() else { panic!() };
        assert_eq!(entry.vm.zone, "");
    }

    #[test]
    fn an_audit_entry_counts_only_from_the_audit_log_of_its_own_project() {
        for (expected, name) in [
            ("taken", json!(AUDIT)),
            ("taken", json!(AUDIT.replace("demo-int", "123456"))),
            ("taken", Value::Null),
            ("other_log", json!("projects/attacker/logs/mylog")),
            ("other_log", json!(AUDIT.replace("activity", "data_access"))),
            ("other_log", json!(LOG)),
            ("other_project", json!(AUDIT.replace("demo-int", "attacker"))),
        ] {
            assert_eq!(said(audit(), "/logName", &name), expected, "{name}");
        }
        assert_eq!(said(audit(), "/resource/type", &json!("global")), "other_resource");
    }
}
