//! What a request asks for. A member that is not known is refused: a misspelt `public_key` must not release a secret
//! unsealed.

use serde_json::Value as Json;

use crate::attest::json;

/// What is known at any of the routes. One body may go to several of them: what a route has no use for is not looked at.
const MEMBERS: [&str; 5] = ["token", "policy", "secret", "purpose", "public_key"];

/// What the body of `POST /attestation/challenge` is, when it is not read.
pub(super) const CHALLENGE: &str = "JSON as {\"secret\": \"NAME\"}";
/// And those of `POST /attestation/verify` and `/attestation/secrets/{name}`.
pub(super) const TOKEN: &str = "token, and no JSON as {\"token\": \"...\"}";

/// Why a request is not understood. Names members and parameters, never what they hold.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misunderstood {
    #[error("the body is not UTF-8")]
    NotText,
    #[error("the body is no {0}")]
    Unreadable(&'static str),
    #[error("the member {0} of the body is not a text")]
    Member(&'static str),
    #[error("the body has {name}, which is not known here; known are: {known}")]
    UnknownMember { name: String, known: String },
    #[error("the query has {0}, which is not read there: send it in the body")]
    Parameter(String),
}

impl Misunderstood {
    /// A stable code.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Self::NotText | Self::Unreadable(_) | Self::Member(_) => "unreadable_body",
            Self::UnknownMember { .. } => "unknown_member",
            Self::Parameter(_) => "unknown_parameter",
        }
    }
}

/// What is asked.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) token: Option<String>,
    pub(super) policy: Option<String>,
    pub(super) secret: Option<String>,
    pub(super) purpose: Option<String>,
    pub(super) public_key: Option<String>,
}

impl Asked {
    /// Of a body: nothing, JSON with members, or the bare token.
    pub(super) fn read(body: &[u8], form: &'static str) -> Result<Self, Misunderstood> {
        let text = std::str::from_utf8(body).map_err(|_| Misunderstood::NotText)?.trim();
        let mut asked = Self::default();
        if text.is_empty() {
            return Ok(asked);
        }
        if !text.starts_with('{') {
            asked.token = Some(text.to_owned());
            return Ok(asked);
        }
        // What is said of broken JSON could quote the token.
        let read = json::read(text.as_bytes(), json::DEPTH);
        let Ok(Json::Object(members)) = read else { return Err(Misunderstood::Unreadable(form)) };
        for (name, value) in members {
            let Some(name) = MEMBERS.into_iter().find(|known| *known == name) else {
                return Err(Misunderstood::UnknownMember { name: named(&name), known: MEMBERS.join(", ") });
            };
            asked.set(name, value)?;
        }
        Ok(asked)
    }

    fn set(&mut self, name: &'static str, value: Json) -> Result<(), Misunderstood> {
        let place = match name {
            "token" => &mut self.token,
            "policy" => &mut self.policy,
            "secret" => &mut self.secret,
            "purpose" => &mut self.purpose,
            _ => &mut self.public_key,
        };
        match value {
            Json::String(text) => *place = Some(text),
            // Nothing is asked by it; but who wanted a secret sealed must not get it unsealed.
            Json::Null if name != "public_key" => {}
            _ => return Err(Misunderstood::Member(name)),
        }
        Ok(())
    }
}

/// A query may hold what is for those between us, such as a gateway's key; what is asked stands in the path and in the
/// body. Who asks it in the query, however spelled, would not get it.
pub(super) fn no_query(query: &str) -> Result<(), Misunderstood> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-', '.', ' '], "");
    let is_ours = |name: &str| plain(name) == "pubkey" || MEMBERS.iter().any(|known| plain(known) == plain(name));
    let mut names = url::form_urlencoded::parse(query.as_bytes()).map(|(name, _)| name);
    names.find(|name| is_ours(name)).map_or(Ok(()), |name| Err(Misunderstood::Parameter(named(&name))))
}

/// A name as it may be repeated: what is none may be a token.
fn named(name: &str) -> String {
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if (1..=40).contains(&name.len()) && plain {
        name.to_owned()
    } else {
        "a name that is not repeated here".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_known_is_asked_for_and_nothing_but_names_is_repeated() {
        let read = |body: &str| Asked::read(body.as_bytes(), TOKEN);
        let asked = read(r#"{"token": "a.b.c", "public_key": "k"}"#).ok().unwrap();
        assert_eq!((asked.token.as_deref(), asked.public_key.as_deref()), (Some("a.b.c"), Some("k")));
        assert_eq!(read(" a.b.c\n").ok().unwrap().token.as_deref(), Some("a.b.c"));
        assert!(read("").ok().unwrap().token.is_none());
        let long = "e".repeat(50);
        for (body, told) in [
            (r#"{"token": "SEKRIT", "publicKey": "k"}"#, "publicKey"),
            (r#"{"token": "SEKRIT", "polizy": "p"}"#, "polizy"),
            (r#"{"token": "SEKRIT", "public_key": null}"#, "public_key"),
            (r#"{"token": "SEKRIT", "public_key": ["SEKRIT"]}"#, "public_key"),
            (r#"{"token": "SEKRIT", "public_key": "a", "public_key": "b"}"#, "no token"),
            (r#"{"token": "SEKRIT",}"#, "no token"),
            (&format!(r#"{{"{long}": 1}}"#), "not repeated"),
        ] {
            let error = read(body).err().unwrap().to_string();
            assert!(error.contains(told) && !error.contains("SEKRIT") && !error.contains(&long), "{error}");
        }
        assert!(read(r#"{"token": "a.b.c", "policy": "p", "secret": "s"}"#).is_ok(), "one body for every route");
        for query in ["", "&", "key=AIza", "x=1&public=2"] {
            assert_eq!(no_query(query), Ok(()), "{query}");
        }
        assert!(no_query("x=1&PublicKey=SEKRIT").is_err() && no_query("pubkey=SEKRIT").is_err());
        assert!(no_query("public+key=SEKRIT").is_err());
        for query in ["public_key=SEKRIT", "public%5Fkey=SEKRIT", "%70ublic_key"] {
            assert_eq!(no_query(query), Err(Misunderstood::Parameter("public_key".into())), "{query}");
        }
        assert_eq!(no_query("x=public%5Fkey%3Dy"), Ok(()));
    }
}
