//! What an evaluation has: what the variables stand for, how much it may do, and why it may have no value.

use serde_json::Value as Json;

use super::value::Value;

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

/// How much one evaluation may do.
#[derive(Debug, Clone, Copy)]
pub struct Budget {
    /// Nodes visited, elements compared, patterns compiled (many steps each).
    pub steps: usize,
    /// Bytes of texts and lists built.
    pub bytes: usize,
    /// Whether something needed more steps than were left.
    pub short: bool,
}

impl Default for Budget {
    fn default() -> Self {
        Self { steps: 1_000_000, bytes: 4 << 20, short: false }
    }
}

impl Budget {
    /// What takes no longer than a few milliseconds, and is enough for nearly every condition.
    pub fn little() -> Self {
        Self { steps: 10_000, ..Self::default() }
    }

    /// What an evaluation that took its course leaves: what it built is dropped with its value, the time is spent.
    pub(super) fn after(&mut self, evaluation: Self) {
        self.steps = evaluation.steps;
        self.short |= evaluation.short;
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

/// One evaluation under way.
pub(super) struct Machine<'a> {
    pub(super) scope: Scope<'a>,
    pub(super) left: Budget,
    pub(super) slots: Vec<Value<'a>>,
}

pub(super) type Outcome<'a> = Result<Value<'a>, EvalError>;

impl<'a> Machine<'a> {
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), EvalError> {
        let left = self.left.steps.checked_sub(steps);
        self.left.short |= left.is_none();
        self.left.steps = left.ok_or(EvalError::Budget("steps"))?;
        Ok(())
    }

    pub(super) fn allocate(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.left.bytes = self.left.bytes.checked_sub(bytes).ok_or(EvalError::Budget("memory"))?;
        Ok(())
    }

    /// A text that is looked up is copied.
    pub(super) fn spend_key(&mut self, key: &Value<'a>) -> Result<(), EvalError> {
        match key {
            Value::Text(text) => self.spend(text.len() / 64),
            _ => Ok(()),
        }
    }
}
