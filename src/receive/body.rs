//! Taking a request's body in: in bounded time and size, and read without keeping other requests waiting.

use std::time::Duration;

use actix_web::http::header;
use actix_web::{HttpRequest, web};

use super::room::LARGE;
use crate::receive::refusal::Refusal;

/// A sender that dawdles longer than this over its body is told so.
const BODY_TIME: Duration = Duration::from_secs(60);

/// How many bytes the request says it has, at most `limit`. Of what does not say its size, as of what will be refused
/// for it, nothing is known before it is here: that is none.
pub(super) fn announced(request: &HttpRequest, limit: usize) -> usize {
    length(request).filter(|bytes| *bytes <= limit).unwrap_or_default()
}

fn length(request: &HttpRequest) -> Option<usize> {
    request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok())
}

/// What `reading` gives, in time.
pub(super) async fn in_time<T>(reading: impl Future<Output = Result<T, Refusal>>) -> Result<T, Refusal> {
    tokio::time::timeout(BODY_TIME, reading).await.unwrap_or_else(|_| Err(Refusal::too_slow()))
}

/// The whole body as it was sent, or why not. Of one that says it is too large nothing is read.
pub(super) async fn whole(
    request: &HttpRequest,
    payload: web::Payload,
    limit: usize,
    too_large: Refusal,
) -> Result<web::Bytes, Refusal> {
    if length(request).is_some_and(|bytes| bytes > limit) {
        return Err(too_large);
    }
    match payload.to_bytes_limited(limit).await {
        Ok(body) => body.map_err(|_| Refusal::unreadable_body()),
        Err(_) => Err(too_large),
    }
}

/// What `parse` makes of the body. A large one is read on a thread of its own, so that other requests on this one need
/// not wait.
pub(super) async fn parsed<T: Send + 'static>(body: web::Bytes, parse: fn(&[u8]) -> T) -> T {
    if body.len() < LARGE {
        return parse(&body);
    }
    let parsed = tokio::task::spawn_blocking(move || parse(&body)).await;
    parsed.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}
