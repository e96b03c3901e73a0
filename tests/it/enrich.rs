//! Look-ups: the right machine or none, few calls, and a gap that is told.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sysdig_scc::config::enrich::Keep;
use sysdig_scc::enrich::compute::{ComputeEnricher, Where};
use sysdig_scc::enrich::{Cluster, Enriched, Enrichment, FoundBy, Shielded};
use sysdig_scc::event::Event;
use sysdig_scc::google::compute::Compute;
use sysdig_scc::google::{Client, HttpSettings, TokenSource};
use sysdig_scc::normalize::{self, Element};

use crate::fakes::compute::{FakeCompute, instance, refused};
use crate::fakes::loopback::Answer;
use crate::world::World;

const PROJECT: &str = "acme-prod";
const NUMBER: &str = "289600000042";

pub fn event(labels: Value, mac: &str) -> Event {
    event_of("syscall", labels, mac)
}

pub fn event_of(source: &str, labels: Value, mac: &str) -> Event {
    let body = json!([{
        "id": "17dec715376910362c8c3f62a4ced001", "type": "policy", "timestamp": 1_720_031_001_639_981_110_i64, "name": "P",
        "severity": 4, "source": source, "machineId": mac, "hostMac": mac,
        "content": {"ruleName": "R", "output": "x", "fields": {}}, "labels": labels,
    }]);
    read(&body)
}

fn read(body: &Value) -> Event {
    match normalize::delivery(body.to_string().as_bytes(), chrono::DateTime::UNIX_EPOCH).unwrap().remove(0) {
        Element::Event { event, .. } => event,
        other => panic!("not an event: {other:?}"),
    }
}

/// 5,000 instances in 30 zones, the first of them a GKE node.
fn filled() -> FakeCompute {
    let compute = FakeCompute::start();
    let mut state = compute.state();
    state.zones = (0..30).map(|n| format!("region{}-x{}-{}", n / 9, n / 3 % 3, ["a", "b", "c"][n % 3])).collect();
    let zones = state.zones.clone();
    let mut all: Vec<Value> = (0..5000_u64)
        .map(|n| {
            let ip = format!("10.128.{}.{}", n / 200, n % 200 + 1);
            instance(PROJECT, &zones[n as usize % 30], &format!("vm-{n}"), 7_000_000_000_000_000_000 + n, &ip)
        })
        .collect();
    all[0]["name"] = json!("gke-prod-pool-1");
    all[0]["labels"] = json!({"goog-k8s-cluster-name": "prod", "goog-k8s-cluster-location": "us-central1"});
    all[0]["metadata"] = json!({"items": [{"key": "kube-labels", "value": "a=b,cloud.google.com/gke-nodepool=pool"}, {"key": "x", "value": "y"}]});
    all[0]["shieldedInstanceConfig"] =
        json!({"enableSecureBoot": false, "enableVtpm": true, "enableIntegrityMonitoring": true});
    all[0]["confidentialInstanceConfig"] =
        json!({"enableConfidentialCompute": true, "confidentialInstanceType": "SEV_SNP"});
    all[0]["networkInterfaces"][0]["networkIP"] = json!("10.156.0.4");
    state.projects = vec![(PROJECT.into(), NUMBER.into(), all)];
    drop(state);
    compute
}

fn enrichment(compute: &FakeCompute, zones: &[&str]) -> Enrichment {
    enrichment_of(compute, &[PROJECT], zones)
}

pub fn enrichment_of(compute: &FakeCompute, projects: &[&str], zones: &[&str]) -> Enrichment {
    enrichment_keeping(compute, projects, zones, Duration::from_secs(30))
}

fn enrichment_keeping(compute: &FakeCompute, projects: &[&str], zones: &[&str], missed: Duration) -> Enrichment {
    let settings =
        HttpSettings { timeout: Duration::from_secs(2), ..HttpSettings::new(compute.server.url.parse().unwrap()) };
    let client = Compute::new(Client::new(settings, TokenSource::none()).unwrap());
    let keep = Keep { found: Duration::from_secs(600), missed, entries: 100 };
    let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let place = Where { projects: owned(projects), zones: owned(zones), keep };
    Enrichment::new(vec![Arc::new(ComputeEnricher::new(client, None, place))], Duration::from_secs(5))
}

