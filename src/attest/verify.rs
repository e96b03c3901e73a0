//! A token, keys, a policy and the time → claims that can be relied on, or the reason why not.
//!
//! The order is fixed: size and form, the path (published keys or certificate chain, never one after the other), the
//! key, the signature, and only then the claims: issuer, audience, times. Whether there is a nonce stands between
//! [`verify`] and [`judge`], which asks family and condition; that nothing was used before, which needs memory, comes last.

use serde_json::Value as Json;

use super::cel::Budget;
use super::chain::{self, Roots};
use super::claims::Claims;
use super::json;
use super::keys::KeySet;
use super::policy::{Answer, Explanation, Family, Policy, TokenKind};
use super::reason::Reason;
use super::token::{Parts, TokenHash, take_apart};

/// What a token is verified with.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'k> {
    /// The issuer's keys; `None` when they cannot be had.
    pub keys: Option<&'k KeySet>,
    /// The pinned roots.
    pub roots: &'k Roots,
}

/// Claims that the issuer signed, within their time and for us.
#[derive(Clone)]
pub struct Verified {
    /// The claims.
    pub claims: Json,
    /// What identifies the token.
    pub hash: TokenHash,
    /// The key's id.
    pub kid: Option<String>,
    /// By which keys it was signed.
    pub kind: TokenKind,
    /// When it ends, Unix seconds.
    pub expires: i64,
}

impl std::fmt::Debug for Verified {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verified").field("hash", &self.hash).field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// The kind of a token, as its header says: which keys are needed.
pub fn kind(parts: &Parts<'_>) -> TokenKind {
    if parts.chain.is_some() { TokenKind::Pki } else { TokenKind::Oidc }
}

/// Verifies a token's form, signature, issuer, audience and times at `now`, Unix seconds.
pub fn verify(token: &str, policy: &Policy, trust: Trust<'_>, now: i64) -> Result<Verified, Reason> {
    verify_parts(take_apart(token)?, policy, trust, now)
}

/// As [`verify`], of a token already taken apart.
pub fn verify_parts(parts: Parts<'_>, policy: &Policy, trust: Trust<'_>, now: i64) -> Result<Verified, Reason> {
    let verified = signed(parts, &policy.tokens, trust, now)?;
    meant_for(&verified, policy, now)?;
    Ok(verified)
}

/// Whether claims that their issuer signed are the policy's issuer's, for its audience, and within their time.
pub fn meant_for(verified: &Verified, policy: &Policy, now: i64) -> Result<(), Reason> {
    check_claims(&verified.claims, policy, now).map(drop)
}

/// The claims of a token whose signature is good, and nothing more: issuer, audience and times are not looked at.
/// For tokens that were not shown to us, such as those found in logs.
pub fn signed(parts: Parts<'_>, kinds: &[TokenKind], trust: Trust<'_>, now: i64) -> Result<Verified, Reason> {
    let kind = kind(&parts);
    if !kinds.contains(&kind) {
        return Err(Reason::KindNotAccepted(match kind {
            TokenKind::Oidc => "it has no certificate chain",
            TokenKind::Pki => "it has a certificate chain",
        }));
    }
    let good = match (kind, &parts.chain) {
        (TokenKind::Pki, Some(chain)) => {
            chain::leaf_key(chain, parts.kid.as_deref(), trust.roots, now)?.verifies(parts.signed, &parts.signature)
        }
        _ => {
            let kid = parts.kid.as_deref().ok_or(Reason::KeyMissing)?;
            let keys = trust.keys.ok_or(Reason::KeysUnavailable)?;
            let missing = || if keys.has_unsuitable(kid) { Reason::KeyUnsuitable } else { Reason::KeyUnknown };
            keys.find(kid).ok_or_else(missing)?.verifies(parts.signed, &parts.signature)
        }
    };
    if !good {
        return Err(Reason::Signature);
    }
    let claims = json::read(&parts.payload, json::DEPTH).map_err(|error| {
        Reason::Claims(if error.what.contains("twice") { "a member stands twice" } else { "they are not plain JSON" })
    })?;
    if !claims.is_object() {
        return Err(Reason::Claims("they are not an object"));
    }
    let expires = claims.get("exp").and_then(Json::as_i64).unwrap_or_default();
    Ok(Verified { claims, hash: parts.hash, kid: parts.kid, kind, expires })
}

fn check_claims(claims: &Json, policy: &Policy, now: i64) -> Result<i64, Reason> {
    match claims.get("iss") {
        Some(Json::String(issuer)) if *issuer == policy.issuer => {}
        Some(Json::String(_)) => return Err(Reason::Issuer),
        _ => return Err(Reason::Claims("iss is not a text")),
    }
    if claims.get("sub").and_then(Json::as_str).is_none() {
        return Err(Reason::Claims("sub is not a text"));
    }
    check_audience(claims.get("aud"), policy)?;
    check_times(claims, policy, now)
}

fn check_audience(audience: Option<&Json>, policy: &Policy) -> Result<(), Reason> {
    let accepted = |text: &str| policy.audiences.iter().any(|audience| audience == text);
    let good = match audience {
        Some(Json::String(text)) => accepted(text),
        Some(Json::Array(items)) if !items.is_empty() => {
            let texts: Option<Vec<&str>> = items.iter().map(Json::as_str).collect();
            texts.ok_or(Reason::Claims("aud holds something other than texts"))?.into_iter().any(accepted)
        }
        _ => return Err(Reason::Claims("aud is neither a text nor a list of texts")),
    };
    if good { Ok(()) } else { Err(Reason::Audience) }
}

fn check_times(claims: &Json, policy: &Policy, now: i64) -> Result<i64, Reason> {
    let time = |name: &str, wrong: &'static str| {
        claims
            .get(name)
            .and_then(Json::as_i64)
            .filter(|time| (0..=253_402_300_799).contains(time))
            .ok_or(Reason::Claims(wrong))
    };
    let expires = time("exp", "exp is not a whole number")?;
    let begins = time("nbf", "nbf is not a whole number")?;
    let issued = time("iat", "iat is not a whole number")?;
    let seconds = |duration: std::time::Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    let leeway = seconds(policy.leeway);
    if now >= expires + leeway {
        return Err(Reason::Expired);
    }
    if begins - leeway > now || issued > now + leeway {
        return Err(Reason::NotYetValid);
    }
    if expires <= issued {
        return Err(Reason::Claims("exp is not after iat"));
    }
    if expires - issued > seconds(policy.max_lifetime) {
        return Err(Reason::Lifetime);
    }
    if policy.max_age.is_some_and(|age| now - issued > seconds(age).saturating_add(leeway)) {
        return Err(Reason::TooOld);
    }
    Ok(expires)
}

