//! Compute Engine: one instance is asked for in every project that is looked up.

use super::google::{self, Asked};
use super::{Ask, Report};
use crate::causes::chain;
use crate::config::google::Account;
use crate::google::compute::{Compute, Scope};
use crate::google::{ApiError, Client, HttpSettings};

/// Asks every project at once.
pub(super) async fn look(ask: Ask, report: Report) {
    let settings = &ask.config.enrich;
    if settings.projects.is_empty() {
        return;
    }
    let tokens = match ask.config.google.token_source(Account::Compute, &settings.compute_endpoint) {
        Ok(tokens) => tokens,
        Err(error) => return report.fail("Compute Engine", chain(&error), error.remedy()),
    };
    let http = HttpSettings { timeout: ask.deadline, ..HttpSettings::new(settings.compute_endpoint.clone()) };
    let compute = match Client::new(http, tokens.clone()) {
        Ok(client) => Compute::new(client),
        Err(error) => return report.fail("Compute Engine", chain(&error), "check COMPUTE_ENDPOINT"),
    };
    let member = google::member(&tokens).await;
    let asking = settings.projects.iter().map(|project| one(&compute, project, &settings.zones));
    let answers = futures_util::future::join_all(asking).await;
    for (project, answer) in settings.projects.iter().zip(answers) {
        say(project, &member, answer, &report);
    }
}

/// Aggregated, or each zone.
async fn one<'z>(compute: &Compute, project: &str, zones: &'z [String]) -> Result<(), Refused<'z>> {
    if zones.is_empty() {
        return compute.may_list(project, Scope::All).await.map_err(|error| Refused { error, zone: None });
    }
    let asking = zones.iter().map(async |zone| {
        compute.may_list(project, Scope::Zone(zone)).await.map_err(|error| Refused { error, zone: Some(zone) })
    });
    futures_util::future::try_join_all(asking).await.map(drop)
}

/// Why, and in which zone when one was asked.
struct Refused<'z> {
    error: ApiError,
    zone: Option<&'z str>,
}

fn say(project: &str, member: &str, answer: Result<(), Refused<'_>>, report: &Report) {
    let what = format!("Compute Engine {project}");
    let Err(Refused { error, zone }) = answer else { return report.ok(&what, "instances may be listed") };
    let missing = zone.map_or_else(
        || "check COMPUTE_PROJECT_ID".to_owned(),
        |zone| format!("check COMPUTE_PROJECT_ID, and {zone} in COMPUTE_ZONE"),
    );
    if let Some(zone) = zone.filter(|_| error.status() == Some(400)) {
        let remedy = format!("check {zone} in COMPUTE_ZONE, or leave it empty for all zones");
        return report.fail(&what, chain(&error), remedy);
    }
    let asked = Asked {
        api: "compute.googleapis.com",
        project: Some(project),
        grant: format!(
            "gcloud projects add-iam-policy-binding {project} --member {member} --role roles/compute.viewer"
        ),
        missing,
    };
    let remedy = google::remedy(&error, &asked);
    if error.is_quota() {
        return report.warn(&what, chain(&error), remedy);
    }
    report.fail(&what, chain(&error), remedy);
}
