//! The keys of a file, read again when it changed. What was good stays in use until something good replaces it.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::key_source::KeySource;
use super::keys::{KeySet, KeySetError};
use super::look::{Look, Looks};
use crate::causes::chain;

/// The keys of a file.
#[derive(Debug)]
pub struct KeysFile {
    path: PathBuf,
    source: Arc<KeySource>,
    looks: Mutex<Looks>,
}

/// Why a file gives no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysFileError {
    /// It cannot be read.
    #[error("{path} cannot be read")]
    Unreadable {
        /// The file.
        path: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// It holds no key set.
    #[error("{path}")]
    Keys {
        /// The file.
        path: String,
        /// Why.
        #[source]
        source: KeySetError,
    },
}

impl KeysFile {
    /// Reads it.
    ///
    /// # Errors
    /// When it gives no keys.
    pub fn load(path: &Path) -> Result<Self, KeysFileError> {
        let first = Look::of_file(path);
        let looks = Mutex::new(Looks::after(&first));
        let source = Arc::new(KeySource::fixed(read(path, first)?));
        Ok(Self { path: path.to_owned(), source, looks })
    }

    /// The keys, as they are now and will be.
    pub fn source(&self) -> &Arc<KeySource> {
        &self.source
    }

    /// Looks at the file again, and takes a change that the look before found too: how many keys there are then. On an
    /// error the last good keys stay. Nothing is answered while nothing changed, or what changed may still be being
    /// written.
    ///
    /// # Errors
    /// Why the file's present state is not used.
    pub fn look_again(&self) -> Option<Result<usize, KeysFileError>> {
        let settled = self.looks.lock().unwrap_or_else(PoisonError::into_inner).again(&self.path)?;
        Some(read(&self.path, settled).map(|keys| {
            let count = keys.len();
            self.source.replace(keys);
            count
        }))
    }

    /// Looks every `pause` whether it changed, until `stop`.
    pub async fn watch(self: Arc<Self>, pause: Duration, stop: tokio_util::sync::CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let this = self.clone();
            match tokio::task::spawn_blocking(move || this.look_again()).await {
                Ok(None) => {}
                Ok(Some(Ok(keys))) => tracing::info!(keys, "ATTESTATION_JWKS_FILE was read again"),
                Ok(Some(Err(error))) => tracing::error!(
                    error = chain(&error),
                    "the changed ATTESTATION_JWKS_FILE is not usable; the last good keys stay"
                ),
                Err(_) => tracing::error!("reading ATTESTATION_JWKS_FILE again broke off; the last good keys stay"),
            }
        }
    }
}

fn read(path: &Path, look: Look) -> Result<KeySet, KeysFileError> {
    let shown = || path.display().to_string();
    let unreadable = |source| KeysFileError::Unreadable { path: shown(), source };
    let gone = || Err(std::io::ErrorKind::NotFound.into());
    let found = look.files.map_err(unreadable)?.pop().map_or_else(gone, |(_, text)| text);
    let text = found.map_err(unreadable)?;
    KeySet::read(text.as_bytes()).map_err(|source| KeysFileError::Keys { path: shown(), source })
}
