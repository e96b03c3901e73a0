//! Where an event happened, as seen from the sensor that told of it. Falco's plugins and Sysdig's collectors read the
//! logs of clouds, services and API servers, and say of these events too on which machine they run: that is where the
//! event was read, not where it happened. This is the one place that tells them apart.

use std::borrow::Cow;

use super::Runtime;
use super::runtime::{Cloud, Container, Host, Kubernetes, Shape};

/// Where it happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// On the sensor's own machine: what is told of the host is told of the event.
    Machine,
    /// In the Kubernetes cluster whose API server was asked for something.
    Cluster,
    /// In a cloud, an identity provider or a code host: somebody called it.
    Cloud,
    /// In some other service whose log was read.
    Service,
}

/// Sources that watch the machine they run on: system calls (with Falco's plugins `container`, `krsi` and `k8smeta`),
/// Sysdig's profiles of them, what Falco tells of itself, and Docker's events: their plugin asks only the daemon beside
/// it.
const OF_MACHINES: [&str; 6] = ["syscall", "windows", "profiling", "internal", "krsi", "docker"];

/// What the names of sources hold that read the records of clouds, identity providers and code hosts.
const OF_CLOUDS: [&str; 8] =
    ["auditlog", "cloudtrail", "platformlogs", "okta", "entra", "github", "guardduty", "agentless"];

/// Where `event` happened.
pub fn of(event: &Runtime) -> Scene {
    let origin = &event.origin;
    let source = origin.source.as_deref().unwrap_or_default();
    // The first versions of Sysdig's cloud connector read CloudTrail with Falco's reader of Kubernetes audit logs.
    let is_kubernetes = source == "k8s_audit" && !event.tags.iter().any(|tag| tag == "source=cloudtrail");
    match () {
        () if event.admission.is_some() || source == "K8SAdmissionController" => Scene::Cluster,
        () if OF_MACHINES.contains(&source) => Scene::Machine,
        () if OF_CLOUDS.iter().any(|word| source.contains(word)) => Scene::Cloud,
        () if matches!(origin.kind.as_deref(), Some("cloud" | "iam" | "git")) => Scene::Cloud,
        () if is_kubernetes => Scene::Cluster,
        () if source == "k8s_audit" || origin.originator.as_deref() == Some("falcocloud") => Scene::Cloud,
        () => of_fields(event, source),
    }
}

/// Old senders name no source, and new sources appear without notice: then the fields tell.
fn of_fields(event: &Runtime, source: &str) -> Scene {
    let has =
        |prefixes: &[&str]| event.fields.iter().any(|(name, _)| prefixes.iter().any(|prefix| name.starts_with(prefix)));
    match () {
        () if has(&["ka."]) => Scene::Cluster,
        // The marks of a system call: a process, or a workload it was seen in. Whoever sees those watches the machine.
        () if has(&["proc."]) || event.container.id.is_some() || is_of_agent(event) => Scene::Machine,
        () if source.is_empty() && has(&["ct.", "jevt.value", "json.value"]) => Scene::Cloud,
        () if source.is_empty() => Scene::Machine,
        // A finding on a wrong machine is worse than one on the organization.
        () => Scene::Service,
    }
}

/// Whether Sysdig's agent saw it, or says in which workload. Of logs it reads only that of an API server, whose source
/// is known. Fields may name a workload for any reason.
fn is_of_agent(event: &Runtime) -> bool {
    let origin = &event.origin;
    let agents = ["linuxAgent", "windowsAgent", "serverlessAgent"];
    origin.raw_originator.as_deref().is_some_and(|originator| agents.contains(&originator))
        || origin.kind.as_deref() == Some("workload")
        || ["kubernetes.pod.name", "container.name"].iter().any(|name| event.label(name).is_some())
}

/// Whether it happened in a container that a cloud runs without a machine of yours, as an agent without a host saw it.
pub fn is_serverless(event: &Runtime) -> bool {
    let origin = &event.origin;
    let is_agent = |text: &Option<String>| text.as_deref() == Some("serverlessAgent");
    is_agent(&origin.raw_originator) || is_agent(&origin.originator) || origin.sub_kind.as_deref() == Some("caas")
}

