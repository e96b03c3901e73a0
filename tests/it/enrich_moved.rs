//! Names and addresses are used again: a pod that moved, a cluster that has the same pod, a machine made after the event.
//! What the event says of itself goes before what they have now.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sysdig_scc::config::enrich::Keep;
use sysdig_scc::config::enrich::{KubernetesConfig, KubernetesSource};
use sysdig_scc::enrich::compute::{ComputeEnricher, Where};
use sysdig_scc::enrich::kubernetes::KubernetesEnricher;
use sysdig_scc::enrich::{Enriched, Enrichment, FoundBy};
use sysdig_scc::google::compute::Compute;
use sysdig_scc::google::{Client, HttpSettings, TokenSource};

use crate::enrich::event;
use crate::fakes::compute::{FakeCompute, instance};
use crate::fakes::kubernetes::FakeKubernetes;

const KEEP: Keep = Keep { found: Duration::from_secs(600), missed: Duration::ZERO, entries: 100 };

/// The events of `crate::enrich` are of 2024-07-03T18:23:21Z.
const BEFORE: &str = "2024-07-03T10:00:00Z";
const SOON_AFTER: &str = "2024-07-03T18:25:00Z";
const AFTER: &str = "2024-07-03T19:18:00Z";

const MAC_A: &str = "42:01:0a:00:00:0a";

/// A cluster of two nodes, and the pod `shop/db-0` on the second one, with the machines of both.
struct Ground {
    cluster: FakeKubernetes,
    compute: FakeCompute,
}

impl Ground {
    fn new() -> Self {
        let (cluster, compute) = (FakeKubernetes::start(), FakeCompute::start());
        {
            let mut state = compute.state();
            state.zones = vec!["us-central1-c".into(), "us-central1-f".into()];
            let nodes = [("node-a", 1001, "10.0.0.10"), ("node-b", 1002, "10.0.0.11")];
            let machines = nodes.map(|(name, id, ip)| instance("acme", "us-central1-c", name, id, ip));
            state.projects = vec![("acme".into(), "289600000042".into(), machines.into())];
        }
        let ground = Self { cluster, compute };
        ["node-a", "node-b"].iter().for_each(|name| ground.node(name, &json!({})));
        ground.pod(BEFORE, &json!({"containerID": "containerd://bbbbbbbbbbbbbbbb", "restartCount": 0}));
        ground
    }

    fn node(&self, name: &str, annotations: &Value) {
        let node = json!({
            "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "annotations": annotations},
            "spec": {"providerID": format!("gce://acme/us-central1-c/{name}")},
        });
        self.cluster.state().objects.insert(format!("/api/v1/nodes/{name}"), node);
    }

    fn pod(&self, created: &str, status: &Value) {
        let mut status = status.clone();
        status["name"] = json!("db");
        status["image"] = json!("db:2");
        status["imageID"] = json!("db@sha256:cd");
        status["ready"] = json!(true);
        let pod = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "db-0", "namespace": "shop", "uid": "u-new", "creationTimestamp": created},
            "spec": {"nodeName": "node-b", "containers": [{"name": "db", "image": "db:2", "securityContext": {"privileged": true}}]},
            "status": {"containerStatuses": [status]},
        });
        self.cluster.state().objects.insert("/api/v1/namespaces/shop/pods/db-0".into(), pod);
    }

    fn addressed(&self, name: &str, ip: &str) {
        let mut state = self.cluster.state();
        let node = state.objects.get_mut(&format!("/api/v1/nodes/{name}")).unwrap();
        node["status"] = json!({"addresses": [{"type": "InternalIP", "address": ip}]});
    }

    fn moves_to(&self, node: &str) {
        let mut state = self.cluster.state();
        state.objects.get_mut("/api/v1/namespaces/shop/pods/db-0").unwrap()["spec"]["nodeName"] = json!(node);
    }

    fn kubernetes(&self) -> KubernetesEnricher {
        let mut config = kube::Config::new(self.cluster.server.url.parse().unwrap());
        config.default_retry = false;
        let settings = KubernetesConfig { source: KubernetesSource::InCluster, cluster: None };
        KubernetesEnricher::new(kube::Client::try_from(config).unwrap(), &settings, KEEP)
    }

    fn enrichment(&self) -> Enrichment {
        self.enrichment_keeping(KEEP)
    }

    fn enrichment_keeping(&self, keep: Keep) -> Enrichment {
        let settings = HttpSettings::new(self.compute.server.url.parse().unwrap());
        let place = Where { projects: vec!["acme".into()], zones: Vec::new(), keep };
        let compute = Compute::new(Client::new(settings, TokenSource::none()).unwrap());
        let compute = ComputeEnricher::new(compute, None, place);
        Enrichment::new(vec![Arc::new(self.kubernetes()), Arc::new(compute)], Duration::from_secs(5))
    }

    async fn look(&self, labels: Value, mac: &str) -> Enriched {
        self.enrichment().enrich(&event(labels, mac)).await
    }
}

