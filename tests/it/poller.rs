//! The poller through simulated hours: every event arrives exactly once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future::BoxFuture;
use serde_json::json;
use sysdig_scc::config::sysdig::PollConfig;
use sysdig_scc::normalize::Element;
use sysdig_scc::outbox::StoreError;
use sysdig_scc::receive::poller::reader::Destination;
use sysdig_scc::receive::poller::{Parts, Poller, Step};
use sysdig_scc::receive::{IntakeError, Receipt};
use sysdig_scc::state::Store;
use sysdig_scc::state::sqlite::SqliteStore;
use sysdig_scc::sysdig::{Access, Client, Credential, Patience};

use crate::fakes::loopback::{Answer, Loopback};
use crate::fakes::sysdig::{Cursors, FakeSysdig, TOKEN};

const START: i64 = 1_790_000_000;

/// An intake that remembers which findings it took, as the outbox does, and can be told to fail.
#[derive(Debug, Default)]
struct Recorder {
    taken: Mutex<BTreeMap<String, u32>>,
    refuse: Mutex<u32>,
}

impl Destination for Recorder {
    fn take(&self, elements: Vec<Element>) -> BoxFuture<'_, Result<Receipt, IntakeError>> {
        Box::pin(async move {
            let mut refuse = self.refuse.lock().unwrap();
            if *refuse > 0 {
                *refuse -= 1;
                return Err(IntakeError(StoreError::Batch("the disk is full".into())));
            }
            let mut receipt = Receipt::default();
            for element in elements {
                let event = match element {
                    Element::Event { event, .. } => event,
                    Element::Unreadable { .. } => {
                        receipt.parked += 1;
                        continue;
                    }
                    Element::Ignored(_) | Element::Unknown { .. } => panic!("not an event: {element:?}"),
                };
                let count = *self
                    .taken
                    .lock()
                    .unwrap()
                    .entry(event.finding_id().to_string())
                    .and_modify(|n| *n += 1)
                    .or_insert(1);
                if count == 1 { receipt.accepted += 1 } else { receipt.duplicates += 1 }
            }
            Ok(receipt)
        })
    }
}

struct World {
    sysdig: FakeSysdig,
    state: Arc<dyn Store>,
    recorder: Arc<Recorder>,
}

fn settings() -> PollConfig {
    PollConfig {
        interval: Duration::from_secs(60),
        settle: Duration::from_secs(10),
        overlap: Duration::from_secs(300),
        window: Duration::from_secs(3600),
        lookback: Duration::from_secs(60),
        filter: None,
    }
}

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(START + second, 0).unwrap()
}

impl World {
    async fn new() -> Self {
        let state = Arc::new(SqliteStore::in_memory().unwrap());
        Self { sysdig: FakeSysdig::start(), state, recorder: Arc::default() }
    }

    /// What a start of the process makes.
    fn poller(&self, replica: &str) -> Poller {
        self.poller_with(replica, self.sysdig.client(2))
    }

    fn poller_with(&self, replica: &str, client: Client) -> Poller {
        self.poller_into(replica, client, Arc::clone(&self.recorder) as Arc<dyn Destination>)
    }

    fn poller_into(&self, replica: &str, client: Client, destination: Arc<dyn Destination>) -> Poller {
        let parts = Parts { client, destination, state: Arc::clone(&self.state), replica: replica.into() };
        Poller::new(parts, settings())
    }

    /// An event that happens at `second` and is known to Sysdig `late` seconds later.
    fn event(&self, second: i64, late: i64) {
        let nanos = (START + second) * 1_000_000_000;
        let mut state = self.sysdig.state();
        let id = format!("{:032x}", state.events.len() + 1);
        state.add(&id, nanos + 123_456_789, nanos + late * 1_000_000_000);
    }

    fn clock(&self, second: i64) {
        self.sysdig.state().now = (START + second) * 1_000_000_000;
    }

    fn all_arrived(&self) {
        let taken = self.recorder.taken.lock().unwrap();
        let stored = self.sysdig.state();
        let missing: Vec<_> =
            stored.events.iter().filter(|event| !taken.contains_key(&event.id)).map(|e| &e.id).collect();
        assert!(missing.is_empty(), "{} of {} events are missing: {missing:?}", missing.len(), stored.events.len());
        assert_eq!(taken.len(), stored.events.len(), "nothing else arrived");
    }
}

