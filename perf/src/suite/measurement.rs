//! What one repetition of a case yields.

use super::document::{Better, micros};
use crate::load::Outcome;
use crate::load::flow::Flow;
use crate::load::track::Track;
use crate::process::Usage;
use hdrhistogram::Histogram;

/// Named figures, and latencies by when they were due.
#[derive(Default)]
pub(crate) struct Measurement {
    pub(crate) figures: Vec<Single>,
    pub(crate) tracks: Vec<(String, Track)>,
    /// Latencies that have no course.
    pub(crate) histograms: Vec<(String, Histogram<u64>)>,
    /// Why there is nothing to measure, if the broker turned out so.
    pub(crate) without: Option<String>,
}

/// A figure of one repetition.
pub(crate) struct Single {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    pub(crate) value: f64,
}

const PERCENTILES: [(f64, &str); 4] =
    [(0.5, "p50"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99")];
const MIB: f64 = 1_048_576.0;

impl Measurement {
    /// Nothing, for this reason.
    pub(crate) fn without(why: String) -> Measurement {
        Measurement { without: Some(why), ..Measurement::default() }
    }

    /// Adds a figure, unless there is none: of what is 0 divided by 0 nothing can be said.
    pub(crate) fn add(&mut self, name: &str, unit: &'static str, better: Better, value: f64) {
        if value.is_finite() {
            self.figures.push(Single { name: name.to_owned(), unit, better, value });
        }
    }

    /// Adds a latency's percentiles, up to those that its count bears.
    pub(crate) fn add_percentiles(&mut self, name: &str, latency: &Histogram<u64>) {
        for (quantile, percentile) in PERCENTILES {
            // Ten messages beyond it at least.
            if latency.len() as f64 * (1.0 - quantile) >= 10.0 {
                let value = micros(latency.value_at_quantile(quantile));
                self.add(&format!("{name} {percentile}"), "µs", Better::Lower, value);
            }
        }
        if !latency.is_empty() {
            self.add(&format!("{name} max"), "µs", Better::Neither, micros(latency.max()));
        }
    }

    /// Adds a latency with its course.
    pub(crate) fn add_track(&mut self, name: &str, track: &Track) {
        self.add_percentiles(name, &track.total());
        self.tracks.push((name.to_owned(), track.clone()));
    }

    /// All that a flow tells of itself.
    pub(crate) fn add_outcome(&mut self, flow: &Flow, outcome: &Outcome) {
        use Better::{Higher, Lower, Neither};
        let sent = outcome.published_per_second(flow.topology);
        let paced = outcome.transfer.is_some();
        // By the clock it is what was asked for, or the broker cannot do it.
        self.add("messages in", "/s", if paced { Neither } else { Higher }, sent);
        if flow.topology.copies() > 1 {
            let out = outcome.delivered / outcome.seconds;
            self.add("messages out", "/s", if paced { Neither } else { Higher }, out);
        }
        for (name, track) in [
            ("transfer", &outcome.transfer),
            ("confirm", &outcome.confirm),
            ("send delay", &outcome.send),
        ] {
            if let Some(track) = track {
                self.add_track(name, track);
            }
        }
        if paced {
            self.add("never sent", "messages", Lower, outcome.unsent as f64);
        }
        let messages = outcome.delivered / flow.topology.copies() as f64;
        if let Some(used) = outcome.broker {
            self.add_usage("broker", Lower, used, messages);
        }
        self.add_usage("clients", Neither, outcome.clients, messages);
        if let Some(resident) = outcome.resident {
            self.add("broker memory", "MiB", Neither, resident as f64 / MIB);
        }
    }

    fn add_usage(&mut self, who: &str, better: Better, used: Usage, messages: f64) {
        let millions = messages / 1e6;
        self.add(&format!("{who} CPU"), "s/million", better, used.cpu.as_secs_f64() / millions);
        let switches = used.switches as f64 / millions;
        self.add(&format!("{who} switches"), "/million", Better::Neither, switches);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_needs_messages_beyond_it() {
        let mut latency = crate::load::track::histogram();
        (0..1_000).for_each(|_| latency.record(5).unwrap());
        let mut measurement = Measurement::default();
        measurement.add_percentiles("transfer", &latency);
        let names: Vec<&str> = measurement.figures.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["transfer p50", "transfer p99", "transfer max"]);
    }

    #[test]
    fn a_figure_that_is_no_number_is_left_out() {
        let mut measurement = Measurement::default();
        measurement.add("CPU", "s", Better::Lower, f64::NAN);
        assert!(measurement.figures.is_empty());
    }
}
