//! Timestamps and durations: reading, writing, parts, and sums that stay within bounds.

use chrono::{DateTime, Datelike, SecondsFormat, TimeDelta, Timelike, Utc};

use super::machine::EvalError;
use super::value::Value;

/// The longest duration, in seconds: about ten thousand years.
const LONGEST: i64 = 315_576_000_000;

/// Which part of a timestamp or duration is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in CEL's definition")]
pub enum Part {
    FullYear,
    Month,
    Date,
    DayOfMonth,
    DayOfWeek,
    DayOfYear,
    Hours,
    Minutes,
    Seconds,
    Milliseconds,
}

impl Part {
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "getFullYear" => Self::FullYear,
            "getMonth" => Self::Month,
            "getDate" => Self::Date,
            "getDayOfMonth" => Self::DayOfMonth,
            "getDayOfWeek" => Self::DayOfWeek,
            "getDayOfYear" => Self::DayOfYear,
            "getHours" => Self::Hours,
            "getMinutes" => Self::Minutes,
            "getSeconds" => Self::Seconds,
            "getMilliseconds" => Self::Milliseconds,
            _ => return None,
        })
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FullYear => "getFullYear",
            Self::Month => "getMonth",
            Self::Date => "getDate",
            Self::DayOfMonth => "getDayOfMonth",
            Self::DayOfWeek => "getDayOfWeek",
            Self::DayOfYear => "getDayOfYear",
            Self::Hours => "getHours",
            Self::Minutes => "getMinutes",
            Self::Seconds => "getSeconds",
            Self::Milliseconds => "getMilliseconds",
        }
    }
}

pub(super) fn read_time(text: &str) -> Result<DateTime<Utc>, EvalError> {
    // RFC 3339 wants the T; chrono would also take a blank.
    let shaped = text.as_bytes().get(10).is_some_and(|b| matches!(b, b'T' | b't'));
    let time = DateTime::parse_from_rfc3339(text).ok().filter(|_| shaped);
    let time = time.map(|time| without_leap(time.to_utc()));
    time.ok_or_else(|| EvalError::conversion("string", "timestamp")).and_then(bounded_time)
}

/// A leap second, which chrono keeps as a second of two seconds' length, is the first one of the next minute, as in
/// Google's implementation.
fn without_leap(time: DateTime<Utc>) -> DateTime<Utc> {
    let beyond = i64::from(time.nanosecond() / 1_000_000_000);
    let within = time.with_nanosecond(time.nanosecond() % 1_000_000_000);
    within.and_then(|time| time.checked_add_signed(TimeDelta::seconds(beyond))).unwrap_or(time)
}

pub(super) fn time_of_seconds(seconds: i64) -> Result<DateTime<Utc>, EvalError> {
    DateTime::from_timestamp(seconds, 0).ok_or_else(|| EvalError::range("timestamp")).and_then(bounded_time)
}

fn bounded_time(time: DateTime<Utc>) -> Result<DateTime<Utc>, EvalError> {
    if (1..=9999).contains(&time.year()) { Ok(time) } else { Err(EvalError::range("timestamp")) }
}

fn bounded_span(span: TimeDelta) -> Result<TimeDelta, EvalError> {
    if span.num_seconds().abs() <= LONGEST { Ok(span) } else { Err(EvalError::range("duration")) }
}

pub(super) fn write_time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

pub(super) fn write_span(span: TimeDelta) -> String {
    let nanos = span.subsec_nanos();
    let sign = if span < TimeDelta::zero() { "-" } else { "" };
    let seconds = span.num_seconds().unsigned_abs();
    let fraction = match nanos.unsigned_abs() {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    };
    format!("{sign}{seconds}{fraction}s")
}

/// `1h30m`, `1.5s`, `-2ms`, `0`.
pub(super) fn read_span(text: &str) -> Result<TimeDelta, EvalError> {
    let bad = || EvalError::conversion("string", "duration");
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Ok(TimeDelta::zero());
    }
    if rest.is_empty() || rest.len() > 200 {
        return Err(bad());
    }
    let mut nanos = 0i128;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, tail) = rest.split_at(digits);
        let (unit, scale) = unit(tail).ok_or_else(bad)?;
        nanos = nanos.checked_add(scaled(number, scale).ok_or_else(bad)?).ok_or_else(bad)?;
        rest = &tail[unit..];
    }
    let nanos = if negative { -nanos } else { nanos };
    let seconds = i64::try_from(nanos.div_euclid(1_000_000_000)).map_err(|_| EvalError::range("duration"))?;
    let fraction = u32::try_from(nanos.rem_euclid(1_000_000_000)).map_err(|_| EvalError::range("duration"))?;
    TimeDelta::new(seconds, fraction).ok_or_else(|| EvalError::range("duration")).and_then(bounded_span)
}

