//! What the host can do without any broker: the figures the others are held against.

use crate::load::joined;
use crate::load::track::histogram;
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::fs::{Advice, OFlags, fadvise, fdatasync, fsync, statfs};
use rustix::io::{pread, pwrite};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What direct IO wants addresses, offsets and lengths to be multiples of.
const BLOCK: usize = 4096;
const MIB: usize = 1 << 20;
/// Octets of the file that is written to, over and over.
const FILE: usize = 256 * MIB;
/// Octets that a start reads at once.
const PIECE: usize = 4 * MIB;
/// The kernel's number for a file system in memory.
const TMPFS: i64 = 0x0102_1994;

/// The disk and the loopback interface alone.
pub(super) struct Raw {
    /// Of a write of 4 KiB and fdatasync, in nanoseconds.
    pub(super) sync: Histogram<u64>,
    /// The same with direct IO and O_DSYNC, in nanoseconds.
    pub(super) direct: Histogram<u64>,
    /// Octets per second of 1 MiB writes, each with fdatasync.
    pub(super) write: f64,
    /// The same with direct IO and O_DSYNC.
    pub(super) write_direct: f64,
    /// Octets per second of 1 MiB reads with direct IO.
    pub(super) read: f64,
    /// The same without, of what the system has in memory.
    pub(super) read_cached: f64,
    /// Of 64 octets there and back over loopback, in nanoseconds.
    pub(super) round_trip: Histogram<u64>,
    /// Round trips per second of so many clients at once as there are publishers, with a server that does
    /// nothing: what the host can do for the broker at most.
    pub(super) round_trips: f64,
}

/// A buffer whose filled part begins where direct IO wants it.
struct Aligned {
    octets: Vec<u8>,
    from: usize,
    len: usize,
}

impl Aligned {
    fn new(len: usize) -> Aligned {
        let octets = vec![0x5a; len + BLOCK];
        let from = octets.as_ptr().align_offset(BLOCK);
        Aligned { octets, from, len }
    }

    fn get(&mut self) -> &mut [u8] {
        &mut self.octets[self.from..self.from + self.len]
    }
}

/// The file all of this goes to: full of octets and synced, as a journal's segment is.
pub(super) struct Disk {
    path: PathBuf,
    plain: File,
    direct: File,
    next: usize,
}

impl Disk {
    /// Makes the file in this directory.
    pub(super) fn prepare(dir: &Path) -> Result<Disk> {
        if statfs(dir)?.f_type as i64 == TMPFS {
            bail!("{} is in memory: choose another directory with --dir", dir.display());
        }
        let path = dir.join("raw");
        let mut plain = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let zeros = vec![0; MIB];
        for _ in 0..FILE / MIB {
            plain.write_all(&zeros)?;
        }
        fsync(&plain)?;
        let flags = (OFlags::DIRECT | OFlags::DSYNC).bits() as i32;
        let direct = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
        let direct = direct.with_context(|| format!("direct IO in {}", dir.display()))?;
        Ok(Disk { path, plain, direct, next: 0 })
    }

    /// The next place for so many octets.
    fn place(&mut self, len: usize) -> u64 {
        if self.next + len > FILE {
            self.next = 0;
        }
        self.next += len;
        (self.next - len) as u64
    }

    fn write(&mut self, buffer: &mut Aligned, direct: bool) -> Result<()> {
        let at = self.place(buffer.len);
        let file = if direct { &self.direct } else { &self.plain };
        let written = pwrite(file, buffer.get(), at)?;
        if written != buffer.len {
            bail!("{written} of {} octets were written", buffer.len);
        }
        if !direct {
            fdatasync(file)?;
        }
        Ok(())
    }

    /// How long synced writes of 4 KiB take.
    pub(super) fn syncs(&mut self, time: Duration, direct: bool) -> Result<Histogram<u64>> {
        let (mut buffer, mut latency) = (Aligned::new(BLOCK), histogram());
        let start = Instant::now();
        while start.elapsed() < time {
            let began = Instant::now();
            self.write(&mut buffer, direct)?;
            latency.saturating_record(began.elapsed().as_nanos() as u64);
        }
        Ok(latency)
    }

    /// Octets per second of synced writes of 1 MiB.
    fn bandwidth(&mut self, time: Duration, direct: bool) -> Result<f64> {
        let mut buffer = Aligned::new(MIB);
        let (start, mut octets) = (Instant::now(), 0);
        while start.elapsed() < time {
            self.write(&mut buffer, direct)?;
            octets += MIB;
        }
        Ok(octets as f64 / start.elapsed().as_secs_f64())
    }

    /// Octets per second of synced writes of 1 MiB: with fdatasync, and with direct IO and O_DSYNC.
    pub(super) fn bandwidths(&mut self, time: Duration) -> Result<[f64; 2]> {
        Ok([self.bandwidth(time, false)?, self.bandwidth(time, true)?])
    }

    /// Octets per second of reads of 1 MiB.
    fn reads(&mut self, time: Duration) -> Result<f64> {
        let mut buffer = Aligned::new(MIB);
        let (start, mut octets) = (Instant::now(), 0);
        while start.elapsed() < time {
            let at = self.place(MIB);
            octets += pread(&self.direct, buffer.get(), at)?;
        }
        Ok(octets as f64 / start.elapsed().as_secs_f64())
    }

