//! Terms that no real token makes true. Each is tried on every value that the one claim it looks at can have, or, where
//! those are without number, on values of the claim's kind, with those that the term names among them.

use serde_json::{Value as Json, json};

use super::Policy;
use super::compared::{compared_with, differs, number_and_text};
use super::found::{Found, Level};
use super::known::{DEBUGGING, MODELS, SOFTWARE, SUPPORT, written};
use super::samples::{Samples, told};
use super::spelling::Spelling;
use super::spoken::spoken;
use super::strangers;
use crate::attest::cel::node::{ClaimPath, Node, Variable};
use crate::attest::cel::{Budget, Scope, Value};

/// What a claim of Google's tokens can be.
enum Values {
    /// Only these.
    Only(Vec<Json>),
    Text,
    Texts,
    /// A text that is spelled so.
    Spelled(Spelling),
    /// A list of such texts.
    AllSpelled(Spelling),
    /// One of these, or a list with one of them.
    Audience(Vec<String>),
    Number,
    /// A time (RFC 3339).
    Time,
    /// What names an image: `sha256:` and 64 lower-case hex digits.
    Digest,
    /// A list of maps.
    Maps,
}

/// The mode of the GPU.
pub(super) const GPU_MODE: &str = "submods.nvidia_gpu.cc_mode";

fn values(path: &str, policy: &Policy) -> Option<Values> {
    Some(match path {
        "iss" => Values::Only(vec![json!(policy.issuer)]),
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
        SUPPORT => Values::Only(vec![
            json!(["LATEST", "STABLE", "USABLE"]),
            json!(["STABLE", "USABLE"]),
            json!(["USABLE"]),
            json!(["EXPERIMENTAL"]),
            json!([]),
        ]),
        "submods.container.restart_policy" => Values::Only(["Always", "OnFailure", "Never"].map(Json::from).to_vec()),
        GPU_MODE => Values::Only(["ON", "OFF", "DEVTOOLS"].map(Json::from).to_vec()),
        "attester_tcb" => Values::Only(vec![json!(["INTEL"])]),
        "iat" | "nbf" | "exp" => Values::Number,
        "swversion" | "submods.container.args" => Values::Texts,
        "google_service_accounts" => Values::AllSpelled(Spelling::Account),
        "google_service_accounts[]" => Values::Spelled(Spelling::Account),
        "submods.gce.project_id" => Values::Spelled(Spelling::ProjectId),
        "submods.gce.project_number" | "submods.gce.instance_id" => Values::Spelled(Spelling::Digits),
        "submods.gce.zone" => Values::Spelled(Spelling::Zone),
        "aud" => Values::Audience(policy.audiences.clone()),
        "sub" | "eat_profile" => Values::Text,
        "swversion[]" | "submods.container.args[]" | "attester_tcb[]" => Values::Text,
        path if path.starts_with("submods.gce.") && path.matches('.').count() == 2 => Values::Text,
        path if path.starts_with("submods.container.image_signatures[].") => Values::Text,
        "submods.container.image_signatures" => Values::Maps,
        "submods.container.image_digest" | "submods.container.image_id" => Values::Digest,
        "submods.container.image_reference" => Values::Text,
        "tdx.gcp_attester_tcb_date" | "tdx[].gcp_attester_tcb_date" => Values::Time,
        _ => return None,
    })
}

/// What a term says of one token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Says {
    Is(bool),
    /// Nothing: why not.
    Fails(String),
}

impl Found {
    /// Tells of terms that are the same for every token, though they look at a claim.
    pub(super) fn impossible(&mut self, policy: &Policy, root: &Node) {
        let samples = Samples::of(&policy.mapping);
        for (term, _) in terms(root) {
            let claims = term.claims();
            if asks_for_presence(term) || claims.iter().any(|path| self.compared.contains(path)) {
                continue;
            }
            if self.google
                && !claims.is_empty()
                && let Some(why) = samples.fault_of_term(term)
            {
                self.fails_always(term, &why);
                continue;
            }
            if let Some(why) = number_and_text(term).filter(|_| self.google) {
                self.always(term, differs(term), &why);
                continue;
            }
            let [path] = claims.as_slice() else { continue };
            let name = written(&path.segments);
            let foreign = !self.google && name != "iss";
            let values = values(&name, policy);
            let Some(values) = values.filter(|_| !foreign && path.variable == Variable::Assertion) else { continue };
            self.tried(term, path, &values);
        }
        for (key, expression) in policy.mapping.entries().filter(|_| self.google).collect::<Vec<_>>() {
            if let Some(why) = samples.fault_of_value(expression.root()) {
                self.add(
                    Level::Error,
                    "always-error",
                    format!("the mapping of {key} is an error for every token: {why}"),
                    "without its mapping no token passes",
                );
            }
        }
    }

