//! What would make a term true, said in words.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::known::takes_secret;
use super::spoken::spoken;
use crate::attest::cel::node::{ClaimPath, Literal, Loop, Macro, Node, Operator, Variable};
use crate::attest::cel::{Budget, Scope, Value};
use crate::text::secrets::redact;

/// The most parts of an inner `&&` or `||` that are told.
const PARTS: usize = 6;

/// Looks at the parts of a term.
pub(super) struct Wish<'a, 'b> {
    pub(super) scope: Scope<'a>,
    pub(super) budget: &'b mut Budget,
    /// Whether present values are told: of a token that was made up they say nothing.
    pub(super) values: bool,
}

impl Wish<'_, '_> {
    /// What would make the node true.
    pub(super) fn of(&mut self, node: &Node) -> Option<String> {
        Some(format!("true if {}", self.clause(node, true)?))
    }

    /// What would make it so, true or false.
    fn clause(&mut self, node: &Node, so: bool) -> Option<String> {
        let not = if so { "" } else { "not " };
        Some(match node {
            Node::Not(inner) => self.clause(inner, !so)?,
            Node::And(parts) | Node::Or(parts) => {
                let all = matches!(node, Node::And(_)) == so;
                return self.several(parts, so, all);
            }
            Node::Conditional(parts) => {
                let [asked, then, otherwise] = parts.as_ref();
                let is = self.truth(asked)?;
                let (chosen, other) = if is { (then, otherwise) } else { (otherwise, then) };
                match self.clause(chosen, so) {
                    Some(wanted) => format!("{wanted}, as long as {} is {is}", spoken(asked)),
                    // What is chosen cannot become so, and the other is.
                    None if self.truth(other) == Some(so) => self.clause(asked, !is)?,
                    None => return None,
                }
            }
            Node::Binary { operator, operands } => return self.compared(*operator, operands, so),
            Node::Has { operand, .. } if operand.path().is_some_and(|path| path.variable != Variable::Assertion) => {
                format!("the attribute mapping made {}{}", if so { "" } else { "no " }, path_or_text(node))
            }
            Node::Has { .. } => format!("the token had {}{}", if so { "" } else { "no " }, path_or_text(node)),
            Node::Pattern { subject, source, .. } if so => format!("{} matched {source:?}", self.subject(subject)),
            Node::Pattern { subject, source, .. } => format!("{} did not match {source:?}", self.subject(subject)),
            Node::Call { function, arguments } => match (function.name(), arguments.as_slice()) {
                // Every text starts and ends with the empty one.
                (_, [_, part]) if !so && is_empty(part) => return None,
                ("startsWith", [text, part]) => self.searched(text, part, [not, "start", "started", "with "]),
                ("endsWith", [text, part]) => self.searched(text, part, [not, "end", "ended", "with "]),
                ("contains", [text, part]) => self.searched(text, part, [not, "contain", "contained", ""]),
                _ => format!("{} were {so}", self.subject(node)),
            },
            Node::Loop(l) => self.looped(l, so)?,
            Node::Select { .. } | Node::Index { .. } => format!("{} were {so}", path_or_text(node)),
            _ => return None,
        })
    }

    /// All of the parts must be so, or one of them.
    fn several(&mut self, parts: &[Node], so: bool, all: bool) -> Option<String> {
        let lacking: Vec<&Node> = parts.iter().filter(|part| self.truth(part) != Some(so)).take(PARTS).collect();
        let told: Vec<Option<String>> = lacking.into_iter().map(|part| self.clause(part, so)).collect();
        if all {
            return told.into_iter().collect::<Option<Vec<_>>>().map(|told| told.join(" and "));
        }
        let told: Vec<String> = told.into_iter().flatten().collect();
        let either = if told.len() > 1 { "either " } else { "" };
        (!told.is_empty()).then(|| format!("{either}{}", told.join(" or ")))
    }

    fn searched(&self, text: &Node, part: &Node, [not, plain, past, with]: [&str; 4]) -> String {
        let verb = if not.is_empty() { past.to_owned() } else { format!("did not {plain}") };
        format!("{} {verb} {with}{}", path_or_text(text), spoken(part))
    }

