//! An echo service that can also pass frames around, and what the tests need to run it.
//!
//! `Q` in the input closes the connection, `X` aborts it, `L` at the start makes it wait for a
//! whole length-prefixed frame.

#![allow(dead_code, missing_docs, unreachable_pub)]

use fletch_engine::{ShardId, Time};
use fletch_journal::Volume;
use fletch_shards::*;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub const LONG: Duration = Duration::from_secs(60);
pub const STOP_TIME: Duration = Duration::from_secs(20);
/// Reading pauses when so much output waits.
pub const OUTPUT_LIMIT: usize = 1 << 20;

pub enum Frame {
    Circulate { left: u64, hops: u64, done: Sender<u64> },
    Flood { number: u64, last: bool, done: Sender<u64> },
}

pub enum Control {
    Circulate { rounds: u64, done: Sender<u64> },
    Flood { to: u16, count: u64, done: Sender<u64> },
    Timer { after: Duration, done: Sender<Duration> },
    Block { until: Receiver<()> },
    FinishWhen(Receiver<()>),
    CloseAll,
    Panic,
}

#[derive(Default)]
pub struct Observed {
    pub open: AtomicUsize,
    pub most_output: AtomicUsize,
}

struct Open {
    id: ConnectionId,
    output: Vec<u8>,
    /// Input that the service consumed and did not handle.
    kept: Vec<u8>,
    paused: bool,
}

pub struct Echo {
    connections: Vec<Option<Open>>,
    observed: Arc<Observed>,
    reasons: Arc<Mutex<Vec<String>>>,
    timers: Vec<(Time, Sender<Duration>)>,
    expected: u64,
    finish: Option<Receiver<()>>,
    stopping: bool,
}

impl Echo {
    fn open(&mut self, conn: ConnectionId) -> &mut Open {
        let open = self.connections[conn.index()].as_mut().expect("open");
        assert_eq!(open.id, conn);
        open
    }

    fn next(cx: &Cx<'_, Frame>) -> ShardId {
        ShardId((cx.shard().0 + 1) % cx.shards() as u16)
    }
}

impl Service for Echo {
    type Frame = Frame;
    type Control = Control;

    fn connected(&mut self, _cx: &mut Cx<'_, Frame>, conn: ConnectionId, peer: Peer) {
        assert_eq!(peer.origin, Origin::Accepted { listener: 0 });
        if self.connections.len() <= conn.index() {
            self.connections.resize_with(conn.index() + 1, || None);
        }
        let slot = &mut self.connections[conn.index()];
        assert!(slot.is_none(), "an index in use was given out");
        *slot = Some(Open { id: conn, output: Vec::new(), kept: Vec::new(), paused: false });
        self.observed.open.fetch_add(1, Relaxed);
    }

    fn received(&mut self, cx: &mut Cx<'_, Frame>, conn: ConnectionId, input: &[u8]) -> usize {
        // Offered again: what it kept itself goes out.
        if input.is_empty() {
            let open = self.open(conn);
            open.output.append(&mut open.kept);
            return 0;
        }
        if input[0] == b'K' {
            let open = self.open(conn);
            open.kept.extend_from_slice(&input[1..]);
            open.output.push(b'k');
            open.paused = true;
            cx.pause_reads(conn);
            cx.offer_again(conn);
            return input.len();
        }
        if input[0] == b'F' {
            let next = Echo::next(cx);
            for _ in 0..100 {
                // None of a flood that somebody counts.
                let flood = Frame::Flood { number: u64::MAX, last: false, done: channel().0 };
                cx.send(next, flood);
            }
            self.open(conn).output.push(b'f');
            return 1;
        }
        if input[0] == b'L' {
            let Some(length) = input.get(1..5) else { return 0 };
            let length = u32::from_be_bytes(length.try_into().unwrap()) as usize;
            let Some(frame) = input.get(5..5 + length) else { return 0 };
            self.open(conn).output.extend_from_slice(frame);
            return 5 + length;
        }
        let observed = self.observed.clone();
        let open = self.open(conn);
        open.output.extend_from_slice(input);
        observed.most_output.fetch_max(open.output.len(), Relaxed);
        if open.output.len() >= OUTPUT_LIMIT {
            open.paused = true;
            cx.pause_reads(conn);
        }
        if input.contains(&b'X') {
            cx.abort(conn);
        } else if input.contains(&b'Q') {
            cx.close(conn);
        }
        input.len()
    }

    fn output(&mut self, conn: ConnectionId) -> &mut Vec<u8> {
        &mut self.open(conn).output
    }

    fn written(&mut self, cx: &mut Cx<'_, Frame>, conn: ConnectionId) {
        let open = self.open(conn);
        assert!(open.output.is_empty());
        open.output.shrink_to(256);
        if std::mem::take(&mut open.paused) {
            cx.resume_reads(conn);
        }
    }

    fn disconnected(&mut self, _cx: &mut Cx<'_, Frame>, conn: ConnectionId, reason: Disconnect) {
        self.open(conn);
        self.connections[conn.index()] = None;
        self.observed.open.fetch_sub(1, Relaxed);
        self.reasons.lock().unwrap().push(reason.to_string());
    }