/// Whether it is a record of Google Cloud's own.
pub fn is_of_google(event: &Runtime) -> bool {
    let source = event.origin.source.as_deref().unwrap_or_default();
    let told = || source.is_empty() && event.cloud.provider.as_deref() == Some("gcp");
    source.contains("gcp") || source.contains("google") || told()
}

/// The event without what is told only of its sensor's machine: what is left is where it happened.
pub fn placed(event: &Runtime) -> Cow<'_, Runtime> {
    let scene = of(event);
    let is_serverless = is_serverless(event);
    if scene == Scene::Machine && !is_serverless {
        return Cow::Borrowed(event);
    }
    let mut placed = event.clone();
    placed.host = Host::default();
    if is_serverless {
        (placed.cloud.instance_id, placed.cloud.instance_name) = (None, None);
    }
    if scene == Scene::Machine {
        return Cow::Owned(placed);
    }
    placed.kubernetes.node = None;
    // Labels that tell of a host tell of the agent's, or the collector's. Falco puts nothing of its own into fields.
    let host = ["host.hostName", "host.hostname", "host.mac"].iter().any(|name| event.label(name).is_some());
    let of_sensor = event.shape != Shape::Falco && (host || event.host.mac.is_some());
    // An agent that reads the log of an API server is in that cluster, and in its project.
    if of_sensor && scene != Scene::Cluster && !is_of_google(event) {
        (placed.container, placed.kubernetes) = (Container::default(), Kubernetes::default());
        placed.cloud = Cloud::default();
    }
    if of_sensor || scene == Scene::Cluster {
        only_named_instance(event, &mut placed.cloud);
    }
    Cow::Owned(placed)
}

