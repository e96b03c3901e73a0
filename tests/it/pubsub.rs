//! Shielded VM reports by Pub/Sub: pushed and pulled, also by the real emulator.

use std::sync::Arc;

use actix_web::test::{TestRequest, call_service, init_service};
use actix_web::{App, web};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sysdig_scc::google::TokenSource;
use sysdig_scc::google::pubsub::{Client, Subscription};
use sysdig_scc::outbox::Sqlite;
use sysdig_scc::outbox::sqlite::Keep;
use sysdig_scc::receive::Intake;
use sysdig_scc::receive::entries::Entries;
use sysdig_scc::receive::pubsub::{Guard, PushDoor};
use sysdig_scc::receive::room::{LARGE, Rooms};
use sysdig_scc::receive::strangers::Strangers;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fakes::emulator::Emulator;
use crate::world::World;

const OPEN: (&str, &str) = ("PUBSUB_PUSH_UNVERIFIED", "true");

pub fn sample(name: &str) -> Value {
    let path = format!("{}/tests/data/integrity/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let mut entry: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    // Stories date entries anew, and nothing happens after Logging has received it.
    entry.as_object_mut().unwrap().remove("receiveTimestamp");
    entry
}

pub fn wrapped(data: &[u8]) -> String {
    json!({"message": {"data": STANDARD.encode(data), "messageId": "7", "message_id": "7", "publishTime": "2026-11-20T10:11:15Z",
        "attributes": {"logging.googleapis.com/timestamp": "2026-11-20T10:11:12.902113871Z"}},
        "subscription": "projects/demo-int/subscriptions/push1", "deliveryAttempt": 5})
    .to_string()
}

pub async fn push(world: &World, body: impl Into<reqwest::Body>) -> u16 {
    world.http.post(format!("{}/pubsub/push", world.url)).body(body).send().await.unwrap().status().as_u16()
}

pub async fn push_entry(world: &World, entry: &Value) {
    assert_eq!(push(world, wrapped(entry.to_string().as_bytes())).await, 204);
    world.settle().await;
}

#[tokio::test]
async fn events_that_come_by_pubsub_are_the_same_as_at_the_webhook() {
    let mut world = World::with(&[OPEN]).await;
    let sysdig = crate::world::event(1);
    let falco = json!({"output": "11:06:09.8: Notice A shell",
        "output_fields": {"evt.time": 1_726_547_969_874_686_373_u64},
        "priority": "Notice", "rule": "Terminal shell", "source": "syscall", "hostname": "node-1"});
    // What a log sink sends of Falco's own output on GKE.
    let logged = json!({"insertId": "i", "logName": "projects/p/logs/stdout", "resource": {"type": "k8s_container"},
        "timestamp": "2026-11-20T08:00:01.8Z", "jsonPayload": falco});
    for event in [&sysdig, &falco, &logged] {
        assert_eq!(push(&world, wrapped(event.to_string().as_bytes())).await, 204);
    }
    for event in [&sysdig, &falco] {
        assert_eq!(world.sends(event.to_string()).await.1["duplicates"], 1);
    }
    let stats = world.settle().await;
    assert_eq!((stats.closed["delivered"], stats.closed["duplicate"], stats.closed["ignored"]), (2, 3, 0));
    world.stop().await;
}

#[tokio::test]
async fn a_pushed_report_becomes_one_finding_however_often_and_in_whatever_wrapping_it_comes() {
    let world = World::with(&[OPEN]).await;
    let report = sample("late_failed_pcr4_changed_pcr14_new").to_string();
    assert_eq!(push(&world, wrapped(report.as_bytes())).await, 204);
    assert_eq!(push(&world, wrapped(report.as_bytes())).await, 204);
    assert_eq!(push(&world, report).await, 204, "without a wrapper");
    let stats = world.settle().await;
    assert_eq!(stats.closed["duplicate"], 2);
    let findings = world.findings().await;
    assert_eq!(findings.len(), 1);
    let finding = &findings[0];
    assert_eq!(finding["category"], "Shielded VM: Late Boot Integrity Failure");
    assert_eq!(
        finding["resourceName"],
        "//compute.googleapis.com/projects/demo-int/zones/europe-west3-b/instances/4417382950617283945"
    );
    let line = &finding["logEntries"][0]["cloudLoggingEntry"];
    assert_eq!(line["insertId"], "6");
    assert_eq!(line["logId"], "compute.googleapis.com/shielded_vm_integrity");
    assert_eq!(line["resourceContainer"], "projects/demo-int");
    assert_eq!(finding["severity"], "HIGH");
    assert_eq!(finding["sourceProperties"]["difference"], "PCR_4 changed; PCR_14 only in actual");
}

#[tokio::test]
async fn what_can_never_be_read_is_acknowledged_and_kept() {
    let world = World::with(&[OPEN]).await;
    let mut without_id = sample("late_passed");
    without_id["resource"]["labels"].as_object_mut().unwrap().remove("instance_id");
    let bad_base64 = json!({"message": {"data": "%%%", "messageId": "1"}, "subscription": "s"}).to_string();
    for (parked, body) in [
        (true, wrapped(b"no json")),
        (true, bad_base64),
        (true, wrapped(b"[1,2]")),
        (true, wrapped(without_id.to_string().as_bytes())),
        (true, "not json at all".to_owned()),
        (true, "[]".to_owned()),
        (false, json!({"message": {"attributes": {"a": "1"}, "messageId": "2"}, "subscription": "s"}).to_string()),
        (false, json!({"message": {"data": "", "messageId": "3"}, "subscription": "s"}).to_string()),
        (false, wrapped(sample("startup").to_string().as_bytes())),
        (false, wrapped(json!({"logName": "projects/p/logs/x", "textPayload": "y"}).to_string().as_bytes())),
        (
            false,
            wrapped(
                json!({"logName": "projects/p/logs/x", "jsonPayload": {"@type": "type.googleapis.com/other"}})
                    .to_string()
                    .as_bytes(),
            ),
        ),
        (false, wrapped(sample("audit_secure_boot_off_last").to_string().as_bytes())),
    ] {
        let before = world.ledger().closed.get("parked").copied().unwrap_or(0);
        assert_eq!(push(&world, body.clone()).await, 204, "{body}");
        let after = world.settle().await.closed.get("parked").copied().unwrap_or(0);
        assert_eq!(after - before, u64::from(parked), "{body}");
    }
    assert_eq!(world.findings().await.len(), 0);
    assert_eq!(push(&world, wrapped(&vec![b'x'; 9_000_000])).await, 204, "ten megabytes are no reason to refuse");
    assert_eq!(push(&world, vec![b' '; 17 * 1024 * 1024]).await, 413);
}

#[tokio::test]
async fn the_door_is_closed_until_it_is_configured() {
    let world = World::new().await;
    assert_eq!(push(&world, wrapped(b"{}")).await, 403);
    assert_eq!(world.ledger().accepted, 0);
}

/// A page on the network of whoever rehearses reaches the port too, and needs no leave to send this.
#[tokio::test]
async fn a_page_in_a_browser_may_not_push_even_where_no_token_is_asked_for() {
    let world = World::with(&[OPEN]).await;
    let url = format!("{}/pubsub/push", world.url);
    let report = wrapped(sample("late_failed_pcr4_changed_pcr14_new").to_string().as_bytes());
    let request = world.http.post(url).header("content-type", "text/plain").header("origin", "https://evil.example");
    let answer = request.body(report).send().await.unwrap();
    assert_eq!(answer.status(), 403);
    assert_eq!(answer.json::<Value>().await.unwrap()["error"]["code"], "origin");
    assert_eq!(world.ledger().accepted, 0);
}

#[tokio::test(start_paused = true)]
async fn large_pushes_wait_for_room_and_small_ones_do_not() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep { closed_for: std::time::Duration::from_secs(3600), bytes: u64::MAX };
    let store = Arc::new(Sqlite::open(&folder.path().join("outbox.db"), keep).unwrap());
    let (intake, rooms) = (Intake::new(store, Arc::default()), Arc::new(Rooms::new(LARGE)));
    let strangers = Arc::new(Strangers::new(0));
    let entries = Entries::default();
    let door = PushDoor { intake, entries, guard: Guard::Open, strangers, rooms: Arc::clone(&rooms) };
    let route = web::post().to(sysdig_scc::receive::pubsub::push);
    let app = init_service(App::new().app_data(web::Data::new(door)).route("/pubsub/push", route)).await;
    let send = async |bytes: usize| {
        let entry = json!({"logName": "projects/p/logs/x", "textPayload": "y".repeat(bytes)});
        let body = wrapped(entry.to_string().as_bytes());
        let length = ("content-length", body.len().to_string());
        let request = TestRequest::post().uri("/pubsub/push").insert_header(length).set_payload(body);
        call_service(&app, request.to_request()).await.status().as_u16()
    };
    for room in [&rooms.arriving, &rooms.at_work] {
        let taken = room.take(usize::MAX).await.unwrap();
        assert_eq!((send(LARGE).await, send(100).await), (503, 204));
        drop(taken);
        assert_eq!(send(LARGE).await, 204);
    }
}

