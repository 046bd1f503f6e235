//! What a disk can do alone: synced writes into a file that is full already, as a journal's segment is, and reads.

use crate::load::track::histogram;
use anyhow::{Context, Result, bail};
use hdrhistogram::Histogram;
use rustix::fs::{Advice, OFlags, fadvise, fdatasync, fsync, statfs};
use rustix::io::{pread, pwrite};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What direct IO wants addresses, offsets and lengths to be multiples of.
const BLOCK: usize = 4096;
const MIB: usize = 1 << 20;
/// Octets of the file that is written to, over and over, where bandwidth counts.
pub(crate) const FILE: usize = 256 * MIB;
/// Octets that a start reads at once.
const PIECE: usize = 4 * MIB;
/// The kernel's number for a file system in memory.
const TMPFS: i64 = 0x0102_1994;

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
pub(crate) struct Disk {
    path: PathBuf,
    plain: File,
    direct: File,
    next: usize,
    /// Octets of the file.
    size: usize,
}

impl Disk {
    /// Makes the file in this directory, of whole MiB.
    pub(crate) fn prepare(dir: &Path, size: usize) -> Result<Disk> {
        if statfs(dir)?.f_type as i64 == TMPFS {
            bail!("{} is in memory: choose another directory with --dir", dir.display());
        }
        let path = dir.join("raw");
        let mut plain = OpenOptions::new().write(true).create_new(true).open(&path)?;
        let zeros = vec![0; MIB];
        for _ in 0..size / MIB {
            plain.write_all(&zeros)?;
        }
        fsync(&plain)?;
        let flags = (OFlags::DIRECT | OFlags::DSYNC).bits() as i32;
        let direct = OpenOptions::new().read(true).write(true).custom_flags(flags).open(&path);
        let direct = direct.with_context(|| format!("direct IO in {}", dir.display()))?;
        Ok(Disk { path, plain, direct, next: 0, size })
    }

    /// The next place for so many octets.
    fn place(&mut self, len: usize) -> u64 {
        if self.next + len > self.size {
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
    pub(crate) fn syncs(&mut self, time: Duration, direct: bool) -> Result<Histogram<u64>> {
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
    pub(crate) fn bandwidths(&mut self, time: Duration) -> Result<[f64; 2]> {
        Ok([self.bandwidth(time, false)?, self.bandwidth(time, true)?])
    }

    /// Octets per second of reads of 1 MiB.
    pub(crate) fn reads(&mut self, time: Duration) -> Result<f64> {
        let mut buffer = Aligned::new(MIB);
        let (start, mut octets) = (Instant::now(), 0);
        while start.elapsed() < time {
            let at = self.place(MIB);
            octets += pread(&self.direct, buffer.get(), at)?;
        }
        Ok(octets as f64 / start.elapsed().as_secs_f64())
    }

    /// The same of what the system has in memory.
    pub(crate) fn cached_reads(&mut self, time: Duration) -> Result<f64> {
        let (file, mut buffer) = (File::open(&self.path)?, Aligned::new(MIB));
        for at in 0..self.size / MIB {
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
    pub(crate) fn start_reads(&self, time: Duration, shards: u16) -> Result<f64> {
        let start = Instant::now();
        let read = |first: usize| -> Result<usize> {
            let (mut buffer, mut at, mut octets) = (Aligned::new(PIECE), first * PIECE, 0);
            while start.elapsed() < time {
                octets += pread(&self.direct, buffer.get(), (at % self.size) as u64)?;
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
}
