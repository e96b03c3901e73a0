//! proto3 JSON as Google's front ends read it: both spellings, enums by name or number, integers as text or number;
//! an unknown name or a wrong type is refused with its path.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Map, Number, Value};

use super::error::{Refusal, Violation};
use super::names::Version;
use super::schema::{Kind, Message, SCHEMA};

/// At most so many mistakes are told at once.
const MOST_VIOLATIONS: usize = 20;

/// Reads a JSON body, which must be an object; an empty body is an empty object.
pub(crate) fn object(body: &[u8]) -> Result<Map<String, Value>, Refusal> {
    if body.iter().all(u8::is_ascii_whitespace) {
        return Ok(Map::new());
    }
    match serde_json::from_slice(body) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(_) => Err(Refusal::field("", "Invalid JSON payload received. The body must be an object.")),
        Err(e) => Err(Refusal::field("", format!("Invalid JSON payload received. {e}"))),
    }
}

/// Brings an object into the canonical form of `message`: camelCase names, enum names, times in UTC, no output-only
/// members, no nulls. `at` is the path told in a refusal.
pub(crate) fn normalize(message: &str, at: &str, object: Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let mut reader = Reader { path: at.to_owned(), violations: Vec::new() };
    let out = reader.object(SCHEMA.message(message), object);
    if reader.violations.is_empty() { Ok(out) } else { Err(Refusal::fields(reader.violations)) }
}

/// As [`normalize`], for the body of a custom method as that version has it.
pub(crate) fn request(
    message: &str,
    version: Version,
    body: Map<String, Value>,
) -> Result<Map<String, Value>, Refusal> {
    normalize(&SCHEMA.versioned(message, version), "", body)
}

/// Brings one value into its canonical form. `at` is the path told in a refusal.
pub(crate) fn one(kind: &Kind, at: &str, value: Value) -> Result<Value, Refusal> {
    let mut reader = Reader { path: at.to_owned(), violations: Vec::new() };
    match reader.value(kind, value) {
        Some(value) if reader.violations.is_empty() => Ok(value),
        _ => Err(Refusal::fields(reader.violations)),
    }
}

/// A time as the API writes it: UTC, as many fraction digits as it needs (0, 3, 6 or 9).
pub(crate) fn time_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

struct Reader {
    path: String,
    violations: Vec<Violation>,
}

impl Reader {
    fn object(&mut self, message: &Message, object: Map<String, Value>) -> Map<String, Value> {
        let mut out = Map::new();
        let here = self.path.len();
        for (name, value) in object {
            let Some(member) = message.member(&name) else {
                self.unknown(&name);
                continue;
            };
            if member.output_only || value.is_null() {
                continue;
            }
            if here > 0 {
                self.path.push('.');
            }
            self.path.push_str(&name);
            if let Some(value) = self.value(&member.kind, value).filter(|value| !is_default(&member.kind, value)) {
                if out.contains_key(&member.name) {
                    self.wrong("sent twice, in two spellings");
                } else {
                    out.insert(member.name.clone(), value);
                }
            }
            self.path.truncate(here);
        }
        out
    }

    fn value(&mut self, kind: &Kind, value: Value) -> Option<Value> {
        let bad = match (kind, value) {
            (Kind::Any, value) => return Some(value),
            (Kind::String, value @ Value::String(_)) | (Kind::Bool, value @ Value::Bool(_)) => return Some(value),
            (Kind::Message(name), Value::Object(map)) => {
                return Some(Value::Object(self.object(SCHEMA.message(name), map)));
            }
            (Kind::List(item), Value::Array(list)) => return Some(self.list(item, list)),
            (Kind::Map(item), Value::Object(map)) => return Some(self.map(item, map)),
            (Kind::Enum(name), value) => match enum_text(name, value) {
                Ok(value) => return Some(value),
                Err(value) => value,
            },
            (Kind::Int32 | Kind::Int64 | Kind::Double, value) => match number(kind, &value) {
                Some(value) => return Some(value),
                None => value,
            },
            (Kind::Time, Value::String(text)) => match DateTime::parse_from_rfc3339(&text) {
                Ok(time) => return Some(Value::String(time_text(time.to_utc()))),
                Err(_) => Value::String(text),
            },
            (Kind::Duration, Value::String(text)) if is_duration(&text) => return Some(Value::String(text)),
            (_, value) => value,
        };
        self.invalid(kind, &bad);
        None
    }

    fn list(&mut self, item: &Kind, list: Vec<Value>) -> Value {
        let here = self.path.len();
        let mut out = Vec::with_capacity(list.len());
        for (i, value) in list.into_iter().enumerate() {
            self.path.push_str(&format!("[{i}]"));
            out.extend(self.value(item, value));
            self.path.truncate(here);
        }
        Value::Array(out)
    }

