//! Single values as every format spells them: texts within bounds, levels of the scale.

use super::json::Json;
use crate::event::Severity;

/// At most this many bytes, cut between characters.
pub(super) fn shorten(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A level of the scale, however it is spelt: number, decimal string, word.
pub(super) fn level(value: &Json<'_>) -> Option<Severity> {
    let number = match value {
        Json::Float(number) if number.fract() == 0.0 && (0.0..=7.0).contains(number) => number.to_string().parse().ok(),
        _ => value.integer().and_then(|number| i64::try_from(number).ok()),
    };
    number.and_then(Severity::from_sysdig).or_else(|| value.str().and_then(Severity::from_word))
}
