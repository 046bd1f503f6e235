//! What a batch's body holds: fragments, which join to records, which hold operations.
//!
//! A **fragment** is a little-endian `u32` (length in the low 30 bits, [`Part`] in the top two) and
//! that many bytes. A **record** is one whole fragment, or the first to the last joined, over any
//! number of batches; it is the unit of atomicity: recovery takes all of it or nothing. A record is
//! a sequence of **operations**, each with a head of eight bytes:
//!
//! ```text
//!  0     1      2      4            8
//!  | kind| flag | u16  | u32        |
//!  1 Publish                queues      payload length   then queues x (queue u64, position u64), payload
//!  2 Dequeue                                             then queue u64, first u64, last u64
//!  3 Define                             payload length   then id u64, payload
//!  4 Undefine                                            then id u64
//!  5 Prepare                coordinator                  then number u64
//!  6 Decide     commit      coordinator                  then number u64
//!  7 Delivered                                           then queue u64, up to u64
//!  9 Remember                             payload length   then queue u64, payload
//! ```
//!
//! The highest bit of a publish's position says that a delivery from that queue may have happened.

/// Bytes of an operation before its variable part.
const HEAD: usize = 8;
/// Bytes before a fragment's content.
pub const FRAGMENT_HEAD: usize = 4;
/// The longest fragment: what 30 bits hold. A batch's body is shorter anyway.
const LEN_MASK: u32 = (1 << 30) - 1;

const PUBLISH: u8 = 1;
const DEQUEUE: u8 = 2;
const DEFINE: u8 = 3;
const UNDEFINE: u8 = 4;
const PREPARE: u8 = 5;
const DECIDE: u8 = 6;
const UP_TO: u8 = 7;
const REMEMBER: u8 = 9;

/// The bit of a publish's position that says that a delivery may have happened.
const DELIVERED: u64 = 1 << 63;

/// A message's place in a queue. Both numbers are the engine's; the journal compares them only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ref {
    /// The queue.
    pub queue: u64,
    /// The position there.
    pub position: u64,
}

/// A transaction over several shards' journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Xid {
    /// The shard that decides.
    pub shard: u16,
    /// That shard's number for it, never reused.
    pub number: u64,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// A message is in these queues.
    Publish {
        /// Where it is; at least one place.
        refs: Refs<'a>,
        /// The message, opaque here.
        payload: &'a [u8],
    },
    /// Messages left a queue: positions `first` to `last`, both included.
    Dequeue {
        /// The queue.
        queue: u64,
        /// The first position.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// Something durable exists: a queue, an exchange, a binding.
    Define {
        /// Its id: grows with every definition, never reused.
        id: u64,
        /// What it is, opaque here.
        payload: &'a [u8],
    },
    /// It exists no more.
    Undefine {
        /// Its id.
        id: u64,
    },
    /// What follows in this record holds if the coordinator has decided so.
    Prepare(Xid),
    /// The coordinator's decision, or a participant's note of it.
    Decide {
        /// Which transaction.
        xid: Xid,
        /// Whether it holds.
        commit: bool,
    },
    /// Deliveries from a queue up to this position may have happened.
    Delivered {
        /// The queue.
        queue: u64,
        /// The position.
        upto: u64,
    },
    /// Something about a queue besides its messages.
    Remember {
        /// The queue.
        queue: u64,
        /// What, opaque here.
        payload: &'a [u8],
    },
}

/// The places of a publish, as they are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refs<'a>(&'a [[u8; 16]]);

impl<'a> Refs<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none; never so in a valid record.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, each with whether a delivery from there may have happened.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (Ref, bool)> + use<'a> {
        self.0.iter().map(|bytes| {
            let (queue, position) = bytes.split_at(8);
            let (queue, position) = (u64_of(queue), u64_of(position));
            (Ref { queue, position: position & !DELIVERED }, position & DELIVERED != 0)
        })
    }
}

