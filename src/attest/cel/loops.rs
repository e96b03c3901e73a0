//! The macros over lists and over the keys of maps.

use std::rc::Rc;

use super::machine::{EvalError, Machine, Outcome};
use super::node::{Loop, Macro};
use super::value::{List, Value};

impl<'a> Machine<'a> {
    pub(super) fn run(&mut self, l: &'a Loop) -> Outcome<'a> {
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