fn labels(container: &str) -> Value {
    json!({"kubernetes.namespace.name": "shop", "kubernetes.pod.name": "db-0", "host.hostName": "node-a",
           "container.id": container, "container.name": "db"})
}

fn id(found: &Enriched) -> Option<&str> {
    found.instance.as_ref().map(|instance| instance.id.as_str())
}

#[tokio::test]
async fn a_pod_that_moved_leaves_the_finding_on_the_machine_of_the_event() {
    let since = |created: &str| {
        let ground = Ground::new();
        ground.pod(created, &json!({"containerID": "containerd://bbbbbbbbbbbbbbbb", "restartCount": 0}));
        ground
    };
    let named = |found: &Enriched, gap: &str| {
        assert_eq!((id(found), found.found_by), (Some("1001"), Some(FoundBy::Name)), "{:?}", found.gaps);
        assert_eq!((&found.workload, &found.node), (&None, &None));
        assert_eq!(found.gaps, [gap]);
    };
    let other =
        |how: &str| format!("the pod shop/db-0 that the Kubernetes API server knows is not the event's: it {how}");
    let found = since(AFTER).look(labels(""), "").await;
    named(&found, &other("was created after the event"));
    let found = since(BEFORE).look(labels("aaaaaaaaaaaa"), "").await;
    named(&found, &other("has no container with the event's container id"));
    // Neither tells, but the machine's address does.
    let mut custom = labels("");
    custom["host.hostName"] = json!("agent-x7abc");
    let found = since(SOON_AFTER).look(custom.clone(), MAC_A).await;
    assert_eq!((id(&found), found.found_by), (Some("1001"), Some(FoundBy::Address)));
    assert_eq!((&found.workload, &found.node), (&None, &None));
    assert_eq!(
        found.gaps,
        ["the instance node-b of project acme does not have the internal address 10.0.0.10 of the event's MAC"]
    );
    // A machine of ours is called as its host; a container that is the pod's says more.
    let found = since(SOON_AFTER).look(labels(""), "").await;
    assert_eq!((id(&found), found.found_by), (Some("1001"), Some(FoundBy::Node)));
    assert_eq!(
        (&found.workload, found.gaps.as_slice()),
        (&None, &[other("is on node-b, and the event's host is node-a")][..])
    );
    // Nothing speaks against it: a sensor's host name may be a pod's.
    for labels in [custom, labels("bbbbbbbbbbbb")] {
        let found = since(SOON_AFTER).look(labels, "").await;
        assert_eq!((id(&found), found.found_by, found.gaps.len()), (Some("1002"), Some(FoundBy::Node), 0));
        assert_eq!(found.workload.unwrap().uid, "u-new");
    }
    // Where nodes may not be read, Compute Engine knows the machine.
    let ground = since(SOON_AFTER);
    ground.cluster.state().refused = vec!["nodes"];
    let found = ground.look(labels(""), "").await;
    assert_eq!((id(&found), found.found_by, &found.workload), (Some("1001"), Some(FoundBy::Name), &None));
    assert_eq!(found.gaps.last(), Some(&other("is on node-b, and the event's host is node-a")));
}

