//! The policies of a folder, reloaded when a file changes. What was good stays in use until something good replaces it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::key_source::FetchError;
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
    /// The files when they were read.
    stamps: Vec<Stamp>,
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
    #[error("two policies are called {0}")]
    Twice(String),
    /// A setting names a policy that is not there.
    #[error("{setting} names the policy {name}, which is not in the folder")]
    Missing {
        /// The setting.
        setting: &'static str,
        /// The policy.
        name: String,
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
        let stamps = stamps(folder);
        let table = watch::Sender::new(Arc::new(read_folder(folder)?));
        Ok(Self { folder: Some(folder.to_owned()), table, check: None, stamps })
    }

    /// The good ones among a folder's files, and what is wrong with each of the others.
    pub fn look(folder: &Path) -> (Table, Vec<FolderError>) {
        read_all(folder)
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
        Self { folder: None, table: watch::Sender::new(Arc::new(table)), check: None, stamps: Vec::new() }
    }

    /// The policy of this name, as it is now.
    pub fn find(&self, name: &str) -> Option<Arc<Policy>> {
        self.table.borrow().get(name).cloned()
    }

    /// Every policy, as it is now.
    pub fn all(&self) -> Arc<Table> {
        Arc::clone(&self.table.borrow())
    }

    /// Reads the folder again. On an error the last good table stays.
    ///
    /// # Errors
    /// Why the folder's present state is not used.
    pub fn reload(&self) -> Result<(), FolderError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let table = read_folder(folder)?;
        self.check.as_ref().map_or(Ok(()), |check| check(&table))?;
        self.table.send_replace(Arc::new(table));
        Ok(())
    }

    /// Looks for changed files every `pause`, until `stop`.
    pub async fn watch(self: Arc<Self>, pause: Duration, stop: tokio_util::sync::CancellationToken) {
        let Some(folder) = self.folder.clone() else { return };
        let mut before = self.stamps.clone();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let now = stamps(&folder);
            if now == before {
                continue;
            }
            before = now;
            let this = self.clone();
            // Compiling waits for a thread of its own: not something for the runtime's threads.
            let reloaded = tokio::task::spawn_blocking(move || this.reload()).await;
            let label = if matches!(reloaded, Ok(Ok(()))) { "taken" } else { "refused" };
            metrics::counter!(names::ATTESTATION_RELOADS.name, "result" => label).increment(1);
            match reloaded {
                Ok(Ok(())) => {
                    tracing::info!(policies = self.table.borrow().len(), "the attestation policies were reloaded")
                }
                Ok(Err(error)) => {
                    let error = crate::telemetry::chain(&error);
                    tracing::error!(error, "the changed attestation policies are not usable; the last good ones stay");
                }
                Err(_) => tracing::error!("reloading the attestation policies broke off; the last good ones stay"),
            }
        }
    }
}

fn files(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let policy =
            path.extension().is_some_and(|ending| ["yaml", "yml", "json"].iter().any(|known| ending == *known));
        // A mounted ConfigMap has hidden folders and links beside the files.
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if policy && !hidden && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// A file, when it was changed, which one it is and when its entry was changed, and its length. What keeps a file's time when it copies it
/// cannot keep the entry's.
type Stamp = (PathBuf, Option<SystemTime>, (u64, i64, i64), u64);

#[cfg(unix)]
fn entry_changed(meta: &std::fs::Metadata) -> (u64, i64, i64) {
    use std::os::unix::fs::MetadataExt;
    (meta.ino(), meta.ctime(), meta.ctime_nsec())
}

#[cfg(not(unix))]
fn entry_changed(_: &std::fs::Metadata) -> (u64, i64, i64) {
    (0, 0, 0)
}

fn stamps(folder: &Path) -> Vec<Stamp> {
    let stamp = |path: PathBuf| {
        let meta = std::fs::metadata(&path).ok();
        let meta = meta.as_ref();
        let entry = meta.map(entry_changed).unwrap_or_default();
        (path, meta.and_then(|meta| meta.modified().ok()), entry, meta.map_or(0, |meta| meta.len()))
    };
    files(folder).unwrap_or_default().into_iter().map(stamp).collect()
}

fn read_folder(folder: &Path) -> Result<Table, FolderError> {
    let (table, faults) = read_all(folder);
    faults.into_iter().next().map_or(Ok(table), Err)
}

fn read_all(folder: &Path) -> (Table, Vec<FolderError>) {
    let (mut table, mut faults) = (Table::new(), Vec::new());
    let files = files(folder).unwrap_or_else(|source| {
        faults.push(unreadable(folder, source));
        Vec::new()
    });
    for path in files {
        match read_file(&path) {
            Ok(policy) if table.contains_key(&policy.name) => faults.push(FolderError::Twice(policy.name)),
            Ok(policy) => drop(table.insert(policy.name.clone(), Arc::new(policy))),
            Err(fault) => faults.push(fault),
        }
    }
    (table, faults)
}

fn read_file(path: &Path) -> Result<Policy, FolderError> {
    let text = std::fs::read_to_string(path).map_err(|source| unreadable(path, source))?;
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Policy::read(&text, &stem).map_err(|source| FolderError::Policy { file: path.display().to_string(), source })
}

fn unreadable(path: &Path, source: std::io::Error) -> FolderError {
    FolderError::Unreadable { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn a_change_that_keeps_time_and_length_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.yaml");
        std::fs::write(&path, "a").unwrap();
        let (before, time) = (stamps(folder.path()), std::fs::metadata(&path).unwrap().modified().unwrap());
        let new = folder.path().join("new");
        std::fs::write(&new, "b").unwrap();
        std::fs::File::options().write(true).open(&new).unwrap().set_modified(time).unwrap();
        std::fs::rename(&new, &path).unwrap();
        let after = stamps(folder.path());
        assert_eq!((before[0].1, before[0].3), (after[0].1, after[0].3));
        assert_ne!(before, after);
    }
}
