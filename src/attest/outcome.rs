//! What a verdict means for the machine it is about: events that become findings, and those that close them.
//!
//! Only verified claims choose a machine. What nobody vouched for is counted, and told as one finding.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};

use super::claims::Claims;
use super::policy::{Explanation, Policy, Truth, known};
use super::verify::{Reason, Verified};
use crate::event::attestation::{Attestation, Category};
use crate::event::finding::Properties;

/// The subject of what is about this service rather than about a machine.
pub const SERVICE: &str = "attestation-service";

/// What was decided about a verified token.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'d> {
    /// The token's claims and marks.
    pub verified: &'d Verified,
    /// The policy that was asked.
    pub policy: &'d Policy,
    /// Why it was refused, if it was.
    pub refused: Option<&'d Reason>,
    /// The terms, if it was refused by the policy.
    pub explanation: Option<&'d Explanation>,
    /// The secret that was released for it.
    pub released: Option<&'d str>,
    /// When.
    pub now: DateTime<Utc>,
}

/// The events of one verified token: what is wrong with its machine, and what is no longer.
pub fn events(decided: Decided<'_>) -> Vec<Attestation> {
    let claims = Claims(&decided.verified.claims);
    let mut open: BTreeMap<&'static str, (Category, String)> = BTreeMap::new();
    let mut add = |category: Category, text: String| {
        open.insert(category.name(), (category, text));
    };
    machine(claims, decided, &mut add);
    match decided.refused {
        Some(Reason::PolicyDenied | Reason::Family) => {
            let (category, text) = denied(decided);
            add(category, text);
        }
        Some(Reason::PolicyError) => add(
            Category::AttestationPolicyError,
            format!(
                "The condition of the policy {} has no answer for this token: {}.",
                decided.policy.name,
                error_of(decided)
            ),
        ),
        Some(Reason::Replayed) => {
            add(Category::AttestationTokenReplayed, "A token, or a nonce in it, was used before.".into());
        }
        _ => {}
    }
    if let Some(secret) = decided.released {
        add(Category::AttestationSecretReleased, format!("The secret {secret} was released to this machine."));
    }
    let event = |category: Category, open: bool, description: String| make(decided, category, open, description);
    let mut events: Vec<Attestation> =
        open.values().map(|(category, text)| event(*category, true, text.clone())).collect();
    if decided.refused.is_none() {
        let gone = Category::ALL
            .into_iter()
            .filter(|category| category.closes_itself() && !open.contains_key(category.name()));
        events.extend(gone.map(|category| event(category, false, String::new())));
    }
    events
}

fn machine(claims: Claims<'_>, decided: Decided<'_>, add: &mut dyn FnMut(Category, String)) {
    if claims.text("dbgstat") == Some("enabled") && claims.text("swname") == Some("CONFIDENTIAL_SPACE") {
        add(Category::AttestationDebugImage, "The machine runs a debug image of Confidential Space.".into());
    }
    let support = claims.texts("submods.confidential_space.support_attributes");
    if !support.is_empty() && !support.contains(&"STABLE") {
        add(Category::AttestationUnsupportedImage, format!("The image is only {}.", support.join(", ")));
    }
    let model = claims.text("hwmodel").unwrap_or("not named");
    let strong = ["GCP_AMD_SEV", "GCP_AMD_SEV_ES", "GCP_AMD_SEV_SNP", "GCP_INTEL_TDX"].contains(&model);
    let secure_boot = claims.at("secboot").and_then(Json::as_bool);
    if !strong || secure_boot == Some(false) {
        let boot = if secure_boot == Some(false) { "off" } else { "on or not told" };
        add(Category::AttestationWeakHardware, format!("The hardware model is {model}, secure boot is {boot}."));
    }
    if let Some(tdx) = claims.tdx() {
        let status = tdx.text("gcp_attester_tcb_status").unwrap_or("UpToDate");
        let date = tdx.text("gcp_attester_tcb_date").and_then(|date| DateTime::parse_from_rfc3339(date).ok());
        let age = date.and_then(|date| (decided.now - date.to_utc()).to_std().ok());
        let old = decided.policy.max_tcb_age.zip(age).is_some_and(|(most, age)| age > most);
        if status != "UpToDate" || old {
            add(
                Category::AttestationTcbOutOfDate,
                format!(
                    "The TCB status is {status}{}.",
                    if old { ", its date older than the policy allows" } else { "" }
                ),
            );
        }
    }
    let monitored =
        claims.at("submods.confidential_space.monitoring_enabled.memory").and_then(Json::as_bool) == Some(true);
    let overridden: Vec<&str> = [
        ("the command", claims.non_empty("submods.container.cmd_override")),
        ("the environment", claims.non_empty("submods.container.env_override")),
        ("memory monitoring", monitored),
    ]
    .into_iter()
    .filter_map(|(what, so)| so.then_some(what))
    .collect();
    if !overridden.is_empty() {
        add(Category::AttestationWorkloadOverridden, format!("The operator changed: {}.", overridden.join(", ")));
    }
    let contradictions = claims.contradictions();
    if !contradictions.is_empty() {
        add(
            Category::AttestationClaimsInconsistent,
            format!("The claims contradict themselves: {}.", contradictions.join("; ")),
        );
    }
}

