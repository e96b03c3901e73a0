//! Behind the outbox: Security Command Center fails in every way, and each event still ends exactly once.

use std::time::Duration;

use serde_json::json;

use crate::fakes::loopback::{Answer, Loopback};
use crate::world::{TOKEN, World, batch, event};

#[tokio::test]
async fn errors_that_pass_are_waited_out() {
    let world = World::new().await;
    for fault in [
        json!({"next": 2, "status": 500}),
        json!({"next": 2, "status": 503}),
        json!({"next": 1, "status": 429, "retry_after": 1}),
        json!({"next": 1, "reset": true}),
        json!({"next": 1, "truncate": true}),
        json!({"next": 1, "garbage": true}),
        json!({"next": 1, "reset": true, "after": true}),
    ] {
        world.scc_fails(fault).await;
    }
    world.sends(batch(0..30)).await;
    let stats = world.settle().await;
    assert_eq!((stats.closed["delivered"], stats.closed["parked"]), (30, 0));
    assert_eq!(world.findings().await.len(), 30);
}

#[tokio::test]
async fn a_refused_finding_is_parked_with_its_reason_and_the_rest_flows_on() {
    let world = World::new().await;
    world.scc_fails(json!({"next": 1, "status": 400})).await;
    world.sends(batch(0..5)).await;
    let stats = world.settle().await;
    assert_eq!((stats.closed["delivered"], stats.closed["parked"]), (4, 1));
}

#[tokio::test]
async fn a_missing_permission_holds_the_queue_and_parks_nothing() {
    let world = World::new().await;
    world.scc_fails(json!({"next": 1000, "status": 403})).await;
    world.sends(batch(0..5)).await;
    let held = async {
        while !world.get("/readyz").await.1.contains("held") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), held).await.expect("it says that it is held");
    assert_eq!(world.get("/readyz").await.0, 200, "events are still safe here");
    world.scc_recovers().await;
    let stats = world.settle().await;
    assert_eq!((stats.closed["delivered"], stats.closed["parked"]), (5, 0));
}

#[tokio::test]
async fn an_analysts_triage_outlives_a_repeated_delivery() {
    let world = World::with(&[("OUTBOX_KEEP_CLOSED_HOURS", "0")]).await;
    world.sends(event(1).to_string()).await;
    world.settle().await;
    let name = world.findings().await[0]["name"].as_str().unwrap().to_owned();
    let closed = world
        .http
        .post(format!("{}/v2/{name}:setState", world.scc.url()))
        .json(&json!({"state": "INACTIVE"}))
        .send()
        .await
        .unwrap();
    assert!(closed.status().is_success());
    // Another connector without memory of the first delivery.
    let other = World::with(&[("SCC_ENDPOINT", &world.scc.url())]).await;
    other.sends(event(1).to_string()).await;
    assert_eq!(other.settle().await.closed["delivered"], 1);
    let findings = world.findings().await;
    assert_eq!((findings.len(), findings[0]["state"].as_str()), (1, Some("INACTIVE")));
}

#[tokio::test]
async fn what_a_stop_leaves_behind_is_delivered_after_the_next_start() {
    let mut world = World::new().await;
    world.scc_fails(json!({"next": 100_000, "status": 503})).await;
    world.sends(batch(0..50)).await;
    world.stop().await;
    let left = world.ledger();
    assert_eq!((left.waiting, left.leased), (50, 0), "leases are given back");
    world.scc_recovers().await;
    world.start(&[]).await;
    world.settle().await;
    assert_eq!(world.findings().await.len(), 50);
}

#[tokio::test]
async fn an_event_whose_labels_name_its_machine_waits_for_no_look_up() {
    let busy = || Answer::With(503, vec![("Retry-After", "300".into())], json!({"error": {"code": 503}}));
    let compute = Loopback::start(move |_| busy());
    let world = World::with(&[("COMPUTE_PROJECT_ID", "acme-prod"), ("COMPUTE_ENDPOINT", &compute.url)]).await;
    world.sends(include_str!("../data/sysdig/forwarder_single.json")).await;
    let stats = world.settle().await;
    assert_eq!(stats.closed["delivered"], 1);
    let found = world.findings().await.remove(0);
    assert_eq!(found["sourceProperties"]["resource_resolution"], "instance_from_labels");
    assert!(!compute.asked().is_empty(), "what else it knows is asked once");
}

#[tokio::test]
async fn the_token_of_the_senders_reaches_no_finding() {
    let world = World::new().await;
    let mut one = event(1);
    one["content"]["output"] = json!(format!("A shell was spawned (command=echo {TOKEN})"));
    one["content"]["fields"]["proc.cmdline"] = json!(format!("echo {TOKEN}"));
    assert_eq!(world.sends(one.to_string()).await.0, 200);
    world.settle().await;
    let found = world.findings().await.remove(0);
    assert!(!found.to_string().contains(TOKEN), "{found}");
    assert_eq!(found["processes"][0]["args"], json!(["[redacted]"]));
}
