//! Policy against actual, register by register.

use serde::Serialize;

use super::known::{Known, recognise};
use super::meaning::{Meaning, meaning};
use super::measurement::{Digest, Garbled, Measurements, Slot};

/// How a register's two values relate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// Both are there and the same.
    Equal,
    /// Both are there and differ.
    Changed,
    /// The policy has one, the boot measured none.
    OnlyInPolicy,
    /// The boot measured one, the policy has none.
    OnlyInActual,
    /// One is there, and the other cannot be read.
    NotReadable,
}

impl Change {
    /// Whether the two are seen to differ.
    pub fn differs(self) -> bool {
        matches!(self, Self::Changed | Self::OnlyInPolicy | Self::OnlyInActual)
    }
}

/// One register of one bank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which.
    pub slot: Slot,
    /// How its values relate.
    pub change: Change,
    /// The value of the policy baseline.
    pub policy: Option<Digest>,
    /// The value measured.
    pub actual: Option<Digest>,
}

impl Difference {
    /// What the register covers.
    pub fn meaning(&self) -> Meaning {
        meaning(self.slot.pcr)
    }

    /// What is known about the policy's value.
    pub fn policy_known(&self) -> Option<Known> {
        recognise(self.slot, self.policy.as_ref()?)
    }

    /// What is known about the measured value.
    pub fn actual_known(&self) -> Option<Known> {
        recognise(self.slot, self.actual.as_ref()?)
    }

    /// What happened to this register, as a sentence without its full stop.
    pub fn sentence(&self) -> String {
        let name = self.slot.pcr;
        match self.change {
            Change::Equal => format!("{name} is as the policy has it"),
            Change::Changed => format!("{name}: {}{}", self.meaning().changed, self.transition()),
            Change::OnlyInPolicy => format!("{name} stands in the policy, but this boot did not report it"),
            Change::NotReadable if self.actual.is_none() => {
                format!("{name} was reported, but its value cannot be read and compared with the policy's")
            }
            Change::NotReadable => format!("{name} was measured, but the policy's value for it cannot be read"),
            Change::OnlyInActual if self.actual_known() == Some(Known::NeverExtended) => {
                format!("{name} was reported as never extended, but the policy has no value for it")
            }
            Change::OnlyInActual if name.number() == 14 => {
                format!("{name} was measured (shim's machine-owner key lists), but the policy has no value for it")
            }
            Change::OnlyInActual => {
                format!("{name} was measured ({}), but the policy has no value for it", self.meaning().covers)
            }
        }
    }

    /// The same, when some registers of the report cannot be read: they are not missing.
    #[must_use]
    pub fn given(self, garbled: &Garbled) -> Self {
        let not_readable = match self.change {
            Change::OnlyInPolicy => garbled.actual.contains(&self.slot.pcr),
            Change::OnlyInActual => garbled.policy.contains(&self.slot.pcr),
            _ => false,
        };
        if not_readable { Self { change: Change::NotReadable, ..self } } else { self }
    }

    /// What usually makes it differ without harm.
    pub fn harmless(&self) -> Option<&'static str> {
        self.meaning().harmless.filter(|_| self.change.differs())
    }

    fn transition(&self) -> String {
        match (self.policy_known(), self.actual_known()) {
            (None, None) if self.slot.pcr.number() == 0 => " (neither value is of a firmware known here)".to_owned(),
            (None, None) => String::new(),
            (from, to) => {
                let word =
                    |known: Option<Known>| known.map_or_else(|| "an unknown value".to_owned(), |k| k.to_string());
                format!(" ({} -> {})", word(from), word(to))
            }
        }
    }
}

/// Every register that stands in either, in order.
pub fn compare(policy: &Measurements, actual: &Measurements) -> Vec<Difference> {
    let mut slots: Vec<Slot> = policy.0.keys().chain(actual.0.keys()).copied().collect();
    slots.sort_unstable();
    slots.dedup();
    let difference = |slot: Slot| {
        let (policy, actual) = (policy.0.get(&slot).cloned(), actual.0.get(&slot).cloned());
        let change = match (&policy, &actual) {
            (Some(one), Some(other)) if one == other => Change::Equal,
            (Some(_), Some(_)) => Change::Changed,
            (Some(_), None) => Change::OnlyInPolicy,
            (None, _) => Change::OnlyInActual,
        };
        Difference { slot, change, policy, actual }
    };
    slots.into_iter().map(difference).collect()
}
