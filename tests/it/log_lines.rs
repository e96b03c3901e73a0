//! What the log says: how it began, each trouble once, and nothing that a stranger showed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sysdig_scc::outbox::sqlite::{Admin, Selection};

use crate::recovery::Process;
use crate::world::{World, batch};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// How many events have failed at least once.
fn failed(world: &World) -> usize {
    let all = Selection { limit: 1_000, ..Selection::default() };
    Admin::open(&world.outbox).unwrap().list(&all).unwrap().iter().filter(|row| row.attempts > 0).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_that_cannot_be_had_are_nobodys_refusal_and_their_address_is_told_without_credentials() {
    let mut world = World::new().await;
    world.stop().await;
    let process = Process::with(
        &world,
        &[
            ("PUBSUB_PUSH_AUDIENCE", "https://connector.example"),
            ("PUBSUB_PUSH_ACCOUNTS", "push@acme.iam.gserviceaccount.com"),
            ("PUBSUB_PUSH_JWKS_URL", "http://keys:hunter2@127.0.0.1:1/certs?key=APIKEY123"),
        ],
    );
    let part = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
    let token = format!("{}.{}.AAAA", part(json!({"alg": "RS256", "kid": "k1"})), part(json!({})));
    let request = world.http.post(format!("{}/pubsub/push", process.url)).bearer_auth(token);
    assert_eq!(request.body("{}").send().await.unwrap().status(), 503);
    let log = process.ends();
    assert!(log.contains("http://127.0.0.1:1/certs"), "{log}");
    for hidden in ["hunter2", "APIKEY123", "were refused"] {
        assert!(!log.contains(hidden), "{hidden}: {log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trouble_is_told_once_and_a_request_names_its_trace() {
    let mut world = World::new().await;
    world.stop().await;
    world.scc_fails(json!({"next": 1_000_000, "status": 503})).await;
    let process = Process::with(&world, &[("PROJECT_ID", "acme")]);
    world.url.clone_from(&process.url);
    let begun: Value = process.before.iter().find(|line| line["message"] == "sysdig-scc has started").unwrap().clone();
    assert_eq!(begun["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(begun["outbox"], world.outbox.display().to_string());
    assert!(begun["source"].as_str().unwrap().starts_with("organizations/"), "{begun}");

    assert_eq!(world.sends(batch(0..60)).await.0, 200);
    for _ in 0..5 {
        for door in ["events", "pubsub/push"] {
            let request = world.http.post(format!("{}/{door}", world.url)).bearer_auth("what-they-showed");
            let request = request.header("traceparent", format!("00-{TRACE}-b7ad6b7169203331-01"));
            assert!(request.body("[]").send().await.unwrap().status().is_client_error());
        }
    }
    let all_failed = async {
        while failed(&world) < 60 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), all_failed).await.expect("each is tried");
    let log = process.ends();
    assert!(!log.contains("what-they-showed"), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told = |text: &str| {
        let holds = |line: &&Value| line["message"].as_str().is_some_and(|message| message.contains(text));
        lines.iter().filter(holds).collect::<Vec<_>>()
    };
    let deliveries = told("tried again");
    assert_eq!(deliveries.len(), 1, "{log}");
    assert!(deliveries[0].get("logging.googleapis.com/trace").is_none(), "it is of no request");
    let strangers = told("were refused");
    assert_eq!(strangers.len(), 2, "one a door: {log}");
    for line in strangers {
        assert_eq!((&line["address"], &line["severity"]), (&json!("127.0.0.1"), &json!("WARNING")));
        assert_eq!(line["logging.googleapis.com/trace"], format!("projects/acme/traces/{TRACE}"));
        assert_eq!(line["logging.googleapis.com/spanId"], "b7ad6b7169203331");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_refused_is_told_without_what_it_holds() {
    let mut world = World::new().await;
    world.stop().await;
    let process = Process::with(&world, &[]);
    world.url.clone_from(&process.url);
    for _ in 0..2 {
        assert_eq!(world.sends("what-they-said, and no JSON").await.0, 400);
    }
    let log = process.ends();
    assert!(!log.contains("what-they-said"), "{log}");
    let lines = log.lines().filter(|line| line.contains("were refused")).collect::<Vec<_>>();
    assert!(matches!(lines[..], [line] if line.contains("the body is not JSON") && line.contains("WARNING")), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_the_quota_is_told_in_the_log_and_at_readyz() {
    let mut world = World::new().await;
    world.stop().await;
    world.scc_fails(json!({"next": 1_000_000, "status": 429, "retry_after": 40})).await;
    let process = Process::with(&world, &[]);
    world.url.clone_from(&process.url);
    assert_eq!(world.sends(batch(0..60)).await.0, 200);
    let readyz = || async {
        let answer = world.http.get(format!("{}/readyz", world.url)).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let told = async {
        loop {
            let (status, report) = readyz().await;
            assert_eq!(status, 200, "{report}");
            if report["delivery"].as_str().is_some_and(|delivery| delivery.starts_with("waiting: ")) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.expect("readiness tells it");
    let log = process.ends();
    let lines = log.lines().filter(|line| line.contains("wait for their quota") && line.contains("INFO"));
    assert_eq!(lines.count(), 1, "{log}");
}
