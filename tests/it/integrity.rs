//! The life of a Shielded VM's findings, through the whole connector.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use sysdig_scc::outbox::sqlite::{Admin, Listed, Selection};
use sysdig_scc::track::baselines::Baselines;
use sysdig_scc::track::{Followed, Tracker, VmFacts};

use crate::acting::{early, store};
use crate::pubsub::{push, push_entry, sample, wrapped};
use crate::world::{TOKEN, World};

async fn world() -> World {
    World::with(&[("PUBSUB_PUSH_UNVERIFIED", "true")]).await
}

async fn finding(world: &World, category: &str) -> Option<Value> {
    let findings = world.findings().await;
    let mut found = findings.into_iter().filter(|finding| finding["category"] == format!("Shielded VM: {category}"));
    let first = found.next();
    assert!(found.next().is_none(), "one finding a VM and check");
    first
}

async fn state(world: &World, category: &str) -> Option<String> {
    Some(finding(world, category).await?["state"].as_str().unwrap().to_owned())
}

const LATE: &str = "Late Boot Integrity Failure";

fn late(boot: u64, passed: bool) -> Value {
    let mut entry = sample(if passed { "late_passed" } else { "late_failed_pcr4_changed_pcr14_new" });
    entry["jsonPayload"]["bootCounter"] = json!(boot.to_string());
    entry["timestamp"] = json!(format!("2026-11-20T{:02}:00:00.5Z", boot));
    entry
}

#[tokio::test]
async fn a_later_pass_closes_and_a_new_failure_reopens() {
    let world = world().await;
    let mut first = late(3, false);
    first["insertId"] = json!(format!("x{TOKEN}"));
    push_entry(&world, &first).await;
    assert_eq!(state(&world, LATE).await.as_deref(), Some("ACTIVE"));
    let logged = &finding(&world, LATE).await.unwrap()["logEntries"][0]["cloudLoggingEntry"]["insertId"];
    assert_eq!(logged, "x[redacted]", "our own secrets are shown nowhere");
    push_entry(&world, &late(4, true)).await;
    assert_eq!(state(&world, LATE).await.as_deref(), Some("INACTIVE"));
    push_entry(&world, &late(2, false)).await;
    assert_eq!(state(&world, LATE).await.as_deref(), Some("INACTIVE"), "an older report arrives late");
    push_entry(&world, &late(5, false)).await;
    assert_eq!(state(&world, LATE).await.as_deref(), Some("ACTIVE"));
    assert_eq!(finding(&world, LATE).await.unwrap()["sourceProperties"]["boot_counter"], 5.0);
}

#[tokio::test]
async fn a_pass_that_comes_before_the_failure_it_follows_leaves_nothing_open() {
    let world = world().await;
    push_entry(&world, &late(4, true)).await;
    push_entry(&world, &late(3, false)).await;
    assert_ne!(state(&world, LATE).await.as_deref(), Some("ACTIVE"));
    let stats = world.ledger();
    assert_eq!((stats.closed["superseded"], stats.waiting), (1, 0));
}

/// Whoever may write log entries chooses their time.
#[tokio::test]
async fn a_report_from_the_future_hides_nothing_and_stays_for_no_longer_than_it_is_true() {
    let dated = |boot, passed, time: DateTime<Utc>| {
        let mut entry = late(boot, passed);
        entry["timestamp"] = json!(time);
        entry
    };
    let tomorrow = || Utc::now() + TimeDelta::hours(20);
    let world = world().await;
    push_entry(&world, &dated(2, true, tomorrow())).await;
    push_entry(&world, &dated(3, false, Utc::now())).await;
    assert_eq!(state(&world, LATE).await.as_deref(), Some("ACTIVE"));
    push_entry(&world, &dated(4, false, tomorrow())).await;
    push_entry(&world, &dated(5, true, Utc::now())).await;
    assert_eq!(state(&world, LATE).await.as_deref(), Some("INACTIVE"));
}

