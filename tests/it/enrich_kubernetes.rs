//! What the API server adds: the workload behind a pod, the node's provider id, digests, privileges.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sysdig_scc::config::enrich::Keep;
use sysdig_scc::config::enrich::{KubernetesConfig, KubernetesSource};
use sysdig_scc::decide::{Decision, Rules, decide};
use sysdig_scc::enrich::compute::{ComputeEnricher, Where};
use sysdig_scc::enrich::kubernetes::KubernetesEnricher;
use sysdig_scc::enrich::{Enricher, Enrichment, FoundBy};
use sysdig_scc::finding::FindingChange;
use sysdig_scc::google::compute::Compute;
use sysdig_scc::google::{Client, HttpSettings, TokenSource};

use crate::enrich::{event, event_of};
use crate::fakes::compute::{FakeCompute, instance};
use crate::fakes::kubernetes::FakeKubernetes;
use crate::recovery::Process;
use crate::world::World;

const KEEP: Keep = Keep { found: Duration::from_secs(600), missed: Duration::from_secs(30), entries: 100 };

fn owned(api: &str, kind: &str, name: &str, uid: &str) -> Value {
    json!([{"apiVersion": api, "kind": kind, "name": name, "uid": uid, "controller": true, "blockOwnerDeletion": true}])
}

fn filled() -> FakeKubernetes {
    let cluster = FakeKubernetes::start();
    let mut state = cluster.state();
    let mut add = |path: &str, object: Value| state.objects.insert(path.to_owned(), object);
    add(
        "/api/v1/namespaces/shop/pods/web-c65cf6446-5s8kk",
        json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "web-c65cf6446-5s8kk", "namespace": "shop", "uid": "u-pod", "labels": {"app": "web"},
                     "ownerReferences": owned("apps/v1", "ReplicaSet", "web-c65cf6446", "u-rs")},
        "spec": {"nodeName": "gke-prod-1", "serviceAccountName": "web", "hostNetwork": true,
                 "containers": [{"name": "web", "image": "gcr.io/acme/web:1", "securityContext": {"privileged": true}}]},
        "status": {"containerStatuses": [{"name": "web", "image": "gcr.io/acme/web:1", "imageID": "gcr.io/acme/web@sha256:ab",
                   "containerID": "containerd://6949e5f10829aa", "ready": true, "restartCount": 0}]}}),
    );
    add(
        "/apis/apps/v1/namespaces/shop/replicasets/web-c65cf6446",
        json!({
        "apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": "web-c65cf6446", "uid": "u-rs", "ownerReferences": owned("apps/v1", "Deployment", "web", "u-d")},
        "spec": {"selector": {}}}),
    );
    add(
        "/api/v1/nodes/gke-prod-1",
        json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": "gke-prod-1", "annotations": {"container.googleapis.com/instance_id": "4242"}},
        "spec": {"providerID": "gce://acme-prod/us-central1-c/gke-prod-1"}}),
    );
    drop(state);
    cluster
}

async fn enricher(cluster: &FakeKubernetes) -> KubernetesEnricher {
    enricher_with(cluster, KEEP).await
}

async fn enricher_with(cluster: &FakeKubernetes, keep: Keep) -> KubernetesEnricher {
    enricher_waiting(cluster, keep, Duration::from_secs(5)).await
}

async fn enricher_waiting(cluster: &FakeKubernetes, keep: Keep, call: Duration) -> KubernetesEnricher {
    let mut config = kube::Config::new(cluster.server.url.parse().unwrap());
    config.default_retry = false;
    config.read_timeout = Some(call);
    let settings = KubernetesConfig { source: KubernetesSource::InCluster, cluster: Some("prod".into()) };
    KubernetesEnricher::new(kube::Client::try_from(config).unwrap(), &settings, keep)
}

fn labels() -> Value {
    json!({"cloudProvider.name": "gcp", "kubernetes.cluster.name": "prod", "kubernetes.namespace.name": "shop",
           "kubernetes.pod.name": "web-c65cf6446-5s8kk"})
}

