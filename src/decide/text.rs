//! Small things done to foreign text before it is shown.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

/// At most this many bytes, cut between characters.
pub fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// At most this many bytes, ending in `…` when something was cut off.
pub fn ellipsis(text: &str, most: usize) -> String {
    if text.len() <= most { text.to_owned() } else { format!("{}…", cut(text, most.saturating_sub(3))) }
}

/// Printable ASCII in one line: accents lose their mark, everything else that is foreign becomes `?`.
pub fn ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.trim().chars() {
        match c {
            ' '..='~' => plain.push(c),
            c if c.is_whitespace() || c.is_control() => plain.push(' '),
            _ => plain.push_str(without_mark(c)),
        }
    }
    plain
}

fn without_mark(c: char) -> &'static str {
    match c {
        'À'..='Å' => "A",
        'à'..='å' => "a",
        'Æ' => "AE",
        'æ' => "ae",
        'Ç' => "C",
        'ç' => "c",
        'È'..='Ë' => "E",
        'è'..='ë' => "e",
        'Ì'..='Ï' => "I",
        'ì'..='ï' => "i",
        'Ñ' => "N",
        'ñ' => "n",
        'Ò'..='Ö' | 'Ø' => "O",
        'ò'..='ö' | 'ø' => "o",
        'Ù'..='Ü' => "U",
        'ù'..='ü' => "u",
        'Ý' => "Y",
        'ý' | 'ÿ' => "y",
        'ß' => "ss",
        '‐'..='―' => "-",
        '‘' | '’' => "'",
        '“' | '”' => "\"",
        '…' => "...",
        '→' => "->",
        _ => "?",
    }
}

/// Bytes that a control character may begin with. 0xc2 begins the two-byte spelling of those above ASCII.
fn may_be_control(b: u8) -> bool {
    (b < 0x20 && !matches!(b, b'\n' | b'\t')) || matches!(b, 0x7f | 0xc2)
}

/// Bytes that one of the words before a secret ends in.
fn may_end_marker(b: u8) -> bool {
    matches!(b, b' ' | b'=' | b':')
}

/// Without secrets and control characters: [`redact`] and [`printable`], in one look where there is nothing to do.
pub fn shown(text: &str) -> Cow<'_, str> {
    // Looked through to the end on purpose: without an early exit the compiler takes many bytes at once.
    if !text.bytes().fold(false, |found, b| found | may_be_control(b) | may_end_marker(b)) {
        return Cow::Borrowed(text);
    }
    match redact(text) {
        Cow::Borrowed(text) => printable(text),
        Cow::Owned(text) => Cow::Owned(printable(&text).into_owned()),
    }
}

/// Control characters but line breaks and tabs become spaces.
pub fn printable(text: &str) -> Cow<'_, str> {
    if !text.bytes().fold(false, |bad, b| bad | may_be_control(b)) {
        return Cow::Borrowed(text);
    }
    let bad = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if text.contains(bad) { Cow::Owned(text.replace(bad, " ")) } else { Cow::Borrowed(text) }
}

/// The text as it is, when it is a well-formed http(s) address.
pub fn address(text: &str) -> Option<String> {
    let url = url::Url::parse(text).ok()?;
    let well_formed = matches!(url.scheme(), "http" | "https") && url.has_host() && url.password().is_none();
    (well_formed && text.len() <= 2048 && text.bytes().all(|b| b.is_ascii_graphic())).then(|| text.to_owned())
}

/// Whether a name matches a pattern in which `*` stands for any text; case does not matter.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.to_lowercase(), name.to_lowercase());
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// What stands for a secret that was left out.
const HIDDEN: &str = "[redacted]";
/// Words after which a secret follows, directly or after one of `=`, `:`, quotes and spaces, and the secret.
static MARKED: LazyLock<Regex> = LazyLock::new(|| {
    let words = r#"bearer |authorization[:=]|password"?[:=]|--password |passwd=|passphrase=|pwd=|token"?[:=]|--token |secret"?[:=]|--secret |secret_access_key=|secret_key=|private_key=|api[-_]?key="#;
    pattern(&format!(r#"(?i)((?:{words})[ =:"']*(?:(?:bearer|basic|cscc) )?)[^\s"'&;,]+"#))
});
/// The password in an address, `https://user:password@host`; or an image, `docker://name:tag@sha256:digest`.
static IN_ADDRESS: LazyLock<Regex> = LazyLock::new(|| pattern(r"(://[^\s/?#:]*:)[^\s/?#]+@(sha256:)?"));
/// The password that curl and its like are told, `-u user:password`; or a container's user, `-u 1000:1000`. A list of
/// arguments does not say whose they are.
static BEHIND_USER: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"(?:^|\s)(?:-u|--user)(?:\s+|=)['"]?([^\s:'"]*):(\S+)"#));

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant of this file, which the tests compile")
}

/// The text without what follows words like `Bearer`, `password=` or `--token`, and without the passwords in addresses
/// (`https://user:password@host`) and behind `-u user:password`.
pub fn redact(text: &str) -> Cow<'_, str> {
    let may_mark = text.bytes().fold(false, |found, b| found | may_end_marker(b));
    if !may_mark || !is_suspicious(text.as_bytes()) {
        return Cow::Borrowed(text);
    }
    let mut shown = MARKED.replace_all(text, format!("${{1}}{HIDDEN}")).into_owned();
    if shown.contains('@') {
        let without = IN_ADDRESS.replace_all(&shown, |found: &Captures<'_>| match found.get(2) {
            Some(_) => found[0].to_owned(),
            None => format!("{}{HIDDEN}@", &found[1]),
        });
        shown = without.into_owned();
    }
    let numeric = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let shown = BEHIND_USER.replace_all(&shown, |found: &Captures<'_>| {
        let (all, password) = (&found[0], &found[2]);
        let ids = numeric(&found[1]) && numeric(password);
        if ids { all.to_owned() } else { format!("{}{HIDDEN}", &all[..all.len() - password.len()]) }
    });
    Cow::Owned(shown.into_owned())
}