/// An intake that takes so many seconds for a page, after which another replica, whose clock may be ahead, tries to poll.
struct Rival {
    recorder: Arc<Recorder>,
    other: tokio::sync::Mutex<Poller>,
    takes: u32,
    passed: Mutex<i64>,
    steps: Mutex<Vec<Step>>,
}

impl Rival {
    fn of(world: &World, takes: u32, ahead: i64) -> Arc<Self> {
        let (recorder, other) = (Arc::clone(&world.recorder), world.poller("two").into());
        Arc::new(Self { recorder, other, takes, passed: ahead.into(), steps: Mutex::default() })
    }

    fn against(self: &Arc<Self>, world: &World) -> Poller {
        world.poller_into("one", world.sysdig.client(2), Arc::clone(self) as Arc<dyn Destination>)
    }
}

impl Destination for Rival {
    fn take(&self, elements: Vec<Element>) -> BoxFuture<'_, Result<Receipt, IntakeError>> {
        Box::pin(async move {
            tokio::time::pause();
            tokio::time::advance(Duration::from_secs(self.takes.into())).await;
            tokio::time::resume();
            let second = {
                let mut passed = self.passed.lock().unwrap();
                *passed += i64::from(self.takes);
                *passed
            };
            let step = self.other.lock().await.step(at(second)).await.unwrap();
            self.steps.lock().unwrap().push(step);
            self.recorder.take(elements).await
        })
    }
}

/// A small deterministic source of numbers.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> i64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        i64::try_from((self.0 >> 33) % sides).unwrap()
    }
}

fn trouble(dice: &mut Dice) -> Option<Answer> {
    match dice.roll(14) {
        0 => Some(Answer::With(429, vec![("Retry-After", "0".into())], json!({"message": "too many requests"}))),
        1 => Some(Answer::With(429, vec![("Retry-After", "30".into())], json!({}))),
        2 => Some(Answer::Json(500, json!({"errors": [{"reason": "Internal", "message": "x"}]}))),
        3 => Some(Answer::Text(503, "<html>unavailable</html>")),
        4 => Some(Answer::Text(200, "<html>a captive portal</html>")),
        5 => Some(Answer::Text(200, "{\"data\": [{\"id\": \"cut")),
        6 => Some(Answer::Hang),
        7 => Some(Answer::Json(200, json!({"message": "internal error"}))),
        _ => None,
    }
}

#[tokio::test]
async fn hours_with_late_events_trouble_and_kills_bring_every_event_exactly_once() {
    for (seed, cursors) in [(1, Cursors::NextIsOlder), (2, Cursors::PrevIsOlder), (3, Cursors::NextIsNewer)] {
        let world = World::new().await;
        {
            let mut state = world.sysdig.state();
            state.cursors = cursors;
            state.page_size = 9;
            state.says_total = seed != 3;
            state.public_feed = seed != 2;
        }
        let mut dice = Dice(seed);
        for second in 0..4 * 3600 {
            if dice.roll(40) == 0 {
                for _ in 0..=dice.roll(6) {
                    let late = if dice.roll(4) == 0 { dice.roll(290) } else { dice.roll(8) };
                    world.event(second, late);
                }
            }
        }
        let mut poller = world.poller("one");
        let mut kills = 0;
        for minute in 0..=260 {
            let second = minute * 60 + dice.roll(20) - 10;
            world.clock(second);
            if dice.roll(5) == 0 {
                let queue: Vec<_> = (0..=dice.roll(4)).map(|_| trouble(&mut dice)).collect();
                world.sysdig.state().trouble = queue.into();
            }
            if dice.roll(25) == 0 {
                *world.recorder.refuse.lock().unwrap() = 1;
            }
            // Whatever hangs is killed; now and then the process is replaced between polls as well.
            let step = tokio::time::timeout(Duration::from_millis(250), poller.step(at(second))).await;
            if step.is_err() || dice.roll(15) == 0 {
                kills += 1;
                poller = world.poller("one");
            }
            world.sysdig.state().trouble.clear();
        }
        world.clock(5 * 3600);
        while let Step::Read { more: true, .. } = poller.step(at(5 * 3600)).await.unwrap() {}
        assert!(kills > 5, "{kills} kills");
        world.all_arrived();
    }
}

