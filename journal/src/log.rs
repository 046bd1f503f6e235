//! The writer of a shard's journal: operations in, batches and requests for IO out.
//!
//! Operations are **staged** with a [`Seq`] each; a message's payload stays where it is until a batch
//! is built. [`Log::fill`] builds one of everything staged, in the driver's buffer, whenever a write may
//! start: while one is under way the next gathers (group commit without a timer). A message that has
//! left its queues before its batch is built is left out: it touches no disk.
//!
//! Lives on its shard, owned by the engine; never blocks, reads no clock. It is told of the end of each
//! write and request by [`Log::done`].

mod room;

use crate::batch::{BATCH_MAX, HEADER, Header, seal};
use crate::io::{Done, Request, Write};
use crate::lsn::{ALIGN, Lsn};
use crate::record::{FRAGMENT_HEAD, Op, Part, Ref, Xid, fragment_head, publish_len, put_publish};
use crate::segments::{Segment, Segments};
use crate::seq::Seq;
use crate::superblock::{State, Superblock};
use smallvec::SmallVec;
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
    /// Size of segments in bytes: a multiple of [`ALIGN`], at least two of them. Less than
    /// [`LogConfig::SEGMENT_MIN`] wastes much of it.
    pub segment: u64,
    /// Writes that may be under way at once.
    pub depth: usize,
}

impl LogConfig {
    /// The smallest segment that anybody should use.
    pub const SEGMENT_MIN: u64 = 1 << 20;
    /// The first segment of a journal is no longer than this, so that the first write need not wait
    /// for many zeros.
    const FIRST: u64 = 4 << 20;

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
}

/// A small record that is kept until it is said to be over, however long: a definition, a decision.
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
    /// Operations already encoded; a root's if `key` is given.
    Bytes {
        bytes: Arc<[u8]>,
        root: bool,
    },
}

