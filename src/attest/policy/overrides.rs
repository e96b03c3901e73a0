//! The claims that tokens leave out when nothing was overridden. What is said of a term that looks at one depends on
//! what it asks for: nothing overridden, which is meant to be true without the claim, or an override, which is not.

use serde_json::{Value as Json, json};

use super::found::{Found, Level};
use super::known;
use super::possible::{put, terms};
use super::spoken::spoken;
use super::strangers;
use super::wish::{Wish, decided, is_empty};
use crate::attest::cel::node::{ClaimPath, Node, Operator, Variable};
use crate::attest::cel::{Budget, Scope, Value};

const COMMAND: &str = "cmd_override";
const ENVIRONMENT: &str = "env_override";

/// The most bytes of a remedy that is written out.
const LONGEST: usize = 600;

/// The claims by their paths.
pub(super) const OVERRIDES: [&str; 2] = ["submods.container.cmd_override", "submods.container.env_override"];

impl Found {
    /// Tells of terms that are meant to be true of tokens without overrides, and are an error on them.
    pub(super) fn overrides(&mut self, root: &Node) {
        let token = strangers::ordinary();
        let nothing = Json::Object(serde_json::Map::new());
        let scope = Scope { assertion: &token, google: &nothing, attribute: &nothing };
        let mut told = Vec::new();
        for (term, so) in terms(root) {
            for path in paths(term).into_iter().filter(|path| known_override(path) && !root.asks_has(path)) {
                let says = without(term, scope, &mut Budget::default());
                let why = match so {
                    // Who asks for an override means to deny who has none.
                    Some(so) if so != says => continue,
                    None if !says => {
                        "tokens leave this claim out when nothing was overridden, and what stands before the ? is then \
                         an error that denies: write has(CLAIM) && before it"
                    }
                    _ if !members(term, &path).is_empty() => {
                        "tokens leave this claim out when nothing was overridden, and what was not is never in it; the \
                         term is then an error that denies: write !has(CLAIM) || !has(CLAIM.NAME) || before it, for a \
                         place in a list !has(CLAIM) || size(CLAIM) <= PLACE ||"
                    }
                    _ => {
                        "tokens leave this claim out when nothing was overridden, and the term is then an error that \
                         denies: write !has(CLAIM) || before it, as in (!has(CLAIM) || size(CLAIM) == 0)"
                    }
                };
                if !told.contains(&path) {
                    self.add(Level::Warning, "override-without-has", format!("{path} is used without has()"), why);
                    told.push(path);
                }
            }
        }
    }
}

/// What is said of a term that is an error because the token has no such claim as `path`, if it is one of these.
pub(super) fn hint(term: &Node, path: &ClaimPath, scope: Scope<'_>, budget: &mut Budget) -> Option<String> {
    let claim = claim_of(path)?;
    let (_, parent) = claim.segments.split_last()?;
    let parent = ClaimPath { variable: claim.variable, segments: parent.to_vec() };
    // has() only forgives the last name, and an element that lacks is another matter.
    if parent.resolve(scope.assertion).is_none() || claim.resolve(scope.assertion).is_some() {
        return None;
    }
    let how = if without(term, scope, budget) {
        let guarded = guarded(term, scope, budget);
        if guarded.len() > LONGEST {
            format!("guard each part of the term that looks at it, as (!has({claim}) || ...)")
        } else {
            format!("write {guarded}")
        }
    } else {
        let wish = Wish { scope, budget, values: true }.of(term);
        wish.unwrap_or_else(|| format!("guard it with has({claim})"))
    };
    Some(format!("the token leaves {claim} out when nothing was overridden: {how}"))
}

/// A term in which each part that looks at what may not be there says what it means to say of nothing. A guard before
/// the whole of it would let pass what the other parts deny.
fn guarded(term: &Node, scope: Scope<'_>, budget: &mut Budget) -> String {
    let mut each = |parts: &[Node], between: &str| {
        let parts: Vec<String> = parts.iter().map(|part| guarded(part, scope, budget)).collect();
        format!("({})", parts.join(between))
    };
    match term {
        Node::And(parts) => return each(parts, " && "),
        Node::Or(parts) => return each(parts, " || "),
        Node::Conditional(parts) => {
            let [asked, then, otherwise] = parts.as_ref().each_ref().map(|part| guarded(part, scope, budget));
            return format!("({asked} ? {then} : {otherwise})");
        }
        Node::Not(inner) if divided(inner) => return format!("!{}", guarded(inner, scope, budget)),
        _ => {}
    }
    let so = without(term, scope, budget);
    let mut parts = Vec::new();
    for claim in paths(term) {
        parts.push(if so { format!("!has({claim})") } else { format!("has({claim})") });
        parts.extend(members(term, &claim).iter().map(|member| there(&claim, member, !so)));
    }
    let written = spoken(term);
    parts.push(if written.ends_with('…') { "...".to_owned() } else { written });
    format!("({})", parts.join(if so { " || " } else { " && " }))
}

