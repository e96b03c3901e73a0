//! Update masks: which members of a finding, or of an external system, a PATCH changes.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::error::Refusal;
use super::schema::{Kind, SCHEMA, snake};

/// A mask that has been read and found to be allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Mask(Vec<Vec<String>>);

impl Mask {
    /// Reads the paths from `message`, in either spelling. `*` and an empty mask mean everything: `None`.
    pub(crate) fn read(message: &str, paths: &[String]) -> Result<Option<Self>, Refusal> {
        if paths.is_empty() || paths.iter().any(|path| path == "*") {
            return Ok(None);
        }
        let mut out = Vec::new();
        for path in paths {
            out.extend(steps(message, path)?);
        }
        Ok(Some(Self(out)))
    }

    /// Whether a member is named, in whole or in part.
    pub(crate) fn names(&self, member: &str) -> bool {
        self.0.iter().any(|steps| steps[0] == member)
    }

    /// Brings the masked members of `change` into `kept`; what `change` does not have is removed.
    pub(crate) fn apply(&self, kept: &mut Map<String, Value>, change: &Map<String, Value>) {
        for steps in &self.0 {
            copy(kept, change, steps);
        }
    }
}

/// The steps of one path in camelCase; nothing for members only the service may write.
fn steps(message: &str, path: &str) -> Result<Option<Vec<String>>, Refusal> {
    let refuse = |why: &str| Refusal::field("update_mask", format!("Invalid update_mask: {why}"));
    let mut kind = Kind::Message(message.to_owned());
    let mut out = Vec::new();
    let mut rest = Some(path);
    while let Some(text) = rest {
        let (step, tail) = match (&kind, text.split_once('.')) {
            // A map's key may hold dots.
            (Kind::Map(_), _) | (_, None) => (text, None),
            (_, Some((step, tail))) => (step, Some(tail)),
        };
        kind = match kind {
            Kind::Message(name) => {
                let member =
                    SCHEMA.message(&name).member(step).ok_or_else(|| refuse(&format!("unknown path {path:?}")))?;
                if member.immutable {
                    return Err(refuse(&format!("{path:?} is immutable; it is fixed when the finding is created")));
                }
                if member.output_only || (out.is_empty() && matches!(member.name.as_str(), "name" | "parent")) {
                    return Ok(None);
                }
                if out.is_empty() && matches!(member.name.as_str(), "mute" | "muteInitiator") {
                    return Err(refuse(&format!("{path:?} is changed with setMute only")));
                }
                out.push(member.name.clone());
                member.kind.clone()
            }
            Kind::Map(item) => {
                out.push(unquoted(step).to_owned());
                *item
            }
            _ => return Err(refuse(&format!("{path:?} goes into a member that cannot be updated in part"))),
        };
        rest = tail;
    }
    Ok(Some(out))
}

/// A key in backquotes or quotes, as field masks may have it.
fn unquoted(key: &str) -> &str {
    let inner = |quote: char| key.strip_prefix(quote).and_then(|key| key.strip_suffix(quote));
    inner('`').or_else(|| inner('"')).unwrap_or(key)
}

/// The key of a map that a path means. JSON masks are in camelCase, and Google's clients write the keys of maps so too:
/// `a_b` comes as `aB`, which counts where there is no `aB`. Earlier maps go first.
pub(crate) fn spelled<'a>(
    key: &'a str,
    maps: &[&Map<String, Value>],
    same: impl Fn(&str, &str) -> bool,
) -> Cow<'a, str> {
    let snake = snake(key);
    for map in maps {
        if map.keys().any(|known| same(known, key)) {
            break;
        }
        if map.keys().any(|known| same(known, &snake)) {
            return Cow::Owned(snake);
        }
    }
    Cow::Borrowed(key)
}

fn copy(into: &mut Map<String, Value>, from: &Map<String, Value>, steps: &[String]) {
    let [step, rest @ ..] = steps else { return };
    let step = spelled(step, &[from, into], str::eq).into_owned();
    if rest.is_empty() {
        match from.get(&step) {
            Some(value) => into.insert(step, value.clone()),
            None => into.remove(&step),
        };
        return;
    }
    let empty = Map::new();
    let source = from.get(&step).and_then(Value::as_object).unwrap_or(&empty);
    if let Value::Object(target) = into.entry(step).or_insert_with(|| Value::Object(Map::new())) {
        copy(target, source, rest);
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(value: Value) -> Map<String, Value> {
        value.as_object().unwrap().clone()
    }

    fn mask(paths: &[&str]) -> Result<Option<Mask>, Refusal> {
        Mask::read("Finding", &paths.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn only_masked_members_change() {
        let mut finding = object(json!({"state": "ACTIVE", "sourceProperties": {"a": 1, "b": 2, "c.d": 3}}));
        let change = object(json!({"state": "INACTIVE", "sourceProperties": {"a": 9, "b": 9}}));
        let mask = mask(&["source_properties.a", "sourceProperties.c.d", "external_uri"]).unwrap().unwrap();
        mask.apply(&mut finding, &change);
        assert_eq!(Value::Object(finding), json!({"state": "ACTIVE", "sourceProperties": {"a": 9, "b": 2}}));
    }

    #[test]
    fn keys_that_a_client_wrote_in_camel_case_are_found() {
        // mask, properties sent, properties after it; before it: a_b and cD
        let table = [
            ("sourceProperties.aB", json!({"a_b": 1}), json!({"a_b": 1, "cD": 0})),
            ("sourceProperties.a_b", json!({"a_b": 1}), json!({"a_b": 1, "cD": 0})),
            ("sourceProperties.aB", json!({}), json!({"cD": 0})),
            ("sourceProperties.aB", json!({"aB": 1}), json!({"a_b": 0, "aB": 1, "cD": 0})),
            ("sourceProperties.cD", json!({"cD": 1}), json!({"a_b": 0, "cD": 1})),
            ("sourceProperties.cD", json!({}), json!({"a_b": 0})),
            ("sourceProperties.eF", json!({"e_f": 1}), json!({"a_b": 0, "cD": 0, "e_f": 1})),
        ];
        for (path, sent, expected) in table {
            let mut finding = object(json!({"sourceProperties": {"a_b": 0, "cD": 0}}));
            let change = object(json!({"sourceProperties": sent}));
            mask(&[path]).unwrap().unwrap().apply(&mut finding, &change);
            assert_eq!(finding["sourceProperties"], expected, "{path} {sent}");
        }
    }

    #[test]
    fn members_nobody_may_change_are_refused_or_ignored() {
        for path in ["category", "resource_name", "nonsense", "mute", "processes.name", "severity.x"] {
            assert!(mask(&[path]).is_err(), "{path}");
        }
        assert_eq!(mask(&["createTime", "name"]).unwrap(), Some(Mask(vec![])));
        assert_eq!(mask(&["*"]).unwrap(), None);
    }
}