    /// Tries a term on what its one claim can be.
    fn tried(&mut self, term: &Node, path: &ClaimPath, values: &Values) {
        let Some(Tries { values, is, all }) = tries(values, term) else { return };
        // What takes too long for an answer is no answer.
        let answers: Option<Vec<_>> = values.iter().map(|value| answer(term, path, value)).collect();
        let Some(answers) = answers else { return };
        match answers.first() {
            Some(Says::Fails(why)) if answers.iter().all(|answer| matches!(answer, Says::Fails(_))) => {
                self.fails_always(term, why);
            }
            _ if all && answers.iter().all(|answer| *answer != Says::Is(true)) => {
                self.always(term, false, &format!("{path} is {is}"));
            }
            _ if all && differs(term) && answers.iter().all(|answer| *answer == Says::Is(true)) => {
                self.always(term, true, &format!("{path} is {is}"));
            }
            _ => {}
        }
    }

    fn always(&mut self, term: &Node, so: bool, why: &str) {
        let (rule, how, effect) = if so {
            ("always-true", "always true", "it lets everything pass")
        } else {
            let effect = "it denies every token, or adds nothing to an ||; behind a ! it lets everything pass";
            ("never-true", "never true", effect)
        };
        self.add(Level::Error, rule, format!("{} is {how}: {why}", spoken(term)), effect);
    }

    fn fails_always(&mut self, term: &Node, why: &str) {
        self.add(
            Level::Error,
            "always-error",
            format!("{} is an error for every token: {why}", spoken(term)),
            "an error denies, behind a ! too, unless another part of an && or || decides",
        );
    }
}

/// The parts of a condition that are true or false by themselves, and which of the two helps it to be true: neither, of
/// what stands before a `?`, which only chooses.
pub(super) fn terms(root: &Node) -> Vec<(&Node, Option<bool>)> {
    let (mut found, mut waiting) = (Vec::new(), vec![(root, Some(true))]);
    while let Some((node, so)) = waiting.pop() {
        match node {
            Node::Not(inner) => waiting.push((inner, so.map(|so| !so))),
            Node::And(_) | Node::Or(_) => waiting.extend(node.children().into_iter().rev().map(|part| (part, so))),
            Node::Conditional(parts) => {
                let [chooses, then, otherwise] = parts.as_ref();
                waiting.extend([(otherwise, so), (then, so), (chooses, None)]);
            }
            term => found.push((term, so)),
        }
    }
    found
}

/// Whether a term asks if a claim is there.
pub(super) fn asks_for_presence(term: &Node) -> bool {
    let mut found = false;
    term.visit(&mut |node| found |= matches!(node, Node::Has { .. }));
    found
}

/// What a term is tried on.
struct Tries {
    values: Vec<Json>,
    /// What the claim is, in words.
    is: String,
    /// Whether the term has no other answer on what is not tried; else an error alone is told, as it is of the form.
    all: bool,
}

/// What a term is tried on; nothing, when it says more about a claim than what it is equal to, and the claim can be
/// anything.
fn tries(values: &Values, term: &Node) -> Option<Tries> {
    match (values, compared_with(term)) {
        (Values::Only(values), _) => {
            let shown: Vec<String> = values.iter().map(Json::to_string).collect();
            Some(Tries { values: values.clone(), is: shown.join(" or "), all: true })
        }
        (Values::Time, None) => Some(Tries {
            values: ["2026-03-13T00:00:00Z", "2024-11-07T12:30:45Z"].map(Json::from).to_vec(),
            is: String::new(),
            all: false,
        }),
        (_, None) => None,
        (values, Some(other)) => Some(equals(values, other)),
    }
}