#[tokio::test]
async fn every_kind_of_bad_news_has_its_finding_and_good_news_has_none() {
    let world = world().await;
    for name in ["sev_launch_passed", "early_passed", "startup", "shutdown"] {
        push_entry(&world, &sample(name)).await;
    }
    assert_eq!(world.findings().await.len(), 0);
    for (name, category, severity, class) in [
        ("vtpm_cleared", "vTPM Cleared", "MEDIUM", "THREAT"),
        ("audit_relearned", "Integrity Baseline Relearned", "LOW", "OBSERVATION"),
        ("audit_secure_boot_off", "Secure Boot or Monitoring Switched Off", "MEDIUM", "MISCONFIGURATION"),
    ] {
        push_entry(&world, &sample(name)).await;
        let finding = finding(&world, category).await.unwrap_or_else(|| panic!("{name}"));
        assert_eq!((&finding["severity"], &finding["findingClass"]), (&json!(severity), &json!(class)), "{name}");
    }
    let mut debug = sample("sev_launch_debug_enabled");
    debug["timestamp"] = json!("2026-11-20T15:00:00Z");
    push_entry(&world, &debug).await;
    assert!(
        finding(&world, "Launch Attestation Failure").await.unwrap()["description"]
            .as_str()
            .unwrap()
            .contains("debugging")
    );
    for (debug, enabled) in [(true, "create it anew without debugging allowed"), (false, "create it anew; when")] {
        let mut failed = sample("sev_launch_debug_enabled");
        failed["timestamp"] = json!(if debug { "2026-11-20T16:00:00Z" } else { "2026-11-20T17:00:00Z" });
        let report = &mut failed["jsonPayload"]["sevLaunchAttestationReportEvent"];
        report["integrityEvaluationPassed"] = json!(false);
        report["sevPolicy"]["debugEnabled"] = json!(debug);
        push_entry(&world, &failed).await;
        let launch = finding(&world, "Launch Attestation Failure").await.unwrap();
        assert!(launch["nextSteps"].as_str().unwrap().contains(enabled), "{launch:#}");
    }
    let cleared = finding(&world, "vTPM Cleared").await.unwrap();
    let steps = cleared["nextSteps"].as_str().unwrap();
    let reports = "AND timestamp>=\"2026-11-20T10:11:12.902113871Z\" AND (jsonPayload.earlyBootReportEvent:* OR jsonPayload.lateBootReportEvent:*)' --project=demo-int --format=json | sysdig-scc integrity explain -`";
    assert!(steps.contains(reports), "the reports of the next boot, not the entry itself: {steps}");
    let relearned = finding(&world, "Integrity Baseline Relearned").await.unwrap();
    assert_eq!(relearned["access"]["principalEmail"], "alice@example.com");
    assert!(relearned["description"].as_str().unwrap().contains("relearned by alice@example.com"));
}

#[tokio::test]
async fn a_vm_that_was_shut_down_is_not_said_to_hang() {
    let incomplete = async |shut_down: bool| {
        let world = world().await;
        push_entry(&world, &early(3)).await;
        let store = store(&world).await;
        let tracker =
            Tracker::new(Arc::clone(&store), Baselines::new(store, TimeDelta::zero()), TimeDelta::minutes(10));
        let before = tracker.overdue(Utc::now() + TimeDelta::hours(1)).await.unwrap().remove(0);
        if shut_down {
            let mut shutdown = sample("shutdown");
            shutdown["resource"]["labels"] = early(3)["resource"]["labels"].clone();
            shutdown["jsonPayload"]["bootCounter"] = json!("3");
            shutdown["timestamp"] = json!("2026-11-20T10:11:30Z");
            push_entry(&world, &shutdown).await;
            let stats = world.ledger();
            assert_eq!((stats.accepted, stats.closed["filtered"]), (2, 1), "it is kept, and makes no finding");
        }
        // One that was overdue before the shutdown came counts no more.
        let (followed, plan) = tracker.follow_and_plan(&before, VmFacts::default(), Utc::now()).await.unwrap();
        assert_eq!((matches!(followed, Followed::Nothing(_)), plan), (shut_down, None));
        tracker.overdue(Utc::now() + TimeDelta::hours(1)).await.unwrap().len()
    };
    assert_eq!((incomplete(true).await, incomplete(false).await), (0, 1));
}

