//! The doors that reports come in by: what a pull holds is kept and given back, a killed process loses nothing and says
//! nothing twice, no token of a push is kept or shown, and a baseline is imported from the log by a VM's name.

use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sysdig_scc::google::TokenSource;
use sysdig_scc::google::pubsub::Client;
use sysdig_scc::outbox::sqlite::Keep;
use sysdig_scc::outbox::{Accepted, Desk, NewEntry, Settlement, Sqlite, Stats, Store, StoreError};
use sysdig_scc::receive::Intake;
use sysdig_scc::receive::entries::Entries;
use sysdig_scc::receive::pubsub_pull::Subscriber;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::acting::{ID, PROJECT, ZONE, compute, late};
use crate::fakes::compute_world::shielded_vm;
use crate::fakes::loopback::{Answer, Loopback};
use crate::fakes::subscription::FakeSubscription;
use crate::recovery::Process;
use crate::world::World;

/// An outbox that takes nothing until it is let.
#[derive(Debug)]
struct Slow(Sqlite, Semaphore);

impl Store for Slow {
    fn accept(
        &self,
        batch: Vec<NewEntry>,
        ignored: u64,
        now: DateTime<Utc>,
    ) -> BoxFuture<'_, Result<Accepted, StoreError>> {
        Box::pin(async move {
            self.1.acquire().await.unwrap().forget();
            self.0.accept(batch, ignored, now).await
        })
    }

    fn fill(&self, desk: &Arc<Desk>, now: DateTime<Utc>, lease: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
        self.0.fill(desk, now, lease)
    }

    fn settle(&self, settlements: Vec<Settlement>, now: DateTime<Utc>) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.settle(settlements, now)
    }

    fn stats(&self, now: DateTime<Utc>) -> BoxFuture<'_, Result<Stats, StoreError>> {
        self.0.stats(now)
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        self.0.probe()
    }
}

/// Waits for it, as long as a test may take.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test]
async fn while_a_message_is_written_down_its_deadline_is_pushed_on_and_a_stop_waits_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let keep = Keep { closed_for: Duration::from_secs(3600), bytes: u64::MAX };
    let slow = Arc::new(Slow(Sqlite::open(&folder.path().join("outbox.db"), keep).unwrap(), Semaphore::new(0)));
    let pubsub = FakeSubscription::start();
    let base = pubsub.server.url.parse().unwrap();
    let subscriber = Subscriber {
        client: Client::new(&base, &TokenSource::none()).unwrap(),
        subscription: FakeSubscription::NAME.to_owned(),
        most: 10,
        intake: Intake::new(Arc::clone(&slow) as Arc<dyn Store>, Arc::default()),
        entries: Entries { attestor: None },
    };
    pubsub.publish(&late(3));
    let stop = CancellationToken::new();
    let running = tokio::spawn(subscriber.run(stop.clone()));
    until("the deadline is pushed on", || pubsub.state().extended > 0).await;
    assert!(pubsub.state().done.is_empty(), "nothing is acknowledged that is not durable");
    stop.cancel();
    assert!(!running.is_finished());
    slow.1.add_permits(1);
    tokio::time::timeout(Duration::from_secs(10), running).await.unwrap().unwrap();
    assert_eq!(pubsub.state().done, ["ack-0"], "what was in hand is acknowledged before the end");
    assert_eq!(slow.stats(Utc::now()).await.unwrap().accepted, 1);
}

/// Two of the largest messages are more than an answer may have. They come again, and must not come together for ever.
#[tokio::test]
async fn messages_that_are_too_large_together_are_pulled_one_by_one() {
    let pubsub = FakeSubscription::start();
    let large = "y".repeat(9_000_000);
    for _ in 0..2 {
        pubsub.publish(&json!({"logName": "projects/demo-int/logs/other", "textPayload": large}));
    }
    let host = pubsub.host();
    let settings = [("PUBSUB_SUBSCRIPTION", FakeSubscription::NAME), ("PUBSUB_EMULATOR_HOST", host.as_str())];
    let world = World::with(&settings).await;
    until("both are out", || pubsub.state().out.len() == 2).await;
    assert_eq!(pubsub.state().most, 100);
    pubsub.redeliver();
    until("both are acknowledged", || pubsub.state().done.len() == 2).await;
    pubsub.publish(&late(3));
    until("the next is acknowledged", || pubsub.state().done.len() == 3).await;
    assert_eq!(pubsub.state().most, 1);
    assert_eq!(world.settle().await.closed["delivered"], 1);
}

