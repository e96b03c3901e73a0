//! Machines that are not Google's, and what contradicts a look-up: no instance is taken for them, and the gap says why.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use sysdig_scc::config::enrich::Keep;
use sysdig_scc::enrich::compute::{ComputeEnricher, Where};
use sysdig_scc::enrich::{Enrichment, FoundBy};
use sysdig_scc::google::compute::Compute;
use sysdig_scc::google::resource_manager::ResourceManager;
use sysdig_scc::google::{Client, HttpSettings, TokenSource};
use tracing_subscriber::layer::SubscriberExt;

use crate::enrich::{enrichment_of, event, id, look, two_projects};
use crate::fakes::compute::{FakeCompute, instance, refused};
use crate::fakes::lines::Lines;
use crate::fakes::loopback::Answer;
use crate::world::World;

const VMWARE: &str = "00:50:56:04:07:c1";

/// Beside the others: `custom`, which was made with a host name of its own.
fn filled() -> FakeCompute {
    let compute = two_projects();
    let mut custom = instance("acme", "us-central1-a", "custom", 1006, "10.7.0.2");
    custom["hostname"] = json!("DB-1.corp.example.com");
    compute.state().projects[0].2.push(custom);
    compute
}

#[tokio::test]
async fn a_machine_of_another_place_is_no_instance_of_its_name() {
    let compute = filled();
    let enrichment = enrichment_of(&compute, &["acme", "acme2"], &[]);
    let host = |name: &str| json!({"host.hostName": name});
    for (labels, mac, expected) in [
        (host("win-1"), "", Some("1005")),
        (host("win-1"), "02:42:ac:11:00:02", Some("1005")),
        (host("win-1.us-central1-a.c.acme.internal"), "", Some("1005")),
        (host("win-1"), VMWARE, None),
        (host("win-1.dc1.corp.example.com"), "", None),
        (host("win-1.ec2.internal"), "", None),
        (json!({"kubernetes.node.name": "win-1.ec2.internal"}), "", None),
        // Its own hardware address says more than the domain that somebody gave it.
        (host("win-1.dc1.corp.example.com"), "42:01:0a:07:00:01", Some("1005")),
        (json!({"gcp.instanceName": "win-1", "gcp.projectName": "acme"}), VMWARE, Some("1005")),
        // The cloud's name, or the node's, says whose the address is: another network has it, too.
        (json!({"host.hostName": "vm-x"}), "42:01:0a:07:00:01", Some("1005")),
        (json!({"gcp.instanceName": "their-vm"}), "42:01:0a:07:00:01", None),
        (json!({"gcp.instanceName": "win-1"}), "42:01:0a:07:00:01", Some("1005")),
        (json!({"kubernetes.node.name": "gke-other-1"}), "42:01:0a:07:00:01", None),
        (host("gke-other-pool-1af4d30b-716h"), "42:01:0a:07:00:01", None),
        (host("gk3-other-pool-2-8a1b2c3d-x7k2.c.acme.internal"), "42:01:0a:07:00:01", None),
        (json!({"kubernetes.cluster.name": "other", "host.hostName": "vm-x"}), "42:01:0a:07:00:01", None),
        // That is its host name, and no other's.
        (host("db-1.CORP.example.com"), "", Some("1006")),
        (host("db-1.corp.example.com"), VMWARE, None),
    ] {
        let found = enrichment.enrich(&event(labels.clone(), mac)).await;
        assert_eq!(id(&found), expected, "{labels} {mac}: {:?}", found.gaps);
        assert_eq!(found.gaps.len(), usize::from(expected.is_none()), "{labels} {mac}: {:?}", found.gaps);
    }
    assert_eq!(compute.state().lists, 14, "six names, two also or only in the one project, and one inventory of each");
}

