//! The headers `Authorization` and `Proxy-Authorization`: whatever their scheme is, what comes after it is a secret.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::values::VALUE;
use super::{HIDDEN, pattern};

/// What a text with such a header holds.
pub(super) const STEMS: &str = "authorization";

/// Schemes that may be shown, and what stands behind them.
const SCHEMES: &str = concat!(
    "(?:bearer|basic|cscc|token|digest|negotiate|ntlm|dpop|oauth2?|hawk|splunk|geniekey|api-?key|ssws|sharedkey|jwt",
    r"|(?:(?:aws4|tc3|acs3|sdk)-)?hmac-sha256|scram-sha-1|scram-sha-256|vapid|privatetoken",
    r"|bot|api-token|klaviyo-api-key|zoho-oauthtoken)(?:\s*[:,]\s*|\s+)"
);

/// The name once more: `Authorization: Authorization: …`.
const AGAIN: &str = r"(?:[\w-]*authorization\s*:\s*)*";

/// A header's name, in quotes of its own or after the quote that holds all of the header, and its scheme.
static HEADER: LazyLock<Regex> = LazyLock::new(|| {
    pattern(&format!(
        r#"(?i)(?P<open>\\?["'])?[\w-]*authorization(?P<close>\\?["']|\])?\s*(?P<sign>[:=])\s*{AGAIN}(?P<scheme>{SCHEMES})?"#
    ))
});

/// A header that is an argument of its own.
static ARGUMENT: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r"(?i)^([\w-]*authorization\s*[:=]\s*{AGAIN}(?:{SCHEMES})?)\S")));

/// What stands outside quotes: the parameters of a scheme, or a value. What a comma and another parameter follow may
/// have blanks and semicolons in it.
static PROOF: LazyLock<Regex> = LazyLock::new(|| {
    let before = r#"[\w-]+=(?:"[^"]*"|[^\s"',]+(?:[ \t]+[^\s"',-][^\s"',]*){0,3}),\s*"#;
    let last = r#"[\w-]+=(?:"[^"]*"?|[^\s"',=&;][^\s"',&;]*)"#;
    pattern(&format!(r"^(?:(?:{before})*{last}|{VALUE})"))
});

/// A word that may be the name of a scheme.
static SCHEME: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Za-z][A-Za-z0-9_-]{0,31}:?$"));

/// A second word that tokens do not look like: the scheme has a name of two.
static SECOND: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Za-z]{2,12}:?$"));

/// What tells that a header follows: `-H`, `--header`, `http.extraheader=`; the text begins, or a line of it.
static BEFORE_HEADER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?:^|[\r\n"'\\={]|(?:^|\s)(?:-\w*H|echo|printf)\s+|(?i:headers?)[\s=]+)$"#));

/// A fact of a sentence: `user=root`.
static FACT: LazyLock<Regex> = LazyLock::new(|| pattern(r"^[A-Za-z][\w.-]*=[^=\s]"));

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
        let opening = found.name("open").filter(|_| found.name("close").is_none());
        let scheme = found.name("scheme");
        let is_setting = &found["sign"] == "=";
        // `authorization=token user=root`: that word was the value.
        let is_value = |at: usize| is_setting && opening.is_none() && FACT.is_match(&text[at..]);
        let start = match scheme {
            Some(scheme) if is_value(header.end()) => scheme.start(),
            _ => header.end(),
        };
        let rest = &text[start..];
        let (from, to) = match opening {
            Some(opening) => (0, enclosed(rest, opening.as_str())),
            None if scheme.is_some() || is_setting => bare(rest),
            None if may_stand(&text[..header.start()], header.as_str()) => with_scheme(rest, |_| true),
            // Of words behind a sentence's colon, one that looks like a token; programs take headers without a blank.
            None if header.as_str().ends_with(char::is_whitespace) => with_scheme(rest, looks_like_token),
            None if has_digit(rest.split_whitespace().next().unwrap_or_default()) => bare(rest),
            None => with_scheme(rest, |word| !FACT.is_match(word)),
        };
        if from < to {
            shown.push_str(&text[done..start + from]);
            shown.push_str(HIDDEN);
            done = start + to;
        }
    }
    if done == 0 {
        return Cow::Borrowed(text);
    }
    shown.push_str(&text[done..]);
    Cow::Owned(shown)
}

/// Whether this is a header and no word of a sentence, by what stands before it: `-H Authorization: …`, but not
/// `Failed authorization: …`.
fn may_stand(before: &str, header: &str) -> bool {
    header.starts_with(['-', '"', '\'', '\\'])
        || header.to_ascii_lowercase().starts_with("proxy-")
        || BEFORE_HEADER.is_match(before)
}