/// Of the virtual machines, leaves the one that the record itself names.
fn only_named_instance(event: &Runtime, cloud: &mut Cloud) {
    let named = |name: &str| event.field(name).map(str::to_owned);
    cloud.instance_name = None;
    cloud.instance_id = named("gcp.compute.instanceId").or_else(|| named("json.value[/resource/labels/instance_id]"));
    if cloud.instance_id.is_some() {
        cloud.zone = named("json.value[/resource/labels/zone]");
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use serde_json::{Value, json};

    use super::*;
    use crate::event::Event;
    use crate::normalize::{self, Element};

    fn event(body: &Value) -> Runtime {
        let elements = normalize::delivery(body.to_string().as_bytes(), DateTime::UNIX_EPOCH).unwrap();
        match elements.into_iter().next() {
            Some(Element::Event { event: Event::Runtime(event), .. }) => *event,
            other => panic!("not an event: {other:?}"),
        }
    }

    fn falco(source: Option<&str>, fields: Value) -> Runtime {
        event(&json!({"rule": "R", "priority": "Warning", "output": "x", "source": source, "hostname": "node-1",
            "time": "2025-05-18T10:18:15Z", "output_fields": fields}))
    }

    fn sysdig(source: &str, fields: Value, labels: Value) -> Runtime {
        event(&json!({"id": "17dec715376910362c8c3f62a4ced001", "type": "policy", "name": "P", "severity": 4,
            "timestamp": 1_720_031_001_639_981_110_i64, "source": source,
            "content": {"ruleName": "R", "output": "x", "fields": fields}, "labels": labels}))
    }

    #[test]
    fn only_sources_that_watch_their_own_machine_happen_there() {
        for source in ["syscall", "windows", "profiling", "internal", "krsi", "docker"] {
            assert_eq!(of(&falco(Some(source), json!({}))), Scene::Machine, "{source}");
        }
        assert_eq!(of(&falco(None, json!({"user.name": "root"}))), Scene::Machine);
        for source in ["okta", "aws_cloudtrail", "awscloudtrail", "gcp_auditlog", "github", "agentless-okta-ml"] {
            assert_eq!(of(&falco(Some(source), json!({"proc.name": "x"}))), Scene::Cloud, "{source}");
        }
        assert_eq!(of(&falco(Some("k8s_audit"), json!({"container.id": "6949e5f10829"}))), Scene::Cluster);
        for source in ["gitlab", "keycloak", "nginx", "kafka", "hashicorp_vault", "auth0", "dummy", "what_comes_next"] {
            assert_eq!(of(&falco(Some(source), json!({"evt.time": 1}))), Scene::Service, "{source}");
        }
    }

    #[test]
    fn an_unknown_source_is_told_by_the_marks_of_a_system_call() {
        for (fields, expected) in [
            (json!({"proc.cmdline": "sh"}), Scene::Machine),
            (json!({"container.id": "6949e5f10829"}), Scene::Machine),
            (json!({"container.id": "host"}), Scene::Service),
            (json!({"k8s.pod.name": "p"}), Scene::Service),
            (json!({"ka.verb": "get"}), Scene::Cluster),
        ] {
            assert_eq!(of(&falco(Some("edera_zone"), fields.clone())), expected, "{fields}");
        }
        for (labels, originator, expected) in [
            (json!({"kubernetes.pod.name": "p", "host.hostName": "h"}), "", Scene::Machine),
            (json!({"host.hostName": "h"}), "linuxAgent", Scene::Machine),
            (json!({"host.hostName": "h"}), "cloudConnector", Scene::Service),
        ] {
            let mut event = sysdig("file_integrity", json!({}), labels.clone());
            event.origin.raw_originator = Some(originator.to_owned());
            assert_eq!(of(&event), expected, "{labels} {originator}");
        }
    }

    #[test]
    fn old_senders_without_a_source_are_told_by_their_fields() {
        for (fields, expected) in [
            (json!({"ka.verb": "create", "jevt.value[/a]": "b"}), Scene::Cluster),
            (json!({"ct.user": "eve"}), Scene::Cloud),
            (json!({"jevt.value[/eventName]": "x"}), Scene::Cloud),
            (json!({"fd.name": "/etc/x"}), Scene::Machine),
        ] {
            assert_eq!(of(&falco(None, fields.clone())), expected, "{fields}");
        }
    }

    const AGENT: [(&str, &str); 9] = [
        ("host.hostName", "node-1"),
        ("host.mac", "42:01:0a:80:00:05"),
        ("gcp.projectId", "289600000042"),
        ("gcp.location", "us-central1"),
        ("gcp.availabilityZone", "us-central1-c"),
        ("gcp.instanceId", "648229130641697001"),
        ("gcp.instanceName", "node-1"),
        ("kubernetes.node.name", "node-1"),
        ("kubernetes.cluster.name", "prod"),
    ];

    fn labels() -> Value {
        AGENT.iter().map(|(name, value)| ((*name).to_owned(), Value::from(*value))).collect()
    }

    #[test]
    fn of_an_agents_labels_only_cluster_and_project_stay_with_an_audit_record() {
        let event = sysdig("k8s_audit", json!({"ka.verb": "get"}), labels());
        let left = placed(&event);
        assert!(left.host.is_empty() && left.machine().is_none() && left.cloud.instance_id.is_none(), "{left:?}");
        assert_eq!(left.kubernetes.cluster.as_deref(), Some("prod"));
        assert_eq!((left.cloud.project(), left.cloud.location.as_deref()), (Some("289600000042"), Some("us-central1")));

        let event = sysdig("okta", json!({"okta.actor.name": "Eve"}), labels());
        let left = placed(&event);
        assert!(left.host.is_empty() && left.cloud.is_empty() && left.kubernetes.is_empty(), "{left:?}");

        let here = sysdig("syscall", json!({}), labels());
        assert!(matches!(placed(&here), Cow::Borrowed(_)));
    }

    #[test]
    fn what_a_cloud_runs_without_a_machine_is_on_none() {
        let mut event = sysdig("syscall", json!({"proc.name": "sh"}), labels());
        event.origin.raw_originator = Some("serverlessAgent".to_owned());
        let left = placed(&event);
        assert!(left.host.is_empty() && left.cloud.instance_id.is_none() && left.cloud.instance_name.is_none());
        assert_eq!((left.kubernetes.cluster.as_deref(), left.cloud.project()), (Some("prod"), Some("289600000042")));
    }

    #[test]
    fn a_machine_that_the_record_itself_names_stays() {
        let fields = json!({"gcp.compute.instanceId": "77", "json.value[/resource/labels/zone]": "europe-west3-a"});
        for labels in [json!({"gcp.projectId": "289600000042"}), labels()] {
            let event = sysdig("gcp_auditlog", fields.clone(), labels);
            let cloud = placed(&event).into_owned().cloud;
            assert_eq!((cloud.instance_id.as_deref(), cloud.zone.as_deref()), (Some("77"), Some("europe-west3-a")));
        }
    }
}
