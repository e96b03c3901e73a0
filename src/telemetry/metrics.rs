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
