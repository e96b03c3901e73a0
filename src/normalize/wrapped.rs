//! Events that a shipper put into an object of its own: Splunk's HEC, Fluent Bit, Elastic's agents, CloudEvents, Cloud
//! Logging, Pub/Sub's pushes, Amazon's SNS, EventBridge and Firehose; or into a line of a container's log or of syslog
//! in such an object. What is in it is looked at only where nothing else is known of the object.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::value::RawValue;

use super::Element;
use super::falco;
use super::ignored::Ignored;
use super::json::{Json, raw_member, raw_members};
use crate::text::{cut, shown};

/// Wrappers within wrappers are opened this deep: `{"event":{"original":"{…}"}}`.
pub(super) const DEEPEST: usize = 3;

/// Where shippers put what they carry: as an object, a list or JSON text.
const MEMBERS: [&str; 21] = [
    "event",
    "events",
    "policyEvent",
    "data",
    "data_base64",
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

/// Where that may be in base64: in CloudEvents, in messages of Pub/Sub, in records of Firehose and of Kafka.
const ENCODED: [&str; 3] = ["data_base64", "data", "value"];
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
    let inner = |name: &&str| {
        let raw = raw_member(&members, name)?;
        if opens(raw) {
            return Some(Cow::Borrowed(raw));
        }
        let text = serde_json::from_str::<String>(raw).ok()?;
        let found = json_in(&text).map(Cow::into_owned);
        let decoded = || ENCODED.contains(name).then(|| decoded(&text)).flatten();
        found.or_else(decoded).map(Cow::Owned)
    };
    MEMBERS.iter().filter_map(inner).collect()
}

/// Whether a text may be an object or a list of them.
fn opens(text: &str) -> bool {
    text.starts_with(['{', '['])
}

/// The JSON that a text is, or that a line of a log ends with, behind a clock, a host, a program's name. Several values
/// in a row are a list.
fn json_in(text: &str) -> Option<Cow<'_, str>> {
    let text = text.trim();
    let mut values = if opens(text) { values(text) } else { Vec::new() };
    if values.is_empty() && SIGNS.iter().any(|sign| text.contains(sign.name)) {
        values = text.find('{').map(|start| self::values(&text[start..])).unwrap_or_default();
    }
    match values.as_slice() {
        [] => None,
        [one] => Some(Cow::Borrowed(one)),
        many => Some(Cow::Owned(format!("[{}]", many.join(",")))),
    }
}

/// The objects and lists at the beginning of a text.
fn values(text: &str) -> Vec<&str> {
    let stream = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    stream.map_while(Result::ok).map(RawValue::get).filter(|value| opens(value)).collect()
}

fn decoded(encoded: &str) -> Option<String> {
    let text = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    json_in(&text).map(Cow::into_owned)
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

const SIGNS: [Sign; 4] = [
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
    Sign {
        name: "priority",
        words: "`rule` with `priority` and `output`",
        is_there: |json| {
            ["rule", "output"].iter().all(|name| json.member(name).str().is_some()) && falco::is_surely(json)
        },
    },
];

/// Whether it, or anything in it, is what a sign is for.
fn holds(json: &Json<'_>, sign: &Sign, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match json {
        Json::Map(members) => (sign.is_there)(json) || members.iter().any(|(_, value)| holds(value, sign, depth)),
        Json::List(items) => items.iter().any(|item| holds(item, sign, depth)),
        Json::Text(text) if text.contains(sign.name) => json_in(text).is_some_and(|inner| {
            serde_json::from_str::<Json<'_>>(&inner).is_ok_and(|inner| holds(&inner, sign, depth))
        }),
        _ => false,
    }
}

/// Whether what a wrapper holds is ours: at least one event, or else nothing but what is known to be none.
pub(super) fn is_ours(found: &[Element]) -> bool {
    let is_known = |element: &Element| matches!(element, Element::Ignored(kind) if !matches!(kind, Ignored::Test | Ignored::Empty | Ignored::OtherType));
    let holds_event = found.iter().any(|element| matches!(element, Element::Event { .. }));
    holds_event || (!found.is_empty() && found.iter().all(is_known))
}

/// Whether two members hold the same, however it is written there.
pub(super) fn are_same(one: &[Element], other: &[Element]) -> bool {
    let same = |(one, other): (&Element, &Element)| match (one, other) {
        (Element::Event { event: one, .. }, Element::Event { event: other, .. }) => one == other,
        (one, other) => one == other,
    };
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// The names of an object's members, never their values, for the log.
pub(super) fn names(object: &Json<'_>) -> String {
    let members = object.members();
    let names = members.iter().take(MOST_NAMES).map(|(name, _)| cut(name, LONGEST_NAME)).collect::<Vec<_>>().join(", ");
    let more = if members.len() > MOST_NAMES { ", …" } else { "" };
    format!("{}{more}", shown(&names))
}
