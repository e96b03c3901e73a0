//! Security Command Center as a destination: which call a change needs, and what a refusal means.
//!
//! Nothing here undoes an analyst's work: masks are explicit, mute and marks are never sent, and a closed finding is
//! reopened only by a newer occurrence.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Timelike, Utc};
use futures_util::future::BoxFuture;
use serde_json::{Map, Value};

use super::pace::{NotYet, Pace, Turn};
use super::{Delivered, Sink, SinkError, Verdict};
use crate::causes::chain;
use crate::finding::{Finding, FindingChange, FindingId};
use crate::google::error::ApiError;
use crate::google::scc::{Scc, StoredFinding};
use crate::telemetry::metrics::{SCC_BYTES, SCC_CALLS, SCC_SECONDS};

/// The members of a finding that an update may change, by their JSON name and their mask path. Category, resource and
/// parent are immutable; mute and marks are the analysts'.
const MUTABLE: &[(&str, &str)] = &[
    ("eventTime", "event_time"),
    ("severity", "severity"),
    ("findingClass", "finding_class"),
    ("externalUri", "external_uri"),
    ("sourceProperties", "source_properties"),
    ("indicator", "indicator"),
    ("vulnerability", "vulnerability"),
    ("access", "access"),
    ("connections", "connections"),
    ("processes", "processes"),
    ("files", "files"),
    ("containers", "containers"),
    ("kubernetes", "kubernetes"),
    ("mitreAttack", "mitre_attack"),
    ("compliances", "compliances"),
    ("logEntries", "log_entries"),
    ("description", "description"),
    ("nextSteps", "next_steps"),
    ("moduleName", "module_name"),
];

/// The members that are brought up to date without a new occurrence.
const AMENDABLE: &[(&str, &str)] = &[
    ("severity", "severity"),
    ("sourceProperties", "source_properties"),
    ("description", "description"),
    ("nextSteps", "next_steps"),
];

/// As many bytes as a finding usually takes as JSON: room that need not grow while it is written.
const USUAL_FINDING: usize = 8 * 1024;

/// Brings findings to Security Command Center, at the shared pace.
#[derive(Debug, Clone)]
pub struct SccSink {
    scc: Scc,
    pace: Arc<Pace>,
}

impl SccSink {
    /// A sink for the client's source; all sinks of a project share one pace.
    pub fn new(scc: Scc, pace: Arc<Pace>) -> Self {
        Self { scc, pace }
    }

    /// The pace, for readiness.
    pub fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    async fn change(&self, change: &FindingChange) -> Result<Delivered, SinkError> {
        match change {
            FindingChange::Create { id, finding } => {
                let created = self.create(id, encode(finding)?).await?;
                Ok(if created { Delivered::Written } else { Delivered::AlreadyThere })
            }
            // Boxed, because all the others would travel with each creation: eight kilobytes.
            FindingChange::Raise { id, finding } => Box::pin(self.raise(id, finding)).await,
            FindingChange::Amend { id, finding, only_closed } => Box::pin(self.amend(id, finding, *only_closed)).await,
            FindingChange::Close { id, time, told, untold_failure } => {
                Box::pin(self.close(id, *time, *told, *untold_failure)).await
            }
        }
    }

    /// Creates it; `false` when it stands there already.
    async fn create(&self, id: &FindingId, body: Vec<u8>) -> Result<bool, SinkError> {
        let size = body.len();
        let turn = self.turn(size).await?;
        let began = Instant::now();
        let outcome = counted("create", began, self.scc.create(id.as_str(), body).await);
        match outcome {
            Err(error) if stands_already(&error) => {
                turn.succeeded();
                Ok(false)
            }
            outcome => {
                self.settle(turn, outcome)?;
                metrics::counter!(SCC_BYTES.name).increment(size as u64);
                Ok(true)
            }
        }
    }

