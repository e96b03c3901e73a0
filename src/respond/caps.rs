//! How often was acted: counted in the state store, so that replicas agree and a restart forgets nothing. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::why_not::WhyNot;
use crate::config::acting::Limits;
use crate::integrity::answer::Reason;

/// What was taken of the caps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Caps {
    /// The last hour's, the oldest first.
    pub recent: Vec<Taken>,
    /// All since the last reset.
    pub overall: u64,
    /// Who set the count back, the oldest first.
    pub resets: Vec<Reset>,
}

/// One action's share.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// When.
    pub time: DateTime<Utc>,
    /// In which project.
    pub project: String,
    /// For which plan.
    pub plan: String,
}

/// The counts were set back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// When.
    pub time: DateTime<Utc>,
    /// By whom.
    pub who: String,
    /// What the overall count was.
    pub overall: u64,
}

/// The most resets that are remembered.
const RESETS: usize = 100;

impl Caps {
    /// Takes a share for `plan`, which may ask again for the same one.
    ///
    /// # Errors
    /// The cap that is reached, and as a sentence.
    pub fn take(&mut self, limits: &Limits, project: &str, plan: &str, now: DateTime<Utc>) -> Result<(), WhyNot> {
        self.forget_before(now - TimeDelta::hours(1));
        if self.recent.iter().any(|taken| taken.plan == plan) {
            return Ok(());
        }
        let in_project = self.recent.iter().filter(|taken| taken.project == project).count();
        let full = |reason, told: String| Err(WhyNot { reason, told });
        if self.overall >= limits.overall {
            return full(
                Reason::CapOverall,
                format!(
                    "{} VMs were acted on, or may have been, since the count was last reset, as many as INTEGRITY_ACTIONS_OVERALL allows",
                    self.overall
                ),
            );
        }
        if self.recent.len() >= limits.hour {
            return full(
                Reason::CapHour,
                format!(
                    "{} VMs were acted on, or may have been, within the last hour, as many as INTEGRITY_ACTIONS_PER_HOUR allows",
                    self.recent.len()
                ),
            );
        }
        if in_project >= limits.project_hour {
            return full(
                Reason::CapProject,
                format!(
                    "{in_project} VMs of project {project} were acted on, or may have been, within the last hour, as many as INTEGRITY_ACTIONS_PER_PROJECT_HOUR allows"
                ),
            );
        }
        self.recent.push(Taken { time: now, project: project.to_owned(), plan: plan.to_owned() });
        self.overall += 1;
        Ok(())
    }

    /// Gives back the share of a plan that came to nothing. One of more than an hour ago is not known by its plan any
    /// more, and stays taken.
    pub fn give_back(&mut self, plan: &str, now: DateTime<Utc>) {
        self.forget_before(now - TimeDelta::hours(1));
        let before = self.recent.len();
        self.recent.retain(|taken| taken.plan != plan);
        let found = self.recent.len() < before;
        self.overall = self.overall.saturating_sub(u64::from(found));
    }

    fn forget_before(&mut self, time: DateTime<Utc>) {
        self.recent.retain(|taken| taken.time > time);
    }

    /// Sets all counts back.
    pub fn reset(&mut self, who: &str, now: DateTime<Utc>) {
        self.resets.push(Reset { time: now, who: who.to_owned(), overall: self.overall });
        let drop = self.resets.len().saturating_sub(RESETS);
        self.resets.drain(..drop);
        self.recent.clear();
        self.overall = 0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    const LIMITS: Limits = Limits { hour: 3, project_hour: 2, overall: 4 };

    #[test]
    fn each_cap_holds_and_the_same_plan_counts_once() {
        let mut caps = Caps::default();
        let mut take = |project: &str, plan: &str, second| {
            caps.take(&LIMITS, project, plan, at(second)).map_err(|why| why.reason.label())
        };
        assert_eq!(take("p", "1", 0), Ok(()));
        assert_eq!(take("p", "1", 1), Ok(()), "again");
        assert_eq!(take("p", "2", 2), Ok(()));
        assert_eq!(take("p", "3", 3), Err("cap_project"));
        assert_eq!(take("q", "4", 4), Ok(()));
        assert_eq!(take("q", "5", 5), Err("cap_hour"));
        assert_eq!(take("p", "3", 3600), Ok(()), "an hour after the first");
        assert_eq!(take("r", "6", 9000), Err("cap_overall"));
        caps.reset("alice", at(9001));
        assert_eq!(caps.take(&LIMITS, "r", "6", at(9002)), Ok(()));
        assert_eq!((caps.overall, caps.resets[0].overall, caps.resets[0].who.as_str()), (1, 4, "alice"));
    }

    #[test]
    fn a_share_is_given_back_once_and_not_after_a_reset_or_an_hour() {
        let mut caps = Caps::default();
        for (plan, second) in [("1", 0), ("2", 1)] {
            caps.take(&LIMITS, "p", plan, at(second)).unwrap();
        }
        ["1", "1", "other"].into_iter().for_each(|plan| caps.give_back(plan, at(1)));
        assert_eq!((caps.overall, caps.recent.len()), (1, 1));
        caps.reset("alice", at(2));
        caps.take(&LIMITS, "p", "3", at(3)).unwrap();
        caps.give_back("2", at(3));
        assert_eq!(caps.overall, 1);
        caps.give_back("3", at(3603));
        assert_eq!((caps.overall, caps.recent.len()), (1, 0), "an hour ago");
    }

    proptest! {
        #[test]
        fn no_hour_ever_holds_more_than_its_cap(asked in proptest::collection::vec((0_i64..600, 0_u8..3), 1..200)) {
            let limits = Limits { overall: 1000, ..LIMITS };
            let (mut caps, mut now, mut granted) = (Caps::default(), 0, Vec::new());
            for (number, (wait, project)) in asked.iter().enumerate() {
                now += wait;
                let project = format!("p{project}");
                if caps.take(&limits, &project, &number.to_string(), at(now)).is_ok() {
                    granted.push((now, project));
                }
            }
            for (start, project) in &granted {
                let hour: Vec<_> = granted.iter().filter(|(time, _)| time >= start && *time < start + 3600).collect();
                prop_assert!(hour.len() <= limits.hour);
                prop_assert!(hour.iter().filter(|(_, other)| other == project).count() <= limits.project_hour);
            }
        }
    }
}
