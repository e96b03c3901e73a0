//! From text to a checked tree. The parser runs on a thread of its own with a large stack and a time limit, because
//! its recursion follows the text; the tree it makes is turned into ours and dropped there too.

use std::panic::AssertUnwindSafe;
use std::sync::{Condvar, Mutex, PoisonError, mpsc};
use std::time::Duration;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo};

use super::functions::{Function, NAMES};
use super::node::{Expression, Literal, Loop, Macro, Node, Operator, Variable};
use super::{pattern, text};

/// The bounds of one expression.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Characters of its text: 4096 for a condition, 2048 for a mapping.
    pub characters: usize,
    /// Brackets within brackets.
    pub brackets: usize,
    /// Nodes within nodes.
    pub depth: usize,
    /// Nodes in all.
    pub nodes: usize,
    /// Macros within macros.
    pub nested_macros: usize,
    /// Macros in all.
    pub macros: usize,
}

impl Limits {
    /// For a condition.
    pub const CONDITION: Self =
        Self { characters: 4096, brackets: 48, depth: 100, nodes: 2000, nested_macros: 4, macros: 16 };
    /// For the expression of an attribute mapping.
    pub const MAPPING: Self = Self { characters: 2048, ..Self::CONDITION };
}

/// Why an expression is refused before anything is evaluated.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nothing in it. For a provider it would mean that every valid token passes.
    #[error("the condition is empty, which would let every valid token pass; write true if that is meant")]
    Empty,
    /// Longer than allowed.
    #[error("the expression has {length} characters; the limit is {limit}")]
    TooLong {
        /// Its characters.
        length: usize,
        /// The limit.
        limit: usize,
    },
    /// Nested too deeply.
    #[error("the expression is nested deeper than {limit} levels")]
    TooDeep {
        /// The limit.
        limit: usize,
    },
    /// Too many nodes or macros.
    #[error("the expression has more than {limit} {what}")]
    TooLarge {
        /// What there are too many of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Not the language.
    #[error("syntax error at column {column}: {message}")]
    Syntax {
        /// Where, from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// A name that is neither a variable nor a function.
    #[error("{0}")]
    Undeclared(String),
    /// It took too long, or too many are being parsed.
    #[error("the expression could not be parsed in time")]
    TimedOut,
}

/// Parses and checks one expression.
pub fn compile(source: &str, limits: Limits) -> Result<Expression, Refusal> {
    text::check(source, &limits)?;
    let owned = source.to_owned();
    on_large_stack(move || parse(&owned, &limits)).unwrap_or(Err(Refusal::TimedOut))
}

/// Parses and checks several, each for itself, in one go.
pub fn compile_all(sources: Vec<String>, limits: Limits) -> Vec<Result<Expression, Refusal>> {
    let count = sources.len();
    let work = move || -> Vec<Result<Expression, Refusal>> {
        sources.iter().map(|source| text::check(source, &limits).and_then(|()| parse(source, &limits))).collect()
    };
    on_large_stack(work).unwrap_or_else(|| (0..count).map(|_| Err(Refusal::TimedOut)).collect())
}

/// Enough for the deepest tree that 4096 characters can spell, in a debug build; only pages touched cost memory.
const STACK: usize = 512 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
const AT_ONCE: usize = 4;

static RUNNING: (Mutex<usize>, Condvar) = (Mutex::new(0), Condvar::new());

/// Gives its place back when the thread ends, however it ends.
struct Place;

impl Drop for Place {
    fn drop(&mut self) {
        *RUNNING.0.lock().unwrap_or_else(PoisonError::into_inner) -= 1;
        RUNNING.1.notify_one();
    }
}

fn on_large_stack<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    let running = RUNNING.0.lock().unwrap_or_else(PoisonError::into_inner);
    let waited = RUNNING.1.wait_timeout_while(running, PATIENCE, |running| *running >= AT_ONCE);
    let (mut running, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
    if timeout.timed_out() && *running >= AT_ONCE {
        return None;
    }
    *running += 1;
    drop(running);
    let place = Place;
    let (done, result) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new().name("cel".into()).stack_size(STACK).spawn(move || {
        let _place = place;
        if let Ok(value) = std::panic::catch_unwind(AssertUnwindSafe(work)) {
            done.send(value).ok();
        }
    });
    thread.ok()?;
    result.recv_timeout(PATIENCE).ok()
}

fn parse(source: &str, limits: &Limits) -> Result<Expression, Refusal> {
    let parser = cel::parser::Parser::new().enable_ident_escape_syntax(true).max_recursion_depth(250);
    let (tree, info) = parser.parse_with_source_info(source).map_err(|errors| {
        let first = errors.errors.first();
        let column = first.map_or(1, |error| column(source, error.pos));
        let message = first.map_or_else(String::new, |error| error.msg.clone());
        if message.to_ascii_lowercase().contains("recursion limit") {
            return Refusal::TooDeep { limit: limits.depth };
        }
        Refusal::Syntax {
            column,
            message: message.trim().trim_start_matches("Syntax error: ").chars().take(200).collect(),
        }
    })?;
    let mut checker = Checker { limits, info: &info, scope: Vec::new(), nodes: 0, macros: 0, slots: 0 };
    let root = checker.node(&tree, 0)?;
    Ok(Expression { source: source.to_owned(), root, slots: checker.slots })
}

/// A place by line and column as one column of the whole text, in characters from 1.
fn column(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line).unwrap_or(1).max(1);
    let before: usize = source.split_inclusive('\n').take(line - 1).map(|line| line.chars().count()).sum();
    before + usize::try_from(column).unwrap_or(1).max(1)
}

