//! One Sysdig policy event, of any generation: forwarder, public API, or the flat legacy form (sysdig.md §5.1-5.6).
//! They are one family: a member is looked for in every place where a generation put it.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::derived::{self, TIMES, When};
use super::json::{Json, raw_member, raw_members};
use super::notification::{About, Envelope};
use super::scalars::{level, shorten};
use super::{dotted, environment, place, stateful, time};
use crate::event::facts::Facts;
use crate::event::runtime::{Action, Admission, Learned, Origin, Policy, Shape};
use crate::event::{Runtime, Severity};
use crate::text::names;
use crate::text::sentinels::meaningful;

/// Longest text kept of any single value; what is longer cannot reach the finding anyway.
const LONGEST_VALUE: usize = 16 * 1024;
/// Longest name kept of a field or label.
const LONGEST_NAME: usize = 1_024;
/// Most tags kept of one event; what a finding shows of them has its own limit, and says so.
pub(super) const MOST_TAGS: usize = 1_000;
/// Most fields or labels kept of one event.
const MOST_FACTS: usize = 1_000;

/// Whether an object without a telling `type` is a policy event.
pub(super) fn is_policy_event(object: &Json<'_>) -> bool {
    let has = |name: &str| !object.member(name).is_null();
    object.member("content").is_map() || has("timestampNs") || has("eventLabels") || is_surely_policy_event(object)
}

/// Whether it can hardly be anything else, whoever sent it.
pub(super) fn is_surely_policy_event(object: &Json<'_>) -> bool {
    let has = |name: &str| !object.member(name).is_null();
    let content = object.member("content");
    let told = |name: &str| content.member(name).text().is_some();
    let is_kind = |kind: &str| kind.contains("Detection") || kind == "k8sAdmissionReview";
    told("ruleName")
        || (told("policyId") && (told("output") || told("ruleType") || told("command")))
        || content.member("type").str().is_some_and(is_kind)
        || has("actionResults")
        || (has("policyId") && (object.member("fields").is_list() || has("output") || has("ruleType")))
        || (has("ruleType") && has("output"))
        // What the events feed requires of every event (sysdig.md §2.5); `content` and `labels` are optional there.
        || (has("originator") && has("source") && has("name") && has("severity") && has("timestamp"))
}

/// One event in our own words; `text` is what `object` was read from. An error is a sentence that says what is missing.
pub(super) fn event(
    object: &Json<'_>,
    text: &str,
    envelope: &Envelope,
    received: DateTime<Utc>,
) -> Result<Runtime, String> {
    let content = object.member("content");
    let mut notes = Vec::new();
    let mut fields = fields(&[content.member("fields"), object.member("fields")]);
    let stateful = stateful::fields(content);
    if !stateful.is_empty() {
        let known = fields.iter().map(|(name, value)| (name, Cow::Borrowed(value)));
        fields = stateful.iter().map(|(name, value)| (&**name, Cow::Borrowed(&**value))).chain(known).collect();
    }
    fields = place::complete(&fields).unwrap_or(fields);
    let mut labels = facts(&[object.member("labels"), object.member("eventLabels")]);
    labels = place::complete(&labels).unwrap_or(labels);
    let container_id = first(&[object.member("containerId")]);
    if place::is_on_host(&fields, &labels, container_id.as_deref()) {
        fields = fields.without("container.name");
        labels = labels.without("container.name");
    }

    let policy_id = policy_id(object);
    let known = envelope.policy(policy_id.as_deref());
    let alert = envelope.alert(policy_id.as_deref().or_else(|| known?.id.as_deref()));
    let policy = policy(object, policy_id, known, alert);
    let rule = first(&[content.member("ruleName"), object.member("ruleName")])
        .or_else(|| fields.get("falco.rule").map(str::to_owned))
        .or_else(|| fields.get("ruleName").map(str::to_owned));
    let learned = learned(content);
    let admission = admission(content);
    let summary = first(&[content.member("output"), object.member("output")]).map(|text| sentence(&text));
    let when = when(object, envelope, &mut notes);
    let own_id = id(object, text);
    let named = first(&[object.member("name"), content.member("policyName")]).is_some();
    let identified = own_id.is_some() || named || rule.is_some() || summary.is_some();
    // In a notification the envelope names the policy; then the least that tells of an occurrence is enough.
    if !identified && !(envelope.is_notification && (matches!(when, When::Own(_)) || policy.id.is_some())) {
        return Err(
            "a policy event needs at least one of `id`, `name`, `content.ruleName` and `output`; it has none of them"
                .into(),
        );
    }
    let summary = summary
        .or_else(|| learned.as_ref().and_then(learned_summary))
        .or_else(|| admission.as_ref().map(admission_summary))
        .or_else(|| policy.description.clone());

    let priority = first(&[content.member("priority"), object.member("priority")]);
    let told = [known, alert].into_iter().flatten().find_map(|about| about.severity);
    let rated = severity(object.member("severity"), priority.as_deref(), told, &mut notes);
    let hints: Vec<Cow<'_, str>> = object.member("metrics").list().iter().filter_map(Json::text).collect();
    let mut place = place::read(&fields, &labels, &hints, container_id);
    place.host.mac = [object.member("hostMac"), object.member("machineId")]
        .iter()
        .find_map(|value| value.str().and_then(names::mac))
        .or(place.host.mac);
    if admission.is_some() {
        place.kubernetes.cluster = place.kubernetes.cluster.or_else(|| content.member("clusterName").owned());
        place.kubernetes.namespace = place.kubernetes.namespace.or_else(|| content.member("namespace").owned());
    }

    Ok(Runtime {
        id: own_id.unwrap_or_else(|| derived::from_content(object, when, &policy)),
        shape: shape(object, content, envelope),
        time: when.told().unwrap_or(received),
        untimed: when.told().is_none(),
        odd_severity: object
            .member("severity")
            .any_text()
            .filter(|_| level(object.member("severity")).is_none())
            .map(|text| shorten(&text, 40).to_owned()),
        severity: rated.unwrap_or(Severity::UNKNOWN),
        unrated: rated.is_none(),
        priority,
        policy,
        rule,
        rule_type: first(&[content.member("ruleType"), object.member("ruleType")]),
        tags: tags(content.member("ruleTags"), object.member("ruleTags")),
        summary,
        fields,
        labels,
        container: place.container,
        host: place.host,
        kubernetes: place.kubernetes,
        cloud: place.cloud,
        actions: actions(object, content),
        origin: origin(object, content),
        link: first(&[object.member("url")]).or_else(|| envelope.link.clone()),
        runbook: first(&[content.member("runBook"), content.member("runbook"), object.member("runBook")]),
        learned,
        admission,
        notes,
    })
}