    fn compared(&mut self, operator: Operator, operands: &[Node; 2], so: bool) -> Option<String> {
        let [left, right] = operands;
        if let Some((inner, so)) = decided(operator, left, right, so) {
            return self.clause(inner, so);
        }
        // What is fixed is what the other should be; of two that are not, the left one is told of.
        let flipped = if operator == Operator::In { !fixed(right) } else { fixed(left) && !fixed(right) };
        let (subject, object) = if flipped { (right, left) } else { (left, right) };
        if let Some(told) = self.of_another_kind(operator, subject, object).filter(|_| so) {
            return Some(told);
        }
        let verb = match (operator, so) {
            (Operator::Equal, true) | (Operator::NotEqual, false) => "were",
            (Operator::Equal, false) => "were not",
            (Operator::NotEqual, true) => "were anything but",
            (Operator::In, true) if flipped => "held",
            (Operator::In, false) if flipped => "did not hold",
            (Operator::In, true) => "were one of",
            (Operator::In, false) => "were none of",
            (operator, so) => comparison(operator, flipped, so)?,
        };
        if never(subject, verb, object) {
            return None;
        }
        let object = if fixed(object) { spoken(object) } else { self.subject(object) };
        Some(format!("{} {verb} {}", self.subject(subject), object.trim_end_matches(',')))
    }

    /// A text is never equal to a number, whatever both of them are.
    fn of_another_kind(&mut self, operator: Operator, subject: &Node, object: &Node) -> Option<String> {
        let number =
            |node: &Node| matches!(node, Node::Literal(Literal::Int(_) | Literal::Uint(_) | Literal::Double(_)));
        let told = self.subject(subject);
        let value = self.value(subject)?;
        let subject = told.trim_end_matches(',');
        match (value.as_ref(), object) {
            (Json::String(_), literal) if number(literal) => Some(format!(
                "{subject}, which is a text, were compared with a text: put quotes around {}",
                spoken(literal)
            )),
            (Json::String(_), Node::List(items)) if !items.is_empty() && items.iter().all(number) => {
                Some(format!("{subject}, which is a text, were looked for among texts: put quotes around the numbers"))
            }
            (Json::Number(_), Node::Literal(Literal::Text(text))) if text.parse::<f64>().is_ok() => Some(format!(
                "{subject}, which is a number, were compared with a number: leave out the quotes of {text:?}"
            )),
            (Json::Bool(_), Node::Literal(Literal::Text(text))) if matches!(text.as_str(), "true" | "false") => {
                Some(format!(
                    "{subject}, which is true or false, were compared with {text}: leave out the quotes of {text:?}"
                ))
            }
            (Json::Array(_), Node::Literal(Literal::Text(text))) if operator == Operator::Equal => {
                Some(format!("{subject}, which is a list, held {text:?}: write {text:?} in {subject}"))
            }
            (Json::Object(parts), Node::Literal(literal))
                if operator == Operator::Equal && *literal != Literal::Null =>
            {
                let name = parts.keys().next().filter(|_| parts.len() == 1);
                let such = name.map_or(String::new(), |name| format!(", as {subject}.{name}"));
                Some(format!("a part of {subject}, which is a map, were compared: ask for it by its name{such}"))
            }
            _ => None,
        }
    }

