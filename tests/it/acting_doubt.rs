//! What nobody can know, and what is told of it: calls whose fate or operation is not known, relearns that may not have
//! been taken, boots that ended before their time.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use serde_json::json;
use sysdig_scc::config::acting::{ActingConfig, Mode};
use sysdig_scc::finding::{Finding, FindingChange, FindingSeverity};
use sysdig_scc::integrity::Check;
use sysdig_scc::integrity::entry::finding_id;
use sysdig_scc::integrity::judgement::Judgement;
use sysdig_scc::plan::Plan;
use sysdig_scc::respond::plans::Plans;
use sysdig_scc::respond::responder::Responder;
use sysdig_scc::state::{Document, Expected, Store, body_of};
use sysdig_scc::track::baselines::Baselines;
use sysdig_scc::track::{Followed, VmFacts};
use tokio_util::sync::CancellationToken;

use crate::acting::{approve, early, late};
use crate::acting_crash::{Bench, ended, entry, rules};
use crate::fakes::compute::refused;
use crate::fakes::compute_world::Fault;
use crate::fakes::loopback::Answer;
use crate::fakes::state::{Trouble, Troubled};

fn not_found() -> Fault {
    Fault::Says(refused(404, "notFound", "it was not found"))
}

/// Taken, without naming an operation.
fn unnamed() -> Fault {
    Fault::Says(Answer::Json(200, json!({})))
}

/// A failed early report, answered at once, has no late report; somebody else's stop is known from its own entry.
#[tokio::test]
async fn a_boot_that_was_ended_is_not_one_that_did_not_complete() {
    let overdue = async |bench: &Bench| {
        bench.later(3600);
        bench.tracker().overdue(bench.now()).await.unwrap().len()
    };
    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&early(3)).await;
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.the_plan().await), ("done", "asked"));
    assert_eq!(overdue(&bench).await, 0, "we stopped it");

    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&early(3)).await;
    bench.compute.world().failing.insert("stop".into(), ("INTERNAL_ERROR".into(), "the host is stuck".into()));
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.the_plan().await), ("failed", "operation_failed"));
    assert_eq!(overdue(&bench).await, 1, "it was not stopped after all");

    for (answered, told) in [("done", 0), ("started", 1), ("refused", 1)] {
        let bench = Bench::new(rules(Mode::Stop)).await;
        bench.plan(&early(3)).await;
        bench.compute.world().fails("stop", [Fault::Does(Answer::Hang)]);
        bench.dies().await;
        bench.later(600);
        let unanswered = bench.tracker().overdue(bench.now()).await.unwrap();
        assert!(unanswered.is_empty(), "{answered}: we asked for its end, and have no answer");
        match answered {
            "done" => {}
            "started" => {
                bench.compute.world().vm("web-1")["status"] = json!("RUNNING");
                bench.compute.world().vm("web-1")["lastStartTimestamp"] = json!("2026-11-20T10:20:00Z");
            }
            _ => {
                bench.compute.world().vm("web-1")["status"] = json!("RUNNING");
                bench.compute.world().fails("stop", [Fault::Says(refused(403, "forbidden", "no"))]);
            }
        }
        let plan = bench.recovers().await;
        assert_eq!(plan.answer.unwrap().result.label() == "done", answered == "done");
        assert_eq!(overdue(&bench).await, told, "{answered}");
    }

    for (stopped, came_up_again) in [(true, false), (true, true), (false, false)] {
        let bench = Bench::new(rules(Mode::Report)).await;
        let event = |what: &str, boot: u64, second: u32| {
            let mut json = crate::pubsub::sample("startup");
            json["resource"]["labels"] = early(3)["resource"]["labels"].clone();
            json["timestamp"] = json!(format!("2026-11-20T10:11:{second:02}Z"));
            json["jsonPayload"] = json!({"@type": json["jsonPayload"]["@type"], "bootCounter": boot.to_string()});
            json["jsonPayload"][what] = json!({});
            json
        };
        let mut entries = vec![early(3)];
        entries.extend(stopped.then(|| event("shutdownEvent", 3, 30)));
        entries.extend(came_up_again.then(|| event("startupEvent", 4, 50)));
        for json in entries {
            bench.tracker().follow(&entry(&json), VmFacts::default(), bench.now()).await.unwrap();
        }
        assert_eq!(overdue(&bench).await, usize::from(!stopped || came_up_again), "{stopped} {came_up_again}");
    }
}

