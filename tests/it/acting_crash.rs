//! Plans that are interrupted: between the journal and the call, between the call and its answer, while its operation
//! runs, and before the answer is taken in. Whatever happens is done once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use serde_json::json;
use sysdig_scc::config::acting::{ActingConfig, Mode};
use sysdig_scc::google::TokenSource;
use sysdig_scc::google::compute::Compute;
use sysdig_scc::google::compute_acts::ComputeActs;
use sysdig_scc::google::http::{Client, HttpSettings};
use sysdig_scc::integrity::{Entry, Reading, read};
use sysdig_scc::outbox::{Sqlite, Store as _};
use sysdig_scc::plan::Plan;
use sysdig_scc::receive::Intake;
use sysdig_scc::respond;
use sysdig_scc::respond::hands::Hands;
use sysdig_scc::respond::plans::Plans;
use sysdig_scc::respond::responder::Responder;
use sysdig_scc::state::sqlite::SqliteStore;
use sysdig_scc::state::{Document, Expected, StateError, Store, body_of};
use sysdig_scc::track::baselines::Baselines;
use sysdig_scc::track::{Tracker, VmFacts};
use tokio_util::sync::CancellationToken;

use crate::acting::{ID, PROJECT, STARTED, ZONE, approve, compute, late};
use crate::fakes::compute::refused;
use crate::fakes::compute_world::{ComputeWorld, Fault, shielded_vm};
use crate::fakes::loopback::Answer;
use crate::fakes::state::{Trouble, Troubled};

/// What outlives a process, and the time.
pub struct Bench {
    pub compute: ComputeWorld,
    pub store: Arc<dyn Store>,
    outbox: Arc<Sqlite>,
    pub rules: Arc<ActingConfig>,
    now: Arc<Mutex<DateTime<Utc>>>,
    /// How far the clock goes with every look at it.
    tick: TimeDelta,
    processes: Mutex<usize>,
    _folder: tempfile::TempDir,
}

impl Bench {
    pub async fn new(rules: ActingConfig) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let outbox = Sqlite::open(
            &folder.path().join("outbox.db"),
            sysdig_scc::outbox::sqlite::Keep { closed_for: Duration::from_secs(3600), bytes: u64::MAX },
        )
        .unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&folder.path().join("state.db")).unwrap());
        let now = "2026-11-20T10:12:00Z".parse().unwrap();
        Self {
            compute: compute(),
            store,
            outbox: Arc::new(outbox),
            rules: Arc::new(rules),
            now: Arc::new(Mutex::new(now)),
            tick: TimeDelta::zero(),
            processes: Mutex::default(),
            _folder: folder,
        }
    }

    pub fn now(&self) -> DateTime<Utc> {
        *self.now.lock().unwrap()
    }

    pub fn later(&self, seconds: i64) {
        *self.now.lock().unwrap() += TimeDelta::seconds(seconds);
    }

    pub fn tracker(&self) -> Tracker {
        let baselines = Baselines::new(Arc::clone(&self.store), TimeDelta::zero());
        let tracker = Tracker::new(Arc::clone(&self.store), baselines, TimeDelta::minutes(10));
        tracker.acting(Arc::clone(&self.rules))
    }

    /// A new process: nothing of the last one is left but the stores.
    pub fn process(&self) -> Responder {
        let url = url::Url::parse(&self.compute.server.url).unwrap();
        let client = || Client::new(HttpSettings::new(url.clone()), TokenSource::none()).unwrap();
        let (now, tick) = (Arc::clone(&self.now), self.tick);
        let mut processes = self.processes.lock().unwrap();
        *processes += 1;
        Responder {
            plans: Plans::new(Arc::clone(&self.store)),
            tracker: self.tracker(),
            hands: Hands::new(Compute::new(client()), ComputeActs::new(client())),
            rules: Arc::clone(&self.rules),
            intake: Intake::new(Arc::clone(&self.outbox) as Arc<dyn sysdig_scc::outbox::Store>, Arc::default()),
            clock: Arc::new(move || {
                let mut now = now.lock().unwrap();
                *now += tick;
                *now
            }),
            pause: Duration::from_millis(1),
            holder: format!("process-{processes}"),
            bell: Arc::default(),
        }
    }

    /// The report arrives and is planned for.
    pub async fn plan(&self, report: &serde_json::Value) {
        let (_, plan) = self.tracker().follow_and_plan(&entry(report), VmFacts::default(), self.now()).await.unwrap();
        Plans::new(Arc::clone(&self.store)).record(&plan.unwrap()).await.unwrap();
    }

    /// A process works until it hangs, and dies there: it gives nothing back.
    pub async fn dies(&self) {
        let (responder, verb) = (self.process(), self.compute.server.asked().len());
        let task = tokio::spawn(async move { responder.step().await });
        while self.compute.server.asked().len() == verb || !self.hangs() {
            tokio::task::yield_now().await;
        }
        task.abort();
        assert!(task.await.unwrap_err().is_cancelled());
    }

    fn hangs(&self) -> bool {
        self.compute.world().faults.iter().all(|(_, next)| next.is_empty())
    }

    /// Another process, after the lease of the dead one has run out.
    pub async fn recovers(&self) -> Plan {
        self.later(61);
        self.process().step().await.unwrap();
        self.the_plan().await
    }

    pub async fn the_plan(&self) -> Plan {
        Plans::new(Arc::clone(&self.store)).all().await.unwrap().0.remove(0)
    }

    async fn taken_in(&self) -> u64 {
        self.outbox.stats(Utc::now()).await.unwrap().accepted
    }
}

