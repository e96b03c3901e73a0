//! What is known to stand before what a line of a log says: the hour, containerd's, Docker's and syslog's heads. An object
//! behind anything else is nobody's event: a user's name, a request or the arguments of a program that somebody else logs.

use std::sync::LazyLock;

use regex::Regex;

use super::falco;

/// Heads within heads: syslog's in a line of containerd's, say.
const MOST: usize = 4;

/// `2026-11-20T08:00:01.8Z`, `2026/11/20 08:00:01`, `Nov 20 08:00:01`, with parts of a second too, or journald's
/// `Fri 2026-11-20 08:00:01 UTC`.
const TIME: &str = r"(?:[A-Z][a-z]{2} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d (?:UTC|[A-Z]{2,3}T|[+-]\d{2,4})|\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d[\d.,]*(?:Z|[+-]\d\d:?\d\d)?|[A-Z][a-z]{2} +\d{1,2} \d\d:\d\d:\d\d(?:\.\d+)?(?: \d{4})?)";

/// What a line begins with, or what stands behind another head. `TIME` is put in for the word.
const FORMS: [&str; 14] = [
    // The colours of a terminal.
    r"\x1b\[[\d;]*m",
    // containerd and CRI-O; `P` is a part of a line.
    r"TIME (?:stdout|stderr) [FP] ",
    // Fluentd's files.
    r"TIME\t[\w.*-]+\t",
    // syslog: RFC 5424, also with the length before it (RFC 6587); RFC 3164; and as rsyslog writes either into files.
    r#"(?:\d+ )?<\d{1,3}>1 (?:\S+ ){5}(?:-|(?:\[(?:[^\]"]|"(?:[^"\\]|\\.)*")*\])+) \x{FEFF}?"#,
    r"<\d{1,3}>(?:TIME )?(?:\S+ )?[\w./-]+(?:\[\d+\])?: ",
    r"TIME \S+ [\w./-]+\[\d+\]: ",
    // The names of the programs whose events these are, alone or behind the hour and the host.
    r"(?i:(?:TIME (?:[\w.-]+ )?)?(?:falco|sysdig)[\w.-]*(?:\[\d+\])?: )",
    // What falcosidekick tells of what it was sent.
    r"\[DEBUG\] ?: Falco's payload : ",
    // kubectl logs --prefix, docker compose, the kernel's clock, CEE.
    r"\[pod/[\w./-]+\] ",
    r"(?:[\w.-]+[_-]\d+|(?:falco|sysdig)[\w.-]*) +\|",
    r"\[(?:TIME| *[\d.]+)\] ",
    r"@cee: ?",
    // What Falco tells of itself.
    r"[A-Z][a-z]{2} TIME: ",
    r"TIME[ \t]",
];

/// The first member of logfmt that carries all that is said: `level=info msg="…"`.
const LOGFMT: &str = r#"(?:[\w.-]+=(?:"(?:[^"\\]|\\.)*"|[^\s"]*) +)*?(?:msg|message|log|event|payload)="#;

static HEADS: LazyLock<Regex> = LazyLock::new(|| {
    let forms = FORMS.join("|").replace("TIME", TIME);
    let pattern = format!("^(?:(?:{forms})[ \t]*){{0,{MOST}}}(?:{LOGFMT})?");
    Regex::new(&pattern).unwrap_or_else(|error| unreachable!("a constant: {error}"))
});

/// What Falco's alerts have behind their time.
const PRIORITIES: [&str; 8] =
    ["Emergency ", "Alert ", "Critical ", "Error ", "Warning ", "Notice ", "Informational ", "Debug "];

/// The time of an alert as Falco writes it without `json_output`: `08:00:01.887654321: Notice A shell …`; or, with
/// `time_format_iso_8601`, the day too, to the nanosecond, which others do not write.
static MOMENT: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"^(?:\d\d:\d\d:\d\d\.\d+|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(?:Z|[+-]\d{4})): ";
    Regex::new(pattern).unwrap_or_else(|error| unreachable!("a constant: {error}"))
});

/// How long the heads of a line are.
pub(super) fn length(line: &str) -> usize {
    HEADS.find(line).map_or(0, |heads| heads.end())
}

