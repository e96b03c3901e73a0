//! The messages inside a finding: who, where, what ran, what it touched (`securitycenter-v2.json`).

use chrono::{DateTime, Utc};
use serde::Serialize;

use super::texts::Texts;
use super::words::{EnumName, Int64, Operation, Protocol, RoleKind, SubjectKind};

macro_rules! message {
    ($(#[$doc:meta])* $name:ident { $($(#[$fdoc:meta])* $field:ident: $kind:ident $(<$inner:ty>)?),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Default, PartialEq, Serialize)]
        #[serde(rename_all = "camelCase")]
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
