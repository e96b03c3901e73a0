//! Several values in one text: in a row, one a line, behind what a log writes before each of them, or as text within
//! quotes. What is no value is left over, and never forgotten.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::signs;

/// JSON texts within JSON texts are read this deep.
const DEEPEST: usize = 3;

/// What breaks off beyond its line is tried again from the next line on, until this many times the text was read.
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

/// The objects, and the lists of them, in a text. Behind something else, one is looked for only where an event may be.
pub(super) fn read(text: &str) -> Values<'_> {
    read_to(text.trim(), DEEPEST)
}

fn read_to(text: &str, depth: usize) -> Values<'_> {
    let mut values = Values::default();
    let may_hold_event = signs::may_be_in(text);
    if depth == 0 || !(opens(text) || may_hold_event) {
        values.leave(text);
        return values;
    }
    if let Ok(row) = row(text).map(|row| row.into_iter().filter(|value| holds_object(value)).collect::<Vec<_>>())
        && !row.is_empty()
    {
        values.found = row.into_iter().map(Cow::Borrowed).collect();
        return values;
    }
    let mut reader = Reader { text, taken: 0, at: 0, broke: None, room: text.len().saturating_mul(MOST_READINGS) };
    while let Some(start) = reader.next(may_hold_event) {
        if text[start..].starts_with('"') {
            reader.quoted(start, depth, &mut values);
        } else {
            reader.value(start, &mut values);
        }
    }
    values.leave(&text[reader.taken..]);
    values
}

/// A list without an object in it is a clock, or the number of a process.
fn holds_object(value: &str) -> bool {
    opens(value) && value.contains('{')
}

/// On its way through a text.
struct Reader<'t> {
    text: &'t str,
    /// What is before this is among the values already.
    taken: usize,
    at: usize,
    /// The first thing that broke off.
    broke: Option<Broken>,
    /// How many bytes may still be read twice.
    room: usize,
}

/// What broke off.
#[derive(Clone, Copy)]
struct Broken {
    /// Its brackets are counted up to here.
    at: usize,
    /// How many of them are open.
    open: usize,
}

impl<'t> Reader<'t> {
    /// Where the next value may begin: at a bracket, or at a quote before one.
    fn next(&self, may_hold_event: bool) -> Option<usize> {
        let text = self.text;
        let begins = |at: usize| {
            let after = &text[at + 1..];
            !text[at..].starts_with('"') || (opens(after) && !text[..at].ends_with('\\'))
        };
        // A text without an event's name is read as far as its values follow one another.
        if !may_hold_event && self.broke.is_some() {
            return None;
        }
        let rest = text.get(self.at..)?;
        rest.match_indices(['{', '[', '"']).map(|(at, _)| self.at + at).find(|at| begins(*at))
    }

    fn value(&mut self, start: usize, values: &mut Values<'t>) {
        let rest = &self.text[start..];
        match serde_json::Deserializer::from_str(rest).into_iter::<&RawValue>().next() {
            Some(Ok(value)) => {
                let value = value.get();
                self.at = start + value.len();
                // What is within something that broke off is a part of it, unless it begins a line, or that was closed
                // before.
                let is_whole = !self.is_member(start)
                    && (self.broke.is_none()
                        || self.text[..start].ends_with('\n')
                        || (!self.is_within(start) && signs::begun(value).is_some()));
                if is_whole && holds_object(value) {
                    values.leave(&self.text[self.taken..start]);
                    values.found.push(Cow::Borrowed(value));
                    self.taken = self.at;
                }
            }
            Some(Err(error)) => {
                self.is_within(start);
                self.broke.get_or_insert(Broken { at: start, open: 0 });
                self.at = start + self.reached(rest, &error);
            }
            None => self.at = self.text.len(),
        }
    }

    /// Whether a place is within what broke off before it: some of its brackets are still open there.
    fn is_within(&mut self, place: usize) -> bool {
        let Some(broken) = &mut self.broke else { return false };
        for sign in self.text.as_bytes().get(broken.at..place).unwrap_or_default() {
            match sign {
                b'{' | b'[' => broken.open += 1,
                b'}' | b']' => broken.open = broken.open.saturating_sub(1),
                _ => {}
            }
        }
        broken.at = broken.at.max(place);
        broken.open > 0
    }

    /// Whether a member's name stands before a place, or its end: of an object that began before the text does.
    fn is_member(&self, start: usize) -> bool {
        let before = self.text[..start].trim_end_matches([' ', '\t']).strip_suffix(':');
        before.is_some_and(|before| before.is_empty() || before.ends_with(|c: char| c == '"' || c.is_whitespace()))
    }

    /// Whether a text in quotes stands for itself. As a member of an object or an element of a list it belongs to these,
    /// and where they break off it is what somebody's event says, not an event.
    fn is_alone(&self, start: usize, end: usize) -> bool {
        let before = self.text[..start].trim_end();
        let after = &self.text[end..];
        self.broke.is_none()
            && !before.ends_with([':', ',', '[', '{'])
            && (after.is_empty() || after.starts_with(char::is_whitespace))
    }

    /// JSON as a text within quotes: `msg="{\"rule\":…}"`.
    fn quoted(&mut self, start: usize, depth: usize, values: &mut Values<'t>) {
        let rest = &self.text[start..];
        let mut stream = serde_json::Deserializer::from_str(rest).into_iter::<String>();
        match stream.next() {
            Some(Ok(text)) => {
                let end = start + stream.byte_offset();
                // The quotes may also be around JSON as it is: `msg="{"rule":…}"`.
                self.at = start + 1;
                let is_alone = self.is_alone(start, end);
                let inner = if is_alone { read_to(text.trim(), depth - 1).into_owned() } else { Values::default() };
                if !inner.found.is_empty() {
                    values.leave(&self.text[self.taken..start]);
                    values.found.extend(inner.found);
                    values.left.extend(inner.left);
                    (self.at, self.taken) = (end, end);
                }
            }
            _ => self.at = start + 1,
        }
    }

    /// How far a value was read that cannot be one; within its line, as long as there is room.
    fn reached(&mut self, rest: &str, error: &serde_json::Error) -> usize {
        let reached = if error.is_eof() {
            rest.len()
        } else {
            let lines: usize = rest.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
            // The character itself may begin the next value.
            rest.floor_char_boundary((lines + error.column()).saturating_sub(1)).max(1)
        };
        match (rest[..reached].find('\n'), self.room.checked_sub(reached)) {
            (Some(end), Some(room)) => {
                self.room = room;
                end + 1
            }
            _ => reached,
        }
    }
}
