//! `POST /events`: every Sysdig shape and Falco. Checks the sender, reads the body, hands it on, answers.

use std::io::Read;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use chrono::Utc;
use flate2::read::MultiGzDecoder;

use super::room::{LARGE, Place, Rooms, shrink};
use super::{Door, Intake, body, client, sender::Senders, strangers::Strangers};
use crate::normalize;
use crate::receive::refusal::Refusal;
use crate::telemetry::metrics as names;

/// What the door needs.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Where elements go.
    pub intake: Intake,
    /// Who may speak.
    pub senders: Arc<Senders>,
    /// Who was refused lately.
    pub strangers: Arc<Strangers>,
    /// How far to trust forwarding headers.
    pub trusted_hops: usize,
    /// The largest body, for the answer's text; the limit itself is the server's.
    pub body_limit: usize,
    /// How much of large bodies is in memory at once.
    pub rooms: Arc<Rooms>,
}

/// A body, and the places it has until it is answered.
struct Body<'a> {
    bytes: web::Bytes,
    _arrived: Place<'a>,
    _at_work: Place<'a>,
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
    let told = |refusal: Refusal| {
        // The sender may be one that looks at no answer, as Falco.
        if refusal.is_about_body() {
            door.strangers.refused("/events", &request, &refusal, Utc::now());
        }
        refusal
    };
    let Body { bytes, _arrived, _at_work } = door.read(&request, payload).await.map_err(told)?;
    let elements = body::parsed(bytes, |bytes| normalize::delivery(bytes, Utc::now())).await;
    let elements = elements.map_err(|error| told(error.into()))?;
    let receipt = door.intake.take(Door::Webhook, elements).await.map_err(Refusal::from)?;
    Ok(HttpResponse::Ok().json(receipt))
}

impl Webhook {
    fn admit(&self, request: &HttpRequest) -> Result<(), Refusal> {
        let address = client::address(request.headers(), request.peer_addr(), self.trusted_hops);
        let header = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
        self.senders.check(header, address).map_err(|refused| {
            metrics::counter!(names::UNAUTHENTICATED.name, "reason" => refused.label()).increment(1);
            self.strangers.refused("/events", request, &refused, Utc::now());
            Refusal::from(refused)
        })
    }

    async fn read(&self, request: &HttpRequest, payload: web::Payload) -> Result<Body<'_>, Refusal> {
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
        let _arrived = self.rooms.arriving.take(body::announced(request, self.body_limit)).await?;
        let reading =
            async { if is_gzip { self.read_packed(payload).await } else { self.read_plain(request, payload).await } };
        let bytes = body::in_time(reading).await?;
        let (bytes, _at_work) = if is_gzip {
            self.unpack(bytes).await?
        } else {
            let place = self.rooms.at_work.take(bytes.len()).await?;
            (bytes, place)
        };
        Ok(Body { bytes, _arrived, _at_work })
    }

    async fn read_plain(&self, request: &HttpRequest, payload: web::Payload) -> Result<web::Bytes, Refusal> {
        let body = web::Bytes::from_request(request, &mut payload.into_inner()).await;
        body.map_err(|error| match error.as_response_error().status_code().as_u16() {
            413 => Refusal::too_large(self.body_limit),
            _ => Refusal::unreadable_body(),
        })
    }

    // The framework reads the first member of a gzip file only, and takes what follows for an error.
    async fn read_packed(&self, payload: web::Payload) -> Result<web::Bytes, Refusal> {
        body::whole(payload, self.body_limit, Refusal::too_large(self.body_limit)).await
    }

    /// How large it becomes is only known when it is: what turns out to be large waits for room for the largest.
    async fn unpack(&self, packed: web::Bytes) -> Result<(web::Bytes, Place<'_>), Refusal> {
        let limit = self.body_limit;
        if limit > LARGE {
            match unpacked(packed.clone(), LARGE - 1).await {
                Ok(bytes) => return Ok((bytes, None)),
                Err(Unpacking::Broken) => return Err(Refusal::unreadable_body()),
                Err(Unpacking::TooLarge) => {}
            }
        }
        let place = self.rooms.at_work.take(limit).await?;
        match unpacked(packed, limit).await {
            Ok(bytes) => {
                let place = shrink(place, bytes.len());
                Ok((bytes, place))
            }
            Err(Unpacking::TooLarge) => Err(Refusal::too_large(limit)),
            Err(Unpacking::Broken) => Err(Refusal::unreadable_body()),
        }
    }
}

// Even a small one may unpack to the largest body.
async fn unpacked(packed: web::Bytes, limit: usize) -> Result<web::Bytes, Unpacking> {
    let unpacked = tokio::task::spawn_blocking(move || unpack(&packed, limit)).await;
    unpacked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// All members of a gzip file (RFC 1952 §2.2), as long as they hold no more than `limit` bytes together.
fn unpack(packed: &[u8], limit: usize) -> Result<web::Bytes, Unpacking> {
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
