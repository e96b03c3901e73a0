//! A delivery of several values: in a row, one a line, or in the lines of a log.

use super::json;
use super::values::Values;
use super::{Element, Elements, Ignored, RECORD, heads, unreadable, values, wrapped};

/// So many broken lines before the first good one, and it is not one document a line.
const MOST_BROKEN_LINES: usize = 1_000;

/// What programs write around the values of a line beside white space: the separators of GELF and of a JSON text sequence.
const AROUND: [u8; 2] = [0, RECORD];

impl Elements {
    /// Several values in a row, whatever stands between them; `None` when that is not what it is.
    pub(super) fn several(mut self, text: &str) -> Option<Self> {
        match values::row(text) {
            Ok(items) if items.len() > 1 => {
                items.into_iter().for_each(|item| self.element(item, 1));
                Some(self)
            }
            _ => self.lines(text.as_bytes()),
        }
    }

    /// One value a line, some of them broken, or the lines of a log; `None` when no line holds anything, or when it looks
    /// like one broken document over several lines rather than many documents.
    pub(super) fn lines(mut self, body: &[u8]) -> Option<Self> {
        let lines: Vec<&[u8]> = body.split(|b| *b == b'\n').map(bare).filter(|line| !line.is_empty()).collect();
        let opens_a_document = lines.first().is_some_and(|line| matches!(line, [b'{' | b'[']));
        // Where the first line is none of JSON, these are the lines of a log.
        let of_log = lines.first().is_some_and(|line| !matches!(line, [b'{' | b'[', ..]));
        let (mut good, mut broken) = (0_usize, 0_usize);
        for line in &lines {
            good += usize::from(self.line(line, of_log));
            broken += usize::from(matches!(self.found.last(), Some(Element::Unreadable { .. })));
            // Rubbish of millions of lines is not kept line by line only to be refused as a whole.
            if good == 0 && broken >= MOST_BROKEN_LINES {
                return None;
            }
            if self.full {
                return Some(self);
            }
        }
        // The lines of one document over many lines do not all begin with a brace.
        let one_each = lines.iter().all(|line| matches!(line, [b'{', _, ..]));
        let believable = good > 0 && (!opens_a_document || one_each || good * 2 >= lines.len());
        believable.then_some(self)
    }

    /// One line; whether it is nothing but objects and lists, or something of ours that a program wrote into its log.
    fn line(&mut self, line: &[u8], of_log: bool) -> bool {
        let text = match std::str::from_utf8(line) {
            Ok(text) => text,
            Err(error) => {
                let text = String::from_utf8_lossy(line);
                let is_alert = heads::is_alert(&text);
                match is_alert {
                    true => self.keep(unreadable(wrapped::AS_TEXT, &text)),
                    false => self.broken_line(error, &text),
                }
                return is_alert;
            }
        };
        let row = values::row(text);
        if let Ok(row) = &row
            && row.iter().all(|value| values::opens(value))
        {
            row.iter().for_each(|value| self.element(value, 1));
            return true;
        }
        if values::has_members(text) {
            let error = row.err().map(|error| error.to_string());
            return self.broken_row(text, &error.unwrap_or_else(|| "it is not all objects and arrays".to_owned()));
        }
        let values = values::read(text);
        let seeming = match self.carried(&values, None) {
            Ok(elements) => {
                self.join(elements);
                let left = values.left.iter().filter(|left| wrapped::beside(left).is_none() && values::begun(left));
                left.for_each(|left| self.broken_line(wrapped::BESIDE, left));
                return true;
            }
            Err(seeming) => seeming,
        };
        let seems = wrapped::not_taken(text);
        let is_said = seems.is_none() && seeming.is_empty() && !values.left.iter().any(|left| values::is_part(left));
        match (row, seems.filter(|_| !values::opens(text))) {
            (_, Some(reason)) => {
                let is_alert = reason == wrapped::AS_TEXT;
                self.keep(unreadable(reason, text));
                return of_log || is_alert;
            }
            // What any program says in its log.
            _ if is_said && heads::length(text) > 0 => self.keep(said(&values)),
            (Err(error), None) if values::opens(text) => self.broken_line(error, text),
            (_, None) => {
                self.broken_line("it is neither an object nor an array, nor a line of a log with an event", text)
            }
        }
        false
    }

    /// One line that begins with a value, and has something broken in it; whether something of ours is among it.
    fn broken_row(&mut self, text: &str, error: &str) -> bool {
        let is_ours =
            |value: &str| self.carried(&Values { found: vec![value.into()], ..Values::default() }, None).is_ok();
        let values = values::sequence(text, is_ours);
        if !values.found.iter().any(|value| is_ours(value)) {
            self.broken_line(error, text);
            return false;
        }
        values.found.iter().for_each(|value| self.element(value, 1));
        for left in &values.left {
            match wrapped::beside(left) {
                Some(element) => self.keep(element),
                None if values::begun(left) => self.broken_line(wrapped::BESIDE, left),
                // Words, or brackets without anything in them.
                None => {}
            }
        }
        true
    }

    fn broken_line(&mut self, error: impl std::fmt::Display, line: &str) {
        self.keep(unreadable(format!("this line cannot be read as JSON: {error}"), line));
    }
}

/// A line without what programs write around it.
fn bare(line: &[u8]) -> &[u8] {
    let is_around = |byte: &u8| byte.is_ascii_whitespace() || AROUND.contains(byte);
    let start = line.iter().position(|byte| !is_around(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_around(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// What a program said in its log, when that is no event: words, or an object of its own.
fn said(values: &Values<'_>) -> Element {
    let members = values.found.first().and_then(|value| json::read(value, wrapped::names).ok());
    match members {
        Some(members) => Element::Unknown { kind: Ignored::Unrecognised, members },
        None => Element::Ignored(Ignored::Unrecognised),
    }
}
