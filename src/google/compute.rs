//! Compute Engine v1, reading: instances by zone or over all zones, projects.
//!
//! A list over all zones may be answered in part: a zone that did not answer is named, in one of two places, and the
//! rest is there.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::http::{Client, segment};

/// Google's address of the service.
pub const ENDPOINT: &str = "https://compute.googleapis.com";

/// Pages a list may have at most.
const PAGE_LIMIT: usize = 2000;

/// The service. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Compute {
    http: Client,
}

/// Where to look in a project.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// In all zones.
    All,
    /// In this one.
    Zone(&'a str),
}

/// What a list gave.
#[derive(Debug, Clone)]
pub struct Listing<T> {
    /// The instances.
    pub instances: Vec<T>,
    /// The zones that did not answer.
    pub unreachable: Vec<String>,
}

impl<T> Listing<T> {
    /// A zone that did not answer is named as `zones/ZONE`, on every page, and by its own warning too.
    fn misses(&mut self, place: &str) {
        let zone = last_part(place);
        if !self.unreachable.iter().any(|known| known == zone) {
            self.unreachable.push(zone.to_owned());
        }
    }
}

/// An instance as the API says it, as far as we read it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Instance {
    /// The numeric id.
    pub id: Number,
    /// Its name.
    pub name: String,
    /// Its zone's URL.
    pub zone: String,
    /// Its own URL.
    pub self_link: String,
    /// `RUNNING`, `TERMINATED`, …
    pub status: String,
    /// When it was last started, as RFC 3339; empty when it never was.
    pub last_start_timestamp: String,
    /// When it was last stopped, as RFC 3339; empty when it never was.
    pub last_stop_timestamp: String,
    /// When it was last suspended, as RFC 3339; empty when it never was.
    pub last_suspended_timestamp: String,
    /// When it was made, as RFC 3339.
    pub creation_timestamp: String,
    /// Its disks.
    pub disks: Vec<AttachedDisk>,
    /// The machine type's URL.
    pub machine_type: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its service accounts; in practice at most one.
    pub service_accounts: Vec<ServiceAccount>,
    /// Its network interfaces.
    pub network_interfaces: Vec<NetworkInterface>,
    /// Its metadata.
    pub metadata: Metadata,
    /// Its Shielded VM settings.
    pub shielded_instance_config: Option<ShieldedConfig>,
    /// Its Confidential VM settings.
    pub confidential_instance_config: Option<ConfidentialConfig>,
}

/// An unsigned 64-bit number, which Google's JSON writes as text; tolerant of a plain number. Empty when absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "NumberWire")]
pub struct Number(pub String);

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberWire {
    Text(String),
    Number(u64),
}

impl From<NumberWire> for Number {
    fn from(wire: NumberWire) -> Self {
        match wire {
            NumberWire::Text(text) => Self(text),
            NumberWire::Number(number) => Self(number.to_string()),
        }
    }
}

/// A disk of an instance.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AttachedDisk {
    /// `PERSISTENT`, or `SCRATCH` for a local SSD.
    #[serde(rename = "type")]
    pub kind: String,
    /// The disk's URL; empty for a local SSD.
    pub source: String,
    /// The name it has inside the instance.
    pub device_name: String,
    /// Whether the instance boots from it.
    pub boot: bool,
}

/// A service account of an instance.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct ServiceAccount {
    /// Its address.
    pub email: String,
}

/// A network interface.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct NetworkInterface {
    /// The internal IPv4 address.
    #[serde(rename = "networkIP")]
    pub network_ip: String,
}

/// Instance metadata.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Metadata {
    /// Its entries.
    pub items: Vec<MetadataItem>,
}

/// One entry of the metadata.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct MetadataItem {
    /// Its key.
    pub key: String,
    /// Its value.
    pub value: String,
}

/// Shielded VM settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ShieldedConfig {
    /// Secure Boot.
    pub enable_secure_boot: bool,
    /// The virtual TPM.
    pub enable_vtpm: bool,
    /// Integrity monitoring.
    pub enable_integrity_monitoring: bool,
}

/// Confidential VM settings.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfidentialConfig {
    /// Whether it is one.
    pub enable_confidential_compute: bool,
    /// Its technology.
    pub confidential_instance_type: String,
}

/// As little of an instance as an inventory needs.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Place {
    /// The numeric id.
    pub id: Number,
    /// Its name.
    pub name: String,
    /// Its zone's URL.
    pub zone: String,
    /// The full host name it was made with, where that is not Google's own.
    pub hostname: String,
    /// Its network interfaces.
    pub network_interfaces: Vec<NetworkInterface>,
}

/// A project's two names.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct Project {
    /// The project's id.
    #[serde(rename = "name", default)]
    pub id: String,
    /// The project's number, as text.
    #[serde(rename = "id", default)]
    pub number: Number,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: DeserializeOwned")]