/// The finding was told before it was known that we had ended the boot: it is closed as by a shutdown that comes late.
#[tokio::test]
async fn a_boot_that_we_ended_in_time_closes_what_was_told_of_it_meanwhile() {
    for (asked, closes) in [("2026-11-20T02:12:00.000-08:00", true), ("2026-11-20T02:25:00.000-08:00", false)] {
        let bench = Bench::new(rules(Mode::Stop)).await;
        bench.plan(&early(3)).await;
        bench.later(900);
        let told = bench.tracker().overdue(bench.now()).await.unwrap().remove(0);
        let followed = bench.tracker().follow(&told, VmFacts::default(), bench.now()).await.unwrap();
        let Followed::Changes(raised) = followed else { panic!("{followed:?}") };
        assert_eq!(bench.tracker().closings_after(&told, &raised).await.unwrap(), []);
        bench.compute.world().asked = Some(asked.to_owned());
        bench.process().step().await.unwrap();
        let plan = bench.the_plan().await;
        assert_eq!(ended(&plan), ("done", "asked"));
        for _ in 0..2 {
            let followed =
                bench.tracker().follow(&plan.entry().unwrap(), VmFacts::default(), bench.now()).await.unwrap();
            let Followed::Changes(changes) = followed else { panic!("{followed:?}") };
            let closed = changes.iter().any(|change| {
                matches!(change, FindingChange::Close { id, told: true, .. }
                    if *id == finding_id(&plan.report.vm, Check::BootIncomplete))
            });
            assert_eq!(closed, closes, "{asked} {changes:?}");
        }
        let record = bench.tracker().record(&plan.report.vm).await.unwrap().unwrap();
        assert_eq!(record.halted.unwrap().time, asked.parse::<DateTime<Utc>>().unwrap(), "Compute Engine's time");
    }
}

/// That its time is up is by our clock, and when it was stopped by Google's, which may be behind.
#[tokio::test]
async fn a_boot_that_was_stopped_because_it_hung_stays_told_whatever_the_clocks_say() {
    for mode in [Mode::Stop, Mode::RelearnOrStop] {
        for asked in ["2026-11-20T02:12:00.000-08:00", "2026-11-20T02:25:00.000-08:00"] {
            let bench = Bench::new(rules(mode)).await;
            approve(&bench.store, "other", &late(3), json!({"names": ["another-vm"]})).await;
            bench.tracker().follow(&entry(&early(3)), VmFacts::default(), bench.now()).await.unwrap();
            bench.later(900);
            let hung = bench.tracker().overdue(bench.now()).await.unwrap().remove(0);
            let (_, plan) = bench.tracker().follow_and_plan(&hung, VmFacts::default(), bench.now()).await.unwrap();
            Plans::new(Arc::clone(&bench.store)).record(&plan.unwrap()).await.unwrap();
            bench.compute.world().asked = Some(asked.to_owned());
            bench.process().step().await.unwrap();
            let plan = bench.the_plan().await;
            assert_eq!(ended(&plan), ("done", "asked"), "{mode:?}");
            let followed =
                bench.tracker().follow(&plan.entry().unwrap(), VmFacts::default(), bench.now()).await.unwrap();
            let Followed::Changes(changes) = followed else { panic!("{followed:?}") };
            assert!(matches!(changes[..], [FindingChange::Amend { .. }]), "{mode:?} {asked} {changes:?}");
        }
    }
}

