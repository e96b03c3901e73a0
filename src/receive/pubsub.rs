//! `POST /pubsub/push`: one Pub/Sub message a request, in its wrapper or without.
//!
//! 204 means that the message is ours: its entry is durable, or it is none of our business, or it can never be read
//! and is kept as parked. A message that cannot be read must not be refused, as Pub/Sub would send it for days.

use std::sync::Arc;

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::entries::Entries;
use super::pubsub_token::{Refused, Verifier};
use super::room::Rooms;
use super::strangers::Strangers;
use super::{Door, Intake, body};
use crate::attest::key_source::{FetchError, KeySource};
use crate::config::pubsub::Push;
use crate::integrity::envelope::{self, Item};
use crate::receive::refusal::Refusal;
use crate::telemetry::metrics as names;

/// Pub/Sub's messages have at most 10 MB, a third more in base64, and a little around.
pub const LARGEST_PUSH: usize = 16 * 1024 * 1024;

/// What the door needs.
#[derive(Debug, Clone)]
pub struct PushDoor {
    /// Where entries go.
    pub intake: Intake,
    /// Reads entries.
    pub entries: Entries,
    /// Who may push.
    pub guard: Guard,
    /// Who was refused lately.
    pub strangers: Arc<Strangers>,
    /// How much of large bodies is in memory at once, shared with `/events`.
    pub rooms: Arc<Rooms>,
}

/// Who may push.
#[derive(Debug, Clone)]
pub enum Guard {
    /// Nobody.
    Closed,
    /// Anybody.
    Open,
    /// Whoever has a token.
    Token(Arc<Verifier>),
}

impl Guard {
    /// The guard that the settings ask for.
    ///
    /// # Errors
    /// When no keys can be asked for at the address that is set.
    pub fn new(push: &Push) -> Result<Self, FetchError> {
        Ok(match push {
            Push::Closed => Self::Closed,
            Push::Unverified => Self::Open,
            Push::Verified(token) => Self::Token(Arc::new(Verifier::new(token.clone())?)),
        })
    }

    /// The keys that it verifies with, to be kept fresh.
    pub fn keys(&self) -> Option<KeySource> {
        match self {
            Self::Token(verifier) => Some(verifier.keys().clone()),
            Self::Closed | Self::Open => None,
        }
    }

    async fn admit(&self, headers: &HeaderMap, now: DateTime<Utc>) -> Result<(), Refused> {
        let authorization = headers.get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
        match self {
            Self::Closed => Err(Refused::Closed),
            // Pub/Sub sends none. A page may send any body to an address that only its reader can reach.
            _ if headers.contains_key(header::ORIGIN) => Err(Refused::Browser),
            Self::Open => Ok(()),
            Self::Token(verifier) => verifier.check(authorization, now).await.map(drop),
        }
    }
}

/// The handler.
///
/// # Errors
/// 401 or 403 for a token that will not do, 403 for a page in a browser, 413 beyond [`LARGEST_PUSH`], 408, 503 when nothing can be written down, when
/// there is no room, or when a token cannot be verified now: each time Pub/Sub sends it again.
pub async fn push(
    door: web::Data<PushDoor>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal> {
    let now = Utc::now();
    door.guard.admit(request.headers(), now).await.map_err(|refused| {
        // That keys cannot be had is no fault of who called.
        if !refused.is_ours() {
            door.strangers.refused("/pubsub/push", &request, &refused, now);
        }
        refusal(refused)
    })?;
    let _arrived = door.rooms.arriving.take(body::announced(&request, LARGEST_PUSH)).await?;
    let body = body::in_time(body::whole(&request, payload, LARGEST_PUSH, too_large())).await?;
    let _at_work = door.rooms.at_work.take(body.len()).await?;
    let item = body::parsed(body, item).await;
    let elements = door.entries.elements(item, now).await.map_err(Refusal::from)?;
    door.intake.take(Door::Pubsub, elements).await.map_err(Refusal::from)?;
    Ok(HttpResponse::NoContent().finish())
}

/// What a push's body holds: told by its contents, as an unwrapped push may come without any header of its own.
pub fn item(body: &[u8]) -> Item {
    match serde_json::from_slice::<Value>(body) {
        Ok(json) if envelope::is_wrapped(&json) => envelope::message(&json["message"]),
        Ok(json) => Item::Entry(json),
        Err(_) => envelope::data_of(body),
    }
}

fn too_large() -> Refusal {
    let message = format!("the push is larger than {LARGEST_PUSH} bytes, which Pub/Sub's never are");
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
}

fn refusal(refused: Refused) -> Refusal {
    metrics::counter!(names::PUSH_REFUSED.name, "reason" => refused.label()).increment(1);
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    Refusal::new(status, refused.label(), refused.to_string())
}
