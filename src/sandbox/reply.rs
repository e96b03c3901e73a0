//! What every answer of the sandbox has: the notice that it is one, and the form of Google's answers.

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::{HttpResponse, HttpResponseBuilder};
use serde_json::Value;

use super::error::Refusal;

/// Said in a header of every answer.
pub(crate) const NOTICE: &str = "sysdig-scc sandbox; a rehearsal stage, not Google";
static SANDBOX: HeaderName = HeaderName::from_static("x-sandbox");
static NOTICE_VALUE: HeaderValue = HeaderValue::from_static(NOTICE);

/// Adds the notice to every answer.
pub(crate) fn marked(mut response: HttpResponse) -> HttpResponse {
    response.headers_mut().insert(SANDBOX.clone(), NOTICE_VALUE.clone());
    response
}

/// An answer in Google's error form.
pub(crate) fn refused(refusal: &Refusal) -> HttpResponse {
    let code = StatusCode::from_u16(refusal.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(code, &refusal.body());
    if let Some(seconds) = refusal.retry_after() {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if code == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

/// A JSON answer with the notice.
pub(crate) fn json(code: StatusCode, body: &Value) -> HttpResponse {
    let response = HttpResponseBuilder::new(code)
        .content_type("application/json; charset=UTF-8")
        .body(serde_json::to_vec(body).unwrap_or_default());
    marked(response)
}