    /// The value of a claim, or a plain one that is made of claims.
    fn value(&mut self, node: &Node) -> Option<Cow<'_, Json>> {
        match claim(node) {
            Some(path) => path.resolve(self.scope.root(path.variable)).map(Cow::Borrowed),
            None => {
                let made = node.evaluate_alone(self.scope, self.budget)?.ok()?.to_json()?;
                Some(made).filter(|made| !made.is_array() && !made.is_object()).map(Cow::Owned)
            }
        }
    }

    fn looped(&mut self, l: &Loop, so: bool) -> Option<String> {
        let condition = spoken(l.condition.as_ref()?);
        let range = self.subject(&l.range);
        Some(
            match (l.kind, so) {
                (Macro::All, true) => format!("{condition} held for every element of {range}"),
                (Macro::All, false) => format!("{condition} failed for an element of {range}"),
                (Macro::Exists, true) => format!("{condition} held for an element of {range}"),
                (Macro::Exists, false) => format!("{condition} held for no element of {range}"),
                (Macro::ExistsOne, true) => format!("{condition} held for exactly one element of {range}"),
                (Macro::ExistsOne, false) => format!("{condition} held for none or several elements of {range}"),
                (Macro::Collect, _) => return None,
            }
            .trim_end_matches(',')
            .to_owned(),
        )
    }

    /// A claim, whose value stands beside the hint, or something made of claims, with its present value.
    pub(super) fn subject(&mut self, node: &Node) -> String {
        match (claim(node), self.present(node)) {
            (Some(path), _) => path.to_string(),
            (None, Some(value)) => format!("{}, now {value},", spoken(node)),
            (None, None) => spoken(node),
        }
    }

    /// The present value, unless it is none that a sentence can hold, or one that must not be shown.
    fn present(&mut self, node: &Node) -> Option<String> {
        let mapped = |node: &Node| node.claims().iter().any(|path| path.variable != Variable::Assertion);
        if !self.values || claim(node).is_some() || fixed(node) || mapped(node) {
            return None;
        }
        let value = match node.evaluate_alone(self.scope, self.budget)?.ok()? {
            Value::Int(value) => value.to_string(),
            Value::Uint(value) => value.to_string(),
            Value::Double(value) => value.to_string(),
            Value::Bool(value) => value.to_string(),
            Value::Text(text) if text.len() <= 100 && !text.contains("eyJ") => format!("{:?}", redact(&text)),
            _ => return None,
        };
        (!takes_secret(node, self.scope.assertion)).then_some(value)
    }

    pub(super) fn truth(&mut self, node: &Node) -> Option<bool> {
        match node.evaluate_alone(self.scope, self.budget)?.ok()? {
            Value::Bool(value) => Some(value),
            _ => None,
        }
    }
}

/// The claim that a node names, and not whether it is there.
fn claim(node: &Node) -> Option<ClaimPath> {
    node.path().filter(|_| !matches!(node, Node::Has { .. }))
}

/// What is compared with `true` or `false` though it is one of them by itself, and which of them it should be.
pub(super) fn decided<'n>(operator: Operator, left: &'n Node, right: &'n Node, so: bool) -> Option<(&'n Node, bool)> {
    let equal = match operator {
        Operator::Equal => so,
        Operator::NotEqual => !so,
        _ => return None,
    };
    let (inner, wanted) = match (left, right) {
        (inner, Node::Literal(Literal::Bool(wanted))) | (Node::Literal(Literal::Bool(wanted)), inner) => {
            (inner, wanted)
        }
        _ => return None,
    };
    let asks = match inner {
        Node::Has { .. } | Node::Not(_) | Node::And(_) | Node::Or(_) | Node::Pattern { .. } => true,
        Node::Binary { operator, .. } => !matches!(
            operator,
            Operator::Add | Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Modulo
        ),
        Node::Call { function, .. } => matches!(function.name(), "startsWith" | "endsWith" | "contains"),
        Node::Loop(l) => l.kind != Macro::Collect,
        _ => false,
    };
    asks.then_some((inner, *wanted == equal))
}

/// Whether nothing can be so: no size is below 0, no text is before the empty one, and an empty list holds nothing.
fn never(subject: &Node, verb: &str, object: &Node) -> bool {
    let size = matches!(subject, Node::Call { function, .. } if function.name() == "size");
    match (verb, object) {
        ("were less than", Node::Literal(Literal::Int(least))) => size && *least <= 0,
        ("were" | "were at most", Node::Literal(Literal::Int(least))) => size && *least < 0,
        ("were less than", text) => is_empty(text),
        ("were one of", Node::List(items)) => items.is_empty(),
        _ => false,
    }
}

