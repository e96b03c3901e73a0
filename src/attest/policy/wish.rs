//! What would make a term true, said in words.

use serde_json::Value as Json;

use super::known::takes_secret;
use super::spoken::spoken;
use crate::attest::cel::node::{Literal, Loop, Macro, Node, Operator, Variable};
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
                let wanted = self.clause(if is { then } else { otherwise }, so)?;
                format!("{wanted}, as long as {} is {is}", spoken(asked))
            }
            Node::Binary { operator, operands } => return self.compared(*operator, operands, so),
            Node::Has { operand, .. } if operand.path().is_some_and(|path| path.variable != Variable::Assertion) => {
                format!("the attribute mapping made {}{}", if so { "" } else { "no " }, path_or_text(node))
            }
            Node::Has { .. } => format!("the token had {}{}", if so { "" } else { "no " }, path_or_text(node)),
            Node::Pattern { subject, source, .. } if so => format!("{} matched {source:?}", self.subject(subject)),
            Node::Pattern { subject, source, .. } => format!("{} did not match {source:?}", self.subject(subject)),
            Node::Call { function, arguments } => match (function.name(), arguments.as_slice()) {
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
        let object = if fixed(object) { spoken(object) } else { self.subject(object) };
        Some(format!("{} {verb} {}", self.subject(subject), object.trim_end_matches(',')))
    }

    /// A text is never equal to a number, whatever both of them are.
    fn of_another_kind(&self, operator: Operator, subject: &Node, object: &Node) -> Option<String> {
        let path = subject.path()?;
        let number =
            |node: &Node| matches!(node, Node::Literal(Literal::Int(_) | Literal::Uint(_) | Literal::Double(_)));
        match (path.resolve(self.scope.root(path.variable))?, object) {
            (Json::String(_), literal) if number(literal) => Some(format!(
                "{path}, which is a text, were compared with a text: put quotes around {}",
                spoken(literal)
            )),
            (Json::String(_), Node::List(items)) if !items.is_empty() && items.iter().all(number) => {
                Some(format!("{path}, which is a text, were looked for among texts: put quotes around the numbers"))
            }
            (Json::Number(_), Node::Literal(Literal::Text(text))) if text.parse::<f64>().is_ok() => Some(format!(
                "{path}, which is a number, were compared with a number: leave out the quotes of {text:?}"
            )),
            (Json::Bool(_), Node::Literal(Literal::Text(text))) if matches!(text.as_str(), "true" | "false") => Some(
                format!("{path}, which is true or false, were compared with {text}: leave out the quotes of {text:?}"),
            ),
            (Json::Array(_), Node::Literal(Literal::Text(text))) if operator == Operator::Equal => {
                Some(format!("{path}, which is a list, held {text:?}: write {text:?} in {path}"))
            }
            (Json::Object(parts), Node::Literal(literal))
                if operator == Operator::Equal && *literal != Literal::Null =>
            {
                let name = parts.keys().next().filter(|_| parts.len() == 1);
                let such = name.map_or(String::new(), |name| format!(", as {path}.{name}"));
                Some(format!("a part of {path}, which is a map, were compared: ask for it by its name{such}"))
            }
            _ => None,
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
        match (node.path(), self.present(node)) {
            (Some(path), _) => path.to_string(),
            (None, Some(value)) => format!("{}, now {value},", spoken(node)),
            (None, None) => spoken(node),
        }
    }

    /// The present value, unless it is none that a sentence can hold, or one that must not be shown.
    fn present(&mut self, node: &Node) -> Option<String> {
        let mapped = |node: &Node| node.claims().iter().any(|path| path.variable != Variable::Assertion);
        if !self.values || node.path().is_some() || fixed(node) || mapped(node) {
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
        ] {
            assert_eq!(hint(condition), [format!("true if {expected}")], "{condition}");
        }
    }
}
