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

// The poller.

/// Windows polled.
pub const POLL_WINDOWS: Metric = Metric::new(
    "sysdig_scc_poll_windows_total",
    "counter",
    &["result"],
    "Polls of Sysdig's events feed by result (ok, not_ours, or why they failed). A failed one is repeated; nothing is lost.",
);
/// Events polled.
pub const POLL_EVENTS: Metric = Metric::new(
    "sysdig_scc_poll_events_total",
    "counter",
    &["result"],
    "Events read by the poller: accepted, duplicate, ignored, parked.",
);
/// How far behind.
pub const POLL_LAG: Metric = Metric::new(
    "sysdig_scc_poll_lag_seconds",
    "gauge",
    &[],
    "How far the poller's watermark is behind now. It grows while Sysdig cannot be read; after 14 days events are lost.",
);
/// What was lost.
pub const POLL_LOST: Metric = Metric::new(
    "sysdig_scc_poll_lost_seconds_total",
    "counter",
    &[],
    "Seconds of Sysdig's feed that were not read in time and can no longer be read.",
);
