//! Attestation: the policies load, the names that settings use are among them, and the issuers give their keys.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Ask, Report};
use crate::attest::key_source::{FetchRules, KeySource};
use crate::attest::policies::{Policies, Table};
use crate::config::attestation::AttestationConfig;
use crate::receive::attestation::stand_in;
use crate::telemetry::chain;

const WHAT: &str = "attestation policies";
const ISSUER: &str = "attestation issuer";

/// Looks, when attestation is on.
pub(super) async fn look(ask: Ask, report: Report) {
    let config = &ask.config.attestation;
    let Some(folder) = config.policies.clone() else { return };
    let shown = folder.display().to_string();
    // Compiling waits for a thread of its own: not something for the runtime's threads.
    let table = match tokio::task::spawn_blocking(move || Policies::load(&folder)).await {
        Ok(Ok(policies)) => policies.all(),
        Ok(Err(error)) => {
            return report.fail(
                WHAT,
                chain(&error),
                "correct the file, or ATTESTATION_POLICIES; `sysdig-scc attest lint FILE` says what is wrong with it",
            );
        }
        Err(_) => return report.fail(WHAT, "loading them broke off", "a mistake in this program: please report it"),
    };
    policies(config, &table, &shown, &report);
    if !ask.offline {
        issuers(config, &table, &ask, &report).await;
    }
}

fn policies(config: &AttestationConfig, table: &Arc<Table>, folder: &str, report: &Report) {
    let secrets = config.secrets.iter().map(|rule| &rule.policy);
    let named = config.asked.iter().chain(&config.logged).chain(secrets);
    let unknown: BTreeSet<&str> = named.filter(|name| !table.contains_key(*name)).map(String::as_str).collect();
    let names: Vec<&str> = table.keys().map(String::as_str).collect();
    if !unknown.is_empty() {
        let unknown: Vec<&str> = unknown.into_iter().collect();
        let found = format!("{} is not among those of {folder}: {}", unknown.join(", "), names.join(", "));
        return report.fail(
            WHAT,
            found,
            "correct ATTESTATION_POLICY, ATTESTATION_LOG_POLICY or ATTESTATION_SECRETS, or add the policy's file",
        );
    }
    match names.is_empty() {
        true => report.fail(
            WHAT,
            format!("{folder} holds none, so every token is refused"),
            "put policies there, for example from the folder policies of the repository",
        ),
        false => report.ok(WHAT, format!("loaded: {}", names.join(", "))),
    }
}

/// Keys given by a file or by the policy itself are not fetched.
async fn issuers(config: &AttestationConfig, table: &Arc<Table>, ask: &Ask, report: &Report) {
    if config.jwks_file.is_some() {
        return;
    }
    let issuers: BTreeSet<&str> = table
        .values()
        .filter(|policy| policy.keys.is_none() && !policy.disabled)
        .map(|policy| policy.issuer.as_str())
        .collect();
    let stand_in = stand_in(config, table);
    for issuer in issuers {
        let base = stand_in.as_ref().filter(|(of, _)| of == issuer).map_or(issuer, |(_, base)| base);
        let rules = FetchRules { timeout: ask.deadline, ..FetchRules::default() };
        let answer = match KeySource::issuer(issuer, base, rules, None) {
            Ok(source) => source.ask().await,
            Err(error) => Err(error),
        };
        match answer {
            Ok(()) => report.ok(ISSUER, format!("{base} gives its keys")),
            Err(error) => report.fail(
                ISSUER,
                format!("{base}: {}", chain(&error)),
                "check that this machine may reach it, and ATTESTATION_ENDPOINT when it is set; without egress give the keys as ATTESTATION_JWKS_FILE",
            ),
        }
    }
}
