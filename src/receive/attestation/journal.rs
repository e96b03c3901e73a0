//! The journal: every decision, one JSON object a line, appended and never changed.
//!
//! A file that was removed or renamed while it is open takes every line without complaint, and nothing else would tell:
//! so whether it still stands in its place is looked at before each write, and where it does not, a new one is made.
//! A disk that hangs fails no write: so one that does not end in time counts as failed until it ends.

use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat, Utc};
use serde::Serialize;
use tokio::sync::oneshot;

use crate::files;

/// The verdict of a decision that lets pass.
pub const ALLOWED: &str = "allowed";
/// The verdict of one that does not.
pub const DENIED: &str = "denied";

/// One decision. Holds no token, no nonce and no claim but the machine's name.
#[derive(Debug, Serialize)]
pub struct Entry<'e> {
    /// When.
    #[serde(serialize_with = "milliseconds")]
    pub time: DateTime<Utc>,
    /// `verify`, `secret` or `log`.
    pub asked: &'static str,
    /// The secret that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<&'e str>,
    /// The policy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<&'e str>,
    /// The SHA-256 of the policy's file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy_sha256: Option<&'e str>,
    /// The SHA-256 of the token's decoded parts, each after its length.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_sha256: Option<&'e str>,
    /// The machine, once verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instance: Option<&'e str>,
    /// [`ALLOWED`] or [`DENIED`].
    pub verdict: &'static str,
    /// The reason's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Who asked; nobody, when the token came by a log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
}

fn milliseconds<S: serde::Serializer>(time: &DateTime<Utc>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::Millis, true))
}

/// The most bytes that wait for the disk: one that takes nothing must not fill the memory.
const WAITING: usize = 8 << 20;
/// How long lines that nobody waits for are gathered.
const GATHER: Duration = Duration::from_millis(5);
/// How long one line is waited for.
const LINE: Duration = Duration::from_secs(8);

/// How much patience the journal has with its disk.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// A write that takes longer counts as failed.
    write: Duration,
    /// What the last lines may take when the journal is dropped.
    end: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self { write: Duration::from_secs(2), end: Duration::from_millis(500) }
    }
}

/// Appends lines on a thread of its own. Those that come together are written together and made durable by one sync.
#[derive(Clone)]
pub struct Journal(Arc<Open>);

/// Ends the thread when the last [`Journal`] is dropped, and waits until what it has is written, if the disk lets it.
struct Open {
    lines: Arc<Lines>,
    thread: Option<JoinHandle<()>>,
    /// Closed when the thread ends; nothing comes by it.
    ended: Mutex<mpsc::Receiver<()>>,
    patience: Duration,
}

/// The lines between those who note them and the thread, and how the disk takes them.
#[derive(Default)]
struct Lines {
    queue: Mutex<Queue>,
    came: Condvar,
    broken: AtomicBool,
    under_way: Mutex<Option<UnderWay>>,
    patience: Duration,
}

/// A write that has not ended.
struct UnderWay {
    since: Instant,
    /// That it hangs.
    told: bool,
}

#[derive(Default)]
struct Queue {
    text: String,
    waiting: Vec<oneshot::Sender<bool>>,
    closed: bool,
}

impl Queue {
    fn is_empty(&self) -> bool {
        self.text.is_empty() && self.waiting.is_empty()
    }
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Journal")
    }
}

