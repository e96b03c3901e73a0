//! The server: where it listens, who may speak, how much may be said.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use super::env::{Area, Env, Setting};

/// Every path that the connector answers, but for `/`, which the codelab may have too. One that ends in a slash stands for
/// all below it.
pub const ROUTES: [&str; 8] =
    ["/events", "/pubsub/push", "/healthz", "/readyz", "/health", "/metrics", "/attestation/", "/_ah/"];

/// The route that a path would take away.
pub fn taken(path: &str) -> Option<&'static str> {
    let takes = |route: &&str| path == *route || (route.ends_with('/') && path.starts_with(*route));
    ROUTES.into_iter().find(takes)
}

/// `PORT`.
pub static PORT: Setting = Setting {
    name: "PORT",
    aliases: &[],
    default: Some("8080"),
    example: "8080",
    secret: false,
    doc: "The port to listen on; 0 takes a free one. App Engine and Cloud Run set it.",
};
/// `LISTEN_ADDRESS`.
pub static LISTEN_ADDRESS: Setting = Setting {
    name: "LISTEN_ADDRESS",
    aliases: &[],
    default: Some("127.0.0.1"),
    example: "0.0.0.0",
    secret: false,
    doc: "The address to listen on. The container image sets 0.0.0.0. There is no TLS here: it ends at the load \
          balancer, so anything wider than loopback belongs behind one.",
};
/// `WEBHOOK_AUTHENTICATION_TOKEN`.
pub static WEBHOOK_AUTHENTICATION_TOKEN: Setting = Setting {
    name: "WEBHOOK_AUTHENTICATION_TOKEN",
    aliases: &[],
    default: None,
    example: "use-a-long-random-text",
    secret: true,
    doc: "The token that senders show at POST /events, in any of the forms `TOKEN`, `Bearer TOKEN`, `CSCC TOKEN` or \
          Basic with the token as password. Several, separated by commas, are all valid: rotate by adding the new \
          one, changing the senders, and removing the old one.",
};
/// `BODY_LIMIT_BYTES`.
pub static BODY_LIMIT_BYTES: Setting = Setting {
    name: "BODY_LIMIT_BYTES",
    aliases: &[],
    default: Some("8388608"),
    example: "8388608",
    secret: false,
    doc: "The largest delivery in bytes, after decompression. A larger one is answered 413. Deliveries of 256 KiB and more \
          share room: as many at once as have so many bytes together are parsed and written, and four times that may \
          arrive; the others wait, and are answered 503 with `Retry-After` after 10 seconds. Memory grows with it: see \
          Memory in operations.md.",
};
/// `TRUST_FORWARDED_FOR`.
pub static TRUST_FORWARDED_FOR: Setting = Setting {
    name: "TRUST_FORWARDED_FOR",
    aliases: &[],
    default: Some("0"),
    example: "1",
    secret: false,
    doc: "How many proxies in front of this server append to `X-Forwarded-For`; the client's address is \
          taken that many entries from the right. 0 ignores the header. App Engine and Google's load balancers append \
          two entries, the client's address and their own: set 2. `Forwarded` counts only in requests without \
          `X-Forwarded-For`: behind proxies that write only `Forwarded`, have them remove the other. If it is larger \
          than the truth, a caller can pretend any address and escape the slowing down of wrong tokens.",
};
/// `AUTH_FAILURES_PER_MINUTE`.
pub static AUTH_FAILURES_PER_MINUTE: Setting = Setting {
    name: "AUTH_FAILURES_PER_MINUTE",
    aliases: &[],
    default: Some("20"),
    example: "20",
    secret: false,
    doc: "Requests with a wrong or missing token that one address may make a minute before it is answered 429. A right \
          token is always let in.",
};
/// `KEEP_ALIVE_SECS`.
pub static KEEP_ALIVE_SECS: Setting = Setting {
    name: "KEEP_ALIVE_SECS",
    aliases: &[],
    default: Some("620"),
    example: "620",
    secret: false,
    doc: "Seconds an idle connection is kept. Google's load balancers reuse connections for 600 s, so it must be \
          longer than that, or some requests meet a closing connection and are answered 502.",
};
/// `HTTP_WORKERS`.
pub static HTTP_WORKERS: Setting = Setting {
    name: "HTTP_WORKERS",
    aliases: &[],
    default: Some("0"),
    example: "2",
    secret: false,
    doc: "Threads that serve requests; 0 takes one for each processor.",
};