/// When it happened, and a note where the event itself does not say so.
fn when(object: &Json<'_>, envelope: &Envelope, notes: &mut Vec<String>) -> When {
    let sent = TIMES.map(|name| object.member(name));
    if let Some(time) = sent.iter().find_map(|value| time::moment(value)) {
        return When::Own(time);
    }
    let (when, what) = match envelope.time {
        Some(time) => (When::Notification(time), "the notification's"),
        None => (When::Untold, "the time it was received"),
    };
    notes.push(time::stands_in(&sent, what));
    when
}

/// The sender's id: a string or an integer of any length. Zero is a sender's way of having none.
fn id(object: &Json<'_>, text: &str) -> Option<String> {
    match object.member("id") {
        // Beyond 64 bits several integers are one number here; they are told apart as they were written.
        Json::Float(_) => {
            let written = raw_member(&raw_members(text), "id")?.to_owned();
            (written.len() <= 512 && written.bytes().all(|b| b.is_ascii_digit())).then_some(written)
        }
        Json::Integer(0) => None,
        Json::Integer(number) => Some(number.to_string()),
        Json::Text(text) => meaningful(text).filter(|text| text.len() <= 512 && *text != "0").map(str::to_owned),
        _ => None,
    }
}

fn shape(object: &Json<'_>, content: &Json<'_>, envelope: &Envelope) -> Shape {
    match () {
        () if envelope.is_notification => Shape::Notification,
        () if !content.is_map() && object.member("type").is_null() => Shape::Legacy,
        // The feed's elements of 2023 have an `agentId` as well; only they have a cursor.
        () if !object.member("cursor").is_null() => Shape::Api,
        () if !object.member("type").is_null() || !object.member("agentId").is_null() => Shape::Forwarder,
        () => Shape::Api,
    }
}

/// The id of the policy that the event names.
pub(super) fn policy_id(object: &Json<'_>) -> Option<String> {
    first(&[object.member("content").member("policyId"), object.member("policyId")]).filter(|id| id != "0")
}

/// The policy: in the event's words, else in those of the notification's policy of that id, else in its alert's.
fn policy(object: &Json<'_>, id: Option<String>, known: Option<&About>, alert: Option<&About>) -> Policy {
    let content = object.member("content");
    Policy {
        name: first(&[object.member("name"), content.member("policyName")])
            .or_else(|| known?.name.clone())
            .or_else(|| Some(alert?.policy_name()?.to_owned())),
        description: first(&[object.member("description")])
            .or_else(|| known?.description.clone())
            .or_else(|| alert?.description.clone()),
        version: first(&[content.member("policyVersion"), object.member("policyVersion")])
            .or_else(|| known?.version.clone()),
        origin: first(&[content.member("policyOrigin"), content.member("origin"), object.member("origin")]),
        id,
    }
}

