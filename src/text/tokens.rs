//! JSON Web Tokens in foreign text: whoever has one may use it, so none is kept or shown.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value as Json;

static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]*").expect("a constant that the tests compile")
});

/// A text without the tokens in it.
pub(crate) fn without(text: &str) -> Cow<'_, str> {
    TOKEN.replace_all(text, "[token removed]")
}

/// A JSON value without the tokens in its texts and names.
pub(crate) fn all_without(json: Json) -> Json {
    match json {
        Json::String(text) => match without(&text) {
            Cow::Borrowed(_) => Json::String(text),
            Cow::Owned(without) => Json::String(without),
        },
        Json::Array(items) => Json::Array(items.into_iter().map(all_without).collect()),
        Json::Object(members) => Json::Object(
            members.into_iter().map(|(name, value)| (without(&name).into_owned(), all_without(value))).collect(),
        ),
        other => other,
    }
}
