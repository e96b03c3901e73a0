//! A JSON value that borrows its text from the body, keeps integers exact to 64 bits, and forgives wrong types:
//! asking for a member that is absent or of another type gives "nothing", never an error.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::text::sentinels::meaningful;
use crate::text::surrogates;

/// A JSON value, borrowed where no escape had to be undone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Json<'a> {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(Cow<'a, str>),
    List(Vec<Json<'a>>),
    Map(Vec<(Cow<'a, str>, Json<'a>)>),
}

static NULL: Json<'static> = Json::Null;

/// What holds fewer keeps only the room it needs: one delivery may hold millions of `{}`.
const SMALL: usize = 4;

impl<'a> Json<'a> {
    /// The member of this name; of several, the last. `Null` when there is none, or this is no object.
    pub(crate) fn member(&self, name: &str) -> &Json<'a> {
        match self {
            Self::Map(members) => members.iter().rev().find(|(key, _)| key == name).map_or(&NULL, |(_, value)| value),
            _ => &NULL,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    pub(crate) fn is_map(&self) -> bool {
        matches!(self, Self::Map(_))
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self, Self::List(_))
    }

    /// The members of a list; none when it is something else.
    pub(crate) fn list(&self) -> &[Json<'a>] {
        match self {
            Self::List(items) => items,
            _ => &[],
        }
    }

    /// The members of an object; none when it is something else.
    pub(crate) fn members(&self) -> &[(Cow<'a, str>, Json<'a>)] {
        match self {
            Self::Map(members) => members,
            _ => &[],
        }
    }

    /// The string itself, when it is one.
    pub(crate) fn str(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A scalar's text, without the senders' ways of saying "nothing".
    pub(crate) fn text(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Text(text) => meaningful(text).map(Cow::Borrowed),
            Self::Bool(value) => Some(Cow::Borrowed(if *value { "true" } else { "false" })),
            Self::Integer(value) => Some(Cow::Owned(value.to_string())),
            Self::Float(value) => Some(Cow::Owned(value.to_string())),
            Self::Null | Self::List(_) | Self::Map(_) => None,
        }
    }

    /// As [`Self::text`], owned.
    pub(crate) fn owned(&self) -> Option<String> {
        self.text().map(Cow::into_owned)
    }

    /// Any value's text: a list or object as compact JSON, and "nothing" when it is empty.
    pub(crate) fn any_text(&self) -> Option<String> {
        match self {
            Self::List(items) if items.is_empty() => None,
            Self::Map(members) if members.is_empty() => None,
            Self::List(_) | Self::Map(_) => {
                let mut text = String::new();
                self.write(&mut text);
                Some(text)
            }
            _ => self.owned(),
        }
    }

    /// A whole number: an integer, or a string of decimal digits.
    pub(crate) fn integer(&self) -> Option<i128> {
        match self {
            Self::Integer(value) => Some(*value),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// A truth value: `true`, or the string of it.
    pub(crate) fn truth(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            Self::Text(text) if text.trim().eq_ignore_ascii_case("true") => Some(true),
            Self::Text(text) if text.trim().eq_ignore_ascii_case("false") => Some(false),
            Self::Integer(0) => Some(false),
            Self::Integer(1) => Some(true),
            _ => None,
        }
    }

    /// What it is, for a sentence.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a truth value",
            Self::Integer(_) | Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::List(_) => "an array",
            Self::Map(_) => "an object",
        }
    }

    fn write(&self, out: &mut String) {
        match self {
            Self::Text(text) => quote(text, out),
            Self::List(items) => {
                out.push('[');
                for (index, item) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    item.write(out);
                }
                out.push(']');
            }
            Self::Map(members) => {
                out.push('{');
                // By name, of equal names the last: not every door keeps the order in which they were sent.
                let members: std::collections::BTreeMap<_, _> =
                    members.iter().map(|(key, value)| (key, value)).collect();
                for (index, (key, value)) in members.into_iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    quote(key, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
            Self::Null => out.push_str("null"),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Self::Integer(value) => out.push_str(&value.to_string()),
            Self::Float(value) => out.push_str(&value.to_string()),
        }
    }
}

