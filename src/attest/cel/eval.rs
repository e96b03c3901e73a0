//! Evaluation: every step and every built byte is counted, so that no expression can hang or swell the process.

use std::cmp::Ordering;
use std::rc::Rc;

use serde_json::Value as Json;

use super::node::{Expression, Literal, Loop, Macro, Node, Operator, Variable};
use super::number;
use super::time;
use super::value::{Entries, List, Map, Text, Value};

/// What the variables stand for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// The token's claims.
    pub assertion: &'a Json,
    /// The mapped `google.*` attributes, an object.
    pub google: &'a Json,
    /// The mapped `attribute.*` attributes, an object.
    pub attribute: &'a Json,
}

impl<'a> Scope<'a> {
    /// What a variable stands for.
    pub fn root(&self, variable: Variable) -> &'a Json {
        match variable {
            Variable::Assertion => self.assertion,
            Variable::Google => self.google,
            Variable::Attribute => self.attribute,
        }
    }
}

/// How much one evaluation may do.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Nodes visited, elements compared, patterns compiled (many steps each).
    pub steps: usize,
    /// Bytes of texts and lists built.
    pub bytes: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: 1_000_000, bytes: 4 << 20 }
    }
}

/// Why an expression has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvalError {
    /// A claim or key that is not there.
    #[error("there is no {path}")]
    Absent {
        /// The way to it, or the key alone when it was not named directly.
        path: String,
    },
    /// An operator or function for which these types have no meaning.
    #[error("{operation} has no meaning for {kinds}")]
    Overload {
        /// The operator or function.
        operation: String,
        /// The types it met.
        kinds: String,
    },
    /// The steps or bytes of the budget are used up.
    #[error("the expression needs more {0} than one evaluation may use")]
    Budget(&'static str),
    /// Anything else: overflow, division by zero, a conversion.
    #[error("{0}")]
    Other(String),
}

impl EvalError {
    pub(super) fn other(text: impl Into<String>) -> Self {
        Self::Other(text.into())
    }

    pub(super) fn range(kind: &str) -> Self {
        Self::Other(format!("the result is out of the range of {kind}"))
    }

    pub(super) fn conversion(from: &str, to: &str) -> Self {
        Self::Other(format!("this {from} cannot be read as {to}"))
    }

    pub(super) fn overload(operation: &str, values: &[Value<'_>]) -> Self {
        let kinds: Vec<&str> = values.iter().map(Value::kind).collect();
        Self::Overload { operation: operation.to_owned(), kinds: kinds.join(" and ") }
    }
}

impl Expression {
    /// Evaluates it.
    pub fn evaluate<'a>(&'a self, scope: Scope<'a>, mut budget: Budget) -> Result<Value<'a>, EvalError> {
        self.evaluate_within(scope, &mut budget)
    }

    /// Evaluates it with a budget that others use too.
    pub fn evaluate_within<'a>(&'a self, scope: Scope<'a>, budget: &mut Budget) -> Result<Value<'a>, EvalError> {
        let mut machine = Machine { scope, left: *budget, slots: vec![Value::Null; self.slots] };
        let value = machine.value(&self.root);
        // What was built is dropped with the value; the time is spent.
        budget.steps = machine.left.steps;
        value
    }
}

/// One evaluation under way.
pub(super) struct Machine<'a> {
    scope: Scope<'a>,
    left: Budget,
    slots: Vec<Value<'a>>,
}

type Outcome<'a> = Result<Value<'a>, EvalError>;