struct ZonePage<T> {
    #[serde(default)]
    items: Option<Vec<T>>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", bound = "T: DeserializeOwned")]
struct AllPage<T> {
    #[serde(default)]
    items: Option<HashMap<String, Scoped<T>>>,
    #[serde(default)]
    next_page_token: Option<String>,
    #[serde(default)]
    unreachables: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(bound = "T: DeserializeOwned")]
struct Scoped<T> {
    #[serde(default)]
    instances: Option<Vec<T>>,
    #[serde(default)]
    warning: Option<Warning>,
}

#[derive(Debug, Deserialize)]
struct Warning {
    #[serde(default)]
    code: String,
}

impl Compute {
    /// The service behind `http`, whose base is the service's address without `/compute/v1`.
    pub fn new(http: Client) -> Self {
        Self { http }
    }

    /// One instance by name or numeric id; `None` when there is none.
    pub async fn instance(&self, project: &str, zone: &str, name: &str) -> Result<Option<Instance>, ApiError> {
        let [project, zone, name] = [project, zone, name].map(segment);
        let path = format!("/compute/v1/projects/{project}/zones/{zone}/instances/{name}");
        match self.http.get_json(&path, &[]).await {
            Err(error) if error.status() == Some(404) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// All instances in `scope` that match `filter`, over all pages.
    pub async fn instances<T: DeserializeOwned>(
        &self,
        project: &str,
        scope: Scope<'_>,
        filter: Option<&str>,
    ) -> Result<Listing<T>, ApiError> {
        let mut listing = Listing { instances: Vec::new(), unreachable: Vec::new() };
        let mut token: Option<String> = None;
        let mut seen = HashSet::new();
        for _ in 0..PAGE_LIMIT {
            let next = self.page(project, scope, filter, token.as_deref(), &mut listing).await?;
            // A token that comes back would lead round for ever.
            token = next.filter(|token| !token.is_empty() && seen.insert(token.clone()));
            if token.is_none() {
                break;
            }
        }
        Ok(listing)
    }

    /// Whether instances may be listed in `scope`: asks for one.
    pub async fn may_list(&self, project: &str, scope: Scope<'_>) -> Result<(), ApiError> {
        let project = segment(project);
        let path = match scope {
            Scope::All => format!("/compute/v1/projects/{project}/aggregated/instances"),
            Scope::Zone(zone) => format!("/compute/v1/projects/{project}/zones/{}/instances", segment(zone)),
        };
        let query = [("maxResults", "1"), ("returnPartialSuccess", "true")];
        self.http.get_json::<serde::de::IgnoredAny>(&path, &query).await.map(drop)
    }

    /// The project's id and number, asked by either.
    pub async fn project(&self, project: &str) -> Result<Project, ApiError> {
        self.http.get_json(&format!("/compute/v1/projects/{}", segment(project)), &[]).await
    }

    async fn page<T: DeserializeOwned>(
        &self,
        project: &str,
        scope: Scope<'_>,
        filter: Option<&str>,
        token: Option<&str>,
        listing: &mut Listing<T>,
    ) -> Result<Option<String>, ApiError> {
        // Nodes of GKE carry tens of kilobytes of metadata each, so pages are kept small.
        let mut query = vec![("maxResults", "200"), ("returnPartialSuccess", "true")];
        query.extend(filter.map(|filter| ("filter", filter)));
        query.extend(token.map(|token| ("pageToken", token)));
        let project = segment(project);
        match scope {
            Scope::Zone(zone) => {
                let path = format!("/compute/v1/projects/{project}/zones/{}/instances", segment(zone));
                let page: ZonePage<T> = self.http.get_json(&path, &query).await?;
                listing.instances.extend(page.items.unwrap_or_default());
                Ok(page.next_page_token)
            }
            Scope::All => {
                let path = format!("/compute/v1/projects/{project}/aggregated/instances");
                let page: AllPage<T> = self.http.get_json(&path, &query).await?;
                page.unreachables.unwrap_or_default().iter().for_each(|place| listing.misses(place));
                for (place, scoped) in page.items.unwrap_or_default() {
                    listing.instances.extend(scoped.instances.unwrap_or_default());
                    if scoped.warning.is_some_and(|warning| warning.code == "UNREACHABLE") {
                        listing.misses(&place);
                    }
                }
                Ok(page.next_page_token)
            }
        }
    }
}

/// The last part of a URL or path: `…/zones/us-central1-c` → `us-central1-c`.
pub fn last_part(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}

/// The project in a URL of one of its parts: `…/projects/acme/zones/…` → `acme`.
pub fn project_in(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("/projects/").or_else(|| Some(("", url.strip_prefix("projects/")?)))?;
    rest.split('/').next().filter(|project| !project.is_empty())
}
