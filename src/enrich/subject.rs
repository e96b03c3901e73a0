//! What an event says about the place it happened, put as the questions we can ask.

use std::net::Ipv4Addr;

use chrono::{DateTime, Utc};

use crate::event::Event;
use crate::event::scene::{self, Scene};

/// What is known before anything is looked up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subject {
    /// When it happened.
    pub at: Option<DateTime<Utc>>,
    /// The Google Cloud project's id or number.
    pub project: Option<String>,
    /// A zone or a region.
    pub location: Option<String>,
    /// The numeric id of the instance.
    pub instance_id: Option<String>,
    /// The instance's name, as the cloud's labels have it.
    pub instance_name: Option<String>,
    /// The instance's name, as the host calls itself.
    pub host_name: Option<String>,
    /// The internal address that the hardware address was made from.
    pub address: Option<Ipv4Addr>,
    /// The cloud is known and is not Google's: there is no instance of ours.
    pub elsewhere: bool,
    /// It was only read on a machine and happened on none: a pod's workload is worth asking for, no node and no instance.
    pub remote: bool,
    /// The Kubernetes cluster's name.
    pub cluster: Option<String>,
    /// The node's name.
    pub node: Option<String>,
    /// The namespace.
    pub namespace: Option<String>,
    /// The pod.
    pub pod: Option<String>,
    /// The container's name.
    pub container: Option<String>,
    /// The container's id, or its beginning.
    pub container_id: Option<String>,
    /// The image.
    pub image: Option<String>,
}

/// What is known of `event`; `None` for kinds that say where they happened themselves.
pub fn of(event: &Event) -> Option<Subject> {
    #[allow(unreachable_patterns, reason = "other kinds of event name their place exactly")]
    let runtime = match event {
        Event::Runtime(runtime) => runtime,
        Event::Integrity(entry) => {
            return Some(Subject {
                project: Some(entry.vm.project.clone()),
                location: Some(entry.vm.zone.clone()).filter(|zone| !zone.is_empty()),
                instance_id: Some(entry.vm.id.to_string()),
                ..Subject::default()
            });
        }
        _ => return None,
    };
    let remote = scene::of(runtime) != Scene::Machine;
    let runtime = &*scene::placed(runtime);
    let cloud = &runtime.cloud;
    let known = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    Some(Subject {
        at: Some(runtime.time),
        project: known(&cloud.project_id)
            .or_else(|| known(&cloud.project_number))
            .or_else(|| runtime.host.name.as_deref().and_then(project_of)),
        location: known(&cloud.zone).or_else(|| known(&cloud.location)).or_else(|| known(&cloud.region)),
        instance_id: known(&cloud.instance_id).filter(|id| id.bytes().all(|b| b.is_ascii_digit())),
        instance_name: cloud.instance_name.as_deref().and_then(short_name),
        host_name: runtime.host.name.as_deref().and_then(short_name),
        address: runtime.host.mac.as_deref().and_then(address_of),
        elsewhere: cloud.provider.as_deref().is_some_and(|provider| provider != "gcp"),
        remote,
        cluster: known(&runtime.kubernetes.cluster),
        node: known(&runtime.kubernetes.node),
        namespace: known(&runtime.kubernetes.namespace),
        pod: known(&runtime.kubernetes.pod),
        container: known(&runtime.container.name),
        container_id: known(&runtime.container.id),
        image: known(&runtime.container.image),
    })
}

/// The internal address in a hardware address of Compute Engine: `42:01` and the four bytes.
pub fn address_of(mac: &str) -> Option<Ipv4Addr> {
    let bytes: Option<Vec<u8>> = mac
        .split([':', '-'])
        .map(|part| {
            let is_byte = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            if is_byte { u8::from_str_radix(part, 16).ok() } else { None }
        })
        .collect();
    match bytes?.as_slice() {
        [0x42, 0x01, a, b, c, d] => Some(Ipv4Addr::new(*a, *b, *c, *d)),
        _ => None,
    }
}