/// A cheap look before the careful one: most texts hold none of these.
fn is_suspicious(text: &[u8]) -> bool {
    let starts =
        |at: usize, stem: &[u8]| text.get(at..at + stem.len()).is_some_and(|part| part.eq_ignore_ascii_case(stem));
    let has_at = text.contains(&b'@');
    text.windows(2).enumerate().any(|(at, pair)| match (pair[0] | 0x20, pair[1] | 0x20) {
        (b'b', b'e') => starts(at, b"bearer"),
        (b'a', b'u') => starts(at, b"authorization"),
        (b'a', b'p') => starts(at, b"apikey=") || starts(at, b"api-key=") || starts(at, b"api_key="),
        (b'p', b'a') => starts(at, b"passw") || starts(at, b"passphrase="),
        (b'p', b'r') => starts(at, b"private_key="),
        (b'p', b'w') => starts(at, b"pwd="),
        (b't', b'o') => starts(at, b"token"),
        (b's', b'e') => starts(at, b"secret"),
        (b':', b'/') => has_at && starts(at, b"://"),
        (b'-', b'u') => starts(at, b"-u") || starts(at, b"-user"),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_quick_look_misses_no_marker() {
        for words in [
            "bearer ",
            "authorization:",
            "authorization=",
            "password=",
            "password:",
            "password\":",
            "--password ",
            "passwd=",
            "passphrase=",
            "pwd=",
            "token=",
            "token:",
            "token\":",
            "--token ",
            "secret=",
            "secret:",
            "secret\":",
            "--secret ",
            "secret_access_key=",
            "secret_key=",
            "private_key=",
            "api-key=",
            "apikey=",
            "api_key=",
        ] {
            for word in [words.to_owned(), words.to_ascii_uppercase()] {
                assert_eq!(redact(&format!("x {word}hunter2 y")), format!("x {word}[redacted] y"));
            }
        }
    }

    #[test]
    fn secrets_after_telling_words_are_left_out() {
        for (text, expected) in [
            (
                "curl -H 'Authorization: Bearer abc.def' https://x",
                "curl -H 'Authorization: Bearer [redacted]' https://x",
            ),
            ("mysql --password=hunter2 -u root", "mysql --password=[redacted] -u root"),
            ("x?token=abc&y=1", "x?token=[redacted]&y=1"),
            ("BEARER xyz", "BEARER [redacted]"),
            ("bash -i", "bash -i"),
            ("password=", "password="),
            ("X-Vault-Token: s.abc", "X-Vault-Token: [redacted]"),
            (r#"{"password":"hunter2","user":"x"}"#, r#"{"password":"[redacted]","user":"x"}"#),
            ("AWS_SECRET_ACCESS_KEY=abc/def aws s3 ls", "AWS_SECRET_ACCESS_KEY=[redacted] aws s3 ls"),
            ("git clone https://me:hunter2@host/x.git?a=b", "git clone https://me:[redacted]@host/x.git?a=b"),
            ("ftp://a:b@c:1 http://d@e https://f:9/g@h", "ftp://a:[redacted]@c:1 http://d@e https://f:9/g@h"),
            ("curl -u me:hunter2 https://x --user a:b", "curl -u me:[redacted] https://x --user a:[redacted]"),
            ("Curl -u 'me:hun'ter2' https://x", "Curl -u 'me:[redacted] https://x"),
            ("-u 1:2 -u  me:12345 --user=a:b", "-u 1:2 -u  me:[redacted] --user=a:[redacted]"),
            ("docker run -u 1000:1000 x", "docker run -u 1000:1000 x"),
            ("docker://nginx:1.25@sha256:abc", "docker://nginx:1.25@sha256:abc"),
        ] {
            assert_eq!(redact(text), expected);
        }
    }

    #[test]
    fn patterns_match_whole_names_without_case() {
        assert!(matches("Activity *", "activity log"));
        assert!(matches("*shell*", "Terminal Shell in container"));
        assert!(!matches("shell", "Terminal shell"));
        assert!(matches("a*b*c", "axxbyyc"));
        assert!(!matches("a*b*c", "axxcyyb"));
    }

    #[test]
    fn a_category_is_plain_ascii() {
        assert_eq!(ascii("Écriture → /etc\u{7}…"), "Ecriture -> /etc ...");
    }

    #[test]
    fn only_http_addresses_pass() {
        assert!(address("https://secure.sysdig.com/#/events/f:1,t:2/*/*?viewAs=list").is_some());
        for wrong in ["javascript:alert(1)", "//x", "https://", "https://u:p@x/", "https://x/ y"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