/// Why a record is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// An operation or fragment ends beyond what holds it.
    #[error("cut short")]
    Short,
    /// A kind of operation this version does not know.
    #[error("unknown kind of operation {0}")]
    Kind(u8),
    /// A publish to no queue, or a range that ends before it begins.
    #[error("an operation without a subject")]
    Empty,
    /// What an operation carries cannot be read.
    #[error("what an operation carries cannot be read")]
    Content,
    /// Fragments that do not follow each other.
    #[error("fragments out of order")]
    Order,
}

fn u64_of(bytes: &[u8]) -> u64 {
    let mut octets = [0; 8];
    octets.copy_from_slice(&bytes[..8]);
    u64::from_le_bytes(octets)
}

// ---- writing ---------------------------------------------------------------------------------

fn head(out: &mut Vec<u8>, kind: u8, flag: bool, short: u16, long: u32) {
    out.extend_from_slice(&[kind, u8::from(flag)]);
    out.extend_from_slice(&short.to_le_bytes());
    out.extend_from_slice(&long.to_le_bytes());
}

/// Bytes of a publish to so many queues, its payload included, without the fragment's head.
pub fn publish_len(refs: usize, payload: usize) -> usize {
    HEAD + 16 * refs + payload
}

/// Appends a publish up to its payload, which the caller appends. Each place comes with whether a
/// delivery from there may have happened.
pub fn put_publish(out: &mut Vec<u8>, refs: &[(Ref, bool)], payload: usize) {
    // The caller splits a wider fan-out.
    let (queues, payload) = (refs.len() as u16, payload as u32);
    head(out, PUBLISH, false, queues, payload);
    for (r, delivered) in refs {
        debug_assert!(r.position < DELIVERED);
        let position = r.position | if *delivered { DELIVERED } else { 0 };
        out.extend_from_slice(&r.queue.to_le_bytes());
        out.extend_from_slice(&position.to_le_bytes());
    }
}

impl Op<'_> {
    /// Appends the operation.
    pub fn put(&self, out: &mut Vec<u8>) {
        let numbers = |out: &mut Vec<u8>, all: &[u64]| {
            all.iter().for_each(|n| out.extend_from_slice(&n.to_le_bytes()));
        };
        match *self {
            Op::Publish { refs, payload } => {
                head(out, PUBLISH, false, refs.len() as u16, payload.len() as u32);
                out.extend_from_slice(refs.0.as_flattened());
                out.extend_from_slice(payload);
            }
            Op::Dequeue { queue, first, last } => {
                head(out, DEQUEUE, false, 0, 0);
                numbers(out, &[queue, first, last]);
            }
            Op::Define { id, payload } => {
                head(out, DEFINE, false, 0, payload.len() as u32);
                numbers(out, &[id]);
                out.extend_from_slice(payload);
            }
            Op::Undefine { id } => {
                head(out, UNDEFINE, false, 0, 0);
                numbers(out, &[id]);
            }
            Op::Prepare(xid) => {
                head(out, PREPARE, false, xid.shard, 0);
                numbers(out, &[xid.number]);
            }
            Op::Decide { xid, commit } => {
                head(out, DECIDE, commit, xid.shard, 0);
                numbers(out, &[xid.number]);
            }
            Op::Delivered { queue, upto } => {
                head(out, UP_TO, false, 0, 0);
                numbers(out, &[queue, upto]);
            }
            Op::Remember { queue, payload } => {
                head(out, REMEMBER, false, 0, payload.len() as u32);
                numbers(out, &[queue]);
                out.extend_from_slice(payload);
            }
        }
    }
}

// ---- reading ---------------------------------------------------------------------------------

/// The operations of a record, in order; ends after the first error.
pub fn ops(record: &[u8]) -> Ops<'_> {
    Ops { rest: record }
}

/// See [`ops`].
#[derive(Clone, Debug)]
pub struct Ops<'a> {
    rest: &'a [u8],
}