pub async fn look(enrichment: &Enrichment, labels: Value) -> Enriched {
    enrichment.enrich(&event(labels, "")).await
}

#[tokio::test]
async fn a_node_is_found_by_its_host_name_with_all_its_facts_in_few_calls() {
    let compute = filled();
    let enrichment = enrichment(&compute, &[]);
    let mut found = Enriched::default();
    for _ in 0..100 {
        found = look(
            &enrichment,
            json!({"host.hostName": "gke-prod-pool-1.c.acme-prod.internal", "gcp.projectId": NUMBER}),
        )
        .await;
    }
    assert_eq!(found.gaps, Vec::<String>::new());
    assert_eq!(found.found_by, Some(FoundBy::Name));
    let node = found.instance.unwrap();
    assert_eq!((node.id.as_str(), node.zone.as_str()), ("7000000000000000000", "region0-x0-a"));
    assert_eq!((node.project.as_str(), node.project_number.as_str()), (PROJECT, NUMBER));
    assert_eq!(
        node.cluster,
        Some(Cluster { project: PROJECT.into(), location: "us-central1".into(), name: "prod".into() })
    );
    assert_eq!(node.node_pool.as_deref(), Some("pool"));
    assert_eq!(node.shielded, Some(Shielded { secure_boot: false, vtpm: true, integrity_monitoring: true }));
    assert_eq!(node.confidential.as_deref(), Some("SEV_SNP"));
    assert_eq!(node.machine_type, "e2-standard-4");
    assert_eq!(node.service_account, "nodes@acme-prod.iam.gserviceaccount.com");
    assert_eq!(node.addresses, ["10.156.0.4"]);
    assert_eq!(compute.state().lists, 1);
}

#[tokio::test]
async fn an_instance_is_found_by_its_id_with_and_without_a_zone() {
    let compute = filled();
    let enrichment = enrichment(&compute, &[]);
    let zone = compute.state().zones[11].clone();
    for labels in [
        json!({"gcp.instanceId": "7000000000000000011"}),
        json!({"gcp.instanceId": "7000000000000000011", "gcp.availabilityZone": zone}),
    ] {
        let found = look(&enrichment, labels).await;
        assert_eq!(found.found_by, Some(FoundBy::Id), "{:?}", found.gaps);
        assert_eq!(found.instance.unwrap().name, "vm-11");
    }
    let calls = {
        let state = compute.state();
        (state.lists, state.gets)
    };
    assert_eq!(calls, (1, 1));
}

#[tokio::test]
async fn a_legacy_event_with_only_a_hardware_address_is_found_by_one_inventory() {
    let compute = filled();
    let enrichment = enrichment(&compute, &[]);
    for mac in ["42:01:0a:9c:00:04", "42:01:0a:80:00:05", "42:01:0a:80:00:06"] {
        let found = enrichment.enrich(&event(json!({}), mac)).await;
        assert_eq!(found.found_by, Some(FoundBy::Address), "{mac} {:?}", found.gaps);
    }
    assert_eq!(compute.state().lists, 25, "5,000 instances in pages of 200, once");
}

#[tokio::test]
async fn only_the_zones_that_were_set_are_asked() {
    let compute = filled();
    let zones = compute.state().zones.clone();
    let enrichment = enrichment(&compute, &[&zones[2], &zones[3]]);
    assert!(look(&enrichment, json!({"host.hostName": "vm-3"})).await.instance.is_some());
    let missed = look(&enrichment, json!({"host.hostName": "vm-4"})).await;
    assert_eq!(missed.gaps, ["Compute Engine has no instance with the name vm-4 in acme-prod"]);
    assert!(!missed.unsettled);
}

