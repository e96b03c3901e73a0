//! Baselines in their stores, boots that do not complete, and the commands.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::{Value, json};
use sysdig_scc::config::Env;
use sysdig_scc::config::state::StateConfig;
use sysdig_scc::finding::FindingChange;
use sysdig_scc::google::TokenSource;
use sysdig_scc::integrity::baseline::Baseline;
use sysdig_scc::integrity::entry::{BootReport, Fact, LogLine, Vm};
use sysdig_scc::integrity::judgement::Judgement;
use sysdig_scc::integrity::words::boot_report;
use sysdig_scc::integrity::{Check, Entry, Reading, read};
use sysdig_scc::state::sqlite::SqliteStore;
use sysdig_scc::state::{self, Body, Store};
use sysdig_scc::track::baselines::Baselines;
use sysdig_scc::track::{Followed, Tracker, VmFacts};

use crate::fakes::emulator::Emulator;
use crate::program::program;
use crate::pubsub::{push_entry, sample};
use crate::world::World;

fn entry(name: &str) -> Entry {
    match read(&sample(name), Utc::now()).unwrap() {
        Reading::Entry(entry) => *entry,
        Reading::Foreign(foreign) => panic!("{}", foreign.label()),
    }
}

async fn said(state: &str, arguments: &[&str]) -> (bool, String) {
    program(arguments, &[("STATE_URL", state), ("USER", "tester")]).await
}

fn path(name: &str) -> String {
    format!("{}/tests/data/integrity/{name}.json", env!("CARGO_MANIFEST_DIR"))
}

/// The document as the tutorial has people type it into the console, and one that this program writes.
#[tokio::test]
async fn firestore_holds_the_tutorials_data_model_and_the_program_reads_and_writes_it() {
    let Some(mut emulator) = Emulator::firestore(&[]).await else { return };
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let collection = format!(
        "http://{}/v1/projects/demo-int/databases/(default)/documents/known_good_measurements",
        emulator.host()
    );
    let typed = |measurements: &Value| {
        let text = |value: &Value| json!({"stringValue": value});
        let map = |m: &Value| json!({"mapValue": {"fields": {"hashAlgo": text(&m["hashAlgo"]), "pcrNum": text(&m["pcrNum"]), "value": text(&m["value"])}}});
        let fields =
            measurements.as_array().unwrap().iter().map(|m| (m["pcrNum"].as_str().unwrap().to_owned(), map(m)));
        json!({"fields": Value::Object(fields.collect())})
    };
    let report = sample("late_failed_pcr4_changed_pcr14_new");
    let document = typed(&report["jsonPayload"]["lateBootReportEvent"]["actualMeasurements"]);
    for number in 0..160 {
        let url = format!("{collection}?documentId=other{number}");
        let other = json!({"fields": {"note": {"stringValue": "no register"}, "at": {"timestampValue": "2026-01-01T00:00:00Z"}}});
        http.post(url).bearer_auth("owner").json(&other).send().await.unwrap().error_for_status().unwrap();
    }
    let url = format!("{collection}?documentId=zz-baseline1");
    http.post(url).bearer_auth("owner").json(&document).send().await.unwrap().error_for_status().unwrap();

    let host = emulator.host();
    let world = World::with(&[
        ("PUBSUB_PUSH_UNVERIFIED", "true"),
        ("STATE_URL", "firestore://demo-int/(default)"),
        ("FIRESTORE_EMULATOR_HOST", &host),
        ("BASELINE_CACHE_SECS", "0"),
    ])
    .await;
    push_entry(&world, &report).await;
    let finding = world.findings().await.remove(0);
    assert_eq!(finding["sourceProperties"]["known_good_baseline"], "zz-baseline1", "on the second page");
    assert_eq!(finding["severity"], "LOW");

    let settings = [("STATE_URL", "firestore://demo-int/(default)"), ("FIRESTORE_EMULATOR_HOST", &host)];
    let config = StateConfig::read(&mut Env::from_pairs(settings)).unwrap();
    let store = state::open(&config, &TokenSource::none()).unwrap();
    let baselines = Baselines::new(store, TimeDelta::seconds(30));
    let mut ours = baselines.all(Utc::now()).await.unwrap().iter().find(|b| b.name == "zz-baseline1").unwrap().clone();
    ours.name = "ours".into();
    baselines.import(&ours, false, "alice", Utc::now()).await.unwrap();
    assert!(baselines.import(&ours, false, "alice", Utc::now()).await.unwrap_err().is_conflict());
    let written: Value =
        http.get(format!("{collection}/ours")).bearer_auth("owner").send().await.unwrap().json().await.unwrap();
    assert_eq!(written["fields"]["PCR_4"], document["fields"]["PCR_4"], "as the tutorial's function reads it");
    assert_eq!(baselines.journal().await.unwrap()[0].who, "alice");

    emulator.stop();
    let error = baselines.all(Utc::now() + TimeDelta::minutes(1)).await.unwrap_err();
    assert_eq!(error.label(), "unavailable", "never an empty list");
}

