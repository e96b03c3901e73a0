//! The events feed: a window of time, page by page.
//!
//! What the API promises about cursors is little, and what was seen of them differs: the public feed is followed along
//! `next`, the older one along `prev`; pages asked by cursor are not bounded by the window that was asked for first, and
//! the first page may run over its end; a cursor may come back. So a walk follows the usual cursor until it leaves the
//! window, and the other one if there is reason to believe that it leads to more; it keeps what lies in the window, each
//! event once.

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use serde_json::Value;
use serde_json::value::RawValue;

use super::client::{Call, Client};
use super::error::SysdigError;
use super::feed::Feed;
use super::wire::{Cursors, EventsPage, Placed};

/// Events a page may hold at most, by the public feed's description.
const PAGE_SIZE: u32 = 200;

/// Pages are capped at multiples of this: 25 is the feed's own default.
const ROUND: usize = 25;

/// Pages a walk may have: 200 000 events.
const PAGE_LIMIT: u32 = 1000;

/// Pages in a row of events that all came before, after which a chain of cursors is taken to run in circles.
const STALE_PAGES: u32 = 5;

/// A half-open window of time, `from <= t < to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The first moment in it.
    pub from: DateTime<Utc>,
    /// The first moment after it.
    pub to: DateTime<Utc>,
}

impl Window {
    /// Whether `time` lies in it.
    pub fn contains(&self, time: DateTime<Utc>) -> bool {
        self.from <= time && time < self.to
    }

    /// Its length.
    pub fn length(&self) -> TimeDelta {
        self.to - self.from
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Millis, true);
        write!(f, "{} to {}", text(self.from), text(self.to))
    }
}

/// A walk through the feed.
#[derive(Debug)]
pub struct Walk {
    client: Client,
    window: Window,
    filter: Option<String>,
    /// The feed it follows, from the first page on: cursors of one mean nothing to the other.
    feed: Option<Feed>,
    page_limit: u32,
    pages: u32,
    stale: u32,
    keys: RandomState,
    seen_events: HashSet<u64>,
    seen_cursors: HashSet<String>,
    kept: u64,
    total: Option<u64>,
    /// Events on the first page.
    first: usize,
    /// The time of the first page's newest event, and of the last one's.
    first_newest: Option<DateTime<Utc>>,
    newest: Option<DateTime<Utc>>,
    had_bad_bytes: bool,
    said_empty: bool,
    leg: Leg,
    /// The other cursor of the first page.
    other: Option<String>,
}

/// Where the walk is.
#[derive(Debug)]
enum Leg {
    Start,
    /// Along the usual cursor of this feed.
    Usual(String),
    /// Along the other one.
    Other(String),
    End,
}

/// What a page turned out to hold.
struct Sorted {
    kept: Vec<Box<RawValue>>,
    new: bool,
    /// When its oldest and its newest event happened; `None` when one of them does not say, or there is none.
    span: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

impl Client {
    /// A walk through the events of `window` that match `filter`.
    pub fn walk(&self, window: Window, filter: Option<&str>) -> Walk {
        Walk {
            client: self.clone(),
            window,
            filter: filter.map(str::to_owned),
            feed: None,
            page_limit: PAGE_LIMIT,
            pages: 0,
            stale: 0,
            keys: RandomState::new(),
            seen_events: HashSet::new(),
            seen_cursors: HashSet::new(),
            kept: 0,
            total: None,
            first: 0,
            first_newest: None,
            newest: None,
            had_bad_bytes: false,
            said_empty: false,
            leg: Leg::Start,
            other: None,
        }
    }

