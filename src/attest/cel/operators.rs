//! Operators: equality, order, membership and arithmetic.

use std::cmp::Ordering;

use super::machine::{EvalError, Machine, Outcome};
use super::node::{Node, Operator};
use super::number;
use super::time;
use super::value::{List, Map, Text, Value};

impl<'a> Machine<'a> {
    pub(super) fn binary(&mut self, operator: Operator, operands: &'a [Node; 2]) -> Outcome<'a> {
        let (left, right) = (self.value(&operands[0])?, self.value(&operands[1])?);
        match operator {
            Operator::Equal => self.equal(&left, &right).map(Value::Bool),
            Operator::NotEqual => self.equal(&left, &right).map(|same| Value::Bool(!same)),
            Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual => {
                self.order(operator, &left, &right)
            }
            Operator::In => self.contains(&left, &right),
            _ => self.arithmetic(operator, left, right),
        }
    }

    fn equal(&mut self, left: &Value<'a>, right: &Value<'a>) -> Result<bool, EvalError> {
        self.spend(1)?;
        Ok(match (left, right) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(l), Value::Bool(r)) => l == r,
            (Value::Text(l), Value::Text(r)) => {
                self.spend(l.len().min(r.len()) / 64)?;
                **l == **r
            }
            (Value::Bytes(l), Value::Bytes(r)) => {
                self.spend(l.len().min(r.len()) / 64)?;
                l == r
            }
            (Value::Time(l), Value::Time(r)) => l == r,
            (Value::Span(l), Value::Span(r)) => l == r,
            (Value::Type(l), Value::Type(r)) => l == r,
            (Value::List(l), Value::List(r)) => {
                if l.len() != r.len() {
                    return Ok(false);
                }
                for at in 0..l.len() {
                    if let (Some(l), Some(r)) = (l.at(at), r.at(at))
                        && !self.equal(&l, &r)?
                    {
                        return Ok(false);
                    }
                }
                true
            }
            (Value::Map(l), Value::Map(r)) => self.equal_maps(l, r)?,
            _ if number::is_number(left) && number::is_number(right) => {
                number::compare(left, right) == Some(Ordering::Equal)
            }
            _ => false,
        })
    }

    fn equal_maps(&mut self, left: &Map<'a>, right: &Map<'a>) -> Result<bool, EvalError> {
        if left.len() != right.len() {
            return Ok(false);
        }
        self.spend(left.len())?;
        for key in left.keys().iter().filter_map(Value::key) {
            match (left.at(&key), right.at(&key)) {
                (Some(l), Some(r)) if self.equal(&l, &r)? => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }

    fn order(&mut self, operator: Operator, left: &Value<'a>, right: &Value<'a>) -> Outcome<'a> {
        let ordering = match (left, right) {
            (Value::Text(l), Value::Text(r)) => {
                self.spend(l.len().min(r.len()) / 64)?;
                Some((**l).cmp(&**r))
            }
            (Value::Bool(l), Value::Bool(r)) => Some(l.cmp(r)),
            (Value::Bytes(l), Value::Bytes(r)) => {
                self.spend(l.len().min(r.len()) / 64)?;
                Some(l.cmp(r))
            }
            (Value::Time(l), Value::Time(r)) => Some(l.cmp(r)),
            (Value::Span(l), Value::Span(r)) => Some(l.cmp(r)),
            _ if number::is_number(left) && number::is_number(right) => number::compare(left, right),
            _ => return Err(EvalError::overload(sign(operator), &[left.clone(), right.clone()])),
        };
        Ok(Value::Bool(ordering.is_some_and(|ordering| match operator {
            Operator::Less => ordering.is_lt(),
            Operator::LessEqual => ordering.is_le(),
            Operator::Greater => ordering.is_gt(),
            _ => ordering.is_ge(),
        })))
    }

    fn contains(&mut self, item: &Value<'a>, container: &Value<'a>) -> Outcome<'a> {
        match container {
            Value::List(list) => {
                for at in 0..list.len() {
                    if let Some(member) = list.at(at)
                        && self.equal(item, &member)?
                    {
                        return Ok(Value::Bool(true));
                    }
                }
                Ok(Value::Bool(false))
            }
            Value::Map(map) => {
                self.spend_key(item)?;
                match (item.key(), item) {
                    (Some(key), _) => Ok(Value::Bool(map.at(&key).is_some())),
                    // No key equals it.
                    (None, Value::Double(_)) => Ok(Value::Bool(false)),
                    (None, _) => Err(EvalError::overload("in", &[item.clone(), container.clone()])),
                }
            }
            _ => Err(EvalError::overload("in", &[item.clone(), container.clone()])),
        }
    }

    fn arithmetic(&mut self, operator: Operator, left: Value<'a>, right: Value<'a>) -> Outcome<'a> {
        match (operator, &left, &right) {
            (_, Value::Int(l), Value::Int(r)) => whole_int(operator, *l, *r),
            (_, Value::Uint(l), Value::Uint(r)) => whole_uint(operator, *l, *r),
            (Operator::Add, Value::Double(l), Value::Double(r)) => Ok(Value::Double(l + r)),
            (Operator::Subtract, Value::Double(l), Value::Double(r)) => Ok(Value::Double(l - r)),
            (Operator::Multiply, Value::Double(l), Value::Double(r)) => Ok(Value::Double(l * r)),
            (Operator::Divide, Value::Double(l), Value::Double(r)) => Ok(Value::Double(l / r)),
            (Operator::Add, Value::Text(l), Value::Text(r)) => {
                self.allocate(l.len() + r.len())?;
                Ok(Value::Text(Text::Built(format!("{}{}", &**l, &**r).into())))
            }
            (Operator::Add, Value::Bytes(l), Value::Bytes(r)) => {
                self.allocate(l.len() + r.len())?;
                Ok(Value::Bytes([&**l, &**r].concat().into()))
            }
            (Operator::Add, Value::List(l), Value::List(r)) => {
                self.spend(l.len() + r.len())?;
                self.allocate((l.len() + r.len()) * size_of::<Value<'_>>())?;
                let all = |list: &List<'a>| (0..list.len()).filter_map(|at| list.at(at)).collect::<Vec<_>>();
                Ok(Value::list([all(l), all(r)].concat()))
            }
            (Operator::Add | Operator::Subtract, l, r) => time::sum(l, r, operator == Operator::Subtract)
                .unwrap_or_else(|| Err(EvalError::overload(sign(operator), &[left.clone(), right.clone()]))),
            _ => Err(EvalError::overload(sign(operator), &[left, right])),
        }
    }
}

