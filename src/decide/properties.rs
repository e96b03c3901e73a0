//! The source properties: what analysts' queries already rely on, then everything else the event tells, bounded.

use std::borrow::Cow;

use serde_json::Value;

use super::looked_up;
use super::resource::Resource;
use crate::enrich::Enriched;
use crate::event::runtime::{Host, Runtime};
use crate::event::sieve::Sieve;
use crate::finding::Properties;
use crate::text::glance::Glance;
use crate::text::secrets::{HIDDEN, is_secret, redact_arguments};
use crate::text::{cut, shown};

/// Most keys of one finding.
const MOST_KEYS: usize = 100;
/// As many as there usually are.
const USUAL_KEYS: usize = 64;
/// Keys set aside for the marks of truncation.
const SPARE_KEYS: usize = 6;
/// The longest value, in bytes.
const LONGEST_VALUE: usize = 4 * 1024;
/// What all keys and values may weigh together, in bytes.
const LARGEST_TOTAL: usize = 32 * 1024;
/// The longest key Security Command Center takes.
const LONGEST_KEY: usize = 255;
/// The longest list that is made room for at once.
const LONGEST_LIST: usize = 64;
const MARK: &str = "_truncated";

/// What the properties need to know beside the event.
pub(super) struct Context<'a> {
    pub(super) resource: &'a Resource,
    pub(super) unknown_tags: &'a [String],
    /// Whether the event's time lay in the future and was pulled back.
    pub(super) clamped: bool,
    /// What the look-ups found.
    pub(super) enriched: &'a Enriched,
    /// The virtual machine that the node is.
    pub(super) machine: Option<&'a str>,
    /// The host as the sensor told it, which may be only where the event was read.
    pub(super) sensor: &'a Host,
}

/// Everything, the most important first, so that a cap cuts off what matters least.
pub(super) fn collect(event: &Runtime, context: &Context<'_>) -> Properties {
    let mut bag = Bag { found: Properties::with_room(USUAL_KEYS), ..Bag::default() };
    original(event, &mut bag);
    container_threat_detection(event, context.machine, &mut bag);
    provenance(event, context, &mut bag);
    for facts in [&event.fields, &event.labels] {
        facts.iter().for_each(|(name, value)| bag.fact(name, &told(event, name, value)));
    }
    bag.finish()
}

/// The value of a field or label, without what its name or the program beside it says is secret.
fn told<'a>(event: &Runtime, name: &str, value: &'a str) -> Cow<'a, str> {
    let program = match name {
        "proc.args" | "evt.arg.args" => ["proc.name", "proc.exe"],
        "proc.pargs" => ["proc.pname", "proc.pexe"],
        _ if is_secret(name) => return Cow::Borrowed(HIDDEN),
        _ => return Cow::Borrowed(value),
    };
    let program = program.iter().find_map(|name| event.field(name)).unwrap_or_default();
    redact_arguments(program, value)
}

/// The keys of the original connector, values as strings.
fn original(event: &Runtime, bag: &mut Bag) {
    let kubernetes = &event.kubernetes;
    let is_deployment = kubernetes.workload_kind.as_deref() == Some("deployment");
    let deployment = kubernetes.deployment.as_deref().or(kubernetes.workload.as_deref().filter(|_| is_deployment));
    let level = event.severity.level().to_string();
    bag.text("summary", event.summary.as_deref());
    bag.text("severity", Some(&level));
    bag.text("priority", event.priority.as_deref());
    bag.text("rule_type", event.rule_type.as_deref());
    bag.text("container_id", event.container.id.as_deref());
    bag.text("container_name", event.container.name.as_deref());
    bag.text("container_image", event.container.image.as_deref());
    bag.text("kubernetes_pod_name", kubernetes.pod.as_deref());
    bag.text("kubernetes_deployment_name", deployment);
    bag.text("kubernetes_namespace_name", kubernetes.namespace.as_deref());
    bag.text("agent_tag", event.label("agent.tag.cluster"));
}