impl<P: Payload> Staged<P> {
    /// Bytes in the log, with one fragment's head.
    fn len(&self) -> usize {
        FRAGMENT_HEAD
            + match self {
                Staged::Gone => return 0,
                Staged::Publish { refs, payload, xid, .. } => {
                    publish_len(refs.len(), payload.len()) + xid.map_or(0, |_| 16)
                }
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

    fn adopt_root(&mut self, seq: Seq, key: Key, op: &Op<'_>) {
        let mut bytes = Vec::new();
        op.put(&mut bytes);
        self.segments.born(seq, 1, bytes.len() as u64);
        self.roots.insert(key, Root { seq, bytes: bytes.into() });
    }

    // ---- staging -------------------------------------------------------------------------

    /// The number the next operation gets.
    pub fn next_seq(&self) -> Seq {
        Seq(self.first.0 + self.staged.len() as u64)
    }

    /// The number of the newest operation.
    pub fn last_seq(&self) -> Seq {
        Seq(self.next_seq().0 - 1)
    }

    fn stage(&mut self, op: Staged<P>) -> Seq {
        let seq = self.next_seq();
        self.staged_bytes += op.len() as u64;
        self.staged.push_back(op);
        seq
    }

    fn staged_mut(&mut self, seq: Seq) -> Option<&mut Staged<P>> {
        let at = seq.0.checked_sub(self.first.0)?;
        self.staged.get_mut(usize::try_from(at).ok()?)
    }

    /// Whether a record has not been put into a batch yet.
    pub fn is_staged(&self, seq: Seq) -> bool {
        seq >= self.first
    }

    /// A message is in these queues: 1 to [`REFS_MAX`] places. With `xid` it holds only if that
    /// transaction is decided so.
    pub fn publish(&mut self, refs: Refs, payload: P, xid: Option<Xid>) -> Seq {
        debug_assert!(!refs.is_empty() && refs.len() <= REFS_MAX);
        self.stage(Staged::Publish { refs, payload, xid, again: false })
    }

    /// The same for a message that is in the log already.
    pub(crate) fn publish_again(&mut self, refs: Refs, payload: P, xid: Option<Xid>) -> Seq {
        self.stage(Staged::Publish { refs, payload, xid, again: true })
    }

    /// A message left a queue. `seq` is where its record stands, `len` its payload's length. Returns
    /// what has to be durable for that to be so for good.
    pub fn dequeue(&mut self, at: Ref, seq: Seq, len: usize) -> Seq {
        let taken_back = self.take_back(at, seq);
        if taken_back == Some(Taken::Whole) {
            return self.durable;
        }
        let Ref { queue, position } = at;
        let number = match self.staged.back_mut() {
            Some(Staged::Dequeue { queue: q, last, .. })
                if *q == queue && *last + 1 == position =>
            {
                *last = position;
                self.last_seq()
            }
            _ => self.stage(Staged::Dequeue { queue, first: position, last: position }),
        };
        if taken_back.is_none() {
            self.segments.died(seq, publish_len(1, len) as u64, number);
        }
        number
    }

    /// Takes a place out of a publish that is not written yet.
    fn take_back(&mut self, at: Ref, seq: Seq) -> Option<Taken> {
        let op = self.staged_mut(seq)?;
        let before = op.len();
        let mut taken = Taken::Whole;
        if let Staged::Publish { refs, again, .. } = op
            && let Some(n) = refs.iter().position(|(r, _)| *r == at)
        {
            if *again {
                taken = Taken::Older;
            }
            refs.swap_remove(n);
            if refs.is_empty() {
                *op = Staged::Gone;
            }
        }
        let after = op.len();
        let gone = after == 0;
        self.staged_bytes -= (before - after) as u64;
        self.stats.avoided += u64::from(gone && taken == Taken::Whole);
        Some(taken)
    }

    /// Deliveries from a queue up to a position may have happened. `seq` is where the message at that
    /// position stands: if it is not written yet it is written with that said.
    pub fn delivered(&mut self, at: Ref, seq: Seq) {
        match self.staged_mut(seq) {
            Some(Staged::Publish { refs, again: false, .. }) => {
                if let Some((_, delivered)) = refs.iter_mut().find(|(r, _)| *r == at) {
                    *delivered = true;
                }
            }
            // The older record is still there to be found.
            Some(Staged::Publish { again: true, .. }) | None => {
                let Ref { queue, position } = at;
                if let Some(Staged::Delivered { queue: q, upto }) = self.staged.back_mut()
                    && *q == queue
                {
                    *upto = (*upto).max(position);
                } else {
                    self.stage(Staged::Delivered { queue, upto: position });
                }
            }
            Some(_) => {}
        }
    }

    /// Whether this is the only record of a message, and not written yet.
    pub fn is_unwritten(&self, seq: Seq) -> bool {
        let at = seq.0.checked_sub(self.first.0).and_then(|at| usize::try_from(at).ok());
        let staged = at.and_then(|at| self.staged.get(at));
        matches!(staged, Some(Staged::Publish { again: false, .. }))
    }

    /// Something durable exists from now on. Ids grow.
    pub fn define(&mut self, id: u64, payload: &[u8]) -> Seq {
        self.stage_root(Key::Id(id), &Op::Define { id, payload })
    }

    /// It exists no more.
    pub fn undefine(&mut self, id: u64) -> Seq {
        let number = self.stage_op(&Op::Undefine { id });
        self.drop_root(Key::Id(id), number);
        number
    }

    /// Whether there is a definition with this id.
    pub fn is_defined(&self, id: u64) -> bool {
        self.roots.contains_key(&Key::Id(id))
    }

    /// Decides a transaction that this shard coordinates: it holds. Kept until [`Log::resolved`].
    pub fn decide(&mut self, xid: Xid) -> Seq {
        self.stage_root(Key::Xid(xid), &Op::Decide { xid, commit: true })
    }

    /// Every participant has noted the decision.
    pub fn resolved(&mut self, xid: Xid) {
        let until = self.durable;
        self.drop_root(Key::Xid(xid), until);
    }

    /// A participant notes a decision.
    pub fn note(&mut self, xid: Xid, commit: bool) -> Seq {
        self.stage_op(&Op::Decide { xid, commit })
    }

    fn stage_op(&mut self, op: &Op<'_>) -> Seq {
        let mut bytes = Vec::new();
        op.put(&mut bytes);
        self.stage(Staged::Bytes { bytes: bytes.into(), root: false })
    }

    fn stage_root(&mut self, key: Key, op: &Op<'_>) -> Seq {
        let mut bytes = Vec::new();
        op.put(&mut bytes);
        self.restage_root(key, bytes.into())
    }

    fn restage_root(&mut self, key: Key, bytes: Arc<[u8]>) -> Seq {
        let seq = self.stage(Staged::Bytes { bytes: Arc::clone(&bytes), root: true });
        self.roots.insert(key, Root { seq, bytes });
        seq
    }

    fn drop_root(&mut self, key: Key, until: Seq) {
        let Some(root) = self.roots.remove(&key) else { return };
        match self.staged_mut(root.seq) {
            // Written all the same, but it counts for nothing.
            Some(Staged::Bytes { root, .. }) => *root = false,
            Some(_) => {}
            None => self.segments.died(root.seq, root.bytes.len() as u64, until),
        }
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

    // ---- writing -------------------------------------------------------------------------

    /// Bytes of buffer for a batch that may be written now.
    pub fn next_write(&mut self) -> Option<usize> {
        self.skip_gone();
        let wanted = self.staged_bytes as usize + self.spill.len() - self.spilled;
        if wanted == 0 && !self.vouch || self.writes.len() >= self.config.depth {
            return None;
        }
        if self.closed {
            // What follows the end that the superblock notes would be taken for damage.
            if self.superblock.state != State::Running {
                self.superblock.state = State::Running;
                self.superblock_stale = true;
            }
            return None;
        }
        self.prepare_ahead();
        if self.rest() == 0 && !self.next_segment() {
            return None;
        }
        let most = BATCH_MAX.min(usize::try_from(self.rest()).unwrap_or(BATCH_MAX));
        Some((HEADER + FRAGMENT_HEAD + wanted).next_multiple_of(ALIGN).min(most))
    }

    /// Drops what was taken back from the front; if nothing is left, nothing has to be waited for.
    pub fn skip_gone(&mut self) {
        while let Some(Staged::Gone) = self.staged.front() {
            self.staged.pop_front();
            self.first = self.first.next();
        }
        if self.staged.is_empty() && self.spill.is_empty() {
            let last = self.last_seq();
            match self.writes.back_mut() {
                Some(write) => write.seq = last,
                None => self.durable = last,
            }
            if self.staged.capacity() > 4096 {
                self.staged.shrink_to(1024);
            }
        }
    }

    /// Goes on to the next segment, if it is there.
    fn next_segment(&mut self) -> bool {
        let Some(next) = self.ahead.pop_front_if(|a| a.ready) else { return false };
        debug_assert_eq!(next.base, self.head);
        // A record that is under way began in an earlier one.
        self.segments.push(Segment::new(next.base, next.len, self.first));
        self.prepare_ahead();
        true
    }

    /// Asks for segments, so that two are ready before they are needed.
    fn prepare_ahead(&mut self) {
        while self.ahead.len() < 2 {
            let end = self.segments.current().map_or(self.head, Segment::end);
            let base = self.ahead.back().map_or(end, |a| Lsn(a.base.0 + a.len));
            let first = base == Lsn(0);
            let len = if first { self.config.first() } else { self.config.segment };
            self.ahead.push_back(Ahead { base, len, ready: false });
            self.requests.push_back(Request::Prepare { segment: base, len });
        }
    }

    /// Builds the batch in the driver's buffer, which is as long as [`Log::next_write`] said.
    ///
    /// # Panics
    /// If that was `None`.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Write {
        let room = buffer.len().min(usize::try_from(self.rest()).unwrap_or(usize::MAX));
        let room = room.min(BATCH_MAX) / ALIGN * ALIGN;
        assert!(room >= ALIGN, "a batch needs a segment");
        let mut body = Body { bytes: &mut buffer[HEADER..room], len: 0, fragments: 0 };
        let first_seq = self.first;
        self.continue_spill(&mut body);
        while self.spill.is_empty() && body.room() > FRAGMENT_HEAD {
            let Some(op) = self.staged.pop_front() else { break };
            let seq = self.first;
            self.first = seq.next();
            self.put(seq, op, &mut body);
        }
        let (len, fragments) = (body.len, body.fragments);
        let batch = (HEADER + len).next_multiple_of(ALIGN);
        let header = Header {
            salt: self.superblock.salt,
            lsn: self.head,
            synced_lsn: self.durable_lsn,
            epoch: self.superblock.epoch,
            shard: self.superblock.shard,
            records: fragments,
            prev_crc: self.prev_crc,
        };
        self.segments.mark(self.head, first_seq);
        self.prev_crc = seal(&header, &mut buffer[..batch], len);
        self.vouched = self.durable_lsn;
        self.vouch = false;
        if fragments > 0 {
            self.written = self.head.after(batch);
        }
        let number = self.next_write;
        self.next_write += 1;
        let current = self.segments.current().expect("there is room in it");
        let (segment, offset) = (current.base, self.head.0 - current.base.0);
        self.head = self.head.after(batch);
        // The last record is complete only if nothing of it is left. What was taken back since it
        // began has been passed over already.
        let next = if self.spill.is_empty() { self.first } else { self.spilling };
        let seq = Seq(next.0 - 1);
        self.writes.push_back(InFlight { number, end: self.head, seq, done: false });
        self.stats.batches += 1;
        self.stats.bytes += batch as u64;
        Write { number, segment, offset, len: batch }
    }

    /// Goes on with the record that did not fit into the last batch.
    fn continue_spill(&mut self, body: &mut Body<'_>) {
        if self.spill.is_empty() {
            return;
        }
        let first = self.spilled == 0;
        self.spilled += body.fragment(first, &self.spill[self.spilled..]);
        if self.spilled == self.spill.len() {
            self.spilled = 0;
            self.spill.clear();
            if self.spill.capacity() > BATCH_MAX {
                self.spill = Vec::new();
            }
        }
    }

    fn put(&mut self, seq: Seq, op: Staged<P>, body: &mut Body<'_>) {
        let len = op.len();
        self.staged_bytes -= len as u64;
        if len == 0 {
            return;
        }
        self.stats.records += 1;
        let scratch = &mut self.scratch;
        scratch.clear();
        match op {
            Staged::Gone => return,
            Staged::Publish { refs, payload, xid, again: _ } => {
                if let Some(xid) = xid {
                    Op::Prepare(xid).put(scratch);
                }
                put_publish(scratch, &refs, payload.len());
                let bytes = publish_len(1, payload.len()) as u64;
                self.segments.born(seq, refs.len(), bytes);
                if body.room() >= len {
                    body.whole(&[scratch], |out| payload.put(out), payload.len());
                    return;
                }
                let head = scratch.len();
                scratch.resize(head + payload.len(), 0);
                payload.put(&mut scratch[head..]);
            }
            Staged::Dequeue { queue, first, last } => {
                Op::Dequeue { queue, first, last }.put(scratch)
            }
            Staged::Delivered { queue, upto } => Op::Delivered { queue, upto }.put(scratch),
            Staged::Bytes { bytes, root } => {
                if root {
                    self.segments.born(seq, 1, bytes.len() as u64);
                }
                scratch.extend_from_slice(&bytes);
            }
        }
        if body.room() >= len {
            body.whole(&[scratch], |_| {}, 0);
        } else {
            std::mem::swap(&mut self.spill, scratch);
            self.spilling = seq;
            self.continue_spill(body);
        }
    }

    // ---- requests and their ends ---------------------------------------------------------

    /// The next thing to be done besides writing batches.
    pub fn next_request(&mut self) -> Option<Request> {
        self.free_segments();
        self.write_superblock();
        self.requests.pop_front()
    }

    /// A write or request has ended. What was read is for [`Log::cleaned`].
    pub fn done(&mut self, done: Done) {
        match done {
            Done::Written { number } => self.written(number),
            Done::Prepared { segment } => {
                if let Some(ahead) = self.ahead.iter_mut().find(|a| a.base == segment) {
                    ahead.ready = true;
                }
                self.full &= self.ahead.iter().any(|a| !a.ready);
            }
            Done::Full { .. } => self.full = true,
            Done::Retired { .. } => self.retiring -= 1,
            Done::Superblock => {
                self.superblock_busy = false;
                self.closed &= self.superblock_stale || self.superblock.state != State::Running;
                for _ in 0..std::mem::take(&mut self.leaving) {
                    if let Some(Segment { base, len, .. }) = self.segments.pop() {
                        self.retiring += 1;
                        self.stats.freed += 1;
                        self.requests.push_back(Request::Retire { segment: base, len });
                    }
                }
            }
            Done::Read { bytes, .. } => self.cleaner.read(bytes),
        }
    }

    fn written(&mut self, number: u64) {
        if let Some(write) = self.writes.iter_mut().find(|w| w.number == number) {
            write.done = true;
        }
        while let Some(write) = self.writes.pop_front_if(|w| w.done) {
            self.durable_lsn = write.end;
            self.durable = write.seq;
        }
        self.skip_gone();
    }

    /// Gives up the oldest segments that hold nothing any more: in the superblock first.
    fn free_segments(&mut self) {
        if self.leaving > 0 || self.superblock_busy {
            return;
        }
        let free = match self.cleaner.is_idle() {
            true => self.segments.free(self.durable, self.durable_lsn),
            false => 0, // It reads the oldest.
        };
        let pinned = self.pins.keys().next();
        let unread = |s: &&Segment| pinned.is_none_or(|pinned| s.base < *pinned);
        let free = self.segments.iter().take(free).take_while(unread).count();
        if free > 0 {
            self.leaving = free;
            let oldest = self.segments.iter().nth(free).map_or(self.head, |s| s.base);
            self.superblock.oldest_lsn = oldest;
            self.superblock_stale = true;
        }
    }

    fn write_superblock(&mut self) {
        if !self.superblock_stale || self.superblock_busy {
            return;
        }
        self.superblock_stale = false;
        self.superblock_busy = true;
        self.superblock.sequence += 1;
        let bytes = Box::new(self.superblock.encode());
        self.requests.push_back(Request::Superblock { slot: self.slot, bytes });
        self.slot = 1 - self.slot;
    }

    /// Notes a clean stop: where the log ends. Only when it is idle. What is staged afterwards opens it
    /// again.
    pub fn close(&mut self) {
        debug_assert!(self.is_idle());
        self.closed = true;
        // The superblock vouches for all of it.
        self.vouch = false;
        self.superblock.state = State::Clean { end: self.head, crc: self.prev_crc };
        self.superblock_stale = true;
    }

    /// Whether [`Log::close`] was called, and nothing was staged since.
    pub fn is_closing(&self) -> bool {
        self.superblock.state != State::Running && self.staged.is_empty()
    }

    /// Whether that is on disk.
    pub fn is_closed(&self) -> bool {
        self.is_closing() && !self.superblock_busy && !self.superblock_stale
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

/// The body of a batch being built.
struct Body<'a> {
    bytes: &'a mut [u8],
    len: usize,
    fragments: u16,
}

impl Body<'_> {
    fn room(&self) -> usize {
        if self.fragments == u16::MAX { 0 } else { self.bytes.len() - self.len }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// A record that fits.
    fn whole(&mut self, parts: &[&[u8]], put: impl FnOnce(&mut [u8]), put_len: usize) {
        let len = parts.iter().map(|p| p.len()).sum::<usize>() + put_len;
        self.append(&fragment_head(Part::Whole, len));
        parts.iter().for_each(|p| self.append(p));
        put(&mut self.bytes[self.len..self.len + put_len]);
        self.len += put_len;
        self.fragments += 1;
    }

    /// As much of a record as fits; how much that is. Nothing if there is not even room for its head.
    fn fragment(&mut self, first: bool, rest: &[u8]) -> usize {
        if self.room() <= FRAGMENT_HEAD {
            return 0;
        }
        let len = rest.len().min(self.room() - FRAGMENT_HEAD);
        self.append(&fragment_head(Part::of(first, len == rest.len()), len));
        self.append(&rest[..len]);
        self.fragments += 1;
        len
    }
}