/// Another cluster, of another cloud, project or place, has a pod of the same name.
#[tokio::test]
async fn a_pod_of_the_same_name_elsewhere_is_not_the_event_s() {
    const OTHER_NODE: &str = "gke-stage-pool-1-8a1b2c3d-x7k2";
    let numbered = "node node-b that the Kubernetes API server knows is not the event's: it is in the project acme, and \
                    the event's was in 999456000012";
    for (labels, mac, told) in [
        (
            json!({"cloudProvider.name": "aws"}),
            "",
            "it is a machine of Compute Engine, and the event's cloud is another",
        ),
        (json!({"gcp.projectName": "other"}), "", "it is in the project acme, and the event's was in other"),
        (json!({"gcp.projectId": "999456000012"}), "", numbered),
        (json!({"gcp.location": "europe-west3", "gcp.projectName": "acme"}), "", "and the event's was in europe-west3"),
        (json!({"gcp.availabilityZone": "us-central1-f", "gcp.projectName": "acme"}), "", "was in us-central1-f"),
        (
            json!({"host.hostName": "ip-10-0-3-17.ec2.internal"}),
            "",
            "host ip-10-0-3-17.ec2.internal is another cloud's",
        ),
        (
            json!({"host.hostName": OTHER_NODE}),
            "",
            "it is on node-b, and the event's host is gke-stage-pool-1-8a1b2c3d-x7k2",
        ),
        (
            json!({"host.hostName": OTHER_NODE}),
            "42:01:0a:00:00:0b",
            "it is on node-b, and the event's host is gke-stage",
        ),
        (json!({"kubernetes.node.name": "node-b", "gcp.projectName": "other"}), "", "and the event's was in other"),
    ] {
        let ground = Ground::new();
        ground.addressed("node-b", "10.0.0.11");
        ground.compute.state().projects[0].2[1]["labels"] = json!({"goog-k8s-cluster-name": "prod"});
        let mut all = json!({"kubernetes.namespace.name": "shop", "kubernetes.pod.name": "db-0"});
        all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
        let found = ground.look(all.clone(), mac).await;
        assert_eq!((id(&found), &found.workload, &found.node), (None, &None, &None), "{labels} {mac}");
        assert!(found.gaps.iter().any(|gap| gap.contains(told)), "{labels} {mac}: {:?}", found.gaps);
        // Where nodes may not be read, nobody is taken for the pod's either.
        ground.cluster.state().refused = vec!["nodes"];
        assert_eq!(id(&ground.look(all, mac).await), None, "{labels} {mac}");
    }
}

/// A sensor calls its cluster as it was told to.
#[tokio::test]
async fn what_a_sensor_calls_its_cluster_contradicts_nothing() {
    let ground = Ground::new();
    ground.compute.state().projects[0].2[1]["labels"] = json!({"goog-k8s-cluster-name": "prod-eu"});
    for (labels, mac) in [
        (json!({}), ""),
        (json!({"host.hostName": "node-b"}), ""),
        (json!({"container.id": "bbbbbbbbbbbb"}), ""),
        (json!({"kubernetes.node.name": "node-b"}), ""),
        (json!({"gcp.location": "us-central1", "gcp.projectId": "289600000042", "host.hostName": "node-b"}), ""),
        (json!({}), "42:01:0a:00:00:0b"),
    ] {
        let mut all = json!({"kubernetes.namespace.name": "shop", "kubernetes.pod.name": "db-0",
                             "kubernetes.cluster.name": "Production"});
        all.as_object_mut().unwrap().extend(labels.as_object().unwrap().clone());
        let found = ground.look(all, mac).await;
        assert_eq!((id(&found), found.gaps.len()), (Some("1002"), 0), "{labels} {mac}: {:?}", found.gaps);
        assert!(found.workload.is_some(), "{labels} {mac}");
    }
    // A pod that has the event's container is the event's, whatever place was told.
    let elsewhere = json!({"kubernetes.namespace.name": "shop", "kubernetes.pod.name": "db-0",
                           "container.id": "bbbbbbbbbbbb", "gcp.projectName": "other"});
    assert!(ground.look(elsewhere, "").await.workload.is_some());
}

