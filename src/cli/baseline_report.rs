//! The late boot report that `baseline import` approves: which one it is, and whether it is the VM's newest.

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use serde_json::Value;

use super::out::note;
use crate::causes::chain;
use crate::config::enrich::COMPUTE_ENDPOINT;
use crate::config::google::{Account, GoogleConfig};
use crate::config::pubsub::logging_endpoint;
use crate::config::{Env, Problems};
use crate::google::compute::Compute;
use crate::google::http::{Client, HttpSettings};
use crate::google::logging;
use crate::integrity::entry::INTEGRITY_LOG;
use crate::integrity::{Entry, Fact, Reading, read};

/// The VM whose report is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Its name or numeric id.
    pub(super) instance: &'a str,
    /// Its project.
    pub(super) project: &'a str,
    /// Its zone.
    pub(super) zone: &'a str,
}

/// The newest late boot report of a VM in Cloud Logging.
///
/// # Errors
/// That there is no such VM or report, that the newest one cannot be read, or what the services say.
pub(super) async fn logged(asked: Asked<'_>, env: &mut Env) -> anyhow::Result<Entry> {
    if asked.instance.is_empty() {
        bail!("--instance is empty: is a variable not set? Give the VM's name or numeric id")
    }
    let google = GoogleConfig::read(env);
    let endpoint = env.parse::<url::Url>(&COMPUTE_ENDPOINT, "an address");
    let (Some(google), Some(endpoint)) = (google, endpoint) else { return Err(problems(env).into()) };
    let Some(base) = logging_endpoint(env) else { return Err(problems(env).into()) };
    let tokens = google.token_source(Account::Compute, &endpoint)?;
    let (id, started) = identified(asked, &Compute::new(Client::new(HttpSettings::new(endpoint), tokens)?)).await?;
    let tokens = google.token_source(Account::Compute, &base)?;
    let http = Client::new(HttpSettings::new(base), tokens)?;
    let filter = format!(
        "resource.type=\"gce_instance\" AND resource.labels.instance_id=\"{id}\" AND log_id(\"{INTEGRITY_LOG}\") AND jsonPayload.lateBootReportEvent:*"
    );
    let newest = newest_of(&id, &logging::newest(&http, asked.project, &filter, 5).await?)?;
    if let Some(started) = started.filter(|started| *started > newest.time) {
        note!(
            "Note: the VM was started on {}, after this report: it is of an older boot than the one that runs.",
            seconds(started)
        );
    }
    Ok(newest)
}

/// The VM's id, and when it was started last. An id names the VM's reports also where Compute Engine cannot be asked.
async fn identified(asked: Asked<'_>, compute: &Compute) -> anyhow::Result<(String, Option<DateTime<Utc>>)> {
    let Asked { instance, project, zone } = asked;
    let is_id = instance.bytes().all(|byte| byte.is_ascii_digit());
    let unknown = match compute.instance(project, zone, instance).await {
        Ok(Some(found)) => {
            let started = DateTime::parse_from_rfc3339(&found.last_start_timestamp).ok();
            return Ok((found.id.0, started.map(|started| started.with_timezone(&Utc))));
        }
        Ok(None) if is_id => format!("there is no VM {instance} in {project}, {zone}"),
        Ok(None) => bail!("there is no VM {instance} in {project}, {zone}"),
        Err(error) if is_id => chain(&error),
        Err(error) => return Err(error.into()),
    };
    note!("Note: whether the report is of the VM's last start is not known: {unknown}.");
    Ok((instance.to_owned(), None))
}

/// The newest of the entries; one that cannot be read must be older, or an older boot would be approved in its place.
fn newest_of(id: &str, entries: &[Value]) -> anyhow::Result<Entry> {
    let (mut found, mut others) = (Vec::new(), Vec::new());
    for json in entries {
        let reason = match read(json, Utc::now()) {
            Ok(Reading::Entry(entry)) if entry.vm.id.to_string() == id => {
                found.push(*entry);
                continue;
            }
            Ok(Reading::Entry(entry)) => format!("it is of VM {}", entry.vm.id),
            Ok(Reading::Foreign(foreign)) => foreign.reason().to_owned(),
            Err(error) => error.0,
        };
        let time = json["timestamp"].as_str().and_then(|time| DateTime::parse_from_rfc3339(time).ok());
        others.push((time.map(|time| time.with_timezone(&Utc)), reason));
    }
    let newest = if others.is_empty() { Some(newest_late(found)?) } else { newest_late(found).ok() };
    let newer = |time: Option<DateTime<Utc>>| match (time, &newest) {
        (Some(time), Some(newest)) => time >= newest.logged(),
        _ => true,
    };
    if let Some((time, reason)) = others.into_iter().find(|(time, _)| newer(*time)) {
        let time = time.map_or_else(|| "without a time".to_owned(), |time| format!("of {}", seconds(time)));
        bail!(
            "the VM's newest late boot report, {time}, cannot be approved: {reason}; an older one is not taken instead"
        )
    }
    newest.context("there is no late boot report")
}

/// The newest late boot report; all reports must be of one VM.
pub(super) fn newest_late(entries: Vec<Entry>) -> anyhow::Result<Entry> {
    let mut late: Vec<Entry> = entries.into_iter().filter(|entry| matches!(entry.fact, Fact::LateBoot(_))).collect();
    late.sort_by_key(|entry| (entry.time, entry.boot));
    let Some(newest) = late.pop() else {
        bail!(
            "there is no late boot report; an early one does not cover what is loaded after it, and cannot be approved"
        )
    };
    if let Some(other) = late.iter().find(|entry| entry.vm.key() != newest.vm.key()) {
        bail!("the reports are of several VMs ({} and {}); give those of one", newest.vm.key(), other.vm.key());
    }
    Ok(newest)
}

/// The report, for whoever approves it. `instance`: how it was asked for.
pub(super) fn told(entry: &Entry, instance: Option<&str>) -> String {
    let id = entry.vm.id.to_string();
    let vm = instance.filter(|name| *name != id).map_or_else(|| id.clone(), |name| format!("{name} ({id})"));
    let boot = entry.boot.map_or_else(|| "a boot without a counter".to_owned(), |boot| format!("boot {boot}"));
    format!("{boot} of VM {vm} in {}, reported on {}", entry.vm.project, seconds(entry.time))
}

fn seconds(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// What is wrong with the settings that were read.
pub(super) fn problems(env: &mut Env) -> Problems {
    std::mem::take(env).finish().err().unwrap_or(Problems(Vec::new()))
}
