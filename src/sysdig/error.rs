//! What can go wrong in a call to Sysdig, and what that means for the caller.

use std::time::Duration;

use serde_json::Value;

use crate::text::steers;

/// How much of a foreign message is repeated.
const MESSAGE_CHARS: usize = 300;

/// A call to Sysdig that did not give what was asked for.
#[derive(Debug, thiserror::Error)]
pub enum SysdigError {
    /// No answer: refused, reset, timed out, or a name that does not resolve.
    #[error("{call} got no answer{}", if source.is_timeout() { " in time" } else { "" })]
    Transport {
        /// Which call.
        call: &'static str,
        /// What the HTTP client says, without the address.
        #[source]
        source: reqwest::Error,
    },
    /// An answer that is not a success.
    #[error("{call} was answered with {status}: {message}")]
    Status {
        /// The HTTP status.
        status: u16,
        /// Which call.
        call: &'static str,
        /// What the body says, shortened.
        message: String,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
    /// A cursor that Sysdig gave us and does not know any more. The window is read anew, without it.
    #[error("the events feed does not go on where it said: {status}: {message}")]
    CursorGone {
        /// The HTTP status.
        status: u16,
        /// What the body says, shortened.
        message: String,
    },
    /// A success whose body is not what was asked for.
    #[error("{call} was answered with something that is not the JSON expected, beginning {excerpt:?}")]
    Body {
        /// Which call.
        call: &'static str,
        /// The beginning of the body.
        excerpt: String,
        /// What the reader says.
        #[source]
        source: serde_json::Error,
    },
    /// A body larger than anything the call can mean.
    #[error("{call} was answered with more than {limit} bytes")]
    TooLarge {
        /// Which call.
        call: &'static str,
        /// The bound, in bytes.
        limit: usize,
    },
    /// More pages than a window may have. A shorter window may succeed.
    #[error("the events feed has more than {pages} pages in one window")]
    TooManyPages {
        /// The bound.
        pages: u32,
    },
    /// We could not find out who we are, or were not believed.
    #[error("no token for Sysdig: {message}")]
    Identity {
        /// What went wrong; never holds a token.
        message: String,
    },
    /// The name is one of a channel that is no webhook; there is one of a name.
    #[error("the name {name:?} is taken by a channel of the type {kind}")]
    NameTaken {
        /// The name.
        name: String,
        /// What Sysdig calls the other one's type.
        kind: String,
    },
    /// Something asked for by name is not there or is ambiguous.
    #[error("{0}")]
    NotThere(String),
}

impl SysdigError {
    /// A transport error without the address, whose query may say what is nobody's business.
    pub(super) fn transport(call: &'static str, source: reqwest::Error) -> Self {
        Self::Transport { call, source: source.without_url() }
    }

    /// The same of a page that was asked for by a cursor: what is refused there is the cursor.
    pub(super) fn of_a_cursor(self) -> Self {
        match self {
            Self::Status { status: status @ (400 | 404 | 410 | 422), message, .. } => {
                Self::CursorGone { status, message }
            }
            other => other,
        }
    }

    /// The HTTP status, when there was an answer.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Transport { .. } | Self::Body { .. } | Self::CursorGone { .. } => true,
            Self::Status { status, .. } => matches!(status, 408 | 425 | 429 | 500..=599),
            Self::TooLarge { .. }
            | Self::TooManyPages { .. }
            | Self::Identity { .. }
            | Self::NameTaken { .. }
            | Self::NotThere(_) => false,
        }
    }

    /// Whether we asked too often.
    pub fn is_rate_limit(&self) -> bool {
        self.status() == Some(429)
    }

    /// Whether the token is wrong or may not do this.
    pub fn is_permission(&self) -> bool {
        matches!(self.status(), Some(401 | 403)) || matches!(self, Self::Identity { .. })
    }

    /// Whether the path or thing does not exist there.
    pub fn is_not_found(&self) -> bool {
        self.status() == Some(404)
    }

    /// Whether somebody else changed it meanwhile, or the name is taken.
    pub fn is_conflict(&self) -> bool {
        self.status() == Some(409)
    }

    /// How long the server wants to be left alone, if it said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// The metric label: a closed set.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Transport { source, .. } if source.is_timeout() => "timeout",
            Self::Transport { .. } => "unreachable",
            Self::Status { status: 401 | 403, .. } | Self::Identity { .. } => "permission",
            Self::Status { status: 429, .. } => "rate_limit",
            Self::Status { status: 500..=599, .. } => "server",
            Self::Status { .. } | Self::CursorGone { .. } => "refused",
            Self::Body { .. } | Self::TooLarge { .. } => "garbage",
            Self::TooManyPages { .. } => "too_many_pages",
            Self::NotThere(_) | Self::NameTaken { .. } => "not_there",
        }
    }

    /// What a person can do about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Status { status: 401, .. } => {
                "check SYSDIG_TOKEN, and that SYSDIG_URL names the region that issued it"
            }
            Self::Status { status: 403, call, .. } => permission_for(call),
            Self::Status { status: 404 | 300..=399, .. } | Self::Body { .. } => {
                "check that SYSDIG_URL is the address of Sysdig Secure"
            }
            Self::Status { status: 400 | 422, .. } => "check the setting that the message names",
            Self::Status { status: 409, .. } => "somebody changed the same thing at the same time; run it again",
            Self::Identity { .. } => "check SYSDIG_TOKEN and the SYSDIG_IBM_ settings",
            Self::Transport { .. } => "check SYSDIG_URL, and that this machine may reach it",
            Self::TooManyPages { .. } => "set SYSDIG_POLL_FILTER to what should become findings",
            Self::NotThere(_) => "check the name",
            Self::NameTaken { .. } => "rename that channel at Sysdig, or set SYSDIG_CHANNEL_NAME to another name",
            Self::Status { status: 408 | 425 | 429 | 500..=599, .. }
            | Self::CursorGone { .. }
            | Self::TooLarge { .. } => "try again later",
            Self::Status { .. } => {
                "check that SYSDIG_URL is the address of Sysdig Secure, and that no gateway before it refuses such calls"
            }
        }
    }
}

