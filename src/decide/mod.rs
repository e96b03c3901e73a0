//! Enriched event + settings → what should change in Security Command Center. Pure.

use chrono::{DateTime, Utc};

use crate::enrich::Enriched;
use crate::event::{Event, FindingChange};

/// What is to be done with one event.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// These changes, in this order; usually one.
    Deliver(Vec<FindingChange>),
    /// Nothing: a setting says that it is not wanted. The sentence says which.
    Filtered(String),
}

/// The settings that decide.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `organizations/ORG`: the resource of last resort.
    pub organization: String,
}

/// What should happen with `event`, given what enrichment found and what time it is.
pub fn decide(_event: &Event, _enriched: &Enriched, rules: &Rules, _now: DateTime<Utc>) -> Decision {
    Decision::Filtered(rules.organization.clone())
}
