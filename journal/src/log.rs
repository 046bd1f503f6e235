//! The writer of a shard's journal: operations in, batches and requests for IO out.
//!
//! Operations are **staged** with a [`Seq`] each; a message's payload stays where it is until a batch
//! is built. [`Log::fill`] builds one of everything staged, in the driver's buffer, whenever a write may
//! start: while one is under way the next gathers (group commit without a timer). A message that has
//! left its queues before its batch is built is left out: it touches no disk.
//!
//! Lives on its shard, owned by the engine; never blocks, reads no clock. It is told of the end of each
//! write and request by [`Log::done`].

mod remembered;
mod requests;
mod room;
mod staging;
mod write;

use crate::io::Request;
use crate::lsn::Lsn;
use crate::record::{FRAGMENT_HEAD, Op, Ref, Xid, publish_len};
use crate::segments::{Segment, Segments};
use crate::seq::Seq;
use crate::superblock::{State, Superblock};
pub use remembered::Remembered;
use smallvec::SmallVec;
use staging::prepared;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// What a publish carries: a message, as the engine keeps it.
pub trait Payload {
    /// Bytes it takes in the log.
    fn len(&self) -> usize;

    /// Whether that is none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes itself; `out` is exactly that long.
    fn put(&self, out: &mut [u8]);
}

/// The places of one message, nearly always one; each with whether a delivery from there may have
/// happened.
pub type Refs = SmallVec<[(Ref, bool); 1]>;

/// Places of one publish at most: a wider fan-out within a shard is several records.
pub const REFS_MAX: usize = 10_000;

/// How a log is set up.
#[derive(Clone, Copy, Debug)]
pub struct LogConfig {
    /// Size of segments in bytes: a multiple of [`ALIGN`](crate::ALIGN), at least two of them. Less than
    /// [`LogConfig::SEGMENT_MIN`] wastes much of it.
    pub segment: u64,
    /// Writes that may be under way at once.
    pub depth: usize,
}

impl LogConfig {
    /// The smallest segment that anybody should use.
    pub const SEGMENT_MIN: u64 = 1 << 20;
    /// The first segment of a journal is no longer than this, so that neither the start nor the first
    /// write need wait for many zeros.
    const FIRST: u64 = 1 << 20;

    /// The size of a journal's first segment.
    pub fn first(&self) -> u64 {
        self.segment.min(Self::FIRST)
    }
}

/// What a root is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Id(u64),
    Xid(Xid),
    /// The dequeues that are prepared under a transaction.
    Prepared(Xid),
}

/// A small record that is kept until it is said to be over, however long: a definition, a decision, dequeues
/// that are prepared.
#[derive(Clone, Debug)]
struct Root {
    seq: Seq,
    bytes: Arc<[u8]>,
}

#[derive(Debug)]
enum Staged<P> {
    /// Taken back before it was written.
    Gone,
    Publish {
        refs: Refs,
        payload: P,
        xid: Option<Xid>,
        /// An older record of it is in the log.
        again: bool,
        /// What its record says besides, which stays if the message leaves before it is written.
        with: Option<Box<Remembered>>,
    },
    Dequeue {
        queue: u64,
        first: u64,
        last: u64,
    },
    Delivered {
        queue: u64,
        upto: u64,
    },
    /// What is to be remembered.
    Remember(Box<Remembered>),
    /// Operations already encoded; a root's if `key` is given.
    Bytes {
        bytes: Arc<[u8]>,
        root: bool,
    },
}

impl<P> Staged<P> {
    fn is_gone(&mut self) -> bool {
        matches!(self, Staged::Gone)
    }
}

impl<P: Payload> Staged<P> {
    /// Bytes in the log, with one fragment's head.
    fn len(&self) -> usize {
        FRAGMENT_HEAD
            + match self {
                Staged::Gone => return 0,
                Staged::Publish { refs, payload, xid, with, .. } => {
                    let besides = with.as_ref().map_or(0, |with| with.len());
                    publish_len(refs.len(), payload.len()) + xid.map_or(0, |_| 16) + besides
                }
                Staged::Remember(remembered) => remembered.len(),
                Staged::Dequeue { .. } => 32,
                Staged::Delivered { .. } => 24,
                Staged::Bytes { bytes, .. } => bytes.len(),
            }
    }
}

