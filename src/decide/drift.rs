//! Drift: a program ran that is not part of its container's image.

use crate::event::runtime::Runtime;

/// Whether that is what the event is about: the sensor's own drift control, and the rules made for it.
pub(super) fn is_reported(event: &Runtime) -> bool {
    event.origin.engine.as_deref() == Some("drift")
        || matches!(event.rule_type.as_deref(), Some("7" | "RULE_TYPE_DRIFT"))
        || event.title().is_some_and(is_named)
}

/// Whether a rule's name says so. No text is made: this is asked of most events.
fn is_named(title: &str) -> bool {
    const NAMES: &[&str] = &["drift", "drop and execute", "not part of base image", "not part of the base image"];
    let title = title.as_bytes();
    let begins_word = |at: &usize| *at == 0 || !title[at - 1].is_ascii_alphanumeric();
    let is_at = |at: usize, name: &str| {
        title[at..].get(..name.len()).is_some_and(|part| part.eq_ignore_ascii_case(name.as_bytes()))
    };
    (0..title.len()).filter(begins_word).any(|at| NAMES.iter().any(|name| is_at(at, name)))
}

/// Whether the program is known to be none of the image's, whatever the rule is about.
pub(super) fn is_seen(event: &Runtime) -> bool {
    event.field("proc.is_exe_upper_layer") == Some("true")
        || event.field("evt.arg.flags").is_some_and(|flags| flags.contains("EXE_UPPER_LAYER"))
}

#[cfg(test)]
mod tests {
    use super::is_named;

    #[test]
    fn drift_has_several_names() {
        for name in ["Container Drift Detected", "Drop and execute new binary in container", "DRIFT", "pre-drift"] {
            assert!(is_named(name), "{name}");
        }
        for name in ["", "Adrift", "Terminal shell in container", "Dropped packets"] {
            assert!(!is_named(name), "{name}");
        }
    }
}
