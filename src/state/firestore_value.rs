//! JSON ↔ Firestore's tagged values.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::DateTime;
use serde_json::{Map, Number, Value, json};

use super::Body;

/// Why a body does not fit into Firestore or a document does not fit into JSON.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum ValueError {
    /// Firestore's integers have 64 bits and a sign.
    #[error("the number {0} has no place in Firestore; write it as text")]
    Number(String),
    /// Firestore has no arrays of arrays.
    #[error("an array directly inside an array has no place in Firestore")]
    Nested,
    /// A value whose tag is unknown.
    #[error("a value has none of the known tags")]
    Tag,
    /// A value that is not what its tag says.
    #[error("a {0} is malformed")]
    Malformed(&'static str),
}

/// A body as Firestore's fields.
pub(super) fn to_fields(body: &Body) -> Result<Map<String, Value>, ValueError> {
    body.iter().map(|(name, value)| Ok((name.clone(), tag(value)?))).collect()
}

/// Firestore's fields as a body. Times, references and bytes become text.
pub(super) fn from_fields(fields: &Map<String, Value>) -> Result<Body, ValueError> {
    fields.iter().map(|(name, value)| Ok((name.clone(), untag(value)?))).collect()
}

/// A body's members as fields that take the place of those in `before`: a text that names a time stays a time there.
pub(super) fn to_fields_like(body: &Body, before: &Map<String, Value>) -> Result<Map<String, Value>, ValueError> {
    let like = |name: &str, value: &Value| {
        let is_time = before.get(name).is_some_and(|old| old.get("timestampValue").is_some());
        match value.as_str().filter(|text| is_time && DateTime::parse_from_rfc3339(text).is_ok()) {
            Some(text) => Ok(json!({"timestampValue": text})),
            None => tag(value),
        }
    };
    body.iter().map(|(name, value)| Ok((name.clone(), like(name, value)?))).collect()
}

fn tag(value: &Value) -> Result<Value, ValueError> {
    Ok(match value {
        Value::Null => json!({"nullValue": null}),
        Value::Bool(flag) => json!({"booleanValue": flag}),
        Value::Number(number) => tag_number(number)?,
        Value::String(text) => json!({"stringValue": text}),
        Value::Array(items) if items.iter().any(Value::is_array) => return Err(ValueError::Nested),
        Value::Array(items) => {
            json!({"arrayValue": {"values": items.iter().map(tag).collect::<Result<Vec<_>, _>>()?}})
        }
        Value::Object(members) => json!({"mapValue": {"fields": to_fields(members)?}}),
    })
}

fn tag_number(number: &Number) -> Result<Value, ValueError> {
    if let Some(integer) = number.as_i64() {
        return Ok(json!({"integerValue": integer.to_string()}));
    }
    if number.is_u64() {
        return Err(ValueError::Number(number.to_string()));
    }
    Ok(json!({"doubleValue": number}))
}

fn untag(value: &Value) -> Result<Value, ValueError> {
    let (tag, value) = value.as_object().and_then(|tagged| tagged.iter().next()).ok_or(ValueError::Tag)?;
    Ok(match tag.as_str() {
        "nullValue" => Value::Null,
        "booleanValue" | "stringValue" | "timestampValue" | "referenceValue" | "geoPointValue" => value.clone(),
        "bytesValue" => {
            let bytes = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            Value::String(STANDARD.encode(bytes.ok_or(ValueError::Malformed("bytesValue"))?))
        }
        "integerValue" => {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            Value::from(text.parse::<i64>().map_err(|_| ValueError::Malformed("integerValue"))?)
        }
        // NaN and the infinities are text in proto3's JSON and have no JSON number.
        "doubleValue" => value.clone(),
        "arrayValue" => {
            let items = value.get("values").and_then(Value::as_array);
            Value::Array(items.into_iter().flatten().map(untag).collect::<Result<_, _>>()?)
        }
        "mapValue" => {
            let fields = value.get("fields").and_then(Value::as_object);
            Value::Object(fields.map(from_fields).transpose()?.unwrap_or_default())
        }
        _ => return Err(ValueError::Tag),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e9..1e9f64).prop_map(|n| Value::from(n + 0.5)),
            ".*".prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 16, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone().prop_filter("flat", |v| !v.is_array()), 0..4)
                    .prop_map(Value::Array),
                prop::collection::btree_map(".*", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(body in prop::collection::btree_map(".*", value(), 0..4)) {
            let body: Body = body.into_iter().collect();
            prop_assert_eq!(from_fields(&to_fields(&body).unwrap()).unwrap(), body);
        }
    }

    #[test]
    fn what_firestore_leaves_out_is_empty() {
        let fields =
            json!({"m": {"mapValue": {}}, "a": {"arrayValue": {}}, "t": {"timestampValue": "2026-01-01T00:00:00Z"}});
        let body = from_fields(fields.as_object().unwrap()).unwrap();
        assert_eq!(Value::Object(body), json!({"m": {}, "a": [], "t": "2026-01-01T00:00:00Z"}));
    }

    #[test]
    fn a_time_stays_a_time_and_all_else_is_what_it_is() {
        let old =
            json!({"a": {"timestampValue": "2026-01-01T00:00:00Z"}, "b": {"stringValue": "2026-01-01T00:00:00Z"}});
        let old = old.as_object().unwrap();
        let time = "2027-01-31T00:00:00Z";
        for (name, value, tagged) in [
            ("a", json!(time), json!({"timestampValue": time})),
            ("a", json!("soon"), json!({"stringValue": "soon"})),
            ("a", json!(null), json!({"nullValue": null})),
            ("b", json!(time), json!({"stringValue": time})),
            ("new", json!(time), json!({"stringValue": time})),
        ] {
            let body = Body::from_iter([(name.to_owned(), value)]);
            assert_eq!(Value::Object(to_fields_like(&body, old).unwrap()), json!({name: tagged}));
        }
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let body = |value: Value| to_fields(value.as_object().unwrap()).unwrap_err();
        assert_eq!(body(json!({"n": u64::MAX})), ValueError::Number(u64::MAX.to_string()));
        assert_eq!(body(json!({"a": [[1]]})), ValueError::Nested);
        assert_eq!(from_fields(json!({"x": {"newValue": 1}}).as_object().unwrap()).unwrap_err(), ValueError::Tag);
    }
}
