//! How long a frame takes from one shard to another, and how many pass per second.
//!
//! Each idle strategy is measured with three ways to pass frames: the runtime's mesh (rtrb rings
//! and the sleep/wake protocol), its channel for helper threads (crossbeam-channel and the same
//! protocol), and the event loop's own shared channel. `idle`: one frame is under way at a time,
//! so each hop meets a receiver with nothing else to do. `load`: one shard floods the other,
//! with so many frames under way as the window allows; the latency is then that of the queue.

use clap::Parser;
use comfy_table::{CellAlignment, Table, presets};
use fletch_engine::{ShardId, Time};
use fletch_journal::Volume;
use fletch_shards::*;
use glommio::channels::shared_channel::{self, SharedReceiver, SharedSender};
use glommio::{LocalExecutorBuilder, Placement};
use hdrhistogram::Histogram;
use serde::Serialize;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

#[derive(Parser)]
#[command(about = "Benchmark of the hop between two shards")]
struct Options {
    /// Round trips of the idle measurement.
    #[arg(long, default_value_t = 20_000)]
    round_trips: u64,
    /// Frames of the load measurement.
    #[arg(long, default_value_t = 2_000_000)]
    frames: u64,
    /// Frames under way in the load measurement.
    #[arg(long, default_value_t = 512)]
    window: u64,
    /// The processors of the two shards.
    #[arg(long)]
    cpus: Option<CpuList>,
    /// Idle strategies to measure.
    #[arg(long, value_delimiter = ',', default_value = "park,spin:50us,busy")]
    idle: Vec<IdleStrategy>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// One line of the report. Times are of one way, in nanoseconds.
#[derive(Serialize)]
struct Line {
    idle: String,
    transport: &'static str,
    load: bool,
    p50: u64,
    p99: u64,
    p999: u64,
    frames_per_second: f64,
}

impl Line {
    fn new(idle: IdleStrategy, transport: &'static str, load: bool, measured: &Measured) -> Line {
        let at = |quantile| measured.latency.value_at_quantile(quantile);
        Line {
            idle: idle.to_string(),
            transport,
            load,
            p50: at(0.5),
            p99: at(0.99),
            p999: at(0.999),
            frames_per_second: measured.frames as f64 / measured.took.as_secs_f64(),
        }
    }
}

struct Measured {
    latency: Histogram<u64>,
    frames: u64,
    took: Duration,
}

fn histogram() -> Histogram<u64> {
    // Nanoseconds, to a minute; the bounds are valid.
    Histogram::new_with_bounds(1, 60_000_000_000, 3)
        .unwrap_or_else(|error| panic!("histogram: {error}"))
}

/// Under load one frame in so many carries the time, so that reading the clock is not measured.
const SAMPLE: u64 = 16;
/// Frames received before they are acknowledged.
const ACK: u64 = 64;

enum Frame {
    Ping { sent: Time, left: u64 },
    Load { sent: Option<Time> },
    Ack(u64),
}

enum Control {
    StartPing { round_trips: u64, done: Sender<Measured> },
    StartLoad { frames: u64, window: u64 },
    AwaitLoad { frames: u64, done: Sender<Measured> },
    Frame(Frame),
}

/// One of the two shards.
struct Hop {
    clock: Clock,
    /// Frames go through the control channel instead of the mesh.
    channel: Option<Arc<OnceLock<Handle<Control>>>>,
    latency: Histogram<u64>,
    started: Instant,
    done: Option<Sender<Measured>>,
    expected: u64,
    received: u64,
    unacknowledged: u64,
    to_send: u64,
    credit: u64,
}

impl Hop {
    fn send(&self, cx: &mut Cx<'_, Frame>, frame: Frame) {
        let other = ShardId(1 - cx.shard().0);
        match self.channel.as_ref().and_then(|handle| handle.get()) {
            Some(handle) => drop(handle.control(other, Control::Frame(frame))),
            None => cx.send(other, frame),
        }
    }

    fn finish(&mut self, frames: u64) {
        if let Some(done) = self.done.take() {
            let latency = std::mem::replace(&mut self.latency, histogram());
            let _ = done.send(Measured { latency, frames, took: self.started.elapsed() });
        }
    }

    fn pass(&mut self, cx: &mut Cx<'_, Frame>) {
        while self.to_send > 0 && self.credit > 0 {
            self.to_send -= 1;
            self.credit -= 1;
            let sent = self.to_send.is_multiple_of(SAMPLE).then(|| self.clock.now());
            self.send(cx, Frame::Load { sent });
        }
        if self.unacknowledged >= ACK {
            let count = std::mem::take(&mut self.unacknowledged);
            self.send(cx, Frame::Ack(count));
        }
    }
}

impl Service for Hop {
    type Frame = Frame;
    type Control = Control;