/// What of a literal the claim can be, and something else that it can be.
fn equals(values: &Values, other: Json) -> Tries {
    let mut named = other.as_array().cloned().unwrap_or_default();
    named.push(other);
    let is = match values {
        Values::Text | Values::Time => {
            named.retain(Json::is_string);
            named.push(json!("x"));
            "a text"
        }
        Values::Spelled(spelling) => {
            named.retain(|value| value.as_str().is_some_and(|text| spelling.fits(text)));
            named.push(json!(spelling.example()));
            spelling.words()
        }
        Values::Audience(accepted) => {
            // A token with several may name others too.
            let list = |value: &Json| if value.is_array() { value.clone() } else { json!([value]) };
            named = named.iter().map(list).chain(accepted.iter().map(|audience| json!(audience))).collect();
            "one of the policy's audiences"
        }
        Values::Digest => {
            named.retain(|value| value.as_str().is_some_and(is_digest));
            named.push(json!(format!("sha256:{}", "0".repeat(64))));
            "\"sha256:\" and 64 hex digits, a to f in lower case"
        }
        Values::Number => {
            named.retain(Json::is_number);
            named.push(json!(1));
            "a whole number"
        }
        Values::Maps => {
            named = vec![json!([]), json!([{}])];
            "a list of maps"
        }
        Values::Texts | Values::AllSpelled(_) | Values::Only(_) => {
            let spelling = if let Values::AllSpelled(spelling) = values { Some(*spelling) } else { None };
            let list = |value: Json| if value.is_array() { value } else { json!([value]) };
            let fits = |text: &Json| text.as_str().is_some_and(|text| spelling.is_none_or(|s| s.fits(text)));
            let texts = |value: &Json| value.as_array().is_some_and(|items| items.iter().all(fits));
            named = named.into_iter().map(list).filter(texts).collect();
            named.push(json!([spelling.map_or("x", Spelling::example)]));
            let each = spelling.map_or(String::new(), |spelling| format!(", each {}", spelling.words()));
            return Tries { values: named, is: format!("a list of texts{each}"), all: true };
        }
    };
    Tries { values: named, is: is.to_owned(), all: true }
}

fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

/// What a term says of a token in which the claim has this value; nothing, when that takes more than one evaluation may
/// use.
pub(super) fn answer(term: &Node, path: &ClaimPath, value: &Json) -> Option<Says> {
    let mut token = strangers::ordinary();
    put(&mut token, &path.segments, value);
    let nothing = Json::Object(serde_json::Map::new());
    let (scope, mut budget) = (Scope { assertion: &token, google: &nothing, attribute: &nothing }, Budget::default());
    let answer = match term.evaluate_alone(scope, &mut budget) {
        Some(Ok(Value::Bool(value))) => Says::Is(value),
        _ => Says::Fails(told(term, scope)),
    };
    (!budget.short).then_some(answer)
}

