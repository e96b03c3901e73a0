//! What is probably wrong with a policy, and why it matters.

use std::collections::HashSet;

use super::accepted::GOOGLE;
use super::anchor::anchored;
use super::compared::{number, texts};
use super::found::{Found, Level, Remark};
use super::known::{self, SUPPORT};
use super::length::longest;
use super::mapping::SUBJECT_BYTES;
use super::overrides::OVERRIDES;
use super::{Off, Policy};
use crate::attest::cel::node::{ClaimPath, Literal, Loop, Macro, Node, Operator, Variable};
use crate::attest::cel::pattern_problem;
use crate::calls::may_carry_a_token;

/// The audience of Google's own token service.
pub const STS: &str = "https://sts.googleapis.com";

/// The image as its operator wrote it.
const REFERENCE: &str = "submods.container.image_reference";

/// Looks at a policy.
pub fn lint(policy: &Policy) -> Vec<Remark> {
    let claims = policy.condition.whole.root().claims();
    let google = policy.issuer == GOOGLE;
    let mut found = Found { remarks: Vec::new(), claims, google, compared: HashSet::new() };
    for (_, expression) in policy.mapping.entries() {
        found.claims.extend(expression.root().claims());
    }
    let root = policy.condition.whole.root();
    root.visit(&mut |node| found.node(node, root));
    found.overrides(root);
    found.impossible(policy, root);
    if found.google {
        found.developing(root);
        found.nonces(root);
    }
    found.names();
    for expression in policy.mapping.entries().map(|(_, expression)| expression.root()).chain([root]) {
        found.elements(expression);
    }
    found.listed();
    found.missing(policy, root);
    found.attributes(policy, root);
    found.around(policy);
    found.remarks.sort_by_key(|remark| std::cmp::Reverse(remark.level));
    found.remarks.dedup();
    found.remarks
}

impl Found {
    fn node(&mut self, node: &Node, root: &Node) {
        match node {
            Node::Binary { operator, operands } => self.comparison(*operator, &operands[0], &operands[1]),
            Node::Has { operand, field } => self.has(operand, field, root),
            Node::Pattern { source, .. } if !anchored(source) => self.add(
                Level::Warning,
                "unanchored-pattern",
                format!("the pattern {source:?} is not anchored"),
                "matches() looks for the pattern anywhere in the text: write ^...$, and ^(...|...)$ around alternatives, \
                 as ^ and $ belong to the first and last of them only",
            ),
            Node::Call { function, arguments } if function.name() == "matches" => self.pattern(arguments),
            Node::Call { function, arguments }
                if function.name() == "contains" && is_claim(&arguments[0], REFERENCE) =>
            {
                self.add(
                    Level::Warning,
                    "image-reference-contains",
                    "image_reference is searched with contains()",
                    "any registry can hold an image whose name contains that text: compare image_digest",
                )
            }
            Node::Loop(l) if matches!(l.kind, Macro::Exists | Macro::ExistsOne) && looks_for_latest(l) => {
                self.latest_image();
            }
            Node::Loop(l) if l.kind == Macro::All && l.range.path().is_some() && !sized(root, &l.range) => self.add(
                Level::Note,
                "all-of-nothing",
                "all() over a claim that may be an empty list",
                "all() of an empty list is true: also ask that size() is more than 0",
            ),
            _ => {}
        }
    }

    /// A literal pattern that compiles is no call any more.
    fn pattern(&mut self, arguments: &[Node]) {
        if let [_, Node::Literal(Literal::Text(source))] = arguments
            && let Some(problem) = pattern_problem(source)
        {
            self.add(
                Level::Error,
                "invalid-pattern",
                format!("the pattern {source:?} {problem}"),
                "the term is an error for every token, and an error denies",
            );
        }
    }

    /// `google` and `attribute` have only what the mapping gives them, and nothing while it is being made.
    fn attributes(&mut self, policy: &Policy, root: &Node) {
        let mapped: Vec<&str> = policy.mapping.entries().map(|(key, _)| key).collect();
        let in_mapping = policy.mapping.entries().flat_map(|(_, expression)| expression.root().claims());
        let lacking = root.claims().into_iter().filter(|path| {
            let key = path.segments.first().map(|name| format!("{}.{name}", path.variable.name()));
            key.is_some_and(|key| !mapped.contains(&key.as_str()))
        });
        let attribute = |path: &ClaimPath| path.variable != Variable::Assertion;
        let paths: Vec<ClaimPath> = lacking.chain(in_mapping).filter(attribute).collect();
        for path in paths {
            self.add(
                Level::Error,
                "unmapped-attribute",
                format!("{path} is not mapped"),
                "google and attribute hold what the mapping makes of assertion, and nothing else: without it the term is an \
                 error, and an error denies",
            );
        }
    }

