//! State in Firestore: one collection a kind, one document a fact, so that replicas share it.
//!
//! Collections are named `sysdig_scc_KIND`, but for [`SHARED`] ones whose name people already use. A key that
//! Firestore would not take as a document's id is escaped; a plain one is the id as it stands.
//!
//! The version is the document's update time. A write that changes nothing keeps it.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::firestore_value::{ValueError, from_fields, to_fields, to_fields_like};
use super::{Body, Document, Expected, Listing, Page, StateError, Store, Version};
use crate::google::firestore::{self as wire, Client, Database, Precondition};
use crate::google::{ApiError, TokenSource};

/// Kinds that are collections of the same name, read and written by other programs too.
pub const SHARED: [&str; 1] = ["known_good_measurements"];

/// How long after a failure that names no time.
const SOON: Duration = Duration::from_secs(5);

/// State in a Firestore database in native mode.
#[derive(Debug, Clone)]
pub struct FirestoreStore {
    client: Client,
    place: String,
}

impl FirestoreStore {
    /// A store in `database`, which is not contacted yet.
    pub fn new(database: &Database, tokens: TokenSource) -> Result<Self, StateError> {
        let place = format!("firestore://{}/{}", database.project, database.id);
        match Client::new(database, tokens) {
            Ok(client) => Ok(Self { client, place }),
            Err(error) => {
                let remedy = "check STATE_URL and FIRESTORE_EMULATOR_HOST".to_owned();
                Err(StateError::Refused { place, remedy, source: Box::new(error) })
            }
        }
    }

    fn document(&self, kind: &str, found: &wire::Document) -> Result<Document, StateError> {
        let key = unescape(found.id());
        match from_fields(&found.fields) {
            Ok(body) => Ok(Document { key, version: Version(found.update_time.clone()), body }),
            Err(error) => Err(StateError::Corrupt { kind: kind.to_owned(), key, source: Box::new(error) }),
        }
    }

    fn trouble(&self, error: ApiError) -> StateError {
        let place = self.place.clone();
        let trouble = if error.is_transient() {
            let after = error.retry_after().or(Some(SOON));
            StateError::Unavailable { place, after, source: Box::new(error) }
        } else {
            let remedy = remedy(&error);
            StateError::Refused { place, remedy, source: Box::new(error) }
        };
        trouble.counted()
    }

    fn guarded_trouble(&self, error: ApiError, kind: &str, key: &str, expected: &Expected) -> StateError {
        if *expected != Expected::Any && wire::is_conflict(&error) {
            return StateError::Conflict { kind: kind.to_owned(), key: key.to_owned() };
        }
        self.trouble(error)
    }
}

impl Store for FirestoreStore {
    fn read<'a>(&'a self, kind: &'a str, key: &'a str) -> BoxFuture<'a, Result<Option<Document>, StateError>> {
        Box::pin(async move {
            let found =
                self.client.fetch(&collection(kind), &escape(key)).await.map_err(|error| self.trouble(error))?;
            found.map(|found| self.document(kind, &found)).transpose()
        })
    }

    fn write<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        body: &'a Body,
        expected: Expected,
    ) -> BoxFuture<'a, Result<Version, StateError>> {
        Box::pin(async move {
            let fields = to_fields(body).map_err(|error| unfit(kind, key, error))?;
            let written = self.client.write(&collection(kind), &escape(key), fields, precondition(&expected)).await;
            let written = written.map_err(|error| self.guarded_trouble(error, kind, key, &expected))?;
            Ok(Version(written))
        })
    }

    /// Other programs' documents have values of kinds that a body cannot tell apart, so only what changes is written.
    fn amend<'a>(
        &'a self,
        kind: &'a str,
        seen: &'a Document,
        members: &'a Body,
    ) -> BoxFuture<'a, Result<Version, StateError>> {
        Box::pin(async move {
            let (collection, id) = (collection(kind), escape(&seen.key));
            let expected = Expected::Version(seen.version.clone());
            let stands = self.client.fetch(&collection, &id).await.map_err(|error| self.trouble(error))?;
            // That it is another revision by now is left to the guard of the write.
            let before = stands.map(|stands| stands.fields).unwrap_or_default();
            let fields = to_fields_like(members, &before).map_err(|error| unfit(kind, &seen.key, error))?;
            let written = self.client.amend(&collection, &id, fields, precondition(&expected)).await;
            let written = written.map_err(|error| self.guarded_trouble(error, kind, &seen.key, &expected))?;
            Ok(Version(written))
        })
    }

    fn remove<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        expected: Expected,
    ) -> BoxFuture<'a, Result<bool, StateError>> {
        Box::pin(async move {
            // Firestore answers a removal alike whether the document was there or not, so it is looked at first; the
            // guard makes sure that what was seen is what is removed.
            let found = self.read(kind, key).await?;
            let seen = match (&expected, found) {
                (Expected::Any | Expected::Absent, None) => return Ok(false),
                (Expected::Version(_), None) | (Expected::Absent, Some(_)) => {
                    return Err(StateError::Conflict { kind: kind.to_owned(), key: key.to_owned() });
                }
                (Expected::Any, Some(_)) => Expected::Any,
                (Expected::Version(version), Some(_)) => Expected::Version(version.clone()),
            };
            let removed = self.client.remove(&collection(kind), &escape(key), precondition(&seen)).await;
            removed.map_err(|error| self.guarded_trouble(error, kind, key, &expected))?;
            Ok(true)
        })
    }

    fn list<'a>(&'a self, kind: &'a str, page: Page) -> BoxFuture<'a, Result<Listing, StateError>> {
        Box::pin(async move {
            let collection = collection(kind);
            let found = self.client.page(&collection, page.size.clamp(1, 300), page.token.as_deref()).await;
            let found = found.map_err(|error| self.trouble(error))?;
            let documents = found.documents.iter().map(|found| self.document(kind, found)).collect::<Result<_, _>>()?;
            let next = Some(found.next_page_token).filter(|token| !token.is_empty());
            Ok(Listing { documents, next })
        })
    }

    fn ping(&self) -> BoxFuture<'_, Result<(), StateError>> {
        Box::pin(async move {
            self.client.fetch(&collection("ping"), "ping").await.map(drop).map_err(|error| self.trouble(error))
        })
    }
}

