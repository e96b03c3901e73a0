//! Sources: create, get, list, patch, and their IAM policies.

use base64::Engine as _;
use serde_json::{Map, Value, json};

use super::error::{Refusal, Status, Violation};
use super::listing::{Page, page_size, token_for};
use super::message::{normalize, request};
use super::names::{Parent, Version};
use super::query::Query;
use super::route::SourceCall;
use super::store::{Source, Store};

type Object = Map<String, Value>;

/// Requests about sources are alike in both versions.
const VERSION: Version = Version::V2;

/// A source as the API answers it.
pub(crate) fn describe(source: &Source) -> Object {
    let name = format!("organizations/{}/sources/{}", source.organization, source.id);
    let mut out = Object::new();
    out.insert("canonicalName".into(), json!(name));
    out.insert("name".into(), json!(name));
    out.insert("displayName".into(), json!(source.display_name));
    if !source.description.is_empty() {
        out.insert("description".into(), json!(source.description));
    }
    out
}

/// CreateSource; whether another source of the organisation has the same display name is told beside it.
pub(crate) fn create(store: &mut Store, parent: &Parent, body: Object) -> Result<(Object, bool), Refusal> {
    let Parent::Organization(organization) = parent else {
        return Err(Refusal::field("parent", "Sources are created under an organization only."));
    };
    let (name, description) = read(body)?;
    let name = name.unwrap_or_default();
    display_name(&name)?;
    let twin = store.sources.iter().any(|s| s.organization == *organization && s.display_name == name);
    let at = store.new_source(organization, &name, &description.unwrap_or_default())?;
    Ok((describe(&store.sources[at]), twin))
}

/// What can be done with one source.
pub(crate) fn one(
    store: &mut Store,
    call: SourceCall,
    (parent, id): (&Parent, &str),
    (query, body): (&Query, Object),
) -> Result<Object, Refusal> {
    let at = store.existing_source(parent, id)?;
    let source = &mut store.sources[at];
    match call {
        SourceCall::Get => Ok(describe(source)),
        SourceCall::Patch => patch(source, query, body),
        SourceCall::GetIamPolicy => request("GetIamPolicyRequest", VERSION, body).map(|_| policy(source)),
        SourceCall::SetIamPolicy => set_policy(source, body),
        SourceCall::TestIamPermissions => granted(body),
    }
}

fn patch(source: &mut Source, query: &Query, body: Object) -> Result<Object, Refusal> {
    let (name, description) = read(body)?;
    let all = query.update_mask.is_empty() || query.update_mask.iter().any(|path| path == "*");
    let (mut new_name, mut new_description) = (all && name.is_some(), all && description.is_some());
    for path in &query.update_mask {
        match path.as_str() {
            "displayName" | "display_name" => new_name = true,
            "description" => new_description = true,
            "*" | "name" | "canonicalName" | "canonical_name" => {}
            other => return Err(Refusal::field("update_mask", format!("Invalid update_mask: unknown path {other:?}"))),
        }
    }
    if new_name {
        let name = name.unwrap_or_default();
        display_name(&name)?;
        source.display_name = name;
    }
    if new_description {
        source.description = description.unwrap_or_default();
    }
    Ok(describe(source))
}

/// Display name and description of a body, each if it is there.
fn read(body: Object) -> Result<(Option<String>, Option<String>), Refusal> {
    let body = normalize("Source", "source", body)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let description = text("description");
    if description.as_ref().is_some_and(|d| d.chars().count() > 1024) {
        return Err(Refusal::field("source.description", "description may have at most 1024 characters."));
    }
    Ok((text("displayName"), description))
}

/// 1 to 64 letters, digits, spaces, hyphens and underscores; a letter or digit at both ends.
fn display_name(name: &str) -> Result<(), Refusal> {
    let ends = |c: char| c.is_alphanumeric();
    let good = (1..=64).contains(&name.chars().count())
        && name.starts_with(ends)
        && name.ends_with(ends)
        && name.chars().all(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    if good {
        return Ok(());
    }
    let text = format!(
        "display_name {name:?} must have 1 to 64 letters, digits, spaces, hyphens or underscores and start and end \
         with a letter or digit."
    );
    Err(Refusal::fields(vec![Violation::new("source.display_name", text)]))
}

/// ListSources.
pub(crate) fn list(store: &Store, parent: &Parent, query: &Query) -> Result<Object, Refusal> {
    let key = format!("sources {parent}");
    let start = match &query.page_token {
        Some(token) => Page::read(token, &key)?,
        None => 0,
    };
    let size = page_size(query.page_size)?;
    let mine = |source: &&Source| match parent {
        Parent::Organization(organization) => source.organization == *organization,
        _ => true,
    };
    let all: Vec<&Source> = store.sources.iter().filter(mine).collect();
    let page: Vec<Value> = all.iter().skip(start).take(size).map(|s| Value::Object(describe(s))).collect();
    let mut out = Object::new();
    if start + page.len() < all.len() {
        out.insert("nextPageToken".into(), json!(token_for(start + page.len(), &key)));
    }
    out.insert("sources".into(), Value::Array(page));
    Ok(out)
}

fn policy(source: &Source) -> Object {
    let mut policy = source.policy.clone();
    policy.entry("version").or_insert_with(|| json!(1));
    policy.entry("etag").or_insert_with(|| json!("ACAB"));
    policy
}

/// setIamPolicy; a policy read from an older state (etag) is refused.
fn set_policy(source: &mut Source, body: Object) -> Result<Object, Refusal> {
    let mut body = request("SetIamPolicyRequest", VERSION, body)?;
    let Some(Value::Object(mut new)) = body.remove("policy") else {
        return Err(Refusal::field("policy", "policy is required."));
    };
    let current = policy(source);
    if new.get("etag").is_some_and(|etag| !same_etag(etag, &current["etag"])) {
        let text =
            "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.";
        return Err(Refusal::new(Status::Aborted, text));
    }
    new.remove("etag");
    new.entry("version").or_insert_with(|| json!(1));
    let hash = sha(&Value::Object(new.clone()).to_string());
    new.insert("etag".into(), json!(hash));
    source.policy = new.clone();
    Ok(new)
}

fn sha(text: &str) -> String {
    use sha2::Digest as _;
    base64::engine::general_purpose::STANDARD.encode(&sha2::Sha256::digest(text)[..9])
}

/// Clients re-encode the bytes of an etag; both base64 alphabets count.
fn same_etag(a: &Value, b: &Value) -> bool {
    let plain = |v: &Value| v.as_str().map(|t| t.replace('-', "+").replace('_', "/").trim_end_matches('=').to_owned());
    plain(a) == plain(b)
}

/// testIamPermissions: the sandbox grants every permission of Security Command Center.
fn granted(body: Object) -> Result<Object, Refusal> {
    let mut body = request("TestIamPermissionsRequest", VERSION, body)?;
    let asked = if let Some(Value::Array(asked)) = body.remove("permissions") { asked } else { Vec::new() };
    let ours = |permission: &Value| permission.as_str().is_some_and(|p| p.starts_with("securitycenter."));
    let mut out = Object::new();
    out.insert("permissions".into(), asked.into_iter().filter(ours).collect());
    Ok(out)
}