#[tokio::test]
async fn a_zone_that_is_not_there_costs_nothing_but_itself_and_is_named() {
    let compute = filled();
    let zones = compute.state().zones.clone();
    let enrichment = enrichment(&compute, &[&zones[2], "us-central1-z", &zones[3]]);
    for (host, mac) in [("vm-3", ""), ("vm-2", ""), ("", "42:01:0a:80:00:04")] {
        let found = enrichment.enrich(&event(json!({"host.hostName": host}), mac)).await;
        assert_eq!((found.instance.is_some(), found.gaps), (true, vec![]), "{host}{mac}");
    }
    let missed = look(&enrichment, json!({"host.hostName": "vm-4"})).await;
    let gap = "Compute Engine has no instance with the name vm-4 in acme-prod, and knows no zone us-central1-z (COMPUTE_ZONE)";
    assert_eq!((missed.gaps, missed.unsettled), (vec![gap.to_owned()], false));
}

#[tokio::test]
async fn a_project_or_zones_that_are_not_there_are_told_as_that() {
    let compute = filled();
    let found =
        look(&enrichment(&compute, &["us-central1-y", "us-central1-z"]), json!({"host.hostName": "vm-1"})).await;
    let gap = "Compute Engine knows no project acme-prod, or none of the zones us-central1-y, us-central1-z \
               (COMPUTE_PROJECT_ID, COMPUTE_ZONE)";
    assert_eq!((found.gaps, found.unsettled), (vec![gap.to_owned()], false));
    compute.state().failing = [(PROJECT.to_owned(), (refused(404, "notFound", "not found"), usize::MAX))].into();
    let found = look(&enrichment(&compute, &[]), json!({"host.hostName": "vm-1"})).await;
    assert_eq!(found.gaps, ["Compute Engine knows no project acme-prod (COMPUTE_PROJECT_ID)"]);
    // The API calls a zone invalid, too; that of an event may be any text.
    let trouble = refused(400, "invalid", "Invalid value for field 'zone': 'moon-base1-a'. Unknown zone.");
    compute.state().failing = [(PROJECT.to_owned(), (trouble, 1))].into();
    let labels = json!({"cloudProvider.name": "gcp", "host.hostName": "vm-1", "gcp.availabilityZone": "moon-base1-a"});
    let found = look(&enrichment(&compute, &[]), labels).await;
    let zone = compute.state().zones[1].clone();
    let gap = format!("the instance vm-1 of project acme-prod is in {zone}, and the event's was in moon-base1-a");
    assert_eq!(found.gaps, [gap]);
}

#[tokio::test]
async fn two_of_one_name_are_none_unless_the_place_tells_them_apart() {
    let compute = filled();
    let zone = compute.state().zones[29].clone();
    let twin = instance(PROJECT, &zone, "vm-7", 42, "10.0.0.9");
    compute.state().projects[0].2.push(twin);
    let enrichment = enrichment(&compute, &[]);
    let found = look(&enrichment, json!({"host.hostName": "vm-7"})).await;
    assert_eq!(found.gaps, ["2 instances answer to vm-7; which one it was is not known"]);
    let region = zone.rsplit_once('-').unwrap().0;
    for place in [json!({"gcp.location": region}), json!({"cloudProvider.name": "gcp", "gcp.location": region})] {
        let mut labels = place;
        labels["host.hostName"] = json!("vm-7");
        let found = look(&enrichment, labels).await;
        assert_eq!(found.instance.as_ref().map(|i| i.id.as_str()), Some("42"), "{:?}", found.gaps);
    }
}

#[tokio::test]
async fn of_several_of_one_name_the_address_in_the_hardware_address_tells_which() {
    let compute = filled();
    let zones = compute.state().zones.clone();
    for (zone, id, ip) in [(1, 111, "10.0.0.2"), (2, 112, "10.0.0.3"), (3, 113, "10.0.0.4"), (4, 114, "10.0.0.4")] {
        let twin = instance(PROJECT, &zones[zone], "dup", id, ip);
        compute.state().projects[0].2.push(twin);
    }
    let enrichment = enrichment(&compute, &[]);
    let gap = "4 instances answer to dup; which one it was is not known";
    for (mac, expected) in [
        ("42:01:0a:00:00:03", Some("112")),
        ("42:01:0a:00:00:02", Some("111")),
        // Two have it, nobody has it, there is none.
        ("42:01:0a:00:00:04", None),
        ("42:01:0a:00:00:09", None),
        ("", None),
    ] {
        let found = enrichment.enrich(&event(json!({"host.hostName": "dup"}), mac)).await;
        assert_eq!(found.instance.as_ref().map(|i| i.id.as_str()), expected, "{mac}: {:?}", found.gaps);
        assert_eq!(found.gaps, expected.map_or(vec![gap], |_| vec![]), "{mac}");
        assert_eq!(found.found_by, expected.map(|_| FoundBy::Name));
    }
    assert_eq!(compute.state().lists, 1, "what was found is asked for once");
}

