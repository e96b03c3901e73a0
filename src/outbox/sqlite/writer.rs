//! The one thread that writes: everything that waits goes into one transaction.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::answers::{self, Answered, Asker};
use super::place::Place;
use super::rows::{Batch, Front, PROBED_ROOM, PRUNED_AT_ONCE, PRUNED_FOR_ROOM};
use super::volume::{self, Space};
use super::{Keep, schema};
use crate::outbox::{Accepted, Desk, NewEntry, Settlement, StoreError};

/// As many requests as one transaction takes; more only makes the first ones wait.
const REQUESTS_A_COMMIT: usize = 512;
/// A commit costs about the same for one request as for fifty, so it waits this long, this often, for half as many senders
/// as were there a moment ago. A single sender never waits.
const NAP: Duration = Duration::from_micros(100);
const NAPS: u32 = 3;
/// A failing disk is told in the log at once, and then once in this time.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);
const PRUNE_EVERY: Duration = Duration::from_secs(30);
/// While there is more to prune than one turn takes: what comes in must not outrun it.
const PRUNE_AGAIN: Duration = Duration::from_millis(10);
/// While the volume is short of room.
const PRUNE_FOR_ROOM: Duration = Duration::from_secs(1);

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// A request to the writer, with what came of it: `done` and `more` are told once the transaction is durable.
#[derive(Debug)]
pub(crate) enum Command {
    Accept { batch: Vec<NewEntry>, ignored: u64, now: DateTime<Utc>, asker: Asker, done: Accepted },
    Fill { desk: Arc<Desk>, now: DateTime<Utc>, lease: Duration, answer: Answer<bool>, more: bool },
    Settle { settlements: Vec<Settlement>, now: DateTime<Utc>, answer: Answer<()> },
    Probe { answer: Answer<()> },
}

/// The writing side of the store.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    keep: Keep,
    connection: Option<Connection>,
    place: Place,
    front: Front,
    failing_since: Option<Instant>,
    complained: Option<Instant>,
    told_too_large: Option<Instant>,
    /// Whether the last requests met a volume without room for them, which pruning may make.
    short: bool,
    pruned: Instant,
    prune_after: Duration,
}

impl Writer {
    /// Opens the file; what may mend itself is left for later.
    pub(crate) fn open(path: &Path, keep: Keep) -> Result<Self, StoreError> {
        let now = Instant::now();
        let mut writer = Self {
            path: path.to_owned(),
            keep,
            connection: None,
            place: Place::of(path),
            front: Front::default(),
            failing_since: None,
            complained: None,
            told_too_large: None,
            short: false,
            pruned: now,
            prune_after: PRUNE_EVERY,
        };
        match writer.reopen() {
            // While it is in use, what lies in memory can still be delivered; a start has nothing to lose.
            Err(error @ StoreError::Damaged(_)) => Err(error),
            Err(error) if !error.is_transient() => Err(error),
            Err(error) => {
                writer.complain(&error);
                Ok(writer)
            }
            Ok(()) => Ok(writer),
        }
    }

    /// Where its file stands, now and after it was opened anew.
    pub(crate) fn place(&self) -> Place {
        self.place.clone()
    }

    /// Serves requests until the last sender is gone.
    pub(crate) fn run(mut self, mut requests: mpsc::Receiver<Command>) {
        let mut waiting = Vec::with_capacity(REQUESTS_A_COMMIT);
        let mut expected = 0;
        while let Some(first) = requests.blocking_recv() {
            waiting.push(first);
            take_all(&mut requests, &mut waiting);
            for _ in 0..NAPS {
                if waiting.len() >= expected {
                    break;
                }
                std::thread::sleep(NAP);
                take_all(&mut requests, &mut waiting);
            }
            let answered = waiting.len();
            self.serve(&mut waiting);
            // Who was answered just now will ask again, and others wait already. Half of them are enough: the rest ask
            // while these are being written.
            expected = (answered + requests.len()).min(REQUESTS_A_COMMIT) / 2;
            self.prune_when_due();
        }
    }

