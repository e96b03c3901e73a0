//! What is probably wrong with a comparison of a claim: values that no token has, and values of another kind.

use super::found::{Found, Level};
use super::known::written;
use super::possible::{DEBUGGING, MODELS, SOFTWARE, SUPPORT};
use crate::attest::cel::node::{ClaimPath, Literal, Node, Operator, Variable};

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
                "submods.container.env" | "submods.container.env_override" if matches!(other, Node::Map(_)) => self.add(
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