/// Two projects, each with a `db-1`; the first also has a `win-1`, which is a node of the cluster `prod`.
pub fn two_projects() -> FakeCompute {
    let compute = FakeCompute::start();
    let mut state = compute.state();
    state.zones = vec!["us-central1-a".into(), "europe-west1-b".into()];
    let mut win = instance("acme", "us-central1-a", "win-1", 1005, "10.7.0.1");
    win["labels"] = json!({"goog-k8s-cluster-name": "prod"});
    let ours = vec![instance("acme", "us-central1-a", "db-1", 1002, "10.128.0.9"), win];
    let theirs = vec![instance("acme2", "europe-west1-b", "db-1", 1003, "10.1.0.9")];
    state.projects = vec![("acme".into(), "1".into(), ours), ("acme2".into(), "2".into(), theirs)];
    drop(state);
    compute
}

const OURS: &str = "42:01:0a:80:00:09";
const THEIRS: &str = "42:01:0a:01:00:09";

pub fn id(found: &Enriched) -> Option<&str> {
    found.instance.as_ref().map(|instance| instance.id.as_str())
}

#[tokio::test]
async fn a_name_is_not_certain_while_another_project_cannot_be_asked() {
    for (code, reason, lasting) in
        [(503, "backendError", false), (429, "rateLimitExceeded", false), (403, "forbidden", true)]
    {
        let compute = two_projects();
        compute.state().failing = [("acme2".to_owned(), (refused(code, reason, "no"), usize::MAX))].into();
        let enrichment = enrichment_of(&compute, &["acme", "acme2"], &[]);
        let host = json!({"host.hostName": "db-1"});
        let found = look(&enrichment, host.clone()).await;
        assert_eq!((id(&found), found.unsettled), (None, !lasting), "{code}: {:?}", found.gaps);
        assert!(found.gaps[0].contains("project acme2"), "{:?}", found.gaps);
        assert!(found.gaps[0].ends_with("whether it was db-1 of project acme is not known"), "{:?}", found.gaps);
        // The address tells: this one, or one that cannot be asked for now.
        let found = enrichment.enrich(&event(host.clone(), OURS)).await;
        assert_eq!(
            (id(&found), found.found_by, found.unsettled),
            (Some("1002"), Some(FoundBy::Name), !lasting),
            "{code}"
        );
        assert!(matches!(found.gaps.as_slice(), [gap] if gap.contains("project acme2")), "{:?}", found.gaps);
        let found = enrichment.enrich(&event(host.clone(), THEIRS)).await;
        assert_eq!((id(&found), found.gaps.len(), found.unsettled), (None, 1, !lasting), "{code}");
        // So do the project, in a label or in the host's full name, and the cluster.
        for labels in [
            json!({"host.hostName": "db-1", "gcp.projectName": "acme"}),
            json!({"host.hostName": "db-1.us-central1-a.c.acme.internal"}),
            json!({"host.hostName": "db-1.c.acme.internal"}),
        ] {
            let found = look(&enrichment, labels).await;
            assert_eq!(id(&found), Some("1002"), "{code}: {:?}", found.gaps);
        }
        let found = look(&enrichment, json!({"host.hostName": "win-1", "kubernetes.cluster.name": "prod"})).await;
        assert_eq!(id(&found), Some("1005"), "{code}: {:?}", found.gaps);
    }
}

