//! (page)
use actix_web::{HttpRequest, HttpResponse};

use super::api::Sandbox;
use super::http::marked;

/// Answers `/`.
pub(crate) fn serve(_request: &HttpRequest, _sandbox: &Sandbox) -> HttpResponse {
    marked(HttpResponse::Ok().body("sandbox"))
}
