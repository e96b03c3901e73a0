//! Patterns in RE2's syntax, handed to the linear-time `regex` crate.
//!
//! The two differ where it would matter silently: in RE2 `\d \w \s \b` know ASCII only, `[a&&b]` is no intersection,
//! `{` without a count is itself, and `\Q...\E` quotes. The pattern is rewritten so that it means what RE2 means.

use std::collections::HashMap;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};

/// A pattern that fits is small; its size says what a match may cost at the worst. In bytes.
const SMALL: usize = 1 << 14;
/// Nothing larger is compiled.
const LARGE: usize = 1 << 20;

/// A compiled pattern.
#[derive(Debug)]
pub struct Pattern {
    regex: Regex,
    size: usize,
}

impl Pattern {
    /// Whether a part of the text matches.
    pub(super) fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }

    /// What looking through the text may cost at the worst, in steps: every state at every byte.
    pub(super) fn cost(&self, text: &str) -> usize {
        text.len().saturating_mul(self.size) / 1024
    }

    /// What compiling it cost, in steps.
    pub(super) fn price(&self) -> usize {
        if self.size <= SMALL { 20_000 } else { 120_000 }
    }
}

/// The literal patterns of one text, each compiled once, as far as the bounds allow: the others are compiled when they
/// are met, and paid for then.
#[derive(Debug)]
pub(super) struct Literals {
    compiled: HashMap<String, Option<Arc<Pattern>>>,
    left: usize,
}

impl Default for Literals {
    fn default() -> Self {
        Self { compiled: HashMap::new(), left: 2_000_000 }
    }
}

impl Literals {
    /// The pattern, if it compiles and there is still room for it.
    pub(super) fn compile(&mut self, source: &str) -> Option<Arc<Pattern>> {
        if let Some(found) = self.compiled.get(source) {
            return found.clone();
        }
        // One that does not compile may have cost as much as the largest that does.
        let most = 120_000;
        self.left = self.left.checked_sub(most)?;
        let compiled = compile(source).ok().map(Arc::new);
        self.left += most - compiled.as_ref().map_or(most, |pattern| pattern.price());
        self.compiled.insert(source.to_owned(), compiled.clone());
        compiled
    }
}

/// Compiles a pattern; the error is a sentence without the library's drawing.
pub(super) fn compile(pattern: &str) -> Result<Pattern, String> {
    if pattern.chars().count() > 4096 {
        return Err("is longer than 4096 characters".into());
    }
    let rewritten = rewrite(pattern)?;
    for size in [SMALL, LARGE] {
        let mut builder = RegexBuilder::new(&rewritten);
        match builder.size_limit(size).dfa_size_limit(LARGE).octal(true).nest_limit(100).build() {
            Ok(regex) => return Ok(Pattern { regex, size }),
            Err(regex::Error::CompiledTooBig(_)) => {}
            Err(other) => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default().trim();
                return Err(format!("cannot be read: {}", last.trim_start_matches("error: ")));
            }
        }
    }
    Err("is too large when compiled".into())
}

fn rewrite(pattern: &str) -> Result<String, String> {
    let chars: Vec<char> = pattern.chars().collect();
    let mut out = String::with_capacity(pattern.len() + 16);
    let (mut at, mut class, mut repeats) = (0, false, Repeats::default());
    while at < chars.len() {
        let c = chars[at];
        match c {
            '\\' => {
                repeats.last = 1;
                at = escape(&chars, at, class, &mut out)?;
                continue;
            }
            '[' if class => match named_class(&chars[at..])? {
                true => out.push('['),
                false => out.push_str("\\["),
            },
            '[' => {
                at = open_class(&chars, at, &mut out);
                class = true;
                continue;
            }
            ']' if class && !posix_end(&chars, at) => {
                (class, repeats.last) = (false, 1);
                out.push(']');
            }
            '&' | '~' if class => {
                out.push('\\');
                out.push(c);
            }
            '-' if class && chars.get(at + 1) == Some(&'-') => {
                return Err(r"has -- in a class, which is a range here and something else elsewhere; write \-".into());
            }
            '{' if !class && !counts(&chars[at..]) => out.push_str("\\{"),
            '{' | '*' | '+' if !class && at >= 1 && repeats.ended == at => return Err("repeats a repetition".into()),
            '{' if !class => {
                repeats.see(&chars[at..])?;
                out.push('{');
                // The counts stand for no characters that could be repeated.
                let end = chars[at..].iter().position(|c| *c == '}').unwrap_or_default();
                out.extend(&chars[at + 1..=at + end]);
                at += end + 1;
                repeats.ended = at;
                continue;
            }
            '(' if !class => {
                if let Some(flags) = flags(&chars[at..])
                    && flags.contains(['x', 'u', 'R'])
                {
                    return Err(format!("has a flag that is not part of the syntax: {flags}"));
                }
                repeats.see(&chars[at..])?;
                out.push('(');
            }
            ')' if !class => {
                repeats.see(&chars[at..])?;
                out.push(')');
            }
            '*' | '+' | '?' if !class && at >= 1 && repeats_twice(&chars, at) => {
                return Err("repeats a repetition".into());
            }
            _ => {
                if !matches!(c, '*' | '+' | '?') {
                    repeats.last = 1;
                }
                out.push(c);
            }
        }
        at += 1;
    }
    Ok(out)
}