#[tokio::test]
async fn the_workload_is_followed_to_its_deployment_and_the_node_to_its_instance() {
    let (cluster, compute) = (filled(), FakeCompute::start());
    {
        let mut state = compute.state();
        state.zones = vec!["us-central1-c".into()];
        let node = instance("acme-prod", "us-central1-c", "gke-prod-1", 4242, "10.0.0.2");
        state.projects = vec![("acme-prod".into(), "289600000042".into(), vec![node])];
    }
    let http = Client::new(HttpSettings::new(compute.server.url.parse().unwrap()), TokenSource::none()).unwrap();
    let place = Where { projects: vec!["acme-prod".into()], zones: Vec::new(), keep: KEEP };
    let kubernetes = Arc::new(enricher(&cluster).await);
    let compute = Arc::new(ComputeEnricher::new(Compute::new(http), None, place));
    let enrichment = Enrichment::new(vec![kubernetes, compute], Duration::from_secs(5));
    for _ in 0..3 {
        let found = enrichment.enrich(&event(labels(), "")).await;
        assert_eq!(found.gaps, Vec::<String>::new());
        let workload = found.workload.unwrap();
        assert_eq!(
            (workload.kind.as_str(), workload.name.as_str(), workload.api_version.as_str()),
            ("Deployment", "web", "apps/v1")
        );
        assert_eq!((workload.node.as_str(), found.node.unwrap().instance_id.as_str()), ("gke-prod-1", "4242"));
        assert_eq!((workload.service_account.as_str(), workload.labels["app"].as_str()), ("web", "web"));
        assert_eq!(workload.host_namespaces, ["network"]);
        let container = &workload.containers[0];
        assert_eq!(
            (container.digest.as_str(), container.id.as_str(), container.privileged),
            ("sha256:ab", "6949e5f10829aa", true)
        );
        assert_eq!(found.found_by, Some(FoundBy::Node));
        assert_eq!(found.instance.unwrap().id, "4242");
    }
    assert_eq!(cluster.server.asked().len(), 3, "pod, replica set, node: once");
}

/// What somebody asked of the API server did not happen on the pod's node, nor on the agent's.
#[tokio::test]
async fn of_an_audit_records_pod_the_workload_is_asked_for_and_no_machine() {
    let (cluster, compute) = (filled(), FakeCompute::start());
    let http = Client::new(HttpSettings::new(compute.server.url.parse().unwrap()), TokenSource::none()).unwrap();
    let place = Where { projects: vec!["acme-prod".into()], zones: Vec::new(), keep: KEEP };
    let compute_enricher = ComputeEnricher::new(Compute::new(http), None, place);
    let enrichers: Vec<Arc<dyn Enricher>> = vec![Arc::new(enricher(&cluster).await), Arc::new(compute_enricher)];
    let mut labels = labels();
    labels["host.hostName"] = "gke-prod-1".into();
    let found = Enrichment::new(enrichers, Duration::from_secs(5)).enrich(&event_of("k8s_audit", labels, "")).await;
    assert_eq!(found.workload.map(|workload| workload.name).as_deref(), Some("web"));
    assert_eq!((found.node, found.instance, found.gaps), (None, None, Vec::new()));
    assert!(compute.server.asked().is_empty());
}

#[tokio::test]
async fn what_may_not_be_read_is_left_out_and_told() {
    let cluster = filled();
    cluster.state().refused = vec!["nodes", "replicasets"];
    let enricher = enricher(&cluster).await;
    let permitted = enricher.permitted().await.unwrap();
    assert_eq!(permitted, [("pods", true), ("nodes", false), ("replicasets", false), ("jobs", true)]);
    let enrichment = Enrichment::new(vec![Arc::new(enricher)], Duration::from_secs(5));
    let asked = cluster.server.asked().len();
    for _ in 0..2 {
        let found = enrichment.enrich(&event(labels(), "")).await;
        let refusal = |resource: &str| format!("the Kubernetes API server refuses to show {resource}");
        assert_eq!(found.gaps, [refusal("replicasets"), refusal("nodes")]);
        assert!(!found.unsettled, "it lasts");
        let workload = found.workload.unwrap();
        assert_eq!((workload.kind.as_str(), workload.name.as_str()), ("ReplicaSet", "web-c65cf6446"));
        assert_eq!(found.node, None);
    }
    assert_eq!(cluster.server.asked().len() - asked, 3, "a refusal is kept for a while");
}

