//! When: numbers of every unit, decimal strings, RFC 3339.

use chrono::{DateTime, Datelike, NaiveDateTime, Timelike, Utc};

use super::json::Json;
use super::scalars::shorten;

/// The first year that is believed: everything these sensors report is younger.
const FIRST_YEAR: i32 = 1973;

/// The moment a value tells, when it tells one between 1973 and 5138.
///
/// The unit of a bare number is told by its size (sysdig.md §6): below 1e11 seconds, below 1e14 milliseconds, below
/// 1e17 microseconds, else nanoseconds.
pub(crate) fn moment(value: &Json<'_>) -> Option<DateTime<Utc>> {
    match value {
        Json::Integer(number) => from_number(*number),
        Json::Float(number) => from_float(*number),
        Json::Text(text) => {
            let text = text.trim();
            text.parse().ok().and_then(from_number).or_else(|| from_decimal(text)).or_else(|| from_text(text))
        }
        _ => None,
    }
}

/// Says what stands in for a time, and what was sent in its place, so that it can be looked up.
pub(super) fn stands_in(sent: &[&Json<'_>], what: &str) -> String {
    let sent = sent.iter().find_map(|value| value.any_text());
    let sent = sent.map(|text| format!(" ({:?})", shorten(&text, 40))).unwrap_or_default();
    format!("The event carries no usable time{sent}; {what} stands in.")
}

fn from_number(number: i128) -> Option<DateTime<Utc>> {
    let nanoseconds = match number {
        ..100_000_000 => return None,
        100_000_000..100_000_000_000 => number * 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => number * 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => number * 1_000,
        _ => number,
    };
    let seconds = i64::try_from(nanoseconds.div_euclid(1_000_000_000)).ok()?;
    let rest = u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).ok()?;
    believable(DateTime::from_timestamp(seconds, rest)?)
}

/// A number written with a fraction: seconds or milliseconds with decimals.
#[expect(clippy::cast_possible_truncation, reason = "cut to whole microseconds on purpose; the bounds are checked")]
fn from_float(number: f64) -> Option<DateTime<Utc>> {
    match number {
        n if !n.is_finite() || n < 1e8 => None,
        n if n < 1e11 => from_number((n * 1e6) as i128),
        n if n < 1e14 => from_number((n * 1e3) as i128),
        n if n < 1e19 => from_number(n as i128),
        _ => None,
    }
}

/// `1720031001.639981`: the fraction is read as it is written, since a double would round it.
fn from_decimal(text: &str) -> Option<DateTime<Utc>> {
    let (whole, fraction) = text.split_once('.')?;
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let scale = match whole.len() {
        9..=11 => 9,
        12..=14 => 6,
        15..=17 => 3,
        _ => return None,
    };
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(scale).collect();
    from_number(format!("{whole}{fraction}").parse().ok()?)
}

fn from_text(text: &str) -> Option<DateTime<Utc>> {
    // Shorter than a date and a time, or longer than any spelling of one: not worth trying three parsers.
    if !(16..=48).contains(&text.len()) {
        return None;
    }
    // `+0000` is an offset of ISO 8601 too.
    let basic = || DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f%z");
    let with_offset = DateTime::parse_from_rfc3339(text).or_else(|_| basic()).map(|time| time.to_utc()).ok();
    let without = || {
        let text = text.trim_end_matches(" UTC").trim_end_matches("Z");
        let forms = ["%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M:%S%.f"];
        forms.iter().find_map(|form| NaiveDateTime::parse_from_str(text, form).ok()).map(|time| time.and_utc())
    };
    believable(with_offset.or_else(without)?)
}

fn believable(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    // A leap second is written `:60`, which protobuf's timestamps do not know: it is told as the end of the second before.
    let time = if time.nanosecond() >= 1_000_000_000 { time.with_nanosecond(999_999_999)? } else { time };
    (FIRST_YEAR..=9999).contains(&time.year()).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(json: &str) -> Option<String> {
        moment(&serde_json::from_str(json).unwrap()).map(|time| format!("{time:?}"))
    }

    #[test]
    fn every_unit_and_spelling_tells_the_same_moment() {
        for (json, expected) in [
            ("1720031001", "2024-07-03T18:23:21Z"),
            ("\"2024-07-03T18:23:60Z\"", "2024-07-03T18:23:59.999999999Z"),
            ("1720031001639", "2024-07-03T18:23:21.639Z"),
            ("1720031001639981", "2024-07-03T18:23:21.639981Z"),
            ("1720031001639981110", "2024-07-03T18:23:21.639981110Z"),
            ("\"1720031001639981110\"", "2024-07-03T18:23:21.639981110Z"),
            ("1720031001.5", "2024-07-03T18:23:21.500Z"),
            ("\"1720031001.639981110\"", "2024-07-03T18:23:21.639981110Z"),
            ("\"1720031001639.981\"", "2024-07-03T18:23:21.639981Z"),
            ("\"2024-07-03T18:23:21.63998111Z\"", "2024-07-03T18:23:21.639981110Z"),
            ("\"2024-07-03T20:23:21+02:00\"", "2024-07-03T18:23:21Z"),
            ("\"2024-07-03T20:23:21.5+0200\"", "2024-07-03T18:23:21.500Z"),
            ("\"2024-07-03 18:23:21.5\"", "2024-07-03T18:23:21.500Z"),
            ("\"2024-07-03T18:23:21\"", "2024-07-03T18:23:21Z"),
        ] {
            assert_eq!(told(json).as_deref(), Some(expected), "{json}");
        }
    }

    #[test]
    fn what_cannot_be_a_time_is_none() {
        for json in [
            "0",
            "-1",
            "5",
            "1e300",
            "\"soon\"",
            "\"1720031001.\"",
            "\"10.8.0.4\"",
            "null",
            "true",
            "[]",
            "340282366920938463463374607431768211455",
            "\"0001-01-01T00:00:00Z\"",
            "\"+9999999-01-01T00:00:00Z\"",
        ] {
            assert_eq!(told(json), None, "{json}");
        }
    }
}
