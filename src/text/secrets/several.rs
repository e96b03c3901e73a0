//! Options that may stand several times in one command: `--from-literal a=SECRET --from-literal b=SECRET`.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::commands::{command, starts};
use super::values::{VALUE, hide as hide_values};
use super::{HIDDEN, pattern};

/// What a text with one of them holds.
pub(super) const STEMS: &str = "--from-literal|snmp";

/// What a secret of Kubernetes is made of, and the passwords and the community of SNMP.
static OPTION: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r#"(\s(?:--from-literal[=\s]\s*(?:\\*["'])?[^\s="']+=|-[AXc]\s+))({VALUE})"#)));

/// What is created, of which literals are a part: by the words behind `create` alone. A namespace may have any name.
static CREATED: LazyLock<Regex> = LazyLock::new(|| {
    let valued = r"(?:-n|--namespace|--context|--cluster|--kubeconfig|--user|-s|--server)\s+\S+\s+";
    pattern(&format!(r"\b(?:create|add)\s+(?:{valued}|-\S+\s+)*(secrets?|configmaps?|cm)\s"))
});

/// What programs that ask by SNMP are called behind this word.
const ASKS: [&str; 16] = [
    "walk",
    "get",
    "getnext",
    "bulkwalk",
    "bulkget",
    "set",
    "table",
    "df",
    "delta",
    "status",
    "test",
    "inform",
    "trap",
    "translate",
    "usm",
    "vacm",
];

/// The text without the secrets that they tell.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    if !text.contains("--from-literal") && !text.contains("snmp") {
        return text;
    }
    hide_values(text, &OPTION, |found| {
        let is_told = match found.told.contains("--from-literal") {
            true => is_of_secret(found.before),
            false => asks_snmp(command(found.before)),
        };
        is_told && !found.value.starts_with('-') && found.value != HIDDEN
    })
}

/// Whether a literal is part of a secret, and of no config map: by what was created last before it. What is too far
/// before to be seen may have been a secret.
fn is_of_secret(before: &str) -> bool {
    const NEAR: usize = 2048;
    let near = &before[before.floor_char_boundary(before.len().saturating_sub(NEAR))..];
    CREATED.captures_iter(near).last().is_none_or(|created| created[1].starts_with("secret"))
}

/// Whether a command asks by SNMP, in a container too; its daemon, and files and images of that name, take no secret.
fn asks_snmp(command: &str) -> bool {
    command.contains("snmp")
        && starts(command, |program| program.strip_prefix("snmp").is_some_and(|what| ASKS.contains(&what)))
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
            (
                "kubectl create secret generic app-configmap --from-literal=a=b",
                "kubectl create secret generic app-configmap --from-literal=a=[redacted]",
            ),
            (
                "kubectl create -n configmap secret generic a --from-literal=a=b",
                "kubectl create -n configmap secret generic a --from-literal=a=[redacted]",
            ),
            ("cat f | snmpwalk -v2c -c Hunter2 h", "cat f | snmpwalk -v2c -c [redacted] h"),
            ("cd /x; snmpget -v 3 -X Hunter2 h", "cd /x; snmpget -v 3 -X [redacted] h"),
            ("kubectl exec db -- snmpwalk -v3 -A Hunter2 h", "kubectl exec db -- snmpwalk -v3 -A [redacted] h"),
            ("x=$(snmpwalk -v2c -c Hunter2 h", "x=$(snmpwalk -v2c -c [redacted] h"),
            ("docker exec web snmpget -v2c -c Hunter2 h", "docker exec web snmpget -v2c -c [redacted] h"),
            ("sh -c timeout 5 /usr/bin/snmpget -c Hunter2 h", "sh -c timeout 5 /usr/bin/snmpget -c [redacted] h"),
            ("Run (command=snmpget -c Hunter2 h", "Run (command=snmpget -c [redacted] h"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "twice");
        }
    }
    #[test]
    fn what_only_has_a_name_like_theirs_stays() {
        for text in [
            "kubectl create configmap secrets --from-literal=b=c",
            "kubectl -n secret create cm a --from-literal=b=c",
            "kubectl create -n secret cm a --from-literal=b=c",
            "systemctl stop snmpd; sh -c id -A x",
            "tcpdump -i any -w /tmp/snmp.pcap -c 100 port 161",
            "docker run prom/snmp-exporter sh -c ls",
            "kubectl -n snmp exec web -c app -- id",
            "nmap -sU -p 161 --script snmp-info -A 10.0.0.1",
            "tail /var/log/snmpd.log -c 100",
            "snmptrapd -c /etc/snmp/snmptrapd.conf",
        ] {
            assert_eq!(redact(text), text);
        }
    }
}
