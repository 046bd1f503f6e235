//! What a run of the suite leaves behind: the JSON, from which the tables and the page are made. Described in `README.md`;
//! a change that readers notice needs a new version.

use super::stats::Spread;
use anyhow::{Context, Result, bail};
use fletch_perf::report::thousands;
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// The name and version of the format.
pub(crate) const SCHEMA: &str = "fletch-perf/1";
/// Points of a curve at each halving of the distance to 100 %.
const TICKS_PER_HALF: u32 = 4;

/// Parameters of a case, by name.
pub(crate) type Parameters = BTreeMap<String, Value>;

/// All of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Document {
    pub(crate) schema: String,
    pub(crate) program: Program,
    /// When it began, in seconds since 1970.
    pub(crate) began_unix: u64,
    /// How long it took.
    pub(crate) seconds: f64,
    pub(crate) profile: String,
    pub(crate) broker: Subject,
    pub(crate) host: Host,
    pub(crate) results: Vec<Entry>,
    /// Cases that do not apply here, or failed.
    pub(crate) without: Vec<Without>,
}

/// Which `fletch-perf`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Program {
    pub(crate) version: String,
    /// The revision of the source that the run is about, as it was given.
    pub(crate) revision: Option<String>,
}

/// What was measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Subject {
    /// In words.
    pub(crate) name: String,
    pub(crate) url: Option<String>,
    pub(crate) program: Option<String>,
    pub(crate) shards: Option<u16>,
    pub(crate) idle_strategy: Option<String>,
    /// What clients do while there is nothing to do.
    pub(crate) clients: String,
    pub(crate) protocols: Vec<String>,
}

/// The machine, and what it can do without a broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Host {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    pub(crate) memory_bytes: u64,
    /// The load average when the run began: what else the machine was doing.
    pub(crate) load: f64,
    pub(crate) figures: Vec<Figure>,
    pub(crate) curves: Vec<Curve>,
}

/// A case and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Entry {
    pub(crate) scenario: String,
    pub(crate) case: String,
    pub(crate) protocol: String,
    pub(crate) parameters: Parameters,
    pub(crate) figures: Vec<Figure>,
    pub(crate) curves: Vec<Curve>,
    pub(crate) courses: Vec<Course>,
}

/// A case without figures.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Without {
    pub(crate) scenario: String,
    pub(crate) case: String,
    pub(crate) protocol: String,
    pub(crate) why: String,
    /// It should have worked.
    pub(crate) failed: bool,
}

/// Which way a figure is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
    /// It says what was measured, not how well.
    Neither,
}

/// A figure with its repetitions.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) name: String,
    pub(crate) unit: String,
    pub(crate) better: Better,
    /// One for each repetition, in order.
    pub(crate) values: Vec<f64>,
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Figure {
    /// Of one repetition at least.
    pub(crate) fn new(name: &str, unit: &str, better: Better, values: Vec<f64>) -> Figure {
        let Spread { median, min, max } = Spread::of(&values);
        Figure { name: name.to_owned(), unit: unit.to_owned(), better, values, median, min, max }
    }

    /// The median as tables show it.
    pub(crate) fn shown(&self) -> String {
        shown(self.median)
    }
}

/// A number with three digits at least, and no more than are worth it.
pub(crate) fn shown(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if size < 10.0 => format!("{number:.2}"),
        size if size < 100.0 => format!("{number:.1}"),
        _ => thousands(number),
    }
}

/// A latency by percentile, of all repetitions together.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Curve {
    pub(crate) name: String,
    /// Percentile and microseconds.
    pub(crate) points: Vec<[f64; 2]>,
}

impl Curve {
    /// Of nanoseconds, up to the percentile that the greatest of so many stands for.
    pub(crate) fn of(name: &str, latency: &Histogram<u64>) -> Curve {
        let last = 1.0 - 1.0 / latency.len().max(1) as f64;
        let steps = latency.iter_quantiles(TICKS_PER_HALF);
        let points = steps.map(|at| (at.quantile_iterated_to(), at.value_iterated_to()));
        let points = points.take_while(|(quantile, _)| *quantile < last);
        let points = points.chain([(last, latency.max())]);
        let points = points.map(|(quantile, value)| [quantile * 100.0, micros(value)]).collect();
        Curve { name: name.to_owned(), points }
    }
}

/// Nanoseconds in microseconds.
pub(crate) fn micros(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}

/// A latency over time, of the last repetition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Course {
    pub(crate) name: String,
    /// Seconds since measuring began; p50, p99 and the maximum of what was due then, in microseconds.
    pub(crate) points: Vec<[f64; 4]>,
}

impl Document {
    /// Of a file that a run has left.
    pub(crate) fn read(path: &Path) -> Result<Document> {
        let text = std::fs::read(path).with_context(|| path.display().to_string())?;
        let schema: Value =
            serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
        match schema["schema"].as_str() {
            Some(SCHEMA) => {}
            Some(other) => bail!("{}: its format is {other}, not {SCHEMA}", path.display()),
            None => bail!("{}: not a result of `fletch-perf run --json`", path.display()),
        }
        serde_json::from_value(schema).with_context(|| path.display().to_string())
    }

    /// For others to read.
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| path.display().to_string())
    }

    /// What came of a case, if it was measured.
    pub(crate) fn find(&self, like: &Entry) -> Option<&Entry> {
        self.results.iter().find(|entry| {
            (&entry.scenario, &entry.case, &entry.protocol)
                == (&like.scenario, &like.case, &like.protocol)
        })
    }
}

impl Entry {
    /// A figure by its name.
    pub(crate) fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_the_digits_that_are_worth_it() {
        let numbers = [0.0, 0.125, 9.99, 12.34, 123.4, 1_234_567.0];
        let shown: Vec<String> = numbers.into_iter().map(super::shown).collect();
        assert_eq!(shown, ["0", "0.12", "9.99", "12.3", "123", "1,234,567"]);
    }

    #[test]
    fn a_curve_rises_from_the_least_to_the_greatest() {
        let mut latency = crate::load::track::histogram();
        (1..=10_000).for_each(|value| latency.record(value * 1_000).unwrap());
        let points = Curve::of("transfer", &latency).points;
        assert!(points.windows(2).all(|pair| pair[0][0] <= pair[1][0] && pair[0][1] <= pair[1][1]));
        assert_eq!(points.last().map(|point| point[0]), Some(99.99));
        assert!((points.last().unwrap()[1] - 10_000.0).abs() < 10.0);
    }
}
