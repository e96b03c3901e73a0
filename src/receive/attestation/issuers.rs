//! The keys of every issuer that a policy names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sha2::{Digest, Sha256};

use super::fault::BuildError;
use crate::attest::key_source::{FetchError, FetchRules, KeySource};
use crate::attest::keys_file::KeysFile;
use crate::attest::policies::{FolderError, Table};
use crate::attest::policy::accepted::GOOGLE;
use crate::config::attestation::AttestationConfig;

/// The issuers' keys. A policy that is reloaded with another issuer adds a source.
#[derive(Debug)]
pub(super) struct Issuers {
    sources: Mutex<BTreeMap<String, Arc<KeySource>>>,
    file: Option<Arc<KeysFile>>,
    /// Whose keys the file holds: settled by the first policies that leave keys to be found, never by a reload, as the
    /// keys in use would then verify another issuer's tokens.
    owner: OnceLock<String>,
    /// The issuer that a stand-in is configured for, and where that is.
    stand_in: Option<(String, String)>,
    cache: Option<PathBuf>,
    rules: FetchRules,
}

impl Issuers {
    pub(super) fn new(config: &AttestationConfig, table: &Table, rules: FetchRules) -> Result<Self, BuildError> {
        let file = config.jwks_file.as_deref().map(KeysFile::load).transpose()?.map(Arc::new);
        Ok(Self {
            sources: Mutex::default(),
            file,
            owner: OnceLock::new(),
            stand_in: stand_in(config, table),
            cache: config.keys_cache.clone(),
            rules,
        })
    }

    /// Holds a source for every issuer that must be asked.
    pub(super) fn hold(&self, table: &Table) -> Result<(), FolderError> {
        let ruled = self.file.as_ref().map(|_| owner(table)).transpose()?;
        let owner = self.owner.get().map(String::as_str).or(ruled);
        for policy in table.values().filter(|policy| policy.keys.is_none()) {
            if owner == Some(&policy.issuer) {
                continue;
            }
            let unusable = |source| FolderError::Issuer { policy: policy.name.clone(), source };
            self.source(&policy.issuer).map_err(unusable)?;
        }
        let fetched = fetched(table);
        if let Some(ruled) = ruled.filter(|_| !fetched.is_empty()) {
            let owner = self.owner.get_or_init(|| ruled.to_owned());
            if owner != ruled {
                tracing::warn!(issuer = owner, restarted = ruled, "{KEPT}");
            } else if fetched.len() > 1 {
                tracing::warn!(issuer = owner, "{SEVERAL}");
            }
        }
        Ok(())
    }

    /// One issuer's keys must never verify another's tokens: the file is its owner's alone.
    fn owned(&self, issuer: &str) -> Option<Arc<KeySource>> {
        // As long as every policy holds its own keys, it is who it would be without: the log `gotpm` has others' tokens.
        let owner = self.owner.get().map_or(GOOGLE, String::as_str);
        let file = self.file.as_ref().filter(|_| owner == issuer)?;
        Some(Arc::clone(file.source()))
    }

    /// The file of keys.
    pub(super) fn file(&self) -> Option<Arc<KeysFile>> {
        self.file.clone()
    }

    fn source(&self, issuer: &str) -> Result<Arc<KeySource>, FetchError> {
        let mut sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(source) = sources.get(issuer) {
            return Ok(source.clone());
        }
        let base = self.stand_in.as_ref().filter(|(of, _)| of == issuer).map_or(issuer, |(_, base)| base);
        let cache = self.cache.as_deref().map(|path| cache_of(path, issuer));
        let source = Arc::new(KeySource::issuer(issuer, base, self.rules.clone(), cache)?);
        sources.insert(issuer.to_owned(), source.clone());
        Ok(source)
    }

    pub(super) fn of(&self, issuer: &str) -> Option<Arc<KeySource>> {
        self.owned(issuer).or_else(|| self.source(issuer).ok())
    }

    /// Whether the configured endpoint stands for this issuer.
    pub(super) fn is_stood_in_for(&self, issuer: &str) -> bool {
        self.stand_in.as_ref().is_some_and(|(of, _)| of == issuer)
    }

    pub(super) fn held(&self) -> Vec<Arc<KeySource>> {
        self.sources.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

/// What is told of one file of keys beside policies of several issuers.
pub(crate) const SEVERAL: &str =
    "the policies name several issuers: ATTESTATION_JWKS_FILE is taken for this one's keys, the others' are fetched";

/// What is told when a restart would take the file for another issuer's keys.
const KEPT: &str = "the changed policies name other issuers: ATTESTATION_JWKS_FILE stays this one's keys until a restart, \
                    which takes it for another one's; all others' keys are fetched";

/// The configured endpoint stands for the only issuer there is, else for Google's.
pub(crate) fn stand_in(config: &AttestationConfig, table: &Table) -> Option<(String, String)> {
    config.endpoint.clone().map(|endpoint| (meant(&fetched(table)).to_owned(), endpoint))
}

/// Whose keys one file holds: the only issuer's there is, else Google's.
///
/// # Errors
/// When there are several, and Google is none of them.
pub(crate) fn owner(table: &Table) -> Result<&str, FolderError> {
    let fetched = fetched(table);
    let owner = meant(&fetched);
    if fetched.is_empty() || fetched.contains(owner) {
        return Ok(owner);
    }
    Err(FolderError::Unowned { issuers: fetched.into_iter().collect::<Vec<_>>().join(", ") })
}

/// The issuers whose keys no policy holds itself: of the policies that are switched on, and where none is, of all.
pub(crate) fn fetched(table: &Table) -> BTreeSet<&str> {
    let all_off = table.values().all(|policy| policy.off.is_some());
    let counted = table.values().filter(|policy| policy.keys.is_none() && (all_off || policy.off.is_none()));
    counted.map(|policy| policy.issuer.as_str()).collect()
}

fn meant<'t>(fetched: &BTreeSet<&'t str>) -> &'t str {
    match fetched.first() {
        Some(only) if fetched.len() == 1 => only,
        _ => GOOGLE,
    }
}

/// Each issuer has a file of its own: one issuer's keys must never verify another's tokens.
fn cache_of(path: &Path, issuer: &str) -> PathBuf {
    if issuer == GOOGLE {
        return path.to_owned();
    }
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}", &hex::encode(Sha256::digest(issuer))[..16]));
    name.into()
}
