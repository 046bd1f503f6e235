//! Publishing to durable queues: one at a time, many one at a time, and as fast as it goes.

use super::figure::Figure;
use super::{MB, Measure, declare, message_header, micros};
use crate::broker::Broker;
use crate::host::disk::Disk;
use crate::load::joined;
use crate::load::track::histogram;
use anyhow::Result;
use fletch_client::Connection;
use fletch_client::amqp::v0_10::table::queue;
use fletch_perf::report;
use hdrhistogram::Histogram;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Octets of a synchronous publisher's body.
const SMALL: usize = 256;
/// Octets of a body where the disk is to be the limit.
const LARGE: usize = 1024;
/// Publishers that together have the disk or the processors busy.
const SATURATING: u16 = 4;
/// Messages a saturating publisher sends between two looks at what is confirmed.
const BATCH: u64 = 64;
/// How often one publisher and the disk alone take turns.
const TURNS: u32 = 5;
/// A processor this busy has no more to give.
const BUSY: f64 = 0.95;

/// Publishes one message after the other, each confirmed before the next, until told to stop.
fn one_by_one(connection: &Connection, queue: &str, over: &AtomicBool) -> Result<Histogram<u64>> {
    let session = connection.session(&format!("one by one {queue}"), false)?;
    // Exclusive: it lives on its publisher's shard, and no hop between shards is measured.
    let (name, durable, exclusive) = (Some(queue), true, true);
    session
        .call(&queue::Declare { queue: name, durable, exclusive, ..Default::default() }.into())?;
    let (header, body) = (message_header(queue, true)?, vec![0x5a; SMALL]);
    let mut latency = histogram();
    while !over.load(Ordering::Relaxed) {
        let began = Instant::now();
        session.send_encoded("", &header, &body)?;
        session.sync()?;
        latency.saturating_record(began.elapsed().as_nanos() as u64);
    }
    Ok(latency)
}

/// So many publishers for so long: their latencies, and messages per second.
fn synchronous(
    broker: &Broker,
    name: &str,
    count: usize,
    time: Duration,
) -> Result<(Histogram<u64>, f64)> {
    let queues: Vec<String> = (0..count).map(|at| format!("{name}-{at}")).collect();
    let over = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for queue in queues {
        let (connection, over) = (broker.connect()?, Arc::clone(&over));
        threads.push(std::thread::spawn(move || one_by_one(&connection, &queue, &over)));
    }
    let start = Instant::now();
    std::thread::sleep(time);
    over.store(true, Ordering::Relaxed);
    let mut latency = histogram();
    for thread in threads {
        latency.add(joined(thread)?)?;
    }
    let rate = latency.len() as f64 / start.elapsed().as_secs_f64();
    Ok((latency, rate))
}

/// One publisher, beside the disk alone; then many.
pub(super) fn sync(measure: &Measure<'_>, disk: &mut Disk) -> Result<Vec<Figure>> {
    const PART: &str = "sync";
    let many = measure.options.publishers;
    let time = measure.time();
    let broker = measure.start("sync", &[])?;
    // Once without being measured, so that what is made at first use is there.
    synchronous(&broker, "first", 2, time / 10)?;
    // In turns: neither the disk nor the host is the same all the time.
    let (mut alone, mut one, mut rates) = (histogram(), histogram(), Vec::new());
    for turn in 0..TURNS {
        alone.add(disk.syncs(time / TURNS, false)?)?;
        let (latency, rate) = synchronous(&broker, &format!("one-{turn}"), 1, time / TURNS)?;
        one.add(latency)?;
        rates.push(rate);
    }
    let one_rate = report::median(rates);
    let (all, all_rate) = synchronous(&broker, "many", many, time)?;
    broker.stop()?;
    let raw = alone.value_at_quantile(0.5) as f64;
    let ratio = one.value_at_quantile(0.5) as f64 / raw;
    Ok(vec![
        Figure::new(PART, "disk alone at that time, p50", raw / 1e3, "µs"),
        Figure::new(PART, "one publisher, p50", micros(&one, 0.5), "µs"),
        Figure::new(PART, "one publisher, p99", micros(&one, 0.99), "µs"),
        Figure::new(PART, "one publisher, p50 ÷ the disk's", ratio, "×").at_most(1.3),
        Figure::new(PART, "one publisher", one_rate, "msgs/s"),
        Figure::new(PART, format!("{many} publishers"), all_rate, "msgs/s"),
        Figure::new(PART, format!("{many} publishers, p50"), micros(&all, 0.5), "µs"),
        Figure::new(PART, format!("{many} publishers, p99"), micros(&all, 0.99), "µs"),
        Figure::new(PART, format!("{many} publishers ÷ one"), all_rate / one_rate, "×")
            .at_least(20.0),
    ])
}