/// People keep more in the console's documents than this program knows of.
#[tokio::test]
async fn expiring_a_baseline_in_firestore_leaves_every_other_field_and_its_type() {
    let Some(emulator) = Emulator::firestore(&[]).await else { return };
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let root = "projects/demo-int/databases/(default)/documents";
    let url = format!("http://{}/v1/{root}/known_good_measurements", emulator.host());
    let time = json!({"timestampValue": "2026-01-01T00:00:00Z"});
    let others = json!({
        "time": time, "list": {"arrayValue": {"values": [time]}}, "a.b": {"bytesValue": "AQID"},
        "place": {"geoPointValue": {"latitude": 1.0, "longitude": 2.0}}, "nan": {"doubleValue": "NaN"},
        "who": {"referenceValue": format!("{root}/people/alice")}, "big": {"integerValue": "9007199254740993"},
    });
    let settings = [("STATE_URL", "firestore://demo-int/(default)"), ("FIRESTORE_EMULATOR_HOST", &emulator.host())];
    let config = StateConfig::read(&mut Env::from_pairs(settings)).unwrap();
    let store = state::open(&config, &TokenSource::none()).unwrap();
    let baselines = Baselines::new(store, TimeDelta::zero());
    let at = "2027-01-31T00:00:00Z";
    for (name, before, after) in [
        ("time", Some(json!({"timestampValue": "2030-01-01T00:00:00Z"})), json!({"timestampValue": at})),
        ("text", Some(json!({"stringValue": "2030-01-01T00:00:00Z"})), json!({"stringValue": at})),
        ("none", None, json!({"stringValue": at})),
    ] {
        let mut fields = others.clone();
        before.into_iter().for_each(|before| fields["expiresAt"] = before);
        let made = http.post(format!("{url}?documentId={name}")).bearer_auth("owner").json(&json!({"fields": fields}));
        made.send().await.unwrap().error_for_status().unwrap();
        assert!(baselines.expire(name, at.parse().unwrap(), "alice", Utc::now()).await.unwrap());
        let found = http.get(format!("{url}/{name}")).bearer_auth("owner").send().await.unwrap();
        fields["expiresAt"] = after;
        assert_eq!(found.json::<Value>().await.unwrap()["fields"], fields, "{name}");
    }
}

/// As an operator's command does, beside the connector, which remembers what it read.
#[tokio::test]
async fn what_was_imported_or_removed_counts_for_the_very_next_report() {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
    let remembering = Baselines::new(Arc::clone(&store), TimeDelta::minutes(10));
    let tracker = Tracker::new(Arc::clone(&store), remembering, TimeDelta::minutes(10));
    let command = Baselines::new(store, TimeDelta::zero());
    let late = entry("late_failed_firmware_and_sev_lost");
    let report = boot_report(&late).unwrap();
    let (baseline, now) =
        (Baseline { measurements: report.actual.clone(), ..Baseline::read("nov", &Body::new()) }, Utc::now());
    let baseline = Baseline { broken: Vec::new(), ..baseline };
    let known = async || {
        let judgement = tracker.assess(&late, VmFacts::default(), now).await.unwrap().judgement;
        matches!(judgement, Judgement::Known { .. })
    };
    assert!(!known().await);
    command.import(&baseline, false, "alice", now).await.unwrap();
    assert!(known().await, "imported");
    command.expire("nov", now, "alice", now + TimeDelta::seconds(1)).await.unwrap();
    assert!(!known().await, "expired");
    command.import(&baseline, true, "alice", now + TimeDelta::seconds(2)).await.unwrap();
    assert!(known().await, "replaced");
    command.remove("nov", "alice", now + TimeDelta::seconds(3)).await.unwrap();
    assert!(!known().await, "removed");
}