/// Where the quote that was opened before the header closes; of a text that was cut off, the end.
fn enclosed(rest: &str, opening: &str) -> usize {
    let quote = opening.trim_start_matches('\\');
    let end = rest.find(opening).or_else(|| rest.find(quote));
    let end = end.unwrap_or(rest.len());
    if rest[..end].trim().is_empty() { 0 } else { end }
}

/// Where the value begins and ends outside quotes.
fn bare(rest: &str) -> (usize, usize) {
    let Some(value) = PROOF.find(rest) else { return (0, 0) };
    match value.as_str().as_bytes() {
        [b'\\', ..] => (2, value.end()),
        [quote @ (b'"' | b'\''), .., last] => (1, value.end() - usize::from(last == quote)),
        _ => (0, value.end()),
    }
}

/// The same where a scheme may stand that nobody knows: the next word is hidden with it. After a token that looks like
/// a scheme, that is one word too many. Which words may be hidden so is told.
fn with_scheme(rest: &str, may_hide: impl Fn(&str) -> bool) -> (usize, usize) {
    let (from, mut to) = bare(rest);
    let mut word = from;
    for may_be_scheme in [&*SCHEME, &*SECOND] {
        if !may_be_scheme.is_match(&rest[word..to]) {
            break;
        }
        let next = next(&rest[to..]).filter(|(start, end)| may_hide(&rest[to + start..to + end]));
        let Some((start, end)) = next else { break };
        (word, to) = (to + start, to + end);
    }
    (from, to)
}

/// Whether a word has a digit or a capital inside, and is no fact of a sentence.
fn looks_like_token(word: &str) -> bool {
    let inside = word.bytes().skip(1).any(|b| b.is_ascii_uppercase());
    (inside || has_digit(word)) && !FACT.is_match(word)
}

fn has_digit(word: &str) -> bool {
    word.bytes().any(|b| b.is_ascii_digit())
}

