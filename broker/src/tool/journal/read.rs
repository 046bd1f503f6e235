//! Reading one shard's journal, and what came of it.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::path::Path;

use fletch_journal::record::{RecordError, ops};
use fletch_journal::recovery::{Damage, Span, Walked, Walker};
use fletch_journal::{Lsn, Op};
use fletch_shards::store::{Loader, SegmentFile, ShardFiles, StoreError};

use crate::tool::progress::Progress;

/// A shard's journal, read.
#[derive(Debug)]
pub(super) struct Shard {
    pub(super) files: ShardFiles,
    pub(super) walked: Walked,
    /// What is damaged, in the order in which it was met.
    pub(super) damage: Vec<Damage>,
    /// What its segments hold.
    pub(super) contents: Vec<Contents>,
}

/// What a segment holds.
#[derive(Clone, Debug, Default)]
pub(super) struct Contents {
    /// Bytes up to the end of its last batch.
    pub(super) used: u64,
    pub(super) batches: u64,
    /// Records that begin in it.
    pub(super) records: u64,
    /// The first batch.
    pub(super) first: Option<Lsn>,
    /// The last batch.
    pub(super) last: Option<Lsn>,
}

/// Opens and reads a shard's journal, past whatever is damaged. `visit` is given the place of each operation, and may
/// end it all early.
pub(super) fn read(
    dir: &Path,
    mut visit: impl FnMut(Lsn, Op<'_>) -> ControlFlow<()>,
) -> Result<Shard, StoreError> {
    let files = ShardFiles::open(dir)?;
    let segments = &files.segments;
    let mut contents = vec![Contents::default(); segments.len()];
    let mut progress = Progress::bytes(segments.iter().map(|s| s.len).sum(), "reading");
    let mut walker = match Walker::new(&files.superblock, files.sizes(), true) {
        Ok(walker) => walker,
        Err(damage) => {
            let walked = Walked { end: files.superblock.oldest_lsn, ..Walked::default() };
            return Ok(Shard { files, walked, damage: vec![damage], contents });
        }
    };
    let (stop, mut records) = (Cell::new(false), vec![0; segments.len()]);
    let mut visit = |span: Span, record: &[u8]| -> Result<(), RecordError> {
        ops(record).try_for_each(|op| op.map(|_| ()))?;
        if let Some(at) = segment_of(segments, span.begin) {
            records[at] += 1;
        }
        let mut all = ops(record).flatten();
        stop.set(stop.get() || all.any(|op| visit(span.begin, op).is_break()));
        Ok(())
    };
    let mut failed = None;
    let mut loader = Loader::new(&files)?;
    while let Some(at) = walker.wants() {
        let (from, batches) = (walker.walked().end, walker.walked().batches.len());
        let step = walker.step(loader.look(at)?, &mut visit);
        let to = walker.walked().end;
        progress.advance(to.0 - from.0);
        if walker.walked().batches.len() > batches
            && let Some(at) = segment_of(segments, from)
        {
            let contents = &mut contents[at];
            contents.used = to.0 - segments[at].base.0;
            contents.batches += 1;
            contents.first.get_or_insert(from);
            contents.last = Some(from);
        }
        if let Err(damage) = step {
            failed = Some(damage);
            break;
        }
        if stop.get() {
            break;
        }
    }
    progress.finish();
    let walked = walker.finish();
    for (contents, records) in contents.iter_mut().zip(records) {
        contents.records = records;
    }
    let damage = walked.lost.iter().map(|lost| lost.damage.clone()).chain(failed).collect();
    drop(loader);
    Ok(Shard { files, walked, damage, contents })
}

/// The segment in which a position is.
fn segment_of(segments: &[SegmentFile], lsn: Lsn) -> Option<usize> {
    segments.partition_point(|segment| segment.base <= lsn).checked_sub(1)
}
