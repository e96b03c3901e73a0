//! What an event says about the place it happened, put as the questions we can ask.

use std::net::Ipv4Addr;

use chrono::{DateTime, Utc};

use crate::event::Event;
use crate::event::location::is_zone;
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
    /// What the host calls itself: the instance's name, or a full name in a domain that is not Google's.
    pub host_name: Option<String>,
    /// The internal address that the hardware address was made from.
    pub address: Option<Ipv4Addr>,
    /// The hardware address, where it is one that no interface of Compute Engine has.
    pub foreign_mac: Option<String>,
    /// The cloud is known and is not Google's: there is no instance of ours.
    pub elsewhere: bool,
    /// It was only read on a machine, or a cloud runs it without one, and happened on none: a pod's workload is worth
    /// asking for, no node and no instance.
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
}

/// What is known of `event`; `None` for kinds that say where they happened themselves.
pub fn of(event: &Event) -> Option<Subject> {
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
        Event::Attestation(_) => return None,
    };
    let remote = scene::of(runtime) != Scene::Machine || scene::is_serverless(runtime);
    let runtime = &*scene::placed(runtime);
    let cloud = &runtime.cloud;
    let known = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    let internal = runtime.host.name.as_deref().and_then(internal_name);
    let (host_zone, host_project) = internal.map_or((None, None), |name| (name.zone, Some(name.project)));
    Some(Subject {
        at: Some(runtime.time),
        project: known(&cloud.project_id).or_else(|| known(&cloud.project_number)).or(host_project),
        location: known(&cloud.zone).or(host_zone).or_else(|| known(&cloud.location)).or_else(|| known(&cloud.region)),
        instance_id: known(&cloud.instance_id).filter(|id| is_instance_id(id)),
        instance_name: cloud.instance_name.as_deref().and_then(machine_name),
        host_name: runtime.host.name.as_deref().and_then(machine_name),
        address: runtime.host.mac.as_deref().and_then(address_of),
        foreign_mac: runtime.host.mac.clone().filter(|mac| is_foreign(mac)),
        elsewhere: cloud.provider.as_deref().is_some_and(|provider| provider != "gcp"),
        remote,
        cluster: known(&runtime.kubernetes.cluster),
        node: known(&runtime.kubernetes.node),
        namespace: known(&runtime.kubernetes.namespace),
        pod: known(&runtime.kubernetes.pod),
        container: known(&runtime.container.name),
        container_id: known(&runtime.container.id),
    })
}

/// Whether a project is called by its number.
pub(super) fn is_number(project: &str) -> bool {
    project.bytes().all(|b| b.is_ascii_digit())
}

/// Whether a text is an instance's number. Zero is nobody's.
fn is_instance_id(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.bytes().any(|b| b != b'0')
}

/// The internal address in a hardware address of Compute Engine: `42:01` and the four bytes.
pub fn address_of(mac: &str) -> Option<Ipv4Addr> {
    match bytes_of(mac)? {
        [0x42, 0x01, a, b, c, d] => Some(Ipv4Addr::new(a, b, c, d)),
        _ => None,
    }
}

/// Whether a maker of network interfaces gave out this hardware address: none of Compute Engine's is of that kind. One
/// that software made up, as `42:01…` and those of bridges and containers, tells nothing.
fn is_foreign(mac: &str) -> bool {
    const GROUP: u8 = 1;
    const MADE_UP: u8 = 2;
    bytes_of(mac).is_some_and(|bytes| bytes[0] & (GROUP | MADE_UP) == 0 && bytes != [0; 6])
}

fn bytes_of(mac: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = mac
        .split([':', '-'])
        .map(|part| {
            let is_byte = part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
            if is_byte { u8::from_str_radix(part, 16).ok() } else { None }
        })
        .collect();
    bytes?.try_into().ok()
}

/// What Google's own full name of an instance tells besides the instance.
#[derive(Debug, PartialEq)]
struct Internal {
    zone: Option<String>,
    project: String,
}

