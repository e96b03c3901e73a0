//! The properties of a finding: names and JSON values, in the order in which they were put.
//!
//! A list and no tree: a finding has at most a hundred, and names that are looked for mostly differ in length already.
//! Making and writing sixty of them takes half the work of a `BTreeMap`.

use std::borrow::Cow;
use std::fmt;
use std::ops::Index;

use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Keys of letters, digits and underscores, each once, and any JSON value.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Properties(Vec<(Cow<'static, str>, Value)>);

impl Properties {
    /// None yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// None yet, and room for so many.
    pub fn with_room(most: usize) -> Self {
        Self(Vec::with_capacity(most))
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value under a key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| known == key).map(|(_, value)| value)
    }

    /// Puts a value under a key, in the place of another that stands there.
    pub fn insert(&mut self, key: impl Into<Cow<'static, str>>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.0.iter_mut().find(|(known, _)| *known == key) {
            Some((_, place)) => *place = value,
            None => self.0.push((key, value)),
        }
    }

    /// Puts a value under a key at which [`get`](Self::get) has just found nothing.
    pub fn insert_absent(&mut self, key: Cow<'static, str>, value: Value) {
        debug_assert!(self.get(&key).is_none(), "{key} stands there already");
        self.0.push((key, value));
    }

    /// Keeps those for which `keep` holds.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Value) -> bool) {
        self.0.retain(|(key, value)| keep(key, value));
    }

    /// Keys and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (&**key, value))
    }

    /// Keys and values, which can be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Value)> {
        self.0.iter_mut().map(|(key, value)| (&**key, value))
    }
}

impl Index<&str> for Properties {
    type Output = Value;

    /// The value; null when there is none.
    fn index(&self, key: &str) -> &Value {
        self.get(key).unwrap_or(&Value::Null)
    }
}

impl IntoIterator for Properties {
    type Item = (Cow<'static, str>, Value);
    type IntoIter = std::vec::IntoIter<Self::Item>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Extend<(Cow<'static, str>, Value)> for Properties {
    fn extend<T: IntoIterator<Item = (Cow<'static, str>, Value)>>(&mut self, more: T) {
        more.into_iter().for_each(|(key, value)| self.insert(key, value));
    }
}

impl FromIterator<(Cow<'static, str>, Value)> for Properties {
    fn from_iter<T: IntoIterator<Item = (Cow<'static, str>, Value)>>(some: T) -> Self {
        let mut all = Self::new();
        all.extend(some);
        all
    }
}

impl Serialize for Properties {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Properties;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map of properties")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Properties, A::Error> {
                let mut all = Properties::new();
                while let Some((key, value)) = members.next_entry::<String, Value>()? {
                    all.insert(key, value);
                }
                Ok(all)
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_last_value_of_a_key_counts_and_stands_in_the_first_ones_place() {
        let mut some = Properties::new();
        some.insert("b", 1);
        some.insert("a", "x");
        some.insert("b".to_owned(), true);
        assert_eq!(serde_json::to_string(&some).unwrap(), r#"{"b":true,"a":"x"}"#);
        assert_eq!((some.len(), &some["a"], &some["c"]), (2, &json!("x"), &Value::Null));
        some.retain(|key, _| key == "a");
        assert_eq!(some.get("b"), None);
    }

    #[test]
    fn they_are_read_as_they_were_written() {
        let written = r#"{"z":[1,{"y":null}],"a":18446744073709551615,"ä":"\n"}"#;
        let read: Properties = serde_json::from_str(written).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), written);
        assert!(serde_json::from_str::<Properties>("[]").is_err());
    }
}
