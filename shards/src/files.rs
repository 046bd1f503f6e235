//! The helper thread of a log of a shard: makes, recycles and stamps files.
//!
//! These operations are rare and may take long (a segment is written full of zeros), and the
//! event loop would do them on a thread of its own anyway. Answers go into the shard's inbox. A
//! segment that finds no room is tried again each second, while other operations go on.

use crate::disk::{ALIGN, DiskError, WRITE_MAX};
use crossbeam_channel::{Receiver, RecvTimeoutError};
use fletch_journal::{Done, Lsn, SLOT};
use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long a segment without room waits before it is tried again.
const FULL_PAUSE: Duration = Duration::from_secs(1);
/// Recycled files that are kept.
const POOL: usize = 2;

/// What the thread is asked for; each is answered by one [`Done`], or two if there is no room.
#[derive(Debug)]
pub(crate) enum FileOp {
    Prepare { segment: Lsn, len: u64 },
    Retire { segment: Lsn, len: u64 },
    Superblock { slot: u8, bytes: Box<[u8; SLOT]> },
}

/// The name of a segment's file.
pub(crate) fn segment_name(segment: Lsn) -> String {
    format!("{:016x}.seg", segment.0)
}

/// What the thread does with a file system.
pub(crate) trait FileSystem {
    /// The length of a file; none if there is no such file.
    fn length(&self, path: &Path) -> io::Result<Option<u64>>;
    /// The files in a directory.
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes a directory unless it is there.
    fn make_dir(&self, path: &Path) -> io::Result<()>;
    /// Makes a file of so many zeros, all on the disk. Ends early when `ended` is set.
    fn make_file(&self, path: &Path, len: u64, ended: &AtomicBool) -> io::Result<()>;
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Overwrites a part of a file, durably.
    fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()>;
}

/// The real one.
pub(crate) struct System;

