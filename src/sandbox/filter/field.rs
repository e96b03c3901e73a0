//! From a field's name in a filter to a path in the finding, checked against the schema.

use super::super::schema::{Kind, SCHEMA};

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Member(String),
    /// A map's key, which may hold dots if it is the last step.
    Key(String),
}

impl Step {
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Member(text) | Self::Key(text) => text,
        }
    }
}

/// A member that a filter, `orderBy` or `groupBy` names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    /// From the finding (or from the list's item inside `contains`); empty means the item itself.
    pub(crate) steps: Vec<Step>,
    /// What stands there.
    pub(crate) kind: Kind,
}

impl Field {
    /// The item of a list itself.
    pub(super) fn item(kind: Kind) -> Self {
        Self { steps: Vec::new(), kind }
    }

    /// What is compared: for a list, its items.
    pub(super) fn leaf(&self) -> &Kind {
        match &self.kind {
            Kind::List(item) => item,
            other => other,
        }
    }

    /// Finds the name; `item` is what an item of the list is inside `contains`.
    pub(super) fn find(steps: &[String], item: Option<&Kind>) -> Result<Self, String> {
        let unknown = || format!("unknown field {:?}", steps.join("."));
        match item {
            None => top(steps).ok_or_else(unknown),
            Some(Kind::Message(name)) => walk(&Kind::Message(name.clone()), steps).ok_or_else(unknown),
            Some(kind) if steps.len() == 1 && steps[0] == "elem" => Ok(Self::item(kind.clone())),
            Some(_) => Err("expected a text in quotes or `elem` with a comparison".into()),
        }
    }

    /// Whether it is a name that holds the finding's location, its own or that of something under it.
    pub(super) fn is_name(&self) -> bool {
        match self.steps.as_slice() {
            [name] => matches!(name.text(), "name" | "parent" | "canonicalName"),
            [marks, name] => marks.text() == "securityMarks" && matches!(name.text(), "name" | "canonicalName"),
            [systems, _, name] => systems.text() == "externalSystems" && name.text() == "name",
            _ => false,
        }
    }

    /// The first step's name, when the path has one step only.
    pub(crate) fn column(&self) -> Option<&str> {
        match self.steps.as_slice() {
            [Step::Member(name)] => Some(name),
            _ => None,
        }
    }
}

fn top(steps: &[String]) -> Option<Field> {
    match steps.first()?.as_str() {
        "resource" => resource(&steps[1..]),
        "finding" if steps.len() > 1 => walk(&Kind::Message("Finding".into()), &steps[1..]),
        _ => walk(&Kind::Message("Finding".into()), steps),
    }
}

fn walk(start: &Kind, steps: &[String]) -> Option<Field> {
    let mut kind = start.clone();
    let mut path = Vec::new();
    for (i, step) in steps.iter().enumerate() {
        let inner = match &kind {
            Kind::List(item) => item.as_ref().clone(),
            other => other.clone(),
        };
        kind = match inner {
            Kind::Message(name) => {
                let member = SCHEMA.message(&name).member(step)?;
                path.push(Step::Member(member.name.clone()));
                member.kind.clone()
            }
            Kind::Map(item) if !step.is_empty() => {
                path.push(Step::Key(step.clone()));
                *item
            }
            Kind::Any if i > 0 && !step.is_empty() => {
                path.push(Step::Key(step.clone()));
                Kind::Any
            }
            _ => return None,
        };
    }
    (!path.is_empty()).then_some(Field { steps: path, kind })
}

/// `resource.*`: names as the filter documents them, beside those of the v2 message.
fn resource(steps: &[String]) -> Option<Field> {
    let steps: Vec<&str> = steps.iter().map(String::as_str).collect();
    let tail: &[&str] = match steps.as_slice() {
        ["name"] => &["name"],
        ["type"] => &["type"],
        ["display_name" | "displayName"] => &["displayName"],
        ["service"] => &["service"],
        ["location"] => &["location"],
        ["cloud_provider" | "cloudProvider"] => &["cloudProvider"],
        ["resource_path_string" | "resourcePathString"] => &["resourcePathString"],
        ["project_name" | "project"] | ["gcp_metadata" | "gcpMetadata", "project"] => &["gcpMetadata", "project"],
        ["project_display_name"] | ["gcp_metadata" | "gcpMetadata", "project_display_name" | "projectDisplayName"] => {
            &["gcpMetadata", "projectDisplayName"]
        }
        ["parent_name"] | ["gcp_metadata" | "gcpMetadata", "parent"] => &["gcpMetadata", "parent"],
        ["parent_display_name"] | ["gcp_metadata" | "gcpMetadata", "parent_display_name" | "parentDisplayName"] => {
            &["gcpMetadata", "parentDisplayName"]
        }
        ["organization"] | ["gcp_metadata" | "gcpMetadata", "organization"] => &["gcpMetadata", "organization"],
        ["folders", "resource_folder" | "resourceFolder"]
        | ["gcp_metadata" | "gcpMetadata", "folders", "resource_folder" | "resourceFolder"] => {
            &["gcpMetadata", "folders", "resourceFolder"]
        }
        _ => return None,
    };
    let mut path = vec![Step::Member("resource".to_owned())];
    path.extend(tail.iter().map(|step| Step::Member((*step).to_owned())));
    Some(Field { steps: path, kind: Kind::String })
}
