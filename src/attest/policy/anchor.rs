//! Whether a pattern (RE2) is about the whole text, as `^` and `$` say.

/// Whether a pattern covers the whole text, in each of its alternatives.
pub(super) fn anchored(pattern: &str) -> bool {
    alternatives(pattern).into_iter().all(|one| one.starts_with('^') && ends_with_anchor(one))
}

fn ends_with_anchor(pattern: &str) -> bool {
    let Some(before) = pattern.strip_suffix('$') else { return false };
    // An odd number of backslashes makes it a dollar sign.
    before.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 0
}

/// The alternatives of a pattern that stand in no group.
fn alternatives(pattern: &str) -> Vec<&str> {
    let (mut found, mut start, mut depth, mut class) = (Vec::new(), 0, 0usize, None);
    let mut rest = pattern.char_indices();
    while let Some((at, c)) = rest.next() {
        match (c, class) {
            ('\\', _) => {
                // What is quoted up to \E is only text.
                if let Some((quote, 'Q')) = rest.next() {
                    let end = pattern[quote..].find("\\E").map_or(pattern.len(), |end| quote + end + 2);
                    while rest.offset() < end {
                        rest.next();
                    }
                }
            }
            // A bracket that stands first in its class is only text.
            (']', Some(opened)) if at > opened => class = None,
            ('[', None) => class = Some(at + if pattern[at + 1..].starts_with('^') { 2 } else { 1 }),
            (_, Some(_)) => {}
            ('(', None) => depth += 1,
            (')', None) => depth = depth.saturating_sub(1),
            ('|', None) if depth == 0 => {
                found.push(&pattern[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&pattern[start..]);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_belong_to_one_alternative_each() {
        for (expected, pattern) in [
            (true, "^https://a$"),
            (true, "^(https://a|b)$"),
            (true, "^a$|^b$"),
            (true, r"^a\|b$"),
            (true, "^[a|b]$"),
            (true, "^[]|]$"),
            (true, "^[^]|]$"),
            (true, r"^\Qa|b\E$"),
            (true, r"^a\\$"),
            (false, "^https://a|b$"),
            (false, "^a|^b$"),
            (false, r"^\Qa\E|b$"),
            (false, r"^[a\]]|b$"),
            (false, r"^a\$"),
            (false, "a$"),
            (false, ""),
        ] {
            assert_eq!(anchored(pattern), expected, "{pattern}");
        }
    }
}