#[tokio::test]
async fn a_call_of_unknown_fate_is_not_repeated_once_the_settings_say_otherwise() {
    for changed in [ActingConfig { dry_run: true, ..rules(Mode::Stop) }, rules(Mode::Report)] {
        let mut bench = Bench::new(rules(Mode::Stop)).await;
        bench.plan(&late(3)).await;
        bench.compute.world().fails("stop", [Fault::Says(Answer::Hang)]);
        bench.dies().await;
        bench.rules = Arc::new(changed.clone());
        let plan = bench.recovers().await;
        assert_eq!(ended(&plan), ("failed", "interrupted"), "{changed:?}");
        assert!(bench.compute.verbs().is_empty(), "{changed:?}");

        // Nor is anybody asked whose effect it is that is seen.
        let mut bench = Bench::new(rules(Mode::Stop)).await;
        bench.plan(&late(3)).await;
        bench.compute.world().fails("stop", [Fault::Does(Answer::Hang)]);
        bench.dies().await;
        bench.rules = Arc::new(changed);
        let plan = bench.recovers().await;
        assert_eq!(ended(&plan), ("failed", "interrupted"));
        assert!(plan.answer.as_ref().unwrap().told.contains("the VM is TERMINATED"), "{:#?}", plan.journal);
        assert_eq!((bench.compute.verbs(), bench.compute.world().repeats), (vec!["stop".to_owned()], 0));
    }
}

/// A baseline is revoked or approved between a call without a clear answer and its repetition.
#[tokio::test]
async fn a_call_of_unknown_fate_is_not_repeated_once_the_baselines_say_otherwise() {
    let no_answer = || Fault::Says(refused(503, "backendError", "try again"));
    for (verb, mode, words) in [
        ("relearn", Mode::RelearnOrStop, "the VM should be stopped instead"),
        ("relearn", Mode::RelearnOrReport, "no baseline"),
        ("stop", Mode::RelearnOrStop, "baseline b approves all its measurements"),
    ] {
        for dies in [true, false] {
            let bench = Bench::new(rules(mode)).await;
            approve(&bench.store, "other", &late(3), json!({"names": ["another-vm"]})).await;
            let baselines = Baselines::new(Arc::clone(&bench.store), TimeDelta::zero());
            if verb == "relearn" {
                approve(&bench.store, "b", &late(3), json!({})).await;
            }
            bench.plan(&late(3)).await;
            if dies {
                bench.compute.world().fails(verb, [Fault::Says(Answer::Hang)]);
                bench.dies().await;
            } else {
                bench.compute.world().fails(verb, [no_answer()]);
                bench.process().step().await.unwrap();
            }
            assert_eq!(bench.the_plan().await.answer, None);
            if verb == "relearn" {
                assert!(baselines.remove("b", "tester", bench.now()).await.unwrap());
            } else {
                approve(&bench.store, "b", &late(3), json!({})).await;
            }
            let plan = bench.recovers().await;
            assert_eq!(ended(&plan), ("failed", "interrupted"), "{verb} {mode:?} {dies}");
            let told = &plan.answer.as_ref().unwrap().told;
            assert!(told.contains("is not known, and it is not repeated") && told.contains(words), "{told}");
            assert!(bench.compute.verbs().is_empty(), "{verb} {mode:?} {dies}");
            assert_eq!(matches!(plan.judgement, Some(Judgement::Known { .. })), verb == "stop");
        }
    }
}