fn unit(text: &str) -> Option<(usize, i128)> {
    const UNITS: [(&str, i128); 8] = [
        ("ns", 1),
        ("us", 1_000),
        ("µs", 1_000),
        ("μs", 1_000),
        ("ms", 1_000_000),
        ("s", 1_000_000_000),
        ("m", 60_000_000_000),
        ("h", 3_600_000_000_000),
    ];
    UNITS.into_iter().find(|(name, _)| text.starts_with(name)).map(|(name, scale)| (name.len(), scale))
}

fn scaled(number: &str, scale: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() || fraction.contains('.') || whole.len() > 18 {
        return None;
    }
    let mut nanos = if whole.is_empty() { 0 } else { whole.parse::<i128>().ok()? * scale };
    let mut place = scale;
    for digit in fraction.bytes() {
        place /= 10;
        nanos += i128::from(digit - b'0') * place;
    }
    Some(nanos)
}

/// `+` and `-` where one side is a timestamp or duration; `None` when they are not.
pub(super) fn sum<'a>(left: &Value<'a>, right: &Value<'a>, minus: bool) -> Option<Result<Value<'a>, EvalError>> {
    let out = || EvalError::range("timestamp");
    Some(match (left, right, minus) {
        (Value::Time(t), Value::Span(d), false) | (Value::Span(d), Value::Time(t), false) => {
            t.checked_add_signed(*d).ok_or_else(out).and_then(bounded_time).map(Value::Time)
        }
        (Value::Time(t), Value::Span(d), true) => {
            t.checked_sub_signed(*d).ok_or_else(out).and_then(bounded_time).map(Value::Time)
        }
        (Value::Time(l), Value::Time(r), true) => {
            // The difference is counted in nanoseconds by Google's implementations: about 292 years.
            let span = l.signed_duration_since(*r);
            span.num_nanoseconds().map(|_| Value::Span(span)).ok_or_else(|| EvalError::range("duration"))
        }
        (Value::Span(l), Value::Span(r), minus) => {
            let sum = if minus { l.checked_sub(r) } else { l.checked_add(r) };
            sum.ok_or_else(|| EvalError::range("duration")).and_then(bounded_span).map(Value::Span)
        }
        _ => return None,
    })
}

/// A part of a duration: the whole of it in that unit, but for the milliseconds behind the second.
pub(super) fn part_of_span(span: TimeDelta, part: Part) -> Option<i64> {
    Some(match part {
        Part::Hours => span.num_hours(),
        Part::Minutes => span.num_minutes(),
        Part::Seconds => span.num_seconds(),
        Part::Milliseconds => i64::from(span.subsec_nanos() / 1_000_000),
        _ => return None,
    })
}

/// A part of a timestamp, in UTC or in a zone.
pub(super) fn part_of_time(time: DateTime<Utc>, part: Part, zone: Option<&str>) -> Result<i64, EvalError> {
    let local = match zone {
        None | Some("UTC" | "GMT") => time.naive_utc(),
        Some(zone) => match offset(zone) {
            Some(offset) => time.naive_utc().checked_add_signed(offset).ok_or_else(|| EvalError::range("timestamp"))?,
            None => return named_zone(time, part, zone),
        },
    };
    Ok(i64::from(match part {
        Part::FullYear => return Ok(i64::from(local.year())),
        Part::Month => local.month0(),
        Part::Date => local.day(),
        Part::DayOfMonth => local.day0(),
        Part::DayOfWeek => local.weekday().num_days_from_sunday(),
        Part::DayOfYear => local.ordinal0(),
        Part::Hours => local.hour(),
        Part::Minutes => local.minute(),
        Part::Seconds => local.second(),
        Part::Milliseconds => local.nanosecond() / 1_000_000,
    }))
}

/// `+02:00`, `-5:30`, `02:00`: hours and minutes as numbers, whatever their size, as Google's implementations read them.
fn offset(zone: &str) -> Option<TimeDelta> {
    let (sign, rest) = match zone.as_bytes().first()? {
        b'+' => (1, &zone[1..]),
        b'-' => (-1, &zone[1..]),
        _ => (1, zone),
    };
    let (hours, minutes) = rest.split_once(':')?;
    let plain = |text: &str| {
        ((1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse::<i64>().ok())?
    };
    TimeDelta::try_minutes(sign * (plain(hours)? * 60 + plain(minutes)?))
}

/// A zone by name: the `cel` crate brings the time zone database, so its own function is asked.
fn named_zone(time: DateTime<Utc>, part: Part, zone: &str) -> Result<i64, EvalError> {
    let unknown = || EvalError::other("there is no such time zone");
    let sound =
        zone.len() <= 64 && zone.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'_' | b'-' | b'+'));
    if !sound {
        return Err(unknown());
    }
    let text = format!("timestamp('{}').{}('{zone}')", write_time(time), part.name());
    let program = cel::Program::compile(&text).map_err(|_| unknown())?;
    match program.execute(&cel::Context::default()) {
        Ok(cel::Value::Int(value)) => Ok(value),
        _ => Err(unknown()),
    }
}
