//! A part of a condition as text again, for sentences about it.

use crate::attest::cel::node::{Literal, Macro, Node, Operator};

/// The most bytes of such a text.
const LONGEST: usize = 240;

/// The text of a node; a very long one is cut.
pub(super) fn spoken(node: &Node) -> String {
    let mut out = String::new();
    write(node, &mut out);
    crate::text::ellipsis(&out, LONGEST)
}

fn write(node: &Node, out: &mut String) {
    if out.len() > LONGEST {
        return;
    }
    if let Some(path) = node.path().filter(|_| !matches!(node, Node::Has { .. })) {
        out.push_str(&path.to_string());
        return;
    }
    match node {
        Node::Literal(literal) => out.push_str(&literal_text(literal)),
        Node::Variable(variable) => out.push_str(variable.name()),
        Node::Local { name, .. } => out.push_str(name),
        Node::Select { operand, field } => {
            write_inner(operand, out);
            out.push_str(&format!(".{field}"));
        }
        Node::Has { operand, field } => {
            out.push_str("has(");
            write(operand, out);
            out.push_str(&format!(".{field})"));
        }
        Node::Index { operand, index } => {
            write_inner(operand, out);
            list(out, ["[", "]"], std::slice::from_ref(index.as_ref()));
        }
        Node::And(parts) => joined(parts, " && ", out),
        Node::Or(parts) => joined(parts, " || ", out),
        Node::Conditional(parts) => {
            write_inner(&parts[0], out);
            out.push_str(" ? ");
            write_inner(&parts[1], out);
            out.push_str(" : ");
            write_inner(&parts[2], out);
        }
        Node::Not(inner) => {
            out.push('!');
            write_inner(inner, out);
        }
        Node::Negate(inner) => {
            out.push('-');
            write_inner(inner, out);
        }
        Node::Binary { operator, operands } => joined(operands.as_slice(), sign(*operator), out),
        Node::Pattern { subject, source, .. } => {
            write_inner(subject, out);
            out.push_str(&format!(".matches({source:?})"));
        }
        Node::Call { function, arguments } if conversion(function.name()) => {
            out.push_str(function.name());
            list(out, ["(", ")"], arguments);
        }
        Node::Call { function, arguments } => {
            let Some((target, arguments)) = arguments.split_first() else { return };
            write_inner(target, out);
            out.push_str(&format!(".{}", function.name()));
            list(out, ["(", ")"], arguments);
        }
        Node::List(items) => list(out, ["[", "]"], items),
        Node::Map(entries) => {
            out.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                out.push_str(if at > 0 { ", " } else { "" });
                write(key, out);
                out.push_str(": ");
                write(value, out);
            }
            out.push('}');
        }
        Node::Loop(l) => {
            write_inner(&l.range, out);
            let parts = || l.condition.iter().chain(&l.transform);
            let variable = parts().find_map(|part| variable(part, l.slot)).unwrap_or("_");
            // A filter keeps each element as it is.
            let element = |node: &Node| matches!(node, Node::Local { slot, .. } if *slot == l.slot);
            let filter = l.condition.is_some() && l.transform.as_ref().is_some_and(element);
            let kept = l.transform.as_ref().filter(|_| !filter);
            out.push_str(&format!(".{}({variable}", if filter { "filter" } else { macro_name(l.kind) }));
            for part in l.condition.iter().chain(kept) {
                out.push_str(", ");
                write(part, out);
            }
            out.push(')');
        }
    }
}

/// What a loop calls its element.
pub(super) fn variable(node: &Node, wanted: usize) -> Option<&str> {
    let mut found = None;
    node.visit(&mut |part| match part {
        Node::Local { slot, name } if *slot == wanted => found = Some(name.as_str()),
        _ => {}
    });
    found
}

/// In parentheses, if it is of several parts.
fn write_inner(node: &Node, out: &mut String) {
    let several = matches!(node, Node::And(_) | Node::Or(_) | Node::Conditional(_) | Node::Binary { .. });
    if several {
        list(out, ["(", ")"], std::slice::from_ref(node));
    } else {
        write(node, out);
    }
}

fn list(out: &mut String, [open, close]: [&str; 2], items: &[Node]) {
    out.push_str(open);
    for (at, item) in items.iter().enumerate() {
        out.push_str(if at > 0 { ", " } else { "" });
        write(item, out);
    }
    out.push_str(close);
}

fn joined(parts: &[Node], between: &str, out: &mut String) {
    for (at, part) in parts.iter().enumerate() {
        out.push_str(if at > 0 { between } else { "" });
        write_inner(part, out);
    }
}

fn literal_text(literal: &Literal) -> String {
    match literal {
        Literal::Null => "null".to_owned(),
        Literal::Bool(value) => value.to_string(),
        Literal::Int(value) => value.to_string(),
        Literal::Uint(value) => value.to_string(),
        Literal::Double(value) => value.to_string(),
        Literal::Text(text) => format!("{text:?}"),
        Literal::Bytes(bytes) => format!("b\"{}\"", bytes.escape_ascii()),
        Literal::Type(name) => (*name).to_owned(),
    }
}

fn conversion(name: &str) -> bool {
    ["size", "int", "uint", "double", "string", "bytes", "bool", "dyn", "type", "timestamp", "duration"].contains(&name)
}

fn macro_name(kind: Macro) -> &'static str {
    match kind {
        Macro::All => "all",
        Macro::Exists => "exists",
        Macro::ExistsOne => "exists_one",
        Macro::Collect => "map",
    }
}

pub(super) fn sign(operator: Operator) -> &'static str {
    match operator {
        Operator::Add => " + ",
        Operator::Subtract => " - ",
        Operator::Multiply => " * ",
        Operator::Divide => " / ",
        Operator::Modulo => " % ",
        Operator::Equal => " == ",
        Operator::NotEqual => " != ",
        Operator::Less => " < ",
        Operator::LessEqual => " <= ",
        Operator::Greater => " > ",
        Operator::GreaterEqual => " >= ",
        Operator::In => " in ",
    }
}
