//! Many connections: how fast they open, what an open one takes, and how many come and go in a second beside them.

use super::{Case, Chart, Plan, Scenario, json};
use crate::load::flow::Pace;
use crate::load::joined;
use crate::load::track::histogram;
use crate::process::allow_descriptors;
use crate::protocol::Protocol;
use crate::suite::bench::Bench;
use crate::suite::document::Better;
use crate::suite::measurement::Measurement;
use crate::target::{Link, Target};
use anyhow::Result;
use fletch_perf::report::thousands;
use hdrhistogram::Histogram;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Threads that open connections.
const THREADS: usize = 4;
/// Descriptors of this process beside the connections'.
const DESCRIPTORS: u64 = 256;
/// How long memory may take to settle.
const SETTLE: Duration = Duration::from_secs(5);
/// Connections from one address before the next is taken. Few: the kernel looks for a free port among those that are taken,
/// and that would be measured.
const PER_ADDRESS: u64 = 500;
/// Addresses of this machine that are used in turn. A port is free again a minute after its connection was closed.
const ADDRESSES: u64 = 250;
/// Connections opened by this process: no two brokers in a row are reached from the same addresses.
static OPENED: AtomicU64 = AtomicU64::new(0);

/// See the module.
pub(super) struct Connections;

impl Scenario for Connections {
    fn name(&self) -> &'static str {
        "connections"
    }

    fn about(&self) -> &'static str {
        "many connections open, what each takes, and how many come and go in a second beside them"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let (count, churn) = (plan.profile.connections, plan.profile.churn);
        let parameters = [("connections", json!(count)), ("churn_seconds", json!(churn))];
        let name = format!("{} open", thousands(count as f64));
        vec![Case::new(name, parameters, move |bench| measure(bench, count, churn))]
    }

    fn headline(&self) -> &'static [&'static str] {
        &[
            "connections opened",
            "open p50",
            "open p99",
            "broker memory of each",
            "opened and closed beside them",
            "open and close p99",
            "broker CPU of opening and closing",
        ]
    }

    fn charts(&self) -> &'static [Chart] {
        &[Chart::Percentiles { tracks: &["open", "open and close"], series: "connections" }]
    }
}

/// Opens sockets to a broker, where that is on this machine from one of its many addresses after the other.
struct Opener {
    target: Target,
    protocol: Protocol,
}

impl Opener {
    fn open(&self) -> Result<Link> {
        let count = OPENED.fetch_add(1, Ordering::Relaxed);
        let local = self.target.host().starts_with("127.");
        let place = count / PER_ADDRESS % ADDRESSES;
        let from = local.then(|| Ipv4Addr::new(127, 0, 1, 1 + place as u8));
        self.target.open(self.protocol, self.target.socket(from)?)
    }
}

fn measure(bench: &Bench, count: usize, churn: f64) -> Result<Measurement> {
    // A broker started from here inherits the limit, and needs as many.
    allow_descriptors(count as u64 + DESCRIPTORS)?;
    let broker = bench.start(&bench.flow(8, Pace::InFlight(1)))?;
    let opener = Arc::new(Opener { target: (*broker).clone(), protocol: bench.protocol });
    // What the first ones take is not what one takes.
    drop((0..THREADS).map(|_| opener.open()).collect::<Result<Vec<_>>>()?);
    let known = broker.usage()?.is_some();
    let settled = || if known { broker.settled(SETTLE).map(Some) } else { Ok(None) };
    let before = settled()?;
    let start = Instant::now();
    let mut open = Vec::new();
    let mut opening = histogram();
    for thread in (0..THREADS)
        .map(|at| {
            let opener = Arc::clone(&opener);
            let share = count / THREADS + usize::from(at < count % THREADS);
            std::thread::spawn(move || open_many(&opener, share))
        })
        .collect::<Vec<_>>()
    {
        let (links, latency) = joined(thread)?;
        open.extend(links);
        opening += latency;
    }
    let took = start.elapsed().as_secs_f64();
    let after = settled()?;
    let used = broker.usage()?;
    let (mut rate, mut both) = (0.0, histogram());
    for thread in (0..THREADS)
        .map(|_| {
            let opener = Arc::clone(&opener);
            std::thread::spawn(move || come_and_go(&opener, Duration::from_secs_f64(churn)))
        })
        .collect::<Vec<_>>()
    {
        let (count, seconds, latency) = joined(thread)?;
        rate += count as f64 / seconds;
        both += latency;
    }
    let used = broker.usage()?.zip(used).map(|(after, before)| after - before);
    drop(open);
    broker.end()?;
    let mut measurement = Measurement::default();
    measurement.add("connections opened", "/s", Better::Higher, count as f64 / took);
    measurement.add_percentiles("open", &opening);
    if let Some((before, after)) = before.zip(after) {
        let each = (after as f64 - before as f64) / count as f64 / 1024.0;
        measurement.add("broker memory of each", "KiB", Better::Lower, each);
    }
    measurement.add("opened and closed beside them", "/s", Better::Higher, rate);
    measurement.add_percentiles("open and close", &both);
    if let Some(used) = used {
        let each = used.cpu.as_secs_f64() * 1e6 / both.len() as f64;
        measurement.add("broker CPU of opening and closing", "µs", Better::Lower, each);
    }
    measurement
        .histograms
        .extend([("open".to_owned(), opening), ("open and close".to_owned(), both)]);
    Ok(measurement)
}

fn open_many(opener: &Opener, count: usize) -> Result<(Vec<Link>, Histogram<u64>)> {
    let (mut links, mut latency) = (Vec::with_capacity(count), histogram());
    for _ in 0..count {
        let began = Instant::now();
        links.push(opener.open()?);
        latency.saturating_record(began.elapsed().as_nanos() as u64);
    }
    Ok((links, latency))
}

/// Opens and closes one connection after the other, and says how many, in how many seconds.
fn come_and_go(opener: &Opener, time: Duration) -> Result<(u64, f64, Histogram<u64>)> {
    let (start, mut count, mut latency) = (Instant::now(), 0, histogram());
    while start.elapsed() < time {
        let began = Instant::now();
        match opener.open()? {
            Link::V0_10(link) => link.close()?,
            Link::V1_0(link) => link.close()?,
        }
        latency.saturating_record(began.elapsed().as_nanos() as u64);
        count += 1;
    }
    Ok((count, start.elapsed().as_secs_f64(), latency))
}
