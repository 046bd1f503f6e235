//! One-way latency by the clock: one publisher, one queue, one consumer. Durable messages are confirmed and accepted.

use super::{Case, Chart, Plan, Scenario, json, mode, octets};
use crate::load::{self, flow::Pace};
use crate::suite::measurement::Measurement;
use fletch_perf::report::thousands;

/// See the module.
pub(super) struct Latency;

impl Scenario for Latency {
    fn name(&self) -> &'static str {
        "latency"
    }

    fn about(&self) -> &'static str {
        "one-way latency at fixed rates, by size, transient and durable"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let profile = plan.profile;
        let mut cases = Vec::new();
        for (durable, rates) in [(false, &profile.rates), (true, &profile.durable_rates)] {
            for &size in &profile.sizes {
                cases.extend(rates.iter().map(|&rate| case(plan, size, rate, durable)));
            }
        }
        cases
    }

    fn headline(&self) -> &'static [&'static str] {
        &[
            "messages in",
            "transfer p50",
            "transfer p99",
            "transfer p99.9",
            "transfer max",
            "confirm p50",
            "confirm p99",
            "send delay p99.9",
            "broker CPU",
            "broker switches",
            "clients CPU",
        ]
    }

    fn charts(&self) -> &'static [Chart] {
        const FIGURES: &[&str] = &["transfer p50", "transfer p99", "transfer p99.9"];
        &[
            Chart::Against { parameter: "rate", figures: FIGURES },
            Chart::Percentiles { tracks: &["transfer"], series: "rate" },
            Chart::Percentiles { tracks: &["confirm"], series: "rate" },
            Chart::Course("transfer"),
        ]
    }
}

fn case(plan: &Plan<'_>, size: usize, rate: u32, durable: bool) -> Case {
    let time = plan.profile.time();
    let name = format!("{}, {}/s, {}", octets(size), thousands(f64::from(rate)), mode(durable));
    let parameters = [("size", json!(size)), ("rate", json!(rate)), ("mode", json!(mode(durable)))];
    Case::new(name, parameters, move |bench| {
        let plain = bench.flow(size, Pace::Rate(f64::from(rate)));
        let flow = if durable { plain.safe() } else { plain };
        let broker = bench.start(&flow)?;
        let outcome = load::run(&broker, &flow, time)?;
        broker.end()?;
        let mut measurement = Measurement::default();
        measurement.add_outcome(&flow, &outcome);
        Ok(measurement)
    })
}
