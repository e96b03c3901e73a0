//! The file `.env`. It is read by dotenvy, which says of a mistake neither where it is nor what is wrong, and takes a
//! variable that is not set for nothing: both are found out here. No text of the file is told, as it may be a secret.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, ErrorKind, Read};
use std::iter::Peekable;
use std::path::PathBuf;
use std::str::Chars;

use crate::files;

/// What the file says, and what cannot be read in it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// Names and values, in the file's order.
    pub(super) values: Vec<(String, String)>,
    /// What is wrong with it.
    pub(super) mistakes: Vec<Mistake>,
}

/// A line that cannot be read, or not as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mistake {
    /// The line where it begins, from 1.
    pub(super) line: usize,
    /// The variable it gives. Whatever stands before a `=` may be a secret, so it is only for who knows the name.
    pub(super) name: String,
    /// What usually is wrong.
    pub(super) fault: Fault,
}

/// What usually is wrong with a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    Utf16,
    NotUtf8,
    NoEquals,
    Name,
    Space,
    Backslash,
    Quote,
    Brace,
    Unset,
    NoBraces,
    Other,
}

impl Fault {
    /// As a predicate of the line.
    pub(super) fn wrong(self) -> &'static str {
        match self {
            Self::Utf16 => "is in UTF-16, and so are all that follow",
            Self::NotUtf8 => "is not in UTF-8",
            Self::NoEquals => "has no =",
            Self::Name => "does not begin with a name and =",
            Self::Space => "has a value with a space that is not in quotes",
            Self::Backslash => "has a backslash that stands before none of \\ ' \" $ n and space",
            Self::Quote => "opens a quote that is not closed",
            Self::Brace => "opens ${ and does not close it",
            Self::Unset => "has a $ that no variable that is set follows: a part of the value would be lost",
            Self::NoBraces => "has a variable without braces right before a quote, a backslash or a space",
            Self::Other => "cannot be read",
        }
    }

    /// What would be right.
    pub(super) fn remedy(self) -> &'static str {
        match self {
            Self::Utf16 | Self::NotUtf8 => "save the file as UTF-8",
            Self::NoEquals | Self::Other => "write one NAME=value a line, and comments behind #",
            Self::Name => "write NAME=value; a name has letters, digits and _, the first no digit",
            Self::Space | Self::Backslash => "put the value in single quotes, which keep every sign as it is",
            Self::Quote => {
                "close it; a value with a single quote in it is put in double quotes, or the other way round"
            }
            Self::Brace | Self::Unset => {
                "put the value in single quotes, which keep every sign as it is; where a variable is meant, write ${NAME} and set it in a line before"
            }
            Self::NoBraces => "write ${NAME}, or put the value in single quotes, which keep every sign as it is",
        }
    }
}

/// The file, and what of it does not show in its lines.
#[derive(Debug)]
pub(super) struct Found {
    /// Where it is.
    pub(super) path: PathBuf,
    /// What it holds.
    pub(super) text: Vec<u8>,
    /// Why it may not be ours, as predicates of the file, each with its remedy.
    pub(super) doubts: Vec<(String, &'static str)>,
}

/// The file in the working directory, or in the nearest folder above that has one.
///
/// # Errors
/// When it cannot be read.
pub(super) fn file() -> io::Result<Option<Found>> {
    let here = std::env::current_dir()?;
    for folder in here.ancestors() {
        let path = folder.join(".env");
        match std::fs::metadata(&path) {
            Ok(found) if found.is_file() => {
                let mut doubts = Vec::new();
                if folder != here {
                    let remedy = "start it in the folder of its own .env, or put an empty one there";
                    doubts.push(("lies above the working directory".to_owned(), remedy));
                }
                let remedy =
                    "whoever writes it chooses the settings: let only the user this runs as, or root, own and write it";
                doubts.extend(files::others_who_write(&found).map(|who| (who, remedy)));
                return Ok(Some(Found { text: std::fs::read(&path)?, path, doubts }));
            }
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(None)
}

/// Reads the file's text. The process's own variables, which `is_set` knows, stand in for `${NAME}`, and win.
pub(super) fn read(bytes: &[u8], is_set: impl Fn(&str) -> bool) -> Told {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        let mistake = Mistake { line: 1, name: String::new(), fault: Fault::Utf16 };
        return Told { mistakes: vec![mistake], ..Told::default() };
    }
    let mut bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).to_vec();
    // Without it dotenvy cannot read a space at the very end.
    bytes.push(b'\n');
    let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
    let (taken, mut told, mut names) = (Cell::new(0), Told::default(), BTreeSet::new());
    let mut entries = dotenvy::from_read_iter(LineByLine { lines: &lines, taken: &taken, rest: &[] });
    loop {
        let before = taken.get();
        let Some(entry) = entries.next() else { return told };
        let place = Place::of(&lines, before, taken.get());
        let set = |name: &str| is_set(name) || names.contains(name);
        let fault = match &entry {
            // What the process has is not taken from here.
            Ok((name, _)) if is_set(name) => None,
            Ok(_) => place.value().and_then(|value| fault_of(value, set)).filter(|fault| fault.is_silent()),
            Err(_) => Some(place.fault(set)),
        };
        if let Some(fault) = fault {
            told.mistakes.push(Mistake { line: place.line, name: place.name().to_owned(), fault });
        }
        names.insert(place.name().to_owned());
        told.values.extend(entry.ok());
    }
}

/// Gives one line at a time, so that how far dotenvy has read is known.
struct LineByLine<'l> {
    lines: &'l [&'l [u8]],
    taken: &'l Cell<usize>,
    rest: &'l [u8],
}

