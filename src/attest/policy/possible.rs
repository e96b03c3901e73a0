//! Terms that no real token makes true. Each is tried on every value that the one claim it looks at can have, or, where
//! those are without number, on values of the claim's kind, with those that the term names among them.

use serde_json::{Value as Json, json};

use super::found::{Found, Level};
use super::spoken::spoken;
use super::strangers;
use crate::attest::cel::node::{ClaimPath, Literal, Node, Operator, Variable};
use crate::attest::cel::{Budget, Scope, Value};

/// What a claim of Google's tokens can be.
enum Values {
    /// Only these.
    Only(Vec<Json>),
    Text,
    Texts,
    Number,
}

fn values(path: &str, issuer: &str) -> Option<Values> {
    Some(match path {
        "iss" => Values::Only(vec![json!(issuer)]),
        "secboot" | "submods.confidential_space.monitoring_enabled.memory" => {
            Values::Only(vec![json!(true), json!(false)])
        }
        "oemid" => Values::Only(vec![json!(11129)]),
        "hwmodel" => Values::Only(MODELS.map(Json::from).to_vec()),
        "swname" => Values::Only(SOFTWARE.map(Json::from).to_vec()),
        "dbgstat" => Values::Only(DEBUGGING.map(Json::from).to_vec()),
        // The documentation calls it a boolean.
        "submods.confidential_space.monitoring_enabled" => {
            Values::Only(vec![json!({"memory": false}), json!({"memory": true})])
        }
        "submods.confidential_space.support_attributes" => Values::Only(vec![
            json!(["LATEST", "STABLE", "USABLE"]),
            json!(["STABLE", "USABLE"]),
            json!(["USABLE"]),
            json!(["EXPERIMENTAL"]),
            json!([]),
        ]),
        "submods.container.restart_policy" => Values::Only(["Always", "OnFailure", "Never"].map(Json::from).to_vec()),
        "submods.nvidia_gpu.cc_mode" => Values::Only(["ON", "OFF", "DEVTOOLS"].map(Json::from).to_vec()),
        "attester_tcb" => Values::Only(vec![json!(["INTEL"])]),
        "iat" | "nbf" | "exp" => Values::Number,
        "swversion" | "google_service_accounts" | "submods.container.args" => Values::Texts,
        "sub" | "eat_profile" => Values::Text,
        path if path.starts_with("submods.gce.") && path.matches('.').count() == 2 => Values::Text,
        "submods.container.image_digest" | "submods.container.image_id" | "submods.container.image_reference" => {
            Values::Text
        }
        _ => return None,
    })
}

/// The models that Google's tokens name.
pub(super) const MODELS: [&str; 5] =
    ["GCP_AMD_SEV", "GCP_AMD_SEV_ES", "GCP_AMD_SEV_SNP", "GCP_INTEL_TDX", "GCP_SHIELDED_VM"];
/// The families.
pub(super) const SOFTWARE: [&str; 2] = ["CONFIDENTIAL_SPACE", "GCE"];
/// Whether it is a debug image.
pub(super) const DEBUGGING: [&str; 2] = ["enabled", "disabled-since-boot"];

impl Found {
    /// Tells of terms that are the same for every token, though they look at a claim.
    pub(super) fn impossible(&mut self, root: &Node, issuer: &str) {
        for term in terms(root) {
            let claims = term.claims();
            let [path] = claims.as_slice() else { continue };
            let name = path.segments.join(".");
            let foreign = !self.google && name != "iss";
            let Some(values) = values(&name, issuer).filter(|_| path.variable == Variable::Assertion) else { continue };
            if foreign || asks_for_presence(term) || self.is_told_of(path) {
                continue;
            }
            let Some((tried, is)) = tries(&values, term) else { continue };
            // What takes too long for an answer is no answer.
            let answers: Option<Vec<_>> = tried.iter().map(|value| answer(term, path, value)).collect();
            let Some(answers) = answers else { continue };
            let differs = matches!(term, Node::Binary { operator: Operator::NotEqual, .. });
            if answers.iter().all(|answer| *answer != Some(true)) {
                self.add(
                    Level::Error,
                    "never-true",
                    format!("{} is never true: {path} is {is}", spoken(term)),
                    "it denies every token, or adds nothing to an ||; behind a ! it lets everything pass",
                );
            } else if differs && answers.iter().all(|answer| *answer == Some(true)) {
                self.add(
                    Level::Error,
                    "always-true",
                    format!("{} is always true: {path} is {is}", spoken(term)),
                    "it lets everything pass",
                );
            }
        }
    }
}

