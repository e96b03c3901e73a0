//! What kind of value each member of a policy file must have, told with the member's name and the remedy.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use super::PolicyError;
use super::accepted::{Family, TokenKind};

/// What a member holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Texts,
    /// Names with texts.
    Named,
    Number,
    Flag,
    /// Names with values of several kinds, looked at by themselves.
    Members,
    Family,
    Tokens,
}

/// Our own form.
pub(super) const OWN: [(&str, Kind); 13] = [
    ("name", Kind::Text),
    ("description", Kind::Text),
    ("issuer", Kind::Text),
    ("audiences", Kind::Texts),
    ("tokens", Kind::Tokens),
    ("family", Kind::Family),
    ("mapping", Kind::Named),
    ("condition", Kind::Text),
    ("max_age_seconds", Kind::Number),
    ("leeway_seconds", Kind::Number),
    ("max_lifetime_seconds", Kind::Number),
    ("max_tcb_age_days", Kind::Number),
    ("allow_everything", Kind::Flag),
];

/// A workload identity pool provider, as gcloud prints it.
pub(super) const PROVIDER: [(&str, Kind); 8] = [
    ("name", Kind::Text),
    ("description", Kind::Text),
    ("displayName", Kind::Text),
    ("attributeMapping", Kind::Named),
    ("attributeCondition", Kind::Text),
    ("disabled", Kind::Flag),
    ("state", Kind::Text),
    ("oidc", Kind::Members),
];

/// A provider's `oidc`.
pub(super) const OIDC: [(&str, Kind); 3] =
    [("issuerUri", Kind::Text), ("allowedAudiences", Kind::Texts), ("jwksJson", Kind::Text)];

/// Refuses members of the wrong kind. One without a value is as one that is not there.
pub(super) fn check(members: &mut Map<String, Json>, kinds: &[(&str, Kind)]) -> Result<(), PolicyError> {
    for (name, kind) in kinds {
        match members.get(*name) {
            None => {}
            Some(Json::Null) => drop(members.remove(*name)),
            Some(value) => wrong(name, *kind, value).map_or(Ok(()), |told| Err(PolicyError::Form(told)))?,
        }
    }
    Ok(())
}

fn wrong(name: &str, kind: Kind, value: &Json) -> Option<String> {
    let is = format!("{name} is {}", shown(value));
    let text_in = |items: Vec<&Json>| {
        let other = items.into_iter().find(|item| !item.is_string())?;
        Some(format!("{name} holds {}, not only texts: put it in quotes", shown(other)))
    };
    match (kind, value) {
        (Kind::Text, Json::String(_)) | (Kind::Flag, Json::Bool(_)) | (Kind::Members, Json::Object(_)) => None,
        (Kind::Number, Json::Number(number)) if number.is_u64() => None,
        (Kind::Texts, Json::Array(items)) => text_in(items.iter().collect()),
        (Kind::Named, Json::Object(entries)) => text_in(entries.values().collect()),
        (Kind::Tokens, Json::Array(_)) => misread::<Vec<TokenKind>>(name, value),
        (Kind::Family, Json::String(_)) => misread::<Family>(name, value),
        (Kind::Text | Kind::Family, Json::Bool(_) | Json::Number(_)) => {
            Some(format!("{is}, not a text: put it in quotes, {name}: '{value}'"))
        }
        (Kind::Text | Kind::Family, _) => Some(format!("{is}, not a text")),
        (Kind::Texts | Kind::Tokens, Json::String(text)) => {
            Some(format!("{is}, not a list: put it in brackets, {name}: [{text}]"))
        }
        (Kind::Texts | Kind::Tokens, _) => Some(format!("{is}, not a list of texts")),
        (Kind::Number, Json::String(_)) => Some(format!("{is}, not a whole number: leave out the quotes")),
        (Kind::Number, _) => Some(format!("{is}, not a whole number from 0")),
        (Kind::Flag, _) => Some(format!("{is}: write true or false, without quotes")),
        (Kind::Named | Kind::Members, _) => {
            Some(format!("{is}: write names and their values, each on a line of its own"))
        }
    }
}

fn misread<T: DeserializeOwned>(name: &str, value: &Json) -> Option<String> {
    serde_json::from_value::<T>(value.clone()).err().map(|error| format!("{name}: {error}"))
}

fn shown(value: &Json) -> String {
    match value {
        Json::Null => "nothing".to_owned(),
        Json::Bool(value) => format!("the boolean {value}"),
        Json::Number(number) => format!("the number {number}"),
        Json::String(text) => format!("the text {:?}", text.chars().take(60).collect::<String>()),
        Json::Array(_) => "a list".to_owned(),
        Json::Object(_) => "a mapping".to_owned(),
    }
}
