//! The attestation door: challenges, verdicts, and secrets for those who attest.
//!
//! `POST /attestation/challenge` · `POST /attestation/verify` · `GET|POST /attestation/secrets/{name}` · and the
//! codelab's path. Every answer is `no-store`; a refusal has a stable code and no claim values.

mod answers;
mod asked;
mod checked;
mod decision;
mod fault;
mod issuers;
pub mod journal;
mod judging;
mod logged;
mod memory;
mod release;
pub mod secrets;
mod service;
mod telling;
mod unsigned;
mod used;
mod verdict;
mod wiped;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, HttpResponseBuilder, web};
use asked::Asked;
use chrono::Utc;
use secrecy::ExposeSecret;
use serde_json::json;
use wiped::Wiped;

pub use answers::{Refused, Released, Shown, Verdict};
pub use fault::BuildError;
pub(crate) use issuers::{SEVERAL, fetched, owner, stand_in};
pub use logged::Later;
pub use secrets::{Resolver, Secrets};
pub use service::{Attestor, Parts};

use super::client;
use crate::attest::reason::{LIMIT, Reason};

/// The largest body: a token, and a public key beside it.
const BODY: usize = LIMIT + (16 << 10);

/// The routes. The application holds an [`Attestor`] in its data.
pub fn routes(config: &mut web::ServiceConfig) {
    config
        .service(
            web::resource("/attestation/challenge")
                .app_data(limit())
                .route(web::post().to(challenge))
                .default_service(web::to(|| wrong_method("POST"))),
        )
        .service(
            web::resource("/attestation/verify")
                .app_data(limit())
                .route(web::post().to(verify))
                .default_service(web::to(|| wrong_method("POST"))),
        )
        .service(
            web::resource("/attestation/secrets/{name}")
                .app_data(limit())
                .route(web::get().to(secret))
                .route(web::post().to(secret))
                .default_service(web::to(|| wrong_method("GET, POST"))),
        );
}

/// The codelab's path: a GET is answered with the secret, or why not; other methods by what else is there.
pub fn codelab(path: &str) -> actix_web::Resource {
    web::resource(path.to_owned()).guard(actix_web::guard::Get()).route(web::get().to(codelab_secret))
}

fn limit() -> web::PayloadConfig {
    web::PayloadConfig::new(BODY)
}

