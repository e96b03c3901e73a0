//! What is probably wrong with a policy, and why it matters.

use serde::Serialize;

use super::anchor::anchored;
use super::guards::{DIGEST, Guards, IMAGE, OWNER, PLAIN_VM, PRODUCTION, REFERENCE, SOFTWARE, ways};
use super::known;
use super::length::longest;
use super::mapping::SUBJECT_BYTES;
use super::{Family, Policy};
use crate::attest::cel::node::{ClaimPath, Literal, Loop, Macro, Node, Operator, Variable};
use crate::attest::cel::pattern_problem;
use crate::attest::discovery::safe;

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
    found.attributes(policy, root);
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
            Node::Pattern { source, .. } if !anchored(source) => self.add(
                Level::Warning,
                "unanchored-pattern",
                format!("the pattern {source:?} is not anchored"),
                "matches() looks for the pattern anywhere in the text: write ^...$, and ^(...|...)$ around alternatives, \
                 as ^ and $ belong to the first and last of them only",
            ),
            Node::Call { function, arguments } if function.name() == "matches" => self.pattern(arguments),
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
            Node::Loop(l) if matches!(l.kind, Macro::Exists | Macro::ExistsOne) && looks_for_latest(l) => {
                self.latest_image();
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

    /// A literal pattern that compiles is no call any more.
    fn pattern(&mut self, arguments: &[Node]) {
        if let [_, Node::Literal(Literal::Text(source))] = arguments
            && let Some(problem) = pattern_problem(source)
        {
            self.add(
                Level::Error,
                "invalid-pattern",
                format!("the pattern {source:?} cannot be used: {problem}"),
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
                "support_attributes" if texts.contains(&"LATEST") && operator == Operator::In => self.latest_image(),
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

    fn latest_image(&mut self) {
        self.add(
            Level::Note,
            "latest-image",
            "LATEST is asked for",
            "a new image makes refreshed tokens of running jobs fail: STABLE is usually meant",
        );
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
    fn missing(&mut self, policy: &Policy, root: &Node) {
        if self.constants(policy, root) {
            return;
        }
        let ways: Vec<Guards> = ways(root, &policy.mapping).into_iter().collect();
        let space = policy.family == Family::ConfidentialSpace;
        let lack = |wanted: Guards| ways.iter().filter(|way| *way & wanted == 0).count();
        if policy.family == Family::Any {
            self.lacking(
                (lack(SOFTWARE), ways.len()),
                "no-software-name",
                "asks for swname",
                "Confidential VM tokens share issuer and keys with Confidential Space, and say nothing about the software",
            );
        }
        let debug = |way: &&Guards| *way & PRODUCTION == 0 && (space || *way & (DIGEST | REFERENCE) != 0);
        self.lacking(
            (ways.iter().filter(debug).count(), ways.len()),
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
        if ways.iter().any(|way| way & IMAGE != 0) {
            self.lacking(
                (lack(IMAGE | PLAIN_VM), ways.len()),
                "any-image",
                "asks for an image",
                "that branch lets every image pass, whatever the others ask for",
            );
        }
        self.lacking(
            (lack(OWNER), ways.len()),
            "any-project",
            "asks whose machine it is",
            "without a service account or project, machines of every customer pass",
        );
    }

    /// `lack` of so many ways do not ask for it.
    fn lacking(&mut self, (lack, of): (usize, usize), rule: &'static str, what: &str, why: &'static str) {
        if lack > 0 {
            let who = if lack == of { "nothing" } else { "not every branch of the condition" };
            self.add(Level::Warning, rule, format!("{who} {what}"), why);
        }
    }

    fn around(&mut self, policy: &Policy) {
        for (key, expression) in policy.mapping.entries() {
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
        if policy.keys.is_none() && url::Url::parse(&policy.issuer).is_ok_and(|url| !safe(&url)) {
            self.add(
                Level::Error,
                "issuer-address",
                format!("the issuer {} is neither https nor on this machine", policy.issuer),
                "whoever can change keys on their way can sign any token, so such keys are not asked for: serve refuses the \
                 policy",
            );
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
    if leaf(&l.range, "support_attributes")
        && let Some(condition) = &l.condition
    {
        condition.visit(&mut see);
    }
    found
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

/// A number, or a list with one in it.
fn number(node: &Node) -> bool {
    match node {
        Node::Literal(Literal::Int(_) | Literal::Uint(_) | Literal::Double(_)) => true,
        Node::List(items) => items.iter().any(number),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(condition: &str) -> Vec<&'static str> {
        let text = format!("audiences: [a]\nallow_everything: true\ncondition: |\n  {condition}\n");
        let mut found: Vec<_> =
            lint(&Policy::read(&text, "p").unwrap()).into_iter().map(|remark| remark.rule).collect();
        found.dedup();
        found
    }

    const GOOD: &str = "assertion.swname == 'CONFIDENTIAL_SPACE' && assertion.dbgstat == 'disabled-since-boot' \
        && assertion.submods.container.image_digest == 'sha256:1' && assertion.submods.gce.project_id == 'p'";
    const VM: &str = "assertion.swname == 'GCE' && assertion.submods.gce.project_id == 'p'";

    // Looking at every condition twice would take longer than anybody waits.
    #[test]
    fn conditions_within_conditions_are_looked_at_once() {
        let nested = (0..40).fold("assertion.secboot".to_owned(), |inner, _| format!("({inner}) ? assertion.a : {VM}"));
        assert!(rules(&nested).contains(&"any-project"));
    }

    #[test]
    fn every_branch_must_ask_for_itself() {
        let all = ["no-software-name", "any-image", "any-project"].as_slice();
        let space = "assertion.swname == 'CONFIDENTIAL_SPACE'";
        for (condition, expected) in [
            (GOOD.to_owned(), [].as_slice()),
            (VM.to_owned(), &[]),
            (format!("({GOOD}) || ({VM})"), &[]),
            (format!("({GOOD}) || assertion.secboot"), all),
            (format!("{GOOD} || assertion.secboot"), all),
            (format!("assertion.secboot ? assertion.secboot : ({GOOD})"), all),
            (format!("!(!({GOOD}) && !assertion.secboot)"), all),
            (format!("({GOOD}) && (assertion.secboot || assertion.oemid == 11129)"), &[]),
            (format!("({GOOD}) || ({space} && assertion.submods.gce.project_id == 'p')"), &["any-image"]),
            (
                format!("{space} && assertion.dbgstat == 'enabled' && has(assertion.submods.gce.project_id)"),
                &["any-project"],
            ),
        ] {
            assert_eq!(rules(&condition), expected, "{condition}");
        }
    }

    #[test]
    fn a_mapped_attribute_asks_for_what_it_is_made_of() {
        let text = |condition: &str| {
            format!(
                "audiences: [a]\nmapping: {{attribute.p: assertion.submods.gce.project_id}}\ncondition: {condition}\n"
            )
        };
        let rules = |condition: &str| lint(&Policy::read(&text(condition), "p").unwrap()).len();
        assert_eq!(rules("assertion.swname == 'GCE' && attribute.p == 'p'"), 0);
        assert_eq!(rules("assertion.swname == 'GCE' && assertion.secboot"), 1, "a mapping alone asks for nothing");
    }

    #[test]
    fn constants_are_told_and_do_not_let_everything_pass_unsaid() {
        for (condition, whole) in [
            ("true".to_owned(), true),
            ("1 == 1".to_owned(), true),
            ("!false".to_owned(), true),
            (format!("{GOOD} || true"), true),
            (format!("{GOOD} || 1 == 1"), true),
            (format!("({GOOD}) || [1].all(x, x > 0)"), true),
            ("assertion.secboot ? true : 'a' in ['a']".to_owned(), true),
            (format!("{GOOD} && true"), false),
            (format!("{GOOD} || 1 == 2"), false),
        ] {
            assert_eq!(rules(&condition), ["constant-condition"], "{condition}");
            let unsaid = Policy::read(&format!("audiences: [a]\ncondition: |\n  {condition}\n"), "p");
            assert_eq!(matches!(unsaid, Err(super::super::PolicyError::AllowsEverything)), whole, "{condition}");
        }
        let deny = Policy::read("audiences: [a]\ncondition: 'false'\n", "p").unwrap();
        assert_eq!(lint(&deny).iter().map(|remark| remark.level).collect::<Vec<_>>(), [Level::Note]);
    }

    #[test]
    fn what_can_never_hold_is_told() {
        let vm = |rest: &str| rules(&format!("{VM} && {rest}"));
        for (rest, rule) in [
            ("assertion.x.matches('(')", "invalid-pattern"),
            ("google.subject == 'x'", "unmapped-attribute"),
            ("has(attribute.a.b)", "unmapped-attribute"),
        ] {
            assert_eq!(vm(rest)[0], rule);
        }
        let of = |head: &str| {
            let text = format!("audiences: [a]\n{head}\ncondition: {VM} && attribute.a == 'x'\n");
            lint(&Policy::read(&text, "p").unwrap()).into_iter().map(|remark| remark.rule).collect::<Vec<_>>()
        };
        assert_eq!(of("mapping: {attribute.a: assertion.swname}"), [""; 0]);
        assert_eq!(of("mapping: {attribute.a: google.subject}"), ["unmapped-attribute"]);
        assert_eq!(of("issuer: http://x.example\nmapping: {attribute.a: assertion.swname}"), ["issuer-address"]);
    }

    #[test]
    fn the_latest_image_is_told_however_it_is_asked_for() {
        let attributes = "assertion.submods.confidential_space.support_attributes";
        for (term, expected) in [
            (format!("'LATEST' in {attributes}"), true),
            (format!("{attributes}.exists(a, a == 'LATEST')"), true),
            (format!("{attributes}.exists(a, a in ['LATEST', 'x'])"), true),
            (format!("{attributes}.exists(a, a == 'STABLE')"), false),
            (format!("{attributes}.all(a, a != 'LATEST')"), false),
        ] {
            assert_eq!(rules(&format!("{GOOD} && {term}")).contains(&"latest-image"), expected, "{term}");
        }
    }

    #[test]
    fn numbers_in_a_list_are_numbers_too() {
        for (condition, expected) in [
            ("assertion.submods.gce.instance_id == 1", true),
            ("assertion.submods.gce.instance_id in [1, 2]", true),
            ("assertion.submods.gce.project_number in ['1', 2u]", true),
            ("assertion.submods.gce.instance_id in ['1', '2']", false),
        ] {
            assert_eq!(rules(condition).contains(&"number-for-text"), expected, "{condition}");
        }
    }

    #[test]
    fn an_empty_condition_is_told_once_and_with_advice_that_works() {
        let error = Policy::read("audiences: [a]\ncondition: ''\n", "p").unwrap_err();
        let told = format!("{:#}", anyhow::Error::from(error));
        assert_eq!(told.matches("is empty").count(), 1, "{told}");
        assert!(told.contains("allow_everything: true"), "{told}");
        assert!(Policy::read("audiences: [a]\ncondition: 'true'\nallow_everything: true\n", "p").is_ok());
    }
}