impl<'a> Machine<'a> {
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), EvalError> {
        self.left.steps = self.left.steps.checked_sub(steps).ok_or(EvalError::Budget("steps"))?;
        Ok(())
    }

    pub(super) fn allocate(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.left.bytes = self.left.bytes.checked_sub(bytes).ok_or(EvalError::Budget("memory"))?;
        Ok(())
    }

    /// A text that is looked up is copied.
    fn spend_key(&mut self, key: &Value<'a>) -> Result<(), EvalError> {
        match key {
            Value::Text(text) => self.spend(text.len() / 64),
            _ => Ok(()),
        }
    }

    fn value(&mut self, node: &'a Node) -> Outcome<'a> {
        self.spend(1)?;
        match node {
            Node::Literal(literal) => Ok(literal_value(literal)),
            Node::Variable(variable) => Ok(Value::from_json(self.scope.root(*variable))),
            Node::Local { slot, .. } => Ok(self.slots[*slot].clone()),
            Node::Select { operand, field } => self.select(node, operand, field),
            Node::Has { operand, field } => match self.value(operand)? {
                Value::Map(map) => Ok(Value::Bool(map.field(field).is_some())),
                other => Err(EvalError::overload("has()", &[other])),
            },
            Node::Index { operand, index } => self.index(node, operand, index),
            Node::And(parts) => self.logic(parts, false),
            Node::Or(parts) => self.logic(parts, true),
            Node::Conditional(parts) => match self.value(&parts[0])? {
                Value::Bool(true) => self.value(&parts[1]),
                Value::Bool(false) => self.value(&parts[2]),
                other => Err(EvalError::overload("? :", &[other])),
            },
            Node::Not(operand) => match self.value(operand)? {
                Value::Bool(value) => Ok(Value::Bool(!value)),
                other => Err(EvalError::overload("!", &[other])),
            },
            Node::Negate(operand) => negate(self.value(operand)?),
            Node::Binary { operator, operands } => self.binary(*operator, operands),
            Node::Pattern { subject, pattern, .. } => match self.value(subject)? {
                Value::Text(text) => {
                    self.spend(pattern.cost(&text))?;
                    Ok(Value::Bool(pattern.is_match(&text)))
                }
                other => Err(EvalError::overload("matches", &[other])),
            },
            Node::Call { function, arguments } => {
                let values = arguments.iter().map(|argument| self.value(argument)).collect::<Result<Vec<_>, _>>()?;
                function.call(self, &values)
            }
            Node::List(items) => {
                self.allocate(items.len() * size_of::<Value<'_>>())?;
                let values = items.iter().map(|item| self.value(item)).collect::<Result<Vec<_>, _>>()?;
                Ok(Value::list(values))
            }
            Node::Map(entries) => self.map(entries),
            Node::Loop(l) => self.run(l),
        }
    }

    fn select(&mut self, node: &'a Node, operand: &'a Node, field: &str) -> Outcome<'a> {
        match self.value(operand)? {
            Value::Map(map) => map.field(field).ok_or_else(|| absent(node, field)),
            other => Err(EvalError::overload(&format!(".{field}"), &[other])),
        }
    }

    fn index(&mut self, node: &'a Node, operand: &'a Node, index: &'a Node) -> Outcome<'a> {
        let (container, index) = (self.value(operand)?, self.value(index)?);
        match (&container, &index) {
            (Value::List(list), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
                let place =
                    position(&index).ok_or_else(|| EvalError::overload("[ ]", &[container.clone(), index.clone()]))?;
                let found = usize::try_from(place).ok().and_then(|at| list.at(at));
                found.ok_or_else(|| EvalError::other(format!("the list has {} elements, none at {place}", list.len())))
            }
            (Value::Map(map), key) => {
                self.spend_key(key)?;
                let key = key.key().ok_or_else(|| EvalError::overload("[ ]", &[container.clone(), index.clone()]))?;
                map.at(&key).ok_or_else(|| absent(node, &shown_key(&index)))
            }
            _ => Err(EvalError::overload("[ ]", &[container, index])),
        }
    }

    /// `&&` and `||`: one deciding operand wins over an error on any other side.
    fn logic(&mut self, parts: &'a [Node], deciding: bool) -> Outcome<'a> {
        let mut error = None;
        for part in parts {
            match self.value(part) {
                Ok(Value::Bool(value)) if value == deciding => return Ok(Value::Bool(deciding)),
                Ok(Value::Bool(_)) => {}
                Err(budget @ EvalError::Budget(_)) => return Err(budget),
                Err(other) => error = error.or(Some(other)),
                Ok(other) => {
                    let name = if deciding { "||" } else { "&&" };
                    error = error.or_else(|| Some(EvalError::overload(name, &[other])));
                }
            }
        }
        error.map_or(Ok(Value::Bool(!deciding)), Err)
    }

    fn binary(&mut self, operator: Operator, operands: &'a [Node; 2]) -> Outcome<'a> {
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
            Value::Map(map) => match item {
                Value::Double(value) if value.fract() != 0.0 => Ok(Value::Bool(false)),
                item => {
                    self.spend_key(item)?;
                    let key =
                        item.key().ok_or_else(|| EvalError::overload("in", &[item.clone(), container.clone()]))?;
                    Ok(Value::Bool(map.at(&key).is_some()))
                }
            },
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

    fn map(&mut self, entries: &'a [(Node, Node)]) -> Outcome<'a> {
        self.allocate(entries.len() * 2 * size_of::<Value<'_>>())?;
        let mut built = Entries::new();
        for (key, value) in entries {
            let (key, value) = (self.value(key)?, self.value(value)?);
            self.spend_key(&key)?;
            let place = match &key {
                Value::Double(_) => None,
                key => key.key(),
            };
            let place = place.ok_or_else(|| EvalError::other(format!("{} cannot be the key of a map", key.kind())))?;
            if built.insert(place, (key, value)).is_some() {
                return Err(EvalError::other("the map has the same key twice"));
            }
        }
        Ok(Value::Map(Map::Built(Rc::new(built))))
    }

    fn run(&mut self, l: &'a Loop) -> Outcome<'a> {
        let range = match self.value(&l.range)? {
            Value::List(list) => list,
            Value::Map(map) => {
                self.spend(map.len())?;
                self.allocate(map.len() * size_of::<Value<'_>>())?;
                List::Built(Rc::new(map.keys()))
            }
            other => return Err(EvalError::overload("a macro over", &[other])),
        };
        match l.kind {
            Macro::All => self.decide(l, &range, false),
            Macro::Exists => self.decide(l, &range, true),
            Macro::ExistsOne | Macro::Collect => self.collect(l, &range),
        }
    }

    fn decide(&mut self, l: &'a Loop, range: &List<'a>, deciding: bool) -> Outcome<'a> {
        let mut error = None;
        for at in 0..range.len() {
            self.bind(l.slot, range, at);
            match self.condition(l) {
                Ok(value) if value == deciding => return Ok(Value::Bool(deciding)),
                Ok(_) => {}
                Err(budget @ EvalError::Budget(_)) => return Err(budget),
                Err(other) => error = error.or(Some(other)),
            }
        }
        error.map_or(Ok(Value::Bool(!deciding)), Err)
    }

    fn collect(&mut self, l: &'a Loop, range: &List<'a>) -> Outcome<'a> {
        let mut found = Vec::new();
        let mut count = 0usize;
        for at in 0..range.len() {
            self.spend(1)?;
            self.bind(l.slot, range, at);
            if l.condition.is_some() && !self.condition(l)? {
                continue;
            }
            count += 1;
            if let Some(transform) = &l.transform {
                self.allocate(size_of::<Value<'_>>())?;
                found.push(self.value(transform)?);
            }
        }
        Ok(if l.kind == Macro::ExistsOne { Value::Bool(count == 1) } else { Value::list(found) })
    }

    fn bind(&mut self, slot: usize, range: &List<'a>, at: usize) {
        self.slots[slot] = range.at(at).unwrap_or(Value::Null);
    }

    fn condition(&mut self, l: &'a Loop) -> Result<bool, EvalError> {
        match l.condition.as_ref().map(|condition| self.value(condition)) {
            None => Ok(true),
            Some(Ok(Value::Bool(value))) => Ok(value),
            Some(Ok(other)) => Err(EvalError::overload("the condition of a macro", &[other])),
            Some(Err(error)) => Err(error),
        }
    }
}

fn literal_value(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::Text(text) => Value::Text(Text::Borrowed(text)),
        Literal::Bytes(bytes) => Value::Bytes(Rc::from(bytes.as_slice())),
        Literal::Type(name) => Value::Type(name),
    }
}

fn absent(node: &Node, key: &str) -> EvalError {
    EvalError::Absent { path: node.path().map_or_else(|| key.to_owned(), |path| path.to_string()) }
}

fn shown_key(key: &Value<'_>) -> String {
    match key {
        Value::Text(text) => format!("{:?}", &**text),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        other => other.kind().to_owned(),
    }
}

fn position(index: &Value<'_>) -> Option<i64> {
    match index {
        Value::Int(at) => Some(*at),
        Value::Uint(at) => i64::try_from(*at).ok(),
        Value::Double(at) if at.fract() == 0.0 => number::to_int(*at),
        _ => None,
    }
}

fn negate(value: Value<'_>) -> Outcome<'_> {
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
