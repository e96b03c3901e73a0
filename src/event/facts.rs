//! Names and values, all in one piece of text: an event has some fifty of them, which as a map of strings would be more
//! than a hundred allocations, made on one thread and freed on another.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use super::sieve::Sieve;

/// Names and values as the sensor gave them, sorted by name, without the absent ones. Numbers are kept as their decimal
/// text. Of equal names the last counts.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Name, value, name, value.
    text: String,
    places: Vec<Place>,
    /// Of the names. An event is asked for a hundred, and has few of them.
    names: Sieve,
}

/// Where in the text a name and its value stand: the value follows the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    start: usize,
    value: usize,
    end: usize,
}

impl Facts {
    /// The value of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        if !self.names.may_hold(name) {
            return None;
        }
        // Most names differ in length already: that is faster than a search of fifty.
        let found =
            self.places.iter().find(|place| place.value - place.start == name.len() && self.name(**place) == name);
        found.map(|place| self.value(*place))
    }

    /// Names and values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.iter().map(|place| (self.name(*place), self.value(*place)))
    }

    /// These without one name.
    pub fn without(&self, name: &str) -> Self {
        self.iter().filter(|(known, _)| *known != name).collect()
    }

    /// Whether `found` finds what it looks for in any of them; also, seldom, where one ends and the next begins.
    pub fn holds(&self, found: impl FnOnce(&str) -> bool) -> bool {
        found(&self.text)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    fn name(&self, place: Place) -> &str {
        &self.text[place.start..place.value]
    }

    fn value(&self, place: Place) -> &str {
        &self.text[place.value..place.end]
    }

    /// Sorted, each name once.
    fn in_order(self) -> Self {
        let sorted = self.places.is_sorted_by(|one, next| self.name(*one) < self.name(*next));
        if sorted { self } else { self.iter().collect() }
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Facts {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut pairs: Vec<(N, V)> = pairs.into_iter().collect();
        // Stable: of equal names the last stays the last.
        pairs.sort_by(|one, other| one.0.as_ref().cmp(other.0.as_ref()));
        let length = pairs.iter().map(|(name, value)| name.as_ref().len() + value.as_ref().len()).sum();
        let mut facts = Self {
            text: String::with_capacity(length),
            places: Vec::with_capacity(pairs.len()),
            names: Sieve::default(),
        };
        for (at, (name, value)) in pairs.iter().enumerate() {
            if pairs.get(at + 1).is_some_and(|next| next.0.as_ref() == name.as_ref()) {
                continue;
            }
            let start = facts.text.len();
            facts.text.push_str(name.as_ref());
            facts.names.add(name.as_ref());
            let middle = facts.text.len();
            facts.text.push_str(value.as_ref());
            facts.places.push(Place { start, value: middle, end: facts.text.len() });
        }
        facts
    }
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Facts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Pairs)
    }
}

/// Reads a map of strings.
struct Pairs;

impl<'de> Visitor<'de> for Pairs {
    type Value = Facts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map of strings")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Facts, A::Error> {
        let mut facts = Facts::default();
        loop {
            let start = facts.text.len();
            if map.next_key_seed(Appended(&mut facts.text))?.is_none() {
                return Ok(facts.in_order());
            }
            let value = facts.text.len();
            facts.names.add(&facts.text[start..]);
            map.next_value_seed(Appended(&mut facts.text))?;
            facts.places.push(Place { start, value, end: facts.text.len() });
        }
    }
}

/// Reads a string to the end of a text.
struct Appended<'t>(&'t mut String);

impl<'de> DeserializeSeed<'de> for Appended<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Appended<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.0.push_str(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_equal_names_the_last_counts_and_absent_ones_are_absent() {
        let facts: Facts = [("b", "1"), ("a", "2"), ("b", ""), ("", "3")].into_iter().collect();
        assert_eq!(facts.iter().collect::<Vec<_>>(), [("", "3"), ("a", "2"), ("b", "")]);
        assert_eq!((facts.get("b"), facts.get("c"), facts.get("")), (Some(""), None, Some("3")));
        assert!(!facts.is_empty() && Facts::default().is_empty());
    }

    #[test]
    fn what_is_no_map_of_strings_is_refused() {
        for wrong in [r#"{"a":1}"#, r#"{"a":null}"#, "[]", r#""a""#] {
            assert!(serde_json::from_str::<Facts>(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn they_are_written_and_read_as_a_map_is(pairs in prop::collection::vec((".{0,4}", ".{0,6}"), 0..12)) {
            let map: BTreeMap<&str, &str> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
            let facts: Facts = pairs.iter().map(|(name, value)| (name, value)).collect();
            prop_assert!(facts.iter().eq(map.iter().map(|(name, value)| (*name, *value))));
            prop_assert!(map.iter().all(|(name, value)| facts.get(name) == Some(*value)));
            let written = serde_json::to_string(&facts).unwrap();
            prop_assert_eq!(&written, &serde_json::to_string(&map).unwrap());
            prop_assert_eq!(&serde_json::from_str::<Facts>(&written).unwrap(), &facts);
            let unsorted = pairs.iter().map(|(name, value)| format!("{}:{}", serde_json::json!(name), serde_json::json!(value)));
            let unsorted = format!("{{{}}}", unsorted.collect::<Vec<_>>().join(","));
            prop_assert_eq!(&serde_json::from_str::<Facts>(&unsorted).unwrap(), &facts);
        }
    }
}
