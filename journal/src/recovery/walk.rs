//! The walk from batch to batch, and what happens where it stops.

use super::files::{Files, Here};
use super::scan::{Scan, Vouching};
use super::table::{At, Clean, Decision, Facts, Later, decide};
use super::{BatchStart, Cut, Damage, Lost, Segment, Span, Walked};
use crate::batch::Batch;
use crate::lsn::{ALIGN, Lsn};
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
    let sizes = segments.iter().map(|s| (s.base, s.bytes.len() as u64));
    let mut walker = Walker::new(superblock, sizes, salvage)?;
    while let Some(at) = walker.wants() {
        let before = segments.partition_point(|s| s.base <= at);
        let bytes = before.checked_sub(1).and_then(|n| {
            let Segment { base, bytes } = segments[n];
            let offset = usize::try_from(at.0 - base.0).ok()?;
            bytes.get(offset..bytes.len() / ALIGN * ALIGN)
        });
        walker.step(bytes.unwrap_or_default(), visit)?;
    }
    Ok(walker.finish())
}

/// A walk that is taken step by step, by whoever reads the files. See [`walk`].
#[derive(Debug)]
pub struct Walker {
    files: Files,
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
    /// Kept because salvage would read the whole log once more at each stop.
    vouching: Option<Vouching>,
    state: Step,
    walked: Walked,
}

/// What the next step is.
#[derive(Debug)]
enum Step {
    /// A batch is expected at the log's end as it is known.
    Batch,
    /// None belongs there: all that follows is looked through.
    Scan(Stop, Scan),
    /// There is none.
    Over,
}

/// What stands where no batch belongs.
#[derive(Clone, Copy, Debug)]
enum Stop {
    /// A batch all the same, which may chain to the one before.
    Batch {
        chains: bool,
    },
    Blank,
    Other,
}

