//! When to try again. Pure.

use std::time::Duration;

use crate::calls::{LONGEST_ASKED, pause_or_asked};

/// The longest a retry is ever planned ahead, asked for or not.
pub const LONGEST: Duration = LONGEST_ASKED;

const FIRST: Duration = Duration::from_secs(1);
const CEILING: Duration = Duration::from_secs(300);

/// How long to wait after failed attempt number `attempt` (1 is the first): 1 s doubled each time up to 5 min, or what
/// the service asked for, if that is longer.
pub fn delay(attempt: u32, asked: Option<Duration>, jitter: f64) -> Duration {
    pause_or_asked(attempt, FIRST, CEILING, asked, jitter)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_a_ceiling() {
        let secs: Vec<u64> = (1..=11).map(|n| delay(n, None, 0.0).as_secs()).collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay(u32::MAX, None, 0.0).as_secs(), 300);
    }

    #[test]
    fn what_the_service_asks_for_is_honoured_within_an_hour() {
        assert_eq!(delay(1, Some(Duration::from_secs(40)), 0.0).as_secs(), 40);
        assert_eq!(delay(6, Some(Duration::from_secs(40)), 1.0).as_secs(), 50);
        assert_eq!(delay(1, Some(Duration::from_secs(1_000_000)), 1.0), LONGEST);
    }

    #[test]
    fn a_service_that_asks_for_no_patience_is_given_some() {
        let secs: Vec<u64> = (1..=11).map(|n| delay(n, Some(Duration::ZERO), 0.0).as_secs()).collect();
        assert_eq!(secs, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(delay(9, Some(Duration::from_secs(40)), 0.0).as_secs(), 256);
    }
}