pub fn entry(json: &serde_json::Value) -> Entry {
    match read(json, Utc::now()).unwrap() {
        Reading::Entry(entry) => *entry,
        Reading::Foreign(foreign) => panic!("{}", foreign.label()),
    }
}

pub fn rules(mode: Mode) -> ActingConfig {
    ActingConfig { mode, ..ActingConfig::default() }
}

pub fn ended(plan: &Plan) -> (&'static str, &'static str) {
    let answer = plan.answer.as_ref().unwrap_or_else(|| panic!("{:#?}", plan.journal));
    (answer.result.label(), answer.reason.label())
}

#[tokio::test]
async fn a_crash_before_the_call_makes_it_once_and_under_the_id_that_was_written_down() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    bench.compute.world().fails("stop", [Fault::Says(Answer::Hang)]);
    bench.dies().await;
    let before = bench.the_plan().await;
    assert_eq!((before.answer.as_ref(), before.calls.len()), (None, 1), "the intent is written down");
    assert!(bench.compute.verbs().is_empty());
    let plan = bench.recovers().await;
    assert_eq!(ended(&plan), ("done", "asked"));
    assert_eq!(
        bench.compute.world().changes,
        [("stop".to_owned(), "web-1".to_owned(), before.calls[0].request_id.clone())]
    );
    assert_eq!(bench.taken_in().await, 1, "the finding hears of it once");
    assert_eq!(Plans::new(Arc::clone(&bench.store)).open(bench.now()).await.unwrap(), vec![]);
    assert_eq!(Plans::new(Arc::clone(&bench.store)).caps(false).await.unwrap().overall, 1, "it counts once");
}

#[tokio::test]
async fn a_crash_after_the_call_repeats_nothing() {
    for mode in [Mode::Stop, Mode::Suspend, Mode::RelearnOrReport] {
        let bench = Bench::new(rules(mode)).await;
        approve(&bench.store, "b", &late(3), json!({})).await;
        bench.plan(&late(3)).await;
        let verb = match mode {
            Mode::Stop => "stop",
            Mode::Suspend => "suspend",
            _ => "relearn",
        };
        bench.compute.world().fails(verb, [Fault::Does(Answer::Hang)]);
        bench.dies().await;
        assert_eq!(bench.compute.verbs(), [verb]);
        let plan = bench.recovers().await;
        assert_eq!(ended(&plan), ("done", "asked"), "{mode:?}");
        assert_eq!((bench.compute.verbs().len(), bench.compute.world().repeats), (1, 1), "{mode:?}: the same request");
    }
}

#[tokio::test]
async fn a_crash_while_the_operation_runs_goes_on_waiting_for_it() {
    let bench = Bench::new(ActingConfig { snapshot_first: true, ..rules(Mode::Stop) }).await;
    bench.plan(&late(3)).await;
    for _ in 0..2 {
        bench.compute.world().fails("wait", [Fault::Says(Answer::Hang)]);
        bench.dies().await;
        bench.later(61);
    }
    let plan = bench.recovers().await;
    assert_eq!(ended(&plan), ("done", "asked"));
    assert_eq!(bench.compute.verbs(), ["snapshot", "stop"]);
    assert_eq!(bench.compute.world().repeats, 0);
}

