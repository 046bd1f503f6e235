//! What a journal asks of its disk, and what the disk answers: the seam that the glommio driver and
//! the simulator's faulty disk both fill.
//!
//! A log makes requests and is told of their ends, in any order; it never waits. A driver does each
//! request once. The write itself is not here: its bytes are made in the driver's own buffer, see
//! `Log::fill`.

use crate::lsn::Lsn;
use crate::superblock::SLOT;

/// The two logs of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Volume {
    /// What survives: written durably, read again at the next start.
    Journal,
    /// The paging file: bodies of transient messages that have left memory. Never synced, and of no use to
    /// the next start.
    Paging,
}

/// A batch to be written, durable when it is reported done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The log's number for it; writes are numbered in order.
    pub number: u64,
    /// The segment's first LSN, which names its file.
    pub segment: Lsn,
    /// Where in the file.
    pub offset: u64,
    /// How many bytes, a multiple of [`ALIGN`](crate::ALIGN).
    pub len: usize,
}

/// Everything else a log asks for. Each is answered by one [`Done`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// A segment of `len` bytes shall stand under this LSN's name: written full, synced, its name durable.
    Prepare {
        /// Its first LSN.
        segment: Lsn,
        /// Its size in bytes.
        len: u64,
    },
    /// The segment holds nothing any more: recycle its file.
    Retire {
        /// Its first LSN.
        segment: Lsn,
        /// Its size in bytes.
        len: u64,
    },
    /// Write this slot of the superblock, durably.
    Superblock {
        /// 0 or 1.
        slot: u8,
        /// What it holds.
        bytes: Box<[u8; SLOT]>,
    },
    /// Read a part of a segment; multiples of [`ALIGN`](crate::ALIGN).
    Read {
        /// The log's number for it.
        number: u64,
        /// The segment's first LSN.
        segment: Lsn,
        /// Where in the file.
        offset: u64,
        /// How many bytes.
        len: usize,
    },
}

/// The end of something that was asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Done {
    /// The batch is durable.
    Written {
        /// The write's number.
        number: u64,
    },
    /// The segment is there.
    Prepared {
        /// Its first LSN.
        segment: Lsn,
    },
    /// There is no room for the segment. Not an error of the disk: the driver tries again, and says
    /// `Prepared` when there is.
    Full {
        /// Its first LSN.
        segment: Lsn,
    },
    /// The file is recycled.
    Retired {
        /// The segment's first LSN.
        segment: Lsn,
    },
    /// The slot is durable.
    Superblock,
    /// What was read.
    Read {
        /// The read's number.
        number: u64,
        /// The bytes, as many as were asked for.
        bytes: Vec<u8>,
    },
}
