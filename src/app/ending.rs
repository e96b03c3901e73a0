//! The end: all parts stop at once, and have the same few seconds together. Whoever asked waits ten, and then kills.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;

/// How long all parts together may take for what is in hand.
pub(super) const GRACE: Duration = Duration::from_secs(8);
/// A part that is broken off lets go of its stores at the next point where it waits.
const LETTING_GO: Duration = Duration::from_millis(200);

/// A part that was told to stop, and its name.
pub(super) type Part = (&'static str, JoinHandle<()>);

/// Waits for every part until `grace` is over. What is not done by then is broken off: nothing that matters is only in
/// memory, so it is taken up again, by the next start or by the sender.
pub(super) async fn of(parts: impl IntoIterator<Item = Part>, grace: Duration) {
    let deadline = Instant::now() + grace;
    for (part, mut task) in parts {
        match tokio::time::timeout_at(deadline, &mut task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(part, %error, "a part of the connector ended badly"),
            Err(_) => {
                tracing::warn!(part, "was not done in time and is broken off; what it had in hand is taken up again");
                at_once(task).await;
            }
        }
    }
}

/// Breaks a part off.
pub(super) async fn at_once(task: JoinHandle<()>) {
    task.abort();
    let _gone = tokio::time::timeout(LETTING_GO, task).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn parts_that_hang_share_the_same_seconds() {
        let began = Instant::now();
        let hangs = || tokio::spawn(std::future::pending::<()>());
        let (in_time, seen) = tokio::sync::oneshot::channel();
        let last = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(7)).await;
            in_time.send(()).unwrap();
        });
        of([("one", hangs()), ("other", hangs()), ("last", last)], GRACE).await;
        assert!(began.elapsed() < GRACE + Duration::from_secs(1), "{:?}", began.elapsed());
        seen.await.expect("whoever needs less is waited for");
    }
}
