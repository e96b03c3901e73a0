//! Hints for a term that is not true: what would make it true, and what was perhaps meant.

use serde_json::Value as Json;

use super::accepted::GOOGLE;
use super::fault::fault;
use super::known;
use super::mapping::{Mapping, MappingError};
use super::overrides;
use super::wish::Wish;
use crate::attest::cel::node::{ClaimPath, Node, Variable};
use crate::attest::cel::{Budget, EvalError, Scope, Value};
use crate::attest::nearest::nearest;

/// A mapping that failed, so that there are no mapped attributes at all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unmapped<'m> {
    pub(super) mapping: &'m Mapping,
    pub(super) error: &'m MappingError,
}

/// What hints are made of beside the term.
pub(super) struct About<'a, 'b> {
    pub(super) scope: Scope<'a>,
    pub(super) unmapped: Option<Unmapped<'a>>,
    /// For looking at parts of the term.
    pub(super) budget: &'b mut Budget,
}

/// The hints for a term that is not true.
pub(super) fn hints(node: &Node, about: About<'_, '_>, result: &Result<Value<'_>, EvalError>) -> Vec<String> {
    let About { scope, unmapped, budget } = about;
    let mut found = Vec::new();
    match result {
        Ok(Value::Bool(true)) => {}
        Ok(Value::Bool(false)) => {
            found.extend(Wish { scope, budget, values: true }.of(node));
            found.extend(unmade(node, scope).into_iter().filter_map(|path| {
                unmapped.and_then(|unmapped| about_unmapped(&path, unmapped)).or_else(|| about_absent(&path, scope))
            }));
        }
        Ok(_) => found.push("compare it with something: a condition must be true or false".to_owned()),
        Err(_) => {
            for path in node.claims() {
                if path.resolve(scope.root(path.variable)).is_none() {
                    let failed = unmapped.and_then(|unmapped| about_unmapped(&path, unmapped));
                    let told = failed.or_else(|| below_plain(&path, scope));
                    let told = told.or_else(|| overrides::hint(node, &path, scope, budget));
                    found.extend(told.or_else(|| about_absent(&path, scope)).filter(|told| !found.contains(told)));
                }
            }
            if found.is_empty() {
                found.extend(fault(node, &mut Wish { scope, budget, values: true }));
            }
        }
    }
    found
}

/// The attributes that has() asks for, and that nothing made.
fn unmade(node: &Node, scope: Scope<'_>) -> Vec<ClaimPath> {
    let mut found = Vec::new();
    node.visit(&mut |part| match part.path().filter(|_| matches!(part, Node::Has { .. })) {
        Some(path) if path.variable != Variable::Assertion && path.segments.len() == 1 => found.push(path),
        _ => {}
    });
    found.retain(|path| path.resolve(scope.root(path.variable)).is_none());
    found
}

/// Why an attribute is missing that is mapped, when the mapping failed.
fn about_unmapped(path: &ClaimPath, unmapped: Unmapped<'_>) -> Option<String> {
    let name = path.segments.first().filter(|_| path.variable != Variable::Assertion)?;
    let ours = format!("{}.{name}", path.variable.name());
    unmapped.mapping.entries().find(|(key, _)| *key == ours)?;
    Some(match unmapped.error {
        MappingError::Kind { key, kind, expected } if *key == ours => {
            format!("{ours} is mapped, but to {kind}; it must be {expected}{}", made_a_text(kind, expected))
        }
        MappingError::TooLong { key, bytes, limit } if *key == ours => {
            format!("{ours} is mapped, but to {bytes} bytes; at most {limit} are allowed: map something shorter")
        }
        MappingError::Failed { key, error } if *key == ours => {
            format!("{ours} is mapped, but its mapping has no value for this token: {error}")
        }
        other => format!("{ours} is mapped, but nothing is when one mapping fails: {other}"),
    })
}

/// How a value of this kind becomes what a mapping must give.
fn made_a_text(kind: &str, expected: &str) -> &'static str {
    match kind {
        "string" => ": write [...] around it",
        _ if expected != "a string" => "",
        "int" | "uint" | "double" | "bool" | "bytes" | "google.protobuf.Timestamp" | "google.protobuf.Duration" => {
            ": write string(...) around it"
        }
        "list" => ": take one element of it, as ...[0], or ask the whole list as assertion in the condition",
        "map" => ": take one of its members, or ask the whole map as assertion in the condition",
        "null_type" => ": this token has nothing there; map something else, or write (... == null ? '' : ...)",
        _ => "",
    }
}