#[tokio::test]
async fn the_finding_says_what_changed_and_its_commands_name_the_vm() {
    let world = world().await;
    push_entry(&world, &sample("late_failed_firmware_and_sev_lost")).await;
    let finding = finding(&world, LATE).await.unwrap();
    let description = finding["description"].as_str().unwrap();
    assert!(
        description.contains("firmware v2, AMD SEV-SNP -> firmware v1, no confidential computing"),
        "{description}"
    );
    assert!(description.contains("no longer encrypted"), "{description}");
    let steps = finding["nextSteps"].as_str().unwrap();
    assert!(
        steps.contains("gcloud compute instances stop 4417382950617283945 --project=demo-int --zone=europe-west3-b"),
        "{steps}"
    );
    assert_eq!(finding["mitreAttack"]["primaryTactic"], "PERSISTENCE");
    push_entry(&world, &sample("early_failed_only_pcr7")).await;
    let early = crate::integrity::finding(&world, "Early Boot Integrity Failure").await.unwrap();
    assert!(early["description"].as_str().unwrap().contains("2026"), "the certificate roll-over is mentioned");
    let boot = early["sourceProperties"]["boot_counter"].as_f64().unwrap();
    let late_report = format!(
        "AND jsonPayload.bootCounter=\"{boot}\" AND jsonPayload.lateBootReportEvent:*' --project=demo-int --format=json | sysdig-scc baseline import NAME"
    );
    let steps = early["nextSteps"].as_str().unwrap();
    assert!(steps.contains(&late_report), "an early report cannot be approved: {late_report} {steps}");
    assert_eq!(steps.matches("baseline import").count(), 1, "{steps}");
}

#[tokio::test]
async fn what_somebody_writes_into_a_log_of_his_own_is_not_believed() {
    let world = world().await;
    push_entry(&world, &late(3, false)).await;
    let ignored = world.ledger().closed["ignored"];
    for log in [
        "projects/attacker/logs/compute.googleapis.com%2Fshielded_vm_integrity",
        "projects/demo-int/logs/my-own-log",
        "projects/attacker/logs/mylog",
    ] {
        for mut forged in [late(4, true), late(5, false), sample("audit_relearned"), sample("audit_secure_boot_off")] {
            forged["logName"] = json!(log);
            push_entry(&world, &forged).await;
        }
    }
    let mut other = late(4, true);
    other["jsonPayload"]["@type"] = json!("type.googleapis.com/other.Thing");
    push_entry(&world, &other).await;
    assert_eq!(world.ledger().closed["ignored"], ignored + 13, "all are acknowledged, and none is an event");
    assert_eq!(state(&world, LATE).await.as_deref(), Some("ACTIVE"), "a forged pass closes nothing");
    assert_eq!(world.findings().await.len(), 1);
}

const SWITCHED_OFF: &str = "Secure Boot or Monitoring Switched Off";
const RELEARNED: &str = "Integrity Baseline Relearned";

/// The first entry of an operation.
fn asked(sample_of: &str, operation: &str, second: u32, request: Value) -> Value {
    let mut entry = sample(sample_of);
    entry["operation"] = json!({"id": operation, "producer": "compute.googleapis.com", "first": true});
    entry["timestamp"] = json!(format!("2026-11-20T10:30:{second:02}.5Z"));
    entry["protoPayload"]["request"] = request;
    entry
}

/// The last entry of an operation that failed.
fn failed(first: &Value, second: u32) -> Value {
    let mut entry = first.clone();
    entry["operation"] = json!({"id": first["operation"]["id"], "producer": "compute.googleapis.com", "last": true});
    entry["timestamp"] = json!(format!("2026-11-20T10:30:{second:02}.5Z"));
    let payload = entry["protoPayload"].as_object_mut().unwrap();
    payload.remove("request");
    payload.insert("status".into(), json!({"code": 3, "message": "the instance is running"}));
    entry
}

fn switched(operation: &str, second: u32, request: Value) -> Value {
    asked("audit_secure_boot_off", operation, second, request)
}

