//! Several values in one text: in a row, one a line, behind what a log is known to write before each of them, or as text
//! within quotes. What is no value is left over; who reads keeps of it what may hold an event.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::{heads, signs};

/// JSON texts within JSON texts are read this deep.
const DEEPEST: usize = 3;

/// What stands before the rest of a line of which the beginning was taken.
const REST: &str = "… ";

/// What breaks off is tried again from the next line on, until so many times the text was read.
const MOST_READINGS: usize = 2;

/// What a text holds.
#[derive(Debug, Default)]
pub(super) struct Values<'t> {
    /// The objects, and the lists of them, as they were written.
    pub(super) found: Vec<Cow<'t, str>>,
    /// What stands between them.
    pub(super) left: Vec<Cow<'t, str>>,
}

impl<'t> Values<'t> {
    fn leave(&mut self, text: &'t str) {
        let text = text.trim();
        if !text.is_empty() {
            self.left.push(Cow::Borrowed(text));
        }
    }

    /// As copies of its own.
    pub(super) fn into_owned(self) -> Values<'static> {
        let owned = |texts: Vec<Cow<'_, str>>| texts.into_iter().map(|text| Cow::Owned(text.into_owned())).collect();
        Values { found: owned(self.found), left: owned(self.left) }
    }
}

/// Whether a value is an object or a list.
pub(super) fn opens(text: &str) -> bool {
    text.starts_with(['{', '['])
}

/// The values of a text that is nothing but values, whatever white space is between them.
pub(super) fn row(text: &str) -> Result<Vec<&str>, serde_json::Error> {
    let stream = serde_json::Deserializer::from_str(text).into_iter::<&RawValue>();
    stream.map(|value| value.map(RawValue::get)).collect()
}

/// The values of a line that is meant to be nothing but values, one of them broken. Behind that one it goes on with the next
/// that `is_ours`, where the broken one's brackets tell its end; where they do not, all the rest is left.
pub(super) fn sequence(text: &str, is_ours: impl Fn(&str) -> bool) -> Values<'_> {
    let mut values = Values::default();
    let mut rest = behind_separators(text);
    while !rest.is_empty() {
        match first(rest) {
            Some(Ok(value)) => {
                values.found.push(Cow::Borrowed(value));
                rest = behind_separators(&rest[value.len()..]);
            }
            Some(Err(error)) => {
                let end = balanced(rest).filter(|_| !error.is_eof());
                let next = end.map(|end| (end, behind_separators(&rest[end..])));
                let goes_on = |next: &str| matches!(first(next), Some(Ok(value)) if is_ours(value));
                let Some((end, next)) = next.filter(|(_, next)| goes_on(next)) else {
                    values.leave(rest);
                    break;
                };
                values.leave(&rest[..end]);
                rest = next;
            }
            None => {
                // Alone, it might look as if it began a line.
                values.left.push(Cow::Owned(format!("{REST}{rest}")));
                break;
            }
        }
    }
    values
}

/// The value with which a text begins, if it is an object with members or a list of such.
fn first(text: &str) -> Option<Result<&str, serde_json::Error>> {
    let value = has_members(text).then(|| serde_json::Deserializer::from_str(text).into_iter::<&RawValue>().next());
    Some(value.flatten()?.map(RawValue::get))
}

/// What programs write between values on a line: also NUL, and the separator of a JSON text sequence.
fn behind_separators(text: &str) -> &str {
    text.trim_start_matches(|c: char| c.is_whitespace() || matches!(c, ',' | '\0' | '\u{1e}'))
}

/// Where a broken value ends: behind the bracket that closes its first one. Brackets within strings do not count.
fn balanced(text: &str) -> Option<usize> {
    let (mut open, mut in_string, mut escaped) = (Vec::new(), false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' => open.push(b'}'),
            b'[' => open.push(b']'),
            b'}' | b']' if open.pop() != Some(byte) => return None,
            b'}' | b']' if open.is_empty() => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Whether an object with members, or a list of such, begins what was left and does not end in it; also as text in quotes.
pub(super) fn begun(left: &str) -> bool {
    let line = left.strip_prefix(REST).unwrap_or(left);
    let said = &line[heads::length(line)..];
    let inner = said.trim_start_matches(['"', '\'']);
    let begins = has_members(inner) || ["{\\\"", "[{\\\""].iter().any(|start| inner.starts_with(start));
    begins && row(said).is_err()
}

/// What stood behind a value on its line, when that is what was left.
pub(super) fn behind(left: &str) -> Option<&str> {
    left.strip_prefix(REST)
}

/// Whether an object with members begins somewhere in the first line of what was left behind a value; also as text in quotes.
pub(super) fn holds_more(left: &str) -> bool {
    let Some(rest) = behind(left) else { return false };
    let line = rest.lines().next().unwrap_or_default();
    // Each run of white space is looked at once.
    line.match_indices('{').any(|(at, _)| {
        let members = rest[at + 1..].trim_start();
        members.starts_with('"') || members.starts_with("\\\"")
    })
}

/// Whether what was left may be a part of an object that breaks off at its end or at its beginning: a long line is cut by
/// containerd.
pub(super) fn is_part(left: &str) -> bool {
    begun(left) || left.contains("\":") || left.contains("\\\":")
}

/// The objects, and the lists of them, with which a text's lines begin, behind what a log is known to write there. What
/// stands anywhere else in a line is what somebody said.
pub(super) fn read(text: &str) -> Values<'_> {
    read_to(text.trim(), DEEPEST)
}

