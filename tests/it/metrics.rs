//! `/metrics` of a fresh process: what is there before anything has happened, and which of two connectors polls.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::fakes::loopback::{Answer, Loopback};
use crate::fakes::sysdig::{FakeSysdig, TOKEN};
use crate::recovery::Process;
use crate::world::World;

/// The page, once it has a line of each of these.
async fn page(world: &World, process: &Process, names: &BTreeSet<String>) -> String {
    let reading = async {
        loop {
            let answer = world.http.get(format!("{}/metrics", process.url)).send().await.unwrap();
            let text = answer.text().await.unwrap();
            let missing: Vec<_> = names.iter().filter(|name| value(&text, name).is_none()).collect();
            if missing.is_empty() {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            eprintln!("not there yet: {missing:?}");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("each metric is there")
}

/// The value of the first line that begins so.
fn value(text: &str, name: &str) -> Option<f64> {
    let rest = text.lines().filter_map(|line| line.strip_prefix(name)).find(|rest| rest.starts_with(['{', ' ']))?;
    rest.rsplit(' ').next()?.parse().ok()
}

fn polling(sysdig: &str) -> [(&'static str, &str); 4] {
    [("SYSDIG_POLL", "true"), ("SYSDIG_URL", sysdig), ("SYSDIG_TOKEN", TOKEN), ("SYSDIG_POLL_LOOKBACK_SECS", "1000")]
}

#[tokio::test]
async fn what_alerts_compare_is_there_before_anything_has_happened() {
    let mut world = World::new().await;
    world.stop().await;
    let sysdig = Loopback::start(|_| Answer::Text(502, "bad gateway"));
    let process = Process::with(&world, &[&polling(&sysdig.url)[..], &[("PUBSUB_PUSH_UNVERIFIED", "true")]].concat());
    let alerts = std::fs::read_to_string(format!("{}/dashboards/alerts.yaml", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let word = regex::Regex::new(r"sysdig_scc_[a-z_]+").unwrap();
    let mut names: BTreeSet<_> = word.find_iter(&alerts).map(|found| found.as_str().to_owned()).collect();
    assert!(names.len() >= 8, "{names:?}");
    names.extend(["sysdig_scc_poll_lag_seconds", "sysdig_scc_pace_waiting"].map(str::to_owned));
    let text = page(&world, &process, &names).await;
    for name in names.iter().filter(|name| name.ends_with("_total")) {
        assert_eq!(value(&text, name), Some(0.0), "{name}");
    }
    for door in ["webhook", "poller", "pubsub", "own"] {
        let line = format!(r#"sysdig_scc_received_total{{door="{door}",result="accepted"}} 0"#);
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    assert!(!text.contains(r#"received_total{door="attestation""#), "a door that is closed");
    assert!(value(&text, "sysdig_scc_worker_idle_seconds").unwrap() < 30.0);
    assert!(value(&text, "sysdig_scc_poll_lag_seconds").unwrap() >= 1000.0, "it grows from the first poll that failed");
}

#[tokio::test]
async fn of_two_connectors_with_one_state_one_polls_and_takes_that_up_after_a_crash() {
    let mut world = World::new().await;
    world.stop().await;
    let sysdig = FakeSysdig::start();
    let polls = |result: &str| format!(r#"sysdig_scc_poll_windows_total{{result="{result}"}} 1"#);
    let has = async |process: &Process, result: &str| {
        let line = polls(result);
        let reading = async {
            loop {
                let answer = world.http.get(format!("{}/metrics", process.url)).send().await.unwrap();
                if answer.text().await.unwrap().lines().any(|found| found == line) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), reading).await.expect(&line);
    };
    let polling = polling(&sysdig.server.url);
    let mut first = Process::with(&world, &polling);
    has(&first, "ok").await;
    let own = format!("sqlite:{}", world.outbox.with_file_name("second.db").display());
    let second = Process::with(&world, &[&polling[..], &[("OUTBOX_URL", own.as_str())]].concat());
    has(&second, "not_ours").await;
    first.kill();
    has(&Process::with(&world, &polling), "ok").await;
}