    fn frame(&mut self, cx: &mut Cx<'_, Frame>, _from: ShardId, frame: Frame) {
        match frame {
            Frame::Circulate { left: 0, hops, done } => done.send(hops).unwrap(),
            Frame::Circulate { left, hops, done } => {
                let next = Echo::next(cx);
                cx.send(next, Frame::Circulate { left: left - 1, hops: hops + 1, done });
            }
            Frame::Flood { number, last, done } => {
                if number == self.expected {
                    self.expected += 1;
                }
                if last {
                    done.send(std::mem::take(&mut self.expected)).unwrap();
                }
            }
        }
    }

    fn control(&mut self, cx: &mut Cx<'_, Frame>, control: Control) {
        match control {
            Control::Circulate { rounds, done } => {
                let left = rounds * cx.shards() as u64 - 1;
                let next = Echo::next(cx);
                cx.send(next, Frame::Circulate { left, hops: 1, done });
            }
            Control::Flood { to, count, done } => {
                for number in 0..count {
                    let (last, done) = (number + 1 == count, done.clone());
                    cx.send(ShardId(to), Frame::Flood { number, last, done });
                }
            }
            Control::Timer { after, done } => self.timers.push((cx.now().after(after), done)),
            Control::Block { until } => until.recv().unwrap(),
            Control::FinishWhen(event) => self.finish = Some(event),
            Control::Panic => panic!("as told"),
            Control::CloseAll => {
                for open in self.connections.iter().flatten() {
                    cx.close(open.id);
                }
            }
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let poll = self.stopping.then_some(Time(0)).filter(|_| self.finish.is_some());
        self.timers.iter().map(|(at, _)| *at).chain(poll).min()
    }

    fn tick(&mut self, cx: &mut Cx<'_, Frame>) {
        let now = cx.now();
        self.timers.retain(|(at, done)| {
            if *at <= now {
                done.send(now.since(*at)).unwrap();
            }
            *at > now
        });
        if self.stopping && self.finish.as_ref().is_some_and(|event| event.try_recv().is_ok()) {
            self.finish = None;
        }
    }

    fn turn_end(&mut self, _cx: &mut Cx<'_, Frame>) {}

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

    fn stopping(&mut self, _cx: &mut Cx<'_, Frame>, _deadline: Time) {
        self.stopping = true;
    }

    fn stopped(&self) -> bool {
        self.finish.is_none()
    }
}

pub struct Running {
    pub runtime: Runtime<Echo>,
    pub handle: Handle<Control>,
    pub observed: Arc<Observed>,
    pub reasons: Arc<Mutex<Vec<String>>>,
}

#[derive(Debug, Default)]
pub struct Sum {
    pub connected: u64,
    pub disconnected: u64,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub rescues: u64,
    pub turns: u64,
}

pub fn config(shards: usize) -> Config {
    Config { pin: false, placement: ConnectionPlacement::RoundRobin, ..Config::with_shards(shards) }
}

pub fn start(config: Config) -> Running {
    try_start(config).expect("start")
}

pub fn try_start(config: Config) -> Result<Running, StartError> {
    let address = "127.0.0.1:0".parse().unwrap();
    let listeners =
        Listener::bind_all(&[address], config.placement, config.shards, 1024).expect("listen");
    let observed = Arc::new(Observed::default());
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let (o, r) = (observed.clone(), reasons.clone());
    let runtime = Runtime::start(config, listeners, move |_| Echo {
        connections: Vec::new(),
        observed: o.clone(),
        reasons: r.clone(),
        timers: Vec::new(),
        expected: 0,
        finish: None,
        stopping: false,
    })?;
    let handle = runtime.handle();
    Ok(Running { runtime, handle, observed, reasons })
}

impl Running {
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.runtime.local_addrs()[0]).expect("connect");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream
    }

    pub fn control(&self, shard: u16, control: Control) {
        self.handle.control(ShardId(shard), control).expect("the shard runs");
    }

    pub fn close_all(&self) {
        for shard in 0..self.handle.shards() as u16 {
            self.control(shard, Control::CloseAll);
        }
    }

    pub fn stats(&self, shard: usize) -> &ShardStats {
        self.handle.stats(ShardId(shard as u16)).expect("a shard")
    }

    pub fn sum(&self) -> Sum {
        let mut sum = Sum::default();
        for stats in (0..self.handle.shards()).map(|shard| self.stats(shard)) {
            sum.connected += stats.connected();
            sum.disconnected += stats.disconnected();
            sum.bytes_received += stats.bytes_received();
            sum.bytes_sent += stats.bytes_sent();
            sum.rescues += stats.rescues();
            sum.turns += stats.turns();
        }
        sum
    }

    /// Waits until it holds on every shard.
    pub fn wait(&self, what: &str, holds: impl Fn(&ShardStats) -> bool) {
        self.wait_until(what, || (0..self.handle.shards()).all(|shard| holds(self.stats(shard))));
    }

    /// Waits until it is true.
    pub fn wait_until(&self, what: &str, is_true: impl Fn() -> bool) {
        let started = Instant::now();
        while !is_true() {
            assert!(started.elapsed() < LONG, "waited in vain: {what}; {:?}", self.sum());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    pub fn reasons(&self) -> Vec<String> {
        self.reasons.lock().unwrap().clone()
    }

    pub fn open_in_services(&self) -> usize {
        self.observed.open.load(Relaxed)
    }

    pub fn most_output(&self) -> usize {
        self.observed.most_output.load(Relaxed)
    }

    pub fn stop(self) {
        self.runtime.stop(STOP_TIME);
    }
}

pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

pub fn resident() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = text.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}
