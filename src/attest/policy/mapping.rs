//! Attribute mapping: what a provider makes of the claims before its condition is asked.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::known;
use crate::attest::cel::{Budget, EvalError, Expression, Limits, Refusal, Scope, compile_all};

/// The most bytes of `google.subject`.
pub(super) const SUBJECT_BYTES: usize = 127;
/// The most bytes of all mapped values together.
const TOTAL_BYTES: usize = 8192;
/// The most custom attributes.
const CUSTOM: usize = 50;

/// A compiled attribute mapping.
#[derive(Debug, Default)]
pub struct Mapping {
    entries: Vec<(String, Expression)>,
}

/// Why a mapping is refused when it is loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingRefusal {
    /// A key that is neither `google.subject`, `google.groups` nor `attribute.NAME`.
    #[error("{0:?} cannot be mapped: use google.subject, google.groups or attribute.NAME with NAME of a-z, 0-9 and _")]
    Key(String),
    /// A key that is mapped twice.
    #[error("{0} is mapped twice: leave one of the two out")]
    Twice(String),
    /// More than fifty custom attributes.
    #[error("there are {0} custom attributes; the limit is {CUSTOM}")]
    TooMany(usize),
    /// The expression is refused.
    #[error("the mapping of {key}: {refusal}")]
    Expression {
        /// Of which attribute.
        key: String,
        /// Why.
        refusal: Refusal,
    },
}

/// Why claims could not be mapped; the credential is then refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// The expression has no value for these claims.
    #[error("the mapping of {key} failed: {error}")]
    Failed {
        /// Of which attribute.
        key: String,
        /// Why.
        error: EvalError,
    },
    /// The value is of a type that cannot be mapped.
    #[error("the mapping of {key} gives {kind}, it must be {expected}")]
    Kind {
        /// Of which attribute.
        key: String,
        /// What it gave.
        kind: &'static str,
        /// What is needed.
        expected: &'static str,
    },
    /// Too long.
    #[error("{key} has {bytes} bytes; the limit is {limit}")]
    TooLong {
        /// Of which attribute, or all of them.
        key: String,
        /// Its bytes.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
}

/// The mapped attributes: the values of `google` and `attribute` in a condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Mapped {
    /// `google.*`, an object.
    pub google: Json,
    /// `attribute.*`, an object.
    pub attribute: Json,
}

impl Default for Mapped {
    fn default() -> Self {
        Self { google: Json::Object(Map::new()), attribute: Json::Object(Map::new()) }
    }
}

impl Mapping {
    /// Compiles pairs of attribute and expression.
    pub fn compile(pairs: &[(String, String)]) -> Result<Self, MappingRefusal> {
        if let Some((key, _)) = pairs.iter().find(|(key, _)| !allowed_key(key)) {
            return Err(MappingRefusal::Key(key.chars().take(120).collect()));
        }
        let mut seen = BTreeSet::new();
        if let Some((key, _)) = pairs.iter().find(|(key, _)| !seen.insert(key)) {
            return Err(MappingRefusal::Twice(key.clone()));
        }
        let custom = pairs.iter().filter(|(key, _)| key.starts_with("attribute.")).count();
        if custom > CUSTOM {
            return Err(MappingRefusal::TooMany(custom));
        }
        if pairs.is_empty() {
            return Ok(Self::default());
        }
        let compiled = compile_all(pairs.iter().map(|(_, text)| text.clone()).collect(), Limits::MAPPING);
        let entries = pairs.iter().zip(compiled).map(|((key, _), result)| {
            let key = key.clone();
            result.map(|e| (key.clone(), e)).map_err(|refusal| MappingRefusal::Expression { key, refusal })
        });
        Ok(Self { entries: entries.collect::<Result<_, _>>()? })
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The mapped keys with their expressions.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Expression)> {
        self.entries.iter().map(|(key, expression)| (key.as_str(), expression))
    }

    /// The attributes whose values must not be shown, as they are made of a claim whose value must not be.
    pub fn secret(&self, claims: &Json) -> BTreeSet<&str> {
        let secret = self.entries.iter().filter(|(_, expression)| known::takes_secret(expression.root(), claims));
        secret.map(|(key, _)| key.as_str()).collect()
    }

    /// Maps the claims.
    pub fn apply(&self, claims: &Json) -> Result<Mapped, MappingError> {
        self.apply_within(claims, &mut Budget::default())
    }

    /// The same with a budget for all expressions together.
    pub fn apply_within(&self, claims: &Json, budget: &mut Budget) -> Result<Mapped, MappingError> {
        let (mut google, mut attribute) = (Map::new(), Map::new());
        let nothing = Json::Object(Map::new());
        let scope = Scope { assertion: claims, google: &nothing, attribute: &nothing };
        let mut total = 0;
        for (key, expression) in &self.entries {
            let failed = |error| MappingError::Failed { key: key.clone(), error };
            let value = expression.evaluate_within(scope, budget).map_err(failed)?;
            let kind = value.kind();
            let json = value.to_json();
            let groups = key == "google.groups";
            let expected = if groups { "a list of strings" } else { "a string" };
            let wrong = || MappingError::Kind { key: key.clone(), kind, expected };
            let bytes = match (&json, groups) {
                (Some(Json::String(text)), false) => text.len(),
                (Some(Json::Array(items)), true) => {
                    items.iter().map(|item| item.as_str().map(str::len)).sum::<Option<usize>>().ok_or_else(wrong)?
                }
                _ => return Err(wrong()),
            };
            if key == "google.subject" && bytes > SUBJECT_BYTES {
                return Err(MappingError::TooLong { key: key.clone(), bytes, limit: SUBJECT_BYTES });
            }
            total += bytes;
            let (map, name) = match key.strip_prefix("google.") {
                Some(name) => (&mut google, name),
                None => (&mut attribute, key.trim_start_matches("attribute.")),
            };
            map.insert(name.to_owned(), json.unwrap_or_default());
        }
        if total > TOTAL_BYTES {
            return Err(MappingError::TooLong {
                key: "all mapped attributes together".into(),
                bytes: total,
                limit: TOTAL_BYTES,
            });
        }
        Ok(Mapped { google: Json::Object(google), attribute: Json::Object(attribute) })
    }
}

