//! Policy files: our own form in YAML or JSON, and what gcloud prints for a workload identity pool provider.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value as Json;
use url::Url;

use super::accepted::{Family, GOOGLE, TokenKind};
use super::condition::Condition;
use super::mapping::Mapping;
use super::members;
use super::{Off, Policy, PolicyError};
use crate::attest::cel::node::{Literal, Macro, Node, Operator};
use crate::attest::json;
use crate::attest::keys::KeySet;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Own {
    name: Option<String>,
    #[serde(default)]
    description: String,
    issuer: Option<String>,
    #[serde(default)]
    audiences: Vec<String>,
    #[serde(default)]
    tokens: Option<Vec<TokenKind>>,
    #[serde(default)]
    family: Family,
    #[serde(default)]
    mapping: BTreeMap<String, String>,
    condition: String,
    max_age_seconds: Option<u64>,
    leeway_seconds: Option<u64>,
    max_lifetime_seconds: Option<u64>,
    max_tcb_age_days: Option<u64>,
    #[serde(default)]
    allow_everything: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Provider {
    name: Option<String>,
    #[serde(default)]
    description: String,
    display_name: Option<String>,
    #[serde(default)]
    attribute_mapping: BTreeMap<String, String>,
    #[serde(default)]
    attribute_condition: String,
    #[serde(default)]
    disabled: bool,
    state: Option<String>,
    oidc: Option<Oidc>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Oidc {
    issuer_uri: String,
    #[serde(default)]
    allowed_audiences: Vec<String>,
    jwks_json: Option<String>,
}

/// Reads a policy from the text of a file. `fallback` is its name when the text has none: the file's stem.
pub fn read(text: &str, fallback: &str) -> Result<Policy, PolicyError> {
    let mut json = to_json(text)?;
    let members =
        json.as_object_mut().ok_or_else(|| PolicyError::Form("a policy is a mapping of names to values".into()))?;
    let provider = ["attributeMapping", "attributeCondition", "oidc"].iter().any(|name| members.contains_key(*name));
    members::check(members, if provider { &members::PROVIDER } else { &members::OWN })?;
    if let Some(oidc) = members.get_mut("oidc").and_then(Json::as_object_mut).filter(|_| provider) {
        members::check(oidc, &members::OIDC)?;
    }
    let hash = super::sha256_hex(text.as_bytes());
    if provider { from_provider(json, fallback, hash) } else { from_own(json, fallback, hash) }
}

fn to_json(text: &str) -> Result<Json, PolicyError> {
    if text.len() > 256 << 10 {
        return Err(PolicyError::Form("the file is larger than 256 KiB".into()));
    }
    if text.trim_start().starts_with('{') {
        return json::read(text.as_bytes(), json::DEPTH).map_err(|error| PolicyError::Form(error.to_string()));
    }
    serde_saphyr::from_str(text).map_err(|error| PolicyError::Form(in_yaml(&error)))
}

/// What is wrong with YAML, without what the library advises its callers.
fn in_yaml(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    let (error, place) = (error.without_snippet(), error.location());
    let what = match error {
        Error::DuplicateMappingKey { key, .. } => format!("{} stands twice", key.as_deref().unwrap_or("a name")),
        Error::MultipleDocuments { .. } => "a second document begins, and a file is one policy".to_owned(),
        Error::Budget { .. } => "there is more in it than a policy may hold".to_owned(),
        other => {
            let said = other.to_string();
            let line = said.lines().next().unwrap_or_default();
            let line =
                line.split_once(" column ").and_then(|(_, rest)| rest.split_once(": ")).map_or(line, |(_, said)| said);
            let advice = |part: &&str| part.contains("Options") || part.contains("from_");
            line.split_inclusive([',', ';']).take_while(|part| !advice(part)).collect::<String>()
        }
    };
    let what = what.trim_end_matches([',', ';']);
    place.map_or_else(|| what.to_owned(), |place| format!("line {}, column {}: {what}", place.line(), place.column()))
}

fn from_own(json: Json, fallback: &str, hash: String) -> Result<Policy, PolicyError> {
    let own: Own = serde_json::from_value(json).map_err(|error| PolicyError::Form(error.to_string()))?;
    let condition = boolean(Condition::compile(&own.condition)?)?;
    // However it is written: `1 == 1`, or an `|| true` that was left behind.
    if condition.whole.root().constant() == Some(true) && !own.allow_everything {
        return Err(PolicyError::AllowsEverything);
    }
    if own.audiences.is_empty() {
        return Err(PolicyError::Form("audiences is missing: name the audience that the token is made for".into()));
    }
    if own.tokens.as_ref().is_some_and(Vec::is_empty) {
        let remedy = "tokens is empty, so that none is accepted: write [oidc], [pki] or both, or leave it out";
        return Err(PolicyError::Form(remedy.into()));
    }
    let issuer = issuer(own.issuer.as_deref().unwrap_or(GOOGLE), "issuer")?;
    named(&own.audiences, "audiences")?;
    Ok(Policy {
        name: own.name.unwrap_or_else(|| fallback.to_owned()),
        description: own.description,
        issuer,
        audiences: own.audiences,
        tokens: own.tokens.unwrap_or_else(|| vec![TokenKind::Oidc]),
        family: own.family,
        mapping: Mapping::compile(&own.mapping.into_iter().collect::<Vec<_>>())?,
        condition,
        max_age: own.max_age_seconds.map(Duration::from_secs),
        leeway: bounded(own.leeway_seconds.unwrap_or(30), 0..=60, "leeway_seconds")?,
        max_lifetime: bounded(own.max_lifetime_seconds.unwrap_or(3600), 60..=86400, "max_lifetime_seconds")?,
        max_tcb_age: own.max_tcb_age_days.map(|days| Duration::from_secs(days.saturating_mul(86_400))),
        off: None,
        keys: None,
        hash,
    })
}

fn from_provider(json: Json, fallback: &str, hash: String) -> Result<Policy, PolicyError> {
    let provider: Provider = serde_json::from_value(json).map_err(|error| PolicyError::Form(error.to_string()))?;
    let oidc = provider.oidc.ok_or_else(|| PolicyError::Form("the provider has no oidc member".into()))?;
    named(&oidc.allowed_audiences, "oidc.allowedAudiences")?;
    let resource = provider.name.as_deref().filter(|name| name.contains("/providers/"));
    let audiences = match (oidc.allowed_audiences.is_empty(), resource) {
        (false, _) => oidc.allowed_audiences,
        // Without a list, a provider takes its own resource name, with and without the scheme.
        (true, Some(name)) => {
            vec![format!("https://iam.googleapis.com/{name}"), format!("//iam.googleapis.com/{name}")]
        }
        (true, None) => return Err(PolicyError::Form("the provider has neither allowedAudiences nor a name".into())),
    };
    let short = resource.and_then(|name| name.rsplit('/').next()).map(str::to_owned);
    Ok(Policy {
        name: short.or(provider.name.filter(|n| !n.is_empty())).unwrap_or_else(|| fallback.to_owned()),
        description: if provider.description.is_empty() {
            provider.display_name.unwrap_or_default()
        } else {
            provider.description
        },
        issuer: issuer(&oidc.issuer_uri, "oidc.issuerUri")?,
        audiences,
        tokens: vec![TokenKind::Oidc],
        family: Family::Any,
        mapping: Mapping::compile(&provider.attribute_mapping.into_iter().collect::<Vec<_>>())?,
        condition: boolean(Condition::compile(&provider.attribute_condition)?)?,
        max_age: None,
        leeway: Duration::from_secs(30),
        max_lifetime: Duration::from_secs(3600),
        max_tcb_age: None,
        off: match provider.state.as_deref() {
            Some("DELETED") => Some(Off::Deleted),
            _ => provider.disabled.then_some(Off::Disabled),
        },
        keys: oidc
            .jwks_json
            .map(|text| KeySet::read(text.as_bytes()).map(std::sync::Arc::new))
            .transpose()
            .map_err(|error| PolicyError::Form(format!("jwksJson: {error}")))?,
        hash,
    })
}

/// An issuer is named by its address. Whether its keys can be asked for there is seen at start.
fn issuer(text: &str, member: &str) -> Result<String, PolicyError> {
    match Url::parse(text) {
        Ok(url) if matches!(url.scheme(), "https" | "http") && url.has_host() => {
            Ok(text.trim_end_matches('/').to_owned())
        }
        _ => Err(PolicyError::Form(format!(
            "{member} is {text:?}, which is not a URL: write the claim iss of the tokens, for example {GOOGLE}"
        ))),
    }
}

fn named(audiences: &[String], member: &str) -> Result<(), PolicyError> {
    match audiences.iter().any(|audience| audience.trim().is_empty()) {
        true => {
            Err(PolicyError::Form(format!("{member} holds an empty text, which no token is made for: leave it out")))
        }
        false => Ok(()),
    }
}

/// A condition whose type is plain from its text and is no boolean can never allow anything: a mistake.
fn boolean(condition: Condition) -> Result<Condition, PolicyError> {
    match never_boolean(condition.whole.root()) {
        Some(kind) => Err(PolicyError::Form(format!("the condition is {kind}, neither true nor false"))),
        None => Ok(condition),
    }
}

/// What a node is, when it is plainly no boolean.
fn never_boolean(node: &Node) -> Option<&'static str> {
    match node {
        Node::Literal(Literal::Bool(_)) => None,
        Node::Literal(_) => Some("a literal"),
        Node::List(_) => Some("a list"),
        Node::Map(_) => Some("a map"),
        Node::Loop(l) if l.kind == Macro::Collect => Some("a list"),
        Node::Variable(_) => Some("a map"),
        Node::Negate(_) => Some("a calculation"),
        Node::Binary { operator, .. } => {
            use Operator::{Add, Divide, Modulo, Multiply, Subtract};
            matches!(operator, Add | Subtract | Multiply | Divide | Modulo).then_some("a calculation")
        }
        Node::Call { function, .. } => {
            let may = matches!(function.name(), "contains" | "startsWith" | "endsWith" | "matches" | "bool" | "dyn");
            (!may).then_some("what a function makes")
        }
        Node::Conditional(parts) => never_boolean(&parts[1]).filter(|_| never_boolean(&parts[2]).is_some()),
        _ => None,
    }
}

fn bounded(seconds: u64, bounds: std::ops::RangeInclusive<u64>, name: &str) -> Result<Duration, PolicyError> {
    if bounds.contains(&seconds) {
        return Ok(Duration::from_secs(seconds));
    }
    Err(PolicyError::Form(format!("{name} is {seconds}; use {} to {}", bounds.start(), bounds.end())))
}
