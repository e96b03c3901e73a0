//! Attestation, wired: the door, and Secret Manager behind it.

use std::sync::Arc;

use super::StartError;
use crate::config::Config;
use crate::config::attestation::SecretSource;
use crate::config::state::StateUrl;
use crate::google::{Client, HttpSettings};
use crate::receive::Intake;
use crate::receive::attestation::{Attestor, Parts, Resolver, secrets};
use crate::state::Store;

/// What answers attestation requests, when it is on.
pub(super) fn attestor(
    config: &Config,
    intake: &Intake,
    state: &Arc<dyn Store>,
) -> Result<Option<Attestor>, StartError> {
    let parts = Parts {
        intake: Some(intake.clone()),
        state: Some(Arc::clone(state)),
        forgetful: config.state.url == StateUrl::Memory,
        resolver: secret_manager(config)?,
        trusted_hops: config.server.trusted_hops,
        ..Parts::default()
    };
    Ok(Attestor::build(&config.attestation, parts)?)
}

/// Secret Manager, when a secret that can be released is there.
fn secret_manager(config: &Config) -> Result<Option<Resolver>, StartError> {
    let needed = config.attestation.secrets.iter().any(|rule| matches!(rule.source, SecretSource::Manager(_)));
    let Some(base) = config.attestation.secret_manager.clone().filter(|_| needed) else { return Ok(None) };
    let tokens = config.google.keyless_source(&base)?;
    let client = Client::new(HttpSettings::new(base), tokens).map_err(StartError::SecretManager)?;
    Ok(Some(secrets::manager(client)))
}
