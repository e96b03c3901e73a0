//! Acting on failed boots, through the whole connector and a Compute Engine in which things happen.

use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use serde_json::{Value, json};
use sysdig_scc::config::Env;
use sysdig_scc::config::state::StateConfig;
use sysdig_scc::google::TokenSource;
use sysdig_scc::integrity::baseline::Baseline;
use sysdig_scc::plan::Plan;
use sysdig_scc::respond::plans::Plans;
use sysdig_scc::state::{self, Store};
use sysdig_scc::track::baselines::Baselines;

use crate::fakes::compute::refused;
use crate::fakes::compute_world::{ComputeWorld, Fault, shielded_vm};
use crate::fakes::loopback::Answer;
use crate::pubsub::{push_entry, sample};
use crate::world::World;

pub const PROJECT: &str = "demo-int";
pub const ZONE: &str = "europe-west3-b";
pub const ID: u64 = 4_417_382_950_617_283_945;
/// Some seconds before the report.
pub const STARTED: &str = "2026-11-20T02:10:50.000-08:00";

/// A late report that failed, of this boot; an hour a boot.
pub fn late(boot: u64) -> Value {
    let mut entry = sample("late_failed_pcr4_changed_pcr14_new");
    entry["jsonPayload"]["bootCounter"] = json!(boot.to_string());
    entry["timestamp"] = json!(format!("2026-11-20T{:02}:11:12.902113871Z", boot + 7));
    entry
}

pub fn early(boot: u64) -> Value {
    let mut entry = sample("early_failed_only_pcr7");
    entry["resource"]["labels"] = late(boot)["resource"]["labels"].clone();
    entry["jsonPayload"]["bootCounter"] = json!(boot.to_string());
    entry["timestamp"] = json!(format!("2026-11-20T{:02}:11:02.5Z", boot + 7));
    entry
}

/// A Compute Engine with the VM of the samples.
pub fn compute() -> ComputeWorld {
    let compute = ComputeWorld::start();
    compute.world().instances.push(shielded_vm(PROJECT, ZONE, "web-1", ID, STARTED));
    compute
}

/// The connector with this action.
pub async fn acting(compute: &ComputeWorld, action: &str, extra: &[(&str, &str)]) -> World {
    let mut settings = vec![
        ("PUBSUB_PUSH_UNVERIFIED", "true"),
        ("BASELINE_CACHE_SECS", "0"),
        ("COMPUTE_ENDPOINT", compute.server.url.as_str()),
        ("INTEGRITY_ACTION", action),
    ];
    settings.extend(extra);
    World::with(&settings).await
}

/// The world's state store.
pub async fn store(world: &World) -> Arc<dyn Store> {
    let config = StateConfig::read(&mut Env::from_pairs(world.settings(&[]))).unwrap();
    state::open(&config, &TokenSource::none()).unwrap()
}

/// Approves what this report measured.
pub async fn approve(store: &Arc<dyn Store>, name: &str, entry: &Value, fields: Value) {
    let mut body = serde_json::Map::new();
    for element in entry["jsonPayload"]["lateBootReportEvent"]["actualMeasurements"].as_array().unwrap() {
        body.insert(element["pcrNum"].as_str().unwrap().to_owned(), element.clone());
    }
    body.extend(fields.as_object().unwrap().clone());
    let baselines = Baselines::new(Arc::clone(store), TimeDelta::zero());
    baselines.import(&Baseline::read(name, &body), true, "tester", Utc::now()).await.unwrap();
}

pub async fn finding(world: &World, category: &str) -> Option<Value> {
    let name = format!("Shielded VM: {category}");
    world.findings().await.into_iter().find(|finding| finding["category"] == name)
}

pub const LATE: &str = "Late Boot Integrity Failure";
const EARLY: &str = "Early Boot Integrity Failure";