pub(super) fn negate(value: Value<'_>) -> Outcome<'_> {
    match value {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or_else(|| EvalError::range("int")),
        Value::Double(value) => Ok(Value::Double(-value)),
        other => Err(EvalError::overload("-", &[other])),
    }
}

fn whole_int<'a>(operator: Operator, left: i64, right: i64) -> Outcome<'a> {
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide | Operator::Modulo if right == 0 => return Err(EvalError::other("division by zero")),
        Operator::Divide => left.checked_div(right),
        _ => left.checked_rem(right),
    };
    result.map(Value::Int).ok_or_else(|| EvalError::range("int"))
}

fn whole_uint<'a>(operator: Operator, left: u64, right: u64) -> Outcome<'a> {
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide | Operator::Modulo if right == 0 => return Err(EvalError::other("division by zero")),
        Operator::Divide => left.checked_div(right),
        _ => left.checked_rem(right),
    };
    result.map(Value::Uint).ok_or_else(|| EvalError::range("uint"))
}

fn sign(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => "+",
        Operator::Subtract => "-",
        Operator::Multiply => "*",
        Operator::Divide => "/",
        Operator::Modulo => "%",
        Operator::Equal => "==",
        Operator::NotEqual => "!=",
        Operator::Less => "<",
        Operator::LessEqual => "<=",
        Operator::Greater => ">",
        Operator::GreaterEqual => ">=",
        Operator::In => "in",
    }
}
