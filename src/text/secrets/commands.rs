//! Which program a command starts, by its first words.

use std::sync::LazyLock;

use regex::Regex;

use super::pattern;
use crate::text::command_line::base_name;

/// Where a command begins within what tells of it: `(command=…`, `$(…`, `while true; do …`.
static OPENS: LazyLock<Regex> =
    LazyLock::new(|| pattern(r"[(`]|:\s|\b(?:command|cmd|cmdline|exe)=|\s(?:do|then|else|-exec)\s"));

/// What starts the program that is told behind it.
const STARTERS: [&str; 22] = [
    "sudo", "doas", "env", "nohup", "nice", "ionice", "time", "timeout", "stdbuf", "setsid", "exec", "command",
    "xargs", "watch", "busybox", "sh", "bash", "dash", "ash", "zsh", "ksh", "do",
];

/// Options of these with a value of their own: `sudo -u bob id`.
const VALUED: [&str; 7] = ["-u", "-g", "-U", "-p", "-h", "-C", "-n"];

/// What stands before of the same command, as far as it tells whose an option is.
pub(super) fn command(before: &str) -> &str {
    const NEAR: usize = 400;
    let near = &before[before.floor_char_boundary(before.len().saturating_sub(NEAR))..];
    near.rsplit(['|', ';', '&', '\n']).next().unwrap_or_default()
}

/// Whether a command starts such a program: by its first word, behind `sudo`, `env`, `sh -c` and the like. A word
/// further behind is what the program is told: `docker compose exec service …`.
pub(super) fn starts(command: &str, is: impl Fn(&str) -> bool) -> bool {
    OPENS.split(command).filter_map(program).any(|(name, _)| is(name))
}

/// The program's name and the words behind it.
fn program(command: &str) -> Option<(&str, impl Iterator<Item = &str>)> {
    let mut words = command.split_whitespace().map(|word| word.trim_matches(['"', '\'', '\\']));
    loop {
        let word = words.next()?;
        if VALUED.contains(&word) {
            words.next();
            continue;
        }
        let is_passed = word.is_empty()
            || word.starts_with(|c: char| c == '-' || c.is_ascii_digit())
            || word.contains('=')
            || STARTERS.contains(&base_name(word));
        if !is_passed {
            return Some((base_name(word), words));
        }
    }
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
        if VALUED.contains(&word) && word != "-n" {
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
