//! The walk from batch to batch, and what happens where it stops.

use super::files::{Files, Here, Scanned};
use super::table::{At, Clean, Decision, Facts, Later, decide};
use super::{BatchStart, Cut, Damage, Lost, Segment, Span, Walked};
use crate::batch::Batch;
use crate::lsn::Lsn;
use crate::record::{Assembler, Part, RecordError, fragments};
use crate::superblock::{State, Superblock};

/// Reads a whole log: calls `visit` with each record, in order, and says where the log ends.
///
/// `segments` are those of the shard's directory, sorted. With `salvage` what is damaged is passed
/// over and listed in [`Walked::lost`]; a log that has lost something must not be appended to, for
/// the damage is still in it: what was visited goes to a new one.
///
/// # Errors
/// See [`Damage`]. Salvage ends at files that overlap and at what a newer version wrote only.
pub fn walk(
    superblock: &Superblock,
    segments: &[Segment<'_>],
    visit: &mut impl FnMut(Span, &[u8]) -> Result<(), RecordError>,
    salvage: bool,
) -> Result<Walked, Damage> {
    let mut walker = Walker::new(superblock, segments, salvage)?;
    while walker.step(visit)? {}
    Ok(walker.finish())
}

/// A walk that is taken step by step. See [`walk`].
#[derive(Debug)]
pub struct Walker<'a> {
    files: Files<'a>,
    salvage: bool,
    /// Where a clean stop says that the log ends, and with which batch. Forgotten when salvage has
    /// found it to be wrong.
    clean: Option<(Lsn, u32)>,
    /// The checksum of the batch before, if it is known.
    chain: Option<u32>,
    assembler: Assembler,
    /// Where the record that the assembler holds begins.
    begin: Lsn,
    /// Until a record begins: what is read belongs to one whose beginning is not there.
    skipping: bool,
    /// The batch that proves most to have been durable, and how much. Kept because salvage would
    /// read the whole log once more at each stop.
    vouching: Option<(Lsn, Lsn)>,
    walked: Walked,
}

