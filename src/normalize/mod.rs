//! Foreign payload → [`Event`]: pure, one file per sender format, told apart by content.
//!
//! One element that cannot be read never stops the others. Replaying is reading again: the body kept with every
//! element is itself a delivery of one, and gives the same event ([`stored`]).

mod derived;
mod dotted;
mod environment;
mod falco;
mod heads;
mod ignored;
mod images;
mod json;
mod lines;
pub mod log_entry;
mod notification;
mod place;
mod pods;
mod scalars;
mod signs;
mod stateful;
mod sysdig;
#[cfg(test)]
mod tests;
mod time;
mod values;
mod wrapped;

use std::ops::Range;

use chrono::{DateTime, Utc};

use crate::event::{Event, Runtime};
pub use ignored::Ignored;
use json::{Json, raw_items, raw_member, raw_members};
use notification::{Envelope, Wrapping};
use values::Values;

/// Arrays within arrays are unpacked this deep; nobody sends more than a batch of batches.
const DEEPEST_BATCH: usize = 4;

/// As many elements as one delivery may hold. A batch of real events within the largest body by default has less than half
/// as many; a body of millions of scalars would take a hundred times its size in memory.
const MOST_ELEMENTS: usize = 100_000;

/// As many policies as one entity of a notification may tell.
const MOST_POLICIES: usize = 10_000;

/// What is kept of a delivery repeats, with every event of a notification, what stood around it once. So it may be this
/// many bytes, and this many times the delivery's size; real ones come to some three times.
const ROOM: usize = 4 * 1024 * 1024;
const ROOM_FOR_EACH_BYTE: usize = 6;

/// What stands before each value of a JSON text sequence.
const RECORD: u8 = 0x1e;

/// One element of a delivery, told apart by content.
#[derive(Debug, Clone, PartialEq)]
pub enum Element {
    /// An event we map to a finding.
    Event {
        /// In our own words.
        event: Event,
        /// The element as it was delivered (its JSON text); of a notification, in an envelope of its own; an event
        /// of Falco that has the time of its log entry, with that.
        body: String,
    },
    /// Something valid that opens no finding.
    Ignored(Ignored),
    /// Something valid that is none of the known shapes: it opens no finding either, but a whole stream of such must not
    /// vanish in silence.
    Unknown {
        /// What it is counted as.
        kind: Ignored,
        /// The names of its members, cut.
        members: String,
    },
    /// One element that cannot be read although the delivery can: kept, with its reason.
    Unreadable {
        /// What is wrong, naming the member.
        reason: String,
        /// The element as it was delivered.
        body: String,
    },
}

impl Element {
    /// Why it is kept instead of taken, if it is.
    fn reason(self) -> Option<String> {
        match self {
            Self::Unreadable { reason, .. } => Some(reason),
            _ => None,
        }
    }
}

/// Why a whole delivery cannot be read. The sender gets 400.
#[derive(Debug, thiserror::Error)]
pub enum NormalizeError {
    /// Nothing but white space.
    #[error("the body is empty; send one JSON object, an array of them, or one object a line")]
    Empty,
    /// Not JSON at all.
    #[error("the body is not JSON: it is malformed or breaks off at line {}, column {}", .0.line(), .0.column())]
    NotJson(#[source] serde_json::Error),
    /// Not UTF-8.
    #[error("the body is not UTF-8 text: the first bad byte is at offset {}; JSON must be sent as UTF-8", .0.valid_up_to())]
    NotUtf8(#[source] std::str::Utf8Error),
    /// More elements than are taken at once, or more around each of them.
    #[error(
        "the body holds more than {MOST_ELEMENTS} elements, or too much that each of them repeats; send smaller batches"
    )]
    TooMany,
}

/// Why an element is kept instead of taken that holds bytes which are not UTF-8.
pub const BAD_BYTES: &str = "the element holds bytes that are not UTF-8; they are shown as \u{FFFD}";

