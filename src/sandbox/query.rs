//! The query of a call. `alt`, `$alt`, `prettyPrint`, `fields`, `key`, `quotaUser` and the like are accepted and
//! change nothing.

use super::error::Refusal;

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
    pub(crate) start_time: Option<String>,
}

impl Query {
    /// Reads a query string; unknown names are refused like unknown fields.
    pub(crate) fn read(text: &str) -> Result<Self, Refusal> {
        let mut query = Self::default();
        for (name, value) in url::form_urlencoded::parse(text.as_bytes()) {
            let value = value.into_owned();
            match name.as_ref() {
                "findingId" | "finding_id" => query.finding_id = Some(value),
                "updateMask" | "update_mask" => query.update_mask.extend(paths(&value)),
                "filter" => query.filter = Some(value),
                "orderBy" | "order_by" => query.order_by = Some(value),
                "fieldMask" | "field_mask" => query.field_mask.extend(paths(&value)),
                "pageSize" | "page_size" => query.page_size = Some(whole(&value)?),
                "pageToken" | "page_token" => query.page_token = Some(value),
                "startTime" | "start_time" => query.start_time = Some(value),
                // v1 alone had these; read so that old clients work, without effect.
                "readTime" | "read_time" | "compareDuration" | "compare_duration" => {}
                "alt" | "$alt" | "prettyPrint" | "$prettyPrint" | "fields" | "$fields" | "key" | "quotaUser"
                | "access_token" | "oauth_token" | "callback" | "$callback" | "uploadType" | "upload_protocol"
                | "$.xgafv" | "$userProject" | "$outputDefaults" | "$unique" => {}
                other => return Err(unknown(other)),
            }
        }
        Ok(query)
    }
}

fn unknown(name: &str) -> Refusal {
    let text = format!(
        "Invalid JSON payload received. Unknown name {name:?}: Cannot bind query parameter. \
         Field '{name}' could not be found in request message."
    );
    Refusal::field(name, text)
}

fn whole(value: &str) -> Result<i64, Refusal> {
    value
        .parse()
        .map_err(|_| Refusal::field("page_size", format!("Invalid value at 'page_size' (TYPE_INT32), {value:?}")))
}

/// Splits a field mask at its commas.
pub(crate) fn paths(mask: &str) -> impl Iterator<Item = String> {
    mask.split(',').map(str::trim).filter(|path| !path.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn system_parameters_change_nothing() {
        let text =
            "$alt=json;enum-encoding%3Dint&%24alt=json&alt=json&prettyPrint=false&key=k&findingId=a1&updateMask=a%2Cb";
        let query = Query::read(text).unwrap();
        assert_eq!(query.finding_id.as_deref(), Some("a1"));
        assert_eq!(query.update_mask, ["a", "b"]);
    }

    #[test]
    fn an_unknown_parameter_is_named() {
        assert!(Query::read("pagesize=1").unwrap_err().to_string().contains("pagesize"));
    }
}
