//! What Google's services say when they refuse, and what a call can fail with.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

use super::auth_error::AuthError;
use crate::calls::LONGEST_ASKED;
use crate::text::steers;

/// Google's JSON error (`google.rpc.Status` over HTTP), read leniently.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GoogleError {
    /// The message, printable and shortened.
    pub message: String,
    /// The canonical status, such as `ALREADY_EXISTS`; empty when the answer was not Google's JSON.
    pub status: String,
    /// Whether it is a page for people: no service of Google's answers a call with one.
    pub page: bool,
    /// `ErrorInfo.reason`, or the reason of the older form.
    pub reason: Option<String>,
    /// `ErrorInfo.metadata.consumer` without its collection: the project whose API, quota or credential was used.
    pub consumer: Option<String>,
    /// `RetryInfo.retryDelay`.
    pub retry_delay: Option<Duration>,
    /// `BadRequest.fieldViolations` and `QuotaFailure.violations`, each as `subject: description`.
    pub violations: Vec<String>,
}

impl GoogleError {
    /// Reads an error body. HTML, truncated JSON and the like give an empty status and a message saying so.
    pub fn parse(body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Outer {
            error: Inner,
        }
        #[derive(Deserialize)]
        #[serde(default)]
        #[derive(Default)]
        struct Inner {
            message: Value,
            status: Value,
            details: Vec<Value>,
            errors: Vec<Value>,
        }
        // Streaming methods wrap the error in an array.
        let parsed = serde_json::from_slice::<Outer>(body)
            .or_else(|_| serde_json::from_slice::<(Outer,)>(body).map(|(outer,)| outer));
        let Ok(Outer { error }) = parsed else { return Self::foreign(body) };
        let mut read = Self {
            message: printable(error.message.as_str().unwrap_or_default(), 500),
            status: printable(error.status.as_str().unwrap_or_default(), 60),
            ..Self::default()
        };
        error.details.iter().for_each(|detail| read.add_detail(detail));
        if read.reason.is_none() {
            read.reason = error.errors.iter().find_map(|e| text(e, "reason"));
        }
        read
    }

    fn foreign(body: &[u8]) -> Self {
        let start = String::from_utf8_lossy(&body[..body.len().min(2000)]);
        let page = start.trim_start().starts_with('<');
        let message = match start.trim_start() {
            "" => "without a body".to_owned(),
            page if page.starts_with('<') => match between(page, "<title>", "</title>") {
                Some(title) => format!("with an HTML page: {}", printable(title, 100)),
                None => "with an HTML page".to_owned(),
            },
            // An answer of some kind after all: what it holds may be what must not stand in a log.
            other if other.starts_with(['{', '[']) => {
                "with a body that is not Google's JSON of an error; it is not repeated here".to_owned()
            }
            other => format!("with a body that is not Google's JSON: {}", printable(other, 100)),
        };
        Self { message, page, ..Self::default() }
    }

    fn add_detail(&mut self, detail: &Value) {
        let kind = detail["@type"].as_str().unwrap_or_default();
        match kind.rsplit('.').next().unwrap_or_default() {
            "ErrorInfo" => {
                self.reason = text(detail, "reason");
                let consumer = text(&detail["metadata"], "consumer");
                self.consumer = consumer.map(|name| name.trim_start_matches("projects/").to_owned());
            }
            "RetryInfo" => self.retry_delay = detail["retryDelay"].as_str().and_then(proto_duration),
            "BadRequest" => self.add_violations(&detail["fieldViolations"], "field"),
            "QuotaFailure" => self.add_violations(&detail["violations"], "subject"),
            _ => {}
        }
    }

    fn add_violations(&mut self, list: &Value, subject: &str) {
        for violation in list.as_array().into_iter().flatten().take(10) {
            let subject = violation[subject].as_str().unwrap_or_default();
            let said = violation["description"].as_str().unwrap_or_default();
            self.violations.push(printable(&format!("{subject}: {said}"), 200));
        }
    }
}

impl std::fmt::Display for GoogleError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts = Vec::new();
        if !self.status.is_empty() {
            parts.push(self.status.clone());
        }
        if let Some(reason) = &self.reason {
            parts.push(format!("({reason})"));
        }
        if !self.message.is_empty() {
            parts.push(self.message.clone());
        }
        if !self.violations.is_empty() {
            parts.push(format!("[{}]", self.violations.join("; ")));
        }
        f.write_str(&parts.join(" "))
    }
}

