//! Deliveries to Security Command Center: the error table row by row, triage respected, the pace kept.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use sysdig_scc::causes::chain;
use sysdig_scc::deliver::dry_run::DryRun;
use sysdig_scc::deliver::pace::{Pace, PaceSettings};
use sysdig_scc::deliver::scc::SccSink;
use sysdig_scc::deliver::{Delivered, Sink, Verdict};
use sysdig_scc::finding::FindingSeverity;
use sysdig_scc::finding::{Finding, FindingChange, FindingId};
use sysdig_scc::google::scc::{Scc, SourceName};
use sysdig_scc::google::{Client, HttpSettings, TokenSource};
use tokio::time::Instant;
use url::Url;

use crate::fakes::wire::{Answer, Asked, Wire};

const FINDINGS: &str = "/v2/organizations/123/sources/98765432109876543210/locations/global/findings";

fn time() -> DateTime<Utc> {
    "2026-11-22T10:00:00.123456Z".parse().unwrap()
}

fn finding(time: DateTime<Utc>) -> Box<Finding> {
    Box::new(Finding::new("Terminal shell in container", FindingSeverity::High, "//compute.googleapis.com/x", time))
}

fn id() -> FindingId {
    FindingId::from_foreign("runtime", "abc123")
}

fn create() -> FindingChange {
    FindingChange::Create { id: id(), finding: finding(time()) }
}

fn raise() -> FindingChange {
    FindingChange::Raise { id: id(), finding: finding(time()) }
}

fn open_pace() -> Arc<Pace> {
    Arc::new(Pace::new(PaceSettings { writes_per_minute: 0, bytes_per_day: 0, patience: Duration::from_millis(200) }))
}

fn sink(wire: &Wire, pace: Arc<Pace>) -> SccSink {
    let settings =
        HttpSettings { timeout: Duration::from_millis(500), ..HttpSettings::new(Url::parse(&wire.url("")).unwrap()) };
    let http = Client::new(settings, TokenSource::fixed("ya29.S3CRET".to_owned().into())).unwrap();
    let source = SourceName { organization: "123".into(), source: "98765432109876543210".into() };
    SccSink::new(Scc::new(http, source, "global"), pace)
}

fn stored(state: &str, time: DateTime<Utc>) -> Value {
    json!({ "name": format!("{}/abc123", FINDINGS.trim_start_matches("/v2/")), "state": state, "eventTime": time, "category": "c",
        "mute": "MUTED" })
}

fn refusal(code: u16, status: &str) -> Answer {
    Answer::json(code, json!({ "error": { "code": code, "status": status, "message": "said so" } }))
}

/// A finding that stands there in this state since this time.
async fn standing(state: &'static str, since: DateTime<Utc>) -> Wire {
    Wire::start(move |asked: Asked| match asked.method.as_str() {
        "POST" => refusal(409, "ALREADY_EXISTS"),
        "GET" => {
            Answer::json(200, json!({ "listFindingsResults": [{ "finding": stored(state, since) }], "totalSize": 1 }))
        }
        "PATCH" => Answer::json(200, stored("ACTIVE", time())),
        other => panic!("{other}"),
    })
    .await
}

#[tokio::test]
async fn a_new_finding_is_created_under_its_id_in_a_location() {
    let wire = Wire::start(|_| Answer::json(200, stored("ACTIVE", time()))).await;
    assert_eq!(sink(&wire, open_pace()).deliver(&create()).await.unwrap(), Delivered::Written);
    let asked = wire.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        (asked[0].method.as_str(), asked[0].target.as_str()),
        ("POST", format!("{FINDINGS}?findingId=abc123").as_str())
    );
    assert_eq!(asked[0].json()["category"], "Terminal shell in container");
    assert_eq!(asked[0].json().get("name"), None);
}

#[tokio::test]
async fn one_that_stands_there_already_is_success_and_nothing_changes() {
    for answer in [refusal(409, "ALREADY_EXISTS"), Answer::text(409, "")] {
        let wire = Wire::script(vec![answer]).await;
        assert_eq!(sink(&wire, open_pace()).deliver(&create()).await.unwrap(), Delivered::AlreadyThere);
        assert_eq!(wire.asked().len(), 1);
    }
}