#[tokio::test]
async fn an_early_failure_without_a_late_report_becomes_a_finding_of_its_own() {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
    let baselines = Baselines::new(Arc::clone(&store), TimeDelta::zero());
    let tracker = Tracker::new(store, baselines, TimeDelta::minutes(10));
    let early = entry("early_failed_only_pcr7");
    let at = early.time;
    tracker.follow(&early, VmFacts::default(), at).await.unwrap();
    tracker.follow(&early, VmFacts::default(), at + TimeDelta::minutes(9)).await.unwrap();
    assert_eq!(tracker.overdue(at + TimeDelta::minutes(9)).await.unwrap(), vec![]);
    let overdue = tracker.overdue(at + TimeDelta::minutes(10)).await.unwrap();
    assert_eq!(overdue.len(), 1);
    assert_eq!(overdue[0].check(), Some(Check::BootIncomplete));
    let Followed::Changes(changes) = tracker.follow(&overdue[0], VmFacts::default(), Utc::now()).await.unwrap() else {
        panic!()
    };
    let [FindingChange::Raise { finding, .. }] = &changes[..] else { panic!("{changes:?}") };
    assert_eq!(finding.category, "Shielded VM: Boot Did Not Complete");
    tracker.overdue_written(&overdue[0]).await.unwrap();
    assert_eq!(tracker.overdue(at + TimeDelta::hours(1)).await.unwrap(), vec![]);

    let mut late = entry("late_passed");
    late.time = at + TimeDelta::hours(2);
    let Followed::Changes(changes) = tracker.follow(&late, VmFacts::default(), Utc::now()).await.unwrap() else {
        panic!()
    };
    assert!(matches!(changes[..], [FindingChange::Close { .. }]), "{changes:?}");
}

/// What comes of a boot whose early check failed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Hangs,
    GoesOn,
    /// It is shut down, for good when no boot follows.
    IsStopped,
}

/// A start, a failed early report, and what came of it, for each boot.
fn entries_of(fates: &[Fate]) -> Vec<Entry> {
    let report = |passed| BootReport { stated: Some(passed), ..BootReport::default() };
    let mut entries = Vec::new();
    for (boot, fate) in (1..).zip(fates) {
        let end = match fate {
            Fate::Hangs => None,
            Fate::GoesOn => Some((30, Fact::LateBoot(report(true)))),
            Fate::IsStopped => Some((40, Fact::Shutdown)),
        };
        for (second, fact) in [(0, Fact::Startup), (5, Fact::EarlyBoot(report(false)))].into_iter().chain(end) {
            let vm = Vm { project: "p".into(), zone: "z".into(), id: 1, name: None };
            let time = DateTime::from_timestamp(1_800_000_000 + boot * 60 + second, 0).unwrap();
            let log = LogLine::default();
            entries.push(Entry { vm, time, boot: u64::try_from(boot).ok(), fact, log });
        }
    }
    entries
}

/// The boots that are told not to have completed after these entries, which came before the time of any was up.
async fn told_as_incomplete(entries: &[Entry]) -> Vec<u64> {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
    let baselines = Baselines::new(Arc::clone(&store), TimeDelta::zero());
    let tracker = Tracker::new(store, baselines, TimeDelta::minutes(10));
    let came = DateTime::from_timestamp(1_800_000_300, 0).unwrap();
    for entry in entries {
        tracker.follow(entry, VmFacts::default(), came).await.unwrap();
    }
    let (later, mut told) = (came + TimeDelta::hours(1), Vec::new());
    for _ in entries {
        for incomplete in tracker.overdue(later).await.unwrap() {
            let Followed::Changes(changes) = tracker.follow(&incomplete, VmFacts::default(), later).await.unwrap()
            else {
                panic!("{incomplete:?}")
            };
            assert!(matches!(changes[..], [FindingChange::Raise { .. }]), "{changes:?}");
            tracker.overdue_written(&incomplete).await.unwrap();
            told.extend(incomplete.boot);
        }
    }
    told
}

proptest! {
    #[test]
    fn every_boot_that_hung_is_told_in_whatever_order_the_entries_came(
        (fates, entries) in prop::collection::vec(
            prop::sample::select(vec![Fate::Hangs, Fate::GoesOn, Fate::IsStopped]), 1..6,
        ).prop_flat_map(|fates| (Just(fates.clone()), Just(entries_of(&fates)).prop_shuffle()))
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let told = runtime.block_on(told_as_incomplete(&entries));
        let came_through = fates.iter().rposition(|fate| *fate == Fate::GoesOn).map_or(0, |last| last + 1);
        let for_good = usize::from(fates.last() == Some(&Fate::IsStopped));
        let hung: Vec<u64> = (came_through + 1..=fates.len() - for_good).map(|boot| boot as u64).collect();
        prop_assert_eq!(told, hung);
    }
}

