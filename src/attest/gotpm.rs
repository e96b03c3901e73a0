//! What `gotpm token --cloud-log` writes: a challenge, the evidence, a complete bearer token, and its claims.
//!
//! The entries are written by the guest, with labels the guest chose; only a verified token is believed. The token
//! is a credential until it expires, so it is cut out of everything that is kept.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};

use super::claims::Claims;
use super::json;
use super::policy::{TokenKind, known};
use super::reason::Reason;
use super::token::{Parts, take_apart};
use super::verify::{Trust, Verified, signed};
use crate::event::attestation::{Attestation, Category, Evidence};
use crate::finding::Properties;
use crate::text::{ellipsis, tokens};

/// The kinds of entries in the log `gotpm`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The service's challenge.
    Challenge,
    /// Quotes and event log.
    Evidence,
    /// The token: a credential.
    Token,
    /// The token's claims, decoded by the guest: not to be believed.
    Claims,
}

/// What nobody vouched for is told at most once in so many seconds.
const FORGED_EVERY: i64 = 600;
/// How far clocks may differ, in seconds.
const LEEWAY: i64 = 60;
/// The longest text of an entry that comes into a finding, in bytes.
const LONGEST: usize = 512;

/// Whether an entry is of the log `gotpm`, whatever its form.
pub fn is_logged(entry: &Json) -> bool {
    entry.get("logName").and_then(Json::as_str).is_some_and(|log| log.ends_with("/logs/gotpm"))
}

/// Which kind a log entry is; `None` when it is not of the log `gotpm`, or of no known form.
pub fn classify(entry: &Json) -> Option<Kind> {
    if !is_logged(entry) {
        return None;
    }
    let payload = entry.get("jsonPayload")?.as_object()?;
    let has = |name: &str| payload.contains_key(name);
    if payload.get("token").is_some_and(Json::is_string) {
        Some(Kind::Token)
    } else if has("Nonce") && has("Name") {
        Some(Kind::Challenge)
    } else if has("ak_pub") || has("quotes") {
        Some(Kind::Evidence)
    } else if has("iss") && has("submods") {
        Some(Kind::Claims)
    } else {
        None
    }
}