struct Checker<'c> {
    limits: &'c Limits,
    info: &'c SourceInfo,
    scope: Vec<(String, usize)>,
    nodes: usize,
    macros: usize,
    slots: usize,
}

impl Checker<'_> {
    fn node(&mut self, tree: &IdedExpr, depth: usize) -> Result<Node, Refusal> {
        if depth > self.limits.depth {
            return Err(Refusal::TooDeep { limit: self.limits.depth });
        }
        self.nodes += 1;
        if self.nodes > self.limits.nodes {
            return Err(Refusal::TooLarge { what: "parts", limit: self.limits.nodes });
        }
        match &tree.expr {
            Expr::Literal(value) => Ok(Node::Literal(literal(value))),
            Expr::Ident(name) => self.name(tree, name),
            Expr::Select(select) => {
                if let Some(kind) = type_path(tree) {
                    return Ok(Node::Literal(Literal::Type(kind)));
                }
                let operand = Box::new(self.node(&select.operand, depth + 1)?);
                let field = select.field.clone();
                Ok(if select.test { Node::Has { operand, field } } else { Node::Select { operand, field } })
            }
            Expr::Call(call) => self.call(tree, call, depth),
            Expr::List(list) => Ok(Node::List(self.nodes_of(list.elements.iter(), depth)?)),
            Expr::Map(map) => {
                let mut entries = Vec::with_capacity(map.entries.len());
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(self.syntax(tree, "a map needs keys and values"));
                    };
                    entries.push((self.node(&entry.key, depth + 1)?, self.node(&entry.value, depth + 1)?));
                }
                Ok(Node::Map(entries))
            }
            Expr::Comprehension(comprehension) => self.looped(tree, comprehension, depth),
            Expr::Struct(message) => {
                Err(Refusal::Undeclared(format!("there is no message type {}", message.type_name)))
            }
            Expr::Unspecified => Err(self.syntax(tree, "an expression is missing")),
        }
    }

    fn nodes_of<'t>(&mut self, trees: impl Iterator<Item = &'t IdedExpr>, depth: usize) -> Result<Vec<Node>, Refusal> {
        trees.map(|tree| self.node(tree, depth + 1)).collect()
    }

    fn syntax(&self, tree: &IdedExpr, message: &str) -> Refusal {
        Refusal::Syntax { column: self.column(tree), message: message.to_owned() }
    }

    fn column(&self, tree: &IdedExpr) -> usize {
        self.info.offset_for(tree.id).map_or(1, |(start, _)| start as usize + 1)
    }

    fn name(&self, tree: &IdedExpr, name: &str) -> Result<Node, Refusal> {
        if let Some((_, slot)) = self.scope.iter().rev().find(|(local, _)| local == name) {
            return Ok(Node::Local { slot: *slot, name: name.to_owned() });
        }
        let plain = name.strip_prefix('.').unwrap_or(name);
        if let Some(variable) = Variable::named(plain) {
            return Ok(Node::Variable(variable));
        }
        if let Some(kind) = type_name(plain) {
            return Ok(Node::Literal(Literal::Type(kind)));
        }
        let known = ["assertion", "google", "attribute"].into_iter().chain(self.scope.iter().map(|(n, _)| n.as_str()));
        let near = crate::attest::nearest::nearest(plain, known).map_or_else(
            || "; the variables are assertion, google and attribute, and a text needs quotes".to_owned(),
            |near| format!("; did you mean {near}?"),
        );
        Err(Refusal::Undeclared(format!("there is no variable {plain} (column {}){near}", self.column(tree))))
    }

    fn call(&mut self, tree: &IdedExpr, call: &CallExpr, depth: usize) -> Result<Node, Refusal> {
        let name = call.func_name.as_str();
        if call.target.is_none()
            && let Some(node) = self.operator(call, depth)?
        {
            return Ok(node);
        }
        let Some(function) = Function::find(name, call.target.is_some(), call.args.len()) else {
            return Err(self.unknown_function(tree, call));
        };
        let arguments = self.nodes_of(call.target.as_deref().into_iter().chain(&call.args), depth)?;
        if function == Function::Matches {
            return self.pattern(arguments);
        }
        Ok(Node::Call { function, arguments })
    }

    /// A literal pattern is compiled here, once. One that does not compile stays a call and is an error when it runs,
    /// since it may stand where it is never reached.
    fn pattern(&self, mut arguments: Vec<Node>) -> Result<Node, Refusal> {
        if let [_, Node::Literal(Literal::Text(source))] = arguments.as_slice()
            && let Ok(compiled) = pattern::compile(source)
        {
            let source = source.clone();
            let subject = Box::new(arguments.swap_remove(0));
            return Ok(Node::Pattern { subject, pattern: Box::new(compiled), source });
        }
        Ok(Node::Call { function: Function::Matches, arguments })
    }

    fn unknown_function(&self, tree: &IdedExpr, call: &CallExpr) -> Refusal {
        let name = &call.func_name;
        let how = if call.target.is_some() { "method" } else { "function" };
        let count = call.args.len();
        let near = match crate::attest::nearest::nearest(name, NAMES) {
            Some(near) if near == name.as_str() => " in this form".to_owned(),
            Some(near) => format!("; did you mean {near}?"),
            None => String::new(),
        };
        let column = self.column(tree);
        Refusal::Undeclared(format!("there is no {how} {name} with {count} argument(s) (column {column}){near}"))
    }

    fn operator(&mut self, call: &CallExpr, depth: usize) -> Result<Option<Node>, Refusal> {
        use cel::common::ast::operators as op;
        let binary = match call.func_name.as_str() {
            op::LOGICAL_AND | op::LOGICAL_OR => {
                let mut parts = Vec::new();
                self.flatten(call, depth, &mut parts)?;
                let and = call.func_name == op::LOGICAL_AND;
                return Ok(Some(if and { Node::And(parts) } else { Node::Or(parts) }));
            }
            op::CONDITIONAL => {
                let parts = self.nodes_of(call.args.iter(), depth)?;
                return Ok(parts.try_into().ok().map(|parts| Node::Conditional(Box::new(parts))));
            }
            op::LOGICAL_NOT | op::NEGATE => {
                let operand = self.nodes_of(call.args.iter(), depth)?.into_iter().next().map(Box::new);
                let not = call.func_name == op::LOGICAL_NOT;
                return Ok(operand.map(|operand| if not { Node::Not(operand) } else { Node::Negate(operand) }));
            }
            op::INDEX => {
                let mut parts = self.nodes_of(call.args.iter(), depth)?.into_iter();
                return Ok(parts
                    .next()
                    .zip(parts.next())
                    .map(|(operand, index)| Node::Index { operand: Box::new(operand), index: Box::new(index) }));
            }
            op::ADD => Operator::Add,
            op::SUBSTRACT => Operator::Subtract,
            op::MULTIPLY => Operator::Multiply,
            op::DIVIDE => Operator::Divide,
            op::MODULO => Operator::Modulo,
            op::EQUALS => Operator::Equal,
            op::NOT_EQUALS => Operator::NotEqual,
            op::LESS => Operator::Less,
            op::LESS_EQUALS => Operator::LessEqual,
            op::GREATER => Operator::Greater,
            op::GREATER_EQUALS => Operator::GreaterEqual,
            op::IN => Operator::In,
            _ => return Ok(None),
        };
        let operands = self.nodes_of(call.args.iter(), depth)?;
        Ok(operands.try_into().ok().map(|operands| Node::Binary { operator: binary, operands: Box::new(operands) }))
    }

    /// The operands of `a && b && c`, which the parser balances into a tree of pairs.
    fn flatten(&mut self, call: &CallExpr, depth: usize, parts: &mut Vec<Node>) -> Result<(), Refusal> {
        for argument in &call.args {
            match &argument.expr {
                Expr::Call(inner) if inner.target.is_none() && inner.func_name == call.func_name => {
                    if depth > self.limits.depth {
                        return Err(Refusal::TooDeep { limit: self.limits.depth });
                    }
                    self.flatten(inner, depth + 1, parts)?;
                }
                _ => parts.push(self.node(argument, depth + 1)?),
            }
        }
        Ok(())
    }

    fn looped(&mut self, tree: &IdedExpr, l: &ComprehensionExpr, depth: usize) -> Result<Node, Refusal> {
        self.macros += 1;
        if self.macros > self.limits.macros {
            return Err(Refusal::TooLarge { what: "macros", limit: self.limits.macros });
        }
        if self.scope.len() >= self.limits.nested_macros {
            return Err(Refusal::TooLarge { what: "macros within macros", limit: self.limits.nested_macros });
        }
        let unknown = || self.syntax(tree, "a macro of an unknown form");
        if l.iter_var == "__result__" {
            return Err(self.syntax(tree, "__result__ cannot be the variable of a macro"));
        }
        let (kind, condition, transform) = macro_parts(l).ok_or_else(unknown)?;
        let range = self.node(&l.iter_range, depth + 1)?;
        let slot = self.slots;
        self.slots += 1;
        self.scope.push((l.iter_var.clone(), slot));
        let condition = condition.map(|tree| self.node(tree, depth + 1)).transpose();
        let transform = transform.map(|tree| self.node(tree, depth + 1)).transpose();
        self.scope.pop();
        Ok(Node::Loop(Box::new(Loop { kind, range, slot, condition: condition?, transform: transform? })))
    }
}