#[tokio::test]
async fn a_late_report_in_time_stops_the_timer() {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
    let baselines = Baselines::new(Arc::clone(&store), TimeDelta::zero());
    let tracker = Tracker::new(store, baselines, TimeDelta::minutes(10));
    let early = entry("early_failed_only_pcr7");
    tracker.follow(&early, VmFacts::default(), early.time).await.unwrap();
    let mut late = entry("late_failed_pcr4_changed_pcr14_new");
    (late.time, late.boot) = (early.time + TimeDelta::seconds(20), early.boot);
    tracker.follow(&late, VmFacts::default(), late.time).await.unwrap();
    assert_eq!(tracker.overdue(early.time + TimeDelta::hours(1)).await.unwrap(), vec![]);
}

/// Every boot's early report fails, none has a late one, and the next boot is sooner than a late report is due.
#[tokio::test]
async fn a_boot_loop_puts_nothing_off() {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
    let baselines = Baselines::new(Arc::clone(&store), TimeDelta::zero());
    let tracker = Tracker::new(store, baselines, TimeDelta::minutes(1));
    let mut early = entry("early_failed_only_pcr7");
    let at = early.time;
    let mut told = Vec::new();
    for second in (0..200_u32).step_by(10) {
        let now = at + TimeDelta::seconds(second.into());
        if second % 40 == 0 && second <= 120 {
            (early.time, early.boot) = (now, Some(u64::from(second / 40) + 3));
            tracker.follow(&early, VmFacts::default(), now).await.unwrap();
        }
        for overdue in tracker.overdue(now).await.unwrap() {
            told.push((second, overdue.boot.unwrap()));
            tracker.overdue_written(&overdue).await.unwrap();
        }
    }
    assert_eq!(told, [(60, 3), (100, 4), (140, 5), (180, 6)]);
}

#[tokio::test]
async fn a_pass_delivered_before_the_failure_it_follows_is_settled_afterwards() {
    let store: Arc<dyn Store> = Arc::new(SqliteStore::in_memory().unwrap());
    let baselines = Baselines::new(Arc::clone(&store), TimeDelta::zero());
    let tracker = Tracker::new(store, baselines, TimeDelta::minutes(10));
    let failed = entry("late_failed_pcr4_changed_pcr14_new");
    let raised = async || match tracker.follow(&failed, VmFacts::default(), Utc::now()).await.unwrap() {
        Followed::Changes(changes) => changes,
        nothing => panic!("{nothing:?}"),
    };
    let changes = raised().await;
    assert_eq!(tracker.closings_after(&failed, &changes).await.unwrap(), []);
    let changes = raised().await;
    let Followed::Changes(closing) =
        tracker.follow(&entry("late_passed"), VmFacts::default(), Utc::now()).await.unwrap()
    else {
        panic!("it closes what stands there")
    };
    let [FindingChange::Close { told: false, untold_failure, .. }] = &closing[..] else { panic!("{closing:?}") };
    assert_eq!(*untold_failure, Some(failed.time));
    for _ in 0..2 {
        let closing = tracker.closings_after(&failed, &changes).await.unwrap();
        assert!(matches!(closing[..], [FindingChange::Close { told: true, untold_failure: None, .. }]), "{closing:?}");
    }
}