#[tokio::test]
async fn a_refusal_is_kept_no_longer_than_a_miss() {
    let cluster = filled();
    cluster.state().refused = vec!["nodes", "replicasets"];
    let enricher = enricher_with(&cluster, Keep { missed: Duration::ZERO, ..KEEP }).await;
    let enrichment = Enrichment::new(vec![Arc::new(enricher)], Duration::from_secs(5));
    assert_eq!(enrichment.enrich(&event(labels(), "")).await.gaps.len(), 2);
    cluster.state().refused.clear();
    let found = enrichment.enrich(&event(labels(), "")).await;
    assert_eq!(found.gaps, Vec::<String>::new());
    assert_eq!((found.workload.unwrap().kind, found.node.unwrap().instance_id), ("Deployment".into(), "4242".into()));
}

#[tokio::test]
async fn a_part_that_fails_for_the_moment_is_a_gap_that_is_not_kept() {
    for (resource, code) in [("nodes", 503), ("nodes", 429), ("replicasets", 503), ("replicasets", 504), ("pods", 500)]
    {
        let cluster = filled();
        let enrichment = Enrichment::new(vec![Arc::new(enricher(&cluster).await)], Duration::from_secs(5));
        cluster.state().trouble = [(resource, code)].into();
        let found = enrichment.enrich(&event(labels(), "")).await;
        assert_eq!(found.gaps, [format!("the Kubernetes API server did not answer for {resource}")], "{code}");
        assert!(found.unsettled, "{resource} {code}");
        let found = enrichment.enrich(&event(labels(), "")).await;
        assert_eq!((found.gaps, found.unsettled), (vec![], false), "{resource} {code}");
        assert_eq!(
            (found.workload.unwrap().kind, found.node.unwrap().instance_id),
            ("Deployment".into(), "4242".into())
        );
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_left_alone_for_a_while() {
    let cluster = filled();
    cluster.state().silent = true;
    let enricher = enricher_waiting(&cluster, KEEP, Duration::from_millis(50)).await;
    let enrichment = Enrichment::new(vec![Arc::new(enricher)], Duration::from_secs(5));
    for number in 0..20 {
        let mut labels = labels();
        labels["kubernetes.pod.name"] = json!(format!("web-{number}"));
        labels["kubernetes.node.name"] = json!(format!("gke-prod-{number}"));
        let found = enrichment.enrich(&event(labels, "")).await;
        assert_eq!(found.gaps, ["the Kubernetes API server did not answer"]);
        assert!(found.unsettled);
        assert!(found.again_after.is_some_and(|wait| wait > Duration::from_secs(5)), "{:?}", found.again_after);
    }
    assert_eq!(cluster.server.asked().len(), 1, "nobody else waits for it");
}

/// The whole program: the finding waits for the node, and the next event of the pod has it too.
#[tokio::test]
async fn a_node_that_cannot_be_read_once_costs_no_finding_its_instance() {
    let cluster = filled();
    cluster.state().trouble = [("nodes", 503)].into();
    let mut world = World::new().await;
    world.stop().await;
    let kubeconfig = world.outbox.with_file_name("kubeconfig");
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": cluster.server.url}}], "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    std::fs::write(&kubeconfig, config.to_string()).unwrap();
    let settings = [("KUBERNETES_ENRICH", "kubeconfig"), ("KUBECONFIG", kubeconfig.to_str().unwrap())];
    let process = Process::with(&world, &settings);
    world.url = process.url.clone();
    for number in 1..3 {
        let mut one = crate::world::event(number);
        one["labels"]["kubernetes.pod.name"] = json!("web-c65cf6446-5s8kk");
        assert_eq!(world.sends(one.to_string()).await.0, 200);
        world.settle().await;
    }
    let instance = "//compute.googleapis.com/projects/acme-prod/zones/us-central1-c/instances/4242";
    let findings = world.findings().await;
    assert_eq!(findings.len(), 2);
    for finding in findings {
        assert_eq!(finding["resourceName"], instance);
        assert_eq!(finding["sourceProperties"]["enrichment_gaps"], Value::Null);
    }
}

#[tokio::test]
async fn a_node_is_asked_about_for_an_event_of_the_host_too() {
    let cluster = filled();
    let enrichment = Enrichment::new(vec![Arc::new(enricher(&cluster).await)], Duration::from_secs(5));
    let host = |node: &str, cluster: &str| json!({"kubernetes.node.name": node, "kubernetes.cluster.name": cluster});
    let found = enrichment.enrich(&event(host("gke-prod-1", "prod"), "")).await;
    assert_eq!((found.gaps, found.workload), (vec![], None));
    let node = found.node.unwrap();
    assert_eq!(
        (node.instance_id.as_str(), node.provider_id.as_str()),
        ("4242", "gce://acme-prod/us-central1-c/gke-prod-1")
    );
    let asked = cluster.server.asked().len();
    let elsewhere = enrichment.enrich(&event(host("gke-prod-1", "staging"), "")).await;
    assert_eq!((elsewhere.node, cluster.server.asked().len()), (None, asked));
    let gone = enrichment.enrich(&event(host("gke-prod-9", "prod"), "")).await;
    assert_eq!(gone.gaps, ["the Kubernetes API server knows no node gke-prod-9; it may be gone already"]);
    // A pod that is gone, or elsewhere by now, leaves the node that the event names.
    for pod in ["web-gone", "web-c65cf6446-5s8kk"] {
        let mut labels = labels();
        labels["kubernetes.pod.name"] = json!(pod);
        labels["kubernetes.node.name"] = json!("gke-prod-2");
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "gke-prod-2"},
                          "spec": {"providerID": "gce://acme-prod/us-central1-c/gke-prod-2"}});
        cluster.state().objects.insert("/api/v1/nodes/gke-prod-2".into(), node);
        let found = enrichment.enrich(&event(labels, "")).await;
        assert_eq!(found.node.map(|node| node.name).as_deref(), Some("gke-prod-2"), "{pod}");
    }
}

