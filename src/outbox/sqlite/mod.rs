//! The outbox in an SQLite file: durable on a disk, and readable at three in the morning with tools that are there.
//!
//! One thread owns the writing connection. It takes every request that waits, carries all of them out in one
//! transaction, commits once (one sync), and then answers each: durability is paid for once a batch. A second thread
//! moves the write-ahead log into the file, so that no commit has to. Questions are asked over connections of their own.

mod admin;
mod answers;
mod checkpoint;
mod place;
mod rows;
mod schema;
mod volume;
mod writer;

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};

use super::{Accepted, Desk, NewEntry, Settlement, Stats, Store, StoreError};
use crate::files;
pub use admin::{Admin, Listed, Selection, Shown};
use answers::Asker;
use writer::{Command, Writer};

/// How long closed rows are kept.
#[derive(Debug, Clone, Copy)]
pub struct Keep {
    /// Closed rows older than this are pruned.
    pub closed_for: Duration,
    /// When the file's used pages exceed this many bytes, the oldest closed rows are pruned.
    pub bytes: u64,
}

/// An outbox in a file. Cloning is not needed: share it behind an `Arc`.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    commands: mpsc::Sender<Command>,
    // Held as long as the process lives; the system releases it however the process ends.
    _lock: File,
}

impl Sqlite {
    /// Opens the file, creating it (readable by its owner only) and its folder, and takes back what a dead process had
    /// leased.
    ///
    /// A file that cannot be written *now* (full or read-only disk, locked) is not an error here: the store opens,
    /// refuses to accept until it can, and mends itself.
    ///
    /// # Errors
    /// When another process runs on the file, when the file is newer than this program, or is no database.
    pub fn open(path: &Path, keep: Keep) -> Result<Self, StoreError> {
        let lock = lock(path)?;
        let (commands, requests) = mpsc::channel(4_096);
        let writer = Writer::open(path, keep)?;
        let place = writer.place();
        spawn("outbox-writer", move || writer.run(requests))?;
        let watched = commands.downgrade();
        spawn("outbox-checkpoint", move || checkpoint::run(place, &watched))?;
        Ok(Self { path: path.to_owned(), commands, _lock: lock })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    async fn ask<T: Send>(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Command + Send,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Store for Sqlite {
    fn accept(
        &self,
        batch: Vec<NewEntry>,
        ignored: u64,
        now: DateTime<Utc>,
    ) -> BoxFuture<'_, Result<Accepted, StoreError>> {
        Box::pin(async move {
            let (asker, answer) = Asker::new();
            let command = Command::Accept { batch, ignored, now, asker, done: Accepted::default() };
            self.commands.send(command).await.map_err(|_| StoreError::Closed)?;
            answer.await.map_err(|_| StoreError::Closed)?.take()
        })
    }

    fn fill(&self, desk: &Arc<Desk>, now: DateTime<Utc>, lease: Duration) -> BoxFuture<'_, Result<bool, StoreError>> {
        let desk = Arc::clone(desk);
        Box::pin(self.ask(move |answer| Command::Fill { desk, now, lease, answer, more: false }))
    }

    fn settle(&self, settlements: Vec<Settlement>, now: DateTime<Utc>) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(move |answer| Command::Settle { settlements, now, answer }))
    }

    fn stats(&self, now: DateTime<Utc>) -> BoxFuture<'_, Result<Stats, StoreError>> {
        let path = self.path.clone();
        Box::pin(async move {
            let counted = tokio::task::spawn_blocking(move || Admin::open(&path)?.stats(now)).await;
            counted.map_err(|_| StoreError::Closed)?
        })
    }

    fn probe(&self) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.ask(|answer| Command::Probe { answer }))
    }
}

fn spawn(name: &'static str, body: impl FnOnce() + Send + 'static) -> Result<(), StoreError> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(body);
    thread.map(drop).map_err(|source| StoreError::Thread { name, source })
}

/// Makes the folder and takes the lock beside the file. The lock file carries no data and is left behind on purpose:
/// removing it would let two processes lock two different files of one name.
fn lock(path: &Path) -> Result<File, StoreError> {
    let folder_error = |source| StoreError::Folder { path: path.display().to_string(), source };
    files::make_folder_of(path).map_err(folder_error)?;
    // Of a link, the file it points to: two names of one file must not be two locks.
    let mut name = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned()).into_os_string();
    name.push(".lock");
    let file = match files::private().create(true).truncate(false).open(&name) {
        Ok(file) => file,
        // On a disk that became read-only the existing file still serves as the lock.
        Err(error) => File::open(&name).map_err(|_| folder_error(error))?,
    };
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path: path.display().to_string() }),
        Err(TryLockError::Error(source)) => Err(folder_error(source)),
    }
}