#[tokio::test]
async fn the_commands_explain_approve_compare_and_journal() {
    let folder = tempfile::tempdir().unwrap();
    let state = format!("sqlite:{}", folder.path().join("state.db").display());
    let failed = path("late_failed_pcr4_changed_pcr14_new");
    let (good, text) = said(&state, &["integrity", "explain", &failed]).await;
    assert!(good && text.contains("PCR_4 changed; PCR_14 only in actual"), "{text}");
    let (good, text) = said(&state, &["integrity", "explain", &failed, "--format", "json"]).await;
    let json: Value = serde_json::from_str(&text).unwrap();
    assert!(good && json["registers"][1]["change"] == "changed");

    let journal = ["baseline", "journal"];
    let diff = ["baseline", "diff", "--from-entry", &failed];
    let reset = ["integrity", "actions", "--reset-caps"];
    for command in
        [&journal[..], &diff, &reset, &["integrity", "actions"], &["baseline", "list"], &["baseline", "rm", "a"]]
    {
        let (good, text) = said(&state, command).await;
        assert!(!good && text.contains("there is no state store at"), "{text}");
    }
    assert!(!folder.path().join("state.db").exists());
    let (good, text) = said(&state, &["baseline", "import", "nov", "--from-entry", &failed]).await;
    assert!(good && text.contains("a new one was made"), "{text}");
    let empty = folder.path().join("empty.json");
    let empty = empty.to_str().unwrap();
    for (content, told) in [("[]", "an empty list: the query found no entries"), ("", "is empty; give it")] {
        std::fs::write(empty, content).unwrap();
        for command in [&["integrity", "explain", empty][..], &["baseline", "import", "b", "--from-entry", empty]] {
            let (good, text) = said(&state, command).await;
            assert!(!good && text.contains(told) && text.contains("--freshness=30d") == (content == "[]"), "{text}");
        }
    }
    let (_, text) = said(&state, &["integrity", "baseline", "diff", "--from-entry", &failed]).await;
    assert!(text.contains("known to be good: baseline nov"), "{text}");
    let (good, text) = said(&state, &["baseline", "import", "nov", "--from-entry", &failed]).await;
    assert!(!good && text.contains("--replace"), "{text}");
    let (good, text) = said(&state, &["baseline", "import", "--from-entry", &path("early_failed_only_pcr7")]).await;
    assert!(!good && text.contains("no late boot report"), "{text}");
    // Whoever may write log entries may have written the other one.
    let mut reports = vec![sample("late_failed_pcr4_changed_pcr14_new"); 2];
    reports[1]["insertId"] = json!("forged\u{1b}[2J");
    let twice = folder.path().join("twice.json");
    let twice = twice.to_str().unwrap();
    let measured = "/jsonPayload/lateBootReportEvent/actualMeasurements/0/value";
    for (value, told) in
        [(None, "twice is known to be good now"), (Some("sqg7Dr8vg3Qpmlsr38MeqVWtcjY="), "have different measurements")]
    {
        reports[1].pointer_mut(measured).into_iter().zip(value).for_each(|(at, value)| *at = json!(value));
        for _ in 0..2 {
            reports.reverse();
            std::fs::write(twice, json!(reports).to_string()).unwrap();
            let (_, text) = said(&state, &["baseline", "import", "twice", "--from-entry", twice, "--replace"]).await;
            assert!(text.contains(told), "{text}");
            assert_eq!(text.contains(r#""forged\u{1b}[2J""#) && text.contains("\"6\""), value.is_some(), "{text}");
        }
    }
    assert!(said(&state, &["baseline", "rm", "twice"]).await.0);
    for name in ["", "  "] {
        let (good, text) = said(&state, &["baseline", "import", name, "--from-entry", &failed]).await;
        assert!(!good && text.contains("the name is empty"), "{text}");
    }
    let (good, text) = said(&state, &["baseline", "import", "brief", "--from-entry", &failed, "--days", "0"]).await;
    assert!(!good && text.contains("would have ended already"), "{text}");
    for (scope, remedy) in [
        ("--for-project=", "is a variable not set?"),
        ("--for-zone=", "is a variable not set?"),
        ("--for-name=", "is a variable not set?"),
        ("--for-label==x", "is a variable not set?"),
        ("--for-project=prod,staging", "give the option once for each"),
    ] {
        let (good, text) = said(&state, &["baseline", "import", "brief", "--from-entry", &failed, scope]).await;
        assert!(!good && text.contains(remedy), "{text}");
    }
    let (_, text) = said(&state, &["baseline", "list"]).await;
    assert!(!text.contains("brief") && text.matches("every VM").count() == 1, "{text}");
    assert!(text.contains("tester"), "who approved it: {text}");
    let (_, text) = said(&state, &["baseline", "list", "--format", "json"]).await;
    let listed: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(listed["approved_by"], "tester");
    let mut fields: Vec<&String> = listed["document"].as_object().unwrap().keys().collect();
    fields.sort();
    assert!(fields.iter().all(|field| field.starts_with("PCR_")), "as the tutorial's function needs it: {fields:?}");
    let scoped = ["baseline", "import", "scoped", "--from-entry", &failed, "--days", "9", "--by", "alice"];
    assert!(said(&state, &scoped).await.0);
    let (_, text) = said(&state, &["baseline", "list", "--format", "json"]).await;
    let listed: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!((&listed["document"]["approvedBy"], &listed["approved_by"]), (&json!("alice"), &json!("alice")));
    assert!(said(&state, &["baseline", "rm", "scoped"]).await.0);
    assert!(said(&state, &["baseline", "expire", "nov"]).await.0);
    let (_, text) = said(&state, &["baseline", "diff", "--from-entry", &failed]).await;
    assert!(text.contains("has these very values, but it expired"), "{text}");
    assert!(said(&state, &["baseline", "rm", "nov"]).await.0);
    let (_, text) = said(&state, &["baseline", "journal"]).await;
    assert!(
        text.contains("tester") && text.contains("import") && text.contains("expire") && text.contains("remove"),
        "{text}"
    );
}
