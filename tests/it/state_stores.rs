//! The two state stores keep the same promises.

use serde_json::{Value, json};
use sysdig_scc::config::Env;
use sysdig_scc::config::state::StateConfig;
use sysdig_scc::google::TokenSource;
use sysdig_scc::google::firestore::Database;
use sysdig_scc::state::firestore::FirestoreStore;
use sysdig_scc::state::sqlite::SqliteStore;
use sysdig_scc::state::{self, Body, Expected, Page, Store};

use crate::fakes::emulator::Emulator;

fn body(value: Value) -> Body {
    serde_json::from_value(value).unwrap()
}

/// What every store must do.
async fn keeps_its_promises(store: &dyn Store) {
    store.ping().await.unwrap();
    assert_eq!(store.read("k", "a/b").await.unwrap(), None);
    let first = body(json!({"n": 1, "deep": {"list": ["x", {"y": null}], "pi": 3.5, "yes": true}}));
    let one = store.write("k", "a/b", &first, Expected::Absent).await.unwrap();
    assert_eq!(store.read("k", "a/b").await.unwrap().unwrap().body, first);
    assert!(store.write("k", "a/b", &first, Expected::Absent).await.unwrap_err().is_conflict());

    let second = body(json!({"n": 2}));
    let two = store.write("k", "a/b", &second, Expected::Version(one.clone())).await.unwrap();
    assert!(store.write("k", "a/b", &first, Expected::Version(one.clone())).await.unwrap_err().is_conflict());
    let found = store.read("k", "a/b").await.unwrap().unwrap();
    assert_eq!((&found.body, &found.version), (&second, &two), "a write replaces the whole document");
    assert_eq!(store.read("other", "a/b").await.unwrap(), None, "kinds are apart");

    assert!(store.remove("k", "a/b", Expected::Version(one.clone())).await.unwrap_err().is_conflict());
    assert!(store.remove("k", "a/b", Expected::Version(two.clone())).await.unwrap());
    assert!(!store.remove("k", "a/b", Expected::Any).await.unwrap());
    assert!(store.write("k", "a/b", &first, Expected::Version(two.clone())).await.unwrap_err().is_conflict());
    let again = store.write("k", "a/b", &first, Expected::Absent).await.unwrap();
    assert!(again != one && again != two, "a version never comes back");
    store.write("k", "a/b", &second, Expected::Any).await.unwrap();

    let seen = store.read("k", "a/b").await.unwrap().unwrap();
    let members = body(json!({"a.b`c": true}));
    let amended = store.amend("k", &seen, &members).await.unwrap();
    let found = store.read("k", "a/b").await.unwrap().unwrap();
    assert_eq!((&found.body, &found.version), (&body(json!({"n": 2, "a.b`c": true})), &amended));
    assert!(store.amend("k", &seen, &body(json!({"n": 3}))).await.unwrap_err().is_conflict());
}

/// 160 is more than the emulator's largest page.
async fn pages(store: &dyn Store) {
    for n in 0..160 {
        store.write("many", &format!("{n:03}"), &body(json!({"n": n})), Expected::Any).await.unwrap();
    }
    let all = state::all(store, "many").await.unwrap();
    let keys: Vec<_> = all.iter().map(|document| document.key.clone()).collect();
    assert_eq!(keys, (0..160).map(|n| format!("{n:03}")).collect::<Vec<_>>());
    let first = store.list("many", Page { size: 7, token: None }).await.unwrap();
    let next = store.list("many", Page { size: 7, token: first.next.clone() }).await.unwrap();
    assert_eq!((first.documents.len(), next.documents[0].key.as_str()), (7, "007"));
    assert_eq!(state::all(store, "none").await.unwrap(), vec![]);
}

/// Of many writers who saw the same version, one wins.
async fn one_writer_wins(store: &dyn Store) {
    let version = store.write("race", "x", &body(json!({"n": 0})), Expected::Any).await.unwrap();
    // One that changes nothing keeps its version in Firestore, so each changes something.
    let bodies: Vec<_> = (1..7).map(|n| body(json!({"n": n}))).collect();
    let writes = bodies.iter().map(|body| store.write("race", "x", body, Expected::Version(version.clone())));
    let results = futures_util::future::join_all(writes).await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1, "{results:?}");
    assert!(results.iter().all(|result| result.as_ref().err().is_none_or(state::StateError::is_transient)));
}

