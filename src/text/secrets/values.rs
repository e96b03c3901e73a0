//! Where a secret begins and ends behind what tells of it.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::{HIDDEN, pattern};

/// A value: in quotes, in quotes that are escaped, an object or list of JSON to its end, or the beginning of a word.
pub(super) const VALUE: &str = concat!(
    r#"(?:\\+"[^"\\]+|"[^"]+"?|'[^']+'?"#,
    r"|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}?|\[(?:[^\[\]]|\[[^\[\]]*\])*\]?",
    r#"|[^\s"'&;,\\]+)"#
);

/// What stands behind a sign that ends a value: the next name with its value, or nothing more of this word.
static NEXT: LazyLock<Regex> =
    LazyLock::new(|| pattern(r#"^(?:$|[\s"'\\)\]}]|["'\\]{0,4}[0-9A-Za-z_.-]{1,64}["'\\]{0,4}[=:])"#));

/// How much of the text before a value tells whether it stands in an address.
const WORD_BEFORE: usize = 1024;

/// Within so many bytes a quote in a word is closed.
const QUOTED: usize = 200;

/// A value and what tells of it.
pub(super) struct Found<'t> {
    /// The text before.
    pub(super) before: &'t str,
    /// What tells that a secret follows.
    pub(super) told: &'t str,
    /// The value, or how it begins.
    pub(super) value: &'t str,
    /// The text behind it.
    pub(super) behind: &'t str,
}

/// What of a value is secret.
pub(super) enum Secret {
    /// It is none.
    Nothing,
    /// All of it.
    Whole,
    /// What stands between these of its bytes; the rest stays.
    Between(usize, usize),
    /// It and the word behind it: a user may stand before the password.
    WithNext,
}

impl From<bool> for Secret {
    fn from(is_secret: bool) -> Self {
        if is_secret { Self::Whole } else { Self::Nothing }
    }
}

/// The text without the values that a pattern finds: its first group tells, its second is the value. What was taken for
/// a value and is none may begin the next find.
pub(super) fn hide<'t, S: Into<Secret>>(
    text: Cow<'t, str>,
    pattern: &Regex,
    judge: impl Fn(&Found<'_>) -> S,
) -> Cow<'t, str> {
    let (mut shown, mut done, mut at) = (String::new(), 0, 0);
    while let Some(found) = pattern.captures_at(&text, at) {
        let (Some(told), Some(value)) = (found.get(1), found.get(2)) else { break };
        let (before, behind) = (&text[..told.start()], &text[value.end()..]);
        let judged = judge(&Found { before, told: told.as_str(), value: value.as_str(), behind }).into();
        let hidden = match judged {
            Secret::Nothing => {
                // A blank before the value may be what the next find begins with.
                let is_behind_blank = value.start() > told.start() + 1 && text[..value.start()].ends_with(' ');
                at = if is_behind_blank { value.start() - 1 } else { value.end() };
                continue;
            }
            Secret::Whole => whole(&text, value.start(), value.end()),
            Secret::Between(from, to) => {
                let opening = &text[value.start()..value.start() + from];
                Hidden { end: value.start() + to, opening, closing: "" }
            }
            Secret::WithNext => {
                let hidden = whole(&text, value.start(), value.end());
                Hidden { end: with_next(&text, hidden.end), ..hidden }
            }
        };
        shown.push_str(&text[done..value.start()]);
        shown.extend([hidden.opening, HIDDEN, hidden.closing]);
        (done, at) = (hidden.end, hidden.end);
    }
    if done == 0 {
        return text;
    }
    shown.push_str(&text[done..]);
    Cow::Owned(shown)
}

/// Where a value ends, and its quotes.
struct Hidden<'t> {
    end: usize,
    opening: &'t str,
    closing: &'t str,
}

/// All of a value whose beginning was found.
fn whole(text: &str, start: usize, end: usize) -> Hidden<'_> {
    let value = &text[start..end];
    match value.as_bytes() {
        [b'{' | b'[', ..] => Hidden { end, opening: "", closing: "" },
        [b'\\', ..] => {
            let escapes = value.len() - value.trim_start_matches('\\').len();
            let opening = &value[..=escapes];
            Hidden { end: closing(text, start + opening.len(), escapes).unwrap_or(end), opening, closing: "" }
        }
        [b'"', .., b'"'] => {
            // Of quotes in quotes only the last closes.
            let end = closing(text, start + 1, 0).map_or(end, |close| (close + 1).max(end));
            Hidden { end: behind_quote(text, start, end), opening: "\"", closing: "\"" }
        }
        [b'\'', .., b'\''] => Hidden { end: behind_quote(text, start, end), opening: "'", closing: "'" },
        [b'"' | b'\'', ..] => Hidden { end, opening: &value[..1], closing: "" },
        _ => Hidden { end: glued(text, start, end), opening: "", closing: "" },
    }
}

/// Where what was opened by a quote behind so many backslashes closes: before the closing quote's own backslashes. A
/// quote with fewer of them closes what it stands in.
pub(super) fn closing(text: &str, from: usize, escapes: usize) -> Option<usize> {
    let mut at = from;
    while let Some(found) = text[at..].find('"') {
        let quote = at + found;
        let before = text[from..quote].len() - text[from..quote].trim_end_matches('\\').len();
        if before < escapes {
            return Some(quote - before);
        }
        if (before - escapes).is_multiple_of(2 * (escapes + 1)) {
            return Some(quote - escapes);
        }
        at = quote + 1;
    }
    None
}

