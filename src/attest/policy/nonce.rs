//! `eat_nonce` comes in two forms: a text when one nonce was asked for, a list when several were.

use super::found::{Found, Level};
use crate::attest::cel::node::{Node, Operator, Variable};

/// How a condition asks for nonces.
#[derive(Default)]
struct Asked {
    as_text: bool,
    as_list: bool,
    by_type: bool,
}

impl Found {
    /// Tells of a condition that knows one of the two forms only.
    pub(super) fn nonces(&mut self, root: &Node) {
        let mut asked = Asked::default();
        root.visit(&mut |node| asked.see(node));
        match asked {
            Asked { as_list: true, as_text: false, by_type: false } => self.add(
                Level::Warning,
                "nonce-form",
                "assertion.eat_nonce is asked as a list",
                "a token with one nonce has it as a text, on which the term is an error, and an error denies: \
                 write (assertion.eat_nonce == NONCE || NONCE in assertion.eat_nonce)",
            ),
            Asked { as_text: true, as_list: false, by_type: false } => self.add(
                Level::Warning,
                "nonce-form",
                "assertion.eat_nonce is asked as a text",
                "a token with several nonces has them as a list, which equals no text, \
                 and on which a text's functions are an error: write (assertion.eat_nonce == NONCE || NONCE in assertion.eat_nonce)",
            ),
            _ => {}
        }
    }
}

impl Asked {
    fn see(&mut self, node: &Node) {
        match node {
            Node::Binary { operator: Operator::In, operands } => {
                self.as_list |= is_nonce(&operands[1]);
                self.as_text |= is_nonce(&operands[0]);
            }
            Node::Binary { operator: Operator::Equal | Operator::NotEqual, operands } => {
                let [left, right] = operands.as_ref();
                let text = |nonce: &Node, other: &Node| is_nonce(nonce) && !matches!(other, Node::List(_));
                self.as_text |= text(left, right) || text(right, left);
                self.as_list |=
                    matches!((left, right), (Node::List(_), nonce) | (nonce, Node::List(_)) if is_nonce(nonce));
            }
            Node::Binary {
                operator: Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual,
                operands,
            } => self.as_text |= operands.iter().any(is_nonce),
            Node::Loop(l) => self.as_list |= is_nonce(&l.range),
            Node::Index { operand, .. } => self.as_list |= is_nonce(operand),
            Node::Pattern { subject, .. } => self.as_text |= is_nonce(subject),
            Node::Call { function, arguments } => {
                let of_nonce = arguments.iter().any(is_nonce);
                match function.name() {
                    "type" => self.by_type |= of_nonce,
                    // Of both forms.
                    "size" | "dyn" => {}
                    _ => self.as_text |= of_nonce,
                }
            }
            _ => {}
        }
    }
}

fn is_nonce(node: &Node) -> bool {
    node.path().is_some_and(|path| path.variable == Variable::Assertion && path.segments == ["eat_nonce"])
}

#[cfg(test)]
mod tests {
    use crate::attest::policy::Policy;
    use crate::attest::policy::lint::lint;

    #[test]
    fn a_nonce_is_a_text_or_one_of_a_list() {
        for (term, told) in [
            ("'n1' in assertion.eat_nonce", Some("asked as a list")),
            ("assertion.eat_nonce.exists(n, n == 'n1')", Some("asked as a list")),
            ("assertion.eat_nonce == ['n1', 'n2']", Some("asked as a list")),
            ("assertion.eat_nonce == 'n1'", Some("asked as a text")),
            ("assertion.eat_nonce in ['n1', 'n2']", Some("asked as a text")),
            ("assertion.eat_nonce[0] == 'n1'", Some("asked as a list")),
            ("assertion.eat_nonce.startsWith('n')", Some("asked as a text")),
            ("assertion.eat_nonce.matches('^n[0-9]$')", Some("asked as a text")),
            ("'n1, n2'.contains(assertion.eat_nonce)", Some("asked as a text")),
            ("string(assertion.eat_nonce) == 'n1'", Some("asked as a text")),
            ("assertion.eat_nonce >= 'n1'", Some("asked as a text")),
            ("assertion.eat_nonce.size() == 2", None),
            ("(assertion.eat_nonce == 'n1' || 'n1' in assertion.eat_nonce)", None),
            ("(assertion.eat_nonce.startsWith('n') || assertion.eat_nonce[0].startsWith('n'))", None),
            ("(type(assertion.eat_nonce) == list ? 'n1' in assertion.eat_nonce : false)", None),
            ("has(assertion.eat_nonce)", None),
        ] {
            let text = format!("audiences: [a]\ncondition: |\n  assertion.swname == 'GCE' && {term}\n");
            let found = lint(&Policy::read(&text, "p").unwrap());
            let said: Vec<&String> =
                found.iter().filter(|remark| remark.rule == "nonce-form").map(|remark| &remark.message).collect();
            assert_eq!(said.len(), usize::from(told.is_some()), "{term}: {said:?}");
            assert!(said.iter().all(|said| said.contains(told.unwrap_or_default())), "{term}: {said:?}");
        }
    }
}
