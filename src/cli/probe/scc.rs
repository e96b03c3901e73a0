//! Security Command Center: a token, the API, the source, our rights on it, and the location.

use super::google::{self, Asked};
use super::{Ask, Report};
use crate::app::{SOURCE_DISPLAY_NAME, scc_client};
use crate::causes::chain;
use crate::config::Config;
use crate::config::pubsub::Push;
use crate::google::scc::{Scc, Source, SourceName, UPDATE_FINDINGS, sources};
use crate::google::{ApiError, Client, TokenSource};

const WHAT: &str = "Security Command Center";
const SOURCE: &str = "source";
const LIST_FINDINGS: &str = "securitycenter.findings.list";
const SET_STATE: &str = "securitycenter.findings.setState";
/// A key file, as kinds of credentials are called.
const KEY: &str = "service_account";

/// Asks.
pub(super) async fn look(ask: Ask, report: Report) {
    let config = &ask.config;
    if config.scc.dry_run {
        return report.warn(WHAT, "DRY_RUN is set: nothing is sent", "remove DRY_RUN to deliver findings");
    }
    let client = match scc_client(config) {
        Ok(client) => client,
        Err(error) => return report.fail(WHAT, chain(&error), "correct the credentials, or SCC_ENDPOINT"),
    };
    if !token(client.tokens(), &report).await {
        return;
    }
    let (member, kind) = (google::member(client.tokens()).await, client.tokens().kind());
    let Some(source) = source(config, &client, &member, &report).await else { return };
    let scc = Scc::new(client, source, config.scc.location.as_str());
    if let Some(granted) = permissions(config, &scc, (&member, kind), &report).await {
        location(config, &scc, &granted, &report).await;
    }
}

/// Kind and address are told, the token never.
async fn token(tokens: &TokenSource, report: &Report) -> bool {
    match tokens.token().await {
        Ok(None) => report.ok("token", "none is needed: the endpoint is a sandbox on this machine"),
        Ok(Some(token)) => {
            let whose = match tokens.identity().await.ok().flatten() {
                Some(account) => format!(" for {account}"),
                None => String::new(),
            };
            let until = token.expires().format("%H:%M UTC");
            report.ok("token", format!("obtained from {}{whose}, valid until {until}", tokens.kind()));
        }
        Err(error) => {
            report.fail("token", chain(&error), error.remedy());
            return false;
        }
    }
    true
}

/// The source that is set, or the one with our name.
async fn source(config: &Config, client: &Client, member: &str, report: &Report) -> Option<SourceName> {
    if let Some(source) = &config.scc.source {
        return Some(source.clone());
    }
    let organization = config.scc.organization.as_deref()?;
    let all = match sources(client, organization).await {
        Ok(all) => all,
        Err(error) => {
            let grant = format!(
                "set SOURCE_ID, or: gcloud organizations add-iam-policy-binding {organization} --member {member} --role roles/securitycenter.sourcesViewer"
            );
            refused(config, &error, SOURCE, grant, report);
            return None;
        }
    };
    let ours: Vec<&Source> = all.iter().filter(|source| source.display_name == SOURCE_DISPLAY_NAME).collect();
    match ours.as_slice() {
        [one] => {
            let number = one.name.rsplit('/').next().unwrap_or_default().to_owned();
            report.ok(SOURCE, format!("{} was found by its name; SOURCE_ID={number} saves the question", one.name));
            Some(SourceName { organization: organization.to_owned(), source: number })
        }
        [] => {
            let found = format!(
                "none of the {} sources of organization {organization} is called {SOURCE_DISPLAY_NAME:?}",
                all.len()
            );
            report.fail(SOURCE, found, "sysdig-scc setup source");
            None
        }
        several => {
            let names: Vec<&str> = several.iter().map(|source| source.name.as_str()).collect();
            let found = format!("{} sources are called {SOURCE_DISPLAY_NAME:?}: {}", several.len(), names.join(", "));
            report.fail(SOURCE, found, "set SOURCE_ID to the number of the one to use");
            None
        }
    }
}

/// What is needed on the source.
fn needed(config: &Config) -> Vec<&'static str> {
    // Integrity and attestation findings are closed again, and looked up before.
    let integrity = config.pubsub.subscription.is_some() || config.pubsub.push != Push::Closed;
    match integrity || config.attestation.policies.is_some() {
        true => vec![UPDATE_FINDINGS, LIST_FINDINGS, SET_STATE],
        false => vec![UPDATE_FINDINGS],
    }
}

/// Those of ours that are granted, when all that are needed are.
async fn permissions(config: &Config, scc: &Scc, (member, kind): (&str, &str), report: &Report) -> Option<Vec<String>> {
    let organization = &scc.source().organization;
    let script = match kind {
        KEY => "scripts/generate_gcloud_keys, or without a key scripts/setup_workload_identity,",
        _ => "scripts/setup_workload_identity, or for a key file scripts/generate_gcloud_keys,",
    };
    let grant = format!(
        "{script} grants roles/securitycenter.findingsEditor on the source alone; on the whole organization: \
         gcloud organizations add-iam-policy-binding {organization} --member {member} --role roles/securitycenter.findingsEditor"
    );
    let granted = match scc.permitted(&[UPDATE_FINDINGS, LIST_FINDINGS, SET_STATE]).await {
        Ok(granted) => granted,
        Err(error) => {
            refused(config, &error, WHAT, grant, report);
            return None;
        }
    };
    let missing: Vec<&str> = needed(config).into_iter().filter(|n| !granted.iter().any(|g| g == n)).collect();
    if !missing.is_empty() {
        report.fail(WHAT, format!("not granted on {}: {}", scc.source(), missing.join(", ")), grant);
        return None;
    }
    report.ok(WHAT, format!("API v2 answers, and {} may be written", scc.source()));
    Some(granted)
}

/// Looks for a finding that is not there: an organization with data residency refuses a location that is not its own.
async fn location(config: &Config, scc: &Scc, granted: &[String], report: &Report) {
    let place = format!("{} at {}", scc.location(), config.scc.endpoint.host_str().unwrap_or_default());
    if !granted.iter().any(|permission| permission == LIST_FINDINGS) {
        return report.ok("location", format!("{place}; not asked, as {LIST_FINDINGS} is not granted"));
    }
    match scc.find("sysdigscccheck").await {
        Ok(_) => report.ok("location", place),
        Err(error) if matches!(error.status(), Some(400 | 404)) => report.fail(
            "location",
            format!("{place}: {}", chain(&error)),
            "set SCC_LOCATION to where the organization keeps its findings: global, or with data residency eu, us or sa",
        ),
        Err(error) => refused(config, &error, "location", "grant roles/securitycenter.findingsEditor on the source".into(), report),
    }
}

fn refused(config: &Config, error: &ApiError, what: &str, grant: String, report: &Report) {
    let project = config.google.quota_project.as_deref().or(config.scc.project.as_deref());
    let asked = Asked {
        api: "securitycenter.googleapis.com",
        project,
        grant,
        missing: "check ORG_ID, SOURCE_ID and SCC_ENDPOINT; `sysdig-scc setup source` finds or makes the source".into(),
    };
    report.fail(what, chain(error), google::remedy(error, &asked));
}
