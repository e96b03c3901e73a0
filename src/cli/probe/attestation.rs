//! Attestation: the policies load, the names that settings use are among them, and the issuers give their keys.

use std::collections::BTreeSet;

use super::{Ask, Report};
use crate::app::ground;
use crate::attest::key_source::{FetchRules, KeySource};
use crate::attest::policies::{Policies, Table};
use crate::causes::chain;
use crate::config::Problem;
use crate::config::attestation::AttestationConfig;
use crate::receive::attestation::{SEVERAL, fetched, owner, stand_in};

const WHAT: &str = "attestation policies";
const ISSUER: &str = "attestation issuer";
const FILE: &str = "attestation keys";

/// Looks, when attestation is on.
pub(super) async fn look(ask: Ask, report: Report) {
    let config = &ask.config.attestation;
    let Some(folder) = config.policies.clone() else { return };
    let settings = config.clone();
    // Compiling waits for a thread of its own: not something for the runtime's threads.
    let looked = tokio::task::spawn_blocking(move || {
        (ground::policies(&settings), ground::keys_and_journal(&settings), Policies::look(&folder).0)
    });
    let Ok((faults, others, table)) = looked.await else {
        return report.fail(WHAT, "loading them broke off", "a mistake in this program: please report it");
    };
    policies(config, &table, faults, &report);
    for Problem { setting, wrong, remedy } in others {
        report.fail(&setting, wrong, remedy);
    }
    if config.jwks_file.is_some()
        && fetched(&table).len() > 1
        && let Ok(owner) = owner(&table)
    {
        report.warn(FILE, format!("{SEVERAL}: {owner}"), "give each issuer's keys in its policies (jwksJson)");
    }
    if !ask.offline {
        issuers(config, &table, &ask, &report).await;
    }
}

fn policies(config: &AttestationConfig, table: &Table, faults: Vec<Problem>, report: &Report) {
    let (names, good) = (table.keys().map(String::as_str).collect::<Vec<_>>(), faults.is_empty());
    for Problem { setting, wrong, remedy } in faults {
        report.fail(WHAT, format!("{setting} {wrong}"), remedy);
    }
    let folder = config.policies.as_ref().map(|folder| folder.display().to_string()).unwrap_or_default();
    match names.is_empty() {
        _ if !good => {}
        true => report.fail(
            WHAT,
            format!("{folder} holds none, so every token is refused"),
            "put policies there, for example from the folder policies of the repository",
        ),
        false => report.ok(WHAT, format!("loaded: {}", names.join(", "))),
    }
}

/// Keys given by a file or by the policy itself are not fetched.
async fn issuers(config: &AttestationConfig, table: &Table, ask: &Ask, report: &Report) {
    let owner = config.jwks_file.as_ref().and_then(|_| owner(table).ok());
    let issuers: BTreeSet<&str> = table
        .values()
        .filter(|policy| policy.keys.is_none() && policy.off.is_none() && owner != Some(&policy.issuer))
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