/// What a place was taken out of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    /// The only record of it.
    Whole,
    /// A second one: the first is in the log.
    Older,
}

#[derive(Debug)]
struct InFlight {
    number: u64,
    end: Lsn,
    /// The last record that is complete with it.
    seq: Seq,
    done: bool,
}

/// A segment that is or will be there before it is needed.
#[derive(Debug)]
struct Ahead {
    base: Lsn,
    len: u64,
    ready: bool,
}

/// What a log holds, for management and for tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Batches written.
    pub batches: u64,
    /// Bytes written, headers and padding included.
    pub bytes: u64,
    /// Records written.
    pub records: u64,
    /// Staged and taken back before they were written.
    pub avoided: u64,
    /// Records written again by the cleaner.
    pub relocated: u64,
    /// Segments recycled.
    pub freed: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Log<P> {
    config: LogConfig,
    superblock: Superblock,
    /// The slot the next superblock goes to.
    slot: u8,
    superblock_busy: bool,
    superblock_stale: bool,
    /// A superblock on the disk may say that the log was closed.
    closed: bool,
    staged: VecDeque<Staged<P>>,
    /// The number of the first of those.
    first: Seq,
    staged_bytes: u64,
    /// The rest of a record that did not fit into its batch.
    spill: Vec<u8>,
    spilled: usize,
    /// That record's number.
    spilling: Seq,
    pub(crate) segments: Segments,
    ahead: VecDeque<Ahead>,
    full: bool,
    head: Lsn,
    prev_crc: u32,
    writes: VecDeque<InFlight>,
    next_write: u64,
    durable_lsn: Lsn,
    durable: Seq,
    /// The newest `synced_lsn` in the log.
    vouched: Lsn,
    /// The end of the last batch that holds records.
    written: Lsn,
    vouch: bool,
    roots: BTreeMap<Key, Root>,
    requests: VecDeque<Request>,
    /// Segments that are being read, and how often.
    pins: BTreeMap<Lsn, u32>,
    /// Segments given up in the superblock under way: recycled when it is durable.
    leaving: usize,
    retiring: usize,
    pub(crate) cleaner: crate::cleaner::Cleaner,
    pub(crate) stats: LogStats,
    scratch: Vec<u8>,
}

/// Where a log goes on after recovery.
#[derive(Clone, Debug)]
pub struct Position {
    /// The newest superblock, as it is on disk now.
    pub superblock: Superblock,
    /// The slot it stands in.
    pub slot: u8,
    /// The segments, oldest first, each with the number recovery gave to the first record that begins
    /// in it; those behind the end included.
    pub segments: Vec<(Lsn, u64, Seq)>,
    /// Batches here and there, with the number recovery gave to the first record that begins there.
    pub marks: Vec<(Lsn, Seq)>,
    /// Where the next batch goes.
    pub end: Lsn,
    /// The checksum it chains to.
    pub end_crc: u32,
    /// The last number recovery gave.
    pub last: Seq,
}

impl Position {
    /// The beginning of a log that nobody reads again after this run: its first record gets the number
    /// after `last`. Its salt is as secret as that of a journal.
    pub fn volatile(shard: u16, salt: u64, last: Seq) -> Position {
        let superblock = Superblock {
            shard,
            shards: 1,
            sequence: 0,
            salt,
            incarnation: 0,
            oldest_lsn: Lsn(0),
            epoch: 0,
            state: State::Running,
        };
        let (segments, marks) = (Vec::new(), Vec::new());
        Position { superblock, slot: 0, segments, marks, end: Lsn(0), end_crc: 0, last }
    }
}