/// Why a claim may be missing, and what was perhaps meant.
fn about_absent(path: &ClaimPath, scope: Scope<'_>) -> Option<String> {
    if path.variable != Variable::Assertion {
        return Some(format!("{path} is not mapped: add it to the attribute mapping"));
    }
    let last = path.segments.last()?.as_str();
    let parent = ClaimPath { variable: path.variable, segments: path.segments[..path.segments.len() - 1].to_vec() };
    if last == "support_attributes" {
        return Some(format!("debug images have no {path}: this token may come from one"));
    }
    // A name that tokens are known to have is not misspelled: this token does not have it.
    if known::is_fixed(&path.segments) {
        return guard(path, scope);
    }
    // A sibling that is spelled nearly so, else a claim of that name elsewhere.
    let siblings = parent.resolve(scope.assertion).and_then(Json::as_object);
    let near = siblings.and_then(|members| nearest(last, members.keys().take(LOOKED_AT).map(String::as_str)));
    if let Some(near) = near {
        let mut segments = parent.segments;
        segments.push(near.to_owned());
        return Some(format!("closest claim: {}", ClaimPath { variable: path.variable, segments }));
    }
    if let Some(place) = find_named(scope.assertion, last, 0, &mut { LOOKED_AT }) {
        return Some(format!("closest claim: {}", ClaimPath { variable: path.variable, segments: place }));
    }
    // Of other issuers' claims none are known.
    let google = scope.assertion.get("iss").is_none_or(|issuer| issuer == GOOGLE);
    match known::meant(&path.segments).filter(|_| google) {
        Some(meant)
            if !known::is_known(&path.segments)
                && !known::written(&path.segments).starts_with(&format!("{meant}.")) =>
        {
            Some(format!("closest known claim: assertion.{}", known::spelled(meant, &path.segments)))
        }
        _ => guard(path, scope),
    }
}

/// Of a claim below one that has no parts: no guard helps, as `has()` fails there, too.
fn below_plain(path: &ClaimPath, scope: Scope<'_>) -> Option<String> {
    let upto = |depth| ClaimPath { variable: path.variable, segments: path.segments[..depth].to_vec() };
    let found = |depth: &usize| upto(*depth).resolve(scope.root(path.variable));
    let depth = (1..path.segments.len()).rev().find(|depth| found(depth).is_some())?;
    let plain = !matches!(found(&depth)?, Json::Array(_) | Json::Object(_));
    plain.then(|| format!("{} has no parts in this token: it is a plain value", upto(depth)))
}

/// What to ask for first: the outermost of a claim's parents that is not there, as `has()` only forgives the last name.
fn guard(path: &ClaimPath, scope: Scope<'_>) -> Option<String> {
    let upto = |depth| ClaimPath { variable: path.variable, segments: path.segments[..depth].to_vec() };
    let depth = (1..=path.segments.len()).find(|depth| upto(*depth).resolve(scope.assertion).is_none())?;
    let (gone, parent, last) = (upto(depth), upto(depth - 1), &path.segments[depth - 1]);
    let ask = match parent.resolve(scope.assertion)? {
        Json::Array(items) => {
            let count = items.len();
            return Some(format!("{parent} has only {count} element(s): guard it with size({parent}) > {last}"));
        }
        Json::Object(members) if place_in_map(&parent, last) => {
            let rest = &path.segments[depth..];
            let plain = ClaimPath { variable: path.variable, segments: [&parent.segments, rest].concat() };
            let how = match rest.first().is_none_or(|name| members.contains_key(name)) {
                true => format!("write {plain}"),
                false => format!("leave out [{last}]"),
            };
            return Some(format!("{parent} is a map in this token, not a list: {how}"));
        }
        Json::Object(_) if gone.to_string() == format!("{parent}.{last}") => format!("has({gone})"),
        Json::Object(_) => format!("{last:?} in {parent}"),
        _ => return Some(format!("{parent} has no parts in this token: it is a plain value")),
    };
    Some(format!("the token has no {gone}: guard it with {ask}"))
}

/// Whether a place is asked for in what tokens hold as a map, although it is documented as a list.
fn place_in_map(parent: &ClaimPath, last: &str) -> bool {
    parent.variable == Variable::Assertion && parent.segments == ["tdx"] && last.bytes().all(|b| b.is_ascii_digit())
}

/// The most claims that are looked at for a suggestion.
const LOOKED_AT: usize = 500;