impl Journal {
    /// Opens or creates the file.
    ///
    /// # Errors
    /// When it cannot be opened for appending.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Self::open_with(path, Patience::default())
    }

    fn open_with(path: &Path, patience: Patience) -> std::io::Result<Self> {
        let book = Book::open(path)?;
        let lines = Arc::new(Lines { patience: patience.write, ..Lines::default() });
        let writing = Arc::clone(&lines);
        let (ends, ended) = mpsc::channel();
        let thread = std::thread::Builder::new().name("journal".into()).spawn(move || {
            writing.write_all(book);
            drop(ends);
        })?;
        let (thread, ended) = (Some(thread), Mutex::new(ended));
        Ok(Self(Arc::new(Open { lines, thread, ended, patience: patience.end })))
    }

    /// Appends an entry without waiting: it is on the disk a few milliseconds later. The answer is whether that can be
    /// expected, as the lines before could be written.
    pub fn note(&self, entry: &Entry<'_>) -> bool {
        self.0.lines.add(entry, None) && self.takes_lines()
    }

    /// Whether the last lines could be written, and in time.
    pub fn takes_lines(&self) -> bool {
        !self.0.lines.hangs() && !self.0.lines.broken.load(Ordering::Relaxed)
    }

    /// Appends an entry and answers, once that is known, whether it is on the disk. What is not known in time is answered
    /// no; the line may be written later.
    pub async fn write(&self, entry: &Entry<'_>) -> bool {
        let (written, answer) = oneshot::channel();
        self.0.lines.add(entry, Some(written))
            && tokio::time::timeout(LINE, answer).await.is_ok_and(|known| known.unwrap_or(false))
    }

    /// Whether all that was noted so far is on the disk, once that is known. Asked at the end: the threads that answer
    /// requests may hold the journal longer than the process lives.
    pub async fn settled(&self) -> bool {
        let (written, answer) = oneshot::channel();
        self.0.lines.ask(written);
        answer.await.unwrap_or(false)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.lines.queue().closed = true;
        self.lines.came.notify_one();
        let ended = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(self.patience) == Err(RecvTimeoutError::Timeout) {
            // Who waited for it would wait for the disk.
            tracing::error!("the attestation journal's last lines are not written: its disk does not answer");
        } else if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the attestation journal broke off");
        }
    }
}

impl Lines {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, entry: &Entry<'_>, written: Option<oneshot::Sender<bool>>) -> bool {
        let Ok(line) = serde_json::to_string(entry) else { return false };
        // It is answered as unavailable, and no line should say otherwise when the disk comes back.
        if entry.verdict == ALLOWED && self.hangs() {
            return false;
        }
        let mut queue = self.queue();
        if queue.text.len() + line.len() > WAITING {
            return false;
        }
        // The thread sleeps while there is nothing, and while it gathers lines that nobody waits for.
        let wake = queue.text.is_empty() || (queue.waiting.is_empty() && written.is_some());
        queue.text.push_str(&line);
        queue.text.push('\n');
        queue.waiting.extend(written);
        drop(queue);
        if wake {
            self.came.notify_one();
        }
        true
    }

    /// Has the asker told of what waits, and of nothing more where nothing does.
    fn ask(&self, asker: oneshot::Sender<bool>) {
        self.queue().waiting.push(asker);
        self.came.notify_one();
    }

    /// What waits, once there is something; nothing when the journal is closed.
    fn next(&self) -> Option<Queue> {
        let there = |queue: &mut Queue| queue.is_empty() && !queue.closed;
        let queue = self.came.wait_while(self.queue(), there).unwrap_or_else(PoisonError::into_inner);
        let alone = |queue: &mut Queue| queue.waiting.is_empty() && !queue.closed;
        let gathered = self.came.wait_timeout_while(queue, GATHER, alone).unwrap_or_else(PoisonError::into_inner);
        let mut queue = gathered.0;
        let closed = queue.closed;
        let batch = std::mem::replace(&mut *queue, Queue { closed, ..Queue::default() });
        (!batch.is_empty() || !closed).then_some(batch)
    }

    fn under_way(&self) -> MutexGuard<'_, Option<UnderWay>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a write takes too long. Told once, by whoever sees it first.
    fn hangs(&self) -> bool {
        let mut under_way = self.under_way();
        let Some(write) = under_way.as_mut().filter(|write| write.since.elapsed() >= self.patience) else {
            return false;
        };
        if !std::mem::replace(&mut write.told, true) {
            tracing::error!("a write to the attestation journal does not end; nothing is allowed until it does");
        }
        true
    }

    /// Writes, and lets others see for how long.
    fn timed<T>(&self, write: impl FnOnce() -> T) -> T {
        *self.under_way() = Some(UnderWay { since: Instant::now(), told: false });
        let done = write();
        if self.under_way().take().is_some_and(|write| write.told) {
            tracing::warn!("the write to the attestation journal that did not end has ended");
        }
        done
    }

    fn write_all(&self, mut book: Book) {
        while let Some(batch) = self.next() {
            // Where somebody only asks, the last lines tell.
            if !batch.text.is_empty() {
                let written = self.timed(|| book.append(&batch.text));
                if let Err(error) = &written {
                    tracing::error!(%error, "the attestation journal cannot be written; nothing is allowed until it can");
                }
                self.broken.store(written.is_err(), Ordering::Relaxed);
            }
            let written = !self.broken.load(Ordering::Relaxed);
            for waiting in batch.waiting {
                // Who waited may have gone.
                waiting.send(written).ok();
            }
        }
    }
}

