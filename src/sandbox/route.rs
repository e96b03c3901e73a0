//! From method and path to the call that is meant.

use super::error::{Refusal, Status};
use super::names::{Parent, Place, Version};

/// A call of the API, before its query and body are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    CreateSource(Parent),
    ListSources(Parent),
    Source(SourceCall, Parent, String),
    CreateFinding(Place),
    ListFindings(Place),
    GroupFindings(Place),
    BulkMute(Place),
    Operation(String),
    Finding(FindingCall, Place, String),
}

/// What is done with one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SourceCall {
    Get,
    Patch,
    GetIamPolicy,
    SetIamPolicy,
    TestIamPermissions,
}

/// What is done with one finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum FindingCall {
    Patch,
    SetState,
    SetMute,
    PatchMarks,
    PatchExternalSystem(String),
}

impl Call {
    /// Whether the call counts against the writes.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::CreateSource(_) | Self::CreateFinding(_) | Self::BulkMute(_) | Self::Finding(..) => true,
            Self::Source(call, ..) => matches!(call, SourceCall::Patch | SourceCall::SetIamPolicy),
            Self::ListSources(_) | Self::ListFindings(_) | Self::GroupFindings(_) | Self::Operation(_) => false,
        }
    }

    /// A short name for counting.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::CreateSource(_) => "sources.create",
            Self::ListSources(_) => "sources.list",
            Self::Source(SourceCall::Get, ..) => "sources.get",
            Self::Source(SourceCall::Patch, ..) => "sources.patch",
            Self::Source(SourceCall::GetIamPolicy, ..) => "sources.getIamPolicy",
            Self::Source(SourceCall::SetIamPolicy, ..) => "sources.setIamPolicy",
            Self::Source(SourceCall::TestIamPermissions, ..) => "sources.testIamPermissions",
            Self::CreateFinding(_) => "findings.create",
            Self::ListFindings(_) => "findings.list",
            Self::GroupFindings(_) => "findings.group",
            Self::BulkMute(_) => "findings.bulkMute",
            Self::Operation(_) => "operations.get",
            Self::Finding(FindingCall::Patch, ..) => "findings.patch",
            Self::Finding(FindingCall::SetState, ..) => "findings.setState",
            Self::Finding(FindingCall::SetMute, ..) => "findings.setMute",
            Self::Finding(FindingCall::PatchMarks, ..) => "findings.updateSecurityMarks",
            Self::Finding(FindingCall::PatchExternalSystem(_), ..) => "findings.externalSystems.patch",
        }
    }
}

/// The version a path belongs to, if it is one of the API.
pub(crate) fn version(path: &str) -> Option<Version> {
    match path.split('/').nth(1) {
        Some("v1") => Some(Version::V1),
        Some("v2") => Some(Version::V2),
        _ => None,
    }
}

/// Reads method and path (still percent-encoded).
pub(crate) fn read(method: &str, path: &str) -> Result<Call, Refusal> {
    let version = version(path).ok_or_else(|| not_found(method, path))?;
    let parts: Vec<String> = path.split('/').skip(2).map(decode).collect();
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let (parts, verb) = split_verb(&parts);
    find(version, method, &parts, verb)?.ok_or_else(|| not_found(method, path))
}

/// Splits `findings:group` into its name and its verb.
fn split_verb<'a>(parts: &[&'a str]) -> (Vec<&'a str>, Option<&'a str>) {
    let mut parts = parts.to_vec();
    let verb = parts.last().and_then(|last| last.split_once(':'));
    if let (Some((name, _)), Some(last)) = (verb, parts.last_mut()) {
        *last = name;
    }
    (parts, verb.map(|(_, verb)| verb))
}

