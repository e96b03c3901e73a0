//! The notification webhook of Sysdig Secure (sysdig.md §5.1, §5.2): an envelope around policy events.
//!
//! The envelope is parsed once for what its events need to know of it. Each event is kept inside an envelope of its
//! own, cut down to what concerns it, so that the stored body can be read again like any delivery.

use std::borrow::Cow;

use chrono::{DateTime, Utc};

use super::json::{Json, raw_items, raw_member, raw_members};
use super::time;

/// A member of the envelope larger than this, in bytes, is not repeated with every event.
const LARGEST_MEMBER: usize = 8 * 1024;

/// What an event needs to know of the notification it came in; empty when it came in none.
#[derive(Debug)]
pub(super) struct Envelope<'e, 'a> {
    pub(super) alert: &'e Json<'a>,
    pub(super) policies: &'e [Json<'a>],
    pub(super) link: Option<&'e str>,
    pub(super) time: Option<DateTime<Utc>>,
    pub(super) is_notification: bool,
}

impl<'e, 'a> Envelope<'e, 'a> {
    /// No notification.
    pub(super) fn none() -> Self {
        Self { alert: &Json::Null, policies: &[], link: None, time: None, is_notification: false }
    }

    /// What the notification and one of its entities say.
    pub(super) fn of(notification: &'e Json<'a>, entity: &'e Json<'a>) -> Self {
        let link = notification.member("event").member("url").str().filter(|url| !url.is_empty());
        let policies = entity.member("policies").list();
        let time = time::moment(notification.member("timestamp"));
        Self { alert: notification.member("alert"), policies, link, time, is_notification: true }
    }

    /// The policy with this id.
    pub(super) fn policy(&self, id: &str) -> Option<&'e Json<'a>> {
        self.policies.iter().find(|policy| policy.member("id").text().is_some_and(|known| known == id))
    }

    /// The policy, when only one is told.
    pub(super) fn only_policy(&self) -> Option<&'e Json<'a>> {
        match self.policies {
            [policy] if policy.is_map() => Some(policy),
            _ => None,
        }
    }

    /// The policy's name out of the alert's: `Policy 4711: Terminal shell in container`.
    pub(super) fn alert_policy_name(&self) -> Option<String> {
        let name = self.alert.member("name").owned()?;
        let after = name.strip_prefix("Policy ").and_then(|rest| rest.split_once(": "));
        match after {
            Some((number, title)) if number.bytes().all(|b| b.is_ascii_digit()) && !title.trim().is_empty() => {
                Some(title.trim().to_owned())
            }
            _ => Some(name),
        }
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
    events: Vec<&'a str>,
}

impl<'a> Wrapping<'a> {
    /// Cuts the delivery's text apart.
    pub(super) fn new(text: &'a str) -> Self {
        let members = raw_members(text);
        let mut head = String::from("{");
        for name in ["timestamp", "timespan", "alert", "event", "state", "resolved", "source", "condition"] {
            if let Some(value) = raw_member(&members, name).filter(|value| value.len() <= LARGEST_MEMBER) {
                head.push_str(&format!("\"{name}\":{value},"));
            }
        }
        let entities = raw_member(&members, "entities").map(all).unwrap_or_default();
        Self { head, entities: entities.into_iter().map(entity).collect() }
    }

    /// An entity that is no object, in an envelope of its own.
    pub(super) fn bare(&self, entity: usize) -> String {
        let text = self.entities.get(entity).map_or("null", |entity| entity.text);
        format!("{}\"entities\":[{text}]}}", self.head)
    }

    /// One event in an envelope of its own, with the policies it may refer to.
    pub(super) fn body(&self, entity: usize, event: usize, policies: &[Json<'_>], policy: Option<&str>) -> String {
        let Some(found) = self.entities.get(entity) else { return format!("{}\"entities\":[]}}", self.head) };
        // Of several policies, the one the event names; all of them when it names none that is there.
        let is_named = |index: usize| {
            policy.is_some() && policies.get(index).and_then(|known| known.member("id").text()).as_deref() == policy
        };
        let numbered = found.policies.iter().enumerate();
        let named: Vec<&str> = numbered.filter(|(index, _)| is_named(*index)).map(|(_, text)| *text).collect();
        let kept = if found.policies.len() > 1 && !named.is_empty() { named } else { found.policies.clone() };
        let event = found.events.get(event).copied().unwrap_or("null");
        format!("{}\"entities\":[{{\"policies\":[{}],\"policyEvents\":[{event}]}}]}}", self.head, kept.join(","))
    }
}

/// The items of a list; what stands alone is a list of one.
fn all(text: &str) -> Vec<&str> {
    if text.starts_with('[') { raw_items(text) } else { vec![text] }
}

fn entity(text: &str) -> Entity<'_> {
    let members: Vec<(Cow<'_, str>, &str)> = raw_members(text);
    let events = raw_member(&members, "policyEvents").map(all);
    Entity {
        text,
        policies: raw_member(&members, "policies").map(raw_items).unwrap_or_default(),
        events: events.unwrap_or_default(),
    }
}
