//! How far this machine's clock is ahead of Sysdig's, by the `Date` of the last answers.
//!
//! A window that ends later than Sysdig's own time is answered with nothing, and would count as read. So the poller takes off
//! what we are ahead. It is believed only while the answers agree: the `Date` of a server whose time stands still, or of a
//! cache, falls behind more and more, and must not hold up the feed.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::header::{AGE, DATE, HeaderMap};

use crate::calls;

/// So many answers are remembered.
const ANSWERS: usize = 8;

/// Less is the way of the network and of whole seconds.
const LEAST: TimeDelta = TimeDelta::seconds(5);

/// More is no clock that is ahead: whose is wrong, nobody can tell.
const MOST: TimeDelta = TimeDelta::days(1);

/// Answers that are further apart do not agree.
const AGREEMENT: TimeDelta = TimeDelta::seconds(10);

/// A clock of ours that moved by more than this against steady time was set.
const WAS_SET: TimeDelta = TimeDelta::seconds(3);

/// What the last answers said.
#[derive(Debug, Default)]
pub(super) struct Skew(Mutex<VecDeque<Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    ahead: TimeDelta,
    ours: DateTime<Utc>,
    steady: Instant,
}

impl Skew {
    /// An answer came at `ours`, to what was asked `steady` before.
    pub(super) fn answered(&self, headers: &HeaderMap, ours: DateTime<Utc>, asked: Instant, steady: Instant) {
        let Some(theirs) = date_of(headers) else { return };
        let underway = TimeDelta::from_std(steady.saturating_duration_since(asked)).unwrap_or_default();
        // Nobody knows when in so long a time it was written.
        if underway > AGREEMENT {
            return;
        }
        // The header's second began up to a second before it was written.
        let ahead = ours - underway / 2 - theirs - TimeDelta::milliseconds(500);
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.back().is_some_and(|last| was_set(last, ours, steady)) {
            seen.clear();
        }
        seen.push_back(Seen { ahead, ours, steady });
        if seen.len() > ANSWERS {
            seen.pop_front();
        }
    }

    /// How far we are ahead; zero when we are not, or when nobody can tell.
    pub(super) fn ahead(&self) -> TimeDelta {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<TimeDelta> = seen.iter().map(|seen| seen.ahead).collect();
        all.sort_unstable();
        match (all.first(), all.get(all.len() / 2)) {
            (Some(least), Some(middle)) if *middle - *least <= AGREEMENT && (LEAST..=MOST).contains(least) => *least,
            _ => TimeDelta::zero(),
        }
    }
}

fn was_set(last: &Seen, ours: DateTime<Utc>, steady: Instant) -> bool {
    let passed = TimeDelta::from_std(steady.saturating_duration_since(last.steady)).unwrap_or_default();
    (ours - last.ours - passed).abs() > WAS_SET
}

/// The time that an answer tells; a cache says how long ago that was.
fn date_of(headers: &HeaderMap) -> Option<DateTime<Utc>> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let date = calls::http_date(text(DATE)?)?;
    let age = match text(AGE) {
        Some(age) => age.parse::<u32>().ok()?,
        None => 0,
    };
    Some(date + TimeDelta::seconds(i64::from(age)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// What is thought after answers: our time, steady time, and the server's, in seconds; and an `Age`.
    fn ahead(answers: &[(i64, u64, i64, &str)]) -> i64 {
        let (skew, start) = (Skew::default(), Instant::now());
        let at = |second: i64| DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        for (ours, steady, theirs, age) in answers {
            let mut headers = HeaderMap::from_iter([(DATE, at(*theirs).to_rfc2822().parse().unwrap())]);
            if !age.is_empty() {
                headers.insert(AGE, age.parse().unwrap());
            }
            let steady = start + Duration::from_secs(*steady);
            skew.answered(&headers, at(*ours), steady, steady);
        }
        skew.ahead().num_seconds()
    }

    #[test]
    fn a_clock_that_is_ahead_is_known_from_the_first_answer() {
        assert_eq!(ahead(&[]), 0);
        assert_eq!(ahead(&[(400, 0, 0, "")]), 399);
        assert_eq!(ahead(&[(400, 0, 0, ""), (460, 60, 60, ""), (520, 120, 121, "")]), 398);
        for (ours, theirs) in [(4, 0), (0, 400), (90_000, 0)] {
            assert_eq!(ahead(&[(ours, 0, theirs, "")]), 0, "a few seconds, behind, more than a day");
        }
    }

    #[test]
    fn an_answer_that_took_long_tells_nothing() {
        let at = |second: i64| DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap();
        let (skew, asked) = (Skew::default(), Instant::now());
        let headers = HeaderMap::from_iter([(DATE, at(0).to_rfc2822().parse().unwrap())]);
        skew.answered(&headers, at(400), asked, asked + Duration::from_secs(25));
        assert_eq!(skew.ahead(), TimeDelta::zero());
        skew.answered(&headers, at(400), asked, asked);
        assert_eq!(skew.ahead().num_seconds(), 399);
    }

    #[test]
    fn a_server_whose_time_stands_still_is_not_believed() {
        let stands = |n: i64| (n * 60, n.unsigned_abs() * 60, -30, "");
        assert_eq!(ahead(&[stands(0)]), 29);
        for answers in 2..20 {
            assert_eq!(ahead(&(0..answers).map(stands).collect::<Vec<_>>()), 0, "{answers}");
        }
    }

    #[test]
    fn a_cache_does_not_make_the_clock_one_that_is_ahead() {
        assert_eq!(ahead(&[(3600, 0, 0, "3600")]), 0);
        assert_eq!(ahead(&[(3600, 0, 0, "long")]), 0);
        assert_eq!(ahead(&[(0, 0, 0, ""), (60, 60, 60, ""), (120, 120, 0, ""), (180, 180, 180, "")]), 0);
    }

    #[test]
    fn a_clock_of_ours_that_is_set_is_looked_at_anew() {
        let right = |n: i64| (n * 60, n.unsigned_abs() * 60, n * 60, "");
        let mut answers: Vec<_> = (0..8).map(right).collect();
        answers.push((480 + 400, 480, 480, ""));
        assert_eq!(ahead(&answers), 399);
        answers.push((540, 540, 540, ""));
        assert_eq!(ahead(&answers), 0);
    }
}