/// Every element of a delivery, in order. `received` stands in where a time is missing.
///
/// # Errors
/// When the body as a whole cannot be read; one bad element is no error.
pub fn delivery(body: &[u8], received: DateTime<Utc>) -> Result<Vec<Element>, NormalizeError> {
    let elements = elements(body, received)?;
    if elements.full { Err(NormalizeError::TooMany) } else { Ok(elements.found) }
}

/// As [`delivery`], with as many of too many elements as there was room for.
fn elements(body: &[u8], received: DateTime<Utc>) -> Result<Elements, NormalizeError> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body).trim_ascii();
    let room = ROOM.saturating_add(body.len().saturating_mul(ROOM_FOR_EACH_BYTE));
    let mut elements = Elements::new(received, room);
    // A JSON text sequence (RFC 7464): its separator stands in no value.
    let spaced: Option<Vec<u8>> = body
        .starts_with(&[RECORD])
        .then(|| body.iter().map(|byte| if *byte == RECORD { b' ' } else { *byte }).collect());
    let body = spaced.as_deref().unwrap_or(body).trim_ascii_start();
    let text = match std::str::from_utf8(body) {
        Ok("") => return Err(NormalizeError::Empty),
        Ok(text) => text,
        Err(error) => {
            let found = elements.among_bad_bytes(body).or_else(|| Elements::new(received, room).lines(body));
            return found.ok_or(NormalizeError::NotUtf8(error));
        }
    };
    if text.starts_with('[') {
        return match serde_json::from_str::<Vec<&serde_json::value::RawValue>>(text) {
            Ok(items) => {
                elements.found.reserve(items.len().min(MOST_ELEMENTS));
                items.iter().for_each(|item| elements.element(item.get(), 1));
                Ok(elements)
            }
            Err(error) => elements.several(text).ok_or(NormalizeError::NotJson(error)),
        };
    }
    match json::read(text, |json| elements.object(json, text)) {
        Ok(()) => Ok(elements),
        // Well-formed, yet nothing we can hold: nested too deeply, a number without end.
        Err(error) if serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() => {
            elements.keep(unreadable(format!("the element cannot be read as JSON: {error}"), text));
            Ok(elements)
        }
        Err(error) => elements.several(text).ok_or(NormalizeError::NotJson(error)),
    }
}

/// One stored body read again: what [`delivery`] made of it the first time, or the Pub/Sub door.
pub fn stored(body: &str, received: DateTime<Utc>) -> Result<Element, NormalizeError> {
    let found = delivery(body.as_bytes(), received);
    // A runtime event may have members of a log entry's names, but at the other doors no entry about a Shielded VM opens a
    // finding. What looks like an event within such an entry does not stand for it.
    let is_event = matches!(found.as_deref(), Ok([Element::Event { body: kept, .. }]) if kept == body);
    let is_nothing = matches!(found.as_deref(), Ok([Element::Ignored(_) | Element::Unknown { .. }]));
    let is_read = matches!(found.as_deref(), Ok(found) if !matches!(found, [Element::Unreadable { .. }]));
    if !is_event && let Some(element) = log_entry::stored(body, received) {
        let counts = match element {
            Element::Event { .. } => true,
            Element::Unreadable { .. } => is_read,
            Element::Ignored(_) | Element::Unknown { .. } => is_nothing,
        };
        if counts {
            return Ok(element);
        }
    }
    let mut elements = found?;
    match elements.len() {
        1 => Ok(elements.remove(0)),
        0 => Ok(Element::Ignored(Ignored::Empty)),
        many => Ok(unreadable(format!("the stored body holds {many} elements instead of one"), body)),
    }
}

fn unreadable(reason: impl Into<String>, body: &str) -> Element {
    Element::Unreadable { reason: reason.into(), body: body.to_owned() }
}

/// The elements found so far.
struct Elements {
    received: DateTime<Utc>,
    found: Vec<Element>,
    /// How many wrappers these are in.
    wrappers: usize,
    /// How many bytes of stored bodies there is room for.
    room: usize,
    /// Whether there were more than there is room for.
    full: bool,
    /// Whether one of them seems to hold an event that was not taken.
    seems: bool,
    /// When the log entry was written that these are in, as it says.
    logged: Option<String>,
}

