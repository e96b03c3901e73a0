//! What a caller is told when it is refused: a status, a stable code, one sentence with the remedy. Never a cause
//! from the inside: that goes to the log.

use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, HttpResponseBuilder, ResponseError};
use serde::Serialize;

use super::IntakeError;
use super::attestation::Later;
use super::room::Full;
use super::sender::Refused;
use crate::causes::chain;
use crate::normalize::NormalizeError;

/// An answer that refuses.
#[derive(Debug, thiserror::Error)]
#[error("{status}: {message}")]
pub struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    retry_after: Option<Duration>,
}

/// The body of a refusal.
#[derive(Serialize)]
struct Body<'a> {
    error: Detail<'a>,
}

#[derive(Serialize)]
struct Detail<'a> {
    code: &'a str,
    message: &'a str,
}

impl Refusal {
    /// A refusal with a stable code and a sentence.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), retry_after: None }
    }

    /// 413: names the limit and its setting.
    pub fn too_large(limit: usize) -> Self {
        let message = format!(
            "the body is larger than {limit} bytes (after decompression); send smaller batches, or raise BODY_LIMIT_BYTES"
        );
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// 415: an encoding we cannot undo.
    pub fn unsupported_encoding() -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "unsupported_encoding",
            "the Content-Encoding is not supported; send the body as it is, or with gzip or deflate",
        )
    }

    /// 400: broken compression, or a connection that broke off.
    pub fn unreadable_body() -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "unreadable_body",
            "the body could not be read to its end; check its Content-Encoding and Content-Length",
        )
    }

    /// 408: a body that does not end.
    pub fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too_slow", "the body took too long to arrive")
    }

    /// Whether the same body would be refused again.
    pub(super) fn is_about_body(&self) -> bool {
        use StatusCode as S;
        matches!(self.status, S::BAD_REQUEST | S::PAYLOAD_TOO_LARGE | S::UNSUPPORTED_MEDIA_TYPE)
    }

    fn after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Throttled(wait) => {
                Self::new(StatusCode::TOO_MANY_REQUESTS, "throttled", refused.to_string()).after(wait)
            }
            _ => Self::new(StatusCode::UNAUTHORIZED, "unauthenticated", refused.to_string()),
        }
    }
}

impl From<Later> for Refusal {
    fn from(later: Later) -> Self {
        let message = format!("the token in this entry cannot be verified now: {later}; send the same again");
        let refusal = |status, code| Self::new(status, code, message).after(Duration::from_secs(10));
        match later {
            Later::Keys | Later::Key => refusal(StatusCode::SERVICE_UNAVAILABLE, "keys_unavailable"),
            Later::Busy => refusal(StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Later::State => refusal(StatusCode::SERVICE_UNAVAILABLE, "state_unavailable"),
            Later::Broken => refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }
}

impl From<NormalizeError> for Refusal {
    fn from(error: NormalizeError) -> Self {
        if let NormalizeError::TooMany = error {
            return Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_many", error.to_string());
        }
        Self::new(StatusCode::BAD_REQUEST, "malformed", chain(&error))
    }
}

impl From<Full> for Refusal {
    fn from(full: Full) -> Self {
        let message = format!("{full}; nothing of this one was taken, send the same again");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message).after(Duration::from_secs(5))
    }
}

impl From<IntakeError> for Refusal {
    fn from(_: IntakeError) -> Self {
        // The store has logged the cause, once and not per request.
        let message = "the events could not be made durable, none was taken; send the same again";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "not_durable", message).after(Duration::from_secs(5))
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        self.status
    }

    fn error_response(&self) -> HttpResponse {
        let mut answer = HttpResponseBuilder::new(self.status);
        if self.status == StatusCode::UNAUTHORIZED {
            answer.insert_header((header::WWW_AUTHENTICATE, "Bearer realm=\"sysdig-scc\""));
        }
        if let Some(wait) = self.retry_after {
            answer.insert_header((header::RETRY_AFTER, wait.as_secs().max(1).to_string()));
        }
        answer.json(Body { error: Detail { code: self.code, message: &self.message } })
    }
}