    fn serve(&mut self, waiting: &mut Vec<Command>) {
        self.refuse_what_does_not_fit(waiting);
        if waiting.is_empty() {
            return;
        }
        match self.commit(waiting) {
            Ok(()) => {
                if waiting.iter().any(Command::shows_room) {
                    self.recovered();
                }
                answers::send(waiting.drain(..).filter_map(Command::answer).collect());
            }
            Err(error) => {
                self.complain(&error);
                let text = crate::causes::chain(&error);
                waiting.drain(..).for_each(|command| command.refuse(&text));
                if error.wants_reopen() {
                    self.connection = None;
                } else if matches!(error, StoreError::Full(_))
                    && let Some(connection) = &self.connection
                {
                    volume::cut_log(connection);
                }
            }
        }
    }

    /// The last of a volume is for delivering: leases and settlements are never refused for it.
    fn refuse_what_does_not_fit(&mut self, waiting: &mut Vec<Command>) {
        self.short = false;
        let Some(space) =
            waiting.iter().filter_map(Command::bytes).reduce(|a, b| a + b).and_then(|b| self.too_little(b))
        else {
            return;
        };
        // One that is too large for the volume does not make it full: others are taken, and no history is given for it.
        let is_full = !space.holds(u64::from(PROBED_ROOM));
        let (mut first, mut taken) = (None, 0);
        for command in std::mem::take(waiting) {
            match command.bytes() {
                Some(bytes) if !space.holds(taken + bytes) => {
                    self.short |= is_full || space.may_hold(taken + bytes);
                    let error = space.refusal(taken + bytes);
                    command.refuse(&crate::causes::chain(&error));
                    first.get_or_insert(error);
                }
                bytes => {
                    taken += bytes.unwrap_or_default();
                    waiting.push(command);
                }
            }
        }
        match first {
            Some(error) if is_full => self.complain(&error),
            Some(error) => self.tell_too_large(&error),
            None => {}
        }
    }

    fn tell_too_large(&mut self, error: &StoreError) {
        metrics::counter!(crate::telemetry::metrics::STORE_ERRORS.name, "error" => error.label()).increment(1);
        if self.told_too_large.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.told_too_large = Some(Instant::now());
            let error = crate::causes::chain(error);
            tracing::error!(
                error,
                path = %self.path.display(),
                "a delivery does not fit on the outbox's volume now; its sender is told 503",
            );
        }
    }

    /// The room there is, when it is too little for so many bytes although the log was moved into the file. A volume
    /// that does not tell is believed to have enough: the write itself will tell.
    fn too_little(&self, bytes: u64) -> Option<Space> {
        let connection = self.connection.as_ref()?;
        if Space::at_least(&self.path)?.holds(bytes) || Space::of(&self.path, connection)?.holds(bytes) {
            return None;
        }
        volume::cut_log(connection);
        Space::of(&self.path, connection).filter(|space| !space.holds(bytes))
    }

    fn commit(&mut self, waiting: &mut [Command]) -> Result<(), StoreError> {
        if !self.place.is_ours() {
            self.place.is_free()?;
            self.put_back()?;
        }
        if self.connection.is_none() {
            self.reopen()?;
        }
        let connection = self.connection.as_mut().ok_or(StoreError::Closed)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut batch = Batch::new(&transaction, self.failing_since.is_some(), self.front.clone());
        for command in waiting {
            command.carry_out(&mut batch)?;
        }
        let effect = batch.finish()?;
        transaction.commit()?;
        // Only now: what lies on the desk has a durable lease.
        self.front = effect.happen();
        Ok(())
    }

    /// The file was removed while it was open: what is in it is still readable here, and is written to its place
    /// again, so that what was acknowledged is not lost.
    fn put_back(&mut self) -> Result<(), StoreError> {
        let Some(open) = &self.connection else { return Ok(()) };
        self.place.put_back(open)?;
        tracing::error!(path = %self.path.display(), "the outbox's file was removed while in use; it was written again, whole");
        self.reopen()
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        let connection = schema::open_writer(&self.path)?;
        self.place.opened();
        // This process holds the lock, so every lease in the file belongs to a dead one.
        let taken_back = connection.execute("UPDATE entry SET state = 0, lease_ms = NULL WHERE state = 1", [])?;
        if taken_back > 0 && self.failing_since.is_none() {
            tracing::info!(rows = taken_back, "took back what an earlier process had under way");
        }
        self.connection = Some(connection);
        Ok(())
    }

    fn complain(&mut self, error: &StoreError) {
        let now = Instant::now();
        self.failing_since.get_or_insert(now);
        metrics::counter!(crate::telemetry::metrics::STORE_ERRORS.name, "error" => error.label()).increment(1);
        if self.complained.is_none_or(|at| at.elapsed() >= COMPLAIN_EVERY) {
            self.complained = Some(now);
            tracing::error!(
                error = crate::causes::chain(error),
                path = %self.path.display(),
                "the outbox cannot be written; senders are told 503 until it can",
            );
        }
    }

    // `complained` stays: a disk on its brink would otherwise fill the log with failures and recoveries by turns.
    fn recovered(&mut self) {
        let Some(since) = self.failing_since.take() else { return };
        if let Some(connection) = &self.connection
            && let Err(error) = super::rows::give_back_room(connection)
        {
            tracing::debug!(%error, "the room that was taken as a trial stays taken");
        }
        if self.complained.is_some_and(|at| at >= since) {
            tracing::info!(after_secs = since.elapsed().as_secs(), "the outbox can be written again");
        }
    }

    fn prune_when_due(&mut self) {
        let after = if self.short { self.prune_after.min(PRUNE_FOR_ROOM) } else { self.prune_after };
        if self.pruned.elapsed() < after {
            return;
        }
        let Some(connection) = self.connection.as_mut() else { return };
        // Before an event is refused for want of room, what is done with goes.
        let (keep, most) = match self.short {
            true => (Keep { bytes: 0, ..self.keep }, PRUNED_FOR_ROOM),
            false => (self.keep, PRUNED_AT_ONCE),
        };
        let pruned = super::rows::prune(connection, keep, most, Utc::now());
        self.pruned = Instant::now();
        self.prune_after = if matches!(pruned, Ok(true)) { PRUNE_AGAIN } else { PRUNE_EVERY };
        if let Err(error) = pruned {
            tracing::warn!(error = crate::causes::chain(&error), "old rows of the outbox could not be pruned");
        }
    }
}

