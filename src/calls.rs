//! Calls to other services: what we call ourselves, which addresses may be told a token, which are asked directly, how
//! much of an answer is read, and how long to wait before asking again, by our own rule or by the answer's. Also in which
//! forms a sender shows us a token.

use std::net::IpAddr;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use chrono::{DateTime, NaiveDateTime, Utc};
use reqwest::Response;
use url::{Host, Url};

/// What we call ourselves.
pub const USER_AGENT: &str = concat!("sysdig-scc/", env!("CARGO_PKG_VERSION"));

/// The longest wait when a service asks for one, an hour: what asks for more may be a mistake, and events could fall out of
/// the 14 days that Sysdig is asked back.
pub const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Why the body of an answer could not be read; whoever asked has words for it.
#[derive(Debug)]
pub enum BodyError {
    /// It broke off.
    Broken(reqwest::Error),
    /// It is larger than it may be.
    TooLarge,
}

/// The body of an answer, of at most `limit` bytes: what announces more is not read.
///
/// # Errors
/// See [`BodyError`].
pub async fn body(mut answer: Response, limit: usize) -> Result<Vec<u8>, BodyError> {
    let announced = usize::try_from(answer.content_length().unwrap_or(0)).unwrap_or(usize::MAX);
    if announced > limit {
        return Err(BodyError::TooLarge);
    }
    let mut body = Vec::with_capacity(announced);
    while let Some(chunk) = answer.chunk().await.map_err(BodyError::Broken)? {
        if body.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// The start of a client for this address. What is on this machine is asked directly: a proxy that the environment names
/// for the rest would be told tokens and findings that may travel in clear only as long as they do not leave it.
pub fn client(to: &Url) -> reqwest::ClientBuilder {
    let builder = reqwest::Client::builder().user_agent(USER_AGENT);
    if is_loopback(to) { builder.no_proxy() } else { builder }
}

/// Whether a token may be sent to this address.
pub fn may_carry_a_token(url: &Url) -> bool {
    url.scheme() == "https" || is_rehearsal(url)
}

/// Whether a stand-in on this machine is meant: plain http on loopback. It needs no credentials.
pub fn is_rehearsal(url: &Url) -> bool {
    url.scheme() == "http" && is_loopback(url)
}

/// An address as a log may tell it: without user, password and query, which may be credentials.
pub fn told(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// Whether the address is on this machine.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => IpAddr::V6(ip).to_canonical().is_loopback(),
        // RFC 6761: these names must resolve to loopback.
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            name.eq_ignore_ascii_case("localhost") || name.to_ascii_lowercase().ends_with(".localhost")
        }
        None => false,
    }
}

/// The token that a sender's header `Authorization` shows: bare (the 2019 connector), `Bearer` (the event forwarder),
/// `CSCC` (the 2018 connector), or Basic with the token as password.
pub fn shown_token(header: &[u8]) -> Option<Vec<u8>> {
    let header = header.trim_ascii();
    let Some(space) = header.iter().position(u8::is_ascii_whitespace) else {
        return (!header.is_empty()).then(|| header.to_vec());
    };
    let (scheme, rest) = (&header[..space], header[space..].trim_ascii());
    if scheme.eq_ignore_ascii_case(b"bearer") || scheme.eq_ignore_ascii_case(b"cscc") {
        return Some(rest.to_vec());
    }
    if scheme.eq_ignore_ascii_case(b"basic") {
        let pair = STANDARD.decode(rest).or_else(|_| STANDARD_NO_PAD.decode(rest)).ok()?;
        let colon = pair.iter().position(|byte| *byte == b':')?;
        return Some(pair[colon + 1..].to_vec());
    }
    None
}

