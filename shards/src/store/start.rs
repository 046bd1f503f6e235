//! From what is on disk to shards that go on: opens the store, reads it, mends what a crash left, and
//! moves everything into new journals if their number or their damage asks for it.

use super::layout;
use super::recover::{Progress, Read, ShardDamage, in_use, read};
use super::{Generation, ShardFiles, StoreError, io_error};
use super::{create, open, remove, remove_unfinished, set_aside, set_superseded_aside, switch_to};
use crate::startup::StartError;
use fletch_engine::{Combined, Journal, RestoreError, Restored, combine};
use fletch_journal::recovery::Walked;
use fletch_journal::{LogConfig, Position, Seq, State, Superblock};
use rustix::fs::Advice;
use rustix::rand::{GetRandomFlags, getrandom};
use std::fs::OpenOptions;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct Start {
    /// The store's directory; made if need be.
    pub dir: PathBuf,
    /// How many shards there are to be.
    pub shards: u16,
    /// How their journals are set up.
    pub config: LogConfig,
    /// Pass over what is damaged instead of refusing.
    pub salvage: bool,
    /// Set everything aside first.
    pub truncate: bool,
    /// Bytes of memory that messages may take, all shards together.
    pub memory: u64,
}

/// A store that is ready.
#[derive(Debug)]
pub struct Started {
    /// The directory of each shard's journal.
    pub dirs: Vec<PathBuf>,
    /// What each shard goes on with.
    pub shards: Vec<Restored>,
}