/// The five keys of Google's Container Threat Detection, so that playbooks made for it work.
fn container_threat_detection(event: &Runtime, machine: Option<&str>, bag: &mut Bag) {
    bag.text("Pod_Namespace", event.kubernetes.namespace.as_deref());
    bag.text("Pod_Name", event.kubernetes.pod.as_deref());
    bag.text("Container_Name", event.container.name.as_deref());
    bag.text("Container_Image_Uri", event.container.image.as_deref());
    bag.text("VM_Instance_Name", machine);
}

fn provenance(event: &Runtime, context: &Context<'_>, bag: &mut Bag) {
    let origin = &event.origin;
    bag.text("sysdig_event_id", Some(&event.id));
    let sent =
        event.odd_severity.as_deref().map(|sent| sent.parse::<i64>().map_or_else(|_| Value::from(sent), Value::from));
    let level = (!event.unrated).then(|| Value::from(event.severity.level()));
    if let Some(level) = sent.or(level) {
        bag.put("sysdig_severity".into(), level);
    }
    bag.text("received_as", Some(event.shape.label()));
    bag.text("resource_resolution", Some(context.resource.how));
    if context.clamped {
        let original = event.time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true);
        bag.text("original_event_time", Some(&original));
    }
    bag.text("rule", event.rule.as_deref());
    bag.text("sysdig_policy", event.policy.name.as_deref());
    bag.text("sysdig_policy_id", event.policy.id.as_deref());
    bag.text("sysdig_policy_version", event.policy.version.as_deref());
    bag.text("sysdig_policy_origin", event.policy.origin.as_deref());
    bag.list("rule_tags", &event.tags);
    bag.list("unlisted_attack_tags", context.unknown_tags);
    for (key, value) in [
        ("originator", &origin.originator),
        ("event_category", &origin.category),
        ("event_source", &origin.source),
        ("engine", &origin.engine),
        ("raw_event_originator", &origin.raw_originator),
        ("raw_event_category", &origin.raw_category),
        ("source_type", &origin.kind),
        ("source_sub_type", &origin.sub_kind),
        ("host_name", &context.sensor.name),
        ("host_mac", &context.sensor.mac),
        ("kubernetes_cluster_name", &event.kubernetes.cluster),
        ("run_book", &event.runbook),
    ] {
        bag.text(key, value.as_deref());
    }
    let actions: Vec<String> = event.actions.iter().map(described).collect();
    bag.list("actions", &actions);
    // Of a capture that failed there is nothing to be found.
    let taken = event.actions.iter().filter(|action| action.successful != Some(false));
    let captures: Vec<String> = taken.filter_map(|action| action.capture.clone()).collect();
    bag.list("capture_ids", &captures);
    if let Some(learned) = &event.learned {
        bag.text("ml_command", learned.command.as_deref());
        bag.text("ml_exe", learned.exe.as_deref());
        bag.text("ml_probability", learned.probability.as_deref());
    }
    if let Some(review) = &event.admission {
        bag.text("admission_kind", review.kind.as_deref());
        bag.text("admission_name", review.name.as_deref());
        review.result.iter().for_each(|(name, value)| bag.fact(&format!("admission_{name}"), value));
        bag.list("admission_zones", &review.zones);
    }
    bag.list("notes", &event.notes);
    looked_up::properties(event, context.enriched, &mut |key, value| {
        if !value.is_empty() {
            bag.fact(key, value);
        }
    });
    bag.list("enrichment_gaps", &context.enriched.gaps);
}

fn described(action: &crate::event::runtime::Action) -> String {
    let result = match action.successful {
        Some(true) => ": done",
        Some(false) => ": failed",
        None => ": result not told",
    };
    let error = action.error.as_ref().map(|error| format!(" ({error})")).unwrap_or_default();
    format!("{}{result}{error}", action.kind)
}

/// Properties under way, within their limits.
#[derive(Default)]
struct Bag {
    found: Properties,
    keys: Sieve,
    weight: usize,
    truncated: bool,
    /// Where keys are made.
    made: String,
}