impl<'a> Ops<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(RecordError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    fn number(&mut self) -> Result<u64, RecordError> {
        self.take(8).map(u64_of)
    }

    fn op(&mut self) -> Result<Op<'a>, RecordError> {
        let head = self.take(HEAD)?;
        let flag = head[1] & 1 == 1;
        let short = u16::from_le_bytes([head[2], head[3]]);
        let long = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let op = match head[0] {
            PUBLISH => {
                let (refs, _) = self.take(16 * usize::from(short))?.as_chunks::<16>();
                Op::Publish { refs: Refs(refs), payload: self.take(long)? }
            }
            DEQUEUE => {
                let queue = self.number()?;
                Op::Dequeue { queue, first: self.number()?, last: self.number()? }
            }
            DEFINE => Op::Define { id: self.number()?, payload: self.take(long)? },
            UNDEFINE => Op::Undefine { id: self.number()? },
            PREPARE => Op::Prepare(Xid { shard: short, number: self.number()? }),
            DECIDE => {
                Op::Decide { xid: Xid { shard: short, number: self.number()? }, commit: flag }
            }
            UP_TO => Op::Delivered { queue: self.number()?, upto: self.number()? },
            REMEMBER => Op::Remember { queue: self.number()?, payload: self.take(long)? },
            kind => return Err(RecordError::Kind(kind)),
        };
        match op {
            Op::Publish { refs, .. } if refs.is_empty() => Err(RecordError::Empty),
            Op::Dequeue { first, last, .. } if first > last => Err(RecordError::Empty),
            op => Ok(op),
        }
    }
}

impl<'a> Iterator for Ops<'a> {
    type Item = Result<Op<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let op = self.op();
        if op.is_err() {
            self.rest = &[];
        }
        Some(op)
    }
}

// ---- fragments -------------------------------------------------------------------------------

/// Which part of its record a fragment is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The beginning.
    First,
    /// Neither end.
    Middle,
    /// The end.
    Last,
}

impl Part {
    /// The part of a fragment that begins (`first`) or ends (`last`) its record.
    pub fn of(first: bool, last: bool) -> Part {
        match (first, last) {
            (true, true) => Part::Whole,
            (true, false) => Part::First,
            (false, false) => Part::Middle,
            (false, true) => Part::Last,
        }
    }
}

/// The bytes before a fragment's content.
pub fn fragment_head(part: Part, len: usize) -> [u8; FRAGMENT_HEAD] {
    (len as u32 & LEN_MASK | (part as u32) << 30).to_le_bytes()
}

/// The fragments of a batch's body, in order; ends after the first error.
pub fn fragments(body: &[u8]) -> Fragments<'_> {
    Fragments { rest: body }
}

/// See [`fragments`].
#[derive(Clone, Debug)]
pub struct Fragments<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Fragments<'a> {
    type Item = Result<(Part, &'a [u8]), RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let Some((head, rest)) = self.rest.split_first_chunk::<FRAGMENT_HEAD>() else {
            self.rest = &[];
            return Some(Err(RecordError::Short));
        };
        let head = u32::from_le_bytes(*head);
        let part = match head >> 30 {
            0 => Part::Whole,
            1 => Part::First,
            2 => Part::Middle,
            _ => Part::Last,
        };
        let Some((content, rest)) = rest.split_at_checked((head & LEN_MASK) as usize) else {
            self.rest = &[];
            return Some(Err(RecordError::Short));
        };
        self.rest = rest;
        Some(Ok((part, content)))
    }
}

/// Joins fragments to records.
#[derive(Debug, Default)]
pub struct Assembler {
    buffer: Vec<u8>,
    open: bool,
}

impl Assembler {
    /// Nothing joined so far.
    pub fn new() -> Assembler {
        Assembler::default()
    }

