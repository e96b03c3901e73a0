//! State in an SQLite file: one table, every change durable before it is answered.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params};

use super::error::Cause;
use super::{Body, Change, Document, Expected, Listing, Page, StateError, Store, Version};
use crate::files::{self, Identity};

/// The schema this program writes. A file with a newer one is refused rather than damaged.
const SCHEMA_VERSION: i64 = 1;

const SCHEMA: &str = "
CREATE TABLE document (
    kind    TEXT NOT NULL,
    key     TEXT NOT NULL,
    version INTEGER NOT NULL,
    body    TEXT NOT NULL,
    PRIMARY KEY (kind, key)
) WITHOUT ROWID;
CREATE TABLE revision (last INTEGER NOT NULL);
INSERT INTO revision VALUES (0);
PRAGMA user_version = 1;
";

/// How long a writer waits for another process's write to end.
const BUSY: Duration = Duration::from_secs(10);

/// State in an SQLite file, in WAL mode with `synchronous=FULL`. Several processes may share the file.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    connection: Arc<Mutex<Connection>>,
    place: Arc<str>,
    /// Where the file stood when it was opened.
    file: Option<(Arc<Path>, Identity)>,
    health: Arc<Health>,
}

/// What was found out about the file since it was opened.
#[derive(Debug, Default)]
struct Health {
    /// What is wrong with it. From then on nothing is read from it and nothing written: half a memory would have a machine
    /// acted on twice, or a token used again.
    damage: OnceLock<String>,
    /// It does not stand in its place.
    gone: AtomicBool,
}

impl SqliteStore {
    /// Opens the file, creating it (readable by its owner only) and its folder when they are missing. A damaged one is
    /// opened too, for what needs no state goes on without it: it refuses every use. Opening takes milliseconds, so it blocks.
    ///
    /// # Errors
    /// When the file cannot be used, is no database, or was written by a newer program.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let place = path.display().to_string();
        let (connection, damage) = connect(path).map_err(|trouble| trouble.named(&place).counted())?;
        let file = Some((Arc::from(path), files::standing(path)));
        let store = Self { file, ..Self::with_connection(connection, &place) };
        if let Some(damage) = damage {
            store.health.found_damage(damage, &place);
        }
        Ok(store)
    }

    /// A store that lives and dies with the process.
    pub fn in_memory() -> Result<Self, StateError> {
        let place = "in memory";
        let opened = Connection::open_in_memory().map_err(Trouble::Sql).and_then(|mut connection| {
            prepare(&mut connection)?;
            Ok(connection)
        });
        opened.map(|connection| Self::with_connection(connection, place)).map_err(|trouble| trouble.named(place))
    }

    fn with_connection(connection: Connection, place: &str) -> Self {
        Self { connection: Arc::new(Mutex::new(connection)), place: place.into(), file: None, health: Arc::default() }
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Trouble> + Send + 'static,
    ) -> Result<T, StateError> {
        let (connection, file) = (self.connection.clone(), self.file.clone());
        let (health, place) = (self.health.clone(), self.place.clone());
        let done = blocking(&self.place, move || {
            if health.found_gone(file.is_some_and(|(path, opened)| !files::stands(&path, opened)), &place) {
                return Err(Trouble::Gone);
            }
            if let Some(damage) = health.damage.get() {
                return Err(Trouble::Damaged(damage.clone()));
            }
            // A panic while holding the lock rolled its transaction back; the connection is as good as before.
            let mut connection = connection.lock().unwrap_or_else(PoisonError::into_inner);
            let done = work(&mut connection);
            if let Err(Trouble::Sql(error)) = &done
                && is_damage(error)
            {
                health.found_damage(error.to_string(), &place);
            }
            done
        });
        done.await.map_err(StateError::counted)
    }
}

impl Health {
    /// Told once: there is no way back but another file and a new start.
    fn found_damage(&self, damage: String, place: &str) {
        if self.damage.set(damage.clone()).is_ok() {
            tracing::error!(
                place,
                error = damage,
                "the state store is damaged: nothing is read from it or written to it, so no baseline is known and no \
                 machine acted on; what needs no state goes on"
            );
        }
    }

    /// Told when it begins.
    fn found_gone(&self, gone: bool, place: &str) -> bool {
        if gone && !self.gone.load(Ordering::Relaxed) {
            tracing::error!(
                place,
                "the state store's file was removed or replaced while in use; it is not used until it is back"
            );
        }
        self.gone.store(gone, Ordering::Relaxed);
        gone
    }
}

