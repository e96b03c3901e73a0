//! Acting under load, caps that outlive a restart, the commands, `check`, and gcloud against the same Compute Engine.

use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use sysdig_scc::respond::plans::Plans;
use sysdig_scc::state::{Expected, body_of};

use crate::acting::{ID, LATE, PROJECT, ZONE, acting, answered, compute, is, late, plans, store};
use crate::fakes::compute_world::{ComputeWorld, Fault, shielded_vm};
use crate::fakes::emulator::Emulator;
use crate::fakes::loopback::{Answer, Loopback};
use crate::program::program;
use crate::pubsub::{push, push_entry, wrapped};
use crate::world::World;

/// The report of another VM.
fn of(number: u64) -> Value {
    let mut entry = late(3);
    entry["resource"]["labels"]["instance_id"] = json!((10_000 + number).to_string());
    let project = format!("demo-{}", number % 4);
    entry["logName"] = json!(format!("projects/{project}/logs/compute.googleapis.com%2Fshielded_vm_integrity"));
    entry["resource"]["labels"]["project_id"] = json!(project);
    entry
}

/// Waits, longer than other stories do, until so many were taken in and are done.
async fn taken(world: &World, accepted: u64) {
    let waiting = async {
        while Some(world.ledger()).filter(|stats| stats.accepted == accepted && stats.waiting == 0).is_none() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(180), waiting).await.unwrap_or_else(|_| panic!("{:?}", world.ledger()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_thousand_reports_at_once_only_as_many_are_acted_on_as_the_caps_allow() {
    let compute = ComputeWorld::start();
    for number in 0..1_001 {
        let (project, name) = (format!("demo-{}", number % 4), format!("vm-{number}"));
        let vm = shielded_vm(&project, ZONE, &name, 10_000 + number, "2026-11-20T02:10:50.000-08:00");
        compute.world().instances.push(vm);
    }
    let caps = [("INTEGRITY_ACTIONS_PER_HOUR", "10"), ("INTEGRITY_ACTIONS_PER_PROJECT_HOUR", "4")];
    let mut world = acting(&compute, "stop", &caps).await;
    let reports: Vec<String> = (0..1_000).map(|number| wrapped(of(number).to_string().as_bytes())).collect();
    let sent = futures_util::future::join_all(reports.into_iter().map(|body| push(&world, body))).await;
    assert!(sent.iter().all(|status| *status == 204));
    // Every report has an answer of its own, taken in like a report.
    taken(&world, 2_000).await;
    assert_eq!(compute.world().changes.len(), 10);
    let mut results = std::collections::BTreeMap::<String, usize>::new();
    for plan in plans(&world).await {
        let answer = plan.answer.unwrap();
        *results.entry(format!("{} {}", answer.result.label(), answer.reason.label())).or_default() += 1;
    }
    let count = |name: &str| results.get(name).copied().unwrap_or_default();
    assert_eq!(count("done asked"), 10, "{results:?}");
    assert_eq!(count("refused cap_hour") + count("refused cap_project"), 990, "{results:?}");
    let told = world.findings().await;
    assert_eq!(told.len(), 1_000);
    assert!(told.iter().all(|finding| finding["sourceProperties"]["action_result"] != "planned"));
    let (_, metrics) = world.get("/metrics").await;
    assert!(metrics.contains("sysdig_scc_integrity_answers_total{"), "counted");

    // A restart forgets nothing.
    world.stop().await;
    let mut settings = vec![
        ("PUBSUB_PUSH_UNVERIFIED", "true"),
        ("COMPUTE_ENDPOINT", &compute.server.url),
        ("INTEGRITY_ACTION", "stop"),
    ];
    settings.extend(caps);
    world.start(&settings).await;
    push_entry(&world, &of(1_000)).await;
    taken(&world, 2_002).await;
    assert_eq!(compute.world().changes.len(), 10);
    assert_eq!(Plans::new(store(&world).await).caps(false).await.unwrap().overall, 10);
}

/// Stopped as by SIGTERM, while Compute Engine does not answer.
#[tokio::test]
async fn a_restart_goes_on_at_once_with_what_was_under_way() {
    let compute = compute();
    let mut world = acting(&compute, "stop", &[]).await;
    compute.world().fails("stop", [Fault::Says(Answer::Hang)]);
    push_entry(&world, &late(3)).await;
    let stops = || compute.server.asked().into_iter().filter(|asked| asked.path.ends_with("/stop")).collect::<Vec<_>>();
    while stops().is_empty() {
        tokio::task::yield_now().await;
    }
    world.stop().await;
    assert_eq!(plans(&world).await[0].answer, None);
    let settings =
        [("PUBSUB_PUSH_UNVERIFIED", "true"), ("COMPUTE_ENDPOINT", &compute.server.url), ("INTEGRITY_ACTION", "stop")];
    world.start(&settings).await;
    is(&answered(&world, LATE).await, "stop", "done", "asked");
    assert_eq!(stops().len(), 2);
    assert_eq!(stops()[0].query["requestId"], stops()[1].query["requestId"]);
    assert_eq!(compute.verbs(), ["stop"]);
}

#[tokio::test]
async fn two_connectors_share_plans_and_caps_in_firestore() {
    let Some(emulator) = Emulator::firestore(&[]).await else { return };
    let compute = compute();
    compute.world().instances.push(shielded_vm(PROJECT, ZONE, "web-2", ID + 1, "2026-11-20T02:10:50.000-08:00"));
    let host = emulator.host();
    let shared = [
        ("STATE_URL", "firestore://demo-int/(default)"),
        ("FIRESTORE_EMULATOR_HOST", host.as_str()),
        ("INTEGRITY_ACTIONS_PER_HOUR", "1"),
    ];
    let (one, other) = (acting(&compute, "stop", &shared).await, acting(&compute, "stop", &shared).await);
    push_entry(&one, &late(3)).await;
    push_entry(&other, &late(3)).await;
    is(&answered(&one, LATE).await, "stop", "done", "asked");
    let mut second = late(3);
    second["resource"]["labels"]["instance_id"] = json!((ID + 1).to_string());
    push_entry(&other, &second).await;
    other.until(|stats| stats.accepted >= 3 && stats.waiting == 0).await;
    assert_eq!(compute.verbs(), ["stop"], "the cap is one for both");
}

/// `check` asks whether the account may, and changes nothing.
#[tokio::test(flavor = "multi_thread")]
async fn check_says_which_permissions_are_missing() {
    let names = Loopback::start(|asked| {
        let asked_for = asked.json()["permissions"].as_array().cloned().unwrap_or_default();
        let granted: Vec<Value> = asked_for
            .into_iter()
            .filter(|name| name != "compute.instances.stop" || asked.path.contains("/good:"))
            .collect();
        match asked.path.ends_with(":testIamPermissions") {
            true => Answer::Json(200, json!({ "permissions": granted })),
            false => Answer::Json(200, json!({"name": "projects/1", "projectId": "good"})),
        }
    });
    let compute = compute();
    let world = World::new().await;
    let settings = [
        ("INTEGRITY_ACTION", "relearn-or-stop"),
        ("COMPUTE_PROJECT_ID", "good,bad"),
        ("COMPUTE_ENDPOINT", compute.server.url.as_str()),
        ("RESOURCE_MANAGER_ENDPOINT", names.url.as_str()),
    ];
    let check = async |settings: &[(&str, &str)]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sysdig-scc"));
        command.args(["check", "--format", "json"]).env_clear().envs(world.settings(settings));
        let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap().unwrap();
        serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap()
    };
    for (settings, remedy) in
        [(&settings[..1], "set COMPUTE_PROJECT_ID"), (&settings[..3], "set RESOURCE_MANAGER_ENDPOINT")]
    {
        let lines = check(settings).await;
        let line = lines.iter().find(|line| line["what"] == "acting permissions").unwrap();
        assert_eq!((&line["state"], &line["remedy"]), (&json!("warning"), &json!(remedy)), "{line}");
    }
    let lines = check(&settings).await;
    let line =
        |what: &str| lines.iter().find(|line| line["what"] == what).unwrap_or_else(|| panic!("{what}: {lines:#?}"));
    assert_eq!(line("acting")["found"], "INTEGRITY_ACTION=relearn-or-stop");
    assert_eq!(line("acting baselines")["state"], "warning");
    assert_eq!(line("acting permissions good")["state"], "ok");
    let bad = line("acting permissions bad");
    assert_eq!((&bad["state"], &bad["found"]), (&json!("failed"), &json!("missing: compute.instances.stop")));
    assert!(bad["remedy"].as_str().unwrap().contains("gcloud iam roles create sysdigSccActing --project bad"), "{bad}");
    assert!(compute.verbs().is_empty());
}

async fn command(world: &World, arguments: &[&str]) -> (bool, String) {
    program(arguments, &world.settings(&[("USER", "tester")])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_show_the_journal_and_set_the_counts_back() {
    let compute = compute();
    let world = acting(&compute, "stop", &[("INTEGRITY_ACTIONS_OVERALL", "1")]).await;
    let (good, text) = command(&world, &["integrity", "actions"]).await;
    assert!(good && text.contains("Nothing is recorded") && text.contains("0 of 100 overall"), "{text}");
    push_entry(&world, &late(3)).await;
    is(&answered(&world, LATE).await, "stop", "done", "asked");
    compute.world().vm("web-1")["status"] = json!("RUNNING");
    push_entry(&world, &late(4)).await;
    is(&answered(&world, LATE).await, "stop", "refused", "cap_overall");

    let (_, text) = command(&world, &["integrity", "actions", "--journal", "--vm", "web-1"]).await;
    for word in
        ["web-1", "done", "cap_overall", "intent", &compute.world().changes[0].2.clone()[..8], "1 of 100 overall"]
    {
        assert!(text.contains(word), "{word}: {text}");
    }
    let (_, text) = command(&world, &["integrity", "actions", "--format", "json", "--vm", &ID.to_string()]).await;
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3);
    assert_eq!(lines[0]["answer"]["result"], "done");
    assert_eq!(lines[0]["journal"][2]["what"], "intent");
    assert_eq!(lines[1]["answer"]["reason"], "cap_overall");
    let (_, text) = command(&world, &["integrity", "actions", "--format", "json", "--open"]).await;
    let caps: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&caps["caps"]["overall"], &caps["caps"]["overall_limit"]), (&json!(1), &json!(100)), "{text}");
    let (good, text) = command(&world, &["integrity", "actions", "--reset-caps", "--by", "alice"]).await;
    assert!(good && text.contains("alice"), "{text}");
    let caps = Plans::new(store(&world).await).caps(false).await.unwrap();
    assert_eq!((caps.overall, caps.resets[0].who.as_str()), (0, "alice"));
    push_entry(&world, &late(5)).await;
    is(&answered(&world, LATE).await, "stop", "done", "asked");

    let broken = body_of("response", "zz", &json!({"event": 5})).unwrap();
    store(&world).await.write("response", "zz", &broken, Expected::Absent).await.unwrap();
    let (good, text) = command(&world, &["integrity", "actions"]).await;
    assert!(!good && text.contains("web-1") && text.contains("Left out: the state document response/zz"), "{text}");
    let (good, text) = command(&world, &["integrity", "actions", "--vm", "nobody"]).await;
    assert!(!good && !text.contains("Nothing is recorded") && text.contains("response/zz"), "{text}");
}

/// The fake does what the real service does, as far as gcloud can tell.
#[tokio::test(flavor = "multi_thread")]
async fn gcloud_drives_the_same_compute_engine() {
    let compute = compute();
    let folder = tempfile::tempdir().unwrap();
    let gcloud = async |words: &str| {
        let words = format!("compute {words} --project {PROJECT} --zone {ZONE} --format json");
        let mut command = Command::new("gcloud");
        command
            .args(words.split(' '))
            .env("CLOUDSDK_API_ENDPOINT_OVERRIDES_COMPUTE", format!("{}/compute/v1/", compute.server.url))
            .env("CLOUDSDK_AUTH_DISABLE_CREDENTIALS", "true")
            .env("CLOUDSDK_CORE_DISABLE_PROMPTS", "1")
            .env("CLOUDSDK_CONFIG", folder.path());
        match tokio::task::spawn_blocking(move || command.output()).await.unwrap() {
            Ok(output) => {
                assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
                Some(String::from_utf8(output.stdout).unwrap())
            }
            Err(error) if std::env::var_os("CI").is_none_or(|ci| ci != "true") => {
                eprintln!("not run: gcloud is not here ({error})");
                None
            }
            Err(error) => panic!("gcloud is needed in CI: {error}"),
        }
    };
    let Some(described) = gcloud("instances describe web-1").await else { return };
    assert_eq!(serde_json::from_str::<Value>(&described).unwrap()["id"], ID.to_string());
    gcloud("instances update web-1 --shielded-learn-integrity-policy").await;
    assert_eq!(compute.world().vm("web-1")["shieldedInstanceIntegrityPolicy"]["updateAutoLearnPolicy"], true);
    gcloud("disks snapshot web-1 --snapshot-names evidence-1").await;
    assert_eq!(compute.world().snapshots["evidence-1"]["status"], "READY");
    gcloud("instances suspend web-1").await;
    assert_eq!(compute.world().vm("web-1")["status"], "SUSPENDED");
    compute.world().vm("web-1")["status"] = json!("RUNNING");
    gcloud("instances stop web-1").await;
    assert_eq!(compute.world().vm("web-1")["status"], "TERMINATED");
    assert_eq!(compute.verbs(), ["relearn", "snapshot", "suspend", "stop"]);
    let paths: Vec<String> =
        compute.server.asked().into_iter().map(|asked| format!("{} {}", asked.method, asked.path)).collect();
    // What gcloud asks for is what we ask for.
    for ours in [
        "PATCH",
        "/setShieldedInstanceIntegrityPolicy",
        "/disks/web-1/createSnapshot",
        "/instances/web-1/stop",
        "/wait",
    ] {
        assert!(paths.iter().any(|path| path.contains(ours)), "{ours}: {paths:#?}");
    }
}
