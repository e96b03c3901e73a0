//! Whether somebody opened a shell. Rules about a shell's files, its history and its settings, are called after it too.

use crate::decide::activity;
use crate::event::Runtime;
use crate::finding::{File, Operation};
use crate::text::command_line::{base_name, split};

/// How rules are called that can be about nothing else.
const NAMED: [&str; 8] = [
    "terminal shell",
    "interactive shell",
    "reverse shell",
    "remote shell",
    "bind shell",
    "shell spawned",
    "spawned shell",
    "redirect stdout",
];

/// The words for a shell in the names of other rules.
const WORDS: [&str; 3] = ["shell", "powershell", "webshell"];

/// Words for the files of one.
const OF_FILES: [&str; 3] = ["history", "configuration", "config"];

/// Programs that people type commands into.
const SHELLS: [&str; 14] =
    ["sh", "bash", "rbash", "dash", "ash", "zsh", "ksh", "csh", "tcsh", "fish", "busybox", "pwsh", "powershell", "cmd"];

/// Whether one was opened. `title` is the rule's name in lower case.
pub(super) fn is_opened(event: &Runtime, title: &str) -> bool {
    if NAMED.iter().any(|name| title.contains(name)) || asked_for(event) {
        return true;
    }
    let is_word = |word: &str| title.split(|c: char| !c.is_ascii_alphanumeric()).any(|part| part == word);
    // Most titles hold none of the words.
    let may_be = title.contains("shell") && WORDS.into_iter().any(is_word) && !OF_FILES.into_iter().any(is_word);
    may_be && runs(event) && !is_about_file(event)
}

/// Whether a request to the API server asked for one: `kubectl exec web-1 -- sh`.
fn asked_for(event: &Runtime) -> bool {
    event.field("ka.uri.param[command]").is_some_and(is_shell)
}

/// Whether the process is one, as far as that is told.
fn runs(event: &Runtime) -> bool {
    let names = ["proc.name", "proc.exepath", "proc.cmdline", "proc.exe"];
    let mut told = names.into_iter().filter_map(|name| event.field(name)).peekable();
    told.peek().is_none() || told.any(is_shell)
}

/// Whether a command, or the path of a program, is a shell's; a login shell's name begins with a hyphen.
fn is_shell(command: &str) -> bool {
    let program = base_name(split(command).0).trim_start_matches('-').to_ascii_lowercase();
    SHELLS.contains(&program.strip_suffix(".exe").unwrap_or(&program))
}

/// Whether it is about a file that the process read or changed.
fn is_about_file(event: &Runtime) -> bool {
    let ran = |file: &File| file.operations.iter().any(|done| done.r#type == Some(Operation::Execute));
    activity::files(event).iter().any(|file| !ran(file))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shells_are_known_by_path_and_command() {
        for shell in ["bash", "-bash", "/bin/sh -c id", "sh", "C:\\Windows\\System32\\PowerShell.exe", "busybox sh"] {
            assert!(is_shell(shell), "{shell}");
        }
        for other in ["rm", "bashful", "/usr/bin/vi /root/.bashrc", ""] {
            assert!(!is_shell(other), "{other}");
        }
    }
}
