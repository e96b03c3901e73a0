//! What the baselines say about a boot, and how near they came.

use serde::{Deserialize, Serialize};

/// What the baselines say about a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "judgement", rename_all = "snake_case")]
pub enum Judgement {
    /// It is known to be good.
    Known {
        /// The baseline that says so.
        baseline: String,
    },
    /// No baseline says so.
    Unknown {
        /// The one that came nearest.
        nearest: Option<Miss>,
        /// How many were looked at.
        looked_at: usize,
    },
    /// The report itself cannot be judged.
    Unfit {
        /// Why.
        reason: String,
    },
}

/// How far a baseline is from a boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Miss {
    /// Which baseline.
    pub baseline: String,
    /// Registers whose value differs.
    pub differs: Vec<String>,
    /// Registers it has no value for.
    pub uncovered: Vec<String>,
    /// Registers the policy has and the boot did not report.
    pub unreported: Vec<String>,
    /// What else keeps it from being used: its scope, its expiry, a mistake in it.
    pub barred: Option<String>,
}

impl Miss {
    pub(super) fn distance(&self) -> usize {
        self.differs.len() + self.uncovered.len() + self.unreported.len()
    }

    /// The miss as a clause: "baseline3 differs only in PCR_4 (SHA1)".
    pub fn sentence(&self) -> String {
        let mut parts = Vec::new();
        let mut part = |what: &str, list: &[String]| {
            if !list.is_empty() {
                parts.push(format!("{what} {}", list.join(", ")));
            }
        };
        part(if self.distance() == self.differs.len() { "differs only in" } else { "differs in" }, &self.differs);
        part("has no value for", &self.uncovered);
        part("cannot vouch for a register that the boot did not report:", &self.unreported);
        match &self.barred {
            Some(bar) if parts.is_empty() => parts.push(format!("has these very values, but {bar}")),
            Some(bar) => parts.push(bar.clone()),
            None => {}
        }
        format!("{} {}", self.baseline, parts.join(" and "))
    }
}

impl Judgement {
    /// The judgement as a sentence.
    pub fn sentence(&self) -> String {
        match self {
            Self::Known { baseline } => format!("These measurements are known to be good: baseline {baseline}."),
            Self::Unknown { nearest: Some(miss), .. } => {
                format!("No baseline knows these measurements; the nearest: {}.", miss.sentence())
            }
            Self::Unknown { nearest: None, .. } => "No known-good baselines are recorded.".to_owned(),
            Self::Unfit { reason } => format!("The report cannot be compared with baselines: {reason}."),
        }
    }
}
