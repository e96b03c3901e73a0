//! All that the sandbox remembers, in memory. Findings are kept as JSON text, with the members that are asked most
//! beside it; they stand in the order they were created and are found by key.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::error::{Refusal, Status};
use super::filter::Subject;
use super::names::{Parent, Version};
use super::resource;
use super::settings::{Bounds, Settings};

/// A source.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) organization: String,
    pub(crate) id: Arc<str>,
    pub(crate) display_name: String,
    pub(crate) description: String,
    /// Its IAM policy, as it was set.
    pub(crate) policy: Map<String, Value>,
}

/// A stored finding.
#[derive(Debug)]
pub(crate) struct Record {
    /// Where its source stands in [`Store::sources`].
    pub(crate) source: usize,
    pub(crate) location: Arc<str>,
    columns: Columns,
    /// The finding as v2 answers it.
    pub(crate) text: Box<str>,
}

/// The members that filters ask most, in the order of [`COLUMNS`].
type Columns = [Option<Box<str>>; COLUMNS.len()];
const COLUMNS: [&str; 7] = ["name", "state", "mute", "severity", "category", "resourceName", "eventTime"];

impl Record {
    fn new(source: usize, location: Arc<str>, finding: &Map<String, Value>) -> Self {
        let columns = COLUMNS.map(|name| finding.get(name).and_then(Value::as_str).map(Box::from));
        let text = serde_json::to_string(finding).expect("a JSON object can be written").into_boxed_str();
        Self { source, location, columns, text }
    }

    /// A member that is kept beside the text.
    pub(crate) fn column(&self, name: &str) -> Option<&str> {
        let at = COLUMNS.iter().position(|column| *column == name)?;
        self.columns[at].as_deref()
    }

    /// The finding, read from its text.
    pub(crate) fn finding(&self) -> Map<String, Value> {
        serde_json::from_str(&self.text).expect("the store writes JSON objects only")
    }
}

/// A record as a filter sees it.
pub(crate) struct Seen<'a> {
    record: &'a Record,
    organization: &'a str,
    version: Version,
    document: OnceCell<Value>,
}

impl Subject for Seen<'_> {
    fn column(&self, name: &str) -> Option<Option<Cow<'_, str>>> {
        COLUMNS.contains(&name).then(|| self.record.column(name).map(Cow::Borrowed))
    }

    fn document(&self) -> &Value {
        self.document.get_or_init(|| {
            let mut finding = self.record.finding();
            let name = self.record.column("resourceName").unwrap_or_default();
            finding.insert("resource".to_owned(), resource::describe(name, self.organization, Version::V2));
            Value::Object(finding)
        })
    }

    fn version(&self) -> Version {
        self.version
    }
}

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) sources: Vec<Source>,
    pub(crate) findings: Vec<Record>,
    pub(crate) operations: Vec<(String, Value)>,
    by_source: HashMap<(String, Arc<str>), usize>,
    by_key: HashMap<Box<str>, usize>,
    bytes: usize,
    bounds: Bounds,
    next_source: u64,
}

impl Store {
    /// A store with the sources that exist from the start.
    pub(crate) fn seeded(settings: &Settings) -> Self {
        let mut store = Self {
            sources: Vec::new(),
            findings: Vec::new(),
            operations: Vec::new(),
            by_source: HashMap::new(),
            by_key: HashMap::new(),
            bytes: 0,
            bounds: settings.bounds,
            next_source: FIRST_SOURCE,
        };
        for seed in &settings.sources {
            store.put_source(&settings.organization, seed.id.as_str().into(), &seed.display_name, "");
        }
        store
    }

    /// Adds a source under an id nobody had before.
    pub(crate) fn new_source(&mut self, organization: &str, name: &str, description: &str) -> Result<usize, Refusal> {
        if self.sources.len() >= self.bounds.sources {
            return Err(full("sources", self.bounds.sources));
        }
        let mut id: Arc<str> = self.next_source.to_string().into();
        while self.sources.iter().any(|s| s.id == id) {
            self.next_source += 7;
            id = self.next_source.to_string().into();
        }
        self.next_source += 7;
        Ok(self.put_source(organization, id, name, description))
    }