fn find_named(json: &Json, name: &str, depth: usize, left: &mut usize) -> Option<Vec<String>> {
    let members = json.as_object().filter(|_| depth < 8)?;
    if members.contains_key(name) {
        return Some(vec![name.to_owned()]);
    }
    members.iter().find_map(|(member, value)| {
        *left = left.checked_sub(1)?;
        let mut below = find_named(value, name, depth + 1, left)?;
        below.insert(0, member.clone());
        Some(below)
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::attest::policy::{Condition, Mapped, Mapping};

    /// The hints of a condition's terms.
    fn hints(condition: &str, mapping: &[(&str, &str)]) -> Vec<String> {
        let pairs: Vec<_> = mapping.iter().map(|(key, text)| ((*key).to_owned(), (*text).to_owned())).collect();
        let claims =
            json!({"sub": "x".repeat(128), "oemid": 11129, "a": 1, "zy": 2, "swname": "GCE", "swversion": ["1"]});
        let condition = Condition::compile(condition).unwrap();
        let explained = condition.explain_mapped(&claims, &Mapping::compile(&pairs).unwrap()).1;
        explained.terms.into_iter().flat_map(|term| term.hints).collect()
    }

    #[test]
    fn remedies_for_what_is_absent_are_no_errors_themselves() {
        for (condition, hint) in [
            (
                "assertion.tdx.gcp_attester_tcb_status == 'UpToDate'",
                "the token has no assertion.tdx: guard it with has(assertion.tdx)",
            ),
            ("has(assertion.tdx.x)", "the token has no assertion.tdx: guard it with has(assertion.tdx)"),
            (
                "assertion.attester_tcb[0] == 'INTEL'",
                "the token has no assertion.attester_tcb: guard it with has(assertion.attester_tcb)",
            ),
            (
                "assertion.swversion[1] == '1'",
                "assertion.swversion has only 1 element(s): guard it with size(assertion.swversion) > 1",
            ),
            (
                "assertion['https://aws.amazon.com/tags'].x == 'y'",
                "the token has no assertion[\"https://aws.amazon.com/tags\"]: guard it with \
                 \"https://aws.amazon.com/tags\" in assertion",
            ),
            ("assertion.swname.x == 'y'", "assertion.swname has no parts in this token: it is a plain value"),
            (
                "size(assertion.swname.cmd_override) == 0",
                "assertion.swname has no parts in this token: it is a plain value",
            ),
            ("assertion.swnam == 'GCE'", "closest claim: assertion.swname"),
            ("assertion.q == 1", "the token has no assertion.q: guard it with has(assertion.q)"),
            ("assertion.zz == 1", "the token has no assertion.zz: guard it with has(assertion.zz)"),
            ("assertion.SUB == 'x'", "closest claim: assertion.sub"),
            (
                "size(assertion.submods.container.cmd_override) == 0",
                "the token has no assertion.submods: guard it with has(assertion.submods)",
            ),
        ] {
            assert_eq!(hints(condition, &[]), [hint], "{condition}");
        }
    }

    #[test]
    fn a_place_in_tdx_is_no_place_in_a_map() {
        let tcb = json!({"swname": "GCE", "tdx": {"gcp_attester_tcb_status": "UpToDate"}});
        for (condition, hint) in [
            ("assertion.tdx[0].gcp_attester_tcb_status == 'UpToDate'", "write assertion.tdx.gcp_attester_tcb_status"),
            ("assertion.tdx[0].gcp_attester_tcb_date != ''", "leave out [0]"),
        ] {
            let explained = Condition::compile(condition).unwrap().explain(&tcb, &Mapped::default());
            let told = format!("assertion.tdx is a map in this token, not a list: {hint}");
            assert_eq!(explained.terms[0].hints, [told], "{condition}");
        }
    }

    #[test]
    fn a_mapping_that_fails_is_not_called_missing() {
        let number = [("attribute.n", "assertion.oemid"), ("attribute.s", "assertion.swname")];
        assert_eq!(
            hints("attribute.n == '11129'", &number),
            ["attribute.n is mapped, but to int; it must be a string: write string(...) around it"]
        );
        for (made, remedy) in [
            ("assertion.swversion", "list; it must be a string: take one element of it, as ...[0],"),
            ("{'a': assertion.a}", "map; it must be a string: take one of its members,"),
            ("null", "null_type; it must be a string: this token has nothing there"),
            ("timestamp(assertion.a)", "Timestamp; it must be a string: write string(...) around it"),
            ("assertion.a == 1", "bool; it must be a string: write string(...) around it"),
            ("bytes('x')", "bytes; it must be a string: write string(...) around it"),
        ] {
            let found = hints("attribute.n == 'x'", &[("attribute.n", made)]);
            assert!(found.len() == 1 && found[0].contains(remedy), "{made}: {found:?}");
        }
        assert_eq!(
            hints("'x' in google.groups", &[("google.groups", "assertion.swname")]),
            ["google.groups is mapped, but to string; it must be a list of strings: write [...] around it"]
        );
        assert_eq!(
            hints("attribute.s == 'GCE'", &number),
            [
                "attribute.s is mapped, but nothing is when one mapping fails: the mapping of attribute.n gives int, it must be a string"
            ]
        );
        assert_eq!(
            hints("google.subject == 'x'", &[("google.subject", "assertion.sub")]),
            ["google.subject is mapped, but to 128 bytes; at most 127 are allowed: map something shorter"]
        );
        assert_eq!(
            hints("attribute.n == 'x'", &[("attribute.n", "assertion.gone")]),
            ["attribute.n is mapped, but its mapping has no value for this token: there is no assertion.gone"]
        );
        for mapping in [&[][..], &number, &[("attribute.s", "assertion.swname")]] {
            assert_eq!(
                hints("attribute.other == 'x'", mapping),
                ["attribute.other is not mapped: add it to the attribute mapping"]
            );
            assert_eq!(
                hints("has(attribute.other)", mapping),
                [
                    "true if the attribute mapping made attribute.other",
                    "attribute.other is not mapped: add it to the attribute mapping"
                ]
            );
        }
    }
}
