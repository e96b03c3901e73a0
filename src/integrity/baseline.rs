//! One known-good baseline: measurements somebody approved, for which VMs, until when. Reads and writes the data model
//! of the collection `known_good_measurements`: one map a register, `{hashAlgo, pcrNum, value}`, other fields beside.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::entry::Vm;
use super::measurement::{Algorithm, Element, Measurements, Pcr};
use crate::state::Body;

/// A known-good baseline.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// Its name: the document's id.
    pub name: String,
    /// What is good.
    pub measurements: Measurements,
    /// For which VMs.
    pub scope: Scope,
    /// Until when.
    pub expires: Option<DateTime<Utc>>,
    /// Who approved it, when its document says so; the journal knows of others.
    pub approved_by: Option<String>,
    /// What it is for, in somebody's words.
    pub description: Option<String>,
    /// Why it must not be used; such a baseline matches nothing.
    pub broken: Vec<String>,
}

/// For which VMs a baseline is good. Lists are alternatives; an empty one means any, though a document that has one empty
/// is broken. All kinds must agree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Project ids; `*` stands for any text.
    pub projects: Vec<String>,
    /// Zones, likewise.
    pub zones: Vec<String>,
    /// VM names, likewise.
    pub names: Vec<String>,
    /// Labels that the VM must have.
    pub labels: BTreeMap<String, String>,
}

/// The VM a baseline is asked about.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// As the entry names it.
    pub vm: &'a Vm,
    /// Its name, when it is known.
    pub name: Option<&'a str>,
    /// Its labels, when they are known.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

impl Scope {
    /// Why the baseline is not for this VM; `None` when it is. What is not known does not fit.
    pub fn excludes(&self, subject: Subject<'_>) -> Option<String> {
        let any = |patterns: &[String], value: &str| {
            patterns.is_empty() || patterns.iter().any(|pattern| crate::text::matches(pattern, value))
        };
        if !any(&self.projects, &subject.vm.project) {
            return Some(format!("it is only for the projects {}", self.projects.join(", ")));
        }
        if !any(&self.zones, &subject.vm.zone) {
            return Some(format!("it is only for the zones {}", self.zones.join(", ")));
        }
        match subject.name {
            Some(name) if !any(&self.names, name) => {
                return Some(format!("it is only for VMs named {}", self.names.join(", ")));
            }
            None if !self.names.is_empty() => {
                return Some(format!(
                    "it is only for VMs named {}, and this VM's name is not known",
                    self.names.join(", ")
                ));
            }
            _ => {}
        }
        self.labels.iter().find_map(|(label, value)| match subject.labels {
            None => {
                Some(format!("it is only for VMs with the label {label}={value}, and this VM's labels are not known"))
            }
            Some(labels) if labels.get(label) != Some(value) => {
                Some(format!("it is only for VMs with the label {label}={value}"))
            }
            Some(_) => None,
        })
    }

    /// Whether the baseline is for this VM, or may be, by a name or labels that are not known.
    pub fn may_include(&self, subject: Subject<'_>) -> bool {
        let names = if subject.name.is_some() { self.names.clone() } else { Vec::new() };
        let labels = if subject.labels.is_some() { self.labels.clone() } else { BTreeMap::new() };
        let known = Self { names, labels, ..self.clone() };
        known.excludes(subject).is_none()
    }

    /// Whether it is for every VM.
    pub fn is_any(&self) -> bool {
        *self == Self::default()
    }
}

impl Baseline {
    /// Reads a document. What cannot be read makes the baseline broken rather than more generous.
    pub fn read(name: &str, body: &Body) -> Self {
        let mut broken = Vec::new();
        let mut measurements = Measurements::default();
        for (field, value) in body {
            let Some((pcr, algorithm)) = field_register(field) else { continue };
            match measurement(value, pcr, algorithm) {
                Ok((slot, digest)) => {
                    if measurements.0.insert(slot, digest).is_some() {
                        broken.push(format!("{slot} stands there twice"));
                    }
                }
                Err(reason) => broken.push(format!("{field}: {reason}")),
            }
        }
        if measurements.is_empty() && broken.is_empty() {
            broken.push("it has no register; a field is named PCR_0 and holds hashAlgo, pcrNum and value".to_owned());
        }
        let scope = Scope {
            projects: list(body, "projects", &mut broken),
            zones: list(body, "zones", &mut broken),
            names: list(body, "names", &mut broken),
            labels: labels(body, &mut broken),
        };
        let text = |field: &str| body.get(field).and_then(Value::as_str).map(str::to_owned);
        let expires = match body.get("expiresAt") {
            None | Some(Value::Null) => None,
            Some(value) => {
                let time = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
                if time.is_none() {
                    broken.push("expiresAt is no time such as 2027-01-31T00:00:00Z".to_owned());
                }
                time.map(|time| time.with_timezone(&Utc))
            }
        };
        Self {
            name: name.to_owned(),
            measurements,
            scope,
            expires,
            approved_by: text("approvedBy"),
            description: text("description"),
            broken,
        }
    }

