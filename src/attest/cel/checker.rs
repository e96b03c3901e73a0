//! From the parser's tree to ours: names, functions and macros are known ones, and nothing is too deep or too large.

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo};

use super::functions::{Function, NAMES};
use super::limits::{Limits, Place, Refusal};
use super::macros::macro_parts;
use super::node::{Literal, Loop, Node, Operator, Variable};
use super::pattern::Literals;

/// Walks a tree once; stops at the first thing that is refused.
pub(super) struct Checker<'c> {
    source: &'c str,
    limits: &'c Limits,
    info: &'c SourceInfo,
    patterns: &'c mut Literals,
    scope: Vec<(String, usize)>,
    nodes: usize,
    macros: usize,
    slots: usize,
}

impl<'c> Checker<'c> {
    pub(super) fn new(source: &'c str, limits: &'c Limits, info: &'c SourceInfo, patterns: &'c mut Literals) -> Self {
        Self { source, limits, info, patterns, scope: Vec::new(), nodes: 0, macros: 0, slots: 0 }
    }

    /// How many loop variables there are in all.
    pub(super) fn slots(&self) -> usize {
        self.slots
    }

    /// Our form of a part of the tree, so deep within it.
    pub(super) fn node(&mut self, tree: &IdedExpr, depth: usize) -> Result<Node, Refusal> {
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
        Refusal::Syntax { place: self.place(tree), message: message.to_owned() }
    }

    fn place(&self, tree: &IdedExpr) -> Place {
        Place::after(self.source, self.info.offset_for(tree.id).map_or(0, |(start, _)| start as usize))
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
        Err(Refusal::Undeclared(format!("there is no variable {plain} ({}){near}", self.place(tree))))
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
    fn pattern(&mut self, mut arguments: Vec<Node>) -> Result<Node, Refusal> {
        if let [_, Node::Literal(Literal::Text(source))] = arguments.as_slice()
            && let Some(pattern) = self.patterns.compile(source)
        {
            let source = source.clone();
            let subject = Box::new(arguments.swap_remove(0));
            return Ok(Node::Pattern { subject, pattern, source });
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
        let place = self.place(tree);
        Refusal::Undeclared(format!("there is no {how} {name} with {count} argument(s) ({place}){near}"))
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
