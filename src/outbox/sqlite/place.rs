//! Whether the open file still stands in its place, and how it is put back.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::Connection;

use crate::files::{self, Identity};
use crate::outbox::StoreError;

/// The file that was opened, and where it should be. Clones know of the same file.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    path: PathBuf,
    identity: Arc<Mutex<Identity>>,
}

impl Place {
    /// The file that stands at `path` now.
    pub(crate) fn of(path: &Path) -> Self {
        let place = Self { path: path.to_owned(), identity: Arc::default() };
        place.opened();
        place
    }

    /// The file that stands there now was opened.
    pub(crate) fn opened(&self) {
        let found = files::standing(&self.path);
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Where it should be.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The file that was opened last.
    pub(crate) fn identity(&self) -> Identity {
        *self.identity.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it still stands there.
    pub(crate) fn is_ours(&self) -> bool {
        files::stands(&self.path, self.identity())
    }

    /// Whether nothing stands there, of a place whose file is not ours any more.
    ///
    /// # Errors
    /// When another file stands there. It must not be opened: the log beside it, which is ours, would be moved into it.
    pub(crate) fn is_free(&self) -> Result<(), StoreError> {
        if self.path.exists() {
            return Err(StoreError::Replaced { path: self.path.display().to_string() });
        }
        Ok(())
    }

    /// Writes all that the open database holds to its free place again.
    ///
    /// # Errors
    /// When the folder takes no file.
    pub(crate) fn put_back(&self, open: &Connection) -> Result<(), StoreError> {
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
        files::private().create_new(true).open(&copy).map_err(folder_error)?;
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
