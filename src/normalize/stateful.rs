//! What detections say beside their fields (sysdig.md §2.5). Over several calls of a cloud's interface: how often each
//! call was made, the calls in their order, and from where. Agentless ones: which integration told it. Those of lists:
//! which kind of list, and how it matched.

use std::borrow::Cow;

use super::json::Json;

/// Most calls and most sums kept of one detection.
const MOST: usize = 20;

type Pair = (Cow<'static, str>, String);

/// As fields: `stats.CALL`, `sequence[0]`, `sequence.sourceIpAddress`, `integrationId`, `ruleSubType` …; nothing for most
/// events.
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
    let named = |name: &'static str| Some((name.into(), content.member(name).owned()?));
    let is_agentless = || content.member("type").str().is_some_and(|kind| kind.starts_with("agentless"));
    if !found.is_empty() || is_agentless() {
        found.extend(["integrationType", "integrationId"].into_iter().filter_map(named));
    }
    found.extend(matched(content));
    found
}

/// How a rule matched. What says nothing, a sub-type of zero or `falsePositive: false`, is in most events, and left out.
fn matched(content: &Json<'_>) -> impl Iterator<Item = Pair> {
    let sub_type = ["ruleSubType", "ruleSubtype"].iter().find_map(|name| content.member(name).owned());
    let sub_type = sub_type.filter(|kind| kind != "0").map(|kind| ("ruleSubType".into(), kind));
    let baseline = content.member("baselineId").owned().filter(|id| id != "0").map(|id| ("baselineId".into(), id));
    let is_true = |name: &&'static str| content.member(name).truth() == Some(true);
    let marks = ["falsePositive", "matchedOnDefault"].into_iter().filter(is_true);
    let marks = marks.map(|name| (name.into(), "true".to_owned()));
    sub_type.into_iter().chain(baseline).chain(marks)
}
