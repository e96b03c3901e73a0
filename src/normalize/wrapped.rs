//! Events that a shipper put into an object of its own: Splunk's HEC, Fluent Bit, Elastic's agents, CloudEvents, Cloud
//! Logging, notifications of Amazon's SNS and EventBridge. What is in it is looked at only where nothing else is known of
//! the object.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Element;
use super::ignored::Ignored;
use super::json::{Json, raw_member, raw_members};
use crate::text::{cut, shown};

/// Wrappers within wrappers are opened this deep: `{"event":{"original":"{…}"}}`.
pub(super) const DEEPEST: usize = 3;

/// Where shippers put what they carry: as an object, a list or JSON text.
const MEMBERS: [&str; 20] = [
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
    "jsonPayload",
    "_source",
    "detail",
    "Message",
];

/// Where CloudEvents have what is not JSON to them, in base64.
const ENCODED: &str = "data_base64";
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Objects within objects, and JSON texts in them, are searched for events this deep.
const DEEPEST_SEARCH: usize = 16;

/// Most names of members that are told of an object nobody knows.
const MOST_NAMES: usize = 20;
/// The longest of these names, in bytes.
const LONGEST_NAME: usize = 64;

/// The JSON texts that an object may be wrapped around.
pub(super) fn candidates(text: &str) -> Vec<Cow<'_, str>> {
    let members = raw_members(text);
    let inner = |name: &&str| match raw_member(&members, name)? {
        raw if opens(raw) => Some(Cow::Borrowed(raw)),
        raw => {
            let text = serde_json::from_str::<String>(raw).ok()?;
            let text = text.trim();
            opens(text).then(|| Cow::Owned(text.to_owned()))
        }
    };
    let decoded = raw_member(&members, ENCODED).and_then(decoded).map(Cow::Owned);
    MEMBERS.iter().filter_map(inner).chain(decoded).collect()
}

/// Whether a text may be an object or a list of them.
fn opens(text: &str) -> bool {
    text.starts_with(['{', '['])
}

fn decoded(raw: &str) -> Option<String> {
    let encoded = serde_json::from_str::<String>(raw).ok()?;
    let text = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    let text = text.trim();
    opens(text).then(|| text.to_owned())
}

/// Why an object that nobody knows is kept: an event seems to be in it, where it is not looked for.
pub(super) fn hidden(object: &Json<'_>, text: &str) -> Option<String> {
    // Most objects hold none of the names.
    let what = SIGNS.iter().find(|sign| text.contains(sign.name) && holds(object, sign, DEEPEST_SEARCH))?;
    Some(format!(
        "an event seems to be in it ({}), wrapped in a way that is not known; send the event itself, or in a member `event`",
        what.words
    ))
}

/// What is in nothing but an event.
struct Sign {
    /// A name that is in the text then.
    name: &'static str,
    /// As the reason names it.
    words: &'static str,
    is_there: fn(&Json<'_>) -> bool,
}

const SIGNS: [Sign; 3] = [
    Sign {
        name: "output_fields",
        words: "`rule` with `output_fields`",
        is_there: |json| json.member("rule").text().is_some() && json.member("output_fields").is_map(),
    },
    Sign {
        name: "ruleName",
        words: "`content.ruleName`",
        is_there: |json| json.member("content").member("ruleName").text().is_some(),
    },
    Sign {
        name: "policyEvents",
        words: "`policyEvents`",
        is_there: |json| !json.member("policyEvents").list().is_empty(),
    },
];

/// Whether it, or anything in it, is what a sign is for.
fn holds(json: &Json<'_>, sign: &Sign, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match json {
        Json::Map(members) => (sign.is_there)(json) || members.iter().any(|(_, value)| holds(value, sign, depth)),
        Json::List(items) => items.iter().any(|item| holds(item, sign, depth)),
        Json::Text(text) if opens(text.trim_start()) && text.contains(sign.name) => {
            serde_json::from_str::<Json<'_>>(text).is_ok_and(|inner| holds(&inner, sign, depth))
        }
        _ => false,
    }
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
