//! Closed loop: one client sends a message through a queue to itself and waits for it before it sends the next. What a
//! pass through the broker costs when nothing else is going on; beside it stands the same over a bare socket.

use super::{Case, Chart, Plan, Scenario, json, octets};
use crate::load::ends::{self, Destination, Source};
use crate::load::flow::{Clients, Flow, Pace, STAMP};
use crate::load::track::{Track, Window};
use crate::load::unique;
use crate::suite::bench::Bench;
use crate::suite::document::Better;
use crate::suite::measurement::Measurement;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};

/// How long a message may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct RoundTrip;

impl Scenario for RoundTrip {
    fn name(&self) -> &'static str {
        "round-trip"
    }

    fn about(&self) -> &'static str {
        "closed loop through a queue, one message at a time, clients sleeping and busy"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let mut cases = Vec::new();
        for clients in [Clients::Sleeping, Clients::Busy] {
            for &size in &plan.profile.sizes {
                let (name, time) = (clients.name(), plan.profile.time());
                let parameters = [("size", json!(size)), ("clients", json!(name))];
                cases.push(Case::new(
                    format!("{}, clients {name}", octets(size)),
                    parameters,
                    move |bench| {
                        // What is in flight does not matter: one is.
                        let flow = Flow { clients, ..bench.flow(size, Pace::InFlight(1)) };
                        measure(bench, &flow, time.warm_up, time.seconds)
                    },
                ));
            }
        }
        cases
    }

    fn headline(&self) -> &'static [&'static str] {
        &["round trips", "round trip p50", "round trip p99", "round trip p99.9", "round trip max"]
    }

    fn charts(&self) -> &'static [Chart] {
        &[
            Chart::Percentiles { tracks: &["round trip"], series: "clients" },
            Chart::Course("round trip"),
        ]
    }
}

fn measure(bench: &Bench, flow: &Flow, warm_up: f64, seconds: f64) -> Result<Measurement> {
    let broker = bench.start(flow)?;
    let client = broker.connect_by(flow.protocol)?;
    let queue = unique("queue");
    let mut incoming = ends::subscribe(&broker, flow, &queue, Source::Own(&queue))?.end;
    let to = Destination::Queue(incoming.address());
    let mut outgoing = ends::attach(client, flow, &unique("producer"), to)?.end;
    let wait = match flow.clients {
        Clients::Sleeping => Duration::from_millis(100),
        Clients::Busy => Duration::ZERO,
    };
    let epoch = Instant::now();
    let now = || epoch.elapsed().as_nanos() as u64;
    let from = (warm_up * 1e9) as u64;
    let window = Window { from, until: from + (seconds * 1e9) as u64 };
    let mut track = Track::new(window);
    let body = vec![0x5a; flow.size.max(STAMP)];
    let mut count = 0u64;
    while now() < window.until {
        let began = now();
        outgoing.send(&body)?;
        outgoing.poll(Duration::ZERO)?;
        while incoming.take(&mut |_| Ok(()))? == 0 {
            incoming.poll(wait)?;
            if now() - began > PATIENCE.as_nanos() as u64 {
                bail!("a message did not come within {PATIENCE:?}");
            }
        }
        let ended = now();
        track.record(began, ended);
        count += u64::from(began >= window.from && ended < window.until);
    }
    outgoing.close()?;
    incoming.close()?;
    broker.end()?;
    let mut measurement = Measurement::default();
    measurement.add("round trips", "/s", Better::Higher, count as f64 / seconds);
    measurement.add_track("round trip", &track);
    Ok(measurement)
}
