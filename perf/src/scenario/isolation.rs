//! What a flooded shard does to another one: two shards, each on a processor of its own, and the latency of a pair of clients
//! on one of them, by the clock, alone and beside a pair on the other that sends as fast as it goes. The clients of each
//! pair are kept on one processor too: with four processors on one of their own, else on that of their shard. So what the
//! flood takes from the others is what the broker lets it take, not what the kernel's scheduler does.

use super::{Case, Chart, Plan, Scenario, json, octets};
use crate::host::processors;
use crate::load::flow::{Flow, Pace};
use crate::load::track::histogram;
use crate::load::{self, Outcome, Time, joined};
use crate::suite::bench::Bench;
use crate::suite::document::Better;
use crate::suite::measurement::Measurement;
use anyhow::{Context, Result};
use fletch_perf::report::thousands;

/// How often quiet and flooded take turns.
const TURNS: u32 = 3;
/// How much longer than what is measured the flood lasts, in seconds.
const LONGER: f64 = 0.2;
const SHARDS: u16 = 2;

/// See the module.
pub(super) struct Isolation;

impl Scenario for Isolation {
    fn name(&self) -> &'static str {
        "isolation"
    }

    fn about(&self) -> &'static str {
        "latency on one shard beside a flood on another, against the same without it"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let rate = plan.profile.rates.iter().copied().find(|rate| *rate >= 10_000);
        let rate = rate.or(plan.profile.rates.first().copied());
        let (Some(rate), Some(&size)) = (rate, plan.profile.sizes.first()) else {
            return Vec::new();
        };
        let case = case(plan, size, rate);
        let few = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) < 2;
        let without = plan.under.without_shards().or(few.then_some("there is one processor"));
        vec![match without {
            Some(why) => case.without(why),
            None => case,
        }]
    }

    fn headline(&self) -> &'static [&'static str] {
        &[
            "flooded ÷ quiet, p99.9",
            "quiet p50",
            "quiet p99",
            "quiet p99.9",
            "flooded p50",
            "flooded p99",
            "flooded p99.9",
            "flood",
        ]
    }

    fn charts(&self) -> &'static [Chart] {
        &[Chart::Percentiles { tracks: &["quiet", "flooded"], series: "size" }]
    }
}

fn case(plan: &Plan<'_>, size: usize, rate: u32) -> Case {
    let Time { warm_up, seconds } = plan.profile.time();
    let time = Time { warm_up, seconds: seconds / f64::from(TURNS) };
    let in_flight = plan.profile.in_flight;
    let name = format!("{}, {}/s", octets(size), thousands(f64::from(rate)));
    Case::new(name, [("size", json!(size)), ("rate", json!(rate))], move |bench| {
        let cpus = processors()?;
        let of_clients = |pair: usize| {
            let own = if cpus.len() >= 4 { usize::from(SHARDS) + pair } else { pair };
            cpus.get(own).copied()
        };
        let paced = bench.flow(size, Pace::Rate(f64::from(rate)));
        let flows = [
            Flow { cpu: of_clients(0), ..paced },
            Flow { cpu: of_clients(1), ..bench.flow(size, Pace::InFlight(in_flight)) },
        ];
        let (mut quiet, mut flooded, mut flood) = (histogram(), histogram(), 0.0);
        for _ in 0..TURNS {
            let (outcome, _) = once(bench, &flows, &cpus[..usize::from(SHARDS)], time, false)?;
            quiet += outcome.transfer.context("no latency")?.total();
            let (outcome, other) = once(bench, &flows, &cpus[..usize::from(SHARDS)], time, true)?;
            flooded += outcome.transfer.context("no latency")?.total();
            flood += other.context("no flood")?.delivered / time.seconds / f64::from(TURNS);
        }
        let mut measurement = Measurement::default();
        let ratio = flooded.value_at_quantile(0.999) as f64 / quiet.value_at_quantile(0.999) as f64;
        measurement.add("flooded ÷ quiet, p99.9", "", Better::Lower, ratio);
        measurement.add_percentiles("quiet", &quiet);
        measurement.add_percentiles("flooded", &flooded);
        measurement.add("flood", "/s", Better::Neither, flood);
        let both = [("quiet".to_owned(), quiet), ("flooded".to_owned(), flooded)];
        measurement.histograms.extend(both);
        Ok(measurement)
    })
}

/// One turn: the pair by the clock on the first shard, and the flood on the second, of which only the clients are there if
/// it is to be quiet.
fn once(
    bench: &Bench,
    [paced, flood]: &[Flow; 2],
    cpus: &[usize],
    time: Time,
    flooded: bool,
) -> Result<(Outcome, Option<Outcome>)> {
    let broker = bench.start_sharded(SHARDS, cpus)?;
    // Connections are placed one after the other: with one between producer and consumer both are on the same shard, and
    // the next three on the other.
    let between = usize::from(SHARDS) - 1;
    let paced = load::set_up(&broker, paced, between)?;
    let flood = load::set_up(&broker, flood, between)?;
    let target = (*broker).clone();
    let longer = Time { warm_up: 0.0, seconds: time.warm_up + time.seconds + LONGER };
    let flood = match flooded {
        true => Ok(std::thread::spawn(move || flood.run(&target, longer))),
        false => Err(flood),
    };
    let outcome = paced.run(&broker, time)?;
    let other = flood.ok().map(joined).transpose()?;
    broker.end()?;
    Ok((outcome, other))
}
