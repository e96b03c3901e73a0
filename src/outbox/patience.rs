//! What follows from an attempt: the only place where retries are bounded. Pure.
//!
//! An event is given up after failing for long, and long is what it was tried for: neither the days in which the process
//! was stopped or its machine suspended, nor those of a hold or of a wait for the quota, nor a step of the clock.
//! So the time from which it counts as failing moves on: when a failure is noted, by what the attempt came too late, and
//! when a row is given back, by what it has to wait (here, and the same in the statements of [`super::sqlite`]).

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};

use super::attempt::Attempt;
use super::{Ending, Leased, backoff};
use crate::deliver::Verdict;
use crate::event::Outcome;

/// No event is parked for failing long before it was tried so often.
const FEWEST_ATTEMPTS: u32 = 10;
/// An attempt that ends within this time of when it was due was made in time: the longest attempt, and the turn of others.
pub const IN_TIME: Duration = backoff::LONGEST;

/// What follows from an attempt at `row` that ended at `now`. `chance` (0 to 1) spreads retries.
pub(super) fn ending(
    row: &Leased,
    attempt: Attempt,
    give_up_after: Duration,
    now: DateTime<Utc>,
    chance: f64,
) -> Ending {
    let (reason, verdict) = match attempt {
        Attempt::Done { outcome, note } => return Ending::Close { outcome, note },
        Attempt::Failed { reason, verdict, .. } => (reason, verdict),
    };
    let after = |wait: Duration| now + TimeDelta::from_std(wait).unwrap_or_default();
    match verdict {
        Verdict::Park => Ending::Close { outcome: Outcome::Parked, note: Some(reason) },
        Verdict::Wait(asked) => {
            Ending::Release { reason: Some(reason), at: Some(after(backoff::delay(1, Some(asked), chance))) }
        }
        Verdict::Hold => Ending::Release { reason: Some(reason), at: Some(now + TimeDelta::seconds(1)) },
        Verdict::Retry(asked) => {
            let (attempts, failing_for) = (row.attempts + 1, failing_for(row, now));
            if failing_for >= give_up_after && attempts >= FEWEST_ATTEMPTS {
                let hours = failing_for.as_secs() / 3600;
                let note = format!("gave up after {attempts} attempts in {hours} h of trying: {reason}");
                return Ending::Close { outcome: Outcome::Parked, note: Some(note) };
            }
            Ending::Retry { at: after(backoff::delay(attempts, asked, chance)), reason }
        }
    }
}

fn failing_for(row: &Leased, now: DateTime<Utc>) -> Duration {
    let since = row.failing_since.map_or(now, |since| since + untried(row.due, now));
    (now - since).to_std().unwrap_or_default()
}