    /// The next fragment: the record it completes, if it does.
    ///
    /// # Errors
    /// [`RecordError::Order`] if it does not follow the one before.
    pub fn join<'a>(
        &'a mut self,
        part: Part,
        content: &'a [u8],
    ) -> Result<Option<&'a [u8]>, RecordError> {
        let begins = matches!(part, Part::Whole | Part::First);
        if begins == self.open {
            return Err(RecordError::Order);
        }
        match part {
            Part::Whole => return Ok(Some(content)),
            Part::First => {
                self.buffer.clear();
                self.buffer.extend_from_slice(content);
            }
            Part::Middle | Part::Last => self.buffer.extend_from_slice(content),
        }
        self.open = part != Part::Last;
        Ok((part == Part::Last).then_some(&self.buffer[..]))
    }

    /// Whether a record has begun and not ended.
    pub fn is_open(&self) -> bool {
        self.open
    }

    /// Drops what has begun: the reader goes on elsewhere.
    pub fn reset(&mut self) {
        self.open = false;
        self.buffer = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refs(all: &[(Ref, bool)]) -> Vec<[u8; 16]> {
        let mut out = Vec::new();
        put_publish(&mut out, all, 0);
        out[HEAD..].as_chunks::<16>().0.to_vec()
    }

    #[test]
    fn every_operation_is_read_as_it_was_written() {
        let places =
            [(Ref { queue: 1, position: 2 }, true), (Ref { queue: 3, position: 4 }, false)];
        let encoded = refs(&places);
        let xid = Xid { shard: 3, number: 99 };
        let all = [
            Op::Prepare(xid),
            Op::Publish { refs: Refs(&encoded), payload: b"body" },
            Op::Dequeue { queue: 1, first: 5, last: 9 },
            Op::Define { id: 7, payload: b"queue" },
            Op::Undefine { id: 7 },
            Op::Decide { xid, commit: true },
            Op::Decide { xid, commit: false },
            Op::Delivered { queue: 1, upto: 5 },
            Op::Remember { queue: 1, payload: b"ids" },
            Op::Remember { queue: 2, payload: b"" },
        ];
        let mut out = Vec::new();
        all.iter().for_each(|op| op.put(&mut out));
        let read: Result<Vec<Op<'_>>, RecordError> = ops(&out).collect();
        assert_eq!(read.as_deref(), Ok(&all[..]));
        let Op::Publish { refs, payload } = all[1] else { panic!("the second") };
        assert_eq!(refs.iter().collect::<Vec<_>>(), places);
        let mut one = Vec::new();
        all[1].put(&mut one);
        assert_eq!(one.len(), publish_len(refs.len(), payload.len()));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let errors = |bytes: &[u8]| ops(bytes).find_map(Result::err);
        assert_eq!(errors(&[8, 0, 0, 0, 0, 0, 0, 0]), Some(RecordError::Kind(8)));
        assert_eq!(errors(&[1, 0, 0, 0, 0, 0, 0, 0]), Some(RecordError::Empty));
        assert_eq!(errors(&[1, 0, 0, 0]), Some(RecordError::Short));
        let mut range = Vec::new();
        Op::Dequeue { queue: 1, first: 2, last: 1 }.put(&mut range);
        assert_eq!(errors(&range), Some(RecordError::Empty));
    }

    proptest! {
        #[test]
        fn a_record_cut_anywhere_is_joined_again(
            record in prop::collection::vec(any::<u8>(), 0..300),
            cuts in prop::collection::vec(0usize..300, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(record.len())).collect();
            cuts.extend([0, record.len()]);
            cuts.sort_unstable();
            let mut body = Vec::new();
            let pieces = cuts.len() - 1;
            for (n, cut) in cuts.windows(2).enumerate() {
                let part = Part::of(n == 0, n + 1 == pieces);
                body.extend_from_slice(&fragment_head(part, cut[1] - cut[0]));
                body.extend_from_slice(&record[cut[0]..cut[1]]);
            }
            let mut assembler = Assembler::new();
            let mut joined = None;
            for fragment in fragments(&body) {
                let (part, content) = fragment.expect("written so");
                prop_assert!(joined.is_none());
                joined = assembler.join(part, content).expect("in order").map(<[u8]>::to_vec);
            }
            prop_assert_eq!(joined, Some(record));
            prop_assert!(!assembler.is_open());
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut assembler = Assembler::new();
            for fragment in fragments(&bytes) {
                let Ok((part, content)) = fragment else { break };
                let _ = assembler.join(part, content).map(|r| r.map(|r| ops(r).count()));
            }
            let _ = ops(&bytes).count();
        }
    }
}
