//! Durable traffic beside transient: how much slower it is, and how much it slows the other.

use super::figure::Figure;
use super::{Measure, declare, message_header};
use crate::broker::Broker;
use crate::load::flow::{Flow, Pace};
use crate::load::{self, Time, joined};
use crate::protocol::Protocol;
use anyhow::{Context, Result};
use fletch_client::amqp::v0_10::table::queue;
use fletch_client::{ConnectOptions, Connection};
use fletch_perf::report;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Octets of a streamed body.
const SIZE: usize = 256;
/// Messages published and not yet received.
const IN_FLIGHT: u64 = 10_000;
/// Seconds before a measurement.
const WARM_UP: f64 = 0.5;
/// How often transient and durable take turns.
const TURNS: usize = 3;

/// Octets of the bodies that keep the disk busy: large, so that the processors are not.
const LOAD: usize = 64 << 10;
/// How many of them may be unconfirmed on one connection.
const LOAD_WINDOW: u32 = 64;
/// How many are sent before the queue is emptied, so that memory is not what is measured.
const LOAD_KEPT: u64 = 256;

/// One publisher, one queue, one consumer that accepts; durable and transient in turns.
pub(super) fn stream(measure: &Measure<'_>) -> Result<Vec<Figure>> {
    const PART: &str = "stream";
    let broker = measure.start("stream", &[])?;
    let seconds = measure.time().as_secs_f64() / 2.0;
    let pace = Pace::InFlight(IN_FLIGHT);
    let flow = |durable| Flow { ack: true, durable, ..Flow::plain(Protocol::V0_10, SIZE, pace) };
    let (mut rates, mut cpus) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
    for _ in 0..TURNS {
        for durable in [false, true] {
            let passed = load::run(&broker, &flow(durable), Time { warm_up: WARM_UP, seconds })?;
            rates[usize::from(durable)].push(passed.delivered / passed.seconds);
            let used = passed.broker.unwrap_or_default();
            cpus[usize::from(durable)].push(used.cpu.as_secs_f64() * 1e6 / passed.delivered);
        }
    }
    broker.stop()?;
    let [transient, durable] = rates.map(report::median);
    let [cpu, durable_cpu] = cpus.map(report::median);
    Ok(vec![
        Figure::new(PART, format!("transient, {SIZE} B, accepted"), transient, "msgs/s"),
        Figure::new(PART, "durable", durable, "msgs/s"),
        Figure::new(PART, "broker's CPU for a transient message", cpu, "µs"),
        Figure::new(PART, "broker's CPU for a durable message", durable_cpu, "µs"),
        Figure::new(PART, "durable ÷ transient", durable / transient, "×").at_least(0.5),
    ])
}

/// Large messages, one connection for each shard, until dropped.
struct Load {
    over: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<Result<()>>>,
    start: Instant,
}

impl Load {
    /// Journalled as fast as it goes; or, with a rate of messages per second, sent to where there is no queue.
    fn start(broker: &Broker, shards: u16, rate: Option<f64>) -> Result<Load> {
        let setup = broker.connect()?.session("load", true)?;
        let mut load = Load {
            over: Arc::default(),
            sent: Arc::default(),
            threads: Vec::new(),
            start: Instant::now(),
        };
        for shard in 0..shards {
            let queue = format!("load-{shard}");
            declare(&setup, &queue, shard)?;
            let options = ConnectOptions { send_window: LOAD_WINDOW, ..Default::default() };
            let connection = broker.connect_with(&options)?;
            let (over, sent) = (Arc::clone(&load.over), Arc::clone(&load.sent));
            let rate = rate.map(|rate| rate / f64::from(shards));
            load.threads.push(std::thread::spawn(move || match rate {
                None => journalled(&connection, &queue, &over, &sent),
                Some(rate) => unrouted(&connection, &queue, &over, &sent, rate),
            }));
        }
        Ok(load)
    }

    /// Ends it and says how many messages per second there were.
    fn stop(self) -> Result<f64> {
        let rate = self.sent.load(Ordering::Relaxed) as f64 / self.start.elapsed().as_secs_f64();
        self.over.store(true, Ordering::Relaxed);
        self.threads.into_iter().try_for_each(joined)?;
        Ok(rate)
    }
}

fn journalled(
    connection: &Connection,
    queue: &str,
    over: &AtomicBool,
    sent: &AtomicU64,
) -> Result<()> {
    let session = connection.session(queue, true)?;
    let (header, body) = (message_header(queue, true)?, vec![0x5a; LOAD]);
    while !over.load(Ordering::Relaxed) {
        for _ in 0..LOAD_KEPT {
            session.send_encoded("", &header, &body)?;
            sent.fetch_add(1, Ordering::Relaxed);
        }
        session.sync()?;
        session.call(&queue::Purge { queue: Some(queue) }.into())?;
    }
    Ok(())
}

fn unrouted(
    connection: &Connection,
    queue: &str,
    over: &AtomicBool,
    sent: &AtomicU64,
    rate: f64,
) -> Result<()> {
    let session = connection.session(queue, true)?;
    let (header, body) = (message_header("nobody", false)?, vec![0x5a; LOAD]);
    let (start, mut count) = (Instant::now(), 0u32);
    while !over.load(Ordering::Relaxed) {
        session.send_encoded("amq.direct", &header, &body)?;
        session.flush()?;
        sent.fetch_add(1, Ordering::Relaxed);
        count += 1;
        let due = Duration::from_secs_f64(f64::from(count) / rate.max(1.0));
        std::thread::sleep(due.saturating_sub(start.elapsed()));
    }
    Ok(session.sync()?)
}

/// Paced transient traffic alone, beside a full journal, and beside the same load without a journal.
pub(super) fn latency(measure: &Measure<'_>) -> Result<Vec<Figure>> {
    const PART: &str = "latency";
    let shards = measure.shards();
    let rate = measure.options.rate;
    let broker = measure.start("latency", &[])?;
    let seconds = measure.time().as_secs_f64();
    let flow = Flow::plain(Protocol::V0_10, SIZE, Pace::Rate(f64::from(rate)));
    let p999 = || -> Result<f64> {
        let passed = load::run(&broker, &flow, Time { warm_up: WARM_UP, seconds })?;
        let transfer = passed.transfer.context("no latency")?;
        Ok(super::micros(&transfer.total(), 0.999))
    };
    let alone = p999()?;
    let load = Load::start(&broker, shards, None)?;
    let beside = p999()?;
    let load_rate = load.stop()?;
    let load = Load::start(&broker, shards, Some(load_rate))?;
    let unrouted = p999()?;
    load.stop()?;
    broker.stop()?;
    let load_rate = load_rate * LOAD as f64 / super::MB;
    Ok(vec![
        Figure::new(PART, format!("transient, {rate}/s, alone, p99.9"), alone, "µs"),
        Figure::new(PART, "beside durable publishing, p99.9", beside, "µs"),
        Figure::new(PART, "that publishing", load_rate, "MB/s"),
        Figure::new(PART, "beside as much that is not journalled, p99.9", unrouted, "µs"),
        Figure::new(PART, "beside durable ÷ not journalled", beside / unrouted, "×"),
        Figure::new(PART, "beside durable ÷ alone", beside / alone, "×").at_most(3.0),
    ])
}
