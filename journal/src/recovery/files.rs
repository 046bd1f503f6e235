//! The files of a log, as one sequence of places that batches belong to or not.

use super::{Damage, Lost, Place, Segment};
use crate::batch::{Batch, BatchError, Head, has_magic};
use crate::lsn::{ALIGN, Lsn};
use crate::superblock::Superblock;
use std::fmt;

/// The segments that the log is in, and by what its batches are known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Files<'a> {
    segments: &'a [Segment<'a>],
    salt: u64,
    shard: u16,
    oldest: Lsn,
    pub(super) scanned: Scanned<'a>,
}

/// Whoever wants to know that a part was looked through and is not needed for now.
#[derive(Clone, Copy, Default)]
pub(super) struct Scanned<'a>(pub(super) Option<&'a dyn Fn(Lsn, Lsn)>);

impl Scanned<'_> {
    fn tell(&self, from: Lsn, to: Lsn) {
        if let Some(tell) = self.0 {
            tell(from, to);
        }
    }
}

impl fmt::Debug for Scanned<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scanned({})", self.0.is_some())
    }
}

/// Bytes that are looked through before that is told.
const PIECE: usize = 1 << 20;

/// What stands at a place.
#[derive(Clone, Copy, Debug)]
pub(super) enum Here<'a> {
    /// A batch that belongs.
    Batch(Batch<'a>),
    /// Zeros, or a batch of the file's former life; also where no file is made yet.
    Blank,
    /// Anything else.
    Other,
    /// A batch in a later format.
    Newer(u16),
}

/// The batches that belong at the places they are at, in order, from one on.
pub(super) struct Belonging<'a> {
    files: Files<'a>,
    at: Lsn,
}

/// The end of a segment, in whole pages. Segments that would end beyond the last position are
/// refused before this is asked.
fn end(segment: &Segment<'_>) -> Lsn {
    segment.base.after(segment.bytes.len() / ALIGN * ALIGN)
}

