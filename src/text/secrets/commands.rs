//! Which program a command starts.

use std::sync::LazyLock;

use regex::Regex;

use super::pattern;
use crate::text::command_line::base_name;

/// What starts the program that is told behind it.
const STARTERS: &[&str] = &[
    "sudo",
    "doas",
    "env",
    "nohup",
    "nice",
    "ionice",
    "time",
    "timeout",
    "stdbuf",
    "setsid",
    "nsenter",
    "unshare",
    "strace",
    "parallel",
    "dumb-init",
    "tini",
    "command",
    "eval",
    "xargs",
    "watch",
    "busybox",
    "sh",
    "bash",
    "dash",
    "ash",
    "zsh",
    "ksh",
    "do",
    "then",
    "else",
];

/// Options of these with a value of their own: `sudo -u bob id`.
const VALUED: &str = "ugUphC";

/// Where the name of the program stands that a command starts: where something begins, behind `sudo`, `env`, `sh -c`
/// and the like, and behind a container's name. A word elsewhere is what a program is told, and may be a pod's name or
/// that of a host.
pub(super) fn place() -> String {
    let gap = r#"["'\\]*\s+["'\\]*"#;
    let assignment = r"[A-Za-z_][0-9A-Za-z_]*=[^\s(`]*";
    let options = |valued: &str| {
        let with_value = format!(r"-[A-Za-z]*[{valued}]{gap}\S+|--(?:user|group)\s+\S+");
        // Of `time`, `-p` has none.
        let alone = format!(r"-[^\s{valued}]|-p|-\S{{2,}}|-|[0-9]\S*|\{{\}}");
        format!(r"(?:(?:{with_value}|{alone}|{assignment}){gap})*")
    };
    let own = format!("{gap}{}", options(VALUED));
    let starter = format!(r#"(?:[^\s"']*/)?(?:{}){own}"#, STARTERS.join("|"));
    // What runs a program within something that is named before it, and which of its options have a value.
    let within = [
        ("exec|(?:docker|podman|nerdctl|compose)\\s+run|gosu|su-exec|chroot|flock", "ugUphCwnce"),
        ("ssh", "bcDEeFIiJLlmOopQRSWw"),
    ]
    .map(|(runs, valued)| {
        let options = options(valued);
        format!(r#"(?:^|[\s`"'(;|&])(?:[^\s"']*/)?(?:{runs}){gap}{options}[^\s-]\S*{gap}(?:--{gap})?"#)
    })
    .join("|");
    let told = r"(?:^|[^0-9A-Za-z_.])[0-9A-Za-z_.]*(?:command|cmd|cmdline|exe)=";
    let signs = r#"^|[`"'(;|&]\s*|(?:^|[\s(])[!{]\s+|:\s|\s--\s+|\s[/-][cC]\s+|\s-(?:exec|ok)(?:dir)?\s+"#;
    format!(r#"(?:{told}|(?:{signs})(?:exec{own})?|{within}|\s{starter})(?:{starter}|{assignment}{own})*["'\\]*"#)
}

/// The program that stands there.
static PROGRAM: LazyLock<Regex> = LazyLock::new(|| pattern(&format!(r#"{}([^\s"'(`]+)"#, place())));

/// What stands before of the same command, as far as it tells whose an option is.
pub(super) fn command(before: &str) -> &str {
    const NEAR: usize = 400;
    let near = &before[before.floor_char_boundary(before.len().saturating_sub(NEAR))..];
    near.rsplit(['|', ';', '&', '\n']).next().unwrap_or_default().trim_start()
}

/// Whether a command starts such a program. A word further behind is what the program is told.
pub(super) fn starts(command: &str, is: impl Fn(&str) -> bool) -> bool {
    PROGRAM.captures_iter(command).any(|found| is(base_name(&found[1])))
}

/// Whether what `sudo` starts, whose own words these are, takes commands or a text from what is piped to it: a shell
/// without a command or script, `tee` and others.
pub(super) fn reads_input(behind_sudo: &str) -> bool {
    const READERS: [&str; 5] = ["tee", "xargs", "crontab", "at", "patch"];
    let command = behind_sudo.split(['|', ';', '&', '\n', ')']).next().unwrap_or_default();
    let mut words = command.split_whitespace().map(|word| word.trim_matches(['"', '\'', '\\']));
    while let Some(word) = words.next() {
        let name = base_name(word);
        if READERS.contains(&name) {
            return true;
        }
        if is_interpreter(name) {
            // `-c`, or a script: then the commands stand elsewhere.
            let told = words.find(|word| !word.starts_with("--"));
            return match told {
                Some(option) if option.starts_with('-') => !option.contains(['c', 'e', 'm']),
                Some(script) => script.starts_with("/dev/"),
                None => true,
            };
        }
        let is_passed = word.starts_with('-') || word.contains('=') || STARTERS.contains(&name);
        let option = word.strip_prefix('-').filter(|option| option.len() == 1);
        if option.is_some_and(|option| VALUED.contains(option)) {
            words.next();
        } else if !is_passed {
            return false;
        }
    }
    false
}

fn is_interpreter(name: &str) -> bool {
    const SHELLS: [&str; 8] = ["sh", "bash", "dash", "ash", "zsh", "ksh", "su", "perl"];
    SHELLS.contains(&name) || name.starts_with("python")
}