async fn challenge(
    attestor: web::Data<Attestor>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> HttpResponse {
    let asked = match asked(&request, body, asked::CHALLENGE) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let purpose = match (asked.secret, asked.purpose) {
        (Some(secret), _) => format!("secret:{secret}"),
        (None, Some(purpose)) => purpose,
        (None, None) => return refuse(400, "purpose_missing", "say what the challenge is for: {\"secret\": \"NAME\"}"),
    };
    match attestor.challenge(&purpose, &address(&attestor, &request), Utc::now()) {
        Ok((nonce, expires)) => {
            no_store(HttpResponse::Ok()).json(json!({"nonce": nonce, "purpose": purpose, "expires_at": expires}))
        }
        Err(refused) => refusal(&refused),
    }
}

async fn verify(
    attestor: web::Data<Attestor>,
    request: HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
) -> HttpResponse {
    let asked = match asked(&request, body, asked::TOKEN) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    let token = match token(&request, &asked) {
        Ok(token) => token,
        Err(answer) => return answer,
    };
    match attestor.verify(token, asked.policy.as_deref(), &address(&attestor, &request), Utc::now()).await {
        Ok(verdict) => no_store(HttpResponse::Ok()).json(verdict),
        Err(refused) => refusal(&refused),
    }
}

async fn secret(
    attestor: web::Data<Attestor>,
    request: HttpRequest,
    name: web::Path<String>,
    body: Result<web::Bytes, actix_web::Error>,
) -> HttpResponse {
    let asked = match asked(&request, body, asked::TOKEN) {
        Ok(asked) => asked,
        Err(answer) => return answer,
    };
    release(&attestor, &request, &name, asked).await
}

async fn codelab_secret(attestor: web::Data<Attestor>, request: HttpRequest) -> HttpResponse {
    let Some(name) = attestor.codelab().map(str::to_owned) else {
        return refuse(404, "not_found", "there is nothing here");
    };
    if !request.headers().contains_key(header::AUTHORIZATION) {
        // In the words of the codelab's server.
        return unauthorized("Bearer")
            .json(json!({"error": {"code": Reason::TokenMissing.code(), "message": "Authorization token required"}}));
    }
    match asked(&request, Ok(web::Bytes::new()), asked::TOKEN) {
        Ok(asked) => release(&attestor, &request, &name, asked).await,
        Err(answer) => answer,
    }
}

fn unauthorized(challenge: &str) -> HttpResponseBuilder {
    let mut builder = no_store(HttpResponse::Unauthorized());
    builder.insert_header((header::WWW_AUTHENTICATE, challenge));
    builder
}

async fn release(attestor: &Attestor, request: &HttpRequest, name: &str, asked: Asked) -> HttpResponse {
    let token = match token(request, &asked) {
        Ok(token) => token,
        Err(answer) => return answer,
    };
    let shown = Shown { token, public_key: asked.public_key.as_deref() };
    match attestor.release(name, shown, &address(attestor, request), Utc::now()).await {
        Ok(Released::Plain(value)) => {
            let text = std::str::from_utf8(value.expose_secret()).is_ok();
            let kind = if text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
            no_store(HttpResponse::Ok()).content_type(kind).body(Wiped::new(value))
        }
        Ok(Released::Sealed(jwe)) => no_store(HttpResponse::Ok()).content_type("application/jose").body(jwe),
        Err(refused) => refusal(&refused),
    }
}

fn address(attestor: &Attestor, request: &HttpRequest) -> std::net::IpAddr {
    client::address(request.headers(), request.peer_addr(), attestor.trusted_hops())
}

/// What a request asks for, by its query, which there is none of, and its body.
#[allow(clippy::result_large_err, reason = "the answer itself, on the way out")]
fn asked(
    request: &HttpRequest,
    body: Result<web::Bytes, actix_web::Error>,
    form: &'static str,
) -> Result<Asked, HttpResponse> {
    let body = body.map_err(|error| match error.as_response_error().status_code() {
        StatusCode::PAYLOAD_TOO_LARGE => refuse(413, "too_large", "the body is larger than a token and a key can be"),
        _ => refuse(400, "unreadable_body", "the body could not be read to its end"),
    })?;
    let read = asked::no_query(request.query_string()).and_then(|()| Asked::read(&body, form));
    read.map_err(|error| refuse(400, error.code(), &error.to_string()))
}

/// The token of the body, else of the Authorization header.
#[allow(clippy::result_large_err, reason = "the answer itself, on the way out")]
fn token<'t>(request: &'t HttpRequest, asked: &'t Asked) -> Result<&'t str, HttpResponse> {
    if let Some(token) = &asked.token {
        return Ok(token.trim());
    }
    let mut headers = request.headers().get_all(header::AUTHORIZATION);
    let missing = || {
        let refused = Refused::Token(Reason::TokenMissing);
        refusal(&refused)
    };
    let (Some(value), None) = (headers.next(), headers.next()) else { return Err(missing()) };
    let text = value.to_str().map_err(|_| missing())?;
    match text.trim().split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(missing()),
    }
}

fn no_store(mut builder: HttpResponseBuilder) -> HttpResponseBuilder {
    builder
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"));
    builder
}

fn refuse(status: u16, code: &str, message: &str) -> HttpResponse {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    no_store(HttpResponseBuilder::new(status)).json(json!({"error": {"code": code, "message": message}}))
}

fn refusal(refused: &Refused) -> HttpResponse {
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut builder = no_store(HttpResponseBuilder::new(status));
    if status == StatusCode::UNAUTHORIZED {
        let challenge = match refused {
            Refused::Token(Reason::TokenMissing) => "Bearer".to_owned(),
            _ => format!("Bearer error=\"invalid_token\", error_description=\"{}\"", refused.code()),
        };
        builder.insert_header((header::WWW_AUTHENTICATE, challenge));
    }
    if let Some(wait) = refused.retry_after() {
        builder.insert_header((header::RETRY_AFTER, wait.as_secs().max(1).to_string()));
    }
    builder.json(json!({"error": {"code": refused.code(), "message": refused.to_string()}}))
}

async fn wrong_method(allowed: &'static str) -> HttpResponse {
    let told = "challenges and verdicts are asked for with POST, secrets with GET or POST";
    let mut answer = refuse(405, "wrong_method", told);
    answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    answer
}