#[tokio::test]
async fn a_vm_that_was_started_again_meanwhile_is_left_alone() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    bench.compute.world().fails("stop", [Fault::Says(Answer::Hang)]);
    bench.dies().await;
    bench.compute.world().vm("web-1")["lastStartTimestamp"] = json!("2026-11-20T10:12:30Z");
    let plan = bench.recovers().await;
    assert_eq!(ended(&plan), ("failed", "interrupted"), "nobody knows whether it was stopped in between");
    assert!(bench.compute.verbs().is_empty());
}

#[tokio::test]
async fn an_answer_that_was_not_taken_in_is_taken_in_later() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    bench.process().step().await.unwrap();
    let plan = bench.the_plan().await;
    // As after a crash between the journal's last line and the outbox.
    let open = json!({"vm": plan.report.vm.key(), "due": plan.planned, "since": plan.planned});
    let body = body_of("response_open", "x", &open).unwrap();
    bench.store.write("response_open", &plan.key(), &body, Expected::Absent).await.unwrap();
    let again = bench.recovers().await;
    assert_eq!(again, plan);
    assert_eq!(bench.outbox.stats(Utc::now()).await.unwrap().closed["duplicate"], 1);
    assert_eq!(bench.compute.verbs(), ["stop"]);
}

#[tokio::test]
async fn a_compute_engine_that_asks_for_no_patience_is_given_some() {
    for (asked, least, most) in [("0", 2, 4), ("30", 30, 31), ("31536000", 3600, 3601)] {
        let bench = Bench::new(rules(Mode::Stop)).await;
        bench.plan(&late(3)).await;
        let busy = Answer::With(503, vec![("Retry-After", asked.into())], json!({}));
        bench.compute.world().fails("stop", [Fault::Says(busy)]);
        bench.process().step().await.unwrap();
        let open = Plans::new(Arc::clone(&bench.store)).open(bench.now()).await.unwrap();
        let wait = (open[0].1.due - bench.now()).num_seconds();
        assert!((least..=most).contains(&wait), "{asked}: {wait}");
    }
}

#[tokio::test]
async fn two_replicas_do_it_once() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    let (one, other) = (bench.process(), bench.process());
    let (first, second) = tokio::join!(one.step(), other.step());
    first.unwrap();
    second.unwrap();
    assert_eq!((bench.compute.verbs(), bench.compute.world().repeats), (vec!["stop".to_owned()], 0));
    assert_eq!(ended(&bench.the_plan().await), ("done", "asked"));
}

#[tokio::test]
async fn an_operation_that_does_not_end_is_given_up_and_told() {
    let mut bench = Bench::new(rules(Mode::Suspend)).await;
    bench.tick = TimeDelta::minutes(3);
    bench.compute.world().looks = Some(usize::MAX);
    bench.plan(&late(3)).await;
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.the_plan().await), ("failed", "operation_slow"));
}

#[tokio::test]
async fn what_is_refused_again_and_again_is_tried_at_growing_distances() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    let busy = || Fault::Says(Answer::Json(409, json!({"error": {"code": 409, "message": "another operation"}})));
    bench.compute.world().fails("stop", std::iter::repeat_with(busy).take(8).collect::<Vec<_>>());
    bench.plan(&late(3)).await;
    let mut waits = Vec::new();
    for _ in 0..8 {
        bench.process().step().await.unwrap();
        let due = Plans::new(Arc::clone(&bench.store)).open(bench.now()).await.unwrap()[0].1.due;
        waits.push((due - bench.now()).num_seconds());
        bench.later(waits[waits.len() - 1] + 1);
    }
    assert!(waits.is_sorted_by(|one, next| one <= &(next + 1)) && waits[7] >= 60, "{waits:?}");
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.the_plan().await), ("done", "asked"));
}

/// Compute Engine lets the call wait for longer than an operation may take, takes it, and does not end it at once.
#[tokio::test]
async fn an_operation_has_its_time_from_when_the_call_was_taken() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    let busy = Answer::With(429, vec![("Retry-After", "930".into())], json!({}));
    bench.compute.world().fails("stop", [Fault::Says(busy)]);
    bench.compute.world().looks = Some(2);
    bench.plan(&late(3)).await;
    bench.process().step().await.unwrap();
    bench.later(931);
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.the_plan().await), ("done", "asked"));
}