#[tokio::test]
async fn a_process_killed_between_pull_and_acknowledge_loses_nothing_and_says_nothing_twice() {
    let mut world = World::new().await;
    world.stop().await;
    let pubsub = FakeSubscription::start();
    let host = pubsub.host();
    let settings = [("PUBSUB_SUBSCRIPTION", FakeSubscription::NAME), ("PUBSUB_EMULATOR_HOST", host.as_str())];
    pubsub.state().deaf = true;
    for boot in [3, 4, 5] {
        pubsub.publish(&late(boot));
    }
    let mut process = Process::with(&world, &settings);
    until("an acknowledgement is tried", || pubsub.state().unheard > 0).await;
    process.kill();
    assert_eq!((world.ledger().accepted, pubsub.state().done.len()), (3, 0), "durable before it is acknowledged");
    pubsub.state().deaf = false;
    pubsub.redeliver();
    let _process = Process::with(&world, &settings);
    until("all are acknowledged", || pubsub.state().done.len() == 3).await;
    let stats = world.settle().await;
    assert_eq!((stats.accepted, stats.closed["duplicate"], stats.closed["parked"]), (6, 3, 0), "{stats:?}");
    let findings = world.findings().await;
    assert_eq!(findings.len(), 1, "one VM, one check");
    assert_eq!(findings[0]["sourceProperties"]["boot_counter"], 5.0);
}

