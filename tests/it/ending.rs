//! The end: whatever others do, it is over within ten seconds, and nothing is lost by it.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fakes::loopback::{Answer, Loopback};
use crate::fakes::subscription::FakeSubscription;
use crate::pubsub::sample;
use crate::recovery::{Process, program};
use crate::world::World;

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