/// Whether a term is of several, each of which may be an error by itself.
fn divided(term: &Node) -> bool {
    match term {
        Node::Not(inner) => divided(inner),
        Node::And(_) | Node::Or(_) | Node::Conditional(_) => true,
        _ => false,
    }
}

/// What a term takes out of a claim, by name or by place, and does not only ask has() for.
fn members(term: &Node, claim: &ClaimPath) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    term.visit(&mut |part| {
        let taken = matches!(part, Node::Select { .. } | Node::Index { .. });
        let Some(path) = part.path().filter(|_| taken) else { return };
        if claim_of(&path).as_ref() == Some(claim) {
            found.extend(path.segments.get(claim.segments.len()).cloned());
        }
    });
    found.dedup();
    found
}

/// What asks whether a claim has a member, or has not.
fn there(claim: &ClaimPath, member: &str, so: bool) -> String {
    let path = ClaimPath { segments: [claim.segments.as_slice(), &[member.to_owned()]].concat(), ..claim.clone() };
    let list = claim.segments.last().is_some_and(|name| name == COMMAND);
    let (sign, not) = if so { (">", "") } else { ("<=", "!") };
    if list {
        format!("size({claim}) {sign} {member}")
    } else if path.to_string() == format!("{claim}.{member}") {
        format!("{not}has({path})")
    } else {
        format!("{not}({member:?} in {claim})")
    }
}

/// Whether a term would be true of a token without overrides, if such a token had the claims, empty.
fn without(term: &Node, scope: Scope<'_>, budget: &mut Budget) -> bool {
    let mut claims = scope.assertion.clone();
    for claim in paths(term) {
        let list = claim.segments.last().is_some_and(|name| name == COMMAND);
        put(&mut claims, &claim.segments, &if list { json!([]) } else { json!({}) });
    }
    match term.evaluate_alone(Scope { assertion: &claims, ..scope }, budget) {
        Some(Ok(value)) => matches!(value, Value::Bool(true)),
        _ => of_nothing(term),
    }
}

/// What a term means to say of what is not there: it is no other value, and does not begin with another.
fn of_nothing(term: &Node) -> bool {
    match term {
        Node::Not(inner) => !of_nothing(inner),
        Node::And(parts) => parts.iter().all(of_nothing),
        Node::Or(parts) => parts.iter().any(of_nothing),
        Node::Binary { operator, operands } => {
            let [left, right] = operands.as_ref();
            if let Some((inner, so)) = decided(*operator, left, right, true) {
                return of_nothing(inner) == so;
            }
            // Who writes the empty text means nothing by it.
            let empty = is_empty(left) || is_empty(right);
            match (operator, right) {
                (Operator::Equal, _) => empty,
                (Operator::NotEqual, _) => !empty,
                (Operator::In, Node::List(items)) => items.iter().any(is_empty),
                _ => false,
            }
        }
        _ => false,
    }
}

/// The claims of this kind that a term looks at, or into.
fn paths(term: &Node) -> Vec<ClaimPath> {
    let mut found = Vec::new();
    for claim in term.claims().iter().filter_map(claim_of) {
        if !found.contains(&claim) {
            found.push(claim);
        }
    }
    found
}

/// The claim of this kind that a path leads to, or into.
fn claim_of(path: &ClaimPath) -> Option<ClaimPath> {
    let own = |name: &String| name == COMMAND || name == ENVIRONMENT;
    let at = path.segments.iter().position(own).filter(|_| path.variable == Variable::Assertion)?;
    Some(ClaimPath { variable: path.variable, segments: path.segments[..=at].to_vec() })
}

