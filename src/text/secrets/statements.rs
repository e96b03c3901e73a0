//! Statements of SQL that say a user's password: `ALTER USER a PASSWORD 'SECRET'`, `… IDENTIFIED BY 'SECRET'`.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

use super::pattern;
use super::values::{VALUE, hide as hide_values};

/// What a text with one of them holds; what has `pass` in it is looked at by its name.
pub(super) const STEMS: &str = r"identified\s";

static STATEMENT: LazyLock<Regex> = LazyLock::new(|| {
    let whose = r"\b(?:alter|create)\s+(?:user|role|login|group)\s[^;]*?";
    let starts = [
        format!(r"{whose}\bpassword\s+[en]?"),
        format!(
            r"(?:{whose}|\bgrant\s[^;]*?\sto\s[^;]*?)\bidentified\s+(?:(?:with|via)\s+\S+\s+(?:as|by|using)|by)\s+(?:password\s+)?"
        ),
        r"\bset\s+password\s+(?:for\s+[^;=]*?)?(?:=|to)\s*(?:password\(\s*)?".to_owned(),
    ];
    // In a shell's quotes, a quote is written as four signs.
    pattern(&format!(r"(?i)((?:{})(?:'\\')?)({VALUE})", starts.join("|")))
});

/// The text without what they say.
pub(super) fn hide(text: Cow<'_, str>) -> Cow<'_, str> {
    // Without quotes there are words such as `EXPIRE`; Oracle's passwords have none.
    hide_values(text, &STATEMENT, |found| match found.value.as_bytes() {
        [b'\'' | b'"' | b'\\', ..] | [b'$', b'$', ..] => true,
        _ => {
            let by = found.told.trim_end().to_ascii_lowercase().ends_with(" by");
            by && !found.value.eq_ignore_ascii_case("random")
        }
    })
}

#[cfg(test)]
mod tests {
    use crate::text::secrets::redact;

    #[test]
    fn passwords_of_statements_are_left_out() {
        for (before, after) in [
            ("psql -c \"ALTER USER a PASSWORD '", "'\""),
            ("psql -c CREATE ROLE a WITH LOGIN ENCRYPTED PASSWORD '", "' VALID UNTIL 'x'"),
            (r"sh -c 'psql -c '\''alter user a password '\''", r"'\'''"),
            ("mysql -e CREATE USER 'a'@'%' IDENTIFIED BY '", "'; FLUSH PRIVILEGES"),
            ("mysql -e \"ALTER USER 'a'@'%' IDENTIFIED WITH mysql_native_password BY '", "'\""),
            ("mysql -e GRANT ALL ON *.* TO 'a'@'%' IDENTIFIED BY '", "'"),
            ("sqlplus / as sysdba ALTER USER scott IDENTIFIED BY ", " ACCOUNT UNLOCK"),
            ("mysql -e SET PASSWORD FOR 'a'@'%' = PASSWORD('", "')"),
            ("mysql -e SET PASSWORD = '", "'"),
        ] {
            assert_eq!(redact(&format!("{before}Hunter2{after}")), format!("{before}[redacted]{after}"));
        }
        assert_eq!(redact("psql -c ALTER USER a PASSWORD $$Hunter2$$"), "psql -c ALTER USER a PASSWORD [redacted]");
    }
}