#[tokio::test]
async fn sqlite_keeps_the_promises_of_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("state.db")).unwrap();
    keeps_its_promises(&store).await;
    pages(&store).await;
    one_writer_wins(&store).await;
}

#[tokio::test]
async fn what_was_removed_in_use_is_not_written_on_into_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let (path, away) = (folder.path().join("state.db"), folder.path().join("away"));
    let store = SqliteStore::open(&path).unwrap();
    let write = || async { store.write("k", "a", &body(json!({"n": 1})), Expected::Any).await };
    write().await.unwrap();
    std::fs::rename(&path, &away).unwrap();
    let refused = write().await.unwrap_err();
    assert!(!refused.is_transient() && refused.to_string().contains("put the file back"), "{refused}");
    assert!(store.read("k", "a").await.is_err());
    std::fs::rename(&away, &path).unwrap();
    write().await.unwrap();
}

#[tokio::test]
async fn two_processes_may_share_one_sqlite_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let (one, other) = (SqliteStore::open(&path).unwrap(), SqliteStore::open(&path).unwrap());
    let seen = one.write("k", "x", &body(json!({"n": 1})), Expected::Absent).await.unwrap();
    other.write("k", "x", &body(json!({"n": 2})), Expected::Version(seen.clone())).await.unwrap();
    assert!(one.write("k", "x", &body(json!({"n": 3})), Expected::Version(seen)).await.unwrap_err().is_conflict());
}

fn database(emulator: &Emulator) -> Database {
    Database {
        project: "demo-int".into(),
        id: "(default)".into(),
        base: format!("http://{}", emulator.host()).parse().unwrap(),
    }
}

#[tokio::test]
async fn firestore_keeps_the_promises_of_a_store_also_after_it_was_away() {
    let Some(mut emulator) = Emulator::firestore(&[]).await else { return };
    let mut env = Env::from_pairs([
        ("STATE_URL", "firestore://demo-int/(default)".to_owned()),
        ("FIRESTORE_EMULATOR_HOST", emulator.host()),
    ]);
    let config = StateConfig::read(&mut env).unwrap();
    let store = state::open(&config, &TokenSource::none()).unwrap();
    keeps_its_promises(&*store).await;
    pages(&*store).await;
    one_writer_wins(&*store).await;

    emulator.stop();
    let error = store.read("k", "a/b").await.unwrap_err();
    assert_eq!((error.label(), error.is_transient()), ("unavailable", true));
    assert!(store.ping().await.is_err());
    emulator.restart().await;
    assert_eq!(store.read("k", "a/b").await.unwrap(), None, "the emulator keeps nothing");
}

#[tokio::test]
async fn the_token_is_sent_and_a_refusal_says_what_to_grant() {
    let rules = tempfile::NamedTempFile::new().unwrap();
    let deny = "rules_version = '2'; service cloud.firestore { match /databases/{database}/documents { \
                match /{document=**} { allow read, write: if false; } } }";
    std::fs::write(rules.path(), deny).unwrap();
    let Some(emulator) = Emulator::firestore(&[&format!("--rules={}", rules.path().display())]).await else { return };
    let without = FirestoreStore::new(&database(&emulator), TokenSource::none()).unwrap();
    let error = without.read("k", "x").await.unwrap_err();
    assert_eq!(error.label(), "refused");
    assert!(error.to_string().contains("roles/datastore.user"), "{error}");
    FirestoreStore::new(&database(&emulator), TokenSource::fixed("owner".into())).unwrap().ping().await.unwrap();
}

#[tokio::test]
async fn a_database_in_datastore_mode_is_told_apart() {
    let Some(emulator) = Emulator::firestore(&["--database-mode=datastore-mode"]).await else { return };
    let error = FirestoreStore::new(&database(&emulator), TokenSource::fixed("owner".into()))
        .unwrap()
        .ping()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("native mode"), "{error}");
}