#[tokio::test]
async fn what_sysdig_asks_for_is_heeded_within_bounds() {
    let world = World::new().await;
    let asks = |seconds: &str| Some(Answer::With(503, vec![("Retry-After", seconds.into())], json!({})));
    let mut poller = world.poller("one");
    world.clock(0);
    for (asked, least, most) in
        [("0", 5.0, 6.25), ("0", 10.0, 12.5), ("40", 40.0, 50.0), ("0", 40.0, 50.0), ("31536000", 3600.0, 3600.0)]
    {
        world.sysdig.state().trouble = vec![asks(asked); 2].into();
        let outcome = poller.step(at(0)).await;
        let pauses = [0.0, 1.0].map(|jitter| poller.pause(&outcome, jitter).as_secs_f64());
        assert_eq!(pauses, [least, most], "{asked}");
    }
}

#[tokio::test]
async fn a_cursor_that_is_gone_puts_the_next_poll_off_for_seconds_while_that_may_help() {
    let world = World::new().await;
    let mut poller = world.poller("one");
    world.clock(3600);
    (3000..3590).for_each(|second| world.event(second, 0));
    for shortest in [5, 5, 5, 5, 5, 5, 10, 20, 40, 80, 160, 300, 300] {
        world.sysdig.state().trouble = vec![None, Some(Answer::Json(400, json!({"message": "cursor expired"})))].into();
        let outcome = poller.step(at(3600)).await;
        assert!(outcome.as_ref().is_err_and(|error| !error.needs_somebody()), "{outcome:?}");
        assert_eq!(poller.pause(&outcome, 0.0), Duration::from_secs(shortest));
    }
}

#[tokio::test]
async fn the_lag_grows_while_sysdig_cannot_be_read() {
    let world = World::new().await;
    let mut poller = world.poller("one");
    let read_to = poller.read_to();
    assert_eq!(read_to.lag_secs(at(0)), None, "not known yet");
    world.clock(0);
    poller.step(at(0)).await.unwrap();
    assert_eq!(read_to.lag_secs(at(0)), Some(10), "what has settled is read");
    world.sysdig.state().trouble = vec![Some(Answer::Text(502, "bad gateway")); 2].into();
    poller.step(at(3600)).await.unwrap_err();
    assert_eq!(read_to.lag_secs(at(3600)), Some(3610));
    assert_eq!(read_to.lag_secs(at(7200)), Some(7210), "nobody has to poll for that");

    // Another replica sees how far the one that polls has come, and a restart in an outage how far it was.
    let mut other = world.poller("two");
    assert_eq!(other.step(at(3601)).await.unwrap(), Step::NotOurs);
    assert_eq!(other.read_to().lag_secs(at(7200)), Some(7210));
    world.sysdig.state().trouble = vec![Some(Answer::Text(502, "bad gateway")); 2].into();
    let mut restarted = world.poller("one");
    restarted.step(at(3602)).await.unwrap_err();
    assert_eq!(restarted.read_to().lag_secs(at(7200)), Some(7210));
}

#[tokio::test]
async fn an_outage_of_hours_is_caught_up_in_chunks() {
    let world = World::new().await;
    let mut poller = world.poller("one");
    world.clock(0);
    assert!(matches!(poller.step(at(0)).await.unwrap(), Step::Read { more: false, .. }));
    (0..6 * 3600).step_by(20).for_each(|second| world.event(second, 0));
    for hour in 1..=6 {
        world.sysdig.state().trouble = vec![Some(Answer::Text(502, "bad gateway")); 2].into();
        let outcome = poller.step(at(hour * 3600)).await;
        assert!(outcome.as_ref().is_err_and(|error| error.label() == "server"));
        assert!(poller.pause(&outcome, 0.0) >= Duration::from_secs(3));
    }
    let now = at(6 * 3600 + 60);
    world.clock(6 * 3600 + 60);
    let mut windows = 0;
    loop {
        let step = poller.step(now).await;
        let Step::Read { window, more, .. } = step.as_ref().unwrap() else { panic!("{step:?}") };
        windows += 1;
        assert!(window.length() <= TimeDelta::seconds(3900));
        if !more {
            break;
        }
        assert_eq!(poller.pause(&step, 0.0), Duration::from_secs(1), "at once, but paced");
    }
    assert!(windows >= 7, "{windows} windows");
    world.all_arrived();
}

