//! The headers `Authorization` and `Proxy-Authorization`: whatever their scheme is, what comes after it is a secret.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::{HIDDEN, VALUE, pattern};

/// Schemes that may be shown.
const SCHEMES: &str = concat!(
    "bearer|basic|cscc|token|digest|negotiate|ntlm|dpop|oauth|hawk|splunk|geniekey|api-?key|ssws|sharedkey",
    "|aws4-hmac-sha256|scram-sha-1|scram-sha-256|vapid|privatetoken"
);

/// A header's name, in quotes of its own or after the quote that holds all of the header, and its scheme.
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)(?P<open>\\?["'])?[\w-]*authorization(?P<close>\\?["']|\])?\s*[:=]\s*(?P<scheme>(?:{SCHEMES})\s+)?"#
    ))
});

/// A header that is an argument of its own.
static ARGUMENT: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(?i)^([\w-]*authorization\s*[:=]\s*(?:(?:{SCHEMES})\s+)?)\S")));

/// What stands outside quotes: the parameters of a scheme, or a value.
static PROOF: LazyLock<Regex> = LazyLock::new(|| {
    let parameter = r#"[\w-]+=(?:"[^"]*"?|[^\s"',=&;][^\s"',&;]*)"#;
    pattern(&format!(r"^(?:{parameter}(?:,\s*{parameter})*|{VALUE})"))
});

/// A word that may be the name of a scheme.
static SCHEME: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Za-z][A-Za-z-]{0,31}$"));

/// An element of a list that is such a header, without what it holds to its end.
pub(super) fn of_argument(argument: &str) -> Option<String> {
    ARGUMENT.captures(argument).map(|found| format!("{}{HIDDEN}", &found[1]))
}

/// The text without what such a header holds.
pub(super) fn hide(text: &str) -> Cow<'_, str> {
    let mut shown = String::new();
    let mut done = 0;
    for found in HEADER.captures_iter(text) {
        let Some(header) = found.get(0).filter(|header| header.start() >= done) else { continue };
        let rest = &text[header.end()..];
        let opening = found.name("open").filter(|_| found.name("close").is_none());
        let (from, to) = match opening {
            Some(opening) => (0, enclosed(rest, opening.as_str())),
            None => bare(rest, found.name("scheme").is_some()),
        };
        if from < to {
            shown.push_str(&text[done..header.end() + from]);
            shown.push_str(HIDDEN);
            done = header.end() + to;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[done..]);
    Cow::Owned(shown)
}

/// Where the quote that was opened before the header closes; of a text that was cut off, the end.
fn enclosed(rest: &str, opening: &str) -> usize {
    let quote = opening.trim_start_matches('\\');
    let end = rest.find(opening).or_else(|| rest.find(quote));
    let end = end.unwrap_or(rest.len());
    if rest[..end].trim().is_empty() { 0 } else { end }
}

/// Where the value begins and ends outside quotes: an unknown word may be a scheme, so the next one is hidden with it.
fn bare(rest: &str, has_scheme: bool) -> (usize, usize) {
    let Some(first) = PROOF.find(rest) else { return (0, 0) };
    let value = first.as_str();
    match value.as_bytes() {
        [b'\\', ..] => return (2, first.end()),
        [quote @ (b'"' | b'\''), .., last] => return (1, first.end() - usize::from(last == quote)),
        _ => {}
    }
    if has_scheme || !SCHEME.is_match(value) {
        return (0, first.end());
    }
    let behind = &rest[first.end()..];
    let next = behind.trim_start_matches([' ', '\t']);
    let blanks = behind.len() - next.len();
    let word = next.split_whitespace().next().unwrap_or_default();
    let proof = PROOF.find(next).filter(|_| blanks > 0 && !word.starts_with('-') && !word.contains("://"));
    (0, first.end() + proof.map_or(0, |proof| blanks + proof.end()))
}

#[cfg(test)]
mod tests {
    use crate::text::secrets::redact;

    #[test]
    fn whatever_the_scheme_is_what_comes_after_it_is_left_out() {
        for scheme in ["Bearer", "token", "Token", "ApiKey", "Splunk", "GenieKey", "Negotiate", "NTLM", "Digest"] {
            for (before, after) in [
                ("curl -H 'Authorization: ", "' https://x"),
                ("curl -H \"Proxy-Authorization: ", "\" https://x"),
                ("sh -c \"curl -H \\\"Authorization: ", "\\\" x\""),
                ("curl -H Authorization: ", " https://x"),
                ("http GET x Authorization:", " a=b"),
            ] {
                let text = format!("{before}{scheme} SECRET{after}");
                assert_eq!(redact(&text), format!("{before}{scheme} [redacted]{after}"));
            }
        }
    }

    #[test]
    fn a_scheme_that_nobody_knows_is_left_out_with_what_is_behind_it() {
        for (text, expected) in [
            ("curl -H 'Authorization: Foo SECRET more' x", "curl -H 'Authorization: [redacted]' x"),
            ("curl -H 'Authorization: Foo SEC", "curl -H 'Authorization: [redacted]"),
            ("curl -H Authorization: Foo SECRET https://x", "curl -H Authorization: [redacted] https://x"),
            ("curl -H Authorization: Foo key=SECRET -v", "curl -H Authorization: [redacted] -v"),
            ("curl -H Authorization: Foo -v", "curl -H Authorization: [redacted] -v"),
            ("curl -H Authorization: Foo https://x", "curl -H Authorization: [redacted] https://x"),
            ("curl -H Authorization: s3cr3t x", "curl -H Authorization: [redacted] x"),
            (
                r#"curl -H 'Authorization: Digest username="a", response="SECRET"' x"#,
                "curl -H 'Authorization: Digest [redacted]' x",
            ),
            (
                r#"curl -H Authorization: Digest username="a", response="SECRET" x"#,
                "curl -H Authorization: Digest [redacted] x",
            ),
            (
                "x Authorization: AWS4-HMAC-SHA256 Credential=A/b, Signature=SECRET y",
                "x Authorization: AWS4-HMAC-SHA256 [redacted] y",
            ),
            ("x Authorization: Basic ab+/c== y", "x Authorization: Basic [redacted] y"),
            (r#"{"Authorization":"Foo SECRET","a":1}"#, r#"{"Authorization":"[redacted]","a":1}"#),
            (r#"{\"authorization\":\"Foo SECRET\"}"#, r#"{\"authorization\":\"[redacted]\"}"#),
            ("{'Authorization': 'Foo SECRET'}", "{'Authorization': '[redacted]'}"),
            ("curl -H 'Authorization: ' -H 'a: b'", "curl -H 'Authorization: ' -H 'a: b'"),
            (
                "x 'Authorization: Foo A' 'Authorization: B' y",
                "x 'Authorization: [redacted]' 'Authorization: [redacted]' y",
            ),
            ("kubectl get authorizationpolicies -A", "kubectl get authorizationpolicies -A"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "twice");
        }
    }
}