type MacroParts<'t> = (Macro, Option<&'t IdedExpr>, Option<&'t IdedExpr>);

/// Which macro a comprehension was: told by what it starts from, as the parser expands them.
fn macro_parts(l: &ComprehensionExpr) -> Option<MacroParts<'_>> {
    let Expr::Call(step) = &l.loop_step.expr else { return None };
    match &l.accu_init.expr {
        Expr::Literal(LiteralValue::Boolean(start)) => {
            let kind = if **start { Macro::All } else { Macro::Exists };
            Some((kind, step.args.get(1), None))
        }
        Expr::Literal(LiteralValue::Int(_)) => Some((Macro::ExistsOne, step.args.first(), None)),
        Expr::List(_) => match step.args.as_slice() {
            [condition, sum, _] => {
                let Expr::Call(sum) = &sum.expr else { return None };
                Some((Macro::Collect, Some(condition), Some(kept(sum)?)))
            }
            _ => Some((Macro::Collect, None, Some(kept(step)?))),
        },
        _ => None,
    }
}

/// The `x` of `accumulator + [x]`.
fn kept(sum: &CallExpr) -> Option<&IdedExpr> {
    match &sum.args.get(1)?.expr {
        Expr::List(list) => list.elements.first(),
        _ => None,
    }
}

