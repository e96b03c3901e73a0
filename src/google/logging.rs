//! Cloud Logging over REST v2: reading entries back, and sinks.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::error::ApiError;
use super::http::{Client, segment};

/// Where the service is.
pub const ENDPOINT: &str = "https://logging.googleapis.com";

/// The newest entries of a project that `filter` matches, the newest first, at most `most` (up to 1000).
///
/// # Errors
/// What the service says, or that it does not answer. Needs `roles/logging.viewer`.
pub async fn newest(http: &Client, project: &str, filter: &str, most: u32) -> Result<Vec<Value>, ApiError> {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Answer {
        entries: Vec<Value>,
        next_page_token: String,
    }
    let mut found = Vec::new();
    let mut token = String::new();
    // An answer may hold nothing yet and still have a next page, while the service is searching.
    for _ in 0..100 {
        let mut body = json!({"resourceNames": [format!("projects/{project}")], "filter": filter,
            "orderBy": "timestamp desc", "pageSize": most});
        if !token.is_empty() {
            body["pageToken"] = json!(token);
        }
        let answer: Answer = http.post_json("/v2/entries:list", &[], &body).await?;
        found.extend(answer.entries);
        token = answer.next_page_token;
        if token.is_empty() || found.len() >= most as usize {
            break;
        }
    }
    found.truncate(most as usize);
    Ok(found)
}

/// A sink: which entries of its owner go where. Members that we do not set are not written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Sink {
    /// Its id, not the whole name.
    pub name: String,
    /// Where it writes, such as `pubsub.googleapis.com/projects/P/topics/T`.
    pub destination: String,
    /// Which entries it writes.
    pub filter: String,
    /// Of a folder or organization: also the entries of all that is in it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub include_children: bool,
    /// Whether it was switched off.
    #[serde(skip_serializing)]
    pub disabled: bool,
    /// Entries that it leaves out; only how many matters here.
    #[serde(skip_serializing)]
    pub exclusions: Vec<Value>,
    /// Who writes, such as `serviceAccount:…`. Only the service knows it: it cannot be made up from the owner's number.
    #[serde(skip_serializing)]
    pub writer_identity: String,
}

/// The writer is the owner's service agent, which may be let into topics of other projects too.
const UNIQUE_WRITER: (&str, &str) = ("uniqueWriterIdentity", "true");

/// The sink `name` of `owner` (`projects/P`, `folders/N`, `organizations/N`), when there is one.
///
/// # Errors
/// What the service says, or that it does not answer. Needs `roles/logging.configWriter` or `roles/logging.viewer`.
pub async fn sink(http: &Client, owner: &str, name: &str) -> Result<Option<Sink>, ApiError> {
    match http.get_json(&format!("/v2/{owner}/sinks/{}", segment(name)), &[]).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.status() == Some(404) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes a sink; the answer names its writer.
///
/// # Errors
/// What the service says, or that it does not answer. Needs `roles/logging.configWriter`.
pub async fn create_sink(http: &Client, owner: &str, wanted: &Sink) -> Result<Sink, ApiError> {
    http.post_json(&format!("/v2/{owner}/sinks"), &[UNIQUE_WRITER], wanted).await
}

/// Writes these members of a sink, by their names in JSON, as they are in `wanted`; the answer names its writer.
///
/// # Errors
/// What the service says, or that it does not answer. Needs `roles/logging.configWriter`.
pub async fn update_sink(http: &Client, owner: &str, wanted: &Sink, members: &[&str]) -> Result<Sink, ApiError> {
    let mask = members.join(",");
    let path = format!("/v2/{owner}/sinks/{}", segment(&wanted.name));
    http.patch_json(&path, &[UNIQUE_WRITER, ("updateMask", &mask)], wanted).await
}
