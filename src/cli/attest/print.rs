//! Explanations for people, in colour on a terminal.

use std::io::{IsTerminal, Write};

use crate::attest::policy::{Explanation, Truth};
use crate::text::steers;

pub(super) const RED: &str = "\x1b[31m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const YELLOW: &str = "\x1b[33m";
pub(super) const PLAIN: &str = "";

/// Colour on a terminal only.
pub(super) fn paint(text: &str, colour: &str) -> String {
    if colour.is_empty() || !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some() {
        return text.to_owned();
    }
    format!("{colour}{text}\x1b[0m")
}

/// A text without what could move a terminal's cursor.
pub(super) fn plain(text: &str) -> String {
    text.chars().map(|c| if steers(c) || c == '\t' { '\u{fffd}' } else { c }).collect()
}

/// Prints an explanation for people.
pub(super) fn print_explanation(explanation: &Explanation, refused: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let (word, colour) = match (refused, explanation.allowed) {
        (true, _) => ("refused", RED),
        (_, true) => ("allowed", GREEN),
        _ => ("denied", RED),
    };
    match &explanation.error {
        Some(error) => writeln!(out, "{}: {}", paint(word, colour), plain(error))?,
        None => writeln!(out, "{}", paint(word, colour))?,
    }
    for term in &explanation.terms {
        let (word, colour) = match term.result {
            Truth::True => ("true ", GREEN),
            Truth::False => ("false", RED),
            Truth::Error => ("error", YELLOW),
        };
        writeln!(out, "  {} {}", paint(word, colour), plain(&term.source))?;
        if let Some(error) = &term.error {
            writeln!(out, "        {}", plain(error))?;
        }
        for (path, value) in &term.values {
            writeln!(out, "        {} = {}", plain(path), plain(&value.to_string()))?;
        }
        for path in &term.absent {
            writeln!(out, "        {} is not in the token", plain(path))?;
        }
        for hint in &term.hints {
            writeln!(out, "        → {}", plain(hint))?;
        }
    }
    Ok(())
}