    fn connected(&mut self, _: &mut Cx<'_, Frame>, _: ConnectionId, _: Peer) {}
    fn received(&mut self, _: &mut Cx<'_, Frame>, _: ConnectionId, input: &[u8]) -> usize {
        input.len()
    }
    fn output(&mut self, _: ConnectionId) -> &mut Vec<u8> {
        panic!("nothing listens, so there are no connections")
    }
    fn written(&mut self, _: &mut Cx<'_, Frame>, _: ConnectionId) {}
    fn disconnected(&mut self, _: &mut Cx<'_, Frame>, _: ConnectionId, _: Disconnect) {}

    fn frame(&mut self, cx: &mut Cx<'_, Frame>, _from: ShardId, frame: Frame) {
        match frame {
            Frame::Ping { sent, left } => {
                let now = self.clock.now();
                self.latency.saturating_record(now.since(sent).as_nanos() as u64);
                match left {
                    0 => self.finish(self.expected),
                    _ => self.send(cx, Frame::Ping { sent: now, left: left - 1 }),
                }
            }
            Frame::Load { sent } => {
                if let Some(sent) = sent {
                    let latency = self.clock.now().since(sent);
                    self.latency.saturating_record(latency.as_nanos() as u64);
                }
                self.received += 1;
                self.unacknowledged += 1;
                if self.received == self.expected {
                    self.finish(self.expected);
                }
            }
            Frame::Ack(count) => self.credit += count,
        }
    }

    fn control(&mut self, cx: &mut Cx<'_, Frame>, control: Control) {
        match control {
            Control::Frame(frame) => self.frame(cx, ShardId(1 - cx.shard().0), frame),
            Control::StartPing { round_trips, done } => {
                self.done = Some(done);
                self.started = Instant::now();
                self.expected = 2 * round_trips;
                let sent = self.clock.now();
                self.send(cx, Frame::Ping { sent, left: 2 * round_trips - 1 });
            }
            Control::AwaitLoad { frames, done } => {
                self.done = Some(done);
                self.started = Instant::now();
                self.expected = frames;
                self.received = 0;
            }
            Control::StartLoad { frames, window } => {
                self.to_send = frames;
                self.credit = window;
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }
    fn tick(&mut self, _: &mut Cx<'_, Frame>) {}
    fn turn_end(&mut self, cx: &mut Cx<'_, Frame>) {
        self.pass(cx);
    }
    fn next_write(&mut self) -> Option<(Volume, usize)> {
        None
    }
    fn fill(&mut self, _: Volume, _: &mut [u8]) -> fletch_journal::Write {
        panic!("nothing is to be written")
    }
    fn next_request(&mut self) -> Option<(Volume, fletch_journal::Request)> {
        None
    }
    fn disk_done(&mut self, _: &mut Cx<'_, Frame>, _: Volume, _: fletch_journal::Done) {}
    fn disk_failed(&mut self, _: Volume, error: DiskError) {
        panic!("there is no journal, but {error}")
    }
    fn stopping(&mut self, _: &mut Cx<'_, Frame>, _: Time) {}
    fn stopped(&self) -> bool {
        true
    }
}

fn wait(result: &Receiver<Measured>) -> anyhow::Result<Measured> {
    Ok(result.recv_timeout(Duration::from_secs(120))?)
}

/// Measures the runtime: its mesh, or its channel.
fn shards(
    options: &Options,
    cpus: &CpuList,
    idle: IdleStrategy,
    channel_instead: bool,
) -> anyhow::Result<[Measured; 2]> {
    let config = Config { cpus: cpus.clone(), idle, ..Config::with_shards(2) };
    let cell = Arc::new(OnceLock::new());
    let channel_cell = channel_instead.then(|| cell.clone());
    let runtime = Runtime::start(config, Vec::new(), move |_| Hop {
        clock: Clock::new(),
        channel: channel_cell.clone(),
        latency: histogram(),
        started: Instant::now(),
        done: None,
        expected: 0,
        received: 0,
        unacknowledged: 0,
        to_send: 0,
        credit: 0,
    })?;
    let handle = runtime.handle();
    let _ = cell.set(handle.clone());
    let (zero, one) = (ShardId(0), ShardId(1));

    let mut measured = Vec::new();
    for round_trips in [options.round_trips / 10 + 1, options.round_trips] {
        let (done, result) = channel();
        handle.control(zero, Control::StartPing { round_trips, done })?;
        measured.push(wait(&result)?);
    }
    for frames in [options.frames / 10 + 1, options.frames] {
        let (done, result) = channel();
        handle.control(one, Control::AwaitLoad { frames, done })?;
        handle.control(zero, Control::StartLoad { frames, window: options.window })?;
        measured.push(wait(&result)?);
    }
    runtime.stop(Duration::from_secs(5));
    // The first of each pair was to warm up.
    let load = measured.remove(3);
    Ok([measured.remove(1), load])
}

struct Ends {
    to: SharedSender<u64>,
    from: SharedReceiver<u64>,
}

/// Runs the two executors with a channel in each direction. The first connects its sender first,
/// the second its receiver: otherwise both would wait.
fn executors<A, B, T>(
    cpus: &CpuList,
    idle: IdleStrategy,
    capacity: usize,
    first: impl FnOnce(
        shared_channel::ConnectedSender<u64>,
        shared_channel::ConnectedReceiver<u64>,
    ) -> A
    + Send
    + 'static,
    second: impl FnOnce(
        shared_channel::ConnectedSender<u64>,
        shared_channel::ConnectedReceiver<u64>,
    ) -> B
    + Send
    + 'static,
) -> anyhow::Result<T>
where
    A: Future<Output = ()> + 'static,
    B: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let spin = match idle {
        IdleStrategy::Park => Duration::ZERO,
        IdleStrategy::Spin(duration) => duration,
        IdleStrategy::Busy => Duration::MAX,
    };
    let builder = |index: usize| {
        LocalExecutorBuilder::new(Placement::Fixed(cpus.as_slice()[index])).spin_before_park(spin)
    };
    let (to_second, from_first) = shared_channel::new_bounded(capacity);
    let (to_first, from_second) = shared_channel::new_bounded(capacity);
    let ends = [Ends { to: to_second, from: from_second }, Ends { to: to_first, from: from_first }];
    let [near, far] = ends;
    let failed = |error: glommio::GlommioError<()>| anyhow::anyhow!("{error}");
    let a = builder(0)
        .spawn(move || async move {
            let to = near.to.connect().await;
            let from = near.from.connect().await;
            first(to, from).await;
        })
        .map_err(failed)?;
    let b = builder(1)
        .spawn(move || async move {
            let from = far.from.connect().await;
            let to = far.to.connect().await;
            second(to, from).await
        })
        .map_err(failed)?;
    a.join().map_err(failed)?;
    b.join().map_err(failed)
}

/// Measures the event loop's own channel.
fn shared(options: &Options, cpus: &CpuList, idle: IdleStrategy) -> anyhow::Result<[Measured; 2]> {
    let round_trips = options.round_trips;
    let clock = Clock::new();
    let ping = executors(
        cpus,
        idle,
        64,
        move |to, from| async move {
            for _ in 0..round_trips {
                if to.send(clock.now().0).await.is_err() || from.recv().await.is_none() {
                    return;
                }
            }
        },
        move |to, from| async move {
            let started = Instant::now();
            let mut latency = histogram();
            while let Some(sent) = from.recv().await {
                latency.saturating_record(clock.now().0.saturating_sub(sent));
                if to.send(sent).await.is_err() {
                    break;
                }
            }
            Measured { latency, frames: 2 * round_trips, took: started.elapsed() }
        },
    )?;
    let frames = options.frames;
    let load = executors(
        cpus,
        idle,
        options.window as usize,
        move |to, _from| async move {
            for n in 0..frames {
                let sent = if n.is_multiple_of(SAMPLE) { clock.now().0 } else { 0 };
                if to.send(sent).await.is_err() {
                    return;
                }
            }
        },
        move |_to, from| async move {
            let started = Instant::now();
            let mut latency = histogram();
            while let Some(sent) = from.recv().await {
                if sent != 0 {
                    latency.saturating_record(clock.now().0.saturating_sub(sent));
                }
            }
            Measured { latency, frames, took: started.elapsed() }
        },
    )?;
    Ok([ping, load])
}

fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let cpus = options.cpus.clone().unwrap_or_else(CpuList::allowed);
    cpus.check()?;
    anyhow::ensure!(cpus.as_slice().len() >= 2, "two processors are needed, there is {cpus}");
    let mut lines = Vec::new();
    for &idle in &options.idle {
        let mut add = |transport, measured: [Measured; 2]| {
            let [ping, load] = measured;
            lines.push(Line::new(idle, transport, false, &ping));
            lines.push(Line::new(idle, transport, true, &load));
        };
        add("mesh", shards(&options, &cpus, idle, false)?);
        add("crossbeam", shards(&options, &cpus, idle, true)?);
        add("shared_channel", shared(&options, &cpus, idle)?);
    }
    if options.json {
        println!("{}", serde_json::to_string_pretty(&lines)?);
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN).set_header([
        "idle",
        "transport",
        "state",
        "p50 us",
        "p99 us",
        "p99.9 us",
        "frames/s",
    ]);
    for line in &lines {
        let micros = |nanos: u64| format!("{:.2}", nanos as f64 / 1000.0);
        table.add_row([
            line.idle.clone(),
            line.transport.to_owned(),
            if line.load { "load" } else { "idle" }.to_owned(),
            micros(line.p50),
            micros(line.p99),
            micros(line.p999),
            format!("{:.0}", line.frames_per_second),
        ]);
    }
    for column in table.column_iter_mut().skip(3) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    Ok(())
}