/// The call comes to nothing, we die, and then somebody else stops the VM.
#[tokio::test]
async fn what_somebody_else_stopped_is_not_told_as_stopped_by_us() {
    for (mode, verb, status, time) in [
        (Mode::Stop, "stop", "TERMINATED", "lastStopTimestamp"),
        (Mode::Suspend, "suspend", "SUSPENDED", "lastSuspendedTimestamp"),
    ] {
        for when in ["2026-11-20T10:11:50Z", ""] {
            let bench = Bench::new(rules(mode)).await;
            bench.plan(&late(3)).await;
            bench.compute.world().fails(verb, [Fault::Says(Answer::Hang)]);
            bench.dies().await;
            bench.compute.world().vm("web-1")["status"] = json!(status);
            bench.compute.world().vm("web-1")[time] = json!(when);
            let plan = bench.recovers().await;
            assert_eq!(ended(&plan), ("failed", "interrupted"), "{:#?}", plan.journal);
            let told = &plan.answer.as_ref().unwrap().told;
            assert!(told.contains(status) && told.contains("is not known"), "{told}");
        }
    }
}

/// An attempt gets no answer; whatever the next one is told, nobody may say that nothing was done.
#[tokio::test]
async fn a_call_that_may_have_arrived_stays_one_that_may_have() {
    let no_answer = || Fault::Says(refused(503, "backendError", "try again"));
    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    let slow = Fault::Says(refused(403, "rateLimitExceeded", "Rate Limit Exceeded"));
    bench.compute.world().fails("stop", [no_answer(), slow]);
    for _ in 0..2 {
        bench.process().step().await.unwrap();
        bench.later(61);
    }
    bench.compute.world().vm("web-1")["status"] = json!("TERMINATED");
    assert_eq!(ended(&bench.recovers().await), ("failed", "interrupted"));

    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    bench.compute.world().fails("stop", [no_answer(), Fault::Says(refused(403, "forbidden", "no"))]);
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.recovers().await), ("failed", "interrupted"));
}

/// The VM boots again while the relearn is put off, is of unknown fate, or was taken, and somebody relearns meanwhile.
#[tokio::test]
async fn only_a_relearn_that_was_taken_can_be_told_as_lost() {
    let other = |policy: &str| {
        let mut entry = late(4);
        let report = &mut entry["jsonPayload"]["lateBootReportEvent"];
        if policy != "before" {
            report["policyMeasurements"] = report["actualMeasurements"].clone();
            report["policyMeasurements"][1]["value"] = json!("AAAAAAAAAAAAAAAAAAAAAAAAAAA=");
        }
        entry
    };
    let slow = || Fault::Says(refused(403, "rateLimitExceeded", "Rate Limit Exceeded"));
    let by_alice = || {
        let mut entry = crate::pubsub::sample("audit_relearned");
        entry["resource"]["labels"] = late(3)["resource"]["labels"].clone();
        entry["timestamp"] = json!("2026-11-20T10:30:00Z");
        entry["operation"] = json!({"id": "operation-of-alice", "first": true});
        entry
    };
    for (expected, policy, alice, faults) in [
        (None, "before", false, vec![slow()]),
        (None, "other", false, vec![slow()]),
        (None, "before", false, vec![Fault::Says(Answer::Hang)]),
        (Some("of which nobody knows whether it arrived"), "other", false, vec![Fault::Says(Answer::Hang)]),
        (Some("The connector had it relearned"), "before", false, vec![]),
        (Some("The connector had it relearned"), "other", false, vec![]),
        (None, "other", true, vec![]),
    ] {
        let mut bench = Bench::new(rules(Mode::RelearnOrReport)).await;
        approve(&bench.store, "b", &late(3), json!({})).await;
        bench.plan(&late(3)).await;
        let hangs = matches!(faults.first(), Some(Fault::Says(Answer::Hang)));
        bench.compute.world().fails("relearn", faults);
        if hangs {
            bench.dies().await;
        } else {
            bench.process().step().await.unwrap();
        }
        // The answer is a refusal: the settings do not ask for it any more.
        bench.rules = Arc::new(rules(Mode::Report));
        bench.recovers().await;
        if alice {
            bench.tracker().follow(&entry(&by_alice()), VmFacts::default(), bench.now()).await.unwrap();
        }
        let followed = bench.tracker().follow(&entry(&other(policy)), VmFacts::default(), bench.now()).await.unwrap();
        let Followed::Changes(changes) = followed else { panic!("{followed:?}") };
        let lost = changes.iter().find_map(|change| match change {
            FindingChange::Raise { finding, .. } if finding.category.contains("Not Approved") => {
                finding.description.clone()
            }
            _ => None,
        });
        match (expected, &lost) {
            (None, None) => {}
            (Some(words), Some(told)) if told.contains(words) => {}
            _ => panic!("{expected:?} {policy} {alice}: {lost:?}"),
        }
    }
}

