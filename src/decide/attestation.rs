//! An attestation event becomes a finding, or closes one.

use chrono::{DateTime, Duration, Utc};

use super::Rules;
use crate::event::attestation::Attestation;
use crate::finding::Finding;
use crate::finding::FindingChange;
use crate::text;

/// What should change.
pub(super) fn change(event: &Attestation, rules: &Rules, now: DateTime<Utc>) -> FindingChange {
    let id = event.finding_id();
    let time = event.time.min(now - Duration::seconds(1));
    if !event.open {
        return FindingChange::Close { id, time, told: event.evidence.told, untold_failure: None };
    }
    let organization = || format!("//cloudresourcemanager.googleapis.com/{}", rules.organization);
    let resource = event.resource.clone().unwrap_or_else(organization);
    let mut finding = Finding::new(event.category.name(), event.category.severity(), resource, time);
    finding.finding_class = event.category.class();
    finding.description = Some(text::ellipsis(&event.description, 4 * 1024));
    finding.next_steps = Some(event.next_steps().to_owned());
    finding.module_name = Some("attestation".to_owned());
    finding.source_properties = event.properties.clone();
    FindingChange::Raise { id, finding: Box::new(finding) }
}
