//! Enriched event + settings → what should change in Security Command Center. Pure.

mod access;
mod activity;
mod attestation;
mod audited;
mod compliance;
mod drift;
mod kinds;
mod known_secrets;
pub mod looked_up;
pub mod mitre;
mod mitre_table;
mod next_steps;
mod object;
mod pod_labels;
mod properties;
mod resource;
mod runtime;
#[cfg(test)]
mod tests;
mod workload;

use chrono::{DateTime, Utc};

use crate::config::finding::FindingConfig;
use crate::enrich::Enriched;
use crate::event::{Event, scene};
use crate::finding::FindingChange;
use crate::integrity::Entry;
pub use known_secrets::KnownSecrets;

/// What is to be done with one event that is wanted.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision<'a> {
    /// This change.
    Deliver(FindingChange),
    /// What follows from this entry depends on what was seen before: [`Tracker::follow`](crate::track::Tracker::follow)
    /// knows.
    Follow(&'a Entry),
}

/// The settings that decide.
#[derive(Debug, Clone)]
pub struct Rules {
    /// `organizations/ORG`: the resource of last resort.
    pub organization: String,
    /// The base address of the Sysdig console, for links: `https://secure.sysdig.com`.
    pub console: String,
    /// What the findings say and which events become one.
    pub finding: FindingConfig,
    /// Our own secrets, which no finding shows.
    pub secrets: KnownSecrets,
}

impl Rules {
    /// The default rules for an organization, `organizations/ORG` or the bare number.
    pub fn new(organization: &str) -> Self {
        let number = organization.trim_start_matches("organizations/");
        Self {
            organization: format!("organizations/{number}"),
            console: "https://secure.sysdig.com".to_owned(),
            finding: FindingConfig::default(),
            secrets: KnownSecrets::default(),
        }
    }
}

/// Why nobody wants this event, when a setting says so; needs no look-ups.
pub fn unwanted(event: &Event, rules: &Rules) -> Option<String> {
    match event {
        Event::Runtime(event) => runtime::unwanted(event, &rules.finding),
        Event::Attestation(_) | Event::Integrity(_) => None,
    }
}

/// Whether the event itself tells where it happened, so that no look-up is worth a delay. A project's number does not where
/// `by_id`, since somebody is asked who calls the machine by the project's id: one machine has one name.
pub fn is_placed(event: &Event, by_id: bool) -> bool {
    match event {
        Event::Runtime(event) => {
            let event = scene::placed(event);
            let named = !by_id || event.cloud.project_id.is_some();
            named && resource::instance_from_labels(&event).is_some()
        }
        // A Shielded VM's entry names its VM.
        Event::Integrity(_) => true,
        Event::Attestation(_) => false,
    }
}

/// What should happen with `event`, given what enrichment found and what time it is. Whether it is wanted at all,
/// [`unwanted`] tells before.
pub fn decide<'a>(event: &'a Event, enriched: &Enriched, rules: &Rules, now: DateTime<Utc>) -> Decision<'a> {
    let mut change = match event {
        Event::Integrity(entry) => return Decision::Follow(entry),
        Event::Attestation(event) => attestation::change(event, rules, now),
        Event::Runtime(event) => {
            let finding = Box::new(runtime::finding(&rules.secrets.left_out(event), enriched, rules, now));
            FindingChange::Create { id: event.finding_id(), finding }
        }
    };
    rules.secrets.leave_out(std::slice::from_mut(&mut change));
    Decision::Deliver(change)
}
