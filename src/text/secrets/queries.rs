//! Secrets in addresses that are written with percent signs: the command of an `exec`, and values such as `a%3Db`.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::{of_sentence, pattern, redact_list};

/// What a text with such a command holds.
pub(super) const STEMS: &str = r"/(?:exec|attach)\?";

/// What a client asks a container for: `/pods/web/exec?command=mysql&command=-pSECRET`.
static EXEC: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(/(?:exec|attach)\?)([^\s"'<>\\)]+)"#));

/// What in a query or a form stands for `=`, `:` or `"`, and the word around it.
static ENCODED: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?i)[^\s"'?&<>\\]*%(?:3d|3a|22)[^\s"'?&<>\\]*"#));

/// The parameter that tells one argument.
const ARGUMENT: &str = "command=";

/// The text without them.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    let text = if text.contains(ARGUMENT) { each(text, &EXEC, command) } else { text };
    if text.contains('%') { each(text, &ENCODED, |found| word(&found[0])) } else { text }
}

fn each<'t>(text: Cow<'t, str>, pattern: &Regex, told: impl Fn(&Captures<'_>) -> Option<String>) -> Cow<'t, str> {
    let all = |found: &Captures<'_>| told(found).unwrap_or_else(|| found[0].to_owned());
    match pattern.replace_all(&text, all) {
        Cow::Borrowed(_) => text,
        Cow::Owned(shown) => Cow::Owned(shown),
    }
}

/// The address with its command told anew, when there is a secret in it.
fn command(found: &Captures<'_>) -> Option<String> {
    let parameters: Vec<&str> = found[2].split('&').collect();
    let arguments: Vec<_> = parameters.iter().filter_map(|one| one.strip_prefix(ARGUMENT)).map(decoded).collect();
    let told = redact_list(&arguments);
    if told == arguments {
        return None;
    }
    let mut told = told.iter().zip(&arguments);
    let parameters = parameters.into_iter().map(|parameter| match parameter.strip_prefix(ARGUMENT) {
        Some(_) => match told.next() {
            Some((told, argument)) if told != argument => format!("{ARGUMENT}{}", encoded(told)),
            _ => parameter.to_owned(),
        },
        None => parameter.to_owned(),
    });
    Some(format!("{}{}", &found[1], parameters.collect::<Vec<_>>().join("&")))
}

/// A word told anew, when there is a secret in it.
fn word(word: &str) -> Option<String> {
    let plain = decoded(word);
    match of_sentence(&plain) {
        Cow::Owned(told) if told != *plain => Some(encoded(&told)),
        _ => None,
    }
}

/// A parameter's text as far as it is of ASCII's signs; a percent sign stays what stands for one.
fn decoded(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['%', '+']) {
        let (before, sign) = rest.split_at(at);
        plain.push_str(before);
        let code = sign.get(1..3).and_then(|digits| u8::from_str_radix(digits, 16).ok()).map(char::from);
        let (told, bytes) = match code {
            _ if sign.starts_with('+') => (' ', 1),
            Some(code @ ' '..='~') if code != '%' => (code, 3),
            _ => ('%', 1),
        };
        plain.push(told);
        rest = &sign[bytes..];
    }
    plain.push_str(rest);
    Cow::Owned(plain)
}

/// The same as a parameter again: only what would end it is written with a percent sign.
fn encoded(text: &str) -> String {
    let mut told = String::with_capacity(text.len());
    for sign in text.chars() {
        match sign {
            ' ' => told.push('+'),
            '+' => told.push_str("%2B"),
            '&' => told.push_str("%26"),
            '"' => told.push_str("%22"),
            '\'' => told.push_str("%27"),
            '#' => told.push_str("%23"),
            '?' => told.push_str("%3F"),
            sign => told.push(sign),
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use crate::text::secrets::redact;

    #[test]
    fn the_command_of_an_exec_is_a_command_line() {
        for (query, expected) in [
            ("command=mysql&command=-phunter2&container=db", "command=mysql&command=-p[redacted]&container=db"),
            ("command=app&command=--password&command=hunter2", "command=app&command=--password&command=[redacted]"),
            ("command=app&command=--password%3Dhunter2", "command=app&command=--password=[redacted]"),
            (
                "command=env&command=DB_PASSWORD%3Dhunter2&command=app",
                "command=env&command=DB_PASSWORD=[redacted]&command=app",
            ),
            (
                "command=sh&command=-c&command=curl+-u+bob%3Ahunter2+https%3A%2F%2Fx&stdin=true",
                "command=sh&command=-c&command=curl+-u+bob:[redacted]+https://x&stdin=true",
            ),
            ("command=curl&command=-u&command=bob%3Ahunter2", "command=curl&command=-u&command=bob:[redacted]"),
            ("container=db&command=ls&command=-p%26a", "container=db&command=ls&command=-p%26a"),
        ] {
            for address in ["/api/v1/namespaces/shop/pods/web/exec?", "https://10.0.0.1/api/v1/x/pods/web/attach?"] {
                let told = format!("exec (user=bob uri={address}{expected} pod=web)");
                assert_eq!(redact(&format!("exec (user=bob uri={address}{query} pod=web)")), told);
                assert_eq!(redact(&told), told, "twice");
            }
        }
    }

    #[test]
    fn percent_signs_hide_no_secrets() {
        for (text, expected) in [
            (
                "curl https://x/?q=%22password%22%3A%22hunter2%22&a=b",
                "curl https://x/?q=%22password%22:%22[redacted]%22&a=b",
            ),
            (
                "curl -d a=b&json=%7B%22token%22%3A%22hunter2%22%7D x",
                "curl -d a=b&json={%22token%22:%22[redacted]%22} x",
            ),
            ("GET /?next=%2Flogin%3Fpassword%3Dhunter2 x", "GET /?next=/login%3Fpassword=[redacted] x"),
            ("GET /?next=%2Flogin%3Fa%3Db&token=x", "GET /?next=%2Flogin%3Fa%3Db&token=[redacted]"),
            ("password is 100%3d a%zz 100%", "password is 100%3d a%zz 100%"),
        ] {
            assert_eq!(redact(text), expected);
            assert_eq!(redact(expected), expected, "twice");
        }
    }
}
