//! What can be said about an expression's text before anything parses it: its size, and the operands of `&&` and `||`.

use super::limits::{Limits, Place, Refusal};

/// The `&&`/`||` tree at the top of an expression, with each operand's exact text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tree {
    /// All must be true.
    And(Vec<Tree>),
    /// One must be true.
    Or(Vec<Tree>),
    /// Anything else: one term.
    Term(String),
}

impl Tree {
    /// How many terms there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Term(_) => 1,
            Self::And(parts) | Self::Or(parts) => parts.iter().map(Self::len).sum(),
        }
    }

    /// Never: there is at least one term.
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The terms from left to right.
    pub fn terms(&self) -> Vec<&str> {
        match self {
            Self::Term(text) => vec![text.as_str()],
            Self::And(parts) | Self::Or(parts) => parts.iter().flat_map(Self::terms).collect(),
        }
    }
}

/// Refuses what must not reach the parser: too long, empty, control characters, brackets nested too deep.
pub(super) fn check(text: &str, limits: &Limits) -> Result<(), Refusal> {
    let length = text.chars().count();
    if length > limits.characters {
        return Err(Refusal::TooLong { length, limit: limits.characters });
    }
    if text.trim().is_empty() {
        return Err(Refusal::Empty);
    }
    if let Some(at) = text.find(|c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Refusal::Syntax { place: Place::after(text, at), message: "a control character".into() });
    }
    let mut depth = 0usize;
    for token in tokens(text) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits.brackets {
            return Err(Refusal::TooDeep { limit: limits.brackets });
        }
    }
    Ok(())
}

/// Splits an expression that is known to parse into the operands of its top-level `&&` and `||`.
pub fn split_terms(text: &str) -> Tree {
    split(text, 0)
}

fn split(text: &str, depth: usize) -> Tree {
    let text = text.trim();
    let marks = top_level(text);
    if depth > 64 || marks.iter().any(|(kind, _)| *kind == Kind::Question) {
        return Tree::Term(text.to_owned());
    }
    for (kind, build) in [(Kind::Or, Tree::Or as fn(Vec<Tree>) -> Tree), (Kind::And, Tree::And)] {
        let cuts: Vec<usize> = marks.iter().filter(|(k, _)| *k == kind).map(|(_, at)| *at).collect();
        if !cuts.is_empty() {
            return build(pieces(text, &cuts).into_iter().map(|piece| split(piece, depth + 1)).collect());
        }
    }
    match wrapped(text) {
        Some(inner) => match split(inner, depth + 1) {
            Tree::Term(_) => Tree::Term(text.to_owned()),
            tree => tree,
        },
        None => Tree::Term(text.to_owned()),
    }
}

fn pieces<'t>(text: &'t str, cuts: &[usize]) -> Vec<&'t str> {
    let mut found = Vec::with_capacity(cuts.len() + 1);
    let mut start = 0;
    for cut in cuts {
        found.push(&text[start..*cut]);
        start = cut + 2;
    }
    found.push(&text[start..]);
    found
}

/// The text inside one pair of parentheses that spans all of it.
fn wrapped(text: &str) -> Option<&str> {
    let mut depth = 0usize;
    let tokens: Vec<Token> = tokens(text).collect();
    if !text.starts_with('(') || !text.ends_with(')') {
        return None;
    }
    for (index, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && index + 1 < tokens.len() {
            return None;
        }
    }
    Some(&text[1..text.len() - 1])
}

fn top_level(text: &str) -> Vec<(Kind, usize)> {
    let mut depth = 0usize;
    let mut marks = Vec::new();
    for token in tokens(text) {
        match token.kind {
            Kind::Open => depth += 1,
            Kind::Close => depth = depth.saturating_sub(1),
            kind @ (Kind::And | Kind::Or | Kind::Question) if depth == 0 => marks.push((kind, token.at)),
            _ => {}
        }
    }
    marks
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Open,
    Close,
    And,
    Or,
    Question,
    Other,
}

