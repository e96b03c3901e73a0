//! Security Command Center, API v2, always with a location. Facts: <https://cloud.google.com/security-command-center/docs/reference/rest/v2>.

use std::fmt;

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::error::ApiError;
use super::http::{Call, Client};

/// What may be asked of `testIamPermissions` to see whether findings can be written.
pub const UPDATE_FINDINGS: &str = "securitycenter.findings.update";

/// `organizations/O/sources/S`. Both are numbers; a source's has up to 20 digits, so it stays text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceName {
    /// The organization's number.
    pub organization: String,
    /// The source's number.
    pub source: String,
}

impl fmt::Display for SourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "organizations/{}/sources/{}", self.organization, self.source)
    }
}

/// A source given as a setting: its number, or its name with what the name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceText {
    /// The source's number.
    pub source: String,
    /// The organization's number, when the name tells it.
    pub organization: Option<String>,
    /// The location, when the name tells it.
    pub location: Option<String>,
}

/// Reads `S`, `organizations/O/sources/S` or `organizations/O/sources/S/locations/L`.
pub fn source_text(text: &str) -> Option<SourceText> {
    let parts: Vec<&str> = text.trim().trim_matches('/').split('/').collect();
    let (organization, source, location) = match parts.as_slice() {
        [source] => (None, *source, None),
        ["sources", source] => (None, *source, None),
        ["organizations", o, "sources", source] => (Some(*o), *source, None),
        ["organizations", o, "sources", source, "locations", l] => (Some(*o), *source, Some(*l)),
        _ => return None,
    };
    let fine = is_number(source) && organization.is_none_or(is_number) && location.is_none_or(is_location);
    fine.then(|| SourceText {
        source: source.to_owned(),
        organization: organization.map(str::to_owned),
        location: location.map(str::to_owned),
    })
}

/// Reads `N` or `organizations/N`.
pub fn organization(text: &str) -> Option<String> {
    let number = text.trim().trim_end_matches('/');
    let number = number.strip_prefix("organizations/").unwrap_or(number);
    is_number(number).then(|| number.to_owned())
}

fn is_number(text: &str) -> bool {
    (1..=20).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())
}

/// Whether it can be a location's id.
pub fn is_location(text: &str) -> bool {
    (1..=40).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A source, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
pub struct Source {
    /// `organizations/O/sources/S`.
    pub name: String,
    /// The name people see.
    pub display_name: String,
    /// What it is for.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
}

/// What we need to know of a finding that stands there.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredFinding {
    /// Its full name; ends in `/findings/ID`.
    pub name: String,
    /// `ACTIVE` or `INACTIVE`.
    #[serde(default)]
    pub state: String,
    /// When it happened, or was last updated.
    pub event_time: Option<DateTime<Utc>>,
    /// `MUTED`, `UNMUTED`, `UNDEFINED`.
    #[serde(default)]
    pub mute: String,
    /// The kind of finding.
    #[serde(default)]
    pub category: String,
}

impl StoredFinding {
    /// Whether it is open.
    pub fn is_active(&self) -> bool {
        self.state != "INACTIVE"
    }
}

/// The client for one source in one location.
#[derive(Debug, Clone)]
pub struct Scc {
    http: Client,
    source: SourceName,
    location: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct FindingsPage {
    #[serde(default)]
    list_findings_results: Vec<FindingResult>,
}

#[derive(Debug, Deserialize)]
struct FindingResult {
    finding: StoredFinding,
}

impl Scc {
    /// A client for findings of `source` in `location`.
    pub fn new(http: Client, source: SourceName, location: impl Into<String>) -> Self {
        Self { http, source, location: location.into() }
    }

    /// The source.
    pub fn source(&self) -> &SourceName {
        &self.source
    }

    /// The location.
    pub fn location(&self) -> &str {
        &self.location
    }

    /// The HTTP client beneath.
    pub fn http(&self) -> &Client {
        &self.http
    }

    /// The full name of a finding.
    pub fn finding_name(&self, id: &str) -> String {
        format!("{}/locations/{}/findings/{id}", self.source, self.location)
    }

    fn findings(&self) -> String {
        format!("/v2/{}/locations/{}/findings", self.source, self.location)
    }

    /// Creates a finding from its JSON. 409 `ALREADY_EXISTS` when it stands there.
    pub async fn create(&self, id: &str, body: Vec<u8>) -> Result<(), ApiError> {
        let (path, query) = (self.findings(), [("findingId", id)]);
        let call = Call { method: Method::POST, path: &path, query: &query, body: Some(body) };
        self.http.create(call, &format!("/findings/{id}")).await
    }

