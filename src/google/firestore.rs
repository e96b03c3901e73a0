//! Firestore in native mode over REST v1: only the calls that the state store needs.

use std::time::Duration;

use secrecy::ExposeSecret;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use super::bearer::{Bearer, Cause};

/// The longest a call may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Which database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Database {
    /// The project's id.
    pub project: String,
    /// The database's id, usually `(default)`.
    pub id: String,
    /// The service's base URL without a slash at the end.
    pub base: String,
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

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum FirestoreError {
    /// No token could be had.
    #[error("no token for Firestore could be had")]
    Token(#[source] Cause),
    /// No answer, or half of one.
    #[error("Firestore did not answer")]
    Transport(#[source] reqwest::Error),
    /// The answer could not be understood.
    #[error("Firestore's answer cannot be read")]
    Answer(#[source] reqwest::Error),
    /// An error answer.
    #[error("Firestore answered {status} {reason}: {message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The canonical name, such as `FAILED_PRECONDITION`; empty when the answer had none.
        reason: String,
        /// Google's sentence.
        message: String,
        /// The `Retry-After` header, when there was one.
        after: Option<Duration>,
    },
}

impl FirestoreError {
    /// Whether the precondition did not hold.
    pub fn is_conflict(&self) -> bool {
        // A document missing although it should have a certain time is NOT_FOUND. FAILED_PRECONDITION is also what a
        // missing index answers, but no call here can need one.
        let conflicts = ["ALREADY_EXISTS", "FAILED_PRECONDITION", "ABORTED", "NOT_FOUND"];
        matches!(self, Self::Refused { status, reason, .. } if conflicts.contains(&reason.as_str()) || *status == 409)
    }

    /// Whether the same call may pass later.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Token(_) | Self::Transport(_) | Self::Answer(_) => true,
            Self::Refused { status, .. } => matches!(status, 408 | 409 | 429 | 500..=599),
        }
    }
}

/// A client for one database.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    bearer: Bearer,
    documents: Url,
    root: String,
}

impl Client {
    /// A client for `database`, which is not contacted yet.
    ///
    /// # Errors
    /// When the base is no URL, or no TLS is to be had.
    pub fn new(database: &Database, bearer: Bearer) -> Result<Self, Cause> {
        let mut documents = Url::parse(&database.base)?;
        documents
            .path_segments_mut()
            .map_err(|()| "the base of Firestore is not an http address")?
            .pop_if_empty()
            .extend(["v1", "projects", &database.project, "databases", &database.id, "documents"]);
        let http = reqwest::Client::builder().timeout(TIMEOUT).build()?;
        let root = format!("projects/{}/databases/{}/documents", database.project, database.id);
        Ok(Self { http, bearer, documents, root })
    }

    /// The document, when there is one.
    pub async fn fetch(&self, collection: &str, id: &str) -> Result<Option<Document>, FirestoreError> {
        match self.call(reqwest::Method::GET, self.url(&[collection, id]), None).await {
            Ok(answer) => answer.json().await.map(Some).map_err(FirestoreError::Answer),
            Err(FirestoreError::Refused { status: 404, reason, .. }) if reason == "NOT_FOUND" => Ok(None),
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
    ) -> Result<String, FirestoreError> {
        let update = json!({"name": self.name(collection, id), "fields": fields});
        self.commit(json!({"update": update}), when).await
    }

    /// Removes the document. Without a precondition, a missing one is no error.
    pub async fn remove(&self, collection: &str, id: &str, when: Precondition<'_>) -> Result<(), FirestoreError> {
        self.commit(json!({"delete": self.name(collection, id)}), when).await.map(drop)
    }

    /// One page of a collection, ordered by id. The service may answer fewer than `size` although more are left.
    pub async fn page(&self, collection: &str, size: u32, token: Option<&str>) -> Result<Documents, FirestoreError> {
        let mut url = self.url(&[collection]);
        url.query_pairs_mut().append_pair("pageSize", &size.to_string());
        if let Some(token) = token {
            url.query_pairs_mut().append_pair("pageToken", token);
        }
        let answer = self.call(reqwest::Method::GET, url, None).await?;
        answer.json().await.map_err(FirestoreError::Answer)
    }

    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.documents.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        url
    }

    fn name(&self, collection: &str, id: &str) -> String {
        format!("{}/{collection}/{id}", self.root)
    }

    /// One write. Guards go in the body: as query parameters the emulator does not understand a time.
    async fn commit(&self, mut write: Value, when: Precondition<'_>) -> Result<String, FirestoreError> {
        match when {
            Precondition::None => {}
            Precondition::Exists(exists) => write["currentDocument"] = json!({"exists": exists}),
            Precondition::UpdateTime(time) => write["currentDocument"] = json!({"updateTime": time}),
        }
        let mut url = self.documents.clone();
        url.set_path(&format!("{}:commit", url.path()));
        let answer = self.call(reqwest::Method::POST, url, Some(&json!({"writes": [write]}))).await?;
        let committed: Committed = answer.json().await.map_err(FirestoreError::Answer)?;
        let result = committed.write_results.into_iter().next().unwrap_or_default();
        Ok(result.update_time.unwrap_or(committed.commit_time))
    }

    async fn call(
        &self,
        method: reqwest::Method,
        url: Url,
        body: Option<&Value>,
    ) -> Result<reqwest::Response, FirestoreError> {
        let mut request = self.http.request(method, url);
        if let Some(token) = self.bearer.token().await.map_err(FirestoreError::Token)? {
            request = request.bearer_auth(token.expose_secret());
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| FirestoreError::Transport(error.without_url()))?;
        if answer.status().is_success() { Ok(answer) } else { Err(refusal(answer).await) }
    }
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

async fn refusal(answer: reqwest::Response) -> FirestoreError {
    let status = answer.status().as_u16();
    let after = answer
        .headers()
        .get(reqwest::header::RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok())
        .map(Duration::from_secs);
    let body: Value = answer.json().await.unwrap_or_default();
    // A list answers errors inside an array.
    let error = body.get(0).unwrap_or(&body).get("error").cloned().unwrap_or_default();
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    FirestoreError::Refused { status, reason: text("status"), message: text("message"), after }
}
