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
