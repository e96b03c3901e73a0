//! List and group: filter, order, pages.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::error::Refusal;
use super::fields::FieldMask;
use super::filter::{self, Expr, Field, holds, sort_key, values};
use super::findings::for_version;
use super::message::{request, time_text};
use super::names::{Parent, Place, Version};
use super::query::{Query, paths};
use super::resource;
use super::schema::{Kind, SCHEMA};
use super::store::{Record, Store};

type Object = Map<String, Value>;

/// A page token: where to go on, bound to the query it was given for.
pub(crate) struct Page;

impl Page {
    /// Where to go on, if the token was given for this query.
    pub(crate) fn read(token: &str, query: &str) -> Result<usize, Refusal> {
        let refuse = |why: &str| Refusal::field("page_token", format!("Invalid page_token: {why}"));
        if token.is_empty() {
            return Ok(0);
        }
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| refuse("it was not given by this server"))?;
        let (at, bound) = bytes.split_at_checked(8).ok_or_else(|| refuse("it was not given by this server"))?;
        let at: [u8; 8] = at.try_into().map_err(|_| refuse("it was not given by this server"))?;
        if bound != binding(query) {
            return Err(refuse("the other parameters must be those of the call that gave it"));
        }
        usize::try_from(u64::from_be_bytes(at)).map_err(|_| refuse("it was not given by this server"))
    }
}

/// The token that goes on at `at`.
pub(crate) fn token_for(at: usize, query: &str) -> String {
    let mut bytes = (at as u64).to_be_bytes().to_vec();
    bytes.extend(binding(query));
    URL_SAFE_NO_PAD.encode(bytes)
}

fn binding(query: &str) -> Vec<u8> {
    Sha256::digest(query.as_bytes())[..8].to_vec()
}

/// 10 when not given; more than 1000 is brought down to it, as Google does.
pub(crate) fn page_size(asked: Option<i64>) -> Result<usize, Refusal> {
    match asked {
        None | Some(0) => Ok(10),
        Some(n) if n < 0 => Err(Refusal::field("page_size", "page_size must not be negative.")),
        Some(n) => Ok(usize::try_from(n.min(1000)).unwrap_or(1000)),
    }
}

/// The findings of a place that fit a filter, by where they stand, in the order they were created.
pub(crate) fn matching(store: &Store, place: &Place, text: &str) -> Result<Vec<usize>, Refusal> {
    let expr = filter::read(text).map_err(|e| Refusal::field("filter", e.to_string()))?;
    let only = if place.all_sources() { None } else { Some(store.existing_source(&place.parent, &place.source)?) };
    let all = store.findings.iter().enumerate();
    Ok(all.filter(|(_, record)| fits(store, record, (place, only), &expr)).map(|(at, _)| at).collect())
}

fn fits(store: &Store, record: &Record, (place, only): (&Place, Option<usize>), expr: &Expr) -> bool {
    let organization = store.organization_of(record);
    let in_place = match (&only, &place.parent) {
        (Some(source), _) if record.source != *source => false,
        (_, Parent::Organization(id)) => organization == id,
        (_, parent) => resource::lies_in(record.column("resourceName").unwrap_or_default(), parent),
    };
    // `-` as a location means all of them, as for sources; v1 knows no locations.
    let located = place.version == Version::V1 || place.location == "-" || *record.location == *place.location;
    in_place && located && holds(expr, &store.seen(record, place.version))
}

/// ListFindings.
pub(crate) fn list(store: &Store, place: &Place, query: &Query, now: DateTime<Utc>) -> Result<Object, Refusal> {
    let filter = query.filter.as_deref().unwrap_or_default();
    let order_text = query.order_by.as_deref().unwrap_or_default();
    let key = format!("findings {} {filter} {order_text}", place.text());
    let start = query.page_token.as_deref().map_or(Ok(0), |token| Page::read(token, &key))?;
    let (size, order, mask) =
        (page_size(query.page_size)?, order(order_text)?, FieldMask::read(&query.field_mask, place.version)?);
    let mut found = matching(store, place, filter)?;
    sort(store, &mut found, &order, place.version);
    let page = found.get(start..).unwrap_or_default();
    let page = &page[..page.len().min(size)];
    let result = |at: &usize| result(store, &store.findings[*at], place.version, mask.as_ref());
    let results: Vec<Value> = page.iter().map(result).collect();
    let mut out = Object::new();
    if start + page.len() < found.len() {
        out.insert("nextPageToken".into(), json!(token_for(start + page.len(), &key)));
    }
    out.insert("listFindingsResults".into(), Value::Array(results));
    out.insert("totalSize".into(), json!(found.len()));
    if place.version == Version::V1 {
        out.insert("readTime".into(), json!(time_text(now)));
    }
    Ok(out)
}