impl<'a> Walker<'a> {
    /// At the log's beginning.
    ///
    /// # Errors
    /// If the files cannot be those of one log.
    pub fn new(
        superblock: &Superblock,
        segments: &'a [Segment<'a>],
        salvage: bool,
    ) -> Result<Walker<'a>, Damage> {
        let oldest = superblock.oldest_lsn;
        let first_ever = oldest == Lsn(0);
        let (files, lost) = Files::new(superblock, segments, salvage)?;
        Ok(Walker {
            files,
            salvage,
            clean: match superblock.state {
                State::Running => None,
                State::Clean { end, crc } => Some((end, crc)),
            },
            // The batch before the oldest is gone.
            chain: first_ever.then_some(0),
            assembler: Assembler::new(),
            begin: oldest,
            skipping: !first_ever,
            vouching: None,
            walked: Walked { end: oldest, lost, ..Walked::default() },
        })
    }

    /// What was found so far; its end is where the next step reads.
    pub fn walked(&self) -> &Walked {
        &self.walked
    }

    /// Wants to know of parts behind the log's end that were looked through and are not needed for now.
    pub fn on_scanned(&mut self, tell: &'a dyn Fn(Lsn, Lsn)) {
        self.files.scanned = Scanned(Some(tell));
    }

    /// Reads one batch, or passes over what is damaged. False at the log's end.
    ///
    /// # Errors
    /// See [`walk`].
    pub fn step(
        &mut self,
        visit: &mut impl FnMut(Span, &[u8]) -> Result<(), RecordError>,
    ) -> Result<bool, Damage> {
        let place = self.walked.end;
        let here = self.files.look(place);
        let closed = self.clean.is_some_and(|(end, _)| end <= place);
        match here {
            Here::Batch(batch) if !closed && self.chains(&batch) => {
                self.take(&batch, visit).map(|()| true)
            }
            here => self.stop(here),
        }
    }

    /// What was found up to here.
    pub fn finish(mut self) -> Walked {
        if self.assembler.is_open() {
            self.walked.unfinished = Some(self.begin);
            self.drop_open();
        }
        let said = self.clean.map(|(_, crc)| crc);
        self.walked.end_crc = self.chain.or(said).unwrap_or_default();
        self.walked
    }

    fn chains(&self, batch: &Batch<'_>) -> bool {
        self.chain.is_none_or(|crc| crc == batch.header.prev_crc)
    }

    // ---- reading -----------------------------------------------------------------------------

    fn take(
        &mut self,
        batch: &Batch<'_>,
        visit: &mut impl FnMut(Span, &[u8]) -> Result<(), RecordError>,
    ) -> Result<(), Damage> {
        let lsn = batch.header.lsn;
        let begins = |part| matches!(part, Part::Whole | Part::First);
        let mut all = fragments(batch.body).peekable();
        // A crash left a record without its end, and whoever wrote next could not but begin anew.
        if self.assembler.is_open() && matches!(all.peek(), Some(Ok((part, _))) if begins(*part)) {
            self.drop_open();
        }
        let first = self.walked.records + u64::from(self.assembler.is_open());
        self.walked.batches.push(BatchStart { lsn, first });
        self.walked.end = lsn.after(batch.len);
        self.chain = Some(batch.crc);
        for fragment in all {
            let joined = fragment.and_then(|(part, content)| {
                if self.skipping && !begins(part) {
                    self.skipping = part != Part::Last;
                    return Ok(None);
                }
                self.skipping = false;
                let record = self.assembler.join(part, content)?;
                if begins(part) {
                    self.begin = lsn;
                }
                Ok(record)
            });
            let error = match joined {
                Ok(None) => continue,
                Ok(Some(record)) => {
                    let visited = visit(Span { begin: self.begin, end: lsn }, record);
                    self.walked.records += 1;
                    match visited {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                Err(error) => {
                    if !self.assembler.is_open() {
                        self.begin = lsn;
                    }
                    // Where the next record begins is all that can be told now.
                    self.drop_open();
                    self.skipping = true;
                    error
                }
            };
            let damage = Damage::Record { place: self.files.place(self.begin), error };
            if !self.salvage || damage.is_newer() {
                return Err(damage);
            }
            self.walked.lost.push(Lost { from: self.begin, to: self.walked.end, damage });
        }
        Ok(())
    }

    /// Gives up the record that was begun.
    fn drop_open(&mut self) {
        self.assembler.reset();
        // It was counted as the last to begin before the batches that continue it.
        let records = self.walked.records;
        for batch in self.walked.batches.iter_mut().rev().take_while(|b| b.first > records) {
            batch.first = records;
        }
    }

    // ---- where no batch belongs --------------------------------------------------------------

    /// True if salvage found where to go on.
    fn stop(&mut self, here: Here<'_>) -> Result<bool, Damage> {
        let place = self.walked.end;
        if let Here::Newer(format) = here {
            return Err(Damage::Newer { place: self.files.place(place), format });
        }
        let gap = self.files.gap(place);
        let vouching = self.vouching(place)?;
        let facts = Facts {
            at: match here {
                _ if gap.is_some() => At::Missing,
                Here::Batch(_) => At::Stray,
                Here::Blank => At::Blank,
                Here::Other | Here::Newer(_) => At::Other,
            },
            later: match vouching {
                None => Later::None,
                Some((_, synced)) if synced > place => Later::Vouching,
                Some(_) => Later::Unvouching,
            },
            clean: match self.clean {
                None => Clean::Running,
                Some((end, crc)) if end == place && self.chain.is_none_or(|c| c == crc) => {
                    Clean::Here
                }
                Some(_) => Clean::Elsewhere,
            },
        };
        match decide(facts) {
            Decision::End => Ok(false),
            Decision::Cut => {
                self.cut();
                Ok(false)
            }
            Decision::Corrupt => {
                let damage = self.damage(facts, here, gap, vouching);
                if self.salvage { Ok(self.pass_over(here, damage)) } else { Err(damage) }
            }
        }
    }

    /// Of the batches from here on the one that was built when most was durable, and how much.
    fn vouching(&mut self, place: Lsn) -> Result<Option<(Lsn, Lsn)>, Damage> {
        if self.vouching.is_none_or(|(by, _)| by < place) {
            self.vouching = None;
            for batch in self.files.belonging(place) {
                let header = batch
                    .map_err(|(lsn, format)| Damage::Newer {
                        place: self.files.place(lsn),
                        format,
                    })?
                    .header;
                if self.vouching.is_none_or(|(_, synced)| synced <= header.synced_lsn) {
                    self.vouching = Some((header.lsn, header.synced_lsn));
                }
            }
        }
        Ok(self.vouching)
    }

    fn damage(
        &self,
        facts: Facts,
        here: Here<'_>,
        gap: Option<Lsn>,
        vouching: Option<(Lsn, Lsn)>,
    ) -> Damage {
        let lsn = self.walked.end;
        let place = self.files.place(lsn);
        match (facts, gap, vouching, self.clean) {
            (_, Some(lsn), ..) => Damage::Missing { lsn },
            (_, _, _, Some((said, _))) if matches!(here, Here::Batch(_)) && said <= lsn => {
                Damage::Beyond { place, said }
            }
            (Facts { at: At::Stray, .. }, ..) => Damage::Chain { place },
            (Facts { later: Later::Vouching, .. }, _, Some((by, synced)), _) => {
                Damage::Batch { place, by, synced }
            }
            (Facts { clean: Clean::Here, .. }, _, Some((by, _)), Some((said, _))) => {
                Damage::Beyond { place: self.files.place(by), said }
            }
            (.., said) => Damage::End { place, said: said.map_or(lsn, |(said, _)| said) },
        }
    }

    /// Goes on at the next batch that belongs, if there is one.
    fn pass_over(&mut self, here: Here<'_>, damage: Damage) -> bool {
        let place = self.walked.end;
        let next = self.files.belonging(place).find_map(Result::ok).map(|batch| batch.header.lsn);
        let said = self.clean.map_or(place, |(end, _)| end.max(place));
        let to = next.unwrap_or(said);
        if !matches!(here, Here::Batch(batch) if self.chains(&batch)) {
            self.drop_open();
            self.skipping = true;
            self.chain = None;
        }
        if next.is_none_or(|next| said <= next) {
            self.clean = None;
        }
        self.walked.lost.push(Lost { from: place, to, damage });
        match next {
            Some(next) => self.walked.end = next,
            None => self.cut(),
        }
        next.is_some()
    }

    fn cut(&mut self) {
        let from = self.walked.end;
        let to = self.files.last_used(from);
        let batches = self.files.belonging(from).filter(Result::is_ok).count() as u64;
        self.walked.cut = (from < to).then_some(Cut { from, to, batches });
    }
}