    /// A page of the feed that the walk follows; of a walk that begins, of the one that is there.
    async fn events_page(
        &self,
        followed: Option<Feed>,
        query: &[(&'static str, String)],
    ) -> Result<(EventsPage, Feed), SysdigError> {
        let known = followed.or_else(|| self.feed.for_a_walk());
        if known != Some(Feed::Older) {
            match self.page_of(Feed::Public, query).await {
                // Where the public feed has answered before, it is there, whatever a gateway says now.
                Err(error) if error.is_not_found() && known.is_none() => {}
                Err(error) => return Err(error),
                Ok(page) => {
                    self.feed.answered(Feed::Public);
                    return Ok((page, Feed::Public));
                }
            }
        }
        match self.page_of(Feed::Older, query).await {
            Ok(page) => {
                if self.feed.answered(Feed::Older) {
                    tracing::info!("Sysdig has no public events feed here, the older one is used.");
                }
                Ok((page, Feed::Older))
            }
            Err(error) => {
                if error.is_not_found() {
                    self.feed.forget();
                }
                Err(error)
            }
        }
    }

    async fn page_of(&self, feed: Feed, query: &[(&'static str, String)]) -> Result<EventsPage, SysdigError> {
        // Rules print a process's raw arguments: one such event must not hold up the others.
        let call = Call::read("the events feed", feed.path()).bears_bad_bytes();
        let call = query.iter().fold(call, |call, (name, value)| call.query(name, value));
        let (page, had_bad_bytes) = self.json_or_nearly::<EventsPage>(call).await?;
        Ok(EventsPage { had_bad_bytes, ..page })
    }
}

impl Walk {
    /// The same walk with another bound on its pages.
    pub fn at_most(mut self, pages: u32) -> Self {
        self.page_limit = pages.max(1);
        self
    }

    /// The next page's events that lie in the window and did not come before, as the JSON text they came as.
    /// `None` at the end. A page may be empty without being the last.
    pub async fn next_page(&mut self) -> Result<Option<Vec<Box<RawValue>>>, SysdigError> {
        let Some(query) = self.query() else {
            return Ok(None);
        };
        if self.pages >= self.page_limit {
            return Err(SysdigError::TooManyPages { pages: self.page_limit });
        }
        let (mut data, mut cursors) = self.page(&query).await?;
        if is_contradictory(&self.leg, &data, &cursors) {
            (data, cursors) = self.page(&query).await?;
            if is_contradictory(&self.leg, &data, &cursors) {
                self.said_empty = true;
                tracing::warn!(window = %self.window, total = cursors.total, "the events feed counts events and twice gives none; it is believed, unless it names another page");
            }
        }
        let empty = data.is_empty();
        // A first page may count only itself.
        let total = self.total.max(cursors.total);
        if matches!(self.leg, Leg::Start) {
            self.first = data.len();
        }
        let sorted = self.sort(data);
        self.kept += sorted.kept.len() as u64;
        // What is filtered after it was cut into pages leaves empty ones between full ones. As long as the feed counts more
        // and leads on there is no circle; should it never end, there are too many pages.
        let between = empty && total.is_some_and(|total| total > self.kept);
        if between {
            self.say_empty(total);
        } else {
            self.stale = if sorted.new { 0 } else { self.stale + 1 };
        }
        if self.stale == STALE_PAGES && total.is_some_and(|total| total > self.kept) {
            let (window, kept) = (self.window, self.kept);
            tracing::warn!(%window, kept, total, "the events feed counts more and leads on, but only to what came before; it is not followed further");
        }
        let left = sorted.span.is_some_and(|span| self.has_left(span));
        let over = (empty && !between) || left || self.stale >= STALE_PAGES;
        self.go_on(cursors, over);
        Ok(Some(sorted.kept))
    }

    /// Once a walk.
    fn say_empty(&mut self, total: Option<u64>) {
        if !std::mem::replace(&mut self.said_empty, true) {
            let (window, kept) = (self.window, self.kept);
            tracing::warn!(%window, kept, total, "the events feed gave an empty page although it counts more; what it names next is asked for, if it names any");
        }
    }

    async fn page(&mut self, query: &[(&'static str, String)]) -> Result<(Vec<Box<RawValue>>, Cursors), SysdigError> {
        let answered = self.client.events_page(self.feed, query).await;
        let (page, feed) = match self.leg {
            Leg::Start => answered?,
            _ => answered.map_err(SysdigError::of_a_cursor)?,
        };
        self.feed = Some(feed);
        self.pages += 1;
        self.had_bad_bytes = page.had_bad_bytes;
        Ok((page.data.unwrap_or_default(), page.page.unwrap_or_default()))
    }

    /// Whether bytes of the last page were not UTF-8, and are U+FFFD in what it gave.
    pub fn had_bad_bytes(&self) -> bool {
        self.had_bad_bytes
    }

    /// How many events the walk has given so far.
    pub fn kept(&self) -> u64 {
        self.kept
    }

    fn query(&self) -> Option<Vec<(&'static str, String)>> {
        let mut query = match &self.leg {
            Leg::Start => vec![("from", nanoseconds(self.window.from)), ("to", nanoseconds(self.window.to))],
            Leg::Usual(cursor) | Leg::Other(cursor) => vec![("cursor", cursor.clone())],
            Leg::End => return None,
        };
        query.push(("limit", PAGE_SIZE.to_string()));
        if let Some(filter) = &self.filter {
            query.push(("filter", filter.clone()));
        }
        Some(query)
    }

    fn sort(&mut self, data: Vec<Box<RawValue>>) -> Sorted {
        let mut sorted = Sorted { kept: Vec::new(), new: false, span: None };
        let mut times = Vec::with_capacity(data.len());
        for element in data {
            let (id, time) = place(&element, &self.keys);
            times.push(time);
            // What cannot be placed is handed on: the reader behind us says what is wrong with it.
            let inside = time.is_none_or(|time| self.window.contains(time));
            let new = self.seen_events.insert(id);
            sorted.new |= new;
            if inside && new {
                sorted.kept.push(element);
            }
        }
        let times: Option<Vec<_>> = times.into_iter().collect();
        sorted.span = times.and_then(|times| Some((times.iter().min().copied()?, times.iter().max().copied()?)));
        sorted
    }

    /// Whether nothing of the window comes after a page of this span: it is older than the window, or newer and further from
    /// it than the page before. One that is newer and nearer is on the way: a server may take the window's end loosely.
    fn has_left(&mut self, (oldest, newest): (DateTime<Utc>, DateTime<Utc>)) -> bool {
        let before = self.newest.replace(newest);
        if matches!(self.leg, Leg::Start) {
            self.first_newest = Some(newest);
        }
        let leads_away = before.is_some_and(|before| before < newest);
        newest < self.window.from || (oldest >= self.window.to && leads_away)
    }

    fn go_on(&mut self, cursors: Cursors, over: bool) {
        let is_older = self.feed == Some(Feed::Older);
        let (usual, other) = if is_older { (cursors.prev, cursors.next) } else { (cursors.next, cursors.prev) };
        let usual = usual.filter(|cursor| !cursor.is_empty());
        let other = other.filter(|cursor| !cursor.is_empty());
        self.leg = match std::mem::replace(&mut self.leg, Leg::End) {
            Leg::Start => {
                self.total = cursors.total;
                self.other = other.filter(|_| !over);
                self.unseen(usual.filter(|_| !over)).map(Leg::Usual).unwrap_or(Leg::End)
            }
            Leg::Usual(_) => self.unseen(usual.filter(|_| !over)).map(Leg::Usual).unwrap_or(Leg::End),
            Leg::Other(_) => self.unseen(other.filter(|_| !over)).map(Leg::Other).unwrap_or(Leg::End),
            Leg::End => Leg::End,
        };
        if matches!(self.leg, Leg::End) && self.other_may_lead_to_more() {
            self.stale = 0;
            self.newest = self.first_newest;
            let other = self.other.take();
            self.leg = self.unseen(other).map(Leg::Other).unwrap_or(Leg::End);
        }
    }

    /// A cursor that was not followed before.
    fn unseen(&mut self, cursor: Option<String>) -> Option<String> {
        cursor.filter(|cursor| self.seen_cursors.insert(cursor.clone()))
    }

    /// The server's count says that events are missing, or it gives none, or the first page looks full: whatever a server
    /// takes for its largest page, it is a round number, and it may count no more than it gave.
    fn other_may_lead_to_more(&self) -> bool {
        match self.total {
            _ if self.other.is_none() => false,
            Some(total) => total > self.kept || (self.first > 0 && self.first.is_multiple_of(ROUND)),
            None => true,
        }
    }
}

/// Whether the first page is empty although it counts events. What `total` counts is described too loosely to refuse
/// such a page for good.
fn is_contradictory(leg: &Leg, data: &[Box<RawValue>], cursors: &Cursors) -> bool {
    matches!(leg, Leg::Start) && data.is_empty() && cursors.total.is_some_and(|total| total > 0)
}

fn nanoseconds(time: DateTime<Utc>) -> String {
    // Years outside 1677 to 2262 do not fit; no event is from there.
    time.timestamp_nanos_opt().unwrap_or_default().to_string()
}

/// What an element is told apart by, and when it happened.
fn place(element: &RawValue, keys: &RandomState) -> (u64, Option<DateTime<Utc>>) {
    let placed: Option<Placed> = serde_json::from_str(element.get()).ok();
    let key = match placed.as_ref().and_then(|p| p.id.as_ref()) {
        Some(id) if tells_apart(id) => keys.hash_one(id.to_string()),
        _ => keys.hash_one(element.get()),
    };
    (key, placed.and_then(|p| time_of(&p)))
}

/// Whether it is an id: nothing, zero and the empty string are ways of having none.
fn tells_apart(id: &Value) -> bool {
    match id {
        Value::String(id) => !matches!(id.trim(), "" | "0"),
        Value::Number(id) => id.as_i64() != Some(0),
        _ => false,
    }
}

fn time_of(placed: &Placed) -> Option<DateTime<Utc>> {
    let text = placed.timestamp_text.as_deref().and_then(parse_text);
    text.or_else(|| placed.timestamp_ns.as_ref().and_then(parse_value))
        .or_else(|| placed.timestamp.as_ref().and_then(parse_value))
}

fn parse_value(value: &Value) -> Option<DateTime<Utc>> {
    match value {
        Value::Number(number) => number.as_i64().and_then(parse_number),
        Value::String(text) => parse_text(text),
        _ => None,
    }
}

fn parse_text(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    match text.parse::<i64>() {
        Ok(number) => parse_number(number),
        Err(_) => DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc)),
    }
}

/// A count since the epoch, its unit told by its size.
fn parse_number(number: i64) -> Option<DateTime<Utc>> {
    match number {
        i64::MIN..=0 => None,
        1..100_000_000_000 => DateTime::from_timestamp(number, 0),
        100_000_000_000..100_000_000_000_000 => DateTime::from_timestamp_millis(number),
        100_000_000_000_000..100_000_000_000_000_000 => DateTime::from_timestamp_micros(number),
        _ => Some(DateTime::from_timestamp_nanos(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_placed_in_time_whatever_the_unit() {
        let expected = DateTime::parse_from_rfc3339("2024-07-03T18:23:21Z").unwrap().with_timezone(&Utc);
        for body in [
            r#"{"timestamp":1720031001}"#,
            r#"{"timestamp":1720031001000}"#,
            r#"{"timestamp":1720031001000000}"#,
            r#"{"timestamp":1720031001000000000}"#,
            r#"{"timestamp":"1720031001000000000"}"#,
            r#"{"timestamp":"2024-07-03T18:23:21.000000000Z"}"#,
            r#"{"timestamp":1,"timestampRFC3339Nano":"2024-07-03T18:23:21Z"}"#,
            r#"{"timestamp":1,"timestampNs":1720031001000000000}"#,
        ] {
            let raw: Box<RawValue> = serde_json::from_str(body).unwrap();
            assert_eq!(place(&raw, &RandomState::new()).1, Some(expected), "{body}");
        }
        for body in ["{}", "null", "3", r#"{"timestamp":true}"#, r#"{"timestamp":"soon"}"#, r#"{"timestamp":0}"#] {
            let raw: Box<RawValue> = serde_json::from_str(body).unwrap();
            assert_eq!(place(&raw, &RandomState::new()).1, None, "{body}");
        }
    }

    #[test]
    fn events_without_an_id_are_told_apart_by_all_they_say() {
        let keys = RandomState::new();
        let key = |body: &str| place(&serde_json::from_str::<Box<RawValue>>(body).unwrap(), &keys).0;
        for none in [r#""""#, r#"" ""#, r#""0""#, "0", "null"] {
            let with = |name: &str| key(&format!(r#"{{"id":{none},"name":"{name}"}}"#));
            assert_ne!(with("a"), with("b"), "{none}");
        }
        assert_eq!(key(r#"{"id":"x","name":"a"}"#), key(r#"{"id":"x","name":"b"}"#));
    }

    #[test]
    fn a_window_is_half_open() {
        let time = |s| DateTime::from_timestamp(s, 0).unwrap();
        let window = Window { from: time(10), to: time(20) };
        assert_eq!([9, 10, 19, 20].map(|s| window.contains(time(s))), [false, true, true, false]);
    }
}
