//! Every metric: name, kind, labels, and a sentence. `docs/metrics.md` is printed from this file.

/// One metric.
#[derive(Debug, Clone, Copy)]
pub struct Metric {
    /// `sysdig_scc_<thing>_<unit>[_total]`.
    pub name: &'static str,
    /// What its numbers are.
    pub kind: Kind,
    /// Its labels, each with a closed set of values.
    pub labels: &'static [&'static str],
    /// What it counts, and when to look at it.
    pub help: &'static str,
}

/// The kinds of metrics, as Prometheus knows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It only grows.
    Counter,
    /// It stands at something.
    Gauge,
    /// How many fell into which bucket.
    Histogram,
}

impl Kind {
    /// Prometheus' word.
    pub fn label(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Makes a constant of each metric, and the list of all.
macro_rules! metrics {
    ($(
        $(#[doc = $doc:literal])* $constant:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;
    )*) => {
        $(
            $(#[doc = $doc])*
            pub const $constant: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// Every metric there is, in the order of the document.
        pub const ALL: &[&Metric] = &[$(&$constant),*];
    };
}

metrics! {
    // Deliveries.

    /// Elements taken in.
    RECEIVED = Counter "sysdig_scc_received_total" ["door", "result"]
        "Elements of deliveries by door and what became of them: accepted, duplicate, ignored, parked. The door `own` \
         is what the connector found out or did itself. Each door that is open is there from the start.";
    /// Ignored elements by kind.
    IGNORED = Counter "sysdig_scc_ignored_total" ["kind"]
        "Elements that open no finding, by kind: resolved, monitor_alert, test, …";
    /// Requests at the webhook.
    REQUESTS = Counter "sysdig_scc_http_requests_total" ["route", "status"]
        "Requests by route and status code.";
    /// Refused senders.
    UNAUTHENTICATED = Counter "sysdig_scc_unauthenticated_total" ["reason"]
        "Requests to /events without a valid token: missing, malformed, wrong, throttled.";
    /// Time from the request to the durable answer.
    ACCEPT_SECONDS = Histogram "sysdig_scc_accept_duration_seconds" []
        "Time to make one delivery durable, from the parsed body to the answer.";

    // The ledger.

    /// The ledger.
    LEDGER = Gauge "sysdig_scc_ledger" ["sum"]
        "The ledger as it stands in the store: accepted, waiting, leased, and each outcome. accepted = waiting + all \
         outcomes, at any moment.";
    /// Age of the oldest waiting event.
    OLDEST_WAITING = Gauge "sysdig_scc_outbox_oldest_waiting_seconds" []
        "Age of the oldest event that waits for delivery; 0 when none waits. The first thing to look at.";
    /// Size of the outbox.
    OUTBOX_BYTES = Gauge "sysdig_scc_outbox_bytes" []
        "Bytes that the outbox's used pages take on disk.";
    /// Failures of the outbox's store.
    STORE_ERRORS = Counter "sysdig_scc_outbox_errors_total" ["error"]
        "Batches the outbox could not write, by kind of failure (full, read_only, locked, …). Senders were told 503.";
    /// Whether the worker moves.
    WORKER_LAST_STEP = Gauge "sysdig_scc_worker_idle_seconds" []
        "Seconds since the worker last looked for due events; more than 30 means that it is stuck.";

    // The worker.

    /// Rows closed by the worker.
    CLOSED = Counter "sysdig_scc_closed_total" ["outcome"]
        "Events closed by the worker since the process started, by outcome. The ledger's own sums are in \
         sysdig_scc_ledger.";
    /// Failed attempts.
    ATTEMPTS_FAILED = Counter "sysdig_scc_attempts_failed_total" ["error", "verdict"]
        "Failed attempts to deliver, by kind of error and what follows: retry, wait (for the quota), hold, park.";
    /// Time of one attempt.
    DELIVER_SECONDS = Histogram "sysdig_scc_deliver_duration_seconds" []
        "Time of one attempt to deliver an event, waiting for the quota included.";
    /// Time an event took from acceptance to its finding.
    END_TO_END_SECONDS = Histogram "sysdig_scc_event_age_at_close_seconds" []
        "Time from an event's acceptance to the closing of its row.";

    // The poller.

    /// Windows polled.
    POLL_WINDOWS = Counter "sysdig_scc_poll_windows_total" ["result"]
        "Polls of Sysdig's events feed by result (ok, not_ours, or why they failed). A failed one is repeated; \
         nothing is lost.";
    /// How far behind.
    POLL_LAG = Gauge "sysdig_scc_poll_lag_seconds" []
        "How far the poller's watermark is behind now, also on a replica that does not poll. It grows while Sysdig \
         cannot be read; what is more than 14 days back is not asked for any more.";
    /// What was lost.
    POLL_LOST = Counter "sysdig_scc_poll_lost_seconds_total" []
        "Seconds of Sysdig's feed that were not read in time: they are more than 14 days back, which is not asked \
         for.";

    // Enrichment.

    /// Look-ups.
    ENRICH_LOOKUPS = Counter "sysdig_scc_enrich_lookups_total" ["source", "result"]
        "Look-ups by source (compute, kubernetes) and result: found, not_found, ambiguous, timeout, quota, forbidden, \
         …";
    /// How long a look-up takes.
    ENRICH_SECONDS = Histogram "sysdig_scc_enrich_seconds" ["source"]
        "How long look-ups take, including those answered from memory.";

    // Pub/Sub.

    /// Refused pushes.
    PUSH_REFUSED = Counter "sysdig_scc_push_refused_total" ["reason"]
        "Pub/Sub pushes refused at /pubsub/push, by reason (missing, audience, account, …). Pub/Sub sends them again: \
         look at the subscription's token settings.";
    /// Failed turns of the pull subscriber.
    PULL_ERRORS = Counter "sysdig_scc_pull_errors_total" ["error"]
        "Failed turns of the Pub/Sub pull subscriber: pull, intake, acknowledge, or keys, busy, state, internal (a \
         token in the log cannot be verified yet). Messages come again.";

    // Acting on failed boots, and the state store.

    /// Answers to failed boots.
    INTEGRITY_ACTIONS = Counter "sysdig_scc_integrity_answers_total" ["action", "result", "reason"]
        "Answers to failed boots by action (relearn, stop, suspend, none), result (done, dry_run, reported, refused, \
         failed) and reason. Look at failed, and at refused with cap_hour, cap_project or cap_overall.";
    /// State documents that were left out.
    STATE_UNREADABLE = Counter "sysdig_scc_state_unreadable_total" ["kind"]
        "State documents of a list (timers, plans) that could not be read and were left out, by kind, at every look \
         at the list. The log names the document.";
    /// Failures of the state store.
    STATE_ERRORS = Counter "sysdig_scc_state_errors_total" ["error"]
        "Questions to the state store that it did not answer, by kind of failure (unavailable, refused, damaged, \
         corrupt, unfit). Runtime events need none; integrity reports, acting, the poller and used tokens wait for \
         it.";

    // Delivery to Security Command Center.

    /// Calls to Security Command Center.
    SCC_CALLS = Counter "sysdig_scc_delivery_calls_total" ["call", "result"]
        "Calls to Security Command Center by call (create, read, patch) and result: ok, or the kind of failure.";
    /// How long a call takes.
    SCC_SECONDS = Histogram "sysdig_scc_delivery_call_seconds" ["call"]
        "How long calls to Security Command Center take, without the time spent waiting for the pace.";
    /// Bytes of findings sent.
    SCC_BYTES = Counter "sysdig_scc_delivery_bytes_total" []
        "Bytes of findings sent to Security Command Center. The quota is 500 MB a day; look here when deliveries wait \
         for the pace.";
    /// How long deliveries wait for the pace.
    PACE_WAIT = Histogram "sysdig_scc_pace_wait_seconds" []
        "How long a delivery waited for its turn under the quota settings, a wait the service asked for, or a hold.";
    /// How many deliveries wait for the pace.
    PACE_WAITING = Gauge "sysdig_scc_pace_waiting" []
        "How many deliveries wait for their turn now.";
    /// Whether deliveries are held.
    HELD = Gauge "sysdig_scc_delivery_held" []
        "1 while deliveries are held because of a permission or configuration error, else 0. Alarm on it: nothing is \
         delivered until someone mends it. 0 also when nothing has waited for a minute after a probe was due.";

    // Google Cloud: tokens.

    /// Fetches of access tokens.
    TOKEN_FETCHES = Counter "sysdig_scc_google_token_fetches_total" ["kind", "result"]
        "Fetches of Google access tokens by kind of credential and result (ok, failed). About one an hour is normal; \
         failures before the old token ends do no harm yet.";
    /// When the present token ends.
    TOKEN_EXPIRY = Gauge "sysdig_scc_google_token_expiry_timestamp_seconds" ["kind"]
        "When the present Google access token ends, in seconds since 1970. It is replaced five minutes before.";

    // Attestation.

    /// Attestation decisions.
    ATTESTATION_DECISIONS = Counter "sysdig_scc_attestation_decisions_total" ["verdict", "reason"]
        "Attestation tokens by verdict (allowed, denied) and reason code.";
    /// Attestations of machines that are not watched.
    ATTESTATION_UNWATCHED = Counter "sysdig_scc_attestation_unwatched_total" []
        "Attestations of machines beyond the 20,000 that ATTESTATION_EXPECT_EVERY_HOURS can miss: they become no \
         ATTESTATION_MISSING.";
    /// Fetches of an issuer's keys.
    ATTESTATION_KEY_FETCHES = Counter "sysdig_scc_attestation_key_fetches_total" ["result"]
        "Fetches of an issuer's keys: good, unreachable, status, garbage. Anything but good for hours ends in 503.";
    /// Tokens with an unknown key.
    ATTESTATION_UNKNOWN_KIDS = Counter "sysdig_scc_attestation_unknown_kids_total" []
        "Tokens whose key id was not among the keys held: a rotation, or somebody guessing.";
    /// Reloads of policies.
    ATTESTATION_RELOADS = Counter "sysdig_scc_attestation_policy_reloads_total" ["result"]
        "Changes of the policies' folder: taken, refused. A refused one leaves the last good policies in use; the log \
         says why.";
    /// Secrets released.
    ATTESTATION_SECRETS = Counter "sysdig_scc_attestation_secrets_total" ["result"]
        "Requests for secrets: released, sealed, refused, unavailable.";
}

/// Buckets of every histogram: from a commit on a fast disk to a backlog of hours.
const SECONDS: [f64; 12] = [0.001, 0.005, 0.02, 0.05, 0.1, 0.5, 2.0, 10.0, 60.0, 300.0, 3600.0, 21600.0];

static RECORDER: std::sync::OnceLock<metrics_exporter_prometheus::PrometheusHandle> = std::sync::OnceLock::new();

/// Starts counting. A second call in one process changes nothing: metrics belong to the process.
pub fn start() {
    RECORDER.get_or_init(|| {
        let builder = metrics_exporter_prometheus::PrometheusBuilder::new();
        let builder = builder.set_buckets(&SECONDS).expect("the buckets are not empty");
        let recorder = builder.build_recorder();
        let handle = recorder.handle();
        if metrics::set_global_recorder(recorder).is_err() {
            tracing::warn!("metrics were already being recorded elsewhere in this process");
        }
        for metric in ALL {
            describe(metric);
        }
        handle
    });
}

/// Everything counted so far, in Prometheus' text format.
pub fn render() -> String {
    RECORDER
        .get()
        .map(|handle| {
            handle.run_upkeep();
            handle.render()
        })
        .unwrap_or_default()
}

/// Folds what histograms have recorded into their buckets. Until then every single value is kept, so a process that is
/// never scraped has to do it every few seconds, or its memory grows with each event.
pub fn fold() {
    if let Some(handle) = RECORDER.get() {
        handle.run_upkeep();
    }
}

/// Shows what a gauge with one label stands at.
pub fn show_each(metric: &Metric, label: &'static str, of: &'static str, value: u64) {
    metrics::gauge!(metric.name, label => of).set(as_float(value));
}

/// Shows what a gauge without labels stands at.
pub fn show(metric: &Metric, value: u64) {
    metrics::gauge!(metric.name).set(as_float(value));
}

// Prometheus knows only floating point; counts beyond 2^53 lose their last digit there, not in the ledger.
#[expect(clippy::cast_precision_loss, reason = "see above")]
fn as_float(count: u64) -> f64 {
    count as f64
}

fn describe(metric: &'static Metric) {
    match metric.kind {
        Kind::Counter => metrics::describe_counter!(metric.name, metric.help),
        Kind::Gauge => metrics::describe_gauge!(metric.name, metric.help),
        Kind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
    }
}