fn failed<'d>(decided: Decided<'d>) -> Vec<&'d super::policy::Term> {
    decided.explanation.map(|e| e.terms.iter().filter(|term| term.result != Truth::True).collect()).unwrap_or_default()
}

fn error_of(decided: Decided<'_>) -> String {
    decided.explanation.and_then(|explanation| explanation.error.clone()).unwrap_or_else(|| "no reason is known".into())
}

fn denied(decided: Decided<'_>) -> (Category, String) {
    let terms = failed(decided);
    let image = terms.iter().any(|term| term.values.keys().any(|path| path.ends_with(".image_digest")));
    let category = if image { Category::AttestationImageMismatch } else { Category::AttestationPolicyDenied };
    let list: Vec<&str> = terms.iter().map(|term| term.source.as_str()).collect();
    let why = match decided.refused {
        Some(Reason::Family) => "the token is of another family".to_owned(),
        _ if list.is_empty() => "its condition is false".to_owned(),
        _ => format!("not true: {}", list.join(" ; ")),
    };
    (category, format!("The policy {} denied this machine's token: {why}.", decided.policy.name))
}

fn make(decided: Decided<'_>, category: Category, open: bool, description: String) -> Attestation {
    let verified = decided.verified;
    let resource = Claims(&verified.claims).instance().map(|instance| instance.resource_name());
    let properties = if open { properties(decided) } else { Properties::new() };
    Attestation {
        category,
        open,
        subject: resource.clone().unwrap_or_else(|| SERVICE.to_owned()),
        resource,
        time: decided.now,
        description,
        occurrence: verified.hash.to_string(),
        properties,
    }
}

fn properties(decided: Decided<'_>) -> Properties {
    let verified = decided.verified;
    let claims = Claims(&verified.claims);
    let mut found = Properties::new();
    let mut put = |name: &str, value: Option<Json>| {
        if let Some(value) = value {
            found.insert(name.to_owned(), value);
        }
    };
    put("token_sha256", Some(json!(verified.hash.to_string())));
    put("kid", verified.kid.as_ref().map(|kid| json!(kid)));
    put("policy", Some(json!(decided.policy.name)));
    put("policy_sha256", Some(json!(decided.policy.hash)));
    for (name, path) in [
        ("issuer", "iss"),
        ("audience", "aud"),
        ("hwmodel", "hwmodel"),
        ("swname", "swname"),
        ("dbgstat", "dbgstat"),
        ("image_digest", "submods.container.image_digest"),
        ("image_reference", "submods.container.image_reference"),
        ("project_id", "submods.gce.project_id"),
        ("zone", "submods.gce.zone"),
        ("instance_name", "submods.gce.instance_name"),
        ("instance_id", "submods.gce.instance_id"),
    ] {
        put(name, claims.text(path).map(|text| json!(text)));
    }
    let terms: Vec<Json> = failed(decided)
        .into_iter()
        .take(20)
        .map(|term| json!({"term": term.source, "result": term.result, "error": term.error, "values": term.values, "absent": term.absent}))
        .collect();
    put("failed_terms", (!terms.is_empty()).then_some(Json::Array(terms)));
    put("reason", decided.refused.map(|reason| json!(reason.code())));
    found.into_iter().map(|(name, value)| (name.clone(), known::masked(&[], &value))).collect()
}

/// Tokens that nobody vouched for, counted by reason; told at once and then at most once a period.
#[derive(Debug, Default)]
pub struct Flood {
    counts: BTreeMap<&'static str, u64>,
    total: u64,
    told: Option<DateTime<Utc>>,
}

impl Flood {
    /// Counts one; the answer is the event to tell, if it is time.
    pub fn note(&mut self, reason: &Reason, now: DateTime<Utc>, period: chrono::TimeDelta) -> Option<Attestation> {
        *self.counts.entry(reason.code()).or_default() += 1;
        self.total += 1;
        if self.told.is_some_and(|told| now - told < period) {
            return None;
        }
        self.told = Some(now);
        let properties = [("reasons".to_owned(), json!(self.counts)), ("count".to_owned(), json!(self.total))];
        let event = Attestation {
            category: Category::AttestationTokenInvalid,
            open: true,
            resource: None,
            subject: SERVICE.to_owned(),
            time: now,
            description: format!(
                "{} tokens were refused that no accepted issuer vouched for, or that are not for this service.",
                self.total
            ),
            occurrence: now.timestamp().to_string(),
            properties: properties.into_iter().collect(),
        };
        Some(event)
    }
}