fn literal(value: &LiteralValue) -> Literal {
    match value {
        LiteralValue::Boolean(value) => Literal::Bool(**value),
        LiteralValue::Bytes(value) => Literal::Bytes(value.inner().to_vec()),
        LiteralValue::Double(value) => Literal::Double(*value.inner()),
        LiteralValue::Int(value) => Literal::Int(*value.inner()),
        LiteralValue::Null => Literal::Null,
        LiteralValue::String(value) => Literal::Text(value.inner().to_owned()),
        LiteralValue::UInt(value) => Literal::Uint(*value.inner()),
    }
}

fn type_name(name: &str) -> Option<&'static str> {
    const TYPES: [&str; 10] = ["bool", "int", "uint", "double", "string", "bytes", "list", "map", "null_type", "type"];
    TYPES.into_iter().find(|kind| *kind == name)
}

/// `google.protobuf.Timestamp` and `google.protobuf.Duration` are types, although `google` is a variable too.
fn type_path(tree: &IdedExpr) -> Option<&'static str> {
    let Expr::Select(last) = &tree.expr else { return None };
    let Expr::Select(middle) = &last.operand.expr else { return None };
    let Expr::Ident(root) = &middle.operand.expr else { return None };
    if root != "google" || middle.field != "protobuf" || last.test || middle.test {
        return None;
    }
    match last.field.as_str() {
        "Timestamp" => Some("google.protobuf.Timestamp"),
        "Duration" => Some("google.protobuf.Duration"),
        _ => None,
    }
}