/// `**`, `+*` and the like, which RE2 refuses; a `?` behind a repetition makes it lazy.
fn repeats_twice(chars: &[char], at: usize) -> bool {
    let escaped = |at: usize| chars[..at].iter().rev().take_while(|c| **c == '\\').count() % 2 == 1;
    let repetition = |at: usize| matches!(chars[at], '*' | '+' | '?') && !escaped(at);
    if !repetition(at - 1) || (at >= 2 && chars[at - 1] == '?' && chars[at - 2] == '(' && !escaped(at - 2)) {
        return false;
    }
    chars[at] != '?' || (at >= 2 && chars[at - 1] == '?' && repetition(at - 2))
}

fn posix_end(chars: &[char], at: usize) -> bool {
    at > 0
        && chars[at - 1] == ':'
        && chars[..at - 1].iter().rev().take_while(|c| c.is_ascii_alphabetic() || **c == '^').count() > 0
        && {
            let name = chars[..at - 1].iter().rev().take_while(|c| c.is_ascii_alphabetic() || **c == '^').count();
            at >= name + 3 && chars[at - name - 2] == ':' && chars[at - name - 3] == '['
        }
}

/// `[`, `[^`, and a `]` that stands first and is itself.
fn open_class(chars: &[char], mut at: usize, out: &mut String) -> usize {
    out.push('[');
    at += 1;
    if chars.get(at) == Some(&'^') {
        out.push('^');
        at += 1;
    }
    if chars.get(at) == Some(&']') {
        out.push_str("\\]");
        at += 1;
    }
    at
}

fn escape(chars: &[char], at: usize, class: bool, out: &mut String) -> Result<usize, String> {
    let Some(next) = chars.get(at + 1) else { return Err("ends in a backslash".into()) };
    if matches!(next, 'p' | 'P' | 'x') && chars.get(at + 2) == Some(&'{') {
        // A name or number in braces belongs to the escape.
        let end = chars[at..].iter().position(|c| *c == '}').ok_or("has an escape without its closing brace")?;
        match next {
            'x' => out.extend(&chars[at..=at + end]),
            _ => out.push_str(&of_unicode(*next == 'P', &chars[at + 3..at + end].iter().collect::<String>())?),
        }
        return Ok(at + end + 1);
    }
    let ascii = match (next, class) {
        ('d', true) => "0-9",
        ('w', true) => "0-9A-Za-z_",
        ('s', true) => "\\t\\n\\x0C\\r ",
        ('d', false) => "[0-9]",
        ('w', false) => "[0-9A-Za-z_]",
        ('s', false) => "[\\t\\n\\x0C\\r ]",
        ('D', _) => "[^0-9]",
        ('W', _) => "[^0-9A-Za-z_]",
        ('S', _) => "[^\\t\\n\\x0C\\r ]",
        ('b', false) => "(?-u:\\b)",
        ('B', false) => "(?-u:\\B)",
        ('C', _) => return Err("has \\C, which matches half a character".into()),
        ('Q', false) => {
            let rest: String = chars[at + 2..].iter().collect();
            let quoted = rest.split("\\E").next().unwrap_or_default();
            out.push_str(&regex::escape(quoted));
            let closed = if rest.contains("\\E") { 2 } else { 0 };
            return Ok(at + 2 + quoted.chars().count() + closed);
        }
        // What is no letter stands for itself.
        ('<', _) => "<",
        ('>', _) => ">",
        ('u' | 'U' | 'Z' | 'G' | 'k', _) => return Err(format!("has the unknown escape \\{next}")),
        ('1'..='9', _) if !chars.get(at + 2).is_some_and(|c| ('0'..='7').contains(c)) => {
            return Err("refers back to a group, which a linear-time engine cannot do".into());
        }
        _ => "",
    };
    if ascii.is_empty() {
        out.push('\\');
        out.push(*next);
    } else {
        out.push_str(ascii);
    }
    Ok(at + 2)
}

/// `\p{Greek}`, `\p{^Lu}`: a general category or a script, by the names that RE2 knows.
fn of_unicode(negated: bool, name: &str) -> Result<String, String> {
    const CATEGORIES: &str =
        " C Cc Cf Co Cs L Ll Lm Lo Lt Lu M Mc Me Mn N Nd Nl No P Pc Pd Pe Pf Pi Po Ps S Sc Sk Sm So Z Zl Zp Zs Any ";
    let plain = name.trim_start_matches('^');
    let letter = if negated == name.starts_with('^') { 'p' } else { 'P' };
    let is_name = |b: u8| b.is_ascii_alphabetic() || b == b'_';
    let told = !plain.is_empty() && plain.bytes().all(is_name) && name.len() <= plain.len() + 1;
    if told && CATEGORIES.contains(&format!(" {plain} ")) {
        return Ok(format!("\\{letter}{{{plain}}}"));
    }
    let script = format!("\\{letter}{{Script={plain}}}");
    let is_script = told && plain.starts_with(|c: char| c.is_ascii_uppercase()) && Regex::new(&script).is_ok();
    if is_script { Ok(script) } else { Err(format!("has the unknown class \\p{{{name}}}")) }
}

