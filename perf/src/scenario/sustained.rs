//! The highest rate that is sustained: p99.9 within a limit, and no backlog that grows.

use super::{Case, Chart, Plan, Scenario, json, mode, octets};
use crate::load::{self, Outcome, flow::Flow, flow::Pace};
use crate::suite::bench::Bench;
use crate::suite::document::{Better, micros};
use crate::suite::measurement::Measurement;
use anyhow::{Context, Result};
use fletch_perf::report::thousands;

/// The first rate tried.
const FIRST: f64 = 50_000.0;
/// Rates this close to each other are the same.
const CLOSE: f64 = 1.05;

/// See the module.
pub(super) struct Sustained;

impl Scenario for Sustained {
    fn name(&self) -> &'static str {
        "sustained"
    }

    fn about(&self) -> &'static str {
        "the highest rate with p99.9 in a limit and no growing backlog, by bisection"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let sizes = &plan.profile.sustained_sizes;
        let both = |size: &usize| [false, true].map(|durable| case(plan, *size, durable));
        sizes.iter().flat_map(both).collect()
    }

    fn headline(&self) -> &'static [&'static str] {
        &[
            "highest rate",
            "transfer p50",
            "transfer p99",
            "transfer p99.9",
            "broker CPU",
            "clients CPU",
        ]
    }

    fn charts(&self) -> &'static [Chart] {
        &[Chart::Bars("highest rate")]
    }
}

fn case(plan: &Plan<'_>, size: usize, durable: bool) -> Case {
    let (limit, trials, time) = (plan.profile.limit_us, plan.profile.trials, plan.profile.time());
    let limit_text = thousands(limit);
    let name = format!("{}, {}, p99.9 ≤ {limit_text} µs", octets(size), mode(durable));
    let parameters =
        [("size", json!(size)), ("mode", json!(mode(durable))), ("limit_us", json!(limit))];
    Case::new(name, parameters, move |bench| {
        let mut search = Search::new(FIRST);
        let mut best = None;
        for _ in 0..trials {
            let Some(rate) = search.next() else { break };
            let plain = bench.flow(size, Pace::Rate(rate));
            let flow = if durable { plain.safe() } else { plain };
            let tried = attempt(bench, &flow, time, rate, limit)?;
            search.tell(rate, tried.is_some());
            best = tried.or(best);
        }
        let mut measurement = Measurement::default();
        measurement.add("highest rate", "/s", Better::Higher, search.good);
        if let Some((flow, outcome)) = best {
            measurement.add_outcome(&flow, &outcome);
        }
        Ok(measurement)
    })
}

/// Tries a rate, and says what came of it if it was sustained.
fn attempt(
    bench: &Bench,
    flow: &Flow,
    time: load::Time,
    rate: f64,
    limit: f64,
) -> Result<Option<(Flow, Outcome)>> {
    let broker = bench.start(flow)?;
    // A broker that is so far behind that it does not catch up has not sustained the rate.
    let Some(outcome) = load::try_run(&broker, flow, time)? else {
        broker.end()?;
        return Ok(None);
    };
    broker.end()?;
    let latency = outcome.transfer.as_ref().context("no latency")?.total();
    let within = micros(latency.value_at_quantile(0.999)) <= limit;
    // What is under way at any time within the limit is no backlog.
    let grown = outcome.backlog > rate * limit / 1e6;
    let sustained = within && !grown && outcome.unsent == 0;
    Ok(sustained.then(|| (flow.clone(), outcome)))
}

/// Looks for the highest rate that is good: doubles until one is bad, or halves until one is good, then halves the
/// distance, as ratios.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Search {
    first: f64,
    /// The highest that was good; 0 if none was.
    good: f64,
    /// The lowest that was bad.
    bad: Option<f64>,
}

impl Search {
    fn new(first: f64) -> Search {
        Search { first, good: 0.0, bad: None }
    }

    /// What to try next, if it would tell anything.
    fn next(&self) -> Option<f64> {
        match (self.good, self.bad) {
            (0.0, None) => Some(self.first),
            (good, None) => Some(good * 2.0),
            (0.0, Some(bad)) => (bad > 1.0).then_some(bad / 2.0),
            (good, Some(bad)) => (bad / good > CLOSE).then_some((good * bad).sqrt()),
        }
    }

    /// What became of a rate. Rates are not quite monotonous: the lowest that was bad bounds all.
    fn tell(&mut self, rate: f64, good: bool) {
        if good {
            self.good = self.good.max(rate);
        } else {
            self.bad = Some(self.bad.map_or(rate, |bad| bad.min(rate)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(highest: f64, first: f64) -> (f64, u32) {
        let (mut search, mut trials) = (Search::new(first), 0);
        while let Some(rate) = search.next() {
            search.tell(rate, rate <= highest);
            trials += 1;
            assert!(trials < 50, "no end");
        }
        (search.good, trials)
    }

    #[test]
    fn it_comes_close_from_below_wherever_it_starts() {
        for highest in [1_234.0, 50_000.0, 777_777.0] {
            for first in [1_000.0, 50_000.0, 3_000_000.0] {
                let (found, trials) = search(highest, first);
                assert!(
                    found <= highest && found * CLOSE >= highest * 0.999,
                    "{found} of {highest}"
                );
                assert!(trials <= 20, "{trials} trials");
            }
        }
    }

    #[test]
    fn it_ends_where_nothing_is_good() {
        let (found, trials) = search(0.0, 50_000.0);
        assert_eq!(found, 0.0);
        assert!(trials <= 17);
    }
}
