//! The journal's benchmark: durable messages against what the disk and the loopback interface can do, all in one run, in
//! one directory. Every ratio is of two figures of the same run; the targets stand beside them.

mod figure;
mod publish;
mod recovery;
mod streams;

use crate::broker::{Broker, BrokerOptions};
use crate::host::disk::{self, Disk};
use crate::host::loopback;
use crate::load::flow::Clients;
use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use figure::Figure;
use fletch_client::amqp::types::Map;
use fletch_client::amqp::v0_10::DeliveryMode;
use fletch_client::amqp::v0_10::table::queue;
use fletch_client::{Outgoing, Session};
use fletch_perf::report;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tempfile::TempDir;

const MB: f64 = 1e6;
const MIB: f64 = 1_048_576.0;

#[derive(Args)]
pub(crate) struct Options {
    #[command(flatten)]
    broker: BrokerOptions,
    /// Measure in a directory below this one, on the disk that counts; by default the system's for temporary files.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Measure these parts only; the disk alone is always measured.
    #[arg(long, value_delimiter = ',', value_name = "PART")]
    only: Vec<Part>,
    /// A fifth of the time, a tenth of the messages.
    #[arg(long)]
    quick: bool,
    /// Seconds that a measurement of a rate or a latency lasts.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Synchronous publishers at the same time.
    #[arg(long, default_value_t = 64)]
    publishers: usize,
    /// Messages per second of the transient traffic whose latency counts.
    #[arg(long, default_value_t = 5_000)]
    rate: u32,
    /// Small messages to recover.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// MiB of large messages to recover.
    #[arg(long, default_value_t = 1_024)]
    mebibytes: u64,
    /// Messages of the cold backlog.
    #[arg(long, default_value_t = 2_000_000)]
    cold: u64,
    /// The broker's --queue-memory for it, in octets.
    #[arg(long, default_value_t = 128 << 20)]
    queue_memory: u64,
    /// Measure so often, and show the median of each figure.
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// Exit with status 1 if a figure misses its target.
    #[arg(long)]
    check: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Part {
    /// One synchronous publisher, and many.
    Sync,
    /// Publishing as fast as it goes.
    Saturate,
    /// Durable and transient streaming in turns.
    Stream,
    /// Transient latency beside a busy journal.
    Latency,
    /// Starts with an empty journal.
    Start,
    /// Recovery after SIGKILL.
    Recover,
    /// Draining a backlog that memory does not hold.
    Cold,
}

impl Part {
    fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }
}

/// One run: where it is, and what brokers said that the report quotes.
struct Measure<'a> {
    options: &'a Options,
    dir: &'a Path,
    quotes: RefCell<Vec<String>>,
}

