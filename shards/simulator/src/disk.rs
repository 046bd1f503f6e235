//! The disk of one shard's journal, in memory, with everything that a disk may do to it.
//!
//! What has been asked for is *under way* until the seed lets it end, in any order; only the files'
//! own operations (made, recycled) keep theirs, as one thread does them. A crash decides for each
//! write under way whether it is on the disk: whole, not at all, or some of its sectors. What was
//! reported done is on the disk for good, unless the seed's disk *lies*.

use crate::rng::Rng;
use fletch_journal::{ALIGN, Done, Lsn, Request, SLOT, Write};
use std::collections::{BTreeMap, VecDeque};

/// What a disk writes whole or not at all.
const SECTOR: usize = 512;

/// Writes that a lying disk may take back.
const RECENT: usize = 6;

/// A write, or read, that has not ended.
#[derive(Clone, Debug)]
enum Op {
    Write { number: u64, segment: Lsn, offset: usize, bytes: Vec<u8> },
    Superblock { slot: u8, bytes: Box<[u8; SLOT]> },
    Read { number: u64, segment: Lsn, offset: usize, len: usize },
}

/// What the thread for files has to do.
#[derive(Clone, Copy, Debug)]
enum FileOp {
    Prepare {
        segment: Lsn,
        len: u64,
        /// It was said that there is no room.
        refused: bool,
    },
    Retire {
        segment: Lsn,
    },
}

/// A write that was reported done, and what stood there before.
#[derive(Clone, Debug)]
struct Recent {
    segment: Lsn,
    offset: usize,
    before: Vec<u8>,
}

/// What became of a write that a crash met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Kept,
    Dropped,
    Torn,
}

/// What a crash did.
#[derive(Clone, Debug, Default)]
pub(crate) struct Damages {
    /// Of batches, in the order they were started in.
    pub(crate) writes: Vec<Fate>,
    pub(crate) superblock: Option<Fate>,
}

/// What a lying disk did, and where in the log.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lie {
    pub(crate) at: Lsn,
    pub(crate) lost: bool,
}

/// See the module.
#[derive(Clone, Debug)]
pub(crate) struct Disk {
    segments: BTreeMap<Lsn, Vec<u8>>,
    superblock: Vec<u8>,
    pool: Vec<Vec<u8>>,
    under_way: Vec<Op>,
    files: VecDeque<FileOp>,
    /// Bytes that files may take, those in the pool included.
    space: u64,
    /// Batches reported done behind the first that was not: where they begin and end.
    done: BTreeMap<Lsn, Lsn>,
    /// All batches before this were reported done.
    durable_end: Lsn,
    recent: VecDeque<Recent>,
    /// Segments made of recycled files.
    pub(crate) recycled: u64,
}

impl Disk {
    /// One with a log's first segment, of so many bytes.
    pub(crate) fn new(first: u64) -> Disk {
        Disk {
            segments: BTreeMap::from([(Lsn(0), vec![0; first as usize])]),
            superblock: vec![0; 2 * SLOT],
            pool: Vec::new(),
            under_way: Vec::new(),
            files: VecDeque::new(),
            space: u64::MAX,
            done: BTreeMap::new(),
            durable_end: Lsn(0),
            recent: VecDeque::new(),
            recycled: 0,
        }
    }

    /// One of a log that begins anew at each start, with nothing on it.
    pub(crate) fn empty() -> Disk {
        Disk { segments: BTreeMap::new(), ..Disk::new(0) }
    }

    // ---- what is on it -------------------------------------------------------------------

    pub(crate) fn segments(&self) -> impl Iterator<Item = (Lsn, &[u8])> {
        self.segments.iter().map(|(base, bytes)| (*base, &bytes[..]))
    }

    pub(crate) fn superblock(&self) -> &[u8] {
        &self.superblock
    }

    /// All batches before this were reported done.
    pub(crate) fn durable_end(&self) -> Lsn {
        self.durable_end
    }

    /// Bytes that its files take.
    pub(crate) fn used(&self) -> u64 {
        self.segments.values().chain(&self.pool).map(|bytes| bytes.len() as u64).sum()
    }

    pub(crate) fn set_space(&mut self, space: u64) {
        self.space = space;
    }

    pub(crate) fn is_limited(&self) -> bool {
        self.space != u64::MAX
    }

    // ---- what a starting broker does, one thing after the other ----------------------------

    /// Recycles what lies wholly before the log's oldest position.
    pub(crate) fn recycle_before(&mut self, oldest: Lsn) {
        while let Some(entry) = self.segments.first_entry()
            && entry.key().0 + entry.get().len() as u64 <= oldest.0
        {
            self.pool.push(entry.remove());
        }
    }

    /// The log goes on here.
    pub(crate) fn goes_on(&mut self, end: Lsn) {
        self.durable_end = end;
        self.done.clear();
        self.recent.clear();
    }

