//! The real program as a process: killed in the middle of a load, started anew, and the sums compared.

use std::ffi::OsString;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::attest_door::{Issuer, POLICY};
use crate::attest_issuer::{NEXT, SPACE, claims};
use crate::world::{TOKEN, World, batch, event};

/// The program to run: the one built with the tests, unless another is named, such as the released one.
pub fn program() -> OsString {
    std::env::var_os("SYSDIG_SCC_PROGRAM").unwrap_or_else(|| env!("CARGO_BIN_EXE_sysdig-scc").into())
}

/// The program, listening.
pub struct Process {
    child: Child,
    pub url: String,
    /// What it logged before it listened.
    pub before: Vec<serde_json::Value>,
    log: Option<std::thread::JoinHandle<String>>,
}

impl Process {
    fn start(world: &World) -> Self {
        Self::with(world, &[])
    }

    /// With settings of its own.
    pub fn with(world: &World, extra: &[(&str, &str)]) -> Self {
        let mut command = Command::new(program());
        command.arg("serve").env_clear().envs(world.settings(extra)).env("LOG_FORMAT", "json");
        command.current_dir(world.outbox.parent().unwrap()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut before = Vec::new();
        let address = lines.find_map(|line| {
            let line: serde_json::Value = serde_json::from_str(&line.unwrap()).unwrap();
            let address = line["address"].as_str().map(str::to_owned);
            before.push(line);
            address
        });
        let log = std::thread::spawn(move || lines.map_while(Result::ok).collect::<Vec<_>>().join("\n"));
        let url = format!("http://{}", address.expect("it says where it listens"));
        Self { child, url, before, log: Some(log) }
    }

    /// As power that fails.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Kills it; what it logged since it listened.
    pub fn ends(mut self) -> String {
        self.kill();
        self.log.take().unwrap().join().unwrap()
    }
}

impl Process {
    /// No file of its may grow beyond this from now on.
    pub fn limit_files(&self, limit: &str) {
        let (pid, limit) = (self.child.id().to_string(), format!("--fsize={limit}:unlimited"));
        assert!(Command::new("prlimit").args(["--pid", &pid, &limit]).status().unwrap().success());
    }

