//! What is done to foreign text before it is shown, kept or pasted: it is cut, made plain, and rid of secrets. Also what
//! can be read out of names, and how a time is written for people.

pub(crate) mod command_line;
pub(crate) mod glance;
pub mod names;
pub(crate) mod secrets;
pub(crate) mod sentinels;
pub mod shell;
pub(crate) mod surrogates;
pub(crate) mod tokens;

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use glance::Glance;
use secrets::without;

/// At most this many bytes, cut between characters.
pub fn cut(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// At most this many bytes, ending in `…` when something was cut off.
pub fn ellipsis(text: &str, most: usize) -> String {
    if text.len() <= most { text.to_owned() } else { format!("{}…", cut(text, most.saturating_sub(3))) }
}

/// A time as people are told it, to the second.
pub fn stamp(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
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

/// Whether [`ascii`] leaves something out, so that two texts may become one.
pub fn loses_letters(text: &str) -> bool {
    !text.is_ascii() && text.trim().chars().any(|c| !c.is_ascii() && !c.is_whitespace() && without_mark(c) == "?")
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

/// Without secrets and control characters.
pub fn shown(text: &str) -> Cow<'_, str> {
    let glance = Glance::at(text);
    let text = if glance.may_hold_secret() { without(text) } else { Cow::Borrowed(text) };
    if !glance.may_hold_control() {
        return text;
    }
    match text {
        Cow::Borrowed(text) => blanked(text),
        Cow::Owned(text) => Cow::Owned(blanked(&text).into_owned()),
    }
}

/// One line without what steers a terminal, at most so many characters, and `…` when there were more.
pub fn one_line(text: &str, most: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line: String = words.join(" ").chars().filter(|c| !c.is_control() && !steers(*c)).take(most + 1).collect();
    if line.chars().count() > most {
        line.pop();
        line.push('…');
    }
    line
}

/// Control characters but line breaks and tabs become spaces, and so does what turns the direction of text.
pub fn printable(text: &str) -> Cow<'_, str> {
    if Glance::at(text).may_hold_control() { blanked(text) } else { Cow::Borrowed(text) }
}

fn blanked(text: &str) -> Cow<'_, str> {
    if text.contains(steers) { Cow::Owned(text.replace(steers, " ")) } else { Cow::Borrowed(text) }
}

/// Whether a character steers what shows it, a terminal or a page, instead of being shown: a control character but line
/// breaks and tabs, or one that turns the direction of the text around it.
pub(crate) fn steers(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t') || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// As a terminal may be given it: what would steer it is written as JSON escapes it, so that JSON stays what it is.
pub(crate) fn escaped(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match steers(c) {
            true => plain.push_str(&format!("\\u{:04x}", u32::from(c))),
            false => plain.push(c),
        }
    }
    Cow::Owned(plain)
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn one_line_is_cut_by_characters_and_holds_no_control() {
        for (text, most, expected) in [
            ("  a\n\tb\u{1b}[2Jc ", 20, "a b[2Jc"),
            ("äöü", 3, "äöü"),
            ("äöüß", 3, "äöü…"),
            ("abc\u{7}", 3, "abc"),
            ("", 3, ""),
        ] {
            assert_eq!(one_line(text, most), expected, "{text:?}");
        }
    }

    #[test]
    fn what_steers_a_terminal_or_a_page_is_neither_shown_nor_printed() {
        for (text, shown, printed) in [
            ("a\u{1b}[2Jb\u{7}", "a [2Jb ", r"a\u001b[2Jb\u0007"),
            ("a\u{9b}31mb", "a 31mb", r"a\u009b31mb"),
            ("a\u{202e}gpj.exe", "a gpj.exe", r"a\u202egpj.exe"),
            ("\u{202a}\u{2066}a\u{2069}", "  a ", r"\u202a\u2066a\u2069"),
            ("line\n\tä → ‘b’ עברית", "line\n\tä → ‘b’ עברית", "line\n\tä → ‘b’ עברית"),
        ] {
            assert_eq!(
                (super::shown(text), printable(text), escaped(text)),
                (shown.into(), shown.into(), printed.into())
            );
        }
        let json = escaped(&serde_json::json!("\u{9b}\u{202e}\u{7f}").to_string()).into_owned();
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), "\u{9b}\u{202e}\u{7f}");
    }

    #[test]
    fn only_http_addresses_pass() {
        assert!(address("https://secure.sysdig.com/#/events/f:1,t:2/*/*?viewAs=list").is_some());
        for wrong in ["javascript:alert(1)", "//x", "https://", "https://u:p@x/", "https://x/ y"] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }
}
