//! Numbers compared as the language does, and written as it writes them.
//!
//! A whole number and a double are compared as doubles, unless the double is outside of the whole number's range:
//! the definition's conformance tests ask for that loss (`9223372036854775807 < 9223372036854775808.0` is false), and
//! Google's implementations agree.

use std::cmp::Ordering;

use super::value::Value;

const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

/// The order of two numbers; `None` when one is not a number, or NaN.
pub(super) fn compare(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Double(l), Value::Double(r)) => l.partial_cmp(r),
        (whole, Value::Double(double)) => with_double(whole, *double),
        (Value::Double(double), whole) => with_double(whole, *double).map(Ordering::reverse),
        _ => Some(whole(left)?.cmp(&whole(right)?)),
    }
}

/// Whether it is a number of any kind.
pub(super) fn is_number(value: &Value<'_>) -> bool {
    matches!(value, Value::Int(_) | Value::Uint(_) | Value::Double(_))
}

fn whole(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(value) => Some(i128::from(*value)),
        Value::Uint(value) => Some(i128::from(*value)),
        _ => None,
    }
}

fn with_double(whole: &Value<'_>, double: f64) -> Option<Ordering> {
    let (least, most, whole) = match whole {
        Value::Int(value) => (-TWO_63, TWO_63, *value as f64),
        Value::Uint(value) => (0.0, TWO_64, *value as f64),
        _ => return None,
    };
    match double {
        _ if double < least => Some(Ordering::Greater),
        _ if double > most => Some(Ordering::Less),
        _ => whole.partial_cmp(&double),
    }
}

/// A double as `int`, toward zero.
pub(super) fn to_int(value: f64) -> Option<i64> {
    (value.is_finite() && value > -TWO_63 && value < TWO_63).then_some(value as i64)
}

/// A double as `uint`, toward zero.
pub(super) fn to_uint(value: f64) -> Option<u64> {
    (0.0..TWO_64).contains(&value).then_some(value as u64)
}

/// A double as text: the shortest digits that read back as the same number, with an exponent outside 1e-4 to 1e6.
pub(super) fn write_double(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    let scientific = format!("{value:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{digits}e{sign}{:02}", exponent.abs());
    }
    format!("{value}")
}
