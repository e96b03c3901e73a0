//! Callers that a door refused. Each address is told at once, and then every ten minutes with how often; what it showed
//! never is.

use std::fmt::Display;
use std::net::IpAddr;
use std::time::Duration;

use actix_web::HttpRequest;
use chrono::{DateTime, Utc};

use super::client;
use crate::telemetry::summed::{Sum, Summed};

const EVERY: Duration = Duration::from_secs(600);
/// More addresses than these are told together.
const MOST: usize = 100;

/// Who was refused lately.
#[derive(Debug)]
pub struct Strangers {
    trusted_hops: usize,
    seen: Summed<(&'static str, IpAddr)>,
}

impl Strangers {
    /// Nobody yet. `trusted_hops`: how far to trust forwarding headers.
    pub fn new(trusted_hops: usize) -> Self {
        Self { trusted_hops, seen: Summed::new(EVERY, MOST) }
    }

    /// A request was refused at `door`. `why` must not hold anything that the caller showed.
    pub fn refused(&self, door: &'static str, request: &HttpRequest, why: &dyn Display, now: DateTime<Utc>) {
        let address = client::address(request.headers(), request.peer_addr(), self.trusted_hops);
        let reason = why.to_string();
        tracing::debug!(door, %address, reason, "a request was refused");
        if let Some(sum) = self.seen.add((door, client::key(address)), &reason, now) {
            tell(&sum);
        }
    }

    /// Tells of those who did not come again.
    pub fn tell_rest(&self, now: DateTime<Utc>) {
        self.seen.rest(now).iter().for_each(tell);
    }
}

fn tell(Sum { key, count, last }: &Sum<(&'static str, IpAddr)>) {
    match key {
        Some((door, address)) => {
            tracing::warn!(door, %address, requests = count, reason = last, "requests from this address were refused");
        }
        None => tracing::warn!(requests = count, reason = last, "requests from further addresses were refused"),
    }
}
