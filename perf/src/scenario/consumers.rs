//! What one consumer of a fan-out does to the others: one that is slow, one that has stopped reading, and one that stopped
//! and then died. The others' latency counts; beside it stands the same with nobody ill.

use super::{Case, Chart, Plan, Scenario, json, octets};
use crate::load::ends::{self, Source};
use crate::load::flow::{EXCHANGE, Flow, Pace, Topology};
use crate::load::{self, joined, unique};
use crate::suite::measurement::Measurement;
use crate::target::Target;
use anyhow::Result;
use fletch_perf::report::thousands;
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Consumers whose latency counts.
const HEALTHY: usize = 3;
/// What a slow consumer takes for a message.
const SLOWNESS: Duration = Duration::from_millis(1);
/// How long a thread sleeps before it looks whether all is over.
const LOOK: Duration = Duration::from_millis(5);

/// See the module.
pub(super) struct Consumers;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Illness {
    /// Takes a millisecond for each message.
    Slow,
    /// Has credit without limit, and never reads its socket.
    Stopped,
    /// The same, and its connection breaks halfway.
    Dead,
}

impl Scenario for Consumers {
    fn name(&self) -> &'static str {
        "consumers"
    }

    fn about(&self) -> &'static str {
        "what a slow, stopped or dead consumer of a fan-out does to the latency of the others"
    }

    fn cases(&self, plan: &Plan<'_>) -> Vec<Case> {
        let (Some(rate), Some(size)) = (plan.profile.rate(), plan.profile.size()) else {
            return Vec::new();
        };
        let all = [
            ("alone", None),
            ("beside a slow one", Some(Illness::Slow)),
            ("beside a stopped one", Some(Illness::Stopped)),
            ("beside one that dies", Some(Illness::Dead)),
        ];
        all.into_iter().map(|(name, illness)| case(plan, name, illness, size, rate)).collect()
    }

    fn headline(&self) -> &'static [&'static str] {
        &[
            "transfer p50",
            "transfer p99",
            "transfer p99.9",
            "transfer max",
            "the ill one received",
            "broker CPU",
            "broker memory",
        ]
    }

    fn charts(&self) -> &'static [Chart] {
        &[Chart::Percentiles { tracks: &["transfer"], series: "beside" }, Chart::Course("transfer")]
    }
}

fn case(
    plan: &Plan<'_>,
    beside: &'static str,
    illness: Option<Illness>,
    size: usize,
    rate: u32,
) -> Case {
    let time = plan.profile.time();
    let name = format!("{HEALTHY} {beside}, {}, {}/s", octets(size), thousands(f64::from(rate)));
    let parameters = [("beside", json!(beside)), ("size", json!(size)), ("rate", json!(rate))];
    Case::new(name, parameters, move |bench| {
        let topology = Topology::FanOut(HEALTHY);
        let flow = Flow { topology, ..bench.flow(size, Pace::Rate(f64::from(rate))) };
        let broker = bench.start(&flow)?;
        let half = Duration::from_secs_f64(time.warm_up + time.seconds / 2.0);
        let patient = illness.map(|illness| Patient::start(&broker, &flow, illness, half));
        let patient = patient.transpose()?;
        let outcome = load::run(&broker, &flow, time)?;
        let seen = patient.map(Patient::stop).transpose()?;
        broker.end()?;
        let mut measurement = Measurement::default();
        measurement.add_outcome(&flow, &outcome);
        if let Some(seen) = seen {
            use crate::suite::document::Better::Neither;
            measurement.add("the ill one received", "messages", Neither, seen as f64);
        }
        Ok(measurement)
    })
}

/// A consumer with an illness, on a thread of its own.
struct Patient {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl Patient {
    fn start(target: &Target, flow: &Flow, illness: Illness, half: Duration) -> Result<Patient> {
        // The slow one has a window and accepts, the others have credit for ever.
        let flow = Flow { ack: illness == Illness::Slow, ..flow.clone() };
        let queue = unique("ill");
        let receiving = ends::subscribe(target, &flow, &queue, Source::Copy(&queue, EXCHANGE))?;
        let over = Arc::new(AtomicBool::new(false));
        let thread = {
            let over = Arc::clone(&over);
            std::thread::spawn(move || live(receiving, illness, half, &over))
        };
        Ok(Patient { over, thread })
    }

    /// Says how many messages it has received.
    fn stop(self) -> Result<u64> {
        self.over.store(true, Ordering::Relaxed);
        joined(self.thread)
    }
}

fn live(
    mut receiving: ends::Receiving,
    illness: Illness,
    half: Duration,
    over: &AtomicBool,
) -> Result<u64> {
    let (start, mut received) = (Instant::now(), 0);
    let mut broken = false;
    while !over.load(Ordering::Relaxed) {
        if illness == Illness::Slow {
            receiving.end.poll(LOOK)?;
            receiving.end.take(&mut |_| {
                if !over.load(Ordering::Relaxed) {
                    received += 1;
                    std::thread::sleep(SLOWNESS);
                }
                Ok(())
            })?;
            continue;
        }
        std::thread::sleep(LOOK);
        if illness == Illness::Dead && !broken && start.elapsed() >= half {
            receiving.socket.shutdown(Shutdown::Both)?;
            broken = true;
        }
    }
    // Its connection is simply dropped: what it leaves behind is the broker's to clear away.
    Ok(received)
}
