//! What a flooded shard does to another one: two shards, each on a processor of its own, and the latency of a pair of clients
//! on one of them, by the clock, alone and beside a pair on the other that sends as fast as it goes. The clients of each
//! pair are kept on one processor too: with four processors on one of their own, else on that of their shard. So what the
//! flood takes from the others is what the broker lets it take, not what the kernel's scheduler does. In quiet the
//! processors of the flood are kept busy by a loop that does nothing else: a virtual machine whose processors all work may be
//! kept waiting by its host, for milliseconds, whatever they work on.

use super::{Case, Chart, Plan, Scenario, json, octets};
use crate::host::processors;
use crate::load::flow::{Flow, Pace};
use crate::load::track::histogram;
use crate::load::{self, Outcome, Ready, Time, joined, pin};
use crate::suite::bench::{Bench, Held};
use crate::suite::document::Better;
use crate::suite::measurement::Measurement;
use anyhow::{Context, Result};
use fletch_perf::report::thousands;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

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
        "latency on one shard beside a flood on another, against the same beside a loop that does nothing"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let (Some(rate), Some(&size)) = (plan.profile.rate(), plan.profile.sizes.first()) else {
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
        let pair = Pair { bench, cpus: &cpus[..usize::from(SHARDS)], flows, time };
        let (mut quiet, mut flooded, mut flood) = (histogram(), histogram(), 0.0);
        for _ in 0..TURNS {
            quiet += pair.quiet()?.transfer.context("no latency")?.total();
            let (outcome, other) = pair.flooded()?;
            flooded += outcome.transfer.context("no latency")?.total();
            flood += other.delivered / other.seconds / f64::from(TURNS);
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

/// What is measured in turns: the flow by the clock on the first shard, and the flood on the second.
struct Pair<'a> {
    bench: &'a Bench,
    /// Of the shards.
    cpus: &'a [usize],
    flows: [Flow; 2],
    time: Time,
}

impl Pair<'_> {
    /// A broker, and the clients of both.
    fn set_up(&self) -> Result<(Held, [Ready; 2])> {
        let broker = self.bench.start_sharded(SHARDS, self.cpus)?;
        // Connections are placed one after the other: with one between producer and consumer both are on the same shard,
        // and the next three on the other.
        let ready = |flow| load::set_up(&broker, flow, usize::from(SHARDS) - 1);
        let both = [ready(&self.flows[0])?, ready(&self.flows[1])?];
        Ok((broker, both))
    }

    /// Of the flood only the clients are there.
    fn quiet(&self) -> Result<Outcome> {
        let (broker, [paced, _flood]) = self.set_up()?;
        let over = Arc::new(AtomicBool::new(false));
        let busy = [Some(self.cpus[1]), self.flows[1].cpu.filter(|cpu| *cpu != self.cpus[1])];
        let loops = busy.into_iter().flatten().map(|cpu| {
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                pin(cpu)?;
                while !over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
                Ok(())
            })
        });
        let loops: Vec<JoinHandle<Result<()>>> = loops.collect();
        let outcome = paced.run(&broker, self.time);
        over.store(true, Ordering::Relaxed);
        loops.into_iter().try_for_each(joined)?;
        broker.end()?;
        outcome
    }

    fn flooded(&self) -> Result<(Outcome, Outcome)> {
        let (broker, [paced, flood]) = self.set_up()?;
        let (target, Time { warm_up, seconds }) = ((*broker).clone(), self.time);
        let longer = Time { warm_up: 0.0, seconds: warm_up + seconds + LONGER };
        let flood = std::thread::spawn(move || flood.run(&target, longer));
        let outcome = paced.run(&broker, self.time)?;
        let flood = joined(flood)?;
        broker.end()?;
        Ok((outcome, flood))
    }
}
