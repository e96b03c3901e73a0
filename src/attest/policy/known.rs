//! The claims that Google's attestation tokens are known to have, for suggestions and for the linter.

use std::borrow::Cow;

use serde_json::Value as Json;

use crate::attest::cel::node::{ClaimPath, Node};
use crate::text::secrets::{redact, redact_list};
use crate::text::tokens;

/// What says which support a production image has.
pub(super) const SUPPORT: &str = "submods.confidential_space.support_attributes";

/// The models that Google's tokens name.
pub(super) const MODELS: [&str; 5] =
    ["GCP_AMD_SEV", "GCP_AMD_SEV_ES", "GCP_AMD_SEV_SNP", "GCP_INTEL_TDX", "GCP_SHIELDED_VM"];
/// The families.
pub(super) const SOFTWARE: [&str; 2] = ["CONFIDENTIAL_SPACE", "GCE"];
/// Whether it is a debug image.
pub(super) const DEBUGGING: [&str; 2] = ["enabled", "disabled-since-boot"];

/// Every known claim by its path under `assertion`. A path that ends in `.*` has free names below; `[]` is an element
/// of a list.
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
    "tdx[].gcp_attester_tcb_status",
    "tdx[].gcp_attester_tcb_date",
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
    "submods.container.image_signatures[].key_id",
    "submods.container.image_signatures[].signature",
    "submods.container.image_signatures[].signature_algorithm",
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
    "submods.nvidia_gpu.gpus[].hwmodel",
    "submods.nvidia_gpu.gpus[].driver_version",
    "submods.nvidia_gpu.gpus[].vbios_version",
    "submods.nvidia_gpu.gpus[].ueid",
    "submods.nvidia_gpu.gpus[].l4_serial_number",
    "tee",
    "tee.*",
    "https://aws.amazon.com/tags",
    "https://aws.amazon.com/tags.*",
];

/// A path as the known ones are written.
pub(super) fn written(segments: &[String]) -> String {
    let mut path = String::new();
    for segment in segments {
        if segment.bytes().all(|b| b.is_ascii_digit()) {
            path += "[]";
        } else {
            path += if path.is_empty() { "" } else { "." };
            path += segment;
        }
    }
    path
}

/// Whether a path under `assertion` is a known claim of a fixed name, or an element of one.
pub(super) fn is_fixed(segments: &[String]) -> bool {
    CLAIMS.contains(&written(segments).trim_end_matches("[]"))
}

/// Whether a path is one of a part of the claims that grows: what Google says of GPUs is young, and became more with each
/// release.
pub(super) fn is_growing(segments: &[String]) -> bool {
    written(segments).starts_with("submods.nvidia_gpu.")
}

/// Whether a path under `assertion` is known.
pub fn is_known(segments: &[String]) -> bool {
    let path = written(segments);
    let below = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.starts_with(['.', '[']));
    is_fixed(segments) || CLAIMS.iter().filter_map(|claim| claim.strip_suffix(".*")).any(below)
}

/// The known claim that a path most likely meant: one with the same last name elsewhere, or one spelled nearly so.
pub fn meant(segments: &[String]) -> Option<&'static str> {
    let last = segments.last()?;
    let named = |claim: &&&str| claim.rsplit('.').next() == Some(last.as_str());
    let elsewhere = CLAIMS.iter().find(named).copied();
    elsewhere.or_else(|| {
        let path = written(segments);
        crate::attest::nearest::nearest(&path, CLAIMS.iter().copied().filter(|claim| !claim.ends_with('*')))
    })
}

/// A known claim as an expression names it: of a list, the element of this path, or the first.
pub(super) fn spelled(claim: &str, segments: &[String]) -> String {
    let number = segments.iter().find(|segment| segment.bytes().all(|b| b.is_ascii_digit()));
    claim.replace("[]", &format!("[{}]", number.map_or("0", String::as_str)))
}

/// Whether a claim's value must not be shown.
pub fn is_secret(segments: &[String]) -> bool {
    segments.iter().any(|segment| names_secret(segment))
}

/// Whether an expression takes something from a claim that must not be shown, or from one that holds such a claim.
/// Whether a claim is there is no secret.
pub fn takes_secret(expression: &Node, claims: &Json) -> bool {
    let mut waiting = vec![expression];
    while let Some(node) = waiting.pop() {
        match node.path() {
            _ if matches!(node, Node::Has { .. }) => {}
            Some(path) => {
                let found = path.resolve(claims);
                let argument = || element(&path, claims).is_some_and(|(shown, is)| shown != is);
                if is_secret(&path.segments) || found.is_some_and(holds_secret) || argument() {
                    return true;
                }
            }
            None => waiting.extend(node.children()),
        }
    }
    false
}

