//! What the finding says in the end: whichever replica was faster, and whatever was known when it was raised.

use std::path::Path;
use std::sync::{Arc, Mutex};

use chrono::{TimeDelta, Utc};
use futures_util::future::BoxFuture;
use serde_json::{Value, json};
use sysdig_scc::config::acting::Mode;
use sysdig_scc::finding::FindingChange;
use sysdig_scc::integrity::Fact;
use sysdig_scc::integrity::entry::Check;
use sysdig_scc::integrity::record::Standing;
use sysdig_scc::respond::plans::{Open, Plans};
use sysdig_scc::state::{Body, Document, Expected, Store, body_of};
use sysdig_scc::track::baselines::Baselines;
use sysdig_scc::track::{self, Followed, Tracker, VmFacts};

use crate::acting::{LATE, acting, answered, approve, compute, early, finding, is, late, store};
use crate::acting_crash::{Bench, ended, entry, rules};
use crate::fakes::compute_world::{ComputeWorld, Fault};
use crate::fakes::loopback::Answer;
use crate::fakes::state::{Trouble, Troubled};
use crate::pubsub::push_entry;
use crate::world::World;

/// Another replica: an outbox of its own, the state and the Security Command Center of the first one.
async fn beside(world: &World, compute: &ComputeWorld, action: &str) -> World {
    let state = format!("sqlite:{}", world.outbox.parent().unwrap_or(Path::new("")).join("state.db").display());
    acting(compute, action, &[("STATE_URL", &state), ("SCC_ENDPOINT", &world.scc.url())]).await
}

/// A report of just now: its finding's time is kept out of the future, so that every delivery has a newer one.
fn just_now() -> Value {
    let mut report = late(3);
    report["timestamp"] = json!(Utc::now());
    report
}

/// The answer is lost, the same request is made again a minute later, and Compute Engine says when it took the first.
#[tokio::test]
async fn a_relearn_whose_answer_was_lost_is_of_when_it_was_taken() {
    let bench = Bench::new(rules(Mode::RelearnOrReport)).await;
    approve(&bench.store, "b", &late(3), json!({})).await;
    bench.plan(&late(3)).await;
    let taken = bench.now();
    bench.compute.world().fails("relearn", [Fault::Does(Answer::Hang)]);
    bench.dies().await;
    let plan = bench.recovers().await;
    assert_eq!(ended(&plan), ("done", "asked"));
    let record = bench.tracker().record(&plan.report.vm).await.unwrap().unwrap();
    assert_eq!(record.learning.unwrap().called, taken);
    let mut before_the_retry = late(4);
    before_the_retry["timestamp"] = json!(taken + TimeDelta::seconds(30));
    let followed = bench.tracker().follow(&entry(&before_the_retry), VmFacts::default(), bench.now()).await.unwrap();
    let Followed::Changes(changes) = followed else { panic!("{followed:?}") };
    let lost = |change: &FindingChange| match change {
        FindingChange::Raise { finding, .. } => finding.category.contains("Not Approved"),
        _ => false,
    };
    assert!(changes.iter().any(lost), "its policy is the one from before: {changes:?}");
}

#[tokio::test]
async fn a_plan_that_has_ended_stays_told_however_late_another_replica_tells_it() {
    let compute = compute();
    let first = acting(&compute, "stop", &[]).await;
    let second = beside(&first, &compute, "stop").await;
    let report = just_now();
    push_entry(&first, &report).await;
    is(&answered(&first, LATE).await, "stop", "done", "asked");
    let writes = || async { finding(&first, LATE).await.unwrap()["eventTime"].clone() };
    let before = writes().await;
    push_entry(&second, &report).await;
    assert_ne!(writes().await, before, "it did write over the answer");
    is(&finding(&first, LATE).await.unwrap(), "stop", "done", "asked");
    assert_eq!(compute.verbs(), ["stop"]);
}

#[tokio::test]
async fn two_replicas_that_tell_the_same_plan_at_once_end_with_its_answer() {
    let compute = compute();
    let first = acting(&compute, "stop", &[]).await;
    let second = beside(&first, &compute, "stop").await;
    // Whoever creates it second looks and writes while the plan of the first is driven to its end.
    first.scc_fails(json!({"latency_ms": 60, "next": 3, "match": "PATCH "})).await;
    let report = just_now();
    tokio::join!(push_entry(&first, &report), push_entry(&second, &report));
    let found = answered(&first, LATE).await;
    is(&found, "stop", "done", "asked");
    second.settle().await;
    is(&finding(&first, LATE).await.unwrap(), "stop", "done", "asked");
    assert_eq!((first.ledger().closed["parked"], second.ledger().closed["parked"]), (0, 0));
}