/// `VM.ZONE.c.PROJECT.internal`, or without the zone. The project may be one of a domain: `PROJECT.example.com`.
fn internal_name(host: &str) -> Option<Internal> {
    let host = host.to_ascii_lowercase();
    let parts: Vec<&str> = host.trim_end_matches('.').split('.').collect();
    let (zone, project) = match parts.as_slice() {
        [_, "c", project @ .., "internal"] => (None, project),
        [_, zone, "c", project @ .., "internal"] => (Some(*zone), project),
        _ => return None,
    };
    let project = match project {
        [project] => (*project).to_owned(),
        [project, domain @ ..] => format!("{}:{project}", domain.join(".")),
        [] => return None,
    };
    let zone = zone.filter(|zone| is_zone(zone)).map(str::to_owned);
    (!project.is_empty()).then_some(Internal { zone, project })
}

/// What a machine is asked for by: the instance's name. A host in a domain that is not Google's is another one than the
/// instance of its first word, unless that instance was given just this host name: it is asked for by all of it.
pub(super) fn machine_name(host: &str) -> Option<String> {
    let name = short_name(host)?;
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let domain = host.split_once('.').map_or("", |(_, domain)| domain);
    if matches!(domain, "" | "localdomain" | "google.internal") || internal_name(&host).is_some() {
        return Some(name);
    }
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    (host.len() <= 253 && host.bytes().all(fits)).then_some(host)
}

/// Whether a host's full name is in a domain that another cloud gives its machines.
pub(super) fn is_of_another_cloud(host: &str) -> bool {
    const DOMAINS: [&str; 6] = [
        ".ec2.internal",
        ".compute.internal",
        ".amazonaws.com",
        ".internal.cloudapp.net",
        ".cloudapp.azure.com",
        ".oraclevcn.com",
    ];
    DOMAINS.iter().any(|domain| host.ends_with(domain)) && internal_name(host).is_none()
}

/// Whether a machine is called as GKE calls its nodes, and nobody else his: `gke-CLUSTER-POOL-1af4d30b-716h`, and of
/// Autopilot `gk3-…`.
pub(super) fn is_gke_node(name: &str) -> bool {
    let mut parts = name.rsplit('-');
    let (Some(last), Some(hash)) = (parts.next(), parts.next()) else { return false };
    let own = last.len() == 4 && last.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let of_group = hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    own && of_group && matches!(name.split('-').next(), Some("gke" | "gk3")) && parts.count() > 1
}

