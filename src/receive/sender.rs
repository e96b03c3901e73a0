//! Who may speak at `POST /events`: a token in any of four header forms, compared in constant time.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use governor::clock::{Clock, DefaultClock};
use governor::{Quota, RateLimiter};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use crate::calls::shown_token;

/// Why a caller was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no `Authorization` header.
    #[error(
        "no Authorization header; send `Authorization: Bearer TOKEN` with the token that WEBHOOK_AUTHENTICATION_TOKEN holds"
    )]
    Missing,
    /// The header has none of the four forms.
    #[error(
        "the Authorization header is in none of the forms `TOKEN`, `Bearer TOKEN`, `CSCC TOKEN`, `Basic BASE64(USER:TOKEN)`"
    )]
    Malformed,
    /// The token is not one of ours.
    #[error("the token is not valid here; it must be (one of) WEBHOOK_AUTHENTICATION_TOKEN")]
    Wrong,
    /// Too many failures from this address.
    #[error("too many requests without a valid token from this address; try again later")]
    Throttled(Duration),
}

impl Refused {
    /// Every label there is.
    pub const LABELS: [&str; 4] = ["missing", "malformed", "wrong", "throttled"];

    /// The metric label and the stable code in the answer.
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::Wrong => "wrong",
            Self::Throttled(_) => "throttled",
        }
    }
}

/// The valid tokens, as hashes: all of one length, so that a comparison tells nothing, not even how long they are.
pub struct Senders {
    valid: Vec<[u8; 32]>,
    failures: RateLimiter<IpAddr, governor::state::keyed::DefaultKeyedStateStore<IpAddr>, DefaultClock>,
}

impl std::fmt::Debug for Senders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Senders").field("valid", &self.valid.len()).finish_non_exhaustive()
    }
}

impl Senders {
    /// The holders of these tokens; others may fail so many times a minute and address before they are slowed.
    pub fn new(tokens: &[SecretString], failures_per_minute: u32) -> Self {
        let quota = Quota::per_minute(NonZeroU32::new(failures_per_minute).unwrap_or(NonZeroU32::MIN));
        let valid = tokens.iter().map(|token| Sha256::digest(token.expose_secret().as_bytes()).into()).collect();
        Self { valid, failures: RateLimiter::keyed(quota) }
    }

    /// Whether the holder of this header may speak. A right token is never slowed: otherwise a stranger behind the
    /// same proxy could lock out the sender.
    ///
    /// # Errors
    /// Says what is wrong with the header, or that the address has failed too often.
    pub fn check(&self, header: Option<&[u8]>, address: IpAddr) -> Result<(), Refused> {
        let refused = match header.map(shown_token) {
            None => Refused::Missing,
            Some(None) => Refused::Malformed,
            Some(Some(token)) if self.is_valid(&token) => return Ok(()),
            Some(Some(_)) => Refused::Wrong,
        };
        let key = super::client::key(address);
        match self.failures.check_key(&key) {
            Ok(()) => Err(refused),
            Err(early) => Err(Refused::Throttled(early.wait_time_from(DefaultClock::default().now()))),
        }
    }

    /// Forgets addresses that have behaved for a while, so that strangers cannot fill the memory.
    pub fn forget_old_failures(&self) {
        self.failures.retain_recent();
        self.failures.shrink_to_fit();
    }

    // Every valid token is compared, found or not.
    fn is_valid(&self, token: &[u8]) -> bool {
        let shown: [u8; 32] = Sha256::digest(token).into();
        self.valid.iter().fold(false, |found, valid| found | verify_slices_are_equal(valid, &shown).is_ok())
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn senders() -> Senders {
        Senders::new(&["first-token".into(), "second-token".into()], 3)
    }

    fn check(senders: &Senders, header: &str) -> Result<(), Refused> {
        senders.check(Some(header.as_bytes()), "192.0.2.1".parse().unwrap())
    }

    #[test]
    fn each_header_form_and_each_token_is_let_in() {
        let senders = senders();
        let basic = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        for header in [
            "first-token".to_owned(),
            "Bearer first-token".to_owned(),
            "bearer  second-token ".to_owned(),
            "CSCC second-token".to_owned(),
            basic("sysdig:first-token"),
            basic(":second-token").trim_end_matches('=').to_owned(),
        ] {
            assert_eq!(check(&senders, &header), Ok(()), "{header}");
        }
    }

    #[test]
    fn others_are_told_what_is_wrong_and_then_slowed() {
        let senders = senders();
        assert_eq!(senders.check(None, "192.0.2.1".parse().unwrap()), Err(Refused::Missing));
        assert_eq!(check(&senders, "Digest username=x"), Err(Refused::Malformed));
        assert_eq!(check(&senders, "Bearer first-toke"), Err(Refused::Wrong));
        assert!(matches!(check(&senders, "Bearer first-token2"), Err(Refused::Throttled(_))));
        assert_eq!(check(&senders, "Bearer first-token"), Ok(()), "a right token is never slowed");
        assert_eq!(senders.check(None, "192.0.2.2".parse().unwrap()), Err(Refused::Missing), "another address is not");
    }

    #[test]
    fn nothing_is_printed_of_a_token() {
        assert!(!format!("{:?}", senders()).contains("token\""));
    }

    #[test]
    fn odd_headers_are_no_tokens() {
        for header in ["", "   ", "Bearer", "Basic", "Basic !!!", "Basic Zmlyc3QtdG9rZW4=", "Bearer \u{0}"] {
            assert!(check(&senders(), header).is_err(), "{header:?}");
        }
    }
}
