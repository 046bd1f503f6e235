//! How long a durable write takes on the disk of a directory, and how much passes.
//!
//! Three ways to make a write durable are measured: a write and then `fdatasync`, a file opened
//! with O_DSYNC, and a direct write alone, which leaves the disk's cache to the disk. All write
//! with O_DIRECT over blocks that are there already, one after the other, as a journal does. `thread` is a
//! plain thread and the system calls; `glommio` is the event loop that the shards use, with so
//! many writes under way at a time.

use anyhow::Context;
use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use fletch_shards::IdleStrategy;
use glommio::io::{DmaFile, OpenOptions};
use glommio::{LocalExecutorBuilder, Placement};
use hdrhistogram::Histogram;
use rustix::fs::{Advice, Mode, OFlags, fadvise, fdatasync};
use serde::Serialize;
use std::cell::{Cell, RefCell};
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Benchmark of durable writes")]
struct Options {
    /// The directory; a file is made in it and removed.
    dir: PathBuf,
    /// How long each measurement lasts, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    millis: u64,
    /// Writes in flight.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4")]
    in_flight: Vec<usize>,
    /// Sizes of the writes in KiB.
    #[arg(long, value_delimiter = ',', default_value = "4,64,1024")]
    sizes: Vec<usize>,
    /// Size of the file in MiB.
    #[arg(long, default_value_t = 64)]
    file: u64,
    /// What the event loop does when it has nothing to do. One that never sleeps shows whether
    /// anything of a write's end has to wait for the processor.
    #[arg(long, default_value = "park")]
    idle: IdleStrategy,
    /// The processor of the event loop.
    #[arg(long)]
    cpu: Option<usize>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// How a write is made durable.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum By {
    Fdatasync,
    Dsync,
    Device,
}

impl By {
    const ALL: [By; 3] = [By::Fdatasync, By::Dsync, By::Device];

    fn name(self) -> &'static str {
        match self {
            By::Fdatasync => "fdatasync",
            By::Dsync => "dsync",
            By::Device => "device",
        }
    }

    fn flags(self) -> OFlags {
        match self {
            By::Dsync => OFlags::DSYNC,
            By::Fdatasync | By::Device => OFlags::empty(),
        }
    }
}

/// One line of the report. Times are microseconds.
#[derive(Serialize)]
struct Line {
    who: &'static str,
    by: By,
    kib: usize,
    in_flight: usize,
    p50: f64,
    p99: f64,
    writes_per_second: f64,
    mb_per_second: f64,
}

struct Measured {
    latency: Histogram<u64>,
    took: Duration,
}

impl Measured {
    fn line(&self, who: &'static str, by: By, size: usize, in_flight: usize) -> Line {
        let at = |quantile| self.latency.value_at_quantile(quantile) as f64 / 1000.0;
        let writes_per_second = self.latency.len() as f64 / self.took.as_secs_f64();
        Line {
            who,
            by,
            kib: size / 1024,
            in_flight,
            p50: at(0.5),
            p99: at(0.99),
            writes_per_second,
            mb_per_second: writes_per_second * size as f64 / 1e6,
        }
    }
}

fn histogram() -> Histogram<u64> {
    // Nanoseconds, to a minute; the bounds are valid.
    Histogram::new_with_bounds(1, 60_000_000_000, 3)
        .unwrap_or_else(|error| panic!("histogram: {error}"))
}

/// A file whose blocks are there, removed at the end.
struct Target {
    path: PathBuf,
    len: u64,
}

