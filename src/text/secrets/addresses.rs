//! Secrets before the host of an address: `https://user:password@host`, `https://token@host`.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::{HIDDEN, pattern};

/// What a text with one of them holds.
pub(super) const STEMS: &str = r"://[^\s/?#:]*(?:@|:\S*@)";

/// A user before a password, or a word that may be a token.
static START: LazyLock<Regex> = LazyLock::new(|| pattern(r"://([^\s/?#:@]{20,}@|[^\s/?#:]*:)"));

/// The longest password with a slash, a question mark or a hash in it.
const LONGEST: usize = 256;

/// Schemes of addresses in which the first slash begins the path, whatever stands before it.
const WEB: [&str; 11] = ["http", "https", "ws", "wss", "npm", "jsr", "docker", "oci", "file", "gs", "s3"];

/// The text without them.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    let (mut shown, mut done) = (String::new(), 0);
    for found in START.captures_iter(&text) {
        let Some(user) = found.get(1).filter(|user| user.start() >= done) else { continue };
        let hidden = match user.as_str().strip_suffix('@') {
            Some(word) => is_token(word).then(|| user.start()..user.end() - 1),
            None => {
                let before = &text[..user.start() - "://".len()];
                let scheme = before.rsplit(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default();
                let is_web = WEB.iter().any(|web| scheme.eq_ignore_ascii_case(web));
                password(is_web, user.as_str(), &text[user.end()..]).map(|bytes| user.end()..user.end() + bytes)
            }
        };
        if let Some(hidden) = hidden {
            shown.extend([&text[done..hidden.start], HIDDEN]);
            done = hidden.end;
        }
    }
    if done == 0 {
        return text;
    }
    shown.push_str(&text[done..]);
    Cow::Owned(shown)
}

/// Whether a user's name is a token: long, of letters of both sizes and digits; or very long.
fn is_token(word: &str) -> bool {
    let has = |is: fn(&u8) -> bool| word.bytes().any(|b| is(&b));
    let is_word = word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let is_mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase);
    is_word && has(u8::is_ascii_digit) && (is_mixed || word.len() >= 40)
}

/// How long the password is that stands here, if one does; it is closed by an `@`.
fn password(is_web: bool, user: &str, rest: &str) -> Option<usize> {
    let path = rest.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#')).unwrap_or(rest.len());
    // An image has a tag there, and its digest behind the sign: `docker://name:tag@sha256:digest`.
    let quote = rest[..path].find(['"', '\'']).unwrap_or(path);
    if let Some(at) = rest[..quote].rfind('@').or_else(|| rest[..path].rfind('@')) {
        return (at > 0 && !rest[at..].starts_with("@sha256:")).then_some(at);
    }
    // A slash, a question mark or a hash is part of the password when the sign comes later and this is no port.
    let port = rest.bytes().take_while(u8::is_ascii_digit).count();
    let is_port = port > 0 && port <= 5 && !rest[port..].starts_with(|c: char| c.is_ascii_alphanumeric());
    if path == 0
        || is_port
        || (is_web && rest[path..].starts_with('/'))
        || user.contains(['[', '@', '"', '\''])
        || rest.starts_with(['$', '{', '<'])
    {
        return None;
    }
    let end = rest.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '<' | '>')).unwrap_or(rest.len());
    let at = rest[..end.min(rest.floor_char_boundary(LONGEST))].rfind('@')?;
    (!rest[..at].ends_with('/')).then_some(at)
}

#[cfg(test)]
mod tests {
    use crate::text::secrets::redact;

    #[test]
    fn a_password_ends_at_the_last_sign_before_the_host() {
        for (text, expected) in [
            (
                "redis-cli -u redis://default:Hun#ter2@h:6379 ping",
                "redis-cli -u redis://default:[redacted]@h:6379 ping",
            ),
            ("psql postgresql://bob:Hun?ter2@db/x", "psql postgresql://bob:[redacted]@db/x"),
            ("mongodump --uri mongodb://bob:Hun/ter2@db", "mongodump --uri mongodb://bob:[redacted]@db"),
            ("redis://:Hun@ter2@h", "redis://:[redacted]@h"),
            (r#"{"a":"redis://bob:Hun/ter2@h","b":"c@d"}"#, r#"{"a":"redis://bob:[redacted]@h","b":"c@d"}"#),
            (
                "git clone https://abcdefghij0123456789abcdefghij0123456789abcdefghij01@dev.azure.com/org/p",
                "git clone https://[redacted]@dev.azure.com/org/p",
            ),
            ("git clone https://Abc123Abc123Abc123Abc1@github.com/x/y", "git clone https://[redacted]@github.com/x/y"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "twice");
        }
    }

    #[test]
    fn ports_paths_and_images_stay() {
        for text in [
            "https://host:8080/path@x",
            "https://f:9/g@h",
            "http://[::1]:8080/x@y",
            "curl http://localhost:port/users/@me",
            "http://host:PORT/@vite/client",
            "deno run npm://pkg:latest/x@1",
            "redis://host:PORT/@x",
            "http://host:$PORT/x@y",
            "mongodb://h1:27017,h2:27017/db?x=a@b",
            "docker://nginx:1.25@sha256:abc",
            "git+ssh://git@host:org/repo@v1",
            "file://c:/x@y",
            "curl http://h:80 mail=a@b",
            "ssh://some-service-account-of-ours@host/x",
            "https://host/@scope/a?b=c:d@e",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
