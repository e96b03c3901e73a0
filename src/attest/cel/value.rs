//! Values of the language. Claims are borrowed as they are; only what an expression builds is allocated.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::Value as Json;

/// A value while an expression is evaluated.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the kinds of CEL's values, named as in its definition")]
pub enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    Bytes(Rc<[u8]>),
    List(List<'a>),
    Map(Map<'a>),
    Time(DateTime<Utc>),
    Span(TimeDelta),
    Type(&'static str),
}

/// A text, borrowed from claims or expression, or built.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each member is what its name says")]
pub enum Text<'a> {
    Borrowed(&'a str),
    Built(Rc<str>),
}

impl std::ops::Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Built(text) => text,
        }
    }
}

/// A list, borrowed from claims or built.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each member is what its name says")]
pub enum List<'a> {
    Claims(&'a [Json]),
    Built(Rc<Vec<Value<'a>>>),
}

impl<'a> List<'a> {
    /// How many elements.
    pub fn len(&self) -> usize {
        match self {
            Self::Claims(items) => items.len(),
            Self::Built(items) => items.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element at `at`.
    pub fn at(&self, at: usize) -> Option<Value<'a>> {
        match self {
            Self::Claims(items) => items.get(at).map(Value::from_json),
            Self::Built(items) => items.get(at).cloned(),
        }
    }
}

/// What may be the key of a map. Whole numbers of either kind meet as one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "each member is what its name says")]
pub enum Key {
    Bool(bool),
    Whole(i128),
    Text(String),
}

/// The entries of a built map: under its key, the key as it was written and the value.
pub type Entries<'a> = BTreeMap<Key, (Value<'a>, Value<'a>)>;

/// A map, borrowed from claims or built.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "each member is what its name says")]
pub enum Map<'a> {
    Claims(&'a serde_json::Map<String, Json>),
    Built(Rc<Entries<'a>>),
}

impl<'a> Map<'a> {
    /// How many entries.
    pub fn len(&self) -> usize {
        match self {
            Self::Claims(entries) => entries.len(),
            Self::Built(entries) => entries.len(),
        }
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value under a name.
    pub fn field(&self, name: &str) -> Option<Value<'a>> {
        match self {
            Self::Claims(entries) => entries.get(name).map(Value::from_json),
            Self::Built(entries) => entries.get(&Key::Text(name.to_owned())).map(|(_, value)| value.clone()),
        }
    }

    /// The value under any key.
    pub fn at(&self, key: &Key) -> Option<Value<'a>> {
        match (self, key) {
            (Self::Claims(entries), Key::Text(name)) => entries.get(name).map(Value::from_json),
            (Self::Claims(_), _) => None,
            (Self::Built(entries), key) => entries.get(key).map(|(_, value)| value.clone()),
        }
    }

    /// The keys.
    pub fn keys(&self) -> Vec<Value<'a>> {
        match self {
            Self::Claims(entries) => entries.keys().map(|key| Value::Text(Text::Borrowed(key))).collect(),
            Self::Built(entries) => entries.values().map(|(key, _)| key.clone()).collect(),
        }
    }
}

impl<'a> Value<'a> {
    /// A claim. Whole numbers become `int`, those above its range `uint`, all others `double`.
    pub fn from_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => Self::Int(value),
                (None, Some(value)) => Self::Uint(value),
                _ => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::Text(Text::Borrowed(text)),
            Json::Array(items) => Self::List(List::Claims(items)),
            Json::Object(entries) => Self::Map(Map::Claims(entries)),
        }
    }

    /// A built text.
    pub fn text(text: impl Into<Cow<'a, str>>) -> Self {
        match text.into() {
            Cow::Borrowed(text) => Self::Text(Text::Borrowed(text)),
            Cow::Owned(text) => Self::Text(Text::Built(text.into())),
        }
    }

    /// A built list.
    pub fn list(items: Vec<Value<'a>>) -> Self {
        Self::List(List::Built(Rc::new(items)))
    }

    /// The name of its type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null_type",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Uint(_) => "uint",
            Self::Double(_) => "double",
            Self::Text(_) => "string",
            Self::Bytes(_) => "bytes",
            Self::List(_) => "list",
            Self::Map(_) => "map",
            Self::Time(_) => "google.protobuf.Timestamp",
            Self::Span(_) => "google.protobuf.Duration",
            Self::Type(_) => "type",
        }
    }

    /// It as the key of a map: `None` when it cannot be one. A double that is a whole number finds whole keys.
    pub fn key(&self) -> Option<Key> {
        match self {
            Self::Bool(value) => Some(Key::Bool(*value)),
            Self::Int(value) => Some(Key::Whole(i128::from(*value))),
            Self::Uint(value) => Some(Key::Whole(i128::from(*value))),
            Self::Double(value) if value.fract() == 0.0 && value.abs() < 1e20 => Some(Key::Whole(*value as i128)),
            Self::Text(text) => Some(Key::Text(text.to_string())),
            _ => None,
        }
    }

    /// It as JSON, for mapped attributes; what has no JSON form is `None`.
    pub fn to_json(&self) -> Option<Json> {
        Some(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Uint(value) => Json::from(*value),
            Self::Double(value) => Json::from(serde_json::Number::from_f64(*value)?),
            Self::Text(text) => Json::String(text.to_string()),
            Self::List(list) => {
                Json::Array((0..list.len()).map(|at| list.at(at).and_then(|v| v.to_json())).collect::<Option<_>>()?)
            }
            Self::Map(Map::Claims(entries)) => Json::Object((*entries).clone()),
            _ => return None,
        })
    }
}
