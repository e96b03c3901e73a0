//! The ledger: nothing leaves silently, whatever happens in between.

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use proptest::prelude::*;
use serde_json::json;
use sysdig_scc::event::Outcome;
use sysdig_scc::normalize::{Element, delivery};
use sysdig_scc::outbox::sqlite::{Admin, Keep, Selection};
use sysdig_scc::outbox::{Content, Desk, Ending, Leased, NewContent, NewEntry, Settlement, Sqlite, Store, StoreError};
use sysdig_scc::receive::{Door, Intake, content};

use crate::fakes::lines::Lines;

const LEASE: Duration = Duration::from_secs(60);

fn keep() -> Keep {
    Keep { closed_for: Duration::from_secs(3600), bytes: u64::MAX }
}

fn now() -> DateTime<Utc> {
    "2026-11-22T10:00:00Z".parse().unwrap()
}

fn entry(key: &str, urgency: u8) -> NewEntry {
    let content = NewContent { event: "{}".into(), in_hand: None, kind: "runtime", urgency };
    NewEntry { key: key.into(), body: format!("body of {key}"), content: Ok(content), door: "webhook" }
}

fn unreadable(key: &str) -> NewEntry {
    NewEntry { content: Err("severity is missing".into()), ..entry(key, 0) }
}

fn close(id: i64, outcome: Outcome) -> Settlement {
    Settlement { id, ending: Ending::Close { outcome, note: Some("because".into()) } }
}

async fn stats(store: &Sqlite) -> sysdig_scc::outbox::Stats {
    let stats = store.stats(now()).await.unwrap();
    assert!(stats.balances(), "accepted = waiting + closed: {stats:?}");
    stats
}

/// Up to so many rows that are due.
async fn lease(store: &Sqlite, most: usize, now: DateTime<Utc>) -> Vec<Leased> {
    let desk = Arc::new(Desk::new(most));
    store.fill(&desk, now, LEASE).await.unwrap();
    on(&desk)
}

fn on(desk: &Desk) -> Vec<Leased> {
    std::iter::from_fn(|| desk.take()).collect()
}

/// An entry with its event in hand, as a door brings it.
fn in_hand(id: &str) -> NewEntry {
    let element = json!({"id": id, "timestamp": 1_720_031_001_639_981_110_u64, "name": "Terminal shell", "severity": 4,
        "category": "runtime", "source": "syscall", "content": {"ruleName": "Terminal shell", "output": "a shell"}});
    let Element::Event { event, body } = delivery(element.to_string().as_bytes(), now()).unwrap().remove(0) else {
        panic!("an event")
    };
    NewEntry { key: event.key(), body, content: content(event), door: "webhook" }
}

fn open(path: &Path) -> Sqlite {
    // The lock of a store that was just dropped is released when its thread has ended.
    Sqlite::open(path, keep()).unwrap()
}

#[tokio::test]
async fn a_second_event_with_the_same_key_is_a_duplicate() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("outbox.db"));
    let first = store.accept(vec![entry("a", 1), entry("b", 1), entry("a", 1)], 2, now()).await.unwrap();
    assert_eq!((first.waiting, first.duplicates, first.parked), (2, 1, 0));
    let again = store.accept(vec![entry("b", 1), unreadable("c"), unreadable("c")], 0, now()).await.unwrap();
    assert_eq!((again.waiting, again.duplicates, again.parked), (0, 2, 1));
    let stats = stats(&store).await;
    assert_eq!((stats.accepted, stats.waiting), (8, 2));
    assert_eq!((stats.closed["duplicate"], stats.closed["ignored"], stats.closed["parked"]), (3, 2, 1));
}

#[tokio::test]
async fn the_most_urgent_goes_first_and_equals_in_order_of_arrival() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("outbox.db"));
    for (n, (key, urgency)) in [("low", 3), ("high1", 1), ("critical", 0), ("high2", 1)].into_iter().enumerate() {
        store.accept(vec![entry(key, urgency)], 0, now() + TimeDelta::seconds(n as i64)).await.unwrap();
    }
    let keys: Vec<_> = lease(&store, 3, now()).await.into_iter().map(|row| row.key).collect();
    assert_eq!(keys, ["critical", "high1", "high2"]);
    let admin = Admin::open(store.path()).unwrap();
    let count = |state: &str| {
        admin.list(&Selection { state: Some(state.into()), reason: None, limit: 9 }).unwrap().len() as u64
    };
    let sums = stats(&store).await;
    assert_eq!((count("waiting"), count("leased")), (sums.waiting, sums.leased), "one word, one meaning");
    assert_eq!(lease(&store, 9, now()).await.len(), 1, "what is leased is not leased again");
}

