//! Numbers compared by mathematical value, and written as the language writes them.

use std::cmp::Ordering;

use super::value::Value;

const TWO_63: f64 = 9_223_372_036_854_775_808.0;
const TWO_64: f64 = 18_446_744_073_709_551_616.0;

/// The order of two numbers; `None` when one is not a number, or NaN.
pub(super) fn compare(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (whole(left), whole(right), left, right) {
        (Some(l), Some(r), _, _) => Some(l.cmp(&r)),
        (_, _, Value::Double(l), Value::Double(r)) => l.partial_cmp(r),
        (Some(l), _, _, Value::Double(r)) => whole_to_double(l, *r),
        (_, Some(r), Value::Double(l), _) => whole_to_double(r, *l).map(Ordering::reverse),
        _ => None,
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

fn whole_to_double(whole: i128, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        return None;
    }
    if double.abs() >= 1e30 {
        return Some(if double > 0.0 { Ordering::Less } else { Ordering::Greater });
    }
    let cut = double.trunc();
    Some(whole.cmp(&(cut as i128)).then_with(|| 0.0.partial_cmp(&(double - cut)).unwrap_or(Ordering::Equal)))
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
