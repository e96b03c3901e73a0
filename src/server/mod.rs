//! Routes, limits, and the small pages around the doors.

pub mod health;
pub mod numbers;

use std::net::SocketAddr;
use std::time::Duration;

use actix_web::dev::{Server, ServiceResponse};
use actix_web::http::{StatusCode, header};
use actix_web::middleware::{NormalizePath, from_fn};
use actix_web::{App, HttpResponse, HttpServer, web};
use tracing::Instrument;

use crate::config::server::ServerConfig;
use crate::receive::attestation::{self, Attestor};
use crate::receive::pubsub::{self, PushDoor};
use crate::receive::refusal::Refusal;
use crate::receive::webhook::{self, Webhook};
use crate::telemetry::metrics as names;
use crate::telemetry::trace::Traces;
use health::Health;
use numbers::Numbers;

/// What the server serves.
#[derive(Debug, Clone)]
pub struct Doors {
    /// `POST /events`.
    pub webhook: Webhook,
    /// `POST /pubsub/push`.
    pub push: PushDoor,
    /// `/readyz`.
    pub health: Health,
    /// `/attestation/...`, when it is switched on, and the codelab's path.
    pub attestation: Option<(Attestor, Option<String>)>,
    /// `/metrics`.
    pub numbers: Numbers,
    /// How the log lines of a request are marked.
    pub traces: Traces,
}

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}; is the port taken, or the address not this machine's?")]
pub struct ListenError {
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Binds and starts the server. Returns it with the address it really listens on.
///
/// # Errors
/// When the address cannot be bound.
pub fn start(config: &ServerConfig, doors: Doors) -> Result<(Server, SocketAddr), ListenError> {
    let listen_error = |source| ListenError { address: config.listen, source };
    let workers =
        config.workers.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, std::num::NonZero::get));
    let server = HttpServer::new(move || {
        let doors = doors.clone();
        App::new()
            .wrap(from_fn(count))
            .app_data(web::Data::new(doors.traces))
            // An address that was entered as `https://…/events/` is meant.
            .wrap(NormalizePath::trim())
            .app_data(web::Data::new(doors.webhook))
            .app_data(web::Data::new(doors.push))
            .app_data(web::Data::new(doors.health))
            .app_data(web::Data::new(doors.numbers))
            .configure(|config| attest(config, doors.attestation))
            .configure(routes)
    })
    .workers(workers)
    .keep_alive(config.keep_alive)
    .client_request_timeout(Duration::from_secs(15))
    .client_disconnect_timeout(Duration::from_secs(2))
    .shutdown_timeout(4)
    .disable_signals()
    .bind(config.listen)
    .map_err(listen_error)?;
    let address = server.addrs().first().copied().unwrap_or(config.listen);
    Ok((server.run(), address))
}

/// The attestation's routes; the codelab's path stands before all others, so that it may be `/`.
fn attest(config: &mut web::ServiceConfig, door: Option<(Attestor, Option<String>)>) {
    if let Some((attestor, codelab)) = door {
        config.app_data(web::Data::new(attestor));
        if let Some(path) = codelab {
            config.service(attestation::codelab(&path));
        }
        attestation::routes(config);
    }
}

fn routes(config: &mut web::ServiceConfig) {
    let doors = [("/events", web::post().to(webhook::events)), ("/pubsub/push", web::post().to(pubsub::push))];
    for (path, post) in doors {
        let door = web::resource(path).route(post);
        config.service(door.default_service(web::to(|| wrong_method("POST"))));
    }
    let pages = [
        ("/", web::get().to(page), web::head().to(page)),
        ("/healthz", web::get().to(health::alive), web::head().to(health::alive)),
        ("/readyz", web::get().to(health::ready), web::head().to(health::ready)),
        ("/health", web::get().to(health::original), web::head().to(health::original)),
        ("/metrics", web::get().to(numbers::page), web::head().to(numbers::page)),
        // App Engine's own questions.
        ("/_ah/{question}", web::get().to(health::alive), web::head().to(health::alive)),
    ];
    for (path, get, head) in pages {
        let page = web::resource(path).route(get).route(head);
        config.service(page.default_service(web::to(|| wrong_method("GET, HEAD"))));
    }
    config.default_service(web::to(nothing_here));
}

async fn page() -> HttpResponse {
    HttpResponse::Ok().content_type("text/html; charset=utf-8").body(concat!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>sysdig-scc</title>",
        "<p>sysdig-scc ",
        env!("CARGO_PKG_VERSION"),
        " is running. Events come in at <code>POST /events</code>; see <a href=\"readyz\">readyz</a> and ",
        "<a href=\"metrics\">metrics</a>.</p></html>\n"
    ))
}

async fn nothing_here() -> Result<HttpResponse, Refusal> {
    Err(Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing here; events go to POST /events"))
}

async fn wrong_method(allowed: &'static str) -> HttpResponse {
    use actix_web::ResponseError;
    let message = match allowed {
        "POST" => "events are sent with POST",
        _ => "this page is only read, with GET; events go to POST /events",
    };
    let mut answer = Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "wrong_method", message).error_response();
    answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    answer
}

async fn count(
    request: actix_web::dev::ServiceRequest,
    next: actix_web::middleware::Next<impl actix_web::body::MessageBody>,
) -> Result<ServiceResponse<impl actix_web::body::MessageBody>, actix_web::Error> {
    let route = match request.path() {
        "/events" => "/events",
        "/healthz" | "/readyz" | "/health" | "/metrics" | "/" => "health",
        path if path.starts_with("/pubsub/") => "/pubsub",
        path if path.starts_with("/attestation/") => "/attestation",
        _ => "other",
    };
    let span = request.app_data::<web::Data<Traces>>().and_then(|traces| traces.span(request.headers()));
    let answering = next.call(request);
    let answer = match span {
        Some(span) => answering.instrument(span).await?,
        None => answering.await?,
    };
    metrics::counter!(names::REQUESTS.name, "route" => route, "status" => status_label(answer.status())).increment(1);
    Ok(answer)
}

// Only statuses we answer with: a closed set, and no text is made per request.
fn status_label(status: StatusCode) -> &'static str {
    match status.as_u16() {
        200 => "200",
        204 => "204",
        400 => "400",
        401 => "401",
        403 => "403",
        404 => "404",
        405 => "405",
        408 => "408",
        409 => "409",
        413 => "413",
        415 => "415",
        429 => "429",
        500 => "500",
        503 => "503",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::Method;
    use actix_web::test::{TestRequest, call_service, init_service};

    use super::*;
    use crate::config::server::{ROUTES, taken};

    #[tokio::test]
    async fn every_route_is_known_to_be_taken_and_is_there() {
        let app = init_service(App::new().configure(attestation::routes).configure(routes)).await;
        let below = |route: &str| match route {
            "/attestation/" => "/attestation/verify".to_owned(),
            route => format!("{route}{}", if route.ends_with('/') { "warmup" } else { "" }),
        };
        for route in ROUTES {
            let request = TestRequest::with_uri(&below(route)).method(Method::DELETE).to_request();
            let status = call_service(&app, request).await.status();
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{route} is there, and takes no DELETE");
            assert_eq!(taken(&below(route)), Some(route));
        }
        for free in ["/", "/secret", "/metrics/secret", "/healthz2"] {
            assert_eq!(taken(free), None);
        }
    }
}