pub(super) fn is_empty(text: &Node) -> bool {
    matches!(text, Node::Literal(Literal::Text(text)) if text.is_empty())
}

fn path_or_text(node: &Node) -> String {
    node.path().map_or_else(|| spoken(node), |path| path.to_string())
}

/// Whether it is the same for every token.
fn fixed(node: &Node) -> bool {
    match node {
        Node::Literal(_) => true,
        Node::List(items) => items.iter().all(fixed),
        Node::Map(entries) => entries.iter().all(|(key, value)| fixed(key) && fixed(value)),
        Node::Negate(inner) => fixed(inner),
        Node::Call { arguments, .. } => !arguments.is_empty() && arguments.iter().all(fixed),
        _ => false,
    }
}

fn comparison(operator: Operator, flipped: bool, so: bool) -> Option<&'static str> {
    let words = match (operator, flipped) {
        (Operator::Less, false) | (Operator::Greater, true) => ["less than", "at least"],
        (Operator::LessEqual, false) | (Operator::GreaterEqual, true) => ["at most", "more than"],
        (Operator::Greater, false) | (Operator::Less, true) => ["more than", "at most"],
        (Operator::GreaterEqual, false) | (Operator::LessEqual, true) => ["at least", "less than"],
        _ => return None,
    };
    Some(match words[usize::from(!so)] {
        "less than" => "were less than",
        "at least" => "were at least",
        "at most" => "were at most",
        _ => "were more than",
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::attest::policy::{Condition, Mapped};

    fn hint(condition: &str) -> Vec<String> {
        let claims = json!({
            "x": "A", "y": false, "n": 3, "l": ["STABLE", "b", "c"], "v": ["250800"], "id": "4455667788990011223",
            "sub": "https://www.googleapis.com/compute/v1/projects/p/zones/z/instances/job-7",
            "args": ["--token", "tok888"], "eat_nonce": "n0nce", "m": {"memory": false},
        });
        // As one term, which an operator at the top would divide.
        let explained = Condition::compile(condition).unwrap().explain(&claims, &Mapped::default());
        explained.terms.into_iter().flat_map(|term| term.hints).collect()
    }

    #[test]
    fn what_would_make_a_term_true_is_told_of_every_form() {
        for (condition, expected) in [
            ("!(assertion.x == 'A')", "assertion.x were not \"A\""),
            ("!('STABLE' in assertion.l)", "assertion.l did not hold \"STABLE\""),
            ("!(assertion.x in ['A', 'B'])", "assertion.x were none of [\"A\", \"B\"]"),
            ("!(assertion.x != 'B')", "assertion.x were \"B\""),
            ("!(assertion.n < 5)", "assertion.n were at least 5"),
            ("!(5 > assertion.n)", "assertion.n were at least 5"),
            ("assertion.n > 5", "assertion.n were more than 5"),
            ("!assertion.x.startsWith('A')", "assertion.x did not start with \"A\""),
            ("assertion.x.endsWith('B')", "assertion.x ended with \"B\""),
            ("!assertion.x.matches('^A$')", "assertion.x did not match \"^A$\""),
            ("!has(assertion.x)", "the token had no assertion.x"),
            ("timestamp(0).getHours() == assertion.n", "assertion.n were timestamp(0).getHours()"),
            (
                "timestamp(assertion.n).getMinutes('Europe/Berlin') == 5",
                "timestamp(assertion.n).getMinutes(\"Europe/Berlin\"), now 0, were 5",
            ),
            (
                "!(assertion.x == 'A' && assertion.n == 3)",
                "either assertion.x were not \"A\" or assertion.n were not 3",
            ),
            (
                "!(assertion.x == 'A' || assertion.n == 4 || assertion.n == 3)",
                "assertion.x were not \"A\" and assertion.n were not 3",
            ),
            (
                "assertion.x == 'A' ? assertion.n == 4 : assertion.y",
                "assertion.n were 4, as long as assertion.x == \"A\" is true",
            ),
            ("size(assertion.l) == 5", "size(assertion.l), now 3, were 5"),
            ("assertion.l.size() > 3", "size(assertion.l), now 3, were more than 3"),
            ("int(assertion.v[0]) >= 260800", "int(assertion.v[0]), now 250800, were at least 260800"),
            ("assertion.l.exists(a, a == 'LATEST')", "a == \"LATEST\" held for an element of assertion.l"),
            (
                "assertion.l.all(a, a == 'STABLE' || a.startsWith('b'))",
                "(a == \"STABLE\") || a.startsWith(\"b\") held for every element of assertion.l",
            ),
            (
                "assertion.sub.extract('instances/{n}') == 'x'",
                "assertion.sub.extract(\"instances/{n}\"), now \"job-7\", were \"x\"",
            ),
            ("size(assertion.l.map(a, a + 'x')) == 1", "size(assertion.l.map(a, a + \"x\")), now 3, were 1"),
            ("size(assertion.l.filter(a, a != 'b')) == 1", "size(assertion.l.filter(a, a != \"b\")), now 2, were 1"),
            (
                "size(assertion.l.map(a, a != 'b', size(a))) == 1",
                "size(assertion.l.map(a, a != \"b\", size(a))), now 2, were 1",
            ),
            ("assertion.x == assertion.sub", "assertion.x were assertion.sub"),
            ("assertion.n + 1 == size(assertion.v)", "assertion.n + 1, now 4, were size(assertion.v), now 1"),
            (
                "assertion.id == 4455667788990011223",
                "assertion.id, which is a text, were compared with a text: put quotes around 4455667788990011223",
            ),
            (
                "assertion.n == '3'",
                "assertion.n, which is a number, were compared with a number: leave out the quotes of \"3\"",
            ),
            (
                "assertion.y == 'true'",
                "assertion.y, which is true or false, were compared with true: leave out the quotes of \"true\"",
            ),
            (
                "assertion.l == 'LATEST'",
                "assertion.l, which is a list, held \"LATEST\": write \"LATEST\" in assertion.l",
            ),
            (
                "assertion.m == true",
                "a part of assertion.m, which is a map, were compared: ask for it by its name, as assertion.m.memory",
            ),
            ("assertion.args[1] + '' == 'x'", "assertion.args[1] + \"\" were \"x\""),
            ("assertion.eat_nonce + '' == 'x'", "assertion.eat_nonce + \"\" were \"x\""),
            ("!!assertion.y", "assertion.y were true"),
            ("has(assertion.x) == false", "the token had no assertion.x"),
            ("has(assertion.x) != true", "the token had no assertion.x"),
            ("true == has(assertion.z)", "the token had assertion.z"),
            ("!(has(assertion.x) == true)", "the token had no assertion.x"),
            ("has(assertion.x) == has(assertion.z)", "has(assertion.x), now true, were has(assertion.z), now false"),
            ("(assertion.x == 'B') == true", "assertion.x were \"B\""),
            ("assertion.x.startsWith('A') != true", "assertion.x did not start with \"A\""),
            ("assertion.y == true", "assertion.y were true"),
            ("has(assertion.x) ? false : true", "the token had no assertion.x"),
            (
                "size(assertion.v) == '1'",
                "size(assertion.v), now 1, which is a number, were compared with a number: leave out the \
                 quotes of \"1\"",
            ),
        ] {
            assert_eq!(hint(condition), [format!("true if {expected}")], "{condition}");
        }
    }

    #[test]
    fn what_cannot_come_true_is_not_wished_for() {
        for condition in [
            "size(assertion.l) < 0",
            "0 > size(assertion.l)",
            "size(assertion.l) <= -1",
            "size(assertion.l) == -1",
            "!assertion.x.startsWith('')",
            "!(assertion.x.contains(''))",
            "!(assertion.x >= '')",
            "assertion.x in []",
            "has(assertion.x) ? false : false",
        ] {
            assert_eq!(hint(condition), [""; 0], "{condition}");
        }
        assert_eq!(hint("size(assertion.l) < 1"), ["true if size(assertion.l), now 3, were less than 1"]);
    }
}
