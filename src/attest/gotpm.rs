//! What `gotpm token --cloud-log` writes: a challenge, the evidence, a complete bearer token, and its claims.
//!
//! The entries are written by the guest, with labels the guest chose; only a verified token is believed. The token
//! is a credential until it expires, so it is cut out of everything that is kept.

use chrono::{DateTime, Utc};
use serde_json::{Value as Json, json};

use super::claims::Claims;
use super::policy::TokenKind;
use super::token::{TokenHash, take_apart};
use super::verify::{Reason, Trust, signed};
use crate::event::attestation::{Attestation, Category};
use crate::event::finding::Properties;

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

/// Which kind a log entry is; `None` when it is not of the log `gotpm`, or of no known form.
pub fn classify(entry: &Json) -> Option<Kind> {
    let log = entry.get("logName")?.as_str()?;
    if !log.ends_with("/logs/gotpm") {
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
        Json::String(text) if looks_like_token(text) => match take_apart(text) {
            Ok(parts) => json!(format!("(token, sha256 {})", parts.hash)),
            Err(_) => json!("(token)"),
        },
        Json::Array(items) => Json::Array(items.iter().map(redact).collect()),
        Json::Object(members) => {
            let member = |(name, value): (&String, &Json)| {
                let nonce = ["Nonce", "eat_nonce", "env", "env_override"].contains(&name.as_str()) && !value.is_null();
                (name.clone(), if nonce { json!("(hidden)") } else { redact(value) })
            };
            Json::Object(members.iter().map(member).collect())
        }
        other => other.clone(),
    }
}

/// The key id that the entry's token names, so that its issuer's keys can be had.
pub fn key_id(entry: &Json) -> Option<String> {
    take_apart(token(entry)?).ok()?.kid
}

fn token(entry: &Json) -> Option<&str> {
    entry.get("jsonPayload")?.get("token")?.as_str().map(str::trim)
}

fn looks_like_token(text: &str) -> bool {
    let text = text.trim();
    text.starts_with("eyJ") && text.matches('.').count() == 2 && text.len() > 60
}

/// What an entry with a token says about the machine that wrote it.
pub fn examine(entry: &Json, issuer: &str, trust: Trust<'_>, now: DateTime<Utc>) -> Vec<Attestation> {
    let Some(text) = token(entry).filter(|_| classify(entry) == Some(Kind::Token)) else { return Vec::new() };
    let verified =
        take_apart(text).and_then(|parts| signed(parts, &[TokenKind::Oidc, TokenKind::Pki], trust, now.timestamp()));
    let verified = match verified {
        Ok(verified) if Claims(&verified.claims).text("iss") == Some(issuer) => verified,
        // The issuer's keys are missing: nothing can be said.
        Err(Reason::KeysUnavailable) => return Vec::new(),
        _ => return vec![forged(entry, now)],
    };
    let claims = Claims(&verified.claims);
    let mut found = Vec::new();
    let resource = claims.instance().map(|instance| instance.resource_name());
    let event = |category: Category, description: String| Attestation {
        category,
        open: true,
        subject: resource.clone().unwrap_or_else(|| super::outcome::SERVICE.to_owned()),
        resource: resource.clone(),
        time: now,
        description,
        occurrence: verified.hash.to_string(),
        properties: properties(claims, verified.hash, entry),
    };
    if verified.expires > now.timestamp() {
        let left = (verified.expires - now.timestamp()) / 60;
        found.push(event(
            Category::AttestationTokenExposed,
            format!("gotpm wrote a complete bearer token to the log; it can be used for {left} more minutes."),
        ));
    }
    let labels = |name: &str| {
        entry.get("resource").and_then(|r| r.get("labels")).and_then(|labels| labels.get(name)).and_then(Json::as_str)
    };
    let differs = [
        ("instance_id", "submods.gce.instance_id"),
        ("project_id", "submods.gce.project_id"),
        ("zone", "submods.gce.zone"),
    ]
    .into_iter()
    .filter(|(label, claim)| matches!((labels(label), claims.text(claim)), (Some(l), Some(c)) if l != c))
    .map(|(label, _)| label)
    .collect::<Vec<_>>();
    if !differs.is_empty() {
        found.push(event(
            Category::AttestationClaimsInconsistent,
            format!("The log entry's labels and the verified token differ in {}.", differs.join(", ")),
        ));
    }
    found
}

/// A token in the log that its issuer did not sign: nobody vouches for a machine, so it is the service's finding.
fn forged(entry: &Json, now: DateTime<Utc>) -> Attestation {
    let id = entry.get("insertId").and_then(Json::as_str).unwrap_or_default();
    Attestation {
        category: Category::AttestationTokenInvalid,
        open: true,
        resource: None,
        subject: format!("{}-log", super::outcome::SERVICE),
        time: now,
        description: "The log gotpm holds a token that its issuer did not sign.".into(),
        occurrence: id.to_owned(),
        properties: [("log_entry".to_owned(), redact(entry))].into_iter().collect(),
    }
}

fn properties(claims: Claims<'_>, hash: TokenHash, entry: &Json) -> Properties {
    let mut found = Properties::new();
    found.insert("token_sha256".into(), json!(hash.to_string()));
    for name in ["iss", "aud", "hwmodel", "swname"] {
        if let Some(text) = claims.text(name) {
            found.insert(name.into(), json!(text));
        }
    }
    for name in ["logName", "insertId", "timestamp"] {
        if let Some(text) = entry.get(name).and_then(Json::as_str) {
            found.insert(name.into(), json!(text));
        }
    }
    found
}
