//! The files of a log, as one sequence of places that batches belong to or not.

use super::{Damage, Lost, Place};
use crate::batch::{Batch, BatchError, Head};
use crate::lsn::{ALIGN, Lsn};
use crate::superblock::Superblock;

/// Where the segments are that the log is in, and by what its batches are known.
#[derive(Clone, Debug)]
pub(super) struct Files {
    /// The first position and the bytes of each, in whole pages.
    segments: Vec<(Lsn, usize)>,
    salt: u64,
    shard: u16,
    oldest: Lsn,
}

/// What stands at a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Here<'a> {
    /// A batch that belongs.
    Batch(Batch<'a>),
    /// The header of one, whose body is not there: all up to here was durable when it was written.
    Headed(Lsn),
    /// Zeros, or a batch of the file's former life; also where no file is made yet.
    Blank,
    /// Anything else.
    Other,
    /// A batch in a later format.
    Newer(u16),
}

impl Files {
    /// The files that the log needs: those which end before its oldest position are leftovers of a
    /// recycling that a crash interrupted. `salvage` takes the whole pages of a file that has lost
    /// its end, and says so.
    pub(super) fn new(
        superblock: &Superblock,
        segments: impl IntoIterator<Item = (Lsn, u64)>,
        salvage: bool,
    ) -> Result<(Files, Vec<Lost>), Damage> {
        let Superblock { salt, shard, oldest_lsn: oldest, .. } = *superblock;
        let mut files = Files { segments: Vec::new(), salt, shard, oldest };
        let (mut before, mut lost) = (Lsn(0), Vec::new());
        for (base, len) in segments {
            let damage = Damage::File { segment: base, len };
            let fits = base.0.checked_add(len).is_some();
            let Some(bytes) = usize::try_from(len).ok().filter(|_| base.is_aligned() && fits)
            else {
                return Err(damage);
            };
            let pages = bytes / ALIGN * ALIGN;
            if bytes == 0 || pages != bytes {
                if !salvage {
                    return Err(damage);
                }
                lost.push(Lost { from: base.after(pages), to: base.after(pages), damage });
            }
            if base < before {
                return Err(Damage::Overlap { segment: base });
            }
            before = base.after(bytes);
            if base.after(pages) > oldest {
                files.segments.push((base, pages));
            }
        }
        Ok((files, lost))
    }

    /// How many segments begin at or before a position.
    fn up_to(&self, lsn: Lsn) -> usize {
        self.segments.partition_point(|(base, _)| *base <= lsn)
    }

    /// The first position from `lsn` on that a file holds.
    pub(super) fn next(&self, lsn: Lsn) -> Option<Lsn> {
        if self.rest(lsn) > 0 {
            return Some(lsn);
        }
        let mut behind = self.segments[self.up_to(lsn)..].iter();
        behind.find(|(_, len)| *len > 0).map(|(base, _)| *base)
    }

    /// Bytes from a position to the end of its segment; none if no file holds it.
    pub(super) fn rest(&self, lsn: Lsn) -> usize {
        let Some((base, len)) = self.segments[..self.up_to(lsn)].last() else { return 0 };
        usize::try_from(lsn.0 - base.0).map_or(0, |offset| len.saturating_sub(offset))
    }

    /// Where a position is, for people: the end of the last file before it if none holds it.
    pub(super) fn place(&self, lsn: Lsn) -> Place {
        let segment = self.segments[..self.up_to(lsn)].last().map_or(lsn, |(base, _)| *base);
        Place { segment, offset: lsn.0 - segment.0 }
    }

    /// The first position from `lsn` on that no file holds although it has to.
    pub(super) fn gap(&self, lsn: Lsn) -> Option<Lsn> {
        let Some((first, _)) = self.segments.first() else {
            // A log that was never written to has no file yet.
            return (self.oldest > Lsn(0)).then_some(self.oldest);
        };
        if lsn < *first {
            return Some(lsn);
        }
        let rest = &self.segments[self.up_to(lsn) - 1..];
        let ends = rest.iter().map(|(base, len)| base.after(*len));
        let mut pairs = ends.zip(rest.iter().skip(1));
        pairs.find(|(end, (base, _))| end < base).map(|(end, _)| end)
    }

    /// What stands at a place, given the bytes from there on.
    pub(super) fn read<'a>(&self, lsn: Lsn, bytes: &'a [u8]) -> Here<'a> {
        let head = match Head::decode(bytes) {
            _ if bytes.is_empty() => return Here::Blank,
            Ok(head) => head,
            Err(BatchError::Format { format, salt, lsn: stands })
                if (salt, stands) == (self.salt, lsn) =>
            {
                return Here::Newer(format);
            }
            Err(BatchError::Blank) if bytes.first_chunk().is_some_and(is_zero) => {
                return Here::Blank;
            }
            Err(_) => return Here::Other,
        };
        let header = &head.header;
        if header.salt == self.salt && header.lsn != lsn {
            return Here::Blank;
        }
        if header.salt != self.salt || header.shard != self.shard || header.synced_lsn > lsn {
            return Here::Other;
        }
        head.batch(bytes).map_or(Here::Headed(header.synced_lsn), Here::Batch)
    }
}

/// Whether a page is zero; compares as fast as memory is read.
pub(super) fn is_zero(page: &[u8; ALIGN]) -> bool {
    page == &[0; ALIGN]
}