/// A call was answered with a status other than success.
#[derive(Debug)]
pub struct Refusal {
    /// Method, host and path.
    pub call: String,
    /// The HTTP status.
    pub status: u16,
    /// What the body says.
    pub error: GoogleError,
    /// How long the service asked us to wait: the longer of `Retry-After` and `RetryInfo`.
    pub retry_after: Option<Duration>,
}

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The service answered, and refused.
    #[error("{} was answered {} {}", .0.call, .0.status, .0.error)]
    Status(Box<Refusal>),
    /// The service could not be reached, or the connection broke.
    #[error("{call} failed on the way")]
    Transport {
        /// Method, host and path.
        call: String,
        /// The cause, without the address.
        source: reqwest::Error,
    },
    /// No complete answer within the time allowed. Whether it took effect is not known.
    #[error("{call} had no complete answer within {after:?}")]
    Timeout {
        /// Method, host and path.
        call: String,
        /// The time allowed.
        after: Duration,
    },
    /// There was no usable token.
    #[error("{call} had no access token")]
    Auth {
        /// Method, host and path.
        call: String,
        /// The cause.
        source: AuthError,
    },
    /// It succeeded by its status, but the answer cannot be read: broken JSON, truncated, or not what was expected.
    #[error("{call} succeeded with an answer that cannot be read")]
    Body {
        /// Method, host and path.
        call: String,
        /// The cause.
        source: serde_json::Error,
    },
    /// The answer is larger than any that makes sense.
    #[error("{call} was answered with more than {limit} bytes")]
    TooLarge {
        /// Method, host and path.
        call: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The call was not made: it would have been wrong to.
    #[error("{call} was not made: {why}")]
    Refused {
        /// Method and address.
        call: String,
        /// Why not.
        why: String,
    },
}

impl ApiError {
    /// The HTTP status, when there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status(refusal) => Some(refusal.status),
            _ => None,
        }
    }

    /// Google's canonical status, such as `NOT_FOUND`; empty when there is none.
    pub fn canonical(&self) -> &str {
        match self {
            Self::Status(refusal) => &refusal.error.status,
            _ => "",
        }
    }

    /// Whether the refusal is a page for people, and so not the service's.
    pub fn is_page(&self) -> bool {
        matches!(self, Self::Status(refusal) if refusal.error.page)
    }

    /// `ErrorInfo.reason`, such as `SERVICE_DISABLED`.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Status(refusal) => refusal.error.reason.as_deref(),
            _ => None,
        }
    }

    /// Whether the API is switched off in the project.
    pub fn is_disabled(&self) -> bool {
        matches!(self.reason(), Some("SERVICE_DISABLED" | "accessNotConfigured"))
    }

    /// What switches `api` on, when it is off: in the project that Google names, which need not be the one that was asked
    /// about; in the `likely` one where it names none.
    pub fn enabling(&self, api: &str, likely: Option<&str>) -> Option<String> {
        let project = self.consumer().or(likely).unwrap_or("PROJECT");
        self.is_disabled().then(|| format!("gcloud services enable {api} --project {project}"))
    }

    /// `ErrorInfo.metadata.consumer`: the project whose API, quota or credential was used.
    pub fn consumer(&self) -> Option<&str> {
        match self {
            Self::Status(refusal) => refusal.error.consumer.as_deref(),
            _ => None,
        }
    }

    /// How long the service asked us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(refusal) => refusal.retry_after,
            _ => None,
        }
    }

    /// Whether a quota is used up: 429, and the 403 of older front ends that means the same.
    pub fn is_quota(&self) -> bool {
        let Self::Status(refusal) = self else { return false };
        let reason = refusal.error.reason.as_deref().unwrap_or_default().replace('_', "").to_ascii_lowercase();
        let quota = ["ratelimitexceeded", "userratelimitexceeded", "quotaexceeded", "dailylimitexceeded"];
        refusal.status == 429
            || (refusal.status == 403
                && (quota.contains(&reason.as_str()) || refusal.error.status == "RESOURCE_EXHAUSTED"))
    }

    /// Whether the same call may succeed later without anyone changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Status(refusal) => match refusal.status {
                // 499 is CANCELLED: it says nothing of what was sent.
                408 | 425 | 429 | 499 => true,
                409 => refusal.error.status == "ABORTED",
                501 | 505 => false,
                status => status >= 500 || self.is_quota(),
            },
            Self::Transport { .. } | Self::Timeout { .. } | Self::Body { .. } => true,
            Self::Auth { source, .. } => source.is_transient(),
            Self::TooLarge { .. } | Self::Refused { .. } => false,
        }
    }

    /// The metric label, from a closed set.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Status(refusal) => match refusal.status {
                _ if self.is_quota() => "quota",
                400 => "bad_request",
                401 => "unauthenticated",
                403 => "forbidden",
                404 => "not_found",
                409 => "conflict",
                402 | 405..=408 | 410..=499 => "client_error",
                500..=599 => "server_error",
                _ => "unexpected_status",
            },
            Self::Transport { .. } => "transport",
            Self::Timeout { .. } => "timeout",
            Self::Auth { .. } => "auth",
            Self::Body { .. } => "broken_answer",
            Self::TooLarge { .. } => "large_answer",
            Self::Refused { .. } => "refused",
        }
    }
}

