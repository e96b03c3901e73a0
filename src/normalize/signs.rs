//! What is in nothing but an event: by this one is known where none is looked for, or where a text breaks off within it.

use super::falco;
use super::json::Json;

/// A member that is in nothing but an event.
pub(super) struct Sign {
    /// The name that is in the text then.
    pub(super) name: &'static str,
    /// As the reason names it.
    pub(super) words: &'static str,
    /// In a text that breaks off, the name says enough only with one of these; without any, alone.
    beside: &'static [&'static str],
    /// Whether an object is such an event.
    pub(super) is_there: fn(&Json<'_>) -> bool,
}

pub(super) const SIGNS: [Sign; 4] = [
    Sign {
        name: "output_fields",
        words: "`rule` with `output_fields`",
        beside: &[],
        is_there: |json| json.member("rule").text().is_some() && json.member("output_fields").is_map(),
    },
    Sign {
        name: "ruleName",
        words: "`content.ruleName`",
        beside: &["content", "ruleType", "policyId"],
        is_there: |json| json.member("content").member("ruleName").text().is_some(),
    },
    Sign {
        name: "policyEvents",
        words: "`policyEvents`",
        beside: &[],
        is_there: |json| !json.member("policyEvents").list().is_empty(),
    },
    Sign {
        name: "priority",
        words: "`rule` with `priority` and `output`",
        beside: &["rule"],
        is_there: |json| {
            ["rule", "output"].iter().all(|name| json.member(name).str().is_some()) && falco::is_surely(json)
        },
    },
];

/// Whether a text may hold an event: most texts hold none of the names.
pub(super) fn may_be_in(text: &str) -> bool {
    SIGNS.iter().any(|sign| text.contains(sign.name))
}

/// The sign that JSON bears which may break off anywhere, its quotes escaped or not.
pub(super) fn begun(text: &str) -> Option<&'static Sign> {
    let stands = |sign: &&Sign| {
        is_member(text, sign.name) && (sign.beside.is_empty() || sign.beside.iter().any(|name| is_member(text, name)))
    };
    SIGNS.iter().find(stands)
}

/// Whether `"name":` is in a text, also as `\"name\":`.
fn is_member(text: &str, name: &str) -> bool {
    text.match_indices(name).any(|(at, _)| {
        let after = text[at + name.len()..].trim_start_matches('\\').strip_prefix('"');
        text[..at].ends_with('"') && after.is_some_and(|rest| rest.trim_start().starts_with(':'))
    })
}