#[tokio::test]
async fn a_retry_waits_for_its_time_and_a_release_counts_no_attempt() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("outbox.db"));
    store.accept(vec![entry("a", 1)], 0, now()).await.unwrap();
    let row = lease(&store, 1, now()).await.remove(0);
    let at = now() + TimeDelta::seconds(30);
    let retry = Settlement { id: row.id, ending: Ending::Retry { at, reason: "503".into() } };
    store.settle(vec![retry], now()).await.unwrap();
    assert!(lease(&store, 1, now() + TimeDelta::seconds(29)).await.is_empty());
    let row = lease(&store, 1, at).await.remove(0);
    assert_eq!((row.attempts, row.failing_since), (1, Some(now())));
    let release = Settlement { id: row.id, ending: Ending::Release { reason: None, at: None } };
    store.settle(vec![release], at).await.unwrap();
    assert_eq!(lease(&store, 1, at).await.remove(0).attempts, 1);
}

#[tokio::test]
async fn a_clock_that_stepped_back_while_nobody_ran_strands_no_retry() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let store = open(&path);
    store.accept(vec![entry("a", 1)], 0, now()).await.unwrap();
    let row = lease(&store, 1, now()).await.remove(0);
    let at = now() + TimeDelta::minutes(5);
    store
        .settle(vec![Settlement { id: row.id, ending: Ending::Retry { at, reason: "503".into() } }], now())
        .await
        .unwrap();
    let back = now() - TimeDelta::days(3);
    drop(store);
    let store = open(&path);
    assert_eq!(lease(&store, 1, back).await.len(), 1);
}

#[tokio::test]
async fn a_clock_that_is_set_back_takes_planned_retries_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("outbox.db"));
    store.accept(vec![entry("a", 1)], 0, now()).await.unwrap();
    let row = lease(&store, 1, now()).await.remove(0);
    let retry = Ending::Retry { at: now() + TimeDelta::seconds(3), reason: "503".into() };
    store.settle(vec![Settlement { id: row.id, ending: retry }], now()).await.unwrap();
    let before = now() - TimeDelta::minutes(90);
    assert!(lease(&store, 1, before).await.is_empty());
    assert!(lease(&store, 1, before + TimeDelta::seconds(2)).await.is_empty());
    assert_eq!(lease(&store, 1, before + TimeDelta::seconds(3)).await.len(), 1);
}

#[tokio::test]
async fn leases_of_a_dead_process_are_taken_back_by_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let store = open(&path);
    store.accept(vec![entry("a", 1), entry("b", 1)], 0, now()).await.unwrap();
    let rows = lease(&store, 2, now()).await;
    store.settle(vec![close(rows[0].id, Outcome::Delivered)], now()).await.unwrap();
    drop(store);
    let store = open(&path);
    let keys: Vec<_> = lease(&store, 9, now()).await.into_iter().map(|row| row.key).collect();
    assert_eq!(keys, ["b"]);
    assert_eq!(stats(&store).await.closed["delivered"], 1);
}

#[tokio::test]
async fn a_fresh_event_goes_to_the_desk_with_its_lease_while_there_is_room_and_nothing_older_waits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let store = open(&path);
    let desk = Arc::new(Desk::new(2));
    assert_eq!(store.accept(vec![in_hand("a")], 0, now()).await.unwrap().handed, 0, "nobody works yet");
    assert!(!store.fill(&desk, now(), LEASE).await.unwrap());
    let new = vec![in_hand("a"), in_hand("b"), in_hand("c")];
    let accepted = store.accept(new, 0, now()).await.unwrap();
    assert_eq!((accepted.waiting, accepted.handed, accepted.duplicates), (2, 1, 1), "a duplicate takes no place");
    let rows = on(&desk);
    assert!(matches!(rows[0].event, Content::Written(_)), "what waited is read from its row");
    assert!(matches!(rows[1].event, Content::InHand(_)));
    settle(&store, &rows).await;
    assert_eq!(store.accept(vec![in_hand("d"), in_hand("e")], 0, now()).await.unwrap().handed, 0, "an older one waits");
    assert!(store.fill(&desk, now(), LEASE).await.unwrap(), "and there may be more than there was room for");
    settle(&store, &on(&desk)).await;
    assert!(!store.fill(&desk, now(), LEASE).await.unwrap());
    settle(&store, &on(&desk)).await;
    assert_eq!(store.accept(vec![in_hand("f")], 0, now()).await.unwrap().handed, 1);
    let row = on(&desk).remove(0);
    assert!(matches!(&row.event, Content::InHand(event) if event.key() == row.key));
    assert_eq!(stats(&store).await.leased, 1, "its lease is durable before it lies there");
    drop(store);
    let found: Vec<_> = lease(&open(&path), 9, now()).await.into_iter().map(|row| row.event().unwrap().key()).collect();
    assert!(found.contains(&row.key), "and if the process dies, the next one reads it: {found:?}");
}