#[tokio::test]
async fn a_whole_answer_is_success_whatever_it_repeats() {
    let wire = Wire::script(vec![Answer::text(200, "{}")]).await;
    assert_eq!(sink(&wire, open_pace()).deliver(&create()).await.unwrap(), Delivered::Written);
}

#[tokio::test]
async fn every_row_of_the_error_table() {
    let retry = Verdict::Retry(None);
    for (answer, verdict, label) in [
        (refusal(400, "INVALID_ARGUMENT"), Verdict::Park, "bad_request"),
        (refusal(413, ""), Verdict::Park, "client_error"),
        (refusal(401, "UNAUTHENTICATED"), Verdict::Hold, "unauthenticated"),
        (refusal(403, "PERMISSION_DENIED"), Verdict::Hold, "forbidden"),
        (refusal(404, "NOT_FOUND"), Verdict::Hold, "not_found"),
        (refusal(499, "CANCELLED"), retry, "client_error"),
        (refusal(409, "ABORTED"), retry, "conflict"),
        (refusal(500, "INTERNAL"), retry, "server_error"),
        (refusal(502, ""), retry, "server_error"),
        (refusal(503, "UNAVAILABLE"), retry, "server_error"),
        (refusal(504, "DEADLINE_EXCEEDED"), retry, "server_error"),
        (
            refusal(503, "UNAVAILABLE").with("Retry-After", "7"),
            Verdict::Retry(Some(Duration::from_secs(7))),
            "server_error",
        ),
        (refusal(429, "RESOURCE_EXHAUSTED").with("Retry-After", "9"), Verdict::Wait(Duration::from_secs(9)), "quota"),
        (Answer::text(200, "{\"name\":"), retry, "broken_answer"),
        (Answer::text(200, ""), retry, "broken_answer"),
        (Answer::text(200, "[]"), retry, "broken_answer"),
        (Answer::text(200, r#"{"error":{"code":500}}"#), retry, "broken_answer"),
        (Answer::text(409, "<html><title>Conflict</title>"), retry, "conflict"),
        (Answer::Truncated(200, "{\"name\":".into()), retry, "transport"),
        (Answer::Nothing, retry, "transport"),
        (Answer::Hang, retry, "timeout"),
        (Answer::text(302, "").with("Location", "https://elsewhere.example/"), Verdict::Hold, "unexpected_status"),
        (Answer::text(405, "<html>"), Verdict::Hold, "client_error"),
        (Answer::text(407, "<html>"), Verdict::Hold, "client_error"),
        (Answer::text(400, "<html><title>Bad Request</title>"), retry, "bad_request"),
        (Answer::text(410, "<html>"), retry, "client_error"),
        (Answer::text(413, "<html>"), retry, "client_error"),
    ] {
        let wire = Wire::script(vec![answer.clone()]).await;
        let error = sink(&wire, open_pace()).deliver(&create()).await.unwrap_err();
        assert_eq!((error.verdict(), error.label()), (verdict, label), "{answer:?}: {}", chain(&error));
        assert!(!format!("{error:?} {}", chain(&error)).contains("S3CRET"));
    }
}

#[tokio::test]
async fn an_answer_without_end_is_nobodys_verdict_on_a_finding() {
    let wire = Wire::script(vec![Answer::text(200, &"x".repeat(17 << 20))]).await;
    let error = sink(&wire, open_pace()).deliver(&create()).await.unwrap_err();
    assert_eq!((error.verdict(), error.label()), (Verdict::Retry(None), "large_answer"));
}

#[tokio::test]
async fn a_quota_without_a_time_is_waited_out_until_the_next_minute() {
    let wire = Wire::script(vec![refusal(429, "RESOURCE_EXHAUSTED")]).await;
    let error = sink(&wire, open_pace()).deliver(&create()).await.unwrap_err();
    let Verdict::Wait(wait) = error.verdict() else { panic!("{:?}", error.verdict()) };
    assert!(wait >= Duration::from_secs(1) && wait <= Duration::from_secs(65), "{wait:?}");
}

#[tokio::test]
async fn a_permission_that_is_missing_says_which_and_what_the_service_said() {
    let body = json!({ "error": { "code": 403, "status": "PERMISSION_DENIED", "message": "API not enabled",
        "details": [{ "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "SERVICE_DISABLED",
            "metadata": { "consumer": "projects/777000" } }] } });
    let wire = Wire::script(vec![Answer::json(403, body)]).await;
    let error = sink(&wire, open_pace()).deliver(&create()).await.unwrap_err();
    let shown = chain(&error);
    assert!(
        shown.contains("enable securitycenter.googleapis.com in project 777000") && shown.contains("API not enabled"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_newer_occurrence_updates_with_an_explicit_mask_and_leaves_triage_alone() {
    for (state, reopened) in [("ACTIVE", false), ("INACTIVE", true)] {
        let wire = standing(state, time() - TimeDelta::seconds(1)).await;
        assert_eq!(sink(&wire, open_pace()).deliver(&raise()).await.unwrap(), Delivered::Written);
        let asked = wire.asked();
        assert!(asked[1].target.contains("filter=name%3D%22organizations%2F123%2Fsources%2F98765432109876543210%2Flocations%2Fglobal%2Ffindings%2Fabc123%22"), "{}", asked[1].target);
        let (patch, body) = (&asked[2], asked[2].json());
        let mask: Vec<&str> = patch.target.split("updateMask=").nth(1).unwrap().split("%2C").collect();
        assert!(mask.contains(&"event_time") && mask.contains(&"severity"), "{mask:?}");
        assert_eq!(mask.contains(&"state"), reopened);
        assert_eq!(body.get("state").is_some(), reopened);
        for never in ["category", "resourceName", "resource_name", "mute", "securityMarks", "name", "parent"] {
            assert!(!mask.contains(&never) && body.get(never).is_none(), "{never}");
        }
    }
}

#[tokio::test]
async fn an_occurrence_that_is_not_newer_changes_nothing() {
    for since in [time(), time() + TimeDelta::hours(1), time() - TimeDelta::microseconds(300)] {
        let wire = standing("INACTIVE", since).await;
        assert_eq!(sink(&wire, open_pace()).deliver(&raise()).await.unwrap(), Delivered::AlreadyThere);
        assert!(wire.asked().iter().all(|asked| asked.method != "PATCH"));
    }
}

#[tokio::test]
async fn amending_changes_what_is_said_and_never_the_state_nor_a_newer_occurrence() {
    let amend = FindingChange::Amend { id: id(), finding: finding(time()), only_closed: false };
    let newer = time() + TimeDelta::seconds(5);
    for (state, since, expected) in [
        ("ACTIVE", time(), Delivered::Written),
        ("INACTIVE", newer, Delivered::Written),
        ("ACTIVE", newer, Delivered::AlreadyThere),
    ] {
        let wire = standing(state, since).await;
        assert_eq!(sink(&wire, open_pace()).deliver(&amend).await.unwrap(), expected);
        let patches: Vec<_> = wire.asked().into_iter().filter(|asked| asked.method == "PATCH").collect();
        assert_eq!(patches.len(), usize::from(expected == Delivered::Written));
        for patch in &patches {
            assert!(!patch.target.contains("state") && !patch.target.contains("class"), "{}", patch.target);
            assert!(patch.target.contains("updateMask=severity%2C"), "baselines were read anew: {}", patch.target);
            let sent: DateTime<Utc> = serde_json::from_value(patch.json()["eventTime"].clone()).unwrap();
            assert_eq!(sent, since + TimeDelta::milliseconds(1), "the least that an update may say");
        }
    }
    for (state, expected) in [("ACTIVE", Delivered::AlreadyThere), ("INACTIVE", Delivered::Written)] {
        let late = FindingChange::Amend { id: id(), finding: finding(time()), only_closed: true };
        let wire = standing(state, time()).await;
        assert_eq!(sink(&wire, open_pace()).deliver(&late).await.unwrap(), expected, "what closes it may be next");
    }
    let empty = Wire::start(|_| Answer::json(200, json!({ "totalSize": 0 }))).await;
    let error = sink(&empty, open_pace()).deliver(&amend).await.unwrap_err();
    assert_eq!((error.verdict(), error.label()), (Verdict::Retry(None), "not_visible"));
}

#[tokio::test]
async fn an_update_that_came_second_is_made_again_and_one_that_is_refused_for_itself_is_not() {
    let amend = FindingChange::Amend { id: id(), finding: finding(time()), only_closed: false };
    let page = |since| Answer::json(200, json!({"listFindingsResults": [{"finding": stored("ACTIVE", since)}]}));
    for (change, since, expected) in [
        (&amend, time() + TimeDelta::milliseconds(1), (Verdict::Retry(None), "overtaken")),
        (&amend, time(), (Verdict::Park, "bad_request")),
    ] {
        let wire = Wire::script(vec![page(time()), refusal(400, "INVALID_ARGUMENT"), page(since)]).await;
        let error = sink(&wire, open_pace()).deliver(change).await.unwrap_err();
        assert_eq!((error.verdict(), error.label()), expected, "{}", chain(&error));
    }
}

#[tokio::test]
async fn closing_touches_only_an_open_and_older_finding() {
    let close = |told| FindingChange::Close { id: id(), time: time(), told, untold_failure: None };
    let older = time() - TimeDelta::seconds(5);
    for (state, since, told, expected) in [
        ("ACTIVE", older, false, Delivered::Written),
        ("INACTIVE", older, false, Delivered::AlreadyThere),
        ("INACTIVE", older, true, Delivered::Written),
        ("ACTIVE", time() + TimeDelta::seconds(5), true, Delivered::AlreadyThere),
    ] {
        let wire = standing(state, since).await;
        assert_eq!(sink(&wire, open_pace()).deliver(&close(told)).await.unwrap(), expected);
        let patches: Vec<_> = wire.asked().into_iter().filter(|asked| asked.method == "PATCH").collect();
        assert_eq!(patches.len(), usize::from(expected == Delivered::Written));
        if let Some(patch) = patches.first() {
            assert!(patch.target.ends_with("updateMask=state%2Cevent_time"));
            assert_eq!(patch.json()["state"], "INACTIVE");
        }
    }
    for (since, untold_failure, expected) in
        [(older, time() - TimeDelta::seconds(2), time() - TimeDelta::milliseconds(2_001)), (older, older, time())]
    {
        let wire = standing("ACTIVE", since).await;
        let close = FindingChange::Close { id: id(), time: time(), told: false, untold_failure: Some(untold_failure) };
        assert_eq!(sink(&wire, open_pace()).deliver(&close).await.unwrap(), Delivered::Written);
        let patch = wire.asked().into_iter().find(|asked| asked.method == "PATCH").unwrap().json();
        assert_eq!(patch["eventTime"], json!(expected), "the untold failure can still be told");
    }
    let empty = Wire::start(|_| Answer::json(200, json!({ "totalSize": 0 }))).await;
    assert_eq!(sink(&empty, open_pace()).deliver(&close(false)).await.unwrap(), Delivered::AlreadyThere);
    let error = sink(&empty, open_pace()).deliver(&close(true)).await.unwrap_err();
    assert_eq!((error.verdict(), error.label()), (Verdict::Retry(None), "not_visible"), "what was told will be there");
}

#[tokio::test]
async fn a_hold_stops_everybody_lets_one_probe_pass_and_ends_with_its_success() {
    let refused = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&refused);
    let wire = Wire::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => refusal(403, "PERMISSION_DENIED"),
        _ => Answer::json(200, stored("ACTIVE", time())),
    })
    .await;
    let pace = open_pace();
    let sink = sink(&wire, Arc::clone(&pace));
    assert_eq!(sink.deliver(&create()).await.unwrap_err().verdict(), Verdict::Hold);
    let held = pace.report().held.unwrap();
    assert!(held.reason.contains("findingsEditor"), "{held:?}");
    let error = sink.deliver(&create()).await.unwrap_err();
    assert_eq!((error.verdict(), error.label()), (Verdict::Hold, "pace"));
    assert!(chain(&error).contains("held"), "{}", chain(&error));
    assert_eq!(wire.asked().len(), 1, "nobody asks while it is held");
}

#[tokio::test(start_paused = true)]
async fn a_finding_that_is_refused_for_itself_ends_a_hold_and_a_page_does_not() {
    for (answer, ends) in [
        (refusal(400, "INVALID_ARGUMENT"), true),
        (Answer::text(413, ""), false),
        (Answer::text(400, "<html><title>Bad Request</title>"), false),
    ] {
        let wire = Wire::script(vec![answer.clone()]).await;
        let pace = Arc::new(patient(0, 0));
        pace.admit(1).await.unwrap().held("role missing");
        // What the probe's time passes by itself must not stop the clock for the call.
        tokio::time::advance(Duration::from_secs(6)).await;
        tokio::time::resume();
        sink(&wire, Arc::clone(&pace)).deliver(&create()).await.unwrap_err();
        tokio::time::pause();
        assert_eq!(pace.report().held.is_none(), ends, "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_a_hold_is_its_latest_cause_and_nobodys_attempt() {
    let wire = Wire::script(vec![refusal(500, "INTERNAL")]).await;
    let pace = Arc::new(patient(0, 0));
    pace.admit(1).await.unwrap().held("role missing");
    tokio::time::advance(Duration::from_secs(6)).await;
    tokio::time::resume();
    let error = sink(&wire, Arc::clone(&pace)).deliver(&create()).await.unwrap_err();
    tokio::time::pause();
    assert_eq!((error.verdict(), error.label()), (Verdict::Hold, "server_error"));
    let held = pace.report().held.unwrap();
    assert!(held.reason.contains("could not take the finding now") && held.reason.contains("500"), "{held:?}");
    assert!(held.next_probe > Duration::from_secs(9), "{held:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hold_that_nothing_waits_for_is_over() {
    let pace = patient(0, 0);
    pace.admit(1).await.unwrap().held("role missing");
    tokio::time::advance(Duration::from_secs(60)).await;
    assert!(pace.report().held.is_some(), "what was given back comes again");
    let probe = pace.admit(1).await.unwrap();
    tokio::time::advance(Duration::from_secs(600)).await;
    assert!(pace.report().held.is_some(), "it is being asked");
    probe.held("role missing");
    tokio::time::advance(Duration::from_secs(71)).await;
    assert_eq!(pace.report().held, None);
    tokio::time::timeout(Duration::from_millis(1), pace.admit(1)).await.unwrap().unwrap();
}

fn patient(writes_per_minute: u32, bytes_per_day: u64) -> Pace {
    Pace::new(PaceSettings { writes_per_minute, bytes_per_day, patience: Duration::from_secs(400_000) })
}

#[tokio::test(start_paused = true)]
async fn probes_go_one_at_a_time_at_growing_distances() {
    let pace = patient(0, 0);
    pace.admit(1).await.unwrap().held("role missing");
    let began = Instant::now();
    let mut waits = Vec::new();
    for _ in 0..9 {
        let probe = pace.admit(1).await.unwrap();
        waits.push(began.elapsed().as_secs());
        // While the probe is under way nobody else goes.
        assert!(tokio::time::timeout(Duration::from_secs(1000), pace.admit(1)).await.is_err());
        let resumed = Instant::now();
        probe.held("role missing");
        waits.pop();
        let next = pace.report().held.unwrap().next_probe;
        waits.push(next.as_secs());
        assert!(resumed.elapsed() < Duration::from_secs(1));
    }
    assert_eq!(waits, [10, 20, 40, 80, 160, 300, 300, 300, 300]);
    pace.admit(1).await.unwrap().succeeded();
    assert_eq!(pace.report().held, None);
    tokio::time::timeout(Duration::from_millis(1), pace.admit(1)).await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_given_up_makes_room_for_the_next() {
    let pace = patient(0, 0);
    pace.admit(1).await.unwrap().held("role missing");
    drop(pace.admit(1).await.unwrap());
    let began = Instant::now();
    pace.admit(1).await.unwrap().succeeded();
    assert_eq!(began.elapsed().as_secs(), 5);
}

#[tokio::test(start_paused = true)]
async fn nobody_goes_before_the_time_the_service_asked_for() {
    let pace = Arc::new(patient(600, 0));
    pace.admit(1).await.unwrap().later(Duration::from_secs(42));
    let began = Instant::now();
    let all = (0..20).map(|_| {
        let pace = Arc::clone(&pace);
        tokio::spawn(async move {
            pace.admit(1).await.unwrap().succeeded();
            Instant::now()
        })
    });
    for at in futures_util::future::join_all(all).await {
        assert!(at.unwrap() - began >= Duration::from_secs(42));
    }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_asks_for_no_patience_again_and_again_is_left_alone_for_longer() {
    let pace = patient(0, 0);
    let mut waits = Vec::new();
    for _ in 0..9 {
        // Refused together, asked once.
        let together = futures_util::future::join_all((0..8).map(|_| pace.admit(1))).await;
        together.into_iter().for_each(|turn| turn.unwrap().later(Duration::ZERO));
        let began = Instant::now();
        drop(pace.admit(1).await.unwrap());
        waits.push(began.elapsed().as_secs());
    }
    let due = [0, 1, 2, 4, 8, 16, 32, 60, 60];
    assert!(waits.iter().zip(due).all(|(wait, due)| (due..=due + due / 4 + 1).contains(wait)), "{waits:?}");
    pace.admit(1).await.unwrap().succeeded();
    pace.admit(1).await.unwrap().later(Duration::ZERO);
    assert_eq!(pace.report().not_before, None, "it begins anew");
}

#[tokio::test(start_paused = true)]
async fn a_service_cannot_ask_for_more_than_an_hour() {
    let pace = patient(0, 0);
    pace.admit(1).await.unwrap().later(Duration::MAX);
    assert_eq!(pace.report().not_before, Some(Duration::from_secs(3600)));
}

#[tokio::test(start_paused = true)]
async fn without_limits_nobody_waits() {
    let pace = patient(0, 0);
    let began = Instant::now();
    for _ in 0..10_000 {
        pace.admit(10_000).await.unwrap().succeeded();
    }
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_finding_larger_than_the_days_burst_still_passes() {
    let pace = patient(0, 1000);
    for _ in 0..3 {
        pace.admit(50_000).await.unwrap().succeeded();
    }
}

#[tokio::test(start_paused = true)]
async fn a_turn_that_does_not_come_is_given_back_with_the_reason() {
    let pace = Pace::new(PaceSettings { writes_per_minute: 1, bytes_per_day: 0, patience: Duration::from_secs(3) });
    pace.admit(1).await.unwrap().succeeded();
    let error = pace.admit(1).await.unwrap_err();
    assert!(error.to_string().contains("quota settings"), "{error}");
    assert_eq!(pace.report().waiting, 0);
}

/// No window holds more than the budget, however the load comes.
fn kept(budget: u64, window: Duration, sent: &[(Duration, u64)]) {
    for (at, _) in sent {
        let inside: u64 = sent.iter().filter(|(t, _)| t >= at && *t < *at + window).map(|(_, n)| n).sum();
        assert!(inside <= budget, "{inside} of {budget} within {window:?} from {at:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_minute_holds_more_writes_than_set(rate in 1u32..200, pauses in prop::collection::vec(0u64..90_000, 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let sent = runtime.block_on(async {
            let (pace, began, mut sent) = (patient(rate, 0), Instant::now(), Vec::new());
            for pause in pauses {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                for _ in 0..40 {
                    pace.admit(0).await.unwrap().succeeded();
                    sent.push((began.elapsed(), 1));
                }
            }
            sent
        });
        kept(u64::from(rate), Duration::from_secs(60), &sent);
    }

    #[test]
    fn no_day_holds_more_bytes_than_set(budget in 4_000u64..10_000_000_000, sizes in prop::collection::vec((1u64..1000, 0u64..20_000), 1..120)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let sent = runtime.block_on(async {
            let (pace, began, mut sent) = (patient(0, budget), Instant::now(), Vec::new());
            for (share, pause) in sizes {
                // Up to a quarter of the budget at once, which is the burst.
                let size = budget / 4 * share / 1000;
                tokio::time::sleep(Duration::from_secs(pause)).await;
                pace.admit(usize::try_from(size).unwrap()).await.unwrap().succeeded();
                sent.push((began.elapsed(), size));
            }
            sent
        });
        kept(budget, Duration::from_secs(86_400), &sent);
    }
}

#[tokio::test(start_paused = true)]
async fn the_rate_that_is_set_is_also_reached() {
    let pace = patient(600, 0);
    let began = Instant::now();
    for _ in 0..6000 {
        pace.admit(0).await.unwrap().succeeded();
    }
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    assert!(minutes < 11.0, "6,000 calls took {minutes} minutes");
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_dry_run_writes_one_line_a_change() {
    let lines = Lines::default();
    let dry = DryRun::new(lines.clone());
    let amend = FindingChange::Amend { id: id(), finding: finding(time()), only_closed: false };
    for change in
        [create(), raise(), amend, FindingChange::Close { id: id(), time: time(), told: false, untold_failure: None }]
    {
        assert_eq!(dry.deliver(&change).await.unwrap(), Delivered::Written);
    }
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let read: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        read.iter().map(|l| l["would"].as_str().unwrap()).collect::<Vec<_>>(),
        ["create", "raise", "amend", "close"]
    );
    assert_eq!(read[0]["finding"]["category"], "Terminal shell in container");
    assert_eq!(read[0]["findingId"], "abc123");
}

/// The sandbox that newcomers rehearse against, with its strict reading of what Google documents.
#[tokio::test]
async fn a_stateful_finding_lives_in_the_sandbox_from_raise_to_close_and_reopens() {
    use sysdig_scc::sandbox;
    let running = sandbox::start(sandbox::Settings::on_free_port()).await.unwrap();
    let http = Client::new(HttpSettings::new(Url::parse(&running.url()).unwrap()), TokenSource::none()).unwrap();
    let source =
        SourceName { organization: sandbox::DEFAULT_ORGANIZATION.into(), source: sandbox::DEFAULT_SOURCE.into() };
    let scc = Scc::new(http.clone(), source, "global");
    let sink = SccSink::new(scc.clone(), open_pace());
    let start = Utc::now() - TimeDelta::hours(1);
    let at = |minute| start + TimeDelta::minutes(minute);
    let raise = |minute| FindingChange::Raise { id: id(), finding: finding(at(minute)) };
    let close = |minute| FindingChange::Close { id: id(), time: at(minute), told: minute > 0, untold_failure: None };
    for (change, expected, active) in [
        (close(0), Delivered::AlreadyThere, None),
        (raise(1), Delivered::Written, Some(true)),
        (raise(1), Delivered::AlreadyThere, Some(true)),
        (raise(2), Delivered::Written, Some(true)),
        (close(1), Delivered::AlreadyThere, Some(true)),
        (close(3), Delivered::Written, Some(false)),
        (close(5), Delivered::Written, Some(false)),
        (raise(2), Delivered::AlreadyThere, Some(false)),
        // Its opening was still on its way when it was closed.
        (raise(4), Delivered::AlreadyThere, Some(false)),
        (raise(6), Delivered::Written, Some(true)),
    ] {
        assert_eq!(sink.deliver(&change).await.unwrap(), expected, "{change:?}");
        assert_eq!(scc.find("abc123").await.unwrap().map(|f| f.is_active()), active, "{change:?}");
    }
    let sources = sysdig_scc::google::scc::sources(&http, sandbox::DEFAULT_ORGANIZATION).await.unwrap();
    assert_eq!(sources[0].display_name, "Sysdig Secure");
    assert_eq!(scc.describe().await.unwrap().name, scc.source().to_string());
    let created = sysdig_scc::google::scc::create_source(&http, sandbox::DEFAULT_ORGANIZATION, "Another", "for a test")
        .await
        .unwrap();
    assert!(created.name.contains("/sources/"));
    let granted = scc.permitted(&[sysdig_scc::google::scc::UPDATE_FINDINGS]).await.unwrap();
    assert_eq!(granted, [sysdig_scc::google::scc::UPDATE_FINDINGS]);
    running.stop().await;
}