impl Store for SqliteStore {
    fn read<'a>(&'a self, kind: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Document>, StateError>> {
        let name = Name::new(kind, key);
        Box::pin(self.with(move |connection| {
            let row = connection
                .prepare_cached("SELECT version, body FROM document WHERE kind = ?1 AND key = ?2")?
                .query_row(params![name.kind, name.key], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?)))
                .optional()?;
            row.map(|(version, body)| document(&name.kind, name.key.clone(), version, &body)).transpose()
        }))
    }

    fn write<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        body: &'a Body,
        expected: Expected,
    ) -> BoxFuture<'a, Result<Version, StateError>> {
        let name = Name::new(kind, key);
        let text = serde_json::Value::Object(body.clone()).to_string();
        Box::pin(self.with(move |connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let version = put(&change, &name, &text, &expected)?;
            change.commit()?;
            Ok(Version(version.to_string()))
        }))
    }

    fn remove<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        expected: Expected,
    ) -> BoxFuture<'a, Result<bool, StateError>> {
        let name = Name::new(kind, key);
        Box::pin(self.with(move |connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let gone = take_away(&change, &name, &expected)?;
            change.commit()?;
            Ok(gone)
        }))
    }

    /// One transaction, so one sync of the disk, for all of them.
    fn change<'a>(&'a self, kind: &'a str, changes: Vec<Change>) -> BoxFuture<'a, Vec<Result<(), StateError>>> {
        let (kind, place, count) = (kind.to_owned(), self.place.clone(), changes.len());
        Box::pin(async move {
            let done = self.with(move |connection| {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                let mut results = Vec::with_capacity(changes.len());
                for Change { key, body, expected } in changes {
                    let name = Name { kind: kind.clone(), key };
                    let changed = match body {
                        Some(body) => {
                            put(&transaction, &name, &serde_json::Value::Object(body).to_string(), &expected).map(drop)
                        }
                        None => take_away(&transaction, &name, &expected).map(drop),
                    };
                    results.push(match changed {
                        // What was expected is not there: nothing of this one was changed.
                        Err(Trouble::State(conflict)) => Err(conflict),
                        Err(trouble) => return Err(trouble),
                        Ok(()) => Ok(()),
                    });
                }
                transaction.commit()?;
                Ok(results)
            });
            done.await.unwrap_or_else(|error| {
                let cause = std::sync::Arc::new(error);
                let again = |_| {
                    let source: Cause = Box::new(Shared(cause.clone()));
                    Err(StateError::Unavailable { place: place.to_string(), after: None, source })
                };
                (0..count).map(again).collect()
            })
        })
    }

    fn list<'a>(&'a self, kind: &'a str, page: Page) -> BoxFuture<'a, Result<Listing, StateError>> {
        let kind = kind.to_owned();
        Box::pin(self.with(move |connection| {
            let after = page.token.unwrap_or_default();
            let size = page.size.max(1);
            let mut query = connection.prepare_cached(
                "SELECT key, version, body FROM document WHERE kind = ?1 AND key > ?2 ORDER BY key LIMIT ?3",
            )?;
            let rows = query.query_map(params![kind, after, i64::from(size) + 1], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
            })?;
            let mut documents = Vec::new();
            for row in rows {
                let (key, version, body) = row?;
                documents.push(document(&kind, key, version, &body)?);
            }
            let more = documents.len() > size as usize;
            documents.truncate(size as usize);
            let next = if more { documents.last().map(|last| last.key.clone()) } else { None };
            Ok(Listing { documents, next })
        }))
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(self.with(|connection| {
            // A write lock taken and given back: a full disk or a read-only file shows here.
            connection.transaction_with_behavior(TransactionBehavior::Immediate)?.rollback()?;
            Ok(())
        }))
    }
}

