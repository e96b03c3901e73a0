//! The late boot report that `baseline import` approves: which one it is, and whether it is the VM's newest.

use anyhow::{Context, bail};
use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use super::out::note;
use crate::causes::chain;
use crate::config::enrich::{compute_endpoint, projects};
use crate::config::google::{Account, GoogleConfig};
use crate::config::pubsub::logging_endpoint;
use crate::config::{Env, Problems};
use crate::google::compute::{Compute, Instance, Scope, last_part, project_in};
use crate::google::http::{Client, HttpSettings};
use crate::google::logging;
use crate::integrity::entry::INTEGRITY_LOG;
use crate::integrity::words::boot_report;
use crate::integrity::{Entry, Fact, Reading, read};
use crate::text::stamp;

/// The VM whose report is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked<'a> {
    /// Its name or numeric id.
    pub(super) instance: &'a str,
    /// Its project, if that was said.
    pub(super) project: Option<&'a str>,
    /// Its zone, if that was said.
    pub(super) zone: Option<&'a str>,
}

/// A VM and where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Placed {
    /// Its name or numeric id.
    instance: String,
    project: String,
    zone: String,
}

impl Placed {
    fn shown(&self) -> String {
        format!("{} in {}, {}", self.instance, self.project, self.zone)
    }
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
    let endpoint = compute_endpoint(env);
    let (Some(google), Some(endpoint)) = (google, endpoint) else { return Err(problems(env).into()) };
    let Some(projects) = projects(env) else { return Err(problems(env).into()) };
    let Some(base) = logging_endpoint(env) else { return Err(problems(env).into()) };
    let tokens = google.token_source(Account::Compute, &endpoint)?;
    let compute = Compute::new(Client::new(HttpSettings::new(endpoint), tokens)?);
    let placed = placed(asked, projects, &compute).await?;
    let (id, started) = identified(&placed, &compute).await?;
    let tokens = google.token_source(Account::Compute, &base)?;
    let http = Client::new(HttpSettings::new(base), tokens)?;
    let filter = format!(
        "resource.type=\"gce_instance\" AND resource.labels.instance_id=\"{id}\" AND log_id(\"{INTEGRITY_LOG}\") AND jsonPayload.lateBootReportEvent:*"
    );
    let newest = newest_of(&id, &logging::newest(&http, &placed.project, &filter, 5).await?)?;
    if let Some(started) = started.filter(|started| *started > newest.time) {
        note!(
            "Note: the VM was started on {}, after this report: it is of an older boot than the one that runs.",
            stamp(started)
        );
    }
    Ok(newest)
}

/// Where the VM is, when that was not said in full: in the project that was, or those of the settings, in any zone. One of
/// several is never chosen, as another VM's measurements would be approved.
async fn placed(asked: Asked<'_>, projects: Vec<String>, compute: &Compute) -> anyhow::Result<Placed> {
    const REMEDY: &str = "say where it is with --project and --zone";
    let instance = asked.instance;
    let placed = |project: &str, zone: &str| Placed {
        instance: instance.to_owned(),
        project: project.to_owned(),
        zone: zone.to_owned(),
    };
    if let (Some(project), Some(zone)) = (asked.project, asked.zone) {
        return Ok(placed(project, zone));
    }
    let projects = asked.project.map_or(projects, |project| vec![project.to_owned()]);
    if projects.is_empty() {
        bail!("which project VM {instance} is in is not known: {REMEDY}, or set COMPUTE_PROJECT_ID")
    }
    if !instance.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        bail!("{instance:?} is neither a VM's name nor its numeric id")
    }
    let filter = format!("{} eq {instance}", if is_id(instance) { "id" } else { "name" });
    let (mut found, mut unreachable) = (Vec::new(), Vec::new());
    for project in &projects {
        let scope = asked.zone.map_or(Scope::All, Scope::Zone);
        let listed = compute.instances::<Instance>(project, scope, Some(&filter)).await;
        let listed = listed.with_context(|| format!("the VMs of project {project} cannot be listed; {REMEDY}"))?;
        let of_it = listed.instances.iter().filter(|one| one.name == instance || one.id.0 == instance);
        // The settings may name a project by its number.
        found.extend(of_it.map(|one| placed(project_in(&one.zone).unwrap_or(project), last_part(&one.zone))));
        unreachable.extend(listed.unreachable.into_iter().map(|zone| format!("{project}, {zone}")));
    }
    found.sort();
    found.dedup();
    let all: Vec<String> = found.iter().map(Placed::shown).collect();
    match found.pop() {
        Some(_) if all.len() > 1 => bail!("there are several VMs of this name ({}); {REMEDY}", all.join("; ")),
        // An id is one VM's only.
        Some(found) if unreachable.is_empty() || is_id(instance) => Ok(found),
        None if unreachable.is_empty() => bail!("there is no VM {instance} in {}; {REMEDY}", projects.join(", ")),
        _ => bail!("not every zone answers ({}), so that VM {instance} may be there; {REMEDY}", unreachable.join("; ")),
    }
}