/// Ticks that all processors were busy, and ticks altogether.
fn processors() -> Result<(f64, f64)> {
    let stat = fs::read_to_string("/proc/stat")?;
    let ticks = stat.lines().next().unwrap_or_default().split_whitespace().skip(1).take(8);
    let ticks = ticks.map(str::parse).collect::<Result<Vec<f64>, _>>()?;
    let all: f64 = ticks.iter().sum();
    // The fourth is idle, the fifth waits for the disk.
    Ok((all - ticks.iter().skip(3).take(2).sum::<f64>(), all))
}

struct Sample {
    at: Instant,
    confirmed: u64,
    written: u64,
    cpu: Duration,
    processors: (f64, f64),
}

impl Sample {
    fn take(broker: &Broker, confirmed: &[AtomicU64]) -> Result<Sample> {
        Ok(Sample {
            at: Instant::now(),
            confirmed: confirmed.iter().map(|count| count.load(Ordering::Relaxed)).sum(),
            written: broker.written()?,
            cpu: broker.cpu()?,
            processors: processors()?,
        })
    }
}

/// Publishes as the window of unconfirmed messages allows, until told to stop.
fn unpaced(
    connection: &Connection,
    queue: &str,
    over: &AtomicBool,
    confirmed: &AtomicU64,
) -> Result<()> {
    let session = connection.session(&format!("unpaced {queue}"), false)?;
    let (header, body) = (message_header(queue, true)?, vec![0x5a; LARGE]);
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        for _ in 0..BATCH {
            session.send_encoded("", &header, &body)?;
        }
        sent += BATCH;
        // What is not a message among the incomplete is a handful.
        confirmed.store(sent.saturating_sub(session.incomplete().into()), Ordering::Relaxed);
    }
    Ok(session.sync()?)
}

/// Several publishers that wait for nothing but room in their windows.
pub(super) fn saturate(measure: &Measure<'_>, disk: &mut Disk) -> Result<Vec<Figure>> {
    const PART: &str = "saturate";
    let shards = measure.shards();
    let early = disk.bandwidths(measure.time() / 4)?;
    let broker = measure.start("saturate", &[])?;
    let setup = broker.connect()?.session("setup", true)?;
    let over = Arc::new(AtomicBool::new(false));
    let confirmed: Arc<Vec<AtomicU64>> =
        Arc::new((0..SATURATING).map(|_| AtomicU64::new(0)).collect());
    let mut threads = Vec::new();
    for at in 0..SATURATING {
        let queue = format!("saturate-{at}");
        declare(&setup, &queue, at % shards)?;
        let (connection, over) = (broker.connect()?, Arc::clone(&over));
        let confirmed = Arc::clone(&confirmed);
        threads.push(std::thread::spawn(move || {
            unpaced(&connection, &queue, &over, &confirmed[usize::from(at)])
        }));
    }
    std::thread::sleep(measure.time() / 4);
    let before = Sample::take(&broker, &confirmed)?;
    std::thread::sleep(measure.time());
    let after = Sample::take(&broker, &confirmed)?;
    over.store(true, Ordering::Relaxed);
    threads.into_iter().try_for_each(joined)?;
    broker.stop()?;
    // On both sides of it: the disk may not be the same all the time.
    let late = disk.bandwidths(measure.time() / 4)?;
    let [plain, direct] = [0, 1].map(|way| (early[way] + late[way]) / 2.0);
    let alone = plain.max(direct);

    let seconds = (after.at - before.at).as_secs_f64();
    let messages = (after.confirmed - before.confirmed) as f64;
    let payload = messages * LARGE as f64 / seconds;
    let written = (after.written - before.written) as f64 / seconds;
    let cpu = (after.cpu - before.cpu).as_secs_f64();
    let per_shard = cpu / seconds / f64::from(shards);
    let ticks =
        (after.processors.0 - before.processors.0, after.processors.1 - before.processors.1);
    let host = ticks.0 / ticks.1;
    let excuse = match (per_shard >= BUSY, host >= BUSY) {
        (true, _) => Some("the shards are busy"),
        (false, true) => Some("the processors are busy"),
        _ => None,
    };
    let share = 100.0 * payload / alone;
    Ok(vec![
        Figure::new(
            PART,
            format!("{SATURATING} publishers of {LARGE} B"),
            messages / seconds,
            "msgs/s",
        ),
        Figure::new(PART, "disk alone at that time, the faster way", alone / MB, "MB/s"),
        Figure::new(PART, "payload", payload / MB, "MB/s"),
        Figure::new(PART, "written to disk", written / MB, "MB/s"),
        Figure::new(PART, "written ÷ payload", written / payload, "×"),
        Figure::new(PART, "broker's CPU for a message", cpu * 1e6 / messages, "µs"),
        Figure::new(PART, "broker's CPU ÷ time and shards", 100.0 * per_shard, "%"),
        Figure::new(PART, "all processors, clients included", 100.0 * host, "%"),
        Figure::new(PART, "payload ÷ the disk's bandwidth", share, "%")
            .at_least(60.0)
            .unless(excuse),
    ])
}
