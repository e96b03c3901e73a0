//! Where it happened: what Compute Engine and Kubernetes add to an event. A gap is noted, never fatal.

use serde::{Deserialize, Serialize};

/// What the look-ups found. Empty when no look-up is configured or none was needed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Enriched {
    /// The Compute Engine instance, when one was found.
    pub instance: Option<Instance>,
    /// Which look-ups failed or found nothing, one short sentence each.
    pub gaps: Vec<String>,
}

/// Facts about a Compute Engine instance.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Instance {
    /// The numeric id, as text.
    pub id: String,
    /// The instance's name.
    pub name: String,
    /// The zone's short name.
    pub zone: String,
    /// The project's id.
    pub project: String,
}
