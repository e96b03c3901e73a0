//! What detections over several calls of a cloud's interface say beside their fields (sysdig.md §2.5): how often each
//! call was made, the calls in their order, and from where.

use std::borrow::Cow;

use super::json::Json;

/// Most calls and most sums kept of one detection.
const MOST: usize = 20;

type Pair = (Cow<'static, str>, String);

/// As fields: `stats.CALL`, `sequence[0]`, `sequence.sourceIpAddress`; nothing for other events.
pub(super) fn fields(content: &Json<'_>) -> Vec<Pair> {
    let (stats, sequence) = (content.member("stats").list(), content.member("sequence").list());
    let mut found: Vec<Pair> = Vec::new();
    for stat in stats.iter().take(MOST) {
        if let (Some(call), Some(count)) = (stat.member("api").text(), stat.member("count").text()) {
            found.push((format!("stats.{call}").into(), count.into_owned()));
        }
    }
    for (at, call) in sequence.iter().take(MOST).enumerate() {
        let parts = ["eventTime", "source", "eventName", "region", "sourceIpAddress"];
        let told: Vec<_> = parts.iter().filter_map(|part| call.member(part).text()).collect();
        if !told.is_empty() {
            found.push((format!("sequence[{at}]").into(), told.join(" ")));
        }
    }
    let address = sequence.iter().find_map(|call| call.member("sourceIpAddress").owned());
    found.extend(address.map(|address| ("sequence.sourceIpAddress".into(), address)));
    if !found.is_empty() {
        let named = |name: &'static str| Some((name.into(), content.member(name).owned()?));
        found.extend(["integrationType", "integrationId"].into_iter().filter_map(named));
    }
    found
}
