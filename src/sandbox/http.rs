//! The sandbox over HTTP: one service that answers every path.

use std::any::Any;
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;

use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Extensions;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::{self, Bytes, Data};
use actix_web::{HttpRequest, HttpResponse};
use futures_util::stream::{self, StreamExt as _};
use serde_json::Value;

use super::api::{Answer, Request, Sandbox};
use super::error::Refusal;
use super::faults::Fault;
use super::reply::{json, marked, refused};
use super::{admin, page, stubs};

/// A second handle of a connection's socket, to close it without an answer.
#[derive(Debug)]
struct Socket(TcpStream);

/// Keeps a handle of each new connection for faults that close it.
pub(crate) fn remember(connection: &dyn Any, extensions: &mut Extensions) {
    if let Some(stream) = connection.downcast_ref::<actix_web::rt::net::TcpStream>()
        && let Ok(socket) = stream.as_fd().try_clone_to_owned()
    {
        extensions.insert(Arc::new(Socket(TcpStream::from(socket))));
    }
}

/// Answers any request.
pub(crate) async fn serve(
    request: HttpRequest,
    sandbox: Data<Sandbox>,
    body: Result<Bytes, actix_web::Error>,
) -> HttpResponse {
    let body = match body {
        Ok(body) => body,
        Err(error) => return unreadable(&error, sandbox.settings.bounds.body),
    };
    let path = request.path();
    match path.split('/').nth(1).unwrap_or_default() {
        "v1" | "v2" => api(&request, &sandbox, &body).await,
        "sandbox" => admin::serve(&request, &sandbox, &body),
        "token" | "computeMetadata" => stubs::serve(&request, &sandbox, &body),
        _ => page::serve(&request, &sandbox),
    }
}

fn unreadable(error: &actix_web::Error, limit: usize) -> HttpResponse {
    let refusal = match error.as_response_error().status_code() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::too_large(limit),
        _ => Refusal::field("", format!("The request's body could not be read: {error}")),
    };
    refused(&refusal)
}

async fn api(request: &HttpRequest, sandbox: &Sandbox, body: &[u8]) -> HttpResponse {
    let method = request.method().as_str();
    let fault = sandbox.faults().take(method, request.path());
    let Some(fault) = fault else { return answered(request, sandbox, body) };
    sandbox.counts().faults += 1;
    if let Some(latency) = fault.latency() {
        actix_web::rt::time::sleep(latency).await;
    }
    spoiled(&fault, request, || answered(request, sandbox, body))
}

fn answered(request: &HttpRequest, sandbox: &Sandbox, body: &[u8]) -> HttpResponse {
    let header = |name: HeaderName| request.headers().get(name).and_then(|value| value.to_str().ok());
    let mut asked = Request {
        method: request.method().as_str(),
        path: request.uri().path(),
        query: request.query_string(),
        body,
        authorization: header(header::AUTHORIZATION),
    };
    // Clients send a GET that is too long for a line as a POST with the query as a form.
    let form;
    if asked.method == "POST" && header(METHOD_OVERRIDE).is_some_and(|m| m.eq_ignore_ascii_case("get")) {
        form = String::from_utf8_lossy(body).into_owned();
        asked = Request { method: "GET", query: &form, body: b"", ..asked };
    }
    match sandbox.answer(asked) {
        Ok(answer) => good(answer),
        Err(refusal) => refused(&refusal),
    }
}

const METHOD_OVERRIDE: HeaderName = HeaderName::from_static("x-http-method-override");

fn good(answer: Answer) -> HttpResponse {
    let mut response = json(StatusCode::OK, &Value::Object(answer.body));
    if let Some(warning) = answer.warning
        && let Ok(value) = HeaderValue::from_str(&format!("299 sandbox \"{warning}\""))
    {
        response.headers_mut().insert(header::WARNING, value);
    }
    response
}

/// The answer as a fault spoils it.
fn spoiled(fault: &Fault, request: &HttpRequest, done: impl FnOnce() -> HttpResponse) -> HttpResponse {
    if fault.after && (fault.reset || fault.status.is_some()) {
        drop(done());
    } else if !fault.reset && fault.status.is_none() {
        let response = done();
        return match (fault.garbage, fault.truncate) {
            (true, _) => marked(HttpResponse::Ok().content_type("application/json").body("<!doctype html><h1>oops")),
            (_, true) => truncated(response),
            _ => response,
        };
    }
    match fault.status {
        Some(code) => refused(&Refusal::injected(code, fault.retry_after)),
        None => {
            if let Some(socket) = request.conn_data::<Arc<Socket>>() {
                // Closed already is closed as well.
                drop(socket.0.shutdown(Shutdown::Both));
            }
            HttpResponse::ServiceUnavailable().force_close().finish()
        }
    }
}

/// Says the whole length, sends half and closes the connection.
fn truncated(response: HttpResponse) -> HttpResponse {
    let (response, body) = response.into_parts();
    let BodySize::Sized(length) = body.size() else { return response.set_body(actix_web::body::BoxBody::new(())) };
    let whole = body.try_into_bytes().unwrap_or_default();
    let half = whole.slice(..whole.len() / 2);
    // The half is sent while the stream waits; an error at once would take it back.
    let cut = async {
        actix_web::rt::time::sleep(std::time::Duration::from_millis(20)).await;
        Err(std::io::Error::other("cut short by the sandbox"))
    };
    let broken = stream::iter([Ok(half)]).chain(stream::once(Box::pin(cut)));
    response.set_body(actix_web::body::BoxBody::new(actix_web::body::SizedStream::new(length, broken)))
}

/// The routes, for an actix application.
pub(crate) fn routes(config: &mut web::ServiceConfig, body_limit: usize) {
    config.app_data(web::PayloadConfig::new(body_limit)).default_service(web::to(serve));
}