/// What gives the right to a call that was refused. Only that for events has a name that is documented.
fn permission_for(call: &str) -> &'static str {
    let about = |what: &str| call.contains(what);
    match () {
        () if about("events feed") => {
            "give the token's user or service account the permission to read events (policy-events.read)"
        }
        () if about("notification channel") => {
            "give the token's user or service account the right to manage notification channels"
        }
        () if about("event forwarder") => {
            "use the token of an administrator, or of one who may manage event forwarding"
        }
        () if about("polic") => "give the token's user or service account the right to read and edit policies",
        () if about("account") => {
            "give the token's user or service account the right to see its own account; to read events it needs policy-events.read"
        }
        () => "give the token's user or service account the permission",
    }
}

/// What an error body says: any of the four shapes Sysdig uses, else the beginning of the text.
pub(super) fn message_of(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(value) => json_message(&value).unwrap_or_else(|| String::from_utf8_lossy(body).into_owned()),
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    match shorten(&text) {
        text if text.is_empty() => "no reason given".into(),
        text => text,
    }
}

fn json_message(value: &Value) -> Option<String> {
    if let Some(errors) = value.get("errors").and_then(Value::as_array) {
        let all: Vec<String> = errors.iter().filter_map(one_error).collect();
        if !all.is_empty() {
            return Some(all.join("; "));
        }
    }
    let main = text_of(value.get("message")).or_else(|| text_of(value.get("error")));
    let main = main.or_else(|| value.get("error").and_then(json_message))?;
    let details: Vec<String> =
        value.get("details").and_then(Value::as_array).into_iter().flatten().filter_map(one_error).collect();
    Some(if details.is_empty() { main } else { format!("{main} ({})", details.join("; ")) })
}

fn one_error(error: &Value) -> Option<String> {
    match (text_of(error.get("reason")), text_of(error.get("message"))) {
        (Some(reason), Some(message)) => Some(format!("{reason}: {message}")),
        (Some(one), None) | (None, Some(one)) => Some(one),
        (None, None) => text_of(Some(error)),
    }
}

fn text_of(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

/// One line without control characters, at most [`MESSAGE_CHARS`] long.
pub(super) fn shorten(text: &str) -> String {
    let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut kept: String = line.chars().filter(|c| !c.is_control() && !steers(*c)).take(MESSAGE_CHARS).collect();
    if line.chars().count() > MESSAGE_CHARS {
        kept.push('…');
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_four_error_shapes_are_read_and_so_is_what_is_no_json() {
        for (body, expected) in [
            (
                r#"{"errors":[{"reason":"Forbidden","message":"no permission policy-events.read"}]}"#,
                "Forbidden: no permission policy-events.read",
            ),
            (r#"{"message":"Bad credentials"}"#, "Bad credentials"),
            (r#"{"timestamp":1,"status":404,"error":"Not Found"}"#, "Not Found"),
            (
                r#"{"type":"invalid_argument","message":"from is missing","details":[{"message":"field from"}]}"#,
                "from is missing (field from)",
            ),
            (r#"{"errors":["plain"]}"#, "plain"),
            ("<html>\n<h1>502  Bad Gateway</h1>", "<html> <h1>502 Bad Gateway</h1>"),
            ("", "no reason given"),
            ("[1,2]", "[1,2]"),
        ] {
            assert_eq!(message_of(body.as_bytes()), expected);
        }
        assert_eq!(message_of("x".repeat(5000).as_bytes()).chars().count(), MESSAGE_CHARS + 1);
    }

    #[test]
    fn an_error_answers_whether_to_try_again() {
        let of = |status| SysdigError::Status { status, call: "a call", message: String::new(), retry_after: None };
        for status in [429, 500, 502, 503, 504, 408] {
            assert!(of(status).is_transient(), "{status}");
        }
        for status in [400, 401, 403, 404, 409, 422, 302] {
            assert!(!of(status).is_transient(), "{status}");
        }
        for (status, again) in [(405, false), (415, false), (501, true), (429, true), (503, true)] {
            assert_eq!(of(status).remedy() == "try again later", again, "{status}: {}", of(status).remedy());
        }
        assert!(of(401).is_permission() && of(403).is_permission() && !of(404).is_permission());
        assert_eq!(of(429).label(), "rate_limit");
        for (call, remedy) in [
            ("the events feed", "policy-events.read"),
            ("the making of the notification channel", "notification channels"),
            ("the list of event forwarders", "event forwarding"),
            ("the update of the policy", "edit policies"),
            ("the account look-up", "policy-events.read"),
            ("a call", "the permission"),
        ] {
            let error = SysdigError::Status { status: 403, call, message: String::new(), retry_after: None };
            assert!(error.remedy().contains(remedy), "{call}: {}", error.remedy());
        }
    }
}