impl<'a> Files<'a> {
    /// The files that the log needs: those which end before its oldest position are leftovers of a
    /// recycling that a crash interrupted. `salvage` takes the whole pages of a file that has lost
    /// its end, and says so.
    pub(super) fn new(
        superblock: &Superblock,
        segments: &'a [Segment<'a>],
        salvage: bool,
    ) -> Result<(Files<'a>, Vec<Lost>), Damage> {
        let (mut before, mut lost) = (Lsn(0), Vec::new());
        for segment in segments {
            let len = segment.bytes.len() as u64;
            let whole = len > 0 && len.is_multiple_of(ALIGN as u64);
            let fits = segment.base.0.checked_add(len).is_some();
            let damage = Damage::File { segment: segment.base, len };
            if !segment.base.is_aligned() || !fits {
                return Err(damage);
            }
            if !whole {
                if !salvage {
                    return Err(damage);
                }
                lost.push(Lost { from: end(segment), to: end(segment), damage });
            }
            if segment.base < before {
                return Err(Damage::Overlap { segment: segment.base });
            }
            before = segment.base.after(segment.bytes.len());
        }
        let Superblock { salt, shard, oldest_lsn: oldest, .. } = *superblock;
        let leftovers = segments.partition_point(|segment| end(segment) <= oldest);
        let segments = &segments[leftovers..];
        let scanned = Scanned::default();
        Ok((Files { segments, salt, shard, oldest, scanned }, lost))
    }

    /// How many segments begin at or before a position.
    fn up_to(&self, lsn: Lsn) -> usize {
        self.segments.partition_point(|segment| segment.base <= lsn)
    }

    /// The bytes from a position to the end of its segment.
    fn bytes(&self, lsn: Lsn) -> Option<&'a [u8]> {
        let segment = self.segments[..self.up_to(lsn)].last()?;
        let len = segment.bytes.len() / ALIGN * ALIGN;
        let offset = usize::try_from(lsn.0 - segment.base.0).ok().filter(|offset| *offset < len)?;
        Some(&segment.bytes[offset..len])
    }

    /// Where a position is, for people: the end of the last file before it if none holds it.
    pub(super) fn place(&self, lsn: Lsn) -> Place {
        let segment = self.segments[..self.up_to(lsn)].last().map_or(lsn, |segment| segment.base);
        Place { segment, offset: lsn.0 - segment.0 }
    }

    /// The first position from `lsn` on that no file holds although it has to.
    pub(super) fn gap(&self, lsn: Lsn) -> Option<Lsn> {
        let Some(first) = self.segments.first() else {
            // A log that was never written to has no file yet.
            return (self.oldest > Lsn(0)).then_some(self.oldest);
        };
        if lsn < first.base {
            return Some(lsn);
        }
        let rest = &self.segments[self.up_to(lsn) - 1..];
        rest.windows(2).find(|pair| end(&pair[0]) < pair[1].base).map(|pair| end(&pair[0]))
    }

    /// What stands at a place.
    pub(super) fn look(&self, lsn: Lsn) -> Here<'a> {
        self.bytes(lsn).map_or(Here::Blank, |bytes| self.read(lsn, bytes))
    }

    fn read(&self, lsn: Lsn, bytes: &'a [u8]) -> Here<'a> {
        let head = match Head::decode(bytes) {
            Ok(head) => head,
            Err(BatchError::Format { format, salt, lsn: stands })
                if (salt, stands) == (self.salt, lsn) =>
            {
                return Here::Newer(format);
            }
            Err(BatchError::Blank) if is_zero(&bytes[..ALIGN]) => return Here::Blank,
            Err(_) => return Here::Other,
        };
        let header = &head.header;
        if header.salt == self.salt && header.lsn != lsn {
            return Here::Blank;
        }
        if header.salt != self.salt || header.shard != self.shard || header.synced_lsn > lsn {
            return Here::Other;
        }
        head.batch(bytes).map_or(Here::Other, Here::Batch)
    }

    /// The batches that belong, from `lsn` on.
    pub(super) fn belonging(&self, lsn: Lsn) -> Belonging<'a> {
        Belonging { files: *self, at: lsn }
    }

    /// The end of the last page from `lsn` on that is not zero.
    pub(super) fn last_used(&self, lsn: Lsn) -> Lsn {
        let from = self.up_to(lsn).saturating_sub(1);
        for segment in self.segments[from..].iter().rev() {
            let (pages, _) = segment.bytes.as_chunks::<ALIGN>();
            for (n, piece) in pages.chunks(PIECE / ALIGN).enumerate().rev() {
                let before = n * PIECE;
                if let Some(page) = piece.iter().rposition(|page| !is_zero(page)) {
                    return segment.base.after(before + (page + 1) * ALIGN).max(lsn);
                }
                let piece_at = segment.base.after(before);
                self.scanned.tell(piece_at, piece_at.after(piece.len() * ALIGN));
            }
        }
        lsn
    }
}

impl<'a> Iterator for Belonging<'a> {
    /// A batch, or the place and number of a later format.
    type Item = Result<Batch<'a>, (Lsn, u16)>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let Some(bytes) = self.files.bytes(self.at) else {
                let next = self.files.segments.get(self.files.up_to(self.at))?;
                self.at = next.base;
                continue;
            };
            let piece = &bytes[..bytes.len().min(PIECE)];
            let Some(page) = piece.chunks(ALIGN).position(has_magic) else {
                let to = self.at.after(piece.len());
                self.files.scanned.tell(self.at, to);
                self.at = to;
                continue;
            };
            let (lsn, bytes) = (self.at.after(page * ALIGN), &bytes[page * ALIGN..]);
            self.at = lsn.after(ALIGN);
            match self.files.read(lsn, bytes) {
                Here::Batch(batch) => {
                    self.at = lsn.after(batch.len);
                    return Some(Ok(batch));
                }
                Here::Newer(format) => return Some(Err((lsn, format))),
                Here::Blank | Here::Other => {}
            }
        }
    }
}

/// Whether a page is zero; compares as fast as memory is read.
fn is_zero(page: &[u8]) -> bool {
    page == &[0; ALIGN][..]
}