impl Elements {
    fn new(received: DateTime<Utc>, room: usize) -> Self {
        Self { received, found: Vec::new(), wrappers: 0, room, full: false, seems: false, logged: None }
    }

    /// Keeps one more, while there is room.
    fn keep(&mut self, element: Element) {
        let weight = match &element {
            Element::Event { body, .. } | Element::Unreadable { body, .. } => body.len(),
            Element::Ignored(_) | Element::Unknown { .. } => 0,
        };
        match self.room.checked_sub(weight) {
            Some(left) if self.found.len() < MOST_ELEMENTS => {
                self.room = left;
                self.found.push(element);
            }
            _ => self.full = true,
        }
    }

    /// The elements of an array of which some hold bytes that are not UTF-8, a process's raw arguments for example:
    /// those are kept, the others taken. `None` when it is no array, or none of its elements is whole.
    fn among_bad_bytes(mut self, body: &[u8]) -> Option<Self> {
        let text = String::from_utf8_lossy(body);
        let items: Vec<&serde_json::value::RawValue> = serde_json::from_str(&text).ok()?;
        let (mut whole, reason) = (0_usize, BAD_BYTES);
        for item in items {
            if item.get().contains(char::REPLACEMENT_CHARACTER) {
                self.keep(unreadable(reason, item.get()));
            } else {
                whole += 1;
                self.element(item.get(), 1);
            }
        }
        (whole > 0).then_some(self)
    }

    /// One element of an array or of several values in a row.
    fn element(&mut self, text: &str, depth: usize) {
        if self.full {
            return;
        }
        if text.starts_with('[') {
            if depth > DEEPEST_BATCH {
                return self.keep(unreadable("arrays within arrays are nested too deeply", text));
            }
            return raw_items(text).into_iter().for_each(|item| self.element(item, depth + 1));
        }
        if let Err(error) = json::read(text, |json| self.object(json, text)) {
            self.keep(unreadable(format!("the element cannot be read as JSON: {error}"), text));
        }
    }

    /// Tells what one value is (sysdig.md §5), and takes what is in it.
    fn object(&mut self, json: &Json<'_>, text: &str) {
        match json {
            Json::Null => self.keep(Element::Ignored(Ignored::Empty)),
            Json::Map(_) if notification::is_one(json) => self.notification(json, text),
            Json::Map(_) if self.is_falco(json) => match falco::ignored(json) {
                Some(ignored) => self.keep(Element::Ignored(ignored)),
                None => self.falco(json, text),
            },
            Json::Map(_) if json.member("policyEvents").is_list() => self.page(text, "policyEvents"),
            Json::Map(_) if is_page(json) => self.page(text, "data"),
            Json::Map(_) => self.single(json, text),
            other => self.keep(unreadable(format!("the element is {}, not an object", other.kind()), text)),
        }
    }

    /// Whether it is Falco's event. What may as well be another program's is one only where nothing is wrapped around
    /// it, and where it is not Sysdig's: what is kept of a wrapped one is read again without its wrapper.
    fn is_falco(&self, json: &Json<'_>) -> bool {
        let may_be = self.wrappers == 0 && !sysdig::is_surely_policy_event(json);
        falco::is_falco(json) && (may_be || falco::is_surely(json))
    }

    /// Falco's event. Cloud Logging's agents take its `time` away and make it the entry's: it is given back, also in what is
    /// kept, so that this tells the same when it is read again.
    fn falco(&mut self, json: &Json<'_>, text: &str) {
        let event = falco::event(json, self.received);
        let timed = self.logged.as_ref().filter(|_| event.untimed).and_then(|time| wrapped::timed(text, time));
        let again = |json: &Json<'_>| falco::event(json, self.received);
        match timed.as_deref().map(|text| (text, json::read(text, again))) {
            Some((text, Ok(event))) => self.event(event, text),
            _ => self.event(event, text),
        }
    }

