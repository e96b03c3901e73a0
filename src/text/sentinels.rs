//! The words with which senders say that there is nothing to say.

/// The text without surrounding white space, unless it is one of the ways of saying "nothing".
pub(crate) fn meaningful(text: &str) -> Option<&str> {
    let text = text.trim();
    let nothing = match text.len() {
        0 => true,
        1 => text == "-",
        3 => text.eq_ignore_ascii_case("n/a"),
        4 => matches!(text, "<NA>" | "<na>" | "null" | "NULL"),
        5 => matches!(text, "<nil>" | "<N/A>"),
        6 => text == "<null>",
        14.. => text.starts_with('\\') && is_escaped_sentinel(text),
        _ => false,
    };
    (!nothing).then_some(text)
}

/// `\u003cNA\u003e`, with one backslash or several.
fn is_escaped_sentinel(text: &str) -> bool {
    let parts: Vec<_> = text.split('\\').filter(|part| !part.is_empty()).collect();
    parts.len() == 2 && parts[0].eq_ignore_ascii_case("u003cNA") && parts[1].eq_ignore_ascii_case("u003e")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_of_saying_nothing_are_no_values() {
        for nothing in ["", "  ", "<NA>", "\\u003cNA\\u003e", "\\\\u003cNA\\\\u003e", "null", "N/A", "n/a", "<nil>"] {
            assert_eq!(meaningful(nothing), None, "{nothing:?}");
        }
        assert_eq!(meaningful(" bash "), Some("bash"));
    }
}