    async fn raise(&self, id: &FindingId, finding: &Finding) -> Result<Delivered, SinkError> {
        let body = encode(finding)?;
        if self.create(id, body.clone()).await? {
            return Ok(Delivered::Written);
        }
        let Some(stored) = self.read(id).await? else { return Err(not_visible(id)) };
        if !is_newer(finding.event_time, &stored) {
            return Ok(Delivered::AlreadyThere);
        }
        let (mask, body) = update(&body, &stored)?;
        self.patch(id, &stored, &mask, body).await
    }

    async fn amend(&self, id: &FindingId, finding: &Finding, only_closed: bool) -> Result<Delivered, SinkError> {
        let Some(stored) = self.read(id).await? else { return Err(not_visible(id)) };
        // A closed one has the time of its end; an open one that is newer is another occurrence.
        let replaced =
            stored.event_time.is_some_and(|known| known.timestamp_millis() > finding.event_time.timestamp_millis());
        if (replaced || only_closed) && stored.is_active() {
            return Ok(Delivered::AlreadyThere);
        }
        let (mut mask, mut body) = said(&encode(finding)?, AMENDABLE)?;
        // Every update has to name a time later than the one that stands there. The least step will do: what really
        // happens next is later.
        let time = stored.event_time.unwrap_or(finding.event_time);
        let time = time.checked_add_signed(TimeDelta::milliseconds(1)).unwrap_or(time);
        let time = serde_json::to_value(time).map_err(unwritable)?;
        mask.push("event_time");
        body.insert("eventTime".to_owned(), time);
        self.patch(id, &stored, &mask, serde_json::to_vec(&body).map_err(unwritable)?).await
    }

    async fn close(
        &self,
        id: &FindingId,
        time: DateTime<Utc>,
        told: bool,
        untold_failure: Option<DateTime<Utc>>,
    ) -> Result<Delivered, SinkError> {
        let stored = self.read(id).await?;
        let next = untold_failure.filter(|next| stored.as_ref().is_some_and(|stored| is_newer(*next, stored)));
        let time = next.map_or(time, |next| next - TimeDelta::milliseconds(1));
        match stored {
            Some(stored) if is_newer(time, &stored) && (told || stored.is_active()) => {
                let body = serde_json::json!({ "state": "INACTIVE", "eventTime": time });
                self.patch(id, &stored, &["state", "event_time"], body.to_string().into_bytes()).await
            }
            // Its opening is still on its way, or a list does not show it yet.
            None if told => Err(not_visible(id)),
            _ => Ok(Delivered::AlreadyThere),
        }
    }

    async fn read(&self, id: &FindingId) -> Result<Option<StoredFinding>, SinkError> {
        let turn = self.turn(0).await?;
        let began = Instant::now();
        let outcome = counted("read", began, self.scc.find(id.as_str()).await);
        self.settle(turn, outcome)
    }

    /// Changes what was read as `seen`. The service refuses a time that is not later than the one that stands there:
    /// when that is because another replica was faster, the next attempt sees what it wrote.
    async fn patch(
        &self,
        id: &FindingId,
        seen: &StoredFinding,
        mask: &[&str],
        body: Vec<u8>,
    ) -> Result<Delivered, SinkError> {
        let size = body.len();
        let turn = self.turn(size).await?;
        let began = Instant::now();
        let outcome = counted("patch", began, self.scc.patch(id.as_str(), mask, body).await);
        match self.settle(turn, outcome) {
            Ok(_) => {}
            Err(error) if error.verdict() == Verdict::Park => match self.read(id).await? {
                Some(now) if now.event_time != seen.event_time => return Err(overtaken(id, error)),
                _ => return Err(error),
            },
            Err(error) => return Err(error),
        }
        metrics::counter!(SCC_BYTES.name).increment(size as u64);
        Ok(Delivered::Written)
    }