/// Gives a claim a value. A number in its path is the place in a list, all of whose elements become the same.
pub(super) fn put(at: &mut Json, segments: &[String], value: &Json) {
    /// The longest list that is made.
    const LONGEST: usize = 100;
    let Some((first, rest)) = segments.split_first() else {
        *at = value.clone();
        return;
    };
    match first.parse::<usize>() {
        Ok(place) => {
            let mut item = at.get(0).cloned().unwrap_or(Json::Null);
            put(&mut item, rest, value);
            *at = Json::Array(vec![item; place.min(LONGEST) + 1]);
        }
        Err(_) => {
            if !at.is_object() {
                *at = Json::Object(serde_json::Map::new());
            }
            put(&mut at[first.as_str()], rest, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::attest::policy::Policy;
    use crate::attest::policy::found::{Level, Remark};
    use crate::attest::policy::lint::lint;

    fn remarks(head: &str, term: &str) -> Vec<Remark> {
        let good = "assertion.swname == 'GCE' && assertion.submods.gce.project_id == 'p'";
        lint(&Policy::read(&format!("audiences: [a]\n{head}\ncondition: |\n  {good} && {term}\n"), "p").unwrap())
    }

    fn rules(head: &str, term: &str) -> Vec<&'static str> {
        let found = remarks(head, term).into_iter().filter(|remark| remark.level == Level::Error);
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
            (&format!("{space}.monitoring_enabled"), "always-error"),
            (&format!("!{space}.monitoring_enabled"), "always-error"),
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
            ("assertion.swversion[0] == 250800", "never-true"),
            ("assertion.submods.container.image_digest == '1111'", "never-true"),
            (&format!("assertion.submods.container.image_digest == 'sha256:{}'", "A".repeat(64)), "never-true"),
            (&format!("assertion.submods.container.image_digest == 'sha256:{}'", "1".repeat(63)), "never-true"),
            (&format!("assertion.submods.container.image_digest in ['sha256:{}', '1']", "1".repeat(64)), ""),
            ("assertion.submods.container.image_digest.startsWith('sha256:1')", ""),
            ("assertion.submods.container.image_digest != 'sha256:1'", "always-true"),
            (&format!("assertion.submods.container.image_id == '{}'", "1".repeat(64)), "never-true"),
            ("'x' in assertion.submods.container.image_signatures", "never-true"),
            ("assertion.hwmodel < 'GCP_INTEL_TDY'", ""),
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
    fn terms_that_are_an_error_on_every_token_are_told_with_the_remedy() {
        let container = "assertion.submods.container";
        for (term, remedy) in [
            ("assertion.swversion[0] >= 250800", "write int(assertion.swversion[0])"),
            ("int(assertion.swversion) >= 250800", "write int(assertion.swversion[0])"),
            ("!(int(assertion.swversion) < 250800)", "write int(assertion.swversion[0])"),
            ("assertion.swversion >= 250800", "write int(assertion.swversion[0])"),
            ("assertion.swversion.exists(v, v >= 250800)", "the first of assertion.swversion is a text"),
            ("assertion.google_service_accounts.contains('a@b')", "write \"a@b\" in assertion.google_service_accounts"),
            (
                "assertion.google_service_accounts.startsWith('a')",
                "google_service_accounts.exists(x, x.startsWith(...))",
            ),
            (&format!("{container}.args.contains('x')"), "write \"x\" in assertion.submods.container.args"),
            (&format!("{container}.image_signatures.contains('x')"), "image_signatures.exists(x, x.NAME == ...)"),
            (&format!("!('sha256:2' in {container}.image_digest)"), "image_digest is a text"),
            ("assertion.submods.gce.zone.contains(1)", "1 is a whole number (int)"),
            ("assertion.swname in 'CONFIDENTIAL_SPACE,GCE'", "in looks into lists and maps"),
            ("assertion.swname.startsWith(1)", "1 is a whole number (int)"),
            ("assertion.iat < timestamp('2027-01-01T00:00:00Z')", "write timestamp(assertion.iat)"),
            ("assertion.exp > '2027'", "leave out the quotes of \"2027\""),
            (
                "assertion.tdx.gcp_attester_tcb_date > timestamp('2027-01-01T00:00:00Z')",
                "write timestamp(assertion.tdx.gcp_attester_tcb_date)",
            ),
            ("int(assertion.tdx.gcp_attester_tcb_date) > 5", "int() reads a whole number such as"),
            ("int(assertion.hwmodel) == 1", "int() reads a whole number such as"),
            ("assertion.hwmodel", "compare it with something"),
            ("!assertion.hwmodel", "compare it with something"),
            ("size(assertion.oemid) == 1", "size() counts what texts, bytes, lists and maps hold"),
        ] {
            let found: Vec<_> = remarks("", term).into_iter().filter(|remark| remark.level == Level::Error).collect();
            let [remark] = found.as_slice() else { panic!("{term}: {found:?}") };
            assert!(remark.rule == "always-error" && remark.level == Level::Error, "{term}: {remark:?}");
            assert!(remark.message.contains(remedy) && !remark.message.contains("now "), "{term}: {remark:?}");
            assert!(remark.why.contains("behind a ! too"), "{term}: {remark:?}");
        }
        let mapped = |made: &str| rules(&format!("mapping: {{attribute.a: {made:?}}}"), "attribute.a == 'x'");
        assert_eq!(mapped("assertion.swversion + 'x'"), ["always-error"]);
        assert_eq!(mapped("assertion.swversion[0] + 'x'"), [""; 0]);
        assert_eq!(
            rules("", "(assertion.exp + 1u > 5 || assertion.exp + 1.0 > 5.0)"),
            [""; 0],
            "numbers may be of any type"
        );
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
