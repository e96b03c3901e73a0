//! Ids for events that bring none: made of the event, so that the same one sent again is known, and another one is not
//! taken for it.

use std::borrow::Cow;

use chrono::{DateTime, SecondsFormat, Utc};
use sha2::{Digest, Sha256};

use super::json::Json;
use crate::event::facts::Facts;
use crate::event::runtime::Policy;
use crate::text::sentinels::meaningful;
use crate::text::tokens;

/// Where a policy event tells its time. Senders spell one moment in several ways.
pub(super) const TIMES: [&str; 3] = ["timestampRFC3339Nano", "timestampNs", "timestamp"];

/// What says where an event was read, and nothing of the event.
const NOT_OF_THE_EVENT: [&str; 1] = ["cursor"];

/// The time of a policy event: its own, or that of the notification around it.
#[derive(Debug, Clone, Copy)]
pub(super) enum When {
    /// The event says it.
    Own(DateTime<Utc>),
    /// The notification says it.
    Notification(DateTime<Utc>),
    /// Nobody does.
    Untold,
}

impl When {
    /// The moment.
    pub(super) fn told(self) -> Option<DateTime<Utc>> {
        match self {
            Self::Own(time) | Self::Notification(time) => Some(time),
            Self::Untold => None,
        }
    }
}

/// An id from everything that a policy event says about itself, whatever the order of its members and whatever is around
/// it. Where it names no policy, the one that was found for it counts.
pub(super) fn from_content(object: &Json<'_>, when: When, policy: &Policy) -> String {
    let mut hash = Sha256::new();
    feed_time(when.told(), &mut hash);
    let names = [object.member("name"), object.member("content").member("policyName")];
    if policy.id.is_none() && names.iter().all(|name| name.text().is_none()) {
        feed_text(policy.name.as_deref().unwrap_or_default(), &mut hash);
    }
    let is_time = |name: &str| matches!(when, When::Own(_)) && TIMES.contains(&name);
    let is_no_id = |name: &str, value: &Json<'_>| name == "id" && value.text().is_some_and(|id| id == "0");
    feed_members(object, &mut hash, |name, value| {
        !is_time(name) && !is_no_id(name, value) && !NOT_OF_THE_EVENT.contains(&name)
    });
    hex::encode(&hash.finalize()[..16])
}

/// What identifies one of Falco's events, as it was sent.
pub(super) struct Words<'e> {
    /// When it happened.
    pub(super) told: Option<DateTime<Utc>>,
    pub(super) rule: Option<&'e str>,
    /// The host's name, or its hardware address.
    pub(super) host: Option<&'e str>,
    pub(super) container: Option<&'e str>,
    pub(super) summary: Option<&'e str>,
    pub(super) fields: &'e Facts,
}

/// An id from what identifies one of Falco's events, which comes by way of others that add to it. Tokens do not count: one
/// door takes them away.
pub(super) fn from_words(words: &Words<'_>) -> String {
    let time = words.told.map(|time| time.to_rfc3339_opts(SecondsFormat::Nanos, true));
    // Falco has no policies; the ids keep the place of theirs.
    let parts = [time.as_deref(), words.rule, None, words.host, words.container, words.summary];
    let mut hash = Sha256::new();
    for text in parts {
        hash.update(tokens::without(text.unwrap_or_default()).as_bytes());
        hash.update([0]);
    }
    for (name, value) in words.fields.iter() {
        hash.update(tokens::without(name).as_bytes());
        hash.update([1]);
        hash.update(tokens::without(value).as_bytes());
        hash.update([2]);
    }
    hex::encode(&hash.finalize()[..16])
}

fn feed_time(time: Option<DateTime<Utc>>, hash: &mut Sha256) {
    let time = time.map(|time| time.to_rfc3339_opts(SecondsFormat::Nanos, true));
    feed_text(time.as_deref().unwrap_or_default(), hash);
}

/// A text behind its length, so that no two of them run into one another. Without tokens, as one door takes them away.
fn feed_text(text: &str, hash: &mut Sha256) {
    let text = tokens::without(text);
    hash.update((text.len() as u64).to_be_bytes());
    hash.update(text.as_bytes());
}

/// The members that say something, by name; of equal names the last.
fn feed_members(object: &Json<'_>, hash: &mut Sha256, counts: impl Fn(&str, &Json<'_>) -> bool) {
    let mut members: Vec<_> = object.members().iter().collect();
    // Stable: of equal names the last stays the last.
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    hash.update(b"{");
    for (at, (name, value)) in members.iter().enumerate() {
        let is_last = members.get(at + 1).is_none_or(|(next, _)| next != name);
        if is_last && !is_nothing(value) && counts(name, value) {
            feed_text(name, hash);
            feed(value, hash);
        }
    }
    hash.update(b"}");
}

fn feed(value: &Json<'_>, hash: &mut Sha256) {
    match value {
        Json::Map(_) => feed_members(value, hash, |_, _| true),
        Json::List(items) => {
            hash.update(b"[");
            items.iter().for_each(|item| feed(item, hash));
            hash.update(b"]");
        }
        // A number and its text are the same: senders differ in that.
        scalar => {
            hash.update(b"=");
            feed_text(&scalar.text().unwrap_or(Cow::Borrowed("")), hash);
        }
    }
}

/// Whether a member might as well be absent.
fn is_nothing(value: &Json<'_>) -> bool {
    match value {
        Json::Null => true,
        Json::Text(text) => meaningful(text).is_none(),
        Json::List(items) => items.is_empty(),
        Json::Map(members) => members.is_empty(),
        _ => false,
    }
}
