//! After a relearn: did the VM learn what was approved? Pure.
//!
//! Compute Engine learns the measurements of the most recent boot, which may no longer be the boot that was looked at.
//! Only the policy that the next late report carries tells what was learned.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::entry::BootReport;
use super::measurement::Measurements;
use super::moment::Moment;

/// What a VM should have learned.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Learning {
    /// The boot that was looked at.
    pub boot: Moment,
    /// What it measured: this was approved.
    pub approved: Measurements,
    /// The policy it failed against.
    pub before: Measurements,
    /// The baseline that approves it.
    pub baseline: String,
    /// When the VM was told to relearn: by Compute Engine's clock where it says so.
    pub called: DateTime<Utc>,
    /// Whether Compute Engine took the call. Until that is known, nobody can say that anything was learned.
    pub taken: bool,
    /// The operation of the call, under which the audit log has it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// The newest report that showed the approved policy.
    #[serde(default)]
    pub verified: Option<Moment>,
    /// The first report that showed another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<Moment>,
}

/// What a late report says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Learned {
    /// The approved measurements.
    Approved,
    /// Not yet: this boot began before the VM was told, and measured the same, or nothing shows that the call arrived.
    NotYet,
    /// Something else.
    Other,
}

impl Learning {
    /// What the policy of a later late report says. `at` is when that boot was.
    pub fn learned(&self, report: &BootReport, at: DateTime<Utc>) -> Learned {
        if self.differing(&report.policy).is_empty() {
            return Learned::Approved;
        }
        let unchanged = report.policy == self.before;
        let began_before = at < self.called && !self.lost_to(report, at);
        if unchanged && (began_before || !self.taken) { Learned::NotYet } else { Learned::Other }
    }

    /// Whether this boot, which nobody approved, began before the VM was told: it was the most recent one then, and so
    /// it is what was learned.
    pub fn lost_to(&self, report: &BootReport, at: DateTime<Utc>) -> bool {
        let before = self.taken && at < self.called && report.policy == self.before;
        before && !self.differing(&report.actual).is_empty()
    }

    /// The registers of such a boot that were learned and not approved.
    pub fn not_approved(&self, report: &BootReport, at: DateTime<Utc>) -> Vec<String> {
        self.differing(if self.lost_to(report, at) { &report.actual } else { &report.policy })
    }

    /// The registers whose policy is not what was approved. A register that the policy never had need not be in it
    /// now; one that is missing although it was there, or that was not approved, differs.
    pub fn differing(&self, policy: &Measurements) -> Vec<String> {
        let mut wrong: Vec<String> = Vec::new();
        for (slot, digest) in &policy.0 {
            if self.approved.0.get(slot) != Some(digest) {
                wrong.push(slot.to_string());
            }
        }
        let lost = |slot| self.before.0.contains_key(slot) || policy.is_empty();
        wrong.extend(
            self.approved.0.keys().filter(|slot| !policy.0.contains_key(slot) && lost(slot)).map(ToString::to_string),
        );
        wrong
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::integrity::measurement::{Algorithm, Digest, Pcr, Slot};

    fn values(list: &[(u8, u8)]) -> Measurements {
        let slot = |pcr| Slot { pcr: Pcr::new(pcr).unwrap(), algorithm: Algorithm::Sha1 };
        Measurements(list.iter().map(|(pcr, byte)| (slot(*pcr), Digest(vec![*byte; 20]))).collect())
    }

    #[test]
    fn only_what_was_approved_may_be_in_the_policy_afterwards() {
        let called = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
        let learning = Learning {
            boot: Moment { time: called - TimeDelta::minutes(1), boot: Some(3) },
            approved: values(&[(0, 1), (4, 2), (7, 1), (14, 5)]),
            before: values(&[(0, 1), (4, 1), (7, 1)]),
            baseline: "b".into(),
            called,
            taken: true,
            operation: None,
            verified: None,
            lost: None,
        };
        let (before, after) = (called - TimeDelta::seconds(5), called + TimeDelta::seconds(5));
        let same = [(0, 1), (4, 2), (7, 1), (14, 5)];
        let other = [(0, 1), (4, 9), (7, 1), (14, 5)];
        for (policy, actual, at, expected) in [
            (&same[..], &same[..], after, Learned::Approved),
            (&same[..3], &same[..], after, Learned::Approved),
            (&same[..], &other[..], after, Learned::Approved),
            (&same[..2], &same[..], after, Learned::Other),
            (&other[..], &other[..], after, Learned::Other),
            (&[], &same[..], after, Learned::Other),
            (&[(0, 1), (4, 2), (7, 1), (9, 9)], &same[..], after, Learned::Other),
            (&[(0, 1), (4, 1), (7, 1)], &same[..], after, Learned::Other),
            (&[(0, 1), (4, 1), (7, 1)], &same[..], before, Learned::NotYet),
            (&[(0, 1), (4, 1), (7, 1)], &other[..], before, Learned::Other),
        ] {
            let report = BootReport { policy: values(policy), actual: values(actual), ..BootReport::default() };
            assert_eq!(learning.learned(&report, at), expected, "{policy:?} {actual:?}");
        }
        assert_eq!(learning.differing(&values(&other)), ["PCR_4 (SHA1)"]);
        let raced = BootReport { policy: learning.before.clone(), actual: values(&other), ..BootReport::default() };
        assert_eq!(
            [before, after].map(|at| (learning.lost_to(&raced, at), learning.not_approved(&raced, at).len())),
            [(true, 1), (false, 1)]
        );
        let unknown = Learning { taken: false, ..learning };
        let report = |policy| BootReport { policy: values(policy), actual: values(&other), ..BootReport::default() };
        assert_eq!(
            unknown.learned(&report(&[(0, 1), (4, 1), (7, 1)]), after),
            Learned::NotYet,
            "it may not have arrived"
        );
        assert_eq!(unknown.learned(&report(&other), after), Learned::Other, "something was learned");
    }
}
