//! A group of consumers goes away while messages keep coming by the clock, and comes back: how long until nothing is left
//! of what came meanwhile. The consumers accept; the queue is there all the time.

use super::{Case, Chart, Plan, Scenario, json, octets};
use crate::load::consumer::{self, Consumer};
use crate::load::ends::{self, Destination, Kept, Source};
use crate::load::flow::{Flow, Pace, Topology};
use crate::load::publisher::{self, Producer};
use crate::load::shared::Shared;
use crate::load::track::Track;
use crate::load::{joined, unique};
use crate::suite::bench::Bench;
use crate::suite::document::Better;
use crate::suite::measurement::Measurement;
use crate::target::Target;
use anyhow::{Result, bail};
use fletch_perf::report::thousands;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Consumers of the group.
const GROUP: usize = 2;
/// How long it may take to catch up, for each second of absence, and at all.
const PATIENCE: f64 = 10.0;
const PATIENCE_LEAST: f64 = 10.0;
/// Caught up: no more is under way than comes in so many seconds.
const CLOSE: f64 = 0.01;
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// See the module.
pub(super) struct CatchUp;

impl Scenario for CatchUp {
    fn name(&self) -> &'static str {
        "catch-up"
    }

    fn about(&self) -> &'static str {
        "a group of consumers restarts while messages keep coming: time to catch up"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let Some(&size) = plan.profile.sizes.first() else { return Vec::new() };
        let ((rate, away), warm_up) = (plan.profile.absence, plan.profile.warm_up);
        let name = format!("{}, {}/s, {away} s away", octets(size), thousands(f64::from(rate)));
        let parameters =
            [("size", json!(size)), ("rate", json!(rate)), ("away_seconds", json!(away))];
        vec![Case::new(name, parameters, move |bench| {
            measure(bench, size, f64::from(rate), warm_up, away)
        })]
    }

    fn headline(&self) -> &'static [&'static str] {
        &["backlog when it came back", "time to catch up", "messages out meanwhile"]
    }

    fn charts(&self) -> &'static [Chart] {
        &[Chart::Course("transfer")]
    }
}

fn measure(bench: &Bench, size: usize, rate: f64, warm_up: f64, away: f64) -> Result<Measurement> {
    let flow = Flow { ack: true, ..bench.flow(size, Pace::Rate(rate)) };
    let broker = bench.start(&flow)?;
    let queue = Kept::make(&broker, &flow, &unique("queue"))?;
    let client = broker.connect_by(flow.protocol)?;
    let to = Destination::Queue(queue.address());
    let sending = ends::attach(client, &flow, &unique("producer"), to)?;
    let group = subscribe(&broker, &flow, queue.address())?;
    let patience = (away * PATIENCE).max(PATIENCE_LEAST);
    let span = Duration::from_secs_f64;
    let shared = Shared::new(Topology::Pairs(1), span(warm_up), span(away * 2.0 + patience));
    let shared = Arc::new(shared);
    let mut threads = spawn(group, &flow, &shared);
    let publisher = {
        let (shared, flow) = (Arc::clone(&shared), flow.clone());
        let producers = vec![Producer { sending, at: 0 }];
        std::thread::spawn(move || publisher::run(producers, &flow, &shared))
    };
    // As long there as away.
    std::thread::sleep(span(warm_up + away));
    shared.stop_consuming();
    let mut latency = Track::new(shared.window);
    for thread in threads.drain(..) {
        latency.add(&joined(thread)?);
    }
    std::thread::sleep(span(away));
    let (back, left) = (Instant::now(), shared.under_way(0));
    let received = shared.received();
    shared.consume_again();
    threads.extend(spawn(subscribe(&broker, &flow, queue.address())?, &flow, &shared));
    while shared.under_way(0) as f64 > rate * CLOSE {
        if back.elapsed().as_secs_f64() > patience {
            bail!("{} messages were left after {patience} s", shared.under_way(0));
        }
        std::thread::sleep(LOOK);
    }
    let took = back.elapsed().as_secs_f64();
    let caught = (shared.received() - received) as f64;
    // Back to what it was, to be seen in the course.
    std::thread::sleep(span(away / 4.0));
    shared.stop_publishing();
    joined(publisher)?;
    while !shared.is_drained() {
        if back.elapsed().as_secs_f64() > 2.0 * patience {
            bail!("{} messages were lost", shared.under_way(0));
        }
        std::thread::sleep(LOOK);
    }
    shared.stop_consuming();
    for thread in threads {
        latency.add(&joined(thread)?);
    }
    queue.delete()?;
    broker.end()?;
    let mut measurement = Measurement::default();
    measurement.add("backlog when it came back", "messages", Better::Neither, left as f64);
    measurement.add("time to catch up", "s", Better::Lower, took);
    measurement.add("messages out meanwhile", "/s", Better::Higher, caught / took);
    measurement.tracks.push(("transfer".to_owned(), latency));
    Ok(measurement)
}

fn subscribe(target: &Target, flow: &Flow, queue: &str) -> Result<Vec<Consumer>> {
    let one = |_| {
        let receiving = ends::subscribe(target, flow, &unique("consumer"), Source::Queue(queue))?;
        Ok(Consumer { receiving, at: 0 })
    };
    (0..GROUP).map(one).collect()
}

/// Each on a thread of its own.
fn spawn(
    group: Vec<Consumer>,
    flow: &Flow,
    shared: &Arc<Shared>,
) -> Vec<JoinHandle<Result<Track>>> {
    let thread = |consumer| {
        let (flow, shared) = (flow.clone(), Arc::clone(shared));
        std::thread::spawn(move || consumer::run(vec![consumer], &flow, &shared))
    };
    group.into_iter().map(thread).collect()
}
