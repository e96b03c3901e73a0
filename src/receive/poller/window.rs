//! Which stretch of time to read next: pure arithmetic.
//!
//! Windows are half-open and contiguous: each begins where the last one ended, less an overlap that is read again
//! because agents deliver late. The end stays a little behind now, because the newest events are still arriving.

use chrono::{DateTime, TimeDelta, Utc};

use crate::sysdig::Window;

/// We ask this far back: it is the longest span of one request. How long Sysdig keeps events is not documented.
pub const REACH: TimeDelta = TimeDelta::days(14);

/// A watermark this far in the future means that the clock was wrong when it was written.
const CLOCK_TOLERANCE: TimeDelta = TimeDelta::minutes(1);

/// How far back is read after a clock was found to have been ahead: for how long it was, nobody knows.
const AFTER_CLOCK_ERROR: TimeDelta = TimeDelta::days(1);

/// The shortest window; what does not fit into it is not split further.
const SHORTEST: TimeDelta = TimeDelta::seconds(1);

/// How windows are laid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// The newest events are left for later.
    pub settle: TimeDelta,
    /// What was read is read again.
    pub overlap: TimeDelta,
    /// The longest stretch of new time in a window.
    pub chunk: TimeDelta,
    /// How far back the very first window begins.
    pub lookback: TimeDelta,
}

/// A window to be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What to ask for.
    pub window: Window,
    /// Where new time begins in it; before it is the overlap.
    pub new_from: DateTime<Utc>,
    /// What can no longer be read, as it lies further back than the feed reaches.
    pub lost: Option<Window>,
    /// Whether the watermark lay in the future: the clock was ahead when it was written.
    pub clock_was_ahead: bool,
    /// Whether there is more to read at once.
    pub more: bool,
}

/// Where the very first window begins.
pub fn first(now: DateTime<Utc>, layout: &Layout) -> DateTime<Utc> {
    now - layout.settle - layout.lookback.min(REACH)
}

/// The next window, when everything before `watermark` has been read; `None` while nothing is old enough.
pub fn next(watermark: DateTime<Utc>, now: DateTime<Utc>, layout: &Layout) -> Option<Reading> {
    let horizon = now - layout.settle;
    let clock_was_ahead = watermark > now + CLOCK_TOLERANCE;
    let watermark = if clock_was_ahead { horizon - AFTER_CLOCK_ERROR } else { watermark };
    let oldest = now - REACH;
    let lost = (watermark < oldest).then_some(Window { from: watermark, to: oldest });
    let new_from = watermark.max(oldest);
    if new_from >= horizon {
        return None;
    }
    let to = horizon.min(new_from + layout.chunk);
    let window = Window { from: oldest.max(new_from - layout.overlap), to };
    Some(Reading { window, new_from, lost, clock_was_ahead, more: to < horizon })
}

/// Two windows instead of one; `None` when it is too short for that.
pub fn halves(window: Window) -> Option<(Window, Window)> {
    let middle = window.from + window.length() / 2;
    (window.length() >= SHORTEST * 2)
        .then_some((Window { from: window.from, to: middle }, Window { from: middle, to: window.to }))
}

/// `whole` in windows of at most `length`, in order.
pub fn chunks(whole: Window, length: TimeDelta) -> Vec<Window> {
    let length = length.max(SHORTEST);
    let mut windows = Vec::new();
    let mut from = whole.from;
    while from < whole.to {
        let to = whole.to.min(from + length);
        windows.push(Window { from, to });
        from = to;
    }
    windows
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + second, 0).unwrap()
    }

    fn layout() -> Layout {
        Layout {
            settle: TimeDelta::seconds(10),
            overlap: TimeDelta::seconds(300),
            chunk: TimeDelta::seconds(3600),
            lookback: TimeDelta::seconds(600),
        }
    }

    fn read(watermark: i64, now: i64) -> Reading {
        match next(at(watermark), at(now), &layout()) {
            Some(reading) => reading,
            None => panic!("nothing to read"),
        }
    }

    #[test]
    fn a_usual_minute_is_read_with_its_overlap() {
        let reading = read(0, 70);
        assert_eq!(reading.window, Window { from: at(-300), to: at(60) });
        assert_eq!((reading.lost, reading.more), (None, false));
    }

    #[test]
    fn hours_of_absence_are_read_in_chunks() {
        let reading = read(0, 10 * 3600);
        assert_eq!((reading.window.to, reading.more), (at(3600), true));
    }

    #[test]
    fn what_lies_further_back_than_the_feed_reaches_is_told() {
        let day = 24 * 3600;
        let reading = read(0, 15 * day);
        assert_eq!(reading.lost, Some(Window { from: at(0), to: at(day) }));
        assert_eq!(reading.window.from, at(day));
    }

    #[test]
    fn a_clock_that_steps_back_a_little_waits_and_one_that_was_far_ahead_reads_again() {
        assert_eq!(next(at(30), at(0), &layout()), None);
        let reading = read(1_000_000, 0);
        assert!(reading.clock_was_ahead);
        assert!(reading.window.to <= at(-10) && reading.more);
        assert_eq!(reading.new_from, at(-10) - AFTER_CLOCK_ERROR);
    }

    #[test]
    fn halves_and_chunks_cover_the_whole() {
        let whole = Window { from: at(0), to: at(10) };
        assert_eq!(halves(whole), Some((Window { from: at(0), to: at(5) }, Window { from: at(5), to: at(10) })));
        assert_eq!(halves(Window { from: at(0), to: at(1) }), None);
        assert_eq!(chunks(whole, TimeDelta::seconds(4)).len(), 3);
        assert_eq!(chunks(Window { from: at(0), to: at(0) }, TimeDelta::seconds(4)), []);
    }

    proptest! {
        #[test]
        fn whatever_the_clock_does_no_moment_is_skipped(
            moves in prop::collection::vec(-4000_i64..40_000, 1..60),
            (settle, overlap, chunk) in (0_i64..120, 0_i64..1000, 60_i64..7200),
        ) {
            let seconds = TimeDelta::seconds;
            let (settle, overlap, chunk) = (seconds(settle), seconds(overlap), seconds(chunk));
            let layout = Layout { settle, overlap, chunk, lookback: seconds(600) };
            let mut now = at(0);
            let start = first(now, &layout);
            let mut watermark = start;
            // Everything in [start, covered) was asked for.
            let mut covered = start;
            for step in moves {
                now += seconds(step);
                if let Some(reading) = next(watermark, now, &layout) {
                    prop_assert!(reading.window.from < reading.window.to);
                    prop_assert!(reading.window.to <= now - layout.settle);
                    prop_assert!(reading.window.to - reading.new_from <= layout.chunk);
                    prop_assert!(reading.window.length() <= layout.chunk + layout.overlap);
                    prop_assert!(reading.lost.is_some() || reading.window.from <= covered, "a gap");
                    prop_assert_eq!(reading.lost.is_some(), !reading.clock_was_ahead && watermark < now - REACH);
                    covered = covered.max(reading.window.to);
                    watermark = reading.window.to;
                }
            }
        }

        #[test]
        fn catching_up_ends(behind in 0_i64..1_000_000) {
            let now = at(behind);
            let mut watermark = at(0);
            let mut steps = 0;
            while let Some(reading) = next(watermark, now, &layout()) {
                prop_assert!(reading.window.to > watermark);
                watermark = reading.window.to;
                steps += 1;
            }
            prop_assert!(steps <= behind / 3600 + 1);
        }
    }
}
