//! What a verdict means for the machine it is about: events that become findings, and those that close them.
//!
//! Only verified claims choose a machine. What nobody vouched for is counted, and told as one finding.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};

use super::claims::Claims;
pub use super::expected::{Expected, Watch};
pub use super::flood::{Flood, Forged};
use super::policy::accepted::INTEL;
use super::policy::{Explanation, Policy, known};
use super::reason::Reason;
pub use super::standing::{Live, Told, is_tracked};
use super::verify::Verified;
use crate::event::attestation::{Attestation, Category, Evidence};
use crate::finding::Properties;

/// The subject of what is about this service rather than about a machine.
pub const SERVICE: &str = "attestation-service";

/// What was decided about a verified token.
#[derive(Debug, Clone, Copy)]
pub struct Decided<'d> {
    /// The token's claims and marks.
    pub verified: &'d Verified,
    /// The policy that decided: of several that were asked, the one that allowed or came nearest.
    pub policy: &'d Policy,
    /// Whether the policy's tokens are known to be of machines. Else only one that speaks of a machine says something of
    /// it: providers for GitHub's tokens are policies of the same form.
    pub attests: bool,
    /// The names of all that were asked, of which one had to allow; empty when that one alone was.
    pub asked: &'d [String],
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
    let mut events = opened(decided);
    events.extend(closed(decided, &events));
    events
}

/// What is wrong with the machine, or was done for it.
pub fn opened(decided: Decided<'_>) -> Vec<Attestation> {
    let mut found: BTreeMap<&'static str, (Category, String)> = BTreeMap::new();
    let mut add = |category: Category, text: String| {
        found.insert(category.name(), (category, text));
    };
    let claims = Claims(&decided.verified.claims);
    if decided.attests || claims.speak_of_a_machine() {
        machine(claims, decided, &mut add);
    }
    refusal(decided, &mut add);
    if let Some(secret) = decided.released {
        add(Category::AttestationSecretReleased, format!("The secret {secret} was released to this machine."));
    }
    found.into_values().map(|(category, text)| make(decided, category, true, text)).collect()
}

/// What a good attestation closes, beside what it opened.
pub fn closed(decided: Decided<'_>, opened: &[Attestation]) -> Vec<Attestation> {
    if decided.refused.is_some() {
        return Vec::new();
    }
    let of_machine = Claims(&decided.verified.claims).instance().is_some();
    let closes = |category: &Category| category.closes_itself() && (of_machine || !category.happens());
    let gone = |category: &Category| closes(category) && !opened.iter().any(|one| one.category == *category);
    Category::ALL.into_iter().filter(gone).map(|category| make(decided, category, false, String::new())).collect()
}

fn refusal(decided: Decided<'_>, add: &mut dyn FnMut(Category, String)) {
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
        Some(Reason::PolicyOff(off)) => add(
            Category::AttestationPolicyError,
            format!("The policy {} denied this machine's token: {off}.", decided.policy.name),
        ),
        Some(Reason::Replayed) => {
            add(Category::AttestationTokenReplayed, "A token, or a nonce in it, was used before.".into());
        }
        _ => {}
    }
}

