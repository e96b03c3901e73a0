//! What each way through a condition asks for. `project == 'p' || secboot` asks for a project in one of its two ways
//! only, so that it asks for none; and `project != 'p'` is true of every stranger's.

use std::collections::BTreeSet;

use super::Mapping;
use super::strangers::{Said, Strangers};
use crate::attest::cel::node::{ClaimPath, Literal, Node, Operator, Variable};

/// What one way asks for: a set of the constants here.
pub(super) type Guards = u32;

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
/// Confidential Space, perhaps among others: only that has debug images.
pub(super) const SPACE: Guards = 1 << 7;

/// Which family, otherwise than by the software's name.
pub(super) const FAMILY: Guards = 1 << 16;

/// Which image, somehow.
pub(super) const IMAGE: Guards = DIGEST | REFERENCE | SIGNED;

/// The same, named by a term, whether that asks for it or is true of strangers too.
pub(super) fn names(guards: Guards) -> Guards {
    guards << 8
}

/// Every way in which `condition` can be true, by what it asks for.
pub(super) fn ways(condition: &Node, mapping: &Mapping) -> BTreeSet<Guards> {
    Asking { mapping, strangers: Strangers::of(mapping) }.of(condition).to_truth
}

/// The ways through a term.
struct Ways {
    to_truth: BTreeSet<Guards>,
    to_falsehood: BTreeSet<Guards>,
}

struct Asking<'m> {
    mapping: &'m Mapping,
    strangers: Strangers<'m>,
}

impl Asking<'_> {
    /// Both at once: looking at each by itself would take twice as long with every condition within a condition.
    fn of(&self, node: &Node) -> Ways {
        let nothing = || BTreeSet::from([0]);
        match node {
            Node::And(parts) | Node::Or(parts) => {
                let parts: Vec<Ways> = parts.iter().map(|part| self.of(part)).collect();
                let to_truth = parts.iter().map(|part| &part.to_truth);
                let to_falsehood = parts.iter().map(|part| &part.to_falsehood);
                if matches!(node, Node::And(_)) {
                    Ways {
                        to_truth: to_truth.fold(nothing(), |all, part| both(&all, part)),
                        to_falsehood: any(to_falsehood),
                    }
                } else {
                    Ways {
                        to_truth: any(to_truth),
                        to_falsehood: to_falsehood.fold(nothing(), |all, part| both(&all, part)),
                    }
                }
            }
            Node::Not(inner) => {
                let Ways { to_truth, to_falsehood } = self.of(inner);
                Ways { to_truth: to_falsehood, to_falsehood: to_truth }
            }
            Node::Conditional(parts) => {
                let [asked, then, otherwise] = parts.as_ref().each_ref().map(|part| self.of(part));
                let joined = |then, otherwise| {
                    any([&both(&asked.to_truth, then), &both(&asked.to_falsehood, otherwise)].into_iter())
                };
                Ways {
                    to_truth: joined(&then.to_truth, &otherwise.to_truth),
                    to_falsehood: joined(&then.to_falsehood, &otherwise.to_falsehood),
                }
            }
            term => match term.constant() {
                Some(true) => Ways { to_truth: nothing(), to_falsehood: BTreeSet::new() },
                Some(false) => Ways { to_truth: BTreeSet::new(), to_falsehood: nothing() },
                None => {
                    let found = named(term)
                        .iter()
                        .fold(asks_for_there(term), |found, path| found | guard(path) | self.mapped(path));
                    let told = self.strangers.asked(term);
                    let vm = if is_plain_vm(term) { PLAIN_VM } else { 0 };
                    Ways {
                        to_truth: BTreeSet::from([vm | self.asked(term, found, told, true)]),
                        to_falsehood: BTreeSet::from([self.asked(term, found, told, false)]),
                    }
                }
            },
        }
    }

    /// What is asked for of what is named, when a term is to be so and says this of strangers.
    fn asked(&self, term: &Node, found: Guards, told: Said, truth: bool) -> Guards {
        let passes = |said: Option<bool>| said == Some(truth);
        let strangers = passes(told.debug) || passes(told.last) || passes(told.software);
        // A term that experimental images pass and stable ones do not keeps no image out that is not meant to run.
        let debug = passes(told.debug) || (passes(told.last) && !passes(told.production));
        let owner = found & OWNER;
        let mut asked = names(found);
        asked |= if passes(told.software) { 0 } else { found & SOFTWARE };
        asked |= if debug { 0 } else { found & PRODUCTION };
        asked |= if strangers { 0 } else { found & IMAGE };
        asked |= if owner == 0 || strangers || self.strangers.alike(term, truth) { 0 } else { owner };
        let space = passes(told.debug) && (found & SOFTWARE != 0 || !passes(told.vm));
        let apart = passes(told.vm) && !passes(told.debug) && !passes(told.production);
        asked |= if apart { FAMILY } else { found & FAMILY };
        asked | if space { SPACE } else { 0 }
    }

    /// What a mapped attribute was made of.
    fn mapped(&self, path: &ClaimPath) -> Guards {
        let Some(name) = path.segments.first().filter(|_| path.variable != Variable::Assertion) else { return 0 };
        let key = format!("{}.{name}", path.variable.name());
        let made_of = self.mapping.entries().filter(|(mapped, _)| *mapped == key);
        made_of.flat_map(|(_, expression)| named(expression.root())).fold(0, |found, path| found | guard(&path))
    }
}

fn any<'a>(parts: impl Iterator<Item = &'a BTreeSet<Guards>>) -> BTreeSet<Guards> {
    parts.flatten().copied().collect()
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

/// Debug images are told by what their tokens leave out, too.
fn asks_for_there(term: &Node) -> Guards {
    match term.path().filter(|_| matches!(term, Node::Has { .. })) {
        Some(path) => guard(&path) & PRODUCTION,
        None => 0,
    }
}

fn guard(path: &ClaimPath) -> Guards {
    let one = |segment: &String| match segment.as_str() {
        "swname" => SOFTWARE,
        "image_digest" => DIGEST,
        "image_reference" => REFERENCE,
        "image_signatures" | "image_id" => SIGNED,
        "eat_profile" => FAMILY,
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