/// The whole way: an event of a node that no pod is in gets the instance that its annotation names.
#[tokio::test]
async fn an_event_of_a_node_is_on_its_instance() {
    let cluster = filled();
    let enrichment = Enrichment::new(vec![Arc::new(enricher(&cluster).await)], Duration::from_secs(5));
    let event = event(json!({"kubernetes.node.name": "gke-prod-1", "kubernetes.cluster.name": "prod"}), "");
    let found = enrichment.enrich(&event).await;
    let decision = decide(&event, &found, &Rules::new("123"), chrono::Utc::now());
    let Decision::Deliver(FindingChange::Create { finding, .. }) = decision else { panic!("{decision:?}") };
    let instance = "//compute.googleapis.com/projects/acme-prod/zones/us-central1-c/instances/4242";
    assert_eq!(finding.resource_name, instance);
    assert_eq!(finding.kubernetes.as_ref().unwrap().nodes[0].name.as_deref(), Some(instance));
}

#[tokio::test]
async fn a_pod_that_is_gone_or_refused_is_a_gap_and_another_cluster_is_not_asked() {
    let cluster = filled();
    let enrichment = Enrichment::new(vec![Arc::new(enricher(&cluster).await)], Duration::from_secs(5));
    let mut other = labels();
    other["kubernetes.cluster.name"] = json!("staging");
    assert_eq!(enrichment.enrich(&event(other, "")).await.gaps, Vec::<String>::new());
    assert!(cluster.server.asked().is_empty());
    let mut gone = labels();
    gone["kubernetes.pod.name"] = json!("web-gone");
    let found = enrichment.enrich(&event(gone, "")).await;
    assert!(found.gaps[0].contains("knows no pod shop/web-gone"), "{:?}", found.gaps);
    cluster.state().refused = vec!["pods"];
    let found = enrichment.enrich(&event(labels(), "")).await;
    assert_eq!(found.gaps, ["the Kubernetes API server refuses to show pods"]);
    assert!(!found.unsettled);
}