/// Where the next word begins and ends, when it is neither an option nor an address nor a sign of the shell.
fn next(behind: &str) -> Option<(usize, usize)> {
    let next = behind.trim_start_matches([' ', '\t', ',']);
    let blanks = behind.len() - next.len();
    let word = next.split_whitespace().next()?;
    let other = word.starts_with(['-', '|', '<', '>', ')']) || word.contains("://");
    let proof = PROOF.find(next).filter(|_| blanks > 0 && !other)?;
    Some((blanks, blanks + proof.end()))
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
            ("curl -H Authorization: s3cr3t -x", "curl -H Authorization: [redacted] -x"),
            ("curl -H Authorization: s3cr/3t x", "curl -H Authorization: [redacted] x"),
            ("curl -H Authorization: Cloud9 SECRET -v", "curl -H Authorization: [redacted] -v"),
            ("curl -sSH Authorization: Foo Bar SECRET https://x", "curl -sSH Authorization: [redacted] https://x"),
            ("curl -H Authorization: Foo: SECRET https://x", "curl -H Authorization: [redacted] https://x"),
            ("curl -H Authorization: Foo,SECRET https://x", "curl -H Authorization: [redacted] https://x"),
            ("curl -H Authorization: Bearer: SECRET https://x", "curl -H Authorization: Bearer: [redacted] https://x"),
            ("curl -H Authorization: Bearer,SECRET https://x", "curl -H Authorization: Bearer,[redacted] https://x"),
            ("curl -H Authorization: OAuth2 SECRET https://x", "curl -H Authorization: OAuth2 [redacted] https://x"),
            (
                "curl -H Authorization: HMAC-SHA256 SECRET https://x",
                "curl -H Authorization: HMAC-SHA256 [redacted] https://x",
            ),
            (
                "curl -H Authorization: Authorization: Basic SECRET https://x",
                "curl -H Authorization: Authorization: Basic [redacted] https://x",
            ),
            (
                "curl -H Authorization: MediaBrowser Client=a, Device=b c, Token=SECRET https://x",
                "curl -H Authorization: [redacted] https://x",
            ),
            (
                "grpcurl -rpc-header authorization: Foo-Token S3CRET x",
                "grpcurl -rpc-header authorization: [redacted] x",
            ),
            (
                "git -c http.extraheader=AUTHORIZATION: Foo S3CRET x",
                "git -c http.extraheader=AUTHORIZATION: [redacted] x",
            ),
            (
                "GET / HTTP/1.1\r\nAuthorization: Foo SECRET\r\nA: b",
                "GET / HTTP/1.1\r\nAuthorization: [redacted]\r\nA: b",
            ),
            ("x Proxy-Authorization: Foo SECRET -v", "x Proxy-Authorization: [redacted] -v"),
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
            (
                "http GET https://discord.com/api Authorization:Bot MTIz.S3CRET",
                "http GET https://discord.com/api Authorization:Bot [redacted]",
            ),
            (
                "xh https://x Authorization: Api-Token dt0c01.S3CRET a=b",
                "xh https://x Authorization: Api-Token [redacted] a=b",
            ),
            ("http x X-Authorization:Bot hunter", "http x X-Authorization:Bot [redacted]"),
            ("http x X-Authorization:Foo hunter a=b", "http x X-Authorization:[redacted] a=b"),
            ("http x Authorization:Foo a=b", "http x Authorization:[redacted] a=b"),
            ("xh https://x Authorization: Foo dt0c01.S3CRET a=b", "xh https://x Authorization: [redacted] a=b"),
            (
                "curl -H Authorization: Klaviyo-API-Key S https://x",
                "curl -H Authorization: Klaviyo-API-Key [redacted] https://x",
            ),
            ("x Authorization: Zoho-oauthtoken 1000.S y", "x Authorization: Zoho-oauthtoken [redacted] y"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "twice");
        }
    }

    /// The headers of the documentation of AWS (S3), Tencent Cloud (API 3.0) and Alibaba Cloud (V3).
    #[test]
    fn signatures_of_the_clouds_are_left_out() {
        let (aws, tencent, alibaba) = (
            "fe5f80f77d5fa3beca038a248ff027d0445342fe2855ddc963176630326f1024",
            "10b1a37a7301a02ca19a647ad722d5e43b4b3cff309d421d85b46093f6ab6c4f",
            "06563a9e1b43f5dfe96b81484da74bceab24a1d853912eee15083a6f0f3283c0",
        );
        for (scheme, parameters, signature) in [
            (
                "AWS4-HMAC-SHA256",
                "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, SignedHeaders=host;range;x-amz-date,",
                aws,
            ),
            (
                "TC3-HMAC-SHA256",
                concat!(
                    "Credential=AKID********************************/2019-02-25/cvm/tc3_request, ",
                    "SignedHeaders=content-type;host;x-tc-action,"
                ),
                tencent,
            ),
            (
                "ACS3-HMAC-SHA256",
                concat!(
                    "Credential=YourAccessKeyId,SignedHeaders=host;x-acs-action;x-acs-content-sha256;x-acs-date;",
                    "x-acs-signature-nonce;x-acs-version,"
                ),
                alibaba,
            ),
        ] {
            for between in [" ", "", "\n"] {
                let header = format!("Authorization: {scheme} {parameters}{between}Signature={signature}");
                let text = format!("curl -H {header} https://x/y -v");
                assert_eq!(redact(&text), format!("curl -H Authorization: {scheme} [redacted] https://x/y -v"));
                let text = format!("curl -H '{header}' https://x");
                assert_eq!(redact(&text), format!("curl -H 'Authorization: {scheme} [redacted]' https://x"));
            }
        }
    }

    #[test]
    fn facts_of_a_sentence_stay() {
        for (text, expected) in [
            (
                "x (authorization=none user=root command=chmod u+s /bin/bash)",
                "x (authorization=[redacted] user=root command=chmod u+s /bin/bash)",
            ),
            ("x (authorization=token user=root)", "x (authorization=[redacted] user=root)"),
            (
                "x (authorization=granted command=cat /etc/shadow user=root)",
                "x (authorization=[redacted] command=cat /etc/shadow user=root)",
            ),
            (
                "Failed authorization: user root opened /etc/shadow",
                "Failed authorization: [redacted] root opened /etc/shadow",
            ),
            (
                "Failed authorization: user Bob opened /etc/shadow",
                "Failed authorization: [redacted] Bob opened /etc/shadow",
            ),
            ("x authorization: denied user=Bob1 y", "x authorization: [redacted] user=Bob1 y"),
            ("x authorization:denied user=Bob1 y", "x authorization:[redacted] user=Bob1 y"),
            ("docker run -e authorization=true image run", "docker run -e authorization=[redacted] image run"),
            (
                "docker run -e AUTHORIZATION=Basic dXNlcjpwYXNz image",
                "docker run -e AUTHORIZATION=Basic [redacted] image",
            ),
            ("kube-apiserver --authorization-mode=Node,RBAC x", "kube-apiserver --authorization-mode=Node,RBAC x"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }
}
