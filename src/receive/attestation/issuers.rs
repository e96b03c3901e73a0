//! The keys of every issuer that a policy names.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use super::service::BuildError;
use crate::attest::key_source::{FetchError, FetchRules, KeySource};
use crate::attest::keys::KeySet;
use crate::attest::policies::Table;
use crate::config::attestation::AttestationConfig;

/// The issuers' keys. A policy that is reloaded with another issuer adds a source.
#[derive(Debug)]
pub(super) struct Issuers {
    sources: Mutex<BTreeMap<String, Arc<KeySource>>>,
    file: Option<Arc<KeySource>>,
    endpoint: Option<String>,
    cache: Option<PathBuf>,
    rules: FetchRules,
}

impl Issuers {
    pub(super) fn new(config: &AttestationConfig, table: &Table, rules: FetchRules) -> Result<Self, BuildError> {
        let file = match &config.jwks_file {
            Some(path) => {
                Some(Arc::new(KeySource::fixed(KeySet::read(&std::fs::read(path).map_err(BuildError::File)?)?)))
            }
            None => None,
        };
        let keys = Self {
            sources: Mutex::default(),
            file,
            endpoint: config.endpoint.clone(),
            cache: config.keys_cache.clone(),
            rules,
        };
        for policy in table.values().filter(|policy| policy.keys.is_none()) {
            keys.source(&policy.issuer)?;
        }
        Ok(keys)
    }

    fn source(&self, issuer: &str) -> Result<Arc<KeySource>, FetchError> {
        if let Some(file) = &self.file {
            return Ok(file.clone());
        }
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(issuer) {
            return Ok(source.clone());
        }
        let base = self.endpoint.as_deref().unwrap_or(issuer);
        let source = Arc::new(KeySource::issuer(issuer, base, self.rules.clone(), self.cache.clone())?);
        sources.insert(issuer.to_owned(), source.clone());
        Ok(source)
    }

    pub(super) fn of(&self, issuer: &str) -> Option<Arc<KeySource>> {
        self.source(issuer).ok()
    }

    pub(super) fn held(&self) -> Vec<Arc<KeySource>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}