impl FileSystem for System {
    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    fn make_file(&self, path: &Path, len: u64, ended: &AtomicBool) -> io::Result<()> {
        // Past the page cache: zeros need not be copied there, and a direct write over cached pages goes through a
        // worker of the kernel.
        let direct = OFlags::DIRECT.bits().cast_signed();
        let mut how = OpenOptions::new();
        let file = how.write(true).create(true).truncate(true).custom_flags(direct).open(path)?;
        // Says at once that there is no room, and lays the blocks side by side.
        match fallocate(&file, FallocateFlags::empty(), 0, len) {
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        let zeros = vec![0; WRITE_MAX + ALIGN];
        let zeros = &zeros[zeros.as_ptr().align_offset(ALIGN)..];
        let mut at = 0;
        while at < len {
            if ended.load(Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let piece = (len - at).min(WRITE_MAX as u64);
            file.write_all_at(&zeros[..piece as usize], at)?;
            at += piece;
        }
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn overwrite(&self, path: &Path, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(bytes, offset)?;
        file.sync_data()
    }
}

/// The same for files that nobody reads after a crash: nothing is made durable, and no block is written before
/// it is used.
pub(crate) struct Volatile;

impl FileSystem for Volatile {
    fn length(&self, path: &Path) -> io::Result<Option<u64>> {
        System.length(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        System.list(dir)
    }

    fn make_dir(&self, path: &Path) -> io::Result<()> {
        System.make_dir(path)
    }

    fn make_file(&self, path: &Path, len: u64, _ended: &AtomicBool) -> io::Result<()> {
        let mut file = File::create(path)?;
        // Room is taken at once: a write must not find that there is none.
        match fallocate(&file, FallocateFlags::empty(), 0, len) {
            Err(Errno::OPNOTSUPP) => file.set_len(len)?,
            taken => taken?,
        }
        // The event loop reads the beginning to see whether the disk can be polled. It asks no disk for what
        // was never written, so it would find that any can, and later reads would fail.
        file.write_all(&[0; ALIGN])
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        System.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        System.remove(path)
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn overwrite(&self, _path: &Path, _offset: u64, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
}

/// The files of one log of a shard.
pub(crate) struct Files<F> {
    dir: PathBuf,
    pool: PathBuf,
    system: F,
    /// The shard has ended: no segment is needed any more.
    ended: Arc<AtomicBool>,
    /// The length of the last segment asked for: recycled files of other lengths are of no use.
    len: Option<u64>,
    /// Segments that found no room, oldest first.
    waiting: Vec<(Lsn, u64)>,
}

/// What came of it; nothing when the shard has ended meanwhile.
type Answer = Option<Result<Done, DiskError>>;

impl<F: FileSystem> Files<F> {
    pub(crate) fn new(dir: PathBuf, system: F, ended: Arc<AtomicBool>) -> Files<F> {
        let pool = dir.join("pool");
        Files { dir, pool, system, ended, len: None, waiting: Vec::new() }
    }

    /// The body of the thread: until nobody can ask for more, or nobody wants to hear the answer.
    pub(crate) fn run(
        mut self,
        ops: &Receiver<FileOp>,
        mut answer: impl FnMut(Result<Done, DiskError>) -> bool,
    ) {
        let mut retry_at = Instant::now();
        loop {
            let op = match self.waiting.is_empty() {
                true => ops.recv().map_err(RecvTimeoutError::from),
                false => ops.recv_deadline(retry_at),
            };
            match op {
                Ok(op) => {
                    // What is recycled makes room.
                    let recycled = matches!(op, FileOp::Retire { .. });
                    let waited = !self.waiting.is_empty();
                    if self.handle(op).is_some_and(|result| !answer(result)) {
                        return;
                    }
                    if !waited {
                        retry_at = Instant::now() + FULL_PAUSE;
                    } else if recycled {
                        retry_at = Instant::now();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    while let Some(result) = self.retry() {
                        if !answer(result) {
                            return;
                        }
                    }
                    retry_at = Instant::now() + FULL_PAUSE;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    fn handle(&mut self, op: FileOp) -> Answer {
        match op {
            FileOp::Prepare { segment, len } => self.prepare(segment, len),
            FileOp::Retire { segment, len } => {
                Some(self.retire(segment, len).map(|()| Done::Retired { segment }))
            }
            FileOp::Superblock { slot, bytes } => {
                let path = self.dir.join("superblock");
                let offset = u64::from(slot) * SLOT as u64;
                let written = self.system.overwrite(&path, offset, &bytes[..]);
                let failed =
                    |source| DiskError { path, operation: "write", offset: Some(offset), source };
                Some(written.map_err(failed).map(|()| Done::Superblock))
            }
        }
    }

    fn prepare(&mut self, segment: Lsn, len: u64) -> Answer {
        self.len = Some(len);
        if !self.waiting.is_empty() {
            // One behind it must not be there before it: after a crash the log would have a hole.
            self.waiting.push((segment, len));
            return Some(Ok(Done::Full { segment }));
        }
        match self.place(segment, len) {
            Ok(()) => Some(Ok(Done::Prepared { segment })),
            Err(_) if self.ended.load(Relaxed) => None,
            Err(error) if is_full(&error.source) => {
                self.waiting.push((segment, len));
                Some(Ok(Done::Full { segment }))
            }
            Err(error) => Some(Err(error)),
        }
    }

    /// Tries the oldest segment that waits for room. Nothing if there is none still.
    fn retry(&mut self) -> Answer {
        let &(segment, len) = self.waiting.first()?;
        let placed = self.place(segment, len);
        if placed.as_ref().is_err_and(|error| is_full(&error.source) || self.ended.load(Relaxed)) {
            return None;
        }
        self.waiting.remove(0);
        Some(placed.map(|()| Done::Prepared { segment }))
    }

    /// Puts a full, synced file under the segment's name, and makes the name durable.
    fn place(&self, segment: Lsn, len: u64) -> Result<(), DiskError> {
        let path = self.dir.join(segment_name(segment));
        if self.length(&path)? == Some(len) {
            return Ok(());
        }
        self.system.make_dir(&self.pool).map_err(failed("create", &self.pool))?;
        let recycled = self.pooled(len)?.pop();
        let ready = match recycled {
            Some(ready) => ready,
            None => self.make(len)?,
        };
        self.system.rename(&ready, &path).map_err(failed("rename", &ready))?;
        self.sync_dir(&self.dir)?;
        self.sync_dir(&self.pool)
    }

    fn make(&self, len: u64) -> Result<PathBuf, DiskError> {
        let path = self.pool.join("new.tmp");
        let made = self.system.make_file(&path, len, &self.ended);
        if made.is_err() {
            // The error that counts is the one before; what stays is overwritten the next time.
            let _ = self.system.remove(&path);
        }
        made.map_err(failed("create", &path))?;
        Ok(path)
    }

    /// The recycled files of this length. Those of another are removed.
    fn pooled(&self, len: u64) -> Result<Vec<PathBuf>, DiskError> {
        let files = self.system.list(&self.pool).map_err(failed("list", &self.pool))?;
        let mut pooled = Vec::new();
        for path in files.into_iter().filter(|path| path.extension().is_some_and(|e| e == "free")) {
            if self.length(&path)? == Some(len) {
                pooled.push(path);
            } else {
                self.remove(&path)?;
            }
        }
        Ok(pooled)
    }

    fn retire(&mut self, segment: Lsn, len: u64) -> Result<(), DiskError> {
        let path = self.dir.join(segment_name(segment));
        self.system.make_dir(&self.pool).map_err(failed("create", &self.pool))?;
        let wanted = *self.len.get_or_insert(len);
        if self.pooled(wanted)?.len() < POOL && len == wanted {
            let to = self.pool.join(format!("{:016x}.free", segment.0));
            match self.system.rename(&path, &to) {
                Ok(()) => self.sync_dir(&self.pool)?,
                // Even a name needs room somewhere; to give a file up needs none.
                Err(error) if is_full(&error) => self.remove(&path)?,
                Err(error) => return Err(failed("rename", &path)(error)),
            }
        } else {
            self.remove(&path)?;
        }
        self.sync_dir(&self.dir)
    }

    fn length(&self, path: &Path) -> Result<Option<u64>, DiskError> {
        self.system.length(path).map_err(failed("look at", path))
    }

    fn remove(&self, path: &Path) -> Result<(), DiskError> {
        self.system.remove(path).map_err(failed("remove", path))
    }

    fn sync_dir(&self, dir: &Path) -> Result<(), DiskError> {
        self.system.sync_dir(dir).map_err(failed("sync", dir))
    }
}

fn failed(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
    move |source| DiskError { path: path.to_owned(), operation, offset: None, source }
}

/// No room on the disk, or no more for this user.
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOSPC | libc::EDQUOT))
}

#[cfg(test)]
mod tests;
