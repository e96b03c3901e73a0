//! Whether the open file still stands in its place. A database that was removed while it is open takes every write
//! without complaint, and all of it is gone with the process: nothing else would ever tell.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use crate::outbox::StoreError;

/// The file that was opened, and where it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    path: PathBuf,
    // Nothing, where files cannot be told apart; then everything is believed.
    identity: Option<(u64, u64)>,
}

impl Place {
    /// The file that stands at `path` now.
    pub(crate) fn of(path: &Path) -> Self {
        Self { path: path.to_owned(), identity: std::fs::metadata(path).ok().and_then(|found| identity(&found)) }
    }

    /// Whether it still stands there. A question the disk cannot answer is answered yes: the write itself will tell.
    pub(crate) fn is_ours(&self) -> bool {
        match std::fs::metadata(&self.path) {
            Ok(found) => self.identity.is_none() || identity(&found) == self.identity,
            Err(error) => self.identity.is_none() || error.kind() != ErrorKind::NotFound,
        }
    }

    /// Writes all that the open database holds to its place again.
    ///
    /// # Errors
    /// When another file stands there by now, or the folder takes none.
    pub(crate) fn put_back(&self, open: &Connection) -> Result<(), StoreError> {
        if self.path.exists() {
            return Err(StoreError::Replaced { path: self.path.display().to_string() });
        }
        let beside = |suffix: &str| {
            let mut name = self.path.clone().into_os_string();
            name.push(suffix);
            PathBuf::from(name)
        };
        let copy = beside(".rescued");
        let folder_error = |source| StoreError::Folder { path: self.path.display().to_string(), source };
        let remove = |path: &Path| match std::fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(folder_error(error)),
            _ => Ok(()),
        };
        remove(&copy)?;
        open.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
        // The log of the removed file must not be replayed into the new one.
        remove(&beside("-wal"))?;
        remove(&beside("-shm"))?;
        File::open(&copy).and_then(|file| file.sync_all()).map_err(folder_error)?;
        std::fs::rename(&copy, &self.path).map_err(folder_error)?;
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(folder_error)
    }
}

/// Where the writer's file stands, for others that open it too.
#[derive(Debug, Clone)]
pub(crate) struct Standing(Arc<Mutex<Place>>);

impl Standing {
    /// The file that the writer has opened.
    pub(crate) fn new(place: Place) -> Self {
        Self(Arc::new(Mutex::new(place)))
    }

    /// The file that the writer has opened now.
    pub(crate) fn place(&self) -> Place {
        self.locked().clone()
    }

    /// The writer has opened this one.
    pub(crate) fn moves_to(&self, place: Place) {
        *self.locked() = place;
    }

    fn locked(&self) -> MutexGuard<'_, Place> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(unix)]
fn identity(file: &std::fs::Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((file.dev(), file.ino()))
}

#[cfg(not(unix))]
fn identity(_: &std::fs::Metadata) -> Option<(u64, u64)> {
    None
}
