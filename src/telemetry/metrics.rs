//! Every metric: name, kind, labels, and a sentence. `docs/metrics.md` is printed from this file.

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// `sysdig_scc_<thing>_<unit>[_total]`.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Its labels, each with a closed set of values.
    pub labels: &'static [&'static str],
    /// What it counts, and when to look at it.
    pub help: &'static str,
}

impl Metric {
    /// A metric's description.
    pub const fn new(
        name: &'static str,
        kind: &'static str,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self { name, kind, labels, help }
    }
}

// Google Cloud: tokens.

/// Fetches of access tokens.
pub const TOKEN_FETCHES: Metric = Metric::new(
    "sysdig_scc_google_token_fetches_total",
    "counter",
    &["kind", "result"],
    "Fetches of Google access tokens by kind of credential and result (ok, failed). About one an hour is normal; failures before the old token ends do no harm yet.",
);

/// When the present token ends.
pub const TOKEN_EXPIRY: Metric = Metric::new(
    "sysdig_scc_google_token_expiry_timestamp_seconds",
    "gauge",
    &["kind"],
    "When the present Google access token ends, in seconds since 1970. It is replaced five minutes before.",
);

// Delivery to Security Command Center.

/// Calls to Security Command Center.
pub const SCC_CALLS: Metric = Metric::new(
    "sysdig_scc_delivery_calls_total",
    "counter",
    &["call", "result"],
    "Calls to Security Command Center by call (create, read, patch) and result: ok, or the kind of failure.",
);

/// How long a call takes.
pub const SCC_SECONDS: Metric = Metric::new(
    "sysdig_scc_delivery_call_seconds",
    "histogram",
    &["call"],
    "How long calls to Security Command Center take, without the time spent waiting for the pace.",
);

/// Bytes of findings sent.
pub const SCC_BYTES: Metric = Metric::new(
    "sysdig_scc_delivery_bytes_total",
    "counter",
    &[],
    "Bytes of findings sent to Security Command Center. The quota is 500 MB a day; look here when deliveries wait for the pace.",
);

/// How long deliveries wait for the pace.
pub const PACE_WAIT: Metric = Metric::new(
    "sysdig_scc_pace_wait_seconds",
    "histogram",
    &[],
    "How long a delivery waited for its turn under the quota settings, a wait the service asked for, or a hold.",
);

/// How many deliveries wait for the pace.
pub const PACE_WAITING: Metric = Metric::new(
    "sysdig_scc_pace_waiting",
    "gauge",
    &[],
    "How many deliveries wait for their turn now.",
);

/// Whether deliveries are held.
pub const HELD: Metric = Metric::new(
    "sysdig_scc_delivery_held",
    "gauge",
    &[],
    "1 while deliveries are held because of a permission or configuration error, else 0. Alarm on it: nothing is delivered until someone mends it.",
);
