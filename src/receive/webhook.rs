//! `POST /events`: every Sysdig shape and Falco. Checks the sender, reads the body, hands it on, answers.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use chrono::Utc;
use flate2::read::MultiGzDecoder;

use super::{Door, Intake, client, sender::Senders};
use crate::normalize::{self, Element, NormalizeError};
use crate::server::refusal::Refusal;
use crate::telemetry::metrics as names;

/// A sender that dawdles longer than this over its body is told so.
const BODY_TIME: Duration = Duration::from_secs(60);
/// Bodies beyond this are read on a thread of their own, so that other requests on this one need not wait.
const LARGE: usize = 256 * 1024;

/// What the door needs.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where elements go.
    pub intake: Intake,
    /// Who may speak.
    pub senders: Arc<Senders>,
    /// How far to trust forwarding headers.
    pub trusted_hops: usize,
    /// The largest body, for the answer's text; the limit itself is the server's.
    pub body_limit: usize,
}

/// The handler.
///
/// # Errors
/// 400, 401, 408, 413, 415, 429 or 503, each with a clear body.
pub async fn events(
    door: web::Data<Webhook>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal> {
    door.admit(&request)?;
    let body = door.read(&request, payload).await?;
    let elements = parse(body).await?;
    let receipt = door.intake.take(Door::Webhook, elements).await.map_err(Refusal::from)?;
    Ok(HttpResponse::Ok().json(receipt))
}

impl Webhook {
    fn admit(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let address = client::address(request.headers(), request.peer_addr(), self.trusted_hops);
        let header = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
        self.senders.check(header, address).map_err(|refused| {
            metrics::counter!(names::UNAUTHENTICATED.name, "reason" => refused.label()).increment(1);
            tracing::debug!(reason = refused.label(), %address, "a request to /events was refused");
            Refusal::from(refused)
        })
    }

    async fn read(&self, request: &HttpRequest, payload: web::Payload) -> Result<web::Bytes, Refusal> {
        let encoding =
            request.headers().get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let known = encoding.trim().is_empty()
            || ["identity", "gzip", "x-gzip", "deflate"]
                .iter()
                .any(|known| encoding.trim().eq_ignore_ascii_case(known));
        if !known {
            return Err(Refusal::unsupported_encoding());
        }
        // `x-gzip` is the old name.
        let is_gzip = ["gzip", "x-gzip"].iter().any(|gzip| encoding.trim().eq_ignore_ascii_case(gzip));
        let reading =
            async { if is_gzip { self.read_gzip(payload).await } else { self.read_plain(request, payload).await } };
        tokio::time::timeout(BODY_TIME, reading).await.unwrap_or_else(|_| Err(Refusal::too_slow()))
    }

    async fn read_plain(&self, request: &HttpRequest, payload: web::Payload) -> Result<web::Bytes, Refusal> {
        let body = web::Bytes::from_request(request, &mut payload.into_inner()).await;
        body.map_err(|error| match error.as_response_error().status_code().as_u16() {
            413 => Refusal::too_large(self.body_limit),
            _ => Refusal::unreadable_body(),
        })
    }

    // The framework reads the first member of a gzip file only, and takes what follows for an error.
    async fn read_gzip(&self, payload: web::Payload) -> Result<web::Bytes, Refusal> {
        let limit = self.body_limit;
        let packed = payload.to_bytes_limited(limit).await.map_err(|_| Refusal::too_large(limit))?;
        let packed = packed.map_err(|_| Refusal::unreadable_body())?;
        // Even a small one may unpack to the largest body.
        let unpacked = tokio::task::spawn_blocking(move || unpacked(&packed, limit)).await;
        unpacked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic())).map_err(|why| match why {
            Unpacking::TooLarge => Refusal::too_large(limit),
            Unpacking::Broken => Refusal::unreadable_body(),
        })
    }
}

/// All members of a gzip file (RFC 1952 §2.2), as long as they hold no more than `limit` bytes together.
fn unpacked(packed: &[u8], limit: usize) -> Result<web::Bytes, Unpacking> {
    let mut plain = Vec::with_capacity(packed.len().saturating_mul(4).min(limit));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    MultiGzDecoder::new(packed).take(most).read_to_end(&mut plain).map_err(|_| Unpacking::Broken)?;
    if plain.len() > limit { Err(Unpacking::TooLarge) } else { Ok(plain.into()) }
}

/// Why a gzip file cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unpacking {
    TooLarge,
    Broken,
}

async fn parse(body: web::Bytes) -> Result<Vec<Element>, NormalizeError> {
    if body.len() < LARGE {
        return normalize::delivery(&body, Utc::now());
    }
    let parsed = tokio::task::spawn_blocking(move || normalize::delivery(&body, Utc::now())).await;
    parsed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