#[tokio::test]
async fn what_is_good_by_a_name_that_compute_engine_told_becomes_low_and_names_its_baseline() {
    for fields in [json!({"names": ["web-*"]}), json!({"labels": {"env": "prod"}})] {
        let compute = compute();
        let world = acting(&compute, "relearn-or-report", &[]).await;
        approve(&store(&world).await, "november", &late(3), fields).await;
        push_entry(&world, &late(3)).await;
        let found = answered(&world, LATE).await;
        is(&found, "relearn", "done", "asked");
        assert_eq!(
            (&found["severity"], &found["sourceProperties"]["known_good_baseline"]),
            (&json!("LOW"), &json!("november"))
        );
        assert!(found["description"].as_str().unwrap().contains("known to be good: baseline november"), "{found:#}");
    }
}

#[tokio::test]
async fn what_is_not_good_any_more_when_it_is_acted_on_becomes_high() {
    let bench = Bench::new(rules(Mode::RelearnOrStop)).await;
    approve(&bench.store, "november", &late(3), json!({})).await;
    approve(&bench.store, "other", &late(3), json!({"names": ["db-*"]})).await;
    let severity = |followed: Followed| match followed {
        Followed::Changes(changes) => match &changes[0] {
            FindingChange::Raise { finding, .. } | FindingChange::Amend { finding, .. } => json!(finding.severity),
            other => panic!("{other:?}"),
        },
        Followed::Nothing(note) => panic!("{note}"),
    };
    let raised = bench.tracker().follow(&entry(&late(3)), VmFacts::default(), bench.now()).await.unwrap();
    bench.plan(&late(3)).await;
    let baselines = Baselines::new(bench.store.clone(), TimeDelta::zero());
    baselines.remove("november", "tester", bench.now()).await.unwrap();
    bench.process().step().await.unwrap();
    let plan = bench.the_plan().await;
    assert_eq!((ended(&plan), bench.compute.verbs()), (("done", "asked"), vec!["stop".to_owned()]));
    let amended = bench.tracker().follow(&plan.entry().unwrap(), VmFacts::default(), bench.now()).await.unwrap();
    assert_eq!((severity(raised), severity(amended)), (json!("LOW"), json!("HIGH")));
}

/// The failure came in before the pass, and its finding could not be delivered until then.
#[tokio::test]
async fn a_failure_that_passed_before_it_could_be_told_announces_no_answer() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    let accepted = VmFacts { accepted: Some(bench.now()), ..VmFacts::default() };
    let failed = entry(&late(3));
    let mut passed = entry(&late(4));
    let Fact::LateBoot(report) = &mut passed.fact else { panic!("{passed:?}") };
    report.stated = Some(true);
    for entry in [&failed, &passed] {
        bench.tracker().follow(entry, accepted, bench.now()).await.unwrap();
    }
    let (followed, plan) = bench.tracker().follow_and_plan(&failed, accepted, bench.now()).await.unwrap();
    assert_eq!(ended(&plan.unwrap()), ("refused", "passed_since"));
    let Followed::Changes(changes) = followed else { panic!("{followed:?}") };
    let [FindingChange::Raise { finding, .. }, FindingChange::Amend { only_closed: true, .. }] = &changes[..] else {
        panic!("{changes:?}")
    };
    let description = finding.description.as_deref().unwrap();
    assert!(description.contains("the check has passed since, as of 2026-11-20 11:11:12 UTC."), "{description}");
    assert!(!description.contains("Compute Engine is asked first"), "{description}");
    let steps = finding.next_steps.as_deref().unwrap();
    assert!(!steps.contains("instances stop") && !steps.contains("--shielded-learn"), "{steps}");
}