/// Whether a line is an alert of Falco as a sentence, which has neither a rule nor fields. What Falco measures of itself is
/// none.
pub(super) fn is_alert(line: &str) -> bool {
    let is_said = |said: &str| {
        let told = PRIORITIES.iter().find_map(|priority| said.strip_prefix(priority));
        told.is_some_and(|told| !falco::MEASURED.iter().any(|measured| told.starts_with(measured)))
    };
    // Most lines of most logs have no such word.
    if !line.match_indices(": ").any(|(at, colon)| is_said(&line[at + colon.len()..])) {
        return false;
    }
    // Its own time may be taken for a head.
    [line, &line[length(line)..]].iter().any(|line| MOMENT.find(line).is_some_and(|time| is_said(&line[time.end()..])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_logs_write_before_a_line_is_told_from_what_is_said() {
        for head in [
            "",
            "2026-11-20T08:00:01.8Z stdout F ",
            "2026-11-20T08:00:01.887654321+01:00 stderr P ",
            "2026-11-20T08:00:01.8Z stdout F <5>Nov 20 08:00:01 node-1 falco[17]: ",
            "<5>Nov 20 08:00:01 node-1 falco: ",
            "<38>Nov  2 08:00:01 node-1 /usr/bin/relay[17]: ",
            "<14>1 2026-11-20T08:00:01.8Z node-1 falco 1 - - ",
            "219 <14>1 2026-11-20T08:00:01.8Z node-1 falco 1 ID47 [a@1 b=\"{]\\\"\"][c] \u{feff}",
            "2026-11-20T08:00:01+00:00 node1 falco[1234]: ",
            "2026-11-20T08:00:01+00:00 node1 falco: ",
            "Nov 20 08:00:01 node1 relay[1234]: ",
            "Nov 20 08:00:01 h falco: ",
            "Nov 20 08:00:01.123456 node1 falco[1234]: ",
            "Fri 2026-11-20 08:00:01 UTC node1 falco[1234]: ",
            "Fri 2026-11-20 08:00:01 CEST node1 falco[1234]: ",
            "falco-sidekick[7]: ",
            "falco: ",
            "2026/11/20 08:00:01 [DEBUG] : Falco's payload : ",
            "2026-11-20T08:00:01.8Z\tkube.falco\t",
            "2026-11-20T08:00:01.8Z ",
            "[pod/falco-x7k2p/falco] ",
            "[pod/falco-x7k2p/falco] 2026-11-20T08:00:01.8Z ",
            "falco-1  | ",
            "\u{1b}[36mfalco-1  |\u{1b}[0m ",
            "[12345] ",
            "[2026-11-20 08:00:01] falco: ",
            "[ 1234.567890] falco: ",
            "falco[1]: @cee: ",
            "Thu Nov 20 08:00:01 2026: ",
            "2026-11-20T08:00:01.8Z stderr F Thu Nov 20 08:00:01 2026: ",
            "level=info msg=",
            "time=\"2026 \\\" x\" level=info message=",
        ] {
            assert_eq!(length(&format!("{head}{{\"rule\":1}}")), head.len(), "{head}");
        }
    }

    #[test]
    fn what_is_said_is_no_head() {
        for line in [
            "Nov 20 08:00:01 h sshd[12]: Invalid user {}",
            "2026-11-20T08:00:01Z ERROR payload: {}",
            "Fri 2026-11-20 08:00:01 ERROR {}",
            "10.0.0.1 - - [20/Nov/2026:08:00:01 +0000] \"GET / HTTP/1.1\" 200 \"{}\"",
            "<14>1 2026-11-20T08:00:01.8Z h app 1 - - got {}",
            "level=info body={}",
            "07:00:00.1: Critical Reverse shell (command=bash -c : '{}')",
            "request: {}",
            "login falco: {}",
            "alice | {}",
            ": {}",
        ] {
            let said = line.find("{}").unwrap();
            assert!(length(line) < said, "{line}");
        }
    }

    #[test]
    fn an_alert_without_fields_is_known_by_its_form() {
        for line in [
            "07:00:00.123456789: Notice A shell was spawned in a container (user=root)",
            "07:00:00.1: Warning Sensitive file opened",
            "2026-11-20T08:00:01.887654321+0000: Critical Reverse shell",
            "<5>Nov 20 08:00:01 node-1 falco: 07:00:00.123456789: Warning Sensitive file opened",
            "2026-11-20T08:00:01.8Z stdout F 07:00:00.123456789: Error x",
            // Something was not seen.
            "07:00:00.123456789: Debug Falco internal: syscall event drop. 2 system calls dropped in last second.",
        ] {
            assert!(is_alert(line), "{line}");
        }
        for line in [
            "Thu Nov 20 08:00:01 2026: Falco version: 0.43.0 (x86_64)",
            "07:00:00.123456789: Informational Falco internal: metrics snapshot",
            "2026-11-20T08:00:01.8Z Notice to all",
            "07:00:00.123456789: Noticed",
            "2026-07-01 08:00:01,123: Error could not connect to the database",
            "Jul  1 08:00:01: Warning disk full",
        ] {
            assert!(!is_alert(line), "{line}");
        }
    }
}
