//! The claims that Google's attestation tokens are known to have, for suggestions and for the linter.

use crate::attest::cel::node::Node;

/// Every known claim by its path under `assertion`. A path that ends in `.*` has free names below.
pub const CLAIMS: &[&str] = &[
    "iss",
    "aud",
    "sub",
    "iat",
    "nbf",
    "exp",
    "jti",
    "eat_nonce",
    "eat_profile",
    "secboot",
    "oemid",
    "hwmodel",
    "swname",
    "swversion",
    "dbgstat",
    "attester_tcb",
    "google_service_accounts",
    "tdx",
    "tdx.gcp_attester_tcb_status",
    "tdx.gcp_attester_tcb_date",
    "submods",
    "submods.confidential_space",
    "submods.confidential_space.support_attributes",
    "submods.confidential_space.monitoring_enabled",
    "submods.confidential_space.monitoring_enabled.memory",
    "submods.container",
    "submods.container.image_reference",
    "submods.container.image_digest",
    "submods.container.image_id",
    "submods.container.restart_policy",
    "submods.container.cmd_override",
    "submods.container.env_override",
    "submods.container.env_override.*",
    "submods.container.env",
    "submods.container.env.*",
    "submods.container.args",
    "submods.container.image_signatures",
    "submods.gce",
    "submods.gce.zone",
    "submods.gce.project_id",
    "submods.gce.project_number",
    "submods.gce.instance_name",
    "submods.gce.instance_id",
    "submods.nvidia_gpu",
    "submods.nvidia_gpu.cc_mode",
    "submods.nvidia_gpu.cc_feature",
    "submods.nvidia_gpu.gpus",
    "tee",
    "tee.*",
    "https://aws.amazon.com/tags",
    "https://aws.amazon.com/tags.*",
];

/// Whether a path under `assertion` is known.
pub fn is_known(segments: &[String]) -> bool {
    let path = segments.join(".");
    CLAIMS.contains(&path.as_str())
        || CLAIMS.iter().filter_map(|claim| claim.strip_suffix(".*")).any(|root| path.starts_with(&format!("{root}.")))
        || segments.last().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
            && is_known(&segments[..segments.len() - 1])
}

/// The known claim that a path most likely meant: one with the same last name elsewhere, or one spelled nearly so.
pub fn meant(segments: &[String]) -> Option<&'static str> {
    let last = segments.last()?;
    let named = |claim: &&&str| claim.rsplit('.').next() == Some(last.as_str());
    let elsewhere = CLAIMS.iter().find(named).copied();
    elsewhere.or_else(|| {
        let path = segments.join(".");
        crate::attest::nearest::nearest(&path, CLAIMS.iter().copied().filter(|claim| !claim.ends_with('*')))
    })
}

/// Whether a claim's value must not be shown.
pub fn is_secret(segments: &[String]) -> bool {
    segments.iter().any(|segment| names_secret(segment))
}

/// Whether an expression takes something from a claim that must not be shown, or from one that holds such a claim.
/// Whether a claim is there is no secret.
pub fn takes_secret(expression: &Node, claims: &serde_json::Value) -> bool {
    let mut waiting = vec![expression];
    while let Some(node) = waiting.pop() {
        match node.path() {
            _ if matches!(node, Node::Has { .. }) => {}
            Some(path) if is_secret(&path.segments) || path.resolve(claims).is_some_and(holds_secret) => return true,
            Some(_) => {}
            None => waiting.extend(node.children()),
        }
    }
    false
}

fn holds_secret(value: &serde_json::Value) -> bool {
    match value {
        serde_json::Value::Object(entries) => {
            entries.iter().any(|(name, value)| names_secret(name) || holds_secret(value))
        }
        serde_json::Value::Array(items) => items.iter().any(holds_secret),
        _ => false,
    }
}

fn names_secret(name: &str) -> bool {
    const HIDDEN: [&str; 3] = ["env", "env_override", "eat_nonce"];
    const WORDS: [&str; 8] =
        ["password", "passwd", "secret", "token", "credential", "api_key", "apikey", "private_key"];
    let lower = name.to_ascii_lowercase();
    HIDDEN.contains(&lower.as_str()) || WORDS.iter().any(|word| lower.contains(word))
}

/// The most parts of one value that are shown.
const SHOWN: usize = 1000;

/// A claim's value with everything secret in it replaced; all of it, when the claim itself is. Long texts and values of
/// very many parts are cut.
pub fn masked(secret: bool, value: &serde_json::Value) -> serde_json::Value {
    let mut left = SHOWN;
    mask(secret, value, &mut left)
}

fn mask(secret: bool, value: &serde_json::Value, left: &mut usize) -> serde_json::Value {
    use serde_json::Value as Json;
    let Some(rest) = left.checked_sub(1) else { return Json::from("…") };
    *left = rest;
    match value {
        Json::Object(entries) => {
            let mut shown = serde_json::Map::new();
            for (name, value) in entries {
                if *left == 0 {
                    shown.insert("…".to_owned(), Json::from(format!("{} members in all", entries.len())));
                    break;
                }
                shown.insert(shortened(name), mask(secret || names_secret(name), value, left));
            }
            Json::Object(shown)
        }
        Json::Array(items) => {
            let mut shown = Vec::new();
            for item in items {
                if *left == 0 {
                    shown.push(Json::from(format!("… {} elements in all", items.len())));
                    break;
                }
                shown.push(mask(secret, item, left));
            }
            Json::Array(shown)
        }
        Json::Null | Json::Bool(_) => value.clone(),
        Json::String(_) | Json::Number(_) if secret => Json::from("***"),
        // A JSON Web Token in any claim is a credential, whatever the claim is called.
        Json::String(text) if text.contains("eyJ") => Json::from(shortened(&crate::attest::token::cut(text))),
        Json::String(text) => Json::from(shortened(text)),
        Json::Number(_) => value.clone(),
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= 512 {
        return text.to_owned();
    }
    text.chars().take(500).chain(['…']).collect()
}
