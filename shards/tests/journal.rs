//! The journal's driver with a service that writes what it is told to, on a real disk.

#![cfg(not(loom))]

use fletch_engine::{ShardId, Time};
use fletch_journal::{Done, Lsn, Request, SLOT, Volume, Write};
use fletch_shards::*;
use std::collections::{BTreeSet, VecDeque};
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(60);
const MIB: usize = 1 << 20;

enum Control {
    Write(Vec<Write>),
    Ask(Vec<Request>),
}

#[derive(Default)]
struct Counts {
    filled: AtomicUsize,
    written: AtomicUsize,
}

/// Fills each batch with the last byte of its number. A connection that sends a byte gets it back
/// when a batch that was written for it is durable; for an `a` one more, for which a batch is written when the
/// first has been sent.
struct Log {
    writes: VecDeque<Write>,
    requests: VecDeque<Request>,
    under_way: usize,
    ends: Sender<Result<Done, String>>,
    counts: Arc<Counts>,
    /// Each with its output, and the numbers of the batches it waits for.
    connections: Vec<(ConnectionId, Vec<u8>, VecDeque<u64>)>,
    /// Connections that get one more.
    again: Vec<ConnectionId>,
    next: u64,
}

impl Log {
    fn write_for(&mut self, conn: ConnectionId) {
        let (_, _, waits) = self.connections.iter_mut().find(|(id, ..)| *id == conn).unwrap();
        let (number, offset) = (self.next, self.next % 256 * 4096);
        self.writes.push_back(Write { number, segment: Lsn(0), offset, len: 4096 });
        waits.push_back(number);
        self.next += 1;
    }
}

impl Service for Log {
    type Frame = ();
    type Control = Control;

    fn connected(&mut self, _: &mut Cx<'_, ()>, conn: ConnectionId, _: Peer) {
        self.connections.push((conn, Vec::new(), VecDeque::new()));
    }

    fn received(&mut self, _: &mut Cx<'_, ()>, conn: ConnectionId, input: &[u8]) -> usize {
        for byte in input {
            self.write_for(conn);
            self.again.extend((*byte == b'a').then_some(conn));
        }
        input.len()
    }

    fn output(&mut self, conn: ConnectionId) -> &mut Vec<u8> {
        &mut self.connections.iter_mut().find(|(id, ..)| *id == conn).unwrap().1
    }

    fn written(&mut self, _: &mut Cx<'_, ()>, conn: ConnectionId) {
        if let Some(at) = self.again.iter().position(|again| *again == conn) {
            self.again.remove(at);
            self.write_for(conn);
        }
    }

    fn disconnected(&mut self, _: &mut Cx<'_, ()>, conn: ConnectionId, _: Disconnect) {
        self.connections.retain(|(id, ..)| *id != conn);
    }