fn take_all(requests: &mut mpsc::Receiver<Command>, waiting: &mut Vec<Command>) {
    while waiting.len() < REQUESTS_A_COMMIT
        && let Ok(next) = requests.try_recv()
    {
        waiting.push(next);
    }
}

impl Command {
    /// How much it writes, of those that are refused where that does not fit.
    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Accept { batch, .. } => Some(volume::bytes(batch)),
            Self::Probe { .. } => Some(u64::from(PROBED_ROOM)),
            Self::Fill { .. } | Self::Settle { .. } => None,
        }
    }

    /// Inside a transaction that is not yet durable.
    fn carry_out(&mut self, batch: &mut Batch<'_>) -> Result<(), StoreError> {
        match self {
            Self::Accept { batch: entries, ignored, now, done, .. } => *done = batch.accept(entries, *ignored, *now)?,
            Self::Fill { desk, now, lease, more, .. } => *more = batch.fill(desk, *now, *lease)?,
            Self::Settle { settlements, now, .. } => batch.settle(settlements, *now)?,
            Self::Probe { .. } => batch.probe()?,
        }
        Ok(())
    }

    /// Whether it proves that events can be taken: a lease of nothing writes nothing, and a settlement little.
    fn shows_room(&self) -> bool {
        match self {
            Self::Accept { done, .. } => done.waiting + done.parked > 0,
            Self::Probe { .. } => true,
            Self::Fill { .. } | Self::Settle { .. } => false,
        }
    }

    /// Tells what came of it, or gives that back where it goes together with others.
    fn answer(self) -> Option<(Asker, Answered)> {
        match self {
            Self::Accept { asker, batch, done, .. } => return Some((asker, Answered::written(done, batch))),
            Self::Fill { answer, more, .. } => drop(answer.send(Ok(more))),
            Self::Settle { answer, .. } | Self::Probe { answer } => drop(answer.send(Ok(()))),
        }
        None
    }

    // Whoever asked may have gone (a sender that hung up); then there is nobody to tell.
    fn refuse(self, reason: &str) {
        let error = StoreError::Batch(reason.to_owned());
        match self {
            Self::Accept { asker, .. } => asker.refuse(error),
            Self::Fill { answer, .. } => drop(answer.send(Err(error))),
            Self::Settle { answer, .. } | Self::Probe { answer } => drop(answer.send(Err(error))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pruning_goes_on_at_once_while_there_is_more() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep { closed_for: Duration::from_secs(1 << 33), bytes: 1 };
        let mut writer = Writer::open(&folder.path().join("outbox.db"), keep).unwrap();
        let connection = writer.connection.as_ref().unwrap();
        let rows = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 600)
            INSERT INTO entry (key, kind, door, state, urgency, accepted_ms, closed_ms) SELECT 'k' || n, 'runtime', 'webhook', 2, 1, n, n FROM n";
        connection.execute(rows, []).unwrap();
        let mut left = Vec::new();
        for _ in 0..4 {
            writer.prune_after = Duration::ZERO;
            writer.prune_when_due();
            let connection = writer.connection.as_ref().unwrap();
            left.push(connection.query_row("SELECT count(*) FROM entry", [], |row| row.get::<_, i64>(0)).unwrap());
            assert_eq!(writer.prune_after == PRUNE_AGAIN, left.len() < 3, "{left:?}");
        }
        assert_eq!(left, [350, 100, 0, 0]);
    }

    #[test]
    fn a_row_that_is_leased_anew_and_settled_in_one_transaction_is_not_handled_again() {
        let folder = tempfile::tempdir().unwrap();
        let keep = Keep { closed_for: Duration::from_secs(1), bytes: 1 };
        let mut writer = Writer::open(&folder.path().join("outbox.db"), keep).unwrap();
        let row = "INSERT INTO entry (key, kind, door, state, urgency, accepted_ms) VALUES ('k', 'runtime', 'webhook', 0, 1, 0);
            INSERT INTO body VALUES (1, x'7b7d', x'7b7d')";
        writer.connection.as_ref().unwrap().execute_batch(row).unwrap();
        let (desk, now) = (Arc::new(Desk::new(8)), Utc::now());
        let fill = || {
            let (desk, lease) = (Arc::clone(&desk), Duration::from_secs(60));
            Command::Fill { desk, now, lease, answer: oneshot::channel().0, more: false }
        };
        writer.commit(&mut [fill()]).unwrap();
        let id = desk.take().unwrap().id;
        // The file had its trouble, and was opened anew: its leases are taken back although the row is in hand.
        writer.reopen().unwrap();
        let ending = crate::outbox::Ending::Close { outcome: crate::event::Outcome::Delivered, note: None };
        let settlements = vec![Settlement { id, ending }];
        let settle = Command::Settle { settlements, now, answer: oneshot::channel().0 };
        writer.commit(&mut [fill(), settle]).unwrap();
        assert!(desk.take().is_none() && desk.is_empty());
    }

    #[test]
    fn a_file_that_was_closed_for_its_trouble_is_opened_again_but_no_other_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let keep = Keep { closed_for: Duration::from_secs(1), bytes: 1 };
        let mut writer = Writer::open(&path, keep).unwrap();
        let probe = |writer: &mut Writer| writer.commit(&mut [Command::Probe { answer: oneshot::channel().0 }]);
        // A reader keeps the log beside the file, as the checkpoint's connection does.
        let _reader = schema::open_reader(&path).unwrap();
        probe(&mut writer).unwrap();
        writer.connection = None;
        probe(&mut writer).unwrap();

        writer.connection = None;
        std::fs::rename(&path, path.with_extension("away")).unwrap();
        std::fs::write(&path, "somebody's").unwrap();
        let refused = probe(&mut writer).unwrap_err();
        assert!(matches!(refused, StoreError::Replaced { .. }), "{refused}");
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");

        std::fs::rename(path.with_extension("away"), &path).unwrap();
        probe(&mut writer).unwrap();
    }

    #[test]
    fn what_a_file_in_use_fails_with_has_its_counter() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("outbox.db");
        let mut writer = Writer::open(&path, Keep { closed_for: Duration::from_secs(1), bytes: 1 }).unwrap();
        let failure = |writer: &mut Writer| {
            let failed = writer.commit(&mut [Command::Probe { answer: oneshot::channel().0 }]).unwrap_err();
            assert!(StoreError::LABELS.contains(&failed.label()), "{failed}");
            failed.label()
        };
        schema::open_writer(&path).unwrap().pragma_update(None, "user_version", 99).unwrap();
        writer.connection = None;
        assert_eq!(failure(&mut writer), "too_new");

        let path = folder.path().join("other.db");
        let mut writer = Writer::open(&path, Keep { closed_for: Duration::from_secs(1), bytes: 1 }).unwrap();
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(folder.path().join("other.db.rescued")).unwrap();
        assert_eq!(failure(&mut writer), "folder");
    }
}
