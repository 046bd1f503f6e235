//! The same by the clock for long: whether latency and memory stay what they were.

use super::{Case, Chart, Plan, Scenario, json, octets};
use crate::load::flow::Pace;
use crate::load::track::{Track, histogram};
use crate::load::{self, Time};
use crate::suite::document::{Better, micros};
use crate::suite::measurement::Measurement;
use fletch_perf::report::thousands;

/// The part of the time, at its begin and at its end, that is held against the other.
const PART: f64 = 0.2;
const MIB: f64 = 1_048_576.0;

/// See the module.
pub(super) struct Soak;

impl Scenario for Soak {
    fn name(&self) -> &'static str {
        "soak"
    }

    fn about(&self) -> &'static str {
        "messages by the clock for long: drift of latency and memory"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let profile = plan.profile;
        let rate = profile.rates.iter().copied().find(|rate| *rate >= 10_000);
        let (Some(rate), Some(&size)) =
            (rate.or(profile.rates.first().copied()), profile.sizes.first())
        else {
            return Vec::new();
        };
        let time = Time { warm_up: profile.warm_up, seconds: profile.soak };
        let name =
            format!("{}, {}/s, {} s", octets(size), thousands(f64::from(rate)), profile.soak);
        let parameters =
            [("size", json!(size)), ("rate", json!(rate)), ("seconds", json!(profile.soak))];
        vec![Case::new(name, parameters, move |bench| {
            let flow = bench.flow(size, Pace::Rate(f64::from(rate)));
            let broker = bench.start(&flow)?;
            let outcome = load::run(&broker, &flow, time)?;
            broker.end()?;
            let mut measurement = Measurement::default();
            measurement.add_outcome(&flow, &outcome);
            if let Some(track) = &outcome.transfer {
                for (quantile, name) in [(0.5, "p50"), (0.99, "p99")] {
                    let [first, last] =
                        ends(track, time.seconds).map(|h| h.value_at_quantile(quantile));
                    let drift = micros(last) / micros(first);
                    measurement.add(
                        &format!("{name}, last fifth ÷ first"),
                        "×",
                        Better::Neither,
                        drift,
                    );
                }
            }
            if let Some((before, after)) = outcome.resident_before.zip(outcome.resident) {
                let grown = (after as f64 - before as f64) / MIB;
                let hourly = grown / outcome.seconds * 3_600.0;
                measurement.add("broker memory grows", "MiB/h", Better::Neither, hourly);
            }
            Ok(measurement)
        })]
    }

    fn headline(&self) -> &'static [&'static str] {
        &[
            "messages in",
            "transfer p50",
            "transfer p99",
            "transfer p99.9",
            "transfer max",
            "p50, last fifth ÷ first",
            "p99, last fifth ÷ first",
            "broker memory grows",
        ]
    }

    fn charts(&self) -> &'static [Chart] {
        &[Chart::Course("transfer")]
    }
}

/// What was due in the first part of the time, and in the last.
fn ends(track: &Track, seconds: f64) -> [hdrhistogram::Histogram<u64>; 2] {
    let mut ends = [histogram(), histogram()];
    for (at, _, part) in track.parts() {
        if at < seconds * PART {
            ends[0] += part;
        }
        if at >= seconds * (1.0 - PART) {
            ends[1] += part;
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::schedule::SECOND;
    use crate::load::track::Window;

    #[test]
    fn the_first_fifth_and_the_last_are_told_apart() {
        let mut track = Track::new(Window { from: 0, until: 10 * SECOND });
        for second in 0..10 {
            track.record(second * SECOND + 1, second * SECOND + 2 + second);
        }
        let [first, last] = ends(&track, 10.0);
        assert_eq!((first.len(), first.max()), (2, 2));
        assert_eq!((last.len(), last.min()), (2, 9));
    }
}