async fn settle(store: &Sqlite, rows: &[Leased]) {
    store.settle(rows.iter().map(|row| close(row.id, Outcome::Delivered)).collect(), now()).await.unwrap();
}

#[tokio::test]
async fn a_row_that_is_due_when_it_is_settled_lies_on_the_desk_again_and_is_leased_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("outbox.db"));
    let desk = Arc::new(Desk::new(8));
    store.accept(vec![entry("a", 1), entry("b", 1)], 0, now()).await.unwrap();
    store.fill(&desk, now(), LEASE).await.unwrap();
    for round in 0..3 {
        let rows = on(&desk);
        assert_eq!(rows.len(), 2, "round {round}");
        let again = |row: &Leased, ending: Ending| Settlement { id: row.id, ending };
        let settlements = vec![
            again(&rows[0], Ending::Retry { at: now(), reason: "503".into() }),
            again(&rows[1], Ending::Release { reason: None, at: None }),
        ];
        // Both wait for the writer at once, as when the disk was slow: they may or may not be one transaction.
        let (settled, filled) = tokio::join!(store.settle(settlements, now()), store.fill(&desk, now(), LEASE));
        settled.unwrap();
        filled.unwrap();
        assert_eq!(desk.len(), 2, "nobody had to say that their places are free");
    }
    settle(&store, &on(&desk)).await;
    assert!(desk.is_empty());
}

#[tokio::test]
async fn a_row_is_closed_once_however_often_it_is_settled() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder.path().join("outbox.db"));
    store.accept(vec![entry("a", 1)], 0, now()).await.unwrap();
    let id = lease(&store, 1, now()).await[0].id;
    let twice = vec![close(id, Outcome::Delivered), close(id, Outcome::Parked)];
    store.settle(twice, now()).await.unwrap();
    let stats = stats(&store).await;
    assert_eq!((stats.closed["delivered"], stats.closed["parked"]), (1, 0));
}

#[tokio::test]
async fn a_second_process_on_the_file_is_refused_in_words() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let _store = open(&path);
    let refused = Sqlite::open(&path, keep()).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains("OUTBOX_URL"));

    let other_name = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &other_name).unwrap();
    let refused = Sqlite::open(&other_name, keep()).unwrap_err();
    assert!(matches!(refused, StoreError::InUse { .. }), "{refused}");
}

#[tokio::test]
async fn a_file_from_a_newer_version_and_a_file_that_is_none_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let newer = folder.path().join("newer.db");
    drop(open(&newer));
    rusqlite::Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(Sqlite::open(&newer, keep()).unwrap_err(), StoreError::TooNew { found: 99, .. }));
    let text = folder.path().join("text.db");
    std::fs::write(&text, "this is no database ".repeat(500)).unwrap();
    assert!(matches!(Sqlite::open(&text, keep()).unwrap_err(), StoreError::Damaged(_)));
}

#[tokio::test]
async fn a_damaged_file_is_told_as_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let store = open(&path);
    let batch = (0..200).map(|n| entry(&format!("event-{n:032}"), 1)).collect();
    store.accept(batch, 0, now()).await.unwrap();
    Admin::open(&path).unwrap().check().unwrap();
    drop(store);
    rusqlite::Connection::open(&path).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4096..].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    let found = Admin::open(&path).unwrap().check().unwrap_err();
    assert_eq!(found.label(), "damaged", "{found}");
    let told = match Sqlite::open(&path, keep()) {
        Ok(store) => store.accept(vec![entry("another", 1)], 0, now()).await.unwrap_err().to_string(),
        Err(error) => error.to_string(),
    };
    assert!(told.contains("damaged") && told.contains(".recover"), "{told}");
}

