//! What is done to findings: create, patch, state, mute, external systems.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::error::{Refusal, Status, Violation};
use super::mask::Mask;
use super::message::{normalize, request, time_text};
use super::names::{Parent, Place, Version, without_location};
use super::query::Query;
use super::resource;
use super::store::{Slot, Store};

type Object = Map<String, Value>;

/// One call about findings: where, with which query and body, and when.
pub(crate) struct Ask<'a> {
    pub(crate) place: &'a Place,
    pub(crate) query: &'a Query,
    pub(crate) body: Object,
    pub(crate) now: DateTime<Utc>,
    pub(crate) strict_event_time: bool,
}

/// Reads and checks the body of a create or patch; nothing is locked meanwhile.
pub(crate) fn read_finding(body: Object, now: DateTime<Utc>) -> Result<Object, Refusal> {
    let mut finding = normalize("Finding", "finding", body)?;
    for member in ["name", "parent"] {
        finding.remove(member);
    }
    // The provider must not set them; only setMute does.
    finding.remove("mute");
    finding.remove("muteInitiator");
    let mut violations = Vec::new();
    if let Some(time) = event_time(&finding)
        && time > now
    {
        let text = format!("event_time {} is later than now ({}).", time_text(time), time_text(now));
        violations.push(Violation::new("finding.event_time", text));
    }
    if let Some(Value::Object(properties)) = finding.get("sourceProperties") {
        violations.extend(properties.keys().filter_map(|key| property_key(key)));
    }
    let uri = finding.get("externalUri").and_then(Value::as_str).unwrap_or_default();
    if !uri.is_empty() && !well_formed(uri) {
        violations
            .push(Violation::new("finding.external_uri", format!("external_uri {uri:?} is not a well-formed URI.")));
    }
    if violations.is_empty() { Ok(finding) } else { Err(Refusal::fields(violations)) }
}

fn well_formed(uri: &str) -> bool {
    !uri.chars().any(char::is_whitespace) && url::Url::parse(uri).is_ok()
}

fn property_key(key: &str) -> Option<Violation> {
    let good = key.len() <= 255
        && key.starts_with(|c: char| c.is_ascii_alphabetic())
        && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (!good).then(|| {
        let text = format!(
            "source_properties key {key:?} must have 1 to 255 characters, start with a letter and hold only letters, \
             digits and underscores."
        );
        Violation::new("finding.source_properties", text)
    })
}

fn event_time(finding: &Object) -> Option<DateTime<Utc>> {
    let text = finding.get("eventTime")?.as_str()?;
    DateTime::parse_from_rfc3339(text).ok().map(|time| time.to_utc())
}

/// `findingId`: 1 to 32 letters and digits.
pub(crate) fn finding_id(id: &str) -> Result<(), Refusal> {
    if (1..=32).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return Ok(());
    }
    Err(Refusal::field("finding_id", format!("Invalid finding_id {id:?}: it must be 1 to 32 letters and digits.")))
}

/// CreateFinding. The body has been through [`read_finding`].
pub(crate) fn create(store: &mut Store, ask: Ask<'_>) -> Result<Object, Refusal> {
    if !matches!(ask.place.parent, Parent::Organization(_)) {
        let text = "Findings are created under an organization only: organizations/O/sources/S/findings.";
        return Err(Refusal::field("parent", text));
    }
    let id = ask.query.finding_id.as_deref().unwrap_or_default();
    finding_id(id)?;
    let source = store.existing_source(&ask.place.parent, &ask.place.source)?;
    if store.find(source, &ask.place.location, id).is_some() {
        let text = format!("Requested entity already exists: {}/findings/{id}", ask.place.text());
        return Err(Refusal::new(Status::AlreadyExists, text));
    }
    let slot = Slot { source, location: &ask.place.location, id };
    let finding = complete(store, slot, ask.body, ask.now);
    store.insert(slot, &finding)?;
    Ok(finding)
}

