//! Shards: what more of them bring, and what it costs that publisher and queue live on different ones. Connections are
//! placed one after the other, so who connects when decides who lives where: producers first, then consumers with their
//! queues.

use super::{Case, Chart, Plan, Scenario, json, octets};
use crate::load::flow::{Flow, Pace, Topology};
use crate::load::track::histogram;
use crate::load::{self, Outcome, Time};
use crate::suite::bench::Bench;
use crate::suite::document::{Better, micros};
use crate::suite::measurement::Measurement;
use anyhow::{Context, Result};
use fletch_perf::report::thousands;

/// How often local and remote take turns where their difference counts.
const TURNS: u32 = 3;

/// See the module.
pub(super) struct Scaling;

impl Scenario for Scaling {
    fn name(&self) -> &'static str {
        "scaling"
    }

    fn about(&self) -> &'static str {
        "throughput by shards, queues local and remote to their publishers; the price of a core hop"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let profile = plan.profile;
        let mut cases = Vec::new();
        let (Some(&size), Some(&rate)) = (profile.sizes.first(), profile.rates.first()) else {
            return cases;
        };
        for &shards in &profile.shards {
            cases.push(throughput(plan, shards, size, "local"));
            if shards > 1 {
                cases.push(throughput(plan, shards, size, "remote"));
                cases.push(hop(plan, shards, size, rate));
            }
        }
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let without = plan.under.without_shards();
        let apply = |case: Case| match without {
            Some(why) => case.without(why),
            None if case.parameters["shards"].as_u64() > Some(cores as u64) => {
                case.without("fewer processors than that")
            }
            None => case,
        };
        cases.into_iter().map(apply).collect()
    }

    fn headline(&self) -> &'static [&'static str] {
        &[
            "messages in",
            "broker CPU",
            "added by the hop, p50",
            "local p50",
            "local p99",
            "remote p50",
            "remote p99",
        ]
    }

    fn charts(&self) -> &'static [Chart] {
        &[
            Chart::Bars("messages in"),
            Chart::Percentiles { tracks: &["local", "remote"], series: "shards" },
        ]
    }
}

/// As many pairs as shards, as fast as they go.
fn throughput(plan: &Plan<'_>, shards: u16, size: usize, placement: &'static str) -> Case {
    let (time, in_flight) = (plan.profile.time(), plan.profile.in_flight);
    let pairs = usize::from(shards);
    // After as many producers as shards the first consumer is where the first producer is; one connection more puts
    // each consumer on the shard after its producer's.
    let between = usize::from(placement == "remote");
    let name = format!("{shards} shards, {placement}, {}", octets(size));
    let parameters =
        [("shards", json!(shards)), ("placement", json!(placement)), ("size", json!(size))];
    Case::new(name, parameters, move |bench| {
        let topology = Topology::Pairs(pairs);
        let flow = Flow { topology, ..bench.flow(size, Pace::InFlight(in_flight)) };
        let outcome = once(bench, &flow, shards, time, between)?;
        let mut measurement = Measurement::default();
        measurement.add_outcome(&flow, &outcome);
        Ok(measurement)
    })
}

/// One pair by the clock, on one shard and on two, in turns.
fn hop(plan: &Plan<'_>, shards: u16, size: usize, rate: u32) -> Case {
    let Time { warm_up, seconds } = plan.profile.time();
    let time = Time { warm_up, seconds: seconds / f64::from(TURNS) };
    let name = format!("{shards} shards, hop, {}, {}/s", octets(size), thousands(f64::from(rate)));
    let parameters = [("shards", json!(shards)), ("size", json!(size)), ("rate", json!(rate))];
    Case::new(name, parameters, move |bench| {
        let flow = bench.flow(size, Pace::Rate(f64::from(rate)));
        let (mut local, mut remote) = (histogram(), histogram());
        for _ in 0..TURNS {
            for (latency, between) in [(&mut local, usize::from(shards) - 1), (&mut remote, 0)] {
                let outcome = once(bench, &flow, shards, time, between)?;
                *latency += outcome.transfer.context("no latency")?.total();
            }
        }
        let mut measurement = Measurement::default();
        let p50 = |latency: &hdrhistogram::Histogram<u64>| micros(latency.value_at_quantile(0.5));
        let added = p50(&remote) - p50(&local);
        measurement.add("added by the hop, p50", "µs", Better::Neither, added);
        measurement.add_percentiles("local", &local);
        measurement.add_percentiles("remote", &remote);
        measurement.histograms.extend([("local".to_owned(), local), ("remote".to_owned(), remote)]);
        Ok(measurement)
    })
}

fn once(bench: &Bench, flow: &Flow, shards: u16, time: Time, between: usize) -> Result<Outcome> {
    let broker = bench.start_sharded(shards, &[])?;
    let outcome = load::run_apart(&broker, flow, time, between)?;
    broker.end()?;
    Ok(outcome)
}