#[tokio::test]
async fn when_the_operation_is_not_known_the_vm_itself_tells() {
    let told = |plan: &Plan| plan.answer.as_ref().unwrap().told.clone();
    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    // Waiting and reading.
    bench.compute.world().fails("wait", [not_found(), not_found()]);
    let plan = bench.recovers().await;
    assert_eq!(ended(&plan), ("done", "asked"), "Compute Engine says that it is TERMINATED");

    for (code, reason) in
        [(401, "authError"), (403, "forbidden"), (400, "invalid"), (410, "gone"), (412, "conditionNotMet")]
    {
        let bench = Bench::new(rules(Mode::Stop)).await;
        bench.plan(&late(3)).await;
        bench.compute.world().fails("wait", [Fault::Says(refused(code, reason, "no"))]);
        assert_eq!(ended(&bench.recovers().await), ("done", "asked"), "{code}");
    }

    let bench = Bench::new(rules(Mode::Suspend)).await;
    bench.plan(&late(3)).await;
    bench.compute.world().fails("suspend", [unnamed()]);
    let plan = bench.recovers().await;
    assert_eq!(ended(&plan), ("failed", "not_confirmed"), "it is there, and runs");
    assert!(told(&plan).contains("named no operation") && told(&plan).contains("the VM is RUNNING"), "{}", told(&plan));

    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    bench.compute.world().fails("wait", [Fault::Says(Answer::Hang)]);
    bench.dies().await;
    bench.compute.world().instances.clear();
    bench.compute.world().operations.clear();
    assert_eq!(ended(&bench.recovers().await), ("failed", "instance_gone"));
}

/// What the finding says of a plan that has ended.
async fn told_on_the_finding(bench: &Bench, plan: &Plan) -> Finding {
    let followed = bench.tracker().follow(&plan.entry().unwrap(), VmFacts::default(), bench.now()).await.unwrap();
    match followed {
        Followed::Changes(changes) => match changes.into_iter().next() {
            Some(FindingChange::Amend { finding, .. }) => *finding,
            other => panic!("{other:?}"),
        },
        Followed::Nothing(why) => panic!("{why}"),
    }
}

/// Names are used again: the VM is deleted and made anew between the look at it and the call.
#[tokio::test]
async fn another_vm_of_the_same_name_that_was_hit_is_not_told_as_the_reports() {
    for (mode, verb, severity) in [
        (Mode::Stop, "stop", FindingSeverity::High),
        (Mode::Suspend, "suspend", FindingSeverity::High),
        (Mode::RelearnOrReport, "relearn", FindingSeverity::Critical),
    ] {
        for crash in [false, true] {
            let bench = Bench::new(rules(mode)).await;
            approve(&bench.store, "b", &late(3), json!({})).await;
            bench.plan(&late(3)).await;
            bench.compute.world().made_anew.insert(verb.into(), 99999);
            if crash {
                bench.compute.world().fails("wait", [Fault::Says(Answer::Hang)]);
                bench.dies().await;
            }
            let plan = bench.recovers().await;
            assert_eq!(ended(&plan), ("failed", "other_vm"), "{verb}");
            let finding = told_on_the_finding(&bench, &plan).await;
            assert_eq!(finding.severity, severity, "{verb}");
            let (said, steps) = (finding.description.unwrap(), finding.next_steps.unwrap());
            assert!(said.contains("another VM was") && said.contains("99999"), "{said}");
            assert!(steps.starts_with("1. First see to the VM with the id 99999"), "{steps}");
            let record = bench.tracker().record(&plan.report.vm).await.unwrap().unwrap();
            assert!(record.halted.is_none() && record.learning.is_none(), "{verb}: nothing was done to this one");
        }
    }
    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    bench.compute.world().made_anew.insert("stop".into(), 99999);
    bench.compute.world().failing.insert("stop".into(), ("INTERNAL_ERROR".into(), "the host is stuck".into()));
    let plan = bench.recovers().await;
    assert_eq!(ended(&plan), ("failed", "operation_failed"));
    assert_eq!(plan.answer.as_ref().unwrap().other_vm.as_deref(), Some("99999"));
    let finding = told_on_the_finding(&bench, &plan).await;
    let steps = finding.next_steps.unwrap();
    assert!(!steps.contains("99999") && !steps.contains("nobody meant"), "nothing was done to it: {steps}");
    assert_eq!(finding.source_properties.get("action_other_vm"), None);
}

