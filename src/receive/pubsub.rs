//! `POST /pubsub/push`: one Pub/Sub message a request, in its wrapper or without.
//!
//! 204 means that the message is ours: its entry is durable, or it is none of our business, or it can never be read
//! and is kept as parked. A message that cannot be read must not be refused, as Pub/Sub would send it for days.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, web};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::entries::Entries;
use super::pubsub_token::{Refused, Verifier};
use super::{Door, Intake, strangers::Strangers};
use crate::config::pubsub::Push;
use crate::integrity::envelope::{self, Item};
use crate::server::refusal::Refusal;
use crate::telemetry::metrics as names;

/// Pub/Sub's messages have at most 10 MB, a third more in base64, and a little around.
pub const LARGEST_PUSH: usize = 16 * 1024 * 1024;
/// A push that dawdles longer than this is told so.
const BODY_TIME: Duration = Duration::from_secs(60);

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
    pub fn new(push: &Push, http: reqwest::Client) -> Self {
        match push {
            Push::Closed => Self::Closed,
            Push::Unverified => Self::Open,
            Push::Verified(token) => Self::Token(Arc::new(Verifier::new(token.clone(), http))),
        }
    }

    async fn admit(&self, authorization: Option<&[u8]>, now: DateTime<Utc>) -> Result<(), Refused> {
        match self {
            Self::Closed => Err(Refused::Closed),
            Self::Open => Ok(()),
            Self::Token(verifier) => verifier.check(authorization, now).await.map(drop),
        }
    }
}

/// The handler.
///
/// # Errors
/// 401 or 403 for a token that will not do, 413 beyond [`LARGEST_PUSH`], 408, 503 when nothing can be
/// written down, or a logged token cannot be verified: both times Pub/Sub sends it again.
pub async fn push(
    door: web::Data<PushDoor>,
    request: HttpRequest,
    payload: web::Payload,
) -> Result<HttpResponse, Refusal> {
    let now = Utc::now();
    let authorization = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes);
    door.guard.admit(authorization, now).await.map_err(|refused| {
        door.strangers.refused("/pubsub/push", &request, &refused, now);
        refusal(refused)
    })?;
    let body = read(payload).await?;
    let elements = door.entries.elements(item(&body), now).await.map_err(|_| Refusal::no_keys())?;
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

async fn read(payload: web::Payload) -> Result<web::Bytes, Refusal> {
    match tokio::time::timeout(BODY_TIME, payload.to_bytes_limited(LARGEST_PUSH)).await {
        Ok(Ok(Ok(body))) => Ok(body),
        Ok(Ok(Err(_))) => Err(Refusal::unreadable_body()),
        Ok(Err(_)) => {
            let message = format!("the push is larger than {LARGEST_PUSH} bytes, which Pub/Sub's never are");
            Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message))
        }
        Err(_) => Err(Refusal::too_slow()),
    }
}

fn refusal(refused: Refused) -> Refusal {
    metrics::counter!(names::PUSH_REFUSED.name, "reason" => refused.label()).increment(1);
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::UNAUTHORIZED);
    Refusal::new(status, refused.label(), refused.to_string())
}
