//! The field mask of a list: which members of a result are answered.

use serde_json::{Map, Value, json};

use super::error::Refusal;
use super::mask::spelled;
use super::names::Version;
use super::schema::{Kind, SCHEMA};

/// A field mask that has been read: paths from a list's result.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FieldMask(Vec<Vec<Step>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    /// A member of a message, in camelCase.
    Member(String),
    /// A key of a map.
    Key(String),
    /// The key of a mark, which has no case.
    Mark(String),
}

impl FieldMask {
    /// Reads the paths, in either spelling; each starts at a member of a result, or of its finding. No path and `*`
    /// mean everything: `None`.
    pub(crate) fn read(paths: &[String], version: Version) -> Result<Option<Self>, Refusal> {
        if paths.is_empty() || paths.iter().any(|path| path == "*") {
            return Ok(None);
        }
        let unknown = |path: &str| Refusal::field("field_mask", format!("Invalid field_mask: unknown path {path:?}"));
        let read = |path: &String| steps(path, version).ok_or_else(|| unknown(path));
        paths.iter().map(read).collect::<Result<_, _>>().map(|paths| Some(Self(paths)))
    }

    /// The part of a result that the mask names.
    pub(crate) fn part_of(&self, whole: &Value) -> Value {
        let mut out = json!({});
        for path in &self.0 {
            copy(whole, &mut out, path);
        }
        out
    }
}

/// The steps of one path; nothing if there is no such member.
fn steps(path: &str, version: Version) -> Option<Vec<Step>> {
    let result = SCHEMA.versioned("ListFindingsResult", version);
    let rooted = SCHEMA.message(&result).member(next(path)?.0).is_some();
    let (mut kind, mut out) = if rooted {
        (Kind::Message(result), Vec::new())
    } else {
        (Kind::Message("Finding".to_owned()), vec![Step::Member("finding".to_owned())])
    };
    let mut rest = Some(path);
    while let Some(text) = rest {
        let (name, tail) = next(text)?;
        let (step, inner) = enter(kind, name, out.last())?;
        (kind, rest) = (inner, tail);
        out.push(step);
    }
    Some(out)
}

/// Splits off the first name, which may stand in backquotes.
fn next(path: &str) -> Option<(&str, Option<&str>)> {
    let (name, rest) = match path.strip_prefix('`') {
        Some(quoted) => {
            let (name, rest) = quoted.split_once('`')?;
            (name, if rest.is_empty() { None } else { Some(rest.strip_prefix('.')?) })
        }
        None => path.split_once('.').map_or((path, None), |(name, rest)| (name, Some(rest))),
    };
    (!name.is_empty()).then_some((name, rest))
}

/// From what stands at a path to one of its members or keys; of a list, to those of its items.
fn enter(kind: Kind, name: &str, before: Option<&Step>) -> Option<(Step, Kind)> {
    match kind {
        Kind::Message(message) => {
            let member = SCHEMA.message(&message).member(name)?;
            Some((Step::Member(member.name.clone()), member.kind.clone()))
        }
        Kind::List(item) => enter(*item, name, before),
        Kind::Map(item) if before == Some(&Step::Member("marks".to_owned())) => {
            Some((Step::Mark(name.to_owned()), *item))
        }
        Kind::Map(item) => Some((Step::Key(name.to_owned()), *item)),
        Kind::Any => Some((Step::Key(name.to_owned()), Kind::Any)),
        _ => None,
    }
}

impl Step {
    /// The entry that is meant.
    fn find<'a>(&self, map: &'a Map<String, Value>) -> Option<(&'a String, &'a Value)> {
        match self {
            Self::Member(name) => map.get_key_value(name),
            Self::Key(key) => map.get_key_value(spelled(key, &[map], str::eq).as_ref()),
            Self::Mark(key) => {
                let key = spelled(key, &[map], str::eq_ignore_ascii_case);
                map.iter().find(|(mark, _)| mark.eq_ignore_ascii_case(&key))
            }
        }
    }
}

fn copy(from: &Value, into: &mut Value, path: &[Step]) {
    let [step, rest @ ..] = path else {
        *into = from.clone();
        return;
    };
    match (from, into) {
        (Value::Array(items), into) => {
            if !into.is_array() {
                *into = Value::Array(vec![json!({}); items.len()]);
            }
            let places = into.as_array_mut().into_iter().flatten();
            items.iter().zip(places).for_each(|(item, place)| copy(item, place, path));
        }
        (Value::Object(map), Value::Object(out)) => {
            let Some((name, inner)) = step.find(map) else { return };
            if rest.is_empty() || is_deep(inner) {
                copy(inner, out.entry(name.clone()).or_insert_with(|| json!({})), rest);
            }
        }
        _ => {}
    }
}

