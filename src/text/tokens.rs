//! JSON Web Tokens in foreign text: whoever has one may use it, so none is kept or shown.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value as Json;

// Padded where the writer does so, as yup-oauth2 its assertions; and then `%3D` in what repeats a form.
static TOKEN: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"eyJ[A-Za-z0-9_-]{8,}(?:=|%3D){0,2}\.[A-Za-z0-9_-]+(?:=|%3D){0,2}\.(?:[A-Za-z0-9_-]+(?:=|%3D){0,2})?")
        .expect("a constant that the tests compile")
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_part_of_a_token_stays_however_it_is_padded() {
        for token in [
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln",
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.",
            "eyJ0eXAiOiJKV1QifQ==.eyJpc3MiOiJ4eHgifQ=.c2lnbmVk==",
            "eyJ0eXAiOiJKV1QifQ%3D%3D.eyJpc3MiOiJ4eHgifQ%3D.c2lnbmVk%3D%3D",
        ] {
            assert_eq!(without(&format!("assertion={token}&x=1")), "assertion=[token removed]&x=1");
        }
        for plain in ["eyJ", "eyJust.a.word", "eyJhbGciOiJSUzI1NiJ9"] {
            assert_eq!(without(plain), plain);
        }
    }
}
