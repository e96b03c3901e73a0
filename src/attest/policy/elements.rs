//! What is asked of the elements of a list, by the variable of a macro: `s.key_id` in
//! `image_signatures.exists(s, s.key_id == 'x')`.

use std::collections::HashMap;

use super::found::{Found, Level};
use super::known;
use super::spoken::spoken;
use crate::attest::cel::node::{ClaimPath, Literal, Macro, Node, Variable};

const TDX: [&str; 1] = ["tdx"];
const TDX_IS: &str = "Google documents it as a list, but in its tokens it is a map: the term is an error for every TDX \
                      machine, and an error denies; write assertion.tdx.NAME";

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

    /// Tells of places in `tdx`, unless the expression looks at it as a map too.
    pub(super) fn listed(&mut self) {
        let of_tdx = |path: &&ClaimPath| {
            path.variable == Variable::Assertion && path.segments.first().is_some_and(|name| name == TDX[0])
        };
        let (listed, plain): (Vec<_>, Vec<_>) =
            self.claims.iter().filter(of_tdx).filter(|path| path.segments.len() > 1).partition(|path| is_place(path));
        if let (Some(path), [], true) = (listed.first(), plain.as_slice(), self.google) {
            let message = format!("{path} takes assertion.tdx for a list");
            self.add(Level::Warning, "tdx-is-a-map", message, TDX_IS);
        }
    }

    fn element(&mut self, node: &Node, name: &str, list: &ClaimPath, path: &ClaimPath) {
        let of_tdx = list.segments == TDX && list.variable == Variable::Assertion;
        if of_tdx && self.google && known::is_known(&path.segments) {
            self.add(Level::Warning, "tdx-is-a-map", format!("{} takes {list} for a list", spoken(node)), TDX_IS);
        }
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

/// Whether what is asked for in `tdx` is an element of a list.
fn is_place(path: &ClaimPath) -> bool {
    path.segments.get(1).is_some_and(|segment| segment.bytes().all(|b| b.is_ascii_digit()))
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
    fn tdx_as_a_list_denies_what_has_it_as_a_map() {
        let listed = "assertion.tdx[0].gcp_attester_tcb_status == 'UpToDate'";
        let plain = "assertion.tdx.gcp_attester_tcb_status == 'UpToDate'";
        let told = |condition: &str| {
            let text = format!("audiences: [a]\ncondition: |\n  {condition}\n");
            let found = lint(&Policy::read(&text, "p").unwrap());
            found.iter().filter(|remark| remark.rule == "tdx-is-a-map").count()
        };
        assert_eq!(told(listed), 1);
        assert_eq!(told("assertion.tdx.exists(t, t.gcp_attester_tcb_status == 'UpToDate')"), 1);
        assert_eq!(told(plain), 0);
        assert_eq!(told("assertion.tdx.exists(name, name == 'gcp_attester_tcb_status')"), 0);
        assert_eq!(told(&format!("({plain} || {listed})")), 0, "it takes either");
        assert_eq!(told(&format!("has(assertion.tdx) && {listed}")), 1);
    }

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