/// The finding's properties once the answer stands in it.
pub async fn answered(world: &World, category: &str) -> Value {
    let looking = async {
        loop {
            if let Some(finding) = finding(world, category).await
                && finding["sourceProperties"]["action_result"] != "planned"
            {
                return finding;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(12), looking).await;
    let Ok(finding) = found else {
        panic!(
            "no answer: {:#?}\n{:#?}\n{:?}",
            finding(world, category).await,
            plans(world).await,
            sysdig_scc::outbox::sqlite::Admin::open(&world.outbox)
                .unwrap()
                .list(&sysdig_scc::outbox::sqlite::Selection { limit: 10, ..Default::default() })
        );
    };
    world.settle().await;
    finding
}

pub fn said(finding: &Value) -> (String, String, String) {
    let text = |name: &str| finding["sourceProperties"][name].as_str().unwrap_or_default().to_owned();
    (text("action"), text("action_result"), text("action_reason"))
}

pub fn is(found: &Value, action: &str, result: &str, reason: &str) {
    assert_eq!(said(found), (action.into(), result.into(), reason.into()), "{found:#}");
}

pub async fn plans(world: &World) -> Vec<Plan> {
    Plans::new(store(world).await).all().await.unwrap().0
}

#[tokio::test]
async fn report_is_the_default_and_asks_compute_engine_nothing() {
    let compute = compute();
    let world = World::with(&[("PUBSUB_PUSH_UNVERIFIED", "true"), ("COMPUTE_ENDPOINT", &compute.server.url)]).await;
    push_entry(&world, &late(3)).await;
    let found = finding(&world, LATE).await.unwrap();
    assert_eq!(found["sourceProperties"].get("action"), None);
    assert_eq!(plans(&world).await, vec![]);
    assert!(compute.server.asked().is_empty());
}

#[tokio::test]
async fn a_report_whose_log_proves_nothing_is_told_and_not_acted_on() {
    let compute = compute();
    let world = acting(&compute, "stop", &[]).await;
    let mut pasted = late(3);
    pasted.as_object_mut().unwrap().remove("logName");
    let mut numbered = late(4);
    numbered["logName"] = json!("projects/123456/logs/compute.googleapis.com%2Fshielded_vm_integrity");
    for (entry, why) in [(pasted, "does not name its log"), (numbered, "by the number 123456")] {
        push_entry(&world, &entry).await;
        let found = answered(&world, LATE).await;
        is(&found, "none", "reported", "log_unproven");
        assert!(found["description"].as_str().unwrap().contains(why), "{found:#}");
    }
    assert!(compute.verbs().iter().all(|verb| verb != "stop"));
}

#[tokio::test]
async fn stop_stops_what_failed_and_the_finding_and_the_journal_say_so() {
    let compute = compute();
    let world = acting(&compute, "stop", &[]).await;
    push_entry(&world, &late(3)).await;
    let found = answered(&world, LATE).await;
    is(&found, "stop", "done", "asked");
    assert_eq!(found["state"], "ACTIVE", "it is not over yet");
    assert!(
        found["description"].as_str().unwrap().contains("Compute Engine confirms that it is TERMINATED"),
        "{found:#}"
    );
    assert_eq!(compute.verbs(), ["stop"]);
    assert_eq!(compute.world().vm("web-1")["status"], "TERMINATED");
    let plan = plans(&world).await.remove(0);
    let words: Vec<&str> = plan.journal.iter().map(|line| line.what.label()).collect();
    assert_eq!(words, ["planned", "confirmed", "intent", "taken", "finished", "ended"]);
    let request = found["sourceProperties"]["action_request_id"].as_str().unwrap();
    assert_eq!(plan.journal[2].request_id.as_deref(), Some(request), "written down before the call");
    assert_eq!(compute.world().changes[0].2, request);
    assert_eq!(found["sourceProperties"]["action_operation"], "operation-1");
}

#[tokio::test]
async fn suspend_suspends() {
    let compute = compute();
    let world = acting(&compute, "suspend", &[]).await;
    push_entry(&world, &late(3)).await;
    is(&answered(&world, LATE).await, "suspend", "done", "asked");
    assert_eq!(compute.world().vm("web-1")["status"], "SUSPENDED");
    let found = finding(&world, LATE).await.unwrap();
    let steps = found["nextSteps"].as_str().unwrap();
    let place = format!("{ID} --project=demo-int --zone=europe-west3-b");
    for wanted in [
        format!("gcloud compute instances resume {place}`"),
        format!(
            "Resuming is no boot, and no new report comes of it: reboot it from within, or with `gcloud compute instances reset {place}`"
        ),
        format!("gcloud compute instances add-labels {place} --labels=sysdig-scc-exempt=true`"),
        format!("gcloud compute instances remove-labels {place} --labels=sysdig-scc-exempt`"),
    ] {
        assert!(steps.contains(&wanted), "{wanted}: {steps}");
    }
    assert!(!steps.contains("on the running VM") && !steps.contains("Stop the VM"), "{steps}");
}

#[tokio::test]
async fn what_is_known_to_be_good_is_relearned_and_the_rest_reported_or_stopped() {
    for (action, other) in
        [("relearn-or-report", ("none", "reported", "not_known_good")), ("relearn-or-stop", ("stop", "done", "asked"))]
    {
        let compute = compute();
        let world = acting(&compute, action, &[]).await;
        approve(&store(&world).await, "november", &late(3), json!({})).await;
        push_entry(&world, &early(3)).await;
        let found = finding(&world, EARLY).await.unwrap();
        is(&found, "none", "reported", "early_report");
        push_entry(&world, &late(3)).await;
        let found = answered(&world, LATE).await;
        is(&found, "relearn", "done", "asked");
        assert_eq!(compute.verbs(), ["relearn"]);
        assert!(found["description"].as_str().unwrap().contains("baseline november approves"), "{found:#}");

        let mut unknown = late(4);
        unknown["jsonPayload"]["lateBootReportEvent"]["actualMeasurements"][1]["value"] =
            json!("AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        push_entry(&world, &unknown).await;
        let found = answered(&world, LATE).await;
        is(&found, other.0, other.1, other.2);
    }
}

#[tokio::test]
async fn an_early_failure_is_answered_where_no_baseline_is_asked() {
    let compute = compute();
    let world = acting(&compute, "stop", &[]).await;
    push_entry(&world, &early(3)).await;
    is(&answered(&world, EARLY).await, "stop", "done", "asked");
    push_entry(&world, &late(3)).await;
    let found = answered(&world, LATE).await;
    is(&found, "stop", "refused", "not_running");
    let told = found["sourceProperties"]["action_detail"].as_str().unwrap();
    assert!(told.contains("the connector had it stopped") && told.contains("for the early boot check"), "{told}");
    assert_eq!(compute.verbs(), ["stop"]);
}

#[tokio::test]
async fn a_report_without_a_zone_asks_compute_engine_nothing() {
    let compute = compute();
    let world = acting(&compute, "stop", &[]).await;
    for (boot, zone) in [(3, Value::Null), (4, json!("")), (5, json!("europe-west3-b/../x")), (6, json!("EUROPE"))] {
        let mut entry = late(boot);
        entry["resource"]["labels"]["zone"] = zone.clone();
        push_entry(&world, &entry).await;
        let found = answered(&world, LATE).await;
        is(&found, "none", "reported", "incomplete_report");
        let told = found["description"].as_str().unwrap();
        assert!(told.contains("does not say in which zone") && !told.contains("()"), "{zone}: {told}");
    }
    assert_eq!(compute.server.asked().len(), 0);
}

/// Every row of the table of situations in which the tutorial's function is wrong.
#[tokio::test]
async fn where_the_tutorial_is_wrong() {
    let without = |mut entry: Value, list: &str, pcr: &str| {
        let list = entry["jsonPayload"]["lateBootReportEvent"][list].as_array_mut().unwrap();
        list.retain(|element| element["pcrNum"] != pcr);
        entry
    };
    let good = late(3);
    let three = without(good.clone(), "actualMeasurements", "PCR_14");
    let windows = {
        let mut entry = good.clone();
        let list = entry["jsonPayload"]["lateBootReportEvent"]["actualMeasurements"].as_array_mut().unwrap();
        list.push(json!({"hashAlgo": "SHA1", "pcrNum": "PCR_11", "value": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="}));
        entry
    };
    let banks = {
        let mut entry = good.clone();
        let list = entry["jsonPayload"]["lateBootReportEvent"]["actualMeasurements"].as_array_mut().unwrap();
        list.push(
            json!({"hashAlgo": "SHA256", "pcrNum": "PCR_4", "value": "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}),
        );
        entry
    };
    let unstated = {
        let mut entry = good.clone();
        entry["jsonPayload"]["lateBootReportEvent"].as_object_mut().unwrap().remove("policyEvaluationPassed");
        entry
    };
    let short = without(three.clone(), "actualMeasurements", "PCR_7");
    let short_everywhere = without(short.clone(), "policyMeasurements", "PCR_7");
    let note = json!({"note": "approved in November", "owner": {"team": "x"}});
    for (title, baseline, report, action, reason) in [
        ("a Windows VM, three registers approved", Some((&three, json!({}))), &windows, "stop", "asked"),
        ("a Linux VM with one more", Some((&three, json!({}))), &good, "stop", "asked"),
        ("the same four on both sides", Some((&good, json!({}))), &good, "relearn", "asked"),
        ("a note beside", Some((&good, note)), &good, "relearn", "asked"),
        ("a register is not reported", Some((&three, json!({}))), &short, "none", "incomplete_report"),
        ("nor in the policy", Some((&three, json!({}))), &short_everywhere, "none", "incomplete_report"),
        ("an empty collection", None, &good, "none", "no_baselines"),
        ("two banks, one approved", Some((&good, json!({}))), &banks, "stop", "asked"),
        ("no result", Some((&good, json!({}))), &unstated, "none", "result_not_stated"),
        (
            "an expired baseline alone",
            Some((&good, json!({"expiresAt": "2020-01-01T00:00:00Z"}))),
            &good,
            "none",
            "no_baselines",
        ),
        ("one for VMs of this name", Some((&good, json!({"names": ["web-*"]}))), &good, "relearn", "asked"),
        ("one for VMs of another label", Some((&good, json!({"labels": {"env": "test"}}))), &good, "stop", "asked"),
    ] {
        let compute = compute();
        let world = acting(&compute, "relearn-or-stop", &[]).await;
        if let Some((approved, fields)) = baseline {
            approve(&store(&world).await, "b", approved, fields).await;
        }
        push_entry(&world, report).await;
        let found = answered(&world, LATE).await;
        let (seen, _, why) = said(&found);
        assert_eq!((seen.as_str(), why.as_str()), (action, reason), "{title}: {found:#}");
        let expected: &[&str] = if action == "none" { &[] } else { &[action] };
        assert_eq!(compute.verbs(), expected, "{title}");
    }
}

#[tokio::test]
async fn an_empty_collection_stops_only_where_that_is_said() {
    let compute = compute();
    let world = acting(&compute, "relearn-or-stop", &[("INTEGRITY_STOP_WITHOUT_BASELINES", "true")]).await;
    push_entry(&world, &late(3)).await;
    is(&answered(&world, LATE).await, "stop", "done", "asked");
}

#[tokio::test]
async fn what_compute_engine_does_not_confirm_is_refused() {
    let group = json!({"items": [{"key": "created-by", "value": "projects/4711/zones/z/instanceGroupManagers/web"}]});
    let base = format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones");
    for (reason, member, value) in [
        ("not_running", "status", json!("TERMINATED")),
        ("restarted_since", "lastStartTimestamp", json!("2026-11-20T12:00:00.000-08:00")),
        ("monitoring_off", "shieldedInstanceConfig", json!({"enableVtpm": true})),
        ("exempt_label", "labels", json!({"sysdig-scc-exempt": "yes"})),
        ("gke_node", "labels", json!({"goog-gke-node": ""})),
        ("group_member", "metadata", group.clone()),
        ("local_ssd", "disks", json!([{"type": "SCRATCH"}])),
        ("instance_gone", "zone", json!(format!("{base}/other-zone-a"))),
    ] {
        let compute = compute();
        compute.world().vm("web-1")[member] = value;
        let world = acting(&compute, "stop", &[]).await;
        push_entry(&world, &late(3)).await;
        let found = answered(&world, LATE).await;
        is(&found, "stop", "refused", reason);
        assert!(found["description"].as_str().unwrap().contains("nothing was done: "), "{found:#}");
        assert!(compute.verbs().is_empty(), "{reason}");
        assert_eq!(plans(&world).await[0].journal.last().unwrap().what.label(), "ended");
    }
    // The id of the report answers with another VM.
    let compute = compute();
    let mut other = compute.world().instances.remove(0);
    other["id"] = json!("1");
    let says = Fault::Says(Answer::Json(200, other));
    compute.world().fails("get", [says]);
    let world = acting(&compute, "stop", &[]).await;
    push_entry(&world, &late(3)).await;
    is(&answered(&world, LATE).await, "stop", "refused", "id_differs");
}

#[tokio::test]
async fn settings_let_groups_and_local_ssds_be_acted_on() {
    let compute = compute();
    compute.world().vm("web-1")["labels"] = json!({"goog-gke-node": ""});
    let local = json!({"type": "SCRATCH", "interface": "NVME"});
    compute.world().vm("web-1")["disks"].as_array_mut().unwrap().push(local);
    let world =
        acting(&compute, "stop", &[("INTEGRITY_ACT_ON_GROUPS", "true"), ("INTEGRITY_DISCARD_LOCAL_SSD", "true")]).await;
    push_entry(&world, &late(3)).await;
    is(&answered(&world, LATE).await, "stop", "done", "asked");
    let stop = compute.server.asked().into_iter().find(|asked| asked.path.ends_with("/stop")).unwrap();
    assert_eq!(stop.query["discardLocalSsd"], "true");
}

#[tokio::test]
async fn a_later_boot_that_was_seen_keeps_an_older_one_from_being_acted_on() {
    let compute = compute();
    let world = acting(&compute, "relearn-or-stop", &[]).await;
    approve(&store(&world).await, "b", &late(3), json!({})).await;
    let mut startup = sample("startup");
    startup["resource"]["labels"] = late(3)["resource"]["labels"].clone();
    startup["jsonPayload"]["bootCounter"] = json!("4");
    startup["timestamp"] = json!("2026-11-20T10:20:00Z");
    push_entry(&world, &startup).await;
    push_entry(&world, &late(3)).await;
    is(&answered(&world, LATE).await, "relearn", "refused", "newer_boot_seen");
    assert!(compute.verbs().is_empty());
    push_entry(&world, &late(2)).await;
    assert_eq!(plans(&world).await.len(), 1, "an older report is not even planned for");
}

#[tokio::test]
async fn a_dry_run_says_what_it_would_do_and_changes_nothing() {
    let compute = compute();
    let extra =
        [("INTEGRITY_DRY_RUN", "true"), ("INTEGRITY_SNAPSHOT_FIRST", "true"), ("INTEGRITY_ACTIONS_PER_HOUR", "1")];
    let world = acting(&compute, "stop", &extra).await;
    push_entry(&world, &late(3)).await;
    let found = answered(&world, LATE).await;
    is(&found, "stop", "dry_run", "asked");
    assert!(found["description"].as_str().unwrap().contains("would have been stopped"), "{found:#}");
    push_entry(&world, &late(4)).await;
    is(&answered(&world, LATE).await, "stop", "refused", "cap_hour");
    assert!(compute.verbs().is_empty());
    assert!(compute.server.asked().iter().all(|asked| asked.method == "GET"), "it only reads");
    let plans = Plans::new(store(&world).await);
    assert_eq!((plans.caps(true).await.unwrap().overall, plans.caps(false).await.unwrap().overall), (1, 0));
}

#[tokio::test]
async fn snapshots_come_first_and_without_them_nothing_is_stopped() {
    let compute = compute();
    let base = format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/{ZONE}");
    let data = json!({"type": "PERSISTENT", "deviceName": "data", "source": format!("{base}/disks/a-disk-with-a-very-long-name-that-goes-on-and-on-and-on-to-63-x")});
    compute.world().vm("web-1")["disks"].as_array_mut().unwrap().push(data);
    let world = acting(&compute, "stop", &[("INTEGRITY_SNAPSHOT_FIRST", "true")]).await;
    push_entry(&world, &late(3)).await;
    let found = answered(&world, LATE).await;
    is(&found, "stop", "done", "asked");
    assert_eq!(compute.verbs(), ["snapshot", "snapshot", "stop"]);
    assert_eq!(found["sourceProperties"]["action_snapshots"].as_array().unwrap().len(), 2, "{found:#}");
    assert!(compute.world().snapshots.values().all(|snapshot| snapshot["status"] == "READY"));

    let compute = self::compute();
    compute.world().failing.insert("snapshot".into(), ("RESOURCE_OPERATION_RATE_EXCEEDED".into(), "too often".into()));
    let world = acting(&compute, "suspend", &[("INTEGRITY_SNAPSHOT_FIRST", "true")]).await;
    push_entry(&world, &late(3)).await;
    let found = answered(&world, LATE).await;
    is(&found, "suspend", "refused", "snapshot_failed");
    assert!(
        found["description"].as_str().unwrap().contains("RESOURCE_OPERATION_RATE_EXCEEDED: too often"),
        "{found:#}"
    );
    assert_eq!(compute.verbs(), ["snapshot"]);
    assert_eq!(counted(&world).await, 1, "a snapshot was asked for");

    let compute = self::compute();
    compute.world().fails("snapshot", [Fault::Says(refused(403, "forbidden", "Required 'compute.snapshots.create'"))]);
    let world = acting(&compute, "stop", &[("INTEGRITY_SNAPSHOT_FIRST", "true")]).await;
    push_entry(&world, &late(3)).await;
    let found = answered(&world, LATE).await;
    is(&found, "stop", "refused", "snapshot_failed");
    let told = found["description"].as_str().unwrap();
    assert!(told.contains("nothing was done: a snapshot could not be made first"), "none was: {told}");
    assert_eq!(counted(&world).await, 0, "nothing was changed");
}

/// How many answers have their share of the overall cap.
async fn counted(world: &World) -> u64 {
    Plans::new(store(world).await).caps(false).await.unwrap().overall
}

#[tokio::test]
async fn failures_of_compute_engine_are_told_and_only_passing_ones_tried_again() {
    let slow = || Fault::Says(refused(403, "rateLimitExceeded", "Rate Limit Exceeded"));
    let compute = compute();
    compute.world().fails("stop", [slow()]);
    compute.world().fails("get", [slow()]);
    let world = acting(&compute, "stop", &[]).await;
    push_entry(&world, &late(3)).await;
    is(&answered(&world, LATE).await, "stop", "done", "asked");
    let stops = |compute: &ComputeWorld| {
        compute.server.asked().into_iter().filter(|asked| asked.path.ends_with("/stop")).collect::<Vec<_>>()
    };
    assert_eq!(stops(&compute).len(), 2);
    assert_eq!(stops(&compute)[0].query["requestId"], stops(&compute)[1].query["requestId"]);

    for (status, reason) in [(400, "resourceNotReady"), (409, "operationInProgress"), (401, "authError")] {
        let compute = self::compute();
        compute.world().fails("stop", [Fault::Says(refused(status, reason, "not now"))]);
        let world = acting(&compute, "stop", &[]).await;
        push_entry(&world, &late(3)).await;
        is(&answered(&world, LATE).await, "stop", "done", "asked");
        assert_eq!(stops(&compute).len(), 2, "{reason}");
    }

    let compute = self::compute();
    compute.world().fails(
        "stop",
        [Fault::Says(refused(403, "forbidden", "Required 'compute.instances.stop' permission for 'x'"))],
    );
    let world = acting(&compute, "stop", &[]).await;
    push_entry(&world, &late(3)).await;
    let found = answered(&world, LATE).await;
    is(&found, "stop", "failed", "forbidden");
    assert!(
        found["description"].as_str().unwrap().contains("Required 'compute.instances.stop' permission"),
        "{found:#}"
    );
    assert_eq!(stops(&compute).len(), 1, "reported once, not tried again");
    assert_eq!(counted(&world).await, 0, "nothing was changed, so its share is another VM's");

    let compute = self::compute();
    compute.world().failing.insert("stop".into(), ("INTERNAL_ERROR".into(), "the host is stuck".into()));
    let world = acting(&compute, "stop", &[]).await;
    push_entry(&world, &late(3)).await;
    let found = answered(&world, LATE).await;
    is(&found, "stop", "failed", "operation_failed");
    assert!(found["description"].as_str().unwrap().contains("INTERNAL_ERROR: the host is stuck"), "{found:#}");
    let plan = plans(&world).await.remove(0);
    assert!(plan.journal.last().unwrap().told.contains("the host is stuck"), "{plan:#?}");
    assert_eq!(counted(&world).await, 1, "the call was taken");

    // Taken, but the answer is lost on the way.
    let compute = self::compute();
    compute.world().fails("stop", [Fault::Does(refused(503, "backendError", "try again"))]);
    let world = acting(&compute, "stop", &[]).await;
    push_entry(&world, &late(3)).await;
    is(&answered(&world, LATE).await, "stop", "done", "asked");
    assert_eq!(compute.verbs(), ["stop"], "once");
}

#[tokio::test]
async fn the_same_report_again_in_whatever_order_acts_once() {
    let compute = compute();
    let world = acting(&compute, "stop", &[]).await;
    for entry in [late(3), late(3), early(3), late(3), early(3), late(2), late(1)] {
        push_entry(&world, &entry).await;
    }
    is(&answered(&world, LATE).await, "stop", "done", "asked");
    answered(&world, EARLY).await;
    assert_eq!((compute.verbs(), compute.world().repeats), (vec!["stop".to_owned()], 0));
}

#[tokio::test]
async fn the_relearn_race_that_is_lost_is_critical_and_closes_when_mended() {
    const LOST: &str = "Relearned Baseline Was Not Approved";
    let compute = compute();
    let world = acting(&compute, "relearn-or-report", &[]).await;
    let next = |boot: u64, pcr_4: &str| {
        let mut entry = late(boot);
        let report = &mut entry["jsonPayload"]["lateBootReportEvent"];
        report["policyMeasurements"] = report["actualMeasurements"].clone();
        for list in ["policyMeasurements", "actualMeasurements"] {
            report[list][1]["value"] = json!(pcr_4);
        }
        report["policyEvaluationPassed"] = json!(true);
        entry
    };
    let approved =
        late(3)["jsonPayload"]["lateBootReportEvent"]["actualMeasurements"][1]["value"].as_str().unwrap().to_owned();
    approve(&store(&world).await, "b", &late(3), json!({})).await;
    push_entry(&world, &late(3)).await;
    is(&answered(&world, LATE).await, "relearn", "done", "asked");

    push_entry(&world, &next(4, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")).await;
    assert_eq!(finding(&world, LATE).await.unwrap()["state"], "INACTIVE", "the check itself passed");
    let lost = finding(&world, LOST).await.unwrap();
    assert_eq!((&lost["severity"], &lost["state"]), (&json!("CRITICAL"), &json!("ACTIVE")), "{lost:#}");
    assert_eq!(lost["sourceProperties"]["not_approved"], json!(["PCR_4 (SHA1)"]));
    push_entry(&world, &next(5, &approved)).await;
    assert_eq!(finding(&world, LOST).await.unwrap()["state"], "INACTIVE");
    push_entry(&world, &next(6, "AAAAAAAAAAAAAAAAAAAAAAAAAAA=")).await;
    assert_eq!(finding(&world, LOST).await.unwrap()["state"], "INACTIVE", "what others let it learn later is theirs");
}

#[tokio::test]
async fn a_relearn_that_was_won_raises_nothing() {
    let compute = compute();
    let world = acting(&compute, "relearn-or-report", &[]).await;
    approve(&store(&world).await, "b", &late(3), json!({})).await;
    push_entry(&world, &late(3)).await;
    let found = answered(&world, LATE).await;
    is(&found, "relearn", "done", "asked");
    let steps = found["nextSteps"].as_str().unwrap();
    assert!(steps.contains("See that its next boot passes") && steps.contains("baseline expire b`"), "{steps}");
    assert!(!steps.contains("baseline import") && !steps.contains("--shielded-learn-integrity-policy"), "{steps}");
    let mut next = late(4);
    let report = &mut next["jsonPayload"]["lateBootReportEvent"];
    report["policyMeasurements"] = report["actualMeasurements"].clone();
    report["policyEvaluationPassed"] = json!(true);
    push_entry(&world, &next).await;
    let open: Vec<Value> = world.findings().await.into_iter().filter(|finding| finding["state"] == "ACTIVE").collect();
    assert_eq!(open, Vec::<Value>::new());
}