/// No role helps there: what is to be done is told as `check` tells it, in the project that Google names.
#[tokio::test]
async fn an_api_that_is_switched_off_is_told_as_that() {
    let newer = json!({"error": {"code": 403, "status": "PERMISSION_DENIED", "message": "off", "details": [
        {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED",
         "metadata": {"consumer": "projects/777000"}}]}});
    for (answer, project) in
        [(refused(403, "accessNotConfigured", "off"), "acme"), (Answer::Json(403, newer), "777000")]
    {
        let compute = two_projects();
        compute.state().failing = [("acme".to_owned(), (answer, usize::MAX))].into();
        let found = look(&enrichment_of(&compute, &["acme"], &[]), json!({"host.hostName": "db-1"})).await;
        let gap = format!(
            "Compute Engine cannot be asked about project acme: its API is switched off \
             (gcloud services enable compute.googleapis.com --project {project})"
        );
        assert_eq!((found.gaps, found.unsettled), (vec![gap], false));
    }
}

#[tokio::test]
async fn a_refused_project_is_not_asked_about_for_every_event() {
    let compute = two_projects();
    compute.state().failing = [("acme2".to_owned(), (refused(403, "forbidden", "no"), usize::MAX))].into();
    let enrichment = enrichment_of(&compute, &["acme", "acme2"], &[]);
    for _ in 0..5 {
        assert_eq!(look(&enrichment, json!({"host.hostName": "db-1"})).await.gaps.len(), 1);
    }
    assert_eq!(compute.server.asked().len(), 2, "once each");
}

#[tokio::test]
async fn an_instance_without_the_address_of_the_hardware_address_is_another_one() {
    let compute = two_projects();
    let enrichment = enrichment_of(&compute, &["acme", "acme2"], &[]);
    let found = enrichment.enrich(&event(json!({"host.hostName": "win-1"}), "42:01:0a:63:00:01")).await;
    let gap = "the instance win-1 of project acme does not have the internal address 10.99.0.1 of the event's MAC";
    assert_eq!(id(&found), None);
    assert_eq!((found.gaps, found.unsettled), (vec![gap.to_owned()], false));
    // The machine that has it may be called otherwise.
    let found = enrichment.enrich(&event(json!({"host.hostName": "win-1"}), THEIRS)).await;
    assert_eq!((id(&found), found.found_by), (Some("1003"), Some(FoundBy::Address)), "{:?}", found.gaps);
    // An id is of one machine, whatever addresses it has now.
    let labels = json!({"gcp.instanceId": "1005", "gcp.projectName": "acme", "host.hostName": "win-1"});
    let found = enrichment.enrich(&event(labels, "42:01:0a:63:00:01")).await;
    assert_eq!((id(&found), found.found_by), (Some("1005"), Some(FoundBy::Id)), "{:?}", found.gaps);
}

#[tokio::test]
async fn an_inventory_that_lacks_a_zone_leaves_the_question_open() {
    let compute = filled();
    let zone = compute.state().zones[1].clone();
    compute.state().unreachable = vec![zone.clone()];
    let enrichment = enrichment(&compute, &[]);
    let missed = enrichment.enrich(&event(json!({}), "42:01:0a:80:00:02")).await;
    let told = format!("did not answer for {zone} of project acme");
    assert!(missed.unsettled && missed.gaps[0].contains(&told), "{:?}", missed.gaps);
    // Another network of the project may have the same addresses, in that zone.
    let doubtful = enrichment.enrich(&event(json!({}), "42:01:0a:80:00:03")).await;
    assert_eq!((doubtful.instance, doubtful.unsettled), (None, true), "{:?}", doubtful.gaps);
}

#[tokio::test]
async fn a_machine_made_after_the_inventory_is_missed_no_longer_than_any() {
    let compute = two_projects();
    let new = || compute.state().projects[0].2.push(instance("acme", "us-central1-a", "new", 77, "10.99.0.7"));
    let by_address = async |enrichment: &Enrichment| {
        let found = enrichment.enrich(&event(json!({}), "42:01:0a:63:00:07")).await;
        id(&found).map(str::to_owned)
    };
    let (soon, later) =
        (enrichment_keeping(&compute, &["acme"], &[], Duration::ZERO), enrichment_of(&compute, &["acme"], &[]));
    assert_eq!((by_address(&soon).await, by_address(&later).await, compute.state().lists), (None, None, 2));
    new();
    assert_eq!(by_address(&soon).await.as_deref(), Some("77"));
    assert_eq!(by_address(&later).await, None, "half a minute has not passed");
    assert_eq!(compute.state().lists, 3);
}