#[tokio::test]
async fn what_is_off_is_told_in_whatever_order_the_entries_come() {
    let off = switched("o1", 0, json!({"enableSecureBoot": false}));
    let vtpm_on = switched("o2", 30, json!({"enableVtpm": true}));
    let monitoring_off = switched("o3", 20, json!({"enableIntegrityMonitoring": false}));
    let on = switched("o4", 40, json!({"enableSecureBoot": true, "enableIntegrityMonitoring": true}));
    for entries in [[&off, &monitoring_off, &vtpm_on], [&vtpm_on, &monitoring_off, &off]] {
        let world = world().await;
        for entry in entries {
            push_entry(&world, entry).await;
        }
        let finding = finding(&world, SWITCHED_OFF).await.unwrap();
        assert_eq!(finding["state"], "ACTIVE");
        let description = finding["description"].as_str().unwrap();
        assert!(description.contains("Now off: Secure Boot, integrity monitoring."), "{description}");
        assert!(description.contains("Secure Boot was switched off by alice@example.com on 2026-11-20 10:30:00 UTC."));
        push_entry(&world, &on).await;
        assert_eq!(state(&world, SWITCHED_OFF).await.as_deref(), Some("INACTIVE"));
    }
}

#[tokio::test]
async fn a_change_that_failed_is_taken_back_in_whatever_order_the_entries_come() {
    let off = switched("o1", 0, json!({"enableSecureBoot": false}));
    let world = world().await;
    push_entry(&world, &off).await;
    assert_eq!(state(&world, SWITCHED_OFF).await.as_deref(), Some("ACTIVE"));
    push_entry(&world, &failed(&off, 2)).await;
    assert_eq!(state(&world, SWITCHED_OFF).await.as_deref(), Some("INACTIVE"), "it is not off");

    let again = switched("o2", 10, json!({"enableSecureBoot": false}));
    push_entry(&world, &failed(&again, 12)).await;
    push_entry(&world, &again).await;
    assert_eq!(state(&world, SWITCHED_OFF).await.as_deref(), Some("INACTIVE"), "the end came first");

    push_entry(&world, &switched("o3", 20, json!({"enableSecureBoot": false}))).await;
    let on = switched("o4", 25, json!({"enableSecureBoot": true}));
    push_entry(&world, &on).await;
    push_entry(&world, &failed(&on, 26)).await;
    let finding = finding(&world, SWITCHED_OFF).await.unwrap();
    assert_eq!(finding["state"], "ACTIVE", "it is still off");
    assert!(finding["description"].as_str().unwrap().contains("asked for failed"), "{finding:#}");
    assert!(finding["description"].as_str().unwrap().contains("Now off: Secure Boot."), "{finding:#}");
}

#[tokio::test]
async fn a_relearn_counts_only_when_it_was_asked_for_and_did_not_fail() {
    let world = world().await;
    let relearned = |operation, second, asks: bool| {
        asked("audit_relearned", operation, second, json!({"updateAutoLearnPolicy": asks}))
    };
    let not_asked = relearned("o1", 0, false);
    push_entry(&world, &not_asked).await;
    let mut end = failed(&not_asked, 2);
    end["protoPayload"].as_object_mut().unwrap().remove("status");
    push_entry(&world, &end).await;
    assert_eq!(state(&world, RELEARNED).await, None);
    push_entry(&world, &relearned("o2", 10, true)).await;
    assert_eq!(state(&world, RELEARNED).await.as_deref(), Some("ACTIVE"));
    let later = relearned("o3", 20, true);
    push_entry(&world, &later).await;
    push_entry(&world, &failed(&later, 22)).await;
    let finding = finding(&world, RELEARNED).await.unwrap();
    let description = finding["description"].as_str().unwrap();
    assert!(description.contains("last relearned by alice@example.com on 2026-11-20 10:30 UTC"), "{description}");
    assert_eq!(finding["state"], "ACTIVE", "the one before it did not fail");
    push_entry(&world, &failed(&relearned("o2", 10, true), 30)).await;
    assert_eq!(state(&world, RELEARNED).await.as_deref(), Some("INACTIVE"), "none is left");
}