/// Boot 4 came up between the check and the relearn, and its report comes after it.
#[tokio::test]
async fn a_boot_that_was_learned_in_the_approved_ones_place_is_said_to_be() {
    let compute = compute();
    compute.world().asked = Some("2026-11-20T11:12:00Z".to_owned());
    let world = acting(&compute, "relearn-or-report", &[]).await;
    approve(&store(&world).await, "november", &late(3), json!({})).await;
    push_entry(&world, &late(3)).await;
    is(&answered(&world, LATE).await, "relearn", "done", "asked");
    let mut other = late(4);
    other["jsonPayload"]["lateBootReportEvent"]["actualMeasurements"][1]["value"] =
        json!("AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
    push_entry(&world, &other).await;
    let lost = finding(&world, "Relearned Baseline Was Not Approved").await.unwrap();
    assert_eq!(
        (&lost["severity"], &lost["sourceProperties"]["not_approved"]),
        (&json!("CRITICAL"), &json!(["PCR_4 (SHA1)"]))
    );
    let told = lost["description"].as_str().unwrap();
    assert!(told.contains("What this boot measured differs from that in PCR_4 (SHA1)."), "{told}");
    assert!(told.contains("before the relearn") && !told.contains("no effect"), "{told}");
}

/// Somebody else writes a fact of this kind once, between the read of it and what is made of that.
#[derive(Debug)]
struct Faster {
    store: Arc<dyn Store>,
    kind: &'static str,
    writes: Mutex<Option<Body>>,
}

impl Trouble for Faster {
    fn after_read<'a>(&'a self, kind: &'a str, found: Option<&'a Document>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            let key = found.filter(|_| kind == self.kind).map(|found| &found.key);
            let body = key.and_then(|_| self.writes.lock().unwrap().take());
            if let (Some(key), Some(body)) = (key, body) {
                self.store.write(kind, key, &body, Expected::Any).await.unwrap();
            }
        })
    }
}

impl Faster {
    fn than(store: &Arc<dyn Store>, kind: &'static str, writes: Body) -> Arc<dyn Store> {
        let faster = Self { store: Arc::clone(store), kind, writes: Mutex::new(Some(writes)) };
        Arc::new(Troubled(Arc::clone(store), faster))
    }
}

/// The next boot did not complete either, and its finding is the same one.
#[tokio::test]
async fn what_we_ended_closes_nothing_that_is_about_a_newer_boot_by_then() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&early(3)).await;
    bench.later(900);
    let told = bench.tracker().overdue(bench.now()).await.unwrap().remove(0);
    bench.tracker().follow(&told, VmFacts::default(), bench.now()).await.unwrap();
    bench.compute.world().asked = Some("2026-11-20T02:12:00.000-08:00".to_owned());
    bench.process().step().await.unwrap();
    let answered = bench.the_plan().await.entry().unwrap();
    let mut newer = bench.tracker().record(&answered.vm).await.unwrap().unwrap();
    let failed = Some(entry(&early(4)).moment());
    newer.checks.insert(Check::BootIncomplete, Standing { failed, ..Standing::default() });
    let store = Faster::than(&bench.store, track::KIND, body_of("boot", "x", &newer).unwrap());
    let baselines = Baselines::new(Arc::clone(&store), TimeDelta::zero());
    let tracker = Tracker::new(store, baselines, TimeDelta::minutes(10)).acting(Arc::clone(&bench.rules));
    let followed = tracker.follow(&answered, VmFacts::default(), bench.now()).await.unwrap();
    let Followed::Changes(changes) = followed else { panic!("{followed:?}") };
    assert!(matches!(changes[..], [FindingChange::Amend { .. }]), "{changes:?}");
    assert_eq!(tracker.record(&answered.vm).await.unwrap(), Some(newer));
}

#[tokio::test]
async fn what_is_not_known_of_a_vm_is_not_written_down() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    let report = entry(&late(3));
    bench.tracker().relearn_not_taken(&report.vm, report.moment()).await.unwrap();
    assert_eq!(bench.tracker().record(&report.vm).await.unwrap(), None);
}

#[tokio::test]
async fn counts_are_set_back_and_plans_put_off_also_when_somebody_else_writes_them() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    let plan = bench.the_plan().await;
    let plans = Plans::new(Arc::clone(&bench.store));
    plans.take(&plan, &bench.rules.limits, bench.now()).await.unwrap().unwrap();
    let taken = body_of("response_caps", "x", &plans.caps(false).await.unwrap()).unwrap();
    let hurried = Plans::new(Faster::than(&bench.store, "response_caps", taken));
    // The same as it was, and a version of its own.
    assert_eq!(hurried.reset_caps(false, "tester", bench.now()).await.unwrap().overall, 0);
    assert_eq!(plans.caps(false).await.unwrap().overall, 0);

    let (since, due) = (bench.now() + TimeDelta::seconds(1), bench.now() + TimeDelta::hours(1));
    let renewed = Open { vm: plan.report.vm.key(), due: bench.now(), since };
    let hurried = Plans::new(Faster::than(&bench.store, "response_open", body_of("x", "x", &renewed).unwrap()));
    hurried.later(&plan.key(), due).await.unwrap();
    assert_eq!(plans.open(bench.now()).await.unwrap(), [(plan.key(), Open { due, ..renewed })]);
}
