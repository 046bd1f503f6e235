//! Writing everything into new journals: for another number of shards, and after salvage, because a
//! damaged journal must not be appended to.
//!
//! Nothing else runs meanwhile, so this is plain blocking IO through the same [`Log`] that shards write
//! with. The old journals stay in force until the new ones are complete and durable.

use super::layout::segment as segment_path;
use super::layout::superblock as superblock_path;
use super::recover::in_use;
use super::{Generation, Loader, Made, Progress, RecoverError, ShardDamage, Start, StoreError};
use super::{create, io_error, sync_dir};
use fletch_engine::{Combined, Stored};
use fletch_journal::recovery::Walker;
use fletch_journal::{Done, Log, Lsn, Position, Request, SLOT, Seq, Superblock};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Bytes staged in one journal before they are written out.
const MUCH: u64 = 1 << 20;
/// How often progress is told.
const TELL: Duration = Duration::from_secs(1);

/// What is moved.
pub(super) struct Old<'a> {
    pub(super) generation: &'a Generation,
    pub(super) combined: &'a Combined,
    /// How often it has been started.
    pub(super) incarnation: u64,
}

/// Makes a generation of journals for as many shards as there are salts, with everything in it. It is
/// not in force yet. The old journals are read once more, so that no more than an outline of what is in
/// them has to be in memory.
pub(super) fn rehome(
    store: &Path,
    old: &Old<'_>,
    salts: &[u64],
    start: &Start,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<Made, RecoverError> {
    let config = start.config;
    let made = super::make(store, salts, config.first())?;
    let (mut disks, mut logs) = (Vec::new(), Vec::new());
    for files in &made.open()?.shards {
        // Ids of runs to come must not be those of runs before.
        let superblock = Superblock { incarnation: old.incarnation, ..files.superblock };
        let first = files.sizes().map(|(base, len)| (base, len, Seq(1)));
        let position = Position {
            superblock,
            slot: files.slot,
            segments: first.collect(),
            marks: Vec::new(),
            end: Lsn(0),
            end_crc: 0,
            last: Seq::NONE,
        };
        logs.push(Log::new(config, position));
        disks.push(Disk { dir: files.path.clone(), files: BTreeMap::new(), buffer: Vec::new() });
    }
    let mut rehome = old.combined.rehome(logs);
    let began = Instant::now();
    let mut told = began;
    let total = old.generation.shards.iter().flat_map(in_use).map(|(_, len)| len).sum();
    let mut progress = Progress { total, ..Progress::default() };
    for (n, files) in old.generation.shards.iter().enumerate() {
        let damaged =
            |damage| RecoverError::Damaged(vec![ShardDamage { path: files.path.clone(), damage }]);
        let walker = Walker::new(&files.superblock, files.sizes(), start.salvage);
        let mut walker = walker.map_err(damaged)?;
        let (from, before) = (files.superblock.oldest_lsn.0, progress.bytes);
        let mut number = 0;
        let mut loader = Loader::new(files)?;
        while let Some(at) = walker.wants() {
            let mut visit = |_, record: &[u8]| {
                number += 1;
                rehome.record(n, number, record)
            };
            walker.step(loader.look(at)?, &mut visit).map_err(damaged)?;
            for (disk, log) in disks.iter_mut().zip(&mut rehome.logs) {
                if log.staged_bytes() >= MUCH {
                    disk.write(log)?;
                }
            }
            progress.bytes = before + walker.walked().end.0 - from;
            if told.elapsed() >= TELL {
                told = Instant::now();
                let records = progress.records + number;
                tell(Progress { records, elapsed: began.elapsed(), ..progress });
            }
        }
        progress.records += number;
    }
    for (disk, log) in disks.iter_mut().zip(&mut rehome.logs) {
        disk.write(log)?;
        disk.sync()?;
        log.close();
        disk.write(log)?;
    }
    Ok(made)
}

/// A shard's directory, written to by hand.
struct Disk {
    dir: PathBuf,
    files: BTreeMap<Lsn, File>,
    buffer: Vec<u8>,
}

impl Disk {
    /// Writes all that is staged.
    fn write(&mut self, log: &mut Log<Stored>) -> Result<(), StoreError> {
        loop {
            let mut idle = true;
            while let Some(request) = log.next_request() {
                idle = false;
                let done = self.request(request)?;
                log.done(done);
            }
            if let Some(len) = log.next_write() {
                idle = false;
                self.buffer.resize(len, 0);
                let write = log.fill(&mut self.buffer);
                let path = segment_path(&self.dir, write.segment);
                let buffer = std::mem::take(&mut self.buffer);
                let file = self.file(write.segment)?;
                let written = file.write_all_at(&buffer[..write.len], write.offset);
                written.map_err(io_error("write", &path))?;
                self.buffer = buffer;
                log.done(Done::Written { number: write.number });
            }
            if idle {
                return Ok(());
            }
        }
    }

    fn request(&mut self, request: Request) -> Result<Done, StoreError> {
        match request {
            Request::Prepare { segment, len } => {
                let path = segment_path(&self.dir, segment);
                create::make_file(&path, len, &[])?;
                sync_dir(&self.dir)?;
                Ok(Done::Prepared { segment })
            }
            Request::Superblock { slot, bytes } => {
                let path = superblock_path(&self.dir);
                write_slot(&path, slot, &bytes)?;
                Ok(Done::Superblock)
            }
            // A log that only grows gives nothing up and reads nothing back.
            Request::Retire { segment, .. } => Ok(Done::Retired { segment }),
            Request::Read { number, len, .. } => Ok(Done::Read { number, bytes: vec![0; len] }),
        }
    }

    fn file(&mut self, segment: Lsn) -> Result<&File, StoreError> {
        if !self.files.contains_key(&segment) {
            let path = segment_path(&self.dir, segment);
            let file =
                OpenOptions::new().write(true).open(&path).map_err(io_error("open", &path))?;
            self.files.insert(segment, file);
        }
        Ok(&self.files[&segment])
    }

    fn sync(&mut self) -> Result<(), StoreError> {
        for (segment, file) in &self.files {
            let path = segment_path(&self.dir, *segment);
            file.sync_data().map_err(io_error("sync", &path))?;
        }
        Ok(())
    }
}

/// Writes one slot of a superblock, durably.
pub(super) fn write_slot(path: &Path, slot: u8, bytes: &[u8; SLOT]) -> Result<(), StoreError> {
    let write = || {
        let file = OpenOptions::new().write(true).open(path)?;
        file.write_all_at(bytes, u64::from(slot) * SLOT as u64)?;
        file.sync_data()
    };
    write().map_err(io_error("write", path))
}
