//! Small durable facts beside the ledger: the poll watermark, baselines, what was seen of each VM, open stateful
//! findings, plans, caps, used tokens, timers, leases.
//!
//! A fact is a small JSON object known by its kind and key. Every write is a compare-and-set, so that replicas that
//! share a store never undo each other's work. Two stores exist: [`sqlite`] for one machine, [`firestore`] for many.

pub mod error;
pub mod firestore;
mod firestore_value;
pub mod lease;
pub mod skipped;
pub mod sqlite;

use std::fmt;
use std::sync::Arc;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use error::StateError;
pub use lease::Lease;
pub use skipped::Skipped;

use crate::config::state::{StateConfig, StateUrl};
use crate::google::TokenSource;
use crate::google::firestore::Database;

/// How many of several changes are under way together where a store has no better way.
const AT_ONCE: usize = 16;

/// A fact's body: a JSON object.
pub type Body = Map<String, Value>;

/// Which revision of a fact this is. Opaque: only the store that made it understands it. A fact that was removed and
/// written again never gets a version it had before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Version(pub(crate) String);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One fact as the store has it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its key, unique within its kind.
    pub key: String,
    /// Its revision, for the next guarded write.
    pub version: Version,
    /// What it says.
    pub body: Body,
}

impl Document {
    /// The body in a type of its own.
    pub fn parse<T: DeserializeOwned>(&self, kind: &str) -> Result<T, StateError> {
        serde_json::from_value(Value::Object(self.body.clone())).map_err(|source| StateError::Corrupt {
            kind: kind.to_owned(),
            key: self.key.clone(),
            source: Box::new(source),
        })
    }
}

/// What must stand in the store for a write or removal to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expected {
    /// Whatever is there.
    Any,
    /// Nothing.
    Absent,
    /// Exactly this revision.
    Version(Version),
}

/// Which part of a list is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The most documents to answer; a store may answer fewer although more are left.
    pub size: u32,
    /// Where the last page ended; `None` for the first page.
    pub token: Option<String>,
}

impl Default for Page {
    fn default() -> Self {
        Self { size: 100, token: None }
    }
}

/// One page of a list, in the order of the keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Listing {
    /// The documents.
    pub documents: Vec<Document>,
    /// Where the next page begins; `None` when this was the last one.
    pub next: Option<String>,
}

/// One of several writes or removals that are asked for together.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The fact's key.
    pub key: String,
    /// What it says from now on; `None` removes it.
    pub body: Option<Body>,
    /// What must stand there.
    pub expected: Expected,
}

/// A place for small durable facts. What `write` and `remove` answered `Ok` to is on the disk.
pub trait Store: Send + Sync + fmt::Debug {
    /// The fact, when there is one.
    fn read<'a>(&'a self, kind: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Document>, StateError>>;

    /// Writes the whole fact if `expected` holds, else [`StateError::Conflict`]. Answers the new revision.
    fn write<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        body: &'a Body,
        expected: Expected,
    ) -> BoxFuture<'a, Result<Version, StateError>>;

    /// Sets some members of a fact that still is as it was `seen`, else [`StateError::Conflict`]. The other members stay
    /// as the store has them, also where it has values that JSON has not. Answers the new revision.
    fn amend<'a>(
        &'a self,
        kind: &'a str,
        seen: &'a Document,
        members: &'a Body,
    ) -> BoxFuture<'a, Result<Version, StateError>> {
        Box::pin(async move {
            let mut body = seen.body.clone();
            body.extend(members.clone());
            self.write(kind, &seen.key, &body, Expected::Version(seen.version.clone())).await
        })
    }

    /// Removes the fact if `expected` holds, else [`StateError::Conflict`]. Answers whether it was there.
    fn remove<'a>(&'a self, kind: &'a str, key: &'a str, expected: Expected)
    -> BoxFuture<'a, Result<bool, StateError>>;

    /// Writes and removes several facts of a kind, each for itself: one that conflicts leaves the others as they are.
    /// Answers in the order of the changes. A store that can makes them durable together.
    fn change<'a>(&'a self, kind: &'a str, changes: Vec<Change>) -> BoxFuture<'a, Vec<Result<(), StateError>>> {
        let one = move |Change { key, body, expected }: Change| async move {
            match &body {
                Some(body) => self.write(kind, &key, body, expected).await.map(drop),
                None => self.remove(kind, &key, expected).await.map(drop),
            }
        };
        Box::pin(futures_util::stream::iter(changes).map(one).buffered(AT_ONCE).collect())
    }

    /// One page of the facts of a kind.
    fn list<'a>(&'a self, kind: &'a str, page: Page) -> BoxFuture<'a, Result<Listing, StateError>>;

    /// Whether the store can be used now: a question for `check` and `/readyz`.
    fn ping(&self) -> BoxFuture<'_, Result<(), StateError>>;
}

