//! The scenarios, one module each, and the table of them. A scenario says which cases it has under a profile; a case
//! measures once, with a broker of its own if one can be started.

mod backlog;
mod catch_up;
mod connections;
mod consumers;
mod isolation;
mod latency;
mod management;
mod qpid_clients;
mod round_trip;
mod scaling;
mod soak;
mod sustained;
mod throughput;

use crate::protocol::Protocol;
use crate::suite::bench::{Bench, Under};
use crate::suite::document::Parameters;
use crate::suite::measurement::Measurement;
use crate::suite::profile::Profile;
use anyhow::Result;
use fletch_perf::report::thousands;
use serde_json::{Value, json};

/// What the cases of a scenario depend on.
pub(crate) struct Plan<'a> {
    pub(crate) profile: &'a Profile,
    pub(crate) under: &'a Under,
    pub(crate) protocol: Protocol,
}

type Measure = Box<dyn Fn(&Bench) -> Result<Measurement>>;

/// One combination of parameters.
pub(crate) struct Case {
    /// What tells it from the others of its scenario, the same in every run.
    pub(crate) name: String,
    pub(crate) parameters: Parameters,
    pub(crate) measure: Measure,
    /// Why it cannot be measured here.
    pub(crate) without: Option<String>,
}

impl Case {
    fn new<const N: usize>(
        name: String,
        parameters: [(&str, Value); N],
        measure: impl Fn(&Bench) -> Result<Measurement> + 'static,
    ) -> Case {
        let parameters = parameters.map(|(name, value)| (name.to_owned(), value));
        Case { name, parameters: parameters.into(), measure: Box::new(measure), without: None }
    }

    /// Leaves it out.
    fn without(self, why: &str) -> Case {
        Case { without: Some(why.to_owned()), ..self }
    }
}

/// A plot of a scenario's cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Chart {
    /// Latencies by percentile: a line for each value of the parameter `series`, a plot for each combination of the others.
    Percentiles { tracks: &'static [&'static str], series: &'static str },
    /// A latency over time, for each case a plot with p50, p99 and the maximum.
    Course(&'static str),
    /// Figures against a parameter, both by powers of ten; a plot for each combination of the other parameters.
    Against { parameter: &'static str, figures: &'static [&'static str] },
    /// A figure of all cases, as bars.
    Bars(&'static str),
}

/// See the module.
pub(crate) trait Scenario: Sync {
    /// As `--only` has it.
    fn name(&self) -> &'static str;

    /// What it measures, in a line.
    fn about(&self) -> &'static str;

    /// Its cases under a profile, in order.
    fn cases(&self, plan: &Plan<'_>) -> Vec<Case>;

    /// The figures that its table shows, as far as there are any.
    fn headline(&self) -> &'static [&'static str];

    /// Its plots.
    fn charts(&self) -> &'static [Chart];
}

/// All of them, in the order of measurement.
pub(crate) const ALL: [&dyn Scenario; 13] = [
    &latency::Latency,
    &sustained::Sustained,
    &throughput::Throughput,
    &round_trip::RoundTrip,
    &consumers::Consumers,
    &catch_up::CatchUp,
    &connections::Connections,
    &backlog::Backlog,
    &scaling::Scaling,
    &isolation::Isolation,
    &management::Management,
    &soak::Soak,
    &qpid_clients::QpidClients,
];

/// A size in words.
fn octets(size: usize) -> String {
    format!("{} B", thousands(size as f64))
}

fn mode(durable: bool) -> &'static str {
    if durable { "durable" } else { "transient" }
}
