//! Events that a shipper put into an object of its own: Splunk's HEC, Fluent Bit, Elastic's agents, structured CloudEvents.
//! What is in it is looked at only where nothing else is known of the object.

use std::borrow::Cow;

use super::Element;
use super::ignored::Ignored;
use super::json::{Json, raw_member, raw_members};
use crate::text::{cut, shown};

/// Wrappers within wrappers are opened this deep: `{"event":{"original":"{…}"}}`.
pub(super) const DEEPEST: usize = 3;

/// Where shippers put what they carry: as an object, a list or JSON text.
const MEMBERS: [&str; 16] = [
    "event",
    "events",
    "policyEvent",
    "data",
    "log",
    "message",
    "msg",
    "payload",
    "record",
    "records",
    "Records",
    "result",
    "body",
    "original",
    "_raw",
    "value",
];

/// Most names of members that are told of an object nobody knows.
const MOST_NAMES: usize = 20;
/// The longest of these names, in bytes.
const LONGEST_NAME: usize = 64;

/// The JSON texts that an object may be wrapped around.
pub(super) fn candidates(text: &str) -> Vec<Cow<'_, str>> {
    let members = raw_members(text);
    let opens = |text: &str| text.starts_with(['{', '[']);
    let inner = |name: &&str| match raw_member(&members, name)? {
        raw if opens(raw) => Some(Cow::Borrowed(raw)),
        raw => {
            let text: Cow<'_, str> = serde_json::from_str::<String>(raw).ok()?.into();
            let text = text.trim();
            opens(text).then(|| Cow::Owned(text.to_owned()))
        }
    };
    MEMBERS.iter().filter_map(inner).collect()
}

/// Whether what a wrapper holds is ours: at least one event, or else nothing but what is known to be none.
pub(super) fn is_ours(found: &[Element]) -> bool {
    let is_known = |element: &Element| matches!(element, Element::Ignored(kind) if !matches!(kind, Ignored::Test | Ignored::Empty | Ignored::OtherType));
    let holds_event = found.iter().any(|element| matches!(element, Element::Event { .. }));
    holds_event || (!found.is_empty() && found.iter().all(is_known))
}

/// The names of an object's members, never their values, for the log.
pub(super) fn names(object: &Json<'_>) -> String {
    let members = object.members();
    let names = members.iter().take(MOST_NAMES).map(|(name, _)| cut(name, LONGEST_NAME)).collect::<Vec<_>>().join(", ");
    let more = if members.len() > MOST_NAMES { ", …" } else { "" };
    format!("{}{more}", shown(&names))
}
