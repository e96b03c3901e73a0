//! Compute Engine v1, changing: stop, suspend, relearn, snapshot, and the operations they start.
//!
//! Every call that changes something carries a request id: the service answers a second one of the same id with the
//! operation of the first. That a call was answered 200 says that it began; how it ended is in its operation.

use chrono::{DateTime, Utc};
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::compute::{Number, project_in};
use super::error::ApiError;
use super::http::{Call, Client, segment};
use crate::text::one_line;

/// The service, for changes. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ComputeActs {
    http: Client,
}

/// An instance by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// The project's id.
    pub project: String,
    /// The zone.
    pub zone: String,
    /// The instance's name.
    pub name: String,
}

/// A persistent disk by its URL's parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disk {
    /// The project's id.
    pub project: String,
    /// `zones/Z`, or `regions/R` of a regional disk.
    pub place: String,
    /// Its name.
    pub name: String,
}

/// What a snapshot is called and says.
#[derive(Debug, Clone, Copy)]
pub struct SnapshotWish<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its description.
    pub description: &'a str,
}

/// A snapshot, as far as we read it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Snapshot {
    /// `CREATING`, `UPLOADING`, `READY`, `FAILED`, `DELETING`.
    pub status: String,
    /// The URL of the disk that it was made of.
    pub source_disk: String,
}

/// An operation, as far as we read it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Operation {
    /// Its name.
    pub name: String,
    /// Its numeric id.
    pub id: Number,
    /// The numeric id of what it is done to: of this very one, where names are used again.
    pub target_id: Number,
    /// `PENDING`, `RUNNING`, `DONE`.
    pub status: String,
    /// When it was asked for, as RFC 3339.
    pub insert_time: String,
    /// Its zone's URL.
    pub zone: String,
    /// Its region's URL.
    pub region: String,
    /// Why it failed.
    pub error: Option<Failure>,
    /// The status of the failure.
    pub http_error_status_code: Option<u16>,
    /// The failure in a word.
    pub http_error_message: Option<String>,
}

/// Why an operation failed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// What went wrong.
    pub errors: Vec<FailurePart>,
}

/// One thing that went wrong.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct FailurePart {
    /// Its code, such as `RESOURCE_NOT_FOUND`.
    pub code: String,
    /// What it says.
    pub message: String,
}

impl Disk {
    /// The disk at this URL; nothing when it is none.
    pub fn parse(url: &str) -> Option<Self> {
        let project = project_in(url)?.to_owned();
        let mut parts = url.rsplit('/');
        let (name, disks, place, kind) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let fits = disks == "disks" && matches!(kind, "zones" | "regions") && !name.is_empty();
        fits.then(|| Self { project, place: format!("{kind}/{place}"), name: name.to_owned() })
    }
}

impl Operation {
    /// The numeric id of what it is done to, when it says so.
    pub fn target(&self) -> Option<&str> {
        Some(self.target_id.0.as_str()).filter(|id| !matches!(*id, "" | "0"))
    }

    /// When it was asked for, by Compute Engine's clock.
    pub fn asked(&self) -> Option<DateTime<Utc>> {
        DateTime::parse_from_rfc3339(&self.insert_time).ok().map(|time| time.with_timezone(&Utc))
    }

    /// Whether it ended, well or not.
    pub fn is_done(&self) -> bool {
        self.status == "DONE"
    }

    /// Why it failed, in words; nothing when it did not.
    pub fn failure(&self) -> Option<String> {
        let said = self.error.iter().flat_map(|failure| &failure.errors).map(|part| {
            let text = if part.message.is_empty() { &part.code } else { &part.message };
            if part.code.is_empty() || part.message.is_empty() {
                text.clone()
            } else {
                format!("{}: {text}", part.code)
            }
        });
        let mut said: Vec<String> = said.filter(|text| !text.is_empty()).collect();
        let failed = self.error.is_some() || self.http_error_status_code.is_some_and(|status| status >= 400);
        if said.is_empty() && failed {
            let status = self.http_error_status_code.map(|status| status.to_string()).unwrap_or_default();
            let text = self.http_error_message.clone().unwrap_or_else(|| "it does not say why".to_owned());
            said.push(format!("{status} {text}").trim().to_owned());
        }
        failed.then(|| one_line(&said.join("; "), 500))
    }

    /// Its path below the API's root, to ask for it again: `projects/P/zones/Z/operations/O`.
    pub fn path(&self, project: &str, place: &str) -> String {
        let last = |url: &str| super::compute::last_part(url).to_owned();
        let place = match (self.zone.as_str(), self.region.as_str()) {
            ("", "") => place.to_owned(),
            ("", region) => format!("regions/{}", last(region)),
            (zone, _) => format!("zones/{}", last(zone)),
        };
        format!("projects/{project}/{place}/operations/{}", self.name)
    }
}

impl ComputeActs {
    /// The service behind `http`, whose base is the service's address without `/compute/v1`. Its timeout must be longer
    /// than the two minutes that [`ComputeActs::wait`] may take.
    pub fn new(http: Client) -> Self {
        Self { http }
    }

    /// Stops an instance. `discard_local_ssd` must be said when it has local SSDs.
    pub async fn stop(
        &self,
        target: &Target,
        request: &str,
        discard_local_ssd: Option<bool>,
    ) -> Result<Operation, ApiError> {
        self.power(target, "stop", request, discard_local_ssd).await
    }

