//! The query of a call. `alt`, `$alt`, `prettyPrint`, `fields`, `key`, `quotaUser` and the like are accepted and
//! change nothing; of the others each call takes its own.

use serde_json::Value;

use super::error::Refusal;
use super::message;
use super::names::Version;
use super::route::{Call, FindingCall, SourceCall};
use super::schema::{Kind, snake};

/// What the calls of the API read from their query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Query {
    pub(crate) finding_id: Option<String>,
    /// The paths of `updateMask`; none when it is absent or empty.
    pub(crate) update_mask: Vec<String>,
    pub(crate) filter: Option<String>,
    pub(crate) order_by: Option<String>,
    pub(crate) field_mask: Vec<String>,
    pub(crate) page_size: Option<i64>,
    pub(crate) page_token: Option<String>,
}

impl Query {
    /// Reads the query string of a call; names that it does not take are refused like unknown fields.
    pub(crate) fn read(text: &str, call: &Call, version: Version) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            if is_system(&name) {
                continue;
            }
            let known = taken(call, version).iter().find(|known| **known == name || snake(known) == name);
            match known {
                Some(known) => query.put(known, value.into_owned())?,
                None => return Err(unknown(&name)),
            }
        }
        Ok(query)
    }

    fn put(&mut self, name: &str, value: String) -> Result<(), Refusal> {
        match name {
            "findingId" => self.finding_id = Some(value),
            "updateMask" => self.update_mask.extend(paths(&value)),
            "filter" => self.filter = Some(value),
            "orderBy" => self.order_by = Some(value),
            "fieldMask" => self.field_mask.extend(paths(&value)),
            "pageToken" => self.page_token = Some(value),
            "pageSize" => self.page_size = message::one(&Kind::Int32, name, Value::String(value))?.as_i64(),
            // Read so that clients of version 1 work, without effect.
            "compareDuration" => drop(message::one(&Kind::Duration, name, Value::String(value))?),
            _ => drop(message::one(&Kind::Time, name, Value::String(value))?),
        }
        Ok(())
    }
}

fn is_system(name: &str) -> bool {
    matches!(
        name,
        "alt"
            | "$alt"
            | "prettyPrint"
            | "$prettyPrint"
            | "fields"
            | "$fields"
            | "key"
            | "quotaUser"
            | "access_token"
            | "oauth_token"
            | "callback"
            | "$callback"
            | "uploadType"
            | "upload_protocol"
            | "$.xgafv"
            | "$userProject"
            | "$outputDefaults"
            | "$unique"
    )
}

/// The parameters of a call, in camelCase. A custom method takes all it needs from its body.
fn taken(call: &Call, version: Version) -> &'static [&'static str] {
    match (call, version) {
        (Call::ListFindings(_), Version::V1) => {
            &["filter", "orderBy", "fieldMask", "pageSize", "pageToken", "readTime", "compareDuration"]
        }
        (Call::ListFindings(_), Version::V2) => &["filter", "orderBy", "fieldMask", "pageSize", "pageToken"],
        (Call::ListSources(_), _) => &["pageSize", "pageToken"],
        (Call::CreateFinding(_), _) => &["findingId"],
        (Call::Finding(FindingCall::PatchMarks, ..), Version::V1) => &["updateMask", "startTime"],
        (
            Call::Source(SourceCall::Patch, ..)
            | Call::Finding(FindingCall::Patch | FindingCall::PatchMarks | FindingCall::PatchExternalSystem(_), ..),
            _,
        ) => &["updateMask"],
        _ => &[],
    }
}

fn unknown(name: &str) -> Refusal {
    let text = format!(
        "Invalid JSON payload received. Unknown name {name:?}: Cannot bind query parameter. \
         Field '{name}' could not be found in request message."
    );
    Refusal::field(name, text)
}

/// Splits a field mask at its commas.
pub(crate) fn paths(mask: &str) -> impl Iterator<Item = String> {
    mask.split(',').map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::route;
    use super::*;

    const FINDINGS: &str = "organizations/1/sources/2/findings";

    fn read(method: &str, path: &str, query: &str) -> Result<Query, Refusal> {
        let call = route::read(method, path).unwrap();
        Query::read(query, &call, route::version(path).unwrap())
    }

    #[test]
    fn system_parameters_change_nothing() {
        let text =
            "$alt=json;enum-encoding%3Dint&%24alt=json&alt=json&prettyPrint=false&key=k&quotaUser=u&updateMask=a%2Cb";
        let query = read("PATCH", &format!("/v2/{FINDINGS}/a1"), text).unwrap();
        assert_eq!(query, Query { update_mask: vec!["a".into(), "b".into()], ..Query::default() });
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        let refused = read("GET", &format!("/v2/{FINDINGS}"), "pagesize=1").unwrap_err();
        assert!(refused.to_string().contains("pagesize"));
    }

    #[test]
    fn every_call_and_version_takes_its_own_parameters() {
        let one = format!("{FINDINGS}/f");
        let marks = format!("{one}/securityMarks");
        let state = format!("{one}:setState");
        // method, path, query, whether v1 takes it, whether v2 does
        let table = [
            ("GET", FINDINGS, "filter=&orderBy=name&field_mask=name&pageSize=2&page_token=", true, true),
            ("GET", FINDINGS, "compareDuration=86400s", true, false),
            ("GET", FINDINGS, "read_time=2026-01-01T00:00:00Z", true, false),
            ("GET", FINDINGS, "readTime=yesterday", false, false),
            ("GET", FINDINGS, "compareDuration=1d", false, false),
            ("GET", FINDINGS, "updateMask=state", false, false),
            ("GET", FINDINGS, "pageSize=x", false, false),
            ("GET", FINDINGS, "pageSize=2147483648", false, false),
            ("GET", "organizations/1/sources", "pageSize=1", true, true),
            ("GET", "organizations/1/sources", "filter=x", false, false),
            ("GET", "organizations/1/sources/2", "pageSize=1", false, false),
            ("POST", FINDINGS, "finding_id=a", true, true),
            ("PATCH", &marks, "startTime=2026-01-01T00:00:00Z&updateMask=marks", true, false),
            ("PATCH", &marks, "update_mask=marks", true, true),
            ("PATCH", &one, "startTime=2026-01-01T00:00:00Z", false, false),
            ("POST", &state, "startTime=2026-01-01T00:00:00Z", false, false),
        ];
        for (method, path, query, v1, v2) in table {
            for (version, taken) in [("v1", v1), ("v2", v2)] {
                let read = read(method, &format!("/{version}/{path}"), query);
                assert_eq!(read.is_ok(), taken, "{version} {method} {path} {query}");
            }
        }
    }
}
