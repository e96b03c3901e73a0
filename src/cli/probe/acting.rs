//! Acting on failed boots: what is going to be done, whether there is anything to compare with, and whether the account
//! may. Asked by `testIamPermissions`, which changes nothing.

use chrono::{TimeDelta, Utc};

use super::google::{self, Asked};
use super::{Ask, Report};
use crate::causes::chain;
use crate::config::acting::Mode;
use crate::config::google::Account;
use crate::config::state::StateUrl;
use crate::google::resource_manager::ResourceManager;
use crate::google::{Client, HttpSettings};
use crate::track::baselines::Baselines;

/// The custom role that the documents and scripts name.
const ROLE: &str = "sysdigSccActing";

/// Nothing where INTEGRITY_ACTION is report.
pub(super) async fn look(ask: Ask, report: Report) {
    let rules = &ask.config.acting;
    if rules.mode == Mode::Report {
        return;
    }
    let dry = if rules.dry_run { ", as a dry run: nothing is changed" } else { "" };
    report.ok("acting", format!("INTEGRITY_ACTION={}{dry}", rules.mode.name()));
    if matches!(rules.mode, Mode::RelearnOrReport | Mode::RelearnOrStop) {
        baselines(&ask, &report).await;
    }
    permissions(&ask, &report).await;
}

/// Without a usable baseline nothing is ever relearned.
async fn baselines(ask: &Ask, report: &Report) {
    // A store that is not there yet is not made by a check.
    if matches!(&ask.config.state.url, StateUrl::Sqlite(path) if !path.exists())
        || ask.config.state.url == StateUrl::Memory
    {
        return none(ask, report);
    }
    let config = &ask.config;
    let store = match config.google.token_source(Account::Security, &config.state.firestore_base()) {
        Ok(tokens) => crate::state::open(&config.state, &tokens),
        // Told where the state is looked at.
        Err(_) => return,
    };
    let Ok(store) = store else { return };
    let now = Utc::now();
    match Baselines::new(store, TimeDelta::zero()).all(now).await {
        Ok(all) => match all.iter().filter(|baseline| baseline.usable(now)).count() {
            0 => none(ask, report),
            usable => report.ok("acting baselines", format!("{usable} of {} can be used", all.len())),
        },
        Err(error) => report.fail("acting baselines", chain(&error), "nothing is relearned until they can be read"),
    }
}

fn none(ask: &Ask, report: &Report) {
    let rules = &ask.config.acting;
    let rest = match rules.mode {
        Mode::RelearnOrStop if rules.stop_without_baselines => "every VM that fails is stopped",
        Mode::RelearnOrStop => "nothing is stopped until there is one",
        _ => "all failures are only reported",
    };
    let found = format!("there is no known-good baseline that can be used: nothing is relearned, and {rest}");
    report.warn("acting baselines", found, "sysdig-scc baseline import NAME --from-entry FILE");
}

async fn permissions(ask: &Ask, report: &Report) {
    let config = &ask.config;
    let projects = &config.enrich.projects;
    let not_asked = |why: &str, remedy: &str| {
        report.warn("acting permissions", format!("the permissions were not asked for: {why}"), remedy);
    };
    if projects.is_empty() {
        return not_asked("in which projects the VMs are is not set", "set COMPUTE_PROJECT_ID");
    }
    // A stand-in for Compute Engine has projects that Google's Resource Manager does not know.
    let Some(url) = config.enrich.resource_manager_endpoint.as_ref() else {
        return not_asked(
            "COMPUTE_ENDPOINT is a stand-in, and Resource Manager's is not set",
            "set RESOURCE_MANAGER_ENDPOINT",
        );
    };
    let tokens = match config.google.token_source(Account::Compute, url) {
        Ok(tokens) => tokens,
        Err(error) => return report.fail("acting permissions", chain(&error), error.remedy()),
    };
    let http = HttpSettings { timeout: ask.deadline, ..HttpSettings::new(url.clone()) };
    let service = match Client::new(http, tokens.clone()) {
        Ok(client) => ResourceManager::new(client),
        Err(error) => return report.fail("acting permissions", chain(&error), "check RESOURCE_MANAGER_ENDPOINT"),
    };
    let (needed, member) = (config.acting.permissions(), google::member(&tokens).await);
    let asking = projects.iter().map(|project| service.granted(project, &needed));
    let answers = futures_util::future::join_all(asking).await;
    for (project, answer) in projects.iter().zip(answers) {
        let what = format!("acting permissions {project}");
        match answer {
            Ok(granted) => {
                let missing: Vec<&str> =
                    needed.iter().copied().filter(|permission| !granted.iter().any(|has| has == permission)).collect();
                if missing.is_empty() {
                    report.ok(&what, format!("all {} that are needed", needed.len()));
                } else {
                    report.fail(&what, format!("missing: {}", missing.join(", ")), grant(project, &needed, &member));
                }
            }
            Err(error) => {
                let asked = Asked {
                    api: "cloudresourcemanager.googleapis.com",
                    project: Some(project),
                    grant: grant(project, &needed, &member),
                    missing: "check COMPUTE_PROJECT_ID".into(),
                };
                let remedy = google::remedy(&error, &asked);
                report.warn(&what, format!("could not be asked for: {}", chain(&error)), remedy);
            }
        }
    }
}

/// A role of exactly this, and its grant.
fn grant(project: &str, needed: &[&str], member: &str) -> String {
    format!(
        "gcloud iam roles create {ROLE} --project {project} --permissions {} && gcloud projects add-iam-policy-binding {project} --member {member} --role projects/{project}/roles/{ROLE}",
        needed.join(",")
    )
}