    /// Changes the members named in `mask` (never empty: an empty mask replaces everything, triage included).
    pub async fn patch(&self, id: &str, mask: &[&str], body: Vec<u8>) -> Result<StoredFinding, ApiError> {
        let path = format!("{}/{id}", self.findings());
        if mask.is_empty() {
            return Err(ApiError::Refused { call: format!("PATCH {path}"), why: "its mask is empty".into() });
        }
        let mask = mask.join(",");
        let query = [("updateMask", mask.as_str())];
        self.http.json(Call { method: Method::PATCH, path: &path, query: &query, body: Some(body) }).await
    }

    /// The finding with this id, if it stands there. There is no get in the API: a list filtered by name is the way.
    pub async fn find(&self, id: &str) -> Result<Option<StoredFinding>, ApiError> {
        let filter = format!("name=\"{}\"", self.finding_name(id));
        let query = [("filter", filter.as_str()), ("pageSize", "2")];
        let page: FindingsPage = self.http.get_json(&self.findings(), &query).await?;
        // A server that ignores the filter must not make us take another finding for ours.
        let end = format!("/findings/{id}");
        Ok(page.list_findings_results.into_iter().map(|r| r.finding).find(|f| f.name.ends_with(&end)))
    }

    /// The source itself.
    pub async fn describe(&self) -> Result<Source, ApiError> {
        self.http.get_json(&format!("/v2/{}", self.source), &[]).await
    }

    /// Those of the permissions that we have on the source.
    pub async fn permitted(&self, permissions: &[&str]) -> Result<Vec<String>, ApiError> {
        #[derive(Deserialize)]
        struct Granted {
            #[serde(default)]
            permissions: Vec<String>,
        }
        let path = format!("/v2/{}:testIamPermissions", self.source);
        let granted: Granted =
            self.http.post_json(&path, &[], &serde_json::json!({ "permissions": permissions })).await?;
        Ok(granted.permissions)
    }
}

/// All sources of an organization, page by page.
pub async fn sources(http: &Client, organization: &str) -> Result<Vec<Source>, ApiError> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Page {
        #[serde(default)]
        sources: Vec<Source>,
        #[serde(default)]
        next_page_token: String,
    }
    let path = format!("/v2/organizations/{organization}/sources");
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let mut query = vec![("pageSize", "1000")];
        if !token.is_empty() {
            query.push(("pageToken", token.as_str()));
        }
        let page: Page = http.get_json(&path, &query).await?;
        all.extend(page.sources);
        // A token that comes again would never end.
        if page.next_page_token.is_empty() || page.next_page_token == token {
            return Ok(all);
        }
        token = page.next_page_token;
    }
}

/// Creates a source in an organization.
pub async fn create_source(
    http: &Client,
    organization: &str,
    name: &str,
    description: &str,
) -> Result<Source, ApiError> {
    let source = Source { name: String::new(), display_name: name.to_owned(), description: description.to_owned() };
    let body = serde_json::json!({ "displayName": source.display_name, "description": source.description });
    http.post_json(&format!("/v2/organizations/{organization}/sources"), &[], &body).await
}

/// Whether a source may be called so: 1 to 32 letters, digits, spaces, hyphens and underscores, beginning and ending with a
/// letter or digit.
pub fn is_source_name(name: &str) -> bool {
    (1..=32).contains(&name.chars().count())
        && name.starts_with(char::is_alphanumeric)
        && name.ends_with(char::is_alphanumeric)
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sources_name_keeps_to_the_rule() {
        let (longest, longer) = ("x".repeat(32), "x".repeat(33));
        for name in ["Sysdig Secure", "a", "7", "Prüfstand_2 - Süd", &longest] {
            assert!(is_source_name(name), "{name:?}");
        }
        for name in ["", " ", "-x", "x_", "x ", "a.b", "a/b", "x!", "a\tb", &longer] {
            assert!(!is_source_name(name), "{name:?}");
        }
    }

    #[test]
    fn a_source_is_read_in_every_form_people_copy() {
        let number = "12345678901234567890";
        for (text, organization, location) in [
            (number.to_owned(), None, None),
            (format!("sources/{number}"), None, None),
            (format!("organizations/534901558763/sources/{number}"), Some("534901558763"), None),
            (format!(" organizations/534901558763/sources/{number}/locations/eu/ "), Some("534901558763"), Some("eu")),
        ] {
            let read = source_text(&text).unwrap();
            assert_eq!(read.source, number);
            assert_eq!((read.organization.as_deref(), read.location.as_deref()), (organization, location));
        }
        for text in
            ["", "sysdig", "organizations/x/sources/1", "projects/p/sources/1", "organizations/1/sources/-", "1/2"]
        {
            assert_eq!(source_text(text), None, "{text}");
        }
    }

    #[test]
    fn an_organization_is_a_number_with_or_without_its_collection() {
        assert_eq!(organization("organizations/534901558763").as_deref(), Some("534901558763"));
        assert_eq!(organization("534901558763").as_deref(), Some("534901558763"));
        assert_eq!(organization("example.com"), None);
    }
}