fn is_id(instance: &str) -> bool {
    instance.bytes().all(|byte| byte.is_ascii_digit())
}

/// The VM's id, and when it was started last. An id names the VM's reports also where Compute Engine cannot be asked.
async fn identified(placed: &Placed, compute: &Compute) -> anyhow::Result<(String, Option<DateTime<Utc>>)> {
    let Placed { instance, project, zone } = placed;
    let is_id = is_id(instance);
    let unknown = match compute.instance(project, zone, instance).await {
        Ok(Some(found)) => {
            let started = DateTime::parse_from_rfc3339(&found.last_start_timestamp).ok();
            return Ok((found.id.0, started.map(|started| started.with_timezone(&Utc))));
        }
        Ok(None) if is_id => format!("there is no VM {}", placed.shown()),
        Ok(None) => bail!("there is no VM {}", placed.shown()),
        Err(error) if is_id => chain(&error),
        Err(error) => return Err(error.into()),
    };
    note!("Note: whether the report is of the VM's last start is not known: {unknown}.");
    Ok((instance.clone(), None))
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
        let time = time.map_or_else(|| "without a time".to_owned(), |time| format!("of {}", stamp(time)));
        bail!(
            "the VM's newest late boot report, {time}, cannot be approved: {reason}; an older one is not taken instead"
        )
    }
    newest.context("there is no late boot report")
}

/// The newest late boot report; all reports must be of one VM. Two of one moment that measured different things are not
/// chosen between: a VM writes one, so somebody else wrote the other.
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
    let measured = |entry: &Entry| boot_report(entry).map(|report| (report.policy.clone(), report.actual.clone()));
    if let Some(other) = late.iter().find(|entry| entry.time == newest.time && measured(entry) != measured(&newest)) {
        bail!(
            "two late boot reports of VM {} of {} have different measurements, so one of them is not the VM's own (insertId {:?} and {:?}); find out which, and give that one alone",
            newest.vm.id,
            newest.time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            other.log.insert_id,
            newest.log.insert_id
        );
    }
    Ok(newest)
}

/// The report, for whoever approves it. `instance`: how it was asked for.
pub(super) fn told(entry: &Entry, instance: Option<&str>) -> String {
    let id = entry.vm.id.to_string();
    let vm = instance.filter(|name| *name != id).map_or_else(|| id.clone(), |name| format!("{name} ({id})"));
    let boot = entry.boot.map_or_else(|| "a boot without a counter".to_owned(), |boot| format!("boot {boot}"));
    format!("{boot} of VM {vm} in {}, reported on {}", entry.vm.project, stamp(entry.time))
}

/// What is wrong with the settings that were read.
pub(super) fn problems(env: &mut Env) -> Problems {
    std::mem::take(env).finish().err().unwrap_or(Problems(Vec::new()))
}