fn known_override(path: &ClaimPath) -> bool {
    OVERRIDES.contains(&known::written(&path.segments).as_str())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::attest::policy::found::Remark;
    use crate::attest::policy::lint::lint;
    use crate::attest::policy::{Condition, Mapped, Policy, strangers};

    const COMMAND: &str = "assertion.submods.container.cmd_override";
    const ENVIRONMENT: &str = "assertion.submods.container.env_override";

    /// The hints of a condition on a token without overrides.
    fn hints(condition: &str) -> Vec<String> {
        let explained = Condition::compile(condition).unwrap().explain(&strangers::ordinary(), &Mapped::default());
        explained.terms.into_iter().flat_map(|term| term.hints).collect()
    }

    /// What lint says of overrides.
    fn told(condition: &str) -> Vec<Remark> {
        let text = format!("audiences: [a]\ncondition: |\n  assertion.swname == 'GCE' && {condition}\n");
        let found = lint(&Policy::read(&text, "p").unwrap());
        found.into_iter().filter(|remark| remark.rule == "override-without-has").collect()
    }

    #[test]
    fn who_asks_for_no_override_is_told_what_is_true_without_the_claim() {
        for (term, write) in [
            (format!("size({COMMAND}) == 0"), format!("size({COMMAND}) == 0")),
            (format!("{COMMAND} == []"), format!("{COMMAND} == []")),
            (format!("{ENVIRONMENT} == {{}}"), format!("{ENVIRONMENT} == {{}}")),
            (format!("!('--debug' in {COMMAND})"), format!("!(\"--debug\" in {COMMAND})")),
            (format!("{COMMAND} != ['-x']"), format!("{COMMAND} != [\"-x\"]")),
            (format!("{COMMAND}.all(a, a == '-x')"), format!("{COMMAND}.all(a, a == \"-x\")")),
            (format!("!('MODE' in {ENVIRONMENT})"), format!("!(\"MODE\" in {ENVIRONMENT})")),
            (format!("{ENVIRONMENT}.MODE != 'x'"), format!("{ENVIRONMENT}.MODE != \"x\"")),
            (
                format!("{ENVIRONMENT}.MODE.startsWith('x') == false"),
                format!("{ENVIRONMENT}.MODE.startsWith(\"x\") == false"),
            ),
            (format!("{ENVIRONMENT}.MODE in ['', 'x']"), format!("{ENVIRONMENT}.MODE in [\"\", \"x\"]")),
            (format!("{ENVIRONMENT}.MODE == ''"), format!("{ENVIRONMENT}.MODE == \"\"")),
        ] {
            let found = hints(&term);
            let remedy = format!(" || {write})");
            assert!(!found.is_empty() && found.iter().all(|hint| hint.ends_with(&remedy)), "{term}: {found:?}");
            let (_, written) = found[0].split_once("write ").unwrap();
            let followed = Condition::compile(written).unwrap().explain(&strangers::ordinary(), &Mapped::default());
            assert!(followed.allowed, "{written}");
            let found = told(&term);
            assert!(found.first().is_some_and(|remark| remark.why.contains("!has(CLAIM) ||")), "{term}: {found:?}");
        }
    }

    #[test]
    fn what_is_told_to_write_denies_only_what_the_term_means_to_deny() {
        let other = json!({"cmd_override": ["-a"], "env_override": {"OTHER": "y"}});
        let ours = json!({"cmd_override": ["-a", "-x"], "env_override": {"MODE": "x", "A-B": "x"}});
        let nothing = json!({});
        for term in [
            format!("{ENVIRONMENT}.MODE != 'x'"),
            format!("{ENVIRONMENT}['A-B'] != 'x'"),
            format!("{COMMAND}[1] != '-x'"),
            format!("{ENVIRONMENT}.MODE.startsWith('x') == false"),
            format!("!has({ENVIRONMENT}.MODE)"),
            format!("!({ENVIRONMENT}.MODE == 'x' || '-x' in {COMMAND})"),
            format!("!({ENVIRONMENT}.NAME == 'x' || '-x' in {COMMAND})"),
            format!("('-x' in {COMMAND} ? false : true)"),
        ] {
            let found = hints(&term);
            let (_, written) = found[0].split_once("write ").unwrap();
            let condition = Condition::compile(written).unwrap();
            for (overrides, allowed) in [(&nothing, true), (&other, true), (&ours, false)] {
                let mut token = strangers::ordinary();
                for (name, value) in overrides.as_object().unwrap() {
                    token["submods"]["container"][name] = value.clone();
                }
                let explained = condition.explain(&token, &Mapped::default());
                assert_eq!(explained.allowed, allowed, "{written}: {overrides}");
            }
        }
    }

    #[test]
    fn who_asks_for_an_override_is_not_told_to_let_pass_who_has_none() {
        for (term, wish) in [
            (format!("{COMMAND} == ['-m', 'app.verify']"), format!("{COMMAND} were [\"-m\", \"app.verify\"]")),
            (format!("{COMMAND}[0] == '--x'"), format!("{COMMAND}[0] were \"--x\"")),
            (format!("size({COMMAND}) == 2"), format!("size({COMMAND}) were 2")),
            (format!("'--debug' in {COMMAND}"), format!("{COMMAND} held \"--debug\"")),
            (format!("{ENVIRONMENT}.MODE == 'x'"), format!("{ENVIRONMENT}.MODE were \"x\"")),
            (format!("{ENVIRONMENT}['MODE'] in ['x']"), format!("{ENVIRONMENT}.MODE were one of [\"x\"]")),
            (format!("{ENVIRONMENT}.MODE != ''"), format!("{ENVIRONMENT}.MODE were anything but \"\"")),
            (format!("!({COMMAND} != ['-x'])"), format!("{COMMAND} were [\"-x\"]")),
        ] {
            let claim = if term.contains("cmd") { COMMAND } else { ENVIRONMENT };
            let hint = format!("the token leaves {claim} out when nothing was overridden: true if {wish}");
            assert_eq!(hints(&term), [hint], "{term}");
            assert_eq!(told(&term), [], "{term}");
        }
        let chooses = told(&format!("('--debug' in {COMMAND} ? false : true)"));
        assert!(chooses.len() == 1 && chooses[0].why.contains("write has(CLAIM) &&"), "{chooses:?}");
        assert_eq!(told(&format!("(!has({COMMAND}) || size({COMMAND}) == 0)")), []);
        assert_eq!(told(&format!("size({COMMAND}) == 0 && size({COMMAND}) < 1")).len(), 1);
    }
}
