//! Refusals of tokens that nobody signed come into the journal so many a minute in all: who has many addresses can make
//! them without end.

use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

/// The most lines of the journal a minute. One address may have no more than its share.
const MOST: u32 = 3_000;

/// How many there were.
#[derive(Debug)]
pub(super) struct Unsigned {
    most: u32,
    counted: Mutex<Counted>,
}

#[derive(Debug, Default)]
struct Counted {
    minute: i64,
    lines: u32,
    left_out: u64,
}

impl Unsigned {
    /// At least as many as one address has.
    pub(super) fn new(share: u32) -> Self {
        Self { most: MOST.max(share), counted: Mutex::default() }
    }

    /// Whether one more may be written; if not, it is counted.
    pub(super) fn may(&self, now: DateTime<Utc>) -> bool {
        let (minute, mut counted) = (now.timestamp().div_euclid(60), self.counted());
        if counted.minute != minute {
            (counted.minute, counted.lines) = (minute, 0);
        }
        let may = counted.lines < self.most;
        counted.lines += u32::from(may);
        counted.left_out += u64::from(!may);
        may
    }

    /// How many were left out since this was asked last.
    pub(super) fn left_out(&self) -> u64 {
        std::mem::take(&mut self.counted().left_out)
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_addresses_together_write_so_many_lines_a_minute() {
        let at = |seconds| DateTime::from_timestamp(seconds, 0).unwrap();
        for (share, most) in [(20, 3_000), (5_000, 5_000)] {
            let unsigned = Unsigned::new(share);
            assert_eq!((0..9_000).filter(|_| unsigned.may(at(59))).count(), most);
            assert_eq!([unsigned.left_out(), unsigned.left_out()], [9_000 - most as u64, 0]);
            assert!(unsigned.may(at(60)), "the next minute");
        }
    }
}