    /// Starts to wipe a part of the log: a write in each segment that it goes through.
    pub(crate) fn wipe(&mut self, from: Lsn, to: Lsn) {
        for (base, bytes) in &self.segments {
            let end = base.0 + bytes.len() as u64;
            let (from, to) = (from.0.max(base.0), to.0.min(end));
            if from < to {
                let (offset, bytes) = ((from - base.0) as usize, vec![0; (to - from) as usize]);
                self.under_way.push(Op::Write { number: 0, segment: *base, offset, bytes });
            }
        }
    }

    /// Ends all writes that are under way.
    pub(crate) fn flush(&mut self) {
        for op in std::mem::take(&mut self.under_way) {
            self.apply(&op);
        }
    }

    // ---- what the log asks for -------------------------------------------------------------

    pub(crate) fn write(&mut self, write: Write, bytes: Vec<u8>) {
        let Write { number, segment, offset, len } = write;
        assert_eq!(len, bytes.len(), "a batch is as long as it is said to be");
        let file = self.segments.get(&segment).expect("batches go to segments that are there");
        let offset = offset as usize;
        assert!(offset + len <= file.len(), "a batch ends within its segment");
        assert!(offset.is_multiple_of(ALIGN) && len.is_multiple_of(ALIGN), "batches are aligned");
        self.under_way.push(Op::Write { number, segment, offset, bytes });
    }

    pub(crate) fn request(&mut self, request: Request) {
        match request {
            Request::Prepare { segment, len } => {
                self.files.push_back(FileOp::Prepare { segment, len, refused: false });
            }
            Request::Retire { segment, .. } => {
                self.files.push_back(FileOp::Retire { segment });
            }
            Request::Superblock { slot, bytes } => {
                self.under_way.push(Op::Superblock { slot, bytes });
            }
            Request::Read { number, segment, offset, len } => {
                let offset = offset as usize;
                self.under_way.push(Op::Read { number, segment, offset, len });
            }
        }
    }

    /// Whether a batch or superblock is being written.
    pub(crate) fn is_writing(&self) -> bool {
        self.under_way.iter().any(|op| !matches!(op, Op::Read { .. }))
    }

    /// The next file operation that can be done: what waits for room lets go first what makes room.
    fn next_file_op(&self) -> Option<usize> {
        let stuck = |op: &FileOp| match *op {
            FileOp::Prepare { len, refused, .. } => refused && !self.has_room(len),
            FileOp::Retire { .. } => false,
        };
        if self.files.front().is_some_and(stuck) {
            return self.files.iter().position(|op| matches!(op, FileOp::Retire { .. }));
        }
        (!self.files.is_empty()).then_some(0)
    }

    fn has_room(&self, len: u64) -> bool {
        let recycled = self.pool.iter().any(|bytes| bytes.len() as u64 == len);
        recycled || self.used().saturating_add(len) <= self.space
    }

    /// Whether anything can end now.
    pub(crate) fn has_work(&self) -> bool {
        !self.under_way.is_empty() || self.next_file_op().is_some()
    }

    /// Ends one of the things under way, if one can.
    pub(crate) fn complete(&mut self, rng: &mut Rng) -> Option<Done> {
        let file_op = self.next_file_op();
        let choices = self.under_way.len() + usize::from(file_op.is_some());
        if choices == 0 {
            return None;
        }
        let at = rng.below(choices);
        if at < self.under_way.len() {
            let op = self.under_way.remove(at);
            return Some(self.end(op));
        }
        file_op.map(|at| self.end_file_op(at))
    }

    fn end(&mut self, op: Op) -> Done {
        match &op {
            Op::Write { number, segment, offset, bytes } => {
                let number = *number;
                let begin = segment.after(*offset);
                let before = self.segments[segment][*offset..*offset + bytes.len()].to_vec();
                self.recent.push_back(Recent { segment: *segment, offset: *offset, before });
                if self.recent.len() > RECENT {
                    self.recent.pop_front();
                }
                self.done.insert(begin, begin.after(bytes.len()));
                while let Some(end) = self.done.remove(&self.durable_end) {
                    self.durable_end = end;
                }
                self.apply(&op);
                Done::Written { number }
            }
            Op::Superblock { .. } => {
                self.apply(&op);
                Done::Superblock
            }
            Op::Read { number, segment, offset, len } => {
                let bytes = self.segments[segment][*offset..*offset + *len].to_vec();
                Done::Read { number: *number, bytes }
            }
        }
    }

    fn end_file_op(&mut self, at: usize) -> Done {
        match self.files[at] {
            FileOp::Prepare { segment, len, .. } if !self.has_room(len) => {
                if let FileOp::Prepare { refused, .. } = &mut self.files[at] {
                    *refused = true;
                }
                Done::Full { segment }
            }
            FileOp::Prepare { segment, .. } => {
                self.do_file_op(at);
                Done::Prepared { segment }
            }
            FileOp::Retire { segment } => {
                self.do_file_op(at);
                Done::Retired { segment }
            }
        }
    }

