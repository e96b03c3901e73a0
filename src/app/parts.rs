//! The parts that run side by side until they are told to stop, by name, so that one that dies before that is noticed.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// A part that is broken off lets go of its stores at the next point where it waits.
const LETTING_GO: Duration = Duration::from_millis(200);

/// Some of the parts.
#[derive(Debug, Default)]
pub(super) struct Parts {
    tasks: JoinSet<()>,
    names: HashMap<task::Id, &'static str>,
}

/// A part ended before it was told to, so that the others were stopped too.
#[derive(Debug, thiserror::Error)]
#[error("a part of the connector died: {part}; the log says more")]
pub struct Died {
    /// Which.
    pub part: &'static str,
}

impl Parts {
    /// Starts a part, which ends only when it is told to.
    pub(super) fn start(&mut self, part: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let task = self.tasks.spawn(work);
        self.names.insert(task.id(), part);
    }

    /// The same for what has an end of its own, and which the others do without: a panic in it is told, and stops nothing.
    pub(super) fn start_passing(
        &mut self,
        part: &'static str,
        work: impl Future<Output = ()> + Send + 'static,
        stop: CancellationToken,
    ) {
        self.start(part, async move {
            if let Err(panic) = AssertUnwindSafe(work).catch_unwind().await {
                let error = panic_text(&*panic);
                tracing::error!(part, error, "a part of the connector died; the others go on without it");
            }
            stop.cancelled().await;
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The next that ends, and whether it panicked. `None`: all have ended.
    async fn next(&mut self) -> Option<(&'static str, Result<(), JoinError>)> {
        let done = self.tasks.join_next_with_id().await?;
        let task = done.as_ref().map_or_else(JoinError::id, |(task, ())| *task);
        Some((self.names.remove(&task).unwrap_or("unnamed"), done.map(drop)))
    }

    /// The first that dies. For ever, while none does.
    pub(super) async fn death(&mut self) -> Died {
        let Some((part, done)) = self.next().await else { return std::future::pending().await };
        let error = match done {
            Ok(()) => "it ended by itself".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::error!(part, error, "a part of the connector died; the others are stopped, and the exit status is 1");
        Died { part }
    }

    /// Waits until all have ended; what has not by then is broken off: nothing that matters is only in memory, so it is
    /// taken up again, by the next start or by the sender.
    pub(super) async fn end_by(&mut self, deadline: Instant) {
        loop {
            match tokio::time::timeout_at(deadline, self.next()).await {
                Ok(None) => return,
                Ok(Some((_, Ok(())))) => {}
                Ok(Some((part, Err(error)))) => {
                    tracing::error!(part, %error, "a part of the connector ended badly");
                }
                Err(_) => break,
            }
        }
        for part in self.names.values() {
            tracing::warn!(part, "was not done in time and is broken off; what it had in hand is taken up again");
        }
        self.break_off().await;
    }

    /// Breaks off what has not ended.
    pub(super) async fn break_off(&mut self) {
        let _gone = tokio::time::timeout(LETTING_GO, self.tasks.shutdown()).await;
        self.names.clear();
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let owned = || panic.downcast_ref::<String>().map(String::as_str);
    panic.downcast_ref::<&str>().copied().or_else(owned).unwrap_or("a panic without words")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_part_that_dies_is_named_and_one_that_is_done_is_not() {
        let stop = CancellationToken::new();
        let mut parts = Parts::default();
        parts.start("steady", stop.clone().cancelled_owned());
        parts.start_passing("done", async {}, stop.clone());
        parts.start_passing("done badly", async { panic!("a defect") }, stop.clone());
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, parts.death()).await.is_err(), "nobody needs those");
        parts.start("panics", async { panic!("a defect") });
        assert_eq!(parts.death().await.part, "panics");
        parts.start("returns", async {});
        assert_eq!(parts.death().await.part, "returns");
        stop.cancel();
        let began = Instant::now();
        parts.end_by(began + hour).await;
        assert!(parts.is_empty() && began.elapsed() < Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn parts_that_hang_share_the_same_seconds() {
        let (began, grace) = (Instant::now(), Duration::from_secs(8));
        let (in_time, seen) = tokio::sync::oneshot::channel();
        let mut parts = Parts::default();
        parts.start("one", std::future::pending());
        parts.start("other", std::future::pending());
        parts.start("last", async {
            tokio::time::sleep(Duration::from_secs(7)).await;
            in_time.send(()).unwrap();
        });
        parts.end_by(began + grace).await;
        assert!(began.elapsed() < grace + Duration::from_secs(1), "{:?}", began.elapsed());
        seen.await.expect("whoever needs less is waited for");
    }
}