fn unfit(kind: &str, key: &str, error: ValueError) -> StateError {
    StateError::Unfit { kind: kind.to_owned(), key: key.to_owned(), source: Box::new(error) }
}

fn collection(kind: &str) -> String {
    if SHARED.contains(&kind) { kind.to_owned() } else { format!("sysdig_scc_{kind}") }
}

fn precondition(expected: &Expected) -> Precondition<'_> {
    match expected {
        Expected::Any => Precondition::None,
        Expected::Absent => Precondition::Exists(false),
        Expected::Version(version) => Precondition::UpdateTime(&version.0),
    }
}

fn remedy(error: &ApiError) -> String {
    if let Some(command) = error.enabling("firestore.googleapis.com", None) {
        return command;
    }
    let told = error.to_string().to_ascii_lowercase();
    match error.status() {
        Some(401 | 403) => "grant roles/datastore.user on the project to the connector's account".to_owned(),
        Some(404) => "create the database in native mode, or name an existing one in STATE_URL".to_owned(),
        Some(400) if told.contains("mode") => {
            "the database is in Datastore mode; name one in native mode in STATE_URL".to_owned()
        }
        _ => "check STATE_URL and the credentials".to_owned(),
    }
}

/// Ids may not hold a slash, be `.` or `..`, or look like `__this__`. What is not plain becomes `~` and two hex digits.
fn escape(key: &str) -> String {
    let reserved = matches!(key, "" | "." | "..") || key.starts_with("__");
    let mut id = String::with_capacity(key.len());
    for (place, byte) in key.bytes().enumerate() {
        let plain = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':' | b'@');
        if plain && !(reserved && place == 0) {
            id.push(char::from(byte));
        } else {
            id.push_str(&format!("~{byte:02X}"));
        }
    }
    if id.is_empty() { "~".to_owned() } else { id }
}

fn unescape(id: &str) -> String {
    let mut bytes = Vec::with_capacity(id.len());
    let mut rest = id.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after.get(..2).and_then(|code| hex::decode(code).ok()).filter(|_| *first == b'~');
        match code {
            Some(code) => {
                bytes.extend(code);
                rest = &after[2..];
            }
            // Ids that other programs made are left as they are.
            None if *first == b'~' && id.len() == 1 => rest = after,
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| id.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_an_id_that_firestore_takes() {
        for (key, id) in [
            ("baseline1", "baseline1"),
            ("projects/p/zones/z", "projects~2Fp~2Fzones~2Fz"),
            ("..", "~2E."),
            ("__x__", "~5F_x__"),
            ("a~b", "a~7Eb"),
            ("", "~"),
            ("ü", "~C3~BC"),
        ] {
            assert_eq!(escape(key), id);
            assert_eq!(unescape(id), key);
        }
        assert_eq!(unescape("my baseline ~ x"), "my baseline ~ x", "made by hand in the console");
    }
}