/// Whether a path can go on below it.
fn is_deep(value: &Value) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Array(items) => items.iter().all(Value::is_object),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(paths: &[&str], version: Version) -> Result<Value, String> {
        let whole = json!({
            "finding": {
                "name": "n", "eventTime": "t", "severity": "HIGH",
                "securityMarks": {"name": "m", "marks": {"my_key": "1", "Other-Key": "2"}},
                "sourceProperties": {"rule_type": "r", "a": {"b.c": 1, "d": 2}, "list": [1]},
                "externalSystems": {"jira_1": {"name": "j", "caseUri": "u"}, "a.b": {"status": "s"}},
                "contacts": {"SECURITY": {"contacts": [{"email": "e"}]}},
                "kubernetes": {"pods": [{"ns": "a", "name": "p"}, {"ns": "b"}]}
            },
            "resource": {"displayName": "d", "gcpMetadata": {"project": "p"}, "projectName": "v"},
            "stateChange": "UNUSED"
        });
        let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
        let mask = FieldMask::read(&paths, version).map_err(|refusal| refusal.to_string())?;
        Ok(mask.map_or(whole.clone(), |mask| mask.part_of(&whole)))
    }

    #[test]
    fn a_mask_answers_what_it_names() {
        let marks = |marks: Value| json!({"finding": {"securityMarks": {"marks": marks}}});
        let properties = |properties: Value| json!({"finding": {"sourceProperties": properties}});
        let systems = |systems: Value| json!({"finding": {"externalSystems": systems}});
        let table: [(&[&str], Value); 23] = [
            (&["event_time"], json!({"finding": {"eventTime": "t"}})),
            (&["finding.eventTime", "severity"], json!({"finding": {"eventTime": "t", "severity": "HIGH"}})),
            (&["resource.display_name"], json!({"resource": {"displayName": "d"}})),
            (&["resource.gcp_metadata.project"], json!({"resource": {"gcpMetadata": {"project": "p"}}})),
            (&["finding.securityMarks.marks.my_key"], marks(json!({"my_key": "1"}))),
            (&["security_marks.marks.MY_KEY"], marks(json!({"my_key": "1"}))),
            (&["securityMarks.marks.myKey"], marks(json!({"my_key": "1"}))),
            (&["security_marks.marks.other-key"], marks(json!({"Other-Key": "2"}))),
            (&["security_marks.marks.none"], marks(json!({}))),
            (&["security_marks.marks"], marks(json!({"my_key": "1", "Other-Key": "2"}))),
            (&["source_properties.rule_type"], properties(json!({"rule_type": "r"}))),
            (&["sourceProperties.ruleType"], properties(json!({"rule_type": "r"}))),
            (&["sourceProperties.a.d"], properties(json!({"a": {"d": 2}}))),
            (&["sourceProperties.a.`b.c`"], properties(json!({"a": {"b.c": 1}}))),
            (&["sourceProperties.rule_type.x", "sourceProperties.list.x"], properties(json!({}))),
            (&["external_systems.jira_1.case_uri"], systems(json!({"jira_1": {"caseUri": "u"}}))),
            (&["external_systems.`a.b`"], systems(json!({"a.b": {"status": "s"}}))),
            (&["contacts.SECURITY"], json!({"finding": {"contacts": {"SECURITY": {"contacts": [{"email": "e"}]}}}})),
            (&["kubernetes.pods.ns"], json!({"finding": {"kubernetes": {"pods": [{"ns": "a"}, {"ns": "b"}]}}})),
            (
                &["kubernetes.pods.name", "kubernetes.pods.ns"],
                json!({"finding": {"kubernetes": {"pods": [{"ns": "a", "name": "p"}, {"ns": "b"}]}}}),
            ),
            (&["description", "kubernetes.nodes.name"], json!({"finding": {"kubernetes": {}}})),
            (&["*", "name"], part(&[], Version::V2).unwrap()),
            (&["resource"], json!({"resource": part(&[], Version::V2).unwrap()["resource"]})),
        ];
        for (paths, expected) in table {
            assert_eq!(part(paths, Version::V2), Ok(expected), "{paths:?}");
        }
        assert_eq!(part(&["resource.project_name"], Version::V1), Ok(json!({"resource": {"projectName": "v"}})));
        assert_eq!(part(&["state_change"], Version::V1), Ok(json!({"stateChange": "UNUSED"})));
    }

    #[test]
    fn every_step_of_a_path_is_known_or_it_is_named() {
        let table = [
            "nosuch",
            "",
            ".",
            "finding.",
            "finding.nope",
            "finding.severity.x",
            "kubernetes.nosuch",
            "finding.kubernetes.pods.nosuch",
            "finding.kubernetes.pods.ns.x",
            "securityMarks.nosuch",
            "securityMarks.marks.a.b",
            "external_systems.jira.nosuch",
            "contacts.SECURITY.nosuch",
            "resource.nosuch",
            "resource.gcpMetadata.nosuch",
            "resource.project_name",
            "stateChange",
            "finding.`name",
            "listFindingsResults.finding.name",
            "nextPageToken",
        ];
        for path in table {
            let refused = part(&["name", path], Version::V2).unwrap_err();
            assert!(refused.contains(&format!("{path:?}")), "{path}: {refused}");
        }
        assert!(part(&["resource.gcp_metadata"], Version::V1).is_err(), "v1 has no gcpMetadata");
    }
}