/// The names of the files in a folder, and what may be done with each.
fn modes(folder: &Path) -> Vec<(String, u32)> {
    let files = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mode = |file: &std::fs::DirEntry| file.metadata().unwrap().permissions().mode() & 0o777;
    files.map(|file| (file.file_name().into_string().unwrap(), mode(&file))).collect()
}

#[tokio::test]
async fn its_files_are_private_also_when_they_are_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let store = open(&path);
    for (key, removed) in [("a", false), ("b", true)] {
        if removed {
            std::fs::remove_file(&path).unwrap();
        }
        store.accept(vec![entry(key, 1)], 0, now()).await.unwrap();
        let modes = modes(folder.path());
        for file in ["outbox.db", "outbox.db-wal", "outbox.db-shm", "outbox.db.lock"] {
            assert!(modes.contains(&(file.into(), 0o600)), "{file} is missing, or not private: {modes:?}");
        }
        assert!(modes.iter().all(|(_, mode)| *mode == 0o600), "{modes:?}");
    }
    assert_eq!(stats(&store).await.waiting, 2);
}

/// Whether SQLite's lock on the file is held. Closing any other handle of a file gives up all that its process has on it,
/// and then another program's SQLite, the last user as it thinks, removes the log under our feet.
fn is_locked(path: &Path) -> bool {
    let inode = std::fs::metadata(path).unwrap().ino();
    let locks = std::fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|line| line.contains("POSIX") && line.contains(&format!(":{inode} ")))
}

#[tokio::test]
async fn other_programs_find_the_file_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    for (key, removed) in [("new", false), ("opened again", false), ("written anew", true)] {
        let store = open(&path);
        if removed {
            std::fs::remove_file(&path).unwrap();
        }
        store.accept(vec![entry(key, 1)], 0, now()).await.unwrap();
        assert!(is_locked(&path), "{key}");
    }
}

#[tokio::test]
async fn a_file_that_is_there_keeps_its_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    std::fs::write(&path, "").unwrap();
    std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    let store = open(&path);
    store.accept(vec![entry("a", 1)], 0, now()).await.unwrap();
    assert!(modes(folder.path()).contains(&("outbox.db".into(), 0o640)));
}

#[tokio::test]
async fn while_the_file_is_locked_nothing_is_taken_and_afterwards_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let store = open(&path);
    let intruder = rusqlite::Connection::open(&path).unwrap();
    intruder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let refused = store.accept(vec![entry("a", 1)], 1, now()).await.unwrap_err();
    assert!(refused.to_string().contains("locked"), "{refused}");
    intruder.execute_batch("ROLLBACK").unwrap();
    store.accept(vec![entry("a", 1)], 1, now()).await.unwrap();
    assert_eq!(stats(&store).await.accepted, 2);
}

#[tokio::test]
async fn parked_rows_are_listed_shown_retried_and_discarded() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let store = open(&path);
    store.accept(vec![unreadable("x"), entry("y", 1)], 0, now()).await.unwrap();
    let id = lease(&store, 1, now()).await[0].id;
    store.settle(vec![close(id, Outcome::Parked)], now()).await.unwrap();
    let mut admin = Admin::open(&path).unwrap();
    let parked = admin.list(&Selection { state: Some("parked".into()), reason: None, limit: 9 }).unwrap();
    assert_eq!(parked.len(), 2);
    let failed: Vec<_> = parked.iter().map(|row| (row.key.as_str(), row.attempts, row.failing_since)).collect();
    assert_eq!(failed, [("y", 1, Some(now())), ("x", 0, None)], "what was never tried has not failed");
    let shown = admin.show("x").unwrap().unwrap();
    assert_eq!((shown.delivered.as_str(), shown.event), ("body of x", None));
    assert!(admin.retry(id, None).unwrap());
    assert!(!admin.retry(id, None).unwrap(), "it is no longer parked");
    assert!(admin.discard(shown.listed.id, now()).unwrap());
    let stats = stats(&store).await;
    assert_eq!((stats.waiting, stats.closed["parked"], stats.closed["discarded"]), (1, 0, 1));
    let again = lease(&store, 9, now()).await.remove(0);
    assert_eq!((again.attempts, again.failing_since), (0, None));
}

