//! What is asked of the elements of a list, by the variable of a macro: `s.key_id` in
//! `image_signatures.exists(s, s.key_id == 'x')`.

use std::collections::HashMap;

use super::found::Found;
use super::known;
use super::spoken::spoken;
use crate::attest::cel::node::{ClaimPath, Literal, Macro, Node, Variable};

/// What the variables of macros go over, by their places.
type Ranges = HashMap<usize, ClaimPath>;

impl Found {
    /// Tells of claims that no element of a known list has.
    pub(super) fn elements(&mut self, root: &Node) {
        let (mut ranges, mut waiting) = (Ranges::new(), vec![root]);
        while let Some(node) = waiting.pop() {
            if let Node::Loop(l) = node
                && let Some(path) = claim(&l.range, &ranges)
            {
                ranges.insert(l.slot, path);
            }
            match (variable(node), claim(node, &ranges)) {
                (Some((slot, name)), Some(path)) if !matches!(node, Node::Local { .. }) => {
                    if let Some(list) = ranges.get(&slot) {
                        self.element(node, name, list, &path);
                    }
                }
                _ => waiting.extend(node.children().into_iter().rev()),
            }
        }
    }

    fn element(&mut self, node: &Node, name: &str, list: &ClaimPath, path: &ClaimPath) {
        // What is unknown itself is told once.
        if list.variable != Variable::Assertion
            || !self.google
            || !known::is_known(&list.segments)
            || known::is_known(&path.segments)
        {
            return;
        }
        let own = format!("{}[].", known::written(&list.segments));
        let near = known::meant(&path.segments).map_or(String::new(), |meant| match meant.strip_prefix(&own) {
            Some(member) => format!("; did you mean {name}.{member}?"),
            None => format!("; did you mean assertion.{}?", known::spelled(meant, &path.segments)),
        });
        let said = spoken(node);
        self.unknown(&path.segments, format!("{said} is not a known claim of an element of {list}{near}"));
    }
}

/// The variable of a macro that something is asked of.
fn variable(node: &Node) -> Option<(usize, &str)> {
    match node {
        Node::Local { slot, name } => Some((*slot, name)),
        Node::Select { operand, .. } | Node::Has { operand, .. } | Node::Index { operand, .. } => variable(operand),
        _ => None,
    }
}

/// The claim that a node names, also by the variable of a macro: then of the first element.
fn claim(node: &Node, ranges: &Ranges) -> Option<ClaimPath> {
    let below = |operand: &Node, segment: String| {
        let mut path = claim(operand, ranges)?;
        path.segments.push(segment);
        Some(path)
    };
    match node {
        Node::Local { slot, .. } => {
            let mut path = ranges.get(slot)?.clone();
            path.segments.push("0".to_owned());
            Some(path)
        }
        Node::Select { operand, field } | Node::Has { operand, field } => below(operand, field.clone()),
        Node::Index { operand, index } => match index.as_ref() {
            Node::Literal(Literal::Text(key)) => below(operand, key.clone()),
            Node::Literal(Literal::Int(at)) => below(operand, at.to_string()),
            _ => None,
        },
        // A filter leaves the elements as they are.
        Node::Loop(l) if l.kind == Macro::Collect => match &l.transform {
            Some(Node::Local { slot, .. }) if *slot == l.slot => claim(&l.range, ranges),
            _ => None,
        },
        node => node.path(),
    }
}

#[cfg(test)]
mod tests {
    use crate::attest::policy::Policy;
    use crate::attest::policy::lint::lint;

    #[test]
    fn what_elements_have_is_known() {
        let signatures = "assertion.submods.container.image_signatures";
        for (term, near) in [
            (format!("{signatures}[0].key_id == 'k'"), None),
            (format!("{signatures}[1]['signature_algorithm'] == 'ECDSA_P256_SHA256'"), None),
            ("assertion.tdx[0].gcp_attester_tcb_status == 'UpToDate'".to_owned(), None),
            ("assertion.tdx.gcp_attester_tcb_status == 'UpToDate'".to_owned(), None),
            ("assertion.google_service_accounts[0] == 'a'".to_owned(), None),
            (format!("{signatures}.exists(s, s.key_id == 'k' && has(s.signature))"), None),
            ("assertion.tdx.exists(t, t.gcp_attester_tcb_status == 'UpToDate')".to_owned(), None),
            (
                format!("{signatures}[2].keyid == 'k'"),
                Some("did you mean assertion.submods.container.image_signatures[2].key_id?"),
            ),
            (format!("{signatures}.key_id == 'k'"), Some("image_signatures[0].key_id?")),
            (format!("{signatures}.exists(s, s.keyid == 'k')"), Some("s.keyid is not a known claim of an element")),
            (format!("{signatures}.exists(s, s.keyid == 'k')"), Some("did you mean s.key_id?")),
            (format!("{signatures}.all(s, [1].exists(n, s['key_idd'] == 'k'))"), Some("did you mean s.key_id?")),
            (
                format!("{signatures}.filter(s, s.key_id == 'k').exists(t, t.keyid == 'k')"),
                Some("did you mean t.key_id?"),
            ),
            ("assertion.google_service_accounts.exists(a, a.email == 'a')".to_owned(), Some("google_service_accounts")),
        ] {
            let text = format!("audiences: [a]\ncondition: |\n  {term}\n");
            let found = lint(&Policy::read(&text, "p").unwrap());
            let told: Vec<&String> =
                found.iter().filter(|remark| remark.rule == "unknown-claim").map(|remark| &remark.message).collect();
            match near {
                None => assert!(told.is_empty(), "{term}: {told:?}"),
                Some(near) => assert!(told.len() == 1 && told[0].contains(near), "{term}: {told:?}"),
            }
        }
    }
}