/// The open file, and where it should be.
struct Book {
    path: PathBuf,
    file: File,
    /// Half a line may stand at the end.
    torn: bool,
}

impl Book {
    fn open(path: &Path) -> std::io::Result<Self> {
        files::make_folder_of(path)?;
        let file = files::appended_to(path)?;
        let torn = file.metadata().is_ok_and(|ours| ours.is_file() && ours.len() > 0) && !ends_whole(path);
        Ok(Self { path: path.to_owned(), file, torn })
    }

    /// Whether the open file still stands in its place.
    fn is_in_place(&self) -> bool {
        files::stands(&self.path, self.file.metadata().ok().and_then(|ours| files::identity(&ours)))
    }

    fn append(&mut self, lines: &str) -> std::io::Result<()> {
        if !self.is_in_place() {
            let path = self.path.display();
            tracing::error!(%path, "the attestation journal was removed or renamed; it goes on in a file of its name");
            *self = Self::open(&self.path)?;
        }
        let end = if self.torn { "\n" } else { "" };
        self.torn = true;
        self.file.write_all([end, lines].concat().as_bytes())?;
        sync(&self.file)?;
        self.torn = false;
        Ok(())
    }
}

/// Whether a file ends with a whole line. What cannot be read may not: then an empty line does less harm.
fn ends_whole(path: &Path) -> bool {
    let mut last = [0];
    let read = File::open(path).and_then(|mut file| {
        file.seek(SeekFrom::End(-1))?;
        file.read_exact(&mut last)
    });
    read.is_ok() && last == *b"\n"
}

