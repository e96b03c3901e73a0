//! Valid elements that open no finding: the closed list, and how they are told.

use super::json::Json;
use crate::integrity::Foreign;
use crate::words::words;

words! {
    /// Why a valid element opens no finding: a closed list, the metric label.
    Ignored.label {
        /// `state: OK` or `resolved: true`: the clearing of a notification, which repeats the events.
        Resolved = "resolved",
        /// An alert of Sysdig Monitor.
        MonitorAlert = "monitor_alert",
        /// A test of the channel or of the forwarder.
        Test = "test",
        /// A null where an event may stand.
        Empty = "empty",
        /// Forwarder type `audittrail`, and audit records of the platform.
        AuditTrail = "audit_trail",
        /// Forwarder type `command`.
        Command = "command",
        /// Forwarder type `connection`.
        Connection = "connection",
        /// Forwarder type `fileaccess`.
        FileAccess = "file_access",
        /// Forwarder type `kubernetes`: exec and attach records.
        Kubernetes = "kubernetes",
        /// Benchmark and compliance results.
        Compliance = "compliance",
        /// Results of image and host scanning.
        Scanning = "scanning",
        /// What Falco counts about itself.
        SensorMetrics = "sensor_metrics",
        /// Another type the forwarder may send.
        OtherType = "other_type",
        /// Well-formed, but nothing that we know.
        Unrecognised = "unrecognised",
        /// A log entry of another log.
        OtherLog = "other_log",
        /// A log entry of another project's log than the VM's.
        OtherProject = "other_project",
        /// A log entry about something that is no VM.
        OtherResource = "other_resource",
        /// An entry of the log `gotpm` that has no token, has one nobody can use any more, or comes while attestation
        /// is off.
        Gotpm = "gotpm",
        /// A Shielded VM event of a kind that is not known here.
        UnknownIntegrityEvent = "unknown_integrity_event",
        /// An audit log entry that changes no Shielded VM option.
        OtherAudit = "other_audit",
    }
}

impl Ignored {
    /// Why it opens no finding, in a sentence for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Resolved => "The notification was resolved; it repeats events that were sent before.",
            Self::MonitorAlert => "It is an alert of Sysdig Monitor, not a security event.",
            Self::Test => "It is a test delivery.",
            Self::Empty => "There is nothing in it.",
            Self::AuditTrail => "It is an audit record of the platform.",
            Self::Command => "It is an activity record of a command.",
            Self::Connection => "It is an activity record of a connection.",
            Self::FileAccess => "It is an activity record of a file access.",
            Self::Kubernetes => "It is an activity record of Kubernetes.",
            Self::Compliance => "It is a benchmark or compliance result.",
            Self::Scanning => "It is a scanning result.",
            Self::SensorMetrics => "It is what Falco counts about itself.",
            Self::OtherType => "Its type is not a runtime policy event.",
            Self::Unrecognised => "It is well-formed but none of the known shapes.",
            Self::OtherLog => Foreign::OtherLog.reason(),
            Self::OtherProject => Foreign::OtherProject.reason(),
            Self::OtherResource => Foreign::OtherResource.reason(),
            Self::Gotpm => {
                "It is an entry of the log gotpm without a token that can still be used, or attestation is off (ATTESTATION_POLICIES)."
            }
            Self::UnknownIntegrityEvent => Foreign::UnknownEvent.reason(),
            Self::OtherAudit => Foreign::OtherAudit.reason(),
        }
    }

    /// What an element's `type` says it is, when that is not a policy event. Spelling varies in case and separators.
    pub(crate) fn from_type(name: &str) -> Option<Self> {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        Some(match plain.as_str() {
            "audittrail" | "platformaudit" | "activityaudit" => Self::AuditTrail,
            "command" | "commands" => Self::Command,
            "connection" | "connections" => Self::Connection,
            "fileaccess" | "fileaccesses" => Self::FileAccess,
            "kubernetes" | "kubernetesaudit" | "kubernetesexec" => Self::Kubernetes,
            "benchmark" | "benchmarks" | "benchmarkresult" | "benchmarktask" | "compliance" | "compliancev2" => {
                Self::Compliance
            }
            "hostscanning" | "scanning" | "imagescanning" | "vulnerability" | "vulnerabilities" | "scanresult" => {
                Self::Scanning
            }
            "monitor" | "monitorevent" | "alert" => Self::MonitorAlert,
            "test" | "testevent" | "ping" => Self::Test,
            _ => return None,
        })
    }

    /// What the originator of the events feed says it is, when that is no threat (sysdig.md §2.3).
    pub(crate) fn from_originator(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "benchmarks" | "compliance" | "cloudsec" => Self::Compliance,
            "scanning" | "hostscanning" => Self::Scanning,
            "ingestion" => Self::AuditTrail,
            _ => return None,
        })
    }

    /// What an element of the events feed is without a `type` or a telling originator: a record of what somebody did in the
    /// platform itself. Its severity 0 means "not applicable" (sysdig.md §2.4).
    pub(crate) fn from_record(object: &Json<'_>) -> Option<Self> {
        let told = |value: &Json<'_>| value.text().is_some();
        let source = object.member("source").str().is_some_and(|source| source.eq_ignore_ascii_case("auditTrail"));
        let content = object.member("content");
        let request = told(content.member("requestMethod")) && told(content.member("requestUri"));
        (source || (request && !told(content.member("policyId")))).then_some(Self::AuditTrail)
    }

    /// What a well-formed object without any event in it is.
    pub(crate) fn from_unknown(object: &Json<'_>) -> Self {
        let says_test = |(key, value): &(std::borrow::Cow<'_, str>, Json<'_>)| {
            let told = value.str().is_some_and(|text| contains_word(text, "test"));
            contains_word(key, "test")
                || (told && matches!(&**key, "message" | "text" | "name" | "title" | "subject" | "event"))
        };
        if object.members().is_empty() || object.members().iter().any(says_test) {
            Self::Test
        } else {
            Self::Unrecognised
        }
    }

    /// What a notification without policy events is.
    pub(crate) fn from_notification(envelope: &Json<'_>) -> Self {
        let alert = envelope.member("alert");
        let named = [alert.member("name"), alert.member("subject"), envelope.member("condition")];
        let metrics = envelope.member("entities").list().iter().flat_map(|entity| entity.member("metricValues").list());
        let is_alert = alert.member("id").integer().is_some_and(|id| id != 0);
        match metrics.count() {
            _ if named.iter().filter_map(|name| name.str()).any(|name| contains_word(name, "test notification")) => {
                Self::Test
            }
            0 if is_alert => Self::OtherType,
            0 => Self::Test,
            _ => Self::MonitorAlert,
        }
    }
}

fn contains_word(text: &str, word: &str) -> bool {
    let text = text.to_ascii_lowercase();
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(char::is_alphanumeric) && !after.is_some_and(char::is_alphanumeric)
    })
}
