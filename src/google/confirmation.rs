//! What counts as the confirmation that something was created. The answer repeats the whole of it, many kilobytes for a
//! finding; its name alone proves that the service made it, and comes first.

use std::cell::Cell;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// Whether `answer` confirms what was asked for: an object whose `name` ends in `name`, or else a whole object that
/// tells of no error, whatever it is called: who answers everybody the same has taken what was sent. Any other may come
/// from a proxy that knows nothing of what became of the call.
///
/// # Errors
/// What the answer is instead.
pub(crate) fn confirms(answer: &[u8], name: &str) -> Result<(), serde_json::Error> {
    let named = Cell::new(false);
    let mut json = serde_json::Deserializer::from_slice(answer);
    match (Object { name, named: &named }).deserialize(&mut json).and_then(|()| json.end()) {
        Err(_) if named.get() => Ok(()),
        outcome => outcome,
    }
}

/// Reads an object up to its name, which it ends with an error, because nothing else ends the reading early.
struct Object<'a> {
    name: &'a str,
    named: &'a Cell<bool>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Member {
    Name,
    Error,
    #[serde(other)]
    Other,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object that tells of no error")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(member) = members.next_key()? {
            match member {
                Member::Name => {
                    let found: serde_json::Value = members.next_value()?;
                    if found.as_str().is_some_and(|found| found.ends_with(self.name)) {
                        self.named.set(true);
                        return Err(A::Error::custom("it was named"));
                    }
                }
                Member::Error => return Err(A::Error::custom("it tells of an error")),
                Member::Other => {
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_or_a_whole_object_without_an_error_is_a_confirmation() {
        for (answer, confirmed) in [
            (r#"{"name":"organizations/1/sources/2/locations/global/findings/f1","state":"ACTIVE"}"#, true),
            (r#" { "state": "ACTIVE", "name": "sources/2/findings/f1", "severity": "#, true),
            (r#"{"name":"sources/2/findings/other","state":"ACTIVE"}"#, true),
            (r#"{"name":7}"#, true),
            ("{}", true),
            (r#"{"name":"sources/2/findings/other","state":"#, false),
            (r#"{"name":"sources/2/findings/other","error":{"code":500}}"#, false),
            (r#"{"error":{"code":500},"name":"sources/2/findings/f1"}"#, false),
            (r#"{"state":"ACTIVE"} trailing"#, false),
            (r#"["sources/2/findings/f1"]"#, false),
            (r#""sources/2/findings/f1""#, false),
            ("<html>", false),
            ("", false),
        ] {
            assert_eq!(confirms(answer.as_bytes(), "/findings/f1").is_ok(), confirmed, "{answer}");
        }
    }
}