#[tokio::test]
async fn the_gap_says_what_contradicted() {
    let compute = filled();
    let enrichment = enrichment_of(&compute, &["acme"], &[]);
    let gcp = |labels: Value| {
        let mut labels = labels;
        (labels["cloudProvider.name"], labels["gcp.projectName"]) = (json!("gcp"), json!("acme"));
        labels
    };
    for (labels, mac, expected) in [
        (
            gcp(json!({"gcp.instanceId": "999", "host.hostName": "win-1"})),
            "",
            "Compute Engine has no instance with the id 999 in acme; whoever has its name now is another one",
        ),
        (gcp(json!({"gcp.instanceId": "999"})), "", "Compute Engine has no instance with the id 999 in acme"),
        (
            gcp(json!({"host.hostName": "win-1", "gcp.location": "europe-west4"})),
            "",
            "the instance win-1 of project acme is in us-central1-a, and the event's was in europe-west4",
        ),
        (
            json!({"host.hostName": "win-1.europe-west4-a.c.acme.internal"}),
            "",
            "the instance win-1 of project acme is in us-central1-a, and the event's was in europe-west4-a",
        ),
        (
            json!({"host.hostName": "win-1"}),
            VMWARE,
            "the instance win-1 of project acme is not the event's: \
             the event's MAC 00:50:56:04:07:c1 is none of Compute Engine's",
        ),
        (
            json!({"host.hostName": "win-1.corp.example.com"}),
            "",
            "Compute Engine has no instance with the host name win-1.corp.example.com in acme",
        ),
    ] {
        let found = enrichment.enrich(&event(labels.clone(), mac)).await;
        assert_eq!((id(&found), &found.gaps), (None, &vec![expected.to_owned()]), "{labels}");
    }
    // Zero is nobody's number: the name is asked for.
    let found = look(&enrichment, gcp(json!({"gcp.instanceId": "0", "host.hostName": "win-1"}))).await;
    assert_eq!((id(&found), found.found_by), (Some("1005"), Some(FoundBy::Name)), "{:?}", found.gaps);
}

#[tokio::test]
async fn a_project_whose_number_nobody_says_is_a_gap() {
    let role = "Compute Engine refuses to show the project acme (roles/compute.viewer is needed there)";
    let down = "Compute Engine could not be asked about project acme";
    let off = "Compute Engine cannot be asked about project acme: its API is switched off \
               (gcloud services enable compute.googleapis.com --project acme)";
    for (code, reason, why, transient) in
        [(403, "forbidden", role, false), (403, "accessNotConfigured", off, false), (503, "backendError", down, true)]
    {
        let compute = filled();
        compute.state().failing = [("acme".to_owned(), (refused(code, reason, "no"), usize::MAX))].into();
        let enrichment = enrichment_of(&compute, &["acme", "acme2"], &[]);
        let found = look(&enrichment, json!({"gcp.projectName": "acme"})).await;
        assert_eq!(found.gaps, [format!("the number of project acme could not be looked up: {why}")]);
        assert_eq!((found.project, found.unsettled), (None, transient), "{code}");
    }
}

/// An event of another project may have a machine of the same name.
#[tokio::test]
async fn while_our_projects_have_no_numbers_only_an_id_tells_that_a_machine_is_ours() {
    let role = "Compute Engine refuses to show the project acme (roles/compute.viewer is needed there); \
                Compute Engine refuses to show the project acme2 (roles/compute.viewer is needed there)";
    let down =
        "Compute Engine could not be asked about project acme; Compute Engine could not be asked about project acme2";
    let nameless = [(refused(403, "forbidden", "no"), role, false), (refused(503, "backendError", "no"), down, true)];
    for (answer, why, transient) in nameless {
        let compute = filled();
        compute.state().nameless = Some(answer);
        let enrichment = enrichment_of(&compute, &["acme", "acme2"], &[]);
        for (labels, mac) in [(json!({"host.hostName": "win-1"}), ""), (json!({}), "42:01:0a:07:00:01")] {
            let mut labels = labels;
            labels["gcp.projectId"] = json!("333333333333");
            let found = enrichment.enrich(&event(labels, mac)).await;
            assert_eq!((id(&found), found.unsettled), (None, transient), "{:?}", found.gaps);
            let gap = format!("whether the project 333333333333 is acme or acme2 could not be looked up: {why}");
            assert_eq!(found.gaps, [gap]);
            assert_eq!(found.again_after.is_some(), transient);
        }
        let found = look(&enrichment, json!({"gcp.projectId": "1", "gcp.instanceId": "1005"})).await;
        assert_eq!((id(&found), found.gaps.len()), (Some("1005"), 0), "{:?}", found.gaps);
        // One id is not another's number.
        let found = look(&enrichment, json!({"gcp.projectName": "other", "host.hostName": "win-1"})).await;
        assert_eq!(found.gaps, ["the project other is not among those of COMPUTE_PROJECT_ID"]);
    }
}

