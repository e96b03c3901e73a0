//! Events that a shipper put into an object of its own: Splunk's HEC, Fluent Bit, Elastic's agents, CloudEvents, Cloud
//! Logging, GELF, Pub/Sub's pushes, Amazon's SNS, EventBridge and Firehose; or into a line of a container's log or of syslog
//! in such an object. What is in it is looked at only where nothing else is known of the object.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use super::Element;
use super::heads;
use super::ignored::Ignored;
use super::json::{self, Json, raw_member, raw_members};
use super::signs::{self, SIGNS, Sign};
use super::time;
use super::values::{self, Values, opens};
use crate::text::{cut, shown, surrogates};

/// Wrappers within wrappers are opened this deep: `{"event":{"original":"{…}"}}`.
pub(super) const DEEPEST: usize = 3;

/// Where shippers put what they carry: as an object, a list or JSON text.
const MEMBERS: [&str; 24] = [
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
    "textPayload",
    "short_message",
    "_source",
    "detail",
    "Message",
    "MESSAGE",
];

/// Where they put what they parsed of a text that they send too. The parser may have changed it: Fluent Bit's takes the
/// time out.
const COPIES: [&str; 3] = ["log_processed", "parsed", "json"];

/// Where that may be in base64: in CloudEvents, in messages of Pub/Sub, in records of Firehose and of Kafka.
const ENCODED: [&str; 3] = ["data_base64", "data", "value"];
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Objects within objects, and JSON texts in them, are searched for events this deep.
const DEEPEST_SEARCH: usize = 16;

/// Why an alert of Falco is kept that came as a sentence.
pub(super) const AS_TEXT: &str =
    "an alert of Falco as text, which has neither its rule nor its fields; set `json_output: true` in falco.yaml";

/// Why what stands in a line is kept when others were taken out of it.
pub(super) const BESIDE: &str = "what stands beside a value on its line breaks off, is malformed, or is not parted from it by white space or a comma";

/// Most names of members that are told of an object nobody knows.
const MOST_NAMES: usize = 20;
/// The longest of these names, in bytes.
const LONGEST_NAME: usize = 64;

/// What an object may be wrapped around, one for each member that may carry something.
pub(super) fn candidates(text: &str) -> Vec<Values<'_>> {
    carried_by(&MEMBERS, text)
}

/// The same of the members that hold a copy, for where nothing was taken of the others.
pub(super) fn copies(text: &str) -> Vec<Values<'_>> {
    carried_by(&COPIES, text)
}

fn carried_by<'t>(names: &[&str], text: &'t str) -> Vec<Values<'t>> {
    let members = raw_members(text);
    let inner = |name: &&str| {
        let raw = raw_member(&members, name)?;
        if let Some(text) = of_bytes(name, raw) {
            return Some(values::read(&text).into_owned());
        }
        if opens(raw) {
            return Some(Values { found: vec![Cow::Borrowed(raw)], ..Values::default() });
        }
        let text = surrogates::read::<String>(raw).ok()?;
        let plain = values::read(&text).into_owned();
        let is_encoded = plain.found.is_empty() && ENCODED.contains(name);
        Some(is_encoded.then(|| decoded(&text)).flatten().unwrap_or(plain))
    };
    names.iter().filter_map(inner).collect()
}

/// When an entry of Cloud Logging was written, if the object is one and says so: the JSON text of its `timestamp`.
pub(super) fn logged(text: &str) -> Option<String> {
    let members = raw_members(text);
    let is_entry = ["jsonPayload", "textPayload", "logName"].iter().any(|name| raw_member(&members, name).is_some());
    let raw = raw_member(&members, "timestamp").filter(|_| is_entry)?;
    time::moment(&serde_json::from_str(raw).ok()?).map(|_| raw.to_owned())
}

/// An event with this `time`, which counts before any other that it tells.
pub(super) fn timed(event: &str, time: &str) -> Option<String> {
    Some(format!("{},\"time\":{time}}}", event.trim_end().strip_suffix('}')?.trim_end()))
}

/// journald's text where it holds something that cannot be printed, such as a terminal's colours: a list of its bytes.
fn of_bytes(name: &str, raw: &str) -> Option<String> {
    let bytes: Vec<u8> = if name == "MESSAGE" { serde_json::from_str(raw).ok()? } else { return None };
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn decoded(encoded: &str) -> Option<Values<'static>> {
    let text = String::from_utf8(BASE64.decode(encoded).ok()?).ok()?;
    Some(values::read(&text).into_owned())
}

/// What is left over of a text that held values, where an event seems to be in it.
pub(super) fn broken(left: &str) -> Option<Element> {
    not_taken(left).map(|reason| kept(reason, left))
}

/// What is left over beside values of ours: also what stands behind one of them on its line, where an object is in that. Not
/// every event bears a sign.
pub(super) fn beside(left: &str) -> Option<Element> {
    broken(left).or_else(|| values::holds_more(left).then(|| kept(BESIDE.to_owned(), left)))
}

/// Wrapped as a line of a log is, so that it is read as the same again.
fn kept(reason: String, left: &str) -> Element {
    Element::Unreadable { reason, body: serde_json::json!({ "message": left }).to_string() }
}

/// Why an event that seems to be in a text was not taken out of it.
pub(super) fn not_taken(left: &str) -> Option<String> {
    let begun = |sign: &Sign| {
        format!(
            "an event seems to be in it (`{}`), but it breaks off, is malformed, or stands behind what no log is known to write before one",
            sign.name
        )
    };
    let is_alert = |line: &str| heads::is_alert(values::behind(line).unwrap_or(line));
    signs::begun(left).map(begun).or_else(|| left.lines().any(is_alert).then(|| AS_TEXT.to_owned()))
}

/// Why an object that nobody knows is kept: an event seems to be in it, where it is not looked for, or cut off.
pub(super) fn hidden(object: &Json<'_>, text: &str) -> Option<String> {
    // Most objects hold none of the names.
    let what = SIGNS.iter().find(|sign| text.contains(sign.name) && holds(object, sign, DEEPEST_SEARCH));
    let in_wrapper = |sign: &Sign| {
        format!(
            "an event seems to be in it ({}), wrapped in a way that is not known; send the event itself, or in a member `event`",
            sign.words
        )
    };
    what.map(in_wrapper).or_else(|| left_in(object, DEEPEST_SEARCH))
}

/// Whether it, or anything in it, is what a sign is for.
fn holds(json: &Json<'_>, sign: &Sign, depth: usize) -> bool {
    let Some(depth) = depth.checked_sub(1) else { return false };
    match json {
        Json::Map(members) => (sign.is_there)(json) || members.iter().any(|(_, value)| holds(value, sign, depth)),
        Json::List(items) => items.iter().any(|item| holds(item, sign, depth)),
        Json::Text(text) if text.contains(sign.name) => values::read(text)
            .found
            .iter()
            .any(|inner| json::read(inner, |inner| holds(inner, sign, depth)).unwrap_or(false)),
        _ => false,
    }
}

/// Why an event that seems to be in one of the texts was not taken out of it.
fn left_in(json: &Json<'_>, depth: usize) -> Option<String> {
    let depth = depth.checked_sub(1)?;
    match json {
        Json::Map(members) => members.iter().find_map(|(_, value)| left_in(value, depth)),
        Json::List(items) => items.iter().find_map(|item| left_in(item, depth)),
        Json::Text(text) => values::read(text).left.iter().find_map(|left| not_taken(left)),
        _ => None,
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