/// Whether the host is another node is not known then.
#[tokio::test]
async fn a_host_that_cannot_be_looked_up_for_the_moment_is_not_taken_to_be_the_pod_s_node() {
    for code in [429, 503] {
        let ground = Ground::new();
        let alone = Enrichment::new(vec![Arc::new(ground.kubernetes())], Duration::from_secs(5));
        let mut before = labels("");
        before["host.hostName"] = json!("node-b");
        assert_eq!(alone.enrich(&event(before, "")).await.node.unwrap().name, "node-b");
        ground.cluster.state().trouble = [("nodes", code)].into();
        let found = alone.enrich(&event(labels(""), "")).await;
        assert_eq!((&found.workload, &found.node, found.unsettled), (&None, &None, true), "{code}");
        let gap =
            "the Kubernetes API server did not answer for nodes; whether the pod shop/db-0 is the event's is not known";
        assert_eq!(found.gaps, [gap]);
        let found = alone.enrich(&event(labels(""), "")).await;
        assert_eq!((found.workload, found.node.unwrap().name, found.unsettled), (None, "node-a".into(), false));
    }
}

/// What is remembered of a pod says where it was.
#[tokio::test]
async fn a_pod_that_moved_is_read_again() {
    for moved in [json!({"host.hostName": "node-a"}), json!({"host.hostName": "x", "mac": MAC_A})] {
        let ground = Ground::new();
        ["node-a", "node-b"].iter().zip(["10.0.0.10", "10.0.0.11"]).for_each(|(name, ip)| ground.addressed(name, ip));
        let enrichment = ground.enrichment();
        let mut labels = labels("");
        labels["host.hostName"] = json!("node-b");
        assert_eq!(id(&enrichment.enrich(&event(labels.clone(), "")).await), Some("1002"));
        ground.moves_to("node-a");
        labels["host.hostName"] = moved["host.hostName"].clone();
        let found = enrichment.enrich(&event(labels, moved["mac"].as_str().unwrap_or_default())).await;
        assert_eq!((id(&found), found.gaps.len()), (Some("1001"), 0), "{:?}", found.gaps);
        assert_eq!(found.workload.unwrap().node, "node-a");
    }
}

#[tokio::test]
async fn the_event_s_own_instance_goes_before_the_node_of_a_pod_of_that_name() {
    let ground = Ground::new();
    let mut labels = labels("");
    labels["host.hostName"] = json!("agent-x7abc");
    labels["cloudProvider.name"] = json!("gcp");
    labels["gcp.projectName"] = json!("acme");
    labels["gcp.instanceId"] = json!("1001");
    let found = ground.look(labels.clone(), "").await;
    assert_eq!((id(&found), found.found_by), (Some("1001"), Some(FoundBy::Id)));
    assert_eq!((found.workload, found.node), (None, None));
    assert_eq!(found.gaps, ["the node node-b in us-central1-c that Kubernetes names is not the event's instance 1001"]);
    // Without Compute Engine, the node's own words are enough.
    ground.node("node-b", &json!({"container.googleapis.com/instance_id": "1002"}));
    let alone = Enrichment::new(vec![Arc::new(ground.kubernetes())], Duration::from_secs(5));
    let found = alone.enrich(&event(labels, "")).await;
    assert_eq!((found.workload, found.node), (None, None));
    let gap = "the node node-b that the Kubernetes API server knows is not the event's: it is the instance 1002, and the event's is another";
    assert_eq!(found.gaps, [gap]);
}

#[tokio::test]
async fn a_pod_or_container_that_is_new_is_read_again_before_it_is_another() {
    let ground = Ground::new();
    let enrichment = ground.enrichment();
    let look = async |container: &str| {
        let found = enrichment.enrich(&event(labels(container), "")).await;
        (id(&found).map(str::to_owned), found.workload.map(|workload| workload.containers[0].id.clone()), found.gaps)
    };
    assert_eq!(look("bbbbbbbbbbbb").await, (Some("1002".into()), Some("bbbbbbbbbbbbbbbb".into()), vec![]));
    ground.pod(
        BEFORE,
        &json!({"containerID": "containerd://cccccccccccccccc", "restartCount": 1,
                "lastState": {"terminated": {"exitCode": 1, "containerID": "containerd://bbbbbbbbbbbbbbbb"}}}),
    );
    assert_eq!(look("cccccccccccc").await, (Some("1002".into()), Some("cccccccccccccccc".into()), vec![]));
    // What ran before is the pod's, too.
    assert_eq!(look("bbbbbbbbbbbb").await.2, Vec::<String>::new());
}