impl Read for LineByLine<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.rest.is_empty() {
            self.rest = self.lines.get(self.taken.get()).copied().unwrap_or_default();
            self.taken.set((self.taken.get() + 1).min(self.lines.len()));
        }
        let count = self.rest.len().min(into.len());
        into[..count].copy_from_slice(&self.rest[..count]);
        self.rest = &self.rest[count..];
        Ok(count)
    }
}

/// Where an entry stands: its first line, and its text, which may be several lines in quotes.
struct Place {
    line: usize,
    text: Option<String>,
}

impl Place {
    /// Among the lines that were read for it, before which there may be empty ones and comments.
    fn of(lines: &[&[u8]], from: usize, to: usize) -> Self {
        let skipped = |line: &&&[u8]| matches!(line.trim_ascii_start().first(), None | Some(b'#'));
        let first = from + lines[from..to].iter().take_while(skipped).count();
        let text = lines.get(first..to).unwrap_or_default().concat();
        Self { line: (first + 1).min(lines.len()), text: String::from_utf8(text).ok() }
    }

    fn parts(&self) -> Option<(&str, &str)> {
        let (name, value) = self.text.as_deref()?.split_once('=')?;
        let name = name.trim();
        Some((name.strip_prefix("export ").map_or(name, str::trim_start), value.trim()))
    }

    fn name(&self) -> &str {
        self.parts().map(|(name, _)| name).unwrap_or_default()
    }

    fn value(&self) -> Option<&str> {
        self.parts().map(|(_, value)| value)
    }

    fn fault(&self, is_set: impl Fn(&str) -> bool) -> Fault {
        let plain = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '.')
        };
        match (&self.text, self.parts()) {
            (None, _) => Fault::NotUtf8,
            (_, None) => Fault::NoEquals,
            (_, Some((name, _))) if !plain(name) => Fault::Name,
            (_, Some((_, value))) => fault_of(value, is_set).unwrap_or(Fault::Other),
        }
    }
}

impl Fault {
    /// dotenvy reads on, and makes another value of it than was meant.
    pub(super) fn is_silent(self) -> bool {
        matches!(self, Self::Unset | Self::NoBraces)
    }
}

/// The first thing in a value that dotenvy cannot read, or reads as something else than was meant.
fn fault_of(value: &str, is_set: impl Fn(&str) -> bool) -> Option<Fault> {
    let mut quote = None;
    let mut rest = value.chars().peekable();
    while let Some(c) = rest.next() {
        match (quote, c) {
            (Some('\''), c) => quote = Some('\'').filter(|_| c != '\''),
            (_, '$') => {
                if let Some(fault) = variable(&mut rest, &is_set) {
                    return Some(fault);
                }
            }
            (_, '\\') if !matches!(rest.next(), Some('\\' | '\'' | '"' | '$' | ' ' | 'n')) => {
                return Some(Fault::Backslash);
            }
            (_, '\\') => {}
            (Some(_), c) => quote = Some('"').filter(|_| c != '"'),
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ' | '\t') => {
                let next = rest.find(|c| !matches!(c, ' ' | '\t'));
                return next.filter(|c| *c != '#').map(|_| Fault::Space);
            }
            (None, _) => {}
        }
    }
    quote.map(|_| Fault::Quote)
}

