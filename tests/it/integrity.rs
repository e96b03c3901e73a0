//! The life of a Shielded VM's findings, through the whole connector.

use serde_json::{Value, json};

use crate::pubsub::{push_entry, sample};
use crate::world::World;

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
    push_entry(&world, &late(3, false)).await;
    assert_eq!(state(&world, LATE).await.as_deref(), Some("ACTIVE"));
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
    let relearned = finding(&world, "Integrity Baseline Relearned").await.unwrap();
    assert_eq!(relearned["access"]["principalEmail"], "alice@example.com");
    assert!(relearned["description"].as_str().unwrap().contains("relearned by alice@example.com"));
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