/// The entry with every token and nonce in it replaced by what identifies it.
pub fn redact(value: &Json) -> Json {
    match value {
        Json::String(text) => match identified(text) {
            Some(identified) => json!(identified),
            None => json!(tokens::without(text)),
        },
        Json::Array(items) => Json::Array(items.iter().map(redact).collect()),
        Json::Object(members) => {
            let member = |(name, value): (&String, &Json)| {
                let secret = name == "Nonce" || (name != "token" && known::names_secret(name));
                let hidden = secret && !value.is_null();
                let shown = match value {
                    _ if hidden => json!("(hidden)"),
                    // Whatever stands where the token belongs, well-formed or not.
                    Json::String(text) if name == "token" => json!(identified(text).unwrap_or("(token)".into())),
                    value => redact(value),
                };
                (tokens::without(name).into_owned(), shown)
            };
            Json::Object(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

/// The key id that the entry's token names, so that its issuer's keys can be had; `None` when no published key can
/// verify it: without a token, for a malformed one, and for one that brings its certificates.
pub fn key_id(entry: &Json) -> Option<String> {
    let parts = take_apart(token(entry)?).ok()?;
    if parts.chain.is_some() { None } else { parts.kid }
}

/// Who the entry's token says made it: not verified, good only for choosing the keys to verify it with.
pub fn claimed_issuer(entry: &Json) -> Option<String> {
    let parts = take_apart(token(entry)?).ok()?;
    unverified(&parts).get("iss")?.as_str().map(str::to_owned)
}

/// How long ago Logging received the entry, which no guest can choose; nothing when it does not say.
pub fn known_for(entry: &Json, now: DateTime<Utc>) -> Duration {
    let received = entry.get("receiveTimestamp").and_then(Json::as_str);
    let received = received.and_then(|text| DateTime::parse_from_rfc3339(text.trim()).ok());
    received.and_then(|received| (now - received.with_timezone(&Utc)).to_std().ok()).unwrap_or_default()
}

/// What tells an entry from others, as Cloud Logging does: so that one delivered again is known.
pub fn identity(entry: &Json) -> Vec<u8> {
    json!(["logName", "timestamp", "insertId"].map(|name| entry.get(name))).to_string().into_bytes()
}

fn unverified(parts: &Parts<'_>) -> Json {
    json::read(&parts.payload, json::DEPTH).unwrap_or_default()
}

/// The token that an entry holds, whatever its form.
pub fn token(entry: &Json) -> Option<&str> {
    entry.get("jsonPayload")?.get("token")?.as_str().map(str::trim)
}

/// What stands for a text that is a token and nothing else.
fn identified(text: &str) -> Option<String> {
    let parts = take_apart(text.trim()).ok()?;
    Some(format!("(token, sha256 {})", parts.hash))
}

/// What was found out about an entry with a token.
#[derive(Debug, Default)]
pub struct Examined {
    /// What is to be told of it.
    pub events: Vec<Attestation>,
    /// Whether its issuer vouches for the token.
    pub vouched: bool,
    /// The token, when its issuer vouches for it and it can still be used.
    pub live: Option<Verified>,
    /// Whether the entry's labels name the token's machine: an entry may have none, as the guest chooses them.
    pub labelled: bool,
}

/// What an entry with a token says about the machine that wrote it.
pub fn examine(entry: &Json, issuer: &str, trust: Trust<'_>, now: DateTime<Utc>) -> Examined {
    let Some(text) = token(entry).filter(|_| classify(entry) == Some(Kind::Token)) else { return Examined::default() };
    match vouched(text, issuer, trust, now) {
        Ok(Some(verified)) => {
            let events = told(entry, &verified, now);
            let labelled = labels_name(entry, Claims(&verified.claims));
            let live = Some(verified).filter(|verified| is_live(verified, now.timestamp()));
            Examined { events, vouched: true, live, labelled }
        }
        Ok(None) => Examined::default(),
        Err(reason) => Examined { events: vec![forged(entry, &reason, now)], ..Examined::default() },
    }
}

/// Whether it says something about now: it has not expired, and it is not for later.
fn is_live(verified: &Verified, now: i64) -> bool {
    let begins = ["nbf", "iat"].map(|name| verified.claims.get(name).and_then(Json::as_i64).unwrap_or_default());
    verified.expires > now && begins.iter().all(|begins| begins.saturating_sub(LEEWAY) <= now)
}

/// The token, if its issuer vouches for it; `None` when nothing can be said: the issuer's keys are missing, or an old
/// entry outlived its key, which is no longer published or published for something else.
fn vouched(text: &str, issuer: &str, trust: Trust<'_>, now: DateTime<Utc>) -> Result<Option<Verified>, Reason> {
    let parts = take_apart(text)?;
    let over = unverified(&parts).get("exp").and_then(Json::as_i64).is_some_and(|exp| exp <= now.timestamp());
    match signed(parts, &[TokenKind::Oidc, TokenKind::Pki], trust, now.timestamp()) {
        Ok(verified) if Claims(&verified.claims).text("iss") == Some(issuer) => Ok(Some(verified)),
        Ok(_) => Err(Reason::Issuer),
        Err(Reason::KeysUnavailable) => Ok(None),
        Err(Reason::KeyUnknown | Reason::KeyUnsuitable | Reason::ChainExpired) if over => Ok(None),
        Err(reason) => Err(reason),
    }
}

fn told(entry: &Json, verified: &Verified, now: DateTime<Utc>) -> Vec<Attestation> {
    let claims = Claims(&verified.claims);
    let resource = claims.instance().map(|instance| instance.resource_name());
    let event = |category: Category, description: String| Attestation {
        category,
        open: true,
        subject: resource.clone().unwrap_or_else(|| super::outcome::SERVICE.to_owned()),
        resource: resource.clone(),
        time: now,
        description,
        occurrence: verified.hash.to_string(),
        evidence: Evidence {
            issued: claims.issued(),
            issuer: claims.text("iss").map(str::to_owned),
            ..Evidence::default()
        },
        properties: properties(verified, entry),
    };
    let mut found = Vec::new();
    if verified.expires > now.timestamp() {
        let left = (verified.expires - now.timestamp()) / 60;
        found.push(event(
            Category::AttestationTokenExposed,
            format!("gotpm wrote a complete bearer token to the log; it can be used for {left} more minutes."),
        ));
    }
    let mut differs = labels_that_differ(entry, claims);
    if is_of_another_project(entry, claims) {
        differs.push("the project of logName");
    }
    if !differs.is_empty() {
        found.push(event(
            Category::AttestationClaimsInconsistent,
            format!("The log entry and the verified token differ in {}.", differs.join(", ")),
        ));
    }
    found
}

/// The labels of an entry, and the claims that say the same.
const LABELS: [(&str, &str); 3] = [
    ("instance_id", "submods.gce.instance_id"),
    ("project_id", "submods.gce.project_id"),
    ("zone", "submods.gce.zone"),
];

/// A label of the entry. An empty one says nothing.
fn label<'e>(entry: &'e Json, name: &str) -> Option<&'e str> {
    entry.get("resource")?.get("labels")?.get(name)?.as_str().filter(|label| !label.is_empty())
}

fn labels_that_differ(entry: &Json, claims: Claims<'_>) -> Vec<&'static str> {
    let differ =
        |(name, claim): &(&str, &str)| matches!((label(entry, name), claims.text(claim)), (Some(l), Some(c)) if l != c);
    LABELS.into_iter().filter(differ).map(|(name, _)| name).collect()
}

/// Whether the labels say whatever the token says of its machine, its number at least.
fn labels_name(entry: &Json, claims: Claims<'_>) -> bool {
    let same = |(name, claim): (&str, &str)| claims.at(claim).is_none() || label(entry, name) == claims.text(claim);
    claims.text("submods.gce.instance_id").is_some() && LABELS.into_iter().all(same)
}

/// Whether the entry stands in the log of another project than the token's, by the project's id, or by its number where
/// the log is named by that: who may write into another one chooses what its entries say.
fn is_of_another_project(entry: &Json, claims: Claims<'_>) -> bool {
    let log = entry.get("logName").and_then(Json::as_str).and_then(|name| name.trim().strip_suffix("/logs/gotpm"));
    let Some(project) = log.and_then(|container| container.strip_prefix("projects/")) else { return false };
    let is_number = !project.is_empty() && project.bytes().all(|b| b.is_ascii_digit());
    let claim = if is_number { "submods.gce.project_number" } else { "submods.gce.project_id" };
    let told = claims.text(claim).map(str::to_owned);
    let told = if is_number { told } else { told.or_else(|| claims.subject().map(|subject| subject.project)) };
    told.is_some_and(|told| told != project)
}

/// A token in the log that nobody vouches for: it names no machine, so it is the service's finding. However many there
/// are, they are one occurrence in each stretch of time.
fn forged(entry: &Json, reason: &Reason, now: DateTime<Utc>) -> Attestation {
    let mut properties = named(entry);
    properties.insert("reason", reason.code());
    Attestation {
        category: Category::AttestationTokenInvalid,
        open: true,
        resource: None,
        subject: format!("{}-log", super::outcome::SERVICE),
        time: now,
        description: format!("The log gotpm holds a token that no accepted issuer vouches for: {reason}."),
        occurrence: (now.timestamp() / FORGED_EVERY).to_string(),
        evidence: Evidence::default(),
        properties,
    }
}

/// What tells which token it was, without the token.
fn properties(verified: &Verified, entry: &Json) -> Properties {
    let claims = Claims(&verified.claims);
    let mut found = Properties::new();
    found.insert("token_sha256", verified.hash.to_string());
    if let Some(kid) = &verified.kid {
        found.insert("kid", kid.clone());
    }
    for name in ["iss", "aud", "hwmodel", "swname"] {
        if let Some(text) = claims.text(name) {
            found.insert(name, text);
        }
    }
    if let Some(name) = claims.text("submods.gce.instance_name") {
        found.insert("instance_name", name);
    }
    for name in ["iat", "exp"] {
        if let Some(time) = claims.at(name).and_then(Json::as_i64) {
            found.insert(name, time);
        }
    }
    found.extend(named(entry));
    found
}

/// What leads back to the entry. The guest chose it, so it is shortened and searched like everything else of the entry.
fn named(entry: &Json) -> Properties {
    let text = |value: Option<&Json>| Some(json!(ellipsis(&tokens::without(value?.as_str()?), LONGEST)));
    let own = ["logName", "insertId", "timestamp"].map(|name| (name.into(), text(entry.get(name))));
    let labels = entry.get("resource").and_then(|resource| resource.get("labels"));
    let labels = ["project_id", "zone", "instance_id"]
        .map(|name| (format!("label_{name}").into(), text(labels.and_then(|labels| labels.get(name)))));
    own.into_iter().chain(labels).filter_map(|(name, value)| Some((name, value?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_label_says_nothing() {
        let claims = json!({"submods": {"gce": {"zone": "europe-west4-a", "project_id": "acme", "instance_id": "7"}}});
        for (zone, differ) in [("europe-west4-a", &[][..]), ("", &[]), (" ", &["zone"]), ("other", &["zone"])] {
            let entry = json!({"resource": {"labels": {"zone": zone, "project_id": "acme", "instance_id": ""}}});
            assert_eq!(labels_that_differ(&entry, Claims(&claims)), differ, "{zone:?}");
            assert!(!labels_name(&entry, Claims(&claims)), "nor does it name the machine: {zone:?}");
        }
        let whole = json!({"zone": "europe-west4-a", "project_id": "acme", "instance_id": "7"});
        for (left_out, names) in [("", true), ("zone", false), ("project_id", false), ("instance_id", false)] {
            let mut labels = whole.clone();
            labels.as_object_mut().unwrap().remove(left_out);
            let entry = json!({"resource": {"labels": labels}});
            assert_eq!(labels_name(&entry, Claims(&claims)), names, "without {left_out}");
        }
    }

    #[test]
    fn the_log_is_of_the_tokens_project_by_its_id_or_its_number() {
        let gce = json!({"project_id": "acme", "project_number": "123"});
        let sub = json!("https://www.googleapis.com/compute/v1/projects/acme/zones/z/instances/i");
        for (claims, log, other) in [
            (json!({"submods": {"gce": gce}}), "projects/acme", false),
            (json!({"submods": {"gce": gce}}), "projects/evil", true),
            (json!({"submods": {"gce": gce}}), "projects/123", false),
            (json!({"submods": {"gce": gce}}), "projects/456", true),
            (json!({"submods": {"gce": gce}}), "organizations/456", false),
            (json!({"sub": sub}), "projects/acme", false),
            (json!({"sub": sub}), "projects/evil", true),
            (json!({"sub": sub}), "projects/456", false),
            (json!({}), "projects/evil", false),
        ] {
            let entry = json!({"logName": format!("{log}/logs/gotpm")});
            assert_eq!(is_of_another_project(&entry, Claims(&claims)), other, "{log}, {claims}");
        }
    }
}