    fn do_file_op(&mut self, at: usize) {
        match self.files.remove(at) {
            Some(FileOp::Prepare { segment, len, .. }) => {
                let fits = |bytes: &Vec<u8>| bytes.len() as u64 == len;
                let bytes = match self.pool.iter().position(fits) {
                    Some(at) => {
                        self.recycled += 1;
                        self.pool.swap_remove(at)
                    }
                    None => vec![0; len as usize],
                };
                let old = self.segments.insert(segment, bytes);
                assert!(old.is_none(), "segment {segment:?} is made twice");
            }
            Some(FileOp::Retire { segment }) => {
                let bytes = self.segments.remove(&segment);
                self.pool.push(bytes.expect("a segment is given up once"));
            }
            None => {}
        }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Write { segment, offset, bytes, .. } => {
                let file = self.segments.get_mut(segment).expect("it was there when it began");
                file[*offset..*offset + bytes.len()].copy_from_slice(bytes);
            }
            Op::Superblock { slot, bytes } => {
                let at = usize::from(*slot) * SLOT;
                self.superblock[at..at + SLOT].copy_from_slice(&bytes[..]);
            }
            Op::Read { .. } => {}
        }
    }

    // ---- faults ------------------------------------------------------------------------------

    /// The power fails, or the process is killed.
    pub(crate) fn crash(&mut self, rng: &mut Rng) -> Damages {
        let mut damages = Damages::default();
        // Each crash has its own likings, so that all kept and all dropped are as likely as a mix.
        let (keep, drop) = *rng.pick(&[(33, 33), (10, 80), (80, 10), (5, 5), (50, 50)]);
        for op in std::mem::take(&mut self.under_way) {
            let fate = match rng.below(100) as u32 {
                n if n < keep => Fate::Kept,
                n if n < keep + drop => Fate::Dropped,
                _ => Fate::Torn,
            };
            match fate {
                Fate::Kept => self.apply(&op),
                Fate::Dropped => {}
                Fate::Torn => self.tear(&op, rng),
            }
            match op {
                Op::Write { .. } => damages.writes.push(fate),
                Op::Superblock { .. } => damages.superblock = Some(fate),
                Op::Read { .. } => {}
            }
        }
        // The thread for files may have come further than it was heard of.
        for _ in 0..rng.below(self.files.len() + 1) {
            match self.files.front() {
                Some(FileOp::Prepare { len, .. }) if !self.has_room(*len) => break,
                Some(_) => self.do_file_op(0),
                None => break,
            }
        }
        self.files.clear();
        damages
    }

    /// Writes some of the sectors.
    fn tear(&mut self, op: &Op, rng: &mut Rng) {
        let (file, offset, bytes): (&mut Vec<u8>, usize, &[u8]) = match op {
            Op::Write { segment, offset, bytes, .. } => {
                let file = self.segments.get_mut(segment).expect("it was there when it began");
                (file, *offset, bytes)
            }
            Op::Superblock { slot, bytes } => {
                (&mut self.superblock, usize::from(*slot) * SLOT, &bytes[..])
            }
            Op::Read { .. } => return,
        };
        let sectors = bytes.len() / SECTOR;
        let odd = rng.below(sectors);
        let how = rng.below(5);
        for n in 0..sectors {
            let written = match how {
                0 => n < odd,
                1 => n >= odd,
                2 => n != odd,
                3 => n == odd,
                _ => rng.chance(50),
            };
            if written {
                let at = n * SECTOR;
                file[offset + at..offset + at + SECTOR].copy_from_slice(&bytes[at..at + SECTOR]);
            }
        }
    }

    /// A bit of a segment flips, wherever it is.
    pub(crate) fn flip(&mut self, rng: &mut Rng) -> Option<Lie> {
        let total: usize = self.segments.values().map(Vec::len).sum();
        if total == 0 {
            return None;
        }
        let mut at = rng.below(total);
        for (base, bytes) in &mut self.segments {
            if at < bytes.len() {
                bytes[at] ^= 1 << rng.below(8);
                return Some(Lie { at: base.after(at), lost: false });
            }
            at -= bytes.len();
        }
        None
    }

    /// A write that was reported done is not there after all, or only some of its sectors.
    pub(crate) fn take_back(&mut self, rng: &mut Rng) -> Option<Lie> {
        let there = |r: &&Recent| self.segments.contains_key(&r.segment);
        let recent: Vec<&Recent> = self.recent.iter().filter(there).collect();
        if recent.is_empty() {
            return None;
        }
        let Recent { segment, offset, before } = (*rng.pick(&recent)).clone();
        let at = segment.after(offset);
        let op = Op::Write { number: 0, segment, offset, bytes: before };
        if rng.chance(50) {
            self.apply(&op);
        } else {
            self.tear(&op, rng);
        }
        Some(Lie { at, lost: true })
    }
}
