//! What is wrong with the settings: one line a problem, all of them at once.

use std::fmt;

/// One thing wrong with one setting, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The environment variable.
    pub setting: String,
    /// What is wrong, as a predicate: "is not a number".
    pub wrong: String,
    /// What would be right. Never holds the value of a secret.
    pub remedy: String,
}

/// Every problem found while reading the settings; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        writeln!(f, "The configuration has {count} problem{}:", if count == 1 { "" } else { "s" })?;
        let width = self.0.iter().map(|p| p.setting.len()).max().unwrap_or_default();
        for problem in &self.0 {
            writeln!(f, "  {:width$}  {}", problem.setting, problem.wrong)?;
            writeln!(f, "  {:width$}  → {}", "", problem.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// A value as a problem repeats it: without what may be a user's name and password (whatever stands before an `@`), and
/// without what follows a `?`.
pub fn shown(value: &str) -> String {
    let (start, rest) = match value.rfind('@') {
        Some(at) => {
            let scheme = value.find("://").map_or(0, |at| at + "://".len());
            (format!("{}***", value.get(..scheme.min(at)).unwrap_or_default()), &value[at..])
        }
        None => (String::new(), value),
    };
    let (plain, query) = rest.split_once('?').map_or((rest, ""), |(plain, _)| (plain, "?***"));
    format!("{:?}", format!("{start}{plain}{query}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_in_an_address_are_not_repeated() {
        for (value, expected) in [
            ("redis://user:SEKRIT@host:1/0", "\"redis://***@host:1/0\""),
            ("user:SEKRIT@host", "\"***@host\""),
            ("http//user:SE@KRIT@host", "\"***@host\""),
            ("user:SE?KRIT@host?key=SEKRIT", "\"***@host?***\""),
            ("https://host/path?key=SEKRIT", "\"https://host/path?***\""),
            ("https://user:SEK?RIT@host", "\"https://***@host\""),
            ("logging", "\"logging\""),
        ] {
            assert_eq!(shown(value), expected);
        }
    }
}