#[tokio::test]
async fn who_has_a_name_now_is_remembered_once_the_machine_is_found_otherwise() {
    let host = json!({"host.hostName": "win-1"});
    let by_id = json!({"host.hostName": "win-1", "gcp.instanceId": "1009", "gcp.projectName": "acme"});
    for (labels, mac, by) in [(host.clone(), "42:01:0a:63:00:07", FoundBy::Address), (by_id, "", FoundBy::Id)] {
        let compute = two_projects();
        let enrichment = enrichment_of(&compute, &["acme"], &[]);
        assert_eq!(id(&look(&enrichment, host.clone()).await), Some("1005"));
        compute.state().projects[0].2[1] = instance("acme", "us-central1-a", "win-1", 1009, "10.99.0.7");
        let found = enrichment.enrich(&event(labels, mac)).await;
        assert_eq!((id(&found), found.found_by), (Some("1009"), Some(by)), "{:?}", found.gaps);
        assert_eq!(id(&look(&enrichment, host.clone()).await), Some("1009"), "the one before is forgotten");
    }
}

#[tokio::test]
async fn the_node_s_name_is_asked_for_before_the_host_s() {
    let compute = two_projects();
    compute.state().projects[0].2.push(instance("acme", "us-central1-a", "gke-prod-n1", 1001, "10.128.0.5"));
    let enrichment = enrichment_of(&compute, &["acme", "acme2"], &[]);
    let on = |host: &str, node: &str| json!({"host.hostName": host, "kubernetes.node.name": node, "kubernetes.pod.name": "p", "kubernetes.namespace.name": "n"});
    let falco = json!({
        "rule": "R", "priority": "Notice", "output": "x", "time": "2024-05-17T09:06:09Z", "hostname": "falco-x7abc",
        "output_fields": {"k8s.pod.name": "web", "k8s.ns.name": "n", "k8smeta.node.name": "gke-prod-n1"},
    });
    let Element::Event { event: falco, .. } =
        normalize::delivery(falco.to_string().as_bytes(), chrono::DateTime::UNIX_EPOCH).unwrap().remove(0)
    else {
        panic!("not an event")
    };
    for (event, expected, by) in [
        (event(on("node1.corp.example", "gke-prod-n1"), ""), Some("1001"), FoundBy::NodeName),
        (event(on("win-1", "gke-prod-n1"), ""), Some("1001"), FoundBy::NodeName),
        (falco, Some("1001"), FoundBy::NodeName),
        // A cluster may call its nodes otherwise.
        (event(on("win-1", "worker-7"), ""), Some("1005"), FoundBy::Name),
        (
            event(json!({"host.hostName": "node1", "kubernetes.node.name": "gke-prod-n1"}), ""),
            Some("1001"),
            FoundBy::NodeName,
        ),
    ] {
        let found = enrichment.enrich(&event).await;
        assert_eq!((id(&found), found.found_by), (expected, Some(by)), "{:?}", found.gaps);
    }
    let found = look(&enrichment, on("node1.corp.example", "worker-7")).await;
    let gap =
        "Compute Engine has no instance with the name worker-7 or the host name node1.corp.example in acme, acme2";
    assert_eq!(found.gaps, [gap]);
}

/// The whole program: the finding waits for the project that did not answer, and is on the right machine.
#[tokio::test]
async fn a_project_that_fails_for_the_moment_delays_a_finding_instead_of_misplacing_it() {
    let compute = two_projects();
    let busy = json!({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}});
    let busy = Answer::With(503, vec![("retry-after", "0".to_owned())], busy);
    compute.state().failing = [("acme2".to_owned(), (busy, 1))].into();
    let settings = [("COMPUTE_PROJECT_ID", "acme,acme2"), ("COMPUTE_ENDPOINT", compute.server.url.as_str())];
    let mut world = World::with(&settings).await;
    let mut one = crate::world::event(1);
    one["labels"] = json!({"host.hostName": "db-1"});
    one["hostMac"] = json!(THEIRS);
    assert_eq!(world.sends(one.to_string()).await.0, 200);
    world.settle().await;
    let resource = "//compute.googleapis.com/projects/acme2/zones/europe-west1-b/instances/1003";
    assert_eq!(world.findings().await[0]["resourceName"], resource);
    world.stop().await;
}

