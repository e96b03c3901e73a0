//! Something a runtime sensor saw: one Sysdig Secure or Falco event, whichever sender and shape it came from.
//!
//! Every value here is a real value: the senders' ways of saying "nothing" (`<NA>`, empty, `host` as a container id)
//! were left out on the way in. What is absent is not serialised, because the outbox stores this text.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Severity;
use super::facts::Facts;
use crate::finding::FindingId;

/// One runtime event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Runtime {
    /// The sender's id, or 32 hex digits derived from what identifies the event.
    pub id: String,
    /// Which of the known shapes it came in.
    pub shape: Shape,
    /// When it happened.
    pub time: DateTime<Utc>,
    /// Whether nobody said when: the time is that of receipt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untimed: bool,
    /// How bad the sender says it is.
    pub severity: Severity,
    /// Whether nobody said how bad: the severity only stands in.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unrated: bool,
    /// What was sent in the place of a severity, when it is none of the scale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub odd_severity: Option<String>,
    /// The sender's priority word (Falco, agentless detections).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
    /// The policy that fired.
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
    /// The name of the rule that matched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The kind of rule: `RULE_TYPE_FALCO`, or the number of the public API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule_type: Option<String>,
    /// The rule's tags, as spelt by the sender.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What happened, in the sender's sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// The fields of the rule's output.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub fields: Facts,
    /// The labels of the place it happened.
    #[serde(default, skip_serializing_if = "Facts::is_empty")]
    pub labels: Facts,
    /// The container, when it was one.
    #[serde(default, skip_serializing_if = "Container::is_empty")]
    pub container: Container,
    /// The host.
    #[serde(default, skip_serializing_if = "Host::is_empty")]
    pub host: Host,
    /// The Kubernetes workload, when it was one.
    #[serde(default, skip_serializing_if = "Kubernetes::is_empty")]
    pub kubernetes: Kubernetes,
    /// The cloud it happened in.
    #[serde(default, skip_serializing_if = "Cloud::is_empty")]
    pub cloud: Cloud,
    /// What the sensor did about it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<Action>,
    /// Which part of the sensor saw it.
    #[serde(default, skip_serializing_if = "Origin::is_empty")]
    pub origin: Origin,
    /// A link to the event that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
    /// The rule's run book.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runbook: Option<String>,
    /// What a machine-learning detection says instead of a rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learned: Option<Learned>,
    /// What an admission review says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admission: Option<Admission>,
    /// What had to be assumed while reading it, one short sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// The shape an event came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// A notification webhook of Sysdig Secure.
    Notification,
    /// The event forwarder's runtime policy event.
    Forwarder,
    /// The flat legacy policy event: the forwarder's deprecated form, and the oldest events API.
    Legacy,
    /// The public events API.
    Api,
    /// Falco's own JSON.
    Falco,
}

impl Shape {
    /// The word in metrics and in the finding.
    pub fn label(self) -> &'static str {
        match self {
            Self::Notification => "notification",
            Self::Forwarder => "forwarder",
            Self::Legacy => "legacy",
            Self::Api => "api",
            Self::Falco => "falco",
        }
    }
}

/// The policy that fired.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Its number, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Who wrote it: `Sysdig`, `Secure UI`, `Tuner`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
}

/// The container it happened in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Container {
    /// The runtime's id, usually its first 12 hex digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The image as it was asked for: repository, with the tag when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The image's digest: `sha256:…`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The image's id, where it is told in place of the name: `sha256:…`, and no digest of any registry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
}

/// The host it happened on.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Host {
    /// Its name; on Compute Engine the instance's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The hardware address of its first interface, lower case with colons.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// The Kubernetes workload it happened in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Kubernetes {
    /// The cluster's name, as the agent was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// The namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The workload's kind, lower case: `deployment`, `cronjob`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload_kind: Option<String>,
    /// The workload's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The deployment, when there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deployment: Option<String>,
}

/// The cloud it happened in.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cloud {
    /// `gcp`, `aws`, `azure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    /// The provider's account: on Google Cloud the project's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The Google Cloud project's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_id: Option<String>,
    /// The Google Cloud project's number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_number: Option<String>,
    /// The zone of the Compute Engine instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The label `gcp.location`: a region in recordings, or a zone, or `global`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    /// The numeric id of the Compute Engine instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_id: Option<String>,
    /// The name of the Compute Engine instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance_name: Option<String>,
}

impl Cloud {
    /// The project to use where Google accepts id or number: the id when it is known.
    pub fn project(&self) -> Option<&str> {
        self.project_id.as_deref().or(self.project_number.as_deref())
    }
}

/// Something the sensor did about the event.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Action {
    /// `capture`, `container_killed`, `process_killed`, `drift_prevented` …: the public API's words.
    pub kind: String,
    /// Whether it worked, when the sender says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub successful: Option<bool>,
    /// Why it did not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The capture's id, to find it in Sysdig.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture: Option<String>,
}

/// Which part of the sensor saw it. Every value is open: new ones appear without notice.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Origin {
    /// `policy`, `profilingDetection`, `falcocloud`, `admissionController`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub originator: Option<String>,
    /// `runtime`, `remote`, `cloudtrail`, `miner` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// `syscall`, `k8s_audit`, `gcp_auditlog`, `aws_cloudtrail` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `falco`, `drift`, `list`, `malware`, `machineLearning`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// `linuxAgent`, `serverlessAgent` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_originator: Option<String>,
    /// `runtime`, `kspm`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw_category: Option<String>,
    /// `workload`, `cloud`, `git`, `iam`, `kubernetes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// `container`, `host`, `auditlogs` …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sub_kind: Option<String>,
}

/// What a machine-learning detection says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Learned {
    /// The command line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The executable's path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// How sure the detector is, 0 to 1, as decimal text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<String>,
}

/// What an admission review says.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Admission {
    /// The kind of the object under review, as Kubernetes spells it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The object's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The verdict.
    #[serde(skip_serializing_if = "Facts::is_empty")]
    pub result: Facts,
    /// The names of the Sysdig zones it belongs to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zones: Vec<String>,
}

macro_rules! emptiness {
    ($($name:ident),*) => {$(
        impl $name {
            /// Whether nothing is known.
            pub fn is_empty(&self) -> bool {
                *self == Self::default()
            }
        }
    )*};
}
emptiness!(Policy, Container, Host, Kubernetes, Cloud, Origin);

impl Runtime {
    /// The finding this event becomes.
    pub fn finding_id(&self) -> FindingId {
        FindingId::from_foreign("runtime", &self.id)
    }

    /// A field of the rule's output.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.get(name)
    }

    /// A label.
    pub fn label(&self, name: &str) -> Option<&str> {
        self.labels.get(name)
    }

    /// Whether it is one of Falco's that came without its fields. What its sentence says of the place is not read: what
    /// stands in it may be a command, and a command may say anything.
    pub fn lacks_fields(&self) -> bool {
        self.shape == Shape::Falco && self.fields.is_empty()
    }

    /// What it is called: the rule's name, else the policy's.
    pub fn title(&self) -> Option<&str> {
        self.rule.as_deref().or(self.policy.name.as_deref())
    }

    /// The node's or the host's name, whichever is known.
    pub fn machine(&self) -> Option<&str> {
        self.host.name.as_deref().or(self.kubernetes.node.as_deref()).or(self.cloud.instance_name.as_deref())
    }
}
