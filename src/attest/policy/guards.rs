//! What each way through a condition asks for. `project == 'p' || secboot` asks for a project in one of its two ways
//! only, so that it asks for none.

use std::collections::BTreeSet;

use super::Mapping;
use crate::attest::cel::node::{ClaimPath, Literal, Node, Operator, Variable};

/// What one way asks for: a set of the constants here.
pub(super) type Guards = u16;

/// Which software.
pub(super) const SOFTWARE: Guards = 1;
/// Which image, by digest.
pub(super) const DIGEST: Guards = 1 << 1;
/// Which image, by name and tag.
pub(super) const REFERENCE: Guards = 1 << 2;
/// Which image, by who signed it or its id.
pub(super) const SIGNED: Guards = 1 << 3;
/// No debug image.
pub(super) const PRODUCTION: Guards = 1 << 4;
/// Whose machine.
pub(super) const OWNER: Guards = 1 << 5;
/// A plain VM, which has no image.
pub(super) const PLAIN_VM: Guards = 1 << 6;

/// Which image, somehow.
pub(super) const IMAGE: Guards = DIGEST | REFERENCE | SIGNED;

/// Every way in which `condition` can be true, by what it asks for.
pub(super) fn ways(condition: &Node, mapping: &Mapping) -> BTreeSet<Guards> {
    Ways { mapping }.of(condition, true)
}

struct Ways<'m> {
    mapping: &'m Mapping,
}

impl Ways<'_> {
    /// The ways in which `node` becomes `truth`.
    fn of(&self, node: &Node, truth: bool) -> BTreeSet<Guards> {
        match node {
            Node::And(parts) | Node::Or(parts) => {
                let parts = parts.iter().map(|part| self.of(part, truth));
                if matches!(node, Node::And(_)) == truth {
                    parts.fold(BTreeSet::from([0]), |all, part| both(&all, &part))
                } else {
                    parts.flatten().collect()
                }
            }
            Node::Not(inner) => self.of(inner, !truth),
            Node::Conditional(parts) => {
                let [asked, then, otherwise] = parts.as_ref();
                let then = both(&self.of(asked, true), &self.of(then, truth));
                let otherwise = both(&self.of(asked, false), &self.of(otherwise, truth));
                then.union(&otherwise).copied().collect()
            }
            term => match term.constant() {
                Some(value) if value == truth => BTreeSet::from([0]),
                Some(_) => BTreeSet::new(),
                None => BTreeSet::from([self.asked(term, truth)]),
            },
        }
    }

    fn asked(&self, term: &Node, truth: bool) -> Guards {
        let vm = if truth && is_plain_vm(term) { PLAIN_VM } else { 0 };
        named(term).iter().fold(vm, |found, path| found | guard(path) | self.mapped(path))
    }

    /// What a mapped attribute was made of.
    fn mapped(&self, path: &ClaimPath) -> Guards {
        let Some(name) = path.segments.first().filter(|_| path.variable != Variable::Assertion) else { return 0 };
        let key = format!("{}.{name}", path.variable.name());
        let made_of = self.mapping.entries().filter(|(mapped, _)| *mapped == key);
        made_of.flat_map(|(_, expression)| named(expression.root())).fold(0, |found, path| found | guard(&path))
    }
}

fn both(left: &BTreeSet<Guards>, right: &BTreeSet<Guards>) -> BTreeSet<Guards> {
    left.iter().flat_map(|one| right.iter().map(move |other| one | other)).collect()
}

/// The claims whose values a term looks at. That a claim is there says nothing about its value.
fn named(term: &Node) -> Vec<ClaimPath> {
    let (mut found, mut waiting) = (Vec::new(), vec![term]);
    while let Some(node) = waiting.pop() {
        match node.path() {
            _ if matches!(node, Node::Has { .. }) => {}
            Some(path) if !path.segments.is_empty() => found.push(path),
            _ => waiting.extend(node.children()),
        }
    }
    found
}

fn guard(path: &ClaimPath) -> Guards {
    let one = |segment: &String| match segment.as_str() {
        "swname" => SOFTWARE,
        "image_digest" => DIGEST,
        "image_reference" => REFERENCE,
        "image_signatures" | "image_id" => SIGNED,
        "dbgstat" | "support_attributes" => PRODUCTION,
        "google_service_accounts" | "project_id" | "project_number" | "sub" | "instance_id" | "subject" => OWNER,
        _ => 0,
    };
    path.segments.iter().fold(0, |found, segment| found | one(segment))
}

fn is_plain_vm(term: &Node) -> bool {
    let Node::Binary { operator: Operator::Equal, operands } = term else { return false };
    let [left, right] = operands.as_ref();
    let names = |node: &Node| node.path().is_some_and(|path| path.segments == ["swname"]);
    let gce = |node: &Node| matches!(node, Node::Literal(Literal::Text(text)) if text == "GCE");
    (names(left) && gce(right)) || (gce(left) && names(right))
}
