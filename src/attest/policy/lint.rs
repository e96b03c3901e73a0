//! What is probably wrong with a policy, and why it matters.

use serde::Serialize;

use super::anchor::anchored;
use super::compared::{number, texts};
use super::guards::{DIGEST, Guards, IMAGE, OWNER, PLAIN_VM, PRODUCTION, REFERENCE, SOFTWARE, names, ways};
use super::known;
use super::length::longest;
use super::mapping::SUBJECT_BYTES;
use super::{Family, Policy};
use crate::attest::cel::node::{ClaimPath, Literal, Loop, Macro, Node, Operator, Variable};
use crate::attest::cel::pattern_problem;
use crate::calls::may_carry_a_token;

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

pub(super) struct Found {
    remarks: Vec<Remark>,
    claims: Vec<ClaimPath>,
}

impl Found {
    pub(super) fn add(&mut self, level: Level, rule: &'static str, message: impl Into<String>, why: &'static str) {
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
            Node::Loop(l) if l.kind == Macro::All && l.range.path().is_some() && !sized(root, &l.range) => self.add(
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
            |way| way & PRODUCTION == 0 && (space || way & names(DIGEST | REFERENCE) != 0),
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
        if policy.keys.is_none() && url::Url::parse(&policy.issuer).is_ok_and(|url| !may_carry_a_token(&url)) {
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

fn leaf(node: &Node, name: &str) -> bool {
    node.path().is_some_and(|path| path.segments.last().is_some_and(|last| last == name))
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
    fn what_is_true_of_strangers_asks_for_nothing() {
        let project = "assertion.submods.gce.project_id";
        let digest = "assertion.submods.container.image_digest";
        let owner = "assertion.submods.gce.project_id == 'p'";
        let image = "assertion.submods.container.image_digest == 'sha256:1'";
        let debug = "assertion.dbgstat == 'disabled-since-boot'";
        let support = "assertion.submods.confidential_space.support_attributes";
        for (instead, of, rule) in [
            (format!("{project} != 'evil'"), owner, "any-project"),
            (format!("!({project} == 'evil')"), owner, "any-project"),
            (format!("!({project} in ['evil'])"), owner, "any-project"),
            (format!("{project} == {project}"), owner, "any-project"),
            (format!("size({project}) > 0"), owner, "any-project"),
            (format!("{project}.startsWith('')"), owner, "any-project"),
            (format!("{project}.matches('^.*$')"), owner, "any-project"),
            (format!("{project} >= ''"), owner, "any-project"),
            ("size(assertion.google_service_accounts) > 0".to_owned(), owner, "any-project"),
            ("assertion.sub.contains('/projects/')".to_owned(), owner, "any-project"),
            (format!("{digest} != 'sha256:1'"), image, "any-image"),
            (format!("{digest}.startsWith('sha256:')"), image, "any-image"),
            ("assertion.dbgstat == 'enabled'".to_owned(), debug, "debug-image-passes"),
            (format!("!('STABLE' in {support})"), debug, "debug-image-passes"),
            (
                "assertion.swname != 'CONFIDENTIAL_SPACE'".to_owned(),
                "assertion.swname == 'CONFIDENTIAL_SPACE'",
                "no-software-name",
            ),
        ] {
            assert_eq!(rules(&GOOD.replace(of, &instead)), [rule], "{instead}");
        }
        for (instead, of) in [
            (format!("{project}.startsWith('prod-')"), owner),
            (format!("!({project} != 'p')"), owner),
            ("'a@p.iam.gserviceaccount.com' in assertion.google_service_accounts".to_owned(), owner),
            ("assertion.google_service_accounts.exists(a, a.endsWith('@p.iam.gserviceaccount.com'))".to_owned(), owner),
            ("assertion.sub.extract('/projects/{p}/') == 'p'".to_owned(), owner),
            ("assertion.dbgstat != 'enabled'".to_owned(), debug),
            (format!("'STABLE' in {support}"), debug),
        ] {
            assert_eq!(rules(&GOOD.replace(of, &instead)), [""; 0], "{instead}");
        }
    }

    #[test]
    fn what_a_wrong_value_does_is_told_as_it_is() {
        let why = |term: &str| {
            let text = format!("audiences: [a]\ncondition: |\n  {GOOD} && {term}\n");
            let found = lint(&Policy::read(&text, "p").unwrap());
            found.into_iter().map(|remark| (remark.level, remark.why)).collect::<Vec<_>>()
        };
        for (term, level, told) in [
            ("assertion.dbgstat == 'enable'", Level::Error, "never true"),
            ("assertion.dbgstat != 'enable'", Level::Error, "always true"),
            ("assertion.hwmodel in ['INTEL_TDX', 'GCP_AMD_SEV']", Level::Warning, "adds nothing"),
            ("assertion.hwmodel in ['INTEL_TDX']", Level::Error, "never true"),
        ] {
            let found = why(term);
            assert!(found.len() == 1 && found[0].0 == level && found[0].1.contains(told), "{term}: {found:?}");
        }
    }

    #[test]
    fn all_of_a_list_that_is_not_empty_is_no_matter() {
        let all = "assertion.google_service_accounts.all(a, a == 'x')";
        let sized = |size: &str| rules(&format!("{GOOD} && {size} && {all}"));
        assert_eq!(sized("size(assertion.google_service_accounts) > 0"), [""; 0]);
        assert_eq!(sized("0 < assertion.google_service_accounts.size()"), [""; 0]);
        assert_eq!(sized("size(assertion.swversion) > 0"), ["all-of-nothing"]);
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