fn sync(file: &File) -> std::io::Result<()> {
    match file.sync_data() {
        // A pipe or a terminal has nothing to sync.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(verdict: &'static str) -> Entry<'static> {
        let time = DateTime::<Utc>::UNIX_EPOCH;
        let (secret, policy, policy_sha256) = (None, None, None);
        let (token_sha256, instance, reason) = (None, None, None);
        let address = None;
        Entry { time, asked: "verify", secret, policy, policy_sha256, token_sha256, instance, verdict, reason, address }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn lines_stand_whole_and_in_order_and_the_last_are_written_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/journal.jsonl");
        let journal = Journal::open(&path).unwrap();
        for _ in 0..500 {
            assert!(journal.note(&entry("denied")));
        }
        assert!(journal.write(&entry("allowed")).await);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 501);
        assert!(text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        assert!(text.lines().last().unwrap().contains("allowed"));
        let lines = || std::fs::read_to_string(&path).unwrap().lines().count();
        journal.note(&entry("denied"));
        let held_elsewhere = journal.clone();
        assert!(journal.settled().await && journal.settled().await);
        assert_eq!(lines(), 502);
        drop(held_elsewhere);
        journal.note(&entry("denied"));
        drop(journal);
        assert_eq!(lines(), 503);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_file_that_is_gone_from_its_place_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a/journal.jsonl");
        let lines = |path: &Path| std::fs::read_to_string(path).unwrap().lines().count();
        let journal = Journal::open(&path).unwrap();
        assert!(journal.write(&entry("denied")).await);
        let rotated = folder.path().join("a/journal.1");
        std::fs::rename(&path, &rotated).unwrap();
        assert!(journal.write(&entry("allowed")).await);
        assert!(journal.write(&entry("allowed")).await);
        assert_eq!((lines(&rotated), lines(&path)), (1, 2));
        std::fs::remove_dir_all(folder.path().join("a")).unwrap();
        assert!(journal.write(&entry("allowed")).await);
        assert_eq!(lines(&path), 1);
        std::fs::write(&rotated, "").unwrap();
        std::fs::rename(&rotated, &path).unwrap();
        assert!(journal.write(&entry("allowed")).await);
        assert_eq!(lines(&path), 1, "another file in its place");
        std::fs::remove_dir_all(folder.path().join("a")).unwrap();
        std::fs::write(folder.path().join("a"), "in the way").unwrap();
        assert!(!journal.write(&entry("allowed")).await, "nothing is allowed that nobody can read");
        std::fs::remove_file(folder.path().join("a")).unwrap();
        assert!(journal.write(&entry("allowed")).await);
        assert_eq!(lines(&path), 1);
        std::fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(!journal.write(&entry("allowed")).await, "a pipe that nobody reads");
        assert!(Journal::open(&path).unwrap_err().to_string().contains("nobody reads"));
        std::fs::remove_file(&path).unwrap();
        assert!(journal.write(&entry("allowed")).await);
        assert_eq!(lines(&path), 1);
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn who_reads_a_pipe_reads_until_the_journal_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let path = folder.path().join(format!("pipe-{round}"));
            assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
            let of_reader = path.clone();
            let reader = std::thread::spawn(move || std::fs::read_to_string(of_reader).unwrap());
            let journal = loop {
                match Journal::open(&path) {
                    Ok(journal) => break journal,
                    // The reader is on its way.
                    Err(error) => assert!(error.to_string().contains("nobody reads"), "{error}"),
                }
                assert!(!reader.is_finished(), "it was at its end before anything was written");
                std::thread::yield_now();
            };
            assert!(journal.write(&entry("denied")).await && journal.write(&entry("allowed")).await);
            assert!(!reader.is_finished());
            drop(journal);
            assert_eq!(reader.join().unwrap().lines().count(), 2);
        }
    }

    #[tokio::test]
    async fn half_a_line_of_an_earlier_process_spoils_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        for (before, lines) in [("{\"time\":\"20", 2), ("{}\n", 2), ("", 1)] {
            std::fs::write(&path, before).unwrap();
            assert!(Journal::open(&path).unwrap().write(&entry("allowed")).await);
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(text.lines().count(), lines, "{text}");
            assert!(serde_json::from_str::<serde_json::Value>(text.lines().last().unwrap()).is_ok(), "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_full_disk_is_told_to_who_waits_and_to_those_after() {
        let journal = Journal::open(Path::new("/dev/full")).unwrap();
        assert!(journal.takes_lines(), "none was tried");
        assert!(!journal.write(&entry("allowed")).await);
        assert!(!journal.note(&entry("allowed")) && !journal.takes_lines());
        assert!(!journal.settled().await);
    }

    /// A journal whose disk hangs from the first line on, until somebody reads: the line does not fit into the pipe.
    #[cfg(target_os = "linux")]
    fn hanging() -> (Journal, std::io::PipeReader, std::io::PipeWriter) {
        use std::os::fd::AsRawFd;
        let (reader, writer) = std::io::pipe().unwrap();
        let path = format!("/proc/self/fd/{}", writer.as_raw_fd());
        let patience = Patience { write: Duration::ZERO, end: Duration::ZERO };
        let journal = Journal::open_with(Path::new(&path), patience).unwrap();
        journal.note(&Entry { address: Some("x".repeat(1 << 20)), ..entry(DENIED) });
        while journal.takes_lines() {
            std::thread::yield_now();
        }
        (journal, reader, writer)
    }

    #[cfg(target_os = "linux")]
    #[tokio::test(start_paused = true)]
    async fn a_write_that_does_not_end_counts_as_failed_until_it_ends() {
        let (journal, mut reader, writer) = hanging();
        assert!(!journal.note(&entry(ALLOWED)) && !journal.write(&entry(ALLOWED)).await);
        assert!(!journal.write(&entry(DENIED)).await, "is not waited for without end");
        let mut first = vec![0; 1 << 20];
        reader.read_exact(&mut first).unwrap();
        let rest = std::thread::spawn(move || std::io::read_to_string(reader).unwrap());
        while !(journal.settled().await && journal.takes_lines()) {}
        journal.note(&entry(ALLOWED));
        journal.settled().await;
        drop((journal, writer));
        let rest = rest.join().unwrap();
        assert_eq!(rest.lines().count(), 3, "{rest}");
        assert!(rest.lines().nth(1).unwrap().contains(DENIED) && rest.ends_with("\"allowed\"}\n"), "{rest}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_write_that_does_not_end_is_not_waited_for_at_the_end() {
        let (journal, _reader, _writer) = hanging();
        drop(journal);
    }
}
