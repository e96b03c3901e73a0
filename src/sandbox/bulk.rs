//! BulkMuteFindings and the operations it answers with.

use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};

use super::error::{Refusal, Status};
use super::findings::mute_at;
use super::listing;
use super::message::request;
use super::names::{Place, Version};
use super::store::Store;

type Object = Map<String, Value>;

/// Finished operations that can be asked for.
const MOST_OPERATIONS: usize = 1000;

/// BulkMuteFindings: done at once; the answer is an operation that is finished.
pub(crate) fn mute(store: &mut Store, place: &Place, body: Object, now: DateTime<Utc>) -> Result<Object, Refusal> {
    let body = request("BulkMuteFindingsRequest", place.version, body)?;
    // What is not specified is absent here and means the default.
    let state = match body.get("muteState").map(|state| state.as_str()) {
        None | Some(Some("MUTED")) => "MUTED",
        Some(Some("UNDEFINED")) => "UNDEFINED",
        Some(_) => return Err(Refusal::field("mute_state", "mute_state must be MUTED or UNDEFINED.")),
    };
    let filter = body.get("filter").and_then(Value::as_str).unwrap_or_default();
    for at in listing::matching(store, place, filter)? {
        mute_at(store, at, state, now)?;
    }
    let name = format!("{}/operations/bulkMute{}", place.parent, store.operations.len() + 1);
    let version = if place.version == Version::V1 { "v1" } else { "v2" };
    let kind = format!("type.googleapis.com/google.cloud.securitycenter.{version}.BulkMuteFindingsResponse");
    let operation = json!({"name": name, "done": true, "response": {"@type": kind}});
    if store.operations.len() >= MOST_OPERATIONS {
        store.operations.remove(0);
    }
    store.operations.push((name, operation.clone()));
    operation.as_object().cloned().ok_or_else(|| Refusal::new(Status::Internal, "the operation is an object"))
}

/// GetOperation.
pub(crate) fn operation(store: &Store, name: &str) -> Result<Object, Refusal> {
    let found = store.operations.iter().find(|(known, _)| known == name);
    found.and_then(|(_, operation)| operation.as_object().cloned()).ok_or_else(|| {
        Refusal::new(Status::NotFound, format!("Requested entity was not found: operation {name} does not exist."))
    })
}
