//! Secrets in command lines, sentences and addresses, found by the words before them or by their own form.

mod addresses;
mod authorization;
mod commands;
pub(super) mod forms;
mod hints;
mod lists;
mod names;
mod piped;
mod programs;
mod queries;
mod several;
mod statements;
mod users;
mod values;

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::cut;
use super::glance::Glance;

/// What stands for a secret that was left out.
pub(crate) const HIDDEN: &str = "[redacted]";

/// What a text with a secret in it holds in any case. Most texts hold none of these. Each kind of secret tells its own
/// beside its pattern: one whose pattern finds what no stem tells of would never be asked.
static STEMS: LazyLock<Regex> = LazyLock::new(|| {
    let stems = [
        addresses::STEMS,
        authorization::STEMS,
        forms::STEMS,
        hints::STEMS,
        names::STEMS,
        piped::STEMS,
        programs::STEMS,
        queries::STEMS,
        several::STEMS,
        statements::STEMS,
        users::STEMS,
    ];
    pattern(&format!("(?i){}", stems.join("|")))
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a constant of these files, which the tests compile")
}

/// The text without its secrets.
pub(crate) fn redact(text: &str) -> Cow<'_, str> {
    if Glance::at(text).may_hold_secret() { without(text) } else { Cow::Borrowed(text) }
}

/// The arguments of a program without their secrets: what an option of one letter means, only the program tells.
pub(crate) fn redact_arguments<'t>(program: &str, arguments: &'t str) -> Cow<'t, str> {
    if !Glance::at(arguments).may_hold_secret() && !arguments.starts_with('-') {
        return Cow::Borrowed(arguments);
    }
    if arguments.starts_with('[')
        && let Cow::Owned(shown) = lists::of_arguments(arguments, Some(program))
    {
        return Cow::Owned(redact(&shown).into_owned());
    }
    let whole = format!("{program} {arguments}");
    match redact(&whole) {
        Cow::Borrowed(_) => Cow::Borrowed(arguments),
        Cow::Owned(shown) => {
            // What stands for the program may have a secret of its own: `PGPASSWORD=… psql`.
            let behind = shown.strip_prefix(program).or_else(|| shown.strip_prefix(&*redact(program)));
            Cow::Owned(behind.unwrap_or(&shown).trim_start().to_owned())
        }
    }
}

/// A list of arguments without its secrets: one command line, of which an element may be what those before it say.
pub(crate) fn redact_list<'t>(arguments: &'t [Cow<'t, str>]) -> Vec<Cow<'t, str>> {
    if !STEMS.is_match(&arguments.join(" ")) {
        return arguments.iter().map(|argument| Cow::Borrowed(&**argument)).collect();
    }
    let behind = |(at, argument): (usize, &'t Cow<'t, str>)| redact_behind(&arguments[..at], argument);
    arguments.iter().enumerate().map(behind).collect()
}

/// How many elements before one say what it is; the program always does.
const BEFORE: usize = 16;
/// As much of each of them says it: of the program its beginning, of the others their end.
const TELLING: usize = 256;

fn redact_behind<'t>(before: &[Cow<'_, str>], argument: &'t str) -> Cow<'t, str> {
    if before.is_empty() || argument.is_empty() {
        return of_sentence(argument);
    }
    if let Some(shown) = authorization::of_argument(argument) {
        return Cow::Owned(shown);
    }
    // One of several methods is no header's.
    if let [others @ .., last] = before
        && last.eq_ignore_ascii_case("bearer")
        && !others.last().is_some_and(|header| header.to_ascii_lowercase().contains("authorization"))
    {
        return of_sentence(argument);
    }
    let near = before.len().saturating_sub(BEFORE);
    let program = before[..near.min(1)].iter().map(|program| cut(program, TELLING));
    let others =
        before[near..].iter().map(|other| &other[other.ceil_char_boundary(other.len().saturating_sub(TELLING))..]);
    let before = program.chain(others).collect::<Vec<_>>().join(" ");
    // What would hide any word behind it hides all of the element, whatever blanks and quotes are in it.
    if of_sentence(&format!("{before} x")).ends_with(HIDDEN) {
        return Cow::Borrowed(HIDDEN);
    }
    let whole = format!("{before} {argument}");
    let shown = match of_sentence(&whole) {
        Cow::Borrowed(_) => return Cow::Borrowed(argument),
        Cow::Owned(shown) => shown,
    };
    match shown.strip_prefix(&*of_sentence(&before)).and_then(|rest| rest.strip_prefix(' ')) {
        Some(same) if same == argument => Cow::Borrowed(argument),
        Some(shown) => Cow::Owned(shown.to_owned()),
        None => Cow::Borrowed(HIDDEN),
    }
}

/// Whether a name says that its value is a secret: `db.password`, `api_token`, `jevt.value[/hook/config/secret]`.
pub(crate) fn is_secret(name: &str) -> bool {
    const WORDS: [&str; 21] = [
        "password",
        "passwd",
        "passphrase",
        "secret",
        "token",
        "api_key",
        "apikey",
        "private_key",
        "privatekey",
        "private_key_data",
        "privatekeydata",
        "secret_key",
        "secretkey",
        "secretaccesskey",
        "secret_access_key",
        "secret_key_base",
        "storage_key",
        "account_key",
        "accountkey",
        "credentials",
        "cookie",
    ];
    let name = name.trim_end_matches([']', '"', '\'']).as_bytes();
    let ends = |word: &&str| {
        name.len().checked_sub(word.len()).is_some_and(|from| name[from..].eq_ignore_ascii_case(word.as_bytes()))
    };
    WORDS.iter().any(ends)
}

/// The same for a text in which a glance has found that it may hold one.
pub(super) fn without(text: &str) -> Cow<'_, str> {
    if !STEMS.is_match(text) {
        return Cow::Borrowed(text);
    }
    all_of(queries::hide(lists::hide(text)))
}

/// The same for a text that is neither a list nor an address: what is part of them.
fn of_sentence(text: &str) -> Cow<'_, str> {
    if STEMS.is_match(text) { all_of(Cow::Borrowed(text)) } else { Cow::Borrowed(text) }
}

fn all_of(text: Cow<'_, str>) -> Cow<'_, str> {
    let text = match authorization::hide(&text) {
        Cow::Borrowed(_) => text,
        Cow::Owned(shown) => Cow::Owned(shown),
    };
    let text = several::hide(programs::hide_options(names::hide(lists::hide_shorthand(text))));
    let text = users::hide(addresses::hide(text));
    let text = hints::hide(forms::hide(text));
    statements::hide(piped::hide(programs::hide(text)))
}

#[cfg(test)]
mod tests;
