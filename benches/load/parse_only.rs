//! The least server with our parser: checks the token, parses, normalises, answers. No metrics, no time limits, nothing
//! written down: beside `nothing` it tells what the connector's own server adds.

use std::net::Ipv4Addr;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use chrono::Utc;
use sysdig_scc::normalize;
use sysdig_scc::receive::Receipt;
use sysdig_scc::receive::sender::Senders;

/// The argument by which the program calls itself.
pub(crate) const WORD: &str = "parse-only";

pub(crate) fn serve(port: u16, token: &str) {
    let senders = Arc::new(Senders::new(&[token.into()], 60));
    let server = HttpServer::new(move || {
        App::new()
            .app_data(web::Data::from(Arc::clone(&senders)))
            .app_data(web::PayloadConfig::new(8 << 20))
            .route("/events", web::post().to(events))
            .route("/healthz", web::get().to(HttpResponse::Ok))
    });
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let server = server.workers(cores).bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    actix_web::rt::System::new().block_on(server.run()).unwrap();
}

async fn events(senders: web::Data<Senders>, request: HttpRequest, body: web::Bytes) -> HttpResponse {
    let token = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    let peer = request.peer_addr().map_or(Ipv4Addr::LOCALHOST.into(), |peer| peer.ip());
    if senders.check(token, peer).is_err() {
        return HttpResponse::Unauthorized().finish();
    }
    match normalize::delivery(&body, Utc::now()) {
        Ok(elements) => HttpResponse::Ok().json(Receipt { accepted: elements.len() as u64, ..Receipt::default() }),
        Err(error) => HttpResponse::BadRequest().body(error.to_string()),
    }
}
