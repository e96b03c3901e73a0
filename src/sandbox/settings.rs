//! What can be chosen when a sandbox is started.

use std::net::{Ipv4Addr, SocketAddr};

use secrecy::SecretString;

use super::clock::Clock;

/// Whether the old API version is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum V1 {
    /// `/v1` answers like `/v2`, with names without a location.
    On,
    /// `/v1` is refused with 400, as in organisations that know only v2.
    Refuse,
}

/// A source that exists from the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedSource {
    /// Its numeric id.
    pub id: String,
    /// Its display name.
    pub display_name: String,
}

/// How much may be called and stored; `None` lifts a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quotas {
    /// Calls that change something, a minute.
    pub writes_per_minute: Option<u32>,
    /// Calls that only read, a minute.
    pub reads_per_minute: Option<u32>,
    /// Bytes of bodies of created and patched findings, a day (UTC).
    pub bytes_per_day: Option<u64>,
}

impl Quotas {
    /// No limits, for load tests.
    pub const LIFTED: Self = Self { writes_per_minute: None, reads_per_minute: None, bytes_per_day: None };
}

impl Default for Quotas {
    /// The published limits of Security Command Center: 1,000 writes and 1,000 reads a minute, 500 MB a day.
    fn default() -> Self {
        Self { writes_per_minute: Some(1000), reads_per_minute: Some(1000), bytes_per_day: Some(500_000_000) }
    }
}

/// What the memory may hold. Nothing is ever deleted in Security Command Center, so the sandbox refuses at the limit
/// (429, reason `SANDBOX_FULL`) rather than forgetting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Findings.
    pub findings: usize,
    /// Bytes of findings as JSON.
    pub bytes: usize,
    /// Sources.
    pub sources: usize,
    /// Bytes of one request body.
    pub body: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { findings: 1_000_000, bytes: 2 << 30, sources: 10_000, body: 10 << 20 }
    }
}

/// What can be chosen when a sandbox is started.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Allows listening on an address that other machines can reach. The sandbox has no protection of its own.
    pub beyond_loopback: bool,
    /// The organisation shown and seeded. Calls for any other numeric organisation are answered too.
    pub organization: String,
    /// Sources of that organisation that exist from the start.
    pub sources: Vec<SeedSource>,
    /// With a token, calls without it get 401; without, any or no token will do.
    pub require_token: Option<SecretString>,
    /// Whether `/v1` is answered.
    pub v1: V1,
    /// A masked update must carry an `event_time` newer than the stored one, as Google's samples demand.
    pub strict_event_time: bool,
    /// Quotas at the start; they can be changed at `POST /sandbox/quotas`.
    pub quotas: Quotas,
    /// What the memory may hold.
    pub bounds: Bounds,
    /// Threads that answer.
    pub workers: usize,
    /// Where "now" comes from.
    pub clock: Clock,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8089)),
            beyond_loopback: false,
            organization: DEFAULT_ORGANIZATION.to_owned(),
            sources: vec![SeedSource { id: DEFAULT_SOURCE.to_owned(), display_name: "Sysdig Secure".to_owned() }],
            require_token: None,
            v1: V1::On,
            strict_event_time: true,
            quotas: Quotas::default(),
            bounds: Bounds::default(),
            workers: 1,
            clock: Clock::system(),
        }
    }
}

impl Settings {
    /// The defaults on a free loopback port.
    pub fn on_free_port() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), ..Self::default() }
    }
}

/// The organisation of a sandbox nobody configured.
pub const DEFAULT_ORGANIZATION: &str = "123456789012";
/// The source "Sysdig Secure" of a sandbox nobody configured.
pub const DEFAULT_SOURCE: &str = "5629499534213120001";