    fn has(&mut self, operand: &Node, field: &str, root: &Node) {
        const MAY_LACK: [&str; 5] =
            [OVERRIDES[0], OVERRIDES[1], "tdx", "submods.nvidia_gpu", "submods.confidential_space"];
        let Some(parent) = operand.path().filter(|path| path.variable == Variable::Assertion) else { return };
        if MAY_LACK.contains(&known::written(&parent.segments).as_str()) && !root.asks_has(&parent) {
            self.add(
                Level::Warning,
                "has-of-absent-parent",
                format!("has({parent}.{field}) is an error when {parent} is not there"),
                "has() only forgives the last name: write (!has(PARENT) || ...), with the parent asked for first",
            );
        }
    }

    /// Claims that no token is known to have. What other issuers' tokens have is not known.
    fn names(&mut self) {
        let google = self.google;
        for path in self.claims.clone().into_iter().filter(|_| google) {
            if path.variable == Variable::Assertion && !known::is_known(&path.segments) {
                let near = known::meant(&path.segments).map_or(String::new(), |near| {
                    format!("; did you mean assertion.{}?", known::spelled(near, &path.segments))
                });
                self.unknown(&path.segments, format!("{path} is not a known claim{near}"));
            }
        }
    }

    pub(super) fn unknown(&mut self, segments: &[String], message: String) {
        let level = if known::is_growing(segments) { Level::Note } else { Level::Warning };
        self.add(
            level,
            "unknown-claim",
            message,
            "a claim that is not there makes the term an error, and an error denies",
        );
    }

    fn around(&mut self, policy: &Policy) {
        if let Some(off) = policy.off {
            self.add(
                Level::Warning,
                "provider-off",
                off.to_string(),
                match off {
                    Off::Disabled => {
                        "it denies every token, whatever its condition says: enable it, and save what gcloud prints then"
                    }
                    Off::Deleted => {
                        "it denies every token, whatever its condition says: undelete it within 30 days (gcloud iam \
                         workload-identity-pools providers undelete), and save what gcloud prints then"
                    }
                },
            );
        }
        for (key, expression) in policy.mapping.entries().filter(|_| policy.attests()) {
            if key == "google.subject" && longest(expression.root()) > SUBJECT_BYTES {
                let long = expression.root().claims().into_iter().map(|path| path.to_string());
                self.add(
                    Level::Warning,
                    "long-subject",
                    format!("google.subject is made of {}", long.collect::<Vec<_>>().join(", ")),
                    "that can exceed 127 bytes, and such credentials are refused: \
                     use \"gcpcs::\" + image_digest + \"::\" + project_number + \"::\" + instance_id",
                );
            }
        }
        if policy.keys.is_none() && url::Url::parse(&policy.issuer).is_ok_and(|url| !may_carry_a_token(&url)) {
            self.add(
                Level::Error,
                "issuer-address",
                format!("the issuer {} is neither https nor on this machine", policy.issuer),
                "whoever can change keys on their way can sign any token, so such keys are not asked for: serve refuses the \
                 policy",
            );
        }
        if policy.attests() && policy.audiences.iter().any(|audience| audience.trim_end_matches('/') == STS) {
            self.add(
                Level::Note,
                "shared-audience",
                format!("{STS} is an accepted audience"),
                "every workload's default token has it, so a token made for Google's token service can be used here",
            );
        }
    }
}

/// `support_attributes.exists(a, a == "LATEST")`.
fn looks_for_latest(l: &Loop) -> bool {
    let element = |node: &Node| matches!(node, Node::Local { slot, .. } if *slot == l.slot);
    let mut found = false;
    let mut see = |node: &Node| {
        if let Node::Binary { operator: Operator::Equal | Operator::In, operands } = node {
            let [left, right] = operands.as_ref();
            let latest = |node: &Node| texts(node).contains(&"LATEST");
            found |= (element(left) && latest(right)) || (element(right) && latest(left));
        }
    };
    if is_claim(&l.range, SUPPORT)
        && let Some(condition) = &l.condition
    {
        condition.visit(&mut see);
    }
    found
}

/// Whether the size of a claim is compared with something.
fn sized(root: &Node, claim: &Node) -> bool {
    let of_claim = |node: &Node| match node {
        Node::Call { function, arguments } => function.name() == "size" && arguments[0].path() == claim.path(),
        _ => false,
    };
    let mut found = false;
    root.visit(&mut |node| {
        if let Node::Binary { operands, .. } = node {
            let [left, right] = operands.as_ref();
            found |= (of_claim(left) && number(right)) || (number(left) && of_claim(right));
        }
    });
    found
}

/// Whether a node is the claim with this path.
fn is_claim(node: &Node, claim: &str) -> bool {
    let own = |path: &ClaimPath| path.variable == Variable::Assertion && known::written(&path.segments) == claim;
    node.path().as_ref().is_some_and(own)
}

#[cfg(test)]
mod real;
#[cfg(test)]
mod tests;