    /// The same of what the system has in memory.
    fn cached_reads(&mut self, time: Duration) -> Result<f64> {
        let (file, mut buffer) = (File::open(&self.path)?, Aligned::new(MIB));
        for at in 0..FILE / MIB {
            pread(&file, buffer.get(), (at * MIB) as u64)?;
        }
        let (start, mut octets) = (Instant::now(), 0);
        while start.elapsed() < time {
            let at = self.place(MIB);
            octets += pread(&file, buffer.get(), at)?;
        }
        let rate = octets as f64 / start.elapsed().as_secs_f64();
        fadvise(&file, 0, None, Advice::DontNeed)?;
        Ok(rate)
    }

    /// Octets per second of direct reads as a start makes them: a few MiB at once, a thread for each shard.
    pub(super) fn start_reads(&self, time: Duration, shards: u16) -> Result<f64> {
        let start = Instant::now();
        let read = |first: usize| -> Result<usize> {
            let (mut buffer, mut at, mut octets) = (Aligned::new(PIECE), first * PIECE, 0);
            while start.elapsed() < time {
                octets += pread(&self.direct, buffer.get(), (at % FILE) as u64)?;
                at += PIECE * usize::from(shards);
            }
            Ok(octets)
        };
        let octets = std::thread::scope(|scope| -> Result<usize> {
            let threads: Vec<_> =
                (0..usize::from(shards)).map(|first| scope.spawn(move || read(first))).collect();
            let all = threads.into_iter().map(|thread| thread.join());
            all.map(|r| r.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).sum()
        })?;
        Ok(octets as f64 / start.elapsed().as_secs_f64())
    }

    /// Measures all; so many clients at once where that counts.
    pub(super) fn measure(&mut self, time: Duration, clients: usize) -> Result<Raw> {
        let (sync, direct) = (self.syncs(time, false)?, self.syncs(time, true)?);
        let [write, write_direct] = self.bandwidths(time)?;
        Ok(Raw {
            sync,
            direct,
            write,
            write_direct,
            read: self.reads(time)?,
            read_cached: self.cached_reads(time.min(Duration::from_secs(1)))?,
            round_trip: round_trips(time.min(Duration::from_secs(1)))?,
            round_trips: many_round_trips(time.min(Duration::from_secs(2)), clients)?,
        })
    }
}

/// There and back over loopback, between two threads that do nothing else.
fn round_trips(time: Duration) -> Result<Histogram<u64>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        let mut octets = [0; 64];
        while socket.read_exact(&mut octets).is_ok() {
            socket.write_all(&octets)?;
        }
        Ok(())
    });
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let (mut octets, mut latency) = ([0; 64], histogram());
    let start = Instant::now();
    while start.elapsed() < time {
        let began = Instant::now();
        socket.write_all(&octets)?;
        socket.read_exact(&mut octets)?;
        latency.saturating_record(began.elapsed().as_nanos() as u64);
    }
    drop(socket);
    echo.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
    Ok(latency)
}

/// Octets of a request, about those of a small durable message and a sync; and of its answer.
const REQUEST: usize = 400;
const ANSWER: usize = 64;

/// Round trips per second of clients that wait for each answer, with a thread each, and two threads that answer.
fn many_round_trips(time: Duration, clients: usize) -> Result<f64> {
    let mut servers = Vec::new();
    let mut addresses = Vec::new();
    for half in [clients / 2, clients - clients / 2] {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        addresses.push(listener.local_addr()?);
        servers.push(std::thread::spawn(move || answer(&listener, half)));
    }
    let over = Arc::new(AtomicBool::new(false));
    let mut threads = Vec::new();
    for at in 0..clients {
        let mut socket = TcpStream::connect(addresses[usize::from(at >= clients / 2)])?;
        socket.set_nodelay(true)?;
        let over = Arc::clone(&over);
        threads.push(std::thread::spawn(move || -> Result<u64> {
            let mut count = 0;
            while !over.load(Ordering::Relaxed) {
                socket.write_all(&[0; REQUEST])?;
                socket.read_exact(&mut [0; ANSWER])?;
                count += 1;
            }
            Ok(count)
        }));
    }
    let start = Instant::now();
    std::thread::sleep(time);
    over.store(true, Ordering::Relaxed);
    let mut count = 0;
    for thread in threads {
        count += joined(thread)?;
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    for server in servers {
        joined(server)?;
    }
    Ok(rate)
}

/// Answers so many clients until all are gone.
fn answer(listener: &TcpListener, clients: usize) -> Result<()> {
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut sockets = Vec::new();
    for at in 0..clients {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        epoll::add(&epoll, &socket, epoll::EventData::new_u64(at as u64), epoll::EventFlags::IN)?;
        sockets.push(Some((socket, 0)));
    }
    let mut events = Vec::with_capacity(clients);
    while sockets.iter().any(Option::is_some) {
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in events.drain(..) {
            let place = &mut sockets[event.data.u64() as usize];
            let Some((socket, read)) = place else { continue };
            match socket.read(&mut [0; REQUEST])? {
                0 => *place = None,
                len => {
                    *read += len;
                    if *read >= REQUEST {
                        *read -= REQUEST;
                        socket.write_all(&[0; ANSWER])?;
                    }
                }
            }
        }
    }
    Ok(())
}