#[tokio::test]
async fn settings_that_changed_and_plans_that_are_too_old_are_put_away() {
    let mut bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    bench.rules = Arc::new(rules(Mode::Report));
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.the_plan().await), ("refused", "mode_changed"));

    let bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    bench.later(2 * 3600 + 1);
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.the_plan().await), ("refused", "too_late"));

    let mut bench = Bench::new(rules(Mode::Stop)).await;
    bench.plan(&late(3)).await;
    bench.rules = Arc::new(ActingConfig { dry_run: true, ..rules(Mode::Stop) });
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.the_plan().await), ("dry_run", "asked"));
    assert!(bench.compute.verbs().is_empty());
}

#[tokio::test]
async fn a_snapshot_commits_nobody_to_what_should_have_followed_it() {
    let snapshot_first = |mode, dry_run| ActingConfig { snapshot_first: true, dry_run, ..rules(mode) };
    for (expected, changed) in [
        (("dry_run", "asked"), snapshot_first(Mode::Stop, true)),
        (("refused", "mode_changed"), snapshot_first(Mode::Report, false)),
        (("refused", "mode_changed"), snapshot_first(Mode::Suspend, true)),
    ] {
        let mut bench = Bench::new(snapshot_first(Mode::Stop, false)).await;
        bench.plan(&late(3)).await;
        bench.compute.world().fails("wait", [Fault::Says(Answer::Hang)]);
        bench.dies().await;
        bench.rules = Arc::new(changed);
        let plan = bench.recovers().await;
        assert_eq!(ended(&plan), expected);
        let told = &plan.answer.as_ref().unwrap().told;
        assert!(told.contains("beside snapshots that were asked for before"), "{told}");
        assert_eq!(bench.compute.verbs(), ["snapshot"], "{expected:?}");
    }
}

#[tokio::test]
async fn while_snapshots_are_made_baselines_and_the_hour_go_on() {
    let stop = |mode| ActingConfig { snapshot_first: true, ..rules(mode) };
    let bench = Bench::new(ActingConfig { stop_without_baselines: true, ..stop(Mode::RelearnOrStop) }).await;
    bench.plan(&late(3)).await;
    bench.compute.world().looks = Some(usize::MAX);
    let process = bench.process();
    let task = tokio::spawn(async move { process.step().await });
    while bench.compute.verbs().is_empty() {
        tokio::task::yield_now().await;
    }
    approve(&bench.store, "b", &late(3), json!({})).await;
    bench.compute.world().looks = None;
    task.await.unwrap().unwrap();
    let plan = bench.the_plan().await;
    assert_eq!(ended(&plan), ("done", "asked"), "{:#?}", plan.journal);
    assert_eq!(bench.compute.verbs(), ["snapshot", "relearn"], "what was approved meanwhile is not stopped");

    let mut bench = Bench::new(stop(Mode::Stop)).await;
    bench.tick = TimeDelta::minutes(3);
    {
        let mut world = bench.compute.world();
        let disk = world.vm("web-1")["disks"][0].clone();
        let disks = (0..12).map(|number| {
            let mut disk = disk.clone();
            disk["source"] = json!(format!("{}-{number}", disk["source"].as_str().unwrap()));
            disk
        });
        world.vm("web-1")["disks"] = disks.collect();
    }
    bench.plan(&late(3)).await;
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.the_plan().await), ("refused", "too_late"));
    assert!(!bench.compute.verbs().contains(&"stop".to_owned()), "{:?}", bench.compute.verbs());
}

#[tokio::test]
async fn a_baseline_that_ended_or_cannot_be_read_approves_nothing() {
    let bench = Bench::new(rules(Mode::RelearnOrReport)).await;
    approve(&bench.store, "b", &late(3), json!({})).await;
    bench.plan(&late(3)).await;
    let baselines = Baselines::new(Arc::clone(&bench.store), TimeDelta::zero());
    baselines.expire("b", bench.now(), "tester", bench.now()).await.unwrap();
    bench.process().step().await.unwrap();
    assert_eq!(ended(&bench.the_plan().await), ("reported", "not_known_good"));
    assert!(bench.compute.verbs().is_empty());

    let bench = Bench::new(rules(Mode::RelearnOrStop)).await;
    approve(&bench.store, "b", &late(3), json!({})).await;
    bench.plan(&late(3)).await;
    let store = Arc::new(Troubled(Arc::clone(&bench.store), Unlistable));
    let responder = Responder {
        tracker: Tracker::new(store.clone(), Baselines::new(store, TimeDelta::zero()), TimeDelta::minutes(10)),
        ..bench.process()
    };
    responder.step().await.unwrap();
    assert_eq!(bench.the_plan().await.answer, None, "it waits");
    assert!(bench.compute.verbs().is_empty());
}