/// What was told about each machine, so that a thousand tokens in the same state are told once.
#[derive(Debug)]
pub struct Told {
    machines: HashMap<String, Machine>,
    limit: usize,
}

#[derive(Debug, Default)]
struct Machine {
    told: HashMap<Category, (bool, DateTime<Utc>)>,
    /// Whether all that is open is in `told`, so that there is nothing else to close.
    complete: bool,
}

impl Told {
    /// Remembers so many machines.
    pub fn new(limit: usize) -> Self {
        Self { machines: HashMap::new(), limit }
    }

    /// Leaves only what is news: what opens or closes, and what is still open after `repeat`.
    pub fn news(&mut self, events: Vec<Attestation>, repeat: chrono::TimeDelta) -> Vec<Attestation> {
        events.into_iter().filter(|event| self.is_news(event, repeat)).collect()
    }

    /// Remembers what is told another way.
    pub fn note(&mut self, event: &Attestation) {
        if event.category.closes_itself() {
            self.machine(&event.subject).told.insert(event.category, (event.open, event.time));
        }
    }

    /// Whether anything is remembered of it.
    pub fn knows(&self, subject: &str) -> bool {
        self.machines.contains_key(subject)
    }

    /// What is open: categories with the time they were last told.
    pub fn open(&self, subject: &str) -> serde_json::Map<String, Json> {
        let told = self.machines.get(subject).into_iter().flat_map(|machine| &machine.told);
        told.filter(|(_, (open, _))| *open).map(|(category, (_, at))| (category.name().to_owned(), json!(at))).collect()
    }

    /// Everything that is open of a machine that is not known yet, as [`Told::open`] gave it.
    pub fn recall(&mut self, subject: &str, open: &serde_json::Map<String, Json>) {
        if self.knows(subject) {
            return;
        }
        let at = |category: Category| {
            let text = open.get(category.name())?.as_str()?;
            Some((category, (true, DateTime::parse_from_rfc3339(text).ok()?.to_utc())))
        };
        let told = Category::ALL.into_iter().filter_map(at).collect();
        *self.machine(subject) = Machine { told, complete: true };
    }

    /// Forgets a machine.
    pub fn forget(&mut self, subject: &str) {
        self.machines.remove(subject);
    }

    fn machine(&mut self, subject: &str) -> &mut Machine {
        if self.machines.len() >= self.limit && !self.machines.contains_key(subject) {
            self.machines.clear();
        }
        self.machines.entry(subject.to_owned()).or_default()
    }

    fn is_news(&mut self, event: &Attestation, repeat: chrono::TimeDelta) -> bool {
        // Each replay and each release is an event of its own.
        if !event.category.closes_itself() {
            return true;
        }
        let machine = self.machine(&event.subject);
        let news = match machine.told.get(&event.category) {
            None => event.open || !machine.complete,
            Some((open, at)) => *open != event.open || (event.open && event.time - *at >= repeat),
        };
        if news {
            machine.told.insert(event.category, (event.open, event.time));
        }
        news
    }
}

/// The machines that attested, and when they are missed.
#[derive(Debug)]
pub struct Expected {
    hours: u32,
    machines: HashMap<String, DateTime<Utc>>,
}

impl Expected {
    /// Misses a machine after so many hours; 0 never.
    pub fn every(hours: u32) -> Self {
        Self { hours, machines: HashMap::new() }
    }

    /// A machine attested. The answer is whether machines are missed at all.
    pub fn seen(&mut self, resource: String, now: DateTime<Utc>) -> bool {
        if self.hours > 0 && (self.machines.len() < 20_000 || self.machines.contains_key(&resource)) {
            self.machines.insert(resource, now);
        }
        self.hours > 0
    }

    /// The machines missed since the last call: each is told once, until it attests again.
    pub fn missed(&mut self, now: DateTime<Utc>) -> Vec<Attestation> {
        let bound = chrono::TimeDelta::hours(i64::from(self.hours));
        let late: Vec<(String, DateTime<Utc>)> = self
            .machines
            .iter()
            .filter(|(_, last)| self.hours > 0 && now - **last >= bound)
            .map(|(resource, last)| (resource.clone(), *last))
            .collect();
        late.into_iter()
            .map(|(resource, last)| {
                self.machines.remove(&resource);
                Attestation {
                    category: Category::AttestationMissing,
                    open: true,
                    resource: Some(resource.clone()),
                    subject: resource,
                    time: now,
                    description: format!(
                        "The last good attestation was at {}; one is expected every {} hours.",
                        last.to_rfc3339(),
                        self.hours
                    ),
                    occurrence: last.timestamp().to_string(),
                    properties: Properties::new(),
                }
            })
            .collect()
    }
}
