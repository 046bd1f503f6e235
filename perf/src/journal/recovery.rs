//! Starting again: with nothing, with many messages, with large ones; and taking a backlog that memory does not hold.

use super::figure::Figure;
use super::{MIB, Measure, declare, message_header};
use crate::broker::Broker;
use crate::host::disk::Disk;
use anyhow::{Context, Result, bail};
use fletch_client::Session;
use fletch_client::amqp::v0_10::table::queue;
use fletch_perf::report;
use std::path::Path;
use std::time::{Duration, Instant};

/// Octets of a small message's body, and of a large one's.
const SMALL: usize = 100;
const LARGE: usize = 16 << 10;
/// Octets of a cold one's: enough that a backlog is many times what stays in memory.
const COLD: usize = 256;
/// How often a start is measured.
const STARTS: usize = 5;
/// The consumer's window.
const WINDOW: u32 = 5_000;
/// How long nothing may come before a drain has failed.
const PATIENCE: Duration = Duration::from_secs(30);

fn queues(shards: u16) -> Vec<String> {
    (0..shards).map(|shard| format!("backlog-{shard}")).collect()
}

/// Fills a queue on each shard, all together with so many messages.
fn fill(broker: &Broker, shards: u16, count: u64, size: usize) -> Result<()> {
    let setup = broker.connect()?.session("fill", true)?;
    for (shard, queue) in queues(shards).iter().enumerate() {
        declare(&setup, queue, shard as u16)?;
    }
    std::thread::scope(|scope| {
        let threads: Vec<_> = queues(shards)
            .into_iter()
            .map(|queue| {
                scope.spawn(move || -> Result<()> {
                    let session = broker.connect()?.session(&queue, true)?;
                    let (header, body) = (message_header(&queue, true)?, vec![0x5a; size]);
                    for _ in 0..count / u64::from(shards) {
                        session.send_encoded("", &header, &body)?;
                    }
                    Ok(session.sync()?)
                })
            })
            .collect();
        let results = threads.into_iter().map(|thread| thread.join());
        results
            .into_iter()
            .try_for_each(|result| result.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}

fn messages(session: &Session, name: &str) -> Result<u64> {
    let reply = session.call(&queue::Query { queue: Some(name) }.into())?;
    let reply = reply.context("a query has a result")?;
    let found: queue::QueueQueryResult<'_> = reply.read()?;
    Ok(found.message_count.unwrap_or_default().into())
}

/// Starts a broker; how long it took until it had said how many messages these queues have, and how many it said.
fn restart(
    measure: &Measure<'_>,
    dir: &Path,
    queues: &[String],
    more: &[String],
) -> Result<(Broker, Duration, u64)> {
    let began = Instant::now();
    let broker = measure.start_in(dir, more)?;
    let session = broker.connect()?.session("first", true)?;
    let mut found = messages(&session, "no such queue")?;
    for queue in queues {
        found += messages(&session, queue)?;
    }
    let took = began.elapsed();
    Ok((broker, took, found))
}

/// A start with an empty journal: the first of all, and later ones.
pub(super) fn start(measure: &Measure<'_>) -> Result<Vec<Figure>> {
    const PART: &str = "start";
    let (mut first, mut later, mut without) = (Vec::new(), Vec::new(), Vec::new());
    for at in 0..STARTS {
        let dir = measure.directory(&format!("start-{at}"));
        for times in [&mut first, &mut later] {
            let (broker, took, _) = restart(measure, &dir, &[], &[])?;
            times.push(took.as_secs_f64() * 1e3);
            broker.stop()?;
        }
        let began = Instant::now();
        let broker = measure.options.broker.start()?;
        messages(&broker.connect()?.session("first", true)?, "no such queue")?;
        without.push(began.elapsed().as_secs_f64() * 1e3);
        broker.stop()?;
    }
    Ok(vec![
        Figure::new(PART, "without a store, to the first reply", report::median(without), "ms"),
        Figure::new(PART, "new directory, to the first reply", report::median(first), "ms")
            .at_most(100.0),
        Figure::new(PART, "empty journal, to the first reply", report::median(later), "ms")
            .at_most(100.0),
    ])
}

/// What all segments' files below a directory take: a start reads them from the first to the last octet.
fn octets_of_segments(dir: &Path) -> Result<u64> {
    let mut octets = 0;
    for entry in std::fs::read_dir(dir)? {
        let (path, kind) = entry.and_then(|entry| Ok((entry.path(), entry.file_type()?)))?;
        if kind.is_dir() {
            octets += octets_of_segments(&path)?;
        } else if path.extension().is_some_and(|end| end == "seg") {
            octets += std::fs::metadata(&path)?.len();
        }
    }
    Ok(octets)
}

/// Fills, kills and starts again.
pub(super) fn recover(measure: &Measure<'_>, disk: &Disk) -> Result<Vec<Figure>> {
    const PART: &str = "recover";
    let shards = measure.shards();
    let empty = measure.directory("recover-empty");
    restart(measure, &empty, &[], &[])?.0.stop()?;
    let mut nothing = Vec::new();
    for _ in 0..STARTS {
        let (broker, took, _) = restart(measure, &empty, &[], &[])?;
        nothing.push(took.as_secs_f64());
        broker.stop()?;
    }
    let nothing = report::median(nothing);
    let each = u64::from(shards);
    let small = measure.records() / each * each;
    let large = measure.mebibytes() * MIB as u64 / LARGE as u64 / each * each;
    let mut figures = Vec::new();
    for (name, count, size) in [("small", small, SMALL), ("large", large, LARGE)] {
        let dir = measure.directory(&format!("recover-{name}"));
        let broker = measure.start_in(&dir, &[])?;
        fill(&broker, shards, count, size)?;
        broker.kill()?;
        // Right before, for what a disk can do changes with its other users.
        let reads = disk.start_reads(measure.time() / 5, shards)?;
        let files = octets_of_segments(&dir)? as f64;
        let (broker, took, found) = restart(measure, &dir, &queues(shards), &[])?;
        if found != count {
            bail!("{count} messages of {size} B were confirmed, {found} are there");
        }
        measure.quote(&broker, "recover");
        broker.stop()?;
        // What an empty start takes is not recovery.
        let seconds = (took.as_secs_f64() - nothing).max(1e-3);
        let what = format!("{} × {size} B", report::thousands(count as f64));
        let rate = (count * size as u64) as f64 / seconds;
        let excuse = (files / seconds >= reads * 0.9).then_some("disk speed");
        let took = took.as_secs_f64();
        figures.push(Figure::new(PART, format!("{what}, to the first reply"), took, "s"));
        figures.push(match name {
            "small" => Figure::new(
                PART,
                "records, less an empty start",
                count as f64 / seconds,
                "records/s",
            )
            .at_least(2e6),
            _ => Figure::new(PART, "bodies, less an empty start", rate / MIB, "MiB/s")
                .at_least(2048.0)
                .unless(excuse),
        });
        let [files_rate, reads] = [files / seconds / MIB, reads / MIB];
        figures.push(Figure::new(PART, format!("{name}: all that was read"), files_rate, "MiB/s"));
        figures.push(Figure::new(PART, format!("{name}: the disk alone before"), reads, "MiB/s"));
        figures.push(Figure::new(PART, format!("{name}: of that"), files_rate / reads, "×"));
        std::fs::remove_dir_all(&dir)?;
    }
    Ok(figures)
}

/// Takes all of a queue, accepting it.
fn drain(broker: &Broker, queue: &str, count: u64) -> Result<()> {
    let connection = broker.connect()?;
    let session = connection.session("drain", true)?;
    session.consume(queue, "in", WINDOW)?;
    let (mut taken, mut heard, mut deliveries) = (0, Instant::now(), Vec::new());
    while taken < count {
        if session.take_deliveries(&mut deliveries) == 0 {
            if heard.elapsed() > PATIENCE {
                bail!("{taken} of {count} messages came from {queue}");
            }
            connection.poll(Duration::from_millis(20))?;
            continue;
        }
        heard = Instant::now();
        taken += deliveries.len() as u64;
        for delivery in deliveries.drain(..) {
            session.accept(delivery.id)?;
        }
    }
    // The last ones are told before what says that all is done.
    session.flush()?;
    Ok(session.sync()?)
}

/// A backlog many times what may stay in memory: filled, killed, started and taken.
pub(super) fn cold(measure: &Measure<'_>) -> Result<Vec<Figure>> {
    const PART: &str = "cold";
    let limit = measure.options.queue_memory;
    let memory = ["--queue-memory".to_owned(), limit.to_string()];
    let (shards, count) = (measure.shards(), measure.cold());
    let each = count / u64::from(shards);
    let dir = measure.directory("cold");
    let broker = measure.start_in(&dir, &memory)?;
    let began = Instant::now();
    fill(&broker, shards, count, COLD)?;
    let filled = began.elapsed().as_secs_f64();
    let filling = broker.peak_resident()? as f64;
    broker.kill()?;
    let (broker, took, found) = restart(measure, &dir, &queues(shards), &memory)?;
    if found != each * u64::from(shards) {
        bail!("{count} messages were confirmed, {found} are there");
    }
    let began = Instant::now();
    for queue in queues(shards) {
        drain(&broker, &queue, each)?;
    }
    let drained = began.elapsed().as_secs_f64();
    let draining = broker.peak_resident()? as f64;
    broker.stop()?;
    std::fs::remove_dir_all(&dir)?;
    let count = (each * u64::from(shards)) as f64;
    let of_limit = |resident: f64| resident / limit as f64;
    Ok(vec![
        Figure::new(
            PART,
            format!("{} × {COLD} B, filled", report::thousands(count)),
            count / filled,
            "msgs/s",
        ),
        Figure::new(PART, "started again, to the first reply", took.as_secs_f64(), "s"),
        Figure::new(PART, "drained, accepted", count / drained, "msgs/s"),
        Figure::new(PART, "drained", count * COLD as f64 / drained / MIB, "MiB/s"),
        Figure::new(PART, "--queue-memory", limit as f64 / MIB, "MiB"),
        Figure::new(PART, "most memory while filling", filling / MIB, "MiB"),
        Figure::new(PART, "most memory of start and drain", draining / MIB, "MiB"),
        Figure::new(PART, "of start and drain ÷ --queue-memory", of_limit(draining), "×")
            .at_most(1.25),
    ])
}
