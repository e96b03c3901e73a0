//! Words that only hint at a secret: whether there is one shows in the value.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::pattern;
use super::values::{Found, VALUE, hide as hide_values};

/// What a text with such a word holds.
pub(super) const STEMS: &str = r#"credential|cookie|-auth(?-u:\b)|curl[^|;\n]*[\s"]-b"#;

/// Credentials, cookies and what an option calls the proof of who somebody is.
static HINTED: LazyLock<Regex> = LazyLock::new(|| {
    let credentials = r#"(?:x-(?:amz|goog)-)?credentials?(?:\s*=\s*|\\*["']\s*:\s*)"#;
    let option = r#"(?:^|[\s"'(,\[])--?(?:[\w-]*credentials?|cookie|auth)(?:\s*=\s*|\s+)"#;
    let cookie = r#"(?-u:\b)cookie(?:\\*["'])?\s*[:=]\s*"#;
    let of_curl = r"(?-u:\b)curl(?:\.exe)?\s(?:[^|;\n]*?\s)?(?-i:-b)\s*";
    let more = r#"(?:;\s*[^\s"'&;,=\\]+=[^\s"'&;,\\]*)*"#;
    pattern(&format!(r"(?i)({option}|{credentials}|{cookie}|{of_curl})({VALUE}{more})"))
});

/// The text without secrets that are only hinted at.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    hide_values(text, &HINTED, |found| !says_where(found))
}

/// Whether the value says where or how, and not what: a path, a variable, an option, a method, an object whose members
/// have names of their own.
fn says_where(found: &Found<'_>) -> bool {
    const METHODS: [&str; 20] = [
        "none",
        "basic",
        "digest",
        "ntlm",
        "negotiate",
        "kerberos",
        "password",
        "oauth",
        "oauth2",
        "true",
        "false",
        "md5",
        "plain",
        "trust",
        "peer",
        "ident",
        "scram-sha-256",
        "ldap",
        "cert",
        "reject",
    ];
    // Options without a value.
    const SWITCHES: [&str; 4] = ["pass-credentials", "with-credentials", "no-credentials", "skip-credentials"];
    let told = found.told.to_ascii_lowercase();
    let told = told.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ',' | '['));
    let value = found.value.trim_start_matches(['\\', '"', '\'']);
    let elsewhere = value.starts_with(['/', '~', '.', '$', '(', '{', '[', '-']) || value.get(1..3) == Some(r":\");
    match told.trim_start_matches('-') {
        _ if elsewhere => true,
        name if SWITCHES.contains(&name.trim_end()) => true,
        // Who signed an address; the signature is told apart.
        name if name.starts_with("x-") => true,
        name if name.starts_with("auth") => {
            let value = value.trim_end_matches(['"', '\'']).to_ascii_lowercase();
            METHODS.contains(&&*value) || value.starts_with("sha")
        }
        // The option may name a file of cookies.
        name if name.starts_with("curl") || (name.starts_with("cookie") && told.starts_with('-')) => {
            !value.contains('=')
        }
        _ => false,
    }
}