fn find(version: Version, method: &str, parts: &[&str], verb: Option<&str>) -> Result<Option<Call>, Refusal> {
    let [kind, id, rest @ ..] = parts else { return Ok(None) };
    if let Some(at) = rest.iter().position(|part| *part == "locations") {
        located(rest.get(at + 1).copied().unwrap_or_default())?;
    }
    let parent = match parent(kind, id)? {
        Some(parent) => parent,
        None => return Ok(None),
    };
    let call = match (rest, verb, method) {
        (["sources"], None, "POST") => Call::CreateSource(parent),
        (["sources"], None, "GET") => Call::ListSources(parent),
        (["sources", source], verb, method) => match source_call(method, verb) {
            Some(call) if matches!(parent, Parent::Organization(_)) => Call::Source(call, parent, (*source).to_owned()),
            Some(_) => return Err(source_elsewhere(&parent, source)),
            None => return Ok(None),
        },
        (["findings"], Some("bulkMute"), "POST") => {
            Call::BulkMute(Place { version, parent, source: "-".into(), location: "global".into() })
        }
        (["locations", location, "findings"], Some("bulkMute"), "POST") => {
            Call::BulkMute(Place { version, parent, source: "-".into(), location: (*location).into() })
        }
        (["operations", name], None, "GET") => Call::Operation(format!("{parent}/operations/{name}")),
        (["sources", source, "locations", location, "findings", rest @ ..], verb, method) => {
            let place = Place { version, parent, source: (*source).into(), location: (*location).into() };
            return Ok(finding(place, method, rest, verb));
        }
        (["sources", source, "findings", rest @ ..], verb, method) => {
            let place = Place { version, parent, source: (*source).into(), location: "global".into() };
            return Ok(finding(place, method, rest, verb));
        }
        _ => return Ok(None),
    };
    Ok(Some(call))
}

/// A location's id, like `global` or `eu`; `-` for all of them in a list.
fn located(location: &str) -> Result<(), Refusal> {
    let good = (1..=63).contains(&location.len())
        && location.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good {
        return Ok(());
    }
    let text = format!("Invalid location {location:?}: it has lower-case letters, digits and hyphens, like global.");
    Err(Refusal::field("parent", text))
}

fn parent(kind: &str, id: &str) -> Result<Option<Parent>, Refusal> {
    let parent = match kind {
        "organizations" if !id.is_empty() && id.bytes().all(|b| b.is_ascii_digit()) => {
            Parent::Organization(id.to_owned())
        }
        "organizations" => {
            let text = format!("Invalid organization id {id:?}: it is the organization's number, digits only.");
            return Err(Refusal::field("parent", text));
        }
        "folders" => Parent::Folder(id.to_owned()),
        "projects" => Parent::Project(id.to_owned()),
        _ => return Ok(None),
    };
    Ok(Some(parent))
}

fn source_call(method: &str, verb: Option<&str>) -> Option<SourceCall> {
    match (method, verb) {
        ("GET", None) => Some(SourceCall::Get),
        ("PATCH", None) => Some(SourceCall::Patch),
        ("POST", Some("getIamPolicy")) => Some(SourceCall::GetIamPolicy),
        ("POST", Some("setIamPolicy")) => Some(SourceCall::SetIamPolicy),
        ("POST", Some("testIamPermissions")) => Some(SourceCall::TestIamPermissions),
        _ => None,
    }
}

/// What follows `findings` in a path.
fn finding(place: Place, method: &str, rest: &[&str], verb: Option<&str>) -> Option<Call> {
    let one = |call, id: &str| Some(Call::Finding(call, place.clone(), id.to_owned()));
    match (rest, verb, method) {
        ([], None, "GET") => Some(Call::ListFindings(place)),
        ([], Some("group"), "POST") => Some(Call::GroupFindings(place)),
        // All locations, or all sources, are for reading only.
        _ if place.location == "-" || place.all_sources() => None,
        ([], None, "POST") => Some(Call::CreateFinding(place)),
        ([id], None, "PATCH") => one(FindingCall::Patch, id),
        ([id], Some("setState"), "POST") => one(FindingCall::SetState, id),
        ([id], Some("setMute"), "POST") => one(FindingCall::SetMute, id),
        ([id, "securityMarks"], None, "PATCH") => one(FindingCall::PatchMarks, id),
        ([id, "externalSystems", system], None, "PATCH") => {
            one(FindingCall::PatchExternalSystem((*system).to_owned()), id)
        }
        _ => None,
    }
}

/// Folders and projects list sources; one source is there under its organization only.
fn source_elsewhere(parent: &Parent, source: &str) -> Refusal {
    let text = format!(
        "{parent}/sources/{source} was not found: a source is read, changed and shared under its organization only, as \
         organizations/O/sources/{source}."
    );
    Refusal::new(Status::NotFound, text)
}

fn not_found(method: &str, path: &str) -> Refusal {
    let has = |name: &str| path.split(['/', ':']).any(|part| part == name);
    // What other services have is looked for here too.
    let missing = match method {
        _ if version(path).is_none() => None,
        "GET" if has("findings") => Some("get one finding: list them with a filter"),
        "DELETE" if has("sources") || has("findings") => Some("delete anything"),
        "POST" if path.contains(":batch") => Some("create in batches"),
        _ => None,
    };
    let mut text = format!("The requested URL {path} was not found for {method} on this sandbox.");
    if let Some(missing) = missing {
        text.push_str(&format!(" Security Command Center has no call to {missing}."));
    }
    Refusal::new(Status::NotFound, text)
}