    /// One object that is not a container of others.
    fn single(&mut self, json: &Json<'_>, text: &str) {
        let kind = json.member("type").str().map(str::trim).filter(|kind| !kind.is_empty());
        let is_policy = kind.is_some_and(|kind| kind.eq_ignore_ascii_case("policy"));
        // Whatever its type is called: where a rule of a policy matched, something happened.
        let is_policy = is_policy || json.member("content").member("ruleName").text().is_some();
        let originator = || json.member("originator").str().and_then(Ignored::from_originator);
        let known = || kind.and_then(Ignored::from_type).or_else(originator).or_else(|| Ignored::from_record(json));
        if !is_policy && let Some(ignored) = known() {
            return self.keep(Element::Ignored(ignored));
        }
        // Other programs wrap and send what they like: within a wrapper, a `content` alone or a word says too little.
        let is_one = match self.wrappers {
            0 => is_policy || sysdig::is_policy_event(json),
            _ => sysdig::is_surely_policy_event(json),
        };
        if !is_one {
            return self.unknown(json, text, kind.is_some());
        }
        match sysdig::event(json, text, &Envelope::default(), self.received) {
            Ok(event) => self.event(event, text),
            Err(reason) => self.keep(unreadable(reason, text)),
        }
    }

    /// An object that is nothing we know: a wrapper, or really unknown.
    fn unknown(&mut self, json: &Json<'_>, text: &str, has_type: bool) {
        let left = match self.wrappers < wrapped::DEEPEST {
            true => match self.unwrapped(text) {
                Ok(()) => return,
                Err(left) => left,
            },
            false => None,
        };
        if let Some(reason) = wrapped::hidden(json, text).or(left) {
            self.seems = true;
            return self.keep(unreadable(reason, text));
        }
        let kind = if has_type { Ignored::OtherType } else { Ignored::from_unknown(json) };
        self.keep(match kind {
            Ignored::OtherType | Ignored::Unrecognised => Element::Unknown { kind, members: wrapped::names(json) },
            _ => Element::Ignored(kind),
        });
    }

    /// Takes what an object is wrapped around, if that is ours. Some shippers send it twice, as an object and as text.
    ///
    /// # Errors
    /// When nothing is: why an event that seems to be in it was not taken.
    fn unwrapped(&mut self, text: &str) -> Result<(), Option<String>> {
        let (mut taken, mut left) = (Vec::new(), Vec::new());
        let logged = wrapped::logged(text).or_else(|| self.logged.clone());
        self.take_from(wrapped::candidates(text), logged.as_ref(), &mut taken, &mut left);
        if taken.is_empty() {
            self.take_from(wrapped::copies(text), logged.as_ref(), &mut taken, &mut left);
        }
        // Where nothing is taken, the wrapper itself is kept for what is left.
        if taken.is_empty() {
            return Err(left.into_iter().find_map(Element::reason));
        }
        left.into_iter().for_each(|element| self.keep(element));
        Ok(())
    }

    /// Takes of members of a wrapper what is ours, the same only once; notes where it stands then among the elements, and
    /// what is left over.
    fn take_from(
        &mut self,
        inners: Vec<Values<'_>>,
        logged: Option<&String>,
        taken: &mut Vec<Range<usize>>,
        left: &mut Vec<Element>,
    ) {
        for inner in inners {
            if self.full {
                break;
            }
            let elements = match self.carried(&inner, logged.cloned()) {
                Ok(elements) => elements,
                Err(seeming) => {
                    left.extend(seeming);
                    // Without a value, what stood behind one was left of a line that was read before.
                    let of = if inner.found.is_empty() { wrapped::beside } else { wrapped::broken };
                    left.extend(inner.left.iter().filter_map(|left| of(left)));
                    continue;
                }
            };
            let is_known = |range: &Range<usize>| {
                self.found.get(range.clone()).is_some_and(|known| wrapped::are_same(known, &elements.found))
            };
            if !taken.iter().any(is_known) {
                let start = self.found.len();
                self.join(elements);
                taken.push(start..self.found.len());
            }
        }
    }