#[tokio::test]
async fn a_row_is_found_by_its_number_before_an_event_of_that_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let store = open(&path);
    store.accept(vec![unreadable("2"), unreadable("1"), unreadable("9")], 0, now()).await.unwrap();
    let admin = Admin::open(&path).unwrap();
    let row = |name: &str| admin.show(name).unwrap().map(|row| row.listed.id);
    assert_eq!((row("1"), row("2"), row("9"), row("8")), (Some(1), Some(2), Some(3), None));
}

#[tokio::test]
async fn giving_up_counts_the_last_attempt_and_keeps_the_time_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let store = open(&path);
    store.accept(vec![entry("a", 1), entry("b", 1)], 0, now()).await.unwrap();
    let (at, retried) = (now() + TimeDelta::seconds(30), lease(&store, 2, now()).await);
    let retry = |row: &Leased| Settlement { id: row.id, ending: Ending::Retry { at, reason: "503".into() } };
    store.settle(retried.iter().map(retry).collect(), now()).await.unwrap();
    let rows = lease(&store, 2, at).await;
    store.settle(vec![close(rows[0].id, Outcome::Parked), close(rows[1].id, Outcome::Delivered)], at).await.unwrap();
    let admin = Admin::open(&path).unwrap();
    for (row, attempts) in rows.iter().zip([2, 1]) {
        let listed = admin.show(&row.key).unwrap().unwrap().listed;
        assert_eq!((listed.attempts, listed.failing_since), (attempts, Some(now())), "{}", row.key);
    }
}

#[tokio::test]
async fn rows_are_not_chosen_by_a_reason_that_says_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let store = open(&path);
    store.accept(vec![unreadable("x"), unreadable("y")], 0, now()).await.unwrap();
    let outbox = |arguments: &[&str]| {
        let mut command = std::process::Command::new(crate::recovery::program());
        command.arg("outbox").args(arguments).env_clear().current_dir(folder.path());
        let output = command.env("OUTBOX_URL", format!("sqlite:{}", path.display())).output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    for command in ["retry", "discard"] {
        for nothing in ["", "  "] {
            let (fine, text) = outbox(&[command, "--reason", nothing]);
            assert!(!fine && text.contains("--reason") && text.contains("--all for every parked row"), "{text}");
        }
    }
    assert_eq!(stats(&store).await.closed["parked"], 2);
    let (fine, text) = outbox(&["discard", "--reason", "severity"]);
    assert!(fine && text.contains("2 discarded"), "{text}");
    assert_eq!(stats(&store).await.closed["discarded"], 2);
    let (fine, text) = outbox(&["retry", "1"]);
    assert!(!fine && text.contains("row 1 is not parked; left as it is"), "{text}");
}

/// What was sent is a stranger's, and so is the reason that repeats some of it.
#[tokio::test]
async fn what_was_sent_does_not_steer_the_terminal_that_it_is_shown_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let hostile = "\u{1b}[2J\u{1b}]0;x\u{7} \u{9b}31m \u{202e}gpj";
    let (body, content) = (format!("{hostile}\nno JSON"), Err(hostile.to_owned()));
    let store = open(&path);
    store.accept(vec![NewEntry { body, content, ..unreadable("x") }], 0, now()).await.unwrap();
    let outbox = |arguments: &str| {
        let mut command = std::process::Command::new(crate::recovery::program());
        command.arg("outbox").args(arguments.split(' ')).env_clear().current_dir(folder.path());
        let output = command.env("OUTBOX_URL", format!("sqlite:{}", path.display())).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for arguments in ["list", "show 1", "list --format json", "show 1 --format json"] {
        let text = outbox(arguments);
        assert!(text.contains(r"\u001b") && text.contains(r"\u009b31m"), "{arguments}: {text}");
        assert!(!text.contains(['\u{1b}', '\u{7}', '\u{9b}', '\u{202e}']), "{arguments}: {text:?}");
    }
    let shown: serde_json::Value = serde_json::from_str(&outbox("show 1 --format json")).unwrap();
    assert_eq!(shown["reason"], hostile);
}

/// What can happen to a ledger, in any order.
#[derive(Debug, Clone)]
enum Deed {
    Accept(Vec<(u8, bool)>, u8),
    Lease,
    Settle(u8),
    Reopen,
    Retry,
    Discard,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        4 => (prop::collection::vec((0u8..40, any::<bool>()), 0..6), 0u8..3).prop_map(|(keys, ignored)| Deed::Accept(keys, ignored)),
        3 => Just(Deed::Lease),
        4 => any::<u8>().prop_map(Deed::Settle),
        1 => Just(Deed::Reopen),
        1 => Just(Deed::Retry),
        1 => Just(Deed::Discard),
    ];
    prop::collection::vec(deed, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_ledger_balances_whatever_happens(deeds in deeds()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(live(deeds));
    }
}