/// One cause that several changes failed for.
#[derive(Debug, thiserror::Error)]
#[error("the changes asked for together were not made")]
struct Shared(#[source] Arc<StateError>);

fn put(change: &Transaction<'_>, name: &Name, text: &str, expected: &Expected) -> Result<i64, Trouble> {
    expect(change, name, expected)?;
    let version: i64 =
        change.prepare_cached("UPDATE revision SET last = last + 1 RETURNING last")?.query_row([], |row| row.get(0))?;
    let mut insert = change.prepare_cached(
        "INSERT INTO document (kind, key, version, body) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (kind, key) DO UPDATE SET version = excluded.version, body = excluded.body",
    )?;
    insert.execute(params![name.kind, name.key, version, text])?;
    Ok(version)
}

fn take_away(change: &Transaction<'_>, name: &Name, expected: &Expected) -> Result<bool, Trouble> {
    expect(change, name, expected)?;
    let mut delete = change.prepare_cached("DELETE FROM document WHERE kind = ?1 AND key = ?2")?;
    Ok(delete.execute(params![name.kind, name.key])? > 0)
}

struct Name {
    kind: String,
    key: String,
}

impl Name {
    fn new(kind: &str, key: &str) -> Self {
        Self { kind: kind.to_owned(), key: key.to_owned() }
    }
}

/// What can go wrong inside the blocking part, before it knows the store's name.
enum Trouble {
    Sql(rusqlite::Error),
    Io(std::io::Error),
    Newer(i64),
    /// The file does not stand in its place any more.
    Gone,
    /// It was found to be damaged before.
    Damaged(String),
    State(StateError),
}

impl From<rusqlite::Error> for Trouble {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl Trouble {
    fn named(self, place: &str) -> StateError {
        match self {
            Self::State(error) => error,
            Self::Sql(error) if passing(&error) => {
                StateError::Unavailable { place: place.to_owned(), after: None, source: Box::new(error) }
            }
            Self::Sql(error) if is_damage(&error) => {
                StateError::Damaged { place: place.to_owned(), source: Box::new(error) }
            }
            Self::Damaged(damage) => StateError::Damaged { place: place.to_owned(), source: damage.into() },
            Self::Sql(error) => {
                refused(place, "check the file, its folder's permissions and the space on its disk", Box::new(error))
            }
            Self::Io(error) => refused(place, "make its folder writable for this program", Box::new(error)),
            Self::Gone => refused(
                place,
                "put the file back where it was; or start this program again, which then forgets what the file held",
                "it was removed or replaced while in use".into(),
            ),
            Self::Newer(found) => refused(
                place,
                "run the version of the program that wrote it, or a newer one",
                format!("its schema is {found}, this program knows {SCHEMA_VERSION}").into(),
            ),
        }
    }
}

fn refused(place: &str, remedy: &str, source: Cause) -> StateError {
    StateError::Refused { place: place.to_owned(), remedy: remedy.to_owned(), source }
}

fn passing(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::DiskFull | ErrorCode::SystemIoFailure)
    )
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase))
}

async fn blocking<T: Send + 'static>(
    place: &str,
    work: impl FnOnce() -> Result<T, Trouble> + Send + 'static,
) -> Result<T, StateError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|trouble| trouble.named(place)),
        Err(stopped) => {
            Err(StateError::Unavailable { place: place.to_owned(), after: None, source: Box::new(stopped) })
        }
    }
}

/// The file, and what is wrong with it.
fn connect(path: &Path) -> Result<(Connection, Option<String>), Trouble> {
    create_private(path).map_err(Trouble::Io)?;
    let mut connection = Connection::open(path)?;
    let looked = prepare(&mut connection).and_then(|()| unsoundness(&connection));
    match looked {
        Ok(damage) => Ok((connection, damage)),
        // What is no database at all is not ours to go on beside.
        Err(Trouble::Sql(error)) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
            Ok((connection, Some(error.to_string())))
        }
        Err(trouble) => Err(trouble),
    }
}

/// The first thing that is wrong with the database; reads all of it, which is little.
fn unsoundness(connection: &Connection) -> Result<Option<String>, Trouble> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    // Before it stands a line of which database, of which there is one.
    Ok(found.lines().last().filter(|found| *found != "ok").map(str::to_owned))
}