impl Bag {
    /// A value of our own naming; absent ones are left out.
    fn text(&mut self, key: &'static str, value: Option<&str>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.stands(Name::Ours(key), value);
        }
    }

    /// A list of texts, as one JSON list.
    fn list(&mut self, key: &'static str, values: &[String]) {
        if values.is_empty() {
            return;
        }
        let mut left = LONGEST_VALUE;
        let mut kept = Vec::with_capacity(values.len().min(LONGEST_LIST));
        for value in values {
            let value = shown(value);
            if value.len() > left {
                self.mark(key);
                break;
            }
            left -= value.len();
            kept.push(Value::from(value.into_owned()));
        }
        if !kept.is_empty() {
            self.put(key.into(), Value::Array(kept));
        }
    }

    /// A field or label under the sender's name, made into a legal key. The same name with the same value is
    /// there already; with another value it gets a number.
    fn fact(&mut self, name: &str, value: &str) {
        let mut key = std::mem::take(&mut self.made);
        legal_key(name, &mut key);
        if !self.stands(Name::Theirs(&key), value) {
            key.truncate(cut(&key, LONGEST_KEY - 2).len());
            let stands = (2..10).any(|number| self.stands(Name::Theirs(&format!("{key}_{number}")), value));
            self.truncated |= !stands;
        }
        self.made = key;
    }

    /// Puts a text under a key that is free, within the limits. `false` when another one stands there.
    fn stands(&mut self, name: Name<'_>, value: &str) -> bool {
        let key = name.text();
        let shown = shown(cut(value, LONGEST_VALUE));
        if self.keys.may_hold(key)
            && let Some(known) = self.found.get(key)
        {
            return known.as_str() == Some(&*shown);
        }
        let weight = self.weight + key.len() + 6 + escaped(&shown);
        if !fits(self.found.len(), weight) {
            self.truncated = true;
            return true;
        }
        self.weight = weight;
        self.keys.add(key);
        self.found.insert_absent(name.kept(), Value::String(shown.into_owned()));
        if value.len() > LONGEST_VALUE {
            self.mark(key);
        }
        true
    }

    fn put(&mut self, key: Cow<'static, str>, value: Value) {
        let weight = self.weight + key.len() + 6 + weight(&value);
        if !fits(self.found.len(), weight) {
            self.truncated = true;
            return;
        }
        self.weight = weight;
        self.keys.add(&key);
        self.found.insert(key, value);
    }

    fn mark(&mut self, key: &str) {
        self.truncated = true;
        if self.found.len() + 2 < MOST_KEYS {
            let key = format!("{}{MARK}", cut(key, LONGEST_KEY - MARK.len()));
            self.weight += key.len() + 10;
            self.keys.add(&key);
            self.found.insert(key, true);
        }
    }

    fn finish(mut self) -> Properties {
        if self.truncated {
            // A mark whose value fell victim to another limit says nothing.
            let marks = self.found.iter().filter(|(key, value)| **value == Value::Bool(true) && key.ends_with(MARK));
            let orphans = marks.filter(|(key, _)| self.found.get(key.trim_end_matches(MARK)).is_none());
            let orphans: Vec<String> = orphans.map(|(key, _)| key.to_owned()).collect();
            self.found.retain(|key, _| key.len() >= LONGEST_KEY || !orphans.iter().any(|orphan| orphan == key));
            self.found.insert("truncated", true);
        }
        self.found
    }
}

/// Whether one more may join so many keys, when all of them then weigh so much.
fn fits(keys: usize, weight: usize) -> bool {
    keys + SPARE_KEYS < MOST_KEYS && weight <= LARGEST_TOTAL - 1024
}

/// What a text weighs as JSON, without its quotes.
fn escaped(text: &str) -> usize {
    let two = |text: &str| text.bytes().filter(|b| matches!(b, b'"' | b'\\' | b'\n' | b'\t')).count();
    text.len() + if Glance::at(text).holds_escaped() { two(text) } else { 0 }
}

