//! Whether a finding fits an expression.

use std::borrow::Cow;
use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::super::names::{Version, without_location};
use super::super::schema::{Kind, SCHEMA};
use super::{Expr, Field, Literal, Op, Step, Test};

/// What a filter is asked about. A store may answer from columns for the members that are asked most, so that the
/// finding need not be read in full.
pub(crate) trait Subject {
    /// The member of that name if it can be told cheaply: `Some(None)` is "known to be absent".
    fn column(&self, name: &str) -> Option<Option<Cow<'_, str>>>;
    /// The finding in full, with its resource under `resource`.
    fn document(&self) -> &Value;
    /// The version it is asked in. What it answers has the names of version 2 in any case.
    fn version(&self) -> Version {
        Version::V2
    }
}

impl Subject for Value {
    fn column(&self, _name: &str) -> Option<Option<Cow<'_, str>>> {
        None
    }

    fn document(&self) -> &Value {
        self
    }
}

/// Whether `subject` fits.
pub(crate) fn holds(expr: &Expr, subject: &impl Subject) -> bool {
    match expr {
        Expr::All => true,
        Expr::And(all) => all.iter().all(|e| holds(e, subject)),
        Expr::Or(any) => any.iter().any(|e| holds(e, subject)),
        Expr::Not(inner) => !holds(inner, subject),
        Expr::Test(test) => tested(test, subject),
        Expr::Contains(field, inner) => {
            let lists = values(field, subject);
            lists.iter().any(|value| match value.as_ref() {
                Value::Array(items) => items.iter().any(|item| holds(inner, item)),
                item => holds(inner, item),
            })
        }
    }
}

/// All values at a path; lists on the way are entered. In version 1 a name has two: its own comes first, that of
/// version 2 follows.
pub(crate) fn values<'a>(field: &Field, subject: &'a impl Subject) -> Vec<Cow<'a, Value>> {
    let found = stored(field, subject);
    if subject.version() == Version::V2 || !field.is_name() {
        return found;
    }
    let own: Vec<Value> =
        found.iter().filter_map(|name| name.as_str()).map(|name| without_location(name).into()).collect();
    own.into_iter().map(Cow::Owned).chain(found).collect()
}

/// Empty texts stand for absent ones.
fn stored<'a>(field: &Field, subject: &'a impl Subject) -> Vec<Cow<'a, Value>> {
    if let Some(found) = field.column().and_then(|name| subject.column(name)) {
        return found.map(|text| Cow::Owned(Value::String(text.into_owned()))).into_iter().collect();
    }
    let document = subject.document();
    if field.column() == Some("parent") {
        let name = document["name"].as_str().unwrap_or_default();
        let parent = name.rsplit_once("/findings/").map_or("", |(parent, _)| parent);
        return vec![Cow::Owned(Value::String(parent.to_owned()))];
    }
    let mut out = Vec::new();
    collect(document, &field.steps, &mut out);
    out
}

/// Something to order by: times and numbers in their order, text as text.
pub(crate) fn sort_key(field: &Field, subject: &impl Subject) -> SortKey {
    let first = values(field, subject).into_iter().next();
    match first.as_deref() {
        None | Some(Value::Null) => SortKey::Absent,
        Some(Value::String(text)) if *field.leaf() == Kind::Time => time(text).map_or(SortKey::Absent, SortKey::Number),
        Some(Value::String(text)) => SortKey::Text(text.clone()),
        Some(other) => SortKey::Text(other.to_string()),
    }
}

/// See [`sort_key`]. Absent comes first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum SortKey {
    Absent,
    Number(i128),
    Text(String),
}

pub(super) fn nanos(time: DateTime<Utc>) -> i128 {
    i128::from(time.timestamp()) * 1_000_000_000 + i128::from(time.timestamp_subsec_nanos())
}

fn time(text: &str) -> Option<i128> {
    DateTime::parse_from_rfc3339(text).ok().map(|time| nanos(time.to_utc()))
}

fn collect<'a>(value: &'a Value, steps: &[Step], out: &mut Vec<Cow<'a, Value>>) {
    match (value, steps) {
        (Value::Array(items), steps) if !steps.is_empty() => items.iter().for_each(|item| collect(item, steps, out)),
        (value, []) => out.push(Cow::Borrowed(value)),
        // The keys of marks have no case.
        (Value::Object(map), [Step::Member(member), Step::Key(key)]) if member == "marks" => {
            let marks = map.get(member).and_then(Value::as_object).into_iter().flatten();
            out.extend(marks.filter(|(mark, _)| mark.eq_ignore_ascii_case(key)).map(|(_, value)| Cow::Borrowed(value)));
        }
        (Value::Object(map), [step, rest @ ..]) => {
            if let Some(inner) = map.get(step.text()) {
                collect(inner, rest, out);
            }
        }
        _ => {}
    }
}

fn tested(test: &Test, subject: &impl Subject) -> bool {
    let found = values(&test.field, subject);
    if found.is_empty() {
        return absent(test);
    }
    found.iter().any(|value| match value.as_ref() {
        Value::Array(items) => items.iter().any(|item| compare(test, item)),
        value => compare(test, value),
    })
}

/// A member that is not there has its default value, as in proto3.
fn absent(test: &Test) -> bool {
    test.op == Op::Equal
        && match (&test.value, test.field.leaf()) {
            (Literal::Text(text), Kind::String) => text.is_empty(),
            (Literal::Text(text), Kind::Enum(name)) => SCHEMA.choice(name).is_default(text),
            (Literal::Bool(flag), Kind::Bool) => !flag,
            (Literal::Number(n), Kind::Int32 | Kind::Int64 | Kind::Double) => *n == 0.0,
            _ => false,
        }
}

fn compare(test: &Test, value: &Value) -> bool {
    match (&test.value, value) {
        (Literal::Time(wanted), Value::String(text)) => time(text).is_some_and(|t| fits(test.op, t.cmp(wanted))),
        (Literal::Bool(wanted), Value::Bool(flag)) => wanted == flag,
        (Literal::Number(wanted), value) => {
            let number = value.as_f64().or_else(|| value.as_str().and_then(|text| text.parse().ok()));
            number.and_then(|n: f64| n.partial_cmp(wanted)).is_some_and(|order| fits(test.op, order))
        }
        (Literal::Text(wanted), value) => {
            let text = value.as_str().map_or_else(|| Cow::Owned(value.to_string()), Cow::Borrowed);
            match test.op {
                Op::Equal => text == wanted.as_str(),
                Op::Has if test.field.column() == Some("name") => has_segment(&text, wanted),
                Op::Has => text.contains(wanted.as_str()),
                op => fits(op, text.as_ref().cmp(wanted.as_str())),
            }
        }
        _ => false,
    }
}

/// gcloud asks `name : "ID"` and wants exactly one answer, so parts of an id do not count.
fn has_segment(name: &str, wanted: &str) -> bool {
    name.match_indices(wanted).any(|(at, found)| {
        let (before, after) = (&name[..at], &name[at + found.len()..]);
        (before.is_empty() || before.ends_with('/')) && (after.is_empty() || after.starts_with('/'))
    })
}

fn fits(op: Op, order: Ordering) -> bool {
    match op {
        Op::Equal | Op::Has => order == Ordering::Equal,
        Op::Less => order == Ordering::Less,
        Op::LessOrEqual => order != Ordering::Greater,
        Op::Greater => order == Ordering::Greater,
        Op::GreaterOrEqual => order != Ordering::Less,
    }
}