/// How the shell writes a quote within quotes: it closes them, and opens them again.
const QUOTE_WITHIN: [&str; 2] = [r"\''", r#""'"'"#];

/// Where a value ends that goes on behind its closing quote: `'Hun'ter2`.
fn behind_quote(text: &str, start: usize, end: usize) -> usize {
    let rest = &text[end..];
    if !goes_on(rest) {
        return end;
    }
    let Some(again) = QUOTE_WITHIN.iter().find(|again| rest.starts_with(**again)) else {
        return glued(text, start, end);
    };
    // The last of the quotes closes those that were opened again.
    let behind = glued(text, start, end + again.len());
    behind + usize::from(text[behind..].starts_with(&text[end - 1..end]))
}

/// Whether a word goes on behind a quote.
fn goes_on(rest: &str) -> bool {
    let rest = QUOTE_WITHIN.iter().find_map(|again| rest.strip_prefix(again)).unwrap_or(rest);
    rest.starts_with(|c: char| c.is_alphanumeric())
}

/// What the shell runs behind a sign of its own: a path, or a program that those who attack use.
static COMMAND: LazyLock<Regex> = LazyLock::new(|| {
    let known =
        "wget|curl|sh|bash|dash|zsh|cd|echo|printf|export|exec|eval|source|python[0-9.]*|perl|nc|cat|rm|chmod|sudo";
    pattern(&format!(r"^(?:/|\./|(?:{known})(?:[^0-9A-Za-z_.-]|$))"))
});

/// Whether a value is that of an option, `--token VALUE`, and not that of a name: `TOKEN=VALUE`, behind which the shell's
/// signs begin another command, and those of a connection another setting.
fn is_of_option(text: &str, start: usize) -> bool {
    let near = &text[text.floor_char_boundary(start.saturating_sub(WORD_BEFORE))..start];
    let told = near.trim_end().trim_end_matches(['\\', '"', '\'']);
    let separates = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '(' | ',' | '[');
    let (before, word) = told.rfind(separates).map_or(("", told), |at| (&told[..at], &told[at + 1..]));
    word.starts_with('-') || !word.ends_with(['=', ':']) || before.trim_end().ends_with("--from-literal")
}

/// Where a word ends of which the value's beginning was found: at the next blank. Sensors join arguments without quotes,
/// so signs of the shell may be part of an option's value; but not two of them, nor where a blank follows, the next
/// name, a command, or the end.
fn glued(text: &str, start: usize, end: usize) -> usize {
    let mut at = end;
    let is_of_option = is_of_option(text, start);
    while let Some(sign) = text[at..].chars().next() {
        let rest = &text[at + sign.len_utf8()..];
        let taken = match sign {
            _ if sign.is_whitespace() => break,
            '&' if is_in_query(text, start) => break,
            '&' | ';' | '|' if !is_of_option => break,
            '&' | ';' | '|' if rest.starts_with(['&', ';', '|']) || COMMAND.is_match(rest) => break,
            '&' | ';' | ',' if NEXT.is_match(rest) => break,
            '\\' => match escaped(rest) {
                Some(bytes) => bytes,
                None => break,
            },
            '"' | '\'' if !goes_on(rest) => break,
            '"' | '\'' => {
                let near = &rest[..rest.floor_char_boundary(QUOTED)];
                near.find(sign).map_or(0, |close| close + 1)
            }
            _ => 0,
        };
        at += sign.len_utf8() + taken;
    }
    at
}

/// How many bytes behind a backslash belong to the word; none where it belongs to a quote or a line break that ends it.
fn escaped(rest: &str) -> Option<usize> {
    let behind = rest.trim_start_matches('\\');
    let bytes = rest.len() - behind.len();
    match behind.as_bytes() {
        [b'"' | b'\'', ..] => goes_on(&behind[1..]).then_some(bytes + 1),
        [b'n' | b'r' | b't', ..] if NEXT.is_match(&behind[1..]) => None,
        _ => Some(bytes),
    }
}

/// Whether a value stands in an address, behind its `?`.
fn is_in_query(text: &str, start: usize) -> bool {
    let near = &text[text.floor_char_boundary(start.saturating_sub(WORD_BEFORE))..start];
    let ends = |b: &u8| b.is_ascii_whitespace() || matches!(b, b'"' | b'\'' | b'?');
    near.bytes().rfind(ends) == Some(b'?')
}

/// Where the next word ends, if it is neither an option nor a fact of a sentence nor a sign of the shell.
fn with_next(text: &str, end: usize) -> usize {
    let rest = text[end..].trim_start_matches([' ', '\t']);
    let word = rest.split_whitespace().next().unwrap_or_default();
    let is_other = word.starts_with(['-', '|', '&', ';', '<', '>', '"', '\'', ')']) || word.contains('=');
    if word.is_empty() || is_other || rest.len() == text[end..].len() {
        return end;
    }
    text.len() - rest.len() + word.len()
}
