//! Passwords that a program reads from another: `echo user:SECRET | chpasswd`, `echo SECRET | sudo -S id`.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::commands::reads_input;
use super::values::{Found, Secret, hide as hide_values};
use super::{HIDDEN, pattern};

/// What a text with one of them holds; what has `pass` in it is looked at by its name.
pub(super) const STEMS: &str = r"\|\s*(?:/\S*/)?sudo\s|kinit|cryptsetup";

/// The passwords that chpasswd reads: `echo user:SECRET | sudo chpasswd`.
static OF_USERS: LazyLock<Regex> = LazyLock::new(|| {
    let given = r#"\\?"[^"]*"|'[^']*'|[^\s"'|]+"#;
    pattern(&format!(
        r"(\b(?:echo|printf)\s+(?:-\w+\s+)*)({given})(\s*\|\s*(?:[\w./=-]+\s+|\|\s*){{0,8}}(?:/\S*/)?chpasswd\b)"
    ))
});

/// What others read that ask for a password.
static ALONE: LazyLock<Regex> = LazyLock::new(|| {
    let given = r#"\\?"[^"]*"|'[^']*'|[^\s"'|;&]+(?:[ \t]+[^\s"'|;&]+){0,3}?"#;
    let reads = [
        r"passwd\s[^|;&]*--stdin",
        r"sudo\s+(?:-\S+\s+)*-[A-Za-z]*S\b",
        r"\S+\s[^|;&]*(?:--password-stdin|--passphrase-fd)",
        r"(?:kinit|cryptsetup|smbpasswd)\b",
    ];
    pattern(&format!(
        r#"(\b(?:echo|printf)\s+(?:-[a-zA-Z]+\s+)*(?:["']?%s(?:\\n)?["']?\s+)?)({given})\s*\|\s*(?:[\w./=-]+\s+){{0,4}}?(?:/\S*/)?(?:{})"#,
        reads.join("|")
    ))
});

/// What is piped to sudo.
static SUDO: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s*\|\s*(?:[\w./=-]+\s+){0,4}?(?:/\S*/)?sudo\s+"));

/// The text without them.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_piped = text.contains('|') && (text.contains("echo") || text.contains("printf"));
    if !is_piped {
        return text;
    }
    // What stands behind the user's name; the quotes stay.
    let text = hide_values(text, &OF_USERS, |found| {
        found.value.find(':').map_or(Secret::Nothing, |at| {
            let closing = found.value.trim_end_matches(['\\', '"', '\'']).len().max(at + 1);
            Secret::Between(at + 1, closing)
        })
    });
    hide_values(text, &ALONE, |found| {
        let bare = found.value.trim_start_matches(['\\', '"', '\'']);
        // A variable tells none.
        if bare.starts_with('$') || found.value == HIDDEN || is_input(found) {
            Secret::Nothing
        } else {
            Secret::Between(found.value.len() - bare.len(), found.value.trim_end_matches(['\\', '"', '\'']).len())
        }
    })
}

/// Whether sudo's program reads this, or several words: then it is no password, but what somebody runs or writes.
fn is_input(found: &Found<'_>) -> bool {
    let is_quoted = found.value.starts_with(['\\', '"', '\'']);
    let has_blank = !is_quoted && found.value.contains(char::is_whitespace);
    SUDO.find(found.behind).is_some_and(|sudo| has_blank || reads_input(&found.behind[sudo.end()..]))
}

#[cfg(test)]
mod tests {
    use crate::text::secrets::redact;

    #[test]
    fn passwords_that_are_piped_are_left_out() {
        for (text, expected) in [
            ("sh -c echo root:Hunter2 | chpasswd", "sh -c echo root:[redacted] | chpasswd"),
            ("echo 'root:Hunt|er2'|sudo -n chpasswd -e", "echo 'root:[redacted]'|sudo -n chpasswd -e"),
            (
                r#"printf "a:Hunter2\nb:Hunter2\n" | /usr/sbin/chpasswd"#,
                r#"printf "a:[redacted]" | /usr/sbin/chpasswd"#,
            ),
            (r#"sh -c "echo -e \"a:Hunter2\" | chpasswd""#, r#"sh -c "echo -e \"a:[redacted]\" | chpasswd""#),
            ("echo root:Hunter2 | tee f | chpasswd", "echo root:[redacted] | tee f | chpasswd"),
            ("echo a: b | cat; chpasswd < f", "echo a: b | cat; chpasswd < f"),
            ("echo Hunter2 | sudo -S id", "echo [redacted] | sudo -S id"),
            ("sh -c echo -n 'Hun ter2' | /usr/bin/sudo -kS id", "sh -c echo -n '[redacted]' | /usr/bin/sudo -kS id"),
            ("printf '%s\\n' Hunter2 | sudo -S -p x id", "printf '%s\\n' [redacted] | sudo -S -p x id"),
            ("echo Hunter2 | passwd --stdin root", "echo [redacted] | passwd --stdin root"),
            (
                "echo Hunter2|docker login -u bob --password-stdin",
                "echo [redacted]|docker login -u bob --password-stdin",
            ),
            ("echo Hun ter2 | cryptsetup open /dev/sdb x", "echo [redacted] | cryptsetup open /dev/sdb x"),
            ("echo Hunter2 | sudo -S sh -c id", "echo [redacted] | sudo -S sh -c id"),
            ("echo rm -rf / | sudo -S sh", "echo rm -rf / | sudo -S sh"),
            ("echo rm -rf / | sudo -S id", "echo rm -rf / | sudo -S id"),
            ("echo '/tmp/evil.sh &' | sudo -S tee /etc/rc.local", "echo '/tmp/evil.sh &' | sudo -S tee /etc/rc.local"),
            ("printf id | sudo -S -u root bash", "printf id | sudo -S -u root bash"),
            ("echo $PASSWORD | sudo -S id", "echo $PASSWORD | sudo -S id"),
            ("echo done | sudo tee /etc/motd", "echo done | sudo tee /etc/motd"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "twice");
        }
    }
}