/// How bad it is: what the event says, else its priority, else what its notification says; `None` where nobody does. What
/// stands in is noted.
fn severity(
    own: &Json<'_>,
    priority: Option<&str>,
    told: Option<Severity>,
    notes: &mut Vec<String>,
) -> Option<Severity> {
    if let Some(level) = level(own) {
        return Some(level);
    }
    let fallback = priority.and_then(Severity::from_word).or(told);
    let what = match own.any_text() {
        None => "missing".to_owned(),
        Some(text) => format!("{:?}, which is outside 0 to 7", shorten(&text, 40)),
    };
    notes.push(format!("The severity is {what}; {} stands in.", fallback.unwrap_or(Severity::UNKNOWN).level()));
    fallback
}

fn actions(object: &Json<'_>, content: &Json<'_>) -> Vec<Action> {
    let lists = [object.member("actions"), object.member("actionResults"), content.member("actions")];
    lists
        .iter()
        // One that stands alone is a list of one.
        .flat_map(|told| if told.is_map() { std::slice::from_ref(*told) } else { told.list() })
        .filter_map(|action| {
            let error = first(&[action.member("errMsg"), action.member("error")]);
            let capture = first(&[action.member("token"), action.member("sysdigCaptureId")]);
            let kind = action.member("type").text().map(|kind| action_kind(&kind));
            // A type may be the empty string (sysdig.md §5.3): then only what else is told counts.
            let kind = kind.or_else(|| capture.is_some().then(|| "capture".to_owned()));
            let kind = kind.or_else(|| error.is_some().then(|| "unnamed".to_owned()))?;
            // Where it is not said, an error says it.
            let successful = (action.member("isSuccessful").truth())
                .or_else(|| action.member("successful").truth())
                .or_else(|| error.is_some().then_some(false));
            Some(Action { kind, successful, error, capture })
        })
        .take(20)
        .collect()
}

/// The public API's word for an action: `POLICY_ACTION_CAPTURE` is `capture`.
fn action_kind(kind: &str) -> String {
    let word = kind.strip_prefix("POLICY_ACTION_").unwrap_or(kind).to_ascii_lowercase().replace(' ', "_");
    match word.as_str() {
        "kill" | "kill_container" => "container_killed".into(),
        "stop" | "stop_container" => "container_stopped".into(),
        "pause" | "pause_container" => "container_paused".into(),
        "kill_process" => "process_killed".into(),
        "prevent_drift" => "drift_prevented".into(),
        "prevent_malware" => "malware_prevented".into(),
        _ => word,
    }
}

fn origin(object: &Json<'_>, content: &Json<'_>) -> Origin {
    let details = object.member("sourceDetails");
    Origin {
        originator: object.member("originator").owned(),
        category: object.member("category").owned(),
        source: object.member("source").owned(),
        engine: first(&[object.member("engine"), content.member("engine")]),
        raw_originator: object.member("rawEventOriginator").owned(),
        raw_category: object.member("rawEventCategory").owned(),
        kind: first(&[details.member("sourceType"), details.member("type")]),
        sub_kind: first(&[details.member("sourceSubType"), details.member("subType")]),
    }
}

fn learned(content: &Json<'_>) -> Option<Learned> {
    let probability = content.member("detectedClassProbability").owned();
    let told = Learned { command: content.member("command").owned(), exe: content.member("exe").owned(), probability };
    (told != Learned::default()).then_some(told)
}

fn learned_summary(learned: &Learned) -> Option<String> {
    let what = learned.command.as_ref().or(learned.exe.as_ref())?;
    Some(format!("A machine-learning detection matched the command: {what}"))
}

fn admission(content: &Json<'_>) -> Option<Admission> {
    let is_review = content.member("type").str() == Some("k8sAdmissionReview") || content.member("scanResult").is_map();
    let zones = content.member("zones").list().iter().filter_map(|zone| zone.member("zoneName").owned()).take(50);
    is_review.then(|| Admission {
        kind: content.member("resourceKind").owned(),
        name: content.member("resourceName").owned(),
        result: as_sent(content.member("scanResult")).into_iter().collect(),
        zones: zones.collect(),
    })
}

