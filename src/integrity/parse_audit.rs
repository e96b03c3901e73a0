//! Audit log entries that change a Shielded VM's baseline or options.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value};

use super::entry::{Audit, Check, Entry, Fact, UNNAMED, Vm};
use super::members::{flag, text};
use super::reading::{Foreign, Reading, Unreadable};
use super::source::{log_line, time, vm};

/// Reads an entry that has a `protoPayload`.
pub(super) fn read(
    entry: &Map<String, Value>,
    audit: &Map<String, Value>,
    received: DateTime<Utc>,
) -> Result<Reading, Unreadable> {
    let method = audit.get("methodName").and_then(Value::as_str).unwrap_or_default();
    let refused = audit.get("status").and_then(|status| status.get("code")).and_then(Value::as_i64).unwrap_or(0) != 0;
    let by = who(entry, audit, method);
    let check = match method.rsplit_once("instances.").map(|(_, call)| call) {
        Some("setShieldedInstanceIntegrityPolicy" | "setShieldedVmIntegrityPolicy") => Some(Check::Relearned),
        Some("updateShieldedInstanceConfig" | "updateShieldedVmConfig") => Some(Check::Options),
        _ => None,
    };
    let first = marked(entry, "first");
    let fact = match check {
        // Refused at once: there was no beginning that has to be taken back.
        Some(_) if refused && (first || by.operation.is_none()) => None,
        Some(check) if refused => Some(Fact::ChangeFailed { by, check }),
        Some(Check::Relearned) => relearned(audit, by, marked(entry, "last") && !first),
        Some(_) => options(audit, by),
        None => None,
    };
    let Some(fact) = fact else { return Ok(Reading::Foreign(Foreign::OtherAudit)) };
    let vm = Vm { name: name(audit), ..vm(entry)? };
    let time = time(entry, received);
    Ok(Reading::Entry(Box::new(Entry { vm, time, boot: None, fact, log: log_line(entry, time) })))
}

fn who(entry: &Map<String, Value>, audit: &Map<String, Value>, method: &str) -> Audit {
    let part = |name: &str| audit.get(name).unwrap_or(&Value::Null);
    let given = |text: String| Some(text).filter(|text| !text.is_empty());
    let authentication = part("authenticationInfo");
    let principal =
        given(text(authentication, "principalEmail")).or_else(|| given(text(authentication, "principalSubject")));
    let operation = entry.get("operation").unwrap_or(&Value::Null);
    Audit {
        principal: principal.unwrap_or_else(|| UNNAMED.to_owned()),
        method: method.to_owned(),
        caller_ip: given(text(part("requestMetadata"), "callerIp")),
        user_agent: given(text(part("requestMetadata"), "callerSuppliedUserAgent")),
        operation: given(text(operation, "id")),
    }
}

/// Whether the entry is so marked among those of its operation.
fn marked(entry: &Map<String, Value>, name: &str) -> bool {
    flag(entry.get("operation").and_then(|operation| operation.get(name))) == Some(true)
}

/// `end`: it is the last entry of an operation whose first one has the request's members.
fn relearned(audit: &Map<String, Value>, by: Audit, end: bool) -> Option<Fact> {
    let asked = flag(audit.get("request").and_then(|request| request.get("updateAutoLearnPolicy")));
    asked.unwrap_or(!end).then_some(Fact::BaselineRelearned(by))
}

/// Only the first entry of an operation has the request's members; the last one says nothing new.
fn options(audit: &Map<String, Value>, by: Audit) -> Option<Fact> {
    let request = audit.get("request").and_then(Value::as_object)?;
    let option = |name: &str| flag(request.get(name));
    let (secure_boot, vtpm, monitoring) =
        (option("enableSecureBoot"), option("enableVtpm"), option("enableIntegrityMonitoring"));
    if (secure_boot, vtpm, monitoring) == (None, None, None) {
        return None;
    }
    Some(Fact::OptionsChanged { by, secure_boot, vtpm, monitoring })
}

fn name(audit: &Map<String, Value>) -> Option<String> {
    let resource = audit.get("resourceName").and_then(Value::as_str)?;
    let (_, name) = resource.rsplit_once("/instances/")?;
    // The path may have the numeric id in the name's place.
    Some(name.to_owned()).filter(|name| !name.is_empty() && !name.bytes().all(|byte| byte.is_ascii_digit()))
}