/// About what a value weighs as JSON.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => escaped(text),
        Value::Array(items) => items.iter().map(|item| weight(item) + 3).sum(),
        _ => 4,
    }
}

/// A key on its way in: one of ours costs no memory.
#[derive(Clone, Copy)]
enum Name<'a> {
    Ours(&'static str),
    Theirs(&'a str),
}

impl<'a> Name<'a> {
    fn text(self) -> &'a str {
        match self {
            Self::Ours(key) => key,
            Self::Theirs(key) => key,
        }
    }

    fn kept(self) -> Cow<'static, str> {
        match self {
            Self::Ours(key) => key.into(),
            Self::Theirs(key) => key.to_owned().into(),
        }
    }
}

/// A key as Security Command Center takes it: starts with a letter, then letters, digits, underscores.
fn legal_key(name: &str, key: &mut String) {
    key.clear();
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        key.push_str("x_");
    }
    if name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.')) {
        let mut from = 0;
        for at in name.bytes().enumerate().filter(|(_, b)| *b == b'.').map(|(at, _)| at) {
            key.push_str(&name[from..at]);
            key.push('_');
            from = at + 1;
        }
        key.push_str(&name[from..]);
    } else {
        key.extend(name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }));
    }
    key.truncate(cut(key.trim_end_matches('_'), LONGEST_KEY).len());
}

/// Cuts every longer text down to this many bytes, marking it; used when the finding as a whole is too heavy.
pub(super) fn shorten_values(properties: &mut Properties, most: usize) {
    let mut marks = Vec::new();
    for (key, value) in properties.iter_mut() {
        if let Value::String(text) = value
            && text.len() > most
        {
            text.truncate(text.floor_char_boundary(most));
            marks.push(format!("{}{MARK}", cut(key, LONGEST_KEY - MARK.len())));
        }
    }
    for mark in marks {
        if properties.len() + 1 < MOST_KEYS {
            properties.insert(mark, true);
        }
    }
    properties.insert("truncated", true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_made_legal() {
        for (name, key) in [
            ("proc.aname[2]", "proc_aname_2"),
            ("9lives", "x_9lives"),
            ("_x", "x__x"),
            ("é", "x"),
            ("a.b", "a_b"),
            ("aéä-b", "a___b"),
        ] {
            let mut made = "the last one".to_owned();
            legal_key(name, &mut made);
            assert_eq!(made, key, "{name}");
        }
    }

    #[test]
    fn colliding_names_are_kept_apart_and_equal_ones_kept_once() {
        let mut bag = Bag::default();
        bag.fact("a.b", "1");
        bag.fact("a-b", "2");
        bag.fact("a_b", "1");
        let found = bag.finish();
        assert_eq!(found.len(), 2);
        assert_eq!(found["a_b_2"], "2");

        let mut bag = Bag::default();
        bag.text("summary", Some("curl --token s3cret"));
        bag.fact("summary", "curl --token s3cret");
        assert_eq!(bag.finish().into_iter().map(|(_, value)| value).collect::<Vec<_>>(), ["curl --token [redacted]"]);
    }

    #[test]
    fn long_values_are_cut_between_characters_and_marked() {
        let mut bag = Bag::default();
        bag.fact("long", &"ä".repeat(3_000));
        let found = bag.finish();
        assert_eq!(found["long"].as_str().unwrap().len(), LONGEST_VALUE);
        assert_eq!(found["long_truncated"], true);
        assert_eq!(found["truncated"], true);
    }

    #[test]
    fn number_and_weight_are_capped() {
        let mut bag = Bag::default();
        (0..500).for_each(|n| bag.fact(&format!("k{n}"), &"x".repeat(1_000)));
        let found = bag.finish();
        assert!(found.len() <= MOST_KEYS);
        assert!(serde_json::to_string(&found).unwrap().len() <= LARGEST_TOTAL);
        assert_eq!(found["truncated"], true);
    }
}