#[tokio::test]
async fn what_was_taken_is_not_taken_again_by_the_overlap() {
    let world = World::new().await;
    let mut poller = world.poller("one");
    (0..60).for_each(|second| world.event(second, 0));
    for minute in 0..6 {
        world.clock(minute * 60);
        poller.step(at(minute * 60)).await.unwrap();
    }
    world.all_arrived();
    assert!(world.recorder.taken.lock().unwrap().values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_refusing_intake_leaves_the_watermark() {
    let world = World::new().await;
    world.event(-30, 0);
    world.clock(0);
    *world.recorder.refuse.lock().unwrap() = 1;
    let mut poller = world.poller("one");
    assert_eq!(poller.step(at(0)).await.unwrap_err().label(), "intake");
    drop(poller);
    // An hour later, after a restart, the first window still begins where it began.
    world.clock(3600);
    let mut poller = world.poller("one");
    let Step::Read { window, .. } = poller.step(at(3600)).await.unwrap() else { panic!("nothing read") };
    assert_eq!(window.from, at(-70 - 300));
    world.all_arrived();
}

#[tokio::test]
async fn of_two_replicas_one_polls_and_the_other_takes_over() {
    let world = World::new().await;
    world.clock(0);
    let (mut one, mut two) = (world.poller("one"), world.poller("two"));
    assert!(matches!(one.step(at(0)).await.unwrap(), Step::Read { .. }));
    assert_eq!(two.step(at(30)).await.unwrap(), Step::NotOurs);
    assert!(matches!(one.step(at(60)).await.unwrap(), Step::Read { .. }));
    // One is gone; its lease runs out.
    assert_eq!(two.step(at(200)).await.unwrap(), Step::NotOurs);
    assert!(matches!(two.step(at(260)).await.unwrap(), Step::Read { .. }));
}

#[tokio::test]
async fn a_window_that_takes_longer_than_the_lease_stays_with_who_reads_it() {
    let world = World::new().await;
    world.clock(0);
    world.sysdig.state().page_size = 20;
    (-220..-20).for_each(|second| world.event(second, 0));
    let rival = Rival::of(&world, 24, 0);
    let step = rival.against(&world).step(at(0)).await;
    assert!(matches!(step, Ok(Step::Read { .. })), "{step:?}");
    assert_eq!(*rival.steps.lock().unwrap(), vec![Step::NotOurs; 10]);
    world.all_arrived();
}

#[tokio::test]
async fn a_lease_that_was_lost_makes_the_next_window_shorter_whoever_polls_meanwhile() {
    let world = World::new().await;
    world.clock(0);
    world.event(-30, 0);
    let mut one = Rival::of(&world, 0, 400).against(&world);
    assert_eq!(one.step(at(0)).await.unwrap_err().label(), "taken_over");
    for second in [60, 120] {
        assert_eq!(one.step(at(second)).await.unwrap(), Step::NotOurs);
    }
    for expected in [1800, 3600] {
        let Step::Read { window, .. } = one.step(at(8 * 3600)).await.unwrap() else { panic!("nothing read") };
        assert_eq!(window.length(), TimeDelta::seconds(expected + 300));
    }
}

#[tokio::test]
async fn a_clock_that_steps_back_does_no_harm() {
    let world = World::new().await;
    let mut poller = world.poller("one");
    (0..600).step_by(7).for_each(|second| world.event(second, 0));
    world.sysdig.state().now = i64::MAX;
    poller.step(at(300)).await.unwrap();
    assert_eq!(poller.step(at(270)).await.unwrap(), Step::Waited);
    // A day ahead by mistake, then right again. The lease that was taken then is still ours.
    for _ in 0..30 {
        poller.step(at(86_400)).await.unwrap();
    }
    world.event(610, 0);
    while let Step::Read { more: true, .. } = poller.step(at(700)).await.unwrap() {}
    world.all_arrived();
}

#[tokio::test]
async fn a_window_with_too_many_pages_is_read_in_halves() {
    let world = World::new().await;
    let mut poller = world.poller("one");
    world.clock(0);
    poller.step(at(0)).await.unwrap();
    world.sysdig.state().page_size = 1;
    (0..1300).for_each(|n| world.event(n / 2, 0));
    world.clock(700);
    let step = poller.step(at(700)).await.unwrap();
    assert!(matches!(step, Step::Read { more: false, .. }), "{step:?}");
    world.all_arrived();
}

#[tokio::test]
async fn a_clock_that_is_ahead_of_sysdigs_reads_no_empty_future() {
    for ahead in [240, 400] {
        let world = World::new().await;
        world.sysdig.state().behind = ahead;
        (-60..1800).step_by(7).for_each(|second| world.event(second, 0));
        // The clock of one replica is right, the other's is not; they take turns.
        let (mut right, mut wrong) = (world.poller("right"), world.poller("wrong"));
        let mut theirs = 0;
        for minute in 0..40 {
            let second = minute * 60;
            world.clock(second);
            world.sysdig.state().behind = if minute / 5 % 2 == 0 { ahead } else { 0 };
            let step = match minute / 5 % 2 {
                0 => wrong.step(at(second + ahead)).await.unwrap(),
                _ => right.step(at(second)).await.unwrap(),
            };
            if let (Step::Read { window, .. }, 1..) = (step, minute) {
                theirs += 1;
                assert!(window.to <= at(second), "{ahead}: {window} at minute {minute}");
            }
        }
        assert!(theirs > 10, "{theirs}");
        let mut step = right.step(at(4000)).await.unwrap();
        while let Step::Read { more: true, .. } = step {
            step = right.step(at(4000)).await.unwrap();
        }
        world.all_arrived();
    }
}

#[tokio::test]
async fn a_byte_that_is_not_utf_8_costs_its_event_and_no_other() {
    let world = World::new().await;
    world.clock(0);
    let event = |n: u32, output: &str| {
        json!({"id": format!("{n:032x}"), "timestamp": (START - 60) * 1_000_000_000, "originator": "policy",
               "name": "P", "severity": 4, "content": {"ruleName": "R", "output": output, "fields": {}}})
    };
    let page = json!({"data": [event(1, "a"), event(2, "~"), event(3, "\u{fffd}")], "page": {"total": 3}});
    let mut bytes = page.to_string().into_bytes();
    let bad = bytes.iter().position(|byte| *byte == b'~').unwrap();
    bytes[bad] = 0xff;
    world.sysdig.state().trouble = [Some(Answer::Bytes(200, bytes))].into();
    let mut poller = world.poller("one");
    let Step::Read { receipt, .. } = poller.step(at(0)).await.unwrap() else { panic!("nothing read") };
    assert_eq!((receipt.accepted, receipt.parked), (1, 2), "as at the webhook");
    // Where all is UTF-8, what Sysdig replaced itself is no reason to keep an event.
    world.event(30, 0);
    world.clock(60);
    let page = json!({"data": [event(4, "\u{fffd}")], "page": {"total": 1}});
    world.sysdig.state().trouble = [Some(Answer::Json(200, page))].into();
    let Step::Read { receipt, .. } = poller.step(at(60)).await.unwrap() else { panic!("nothing read") };
    assert_eq!((receipt.accepted, receipt.parked), (1, 0));
}

#[tokio::test]
async fn instances_and_teams_behind_one_address_are_polled_each() {
    let world = World::new().await;
    let iam = Loopback::start(|_| Answer::Json(200, json!({"access_token": TOKEN, "expires_in": 3600})));
    let client = |instance: &str, team: Option<&str>| {
        let credential = Credential::Ibm {
            api_key: "key".to_owned().into(),
            instance: instance.into(),
            team: team.map(str::to_owned),
            iam: iam.url.parse().unwrap(),
        };
        Client::new(Access { credential, ..world.sysdig.access() }, Patience::default()).unwrap()
    };
    world.clock(0);
    for (instance, team) in [("a", None), ("b", None), ("b", Some("7"))] {
        let mut poller = world.poller_with(&format!("{instance}{team:?}"), client(instance, team));
        assert!(matches!(poller.step(at(0)).await.unwrap(), Step::Read { .. }), "{instance} {team:?}");
        assert_eq!(world.poller_with("other", client(instance, team)).step(at(0)).await.unwrap(), Step::NotOurs);
    }
}
