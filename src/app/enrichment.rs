//! The look-ups that the settings ask for.

use std::sync::Arc;

use super::StartError;
use crate::config::Config;
use crate::config::google::Account;
use crate::enrich::compute::{ComputeEnricher, Where};
use crate::enrich::kubernetes::KubernetesEnricher;
use crate::enrich::login::connect;
use crate::enrich::{Enricher, Enrichment};
use crate::google::compute::Compute;
use crate::google::http::{Client, HttpSettings};
use crate::google::resource_manager::ResourceManager;

/// Look-ups are short; many run at once.
const CONNECTIONS: usize = 16;

/// All look-ups that are set; Kubernetes first, as the node it names tells Compute where to look.
pub(super) async fn build(config: &Config) -> Result<Enrichment, StartError> {
    let settings = &config.enrich;
    let mut enrichers: Vec<Arc<dyn Enricher>> = Vec::new();
    if let Some(kubernetes) = &settings.kubernetes {
        let access = connect(&kubernetes.source).await?;
        let kubernetes = KubernetesEnricher::new(access, kubernetes, settings.keep);
        kubernetes.log_in();
        enrichers.push(Arc::new(kubernetes));
    }
    if !settings.projects.is_empty() {
        let compute = Compute::new(client(config, &settings.compute_endpoint)?);
        let names = settings.resource_manager_endpoint.as_ref().map(|url| client(config, url)).transpose()?;
        let place = Where { projects: settings.projects.clone(), zones: settings.zones.clone(), keep: settings.keep };
        enrichers.push(Arc::new(ComputeEnricher::new(compute, names.map(ResourceManager::new), place)));
    }
    if enrichers.is_empty() { Ok(Enrichment::none()) } else { Ok(Enrichment::new(enrichers, settings.deadline)) }
}

fn client(config: &Config, url: &url::Url) -> Result<Client, StartError> {
    let tokens = config.google.token_source(Account::Compute, url)?;
    let settings = HttpSettings {
        timeout: config.enrich.deadline.max(std::time::Duration::from_secs(1)),
        connections: CONNECTIONS,
        ..HttpSettings::new(url.clone())
    };
    Client::new(settings, tokens).map_err(StartError::Compute)
}