/// Asks whether the policy lets verified claims pass: family first, then the condition. The budget is then short if the
/// condition needs more.
pub fn judge(verified: &Verified, policy: &Policy, budget: &mut Budget) -> Result<(), Reason> {
    may_pass(&verified.claims, policy)?;
    of_answer(&policy.ask_within(&verified.claims, budget))
}

/// The judgement with its explanation, which the budget is for too.
pub fn explain(verified: &Verified, policy: &Policy, budget: &mut Budget) -> (Result<(), Reason>, Explanation) {
    let (answer, mut explained) = policy.ask_and_explain(&verified.claims, budget);
    let judgement = explain_passing(&verified.claims, policy, &mut explained).and_then(|()| of_answer(&answer));
    (judgement, explained)
}

fn of_answer(answer: &Answer) -> Result<(), Reason> {
    match answer {
        Answer::True => Ok(()),
        Answer::False => Err(Reason::PolicyDenied),
        Answer::Error(_) | Answer::NotBoolean(_) => Err(Reason::PolicyError),
    }
}

/// Whether claims pass what a policy asks of them beside its condition; else the explanation tells it as its error.
pub fn explain_passing(claims: &Json, policy: &Policy, explained: &mut Explanation) -> Result<(), Reason> {
    let passing = may_pass(claims, policy);
    if let Err(reason) = &passing {
        explained.allowed = false;
        explained.error = Some(match reason {
            Reason::Family => format!("{reason}: {}", family_of(claims)),
            _ => reason.to_string(),
        });
    }
    passing
}

/// Whether anything passes the policy, and tokens of this family do.
fn may_pass(claims: &Json, policy: &Policy) -> Result<(), Reason> {
    policy.off.map_or(Ok(()), |off| Err(Reason::PolicyOff(off)))?;
    check_family(claims, policy.family)
}

/// `swname` tells the family. A profile of Google's names it again; another issuer has one profile for all it attests.
fn check_family(claims: &Json, family: Family) -> Result<(), Reason> {
    let (name, profile) = match family {
        Family::Any => return Ok(()),
        Family::ConfidentialSpace => ("CONFIDENTIAL_SPACE", "/confidential-space/"),
        Family::ConfidentialVm => ("GCE", "/confidential-vm/"),
    };
    let claims = Claims(claims);
    let told = claims.text("eat_profile").filter(|found| is_googles(found));
    let profiled = told.is_none_or(|found| found.contains(profile));
    if claims.text("swname") == Some(name) && profiled { Ok(()) } else { Err(Reason::Family) }
}

/// Whether a profile is a page of Google's. What names no host counts as one too.
fn is_googles(profile: &str) -> bool {
    let host = url::Url::parse(profile).ok().and_then(|url| url.host_str().map(str::to_owned));
    host.is_none_or(|host| host == "google.com" || host.ends_with(".google.com"))
}

/// What tells the family of a token.
fn family_of(claims: &Json) -> String {
    let told = |name: &str| match Claims(claims).at(name) {
        Some(value) => format!("{name} is {value}"),
        None => format!("{name} is not in the token"),
    };
    ["swname", "eat_profile"].map(told).join(", ")
}