fn read_to(text: &str, depth: usize) -> Values<'_> {
    let mut values = Values::default();
    // Most texts of most logs hold neither an object nor a name of ours.
    if depth == 0
        || !(opens(text) || ["{\"", "{\\\""].iter().any(|begins| text.contains(begins)) || signs::may_be_in(text))
    {
        values.leave(text);
        return values;
    }
    if let Ok(row) = row(text)
        && row.iter().all(|value| opens(value))
        && row.iter().any(|value| holds_object(value))
    {
        values.found = row.into_iter().filter(|value| holds_object(value)).map(Cow::Borrowed).collect();
        return values;
    }
    let room = text.len().saturating_mul(MOST_READINGS);
    let mut reader = Reader { text, at: 0, taken: 0, room, broke: false, values };
    while reader.at < text.len() {
        reader.line(depth);
    }
    reader.leave_to(text.len());
    reader.values
}

/// A list without an object in it is a clock, or the number of a process.
fn holds_object(value: &str) -> bool {
    opens(value) && value.contains('{')
}

/// Whether an object with members begins here, or a list of such: other brackets are a clock's, a level's or a pattern's.
pub(super) fn has_members(text: &str) -> bool {
    let inner = |bracket| text.strip_prefix(bracket).map(str::trim_start);
    inner('{').is_some_and(|members| members.starts_with('"')) || inner('[').is_some_and(opens)
}

/// On its way through a text, line by line.
struct Reader<'t> {
    text: &'t str,
    /// Where the next line begins.
    at: usize,
    /// What is before this is among the values already.
    taken: usize,
    /// How many bytes may still be read for values that break off.
    room: usize,
    /// Whether something broke off: what follows may be a part of it, unless it begins a line.
    broke: bool,
    values: Values<'t>,
}

impl<'t> Reader<'t> {
    /// Reads a line, and further where its last value ends on another one.
    fn line(&mut self, depth: usize) {
        let (text, begins) = (self.text, self.at);
        let line = text[begins..].lines().next().unwrap_or_default();
        self.broke |= line.starts_with(REST);
        let mut at = begins + line.len() - line.trim_start().len();
        if !line.contains(['{', '[']) || (self.broke && at > begins) {
            self.at = self.behind(begins, 0);
            return;
        }
        let head = heads::length(&text[at..begins + line.len()]);
        at += head;
        match text.as_bytes().get(at) {
            Some(b'"') if !self.broke && self.quoted(begins, at, depth) => return,
            // The quotes may also be around JSON as it is: `msg="{"rule":…}"`.
            Some(b'"' | b'\'') if head > 0 => at += 1,
            _ => {}
        }
        self.row(begins, at);
    }

    /// Values one after the other, of which the first begins at `at`.
    fn row(&mut self, begins: usize, mut at: usize) {
        let text = self.text;
        loop {
            let next = text.get(at..).unwrap_or_default();
            match first(next) {
                Some(Ok(value)) => {
                    at += value.len();
                    if holds_object(value) {
                        self.take(begins, at);
                        self.values.found.push(Cow::Borrowed(value));
                    }
                    at += text[at..].len() - text[at..].trim_start_matches([' ', '\t', ',']).len();
                }
                Some(Err(error)) => {
                    self.broke = true;
                    return self.at = self.behind(at, read_of(next, &error));
                }
                None => return self.at = self.behind(at, 0),
            }
        }
    }

    /// What comes before `end` is taken, from where its line begins.
    fn take(&mut self, begins: usize, end: usize) {
        self.leave_to(begins);
        self.taken = end;
    }

    /// What was not taken before `end` is left. What does not begin a line says so: alone, it might look as if it did.
    fn leave_to(&mut self, end: usize) {
        let left = self.text.get(self.taken..end).unwrap_or_default();
        let at = self.taken + left.len() - left.trim_start().len();
        match at == 0 || self.text[..at].ends_with('\n') {
            true => self.values.leave(left),
            false if left.trim().is_empty() => {}
            false => self.values.left.push(Cow::Owned(format!("{REST}{}", left.trim()))),
        }
    }

    /// Where the line ends that `at` is in; or, once too much was read in vain, where that ended.
    fn behind(&mut self, at: usize, read: usize) -> usize {
        let rest = self.text.get(at..).unwrap_or_default();
        let line = rest.find('\n').map_or(rest.len(), |end| end + 1);
        match self.room.checked_sub(read) {
            Some(room) => {
                self.room = room;
                at + line
            }
            None => at + line.max(read),
        }
    }

    /// JSON as a text within quotes: `msg="{\"rule\":…}"`. Whether there is any.
    fn quoted(&mut self, begins: usize, at: usize, depth: usize) -> bool {
        let mut stream = serde_json::Deserializer::from_str(&self.text[at..]).into_iter::<String>();
        let Some(Ok(inner)) = stream.next() else { return false };
        let end = at + stream.byte_offset();
        // What more follows than white space, this is a part of: what somebody's event says, which begins before the text.
        if self.text[end..].starts_with(|c: char| !c.is_whitespace()) {
            return false;
        }
        let inner = read_to(inner.trim(), depth - 1).into_owned();
        if inner.found.is_empty() {
            return false;
        }
        self.take(begins, end);
        self.values.found.extend(inner.found);
        self.values.left.extend(inner.left);
        self.at = self.behind(end, 0);
        true
    }
}

/// How many bytes were read of a value that cannot be one.
fn read_of(value: &str, error: &serde_json::Error) -> usize {
    if error.is_eof() {
        return value.len();
    }
    let lines: usize = value.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    value.floor_char_boundary(lines + error.column())
}
