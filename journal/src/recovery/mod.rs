//! Reading a log from its files: where it ends, what is in it, what is damaged.
//!
//! A batch *belongs* at a place if it is whole and its salt, position and shard are right; in the
//! walk it also has to chain to the one before. At the first place where none belongs, `table`
//! decides whether the log ends there, ends there after a write that was cut short, or has lost
//! something that was acknowledged. It looks at all that follows for batches that *vouch*: a
//! batch's `synced_lsn` says how much was durable when it was built.

mod files;
mod scan;
mod table;
#[cfg(test)]
mod tests;
mod walk;

use std::fmt;

pub use walk::{Walker, walk};

use crate::lsn::Lsn;
use crate::record::RecordError;

/// A segment's file.
#[derive(Clone, Copy)]
pub struct Segment<'a> {
    /// The position of its first byte in the log, which is also its name.
    pub base: Lsn,
    /// All of it.
    pub bytes: &'a [u8],
}

impl fmt::Debug for Segment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segment").field("base", &self.base).field("len", &self.bytes.len()).finish()
    }
}

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The batch in which it begins. It belongs to that batch's segment.
    pub begin: Lsn,
    /// The batch in which it ends.
    pub end: Lsn,
}

/// A batch that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchStart {
    /// Where it stands.
    pub lsn: Lsn,
    /// How many records begin in batches before: the number of the first that begins here, if one
    /// does. Records are numbered from 0 in the order in which they were visited.
    pub first: u64,
}

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Where the log ends and the next batch goes.
    pub end: Lsn,
    /// The checksum which the next batch chains to.
    pub end_crc: u32,
    /// How many records were visited.
    pub records: u64,
    /// Its batches, in order.
    pub batches: Vec<BatchStart>,
    /// Where the last record begins, if it did not end: it was never acknowledged.
    pub unfinished: Option<Lsn>,
    /// What has to be wiped before anything is appended.
    pub cut: Option<Cut>,
    /// What was lost; nothing, unless the walk salvages.
    pub lost: Vec<Lost>,
}

/// Writes that were never acknowledged. Their bytes must be zero, durably, before the next batch is
/// written: they might pass for a part of the log again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Where the log ends.
    pub from: Lsn,
    /// The end of the last page that is not zero.
    pub to: Lsn,
    /// Whole batches in between. With none of them the bytes may also be the middle of a recycled
    /// file's former life, which nothing tells from a write that was cut short at its beginning.
    pub batches: u64,
}

/// What salvage passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// From here.
    pub from: Lsn,
    /// Up to here, where the log goes on. The same as `from` if nothing of it is missing.
    pub to: Lsn,
    /// Why.
    pub damage: Damage,
}

/// A place in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The segment's first position, which names the file.
    pub segment: Lsn,
    /// Bytes from its start.
    pub offset: u64,
}

impl Place {
    /// The position in the log.
    pub fn lsn(&self) -> Lsn {
        Lsn(self.segment.0.saturating_add(self.offset))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, offset {}", file_name(self.segment), self.offset)
    }
}

/// The name of a segment's file.
pub fn file_name(segment: Lsn) -> String {
    format!("{:016x}.seg", segment.0)
}

/// Why a log cannot be used as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// A batch is gone that a later one proves to have been durable.
    #[error(
        "{place}: no valid batch, but the one at {by:#x} was written when all up to {synced:#x} was \
         durable", by = by.0, synced = synced.0
    )]
    Batch {
        /// Where it was.
        place: Place,
        /// The later one.
        by: Lsn,
        /// How much was durable when that was built.
        synced: Lsn,
    },
    /// A batch does not follow the one before.
    #[error("{place}: this batch was not written after the one before it")]
    Chain {
        /// Where it is.
        place: Place,
    },
    /// The log ends before or after the end that a clean stop noted, or with another batch.
    #[error("{place}: {}", another_end(*.place, *.said))]
    End {
        /// Where it ends.
        place: Place,
        /// Where it should.
        said: Lsn,
    },
    /// A batch stands beyond the end that a clean stop noted.
    #[error("{place}: a batch beyond {said:#x}, where the log ended when it was closed", said = said.0)]
    Beyond {
        /// Where it stands.
        place: Place,
        /// Where the log should end.
        said: Lsn,
    },
    /// A file is not there, though a later one is, or the superblock says that it is needed.
    #[error("{} is missing: no file holds {lsn:#x}", file_name(*.lsn), lsn = lsn.0)]
    Missing {
        /// The first position that no file holds.
        lsn: Lsn,
    },
    /// A file's name or length is none that a segment can have.
    #[error("{} with {len} bytes is no segment", file_name(*.segment))]
    File {
        /// The name.
        segment: Lsn,
        /// The length.
        len: u64,
    },
    /// Two files hold the same positions, or the caller gave them out of order.
    #[error("{} begins before the file before it ends", file_name(*.segment))]
    Overlap {
        /// The second of them.
        segment: Lsn,
    },
    /// A record's bytes are as they were written, and make no sense.
    #[error("{place}: {error}{}", newer(*.error))]
    Record {
        /// The batch in which it begins.
        place: Place,
        /// Why.
        error: RecordError,
    },
    /// A later version wrote it.
    #[error("{place}: written by a newer version, in format {format}")]
    Newer {
        /// Where it stands.
        place: Place,
        /// The version of the format.
        format: u16,
    },
}

fn another_end(place: Place, said: Lsn) -> String {
    if place.lsn() == said {
        "the last batch is not the one that the log ended with when it was closed".to_owned()
    } else {
        format!("the log ends here, but it ended at {:#x} when it was closed", said.0)
    }
}

fn newer(error: RecordError) -> &'static str {
    if matches!(error, RecordError::Kind(_)) { ", written by a newer version" } else { "" }
}

impl Damage {
    /// Whether a newer version of this program could read it. Salvage would throw it away.
    pub fn is_newer(&self) -> bool {
        let kind = matches!(self, Damage::Record { error: RecordError::Kind(_), .. });
        kind || matches!(self, Damage::Newer { .. })
    }
}