impl<P: Payload> Log<P> {
    /// A log that goes on at a position. What is live in it is told by [`Log::adopt`],
    /// [`Log::adopt_definition`] and [`Log::adopt_decision`] next.
    pub fn new(config: LogConfig, position: Position) -> Log<P> {
        let mut segments = Segments::default();
        let mut ahead = VecDeque::new();
        for (base, len, first) in position.segments {
            if base < position.end || (base == position.end && segments.current().is_none()) {
                segments.push(Segment::new(base, len, first));
            } else {
                ahead.push_back(Ahead { base, len, ready: true });
            }
        }
        position.marks.into_iter().for_each(|(lsn, seq)| segments.mark(lsn, seq));
        Log {
            config,
            superblock: position.superblock,
            slot: 1 - position.slot,
            superblock_busy: false,
            superblock_stale: false,
            closed: false,
            staged: VecDeque::new(),
            first: position.last.next(),
            staged_bytes: 0,
            spill: Vec::new(),
            spilled: 0,
            spilling: Seq::NONE,
            segments,
            ahead,
            full: false,
            head: position.end,
            prev_crc: position.end_crc,
            writes: VecDeque::new(),
            next_write: 0,
            durable_lsn: position.end,
            durable: position.last,
            // What recovery accepted without a voucher has none.
            vouched: Lsn(0),
            written: position.end,
            vouch: false,
            roots: BTreeMap::new(),
            requests: VecDeque::new(),
            pins: BTreeMap::new(),
            leaving: 0,
            retiring: 0,
            cleaner: crate::cleaner::Cleaner::default(),
            stats: LogStats::default(),
            scratch: Vec::new(),
        }
    }

    /// A live record that recovery found: its number, how many places refer to it, its bytes.
    pub fn adopt(&mut self, seq: Seq, refs: usize, len: u64) {
        self.segments.born(seq, refs, len);
    }

    /// A live definition that recovery found.
    pub fn adopt_definition(&mut self, seq: Seq, id: u64, payload: &[u8]) {
        self.adopt_root(seq, Key::Id(id), &Op::Define { id, payload });
    }

    /// A decision that recovery found and that a participant still has to note.
    pub fn adopt_decision(&mut self, seq: Seq, xid: Xid) {
        self.adopt_root(seq, Key::Xid(xid), &Op::Decide { xid, commit: true });
    }

    /// Dequeues that recovery found prepared, without a decision.
    pub fn adopt_prepared(
        &mut self,
        seq: Seq,
        xid: Xid,
        ranges: impl Iterator<Item = (u64, u64, u64)>,
    ) {
        self.adopt_bytes(seq, Key::Prepared(xid), prepared(xid, ranges));
    }

    /// Things that recovery found remembered in a record.
    pub fn adopt_remembered(&mut self, seq: Seq, count: u64, bytes: u64) {
        self.segments.hold(seq, count, bytes);
    }

    fn adopt_root(&mut self, seq: Seq, key: Key, op: &Op<'_>) {
        let mut bytes = Vec::new();
        op.put(&mut bytes);
        self.adopt_bytes(seq, key, bytes);
    }

    fn adopt_bytes(&mut self, seq: Seq, key: Key, bytes: Vec<u8>) {
        self.segments.born(seq, 1, bytes.len() as u64);
        self.roots.insert(key, Root { seq, bytes: bytes.into() });
    }

    // ---- state ---------------------------------------------------------------------------

    /// All up to this one is durable.
    pub fn durable(&self) -> Seq {
        self.durable
    }

    /// Bytes left in the segment written to.
    fn rest(&self) -> u64 {
        self.segments.current().map_or(0, |s| s.end().0 - self.head.0)
    }

    /// Bytes of the log from the oldest segment to the head.
    pub fn used(&self) -> u64 {
        self.segments.oldest().map_or(0, |s| self.head.0 - s.base.0)
    }

    /// Bytes of live records.
    pub fn live_bytes(&self) -> u64 {
        self.segments.live_bytes()
    }

    /// The segments, oldest first.
    pub fn segments(&self) -> impl ExactSizeIterator<Item = &Segment> {
        self.segments.iter()
    }