/// The project in a full internal name: `VM.ZONE.c.PROJECT.internal`, or without the zone.
fn project_of(host: &str) -> Option<String> {
    let host = host.to_ascii_lowercase();
    let parts: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    match parts.as_slice() {
        [_, "c", project, "internal"] | [_, _, "c", project, "internal"] => Some((*project).to_owned()),
        _ => None,
    }
    .filter(|project| !project.is_empty())
}

/// The instance's name in a host name, which may be a full internal name; `None` when no instance can be called so.
pub(super) fn short_name(host: &str) -> Option<String> {
    let name = host.split('.').next().unwrap_or_default().to_ascii_lowercase();
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase());
    let fits = name.len() <= 63 && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    (starts && fits).then_some(name)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::normalize::{self, Element};

    /// A runtime event with these labels.
    pub(crate) fn event(labels: &[(&str, &str)]) -> Event {
        let labels: std::collections::BTreeMap<_, _> = labels.iter().copied().collect();
        let body = serde_json::json!([{
            "id": "17dec715376910362c8c3f62a4ced001", "type": "policy", "timestamp": 1_720_031_001_639_981_110_i64,
            "name": "Policy", "severity": 4, "machineId": "42:01:0a:80:00:05",
            "content": {"ruleName": "Rule", "output": "x", "fields": {}}, "labels": labels,
        }]);
        let elements = normalize::delivery(body.to_string().as_bytes(), chrono::DateTime::UNIX_EPOCH).unwrap();
        match elements.into_iter().next() {
            Some(Element::Event { event, .. }) => event,
            other => panic!("not an event: {other:?}"),
        }
    }

    #[test]
    fn the_address_is_in_the_hardware_address() {
        for (mac, expected) in [
            ("42:01:0a:9c:00:04", Some([10, 156, 0, 4])),
            ("42-01-0A-80-00-05", Some([10, 128, 0, 5])),
            ("08:00:27:54:f3:9d", None),
            ("42:01:0a:9c:00", None),
            ("42:01:0a:9c:00:4", None),
            ("42:01:+a:9c:00:04", None),
            ("", None),
        ] {
            assert_eq!(address_of(mac), expected.map(Ipv4Addr::from), "{mac}");
        }
    }

    #[test]
    fn the_questions_are_read_from_the_event() {
        let subject = of(&event(&[
            ("gcp.projectId", "289600000042"),
            ("gcp.location", "us-central1"),
            ("host.hostName", "gke-prod-1.c.acme-prod.internal"),
            ("kubernetes.cluster.name", "prod"),
        ]))
        .unwrap();
        assert_eq!(subject.project.as_deref(), Some("289600000042"));
        assert_eq!(subject.host_name.as_deref(), Some("gke-prod-1"));
        assert_eq!(subject.location.as_deref(), Some("us-central1"));
        assert_eq!(subject.cluster.as_deref(), Some("prod"));
        assert_eq!(subject.address, Some(Ipv4Addr::new(10, 128, 0, 5)));
        assert!(!subject.elsewhere);
        assert!(of(&event(&[("cloudProvider.name", "aws")])).unwrap().elsewhere);
    }

    #[test]
    fn a_full_internal_name_tells_the_project() {
        for (host, expected) in [
            ("vm-1.us-central1-c.c.acme-prod.internal", Some("acme-prod")),
            ("VM-1.c.acme-prod.internal.", Some("acme-prod")),
            ("vm-1.c.acme-prod.example", None),
            ("vm-1.corp.example.internal", None),
            ("vm-1.c..internal", None),
            ("vm-1", None),
        ] {
            assert_eq!(project_of(host).as_deref(), expected, "{host}");
        }
    }

    #[test]
    fn a_host_that_no_instance_can_be_called_is_no_instance() {
        for host in ["10.0.0.1", "web_1", "", "-x", &"a".repeat(64)] {
            assert_eq!(short_name(host), None, "{host}");
        }
    }
}
