//! Finding: what we want Security Command Center to say, in the words of its API v2
//! (securitycenter-v2.json, `GoogleCloudSecuritycenterV2Finding`). Absent members are left out, never sent empty;
//! 64-bit integers are sent as strings, as proto3 JSON has it.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::texts::Texts;
use super::{FindingId, Properties};

/// A name of one of the API's enums, from a closed table when we send it, from the wire when we read it.
pub type EnumName = Cow<'static, str>;

macro_rules! message {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $kind:ident $(<$inner:ty>)?),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        pub struct $name {
            $($(#[$fdoc])* #[serde(skip_serializing_if = "is_absent")] pub $field: $kind $(<$inner>)?,)*
        }

        impl Texts for $name {
            fn each_text(&mut self, look: &mut dyn FnMut(&mut String)) {
                $(self.$field.each_text(look);)*
            }
        }
    };
}

/// A finding, serialised as the v2 `Finding` message.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The id, in the request's query rather than its body.
    #[serde(skip)]
    pub id: Option<FindingId>,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_uri: Option<String>,
    /// What happened, in prose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What to do about it: numbered steps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_steps: Option<String>,
    /// Which module made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub module_name: Option<String>,
    /// MITRE ATT&CK.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mitre_attack: Option<MitreAttack>,
    /// The Kubernetes objects involved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<Kubernetes>,
    /// The containers involved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub containers: Vec<Container>,
    /// The processes involved; the one that triggered it first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub processes: Vec<Process>,
    /// The files involved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<File>,
    /// The network connections involved.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<Connection>,
    /// What usually indicates an intrusion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub indicator: Option<Indicator>,
    /// Who called which method from where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The controls of standards that this bears on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub compliances: Vec<Compliance>,
    /// The log entries it rests on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log_entries: Vec<LogEntry>,
    /// Everything else.
    #[serde(default, skip_serializing_if = "Properties::is_empty")]
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
            id: None,
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