/// Adds what the service itself writes.
fn complete(store: &Store, slot: Slot<'_>, mut finding: Object, now: DateTime<Utc>) -> Object {
    let source = &store.sources[slot.source];
    let resource_name = finding.get("resourceName").and_then(Value::as_str).unwrap_or_default();
    let ancestor = resource::ancestor(resource_name, &source.organization);
    let tail = format!("sources/{}/locations/{}", source.id, slot.location);
    let parent = format!("organizations/{}/{tail}", source.organization);
    let name = format!("{parent}/findings/{}", slot.id);
    let canonical = format!("{ancestor}/{tail}/findings/{}", slot.id);
    finding.entry("state").or_insert_with(|| json!("ACTIVE"));
    finding.insert("mute".into(), json!("UNDEFINED"));
    finding.insert("createTime".into(), json!(time_text(now)));
    finding.insert("parentDisplayName".into(), json!(source.display_name));
    let marks = json!({"name": format!("{name}/securityMarks"), "canonicalName": format!("{canonical}/securityMarks")});
    finding.insert("securityMarks".into(), marks);
    finding.insert("name".into(), Value::String(name));
    finding.insert("parent".into(), Value::String(parent));
    finding.insert("canonicalName".into(), Value::String(canonical));
    finding
}

/// UpdateFinding: creates a missing finding, changes an existing one. The body has been through [`read_finding`].
pub(crate) fn patch(store: &mut Store, id: &str, ask: Ask<'_>) -> Result<Object, Refusal> {
    finding_id(id)?;
    let mask = Mask::read("Finding", &ask.query.update_mask)?;
    let source = store.existing_source(&ask.place.parent, &ask.place.source)?;
    let Some(at) = store.find(source, &ask.place.location, id) else {
        if mask.is_some() {
            let text = format!(
                "Finding {}/findings/{id} does not exist. An update creates it only without an update_mask.",
                ask.place.text()
            );
            return Err(Refusal::field("update_mask", text));
        }
        seen_from(ask.place, id, ask.body.get("resourceName").and_then(Value::as_str))?;
        let slot = Slot { source, location: &ask.place.location, id };
        let finding = complete(store, slot, ask.body, ask.now);
        store.insert(slot, &finding)?;
        return Ok(finding);
    };
    seen_from(ask.place, id, store.findings[at].column("resourceName"))?;
    let mut finding = store.findings[at].finding();
    if ask.strict_event_time {
        newer(mask.as_ref(), event_time(&finding), event_time(&ask.body))?;
    }
    match mask {
        Some(mask) => masked(&mask, &mut finding, &ask.body)?,
        None => finding = replaced(finding, ask.body),
    }
    store.replace(at, &finding)?;
    Ok(finding)
}

fn masked(mask: &Mask, finding: &mut Object, change: &Object) -> Result<(), Refusal> {
    if mask.names("state") && !change.contains_key("state") {
        return Err(Refusal::field("finding.state", "state is in the update_mask and must be ACTIVE or INACTIVE."));
    }
    mask.apply(finding, change);
    Ok(())
}

/// An update without a mask: every mutable member is taken from the change, the others stay as they were.
fn replaced(old: Object, mut change: Object) -> Object {
    const STAY: [&str; 14] = [
        "name",
        "parent",
        "canonicalName",
        "parentDisplayName",
        "createTime",
        "resourceName",
        "category",
        "securityMarks",
        "mute",
        "muteInfo",
        "muteInitiator",
        "muteUpdateTime",
        "externalSystems",
        "contacts",
    ];
    for (name, value) in old {
        if STAY.contains(&name.as_str()) {
            change.insert(name, value);
        } else if name == "state" {
            change.entry(name).or_insert(value);
        }
    }
    change
}

/// The rule of Google's samples: an update carries an event_time later than the stored one.
fn newer(mask: Option<&Mask>, old: Option<DateTime<Utc>>, new: Option<DateTime<Utc>>) -> Result<(), Refusal> {
    let refuse = |text: String| Err(Refusal::field("finding.event_time", text));
    if mask.is_some_and(|mask| !mask.names("eventTime")) {
        return refuse("event_time must be in the update_mask of every update.".into());
    }
    match (old, new) {
        (_, None) => refuse("event_time is required for updates.".into()),
        (Some(old), Some(new)) if new <= old => {
            refuse(format!("event_time {} must be later than the stored one, {}.", time_text(new), time_text(old)))
        }
        _ => Ok(()),
    }
}

/// SetFindingState.
pub(crate) fn state(store: &mut Store, id: &str, ask: Ask<'_>) -> Result<Object, Refusal> {
    let mut body = request("SetFindingStateRequest", ask.place.version, ask.body)?;
    if ask.place.version == Version::V1 && !body.contains_key("startTime") {
        return Err(Refusal::field("start_time", "start_time is required by setState of API v1."));
    }
    let Some(Value::String(state)) = body.remove("state") else {
        return Err(Refusal::field("state", "state must be ACTIVE or INACTIVE."));
    };
    change(store, id, ask.place, |finding| {
        finding.insert("state".into(), Value::String(state));
        Ok(())
    })
}