async fn live(deeds: Vec<Deed>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outbox.db");
    let mut store = open(&path);
    let (mut leased, mut taken, mut desk) = (Vec::new(), 0, Arc::new(Desk::new(6)));
    for deed in deeds {
        match deed {
            Deed::Accept(keys, ignored) => {
                taken += keys.len() as u64 + u64::from(ignored);
                let batch = keys
                    .into_iter()
                    .map(|(key, good)| if good { in_hand(&format!("e{key}")) } else { unreadable(&key.to_string()) });
                store.accept(batch.collect(), ignored.into(), now()).await.unwrap();
            }
            Deed::Lease => {
                store.fill(&desk, now(), LEASE).await.unwrap();
                leased.extend(on(&desk));
            }
            Deed::Settle(how) => {
                let Some(row) = leased.pop() else { continue };
                let ending = match how % 4 {
                    0 => Ending::Close { outcome: Outcome::Delivered, note: None },
                    1 => Ending::Close { outcome: Outcome::Parked, note: None },
                    2 => Ending::Retry { at: now(), reason: "again".into() },
                    _ => Ending::Release { reason: None, at: None },
                };
                store.settle(vec![Settlement { id: row.id, ending }], now()).await.unwrap();
                desk.done([row.id].into_iter());
            }
            Deed::Reopen => {
                drop(store);
                store = open(&path);
                desk = Arc::new(Desk::new(6));
            }
            Deed::Retry | Deed::Discard => {
                let mut admin = Admin::open(&path).unwrap();
                let parked = admin.list(&Selection { state: Some("parked".into()), reason: None, limit: 1 }).unwrap();
                let Some(row) = parked.first() else { continue };
                match deed {
                    Deed::Retry => admin.retry(row.id, None).unwrap(),
                    _ => admin.discard(row.id, now()).unwrap(),
                };
            }
        }
        assert_eq!(stats(&store).await.accepted, taken);
    }
}

#[tokio::test]
async fn what_is_parked_at_the_door_is_told_once_a_delivery() {
    use tracing_subscriber::prelude::*;
    let folder = tempfile::tempdir().unwrap();
    let intake = Intake::new(Arc::new(open(&folder.path().join("o.db"))), Arc::default());
    let lines = Lines::default();
    let _logging = tracing_subscriber::registry().with(lines.printed()).set_default();
    let body = json!([41, 42, 43]).to_string();
    for _ in 0..2 {
        intake.take(Door::Webhook, delivery(body.as_bytes(), now()).unwrap()).await.unwrap();
    }
    let told = lines.text();
    assert_eq!(told.matches("were parked").count(), 1, "what is there already is not told again: {told}");
    assert!(told.contains("WARN") && told.contains("parked=3") && told.contains("reason="), "{told}");
}

#[tokio::test]
async fn what_has_no_known_shape_is_told_at_once_and_its_last_ones_later() {
    use tracing_subscriber::prelude::*;
    let folder = tempfile::tempdir().unwrap();
    let intake = Intake::new(Arc::new(open(&folder.path().join("o.db"))), Arc::default());
    let lines = Lines::default();
    let _logging = tracing_subscriber::registry().with(lines.printed()).set_default();
    let sent = |member: &str| delivery(json!([{ member: 1 }]).to_string().as_bytes(), now()).unwrap();
    for (door, member) in
        [(Door::Webhook, "first"), (Door::Webhook, "second"), (Door::Webhook, "third"), (Door::Pubsub, "other")]
    {
        intake.take(door, sent(member)).await.unwrap();
    }
    let told = || lines.text().lines().filter(|line| line.contains("none of the known shapes")).count();
    assert_eq!(told(), 2, "once a door: {}", lines.text());
    intake.tell_rest(Utc::now() + TimeDelta::seconds(30));
    assert_eq!(told(), 2);
    intake.tell_rest(Utc::now() + TimeDelta::seconds(90));
    let text = lines.text();
    assert!(told() == 3 && text.contains("third") && text.contains("count=2"), "{text}");
}