    /// Whether it can be used at all: it has no mistake and has not ended.
    pub fn usable(&self, now: DateTime<Utc>) -> bool {
        self.broken.is_empty() && self.expires.is_none_or(|expires| expires > now)
    }

    /// Whether it says nothing but registers, as the documents of Google's tutorial.
    pub fn is_plain(&self) -> bool {
        self.scope.is_any() && self.expires.is_none() && self.description.is_none()
    }

    /// The document.
    pub fn body(&self) -> Body {
        let mut body = Body::new();
        for element in self.measurements.elements() {
            let plain = element.pcr_num.to_string();
            // A second bank of the same register needs a field of its own.
            let field = if body.contains_key(&plain) { format!("{plain}_{}", element.hash_algo) } else { plain };
            body.insert(field, json!(element));
        }
        let mut put = |field: &str, value: Option<Value>| value.map(|value| body.insert(field.to_owned(), value));
        let some = |list: &Vec<String>| (!list.is_empty()).then(|| json!(list));
        put("projects", some(&self.scope.projects));
        put("zones", some(&self.scope.zones));
        put("names", some(&self.scope.names));
        put("labels", (!self.scope.labels.is_empty()).then(|| json!(self.scope.labels)));
        put("expiresAt", self.expires.map(|time| json!(time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true))));
        put("approvedBy", self.approved_by.as_ref().map(|who| json!(who)));
        put("description", self.description.as_ref().map(|text| json!(text)));
        body
    }
}

/// `PCR_4`, `4`, `PCR_4_SHA256`; other fields are not ours.
fn field_register(field: &str) -> Option<(Pcr, Option<Algorithm>)> {
    if let Some(pcr) = Pcr::parse(field) {
        return Some((pcr, None));
    }
    let (pcr, algorithm) = field.rsplit_once('_')?;
    Some((Pcr::parse(pcr)?, Some(Algorithm::parse(algorithm)?)))
}

fn measurement(
    value: &Value,
    pcr: Pcr,
    algorithm: Option<Algorithm>,
) -> Result<(super::measurement::Slot, super::measurement::Digest), String> {
    let Value::Object(map) = value else { return Err("it is not a map of hashAlgo, pcrNum and value".to_owned()) };
    let mut map = map.clone();
    map.entry("pcrNum").or_insert_with(|| json!(pcr));
    let (slot, digest) = Element::parse(&Value::Object(map))?;
    if slot.pcr != pcr {
        return Err(format!("its pcrNum is {}", slot.pcr));
    }
    if algorithm.is_some_and(|algorithm| algorithm != slot.algorithm) {
        return Err(format!("its hashAlgo is {}", slot.algorithm));
    }
    Ok((slot, digest))
}

/// A list that was emptied says nobody rather than everybody; who means everybody leaves it out.
fn list(body: &Body, field: &str, broken: &mut Vec<String>) -> Vec<String> {
    let items: Vec<String> = match body.get(field) {
        None | Some(Value::Null) => return Vec::new(),
        Some(Value::String(text)) => {
            text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
        }
        Some(Value::Array(items)) if items.iter().all(Value::is_string) => {
            items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(_) => {
            broken.push(format!("{field} is not a list of texts"));
            return Vec::new();
        }
    };
    if items.iter().all(|item| item.trim().is_empty()) {
        broken.push(empty(field));
    }
    items
}

fn empty(field: &str) -> String {
    format!("{field} is empty, which would be for no VM; leave it out where it is for every one")
}

fn labels(body: &Body, broken: &mut Vec<String>) -> BTreeMap<String, String> {
    match body.get("labels") {
        None | Some(Value::Null) => BTreeMap::new(),
        Some(Value::Object(map)) if map.is_empty() => {
            broken.push(empty("labels"));
            BTreeMap::new()
        }
        Some(Value::Object(map)) if map.values().all(Value::is_string) => {
            map.iter().map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
        }
        Some(_) => {
            broken.push("labels is not a map of texts".to_owned());
            BTreeMap::new()
        }
    }
}
