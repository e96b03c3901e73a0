//! What time it is at Sysdig, by the `Date` of its answers.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use chrono::{DateTime, Utc};
use reqwest::header::{DATE, HeaderMap};

/// The time of the newest answer, and when it was heard by a clock that nobody sets.
#[derive(Debug, Default)]
pub struct Clock(Mutex<Option<(DateTime<Utc>, Instant)>>);

impl Clock {
    /// Takes the time from an answer's headers, when they say it (RFC 9110, section 6.6.1).
    pub(super) fn hear(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| DateTime::parse_from_rfc2822(date.to_str().ok()?.trim()).ok());
        if let Some(date) = date {
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((date.to_utc(), Instant::now()));
        }
    }

    /// The time there, to a second or two; `None` before the first answer that says it.
    pub fn now(&self) -> Option<DateTime<Utc>> {
        let heard = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.map(|(date, at)| date + at.elapsed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_that_of_the_newest_answer_that_says_it() {
        let clock = Clock::default();
        let hear = |text: &str| clock.hear(&HeaderMap::from_iter([(DATE, text.parse().unwrap())]));
        hear("yesterday");
        assert_eq!(clock.now(), None);
        hear("Sun, 01 Mar 2026 12:00:30 GMT");
        hear("later");
        let heard: DateTime<Utc> = "2026-03-01T12:00:30Z".parse().unwrap();
        assert!(clock.now().is_some_and(|now| now >= heard && (now - heard).num_minutes() < 5));
    }
}