#[tokio::test]
async fn the_token_of_a_push_is_neither_kept_nor_shown() {
    let mut world = World::new().await;
    world.stop().await;
    let settings = [
        ("PUBSUB_PUSH_AUDIENCE", "https://conn.example/pubsub/push"),
        ("PUBSUB_PUSH_ACCOUNTS", "pusher@demo-int.iam.gserviceaccount.com"),
        ("PUBSUB_PUSH_JWKS_URL", "http://127.0.0.1:9/certs"),
        ("RUST_LOG", "trace"),
    ];
    let process = Process::with(&world, &settings);
    let secret = "c2VjcmV0LXNpZ25hdHVyZS1vZi1hLXB1c2g";
    let claims = "eyJlbWFpbCI6InB1c2hlckBkZW1vLWludC5pYW0uZ3NlcnZpY2VhY2NvdW50LmNvbSJ9";
    let head = "eyJhbGciOiJSUzI1NiIsImtpZCI6ImsxIn0";
    let body = crate::pubsub::wrapped(late(3).to_string().as_bytes());
    let mut shown = String::new();
    for authorization in [
        format!("Bearer {head}.{claims}.{secret}"),
        format!("Bearer {head}.{secret}"),
        format!("Basic {secret}"),
        secret.to_owned(),
    ] {
        let request = world.http.post(format!("{}/pubsub/push", process.url)).header("authorization", authorization);
        let answer = request.body(body.clone()).send().await.unwrap();
        assert!([401, 403, 503].contains(&answer.status().as_u16()), "{}", answer.status());
        shown += &answer.text().await.unwrap();
    }
    shown += &world.http.get(format!("{}/metrics", process.url)).send().await.unwrap().text().await.unwrap();
    for file in std::fs::read_dir(world.outbox.parent().unwrap()).unwrap().map(|file| file.unwrap().path()) {
        shown += &String::from_utf8_lossy(&std::fs::read(file).unwrap());
    }
    let logs = process.ends();
    assert!(logs.lines().count() > 1, "trace says something: {logs}");
    for piece in [secret, claims] {
        assert!(!(shown.clone() + &logs).contains(piece), "{piece} is kept or shown");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_baseline_is_imported_from_the_log_by_the_vms_name() {
    let compute = compute();
    let answers = Arc::new(Mutex::new(vec![late(4), late(3)]));
    let entries = Arc::clone(&answers);
    let logging = Loopback::start(move |asked| {
        let filter = asked.json()["filter"].as_str().unwrap_or_default().to_owned();
        let of_it =
            filter.contains(&format!("resource.labels.instance_id=\"{ID}\"")) && filter.contains("lateBootReportEvent");
        let right =
            asked.path == "/v2/entries:list" && asked.json()["resourceNames"] == json!([format!("projects/{PROJECT}")]);
        match (right, of_it) {
            (true, true) => Answer::Json(200, json!({"entries": *entries.lock().unwrap()})),
            (true, false) => Answer::Json(200, json!({})),
            _ => Answer::Json(400, json!({"error": {"code": 400, "message": "not what was expected"}})),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let state = format!("sqlite:{}", folder.path().join("state.db").display());
    let import_from = async |instance: &str, projects: &str, place: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sysdig-scc"));
        command
            .args(["baseline", "import", "--instance", instance])
            .args(place)
            .env_clear()
            .envs([("STATE_URL", state.as_str()), ("USER", "tester"), ("COMPUTE_ENDPOINT", &compute.server.url)])
            .env("COMPUTE_PROJECT_ID", projects)
            .env("LOGGING_ENDPOINT", &logging.url)
            .current_dir(folder.path());
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    let import = async |instance: &str| import_from(instance, "", &["--project", PROJECT, "--zone", ZONE]).await;
    let (good, text) = import("web-1").await;
    assert!(good && text.contains(&format!("{ID}-boot-4 is known to be good now: PCR_0 (SHA1), PCR_4")), "{text}");
    let which = format!("It is of boot 4 of VM web-1 ({ID}) in {PROJECT}, reported on 2026-11-20 11:11:12 UTC.");
    assert!(text.contains(&which) && !text.contains("Note:"), "{text}");
    let (good, text) = import(&ID.to_string()).await;
    assert!(!good && text.contains("--replace"), "the id names the same VM: {text}");
    let (good, text) = import("web-2").await;
    assert!(!good && text.contains("there is no VM web-2"), "{text}");
    let (good, text) = import("77").await;
    assert!(!good && text.contains("no late boot report"), "{text}");
    // Where it is need not be said, but one of several is never chosen.
    for (projects, instance, expected) in [
        (PROJECT, "web-1", "--replace"),
        ("other, demo-int", &ID.to_string(), "--replace"),
        ("other", "web-1", "there is no VM web-1 in other; say where it is with --project and --zone"),
        ("", "web-1", "or set COMPUTE_PROJECT_ID"),
        (PROJECT, "web.*", "neither a VM's name nor its numeric id"),
    ] {
        let (good, text) = import_from(instance, projects, &[]).await;
        assert!(!good && text.contains(expected), "{projects} {instance}: {text}");
    }
    compute.world().instances.push(shielded_vm(
        PROJECT,
        "europe-west3-c",
        "web-1",
        78,
        "2026-11-20T02:10:50.000-08:00",
    ));
    let (_, text) = import_from("web-1", PROJECT, &[]).await;
    assert!(text.contains("there are several VMs of this name (web-1 in demo-int, europe-west3-b; web-1 in"), "{text}");
    let (_, text) = import_from("web-1", PROJECT, &["--zone", ZONE]).await;
    assert!(text.contains("--replace"), "the zone tells which: {text}");
    compute.world().instances.pop();
    *answers.lock().unwrap() = vec![late(3)];
    compute.world().vm("web-1")["lastStartTimestamp"] = json!("2026-11-20T10:30:00Z");
    let (good, text) = import(&ID.to_string()).await;
    let older = "the VM was started on 2026-11-20 10:30:00 UTC, after this report";
    assert!(good && text.contains(older) && text.contains(&format!("{ID}-boot-3")), "{text}");
    let mut garbled = late(5);
    garbled["jsonPayload"]["lateBootReportEvent"] = json!("?");
    let mut of_another = late(5);
    of_another["resource"]["labels"]["instance_id"] = json!("78");
    for (newest, reason) in [(garbled, "not an object"), (of_another, "it is of VM 78")] {
        *answers.lock().unwrap() = vec![newest, late(4)];
        let (good, text) = import("web-1").await;
        assert!(!good && text.contains("of 2026-11-20 12:11:12 UTC") && text.contains(reason), "{text}");
    }
    let asked: Vec<Value> = logging.asked().iter().map(|asked| asked.json()["orderBy"].clone()).collect();
    assert!(asked.iter().all(|order| order == "timestamp desc"), "the newest: {asked:?}");
}
