//! Reading the journals of a generation: each on a thread of its own, side by side.

use super::start::RecoverError;
use super::{Generation, Loader, ShardFiles, StoreError};
use fletch_engine::ShardRestore;
use fletch_journal::Lsn;
use fletch_journal::recovery::{Damage, Walked, Walker};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Bytes of messages that a start keeps in memory, all shards together: the oldest, so that the first
/// consumers need not wait for the disk. The others stay on it until they are wanted: taking them in would
/// cost more than reading them does, and of a large backlog most had to leave again.
const WARM: u64 = 16 << 20;

/// How often progress is told.
const TELL: Duration = Duration::from_secs(1);

/// How far reading has come, all shards together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Progress {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes there are, at most: the files' sizes.
    pub total: u64,
    /// Records found.
    pub records: u64,
    /// Since when.
    pub elapsed: Duration,
}

/// A journal that is damaged.
#[derive(Debug, thiserror::Error)]
#[error("{}: {damage}", path.display())]
pub struct ShardDamage {
    /// The shard's directory.
    pub path: PathBuf,
    /// Where and what.
    #[source]
    pub damage: Damage,
}

/// One journal, read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) restore: ShardRestore,
    pub(super) walked: Walked,
}

#[derive(Default)]
struct Counter {
    bytes: AtomicU64,
    records: AtomicU64,
}

/// The segments of a journal that are in use, by their first LSN and length.
pub(super) fn in_use(files: &ShardFiles) -> impl Iterator<Item = (Lsn, u64)> + '_ {
    let oldest = files.superblock.oldest_lsn;
    files.sizes().filter(move |(base, len)| base.0 + len > oldest.0)
}

/// Reads all journals; of messages, no more than so many bytes are kept in memory. Damage in one does not keep
/// the others from being read: all of it is returned.
pub(super) fn read(
    generation: &Generation,
    salvage: bool,
    memory: u64,
    tell: &(dyn Fn(Progress) + Sync),
) -> Result<Vec<Read>, RecoverError> {
    let memory = memory.min(WARM) / generation.shards.len().max(1) as u64;
    let began = Instant::now();
    let total = generation.shards.iter().flat_map(in_use).map(|(_, len)| len).sum();
    let counters: Vec<Counter> = generation.shards.iter().map(|_| Counter::default()).collect();
    let running = AtomicUsize::new(generation.shards.len());
    let progress = || Progress {
        bytes: counters.iter().map(|c| c.bytes.load(Relaxed)).sum(),
        total,
        records: counters.iter().map(|c| c.records.load(Relaxed)).sum(),
        elapsed: began.elapsed(),
    };
    let results: Vec<Result<Read, Failed>> = std::thread::scope(|scope| {
        let teller = scope.spawn(|| {
            let mut told = Instant::now();
            while running.load(Relaxed) > 0 {
                std::thread::park_timeout(TELL);
                if told.elapsed() >= TELL && running.load(Relaxed) > 0 {
                    told = Instant::now();
                    tell(progress());
                }
            }
        });
        let threads: Vec<_> = generation
            .shards
            .iter()
            .zip(&counters)
            .map(|(files, counter)| scope.spawn(move || read_one(files, salvage, memory, counter)))
            .collect();
        let results = threads
            .into_iter()
            .map(|thread| {
                let result = thread.join();
                running.fetch_sub(1, Relaxed);
                // A panic here is a bug of ours, and goes on where it can be seen.
                result.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
            .collect();
        teller.thread().unpark();
        results
    });
    tell(progress());
    let (mut read, mut damage) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(one) => read.push(one),
            Err(Failed::Damaged(error)) => damage.push(error),
            // What cannot be read cannot be passed over either.
            Err(Failed::Unread(error)) => return Err(error.into()),
        }
    }
    if damage.is_empty() { Ok(read) } else { Err(RecoverError::Damaged(damage)) }
}

enum Failed {
    Damaged(ShardDamage),
    Unread(StoreError),
}

fn read_one(
    files: &ShardFiles,
    salvage: bool,
    memory: u64,
    counter: &Counter,
) -> Result<Read, Failed> {
    let damaged = |damage| Failed::Damaged(ShardDamage { path: files.path.clone(), damage });
    let mut walker = Walker::new(&files.superblock, files.sizes(), salvage).map_err(damaged)?;
    let mut restore = ShardRestore::new(files.superblock.shard, in_use(files), memory);
    let mut loader = Loader::new(files).map_err(Failed::Unread)?;
    let from = files.superblock.oldest_lsn.0;
    while let Some(at) = walker.wants() {
        let bytes = loader.look(at).map_err(Failed::Unread)?;
        let mut visit = |span: fletch_journal::recovery::Span, record: &[u8]| {
            restore.record(span.begin, record)
        };
        walker.step(bytes, &mut visit).map_err(damaged)?;
        counter.bytes.store(walker.walked().end.0 - from, Relaxed);
        counter.records.store(restore.records(), Relaxed);
    }
    Ok(Read { restore, walked: walker.finish() })
}