    fn frame(&mut self, _: &mut Cx<'_, ()>, _: ShardId, (): ()) {}

    fn control(&mut self, _: &mut Cx<'_, ()>, control: Control) {
        match control {
            Control::Write(writes) => self.writes.extend(writes),
            Control::Ask(requests) => self.requests.extend(requests),
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn tick(&mut self, _: &mut Cx<'_, ()>) {}

    fn turn_end(&mut self, _: &mut Cx<'_, ()>) {}

    fn next_write(&mut self) -> Option<(Volume, usize)> {
        // Sometimes more than is used.
        self.writes.front().map(|write| (Volume::Journal, (write.len + 4096).min(WRITE_MAX)))
    }

    fn fill(&mut self, _: Volume, buffer: &mut [u8]) -> Write {
        let write = self.writes.pop_front().unwrap();
        buffer[..write.len].fill(write.number as u8);
        self.under_way += 1;
        self.counts.filled.fetch_add(1, Relaxed);
        write
    }

    fn next_request(&mut self) -> Option<(Volume, Request)> {
        let request = self.requests.pop_front()?;
        self.under_way += 1;
        Some((Volume::Journal, request))
    }

    fn disk_done(&mut self, cx: &mut Cx<'_, ()>, _: Volume, done: Done) {
        self.under_way -= 1;
        if let Done::Written { number } = done {
            self.counts.written.fetch_add(1, Relaxed);
            for (conn, output, waits) in &mut self.connections {
                if let Some(index) = waits.iter().position(|other| *other == number) {
                    waits.remove(index);
                    output.push(number as u8);
                    cx.dirty(*conn);
                }
            }
        }
        self.ends.send(Ok(done)).unwrap();
    }

    fn disk_failed(&mut self, _: Volume, error: DiskError) {
        self.under_way -= 1;
        self.ends.send(Err(error.to_string())).unwrap();
    }

    fn stopping(&mut self, _: &mut Cx<'_, ()>, _: Time) {}

    fn stopped(&self) -> bool {
        self.under_way == 0 && self.writes.is_empty() && self.requests.is_empty()
    }
}

/// One shard with a journal.
struct Running {
    dir: TempDir,
    runtime: Runtime<Log>,
    handle: Handle<Control>,
    ends: Receiver<Result<Done, String>>,
    counts: Arc<Counts>,
}

fn config(dir: &Path, durability: Durability) -> Config {
    let journal = JournalConfig { dirs: vec![dir.to_owned()], durability };
    // Its looks would wake a shard that forgot something.
    let watchdog_interval = 2 * LONG;
    Config { pin: false, journal: Some(journal), watchdog_interval, ..Config::with_shards(1) }
}

fn start(durability: Durability) -> Running {
    start_with(durability, IdleStrategy::Park)
}

fn start_with(durability: Durability, idle: IdleStrategy) -> Running {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    std::fs::write(dir.path().join("superblock"), [0; 2 * SLOT]).unwrap();
    let (ends, received) = channel();
    let counts = Arc::new(Counts::default());
    let counted = counts.clone();
    let make = move |_| Log {
        writes: VecDeque::new(),
        requests: VecDeque::new(),
        under_way: 0,
        ends: ends.clone(),
        counts: counted.clone(),
        connections: Vec::new(),
        again: Vec::new(),
        next: 0,
    };
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), 0, None, 128).unwrap();
    let config = Config { idle, ..config(dir.path(), durability) };
    let runtime = Runtime::start(config, vec![listener], make).unwrap();
    Running { dir, handle: runtime.handle(), runtime, ends: received, counts }
}

impl Running {
    fn control(&self, control: Control) {
        self.handle.control(ShardId(0), control).unwrap();
    }

    fn ask(&self, request: Request) -> Result<Done, String> {
        self.control(Control::Ask(vec![request]));
        self.end()
    }

    fn end(&self) -> Result<Done, String> {
        self.ends.recv_timeout(LONG).expect("an end")
    }

    fn prepare(&self, segment: u64, len: usize) {
        let (segment, len) = (Lsn(segment), len as u64);
        assert_eq!(self.ask(Request::Prepare { segment, len }), Ok(Done::Prepared { segment }));
    }

    /// Writes all at once. Returns the numbers in the order of their ends.
    fn write(&self, writes: &[Write]) -> Vec<u64> {
        self.control(Control::Write(writes.to_vec()));
        let ends = writes.iter().map(|_| match self.end() {
            Ok(Done::Written { number }) => number,
            other => panic!("{other:?}"),
        });
        ends.collect()
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.dir.path().join(format!("{segment:016x}.seg"))
    }
}

fn writes_arrive(durability: Durability, idle: IdleStrategy) {
    let log = start_with(durability, idle);
    log.prepare(0, MIB);
    log.prepare(MIB as u64, 4 * MIB);
    let mut writes = Vec::new();
    let mut offset = 0;
    for number in 0..16 {
        let len = 4096 * (1 + number as usize % 5);
        writes.push(Write { number, segment: Lsn(0), offset, len });
        offset += len as u64;
    }
    for number in 16..19 {
        let offset = (number - 16) * MIB as u64;
        writes.push(Write { number, segment: Lsn(MIB as u64), offset, len: MIB });
    }
    let ends: BTreeSet<u64> = log.write(&writes).into_iter().collect();
    assert!(ends.into_iter().eq(0..19));
    for (segment, len) in [(0, MIB), (MIB as u64, 4 * MIB)] {
        let mut expected = vec![0; len];
        for write in writes.iter().filter(|write| write.segment == Lsn(segment)) {
            expected[write.offset as usize..][..write.len].fill(write.number as u8);
        }
        assert!(std::fs::read(log.path(segment)).unwrap() == expected, "segment {segment}");
    }
    let stats = log.handle.stats(ShardId(0)).unwrap();
    assert_eq!(stats.journal_writes(), 19);
    assert_eq!(stats.journal_bytes(), writes.iter().map(|write| write.len as u64).sum::<u64>());
    assert!(stats.take_longest_journal_write() > 0);
    log.runtime.stop(LONG);
}

/// A shard that sleeps has its writes flushed otherwise than one that does not.
#[test]
fn writes_arrive_from_a_shard_that_sleeps() {
    writes_arrive(Durability::Sync, IdleStrategy::Park);
}

#[test]
fn writes_arrive_from_a_shard_that_never_sleeps() {
    writes_arrive(Durability::Sync, IdleStrategy::Busy);
}

#[test]
fn writes_arrive_at_the_device() {
    writes_arrive(Durability::Device, IdleStrategy::Park);
}

#[test]
fn a_segment_of_an_earlier_start_is_written_and_read() {
    let log = start(Durability::default());
    // Not asked to be prepared, so that all these meet a file that is not open.
    std::fs::write(log.path(0), vec![9; 3 * MIB]).unwrap();
    let writes: Vec<Write> = (0..8)
        .map(|number| Write { number, segment: Lsn(0), offset: number * 8192, len: 4096 })
        .collect();
    assert_eq!(log.write(&writes).len(), 8);
    // More than one IO's worth.
    let read = Request::Read { number: 77, segment: Lsn(0), offset: 4096, len: 2 * MIB + 4096 };
    match log.ask(read) {
        Ok(Done::Read { number: 77, bytes }) => {
            let mut expected = vec![9; 2 * MIB + 4096];
            for number in 1..8 {
                expected[number * 8192 - 4096..][..4096].fill(number as u8);
            }
            assert!(bytes == expected);
        }
        other => panic!("{other:?}"),
    }
    log.runtime.stop(LONG);
}

#[test]
fn files_are_recycled_while_the_journal_runs() {
    let log = start(Durability::default());
    log.prepare(0, MIB);
    log.write(&[Write { number: 5, segment: Lsn(0), offset: 4096, len: 4096 }]);
    let retire = Request::Retire { segment: Lsn(0), len: MIB as u64 };
    assert_eq!(log.ask(retire), Ok(Done::Retired { segment: Lsn(0) }));
    assert!(!log.path(0).exists());

    // The file comes back under another name, and the one of the old name is not open any more.
    log.prepare(MIB as u64, MIB);
    log.write(&[Write { number: 6, segment: Lsn(MIB as u64), offset: 0, len: 4096 }]);
    let bytes = std::fs::read(log.path(MIB as u64)).unwrap();
    assert!(bytes[..4096] == [6; 4096] && bytes[4096..8192] == [5; 4096]);
    let write = Write { number: 7, segment: Lsn(0), offset: 0, len: 4096 };
    log.control(Control::Write(vec![write]));
    assert!(log.end().unwrap_err().starts_with("cannot open "));

    let superblock = Request::Superblock { slot: 1, bytes: Box::new([4; SLOT]) };
    assert_eq!(log.ask(superblock), Ok(Done::Superblock));
    let bytes = std::fs::read(log.dir.path().join("superblock")).unwrap();
    assert!(bytes[..SLOT] == [0; SLOT] && bytes[SLOT..] == [4; SLOT]);
    log.runtime.stop(LONG);
}

#[test]
fn what_is_wanted_when_output_was_written_is_started_at_once() {
    let log = start(Durability::default());
    log.prepare(0, MIB);
    let mut stream = TcpStream::connect(log.runtime.local_addrs()[0]).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    for number in 0..10 {
        stream.write_all(b"a").unwrap();
        let mut answers = [0; 2];
        stream.read_exact(&mut answers).unwrap();
        assert_eq!(answers, [2 * number, 2 * number + 1]);
    }
    drop(stream);
    log.runtime.stop(LONG);
}

#[test]
fn a_client_hears_of_its_write_without_being_asked() {
    let log = start(Durability::default());
    log.prepare(0, MIB);
    let mut streams: Vec<TcpStream> = (0..8)
        .map(|_| {
            let stream = TcpStream::connect(log.runtime.local_addrs()[0]).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream
        })
        .collect();
    let started = Instant::now();
    for _ in 0..100 {
        for stream in &mut streams {
            stream.write_all(b"w").unwrap();
        }
        for stream in &mut streams {
            stream.read_exact(&mut [0; 1]).unwrap();
        }
    }
    // If nothing but the watchdog saw the ends, this would take longer.
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    assert_eq!(log.counts.written.load(Relaxed), 800);
    log.runtime.stop(LONG);
}

fn many_writes() -> Vec<Write> {
    let write = |number| Write { number, segment: Lsn(0), offset: number * MIB as u64, len: MIB };
    (0..32).map(write).collect()
}

#[test]
fn a_stop_waits_for_what_is_to_be_written() {
    let log = start(Durability::default());
    log.prepare(0, 32 * MIB);
    log.control(Control::Write(many_writes()));
    log.runtime.stop(LONG);
    assert_eq!(log.counts.written.load(Relaxed), 32);
}

#[test]
fn a_stop_without_time_waits_for_what_is_under_way() {
    let log = start(Durability::default());
    log.prepare(0, 32 * MIB);
    log.control(Control::Write(many_writes()));
    while log.counts.filled.load(Relaxed) == 0 {
        std::thread::yield_now();
    }
    log.runtime.stop(Duration::ZERO);
    let [filled, written] = [&log.counts.filled, &log.counts.written].map(|n| n.load(Relaxed));
    assert_eq!(written, filled);
}

#[test]
fn failures_are_told() {
    let log = start(Durability::default());
    log.prepare(0, MIB);
    let path = log.path(0).display().to_string();

    let write = Write { number: 0, segment: Lsn(0), offset: 100, len: 4096 };
    log.control(Control::Write(vec![write]));
    let error = log.end().unwrap_err();
    assert_eq!(error, format!("cannot write {path} at 100: Invalid argument (os error 22)"));

    let read = Request::Read { number: 1, segment: Lsn(0), offset: MIB as u64, len: 4096 };
    let error = log.ask(read).unwrap_err();
    assert_eq!(error, format!("cannot read {path} at 1048576: 0 of 4096 bytes are there"));

    std::fs::remove_dir_all(log.dir.path()).unwrap();
    let requests = [
        Request::Prepare { segment: Lsn(MIB as u64), len: MIB as u64 },
        Request::Retire { segment: Lsn(0), len: MIB as u64 },
        Request::Superblock { slot: 0, bytes: Box::new([1; SLOT]) },
        Request::Read { number: 2, segment: Lsn(4096), offset: 0, len: 4096 },
    ];
    for request in requests {
        let error = log.ask(request.clone()).unwrap_err();
        let named = error.contains(&log.dir.path().display().to_string());
        assert!(named && error.ends_with("No such file or directory (os error 2)"), "{error}");
    }
    log.runtime.stop(LONG);
}

#[test]
fn a_journal_that_cannot_be_is_an_error_at_the_start() {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let missing = dir.path().join("missing");
    let error = |config: Config| {
        let make = |_| -> Log { panic!("no shard starts") };
        match Runtime::start(config, Vec::new(), make) {
            Ok(_) => panic!("it started"),
            Err(error) => error.to_string(),
        }
    };
    let text = error(config(&missing, Durability::default()));
    assert!(text.contains(&missing.display().to_string()) && !text.contains('\n'), "{text}");
    let config = Config { shards: 2, ..config(dir.path(), Durability::default()) };
    assert_eq!(error(config), "1 directories of logs for 2 shards");
}
