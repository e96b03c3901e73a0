//! Elements of no known shape: a whole stream of them must not vanish with only a counter.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So often one is told at most.
const PERIOD: Duration = Duration::from_secs(60);

/// What was told, and what was not.
#[derive(Debug, Default)]
pub(super) struct Unknown(Mutex<Untold>);

#[derive(Debug, Default)]
struct Untold {
    told: Option<Instant>,
    count: u64,
}

impl Unknown {
    /// Notes one. When it is time to tell, the answer is how many there were since the last time.
    pub(super) fn note(&self, now: Instant) -> Option<u64> {
        let mut untold = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        untold.count += 1;
        if untold.told.is_some_and(|told| now.saturating_duration_since(told) < PERIOD) {
            return None;
        }
        untold.told = Some(now);
        Some(std::mem::take(&mut untold.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_is_told_a_minute_with_the_number_of_all() {
        let (unknown, start) = (Unknown::default(), Instant::now());
        let after = |seconds| unknown.note(start + Duration::from_secs(seconds));
        assert_eq!([0, 1, 59, 60, 61, 200].map(after), [Some(1), None, None, Some(3), None, Some(2)]);
    }
}