/// Or else nobody learns which role is missing: events that name the project by its number are on no machine.
#[tokio::test]
async fn a_project_that_may_not_be_read_is_told_once_in_the_log() {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::registry().with(lines.printed());
    let _guard = tracing::subscriber::set_default(subscriber);
    let compute = filled();
    compute.state().nameless = Some(refused(403, "forbidden", "no"));
    let enrichment = enrichment_of(&compute, &["acme"], &[]);
    for _ in 0..5 {
        look(&enrichment, json!({"gcp.projectId": "333333333333", "host.hostName": "win-1"})).await;
    }
    let log = lines.text();
    let told: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert!(told.len() == 1 && told[0].contains("roles/compute.viewer is needed there"), "{log}");
}

/// A project's number adds to an instance that is known, and is not waited for long, nor by every event.
#[tokio::test]
async fn an_instance_stays_when_its_project_s_number_does_not_come() {
    let compute = filled();
    compute.state().nameless = Some(Answer::Hang);
    let enrichment = enrichment_of(&compute, &["acme"], &[]);
    let found = look(&enrichment, json!({"host.hostName": "win-1"})).await;
    assert_eq!((id(&found), found.gaps.len(), found.unsettled), (Some("1005"), 0, false));
    compute.state().nameless = Some(refused(503, "backendError", "no"));
    let asked_for = |what: &str| compute.server.asked().iter().filter(|asked| asked.path.ends_with(what)).count();
    let manager = FakeCompute::start();
    manager.state().trouble = std::iter::repeat_n(refused(503, "backendError", "no"), 50).collect();
    let client = |url: &str| Client::new(HttpSettings::new(url.parse().unwrap()), TokenSource::none()).unwrap();
    let keep = Keep { found: Duration::from_secs(600), missed: Duration::from_secs(30), entries: 100 };
    let place = Where { projects: vec!["acme".into()], zones: Vec::new(), keep };
    let names = ResourceManager::new(client(&manager.server.url));
    let enricher = ComputeEnricher::new(Compute::new(client(&compute.server.url)), Some(names), place);
    let enrichment = Enrichment::new(vec![Arc::new(enricher)], Duration::from_secs(5));
    let before = asked_for("/projects/acme");
    for _ in 0..5 {
        assert_eq!(id(&look(&enrichment, json!({"host.hostName": "win-1"})).await), Some("1005"));
    }
    assert_eq!((asked_for("/projects/acme") - before, manager.server.asked().len()), (1, 1), "once of each");
}

/// The whole program: one machine has one name, and an event of a project is on the project.
#[tokio::test]
async fn a_finding_is_on_the_machine_as_compute_engine_names_it_else_on_its_project() {
    let compute = filled();
    let settings = [("COMPUTE_PROJECT_ID", "acme,acme2"), ("COMPUTE_ENDPOINT", compute.server.url.as_str())];
    let mut world = World::with(&settings).await;
    let machine = "//compute.googleapis.com/projects/acme/zones/us-central1-a/instances/1005";
    let project = "//cloudresourcemanager.googleapis.com/projects/1";
    let full = |project: &str, zone: &str| json!({"gcp.projectId": project, "gcp.availabilityZone": zone, "gcp.instanceId": "1005", "gcp.instanceName": "win-1"});
    let cases = [
        (full("1", "us-central1-a"), machine),
        (full("acme", "us-central1-a"), machine),
        (full("1", "europe-west1-b"), machine),
        (json!({"host.hostName": "win-1"}), machine),
        (json!({"gcp.projectId": "acme"}), project),
        (json!({"gcp.projectName": "acme", "host.hostName": "nope"}), project),
        (json!({"gcp.projectId": "1", "host.hostName": "nope"}), project),
        (
            json!({"gcp.projectId": "1", "gcp.location": "us-central1", "kubernetes.cluster.name": "prod"}),
            "//container.googleapis.com/projects/acme/locations/us-central1/clusters/prod",
        ),
    ];
    for (number, (labels, _)) in cases.iter().enumerate() {
        let mut one = crate::world::event(number as u64);
        one["labels"] = labels.clone();
        assert_eq!(world.sends(one.to_string()).await.0, 200);
    }
    world.settle().await;
    let findings = world.findings().await;
    for (number, (labels, expected)) in cases.iter().enumerate() {
        let id = crate::world::event(number as u64)["id"].as_str().unwrap().to_owned();
        let found = findings.iter().find(|found| found["name"].as_str().unwrap().ends_with(&id)).unwrap();
        assert_eq!(found["resourceName"], *expected, "{labels}: {}", found["sourceProperties"]);
    }
    world.stop().await;
}