    /// Suspends an instance.
    pub async fn suspend(
        &self,
        target: &Target,
        request: &str,
        discard_local_ssd: Option<bool>,
    ) -> Result<Operation, ApiError> {
        self.power(target, "suspend", request, discard_local_ssd).await
    }

    /// Lets an instance learn its integrity policy from its most recent boot.
    pub async fn relearn(&self, target: &Target, request: &str) -> Result<Operation, ApiError> {
        let path = format!("{}/setShieldedInstanceIntegrityPolicy", path(target));
        self.http.patch_json(&path, &[("requestId", request)], &json!({ "updateAutoLearnPolicy": true })).await
    }

    /// Makes a snapshot of a disk.
    pub async fn snapshot(&self, disk: &Disk, request: &str, wish: SnapshotWish<'_>) -> Result<Operation, ApiError> {
        let (project, name) = (segment(&disk.project), segment(&disk.name));
        let path = format!("/compute/v1/projects/{project}/{}/disks/{name}/createSnapshot", place(&disk.place));
        let body = json!({ "name": wish.name, "description": wish.description });
        self.http.post_json(&path, &[("requestId", request)], &body).await
    }

    /// Reads a snapshot; `None` when there is none of this name.
    pub async fn find_snapshot(&self, project: &str, name: &str) -> Result<Option<Snapshot>, ApiError> {
        let path = format!("/compute/v1/projects/{}/global/snapshots/{}", segment(project), segment(name));
        match self.http.get_json(&path, &[]).await {
            Err(error) if error.status() == Some(404) => Ok(None),
            answer => answer.map(Some),
        }
    }

    /// Waits for an operation by its path: at most two minutes, possibly less, and it may still run then.
    pub async fn wait(&self, operation: &str) -> Result<Operation, ApiError> {
        let path = format!("/compute/v1/{operation}");
        let wait = format!("{path}/wait");
        let call = Call { method: Method::POST, path: &wait, query: &[], body: None };
        match self.http.json(call).await {
            // An operation that ended long ago, or a service that cannot wait: it may still be read.
            Err(error) if matches!(error.status(), Some(404 | 405 | 501)) => self.http.get_json(&path, &[]).await,
            answer => answer,
        }
    }

    async fn power(
        &self,
        target: &Target,
        verb: &str,
        request: &str,
        discard: Option<bool>,
    ) -> Result<Operation, ApiError> {
        let path = format!("{}/{verb}", path(target));
        let mut query = vec![("requestId", request)];
        query.extend(discard.map(|discard| ("discardLocalSsd", if discard { "true" } else { "false" })));
        self.http.json(Call { method: Method::POST, path: &path, query: &query, body: None }).await
    }
}

fn path(target: &Target) -> String {
    let [project, zone, name] = [&target.project, &target.zone, &target.name].map(|part| segment(part));
    format!("/compute/v1/projects/{project}/zones/{zone}/instances/{name}")
}

fn place(place: &str) -> String {
    place.split('/').map(segment).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_zonal_or_regional_or_none() {
        let disk = |url: &str| Disk::parse(url).map(|disk| format!("{} {} {}", disk.project, disk.place, disk.name));
        let base = "https://www.googleapis.com/compute/v1/projects/acme";
        assert_eq!(disk(&format!("{base}/zones/z-1/disks/d")).as_deref(), Some("acme zones/z-1 d"));
        assert_eq!(disk(&format!("{base}/regions/r-1/disks/d")).as_deref(), Some("acme regions/r-1 d"));
        assert_eq!(disk("projects/acme/zones/z-1/disks/d").as_deref(), Some("acme zones/z-1 d"));
        for none in ["", "d", "projects/acme/zones/z-1/instances/d", "projects/acme/global/disks/d"] {
            assert_eq!(disk(none), None, "{none}");
        }
    }

    #[test]
    fn done_with_an_error_is_a_failure() {
        let read = |json: serde_json::Value| serde_json::from_value::<Operation>(json).unwrap();
        let good = read(json!({"name": "o", "id": "7", "status": "DONE", "zone": "x/zones/z"}));
        assert_eq!((good.is_done(), good.failure()), (true, None));
        assert_eq!(good.path("p", "zones/other"), "projects/p/zones/z/operations/o");
        assert_eq!((good.target(), good.asked()), (None, None));
        let told = read(json!({"targetId": u64::MAX.to_string(), "insertTime": "2026-11-20T02:12:00.000-08:00"}));
        assert_eq!(told.target(), Some("18446744073709551615"));
        assert_eq!(told.asked(), "2026-11-20T10:12:00Z".parse().ok());
        let bad = read(
            json!({"status": "DONE", "error": {"errors": [{"code": "QUOTA", "message": "no room"}, {"code": "B"}]}}),
        );
        assert_eq!(bad.failure().as_deref(), Some("QUOTA: no room; B"));
        let terse = read(json!({"status": "DONE", "httpErrorStatusCode": 400, "httpErrorMessage": "BAD REQUEST"}));
        assert_eq!(terse.failure().as_deref(), Some("400 BAD REQUEST"));
        assert!(read(json!({"status": "DONE", "error": {}})).failure().unwrap().contains("does not say why"));
    }
}
