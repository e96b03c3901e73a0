//! Refusals, in the JSON that Google's APIs answer with.

use serde_json::{Value, json};

/// A canonical status, as `google.rpc.Code` names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    InvalidArgument,
    Unauthenticated,
    NotFound,
    AlreadyExists,
    Aborted,
    ResourceExhausted,
    Internal,
}

impl Status {
    /// The HTTP code and the name.
    fn parts(self) -> (u16, &'static str) {
        match self {
            Self::InvalidArgument => (400, "INVALID_ARGUMENT"),
            Self::Unauthenticated => (401, "UNAUTHENTICATED"),
            Self::NotFound => (404, "NOT_FOUND"),
            Self::AlreadyExists => (409, "ALREADY_EXISTS"),
            Self::Aborted => (409, "ABORTED"),
            Self::ResourceExhausted => (429, "RESOURCE_EXHAUSTED"),
            Self::Internal => (500, "INTERNAL"),
        }
    }
}

/// The name that goes with a bare HTTP code, for injected faults.
pub(crate) fn name_of(code: u16) -> &'static str {
    match code {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        // A call that a fault keeps from being carried out has made nothing that could stand there.
        409 => "ABORTED",
        412 => "FAILED_PRECONDITION",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        500 => "INTERNAL",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "UNKNOWN",
    }
}

/// One wrong field: where and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Violation {
    pub(crate) field: String,
    pub(crate) description: String,
}

impl Violation {
    pub(crate) fn new(field: impl Into<String>, description: impl Into<String>) -> Self {
        Self { field: field.into(), description: description.into() }
    }
}

/// A refused call.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refusal {
    code: u16,
    status: &'static str,
    message: String,
    details: Vec<Value>,
    retry_after: Option<u64>,
}

impl Refusal {
    pub(crate) fn new(status: Status, message: impl Into<String>) -> Self {
        let (code, status) = status.parts();
        Self { code, status, message: message.into(), details: Vec::new(), retry_after: None }
    }

    /// 400 for one field.
    pub(crate) fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields(vec![Violation::new(field, message)])
    }

    /// 400 for several fields; the message says all of them.
    pub(crate) fn fields(violations: Vec<Violation>) -> Self {
        let message = violations.iter().map(|v| v.description.as_str()).collect::<Vec<_>>().join("\n");
        let list: Vec<Value> =
            violations.into_iter().map(|v| json!({"field": v.field, "description": v.description})).collect();
        Self::new(Status::InvalidArgument, message)
            .detail(json!({"@type": "type.googleapis.com/google.rpc.BadRequest", "fieldViolations": list}))
    }

    /// 413, as a front end answers a body that is too long.
    pub(crate) fn too_large(limit: usize) -> Self {
        let message = format!("Request payload size exceeds the limit: {limit} bytes.");
        Self { code: 413, ..Self::new(Status::InvalidArgument, message) }
    }

    /// An answer with an arbitrary code, for injected faults.
    pub(crate) fn injected(code: u16, retry_after: Option<u64>) -> Self {
        let message = format!("Injected by the sandbox: {}", name_of(code));
        let refusal = Self { code, status: name_of(code), message, details: Vec::new(), retry_after: None };
        match retry_after {
            Some(seconds) => refusal.retry_in(seconds),
            None => refusal,
        }
    }

    pub(crate) fn detail(mut self, detail: Value) -> Self {
        self.details.push(detail);
        self
    }

    /// Adds `google.rpc.ErrorInfo`.
    pub(crate) fn reason(self, reason: &str, metadata: Value) -> Self {
        self.detail(json!({"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason,
            "domain": "googleapis.com", "metadata": metadata}))
    }

    /// Adds `google.rpc.RetryInfo` and the header `Retry-After`.
    pub(crate) fn retry_in(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self.detail(json!({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": format!("{seconds}s")}))
    }

    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    pub(crate) fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    /// The answer's body.
    pub(crate) fn body(&self) -> Value {
        let mut error = json!({"code": self.code, "message": self.message, "status": self.status});
        if !self.details.is_empty() {
            error["details"] = Value::Array(self.details.clone());
        }
        json!({"error": error})
    }
}