/// How long to wait after failed call number `attempt` (1 is the first): `first`, doubled each time up to `most`. `jitter`
/// in 0..1 spreads it over +0..25 %, so that those who failed together do not come again together.
pub fn pause(attempt: u32, first: Duration, most: Duration, jitter: f64) -> Duration {
    let doublings = attempt.saturating_sub(1).min(16);
    spread(first.saturating_mul(1 << doublings).min(most), jitter)
}

/// Like [`pause`], or what the service asked for, if that is longer: never earlier than asked, within
/// [`LONGEST_ASKED`].
pub fn pause_or_asked(attempt: u32, first: Duration, most: Duration, asked: Option<Duration>, jitter: f64) -> Duration {
    let least = pause(attempt, first, most, 0.0).max(asked.unwrap_or_default()).min(LONGEST_ASKED);
    spread(least, jitter).min(LONGEST_ASKED)
}

fn spread(wait: Duration, jitter: f64) -> Duration {
    wait.mul_f64(1.0 + 0.25 * jitter.clamp(0.0, 1.0))
}

/// How long a service wants to be left alone, by its `Retry-After`: seconds, or a date.
pub fn retry_after(value: &str, now: DateTime<Utc>) -> Option<Duration> {
    let value = value.trim();
    let asked = match value.parse() {
        // However many digits there are.
        _ if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) => {
            Duration::from_secs(value.parse().unwrap_or(u64::MAX))
        }
        Ok(seconds) => Duration::try_from_secs_f64(seconds).ok()?,
        Err(_) => (http_date(value)? - now).to_std().unwrap_or_default(),
    };
    Some(asked.min(LONGEST_ASKED))
}

/// A date of HTTP in any of its three forms (RFC 9110, 5.6.7).
pub fn http_date(value: &str) -> Option<DateTime<Utc>> {
    let older = || {
        ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"]
            .iter()
            .find_map(|form| NaiveDateTime::parse_from_str(value, form).ok())
            .map(|date| date.and_utc())
    };
    DateTime::parse_from_rfc2822(value).map(|date| date.to_utc()).ok().or_else(older)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_every_form() {
        let now = "1994-11-06T08:49:00Z".parse().unwrap();
        for (text, expected) in [
            ("7", Some(7)),
            ("0", Some(0)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(37)),
            ("Sunday, 06-Nov-94 08:49:37 GMT", Some(37)),
            ("Sun Nov  6 08:49:37 1994", Some(37)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", Some(0)),
            ("999999999", Some(3600)),
            (&"9".repeat(30), Some(3600)),
            (&"9".repeat(400), Some(3600)),
            ("1.0", Some(1)),
            ("-3", None),
            ("NaN", None),
            ("inf", None),
            ("soon", None),
            ("", None),
        ] {
            assert_eq!(retry_after(text, now), expected.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn pauses_double_up_to_a_ceiling_and_are_spread() {
        let of = |attempt, jitter| pause(attempt, Duration::from_secs(4), Duration::from_secs(60), jitter).as_secs();
        assert_eq!([0, 1, 2, 3, 4, 5, u32::MAX].map(|attempt| of(attempt, 0.0)), [4, 4, 8, 16, 32, 60, 60]);
        assert_eq!([of(1, 1.0), of(5, 1.0), of(1, 7.0)], [5, 75, 5]);
    }

    #[test]
    fn a_token_travels_over_https_or_stays_on_this_machine() {
        for (url, expected) in [
            ("https://securitycenter.googleapis.com", true),
            ("http://127.0.0.1:8089", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:80", true),
            ("http://[::ffff:127.0.0.1]:80", true),
            ("http://localhost:1", true),
            ("http://LOCALHOST.:1", true),
            ("http://scc.localhost", true),
            ("http://localhost.evil.example", false),
            ("http://127.0.0.1.evil.example", false),
            ("http://10.0.0.1", false),
            ("http://0.0.0.0", false),
            ("ftp://127.0.0.1", false),
        ] {
            assert_eq!(may_carry_a_token(&Url::parse(url).unwrap()), expected, "{url}");
        }
    }
}