/// The settings of this area, as the documents print them.
pub static AREA: Area = Area {
    title: "Server and webhook",
    settings: &[
        &PORT,
        &LISTEN_ADDRESS,
        &WEBHOOK_AUTHENTICATION_TOKEN,
        &BODY_LIMIT_BYTES,
        &TRUST_FORWARDED_FOR,
        &AUTH_FAILURES_PER_MINUTE,
        &KEEP_ALIVE_SECS,
        &HTTP_WORKERS,
    ],
};

/// Where a server that listens on `address` answers callers on this machine: an address that stands for all of them is
/// no address to call, so it becomes the loopback address of its family.
pub fn reachable(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) if v4.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(v6) if v6.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        address => address,
    }
}

/// The server's settings.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The valid tokens; never empty.
    pub tokens: Vec<SecretString>,
    /// The largest delivery, decompressed.
    pub body_limit: usize,
    /// How many entries from the right of the forwarding headers the client's address stands; 0 ignores them.
    pub trusted_hops: usize,
    /// Failures a minute and address before 429.
    pub auth_failures_per_minute: u32,
    /// How long idle connections are kept.
    pub keep_alive: Duration,
    /// Serving threads; `None` is one for each processor.
    pub workers: Option<usize>,
}

impl ServerConfig {
    /// Reads this area.
    pub fn read(env: &mut Env) -> Option<Self> {
        let listen = Self::read_listen(env);
        let tokens = tokens(env);
        let body_limit = env.number(&BODY_LIMIT_BYTES, 1_024..=268_435_456);
        let trusted_hops = env.number(&TRUST_FORWARDED_FOR, 0..=16);
        let failures = env.number(&AUTH_FAILURES_PER_MINUTE, 1..=1_000_000);
        let keep_alive = env.number(&KEEP_ALIVE_SECS, 1..=3_600);
        let workers = env.number(&HTTP_WORKERS, 0..=256);
        Some(Self {
            listen: listen?,
            tokens: tokens?,
            body_limit: usize::try_from(body_limit?).ok()?,
            trusted_hops: usize::try_from(trusted_hops?).ok()?,
            auth_failures_per_minute: u32::try_from(failures?).ok()?,
            keep_alive: Duration::from_secs(keep_alive?),
            workers: usize::try_from(workers?).ok().filter(|workers| *workers > 0),
        })
    }

    /// Only where it listens: what a command needs that speaks to it.
    pub fn read_listen(env: &mut Env) -> Option<SocketAddr> {
        let port = env.number(&PORT, 0..=65_535).and_then(|port| u16::try_from(port).ok());
        let address: Option<IpAddr> = env.parse(&LISTEN_ADDRESS, "an IP address");
        Some(SocketAddr::new(address?, port?))
    }

    /// The valid tokens, of which there is one at least.
    pub fn read_tokens(env: &mut Env) -> Option<Vec<SecretString>> {
        tokens(env)
    }
}

fn tokens(env: &mut Env) -> Option<Vec<SecretString>> {
    let Some(text) = env.secret(&WEBHOOK_AUTHENTICATION_TOKEN) else {
        env.problem(
            WEBHOOK_AUTHENTICATION_TOKEN.name,
            super::env::REQUIRED,
            "make one with `openssl rand -hex 20` and give the same to Sysdig or Falco",
        );
        return None;
    };
    let tokens: Vec<_> = text.expose_secret().split(',').map(str::trim).filter(|token| !token.is_empty()).collect();
    if tokens.is_empty() {
        env.problem(WEBHOOK_AUTHENTICATION_TOKEN.name, "holds no token, only commas", "give at least one token");
        return None;
    }
    if tokens.iter().any(|token| !token.bytes().all(|byte| byte.is_ascii_graphic())) {
        env.problem(
            WEBHOOK_AUTHENTICATION_TOKEN.name,
            "holds characters that cannot stand in a header",
            "use printable ASCII without spaces",
        );
        return None;
    }
    Some(tokens.into_iter().map(SecretString::from).collect())
}
