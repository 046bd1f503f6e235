//! Latencies by when the message was due: one histogram for each part of a measurement, so that both the whole and its
//! course over time are there.

use super::schedule::{Nanos, SECOND};
use hdrhistogram::Histogram;

/// Parts of a measurement at most: plots need no more, and each takes a histogram.
const PARTS: u64 = 100;
/// The shortest part.
const SHORTEST: Nanos = SECOND / 10;

/// Nanoseconds to ten minutes, to three digits.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600 * SECOND, 3).expect("these bounds are possible")
}

/// From when to when messages count, by when they are due.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) from: Nanos,
    pub(crate) until: Nanos,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Track {
    window: Window,
    /// How long a part is.
    step: Nanos,
    parts: Vec<Histogram<u64>>,
}

impl Track {
    /// All the room it will need.
    pub(crate) fn new(window: Window) -> Track {
        let length = window.until - window.from;
        let step = length.div_ceil(PARTS).max(SHORTEST);
        let parts = (0..length.div_ceil(step).max(1)).map(|_| histogram()).collect();
        Track { window, step, parts }
    }

    /// What was due at `due` has happened at `now`.
    pub(crate) fn record(&mut self, due: Nanos, now: Nanos) {
        if (self.window.from..self.window.until).contains(&due) {
            let part = (due - self.window.from) / self.step;
            self.parts[part as usize].saturating_record(now.saturating_sub(due));
        }
    }

    /// Adds another of the same window.
    pub(crate) fn add(&mut self, other: &Track) {
        for (part, more) in self.parts.iter_mut().zip(&other.parts) {
            *part += more;
        }
    }

    /// All of it.
    pub(crate) fn total(&self) -> Histogram<u64> {
        let mut total = histogram();
        for part in &self.parts {
            total += part;
        }
        total
    }

    /// The parts that have anything, each with the seconds from the window's begin to its own, and its length in seconds.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (f64, f64, &Histogram<u64>)> {
        let step = self.step as f64 / SECOND as f64;
        let parts = self.parts.iter().enumerate().filter(|(_, part)| !part.is_empty());
        parts.map(move |(at, part)| (at as f64 * step, step, part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_outside_the_window_does_not_count() {
        let mut track = Track::new(Window { from: SECOND, until: 2 * SECOND });
        for due in [SECOND - 1, SECOND, 2 * SECOND - 1, 2 * SECOND] {
            track.record(due, due + 5);
        }
        assert_eq!(track.total().len(), 2);
        assert_eq!(track.total().max(), 5);
    }

    #[test]
    fn a_message_counts_in_the_part_in_which_it_was_due_however_late_it_is() {
        let mut track = Track::new(Window { from: 0, until: SECOND });
        track.record(SECOND / 4, SECOND * 3 / 4);
        let parts: Vec<f64> = track.parts().map(|(at, ..)| at).collect();
        assert_eq!(parts, [0.2]);
    }

    #[test]
    fn parts_are_few_however_long_it_takes() {
        let track = Track::new(Window { from: 0, until: 36_000 * SECOND });
        assert_eq!(track.parts.len(), 100);
        assert_eq!(Track::new(Window { from: 0, until: 1 }).parts.len(), 1);
    }
}