fn quote(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}

impl<'de: 'a, 'a> Deserialize<'de> for Json<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// A JSON object key, borrowed when it holds no escape.
struct Key<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Key<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.deserialize_str(Reader)? {
            Json::Text(text) => Ok(Self(text)),
            _ => Err(serde::de::Error::custom("a key must be a string")),
        }
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Json<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Json::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_string<E>(self, value: String) -> Result<Self::Value, E> {
        Ok(Json::Text(Cow::Owned(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        if items.len() < SMALL {
            items.shrink_to_fit();
        }
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::with_capacity(16);
        while let Some((Key(key), value)) = map.next_entry()? {
            members.push((key, value));
        }
        if members.len() < SMALL {
            members.shrink_to_fit();
        }
        Ok(Json::Map(members))
    }
}

/// What is made of a JSON text's value; of one that holds half a surrogate, read with the replacement character for it.
///
/// # Errors
/// When it cannot be read for another reason.
pub(crate) fn read<T>(text: &str, make: impl FnOnce(&Json<'_>) -> T) -> serde_json::Result<T> {
    match serde_json::from_str(text) {
        Ok(json) => Ok(make(&json)),
        Err(error) => match surrogates::mended(text) {
            Some(mended) => serde_json::from_str(&mended).map(|json| make(&json)),
            None => Err(error),
        },
    }
}

/// A name within what was read already, where half a surrogate is no matter: no name that is asked for holds one.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;

        impl<'de> Visitor<'de> for Bytes {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_bytes<E>(self, name: &'de [u8]) -> Result<Self::Value, E> {
                Ok(Name(String::from_utf8_lossy(name)))
            }

            fn visit_bytes<E>(self, name: &[u8]) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(String::from_utf8_lossy(name).into_owned())))
            }
        }

        // As text, half a surrogate would be refused.
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The members of an object as they were written; none when the text is no object.
pub(crate) fn raw_members(text: &str) -> Vec<(Cow<'_, str>, &str)> {
    struct Members;

    impl<'de> Visitor<'de> for Members {
        type Value = Vec<(Cow<'de, str>, &'de str)>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut members = Vec::new();
            while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                members.push((name, value.get()));
            }
            Ok(members)
        }
    }

    serde_json::Deserializer::from_str(text).deserialize_map(Members).unwrap_or_default()
}

/// The member of this name as it was written; of several, the last.
pub(crate) fn raw_member<'a>(members: &[(Cow<'a, str>, &'a str)], name: &str) -> Option<&'a str> {
    members.iter().rev().find(|(key, _)| key == name).map(|(_, value)| *value)
}

/// The members of an array as they were written; none when the text is no array.
pub(crate) fn raw_items(text: &str) -> Vec<&str> {
    let items: Vec<&RawValue> = serde_json::from_str(text).unwrap_or_default();
    items.into_iter().map(RawValue::get).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_stay_exact_to_64_bits() {
        let json: Json =
            serde_json::from_str(r#"[18446744073709551615, -9223372036854775808, "1526547969874686373"]"#).unwrap();
        let numbers: Vec<_> = json.list().iter().map(Json::integer).collect();
        assert_eq!(numbers, [Some(u64::MAX.into()), Some(i64::MIN.into()), Some(1_526_547_969_874_686_373)]);
    }

    #[test]
    fn the_last_of_two_members_wins_and_wrong_types_are_nothing() {
        let json: Json = serde_json::from_str(r#"{"a": 1, "a": {"b": [true]}}"#).unwrap();
        assert_eq!(json.member("a").member("b").any_text().as_deref(), Some("[true]"));
        assert!(json.member("a").member("b").member("c").is_null());
    }
}