fn admission_summary(review: &Admission) -> String {
    let kind = review.kind.as_deref().unwrap_or("object");
    let name = review.name.as_deref().unwrap_or("without a name");
    let results: Vec<_> = review.result.iter().take(10).map(|(name, value)| format!("{name}: {value}")).collect();
    let results = if results.is_empty() { String::new() } else { format!(" ({})", results.join(", ")) };
    format!("The admission controller reviewed {kind} {name}{results}")
}

fn tags(first: &Json<'_>, second: &Json<'_>) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for list in [first, second] {
        let single = list.str().into_iter().flat_map(|text| text.split(',')).filter_map(meaningful).map(str::to_owned);
        for tag in list.list().iter().filter_map(Json::owned).chain(single).take(MOST_TAGS) {
            let tag = shorten(&tag, 256).to_owned();
            if !tags.contains(&tag) {
                tags.push(tag);
            }
        }
    }
    tags
}

/// Names and values of all of these; where one name has several, the last counts.
pub(super) fn facts(sources: &[&Json<'_>]) -> Facts {
    sources.iter().flat_map(|source| pairs(source)).collect()
}

/// As [`facts`], without environment variables.
pub(super) fn fields(sources: &[&Json<'_>]) -> Facts {
    let pairs = sources.iter().flat_map(|source| pairs(source)).filter(|(name, _)| !environment::is_one(name));
    pairs
        .map(|(name, value)| match environment::is_arguments(&name) {
            true => (name, environment::without(value)),
            false => (name, value),
        })
        .collect()
}

/// Names and values, from an object or from a list of `{"key": …, "value": …}`, with the names whole that were taken
/// apart. Absent values are left out; where a name is there as it should be, that counts.
fn pairs<'j>(json: &'j Json<'_>) -> Vec<Pair<'j>> {
    let members = json.members();
    if !members.iter().any(|(name, value)| dotted::is_part(name, value)) {
        return as_sent(json);
    }
    let whole = members.iter().filter(|(name, value)| !dotted::is_part(name, value));
    let mut whole: Vec<Pair<'j>> = whole.filter_map(|(name, value)| pair(name.as_ref().into(), value)).collect();
    whole.truncate(MOST_FACTS);
    let apart = dotted::values(json, MOST_FACTS - whole.len());
    let apart = apart.into_iter().filter_map(|(name, value)| pair(name.into(), value));
    // Of equal names the last counts.
    apart.chain(whole).collect()
}

type Pair<'j> = (Cow<'j, str>, Cow<'j, str>);

/// As [`pairs`], with objects as values.
fn as_sent<'j>(json: &'j Json<'_>) -> Vec<Pair<'j>> {
    let members = json.members().iter().filter_map(|(name, value)| pair(name.as_ref().into(), value));
    let listed = json.list().iter().filter_map(|told| {
        let name = told.member("key").text().or_else(|| told.member("name").text())?;
        pair(name, told.member("value"))
    });
    let mut pairs = Vec::with_capacity((json.members().len() + json.list().len()).min(MOST_FACTS));
    pairs.extend(members.chain(listed).take(MOST_FACTS));
    pairs
}

/// A name and its value, when both say something.
fn pair<'j>(name: Cow<'j, str>, value: &'j Json<'_>) -> Option<Pair<'j>> {
    let name = match name {
        Cow::Borrowed(name) => Cow::Borrowed(shorten(meaningful(name)?, LONGEST_NAME)),
        Cow::Owned(name) => Cow::Owned(shorten(meaningful(&name)?, LONGEST_NAME).to_owned()),
    };
    let value = match value {
        Json::Text(text) => Cow::Borrowed(shorten(meaningful(text)?, LONGEST_VALUE)),
        other => Cow::Owned(shorten(&other.any_text()?, LONGEST_VALUE).to_owned()),
    };
    // `host` as a container id is the sensor's way of saying that it was none.
    (name != "container.id" || value != "host").then_some((name, value))
}

/// The first of these that has a value.
pub(super) fn first(values: &[&Json<'_>]) -> Option<String> {
    let text = values.iter().find_map(|value| value.text())?;
    Some(if text.len() > LONGEST_VALUE { shorten(&text, LONGEST_VALUE).to_owned() } else { text.into_owned() })
}

/// What a rule says: without environment variables, the sentinel that was escaped twice undone.
pub(super) fn sentence(text: &str) -> String {
    if text.contains("u003c") || text.contains("u003C") {
        let once = text.replace("\\\\u003c", "<").replace("\\\\u003e", ">");
        let once = once.replace("\\u003c", "<").replace("\\u003e", ">").replace("\\u003C", "<").replace("\\u003E", ">");
        return environment::within(once.into()).into_owned();
    }
    environment::within(text.into()).into_owned()
}