/// Opens the store the settings name. `tokens` is asked when it is a Firestore database of Google's.
///
/// # Errors
/// When a file cannot be opened; a Firestore database is not asked yet.
pub fn open(config: &StateConfig, tokens: &TokenSource) -> Result<Arc<dyn Store>, StateError> {
    Ok(match &config.url {
        StateUrl::Sqlite(path) => Arc::new(sqlite::SqliteStore::open(path)?),
        StateUrl::Memory => Arc::new(sqlite::SqliteStore::in_memory()?),
        StateUrl::Firestore { project, database } => {
            let place = Database { project: project.clone(), id: database.clone(), base: config.firestore_base() };
            Arc::new(firestore::FirestoreStore::new(&place, config.firestore_tokens(tokens))?)
        }
    })
}

/// Every fact of a kind, all pages.
pub async fn all(store: &dyn Store, kind: &str) -> Result<Vec<Document>, StateError> {
    let mut found = Vec::new();
    let mut token = None;
    loop {
        let listing = store.list(kind, Page { token, ..Page::default() }).await?;
        found.extend(listing.documents);
        token = listing.next;
        if token.is_none() {
            return Ok(found);
        }
    }
}

/// How often a write is tried anew when somebody else was faster.
pub const TRIES: usize = 20;

/// Makes of one fact what `change` makes of it, where `None` is no fact, and hands back its answer. It is asked anew
/// when somebody else was faster; what it leaves as it is, is not written.
///
/// # Errors
/// When the store cannot be used, what stands there cannot be read, or somebody else was faster each time.
pub async fn update<T, A>(
    store: &dyn Store,
    kind: &str,
    key: &str,
    change: impl Fn(Option<T>) -> (Option<T>, A),
) -> Result<A, StateError>
where
    T: Clone + PartialEq + Serialize + DeserializeOwned,
{
    for _ in 0..TRIES {
        let found = store.read(kind, key).await?;
        let stored: Option<T> = found.as_ref().map(|document| document.parse(kind)).transpose()?;
        let (wanted, answer) = change(stored.clone());
        if wanted == stored {
            return Ok(answer);
        }
        let expected = found.map_or(Expected::Absent, |document| Expected::Version(document.version));
        let set = match wanted {
            Some(fact) => store.write(kind, key, &body_of(kind, key, &fact)?, expected).await.map(drop),
            None => store.remove(kind, key, expected).await.map(drop),
        };
        match set {
            Err(error) if error.is_conflict() => {}
            set => return set.map(|()| answer),
        }
    }
    Err(StateError::Conflict { kind: kind.to_owned(), key: key.to_owned() })
}

/// Any serialisable struct as a body.
///
/// # Errors
/// When it does not serialise to a JSON object.
pub fn body_of<T: Serialize>(kind: &str, key: &str, fact: &T) -> Result<Body, StateError> {
    let unfit = |source: Box<dyn std::error::Error + Send + Sync>| StateError::Unfit {
        kind: kind.to_owned(),
        key: key.to_owned(),
        source,
    };
    match serde_json::to_value(fact) {
        Ok(Value::Object(body)) => Ok(body),
        Ok(_) => Err(unfit("it is not an object".into())),
        Err(error) => Err(unfit(Box::new(error))),
    }
}
