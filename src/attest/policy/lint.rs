//! What is probably wrong with a policy, and why it matters.

use serde::Serialize;

use super::Policy;
use super::known;
use crate::attest::cel::node::{ClaimPath, Literal, Macro, Node, Operator, Variable};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Worth knowing.
    Note,
    /// It lets in, or shuts out, what is probably not meant.
    Warning,
    /// It can never do what it says.
    Error,
}

/// One remark.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Remark {
    /// How bad.
    pub level: Level,
    /// The rule's name.
    pub rule: &'static str,
    /// What is wrong, with the place.
    pub message: String,
    /// Why it matters, and what to write instead.
    pub why: &'static str,
}

/// The audience of Google's own token service.
pub const STS: &str = "https://sts.googleapis.com";

/// Looks at a policy.
pub fn lint(policy: &Policy) -> Vec<Remark> {
    let mut found = Found { remarks: Vec::new(), claims: policy.condition.whole.root().claims() };
    for (_, expression) in policy.mapping.entries() {
        found.claims.extend(expression.root().claims());
    }
    let root = policy.condition.whole.root();
    root.visit(&mut |node| found.node(node, root));
    found.names();
    found.missing(policy, root);
    found.around(policy);
    found.remarks.sort_by_key(|remark| std::cmp::Reverse(remark.level));
    found.remarks.dedup();
    found.remarks
}

struct Found {
    remarks: Vec<Remark>,
    claims: Vec<ClaimPath>,
}

impl Found {
    fn add(&mut self, level: Level, rule: &'static str, message: impl Into<String>, why: &'static str) {
        self.remarks.push(Remark { level, rule, message: message.into(), why });
    }

    fn node(&mut self, node: &Node, root: &Node) {
        match node {
            Node::Binary { operator, operands } => self.comparison(*operator, &operands[0], &operands[1]),
            Node::Has { operand, field } => self.has(operand, field, root),
            Node::Pattern { source, .. } if !(source.starts_with('^') && source.ends_with('$')) => self.add(
                Level::Warning,
                "unanchored-pattern",
                format!("the pattern {source:?} is not anchored"),
                "matches() looks for the pattern anywhere in the text: write ^...$",
            ),
            Node::Call { function, arguments }
                if function.name() == "contains" && leaf(&arguments[0], "image_reference") =>
            {
                self.add(
                    Level::Warning,
                    "image-reference-contains",
                    "image_reference is searched with contains()",
                    "any registry can hold an image whose name contains that text: compare image_digest",
                )
            }
            Node::Loop(l) if l.kind == Macro::All && l.range.path().is_some() => self.add(
                Level::Note,
                "all-of-nothing",
                "all() over a claim that may be an empty list",
                "all() of an empty list is true: also ask that size() is more than 0",
            ),
            _ => {}
        }
        if let Some(path) = node.path().filter(|path| matches!(node, Node::Select { .. }) && overridable(path)) {
            self.guarded(&path, root);
        }
    }

    fn has(&mut self, operand: &Node, field: &str, root: &Node) {
        const MAY_LACK: [&str; 5] = ["env_override", "cmd_override", "tdx", "nvidia_gpu", "confidential_space"];
        let Some(parent) = operand.path() else { return };
        if parent.segments.last().is_some_and(|last| MAY_LACK.contains(&last.as_str())) && !asked_for(root, &parent) {
            self.add(
                Level::Warning,
                "has-of-absent-parent",
                format!("has({parent}.{field}) is an error when {parent} is not there"),
                "has() only forgives the last name: write (!has(PARENT) || ...), with the parent asked for first",
            );
        }
    }

    fn guarded(&mut self, path: &ClaimPath, root: &Node) {
        if !asked_for(root, path) {
            self.add(
                Level::Warning,
                "override-without-has",
                format!("{path} is used without has()"),
                "tokens leave this claim out when nothing was overridden, and the term is then an error that denies: \
                 write (!has(CLAIM) || size(CLAIM) == 0)",
            );
        }
    }