    fn put_source(&mut self, organization: &str, id: Arc<str>, name: &str, description: &str) -> usize {
        let at = self.sources.len();
        self.by_source.insert((organization.to_owned(), Arc::clone(&id)), at);
        self.sources.push(Source {
            organization: organization.to_owned(),
            id,
            display_name: name.to_owned(),
            description: description.to_owned(),
            policy: Map::new(),
        });
        at
    }

    /// Where a source stands. A folder or project reaches the sources of every organisation.
    pub(crate) fn source(&self, parent: &Parent, id: &str) -> Option<usize> {
        match parent {
            Parent::Organization(organization) => self.by_source.get(&(organization.clone(), id.into())).copied(),
            _ => self.sources.iter().position(|source| source.id.as_ref() == id),
        }
    }

    /// As [`Store::source`], or the refusal that says which is missing.
    pub(crate) fn existing_source(&self, parent: &Parent, id: &str) -> Result<usize, Refusal> {
        self.source(parent, id).ok_or_else(|| {
            let text = format!("Requested entity was not found: source {parent}/sources/{id} does not exist.");
            Refusal::new(Status::NotFound, text)
        })
    }

    /// Where a finding stands.
    pub(crate) fn find(&self, source: usize, location: &str, id: &str) -> Option<usize> {
        self.by_key.get(key(source, location, id).as_str()).copied()
    }

    /// Adds a finding that is not there yet.
    pub(crate) fn insert(&mut self, at: Slot<'_>, finding: &Map<String, Value>) -> Result<(), Refusal> {
        if self.findings.len() >= self.bounds.findings {
            return Err(full("findings", self.bounds.findings));
        }
        let record = Record::new(at.source, at.location.into(), finding);
        if self.bytes + record.text.len() > self.bounds.bytes {
            return Err(full("bytes of findings", self.bounds.bytes));
        }
        self.bytes += record.text.len();
        self.by_key.insert(key(at.source, at.location, at.id).into(), self.findings.len());
        self.findings.push(record);
        Ok(())
    }

    /// Replaces a finding by its changed form.
    pub(crate) fn replace(&mut self, at: usize, finding: &Map<String, Value>) -> Result<(), Refusal> {
        let old = &self.findings[at];
        let record = Record::new(old.source, Arc::clone(&old.location), finding);
        let bytes = self.bytes - old.text.len() + record.text.len();
        if bytes > self.bounds.bytes {
            return Err(full("bytes of findings", self.bounds.bytes));
        }
        self.bytes = bytes;
        self.findings[at] = record;
        Ok(())
    }

    /// Bytes of all findings as JSON.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// A finding as a filter of that version sees it.
    pub(crate) fn seen<'a>(&'a self, record: &'a Record, version: Version) -> Seen<'a> {
        Seen { record, organization: self.organization_of(record), version, document: OnceCell::new() }
    }

    /// The organisation a finding stands in.
    pub(crate) fn organization_of(&self, record: &Record) -> &str {
        &self.sources[record.source].organization
    }
}

/// Where a finding goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Slot<'a> {
    pub(crate) source: usize,
    pub(crate) location: &'a str,
    pub(crate) id: &'a str,
}

/// Ids given by the sandbox look like Google's: 19 digits.
const FIRST_SOURCE: u64 = 4_611_686_018_427_388_001;

fn key(source: usize, location: &str, id: &str) -> String {
    format!("{source}/{location}/{id}")
}

fn full(what: &str, limit: usize) -> Refusal {
    let text = format!(
        "The sandbox is full: it holds at most {limit} {what}. Empty it with POST /sandbox/reset or start it with a \
         higher bound."
    );
    Refusal::new(Status::ResourceExhausted, text)
        .reason("SANDBOX_FULL", serde_json::json!({"limit": limit.to_string()}))
}
