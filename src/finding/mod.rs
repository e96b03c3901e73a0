//! Finding: what we want Security Command Center to say, in the words of its API v2
//! (securitycenter-v2.json, `GoogleCloudSecuritycenterV2Finding`). Absent members are left out, never sent empty;
//! 64-bit integers are sent as strings, as proto3 JSON has it.

pub mod change;
pub mod id;
mod messages;
pub mod properties;
pub mod texts;
mod words;

use chrono::{DateTime, Utc};
use serde::Serialize;

pub use change::FindingChange;
pub use id::FindingId;
pub use messages::*;
pub use properties::Properties;
use texts::Texts;
pub use words::{EnumName, FindingClass, FindingSeverity, Int64, Operation, Protocol, RoleKind, State, SubjectKind};

/// A finding, serialised as the v2 `Finding` message.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// ACTIVE when it is created.
    pub state: State,
    /// The full resource name of what is affected. Immutable.
    pub resource_name: String,
    /// What people group and mute by: a stable name, 1 to 255 ASCII characters.
    pub category: String,
    /// How bad it is.
    pub severity: FindingSeverity,
    /// Threat, observation or misconfiguration.
    pub finding_class: FindingClass,
    /// When it happened; never later than now.
    pub event_time: DateTime<Utc>,
    /// Where to read more: a well-formed http(s) address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_uri: Option<String>,
    /// What happened, in prose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What to do about it: numbered steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_steps: Option<String>,
    /// Which module made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module_name: Option<String>,
    /// MITRE ATT&CK.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mitre_attack: Option<MitreAttack>,
    /// The Kubernetes objects involved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// The containers involved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    /// The processes involved; the one that triggered it first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// The files involved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// The network connections involved.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Connection>,
    /// What usually indicates an intrusion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub indicator: Option<Indicator>,
    /// Who called which method from where.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The controls of standards that this bears on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub compliances: Vec<Compliance>,
    /// The log entries it rests on.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub log_entries: Vec<LogEntry>,
    /// Everything else.
    #[serde(skip_serializing_if = "Properties::is_empty")]
    pub source_properties: Properties,
}

impl Finding {
    /// An ACTIVE finding with what every finding must have; the rest is filled in afterwards.
    pub fn new(
        category: impl Into<String>,
        severity: FindingSeverity,
        resource_name: impl Into<String>,
        event_time: DateTime<Utc>,
    ) -> Self {
        Self {
            state: State::Active,
            resource_name: resource_name.into(),
            category: category.into(),
            severity,
            finding_class: FindingClass::Threat,
            event_time,
            external_uri: None,
            description: None,
            next_steps: None,
            module_name: None,
            mitre_attack: None,
            kubernetes: None,
            containers: Vec::new(),
            processes: Vec::new(),
            files: Vec::new(),
            connections: Vec::new(),
            indicator: None,
            access: None,
            compliances: Vec::new(),
            log_entries: Vec::new(),
            source_properties: Properties::new(),
        }
    }
}

/// All but the name of what is affected, by which it is found.
impl Texts for Finding {
    fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
        let Self {
            state: _,
            resource_name: _,
            category,
            severity: _,
            finding_class: _,
            event_time: _,
            external_uri,
            description,
            next_steps,
            module_name,
            mitre_attack: _,
            kubernetes,
            containers,
            processes,
            files,
            connections,
            indicator,
            access,
            compliances,
            log_entries,
            source_properties,
        } = self;
        look(category);
        for text in [external_uri, description, next_steps, module_name] {
            text.each_text(look);
        }
        kubernetes.each_text(look);
        containers.each_text(look);
        processes.each_text(look);
        files.each_text(look);
        connections.each_text(look);
        indicator.each_text(look);
        access.each_text(look);
        compliances.each_text(look);
        log_entries.each_text(look);
        source_properties.each_text(look);
    }
}