impl Target {
    fn make(dir: &Path, len: u64) -> anyhow::Result<Target> {
        let path = dir.join(format!("sync-{}.tmp", std::process::id()));
        let target = Target { path, len };
        let mut file = File::create(&target.path)
            .with_context(|| format!("cannot create {}", target.path.display()))?;
        let zeros = vec![0; 1 << 20];
        for _ in 0..len >> 20 {
            file.write_all(&zeros)?;
        }
        file.sync_all()?;
        // Cached pages would send each direct write through a worker of the kernel.
        fadvise(&file, 0, None, Advice::DontNeed)?;
        Ok(target)
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        // It is in the way of nobody if it stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Where the next write goes: one after the other, and again from the start.
fn next(offset: u64, size: usize, len: u64) -> u64 {
    let end = offset + size as u64;
    if end + size as u64 > len { 0 } else { end }
}

fn thread(target: &Target, by: By, size: usize, lasts: Duration) -> anyhow::Result<Measured> {
    let flags = OFlags::WRONLY | OFlags::DIRECT | OFlags::CLOEXEC | by.flags();
    let file = File::from(rustix::fs::open(&target.path, flags, Mode::empty())?);
    let buffer = vec![0x5a; size + 4096];
    let start = buffer.as_ptr().align_offset(4096);
    let buffer = &buffer[start..start + size];
    let mut latency = histogram();
    let mut offset = 0;
    let started = Instant::now();
    while started.elapsed() < lasts {
        let from = Instant::now();
        file.write_all_at(buffer, offset)?;
        if matches!(by, By::Fdatasync) {
            fdatasync(&file)?;
        }
        latency.saturating_record(from.elapsed().as_nanos() as u64);
        offset = next(offset, size, target.len);
    }
    Ok(Measured { latency, took: started.elapsed() })
}

/// The writers of one executor.
struct Writers {
    file: DmaFile,
    by: By,
    size: usize,
    len: u64,
    offset: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
    started: Instant,
    lasts: Duration,
}

impl Writers {
    async fn write(self: Rc<Writers>) -> anyhow::Result<()> {
        while self.started.elapsed() < self.lasts {
            let offset = self.offset.get();
            self.offset.set(next(offset, self.size, self.len));
            let mut buffer = self.file.alloc_dma_buffer(self.size);
            buffer.as_bytes_mut().fill(0x5a);
            let from = Instant::now();
            let written = self.file.write_at(buffer, offset).await;
            let written = written.map_err(|error| anyhow::anyhow!("{error}"))?;
            anyhow::ensure!(written == self.size, "{written} of {} bytes written", self.size);
            if matches!(self.by, By::Fdatasync) {
                self.file.fdatasync().await.map_err(|error| anyhow::anyhow!("{error}"))?;
            }
            self.latency.borrow_mut().saturating_record(from.elapsed().as_nanos() as u64);
        }
        Ok(())
    }
}

fn executor(
    target: &Target,
    by: By,
    size: usize,
    in_flight: usize,
    options: &Options,
) -> anyhow::Result<Measured> {
    let lasts = Duration::from_millis(options.millis);
    let spin = match options.idle {
        IdleStrategy::Park => Duration::ZERO,
        IdleStrategy::Spin(duration) => duration,
        IdleStrategy::Busy => Duration::MAX,
    };
    let executor =
        LocalExecutorBuilder::new(options.cpu.map_or(Placement::Unbound, Placement::Fixed))
            .spin_before_park(spin)
            .make()
            .map_err(|error| anyhow::anyhow!("{error}"))?;
    executor.run(async {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(by.flags().bits() as i32)
            .dma_open(&target.path)
            .await
            .map_err(|error| anyhow::anyhow!("{error}"))?;
        let writers = Rc::new(Writers {
            file,
            by,
            size,
            len: target.len,
            offset: Cell::new(0),
            latency: RefCell::new(histogram()),
            started: Instant::now(),
            lasts,
        });
        let tasks: Vec<_> =
            (0..in_flight).map(|_| glommio::spawn_local(writers.clone().write())).collect();
        for task in tasks {
            task.await?;
        }
        let latency = writers.latency.replace(histogram());
        Ok(Measured { latency, took: writers.started.elapsed() })
    })
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let lasts = Duration::from_millis(options.millis);
    let largest = options.sizes.iter().max().copied().unwrap_or(0) as u64;
    anyhow::ensure!(options.file * 1024 > largest, "the file is smaller than one write");
    let target = Target::make(&options.dir, options.file << 20)?;
    let mut lines = Vec::new();
    for by in By::ALL {
        for size in options.sizes.iter().map(|kib| kib * 1024) {
            let measured = thread(&target, by, size, lasts)?;
            lines.push(measured.line("thread", by, size, 1));
            for &in_flight in &options.in_flight {
                let measured = executor(&target, by, size, in_flight, &options)?;
                lines.push(measured.line("glommio", by, size, in_flight));
            }
        }
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "durable by",
        "who",
        "KiB",
        "in flight",
        "p50 us",
        "p99 us",
        "writes/s",
        "MB/s",
    ]);
    for line in &lines {
        table.add_row([
            line.by.name().to_owned(),
            line.who.to_owned(),
            line.kib.to_string(),
            line.in_flight.to_string(),
            format!("{:.0}", line.p50),
            format!("{:.0}", line.p99),
            format!("{:.0}", line.writes_per_second),
            format!("{:.1}", line.mb_per_second),
        ]);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Ok(())
}