    fn map(&mut self, item: &Kind, map: Map<String, Value>) -> Value {
        if *item == Kind::Any {
            return Value::Object(map);
        }
        let here = self.path.len();
        let mut out = Map::new();
        for (key, value) in map {
            self.path.push_str(&format!("[{key:?}]"));
            if let Some(value) = self.value(item, value) {
                out.insert(key, value);
            }
            self.path.truncate(here);
        }
        Value::Object(out)
    }

    fn unknown(&mut self, name: &str) {
        let (place, field) = match self.path.as_str() {
            "" => (String::new(), name.to_owned()),
            path => (format!(" at '{path}'"), format!("{path}.{name}")),
        };
        self.tell(field, format!("Invalid JSON payload received. Unknown name {name:?}{place}: Cannot find field."));
    }

    fn invalid(&mut self, kind: &Kind, value: &Value) {
        let mut shown = value.to_string();
        if shown.len() > 200 {
            shown = shown.chars().take(200).chain("…".chars()).collect();
        }
        let text = format!("Invalid value at '{}' ({}), {shown}", self.path, expected(kind));
        self.tell(self.path.clone(), text);
    }

    fn wrong(&mut self, why: &str) {
        self.tell(self.path.clone(), format!("Invalid value at '{}': {why}", self.path));
    }

    fn tell(&mut self, field: String, description: String) {
        if self.violations.len() < MOST_VIOLATIONS {
            self.violations.push(Violation { field, description });
        }
    }
}

fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Time => "type.googleapis.com/google.protobuf.Timestamp".to_owned(),
        Kind::Duration => "type.googleapis.com/google.protobuf.Duration".to_owned(),
        Kind::Enum(name) | Kind::Message(name) => format!("type.googleapis.com/google.cloud.securitycenter.v2.{name}"),
        Kind::String => "TYPE_STRING".to_owned(),
        Kind::Bool => "TYPE_BOOL".to_owned(),
        Kind::Int32 => "TYPE_INT32".to_owned(),
        Kind::Int64 => "TYPE_INT64".to_owned(),
        Kind::Double => "TYPE_DOUBLE".to_owned(),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) | Kind::Any => "an object".to_owned(),
    }
}

/// Whether it says what a member that is not there says.
fn is_default(kind: &Kind, value: &Value) -> bool {
    matches!(kind, Kind::Enum(name) if value.as_str().is_some_and(|text| SCHEMA.choice(name).is_default(text)))
}

/// proto3 enums are open: a number nobody published is kept as it is, an unknown name is not.
fn enum_text(name: &str, value: Value) -> Result<Value, Value> {
    let choice = SCHEMA.choice(name);
    match &value {
        Value::String(text) if choice.has(text) => Ok(value),
        Value::Number(number) => match whole(number) {
            Some(n) if i32::try_from(n).is_ok() => {
                Ok(choice.name_of(n).map_or(value.clone(), |name| Value::String(name.to_owned())))
            }
            _ => Err(value),
        },
        _ => Err(value),
    }
}

/// int64 is written as text, int32 and double as numbers; all are read as either.
fn number(kind: &Kind, value: &Value) -> Option<Value> {
    let parsed = match value {
        Value::Number(number) => number.clone(),
        Value::String(text)
            if matches!(kind, Kind::Double) && matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity") =>
        {
            return Some(value.clone());
        }
        Value::String(text) => serde_json::from_str::<Number>(text).ok()?,
        _ => return None,
    };
    match kind {
        Kind::Int64 => whole(&parsed).map(|n| Value::String(n.to_string())),
        Kind::Int32 => whole(&parsed).and_then(|n| i32::try_from(n).ok()).map(Value::from),
        _ => Some(Value::Number(parsed)),
    }
}

/// A number without a fraction; `1.0` and `1e3` count.
fn whole(number: &Number) -> Option<i64> {
    let float = || number.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9.007e15);
    #[allow(clippy::cast_possible_truncation, reason = "whole and below 2^53")]
    number.as_i64().or_else(|| if number.is_u64() { None } else { float().map(|f| f as i64) })
}