#[tokio::test]
async fn a_zone_that_does_not_answer_leaves_the_question_open() {
    let compute = filled();
    let zone = compute.state().zones[5].clone();
    compute.state().unreachable = vec![zone];
    let enrichment = enrichment(&compute, &[]);
    // The zone may have one of that name, too, unless the address tells.
    let doubtful = look(&enrichment, json!({"host.hostName": "vm-6"})).await;
    assert_eq!((doubtful.instance, doubtful.unsettled), (None, true));
    assert!(doubtful.gaps[0].ends_with("whether it was vm-6 of project acme-prod is not known"), "{:?}", doubtful.gaps);
    let sure = enrichment.enrich(&event(json!({"host.hostName": "vm-6"}), "42:01:0a:80:00:07")).await;
    assert_eq!((sure.found_by, sure.gaps.len()), (Some(FoundBy::Name), 0), "{:?}", sure.gaps);
    let open = look(&enrichment, json!({"host.hostName": "vm-5"})).await;
    assert!(open.unsettled && open.gaps[0].contains("did not answer"), "{:?}", open.gaps);
    // It says nothing of what was elsewhere; a place that is neither zone nor region is everywhere.
    let located =
        |host: &str, place: &str| json!({"host.hostName": host, "cloudProvider.name": "gcp", "gcp.location": place});
    for (host, place, instance, unsettled) in [
        ("vm-6", "region0-x2", true, false),
        ("vm-6", "region0-x2-a", true, false),
        ("vm-none", "region0-x2", false, false),
        ("vm-6", "global", false, true),
        ("vm-5", "region0-x1", false, true),
    ] {
        let found = look(&enrichment, located(host, place)).await;
        assert_eq!((found.instance.is_some(), found.unsettled), (instance, unsettled), "{place}: {:?}", found.gaps);
    }
    let elsewhere = event(json!({"cloudProvider.name": "gcp", "gcp.location": "region0-x2"}), "42:01:0a:80:00:07");
    let found = enrichment.enrich(&elsewhere).await;
    assert_eq!((found.found_by, found.gaps.len()), (Some(FoundBy::Address), 0), "{:?}", found.gaps);
    compute.state().unreachable.clear();
    assert!(
        look(&enrichment, json!({"host.hostName": "vm-5"})).await.instance.is_some(),
        "it was not remembered as a miss"
    );
}

