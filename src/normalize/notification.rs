//! The notification webhook of Sysdig Secure (sysdig.md §5.1, §5.2): an envelope around policy events.
//!
//! The envelope is parsed once for what its events need to know of it. Each event is kept inside an envelope of its
//! own, cut down to what concerns it, so that the stored body can be read again like any delivery.

use std::borrow::Cow;
use std::collections::HashMap;

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::json;

use super::json::{Json, raw_items, raw_member, raw_members};
use super::scalars::{level, shorten};
use super::time;
use crate::event::Severity;

/// A member of the envelope larger than this, in bytes, is not repeated with every event: only what is read of it is.
const LARGEST_MEMBER: usize = 4 * 1024;
/// Longest text taken from a policy or an alert; no finding shows more of it.
const LONGEST_TEXT: usize = 4 * 1024;
/// The longest link.
const LONGEST_LINK: usize = 2 * 1024;

/// What a policy, or the alert about one, says.
#[derive(Debug, Default)]
pub(super) struct About {
    pub(super) id: Option<String>,
    pub(super) name: Option<String>,
    pub(super) description: Option<String>,
    pub(super) version: Option<String>,
    pub(super) severity: Option<Severity>,
}

impl About {
    fn read(said: &Json<'_>) -> Self {
        let text = |name: &str| said.member(name).text().map(|text| shorten(&text, LONGEST_TEXT).trim_end().to_owned());
        Self {
            id: text("id"),
            name: text("name"),
            description: text("description"),
            version: text("version"),
            severity: level(said.member("severity")),
        }
    }

    /// What can be read as the same again.
    fn json(&self) -> String {
        let Self { id, name, description, version, severity } = self;
        let severity = severity.map(Severity::level);
        let said =
            json!({"id": id, "name": name, "description": description, "version": version, "severity": severity});
        said.to_string()
    }

    /// The policy's name out of the alert's: `Policy 4711: Terminal shell in container`.
    pub(super) fn policy_name(&self) -> Option<&str> {
        let name = self.name.as_deref()?;
        let title = numbered(name).map(|(_, title)| title.trim()).filter(|title| !title.is_empty());
        Some(title.unwrap_or(name))
    }
}

/// Number and title out of an alert's name, when it has both.
fn numbered(name: &str) -> Option<(&str, &str)> {
    let (number, title) = name.strip_prefix("Policy ")?.split_once(": ")?;
    number.bytes().all(|b| b.is_ascii_digit()).then_some((number, title))
}

/// What an event needs to know of the notification it came in; empty when it came in none. It is read once, however many
/// events there are.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    pub(super) is_notification: bool,
    pub(super) link: Option<String>,
    pub(super) time: Option<DateTime<Utc>>,
    alert: About,
    policies: Vec<About>,
    /// Places of the policies.
    by_id: HashMap<String, usize>,
}

impl Envelope {
    /// What a notification says of all its entities.
    pub(super) fn of(notification: &Json<'_>) -> Self {
        let link = notification.member("event").member("url").str();
        Self {
            is_notification: true,
            link: link.filter(|url| (1..=LONGEST_LINK).contains(&url.len())).map(str::to_owned),
            time: time::moment(notification.member("timestamp")),
            alert: About::read(notification.member("alert")),
            ..Self::default()
        }
    }

    /// What one of its entities says; that of another one is forgotten.
    pub(super) fn enter(&mut self, policies: &[Json<'_>]) {
        self.policies = policies.iter().map(About::read).collect();
        self.by_id.clear();
        for (place, policy) in self.policies.iter().enumerate() {
            if let Some(id) = &policy.id {
                self.by_id.entry(id.clone()).or_insert(place);
            }
        }
    }

    /// The policy with this id. The only one that is told stands for it where the event or the policy has no id.
    pub(super) fn policy(&self, id: Option<&str>) -> Option<&About> {
        self.place(id).and_then(|place| self.policies.get(place))
    }

    fn place(&self, id: Option<&str>) -> Option<usize> {
        let only = || match self.policies.as_slice() {
            [policy] if id.is_none() || policy.id.is_none() => Some(0),
            _ => None,
        };
        id.and_then(|id| self.by_id.get(id).copied()).or_else(only)
    }

    /// The alert, unless it names another policy than this one.
    pub(super) fn alert(&self, policy: Option<&str>) -> Option<&About> {
        let named = self.alert.name.as_deref().and_then(numbered).map(|(number, _)| number);
        let is_another = policy.zip(named).is_some_and(|(policy, named)| policy != named);
        (self.is_notification && !is_another).then_some(&self.alert)
    }
}

/// Whether the notification says that it is over.
pub(super) fn is_resolved(notification: &Json<'_>) -> bool {
    let state = notification.member("state").str().unwrap_or_default().trim();
    let over = ["ok", "resolved", "inactive"].iter().any(|word| state.eq_ignore_ascii_case(word));
    over || notification.member("resolved").truth() == Some(true)
}

/// Whether an object is a notification: it has entities.
pub(super) fn is_one(object: &Json<'_>) -> bool {
    let entities = object.member("entities");
    entities.is_list() || entities.is_map()
}

/// The entities; one that stands alone is a list of one.
pub(super) fn entities<'n, 'a>(notification: &'n Json<'a>) -> &'n [Json<'a>] {
    match notification.member("entities") {
        Json::List(entities) => entities,
        Json::Null => &[],
        single => std::slice::from_ref(single),
    }
}