/// SetMute.
pub(crate) fn mute(store: &mut Store, id: &str, ask: Ask<'_>) -> Result<Object, Refusal> {
    let mut body = request("SetMuteRequest", ask.place.version, ask.body)?;
    // A number that nobody published is no state to be in.
    let Some(mute @ Value::String(_)) = body.remove("mute") else {
        return Err(Refusal::field("mute", "mute must be MUTED, UNMUTED or UNDEFINED."));
    };
    change(store, id, ask.place, |finding| {
        write_mute(finding, &mute, ask.now);
        Ok(())
    })
}

fn write_mute(finding: &mut Object, mute: &Value, now: DateTime<Utc>) {
    let time = json!(time_text(now));
    finding.insert("mute".into(), mute.clone());
    finding.insert("muteUpdateTime".into(), time.clone());
    finding.insert("muteInitiator".into(), json!("Set by a caller of the sandbox"));
    if mute == "UNDEFINED" {
        finding.remove("muteInfo");
    } else {
        finding.insert("muteInfo".into(), json!({"staticMute": {"state": mute, "applyTime": time}}));
    }
}

/// Mutes one finding of a bulk.
pub(crate) fn mute_at(store: &mut Store, at: usize, mute: &str, now: DateTime<Utc>) -> Result<(), Refusal> {
    let mut finding = store.findings[at].finding();
    write_mute(&mut finding, &json!(mute), now);
    store.replace(at, &finding)
}

/// UpdateExternalSystem; the answer is the external system.
pub(crate) fn external_system(store: &mut Store, id: &str, system: &str, ask: Ask<'_>) -> Result<Object, Refusal> {
    let mut body = normalize("ExternalSystem", "external_system", ask.body)?;
    let mask = Mask::read("ExternalSystem", &ask.query.update_mask)?;
    let finding = change(store, id, ask.place, |finding| {
        let name = format!("{}/externalSystems/{system}", finding["name"].as_str().unwrap_or_default());
        let systems = finding.entry("externalSystems").or_insert_with(|| json!({}));
        let old = systems.get(system).and_then(Value::as_object).cloned();
        if let (Some(mask), Some(mut kept)) = (mask, old) {
            mask.apply(&mut kept, &body);
            body = kept;
        }
        body.insert("name".into(), Value::String(name));
        systems[system] = Value::Object(body);
        Ok(())
    })?;
    Ok(finding["externalSystems"][system].as_object().cloned().unwrap_or_default())
}

/// Changes an existing finding.
pub(crate) fn change(
    store: &mut Store,
    id: &str,
    place: &Place,
    edit: impl FnOnce(&mut Object) -> Result<(), Refusal>,
) -> Result<Object, Refusal> {
    finding_id(id)?;
    let source = store.existing_source(&place.parent, &place.source)?;
    let at = store.find(source, &place.location, id).ok_or_else(|| missing(place, id))?;
    seen_from(place, id, store.findings[at].column("resourceName"))?;
    let mut finding = store.findings[at].finding();
    edit(&mut finding)?;
    store.replace(at, &finding)?;
    Ok(finding)
}

/// A folder or project has only the findings whose resources lie in it, for changes as for lists.
fn seen_from(place: &Place, id: &str, resource_name: Option<&str>) -> Result<(), Refusal> {
    let here = resource::lies_in(resource_name.unwrap_or_default(), &place.parent);
    if here { Ok(()) } else { Err(missing(place, id)) }
}

fn missing(place: &Place, id: &str) -> Refusal {
    let mut text = format!("Requested entity was not found: finding {}/findings/{id} does not exist.", place.text());
    if !matches!(place.parent, Parent::Organization(_)) {
        text.push_str(&format!(" {} has only findings whose resource_name lies in it.", place.parent));
    }
    Refusal::new(Status::NotFound, text)
}

/// Rewrites the names in a finding, marks or external system for version 1, which has no locations.
pub(crate) fn for_version(mut object: Object, version: Version) -> Object {
    if version == Version::V1 {
        rename(&mut object);
    }
    object
}

fn rename(object: &mut Object) {
    for name in ["name", "parent", "canonicalName"] {
        if let Some(Value::String(text)) = object.get_mut(name) {
            *text = without_location(text);
        }
    }
    if let Some(Value::Object(marks)) = object.get_mut("securityMarks") {
        rename(marks);
    }
    if let Some(Value::Object(systems)) = object.get_mut("externalSystems") {
        systems.values_mut().filter_map(Value::as_object_mut).for_each(rename);
    }
}
