//! A backlog: so many messages into one queue that nobody reads, and out again. Rates, and the memory that it takes.

use super::{Case, Chart, Plan, Scenario, json, octets};
use crate::load::ends::{self, Destination, Kept, Source};
use crate::load::flow::{Flow, Pace, STAMP};
use crate::load::unique;
use crate::suite::bench::Bench;
use crate::suite::document::Better;
use crate::suite::measurement::Measurement;
use anyhow::{Result, bail};
use fletch_perf::report::thousands;
use std::time::{Duration, Instant};

/// Messages sent between two looks at what the broker says.
const BATCH: u64 = 64;
/// How long no message may come.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long memory may take to settle.
const SETTLE: Duration = Duration::from_secs(15);

/// See the module.
pub(super) struct Backlog;

impl Scenario for Backlog {
    fn name(&self) -> &'static str {
        "backlog"
    }

    fn about(&self) -> &'static str {
        "many messages into a queue that nobody reads, and out again: rates and memory"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let Some(&size) = plan.profile.sizes.first() else { return Vec::new() };
        let count = plan.profile.backlog;
        let name = format!("{} messages of {}", thousands(count as f64), octets(size));
        let parameters = [("messages", json!(count)), ("size", json!(size))];
        vec![Case::new(name, parameters, move |bench| measure(bench, count, size))]
    }

    fn headline(&self) -> &'static [&'static str] {
        &["messages in", "messages out", "broker memory of each", "of that still there when empty"]
    }

    fn charts(&self) -> &'static [Chart] {
        &[]
    }
}

fn measure(bench: &Bench, count: u64, size: usize) -> Result<Measurement> {
    let flow = Flow { ack: true, ..bench.flow(size, Pace::InFlight(count)) };
    let broker = bench.start(&flow)?;
    let queue = Kept::make(&broker, &flow, &unique("queue"))?;
    let client = broker.connect_by(flow.protocol)?;
    let to = Destination::Queue(queue.address());
    let mut outgoing = ends::attach(client, &flow, &unique("producer"), to)?.end;
    let known = broker.usage()?.is_some();
    let settled = || if known { broker.settled(SETTLE).map(Some) } else { Ok(None) };
    let before = settled()?;

    let start = Instant::now();
    let body = vec![0x5a; size.max(STAMP)];
    for sent in 1..=count {
        outgoing.send(&body)?;
        if sent % BATCH == 0 {
            outgoing.poll(Duration::ZERO)?;
        }
    }
    // The broker has them all then.
    outgoing.close()?;
    let took_in = start.elapsed().as_secs_f64();
    let full = settled()?;

    let start = Instant::now();
    let source = Source::Queue(queue.address());
    let mut incoming = ends::subscribe(&broker, &flow, &unique("consumer"), source)?.end;
    let (mut received, mut heard) = (0, Instant::now());
    while received < count {
        match incoming.take(&mut |_| Ok(()))? {
            0 if heard.elapsed() > PATIENCE => bail!("{received} of {count} messages came back"),
            0 => incoming.poll(Duration::from_millis(100))?,
            more => (received, heard) = (received + more as u64, Instant::now()),
        }
    }
    let took_out = start.elapsed().as_secs_f64();
    incoming.close()?;
    let empty = settled()?;
    queue.delete()?;
    broker.end()?;

    let mut measurement = Measurement::default();
    measurement.add("messages in", "/s", Better::Higher, count as f64 / took_in);
    measurement.add("messages out", "/s", Better::Higher, count as f64 / took_out);
    if let (Some(before), Some(full), Some(empty)) = (before, full, empty) {
        let each = |now: u64| (now as f64 - before as f64) / count as f64;
        measurement.add("broker memory of each", "B", Better::Lower, each(full));
        measurement.add("of that still there when empty", "B", Better::Neither, each(empty));
    }
    Ok(measurement)
}
