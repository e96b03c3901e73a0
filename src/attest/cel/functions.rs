//! The functions of the language, and Google's `extract`.

use std::rc::Rc;

use super::machine::{EvalError, Machine};
use super::number;
use super::pattern;
use super::time::{self, Part};
use super::value::{Text, Value};

/// A function by what it does; for method calls the target is the first argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in CEL's definition")]
pub enum Function {
    Size,
    Contains,
    StartsWith,
    EndsWith,
    Matches,
    Extract,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Bool,
    Dyn,
    Type,
    Timestamp,
    Duration,
    Part(Part),
}

/// The names that a text can call, for suggestions.
pub(super) const NAMES: [&str; 27] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "extract",
    "int",
    "uint",
    "double",
    "string",
    "bytes",
    "bool",
    "dyn",
    "type",
    "timestamp",
    "duration",
    "getFullYear",
    "getMonth",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
    "has",
];

impl Function {
    /// The function with this name, called on a target or not, with so many arguments beside the target.
    pub(super) fn find(name: &str, method: bool, count: usize) -> Option<Self> {
        Some(match (name, method, count) {
            ("size", false, 1) | ("size", true, 0) => Self::Size,
            ("contains", true, 1) => Self::Contains,
            ("startsWith", true, 1) => Self::StartsWith,
            ("endsWith", true, 1) => Self::EndsWith,
            ("matches", false, 2) | ("matches", true, 1) => Self::Matches,
            ("extract", true, 1) => Self::Extract,
            ("int", false, 1) => Self::Int,
            ("uint", false, 1) => Self::Uint,
            ("double", false, 1) => Self::Double,
            ("string", false, 1) => Self::String,
            ("bytes", false, 1) => Self::Bytes,
            ("bool", false, 1) => Self::Bool,
            ("dyn", false, 1) => Self::Dyn,
            ("type", false, 1) => Self::Type,
            ("timestamp", false, 1) => Self::Timestamp,
            ("duration", false, 1) => Self::Duration,
            (name, true, 0 | 1) => Self::Part(Part::named(name)?),
            _ => return None,
        })
    }

    /// Its name in a text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
            Self::Matches => "matches",
            Self::Extract => "extract",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::String => "string",
            Self::Bytes => "bytes",
            Self::Bool => "bool",
            Self::Dyn => "dyn",
            Self::Type => "type",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            Self::Part(part) => part.name(),
        }
    }

    pub(super) fn call<'a>(self, machine: &mut Machine<'a>, arguments: &[Value<'a>]) -> Result<Value<'a>, EvalError> {
        let wrong = || EvalError::overload(self.name(), arguments);
        match (self, arguments) {
            (Self::Size, [value]) => size(machine, value).map(Value::Int).ok_or_else(wrong),
            (Self::Contains | Self::StartsWith | Self::EndsWith, [Value::Text(text), Value::Text(part)]) => {
                machine.spend(text.len() / 64 + part.len() / 64)?;
                Ok(Value::Bool(match self {
                    Self::Contains => text.contains(&**part),
                    Self::StartsWith => text.starts_with(&**part),
                    _ => text.ends_with(&**part),
                }))
            }
            (Self::Matches, [Value::Text(text), Value::Text(source)]) => {
                // A pattern that is not a literal: compiled anew, so it costs much.
                machine.spend(20_000)?;
                let pattern = pattern::compile(source).map_err(|error| {
                    machine.spend(100_000).err().unwrap_or_else(|| EvalError::other(format!("the pattern {error}")))
                })?;
                machine.spend(pattern.price() - 20_000)?;
                machine.spend(pattern.cost(text))?;
                Ok(Value::Bool(pattern.is_match(text)))
            }
            (Self::Extract, [Value::Text(text), Value::Text(template)]) => {
                machine.spend(text.len() / 16)?;
                let found = extract(text, template)?.to_owned();
                machine.built_text(found)
            }
            (Self::Int, [value]) => to_int(value).unwrap_or_else(|| Err(wrong())),
            (Self::Uint, [value]) => to_uint(value).unwrap_or_else(|| Err(wrong())),
            (Self::Double, [value]) => to_double(value).unwrap_or_else(|| Err(wrong())),
            (Self::String, [value]) => match to_text(value) {
                Some(text) => machine.built_text(text?),
                None => match value {
                    Value::Text(_) => Ok(value.clone()),
                    _ => Err(wrong()),
                },
            },
            (Self::Bytes, [Value::Text(text)]) => {
                machine.allocate(text.len())?;
                Ok(Value::Bytes(Rc::from(text.as_bytes())))
            }
            (Self::Bytes, [Value::Bytes(_)])
            | (Self::Bool, [Value::Bool(_)])
            | (Self::Timestamp, [Value::Time(_)])
            | (Self::Duration, [Value::Span(_)])
            | (Self::Dyn, [_]) => Ok(arguments[0].clone()),
            (Self::Bool, [Value::Text(text)]) => match &**text {
                "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
                "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
                _ => Err(EvalError::conversion("string", "bool")),
            },
            (Self::Type, [value]) => Ok(Value::Type(value.kind())),
            (Self::Timestamp, [Value::Text(text)]) => time::read_time(text).map(Value::Time),
            (Self::Timestamp, [Value::Int(seconds)]) => time::time_of_seconds(*seconds).map(Value::Time),
            (Self::Duration, [Value::Text(text)]) => time::read_span(text).map(Value::Span),
            (Self::Part(part), [Value::Time(t)]) => time::part_of_time(*t, part, None).map(Value::Int),
            (Self::Part(part), [Value::Time(t), Value::Text(zone)]) => {
                machine.spend(20_000)?;
                time::part_of_time(*t, part, Some(zone)).map(Value::Int)
            }
            (Self::Part(part), [Value::Span(span)]) => {
                time::part_of_span(*span, part).map(Value::Int).ok_or_else(wrong)
            }
            _ => Err(wrong()),
        }
    }
}