/// Undoes percent-encoding; what is not valid stays as it is.
pub(crate) fn decode(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    // form_urlencoded reads `+` as a space, which a path does not mean.
    let pairs = format!("a={}", text.replace('+', "%2B").replace('&', "%26"));
    url::form_urlencoded::parse(pairs.as_bytes()).next().map_or_else(String::new, |(_, v)| v.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(method: &str, path: &str) -> String {
        match read(method, path) {
            Ok(call) => call.name().to_owned(),
            Err(refusal) => refusal.code().to_string(),
        }
    }

    #[test]
    fn calls_are_told_by_method_and_path() {
        let table = [
            ("POST", "/v2/organizations/1/sources", "sources.create"),
            ("GET", "/v2/folders/1/sources", "sources.list"),
            ("GET", "/v2/organizations/1/sources/2", "sources.get"),
            ("GET", "/v2/folders/1/sources/2", "404"),
            ("PATCH", "/v1/projects/p/sources/2", "404"),
            ("POST", "/v2/projects/p/sources/2:getIamPolicy", "404"),
            ("POST", "/v2/folders/1/sources/2:setIamPolicy", "404"),
            ("POST", "/v1/projects/p/sources/2:testIamPermissions", "404"),
            ("POST", "/v2/folders/1/sources/2/findings/a:setState", "findings.setState"),
            ("PATCH", "/v2/projects/p/sources/2/locations/eu/findings/a", "findings.patch"),
            ("POST", "/v2/organizations/1/sources/2:testIamPermissions", "sources.testIamPermissions"),
            ("POST", "/v2/organizations/1/sources/2%3AtestIamPermissions", "sources.testIamPermissions"),
            ("POST", "/v2/organizations/1/sources/2/findings", "findings.create"),
            ("POST", "/v2/organizations/1/sources/2/locations/eu/findings", "findings.create"),
            ("GET", "/v2/projects/p/sources/-/locations/global/findings", "findings.list"),
            ("POST", "/v1/organizations/1/sources/2/findings:group", "findings.group"),
            ("PATCH", "/v2/organizations/1/sources/2/findings/a", "findings.patch"),
            ("POST", "/v2/organizations/1/sources/2/locations/l/findings/a:setState", "findings.setState"),
            ("POST", "/v2/organizations/1/sources/2/findings/a:setMute", "findings.setMute"),
            ("PATCH", "/v2/organizations/1/sources/2/findings/a/securityMarks", "findings.updateSecurityMarks"),
            ("PATCH", "/v2/organizations/1/sources/2/findings/a/externalSystems/s", "findings.externalSystems.patch"),
            ("POST", "/v2/projects/p/locations/global/findings:bulkMute", "findings.bulkMute"),
            ("GET", "/v2/organizations/1/operations/x", "operations.get"),
            ("GET", "/v2/organizations/1/sources/2/findings/a", "404"),
            ("DELETE", "/v2/organizations/1/sources/2", "404"),
            ("POST", "/v2/organizations/acme/sources", "400"),
            ("GET", "/v3/organizations/1/sources", "404"),
            ("GET", "/v2/organizations/1/sources/-/locations/-/findings", "findings.list"),
            ("POST", "/v2/organizations/1/sources/2/locations/-/findings", "404"),
            ("POST", "/v2/organizations/1/sources/2/locations/a%2Fb/findings", "400"),
        ];
        for (method, path, expected) in table {
            assert_eq!(name(method, path), expected, "{method} {path}");
        }
    }

    #[test]
    fn what_the_service_does_not_have_is_said_to_those_who_look_for_it() {
        for (method, path, said) in [
            ("GET", "/v2/organizations/1/sources/2/locations/global/findings/a", "no call to get one finding"),
            ("DELETE", "/v2/organizations/1/sources/2", "no call to delete"),
            ("POST", "/v2/organizations/1/sources/2/findings:batchCreate", "no call to create in batches"),
        ] {
            let told = read(method, path).unwrap_err().body().to_string();
            assert!(told.contains(said), "{told}");
        }
        for path in ["/", "/favicon.ico", "/v2/organizations/1/notificationConfigs", "/findings"] {
            let told = read("GET", path).unwrap_err().body().to_string();
            assert!(told.contains("was not found for GET") && !told.contains("no call"), "{told}");
        }
    }

    #[test]
    fn percent_encoding_is_undone() {
        assert_eq!(decode("a%20b+c%26d"), "a b+c&d");
        assert_eq!(decode("%zz"), "%zz");
    }
}