fn result(store: &Store, record: &Record, version: Version, mask: Option<&FieldMask>) -> Value {
    let finding = for_version(record.finding(), version);
    let name = record.column("resourceName").unwrap_or_default();
    let resource = resource::describe(name, store.organization_of(record), version);
    let mut whole = json!({"finding": finding, "resource": resource});
    if version == Version::V1 {
        whole["stateChange"] = json!("UNUSED");
    }
    mask.map_or_else(|| whole.clone(), |mask| mask.part_of(&whole))
}

/// `event_time desc, name` → fields and whether each is descending.
fn order(text: &str) -> Result<Vec<(Field, bool)>, Refusal> {
    paths(text).map(|part| one_order(&part)).collect()
}

fn one_order(part: &str) -> Result<(Field, bool), Refusal> {
    let mut words = part.split_whitespace();
    let name = words.next().unwrap_or_default();
    let descending = match words.next() {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(other) => {
            return Err(Refusal::field(
                "order_by",
                format!("Invalid order_by: expected desc after {name:?}, not {other:?}"),
            ));
        }
    };
    let field = filter::field(name).map_err(|why| Refusal::field("order_by", format!("Invalid order_by: {why}")))?;
    Ok((field, descending))
}

fn sort(store: &Store, found: &mut [usize], order: &[(Field, bool)], version: Version) {
    if order.is_empty() {
        return;
    }
    found.sort_by_cached_key(|at| {
        let seen = store.seen(&store.findings[*at], version);
        let key = |(field, descending): &(Field, bool)| {
            let key = sort_key(field, &seen);
            if *descending { Direction::Down(std::cmp::Reverse(key)) } else { Direction::Up(key) }
        };
        order.iter().map(key).collect::<Vec<_>>()
    });
}

/// One key of an order; at one place of all keys always the same variant.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Direction {
    Up(filter::SortKey),
    Down(std::cmp::Reverse<filter::SortKey>),
}

/// GroupFindings.
pub(crate) fn group(store: &Store, place: &Place, body: Object) -> Result<Object, Refusal> {
    let body = request("GroupFindingsRequest", place.version, body)?;
    let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let (group_by, filter) = (text("groupBy"), text("filter"));
    let fields: Vec<(String, Field)> = paths(group_by).map(|name| group_field(&name)).collect::<Result<_, _>>()?;
    if fields.is_empty() {
        return Err(Refusal::field("group_by", "group_by is required: names of members, with commas between."));
    }
    let key = format!("group {} {group_by} {filter}", place.text());
    let start = Page::read(text("pageToken"), &key)?;
    let size = page_size(body.get("pageSize").and_then(Value::as_i64))?;
    let groups = count(store, &matching(store, place, filter)?, &fields, place.version);
    let total = groups.len();
    let page: Vec<Value> = groups
        .into_iter()
        .skip(start)
        .take(size)
        .map(|(values, count)| {
            let names = fields.iter().map(|(name, _)| name.clone());
            let properties: Object = names.zip(values.into_iter().map(Value::String)).collect();
            json!({"properties": properties, "count": count.to_string()})
        })
        .collect();
    let mut out = Object::new();
    if start + page.len() < total {
        out.insert("nextPageToken".into(), json!(token_for(start + page.len(), &key)));
    }
    out.insert("groupByResults".into(), Value::Array(page));
    out.insert("totalSize".into(), json!(total));
    Ok(out)
}

fn group_field(name: &str) -> Result<(String, Field), Refusal> {
    let field = filter::field(name).map_err(|why| Refusal::field("group_by", format!("Invalid group_by: {why}")))?;
    Ok((name.to_owned(), field))
}

fn count(store: &Store, found: &[usize], fields: &[(String, Field)], version: Version) -> Vec<(Vec<String>, usize)> {
    let mut groups: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    for at in found {
        let seen = store.seen(&store.findings[*at], version);
        let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let first = |field| values(field, &seen).first().map_or_else(|| unset(field), |value| text(value));
        let key = fields.iter().map(|(_, field)| first(field)).collect();
        *groups.entry(key).or_default() += 1;
    }
    let mut groups: Vec<_> = groups.into_iter().collect();
    groups.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    groups
}

/// What a group shows for a member that is not there: the name that an enum has for it, else an empty text.
fn unset(field: &Field) -> String {
    match &field.kind {
        Kind::Enum(name) => SCHEMA.choice(name).unset().unwrap_or_default().to_owned(),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_go_on_for_the_query_they_were_given_for() {
        let token = token_for(20, "a");
        assert_eq!(Page::read(&token, "a").unwrap(), 20);
        for (token, query) in [(token.as_str(), "b"), ("AAAA", "a"), ("!", "a")] {
            assert!(Page::read(token, query).is_err());
        }
    }
}