macro_rules! closed {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        pub enum $name { $($(#[$vdoc])* #[serde(rename = $text)] $variant,)* }

        impl $name {
            /// Every value that can be sent.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The API's name of it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// The value of this name, in any case.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.name().eq_ignore_ascii_case(name.trim()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

closed! {
    /// Whether a finding needs attention.
    State {
        /// It does.
        Active = "ACTIVE",
        /// It was fixed, triaged away or otherwise addressed.
        Inactive = "INACTIVE",
    }
}

closed! {
    /// The severity in Security Command Center.
    FindingSeverity {
        /// The worst.
        Critical = "CRITICAL",
        /// Serious.
        High = "HIGH",
        /// Worth a look.
        Medium = "MEDIUM",
        /// For the record.
        Low = "LOW",
    }
}

closed! {
    /// The classes a source may set.
    FindingClass {
        /// Something unwanted or malicious.
        Threat = "THREAT",
        /// A weakness in software.
        Vulnerability = "VULNERABILITY",
        /// A weakness in configuration.
        Misconfiguration = "MISCONFIGURATION",
        /// Something for information.
        Observation = "OBSERVATION",
    }
}

closed! {
    /// The kinds of roles.
    RoleKind {
        /// For one namespace.
        Role = "ROLE",
        /// For the whole cluster.
        ClusterRole = "CLUSTER_ROLE",
    }
}

closed! {
    /// Who can be bound to a role.
    SubjectKind {
        /// A user, whom Kubernetes does not keep itself.
        User = "USER",
        /// A service account.
        ServiceAccount = "SERVICEACCOUNT",
        /// A group.
        Group = "GROUP",
    }
}

closed! {
    /// The protocols a connection can have.
    Protocol {
        /// ICMP.
        Icmp = "ICMP",
        /// TCP.
        Tcp = "TCP",
        /// UDP.
        Udp = "UDP",
    }
}

closed! {
    /// What was done to a file.
    Operation {
        /// Opened.
        Open = "OPEN",
        /// Read.
        Read = "READ",
        /// Renamed.
        Rename = "RENAME",
        /// Written.
        Write = "WRITE",
        /// Executed.
        Execute = "EXECUTE",
    }
}

/// A 64-bit integer, a string in JSON; numbers are accepted on the way in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int64(pub i64);

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Either {
            Number(i64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(number) => Ok(Self(number)),
            Either::Text(text) => text.parse().map(Self).map_err(serde::de::Error::custom),
        }
    }
}

message! {
    /// MITRE ATT&CK tactics and techniques.
    MitreAttack {
        /// The tactic that fits best.
        primary_tactic: Option<EnumName>,
        /// Its techniques; of a sub-technique also the parent.
        primary_techniques: Vec<EnumName>,
        /// Other tactics.
        additional_tactics: Vec<EnumName>,
        /// Other techniques.
        additional_techniques: Vec<EnumName>,
    }
}
message! {
    /// The Kubernetes objects involved.
    Kubernetes {
        /// Pods.
        pods: Vec<Pod>,
        /// Nodes, by the full resource name of their virtual machine.
        nodes: Vec<Node>,
        /// Node pools.
        node_pools: Vec<NodePool>,
        /// Roles.
        roles: Vec<Role>,
        /// Role bindings.
        bindings: Vec<Binding>,
        /// Objects of any other kind.
        objects: Vec<Object>,
    }
}
message! {
    /// A Role or ClusterRole.
    Role {
        /// Which of the two.
        kind: Option<RoleKind>,
        /// The namespace of a Role.
        ns: Option<String>,
        /// The name.
        name: Option<String>,
    }
}
message! {
    /// A RoleBinding or ClusterRoleBinding.
    Binding {
        /// The namespace of a RoleBinding.
        ns: Option<String>,
        /// The name.
        name: Option<String>,
        /// The role that is bound.
        role: Option<Role>,
        /// Who it is bound to.
        subjects: Vec<Subject>,
    }
}
message! {
    /// Who is bound to a role.
    Subject {
        /// User, service account or group.
        kind: Option<SubjectKind>,
        /// The namespace of a service account.
        ns: Option<String>,
        /// The name.
        name: Option<String>,
    }
}
message! {
    /// A pod.
    Pod {
        /// The namespace.
        ns: Option<String>,
        /// The name.
        name: Option<String>,
        /// The pod's labels.
        labels: Vec<Label>,
        /// The pod's containers that are involved.
        containers: Vec<Container>,
    }
}
message! {
    /// A node.
    Node {
        /// The full resource name of the virtual machine.
        name: Option<String>,
    }
}
message! {
    /// A node pool.
    NodePool {
        /// The name.
        name: Option<String>,
        /// Its nodes that are involved.
        nodes: Vec<Node>,
    }
}
message! {
    /// A Kubernetes object that is neither pod nor node: a Deployment, say.
    Object {
        /// Group and version: `apps/v1`.
        group: Option<String>,
        /// The kind: `Deployment`.
        kind: Option<String>,
        /// The namespace.
        ns: Option<String>,
        /// The name.
        name: Option<String>,
        /// Its containers that are involved.
        containers: Vec<Container>,
    }
}
message! {
    /// A container.
    Container {
        /// The name.
        name: Option<String>,
        /// The image as it was asked for.
        uri: Option<String>,
        /// The image's digest.
        image_id: Option<String>,
        /// The container's labels.
        labels: Vec<Label>,
    }
}
message! {
    /// A label.
    Label {
        /// Its name.
        name: Option<String>,
        /// Its value.
        value: Option<String>,
    }
}
message! {
    /// A process.
    Process {
        /// The name, as the kernel shows it.
        name: Option<String>,
        /// The executable.
        binary: Option<File>,
        /// The arguments, without the name.
        args: Vec<String>,
        /// Whether arguments are missing.
        arguments_truncated: Option<bool>,
        /// The process id.
        pid: Option<Int64>,
        /// The parent's process id.
        parent_pid: Option<Int64>,
        /// The numeric user id.
        user_id: Option<Int64>,
    }
}
message! {
    /// A file.
    File {
        /// The path.
        path: Option<String>,
        /// The size in bytes.
        size: Option<Int64>,
        /// The SHA-256 in hex.
        sha256: Option<String>,
        /// What was done to it.
        operations: Vec<FileOperation>,
    }
}
message! {
    /// Something done to a file.
    FileOperation {
        /// What.
        r#type: Option<Operation>,
    }
}
message! {
    /// A network connection.
    Connection {
        /// The destination's address.
        destination_ip: Option<String>,
        /// The destination's port.
        destination_port: Option<u16>,
        /// The source's address.
        source_ip: Option<String>,
        /// The source's port.
        source_port: Option<u16>,
        /// The protocol.
        protocol: Option<Protocol>,
    }
}
message! {
    /// What usually indicates an intrusion.
    Indicator {
        /// Addresses.
        ip_addresses: Vec<String>,
        /// Domain names.
        domains: Vec<String>,
        /// URIs.
        uris: Vec<String>,
    }
}
message! {
    /// Who called which method from where.
    Access {
        /// The e-mail address of who called.
        principal_email: Option<String>,
        /// Who called, when that is not an e-mail address.
        principal_subject: Option<String>,
        /// The caller's address.
        caller_ip: Option<String>,
        /// The caller's program.
        user_agent: Option<String>,
        /// The service called.
        service_name: Option<String>,
        /// The method called.
        method_name: Option<String>,
        /// A user name; may be one of the operating system.
        user_name: Option<String>,
    }
}
message! {
    /// Controls of one standard.
    Compliance {
        /// The standard's name.
        standard: Option<String>,
        /// Its version.
        version: Option<String>,
        /// The controls.
        ids: Vec<String>,
    }
}
message! {
    /// A log entry.
    LogEntry {
        /// Where it stands in Cloud Logging.
        cloud_logging_entry: Option<CloudLoggingEntry>,
    }
}
message! {
    /// Where a log entry stands in Cloud Logging.
    CloudLoggingEntry {
        /// Its insert id.
        insert_id: Option<String>,
        /// The log's id, without `projects/…/logs/`.
        log_id: Option<String>,
        /// `projects/…`, `organizations/…` or `folders/…`.
        resource_container: Option<String>,
        /// The entry's time.
        timestamp: Option<DateTime<Utc>>,
    }
}

/// What is left out of the JSON.
trait Absent {
    fn absent(&self) -> bool;
}

impl<T> Absent for Option<T> {
    fn absent(&self) -> bool {
        self.is_none()
    }
}

impl<T> Absent for Vec<T> {
    fn absent(&self) -> bool {
        self.is_empty()
    }
}

fn is_absent<T: Absent>(value: &T) -> bool {
    value.absent()
}
