//! Cloud Logging over REST v2: reading entries back.

use serde::Deserialize;
use serde_json::{Value, json};

use super::error::ApiError;
use super::http::Client;

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