/// Whether `[:name:]` begins here; a name that is not known is refused.
fn named_class(rest: &[char]) -> Result<bool, String> {
    const NAMES: [&str; 14] = [
        "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct", "space", "upper",
        "word", "xdigit",
    ];
    let text: String = rest.iter().take(16).collect();
    let Some((name, _)) = text.strip_prefix("[:").and_then(|text| text.split_once(":]")) else { return Ok(false) };
    if NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
        return Ok(true);
    }
    Err(format!("has the unknown class [:{name}:]"))
}

/// How often the innermost part of nested counted repetitions is repeated, at most.
#[derive(Default)]
struct Repeats {
    open: Vec<u32>,
    /// The most within the group that is open now.
    most: u32,
    /// The most within what stands last.
    last: u32,
    /// Where the last one ended.
    ended: usize,
}

impl Repeats {
    /// One more character that is copied.
    fn see(&mut self, rest: &[char]) -> Result<(), String> {
        match rest[0] {
            '(' => self.open.push(std::mem::take(&mut self.most)),
            ')' => {
                self.last = self.most.max(1);
                self.most = self.most.max(self.open.pop().unwrap_or_default());
                return Ok(());
            }
            '{' => {
                let inner: String = rest.iter().skip(1).take_while(|c| **c != '}').collect();
                let times = inner.split(',').filter_map(|count| count.parse::<u32>().ok()).max().unwrap_or(1);
                let product = times.saturating_mul(self.last.max(1));
                if product > 1000 {
                    return Err("repeats more than 1000 times".into());
                }
                self.most = self.most.max(product);
            }
            _ => {}
        }
        self.last = 1;
        Ok(())
    }
}

fn counts(rest: &[char]) -> bool {
    let inner: String = rest.iter().skip(1).take_while(|c| **c != '}').take(12).collect();
    let closed = rest.get(inner.chars().count() + 1) == Some(&'}');
    let (low, high) = inner.split_once(',').unwrap_or((&inner, ""));
    closed && !low.is_empty() && low.bytes().all(|b| b.is_ascii_digit()) && high.bytes().all(|b| b.is_ascii_digit())
}

fn flags(rest: &[char]) -> Option<String> {
    (rest.get(1) == Some(&'?')).then(|| {
        let flags: String = rest[2..].iter().take_while(|c| c.is_ascii_alphabetic() || **c == '-').collect();
        // `(?P<name>` and `(?<name>` open a group, not flags.
        if rest.get(2 + flags.chars().count()) == Some(&'<') { String::new() } else { flags }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_mean_what_re2_means() {
        let cases = [
            (r"^\d+$", "\u{663}", false),
            (r"^\w$", "é", false),
            ("[a&&b]", "&", true),
            ("a{", "a{", true),
            ("a{,2}", "a{,2}", true),
            (r"\Qa.b\E$", "a.b", true),
            (r"\Qa.b\E$", "axb", false),
            ("[[:alpha:]]", "1", false),
            ("[]a]", "]", true),
            ("[[]", "[", true),
            (r"[\w-]+", "a-b", true),
            ("(?i)ABC", "abc", true),
            ("a*?b", "aab", true),
            (r"\*\*", "**", true),
            (r"^\p{Greek}+$", "αβ", true),
            (r"^\x{1F600}$", "\u{1F600}", true),
            (r"^\p{^Lu}$", "a", true),
            (r"^\P{^Lu}$", "a", false),
            (r"^\p{Any}[\p{Latin}]$", "1a", true),
            (r"^\<\>$", "<>", true),
            ("^[[:^alpha:]]$", "1", true),
            ("^[[:x]$", ":", true),
            ("^(a{2}b{500}){2}$", "a", false),
            ("^a{2}?$", "aa", true),
            (r"(a{500})\d{3}[b]{400}$", "b", false),
        ];
        for (pattern, text, expected) in cases {
            assert_eq!(compile(pattern).unwrap().is_match(text), expected, "{pattern} on {text}");
        }
        for bad in [
            "(",
            "(?=a)",
            r"(a)\1",
            r"\C",
            "a**",
            "(?x)a",
            "a\\",
            "a{1001}",
            r"\p{",
            r"\p{Alphabetic}",
            r"\p{gc=L}",
            r"\p{Script=Latin}",
            r"\p{greek}",
            r"\p{^^L}",
            "[a--b]",
            "[[:foo:]]",
            "(a{500}){3}",
            "((a{50}b){10}c){3}",
            "(a|b{20}){51}",
            "a{2}{2}",
            "a{2}*",
        ] {
            assert!(compile(bad).is_err(), "{bad}");
        }
        assert!(compile(&"(a{1000}){1000}".repeat(3)).is_err());
    }
}
