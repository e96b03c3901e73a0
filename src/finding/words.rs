//! The closed sets of names that a finding is made of, as the API spells them, and its 64-bit integers.

use std::fmt;

use serde::{Serialize, Serializer};

/// A name of one of the API's enums, from a closed table.
pub type EnumName = &'static str;

macro_rules! closed {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
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

/// A 64-bit integer, a string in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Int64(pub i64);

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}
