//! One scale, and the foreign scales mapped onto it.

use serde::{Deserialize, Serialize};

/// Sysdig's scale: 0 (worst) to 7 (information).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Severity(u8);

impl Severity {
    /// The level taken where a sender gives none: the middle of the scale.
    pub const UNKNOWN: Self = Self(4);

    /// A level of Sysdig's scale; what lies outside 0..=7 is `None`.
    pub fn from_sysdig(level: i64) -> Option<Self> {
        u8::try_from(level).ok().filter(|level| *level <= 7).map(Self)
    }

    /// A word, in any case: Falco's eight priorities, and the four that Sysdig shows in its console.
    pub fn from_word(word: &str) -> Option<Self> {
        const WORDS: [(&str, u8); 15] = [
            ("emergency", 0),
            ("alert", 1),
            ("critical", 2),
            ("error", 3),
            ("warning", 4),
            ("notice", 5),
            ("informational", 6),
            ("debug", 7),
            ("warn", 4),
            ("information", 6),
            ("high", 2),
            ("medium", 4),
            ("low", 6),
            ("info", 7),
            ("none", 7),
        ];
        WORDS.iter().find(|(known, _)| known.eq_ignore_ascii_case(word.trim())).map(|(_, level)| Self(*level))
    }

    /// The level, 0..=7.
    pub fn level(self) -> u8 {
        self.0
    }

    /// 0 for what becomes CRITICAL, 1 for HIGH, 2 for MEDIUM, 3 for LOW.
    pub fn urgency(self) -> u8 {
        match self.0 {
            0 => 0,
            1..=3 => 1,
            4 | 5 => 2,
            _ => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Severity;

    #[test]
    fn falcos_eight_priorities_fill_the_scale() {
        let words = ["Emergency", "ALERT", "critical", "Error", "warning", "Notice", "Informational", "debug"];
        let levels: Vec<_> = words.iter().map(|word| Severity::from_word(word).unwrap().level()).collect();
        assert_eq!(levels, [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(Severity::from_word("loud"), None);
    }

    #[test]
    fn levels_outside_the_scale_are_none() {
        assert_eq!(Severity::from_sysdig(-1), None);
        assert_eq!(Severity::from_sysdig(8), None);
        assert_eq!(Severity::from_sysdig(7).map(Severity::level), Some(7));
    }
}