    async fn turn(&self, bytes: usize) -> Result<Turn<'_>, SinkError> {
        self.pace.admit(bytes).await.map_err(|not_yet: NotYet| {
            SinkError::new("the finding was not sent", Verdict::Hold, "pace").because(not_yet)
        })
    }

    /// Tells the pace how the call went, and what its failure means.
    fn settle<T>(&self, turn: Turn<'_>, outcome: Result<T, ApiError>) -> Result<T, SinkError> {
        match outcome {
            Ok(value) => {
                turn.succeeded();
                Ok(value)
            }
            Err(error) => {
                let mut verdict = judge(&error, Utc::now(), rand::random());
                let (label, sentence) = (error.label(), sentence(&error, verdict));
                // In an outage a probe says nothing of its finding: that is nobody's failed attempt.
                let is_outage = matches!(verdict, Verdict::Retry(_)) && !is_of_one_finding(&error);
                let reason = || format!("{sentence}: {}", chain(&error));
                let still_held = is_outage && turn.unanswered(&reason());
                match verdict {
                    Verdict::Hold => turn.held(&reason()),
                    Verdict::Retry(Some(wait)) | Verdict::Wait(wait) => turn.later(wait),
                    // It got as far as this finding's own fault: nothing is wrong that holds for everybody.
                    Verdict::Park if !error.canonical().is_empty() => turn.succeeded(),
                    Verdict::Retry(None) | Verdict::Park => drop(turn),
                }
                if still_held {
                    verdict = Verdict::Hold;
                }
                Err(SinkError::new(sentence, verdict, label).because(error))
            }
        }
    }
}

impl Sink for SccSink {
    fn deliver<'a>(&'a self, change: &'a FindingChange) -> BoxFuture<'a, Result<Delivered, SinkError>> {
        Box::pin(self.change(change))
    }
}

/// What follows from a failed call. `chance` (0 to 1) spreads those who were told no time.
pub fn judge(error: &ApiError, now: DateTime<Utc>, chance: f64) -> Verdict {
    if error.is_quota() {
        return Verdict::Wait(error.retry_after().unwrap_or_else(|| until_next_minute(now, chance)));
    }
    match error.status() {
        // Permission, configuration; or a redirect or unknown method, when the address is not that of the service.
        Some(300..=399 | 401 | 403 | 404 | 405 | 407 | 501) => Verdict::Hold,
        _ if is_of_one_finding(error) => Verdict::Retry(None),
        // Without a token nobody's event passes, whether the reason passes by itself or not.
        None if matches!(error, ApiError::Auth { .. } | ApiError::Refused { .. }) => Verdict::Hold,
        _ if error.is_transient() => Verdict::Retry(error.retry_after()),
        // Something between us: what it says of one event it may say of all, and tomorrow of none.
        _ if error.is_page() || matches!(error, ApiError::TooLarge { .. }) => Verdict::Retry(None),
        _ => Verdict::Park,
    }
}

/// Whether it is an update of an existing finding that somebody else changed meanwhile.
fn is_of_one_finding(error: &ApiError) -> bool {
    matches!(error.status(), Some(409 | 412))
}

/// Whether the service says that the finding exists. A page for people comes from something between us, which knows
/// nothing of findings.
fn stands_already(error: &ApiError) -> bool {
    error.status() == Some(409) && error.canonical() != "ABORTED" && !error.is_page()
}

/// Quotas are counted by the minute: wait for the next one, and up to five seconds more.
fn until_next_minute(now: DateTime<Utc>, chance: f64) -> Duration {
    let left = 60u32.saturating_sub(now.second()).clamp(1, 60);
    Duration::from_secs(u64::from(left)) + Duration::from_secs(5).mul_f64(chance.clamp(0.0, 1.0))
}