fn machine(claims: Claims<'_>, decided: Decided<'_>, add: &mut dyn FnMut(Category, String)) {
    if claims.is_debug_image() {
        add(Category::AttestationDebugImage, "The machine runs a debug image of Confidential Space.".into());
    }
    let support = claims.texts("submods.confidential_space.support_attributes");
    // Debug images have no attributes. A production image without any, as those of 2023, is not STABLE either.
    let production = claims.text("swname") == Some("CONFIDENTIAL_SPACE") && !claims.is_debug_image();
    match support.as_slice() {
        [] if production => {
            add(Category::AttestationUnsupportedImage, "The token names no support attributes of the image.".into());
        }
        [_, ..] if !support.contains(&"STABLE") => {
            add(Category::AttestationUnsupportedImage, format!("The image is only {}.", support.join(", ")));
        }
        _ => {}
    }
    let model = claims.text("hwmodel").unwrap_or("not named");
    let strong = ["GCP_AMD_SEV", "GCP_AMD_SEV_ES", "GCP_AMD_SEV_SNP", "GCP_INTEL_TDX"].contains(&model)
        || (model == "INTEL_TDX" && claims.text("iss").is_some_and(|issuer| INTEL.contains(&issuer)));
    let secure_boot = claims.at("secboot").and_then(Json::as_bool);
    if !strong || secure_boot == Some(false) {
        let boot = if secure_boot == Some(false) { "off" } else { "on or not told" };
        add(Category::AttestationWeakHardware, format!("The hardware model is {model}, secure boot is {boot}."));
    }
    if let Some(text) = outdated(claims, decided.policy.max_tcb_age, decided.now) {
        add(Category::AttestationTcbOutOfDate, text);
    }
    let overridden: Vec<&str> = [
        ("the command", claims.non_empty("submods.container.cmd_override")),
        ("the environment", claims.non_empty("submods.container.env_override")),
        ("memory monitoring", claims.is_monitored()),
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

/// Whose word on a TCB, and by which members of `tdx`.
struct TcbWords {
    name: &'static str,
    status: &'static str,
    date: &'static str,
    /// That it says nothing is a doubt.
    needed: bool,
}

/// What is out of date of the platform, if anything is known to be, or cannot be told of Google's TDX hardware or of a
/// date that the policy limits. Of several parts, and of what Google and Intel say, the first that is.
fn outdated(claims: Claims<'_>, limit: Option<std::time::Duration>, now: DateTime<Utc>) -> Option<String> {
    let google = claims.text("hwmodel") == Some("GCP_INTEL_TDX");
    let parts = claims.tdx();
    if parts.is_empty() && google && limit.is_some() {
        return Some("The TCB's status and date are not told.".to_owned());
    }
    let outdated = |tdx: Claims<'_>, told: &TcbWords| {
        let status = tdx.text(told.status);
        let date = limit.and_then(|most| doubt(tdx.at(told.date), most, told.needed, now));
        let good = status.map_or(!told.needed, |status| status == "UpToDate");
        let said = || format!("{} is {}{}.", told.name, status.unwrap_or("not told"), date.unwrap_or_default());
        (date.is_some() || !good).then(said)
    };
    let googles = TcbWords {
        name: "The TCB status",
        status: "gcp_attester_tcb_status",
        date: "gcp_attester_tcb_date",
        needed: google,
    };
    let intels = TcbWords {
        name: "The TCB status that Intel tells",
        status: "attester_tcb_status",
        date: "attester_tcb_date",
        needed: false,
    };
    parts.into_iter().find_map(|tdx| [&googles, &intels].into_iter().find_map(|told| outdated(tdx, told)))
}

/// What speaks against a TCB's date when the policy limits its age.
fn doubt(date: Option<&Json>, most: std::time::Duration, needed: bool, now: DateTime<Utc>) -> Option<&'static str> {
    let Some(date) = date else { return needed.then_some(", its date is not told") };
    let Ok(date) = DateTime::parse_from_rfc3339(date.as_str().unwrap_or_default()) else {
        return Some(", its date cannot be read");
    };
    let age = (now - date.to_utc()).to_std().ok()?;
    (age > most).then_some(", its date older than the policy allows")
}

fn failed<'d>(decided: Decided<'d>) -> Vec<&'d super::policy::Term> {
    decided.explanation.map(|explanation| explanation.causes().collect()).unwrap_or_default()
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
        evidence: evidence(decided, category, open),
        properties,
    }
}

fn evidence(decided: Decided<'_>, category: Category, open: bool) -> Evidence {
    let claims = Claims(&decided.verified.claims);
    let policy = Some(decided.policy.name.clone());
    let outdated = |limit| outdated(claims, limit, decided.now);
    let is_limited = open && category == Category::AttestationTcbOutOfDate;
    let by_limit = is_limited && outdated(decided.policy.max_tcb_age) != outdated(None);
    // Of the policies that were asked together it is this one's limit.
    let asked = if by_limit { Vec::new() } else { decided.asked.to_vec() };
    let issuer = claims.text("iss").map(str::to_owned);
    Evidence { issued: claims.issued(), policy, issuer, by_limit, asked, told: false }
}

fn properties(decided: Decided<'_>) -> Properties {
    let verified = decided.verified;
    let claims = Claims(&verified.claims);
    let mut found = Properties::new();
    let mut put = |name: &'static str, value: Option<Json>| {
        if let Some(value) = value {
            found.insert(name, value);
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
    found.into_iter().map(|(name, value)| (name, known::masked(false, &value))).collect()
}
