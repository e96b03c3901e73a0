//! Options that may stand several times in one command: `--from-literal a=SECRET --from-literal b=SECRET`.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::programs::command;
use super::values::{VALUE, hide as hide_values};
use super::{HIDDEN, pattern};

/// What a text with one of them holds.
pub(super) const STEMS: &str = "--from-literal|snmp";

/// What a secret of Kubernetes is made of, and the passwords and the community of SNMP.
static OPTION: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r#"(\s(?:--from-literal[=\s]\s*(?:\\*["'])?[^\s="']+=|-[AXc]\s+))({VALUE})"#)));

/// The text without the secrets that they tell.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains("--from-literal") && !text.contains("snmp") {
        return text;
    }
    hide_values(text, &OPTION, |found| {
        let is_told = match found.told.contains("--from-literal") {
            true => is_of_secret(found.before),
            false => command(found.before).contains("snmp"),
        };
        is_told && !found.value.starts_with('-') && found.value != HIDDEN
    })
}

/// Whether a literal is part of a secret, and of no config map: by what was named last before it. Literals may have any
/// sign in them.
fn is_of_secret(before: &str) -> bool {
    const NEAR: usize = 2048;
    let near = &before[before.floor_char_boundary(before.len().saturating_sub(NEAR))..];
    near.rfind("secret") > near.rfind("configmap")
}

#[cfg(test)]
mod tests {
    use crate::text::secrets::redact;

    #[test]
    fn each_of_them_is_left_out() {
        for (text, expected) in [
            (
                "kubectl create secret generic x --from-literal key=Hunter2 --from-literal=aws='Hun ter2' -n shop",
                "kubectl create secret generic x --from-literal key=[redacted] --from-literal=aws='[redacted]' -n shop",
            ),
            (
                "kubectl create secret generic x --from-literal=a=b&c --from-literal=d=e;f",
                "kubectl create secret generic x --from-literal=a=[redacted] --from-literal=d=[redacted]",
            ),
            ("snmpget -v3 -u bob -A Hunter2 -X Hunter2 h", "snmpget -v3 -u bob -A [redacted] -X [redacted] h"),
            ("snmpwalk -v2c -c Hunter2 h", "snmpwalk -v2c -c [redacted] h"),
            (
                "kubectl create configmap x --from-literal level=debug",
                "kubectl create configmap x --from-literal level=debug",
            ),
            ("systemctl stop snmpd; sh -c id -A x", "systemctl stop snmpd; sh -c id -A x"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "twice");
        }
    }
}
