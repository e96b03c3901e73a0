//! Resource names: who owns a source, which source, which finding. They are kept as version 2 has them.

use std::fmt;

/// The API version a call came in by; v1 names have no location.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Version {
    V1,
    V2,
}

/// The first pair of a path.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Parent {
    Organization(String),
    Folder(String),
    Project(String),
}

impl fmt::Display for Parent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Organization(id) => write!(f, "organizations/{id}"),
            Self::Folder(id) => write!(f, "folders/{id}"),
            Self::Project(id) => write!(f, "projects/{id}"),
        }
    }
}

/// Where findings are looked for: a parent, a source or `-` for all, a location.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) version: Version,
    pub(crate) parent: Parent,
    pub(crate) source: String,
    pub(crate) location: String,
}

impl Place {
    /// The name as this version writes it, `organizations/1/sources/2/locations/global`.
    pub(crate) fn text(&self) -> String {
        let Self { parent, source, location, .. } = self;
        match self.version {
            Version::V1 => format!("{parent}/sources/{source}"),
            Version::V2 => format!("{parent}/sources/{source}/locations/{location}"),
        }
    }

    pub(crate) fn all_sources(&self) -> bool {
        self.source == "-"
    }
}

/// A name as version 1 has it.
pub(crate) fn without_location(name: &str) -> String {
    let Some((before, after)) = name.split_once("/locations/") else { return name.to_owned() };
    match after.split_once('/') {
        Some((_, rest)) => format!("{before}/{rest}"),
        None => before.to_owned(),
    }
}