fn allowed_key(key: &str) -> bool {
    match key.strip_prefix("attribute.") {
        Some(name) => {
            (1..=100).contains(&name.len())
                && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        }
        None => matches!(
            key,
            "google.subject"
                | "google.groups"
                | "google.display_name"
                | "google.profile_photo"
                | "google.posix_username"
        ),
    }
}

/// Reads gcloud's `KEY=EXPRESSION,KEY=EXPRESSION`. A comma inside an expression stays in it: only one in front of the
/// next key divides.
pub fn read_pairs(text: &str) -> Option<Vec<(String, String)>> {
    let key_at = |rest: &str| {
        let rest = rest.trim_start();
        let end = rest.find('=')?;
        let key = rest[..end].trim();
        (key.starts_with("google.") || key.starts_with("attribute.")).then(|| {
            key.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')).then(|| key.to_owned())
        })?
    };
    key_at(text)?;
    let mut starts = vec![0];
    starts.extend(text.match_indices(',').map(|(at, _)| at + 1).filter(|at| {
        key_at(&text[*at..]).is_some() && !text[*at..].trim_start().split('=').nth(1).is_some_and(str::is_empty)
    }));
    let ends = starts.iter().skip(1).map(|at| at - 1).chain([text.len()]);
    starts
        .iter()
        .zip(ends)
        .map(|(start, end)| text[*start..end].split_once('='))
        .map(|pair| pair.map(|(key, expression)| (key.trim().to_owned(), expression.trim().to_owned())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn pairs_are_divided_at_keys_only() {
        let read = read_pairs(
            "google.subject=assertion.sub,attribute.a=['x','y'][0],attribute.b=assertion.l.exists(x, x==1) ? 'a' : 'b'",
        )
        .unwrap();
        assert_eq!(read.len(), 3);
        assert_eq!(read[1], ("attribute.a".into(), "['x','y'][0]".into()));
        assert!(read_pairs("subject=assertion.sub").is_none());
        assert_eq!(read_pairs("attribute.a=has(assertion.x) && [1,assertion.y==2][1] ? 'q' : 'r'").unwrap().len(), 1);
    }

    #[test]
    fn the_limits_of_a_provider_hold() {
        let pairs = |key: &str, text: &str| vec![(key.to_owned(), text.to_owned())];
        let mapping = Mapping::compile(&pairs("google.subject", "assertion.sub")).unwrap();
        let long = json!({"sub": "x".repeat(128)});
        assert!(matches!(mapping.apply(&long), Err(MappingError::TooLong { bytes: 128, .. })));
        assert_eq!(mapping.apply(&json!({"sub": "me"})).unwrap().google, json!({"subject": "me"}));
        assert!(matches!(mapping.apply(&json!({"sub": 5})), Err(MappingError::Kind { .. })));
        assert!(matches!(mapping.apply(&json!({})), Err(MappingError::Failed { .. })));
        assert!(Mapping::compile(&pairs("attribute.Upper", "'a'")).is_err());
        let twice = [pairs("attribute.a", "'x'"), pairs("attribute.a", "'y'")].concat();
        assert_eq!(Mapping::compile(&twice).unwrap_err(), MappingRefusal::Twice("attribute.a".into()));
        assert!(Mapping::compile(&pairs("attribute.a", &format!("'{}'", "x".repeat(2050)))).is_err());
    }

    #[test]
    fn what_is_made_of_a_secret_claim_is_secret() {
        let claims =
            json!({"eat_nonce": ["n"], "sub": "s", "submods": {"container": {"env": {"A": "b"}, "args": ["x"]}}});
        for (text, secret) in [
            ("assertion.sub", false),
            ("assertion.submods.container.args[0]", false),
            ("has(assertion.submods.container.env.A) ? 'y' : 'n'", false),
            ("'x-' + assertion.eat_nonce[0]", true),
            ("assertion['eat_nonce'][0]", true),
            ("assertion['eat_' + 'nonce'][0]", true),
            ("assertion.submods.container.env.A", true),
            ("assertion.submods.container['e' + 'nv'].A", true),
            ("assertion.submods.exists(k, assertion.submods[k].env.A == 'b') ? 'y' : 'n'", true),
            ("[assertion][0].eat_nonce[0]", true),
            ("assertion.eat_nonce.map(n, n + '!')[0]", true),
        ] {
            let mapping = Mapping::compile(&[("attribute.a".to_owned(), text.to_owned())]).unwrap();
            assert_eq!(mapping.secret(&claims).contains("attribute.a"), secret, "{text}");
        }
    }
}