/// Whether any entity has policy events, or cannot be read.
pub(super) fn has_events(notification: &Json<'_>) -> bool {
    entities(notification).iter().any(|entity| match (entity, entity.member("policyEvents")) {
        (Json::Null, _) | (Json::Map(_), Json::Null) => false,
        (Json::Map(_), Json::List(events)) => !events.is_empty(),
        _ => true,
    })
}

/// A time as it is read again to the nanosecond.
fn nanoseconds(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Nanos, true)
}

/// The texts that the stored bodies of one notification are made of.
#[derive(Debug)]
pub(super) struct Wrapping<'a> {
    head: String,
    entities: Vec<Entity<'a>>,
}

#[derive(Debug)]
struct Entity<'a> {
    text: &'a str,
    policies: Vec<&'a str>,
    /// All of them, for an event that names none that is there: when they are too much, none.
    any: String,
    events: Vec<&'a str>,
}

impl<'a> Wrapping<'a> {
    /// Cuts the delivery's text apart.
    pub(super) fn new(text: &'a str, envelope: &Envelope) -> Self {
        let members = raw_members(text);
        let mut head = String::from("{");
        for name in ["timestamp", "timespan", "alert", "event", "state", "resolved", "source", "condition"] {
            let value = match raw_member(&members, name) {
                Some(value) if value.len() <= LARGEST_MEMBER => Cow::Borrowed(value),
                Some(_) if name == "alert" => Cow::Owned(envelope.alert.json()),
                Some(_) if name == "timestamp" => Cow::Owned(json!(envelope.time.map(nanoseconds)).to_string()),
                Some(_) if name == "event" => Cow::Owned(json!({"url": envelope.link}).to_string()),
                _ => continue,
            };
            head.push_str(&format!("\"{name}\":{value},"));
        }
        let entities = raw_member(&members, "entities").map(all).unwrap_or_default();
        Self { head, entities: entities.into_iter().map(entity).collect() }
    }

    /// An entity that is no object, in an envelope of its own.
    pub(super) fn bare(&self, entity: usize) -> String {
        let text = self.entities.get(entity).map_or("null", |entity| entity.text);
        format!("{}\"entities\":[{text}]}}", self.head)
    }

    /// An event as it was delivered.
    pub(super) fn event(&self, entity: usize, event: usize) -> &'a str {
        self.entities.get(entity).and_then(|entity| entity.events.get(event)).copied().unwrap_or("null")
    }

    /// One event in an envelope of its own, with its policy.
    pub(super) fn body(&self, entity: usize, event: usize, envelope: &Envelope, policy: Option<&str>) -> String {
        let Some(found) = self.entities.get(entity) else { return format!("{}\"entities\":[]}}", self.head) };
        let policies = match envelope.place(policy) {
            None => Cow::Borrowed(found.any.as_str()),
            Some(place) => match found.policies.get(place) {
                Some(text) if text.len() <= LARGEST_MEMBER => Cow::Borrowed(*text),
                _ => Cow::Owned(envelope.policies[place].json()),
            },
        };
        let event = self.event(entity, event);
        format!("{}\"entities\":[{{\"policies\":[{policies}],\"policyEvents\":[{event}]}}]}}", self.head)
    }
}

/// The items of a list; what stands alone is a list of one.
fn all(text: &str) -> Vec<&str> {
    if text.starts_with('[') { raw_items(text) } else { vec![text] }
}

fn entity(text: &str) -> Entity<'_> {
    let members: Vec<(Cow<'_, str>, &str)> = raw_members(text);
    let policies = raw_member(&members, "policies").map(raw_items).unwrap_or_default();
    let few = policies.iter().map(|policy| policy.len() + 1).sum::<usize>() <= LARGEST_MEMBER;
    Entity {
        text,
        any: if few { policies.join(",") } else { String::new() },
        policies,
        events: raw_member(&members, "policyEvents").map(all).unwrap_or_default(),
    }
}