fn is_duration(text: &str) -> bool {
    text.strip_suffix('s').is_some_and(|n| {
        let digits = n.strip_prefix('-').unwrap_or(n);
        !digits.is_empty() && digits.starts_with(|c: char| c.is_ascii_digit()) && n.parse::<f64>().is_ok()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn read(value: Value) -> Result<Value, Refusal> {
        normalize("Finding", "finding", value.as_object().unwrap().clone()).map(Value::Object)
    }

    #[test]
    fn values_are_brought_into_one_form() {
        let table = [
            (json!({"event_time": "2026-01-01T02:00:00.5+02:00"}), json!({"eventTime": "2026-01-01T00:00:00.500Z"})),
            (json!({"severity": 4}), json!({"severity": "LOW"})),
            (json!({"severity": 99}), json!({"severity": 99})),
            (json!({"processes": [{"pid": 7.0}]}), json!({"processes": [{"pid": "7"}]})),
            (json!({"files": [{"size": "9223372036854775807"}]}), json!({"files": [{"size": "9223372036854775807"}]})),
            (json!({"createTime": "nonsense", "contacts": {"a": 1}}), json!({})),
            (json!({"description": null}), json!({})),
            (json!({"sourceProperties": {"a": null, "b": [1]}}), json!({"sourceProperties": {"a": null, "b": [1]}})),
        ];
        for (sent, kept) in table {
            assert_eq!(read(sent.clone()).unwrap(), kept, "{sent}");
        }
    }

    #[test]
    fn wrong_types_and_numbers_out_of_range_are_refused() {
        let table = [
            json!({"files": [{"size": "9223372036854775808"}]}),
            json!({"connections": [{"sourcePort": 4_294_967_296_u64}]}),
            json!({"connections": [{"sourcePort": 1.5}]}),
            json!({"kernelRootkit": {"unexpectedCodeModification": "true"}}),
            json!({"severity": "high"}),
            json!({"severity": 1e20}),
            json!({"category": ["x"]}),
            json!({"kubernetes": []}),
            json!({"eventTime": 1_700_000_000}),
        ];
        for sent in table {
            assert!(read(sent.clone()).is_err(), "{sent}");
        }
    }

    #[test]
    fn requests_are_read_like_findings() {
        let table = [
            ("GroupFindingsRequest", json!({"group_by": "state", "page_size": "7"}), "ok"),
            ("GroupFindingsRequest", json!({"groupBy": 5}), "groupBy"),
            ("GroupFindingsRequest", json!({"groupBy": "state", "filter": ["x"]}), "filter"),
            ("GroupFindingsRequest", json!({"pageSize": "x"}), "pageSize"),
            ("GroupFindingsRequest", json!({"pageToken": {}}), "pageToken"),
            ("GroupFindingsRequest", json!({"readTime": "2026-01-01T00:00:00Z"}), "readTime"),
            ("BulkMuteFindingsRequest", json!({"filter": 5}), "filter"),
            ("BulkMuteFindingsRequest", json!({"mute_state": "UNMUTED"}), "mute_state"),
            ("BulkMuteFindingsRequest", json!({"muteAnnotation": "x"}), "muteAnnotation"),
            ("SetMuteRequest", json!({"mute": true}), "mute"),
            ("SetFindingStateRequest", json!({"state": ["ACTIVE"]}), "state"),
            ("SetFindingStateRequest", json!({"startTime": "2026-01-01T00:00:00Z"}), "startTime"),
            ("TestIamPermissionsRequest", json!({"permissions": "x"}), "permissions"),
            ("TestIamPermissionsRequest", json!({"permissions": ["x", 5]}), "permissions[1]"),
            ("SetIamPolicyRequest", json!({"policy": {"bindings": [{"members": "x"}]}}), "policy.bindings[0].members"),
            (
                "GetIamPolicyRequest",
                json!({"options": {"requestedPolicyVersion": "x"}}),
                "options.requestedPolicyVersion",
            ),
        ];
        for (message, body, field) in table {
            let read = request(message, Version::V2, body.as_object().unwrap().clone());
            let told = read.map_or_else(|refusal| refusal.body()["error"]["details"][0].clone(), |_| json!("ok"));
            let told = told.pointer("/fieldViolations/0/field").unwrap_or(&told);
            assert_eq!(told, field, "{message} {body}");
        }
        let body = json!({"state": "ACTIVE", "start_time": "2026-01-01T00:00:00Z"});
        assert!(request("SetFindingStateRequest", Version::V1, body.as_object().unwrap().clone()).is_ok());
    }

    #[test]
    fn every_mistake_is_told_at_once() {
        let text = read(json!({"nope": 1, "severity": "X", "category": 3})).unwrap_err().to_string();
        for word in ["nope", "finding.severity", "finding.category"] {
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn a_body_is_an_object() {
        assert!(object(b" ").unwrap().is_empty());
        for bad in [&b"[]"[..], b"{", b"\xff", "[".repeat(5000).as_bytes()] {
            assert!(object(bad).is_err());
        }
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            "[A-Z]{1,8}|[0-9]{1,20}|2026-0[1-9]-01T00:00:00Z".prop_map(Value::from),
        ];
        let name = prop_oneof![
            Just("severity"),
            Just("processes"),
            Just("pid"),
            Just("sourceProperties"),
            Just("event_time"),
            Just("kubernetes"),
            Just("pods"),
            Just("containers"),
            Just("binary"),
            Just("size"),
            Just("exfiltration"),
        ];
        leaf.prop_recursive(5, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::vec((name.clone().prop_map(str::to_owned), inner), 0..5)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_was_accepted_is_accepted_again_unchanged(value in any_json()) {
            if let Value::Object(object) = value
                && let Ok(once) = normalize("Finding", "finding", object)
            {
                let twice = normalize("Finding", "finding", once.clone()).unwrap();
                prop_assert_eq!(once, twice);
            }
        }
    }
}
