//! Evaluation: every step and every built byte is counted, so that no expression can hang or swell the process.

use std::rc::Rc;

use serde_json::Value as Json;

use super::machine::{Budget, EvalError, Machine, Outcome, Scope};
use super::node::{Expression, Literal, Node, Variable};
use super::number;
use super::operators;
use super::value::{Entries, Map, Text, Value};

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

impl Expression {
    /// Evaluates it.
    pub fn evaluate<'a>(&'a self, scope: Scope<'a>, mut budget: Budget) -> Result<Value<'a>, EvalError> {
        self.evaluate_within(scope, &mut budget)
    }

    /// Evaluates it with a budget that others use too.
    pub fn evaluate_within<'a>(&'a self, scope: Scope<'a>, budget: &mut Budget) -> Result<Value<'a>, EvalError> {
        let mut machine = Machine { scope, left: *budget, slots: vec![Value::Null; self.slots] };
        let value = machine.value(&self.root);
        budget.after(machine.left);
        value
    }
}

impl Node {
    /// The value of a part of an expression; none, when it is a part of a macro and needs the macro's variable.
    pub fn evaluate_alone<'a>(&'a self, scope: Scope<'a>, budget: &mut Budget) -> Option<Result<Value<'a>, EvalError>> {
        let (mut needed, mut own) = (Vec::new(), Vec::new());
        self.visit(&mut |part| match part {
            Node::Local { slot, .. } => needed.push(*slot),
            Node::Loop(inner) => own.push(inner.slot),
            _ => {}
        });
        if needed.iter().any(|slot| !own.contains(slot)) {
            return None;
        }
        let slots = own.iter().max().map_or(0, |slot| slot + 1);
        let mut machine = Machine { scope, left: *budget, slots: vec![Value::Null; slots] };
        let value = machine.value(self);
        budget.after(machine.left);
        Some(value)
    }

    /// Whether it is true, or false, whatever the claims are; nothing when they matter, or when it has no such value.
    pub fn constant(&self) -> Option<bool> {
        constant(self, &mut Budget::default())
    }
}

fn constant(node: &Node, budget: &mut Budget) -> Option<bool> {
    match node {
        // One operand that is so decides; else all must be known.
        Node::And(parts) | Node::Or(parts) => {
            let decides = matches!(node, Node::Or(_));
            let known: Vec<Option<bool>> = parts.iter().map(|part| constant(part, budget)).collect();
            if known.contains(&Some(decides)) {
                return Some(decides);
            }
            known.iter().all(Option::is_some).then_some(!decides)
        }
        Node::Not(inner) => constant(inner, budget).map(|value| !value),
        Node::Conditional(parts) => {
            let [asked, then, otherwise] = parts.as_ref();
            let (then, otherwise) = (constant(then, budget), constant(otherwise, budget));
            match constant(asked, budget) {
                Some(true) => then,
                Some(false) => otherwise,
                None => then.filter(|_| then == otherwise),
            }
        }
        term => of_nothing(term, budget),
    }
}

/// The value of a term that names no variable.
fn of_nothing(term: &Node, budget: &mut Budget) -> Option<bool> {
    let (mut variables, mut slots) = (false, 0);
    term.visit(&mut |part| match part {
        Node::Variable(_) => variables = true,
        Node::Loop(inner) => slots = slots.max(inner.slot + 1),
        _ => {}
    });
    if variables {
        return None;
    }
    let nothing = Json::Null;
    let scope = Scope { assertion: &nothing, google: &nothing, attribute: &nothing };
    let mut machine = Machine { scope, left: *budget, slots: vec![Value::Null; slots] };
    let value = machine.value(term);
    let is = match value {
        Ok(Value::Bool(value)) => Some(value),
        _ => None,
    };
    budget.after(machine.left);
    is
}

impl<'a> Machine<'a> {
    pub(super) fn value(&mut self, node: &'a Node) -> Outcome<'a> {
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
            Node::Negate(operand) => operators::negate(self.value(operand)?),
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

    fn index(&mut self, node: &'a Node, operand: &'a Node, key: &'a Node) -> Outcome<'a> {
        let (container, index) = (self.value(operand)?, self.value(key)?);
        match (&container, &index) {
            (Value::List(list), Value::Int(_) | Value::Uint(_) | Value::Double(_)) => {
                let place =
                    position(&index).ok_or_else(|| EvalError::overload("[ ]", &[container.clone(), index.clone()]))?;
                let found = usize::try_from(place).ok().and_then(|at| list.at(at));
                let place = if matches!(key, Node::Literal(_)) { format!("at {place}") } else { "there".to_owned() };
                found.ok_or_else(|| EvalError::other(format!("the list has {} elements, none {place}", list.len())))
            }
            (Value::Map(map), _) => {
                self.spend_key(&index)?;
                let found = match (index.key(), &index) {
                    (Some(place), _) => map.at(&place),
                    // No key equals it.
                    (None, Value::Double(_)) => None,
                    (None, _) => return Err(EvalError::overload("[ ]", &[container, index])),
                };
                found.ok_or_else(|| absent(node, &shown_key(key, &index)))
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

/// A key as an error may show it: as it was written, never a claim's value.
fn shown_key(index: &Node, key: &Value<'_>) -> String {
    match (index, key) {
        (Node::Literal(_), Value::Text(text)) => format!("{:?}", &**text),
        (Node::Literal(_), Value::Int(value)) => value.to_string(),
        (Node::Literal(_), Value::Uint(value)) => value.to_string(),
        (Node::Literal(_), Value::Bool(value)) => value.to_string(),
        (_, other) => format!("such key of the type {}", other.kind()),
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