/// The first word of a host name, which may be a full one; `None` when no instance can be called so.
fn short_name(host: &str) -> Option<String> {
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
    fn a_container_without_a_machine_is_not_looked_for_by_its_host() {
        let labels = [("host.hostName", "vm-1"), ("host.mac", "42:01:0a:9c:00:04"), ("gcp.projectId", "289600000042")];
        let Event::Runtime(mut runtime) = event(&labels) else { panic!("no runtime event") };
        for agent in [false, true] {
            (runtime.origin.raw_originator, runtime.origin.sub_kind) = match agent {
                true => (Some("serverlessAgent".to_owned()), None),
                false => (None, Some("caas".to_owned())),
            };
            let subject = of(&Event::Runtime(runtime.clone())).unwrap();
            assert!(subject.remote && subject.project.is_some(), "{subject:?}");
            assert_eq!((subject.host_name, subject.address, subject.foreign_mac), (None, None, None));
        }
    }

    #[test]
    fn a_full_internal_name_tells_the_project_and_the_zone() {
        for (host, expected) in [
            ("vm-1.us-central1-c.c.acme-prod.internal", Some((Some("us-central1-c"), "acme-prod"))),
            ("VM-1.c.acme-prod.internal.", Some((None, "acme-prod"))),
            ("vm-1.us-central1-c.c.acme.example.com.internal", Some((Some("us-central1-c"), "example.com:acme"))),
            ("vm-1.nowhere.c.acme-prod.internal", Some((None, "acme-prod"))),
            ("vm-1.c.acme-prod.example", None),
            ("vm-1.corp.example.internal", None),
            ("vm-1.c..internal", None),
            ("vm-1.c.internal", None),
            ("vm-1", None),
        ] {
            let told = internal_name(host).map(|name| (name.zone, name.project));
            assert_eq!(told, expected.map(|(zone, project)| (zone.map(str::to_owned), project.to_owned())), "{host}");
        }
        let place =
            of(&event(&[("host.hostName", "vm-1.us-central1-c.c.acme.internal"), ("gcp.location", "us-central1")]));
        let place = place.unwrap();
        assert_eq!((place.project.as_deref(), place.location.as_deref()), (Some("acme"), Some("us-central1-c")));
    }

    #[test]
    fn a_domain_that_is_not_google_s_is_part_of_the_name() {
        for (host, expected) in [
            ("VM-1", Some("vm-1")),
            ("vm-1.", Some("vm-1")),
            ("vm-1.us-central1-c.c.acme.internal", Some("vm-1")),
            ("vm-1.c.acme.example.com.internal", Some("vm-1")),
            ("vm-1.localdomain", Some("vm-1")),
            ("Web01.DC1.corp.example.com", Some("web01.dc1.corp.example.com")),
            ("ip-10-0-0-7.ec2.internal", Some("ip-10-0-0-7.ec2.internal")),
            ("vm-1.corp/../x", None),
        ] {
            assert_eq!(machine_name(host).as_deref(), expected, "{host}");
        }
        for host in ["10.0.0.1", "web_1", "", "-x", &"a".repeat(64)] {
            assert_eq!(machine_name(host), None, "{host}: no instance can be called so");
        }
    }

    #[test]
    fn a_hardware_address_that_a_maker_gave_out_is_none_of_compute_engine() {
        for (mac, expected) in [
            ("00:50:56:04:07:c1", true),
            ("08-00-27-54-F3-9D", true),
            ("42:01:0a:9c:00:04", false),
            ("02:42:ac:11:00:02", false),
            ("0a:58:0a:f4:01:05", false),
            ("00:00:00:00:00:00", false),
            ("ff:ff:ff:ff:ff:ff", false),
            ("01:00:5e:00:00:01", false),
            ("00:50:56:04:07", false),
            ("", false),
        ] {
            assert_eq!(is_foreign(mac), expected, "{mac}");
        }
    }

    #[test]
    fn names_that_only_gke_or_another_cloud_gives_are_known() {
        for (name, expected) in [
            ("gke-demo-default-pool-1af4d30b-716h", true),
            ("gk3-prod-pool-2-8a1b2c3d-x7k2", true),
            ("gke-tpu-8a1b2c3d-x7k2", true),
            ("gke-falco-7984c4d898-rfrwl", false),
            ("gke-falco-x7abc", false),
            ("gke-8a1b2c3d-x7k2", false),
            ("build-demo-1af4d30b-716h", false),
            ("gke", false),
            ("", false),
        ] {
            assert_eq!(is_gke_node(name), expected, "{name}");
        }
        for (host, expected) in [
            ("ip-10-0-0-7.ec2.internal", true),
            ("ip-10-0-0-7.eu-west-1.compute.internal", true),
            ("vm-1.abc.gx.internal.cloudapp.net", true),
            ("vm-1.us-central1-c.c.compute.internal", false),
            ("vm-1.corp.example.com", false),
            ("ip-10-0-0-7", false),
        ] {
            assert_eq!(is_of_another_cloud(host), expected, "{host}");
        }
    }

    #[test]
    fn zero_is_nobody_s_number() {
        for (id, expected) in [("7", Some("7")), ("0", None), ("000", None), ("7x", None)] {
            assert_eq!(of(&event(&[("gcp.instanceId", id)])).unwrap().instance_id.as_deref(), expected, "{id}");
        }
    }
}