/// The parts of a condition that are true or false by themselves.
fn terms(root: &Node) -> Vec<&Node> {
    let (mut found, mut waiting) = (Vec::new(), vec![root]);
    while let Some(node) = waiting.pop() {
        match node {
            Node::And(_) | Node::Or(_) | Node::Not(_) | Node::Conditional(_) => {
                waiting.extend(node.children().into_iter().rev());
            }
            term => found.push(term),
        }
    }
    found
}

fn asks_for_presence(term: &Node) -> bool {
    let mut found = false;
    term.visit(&mut |node| found |= matches!(node, Node::Has { .. }));
    found
}

/// What a term is tried on, and that in words; nothing, when it says more about a claim than what it is equal to, and
/// the claim can be anything.
fn tries(values: &Values, term: &Node) -> Option<(Vec<Json>, String)> {
    if let Values::Only(values) = values {
        let shown: Vec<String> = values.iter().map(Json::to_string).collect();
        return Some((values.clone(), shown.join(" or ")));
    }
    let Node::Binary { operator: Operator::Equal | Operator::NotEqual | Operator::In, operands } = term else {
        return None;
    };
    let [left, right] = operands.as_ref();
    let other = match (left.path(), right.path()) {
        (Some(_), None) => literal(right)?,
        (None, Some(_)) => literal(left)?,
        _ => return None,
    };
    let mut named = other.as_array().cloned().unwrap_or_default();
    named.push(other);
    Some(match values {
        Values::Text => {
            named.retain(Json::is_string);
            named.push(json!("x"));
            (named, "a text".to_owned())
        }
        Values::Number => {
            named.retain(Json::is_number);
            named.push(json!(1));
            (named, "a whole number".to_owned())
        }
        Values::Texts | Values::Only(_) => {
            let list = |value: Json| if value.is_array() { value } else { json!([value]) };
            let texts = |value: &Json| value.as_array().is_some_and(|items| items.iter().all(Json::is_string));
            let mut lists: Vec<Json> = named.into_iter().map(list).filter(texts).collect();
            lists.push(json!(["x"]));
            (lists, "a list of texts".to_owned())
        }
    })
}

fn literal(node: &Node) -> Option<Json> {
    Some(match node {
        Node::Literal(Literal::Text(text)) => json!(text),
        Node::Literal(Literal::Bool(value)) => json!(value),
        Node::Literal(Literal::Int(value)) => json!(value),
        Node::Literal(Literal::Uint(value)) => json!(value),
        Node::Literal(Literal::Double(value)) => json!(value),
        Node::Literal(Literal::Null) => Json::Null,
        Node::List(items) => Json::Array(items.iter().map(literal).collect::<Option<_>>()?),
        _ => return None,
    })
}

/// What a term says of a token in which the claim has this value; nothing, when that takes more than one evaluation may
/// use.
fn answer(term: &Node, path: &ClaimPath, value: &Json) -> Option<Option<bool>> {
    let mut token = strangers::ordinary();
    *path.segments.iter().fold(&mut token, |at, segment| &mut at[segment.as_str()]) = value.clone();
    let nothing = Json::Object(serde_json::Map::new());
    let (scope, mut budget) = (Scope { assertion: &token, google: &nothing, attribute: &nothing }, Budget::default());
    let answer = match term.evaluate_alone(scope, &mut budget) {
        Some(Ok(Value::Bool(value))) => Some(value),
        _ => None,
    };
    (!budget.short).then_some(answer)
}

#[cfg(test)]
mod tests {
    use crate::attest::policy::Policy;
    use crate::attest::policy::found::Level;
    use crate::attest::policy::lint::lint;

