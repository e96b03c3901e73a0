//! Explanations for people, in colour on a terminal.

use std::io::Write;

use crate::attest::policy::{Explanation, Truth};
use crate::telemetry::logs::in_colour;
use crate::text::printable;

pub(super) const RED: &str = "\x1b[31m";
pub(super) const GREEN: &str = "\x1b[32m";
pub(super) const YELLOW: &str = "\x1b[33m";
pub(super) const PLAIN: &str = "";

/// Colour on a terminal only.
pub(super) fn paint(text: &str, colour: &str) -> String {
    if colour.is_empty() || !in_colour(&std::io::stdout()) {
        return text.to_owned();
    }
    format!("{colour}{text}\x1b[0m")
}

/// Prints an explanation for people.
pub(super) fn print_explanation(explanation: &Explanation, refused: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    let (word, colour) = match (refused, explanation.allowed) {
        (true, _) => ("refused", RED),
        (_, true) => ("allowed", GREEN),
        _ => ("denied", RED),
    };
    match &explanation.error {
        Some(error) => writeln!(out, "{}: {}", paint(word, colour), printable(error))?,
        None => writeln!(out, "{}", paint(word, colour))?,
    }
    for term in &explanation.terms {
        let (word, colour) = match term.result {
            Truth::True => ("true ", GREEN),
            Truth::False => ("false", RED),
            Truth::Error => ("error", YELLOW),
        };
        writeln!(out, "  {} {}", paint(word, colour), printable(&term.source))?;
        if let Some(error) = &term.error {
            writeln!(out, "        {}", printable(error))?;
        }
        for (path, value) in &term.values {
            writeln!(out, "        {} = {}", printable(path), printable(&value.to_string()))?;
        }
        for path in &term.absent {
            writeln!(out, "        {} is not in the token", printable(path))?;
        }
        for hint in &term.hints {
            writeln!(out, "        → {}", printable(hint))?;
        }
    }
    Ok(())
}