/// What comes while Security Command Center does not answer is told when it does, although it is over by then.
#[tokio::test]
async fn a_failure_that_passed_during_an_outage_is_opened_and_closed() {
    let mut early_passed = sample("early_passed");
    early_passed["jsonPayload"]["bootCounter"] = json!("4");
    let on = switched("o2", 30, json!({"enableSecureBoot": true}));
    let failures = [late(3, false), early(3), switched("o1", 0, json!({"enableSecureBoot": false}))];
    let world = world().await;
    world.scc_fails(json!({"next": 1_000_000, "status": 503})).await;
    for (entries, failing) in [(failures, 3), ([late(4, true), early_passed, on], 6)] {
        for entry in entries {
            assert_eq!(push(&world, wrapped(entry.to_string().as_bytes())).await, 204);
        }
        world.until(|_| tried(&world) == failing).await;
    }
    world.scc_recovers().await;
    let stats = world.settle().await;
    assert_eq!((stats.closed["delivered"], stats.closed["superseded"]), (6, 0));
    for category in [LATE, "Early Boot Integrity Failure", SWITCHED_OFF] {
        let finding = finding(&world, category).await.unwrap_or_else(|| panic!("{category}"));
        assert_eq!(finding["state"], "INACTIVE", "{category}");
        let description = finding["description"].as_str().unwrap();
        assert!(description.contains("PCR_") || description.contains("Now off: nothing, since"), "{description}");
        assert!(description.contains("This is told late, and is over: "), "{description}");
        let steps = finding["nextSteps"].as_str().unwrap();
        assert!(!steps.contains("instances stop") && !steps.contains("--shielded-learn"), "{steps}");
    }
    assert_eq!(finding(&world, LATE).await.unwrap()["sourceProperties"]["boot_counter"], 3.0);
}

/// Options that were switched in steps, or told in another order, or whose switching on failed.
#[tokio::test]
async fn what_was_switched_off_and_on_in_steps_during_an_outage_is_opened_and_closed() {
    let off = |second, request| switched("o1", second, request);
    let on = |operation, second| switched(operation, second, json!({"enableSecureBoot": true}));
    let monitoring_on = switched("o3", 40, json!({"enableIntegrityMonitoring": true}));
    let secure_boot = json!({"enableSecureBoot": false});
    let both_off = off(0, json!({"enableSecureBoot": false, "enableVtpm": false}));
    let vtpm_on = switched("o3", 40, json!({"enableVtpm": true}));
    for entries in [
        vec![both_off, on("o2", 20), vtpm_on],
        vec![monitoring_on, off(10, secure_boot.clone()), on("o2", 20)],
        vec![off(0, secure_boot), on("o2", 20), failed(&on("o2", 20), 25), on("o3", 40)],
    ] {
        let world = world().await;
        world.scc_fails(json!({"next": 1_000_000, "status": 503})).await;
        for (before, entry) in entries.iter().enumerate() {
            assert_eq!(push(&world, wrapped(entry.to_string().as_bytes())).await, 204);
            world.until(|_| tried(&world) == before + 1).await;
        }
        world.scc_recovers().await;
        world.settle().await;
        assert_eq!(state(&world, SWITCHED_OFF).await.as_deref(), Some("INACTIVE"), "{entries:#?}");
    }
}

fn rows(world: &World) -> Vec<Listed> {
    let all = Selection { limit: 100, ..Selection::default() };
    Admin::open(&world.outbox).unwrap().list(&all).unwrap()
}

fn tried(world: &World) -> usize {
    rows(world).iter().filter(|row| row.attempts > 0).count()
}

#[tokio::test]
async fn a_pass_does_not_wait_for_the_finding_of_a_failure_that_was_parked() {
    let world = world().await;
    world.scc_fails(json!({"next": 1, "status": 400, "match": "POST "})).await;
    push_entry(&world, &late(3, false)).await;
    push_entry(&world, &late(4, true)).await;
    let stats = world.ledger();
    assert_eq!((stats.closed["delivered"], stats.closed["parked"]), (1, 1), "{:?}", rows(&world));
    let told =
        rows(&world).into_iter().find_map(|row| row.reason.filter(|reason| reason.contains("not delivered yet")));
    assert_eq!(
        told.as_deref(),
        Some("The finding of a failure before this is not delivered yet; whoever delivers it closes it.")
    );
    assert_eq!(state(&world, LATE).await, None);
    let parked = rows(&world).into_iter().find(|row| row.reason.as_deref() != told.as_deref()).unwrap().id;
    assert!(Admin::open(&world.outbox).unwrap().retry(parked, None).unwrap());
    world.settle().await;
    assert_eq!(state(&world, LATE).await.as_deref(), Some("INACTIVE"), "opened, and closed");
}