    fn rules(head: &str, term: &str) -> Vec<&'static str> {
        let good = "assertion.swname == 'GCE' && assertion.submods.gce.project_id == 'p'";
        let text = format!("audiences: [a]\n{head}\ncondition: |\n  {good} && {term}\n");
        let found = lint(&Policy::read(&text, "p").unwrap()).into_iter().filter(|remark| remark.level == Level::Error);
        found.map(|remark| remark.rule).collect()
    }

    #[test]
    fn terms_that_no_token_makes_true_are_told() {
        let space = "assertion.submods.confidential_space";
        for (term, rule) in [
            ("assertion.hwmodel.startsWith('INTEL_TDX')", "never-true"),
            ("assertion.hwmodel.matches('^INTEL_TDX$')", "never-true"),
            ("assertion.hwmodel == 'INTEL_TDX'", "hwmodel-value"),
            ("assertion.hwmodel.endsWith('_TDX')", ""),
            (&format!("{space}.monitoring_enabled == false"), "never-true"),
            (&format!("{space}.monitoring_enabled"), "never-true"),
            (&format!("!{space}.monitoring_enabled"), "never-true"),
            (&format!("{space}.monitoring_enabled != true"), "always-true"),
            (&format!("{space}.monitoring_enabled.memory == false"), ""),
            (&format!("'stable' in {space}.support_attributes"), "never-true"),
            (&format!("{space}.support_attributes.exists(a, a == 'STABLE')"), ""),
            ("assertion.secboot == 'true'", "never-true"),
            ("assertion.secboot == true", ""),
            ("assertion.secboot", ""),
            ("assertion.secboot != 'false'", "always-true"),
            ("assertion.oemid == '11129'", "never-true"),
            ("assertion.oemid == 11129", ""),
            ("assertion.iss == 'https://confidentialcomputing.googleapis.com/'", "never-true"),
            ("assertion.iss == 'https://confidentialcomputing.googleapis.com'", ""),
            ("assertion.google_service_accounts == 'a@p.example'", "never-true"),
            ("assertion.google_service_accounts == ['a@p.example', 'b']", ""),
            ("'a@p.example' in assertion.google_service_accounts", ""),
            ("assertion.submods.gce.zone == 5", "never-true"),
            ("assertion.submods.gce.zone in ['a', 'b']", ""),
            ("assertion.submods.gce.zone.matches('^europe-.*$')", ""),
            ("assertion.submods.gce.zone != assertion.submods.gce.project_id", ""),
            ("assertion.iat == '1790000000'", "never-true"),
            ("(has(assertion.hwmodel) && assertion.submods.gce.instance_id == 5)", "number-for-text"),
        ] {
            let expected: Vec<&str> = Some(rule).filter(|rule| !rule.is_empty()).into_iter().collect();
            assert_eq!(rules("", term), expected, "{term}");
        }
        let intel = "issuer: https://portal.trustauthority.intel.com";
        assert_eq!(rules(intel, "assertion.hwmodel == 'INTEL_TDX'"), [""; 0], "its own spelling");
        assert_eq!(rules(intel, "assertion.iss == 'https://confidentialcomputing.googleapis.com'"), ["never-true"]);
    }
    #[test]
    fn what_takes_long_uses_nothing_up_for_the_terms_behind_it() {
        let all = |count: u8, name: &str, inner: &str| {
            let list: Vec<String> = (0..count).map(|n| n.to_string()).collect();
            format!("[{}].all({name}, {inner})", list.join(","))
        };
        // A third of what one evaluation may use, and more than that.
        for (count, term) in [(30, "assertion.hwmodel.startsWith('GCP_')"), (45, "assertion.secboot")] {
            let inner = format!("x + y + z >= 0 && x + y + z >= 0 && {term}");
            let long = all(count, "x", &all(count, "y", &all(count, "z", &inner)));
            assert_eq!(rules("", &format!("{long} && assertion.secboot && assertion.oemid == 11129")), [""; 0]);
        }
    }
}
