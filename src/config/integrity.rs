//! Shielded VM integrity.

use chrono::TimeDelta;

use super::{Area, Env, Setting};

/// How long a late report is waited for.
pub static INTEGRITY_LATE_REPORT_MINUTES: Setting = Setting {
    name: "INTEGRITY_LATE_REPORT_MINUTES",
    aliases: &[],
    default: Some("10"),
    example: "10",
    secret: false,
    doc: "Minutes after a failed early boot report within which the late one is expected. When it does not come, a finding says that the boot did not complete. 1 to 1440.",
};

/// How long baselines that were read are used.
pub static BASELINE_CACHE_SECS: Setting = Setting {
    name: "BASELINE_CACHE_SECS",
    aliases: &[],
    default: Some("30"),
    example: "30",
    secret: false,
    doc: "Seconds for which known-good baselines that were read are used before they are read again. What `sysdig-scc baseline` changes counts at once; a document that was changed otherwise, as in the console, only then. 0 to 3600.",
};

/// The settings of this area.
pub static AREA: Area =
    Area { title: "Shielded VM integrity", settings: &[&INTEGRITY_LATE_REPORT_MINUTES, &BASELINE_CACHE_SECS] };

/// Shielded VM integrity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntegrityConfig {
    /// How long a late report is waited for.
    pub late_report_within: TimeDelta,
    /// How long baselines that were read are used.
    pub baselines_fresh_for: TimeDelta,
}

impl IntegrityConfig {
    /// Reads the area; problems stay in `env`.
    pub fn read(env: &mut Env) -> Option<Self> {
        let minutes = env.number(&INTEGRITY_LATE_REPORT_MINUTES, 1..=1440);
        let seconds = env.number(&BASELINE_CACHE_SECS, 0..=3600);
        Some(Self {
            late_report_within: TimeDelta::minutes(i64::try_from(minutes?).ok()?),
            baselines_fresh_for: TimeDelta::seconds(i64::try_from(seconds?).ok()?),
        })
    }
}