fn size(machine: &mut Machine<'_>, value: &Value<'_>) -> Option<i64> {
    let size = match value {
        Value::Text(text) => {
            machine.spend(text.len() / 64).ok()?;
            text.chars().count()
        }
        Value::Bytes(bytes) => bytes.len(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => return None,
    };
    i64::try_from(size).ok()
}

type Converted<'a> = Option<Result<Value<'a>, EvalError>>;

fn to_int<'a>(value: &Value<'a>) -> Converted<'a> {
    let range = || EvalError::range("int");
    Some(match value {
        Value::Int(_) => Ok(value.clone()),
        Value::Uint(value) => i64::try_from(*value).map(Value::Int).map_err(|_| range()),
        Value::Double(value) => number::to_int(*value).map(Value::Int).ok_or_else(range),
        Value::Text(text) => text.parse().map(Value::Int).map_err(|_| EvalError::conversion("string", "int")),
        Value::Time(time) => Ok(Value::Int(time.timestamp())),
        _ => return None,
    })
}

fn to_uint<'a>(value: &Value<'a>) -> Converted<'a> {
    let range = || EvalError::range("uint");
    Some(match value {
        Value::Uint(_) => Ok(value.clone()),
        Value::Int(value) => u64::try_from(*value).map(Value::Uint).map_err(|_| range()),
        Value::Double(value) => number::to_uint(*value).map(Value::Uint).ok_or_else(range),
        Value::Text(text) => text.parse().map(Value::Uint).map_err(|_| EvalError::conversion("string", "uint")),
        _ => return None,
    })
}

fn to_double<'a>(value: &Value<'a>) -> Converted<'a> {
    Some(match value {
        Value::Double(_) => Ok(value.clone()),
        Value::Int(value) => Ok(Value::Double(*value as f64)),
        Value::Uint(value) => Ok(Value::Double(*value as f64)),
        Value::Text(text) => text.parse().map(Value::Double).map_err(|_| EvalError::conversion("string", "double")),
        _ => return None,
    })
}

fn to_text(value: &Value<'_>) -> Option<Result<String, EvalError>> {
    Some(Ok(match value {
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Double(value) => number::write_double(*value),
        Value::Bytes(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            Err(_) => return Some(Err(EvalError::conversion("bytes", "string"))),
        },
        Value::Time(value) => time::write_time(*value),
        Value::Span(value) => time::write_span(*value),
        _ => return None,
    }))
}

/// Google's `extract`: what stands where the template has `{name}`. Not found is an empty text.
fn extract<'t>(text: &'t str, template: &str) -> Result<&'t str, EvalError> {
    let malformed = || EvalError::other("the template needs exactly one {name}");
    let (prefix, rest) = template.split_once('{').ok_or_else(malformed)?;
    let (name, suffix) = rest.split_once('}').ok_or_else(malformed)?;
    if name.is_empty() || [name, suffix, prefix].iter().any(|part| part.contains(['{', '}'])) {
        return Err(malformed());
    }
    let Some(after) = text.find(prefix).map(|at| &text[at + prefix.len()..]) else { return Ok("") };
    if suffix.is_empty() {
        return Ok(after);
    }
    Ok(after.find(suffix).map_or("", |end| &after[..end]))
}

impl<'a> Machine<'a> {
    /// A built text, counted.
    pub(super) fn built_text(&mut self, text: String) -> Result<Value<'a>, EvalError> {
        self.allocate(text.len())?;
        Ok(Value::Text(Text::Built(text.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::extract;

    #[test]
    fn extract_answers_as_published() {
        let path = "projects/_/buckets/acme-orders-aaa/objects/data_lake/orders/order_date=2019-11-03/aef87g87ae0876";
        let cases = [
            ("/order_date={date}/", "2019-11-03"),
            ("buckets/{name}/", "acme-orders-aaa"),
            ("/orders/{empty}order_date", ""),
            ("{start}/objects/data_lake", "projects/_/buckets/acme-orders-aaa"),
            ("orders/{end}", "order_date=2019-11-03/aef87g87ae0876"),
            ("{all}", path),
            ("/orders/{none}/order_date=", ""),
            ("/orders/order_date=2019-11-03/{id}/data_lake", ""),
        ];
        for (template, expected) in cases {
            assert_eq!(extract(path, template).unwrap(), expected, "{template}");
        }
        assert!(extract(path, "none").is_err());
        assert!(extract(path, "{a}{b}").is_err());
    }
}