/// Why a store cannot be used. What is on disk is as it was.
#[derive(Debug, Error)]
pub enum RecoverError {
    /// It cannot be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is damaged; all that was found.
    #[error("{}; --journal-salvage starts with what can be read", list(.0))]
    Damaged(Vec<ShardDamage>),
    /// A definition cannot be read.
    #[error("{}: {error}", path.display())]
    Definition {
        /// The store.
        path: PathBuf,
        /// Which.
        error: RestoreError,
    },
    /// The disk cannot be written to as journals are.
    #[error(transparent)]
    Disk(#[from] StartError),
}

fn list(all: &[ShardDamage]) -> String {
    all.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Opens a store and reads it. `tell` is told about progress once a second, and at the end.
///
/// # Errors
/// See [`RecoverError`]. Nothing is changed on disk before all of it could be read.
pub fn start(start: &Start, tell: &(dyn Fn(Progress) + Sync)) -> Result<Started, RecoverError> {
    let store = &start.dir;
    crate::store::create::make_store(store)?;
    if start.truncate
        && let Some(aside) = set_aside(store)?
    {
        tracing::warn!(target: "store", "What was stored is set aside in {}", aside.display());
    }
    for path in remove_unfinished(store)? {
        tracing::info!(target: "store", "Removed {}, which was never in use", path.display());
    }
    if let Some(aside) = set_superseded_aside(store)? {
        tracing::warn!(target: "store", "An older generation is set aside in {}", aside.display());
    }
    let generation = match open(store, start.salvage)? {
        Some(generation) => generation,
        None => create(store, &salts(start.shards)?, start.config.first())?,
    };
    let (reads, combined) = read_all(start, &generation, tell)?;
    generation.shards.iter().try_for_each(|shard| crate::check_direct_io(&shard.path))?;
    let guessed = generation.shards.iter().any(|files| files.guessed);
    let lost = guessed || reads.iter().any(|walked| !walked.lost.is_empty());
    let made_for = generation.shards.len();
    if made_for == usize::from(start.shards) && !lost {
        return go_on(start, generation, reads, combined);
    }
    let (from, incarnation) = (generation.path.clone(), incarnation(&generation));
    if !lost {
        tracing::info!(target: "store", "Moving {} queues with {} messages from {made_for} shards \
            to {}", combined.queues(), combined.messages(), start.shards);
    }
    let salts = salts(start.shards)?;
    let old = super::rehome::Old { generation: &generation, combined: &combined, incarnation };
    let made = super::rehome::rehome(store, &old, &salts, start, tell)?;
    drop((combined, generation));
    switch_to(store, &made)?;
    if lost {
        let aside = set_superseded_aside(store)?.unwrap_or(from);
        tracing::warn!(target: "store", "The damaged journals are kept in {}", aside.display());
    } else {
        remove(store, &from)?;
    }
    let generation = made.open()?;
    let (reads, combined) = read_all(start, &generation, tell)?;
    go_on(start, generation, reads, combined)
}

/// Reads a generation and says what was found.
fn read_all(
    start: &Start,
    generation: &Generation,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<(Vec<Walked>, Combined), RecoverError> {
    let all = read(generation, start.salvage, start.memory, tell)?;
    let (mut tails, mut restores) = (Vec::new(), Vec::new());
    for (n, Read { restore, walked }) in all.into_iter().enumerate() {
        let path = generation.shards[n].path.display();
        for lost in &walked.lost {
            let (from, to) = (lost.from.0, lost.to.0);
            tracing::error!(target: "store", "Lost {} bytes of {path}, from {from:#x} to {to:#x}: {}",
                to - from, lost.damage);
        }
        if let Some(cut) = &walked.cut
            && cut.batches > 0
        {
            tracing::warn!(target: "store", "A write that a crash cut short was never acknowledged and \
                is dropped: {} bytes of {path} at {:#x}", cut.to.0 - cut.from.0, cut.from.0);
        }
        restores.push(restore);
        tails.push(walked);
    }
    let store = &start.dir;
    let failed = |error| RecoverError::Definition { path: store.clone(), error };
    Ok((tails, combine(restores).map_err(failed)?))
}

/// How often the store has been started before.
fn incarnation(generation: &Generation) -> u64 {
    generation.shards.iter().map(|s| s.superblock.incarnation).max().unwrap_or(0)
}

/// Makes the journals ready to be appended to.
fn go_on(
    start: &Start,
    generation: Generation,
    tails: Vec<Walked>,
    combined: Combined,
) -> Result<Started, RecoverError> {
    let incarnation = incarnation(&generation) + 1;
    let (mut journals, mut dirs) = (Vec::new(), Vec::new());
    for (files, walked) in generation.shards.into_iter().zip(tails) {
        if let Some(cut) = &walked.cut {
            files.wipe(cut)?;
        }
        settle(&files, &walked)?;
        let oldest = files.superblock.oldest_lsn;
        let segments = in_use(&files).map(|(base, len)| (base, len, Seq::NONE)).collect();
        for leftover in files.segments.iter().filter(|s| s.end() <= oldest) {
            std::fs::remove_file(&leftover.path).map_err(io_error("remove", &leftover.path))?;
        }
        let superblock = Superblock {
            sequence: files.superblock.sequence + 1,
            incarnation,
            state: State::Running,
            ..files.superblock
        };
        let slot = 1 - files.slot;
        super::rehome::write_slot(&layout::superblock(&files.path), slot, &superblock.encode())?;
        let (end, end_crc, last) = (walked.end, walked.end_crc, Seq::NONE);
        let marks = Vec::new();
        let position = Position { superblock, slot, segments, marks, end, end_crc, last };
        let path: Arc<str> = files.path.display().to_string().into();
        journals.push(Journal { config: start.config, position, path });
        dirs.push(files.path);
    }
    Ok(Started { dirs, shards: combined.go_on(journals, incarnation) })
}

/// Makes durable what was read: a crash of the process alone may have left it in the disk's cache. And
/// takes the pages out of ours, for direct writes to files with cached pages are slower.
fn settle(files: &ShardFiles, walked: &Walked) -> Result<(), StoreError> {
    for segment in files.segments.iter().filter(|s| s.base <= walked.end).rev().take(2) {
        let path = &segment.path;
        let file = OpenOptions::new().write(true).open(path).map_err(io_error("open", path))?;
        file.sync_data().map_err(io_error("sync", path))?;
        // No more than advice.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
    }
    Ok(())
}

/// A salt for each shard.
fn salts(shards: u16) -> Result<Vec<u64>, StoreError> {
    let failed = io_error("read", Path::new("/dev/urandom"));
    random_numbers(usize::from(shards)).map_err(failed)
}

/// Numbers that nobody can guess.
///
/// # Errors
/// The system has none.
pub fn random_numbers(count: usize) -> io::Result<Vec<u64>> {
    let mut bytes = vec![0; 8 * count];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += getrandom(&mut bytes[filled..], GetRandomFlags::empty())?;
    }
    Ok(bytes.as_chunks::<8>().0.iter().map(|b| u64::from_le_bytes(*b)).collect())
}