fn sentence(error: &ApiError, verdict: Verdict) -> String {
    match (error.status(), error.reason()) {
        (Some(401), _) => "Security Command Center does not accept our access token, not even a new one, or wants one where no credential is configured".into(),
        (Some(403), _) if error.is_disabled() => {
            let project = error.consumer().map_or("the credential's project".to_owned(), |named| format!("project {named}"));
            format!("the Security Command Center API is disabled: enable securitycenter.googleapis.com in {project}")
        }
        (Some(403), _) if verdict == Verdict::Hold => {
            "we may not write findings: grant roles/securitycenter.findingsEditor on the source, and set a quota project for a person's credentials".into()
        }
        (Some(404), _) => "the source is not there: check ORG_ID, SOURCE_ID and SCC_LOCATION, or run `sysdig-scc setup source`".into(),
        (Some(407), _) => "a proxy on the way asks for credentials: check HTTPS_PROXY and NO_PROXY".into(),
        (Some(300..=399 | 405 | 501), _) => "what answers is not Security Command Center: check SCC_ENDPOINT".into(),
        (Some(_), _) if verdict == Verdict::Park => "Security Command Center refuses the finding as it is".into(),
        (None, _) if verdict == Verdict::Hold => "Security Command Center cannot be called with the present settings".into(),
        _ if error.is_page() || matches!(error, ApiError::TooLarge { .. }) => {
            "what answers is not Security Command Center, or something on the way to it: check SCC_ENDPOINT and proxies".into()
        }
        _ if error.is_quota() => "the quota of Security Command Center is used up".into(),
        _ => "Security Command Center could not take the finding now".into(),
    }
}

/// Compared to the millisecond: the service may keep fewer digits than we sent.
fn is_newer(time: DateTime<Utc>, stored: &StoredFinding) -> bool {
    stored.event_time.is_none_or(|known| time.timestamp_millis() > known.timestamp_millis())
}

/// The mask and body of an update: what may change, and the state only to reopen.
fn update(body: &[u8], stored: &StoredFinding) -> Result<(Vec<&'static str>, Vec<u8>), SinkError> {
    let (mut mask, mut changed) = said(body, MUTABLE)?;
    if !stored.is_active() {
        mask.push("state");
        changed.insert("state".to_owned(), "ACTIVE".into());
    }
    let body = serde_json::to_vec(&changed).map_err(unwritable)?;
    Ok((mask, body))
}

/// The members of a finding that it has, of those that may be sent, and their mask.
fn said(
    body: &[u8],
    members: &[(&'static str, &'static str)],
) -> Result<(Vec<&'static str>, Map<String, Value>), SinkError> {
    let full: Map<String, Value> = serde_json::from_slice(body).map_err(unwritable)?;
    let (mut mask, mut changed) = (Vec::new(), Map::new());
    for (name, path) in members {
        if let Some(value) = full.get(*name) {
            mask.push(*path);
            changed.insert((*name).to_owned(), value.clone());
        }
    }
    Ok((mask, changed))
}

fn not_visible(id: &FindingId) -> SinkError {
    SinkError::new(format!("finding {id} cannot be read yet"), Verdict::Retry(None), "not_visible")
}

fn overtaken(id: &FindingId, error: SinkError) -> SinkError {
    let told = format!("finding {id} was changed by somebody else at the same time");
    SinkError::new(told, Verdict::Retry(None), "overtaken").because(error)
}

fn encode(finding: &Finding) -> Result<Vec<u8>, SinkError> {
    let mut body = Vec::with_capacity(USUAL_FINDING);
    serde_json::to_writer(&mut body, finding).map_err(unwritable)?;
    Ok(body)
}

fn unwritable(error: serde_json::Error) -> SinkError {
    SinkError::new("the finding cannot be written as JSON", Verdict::Park, "unwritable").because(error)
}

/// Counts a call and its time. It is handed the outcome and not the call: a call handed on is copied, some kilobytes.
fn counted<T>(call: &'static str, began: Instant, outcome: Result<T, ApiError>) -> Result<T, ApiError> {
    metrics::histogram!(SCC_SECONDS.name, "call" => call).record(began.elapsed().as_secs_f64());
    let result = match &outcome {
        Ok(_) => "ok",
        Err(error) if call == "create" && stands_already(error) => "already_there",
        Err(error) => error.label(),
    };
    metrics::counter!(SCC_CALLS.name, "call" => call, "result" => result).increment(1);
    outcome
}