#[tokio::test]
async fn a_vm_that_was_deleted_since_was_hit_only_where_the_operation_says_so() {
    for (mode, verb) in [(Mode::Stop, "stop"), (Mode::RelearnOrReport, "relearn")] {
        for (without_target, gone, expected) in [
            (false, true, ("done", "asked")),
            (true, true, ("failed", "instance_gone")),
            (true, false, ("done", "asked")),
        ] {
            let bench = Bench::new(rules(mode)).await;
            approve(&bench.store, "b", &late(3), json!({})).await;
            bench.plan(&late(3)).await;
            bench.compute.world().without_target = without_target;
            if gone {
                bench.compute.world().deleted_after = Some(verb.into());
            }
            assert_eq!(ended(&bench.recovers().await), expected, "{verb} {without_target} {gone}");
        }
    }
}

#[tokio::test]
async fn a_relearn_that_nothing_proves_is_not_done() {
    for (expected, verb, faults) in [
        ("not_confirmed", "relearn", vec![unnamed()]),
        ("not_confirmed", "wait", vec![not_found(), not_found()]),
        ("not_confirmed", "wait", vec![Fault::Says(refused(403, "forbidden", "no"))]),
        ("rejected", "relearn", vec![not_found()]),
    ] {
        let bench = Bench::new(rules(Mode::RelearnOrReport)).await;
        approve(&bench.store, "b", &late(3), json!({})).await;
        bench.plan(&late(3)).await;
        bench.compute.world().fails(verb, faults);
        assert_eq!(ended(&bench.recovers().await), ("failed", expected), "{verb}");
        let record = bench.tracker().record(&entry(&late(3)).vm).await.unwrap().unwrap();
        assert_eq!(record.learning.is_some(), expected == "not_confirmed", "the next boot may still tell");
    }
}

/// A crash between the pointer and the plan: whoever planned it does so again, or never comes back.
#[tokio::test]
async fn a_pointer_without_its_plan_is_looked_at_now_and_then_and_given_up_after_an_hour() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    let plans = Plans::new(Arc::clone(&bench.store));
    let began = bench.now();
    let open = json!({"vm": "demo-int/7", "due": began, "since": began});
    let body = body_of("response_open", "x", &open).unwrap();
    bench.store.write("response_open", "x", &body, Expected::Absent).await.unwrap();

    // The loop itself asks for the time with every turn.
    let turns = Arc::new(AtomicUsize::new(0));
    let (count, now) = (Arc::clone(&turns), bench.now());
    let clock = Arc::new(move || {
        count.fetch_add(1, Ordering::SeqCst);
        now
    });
    let responder = Responder { clock, ..bench.process() };
    tokio::time::timeout(Duration::from_millis(300), responder.run(CancellationToken::new())).await.unwrap_err();
    assert!(turns.load(Ordering::SeqCst) < 12, "{turns:?}");

    let mut looks = 0;
    while let [(_, open)] = plans.open(bench.now()).await.unwrap().as_slice() {
        bench.later((open.due - bench.now()).num_seconds().max(1));
        bench.process().step().await.unwrap();
        looks += 1;
    }
    assert!((200..=260).contains(&looks), "{looks}");
    assert!(bench.now() - began > TimeDelta::hours(1));
}