    /// Counters.
    pub fn stats(&self) -> LogStats {
        self.stats
    }

    /// Bytes staged and not yet in a batch.
    pub fn staged_bytes(&self) -> u64 {
        self.staged_bytes
    }

    /// Whether nothing is staged or under way.
    pub fn is_idle(&self) -> bool {
        self.staged.is_empty()
            && self.spill.is_empty()
            && self.writes.is_empty()
            && self.requests.is_empty()
            && !self.superblock_busy
            && !self.superblock_stale
            && self.retiring == 0
            && self.pins.is_empty()
            && self.cleaner.is_idle()
            && self.ahead.iter().all(|a| a.ready || self.full)
    }

    /// Whether something is durable that no later batch says so of: damage to it would look like a
    /// write that a crash tore.
    pub fn is_unvouched(&self) -> bool {
        self.vouched < self.written
            && self.superblock.state == State::Running
            && self.staged.is_empty()
            && self.is_written_out()
    }

    /// Writes an empty batch that vouches for all before it.
    pub fn vouch(&mut self) {
        self.vouch = self.is_unvouched() && self.segments.current().is_some();
    }

    // ---- reading back --------------------------------------------------------------------

    /// A batch at or before the one in which a record begins, not far before it.
    pub fn batch_of(&self, seq: Seq) -> Option<Lsn> {
        if self.is_staged(seq) { None } else { self.segments.batch_of(seq) }
    }

    /// What can be read at a place in one go, which has to be durable: segment, offset and length, of so
    /// many bytes at most.
    pub fn slice_at(&self, at: Lsn, most: usize) -> Option<(Lsn, u64, usize)> {
        let s = self.segments.iter().find(|s| s.base <= at && at < s.end())?;
        let end = s.end().min(self.durable_lsn);
        let len = usize::try_from(end.0.checked_sub(at.0)?).map_or(most, |len| len.min(most));
        (len > 0).then(|| (s.base, at.0 - s.base.0, len))
    }

    /// Keeps a segment from being given up while it is read, until [`Log::unpin`].
    pub fn pin(&mut self, segment: Lsn) {
        *self.pins.entry(segment).or_insert(0) += 1;
    }

    /// The read is over.
    pub fn unpin(&mut self, segment: Lsn) {
        if let Some(pins) = self.pins.get_mut(&segment) {
            *pins -= 1;
            if *pins == 0 {
                self.pins.remove(&segment);
            }
        }
    }

    /// Asks the driver for something on the engine's behalf.
    pub fn ask(&mut self, request: Request) {
        self.requests.push_back(request);
    }

    // ---- for the cleaner -----------------------------------------------------------------

    pub(crate) fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Whether all that is in the log is durable, and no record is begun and not ended.
    pub(crate) fn is_written_out(&self) -> bool {
        self.spill.is_empty() && self.writes.is_empty()
    }

    pub(crate) fn durable_lsn(&self) -> Lsn {
        self.durable_lsn
    }

    pub(crate) fn segment_of(&self, seq: Seq) -> Option<&Segment> {
        if self.is_staged(seq) { None } else { self.segments.of(seq) }
    }

    /// A live message's record was staged again: what it was before counts no more.
    pub(crate) fn moved(&mut self, old: Seq, len: usize, new: Seq) {
        self.segments.died(old, publish_len(1, len) as u64, new);
    }

    /// Stages the roots again that stand in a segment.
    pub(crate) fn relocate_roots(&mut self, base: Lsn) {
        let here = |root: &Root| self.segment_of(root.seq).is_some_and(|s| s.base == base);
        let all: Vec<(Key, Root)> =
            self.roots.iter().filter(|(_, r)| here(r)).map(|(k, r)| (*k, r.clone())).collect();
        for (key, root) in all {
            let new = self.restage_root(key, Arc::clone(&root.bytes));
            self.segments.died(root.seq, root.bytes.len() as u64, new);
            self.stats.relocated += 1;
        }
    }
}