struct Token {
    kind: Kind,
    at: usize,
}

/// The brackets and logical operators outside strings and comments.
fn tokens(text: &str) -> impl Iterator<Item = Token> + '_ {
    let bytes = text.as_bytes();
    let mut at = 0;
    std::iter::from_fn(move || {
        while at < bytes.len() {
            let start = at;
            let kind = match bytes[at] {
                b'(' | b'[' | b'{' => Kind::Open,
                b')' | b']' | b'}' => Kind::Close,
                b'?' => Kind::Question,
                b'&' if bytes.get(at + 1) == Some(&b'&') => Kind::And,
                b'|' if bytes.get(at + 1) == Some(&b'|') => Kind::Or,
                b'/' if bytes.get(at + 1) == Some(&b'/') => {
                    at += bytes[at..].iter().position(|b| *b == b'\n').unwrap_or(bytes.len() - at);
                    continue;
                }
                b'"' | b'\'' => {
                    at = after_string(bytes, at, false);
                    return Some(Token { kind: Kind::Other, at: start });
                }
                b'r' | b'R' | b'b' | b'B' if !inside_word(bytes, at) && string_prefix(bytes, at).is_some() => {
                    let (quote, raw) = string_prefix(bytes, at).unwrap_or((at, false));
                    at = after_string(bytes, quote, raw);
                    return Some(Token { kind: Kind::Other, at: start });
                }
                b' ' | b'\n' | b'\t' | b'\r' => {
                    at += 1;
                    continue;
                }
                _ => Kind::Other,
            };
            at += if matches!(kind, Kind::And | Kind::Or) { 2 } else { 1 };
            return Some(Token { kind, at: start });
        }
        None
    })
}

fn inside_word(bytes: &[u8], at: usize) -> bool {
    at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_')
}

/// Where the quote is behind a prefix such as `r`, `b` or `br`, and whether the string is raw.
fn string_prefix(bytes: &[u8], at: usize) -> Option<(usize, bool)> {
    let mut raw = false;
    for offset in 0..3 {
        match bytes.get(at + offset)? {
            b'"' | b'\'' => return Some((at + offset, raw)),
            b'r' | b'R' => raw = true,
            b'b' | b'B' => {}
            _ => return None,
        }
    }
    None
}

fn after_string(bytes: &[u8], quote_at: usize, raw: bool) -> usize {
    let quote = bytes[quote_at];
    let triple = bytes[quote_at..].starts_with(&[quote; 3]);
    let width = if triple { 3 } else { 1 };
    let mut at = quote_at + width;
    while at < bytes.len() {
        if bytes[at] == b'\\' && !raw {
            at += 2;
        } else if bytes[at..].starts_with(&[quote; 3][..width]) {
            return at + width;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terms(text: &str) -> Vec<String> {
        split_terms(text).terms().into_iter().map(str::to_owned).collect()
    }

    #[test]
    fn operands_keep_their_exact_text() {
        assert_eq!(terms("a == 'x && y' &&\n b"), ["a == 'x && y'", "b"]);
        assert_eq!(terms("(a || b) && !(c && d)"), ["a", "b", "!(c && d)"]);
        assert_eq!(terms("(a) && (b)"), ["(a)", "(b)"]);
        assert_eq!(terms("a && b ? c : d"), ["a && b ? c : d"]);
        assert_eq!(terms(r"a.matches(r'\') || b"), [r"a.matches(r'\')", "b"]);
        assert_eq!(terms("a // && b\n && c"), ["a // && b", "c"]);
        assert_eq!(terms(r#"x == """a"||"b""" || y"#), [r#"x == """a"||"b""""#, "y"]);
        assert_eq!(terms("[1].all(x, x > 0 && x < 2)"), ["[1].all(x, x > 0 && x < 2)"]);
    }
}