impl Walker {
    /// At the beginning of a log in these segments, first position and length of each, sorted.
    ///
    /// # Errors
    /// If the files cannot be those of one log.
    pub fn new(
        superblock: &Superblock,
        segments: impl IntoIterator<Item = (Lsn, u64)>,
        salvage: bool,
    ) -> Result<Walker, Damage> {
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
            state: Step::Batch,
            walked: Walked { end: oldest, lost, ..Walked::default() },
        })
    }

    /// What was found so far.
    pub fn walked(&self) -> &Walked {
        &self.walked
    }

    /// Where the next step reads; none after the last.
    pub fn wants(&self) -> Option<Lsn> {
        match &self.state {
            Step::Batch => Some(self.walked.end),
            Step::Scan(_, scan) => scan.at,
            Step::Over => None,
        }
    }

    /// Reads one batch, or looks for what follows where none is. `bytes` are those from [`Walker::wants`]
    /// on: at least [`BATCH_MAX`](crate::BATCH_MAX), or up to the end of the segment; none where no file is.
    ///
    /// # Errors
    /// See [`walk`].
    pub fn step(
        &mut self,
        bytes: &[u8],
        visit: &mut impl FnMut(Span, &[u8]) -> Result<(), RecordError>,
    ) -> Result<(), Damage> {
        match std::mem::replace(&mut self.state, Step::Over) {
            Step::Batch => {
                let place = self.walked.end;
                let closed = self.clean.is_some_and(|(end, _)| end <= place);
                match self.files.read(place, bytes) {
                    Here::Batch(batch) if !closed && self.chains(&batch) => {
                        self.state = Step::Batch;
                        self.take(&batch, visit)
                    }
                    Here::Batch(batch) => self.stop(Stop::Batch { chains: self.chains(&batch) }),
                    Here::Blank => self.stop(Stop::Blank),
                    Here::Headed(_) | Here::Other => self.stop(Stop::Other),
                    Here::Newer(format) => {
                        Err(Damage::Newer { place: self.files.place(place), format })
                    }
                }
            }
            Step::Scan(stop, mut scan) => {
                scan.look(&self.files, bytes)?;
                self.go_on(stop, scan)
            }
            Step::Over => Ok(()),
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

    fn stop(&mut self, stop: Stop) -> Result<(), Damage> {
        let place = self.walked.end;
        self.vouching = self.vouching.filter(|vouching| vouching.by >= place);
        // If what is known already is enough, all that matters is where to go on.
        let enough = self.vouching.is_some() && decide(self.facts(stop)) == Decision::Corrupt;
        self.go_on(stop, Scan::new(&self.files, place, enough))
    }

    /// Scans on, or decides.
    fn go_on(&mut self, stop: Stop, scan: Scan) -> Result<(), Damage> {
        if scan.at.is_some() {
            self.state = Step::Scan(stop, scan);
            return Ok(());
        }
        if !scan.brief {
            self.vouching = scan.vouching;
        }
        let facts = self.facts(stop);
        match decide(facts) {
            Decision::End => {}
            Decision::Cut => self.cut(&scan),
            Decision::Corrupt => {
                let damage = self.damage(facts, stop);
                if !self.salvage {
                    return Err(damage);
                }
                self.pass_over(stop, &scan, damage);
            }
        }
        Ok(())
    }

    fn facts(&self, stop: Stop) -> Facts {
        let place = self.walked.end;
        Facts {
            at: match stop {
                _ if self.files.gap(place).is_some() => At::Missing,
                Stop::Batch { .. } => At::Stray,
                Stop::Blank => At::Blank,
                Stop::Other => At::Other,
            },
            later: match self.vouching {
                None => Later::None,
                Some(Vouching { synced, .. }) if synced > place => Later::Vouching,
                Some(_) => Later::Unvouching,
            },
            clean: match self.clean {
                None => Clean::Running,
                Some((end, crc)) if end == place && self.chain.is_none_or(|c| c == crc) => {
                    Clean::Here
                }
                Some(_) => Clean::Elsewhere,
            },
        }
    }

    fn damage(&self, facts: Facts, stop: Stop) -> Damage {
        let lsn = self.walked.end;
        let place = self.files.place(lsn);
        match (facts, self.files.gap(lsn), self.vouching, self.clean) {
            (_, Some(lsn), ..) => Damage::Missing { lsn },
            (_, _, _, Some((said, _))) if matches!(stop, Stop::Batch { .. }) && said <= lsn => {
                Damage::Beyond { place, said }
            }
            (Facts { at: At::Stray, .. }, ..) => Damage::Chain { place },
            (Facts { later: Later::Vouching, .. }, _, Some(Vouching { by, synced }), _) => {
                Damage::Batch { place, by, synced }
            }
            (Facts { clean: Clean::Here, .. }, _, Some(Vouching { by, .. }), Some((said, _))) => {
                Damage::Beyond { place: self.files.place(by), said }
            }
            (.., said) => Damage::End { place, said: said.map_or(lsn, |(said, _)| said) },
        }
    }

    /// Goes on at the next batch that belongs, if there is one.
    fn pass_over(&mut self, stop: Stop, scan: &Scan, damage: Damage) {
        let place = self.walked.end;
        let said = self.clean.map_or(place, |(end, _)| end.max(place));
        let to = scan.next.unwrap_or(said);
        if !matches!(stop, Stop::Batch { chains: true }) {
            self.drop_open();
            self.skipping = true;
            self.chain = None;
        }
        if scan.next.is_none_or(|next| said <= next) {
            self.clean = None;
        }
        self.walked.lost.push(Lost { from: place, to, damage });
        match scan.next {
            Some(next) => {
                self.walked.end = next;
                self.state = Step::Batch;
            }
            None => self.cut(scan),
        }
    }

    fn cut(&mut self, scan: &Scan) {
        let (from, to) = (self.walked.end, scan.used);
        let batches = scan.batches;
        self.walked.cut = (from < to).then_some(Cut { from, to, batches });
    }
}
