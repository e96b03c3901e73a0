//! Falco's own JSON (sysdig.md §5.7).

use chrono::{DateTime, Utc};

use super::derived::{self, Words};
use super::ignored::Ignored;
use super::json::Json;
use super::scalars::shorten;
use super::sysdig::{MOST_TAGS, facts, fields, first, sentence};
use super::{place, time};
use crate::event::runtime::{Host, Origin, Policy, Shape};
use crate::event::scene::{self, Scene};
use crate::event::{Runtime, Severity};

/// Whether it is Falco's: a rule, and its output in one form or the other.
pub(super) fn is_falco(object: &Json<'_>) -> bool {
    let has = |name: &str| !object.member(name).is_null();
    let rule = object.member("rule").text().is_some();
    rule && (object.member("output_fields").is_map() || (has("priority") && (has("output") || has("time"))))
}

/// Whether it can be nothing else: other programs have rules and priorities too.
pub(super) fn is_surely(object: &Json<'_>) -> bool {
    const PRIORITIES: [&str; 8] =
        ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];
    let priority = object.member("priority").str().unwrap_or_default().to_ascii_lowercase();
    let said = ["output", "message"].iter().any(|name| object.member(name).str().is_some());
    object.member("output_fields").is_map() || (said && (PRIORITIES.contains(&&*priority) || priority == "info"))
}

/// What Falco measures of itself: the rules' names.
pub(super) const MEASURED: [&str; 2] =
    ["Falco internal: metrics snapshot", "Falco internal: resource utilization notification"];

/// What Falco and falcosidekick send about themselves, and is no event: Falco's metrics (`metrics.output_rule`), and what
/// falcosidekick makes of `POST /test`. System calls that Falco dropped are one: something was not seen.
pub(super) fn ignored(object: &Json<'_>) -> Option<Ignored> {
    let rule = object.member("rule").str()?.trim();
    match rule {
        rule if MEASURED.contains(&rule) => Some(Ignored::SensorMetrics),
        "Test rule" => {
            let said = object.member("output").str().unwrap_or_default();
            said.contains("test from falcosidekick").then_some(Ignored::Test)
        }
        _ => None,
    }
}

/// One event in our own words.
pub(super) fn event(object: &Json<'_>, received: DateTime<Utc>) -> Runtime {
    let output = object.member("output_fields");
    let mut fields = fields(&[output]);
    if place::is_on_host(&fields, &fields, None) {
        fields = fields.without("container.name");
    }
    let mut notes = Vec::new();
    let [clock, raw, iso] = ["evt.time", "evt.rawtime", "evt.time.iso8601"].map(|name| output.member(name));
    // As a shipper leaves them that takes names apart.
    let inner = output.member("evt");
    let inner_iso = inner.member("time").member("iso8601");
    let times = [object.member("time"), clock, raw, iso, inner.member("time"), inner.member("rawtime"), inner_iso];
    let told = times.iter().find_map(|value| time::moment(value));
    if told.is_none() {
        notes.push(time::stands_in(&times, "the time it was received"));
    }
    let priority = object.member("priority").owned();
    let rated = priority.as_deref().and_then(Severity::from_word);
    if rated.is_none() {
        notes.push("The priority is missing or unknown; severity 4 stands in.".to_owned());
    }
    let known = place::complete(&fields);
    let told_of = known.as_ref().unwrap_or(&fields);
    let place = place::read(told_of, told_of, &[], None);
    let sent = object.member("hostname").owned();
    let rule = object.member("rule").owned();
    // `message` is the output without its beginning, since Falco 0.40; either may be switched off.
    let summary = first(&[object.member("output"), object.member("message")])
        .map(|text| sentence(without_clock(&text, object.member("priority"))));
    // falcosidekick's `uuid` is another one each time the same event comes by it; Falco itself sends none. Of events without
    // a time nothing else tells one from the next.
    let id = match object.member("uuid").text().filter(|_| told.is_none()) {
        Some(uuid) => uuid.into_owned(),
        None => {
            let hosts =
                [sent.as_deref(), place.host.name.as_deref(), fields.get("evt.hostname"), place.host.mac.as_deref()];
            derived::from_words(&Words {
                told,
                rule: rule.as_deref(),
                host: hosts.into_iter().flatten().next(),
                container: place.container.id.as_deref(),
                summary: summary.as_deref(),
                fields: &fields,
            })
        }
    };
    let mut event = Runtime {
        id,
        shape: Shape::Falco,
        time: told.unwrap_or(received),
        untimed: told.is_none(),
        severity: rated.unwrap_or(Severity::UNKNOWN),
        unrated: rated.is_none(),
        odd_severity: None,
        priority,
        policy: Policy::default(),
        rule,
        rule_type: None,
        tags: object
            .member("tags")
            .list()
            .iter()
            .filter_map(Json::owned)
            .take(MOST_TAGS)
            .map(|t| shorten(&t, 256).to_owned())
            .collect(),
        summary,
        fields: known.unwrap_or(fields),
        labels: facts(&[object.member("labels")]),
        container: place.container,
        host: Host { name: sent.and_then(place::host_name).or(place.host.name), ..place.host },
        kubernetes: place.kubernetes,
        cloud: place.cloud,
        actions: Vec::new(),
        origin: Origin { source: object.member("source").owned(), engine: Some("falco".into()), ..Origin::default() },
        link: None,
        runbook: None,
        learned: None,
        admission: None,
        notes,
    };
    if event.lacks_fields() && scene::of(&event) == Scene::Machine {
        event.notes.push(
            "The event carries no fields; container and pod stand in its sentence only, if it names any.".to_owned(),
        );
    }
    event
}

/// The sentence without what stands before it: a clock and the priority, both told better elsewhere.
fn without_clock<'a>(output: &'a str, priority: &Json<'_>) -> &'a str {
    // `10:18:28.625667668`, or with `time_format_iso_8601` the date, `T` and the offset too.
    let in_clock = |b: u8| b.is_ascii_digit() || matches!(b, b':' | b'.' | b'-' | b'+' | b'T' | b'Z');
    let is_clock = |text: &str| text.len() >= 8 && text.contains(':') && text.bytes().all(in_clock);
    let rest = output.split_once(": ").filter(|(clock, _)| is_clock(clock)).map_or(output, |(_, rest)| rest);
    let word = priority.str().unwrap_or_default();
    let starts = !word.is_empty() && rest.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let sentence = if starts { rest[word.len()..].trim_start() } else { rest };
    if sentence.is_empty() { output } else { sentence }
}
