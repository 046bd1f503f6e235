//! What is said of repeated measurements: their spread, the ratio of two in turns, and whether one is worse than another
//! beyond noise.

use super::document::{Better, Figure};
use fletch_perf::report::median;

/// Of repetitions fewer than these the spread says nothing.
const TELLING: usize = 3;
/// By how much medians may differ and mean nothing, where the repetitions do not overlap.
const NOISE: f64 = 0.05;
/// The same where there are too few repetitions to know.
const NOISE_UNKNOWN: f64 = 0.30;

/// Median, least and greatest.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// Of one figure at least.
    pub(crate) fn of(values: &[f64]) -> Spread {
        Spread {
            median: median(values.to_vec()),
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
        }
    }
}

/// The ratios of a second series to a first that was measured in turns with it: pair by pair, so that what the machine
/// did meanwhile met both. None of pairs whose first is 0.
pub(crate) fn ratios(first: &[f64], second: &[f64]) -> Vec<f64> {
    let pairs = first.iter().zip(second).filter(|(first, _)| **first != 0.0);
    pairs.map(|(first, second)| second / first).collect()
}

/// What became of a figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Better,
    Same,
    Worse,
}

/// Holds a figure against the same one of before. It changed if both hold: the repetitions of then and now do not overlap,
/// and the medians are further apart than the noise: 5 %, or 30 % if either side has fewer than three repetitions.
pub(crate) fn verdict(old: &Figure, new: &Figure) -> Verdict {
    let (before, now) = (Spread::of(&old.values), Spread::of(&new.values));
    let noise = match old.values.len().min(new.values.len()) < TELLING {
        true => NOISE_UNKNOWN,
        false => NOISE,
    };
    let apart = now.min > before.max || now.max < before.min;
    let far = (now.median - before.median).abs() > noise * before.median.abs();
    if !apart || !far {
        return Verdict::Same;
    }
    match (new.better, now.median > before.median) {
        (Better::Neither, _) => Verdict::Same,
        (Better::Higher, true) | (Better::Lower, false) => Verdict::Better,
        (Better::Higher, false) | (Better::Lower, true) => Verdict::Worse,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figure(better: Better, values: &[f64]) -> Figure {
        Figure::new("latency", "µs", better, values.to_vec())
    }

    fn check(better: Better, old: &[f64], new: &[f64]) -> Verdict {
        verdict(&figure(better, old), &figure(better, new))
    }

    #[test]
    fn a_change_is_one_when_repetitions_do_not_overlap_and_medians_are_apart() {
        let old = [100.0, 101.0, 103.0];
        assert_eq!(check(Better::Lower, &old, &[110.0, 112.0, 120.0]), Verdict::Worse);
        assert_eq!(check(Better::Higher, &old, &[110.0, 112.0, 120.0]), Verdict::Better);
        assert_eq!(check(Better::Lower, &old, &[80.0, 90.0, 99.0]), Verdict::Better);
        assert_eq!(check(Better::Higher, &old, &[80.0, 90.0, 99.0]), Verdict::Worse);
    }

    #[test]
    fn repetitions_that_overlap_are_noise() {
        assert_eq!(
            check(Better::Lower, &[100.0, 101.0, 150.0], &[149.0, 200.0, 210.0]),
            Verdict::Same
        );
    }

    #[test]
    fn a_small_step_is_noise_though_nothing_overlaps() {
        assert_eq!(check(Better::Lower, &[100.0; 3], &[104.9; 3]), Verdict::Same);
        assert_eq!(check(Better::Lower, &[100.0; 3], &[105.1; 3]), Verdict::Worse);
    }

    #[test]
    fn few_repetitions_have_to_differ_by_more() {
        assert_eq!(check(Better::Lower, &[100.0], &[129.0; 5]), Verdict::Same);
        assert_eq!(check(Better::Lower, &[100.0], &[131.0; 5]), Verdict::Worse);
    }

    #[test]
    fn what_is_neither_good_nor_bad_gets_no_worse() {
        assert_eq!(check(Better::Neither, &[1.0; 3], &[100.0; 3]), Verdict::Same);
    }

    #[test]
    fn ratios_are_of_pairs() {
        assert_eq!(ratios(&[2.0, 4.0, 0.0], &[4.0, 2.0, 7.0]), [2.0, 0.5]);
    }

    #[test]
    fn the_spread_of_one_is_itself() {
        assert_eq!(Spread::of(&[3.0]), Spread { median: 3.0, min: 3.0, max: 3.0 });
    }
}