/// Nothing can be listed, baselines neither.
#[derive(Debug)]
struct Unlistable;

impl Trouble for Unlistable {
    fn list(&self) -> Result<(), StateError> {
        Err(StateError::Unavailable { place: "here".into(), after: None, source: "gone".into() })
    }
}

#[tokio::test]
async fn a_panic_in_the_work_on_one_vm_frees_that_vm_alone() {
    let bench = Bench::new(rules(Mode::Stop)).await;
    let (id, mut second) = (ID + 1, late(4));
    second["resource"]["labels"]["instance_id"] = json!(id.to_string());
    bench.compute.world().instances.push(shielded_vm(PROJECT, ZONE, "web-2", id, STARTED));
    bench.plan(&late(3)).await;
    bench.plan(&second).await;
    let plans = Plans::new(Arc::clone(&bench.store));
    let keys: Vec<_> = plans.open(bench.now()).await.unwrap().into_iter().map(|(key, _)| key).collect();
    let trouble = Panics { hangs: keys[0].clone(), reads: Mutex::default() };
    let troubled = Arc::new(Troubled(Arc::clone(&bench.store), trouble));
    let responder = Responder { plans: Plans::new(troubled.clone()), ..bench.process() };
    let (bell, stop) = (Arc::clone(&responder.bell), CancellationToken::new());
    let running = tokio::spawn(responder.run(stop.clone()));
    // It is taken up again while the other is still being worked on.
    while plans.read(&keys[1]).await.unwrap().unwrap().plan.answer.is_none() {
        bell.notify_one();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(troubled.1.reads.lock().unwrap()[&keys[0]], 1, "nobody else works on it");
    stop.cancel();
    running.await.unwrap();
}

/// The work on one plan hangs; that on the other panics once.
#[derive(Debug)]
struct Panics {
    hangs: String,
    reads: Mutex<BTreeMap<String, usize>>,
}

impl Trouble for Panics {
    fn after_read<'a>(&'a self, kind: &'a str, found: Option<&'a Document>) -> BoxFuture<'a, ()> {
        let Some(plan) = found.filter(|_| kind == respond::plans::KIND) else {
            return Box::pin(std::future::ready(()));
        };
        let mut reads = self.reads.lock().unwrap();
        let count = reads.entry(plan.key.clone()).or_default();
        *count += 1;
        let (first, hangs) = (*count == 1, plan.key == self.hangs);
        Box::pin(async move {
            match hangs {
                true => std::future::pending().await,
                false => assert!(!first, "a defect"),
            }
        })
    }
}

#[tokio::test]
async fn a_snapshot_that_stands_there_already_counts_only_when_it_is_ready_and_of_the_disk() {
    let other_disk = format!("https://www.googleapis.com/compute/v1/projects/{PROJECT}/zones/{ZONE}/disks/other");
    for (expected, member, value) in [
        (("done", "asked"), "status", json!("READY")),
        (("refused", "snapshot_failed"), "status", json!("FAILED")),
        (("refused", "snapshot_failed"), "status", json!("CREATING")),
        (("refused", "snapshot_failed"), "sourceDisk", json!(other_disk)),
        (("refused", "snapshot_failed"), "gone", json!(true)),
    ] {
        let mut bench = Bench::new(ActingConfig { snapshot_first: true, ..rules(Mode::Stop) }).await;
        bench.plan(&late(3)).await;
        bench.compute.world().fails("snapshot", [Fault::Does(Answer::Hang)]);
        bench.dies().await;
        {
            let mut world = bench.compute.world();
            world.fails("snapshot", [Fault::Says(refused(409, "alreadyExists", "it already exists"))]);
            let snapshot = world.snapshots.values_mut().next().unwrap();
            snapshot["status"] = json!("READY");
            snapshot[member] = value.clone();
            if member == "gone" {
                world.snapshots.clear();
            }
        }
        // What is never ready is given up in the end.
        bench.tick = if value == "CREATING" { TimeDelta::minutes(3) } else { TimeDelta::zero() };
        let plan = bench.recovers().await;
        assert_eq!(ended(&plan), expected, "{member} {value}: {:#?}", plan.journal);
        let stops = bench.compute.verbs().iter().filter(|verb| *verb == "stop").count();
        assert_eq!(stops, usize::from(expected.0 == "done"));
    }
}