/// A protobuf duration in JSON: `1.5s`.
fn proto_duration(text: &str) -> Option<Duration> {
    let seconds: f64 = text.trim().strip_suffix('s')?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok().map(|d| d.min(LONGEST_ASKED))
}

/// Text of a stranger made fit for a log line: one line, no control characters, at most `limit` characters.
pub(super) fn printable(text: &str, limit: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut line: String = words.join(" ").chars().filter(|c| !c.is_control() && !steers(*c)).take(limit + 1).collect();
    if line.chars().count() > limit {
        line.pop();
        line.push('…');
    }
    line
}

fn text(value: &Value, field: &str) -> Option<String> {
    value[field].as_str().filter(|t| !t.is_empty()).map(|t| printable(t, 100))
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn google_errors_are_read_with_their_details() {
        let body = br#"{"error":{"code":429,"message":"Quota\nexceeded","status":"RESOURCE_EXHAUSTED","details":[
            {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"RATE_LIMIT_EXCEEDED","domain":"googleapis.com"},
            {"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"12.5s"},
            {"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"subject":"project:1","description":"writes"}]},
            {"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"finding.category","description":"empty"}]},
            7]}}"#;
        let error = GoogleError::parse(body);
        assert_eq!(error.reason.as_deref(), Some("RATE_LIMIT_EXCEEDED"));
        assert_eq!(error.retry_delay, Some(Duration::from_millis(12_500)));
        assert_eq!(
            error.to_string(),
            "RESOURCE_EXHAUSTED (RATE_LIMIT_EXCEEDED) Quota exceeded [project:1: writes; finding.category: empty]"
        );
    }

    #[test]
    fn answers_that_are_not_googles_json_are_described() {
        for (body, expected) in [
            ("", "without a body"),
            ("<html><head><title>502 Bad Gateway</title>", "with an HTML page: 502 Bad Gateway"),
            ("{\"error\":{\"code\":4", "not Google's JSON"),
            ("{\"error\":\"invalid\"}", "not Google's JSON"),
            ("\u{1b}[31mupstream", "not Google's JSON: [31mupstream"),
        ] {
            let error = GoogleError::parse(body.as_bytes());
            assert!(error.message.contains(expected), "{error:?}");
            assert_eq!(error.status, "");
        }
    }

    #[test]
    fn an_api_is_switched_on_in_the_project_that_google_names() {
        let refused = |body: &[u8]| {
            let (call, error) = ("GET https://compute.googleapis.com/".to_owned(), GoogleError::parse(body));
            ApiError::Status(Box::new(Refusal { call, status: 403, error, retry_after: None }))
        };
        let newer = br#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"off","details":[
            {"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"SERVICE_DISABLED",
             "metadata":{"consumer":"projects/777000"}}]}}"#;
        let older = br#"{"error":{"code":403,"message":"off","errors":[{"reason":"accessNotConfigured"}]}}"#;
        let other = br#"{"error":{"code":403,"status":"PERMISSION_DENIED","message":"no"}}"#;
        let likely = Some("acme");
        for (body, likely, project) in [
            (&newer[..], likely, Some("777000")),
            (&older[..], likely, Some("acme")),
            (&older[..], None, Some("PROJECT")),
            (&other[..], likely, None),
        ] {
            let expected =
                project.map(|project| format!("gcloud services enable x.googleapis.com --project {project}"));
            assert_eq!(refused(body).enabling("x.googleapis.com", likely), expected);
        }
    }
}