/// Somebody writes a plan down at the moment at which its pointer is taken for one without a plan.
#[derive(Debug)]
struct Meanwhile(Arc<dyn Store>, Plan);

impl Trouble for Meanwhile {
    fn after_read<'a>(&'a self, kind: &'a str, found: Option<&'a Document>) -> BoxFuture<'a, ()> {
        Box::pin(async move {
            if kind == "response" && found.is_none() {
                Plans::new(Arc::clone(&self.0)).record(&self.1).await.unwrap();
            }
        })
    }
}

#[tokio::test]
async fn a_plan_never_loses_its_pointer() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    let (_, plan) = bench.tracker().follow_and_plan(&entry(&late(3)), VmFacts::default(), bench.now()).await.unwrap();
    let plan = plan.unwrap();
    let plans = Plans::new(Arc::clone(&bench.store));
    let old = bench.now() - TimeDelta::hours(2);
    let body = body_of("response_open", "x", &json!({"vm": plan.report.vm.key(), "due": old, "since": old})).unwrap();
    bench.store.write("response_open", &plan.key(), &body, Expected::Absent).await.unwrap();
    let meanwhile = Meanwhile(Arc::clone(&bench.store), plan.clone());
    let hurried = Plans::new(Arc::new(Troubled(Arc::clone(&bench.store), meanwhile)));
    assert!(!hurried.close_orphan(&plan.key(), bench.now()).await.unwrap());
    assert_eq!(plans.open(bench.now()).await.unwrap().len(), 1);

    // The one that was removed before, or by a version that did not look, comes back with the next attempt.
    plans.close(&plan.key()).await.unwrap();
    assert!(plans.record(&plan).await.unwrap().is_some());
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.the_plan().await), ("done", "asked"));
    plans.record(&plan).await.unwrap();
    assert_eq!(plans.open(bench.now()).await.unwrap(), [], "what has its answer needs none");
}

#[tokio::test]
async fn a_document_that_cannot_be_read_keeps_no_other_one_waiting() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    let broken = body_of("x", "x", &json!({"due": "some day", "checks": 5})).unwrap();
    for kind in ["boot_timer", "response_open", "response"] {
        for key in ["0", "zz"] {
            bench.store.write(kind, key, &broken, Expected::Absent).await.unwrap();
        }
    }
    bench.plan(&early(3)).await;
    bench.later(3600);
    assert_eq!(bench.tracker().overdue(bench.now()).await.unwrap().len(), 1);
    bench.process().step().await.unwrap();
    assert_eq!((ended(&bench.the_plan().await), bench.compute.verbs()), (("done", "asked"), vec!["stop".to_owned()]));
    // Nor what cannot be read of another VM.
    let mut other = early(3);
    other["resource"]["labels"]["instance_id"] = json!("7");
    bench.tracker().follow(&entry(&other), VmFacts::default(), bench.now()).await.unwrap();
    bench.store.write("boot", "demo-int/7", &broken, Expected::Any).await.unwrap();
    let mut third = early(3);
    third["resource"]["labels"]["instance_id"] = json!("8");
    bench.tracker().follow(&entry(&third), VmFacts::default(), bench.now()).await.unwrap();
    bench.later(3600);
    let overdue = bench.tracker().overdue(bench.now()).await.unwrap();
    assert_eq!(overdue.iter().map(|entry| entry.vm.id).collect::<Vec<_>>(), [8]);
}
