//! The end: whatever others do, it is over within ten seconds, and nothing is lost by it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fakes::loopback::{Answer, Loopback};
use crate::fakes::subscription::FakeSubscription;
use crate::pubsub::sample;
use crate::recovery::{Process, program};
use crate::world::{TOKEN, World, batch};

const ASKED: Duration = Duration::from_secs(10);

/// Waits until it is so.
async fn until(holds: impl Fn() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect("it comes to that");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pubsub_that_hangs_holds_up_nobody() {
    let pubsub = FakeSubscription::start();
    pubsub.state().deaf = true;
    let host = pubsub.host();
    let mut world = World::new().await;
    world.stop().await;
    let settings = [("PUBSUB_SUBSCRIPTION", FakeSubscription::NAME), ("PUBSUB_EMULATOR_HOST", host.as_str())];
    let mut process = Process::with(&world, &settings);
    pubsub.publish(&sample("late_failed_pcr4_changed_pcr14_new"));
    until(|| pubsub.state().unheard > 0).await;
    let began = Instant::now();
    let (status, process) =
        tokio::task::spawn_blocking(move || (process.terminate(), process)).await.expect("it is asked to end");
    assert_eq!(status, Some(0));
    assert!(began.elapsed() < ASKED, "{:?}", began.elapsed());
    let log = process.ends();
    assert!(log.contains("broken off") && log.contains("subscriber"), "{log}");
    assert_eq!(world.ledger().accepted, 1, "what was pulled is written down");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_the_disk_goes_too_the_end_tells_how_much_is_gone_with_it() {
    let mut world = World::new().await;
    world.stop().await;
    world.scc_fails(serde_json::json!({"next": 1_000_000, "status": 503})).await;
    let mut process = Process::with(&world, &[("K_SERVICE", "scc"), ("ALLOW_EPHEMERAL_OUTBOX", "true")]);
    let warned = |line: &&serde_json::Value| line["message"].as_str().is_some_and(|said| said.contains("Cloud Run"));
    assert_eq!(process.before.iter().find(warned).map(|line| line["severity"].clone()), Some("WARNING".into()));
    let sent = world.http.post(format!("{}/events", process.url)).bearer_auth(TOKEN).body(batch(0..30));
    assert_eq!(sent.send().await.unwrap().status(), 200);
    let began = Instant::now();
    let (status, process) =
        tokio::task::spawn_blocking(move || (process.terminate(), process)).await.expect("it is asked to end");
    assert!(status == Some(0) && began.elapsed() < ASKED, "{status:?} {:?}", began.elapsed());
    let log = process.ends();
    let lost = log.lines().find(|line| line.contains("are gone with it")).unwrap_or_else(|| panic!("{log}"));
    let lost: serde_json::Value = serde_json::from_str(lost).unwrap();
    assert_eq!((lost["severity"].as_str(), lost["undelivered"].as_u64()), (Some("ERROR"), Some(30)), "{log}");
    assert_eq!(world.ledger().waiting, 30);
    assert!(!log.contains("next start"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_hangs_can_be_stopped() {
    let scc = Loopback::start(|_| Answer::Hang);
    let mut world = World::new().await;
    world.stop().await;
    let mut command = Command::new(program());
    command
        .arg("serve")
        .env_clear()
        .envs(world.settings(&[("SCC_ENDPOINT", scc.url.as_str())]))
        .env_remove("SOURCE_ID");
    let mut child = command.stderr(Stdio::null()).spawn().unwrap();
    until(|| !scc.asked().is_empty()).await;
    let began = Instant::now();
    assert!(Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap().success());
    let status = tokio::task::spawn_blocking(move || child.wait().unwrap()).await.unwrap();
    assert_eq!(status.code(), Some(0));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}
