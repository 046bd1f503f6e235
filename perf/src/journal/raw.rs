//! What the host can do without any broker: the figures the others are held against.

use crate::smoke::clients::histogram;
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rustix::fs::{OFlags, fdatasync, fsync, statfs};
use rustix::io::{pread, pwrite};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// What direct IO wants addresses, offsets and lengths to be multiples of.
const BLOCK: usize = 4096;
const MIB: usize = 1 << 20;
/// Octets of the file that is written to, over and over.
const FILE: usize = 256 * MIB;
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
    /// Of 64 octets there and back over loopback, in nanoseconds.
    pub(super) round_trip: Histogram<u64>,
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
        Ok(Disk { plain, direct, next: 0 })
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

    /// Measures all.
    pub(super) fn measure(&mut self, time: Duration) -> Result<Raw> {
        let (sync, direct) = (self.syncs(time, false)?, self.syncs(time, true)?);
        let [write, write_direct] = self.bandwidths(time)?;
        Ok(Raw {
            sync,
            direct,
            write,
            write_direct,
            read: self.reads(time)?,
            round_trip: round_trips(time.min(Duration::from_secs(1)))?,
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
