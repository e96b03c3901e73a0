//! The policies of a folder, reloaded when a file changes. What was good stays in use until something good replaces it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::watch;

use super::policy::{Policy, PolicyError};

/// Policies by name.
pub type Table = BTreeMap<String, Arc<Policy>>;

/// The policies in use.
#[derive(Debug)]
pub struct Policies {
    folder: Option<PathBuf>,
    table: watch::Sender<Arc<Table>>,
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
}

impl Policies {
    /// Loads every `.yaml`, `.yml` and `.json` of a folder; all must be good.
    ///
    /// # Errors
    /// The first one that is not.
    pub fn load(folder: &Path) -> Result<Self, FolderError> {
        let table = read_folder(folder)?;
        Ok(Self { folder: Some(folder.to_owned()), table: watch::Sender::new(Arc::new(table)) })
    }

    /// Policies that are not files.
    pub fn fixed(policies: Vec<Policy>) -> Self {
        let table = policies.into_iter().map(|policy| (policy.name.clone(), Arc::new(policy))).collect();
        Self { folder: None, table: watch::Sender::new(Arc::new(table)) }
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
        self.table.send_replace(Arc::new(read_folder(folder)?));
        Ok(())
    }

    /// Looks for changed files every `pause`, until `stop`.
    pub async fn watch(self: Arc<Self>, pause: Duration, stop: tokio_util::sync::CancellationToken) {
        let Some(folder) = self.folder.clone() else { return };
        let mut before = stamps(&folder);
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

fn stamps(folder: &Path) -> Vec<(PathBuf, Option<SystemTime>, u64)> {
    let stamp = |path: PathBuf| {
        let meta = std::fs::metadata(&path).ok();
        (path, meta.as_ref().and_then(|meta| meta.modified().ok()), meta.map_or(0, |meta| meta.len()))
    };
    files(folder).unwrap_or_default().into_iter().map(stamp).collect()
}

fn read_folder(folder: &Path) -> Result<Table, FolderError> {
    let unreadable = |path: &Path| {
        let path = path.display().to_string();
        move |source| FolderError::Unreadable { path, source }
    };
    let mut table = Table::new();
    for path in files(folder).map_err(unreadable(folder))? {
        let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let policy = Policy::read(&text, &stem)
            .map_err(|source| FolderError::Policy { file: path.display().to_string(), source })?;
        let name = policy.name.clone();
        if table.insert(name.clone(), Arc::new(policy)).is_some() {
            return Err(FolderError::Twice(name));
        }
    }
    Ok(table)
}