/// What follows a `$`: a name of letters and digits, or any name in braces.
fn variable(rest: &mut Peekable<Chars<'_>>, is_set: impl Fn(&str) -> bool) -> Option<Fault> {
    let mut name = String::new();
    if rest.next_if_eq(&'{').is_some() {
        loop {
            match rest.next() {
                None => return Some(Fault::Brace),
                Some('}') => return (!is_set(&name)).then_some(Fault::Unset),
                Some(c) => name.push(c),
            }
        }
    }
    while let Some(c) = rest.next_if(|c| c.is_alphanumeric()) {
        name.push(c);
    }
    if !is_set(&name) {
        return Some(Fault::Unset);
    }
    // dotenvy takes the sign behind the name as it is, whatever it is.
    rest.peek().filter(|c| matches!(c, '"' | '\'' | '\\' | ' ' | '\t')).map(|_| Fault::NoBraces)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mistakes(text: &str) -> Vec<(usize, Fault)> {
        let told = read(text.as_bytes(), |name| name == "HOME");
        told.mistakes.into_iter().map(|mistake| (mistake.line, mistake.fault)).collect()
    }

    #[test]
    fn every_mistake_is_told_with_its_line() {
        for (text, expected) in [
            ("A=1\n\n# more\nORG_ID 12\nB=2\nthis too\n", vec![(4, Fault::NoEquals), (6, Fault::NoEquals)]),
            ("A=1\r\nB C=2\r\nD-E=3", vec![(2, Fault::Name), (3, Fault::Name)]),
            ("A=two words\nB=x\nC=a\tb", vec![(1, Fault::Space), (3, Fault::Space)]),
            ("A=C:\\Users\nB=1", vec![(1, Fault::Backslash)]),
            ("A=1\nB=it's\nC=2\n", vec![(2, Fault::Quote)]),
            ("A='one\ntwo'\nB 1\n", vec![(3, Fault::NoEquals)]),
            ("A=1\nB=\"x\ny\nz", vec![(2, Fault::Quote)]),
            ("A=${HOME\n", vec![(1, Fault::Brace)]),
            ("A=1 \nB=2 # why\n  \t\nexport C='$x'  ", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(mistakes(text), expected, "{text:?}");
        }
        let told = read(b"A=1\nB=\xff\nC=3\n", |_| false);
        assert_eq!((told.values.len(), told.mistakes[0].line, told.mistakes[0].fault), (2, 2, Fault::NotUtf8));
    }

    #[test]
    fn a_dollar_that_would_eat_a_part_of_a_value_is_told() {
        for (text, expected) in [
            ("T=\"Zk9$QxT7vLm2#pR4w\"", vec![(1, Fault::Unset)]),
            ("T=a$b", vec![(1, Fault::Unset)]),
            ("T=a$$b", vec![(1, Fault::Unset)]),
            ("T=a$", vec![(1, Fault::Unset)]),
            ("T=a$-b", vec![(1, Fault::Unset)]),
            ("T=\"x$b\"", vec![(1, Fault::Unset)]),
            ("T=${LATER}\nLATER=1", vec![(1, Fault::Unset)]),
            ("T=\"$HOME\"", vec![(1, Fault::NoBraces)]),
            ("T=$HOME # there", vec![(1, Fault::NoBraces)]),
            ("T='a$b'", vec![]),
            ("T=a\\$b", vec![]),
            ("T=x # costs $5", vec![]),
            ("# $5\nT=1", vec![]),
            ("T=\"${HOME}\"", vec![]),
            ("T=$HOME/x", vec![]),
            ("A=1\nB_2=2\nT=$A${B_2}", vec![]),
            ("HOME=a$b", vec![]),
        ] {
            assert_eq!(mistakes(text), expected, "{text:?}");
        }
    }

    #[test]
    fn what_windows_puts_before_the_text_is_skipped_or_told() {
        let told = read(b"\xef\xbb\xbfORG_ID=1\r\nB=2\r\n", |_| false);
        assert!(told.mistakes.is_empty(), "{told:?}");
        assert_eq!(told.values, [("ORG_ID".to_owned(), "1".to_owned()), ("B".to_owned(), "2".to_owned())]);
        let told = read(b"\xff\xfeO\0R\0", |_| false);
        assert_eq!((told.values.len(), told.mistakes[0].fault), (0, Fault::Utf16));
    }

    #[test]
    fn long_lines_are_read_whole() {
        let long = "x".repeat(20_000);
        let told = read(format!("A={long}\nB 1\nC='{long}\n{long}'\nD 1").as_bytes(), |_| false);
        assert_eq!(told.values[0].1.len(), 20_000);
        assert_eq!(told.values[1].1.len(), 40_001);
        assert_eq!(told.mistakes.iter().map(|mistake| mistake.line).collect::<Vec<_>>(), [2, 5]);
    }
}