/// SQLite gives its side files the permissions of the main one, so making that first keeps all of them private.
fn create_private(path: &Path) -> std::io::Result<()> {
    files::make_folder_of(path)?;
    // One that is there is not opened: closing it again would give up all locks that this process has on it.
    match files::private().create_new(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

fn prepare(connection: &mut Connection) -> Result<(), Trouble> {
    connection.busy_timeout(BUSY)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found: i64 = change.pragma_query_value(None, "user_version", |row| row.get(0))?;
    match found {
        0 => change.execute_batch(SCHEMA)?,
        SCHEMA_VERSION => {}
        newer => return Err(Trouble::Newer(newer)),
    }
    change.commit()?;
    Ok(())
}

fn expect(change: &Transaction<'_>, name: &Name, expected: &Expected) -> Result<(), Trouble> {
    if matches!(expected, Expected::Any) {
        return Ok(());
    }
    let found: Option<i64> = change
        .prepare_cached("SELECT version FROM document WHERE kind = ?1 AND key = ?2")?
        .query_row(params![name.kind, name.key], |row| row.get(0))
        .optional()?;
    let holds = match expected {
        Expected::Any => true,
        Expected::Absent => found.is_none(),
        Expected::Version(version) => found.is_some_and(|found| found.to_string() == version.0),
    };
    if holds {
        return Ok(());
    }
    Err(Trouble::State(StateError::Conflict { kind: name.kind.clone(), key: name.key.clone() }))
}

fn document(kind: &str, key: String, version: i64, body: &str) -> Result<Document, Trouble> {
    match serde_json::from_str(body) {
        Ok(body) => Ok(Document { key, version: Version(version.to_string()), body }),
        Err(error) => Err(Trouble::State(StateError::Corrupt { kind: kind.to_owned(), key, source: Box::new(error) })),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn the_file_is_private_its_folder_is_made_and_what_was_written_survives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/b/state.db");
        let body: Body = serde_json::from_value(serde_json::json!({"n": 18_446_744_073_709_551_615_u64})).unwrap();
        let store = SqliteStore::open(&path).unwrap();
        store.write("k", "x", &body, Expected::Absent).await.unwrap();
        for file in std::fs::read_dir(path.parent().unwrap()).unwrap() {
            let file = file.unwrap();
            assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{:?}", file.path());
        }
        drop(store);
        let again = SqliteStore::open(&path).unwrap();
        assert_eq!(again.read("k", "x").await.unwrap().unwrap().body, body);
    }

    #[tokio::test]
    async fn several_changes_are_made_each_for_itself() {
        let store = SqliteStore::in_memory().unwrap();
        let change = |key: &str, body: Option<Body>, expected| Change { key: key.to_owned(), body, expected };
        let body = || Some(Body::new());
        let first = vec![
            change("a", body(), Expected::Absent),
            change("a", body(), Expected::Absent),
            change("b", body(), Expected::Absent),
        ];
        let results = store.change("k", first).await;
        assert!(results[0].is_ok() && matches!(results[1], Err(StateError::Conflict { .. })) && results[2].is_ok());
        let second = vec![change("a", None, Expected::Any), change("c", None, Expected::Any)];
        assert!(store.change("k", second).await.iter().all(Result::is_ok));
        assert!(store.read("k", "a").await.unwrap().is_none() && store.read("k", "b").await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_file_of_a_newer_program_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        Connection::open(&path).unwrap().pragma_update(None, "user_version", 7).unwrap();
        let error = SqliteStore::open(&path).unwrap_err();
        assert_eq!(error.label(), "refused");
        assert!(std::error::Error::source(&error).unwrap().to_string().contains("schema is 7"));
    }

    #[tokio::test]
    async fn a_file_that_is_no_database_is_refused_with_a_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        std::fs::write(&path, "certainly no database, but long enough to have a header of sixteen bytes").unwrap();
        let error = SqliteStore::open(&path).unwrap_err();
        assert_eq!(error.label(), "damaged");
        assert!(!error.is_transient());
    }

    #[tokio::test]
    async fn a_damaged_file_is_opened_and_refuses_every_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.db");
        let store = SqliteStore::open(&path).unwrap();
        let body: Body = serde_json::from_value(serde_json::json!({"text": "x".repeat(3_000)})).unwrap();
        for key in ["a", "b", "c", "d"] {
            store.write("k", key, &body, Expected::Absent).await.unwrap();
        }
        store
            .with(|connection| Ok(connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?))
            .await
            .unwrap();
        drop(store);
        let good = std::fs::read(&path).unwrap();
        let damage = |from: usize| {
            let mut bytes = good.clone();
            bytes[from..].fill(b'x');
            std::fs::write(&path, bytes).unwrap();
        };

        // Found at the start, whether or not what is asked for lies there.
        damage(good.len() - 4_096);
        let store = SqliteStore::open(&path).unwrap();
        assert_eq!(store.ping().await.unwrap_err().label(), "damaged");
        assert_eq!(store.write("k", "new", &body, Expected::Any).await.unwrap_err().label(), "damaged");
        drop(store);

        // Found in use: from then on nothing passes, not even what could.
        std::fs::write(&path, &good).unwrap();
        let store = SqliteStore::open(&path).unwrap();
        store.ping().await.unwrap();
        damage(4_096);
        // Another process's write makes this one read the file anew.
        Connection::open(&path).unwrap().pragma_update(None, "application_id", 7).unwrap();
        assert_eq!(store.read("k", "a").await.unwrap_err().label(), "damaged");
        assert_eq!(store.ping().await.unwrap_err().label(), "damaged");
    }
}