#[tokio::test]
async fn a_machine_made_after_the_event_is_not_the_event_s() {
    let ground = Ground::new();
    let made = |created: &str| {
        ground.compute.state().projects[0].2[0]["creationTimestamp"] = json!(created);
    };
    let by_name = async || ground.look(json!({"host.hostName": "node-a"}), "").await;
    let by_address = async || ground.look(json!({}), MAC_A).await;
    for created in [BEFORE, SOON_AFTER, "", "soon"] {
        made(created);
        assert_eq!((id(&by_name().await), id(&by_address().await)), (Some("1001"), Some("1001")), "{created}");
    }
    made(AFTER);
    for found in [by_name().await, by_address().await] {
        assert_eq!((id(&found), found.unsettled), (None, false));
        assert_eq!(found.gaps, ["the instance node-a of project acme was made after the event"]);
    }
    // Of two of a name, only the older one can be meant.
    let older = instance("acme", "us-central1-f", "node-a", 1003, "10.0.0.10");
    ground.compute.state().projects[0].2.push(older);
    assert_eq!((id(&by_name().await), id(&by_address().await)), (Some("1003"), Some("1003")));
    // An id is of one machine, whatever the clocks say.
    let found = ground.look(json!({"gcp.instanceId": "1001", "gcp.projectName": "acme"}), "").await;
    assert_eq!(id(&found), Some("1001"), "{:?}", found.gaps);
}

#[tokio::test]
async fn a_machine_made_again_under_its_name_is_not_the_one_before() {
    let ground = Ground::new();
    let enrichment = ground.enrichment();
    let look = async |mac: &str| {
        let found = enrichment.enrich(&event(json!({"host.hostName": "node-a"}), mac)).await;
        (id(&found).map(str::to_owned), found.found_by, found.gaps)
    };
    let is = |id: &str| (Some(id.to_owned()), Some(FoundBy::Name), Vec::new());
    assert_eq!(look(MAC_A).await, is("1001"));
    ground.compute.state().projects[0].2[0] = instance("acme", "us-central1-c", "node-a", 1009, "10.0.0.99");
    assert_eq!(look("42:01:0a:00:00:63").await, is("1009"));
    assert_eq!(look("").await, is("1009"), "the one before is forgotten");
}

/// Whatever question tells of it: the next is asked otherwise, in another zone's or project's words.
#[tokio::test]
async fn who_was_seen_last_under_a_name_or_an_address_goes_before_what_is_remembered() {
    let ground = Ground::new();
    let keep = Keep { missed: Duration::from_secs(60), ..KEEP };
    let enrichment = ground.enrichment_keeping(keep);
    let look = async |labels: Value, mac: &str| {
        let found = enrichment.enrich(&event(labels, mac)).await;
        id(&found).map(str::to_owned)
    };
    let host = || json!({"host.hostName": "node-a"});
    let other = || json!({"host.hostName": "node-b", "gcp.location": "us-central1"});
    let numbered = |id: &str| json!({"gcp.instanceId": id, "gcp.projectName": "acme", "gcp.location": "us-central1"});
    for (labels, mac, expected) in [(host(), "", "1001"), (json!({}), MAC_A, "1001"), (other(), "", "1002")] {
        assert_eq!(look(labels, mac).await.as_deref(), Some(expected));
    }
    // The name is taken by a new machine, and the address by one of another name.
    ground.compute.state().projects[0].2 = vec![
        instance("acme", "us-central1-c", "node-a", 2001, "10.0.0.99"),
        instance("acme", "us-central1-c", "node-c", 2003, "10.0.0.10"),
        instance("acme", "us-central1-c", "node-b", 1002, "10.0.0.11"),
    ];
    assert_eq!(look(host(), "").await.as_deref(), Some("1001"), "nobody has told of it");
    for number in ["2001", "2003"] {
        assert_eq!(look(numbered(number), "").await.as_deref(), Some(number));
    }
    assert_eq!(look(host(), "").await.as_deref(), Some("2001"));
    assert_eq!(look(json!({}), MAC_A).await.as_deref(), Some("2003"));
    let asked = ground.compute.server.asked().len();
    for (labels, mac, expected) in [(host(), "", "2001"), (json!({}), MAC_A, "2003"), (other(), "", "1002")] {
        assert_eq!(look(labels, mac).await.as_deref(), Some(expected));
    }
    assert_eq!(ground.compute.server.asked().len(), asked, "that is remembered");
}
