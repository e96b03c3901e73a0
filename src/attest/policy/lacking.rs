//! What nothing in a condition asks for, or not every way through it; and what is the same for every token.

use super::found::{Found, Level};
use super::guards::{
    DIGEST, FAMILY, Guards, IMAGE, OWNER, PLAIN_VM, PRODUCTION, REFERENCE, SOFTWARE, SPACE, names, ways,
};
use super::{Family, Policy};
use crate::attest::cel::node::{Literal, Node};

impl Found {
    /// Whether the condition is the same for every token; and its terms that are.
    fn constants(&mut self, policy: &Policy, root: &Node) -> bool {
        let told = match root.constant() {
            Some(true) => "the condition is always true",
            Some(false) => "the condition is always false",
            None if root.claims().is_empty() => "the condition looks at no claim",
            None => "",
        };
        if !told.is_empty() {
            // To deny all in so many words is meant.
            let plain_no = matches!(root, Node::Literal(Literal::Bool(false)));
            let level = if plain_no { Level::Note } else { Level::Error };
            self.add(level, "constant-condition", told, "it is the same for every token");
        }
        let terms = policy.condition.terms.iter().filter(|_| policy.condition.terms.len() > 1);
        for (term, value) in terms.filter_map(|term| Some((term, term.root().constant()?))) {
            self.add(
                Level::Warning,
                "constant-condition",
                format!("the term {} is always {value}", term.source),
                "a term that looks at no claim decides nothing, or it decides alone: leave it out",
            );
        }
        !told.is_empty()
    }

    /// What nothing asks for, or not every way through the condition.
    pub(super) fn missing(&mut self, policy: &Policy, root: &Node) {
        if self.constants(policy, root) || !policy.attests() {
            return;
        }
        let ways: Vec<Guards> = ways(root, &policy.mapping).into_iter().collect();
        let space = |way: &Guards| match policy.family {
            Family::ConfidentialSpace => true,
            Family::ConfidentialVm => false,
            // Who does not ask which software it is lets Confidential Space pass too.
            Family::Any => way & SPACE != 0 || way & (SOFTWARE | FAMILY) == 0,
        };
        if policy.family == Family::Any {
            self.lacking(
                &ways,
                |way| way & SOFTWARE == 0,
                SOFTWARE,
                "no-software-name",
                "asks for swname",
                "Confidential VM tokens share issuer and keys with Confidential Space, and say nothing about the software",
            );
        }
        self.lacking(
            &ways,
            |way| way & PRODUCTION == 0 && (space(way) || way & names(DIGEST | REFERENCE) != 0),
            PRODUCTION,
            "debug-image-passes",
            "asks for dbgstat or support_attributes",
            "a debug image lets its operator into the running workload",
        );
        if ways.iter().any(|way| way & IMAGE == REFERENCE) {
            self.add(
                Level::Warning,
                "image-by-tag",
                "image_reference is the only check of the image",
                "a tag can be moved to another image at any time: compare image_digest or signatures",
            );
        }
        if ways.iter().any(|way| way & names(IMAGE) != 0) {
            self.lacking(
                &ways,
                |way| way & (IMAGE | PLAIN_VM) == 0,
                IMAGE,
                "any-image",
                "asks for an image",
                "that lets every image pass, whatever else is asked for",
            );
        }
        self.lacking(
            &ways,
            |way| way & OWNER == 0,
            OWNER,
            "any-project",
            "asks whose machine it is",
            "without a service account or project, machines of every customer pass",
        );
    }

    /// Tells of the ways that lack what is wanted, and whether they seem to have it.
    fn lacking(
        &mut self,
        ways: &[Guards],
        lacks: impl Fn(&Guards) -> bool,
        wanted: Guards,
        rule: &'static str,
        what: &str,
        why: &'static str,
    ) {
        let lacking: Vec<&Guards> = ways.iter().filter(|way| lacks(way)).collect();
        if lacking.is_empty() {
            return;
        }
        let who = if lacking.len() == ways.len() { "nothing" } else { "not every branch of the condition" };
        let seems = lacking.iter().any(|way| **way & names(wanted) != 0);
        let seems = if seems { ": what is said of it is true of strangers too" } else { "" };
        self.add(Level::Warning, rule, format!("{who} {what}{seems}"), why);
    }
}
