//! What is probably wrong with a comparison of a claim: values that no token has, and values of another kind.

use serde_json::{Value as Json, json};

use super::found::{Found, Level};
use super::known::written;
use super::known::{DEBUGGING, MODELS, SOFTWARE, SUPPORT};
use crate::attest::cel::node::{ClaimPath, Literal, Loop, Macro, Node, Operator, Variable};

impl Found {
    pub(super) fn comparison(&mut self, operator: Operator, left: &Node, right: &Node) {
        for (claim, other) in [(left, right), (right, left)] {
            let Some(path) = claim.path().filter(|path| path.variable == Variable::Assertion) else { continue };
            // By its whole path: a GPU has a hwmodel too, and Intel's tdx a dbgstat.
            let name = written(&path.segments);
            let texts = texts(other);
            // Equal or not, or one of a list: an order says nothing of a value, and to look into a text is an error.
            let one_of = operator == Operator::In && std::ptr::eq(claim, left) && matches!(other, Node::List(_));
            let values = self.google && (matches!(operator, Operator::Equal | Operator::NotEqual) || one_of);
            match name.as_str() {
                "dbgstat" if values => self.words((&path, operator), &texts, &DEBUGGING, "dbgstat-value"),
                "hwmodel" if values => self.words((&path, operator), &texts, &MODELS, "hwmodel-value"),
                "swname" if values => self.words((&path, operator), &texts, &SOFTWARE, "swname-value"),
                "submods.container.env" if matches!(other, Node::Map(_)) => self.add(
                    Level::Warning,
                    "whole-environment",
                    format!("{path} is compared with a whole map"),
                    "the environment also holds HOSTNAME and PATH, so equality fails on real tokens: ask for single names",
                ),
                "submods.gce.project_number" | "submods.gce.instance_id" if number(other) => {
                    self.add(
                        Level::Error,
                        "number-for-text",
                        format!("{path} is compared with a number"),
                        "the claim is a text of digits: put the number in quotes",
                    );
                    self.compared.insert(path.clone());
                }
                SUPPORT if texts.contains(&"LATEST") && operator == Operator::In => self.latest_image(),
                _ => {}
            }
            let text_order =
                matches!(operator, Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual);
            if text_order && name == "swversion[]" && !texts.is_empty() {
                self.add(
                    Level::Warning,
                    "version-as-text",
                    format!("{path} is ordered as a text"),
                    "\"9\" is greater than \"260800\" as a text: write int(assertion.swversion[0]) >= 260800",
                );
            }
            let sum = matches!(
                operator,
                Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Modulo
            );
            if sum && matches!(name.as_str(), "exp" | "iat" | "nbf" | "oemid") {
                self.add(
                    Level::Warning,
                    "arithmetic-on-claim",
                    format!("{path} is calculated with"),
                    "how a number in the claims is typed is not documented; equality works with every type, sums may not",
                );
            }
        }
    }

    pub(super) fn latest_image(&mut self) {
        self.add(
            Level::Note,
            "latest-image",
            "LATEST is asked for",
            "a new image makes refreshed tokens of running jobs fail: STABLE is usually meant",
        );
    }

    fn words(&mut self, (path, operator): (&ClaimPath, Operator), texts: &[&str], known: &[&str], rule: &'static str) {
        let others = texts.iter().any(|text| known.contains(text));
        let (level, why) = match operator {
            Operator::NotEqual => {
                (Level::Error, "no token has this value, so the comparison is always true, and lets everything pass")
            }
            Operator::In if others => (Level::Warning, "no token has this value, so it adds nothing to the others"),
            _ => (Level::Error, "no token has this value, so the comparison is never true"),
        };
        for text in texts.iter().filter(|text| !known.contains(text)) {
            let near = crate::attest::nearest::nearest(text, known.iter().copied())
                .or_else(|| known.iter().copied().find(|word| word.contains(*text)));
            let near = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            self.add(level, rule, format!("{path} is never {text:?}{near}"), why);
            self.compared.insert(path.clone());
        }
    }
}

/// The texts of a literal, or of a list.
pub(super) fn texts(node: &Node) -> Vec<&str> {
    match node {
        Node::Literal(Literal::Text(text)) => vec![text],
        Node::List(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// A number, or a list with one in it.
pub(super) fn number(node: &Node) -> bool {
    match node {
        Node::Literal(Literal::Int(_) | Literal::Uint(_) | Literal::Double(_)) => true,
        Node::List(items) => items.iter().any(number),
        _ => false,
    }
}

/// Whether a term says that two things differ.
pub(super) fn differs(term: &Node) -> bool {
    matches!(term, Node::Binary { operator: Operator::NotEqual, .. })
}

/// The literal that a claim is said to be, or not to be, or to be in, or to have among its elements.
pub(super) fn compared_with(term: &Node) -> Option<Json> {
    if let Node::Loop(l) = term {
        return l.range.path().and_then(|_| literal(looked_for(l)?));
    }
    let Node::Binary { operator: Operator::Equal | Operator::NotEqual | Operator::In, operands } = term else {
        return None;
    };
    let [left, right] = operands.as_ref();
    match (left.path(), right.path()) {
        (Some(_), None) => literal(right),
        (None, Some(_)) => literal(left),
        _ => None,
    }
}

/// The literal that an element of a list is looked for as: `l.exists(x, x == "a")`.
fn looked_for(l: &Loop) -> Option<&Node> {
    let element = |node: &Node| matches!(node, Node::Local { slot, .. } if *slot == l.slot);
    let Some(Node::Binary { operator, operands }) = &l.condition else { return None };
    let [left, right] = operands.as_ref();
    match operator {
        _ if !matches!(l.kind, Macro::Exists | Macro::ExistsOne) => None,
        Operator::Equal | Operator::In if element(left) => Some(right),
        Operator::Equal if element(right) => Some(left),
        _ => None,
    }
}

fn literal(node: &Node) -> Option<Json> {
    Some(match node {
        Node::Literal(Literal::Text(text)) => json!(text),
        Node::Literal(Literal::Bool(value)) => json!(value),
        Node::Literal(Literal::Int(value)) => json!(value),
        Node::Literal(Literal::Uint(value)) => json!(value),
        Node::Literal(Literal::Double(value)) => json!(value),
        Node::Literal(Literal::Null) => Json::Null,
        Node::List(items) => Json::Array(items.iter().map(literal).collect::<Option<_>>()?),
        _ => return None,
    })
}

/// Why a comparison of what a function makes has the same answer whatever that is: a number equals no text.
pub(super) fn number_and_text(term: &Node) -> Option<String> {
    let Node::Binary { operator: operator @ (Operator::Equal | Operator::NotEqual | Operator::In), operands } = term
    else {
        return None;
    };
    let [left, right] = operands.as_ref();
    let pairs = [(left, right), (right, left)];
    pairs.into_iter().take(if *operator == Operator::In { 1 } else { 2 }).find_map(|(made, other)| {
        let Node::Call { function, .. } = made else { return None };
        let text = !texts(other).is_empty() && !number(other);
        let number = number(other) && texts(other).is_empty();
        match function.name() {
            name @ ("size" | "int" | "uint" | "double") if text => {
                Some(format!("{name}() makes a number, which equals no text: leave out the quotes"))
            }
            "string" if number => Some("string() makes a text, which equals no number: put it in quotes".to_owned()),
            _ => None,
        }
    })
}
