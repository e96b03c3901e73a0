//! Firestore in native mode over REST v1: only the calls that the state store needs.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::auth::TokenSource;
use super::error::ApiError;
use super::http::{self, HttpSettings, segment};

/// The longest a call may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Which database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The project's id.
    pub project: String,
    /// The database's id, usually `(default)`.
    pub id: String,
    /// The service's base URL.
    pub base: Url,
}

/// A document on the wire. `fields` hold tagged values.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// The full resource name; the last segment is the id.
    #[serde(default)]
    pub name: String,
    /// Tagged values by field name; a document without fields has no such member.
    #[serde(default)]
    pub fields: Map<String, Value>,
    /// When it was last changed, RFC 3339; the version of a guarded write.
    #[serde(default)]
    pub update_time: String,
}

impl Document {
    /// The document's id within its collection.
    pub fn id(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }
}

/// One page of a collection.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Documents {
    /// The documents; an empty page has no such member.
    #[serde(default)]
    pub documents: Vec<Document>,
    /// Where the next page begins.
    #[serde(default)]
    pub next_page_token: String,
}

/// What must stand for a write or a removal to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precondition<'a> {
    /// Anything.
    None,
    /// It exists, or it does not.
    Exists(bool),
    /// It was last changed at this time.
    UpdateTime(&'a str),
}

/// Whether a guard did not hold: the document is there, is not, or is another revision.
///
/// A document missing although it should have a certain time is `NOT_FOUND`. `FAILED_PRECONDITION` is also what a
/// missing index answers, but no call here can need one.
pub fn is_conflict(error: &ApiError) -> bool {
    matches!(error.canonical(), "ALREADY_EXISTS" | "FAILED_PRECONDITION" | "ABORTED" | "NOT_FOUND")
}

/// A client for one database.
#[derive(Debug, Clone)]
pub struct Client {
    http: http::Client,
    /// The documents' path, encoded for an address.
    path: String,
    /// The documents' resource name.
    name: String,
}

impl Client {
    /// A client for `database`, which is not contacted yet.
    ///
    /// # Errors
    /// When a token would travel over plain http beyond this machine.
    pub fn new(database: &Database, tokens: TokenSource) -> Result<Self, ApiError> {
        let settings = HttpSettings { timeout: TIMEOUT, ..HttpSettings::new(database.base.clone()) };
        let http = http::Client::new(settings, tokens)?;
        let Database { project, id, .. } = database;
        let path = format!("/v1/projects/{}/databases/{}/documents", segment(project), segment(id));
        Ok(Self { http, path, name: format!("projects/{project}/databases/{id}/documents") })
    }

    /// The document, when there is one.
    pub async fn fetch(&self, collection: &str, id: &str) -> Result<Option<Document>, ApiError> {
        let path = format!("{}/{}/{}", self.path, segment(collection), segment(id));
        match self.http.get_json(&path, &[]).await {
            Ok(document) => Ok(Some(document)),
            // A missing database is 404 too, but then it is the database that is told to be missing.
            Err(error) if error.canonical() == "NOT_FOUND" && !speaks_of_the_database(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes the whole document. Answers its update time.
    pub async fn write(
        &self,
        collection: &str,
        id: &str,
        fields: Map<String, Value>,
        when: Precondition<'_>,
    ) -> Result<String, ApiError> {
        let update = json!({"name": self.name_of(collection, id), "fields": fields});
        self.commit(json!({"update": update}), when).await
    }

    /// Writes these fields of the document and leaves the others alone. Answers its update time.
    pub async fn amend(
        &self,
        collection: &str,
        id: &str,
        fields: Map<String, Value>,
        when: Precondition<'_>,
    ) -> Result<String, ApiError> {
        let paths: Vec<String> = fields.keys().map(|name| field_path(name)).collect();
        let update = json!({"name": self.name_of(collection, id), "fields": fields});
        self.commit(json!({"update": update, "updateMask": {"fieldPaths": paths}}), when).await
    }

    /// Removes the document. Without a precondition, a missing one is no error.
    pub async fn remove(&self, collection: &str, id: &str, when: Precondition<'_>) -> Result<(), ApiError> {
        self.commit(json!({"delete": self.name_of(collection, id)}), when).await.map(drop)
    }

    /// One page of a collection, ordered by id. The service may answer fewer than `size` although more are left.
    pub async fn page(&self, collection: &str, size: u32, token: Option<&str>) -> Result<Documents, ApiError> {
        let size = size.to_string();
        let query = [("pageSize", size.as_str()), ("pageToken", token.unwrap_or_default())];
        let used = if token.is_some() { &query[..] } else { &query[..1] };
        self.http.get_json(&format!("{}/{}", self.path, segment(collection)), used).await
    }

    fn name_of(&self, collection: &str, id: &str) -> String {
        format!("{}/{collection}/{id}", self.name)
    }

    /// One write. Guards go in the body: as query parameters the emulator does not understand a time.
    async fn commit(&self, mut write: Value, when: Precondition<'_>) -> Result<String, ApiError> {
        match when {
            Precondition::None => {}
            Precondition::Exists(exists) => write["currentDocument"] = json!({"exists": exists}),
            Precondition::UpdateTime(time) => write["currentDocument"] = json!({"updateTime": time}),
        }
        let path = format!("{}:commit", self.path);
        let committed: Committed = self.http.post_json(&path, &[], &json!({"writes": [write]})).await?;
        let result = committed.write_results.into_iter().next().unwrap_or_default();
        Ok(result.update_time.unwrap_or(committed.commit_time))
    }
}

/// One field's name as a path, in which dots would lead deeper.
fn field_path(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

fn speaks_of_the_database(error: &ApiError) -> bool {
    matches!(error, ApiError::Status(refusal) if refusal.error.message.contains("database") && !refusal.error.message.contains("/documents/"))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Committed {
    #[serde(default)]
    write_results: Vec<WriteResult>,
    #[serde(default)]
    commit_time: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WriteResult {
    update_time: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_is_one_field() {
        for (name, path) in [("expiresAt", "`expiresAt`"), ("a.b", "`a.b`"), ("a`b\\", "`a\\`b\\\\`")] {
            assert_eq!(field_path(name), path);
        }
    }
}