/// How much later than in time it is: so long nobody tried.
fn untried(due: DateTime<Utc>, now: DateTime<Utc>) -> TimeDelta {
    let in_time = TimeDelta::from_std(IN_TIME).unwrap_or_default();
    (now - due - in_time).max(TimeDelta::zero())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::sqlite::{Keep, Sqlite};
    use super::super::{Content, Desk, NewContent, NewEntry, Settlement, Store};
    use super::*;

    const GIVE_UP: Duration = Duration::from_secs(72 * 3600);
    const DAYS: TimeDelta = TimeDelta::days(5);

    fn failed(verdict: Verdict) -> Attempt {
        Attempt::Failed { reason: "503".into(), verdict, label: "server_error" }
    }

    fn after(attempts: u32, hours: i32, verdict: Verdict) -> Ending {
        let (first, now) = (DateTime::UNIX_EPOCH, DateTime::UNIX_EPOCH + TimeDelta::hours(1) * hours);
        let row = Leased {
            id: 1,
            key: "key".into(),
            urgency: 1,
            event: Content::Written(Vec::new()),
            bytes: 0,
            attempts,
            due: now,
            failing_since: Some(first),
            accepted: first,
        };
        ending(&row, failed(verdict), GIVE_UP, now, 0.0)
    }

    #[test]
    fn an_event_is_given_up_after_so_long_and_so_many_attempts() {
        let is_retry = |ending| matches!(ending, Ending::Retry { .. });
        assert!(is_retry(after(100, 71, Verdict::Retry(None))));
        assert!(is_retry(after(2, 80, Verdict::Retry(None))), "most of the time it was not tried");
        let given_up = after(9, 80, Verdict::Retry(None));
        assert!(
            matches!(&given_up, Ending::Close { outcome: Outcome::Parked, note: Some(note) } if note.contains("10 attempts")),
            "{given_up:?}"
        );
    }

    #[test]
    fn waiting_for_the_quota_is_no_failure() {
        let ending = after(100, 80, Verdict::Wait(Duration::from_secs(30)));
        let Ending::Release { reason: Some(_), at: Some(at) } = ending else { panic!("{ending:?}") };
        assert!(at >= DateTime::UNIX_EPOCH + TimeDelta::hours(80) + TimeDelta::seconds(30));
    }

    /// One event in a file, and the clock.
    struct Story {
        folder: tempfile::TempDir,
        store: Option<Sqlite>,
        desk: Arc<Desk>,
        began: DateTime<Utc>,
        now: DateTime<Utc>,
    }

    impl Story {
        async fn begin() -> Self {
            let (folder, now) = (tempfile::tempdir().unwrap(), "2026-07-03T18:00:00Z".parse().unwrap());
            let mut story = Self { folder, store: None, desk: Arc::new(Desk::new(1)), began: now, now };
            story.restart();
            let content = NewContent { event: "{}".into(), in_hand: None, kind: "policy", urgency: 1 };
            let entry = NewEntry { key: "a".into(), body: "{}".into(), content: Ok(content), door: "webhook" };
            story.store().accept(vec![entry], 0, now).await.unwrap();
            story
        }

        fn store(&self) -> &Sqlite {
            self.store.as_ref().unwrap()
        }

        fn restart(&mut self) {
            let keep = Keep { closed_for: GIVE_UP, bytes: 1 << 30 };
            self.store = None;
            self.store = Some(Sqlite::open(&self.folder.path().join("outbox.db"), keep).unwrap());
            self.desk = Arc::new(Desk::new(1));
        }

        /// The next attempt, by the clock as it goes on after `taking` so long; what it came to when it was the last.
        async fn attempt(&mut self, verdict: Verdict, taking: TimeDelta) -> Option<String> {
            let row = loop {
                self.store().fill(&self.desk, self.now, Duration::from_secs(3600)).await.unwrap();
                match self.desk.take() {
                    Some(row) => break row,
                    None => self.now += TimeDelta::minutes(1),
                }
            };
            self.now += taking;
            let ending = ending(&row, failed(verdict), GIVE_UP, self.now, 0.0);
            self.store().settle(vec![Settlement { id: row.id, ending: ending.clone() }], self.now).await.unwrap();
            match ending {
                Ending::Close { note, .. } => note,
                Ending::Retry { .. } | Ending::Release { .. } => None,
            }
        }

        /// Fails until it is given up, at most so many hours: after how many, and with which words.
        async fn fail(&mut self) -> (i64, String) {
            let asked = Verdict::Retry(Some(Duration::from_secs(3600)));
            for _ in 0..200 {
                if let Some(note) = self.attempt(asked, TimeDelta::seconds(20)).await {
                    return ((self.now - self.began).num_hours(), note);
                }
            }
            panic!("it is never given up");
        }
    }

    /// Twelve attempts in some minutes, as an outage begins.
    async fn failing() -> Story {
        let mut story = Story::begin().await;
        for _ in 0..12 {
            assert_eq!(story.attempt(Verdict::Retry(None), TimeDelta::seconds(1)).await, None);
        }
        story
    }

    #[tokio::test]
    async fn what_was_tried_all_along_is_given_up_in_time() {
        let (hours, note) = failing().await.fail().await;
        assert!((72..75).contains(&hours) && note.contains("in 72 h of trying: 503"), "{hours} {note}");
    }

    #[tokio::test]
    async fn time_in_which_nobody_tried_does_not_count() {
        for what in ["stopped", "suspended", "held", "stepped", "stepped forth and back"] {
            let mut story = failing().await;
            let mut taking = TimeDelta::seconds(1);
            match what {
                "stopped" => {
                    story.now += DAYS;
                    story.restart();
                }
                "suspended" => taking = DAYS,
                "held" => {
                    for _ in 0..=DAYS.num_hours() {
                        let held = story.attempt(Verdict::Hold, TimeDelta::minutes(60)).await;
                        assert_eq!(held, None);
                    }
                }
                _ => story.now += DAYS,
            }
            assert_eq!(story.attempt(Verdict::Retry(None), taking).await, None, "{what}");
            let mut passed = 5 * 24;
            if what == "stepped forth and back" {
                story.now -= DAYS;
                passed = 0;
            }
            let (hours, note) = story.fail().await;
            assert!((passed + 70..passed + 76).contains(&hours), "{what}: {hours}");
            assert!(note.contains("in 72 h of trying") || note.contains("in 73 h of trying"), "{what}: {note}");
        }
    }

    #[tokio::test]
    async fn a_clock_that_steps_back_puts_no_end_off() {
        for restarts in [false, true] {
            let mut story = failing().await;
            story.now -= DAYS;
            story.began -= DAYS;
            if restarts {
                story.restart();
            }
            let (hours, note) = story.fail().await;
            assert!((72..75).contains(&hours), "{restarts} {hours} {note}");
        }
    }
}