    /// Asks it to end, and waits for its status.
    pub fn terminate(&mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_process_is_killed() {
    let mut world = World::new().await;
    world.stop().await;
    let mut acknowledged = Vec::new();
    for round in 0..3_u64 {
        let mut process = Process::start(&world);
        // Eight senders at once; the process is killed while they are at it.
        let senders: Vec<_> = (0..8)
            .map(|sender| {
                let (http, url) = (world.http.clone(), format!("{}/events", process.url));
                tokio::spawn(async move {
                    let mut taken = Vec::new();
                    for n in 0..1_000_u64 {
                        let number = (round * 8 + sender) * 1_000 + n;
                        let sent = http.post(&url).bearer_auth(TOKEN).body(event(number).to_string()).send().await;
                        match sent {
                            Ok(answer) if answer.status() == 200 => taken.push(number),
                            _ => break,
                        }
                    }
                    taken
                })
            })
            .collect();
        // In the middle: when some findings are there and senders still send.
        while world.findings().await.len() < (round as usize + 1) * 40 {
            tokio::task::yield_now().await;
        }
        process.kill();
        for sender in senders {
            acknowledged.extend(sender.await.unwrap());
        }
        assert!(world.ledger().accepted >= acknowledged.len() as u64);
    }
    let _process = Process::start(&world);
    let stats = world.settle().await;
    let names: std::collections::HashSet<String> = world
        .findings()
        .await
        .iter()
        .map(|finding| finding["name"].as_str().unwrap().rsplit('/').next().unwrap().to_owned())
        .collect();
    let lost: Vec<_> =
        acknowledged.iter().filter(|n| !names.contains(&format!("17dec715376910362c8c3f{n:010x}"))).collect();
    assert!(lost.is_empty(), "{} of {} acknowledged events are lost", lost.len(), acknowledged.len());
    assert_eq!(names.len() as u64, stats.closed["delivered"], "one finding an event");
}

#[tokio::test]
async fn sigterm_ends_it_with_status_zero() {
    let mut world = World::new().await;
    world.stop().await;
    let mut process = Process::start(&world);
    assert_eq!(process.terminate(), Some(0));
}

#[tokio::test]
async fn a_dry_run_ends_although_nobody_reads_its_lines() {
    let mut world = World::new().await;
    world.stop().await;
    let mut process = Process::with(&world, &[("DRY_RUN", "true")]);
    // Lines of more bytes than a pipe holds.
    let sent = world.http.post(format!("{}/events", process.url)).bearer_auth(TOKEN).body(batch(0..200));
    assert_eq!(sent.send().await.unwrap().status(), 200);
    world.until(|stats| stats.closed["delivered"] > 0).await;
    assert_eq!(process.terminate(), Some(0));
    assert!(world.ledger().balances());
}

#[tokio::test]
async fn what_is_on_this_machine_is_asked_without_the_environments_proxy() {
    let mut world = World::new().await;
    world.stop().await;
    // Nobody listens there.
    let proxy = [("http_proxy", "http://127.0.0.1:9"), ("HTTPS_PROXY", "http://127.0.0.1:9")];
    let issuer = Issuer::start();
    let keys = format!("{}/jwks", issuer.url);
    let policies = world.outbox.parent().unwrap().join("policies");
    std::fs::create_dir(&policies).unwrap();
    std::fs::write(policies.join("ours.yaml"), POLICY).unwrap();
    let trusted = [
        ("ATTESTATION_POLICIES", policies.to_str().unwrap()),
        ("ATTESTATION_ENDPOINT", issuer.url.as_str()),
        ("PUBSUB_PUSH_AUDIENCE", "https://conn.example/pubsub/push"),
        ("PUBSUB_PUSH_ACCOUNTS", "pusher@demo-int.iam.gserviceaccount.com"),
        ("PUBSUB_PUSH_JWKS_URL", keys.as_str()),
    ];
    let process = Process::with(&world, &[&proxy[..], &trusted[..]].concat());
    let sent = world.http.post(format!("{}/events", process.url)).bearer_auth(TOKEN).body(event(1).to_string());
    assert_eq!(sent.send().await.unwrap().status(), 200);
    assert_eq!(world.settle().await.closed["delivered"], 1);
    let token = NEXT.token(&claims(SPACE, chrono::Utc::now().timestamp(), json!({})));
    let push = world.http.post(format!("{}/pubsub/push", process.url)).bearer_auth(&token);
    let verify = world.http.post(format!("{}/attestation/verify", process.url)).json(&json!({ "token": token }));
    for (request, had) in [(push, "unknown_key"), (verify, "key_unknown")] {
        let text = request.send().await.unwrap().text().await.unwrap();
        assert!(text.contains(had), "the keys were had, and lack this one: {text}");
    }
    assert!(!process.ends().contains("proxy"));
}

#[test]
fn every_problem_of_the_settings_is_told_at_once() {
    let output = Command::new(env!("CARGO_BIN_EXE_sysdig-scc"))
        .arg("serve")
        .env_clear()
        .current_dir(std::env::temp_dir())
        .envs([
            ("PORT", "http"),
            ("LISTEN_ADDRESS", "everywhere"),
            ("BODY_LIMIT_BYTES", "two"),
            ("OUTBOX_URL", "mysql:x"),
            ("LOG_FORMAT", "xml"),
        ])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8_lossy(&output.stderr);
    for name in [
        "PORT",
        "LISTEN_ADDRESS",
        "BODY_LIMIT_BYTES",
        "OUTBOX_URL",
        "LOG_FORMAT",
        "WEBHOOK_AUTHENTICATION_TOKEN",
        "ORG_ID",
    ] {
        assert!(text.contains(name), "{name} is missing in:\n{text}");
    }
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_failure() {
    let mut world = World::new().await;
    assert_eq!(world.sends(event(1).to_string()).await.0, 200);
    world.settle().await;
    for arguments in [["outbox", "list"], ["outbox", "stats"], ["check", "--offline"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_sysdig-scc"));
        let output = command.args(arguments).env_clear().envs(world.settings(&[])).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
    world.stop().await;
}
