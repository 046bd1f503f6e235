//! Looking through all that follows the place where a walk stops.

use super::Damage;
use super::files::{Files, Here, is_zero};
use crate::batch::{BATCH_MAX, has_magic};
use crate::lsn::{ALIGN, Lsn};

/// The batch that proves most to have been durable, and how much: it was built when all up to there was. Its
/// header is enough for that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vouching {
    pub(super) by: Lsn,
    pub(super) synced: Lsn,
}

/// What has been found of what follows a place.
#[derive(Debug)]
pub(super) struct Scan {
    /// Looked through up to here; there is no more with none.
    pub(super) at: Option<Lsn>,
    /// The first batch that belongs is all that is looked for.
    pub(super) brief: bool,
    /// The first batch that belongs.
    pub(super) next: Option<Lsn>,
    /// How many do.
    pub(super) batches: u64,
    /// The end of the last page that is not zero.
    pub(super) used: Lsn,
    pub(super) vouching: Option<Vouching>,
}

impl Scan {
    pub(super) fn new(files: &Files, place: Lsn, brief: bool) -> Scan {
        let at = files.next(place);
        Scan { at, brief, next: None, batches: 0, used: place, vouching: None }
    }

    fn vouch(&mut self, by: Lsn, synced: Lsn) {
        if self.vouching.is_none_or(|v| v.synced <= synced) {
            self.vouching = Some(Vouching { by, synced });
        }
    }

    /// Looks through what stands where it has come to, but for what may be the beginning of a batch that
    /// goes on behind these bytes.
    pub(super) fn look(&mut self, files: &Files, bytes: &[u8]) -> Result<(), Damage> {
        let Some(start) = self.at else { return Ok(()) };
        let whole = bytes.len() >= files.rest(start);
        let cut = if whole { 0 } else { BATCH_MAX - ALIGN };
        let (mut from, end) = (0, bytes.len().saturating_sub(cut).max(ALIGN));
        while from < end.min(bytes.len()) && !(self.brief && self.next.is_some()) {
            let mut pages = bytes[from..end.min(bytes.len())].chunks(ALIGN);
            let Some(page) = pages.position(has_magic) else {
                from = end;
                break;
            };
            from += page * ALIGN;
            let lsn = start.after(from);
            match files.read(lsn, &bytes[from..]) {
                Here::Batch(batch) => {
                    self.batches += 1;
                    self.next.get_or_insert(lsn);
                    self.vouch(lsn, batch.header.synced_lsn);
                    from += batch.len;
                }
                // What it lacks may be written one day, with the same body in its place: it would come alive.
                Here::Headed(synced) => {
                    self.vouch(lsn, synced);
                    from += ALIGN;
                }
                Here::Newer(format) => {
                    return Err(Damage::Newer { place: files.place(lsn), format });
                }
                Here::Blank | Here::Other => from += ALIGN,
            }
        }
        let (pages, _) = bytes[..from.min(bytes.len())].as_chunks();
        if let Some(page) = pages.iter().rposition(|page| !is_zero(page)) {
            self.used = start.after((page + 1) * ALIGN);
        }
        self.at = match self.brief && self.next.is_some() {
            true => None,
            false => files.next(start.after(from)),
        };
        Ok(())
    }
}