    /// The elements that a wrapper or a line of a log carries, with what breaks off in it. `logged` is when a log entry
    /// that they are in was written.
    ///
    /// # Errors
    /// When they are not ours: those of them that seem to hold an event.
    fn carried(&self, inner: &Values<'_>, logged: Option<String>) -> Result<Self, Vec<Element>> {
        let mut elements = Self { wrappers: self.wrappers + 1, logged, ..Self::new(self.received, self.room) };
        inner.found.iter().for_each(|value| elements.element(value, 1));
        if !wrapped::is_ours(&elements.found) {
            elements.found.retain(|element| elements.seems && matches!(element, Element::Unreadable { .. }));
            return Err(elements.found);
        }
        inner.left.iter().filter_map(|left| wrapped::beside(left)).for_each(|element| elements.keep(element));
        Ok(elements)
    }

    fn join(&mut self, others: Self) {
        self.full |= others.full;
        others.found.into_iter().for_each(|element| self.keep(element));
    }

    fn event(&mut self, event: Runtime, body: &str) {
        self.keep(Element::Event { event: Event::Runtime(Box::new(event)), body: body.to_owned() });
    }

    /// Every element of the array member of an API answer.
    fn page(&mut self, text: &str, member: &str) {
        let members = raw_members(text);
        let items = raw_member(&members, member).map(raw_items).unwrap_or_default();
        items.into_iter().for_each(|item| self.element(item, 1));
    }

    /// Every event of every entity of a notification.
    fn notification(&mut self, json: &Json<'_>, text: &str) {
        if notification::is_resolved(json) {
            return self.keep(Element::Ignored(Ignored::Resolved));
        }
        if !notification::has_events(json) {
            return self.keep(Element::Ignored(Ignored::from_notification(json)));
        }
        let mut envelope = Envelope::of(json);
        let wrapping = Wrapping::new(text, &envelope);
        for (index, entity) in notification::entities(json).iter().enumerate() {
            let policies = entity.member("policies").list();
            self.full |= policies.len() > MOST_POLICIES;
            if self.full {
                return;
            }
            if !matches!(entity, Json::Map(_) | Json::Null) {
                let reason = format!("entities[{index}] is {}, not an object", entity.kind());
                self.keep(Element::Unreadable { reason, body: wrapping.bare(index) });
            }
            envelope.enter(policies);
            let events = match entity.member("policyEvents") {
                Json::Null => &[],
                Json::List(events) => events.as_slice(),
                single => std::slice::from_ref(single),
            };
            for (position, event) in events.iter().enumerate() {
                self.occurrence(event, (index, position), &wrapping, &envelope);
            }
        }
    }

    /// One event of a notification, with the numbers of its entity and of itself.
    fn occurrence(&mut self, event: &Json<'_>, at: (usize, usize), wrapping: &Wrapping<'_>, envelope: &Envelope) {
        if self.full {
            return;
        }
        let (entity, position) = at;
        let body = || wrapping.body(entity, position, envelope, sysdig::policy_id(event).as_deref());
        let place = format_args!("entities[{entity}].policyEvents[{position}]");
        let element = match event {
            Json::Null => Element::Ignored(Ignored::Empty),
            Json::Map(_) => match sysdig::event(event, wrapping.event(entity, position), envelope, self.received) {
                Ok(event) => Element::Event { event: Event::Runtime(Box::new(event)), body: body() },
                Err(reason) => Element::Unreadable { reason: format!("{place}: {reason}"), body: body() },
            },
            other => {
                Element::Unreadable { reason: format!("{place} is {}, not an object", other.kind()), body: body() }
            }
        };
        self.keep(element);
    }
}

/// An answer of the events API pasted as is.
fn is_page(json: &Json<'_>) -> bool {
    let data = json.member("data");
    data.is_list() && (json.member("page").is_map() || !sysdig::is_policy_event(json) && json.member("type").is_null())
}