    fn comparison(&mut self, operator: Operator, left: &Node, right: &Node) {
        for (claim, other) in [(left, right), (right, left)] {
            let Some(path) = claim.path().filter(|path| path.variable == Variable::Assertion) else { continue };
            let last = path.segments.last().map(String::as_str).unwrap_or_default();
            let texts = texts(other);
            match last {
                "dbgstat" => self.words(&path, &texts, &["enabled", "disabled-since-boot"], "dbgstat-value"),
                "hwmodel" => self.words(
                    &path,
                    &texts,
                    &["GCP_AMD_SEV", "GCP_AMD_SEV_ES", "GCP_AMD_SEV_SNP", "GCP_INTEL_TDX", "GCP_SHIELDED_VM"],
                    "hwmodel-value",
                ),
                "swname" => self.words(&path, &texts, &["CONFIDENTIAL_SPACE", "GCE"], "swname-value"),
                "env" | "env_override" if matches!(other, Node::Map(_)) => self.add(
                    Level::Warning,
                    "whole-environment",
                    format!("{path} is compared with a whole map"),
                    "the environment also holds HOSTNAME and PATH, so equality fails on real tokens: ask for single names",
                ),
                "project_number" | "instance_id" if number(other) => self.add(
                    Level::Error,
                    "number-for-text",
                    format!("{path} is compared with a number"),
                    "the claim is a text of digits: put the number in quotes",
                ),
                "support_attributes" if texts.contains(&"LATEST") && operator == Operator::In => self.add(
                    Level::Note,
                    "latest-image",
                    "LATEST is asked for",
                    "a new image makes refreshed tokens of running jobs fail: STABLE is usually meant",
                ),
                _ => {}
            }
            let text_order =
                matches!(operator, Operator::Less | Operator::LessEqual | Operator::Greater | Operator::GreaterEqual);
            if text_order && path.segments.iter().any(|s| s == "swversion") && !texts.is_empty() {
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
            if sum && matches!(last, "exp" | "iat" | "nbf" | "oemid") {
                self.add(
                    Level::Warning,
                    "arithmetic-on-claim",
                    format!("{path} is calculated with"),
                    "how a number in the claims is typed is not documented; equality works with every type, sums may not",
                );
            }
        }
    }

    fn words(&mut self, path: &ClaimPath, texts: &[&str], known: &[&str], rule: &'static str) {
        for text in texts.iter().filter(|text| !known.contains(text)) {
            let near = crate::attest::nearest::nearest(text, known.iter().copied())
                .or_else(|| known.iter().copied().find(|word| word.contains(*text)));
            let near = near.map_or(String::new(), |near| format!("; did you mean {near:?}?"));
            self.add(
                Level::Error,
                rule,
                format!("{path} is never {text:?}{near}"),
                "no token has this value, so the term is never true",
            );
        }
    }

    fn names(&mut self) {
        for path in self.claims.clone() {
            if path.variable == Variable::Assertion && !known::is_known(&path.segments) {
                let near = known::meant(&path.segments)
                    .map_or(String::new(), |near| format!("; did you mean assertion.{near}?"));
                self.add(
                    Level::Warning,
                    "unknown-claim",
                    format!("{path} is not a known claim{near}"),
                    "a claim that is not there makes the term an error, and an error denies",
                );
            }
        }
    }

    fn names_claim(&self, name: &str) -> bool {
        self.claims.iter().any(|path| path.segments.iter().any(|segment| segment == name))
    }

    fn missing(&mut self, policy: &Policy, root: &Node) {
        if self.claims.is_empty() {
            let constant_false = matches!(root, Node::Literal(Literal::Bool(false)));
            let level = if constant_false { Level::Note } else { Level::Error };
            self.add(level, "constant-condition", "the condition looks at no claim", "it is the same for every token");
            return;
        }
        let space = policy.family == super::Family::ConfidentialSpace;
        let vm = policy.family == super::Family::ConfidentialVm;
        if !self.names_claim("swname") && !space && !vm {
            self.add(
                Level::Warning,
                "no-software-name",
                "nothing asks for swname",
                "Confidential VM tokens share issuer and keys with Confidential Space, and say nothing about the software",
            );
        }
        let image =
            ["image_digest", "image_reference", "image_signatures", "image_id"].map(|name| self.names_claim(name));
        let production = self.names_claim("dbgstat") || self.names_claim("support_attributes");
        if !production && (image[0] || image[1] || space) {
            self.add(
                Level::Warning,
                "debug-image-passes",
                "nothing asks for dbgstat or support_attributes",
                "a debug image lets its operator into the running workload",
            );
        }
        if image == [false, true, false, false] {
            self.add(
                Level::Warning,
                "image-by-tag",
                "image_reference is the only check of the image",
                "a tag can be moved to another image at any time: compare image_digest or signatures",
            );
        }
        let whose = ["google_service_accounts", "project_id", "project_number", "sub", "instance_id", "subject"];
        if !whose.iter().any(|name| self.names_claim(name)) {
            self.add(
                Level::Warning,
                "any-project",
                "nothing asks whose machine it is",
                "without a service account or project, machines of every customer pass",
            );
        }
    }

    fn around(&mut self, policy: &Policy) {
        for (key, expression) in policy.mapping.entries() {
            if key == "google.subject" && expression.root().path().is_some_and(|path| path.segments == ["sub"]) {
                self.add(
                    Level::Warning,
                    "long-subject",
                    "google.subject is assertion.sub",
                    "the link of an instance can exceed 127 bytes, and such credentials are refused: \
                     use \"gcpcs::\" + image_digest + \"::\" + project_number + \"::\" + instance_id",
                );
            }
        }
        if policy.audiences.iter().any(|audience| audience.trim_end_matches('/') == STS) {
            self.add(
                Level::Note,
                "shared-audience",
                format!("{STS} is an accepted audience"),
                "every workload's default token has it, so a token made for Google's token service can be used here",
            );
        }
    }
}

fn overridable(path: &ClaimPath) -> bool {
    path.variable == Variable::Assertion
        && path.segments.last().is_some_and(|last| matches!(last.as_str(), "cmd_override" | "env_override"))
}

fn asked_for(root: &Node, path: &ClaimPath) -> bool {
    let mut found = false;
    root.visit(&mut |node| found |= matches!(node, Node::Has { .. }) && node.path().as_ref() == Some(path));
    found
}

fn leaf(node: &Node, name: &str) -> bool {
    node.path().is_some_and(|path| path.segments.last().is_some_and(|last| last == name))
}

fn texts(node: &Node) -> Vec<&str> {
    match node {
        Node::Literal(Literal::Text(text)) => vec![text],
        Node::List(items) => items.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

fn number(node: &Node) -> bool {
    matches!(node, Node::Literal(Literal::Int(_) | Literal::Uint(_) | Literal::Double(_)))
}
