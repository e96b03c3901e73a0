//! The policies of a folder, read again when a file changed. What was good stays in use until something good replaces it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::key_source::FetchError;
use super::look::{Found, Look, Looks};
use super::policy::{Policy, PolicyError};
use crate::telemetry::metrics as names;

/// Policies by name.
pub type Table = BTreeMap<String, Arc<Policy>>;

/// What else a folder's policies must fulfil: the start asks it, and so does every reload.
pub type Check = Box<dyn Fn(&Table) -> Result<(), FolderError> + Send + Sync>;

/// The policies in use.
pub struct Policies {
    folder: Option<PathBuf>,
    table: watch::Sender<Arc<Table>>,
    check: Option<Check>,
    looks: Mutex<Looks>,
}

impl std::fmt::Debug for Policies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Policies").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// Why a folder of policies cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder cannot be read.
    #[error("the policies in {path} cannot be read")]
    Unreadable {
        /// The folder.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// One of its files is no policy.
    #[error("{file}")]
    Policy {
        /// The file.
        file: String,
        /// Why.
        #[source]
        source: PolicyError,
    },
    /// Two files have a policy of the same name.
    #[error("two policies are called {name}: {first} and {second}")]
    Twice {
        /// The policy.
        name: String,
        /// The file that is read first.
        first: String,
        /// The other one.
        second: String,
    },
    /// A setting names a policy that is not there.
    #[error("{setting} names the policy {name}, which is not in the folder")]
    Missing {
        /// The setting.
        setting: &'static str,
        /// The policy.
        name: String,
    },
    /// One file of keys, and several issuers that it may be of.
    #[error(
        "ATTESTATION_JWKS_FILE holds the keys of one issuer; the policies name several, and not Google's: {issuers}"
    )]
    Unowned {
        /// The issuers.
        issuers: String,
    },
    /// A policy's issuer cannot be asked for its keys.
    #[error("the issuer of the policy {policy}")]
    Issuer {
        /// The policy.
        policy: String,
        /// Why.
        #[source]
        source: FetchError,
    },
}

impl Policies {
    /// Loads every `.yaml`, `.yml` and `.json` of a folder; all must be good.
    ///
    /// # Errors
    /// The first one that is not.
    pub fn load(folder: &Path) -> Result<Self, FolderError> {
        let first = Look::of_folder(folder);
        let looks = Mutex::new(Looks::after(&first));
        let table = watch::Sender::new(Arc::new(all_good(folder, first)?));
        Ok(Self { folder: Some(folder.to_owned()), table, check: None, looks })
    }

    /// The good ones among a folder's files, and what is wrong with each of the others.
    pub fn look(folder: &Path) -> (Table, Vec<FolderError>) {
        read_all(folder, Look::of_folder(folder))
    }

    /// Makes sure that the policies fulfil something more, now and whenever they are reloaded.
    ///
    /// # Errors
    /// What they do not fulfil now.
    pub fn checked(self, check: Check) -> Result<Self, FolderError> {
        check(&self.table.borrow())?;
        Ok(Self { check: Some(check), ..self })
    }

    /// Policies that are not files.
    pub fn fixed(policies: Vec<Policy>) -> Self {
        let table = policies.into_iter().map(|policy| (policy.name.clone(), Arc::new(policy))).collect();
        Self { folder: None, table: watch::Sender::new(Arc::new(table)), check: None, looks: Mutex::default() }
    }

    /// The policy of this name, as it is now.
    pub fn find(&self, name: &str) -> Option<Arc<Policy>> {
        self.table.borrow().get(name).cloned()
    }

    /// Every policy, as it is now.
    pub fn all(&self) -> Arc<Table> {
        Arc::clone(&self.table.borrow())
    }

    /// Looks at the folder again, and takes a change that the look before found too. On an error the last good table
    /// stays. Nothing is answered while nothing changed, or what changed may still be being written.
    ///
    /// # Errors
    /// Why the folder's present state is not used.
    pub fn look_again(&self) -> Option<Result<(), FolderError>> {
        let folder = self.folder.as_deref()?;
        let settled = self.looks.lock().unwrap_or_else(PoisonError::into_inner).again(folder)?;
        Some(self.take(folder, settled))
    }

    fn take(&self, folder: &Path, look: Look) -> Result<(), FolderError> {
        let table = all_good(folder, look)?;
        self.check.as_ref().map_or(Ok(()), |check| check(&table))?;
        self.table.send_replace(Arc::new(table));
        Ok(())
    }

    /// Looks for changed files every `pause`, until `stop`.
    pub async fn watch(self: Arc<Self>, pause: Duration, stop: tokio_util::sync::CancellationToken) {
        if self.folder.is_none() {
            return;
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let this = self.clone();
            // Compiling waits for a thread of its own: not something for the runtime's threads.
            let reloaded = match tokio::task::spawn_blocking(move || this.look_again()).await {
                Ok(None) => continue,
                Ok(Some(taken)) => Ok(taken),
                Err(broken) => Err(broken),
            };
            let label = if matches!(reloaded, Ok(Ok(()))) { "taken" } else { "refused" };
            metrics::counter!(names::ATTESTATION_RELOADS.name, "result" => label).increment(1);
            match reloaded {
                Ok(Ok(())) => {
                    tracing::info!(policies = self.table.borrow().len(), "the attestation policies were reloaded")
                }
                Ok(Err(error)) => {
                    let error = crate::causes::chain(&error);
                    tracing::error!(error, "the changed attestation policies are not usable; the last good ones stay");
                }
                Err(_) => tracing::error!("reloading the attestation policies broke off; the last good ones stay"),
            }
        }
    }
}

fn all_good(folder: &Path, look: Look) -> Result<Table, FolderError> {
    let (table, faults) = read_all(folder, look);
    faults.into_iter().next().map_or(Ok(table), Err)
}

fn read_all(folder: &Path, look: Look) -> (Table, Vec<FolderError>) {
    let (mut table, mut faults) = (Table::new(), Vec::new());
    let files = look.files.unwrap_or_else(|source| {
        faults.push(unreadable(folder, source));
        Vec::new()
    });
    let mut places: BTreeMap<String, String> = BTreeMap::new();
    for file in files {
        let place = file.0.display().to_string();
        match read_file(file) {
            Ok(policy) => match places.get(&policy.name) {
                Some(first) => {
                    faults.push(FolderError::Twice { first: first.clone(), second: place, name: policy.name });
                }
                None => {
                    places.insert(policy.name.clone(), place);
                    table.insert(policy.name.clone(), Arc::new(policy));
                }
            },
            Err(fault) => faults.push(fault),
        }
    }
    (table, faults)
}

fn read_file((path, text): Found) -> Result<Policy, FolderError> {
    let text = text.map_err(|source| unreadable(&path, source))?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Policy::read(&text, &stem).map_err(|source| FolderError::Policy { file: path.display().to_string(), source })
}

fn unreadable(path: &Path, source: std::io::Error) -> FolderError {
    FolderError::Unreadable { path: path.display().to_string(), source }
}
