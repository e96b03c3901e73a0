//! `POST /events`: every Sysdig shape and Falco. Checks the sender, reads the body, hands it on, answers.

use std::io::Read;
use std::sync::Arc;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::Utc;
use flate2::read::{MultiGzDecoder, ZlibDecoder};

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
    /// The largest body, as it was sent and as it is unpacked.
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
        let encoding = request.headers().get(header::CONTENT_ENCODING).and_then(|value| value.to_str().ok());
        let packed = Packed::named(encoding.unwrap_or_default()).ok_or_else(Refusal::unsupported_encoding)?;
        let limit = self.body_limit;
        let _arrived = self.rooms.arriving.take(body::announced(request, limit)).await?;
        let bytes = body::in_time(body::whole(request, payload, limit, Refusal::too_large(limit))).await?;
        let (bytes, _at_work) = match packed {
            Packed::No => {
                let place = self.rooms.at_work.take(bytes.len()).await?;
                (bytes, place)
            }
            Packed::Gzip | Packed::Deflate => self.unpack(packed, bytes).await?,
        };
        Ok(Body { bytes, _arrived, _at_work })
    }

    /// How large it becomes is only known when it is: what turns out to be large waits for room for the largest.
    async fn unpack(&self, packed: Packed, bytes: web::Bytes) -> Result<(web::Bytes, Place<'_>), Refusal> {
        let limit = self.body_limit;
        if limit > LARGE {
            match unpacked(packed, bytes.clone(), LARGE - 1).await {
                Ok(bytes) => return Ok((bytes, None)),
                Err(Unpacking::Broken) => return Err(Refusal::unreadable_body()),
                Err(Unpacking::TooLarge) => {}
            }
        }
        let place = self.rooms.at_work.take(limit).await?;
        match unpacked(packed, bytes, limit).await {
            Ok(bytes) => {
                let place = shrink(place, bytes.len());
                Ok((bytes, place))
            }
            Err(Unpacking::TooLarge) => Err(Refusal::too_large(limit)),
            Err(Unpacking::Broken) => Err(Refusal::unreadable_body()),
        }
    }
}

/// How a body is packed, by its `Content-Encoding`.
///
/// The framework would unpack too, but before there is room for what comes out, and of a gzip file the first member
/// only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packed {
    No,
    Gzip,
    Deflate,
}

impl Packed {
    /// `None`: none that we can undo. `x-gzip` is the old name.
    fn named(encoding: &str) -> Option<Self> {
        match encoding.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::No),
            "gzip" | "x-gzip" => Some(Self::Gzip),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }
}

// Even a small one may unpack to the largest body.
async fn unpacked(packed: Packed, bytes: web::Bytes, limit: usize) -> Result<web::Bytes, Unpacking> {
    let unpacked = tokio::task::spawn_blocking(move || match packed {
        Packed::No => Ok(bytes),
        // All members of the file (RFC 1952 §2.2).
        Packed::Gzip => read(MultiGzDecoder::new(&*bytes), bytes.len(), limit),
        // In zlib's format (RFC 9110 §8.4.1.2).
        Packed::Deflate => read(ZlibDecoder::new(&*bytes), bytes.len(), limit),
    });
    unpacked.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// All that `plain` gives of so many packed bytes, as long as it is no more than `limit` bytes.
fn read(plain: impl Read, packed: usize, limit: usize) -> Result<web::Bytes, Unpacking> {
    let mut bytes = Vec::with_capacity(packed.saturating_mul(4).min(limit));
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    plain.take(most).read_to_end(&mut bytes).map_err(|_| Unpacking::Broken)?;
    if bytes.len() > limit { Err(Unpacking::TooLarge) } else { Ok(bytes.into()) }
}

/// Why a packed body cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unpacking {
    TooLarge,
    Broken,
}