#[tokio::test]
async fn a_used_up_quota_stops_the_asking_for_a_while() {
    for code in [403, 429] {
        let compute = filled();
        compute.state().trouble = vec![refused(code, "rateLimitExceeded", "Rate Limit Exceeded")].into();
        let enrichment = enrichment(&compute, &[]);
        for n in 1..20 {
            let found = look(&enrichment, json!({"host.hostName": format!("vm-{n}")})).await;
            assert!(found.unsettled && found.gaps[0].contains("quota"), "{:?}", found.gaps);
            // An earlier look would find the pause instead of the instance.
            assert!(found.again_after.is_some_and(|wait| wait > Duration::from_secs(25)), "{:?}", found.again_after);
        }
        assert_eq!(compute.server.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_token_that_is_not_accepted_is_no_missing_role() {
    let compute = filled();
    compute.state().trouble = vec![refused(401, "authError", "Invalid Credentials")].into();
    let found = look(&enrichment(&compute, &[]), json!({"host.hostName": "vm-1"})).await;
    assert_eq!(found.gaps, ["Compute Engine does not accept our token for project acme-prod"]);
    assert!(found.unsettled && found.again_after.is_some_and(|wait| wait <= Duration::from_secs(5)));
}

#[tokio::test]
async fn a_missing_permission_is_a_gap_that_names_the_role() {
    let compute = FakeCompute::start();
    let enrichment = enrichment(&compute, &[]);
    let found = look(&enrichment, json!({"host.hostName": "vm-1"})).await;
    assert!(found.gaps[0].contains("roles/compute.viewer") && !found.unsettled, "{:?}", found.gaps);
}

#[tokio::test]
async fn a_hang_or_garbage_costs_no_more_than_the_deadline() {
    for trouble in [Answer::Hang, Answer::Text(200, "<html>"), Answer::Text(502, "bad gateway")] {
        let compute = filled();
        compute.state().trouble = vec![trouble].into();
        let enrichment = enrichment(&compute, &[]);
        let found = look(&enrichment, json!({"host.hostName": "vm-1"})).await;
        assert!(found.instance.is_none() && found.unsettled, "{:?}", found.gaps);
    }
}

#[tokio::test]
async fn an_event_of_another_cloud_or_project_is_not_asked_about() {
    let compute = filled();
    let enrichment = enrichment(&compute, &[]);
    let found = look(&enrichment, json!({"cloudProvider.name": "aws", "host.hostName": "vm-1"})).await;
    assert_eq!(found, Enriched::default());
    let found = look(&enrichment, json!({"gcp.projectId": "999", "host.hostName": "vm-1"})).await;
    assert_eq!(found.gaps, ["the project 999 is not among those of COMPUTE_PROJECT_ID"]);
    assert_eq!(compute.state().lists, 0);
}

/// The fake says what the real service says, as far as gcloud can tell.
#[tokio::test(flavor = "multi_thread")]
async fn gcloud_lists_the_same_instances_from_the_fake() {
    let compute = filled();
    compute.state().projects[0].2.truncate(700);
    let url = format!("{}/compute/v1/", compute.server.url);
    let folder = tempfile::tempdir().unwrap();
    let run = tokio::task::spawn_blocking(move || {
        std::process::Command::new("gcloud")
            .args([
                "compute",
                "instances",
                "list",
                "--project",
                PROJECT,
                "--format",
                "value(name)",
                "--filter",
                "name=vm-612",
            ])
            .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", url)
            .env("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
            .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
            .env("CLOUDSDK_CONFIG", folder.path())
            .output()
    });
    let output = match run.await.unwrap() {
        Ok(output) => output,
        Err(error) if std::env::var_os("CI").is_none_or(|ci| ci != "true") => {
            eprintln!("not run: gcloud is not here ({error})");
            return;
        }
        Err(error) => panic!("gcloud is needed in CI: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(said.trim(), "vm-612", "{}", String::from_utf8_lossy(&output.stderr));
    let asked = compute.server.asked();
    assert!(asked.iter().any(|asked| asked.path.ends_with("/aggregated/instances")), "{asked:?}");
    assert!(asked.len() >= 2, "over more than one page");
}

/// Falco sends the name of its own machine with everything that its plugins read.
#[tokio::test]
async fn the_machine_that_only_read_an_event_is_not_looked_up() {
    let compute = filled();
    let enrichment = enrichment(&compute, &[]);
    let of_falco = |source: &str, fields: Value| {
        read(
            &json!({"rule": "R", "priority": "Warning", "output": "x", "source": source, "hostname": "gke-prod-pool-1",
            "time": "2025-05-18T10:18:15Z", "output_fields": fields}),
        )
    };
    for source in ["k8s_audit", "okta", "aws_cloudtrail", "gcp_auditlog", "gitlab", "nginx", "what_comes_next"] {
        let found = enrichment.enrich(&of_falco(source, json!({"x.user": "eve"}))).await;
        assert_eq!(found, Enriched::default(), "{source}");
    }
    for labels in [json!({"aws.accountId": "1"}), json!({"azure.location": "westeurope"})] {
        let mut labels = labels;
        labels["host.hostName"] = "gke-prod-pool-1".into();
        assert_eq!(look(&enrichment, labels).await, Enriched::default(), "it is a machine of another cloud");
    }
    assert_eq!(compute.server.asked().len(), 0);
    let found = enrichment.enrich(&of_falco("syscall", json!({"proc.name": "sh"}))).await;
    assert_eq!(found.instance.map(|instance| instance.name).as_deref(), Some("gke-prod-pool-1"));
}