fn holds_secret(value: &Json) -> bool {
    match value {
        Json::Object(entries) => entries.iter().any(|(name, value)| names_secret(name) || holds_secret(value)),
        Json::Array(items) => {
            let texts: Vec<_> = items.iter().map(text_of).collect();
            items.iter().any(holds_secret) || redact_list(&texts) != texts
        }
        Json::String(text) => redact(text) != text.as_str(),
        _ => false,
    }
}

/// An element of a list as a text: lists are shown as the command lines that they may be.
fn text_of(item: &Json) -> Cow<'_, str> {
    match item {
        Json::String(text) => Cow::Borrowed(text),
        Json::Array(_) | Json::Object(_) => Cow::Borrowed(""),
        other => Cow::Owned(other.to_string()),
    }
}

/// One element of a list, by its path, beside how it is shown in its list.
fn element(path: &ClaimPath, root: &Json) -> Option<(String, String)> {
    let (last, parent) = path.segments.split_last()?;
    let list = ClaimPath { variable: path.variable, segments: parent.to_vec() };
    let items = list.resolve(root)?.as_array()?.get(..=last.parse().ok()?)?;
    let texts: Vec<_> = items.iter().map(text_of).collect();
    Some((redact_list(&texts).pop()?.into_owned(), texts.last()?.to_string()))
}

/// Whether what has this name must not be shown.
pub fn names_secret(name: &str) -> bool {
    const HIDDEN: [&str; 3] = ["env", "env_override", "eat_nonce"];
    const WORDS: [&str; 8] =
        ["password", "passwd", "secret", "token", "credential", "api_key", "apikey", "private_key"];
    let lower = name.to_ascii_lowercase();
    HIDDEN.contains(&lower.as_str()) || WORDS.iter().any(|word| lower.contains(word))
}

/// The most parts of one value that are shown.
const SHOWN: usize = 1000;

/// The claim at a path as it may be shown, if there is one; none of it, when it is `secret`. Secrets in its texts are found
/// as in command lines, and a list is one command line.
pub fn shown(secret: bool, path: &ClaimPath, root: &Json) -> Option<Json> {
    let value = path.resolve(root)?;
    let mut showing = Showing { left: SHOWN, search: true };
    Some(match element(path, root) {
        Some((shown, is)) if shown != is => showing.mask(secret, &Json::from(shown)),
        _ => showing.mask(secret, value),
    })
}

/// A value of ours with everything in it replaced whose name says that it is secret; all of it, when the value itself
/// is. Long texts and values of very many parts are cut.
pub fn masked(secret: bool, value: &Json) -> Json {
    Showing { left: SHOWN, search: false }.mask(secret, value)
}

/// How a value is shown.
struct Showing {
    /// How many more parts.
    left: usize,
    /// Whether secrets are searched for in texts.
    search: bool,
}

impl Showing {
    fn mask(&mut self, secret: bool, value: &Json) -> Json {
        let Some(rest) = self.left.checked_sub(1) else { return Json::from("…") };
        self.left = rest;
        match value {
            Json::Object(entries) => {
                let mut shown = serde_json::Map::new();
                for (name, value) in entries {
                    if self.left == 0 {
                        shown.insert("…".to_owned(), Json::from(format!("{} members in all", entries.len())));
                        break;
                    }
                    shown.insert(shortened(name), self.mask(secret || names_secret(name), value));
                }
                Json::Object(shown)
            }
            Json::Array(items) => Json::Array(self.list(secret, items)),
            Json::Null | Json::Bool(_) => value.clone(),
            Json::String(_) | Json::Number(_) if secret => Json::from("***"),
            Json::String(text) => Json::from(shortened(&self.text(text))),
            Json::Number(_) => value.clone(),
        }
    }

    fn list(&mut self, secret: bool, items: &[Json]) -> Vec<Json> {
        let searched = if self.search { &items[..items.len().min(self.left)] } else { &[] };
        let texts: Vec<_> = searched.iter().map(text_of).collect();
        let told = redact_list(&texts);
        let mut shown = Vec::new();
        for (at, item) in items.iter().enumerate() {
            if self.left == 0 {
                shown.push(Json::from(format!("… {} elements in all", items.len())));
                break;
            }
            let hidden = told.get(at).filter(|told| **told != texts[at]).map(|told| Json::from(&**told));
            shown.push(self.mask(secret, hidden.as_ref().unwrap_or(item)));
        }
        shown
    }

    /// A JSON Web Token in any claim is a credential, whatever the claim is called.
    fn text<'t>(&self, text: &'t str) -> Cow<'t, str> {
        let text = if text.contains("eyJ") { tokens::without(text) } else { Cow::Borrowed(text) };
        if self.search { Cow::Owned(redact(&text).into_owned()) } else { text }
    }
}

fn shortened(text: &str) -> String {
    if text.len() <= 512 {
        return text.to_owned();
    }
    text.chars().take(500).chain(['…']).collect()
}