/// Pub/Sub's `writeMetadata` writes Logging's attribute as a header whose name is not legal. The server library answers
/// 400 before any handler; docs/integrity.md says how the subscription must be set. When this test fails, that has
/// become better.
#[tokio::test]
async fn an_unwrapped_push_with_metadata_fails_at_the_server_for_its_illegal_header_alone() {
    let world = World::with(&[OPEN]).await;
    let body = sample("late_failed_pcr4_changed_pcr14_new").to_string();
    for (header, status) in [
        ("x-goog-pubsub-message-id: 2\r\na: 1", "204"),
        ("logging.googleapis.com/timestamp: 2026-11-20T10:11:12.902113871Z", "400"),
    ] {
        let request = format!(
            "POST /pubsub/push HTTP/1.1\r\nHost: x\r\n{header}\r\nContent-Type: application/x-www-form-urlencoded\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut socket = tokio::net::TcpStream::connect(world.url.trim_start_matches("http://")).await.unwrap();
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{header}: {answer}");
    }
}

struct Topic {
    client: Client,
    name: &'static str,
}

const PULL: &str = "projects/demo-int/subscriptions/pull1";

impl Topic {
    async fn new(emulator: &Emulator) -> Self {
        let base = format!("http://{}", emulator.host()).parse().unwrap();
        let client = Client::new(&base, &TokenSource::none()).unwrap();
        let name = "projects/demo-int/topics/integrity-monitoring";
        assert!(client.create_topic(name).await.unwrap());
        assert!(!client.create_topic(name).await.unwrap(), "it is there already");
        Self { client, name }
    }

    async fn subscribe(&self, name: &str, push_config: Option<Value>) {
        let wanted = Subscription {
            topic: self.name.to_owned(),
            ack_deadline_seconds: Some(10),
            push_config,
            expiration_policy: Some(json!({})),
            ..Subscription::default()
        };
        assert!(self.client.create_subscription(name, &wanted).await.unwrap());
        let found = self.client.subscription(name).await.unwrap().unwrap();
        assert_eq!(found.topic, self.name);
    }

    async fn publish(&self, data: &[Vec<u8>]) {
        let message = |data: &Vec<u8>| json!({"data": STANDARD.encode(data), "attributes": {"logging.googleapis.com/timestamp": "2026-11-20T10:11:12.902113871Z"}});
        let messages: Vec<Value> = data.iter().map(message).collect();
        assert_eq!(self.client.publish(self.name, &messages).await.unwrap().len(), data.len());
    }
}

/// Many reports of many VMs, one of them broken.
fn many(count: u64) -> Vec<Vec<u8>> {
    let base = sample("late_failed_pcr4_changed_pcr14_new");
    (0..count)
        .map(|n| {
            let mut entry = base.clone();
            entry["resource"]["labels"]["instance_id"] = json!((u64::MAX - n).to_string());
            entry.to_string().into_bytes()
        })
        .collect()
}

#[tokio::test]
async fn the_real_emulator_pushes_and_a_thousand_reports_become_a_thousand_findings() {
    let Some(emulator) = Emulator::pubsub().await else { return };
    let world = World::with(&[OPEN]).await;
    let topic = Topic::new(&emulator).await;
    topic
        .subscribe(
            "projects/demo-int/subscriptions/push1",
            Some(json!({"pushEndpoint": format!("{}/pubsub/push", world.url)})),
        )
        .await;
    let plain = json!({"pushEndpoint": format!("{}/pubsub/push", world.url), "noWrapper": {"writeMetadata": false}});
    topic.subscribe("projects/demo-int/subscriptions/push2", Some(plain)).await;
    topic.publish(&[b"no json".to_vec()]).await;
    topic.publish(&many(1000)).await;
    // Two subscriptions bring every message twice.
    world.until(|stats| stats.accepted >= 2002 && stats.waiting == 0).await;
    let stats = world.ledger();
    assert_eq!((stats.closed["delivered"], stats.closed["duplicate"], stats.closed["parked"]), (1000, 1001, 1));
    assert_eq!(world.findings().await.len(), 1000);
}

#[tokio::test]
async fn the_real_emulator_is_pulled_and_may_go_away_and_come_back() {
    let Some(mut emulator) = Emulator::pubsub().await else { return };
    let topic = Topic::new(&emulator).await;
    topic.subscribe(PULL, None).await;
    let host = emulator.host();
    let mut world = World::with(&[("PUBSUB_SUBSCRIPTION", PULL), ("PUBSUB_EMULATOR_HOST", &host)]).await;
    topic.publish(&many(250)).await;
    world.until(|stats| stats.accepted >= 250 && stats.waiting == 0).await;

    emulator.restart().await;
    let topic = Topic::new(&emulator).await;
    topic.subscribe(PULL, None).await;
    topic.publish(&[sample("vtpm_cleared").to_string().into_bytes()]).await;
    world.until(|stats| stats.accepted >= 251 && stats.waiting == 0).await;
    assert_eq!(world.findings().await.len(), 251);
    world.stop().await;
}

#[tokio::test]
async fn what_was_pulled_and_not_acknowledged_comes_again_and_is_one_finding() {
    let Some(emulator) = Emulator::pubsub().await else { return };
    let topic = Topic::new(&emulator).await;
    topic.subscribe(PULL, None).await;
    topic.publish(&many(1)).await;
    let lost = topic.client.pull(PULL, 10).await.unwrap();
    assert_eq!(lost.len(), 1, "pulled by a connector that died");
    topic.client.extend(PULL, &[&lost[0].ack_id], 1).await.unwrap();
    let host = emulator.host();
    let world = World::with(&[("PUBSUB_SUBSCRIPTION", PULL), ("PUBSUB_EMULATOR_HOST", &host)]).await;
    world.until(|stats| stats.accepted == 1 && stats.waiting == 0).await;
    assert_eq!(world.findings().await.len(), 1);
}
