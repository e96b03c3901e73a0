//! One scale, and the foreign scales mapped onto it.

use serde::{Deserialize, Serialize};

/// Sysdig's scale: 0 (worst) to 7 (information).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Severity(u8);

impl Severity {
    /// A level of Sysdig's scale; what lies outside 0..=7 is `None`.
    pub fn from_sysdig(level: i64) -> Option<Self> {
        u8::try_from(level).ok().filter(|level| *level <= 7).map(Self)
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