impl Measure<'_> {
    fn shards(&self) -> u16 {
        self.options.broker.shards()
    }

    fn time(&self) -> Duration {
        let part = if self.options.quick { 0.2 } else { 1.0 };
        Duration::from_secs_f64(self.options.seconds * part)
    }

    fn fewer(&self, count: u64) -> u64 {
        if self.options.quick { count.div_ceil(10) } else { count }
    }

    fn records(&self) -> u64 {
        self.fewer(self.options.records)
    }

    fn mebibytes(&self) -> u64 {
        self.fewer(self.options.mebibytes)
    }

    fn cold(&self) -> u64 {
        self.fewer(self.options.cold)
    }

    /// A data directory of that name.
    fn directory(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Starts a broker on a data directory of that name.
    fn start(&self, name: &str, more: &[String]) -> Result<Broker> {
        self.start_in(&self.directory(name), more)
    }

    fn start_in(&self, dir: &Path, more: &[String]) -> Result<Broker> {
        self.options.broker.start_on(dir, more)
    }

    /// Keeps the lines of a broker's log that have this word.
    fn quote(&self, broker: &Broker, word: &str) {
        let log = broker.log();
        let lines = log.lines().filter(|line| line.to_lowercase().contains(word));
        self.quotes.borrow_mut().extend(lines.map(str::to_owned));
    }

    fn part(&self, part: Part, disk: &mut Disk) -> Result<Vec<Figure>> {
        match part {
            Part::Sync => publish::sync(self, disk),
            Part::Saturate => publish::saturate(self, disk),
            Part::Stream => streams::stream(self),
            Part::Latency => streams::latency(self),
            Part::Start => recovery::start(self),
            Part::Recover => recovery::recover(self, disk),
            Part::Cold => recovery::cold(self),
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    about: &'a str,
    directory: String,
    runs: usize,
    results: Vec<Figure>,
    /// Lines of the brokers' logs.
    log: Vec<String>,
    /// Parts that could not be measured.
    failed: Vec<String>,
}

/// Measures all parts that were asked for.
pub(crate) fn run(options: &Options) -> Result<ExitCode> {
    if options.runs == 0 || options.publishers == 0 || options.rate == 0 {
        bail!("--runs, --publishers and --rate are 1 at least");
    }
    let about = options.broker.describe()?;
    let parts: Vec<Part> = match options.only.is_empty() {
        true => Part::value_variants().to_vec(),
        false => options.only.clone(),
    };
    let bar = report::progress(((parts.len() + 1) * options.runs) as u64);
    let mut runs: Vec<Vec<Figure>> = Vec::new();
    let (mut failed, mut log) = (Vec::new(), Vec::new());
    let mut directory = String::new();
    for _ in 0..options.runs {
        let dir = match &options.dir {
            Some(dir) => TempDir::new_in(dir).with_context(|| dir.display().to_string())?,
            None => TempDir::new()?,
        };
        directory = dir.path().display().to_string();
        let measure = Measure { options, dir: dir.path(), quotes: RefCell::default() };
        bar.set_message("the disk alone");
        let mut disk = Disk::prepare(dir.path(), disk::FILE)?;
        let raw = Raw::measure(&mut disk, measure.time() / 2, options.publishers)?;
        let mut figures = raw_figures(&raw, options.publishers);
        bar.inc(1);
        for part in &parts {
            bar.set_message(part.name());
            match measure.part(*part, &mut disk) {
                Ok(more) => figures.extend(more),
                Err(error) => failed.push(format!("{}: {error:#}", part.name())),
            }
            bar.inc(1);
        }
        log.append(&mut measure.quotes.borrow_mut());
        runs.push(figures);
    }
    bar.finish_and_clear();
    let results = middle(&runs);
    let missed = results.iter().any(Figure::missed);
    let runs = options.runs;
    let report = Report { about: &about, directory, runs, results, log, failed };
    match options.json {
        true => println!("{}", serde_json::to_string_pretty(&report)?),
        false => print(&report),
    }
    let wrong = !report.failed.is_empty() || options.check && missed;
    Ok(if wrong { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The median of each figure over the runs that have it, in the order of the first that does.
fn middle(runs: &[Vec<Figure>]) -> Vec<Figure> {
    let mut groups: Vec<Vec<Figure>> = Vec::new();
    for figure in runs.iter().flatten() {
        let same = |other: &Figure| (other.part, &other.what) == (figure.part, &figure.what);
        match groups.iter_mut().find(|group| same(&group[0])) {
            Some(group) => group.push(figure.clone()),
            None => groups.push(vec![figure.clone()]),
        }
    }
    groups.iter().map(|group| Figure::middle(group)).collect()
}

/// The disk and the loopback interface alone.
struct Raw {
    /// Of a write of 4 KiB and fdatasync, in nanoseconds.
    sync: Histogram<u64>,
    /// The same with direct IO and O_DSYNC, in nanoseconds.
    direct: Histogram<u64>,
    /// Octets per second of 1 MiB writes, each with fdatasync.
    write: f64,
    /// The same with direct IO and O_DSYNC.
    write_direct: f64,
    /// Octets per second of 1 MiB reads with direct IO.
    read: f64,
    /// The same without, of what the system has in memory.
    read_cached: f64,
    /// Of 64 octets there and back over loopback, in nanoseconds.
    round_trip: Histogram<u64>,
    /// Round trips per second of so many clients at once as there are publishers, with a server that does
    /// nothing: what the host can do for the broker at most.
    round_trips: f64,
}

impl Raw {
    /// Measures all; so many clients at once where that counts.
    fn measure(disk: &mut Disk, time: Duration, clients: usize) -> Result<Raw> {
        let (sync, direct) = (disk.syncs(time, false)?, disk.syncs(time, true)?);
        let [write, write_direct] = disk.bandwidths(time)?;
        Ok(Raw {
            sync,
            direct,
            write,
            write_direct,
            read: disk.reads(time)?,
            read_cached: disk.cached_reads(time.min(Duration::from_secs(1)))?,
            round_trip: loopback::round_trips(time.min(Duration::from_secs(1)), Clients::Sleeping)?,
            round_trips: loopback::many_round_trips(time.min(Duration::from_secs(2)), clients)?,
        })
    }
}

fn raw_figures(raw: &Raw, clients: usize) -> Vec<Figure> {
    const PART: &str = "alone";
    vec![
        Figure::new(PART, "4 KiB and fdatasync, p50", micros(&raw.sync, 0.5), "µs"),
        Figure::new(PART, "4 KiB and fdatasync, p99", micros(&raw.sync, 0.99), "µs"),
        Figure::new(PART, "4 KiB, O_DIRECT and O_DSYNC, p50", micros(&raw.direct, 0.5), "µs"),
        Figure::new(PART, "4 KiB, O_DIRECT and O_DSYNC, p99", micros(&raw.direct, 0.99), "µs"),
        Figure::new(PART, "1 MiB and fdatasync", raw.write / MB, "MB/s"),
        Figure::new(PART, "1 MiB, O_DIRECT and O_DSYNC", raw.write_direct / MB, "MB/s"),
        Figure::new(PART, "1 MiB reads, O_DIRECT", raw.read / MB, "MB/s"),
        Figure::new(PART, "1 MiB reads, in the system's memory", raw.read_cached / MB, "MB/s"),
        Figure::new(PART, "loopback, there and back, p50", micros(&raw.round_trip, 0.5), "µs"),
        Figure::new(PART, "loopback, there and back, p99", micros(&raw.round_trip, 0.99), "µs"),
        Figure::new(PART, format!("loopback, {clients} clients"), raw.round_trips, "trips/s"),
    ]
}

/// A quantile of nanoseconds, in microseconds.
fn micros(latency: &Histogram<u64>, quantile: f64) -> f64 {
    latency.value_at_quantile(quantile) as f64 / 1e3
}

/// Declares a durable queue that lives on this shard.
fn declare(session: &Session, name: &str, shard: u16) -> Result<()> {
    let arguments = Map::new().with("fletch.shard", i64::from(shard)).encoded()?;
    let declare = queue::Declare {
        queue: Some(name),
        durable: true,
        arguments: Some(arguments.view()),
        ..Default::default()
    };
    session.call(&declare.into())?;
    Ok(())
}

/// The header of a message, encoded once for all.
fn message_header(key: &str, persistent: bool) -> Result<Vec<u8>> {
    let mut message = Outgoing::with_key(key, b"");
    message.delivery.delivery_mode = persistent.then_some(DeliveryMode::PERSISTENT);
    let mut header = Vec::new();
    message.encode_header(&mut header)?;
    Ok(header)
}

fn print(report: &Report<'_>) {
    println!("{}", report.about);
    println!("in {}; median of {} run(s)", report.directory, report.runs);
    let mut table = report::table(&["part", "what", "figure", "", "target", ""], 2);
    for at in [3, 5] {
        if let Some(column) = table.column_mut(at) {
            column.set_cell_alignment(comfy_table::CellAlignment::Left);
        }
    }
    let mut last = "";
    for figure in &report.results {
        let mut row = figure.row();
        // A part is named once.
        if figure.part == last {
            row[0].clear();
        }
        last = figure.part;
        table.add_row(row);
    }
    println!("{table}");
    report.log.iter().for_each(|line| println!("{line}"));
    report.failed.iter().for_each(|part| println!("FAILED {part}"));
}
