//! Reclaim: the oldest segment is read back, what lives in it is written again at the head, and then it
//! is free. So one message that nobody takes never pins more than its own bytes.
//!
//! The log reads and takes apart, a slice at a time; which messages are live only the engine knows. It
//! asks for [`Log::cleaned`], stages again what is live ([`Log::relocate`]), and calls [`Log::clean`] at
//! the end of each turn. Slices wait for what is staged to be written, so the work is never more than a
//! batch ahead of the messages that clients wait for.

use crate::batch::{BATCH_MAX, Batch};
use crate::io::Request;
use crate::log::{Log, Payload, Refs};
use crate::lsn::{ALIGN, Lsn};
use crate::record::{Assembler, FRAGMENT_HEAD, RecordError, Xid, fragments};
use crate::segments::Segment;
use crate::seq::Seq;
use bytes::Bytes;

/// A segment's contents were read back and are not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("segment {:016x}.seg is damaged at offset {offset}", segment.0)]
pub struct Damaged {
    /// The segment's first LSN.
    pub segment: Lsn,
    /// Where in its file.
    pub offset: u64,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    /// The next slice is to be read from here.
    Due(Lsn),
    Reading(Lsn),
    Read(Lsn, Vec<u8>),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Cleaner {
    state: State,
    /// The segment being cleaned.
    segment: Lsn,
    end: Lsn,
    assembler: Assembler,
    /// The segment cleaned last. What lives in it still is on its way elsewhere, in no queue.
    passed: Option<Lsn>,
}

impl Cleaner {
    pub(crate) fn is_idle(&self) -> bool {
        matches!(self.state, State::Idle)
    }

    fn end(&mut self) {
        self.state = State::Idle;
        self.passed = Some(self.segment);
    }

    pub(crate) fn read(&mut self, bytes: Vec<u8>) {
        if let State::Reading(at) = self.state {
            self.state = State::Read(at, bytes);
        }
    }
}

/// What a slice of the segment being cleaned holds.
#[derive(Debug)]
pub struct Cleaned {
    /// The segment's first LSN.
    pub segment: Lsn,
    /// The records that begin in it.
    pub records: Vec<Bytes>,
}

impl<P: Payload> Log<P> {
    /// Segments that a log may have beyond twice what lives in it.
    const SLACK: u64 = 2;

    /// Whether the oldest segment should be cleaned.
    fn is_loose(&self) -> bool {
        let (live, segment) = (self.live_bytes(), self.config().segment);
        // What is written again goes into batches of whole pages: with tiny segments more cannot be had.
        let padding = self.segments().len() as u64 * ALIGN as u64;
        let most = match self.is_full() {
            true => live + live / 4 + segment,
            false => 2 * live + Self::SLACK * segment,
        };
        self.used() > most + padding && self.segments().len() > 1
    }

    /// Whether what lives in a segment can be written again. A full disk gives room back only for the whole
    /// of it: what it has left is for dequeues rather than for a part.
    fn has_room_for(&self, segment: &Segment) -> bool {
        let heads = segment.live * FRAGMENT_HEAD as u64;
        let moved = self.staged_bytes() + segment.live_bytes + heads;
        // Each batch has a header and ends with a page.
        let batches = moved / BATCH_MAX as u64 + 2;
        !self.is_full() || self.room() >= moved + batches * ALIGN as u64
    }

    /// Gives cleaning up if the disk has become too full for its end.
    fn stop_if_full(&mut self) {
        let Some(oldest) = self.segments().next() else { return };
        if !self.has_room_for(oldest) {
            self.cleaner.state = State::Idle;
        }
    }

    /// Goes on with cleaning, or begins it, if there is need.
    pub fn clean(&mut self) {
        if self.cleaner.is_idle() && self.is_loose() {
            let Some(oldest) = self.segments().next() else { return };
            // Without live records it goes by itself, and so does one that was cleaned already.
            let passed = self.cleaner.passed == Some(oldest.base);
            if oldest.live == 0 || passed || oldest.end() > self.durable_lsn() {
                return;
            }
            if !self.has_room_for(oldest) {
                return;
            }
            let (base, end) = (oldest.base, oldest.end());
            self.cleaner = Cleaner {
                state: State::Due(base),
                segment: base,
                end,
                assembler: Assembler::new(),
                passed: None,
            };
        }
        if let State::Due(_) = self.cleaner.state {
            self.stop_if_full();
        }
        if let State::Due(at) = self.cleaner.state {
            if at >= self.durable_lsn() {
                // The last record that began in the segment has not ended yet. If nothing is under
                // way that could end it, a crash has cut it short: it is none.
                if self.is_written_out() {
                    self.cleaner.end();
                }
            } else if self.staged_bytes() < BATCH_MAX as u64 {
                self.read(at);
            }
        }
    }

    fn read(&mut self, at: Lsn) {
        let Some(s) = self.segments().find(|s| s.base <= at && at < s.end()) else {
            self.cleaner.state = State::Idle;
            return;
        };
        let end = s.end().min(self.durable_lsn());
        let len = usize::try_from(end.0.saturating_sub(at.0)).unwrap_or(BATCH_MAX).min(BATCH_MAX);
        let (segment, offset) = (s.base, at.0 - s.base.0);
        self.cleaner.state = State::Reading(at);
        self.ask(Request::Read { number: at.0, segment, offset, len });
    }

    /// The records of a slice that was read.
    ///
    /// # Errors
    /// [`Damaged`] if it is not what was written.
    pub fn cleaned(&mut self) -> Result<Option<Cleaned>, Damaged> {
        if !matches!(self.cleaner.state, State::Read(..)) {
            return Ok(None);
        }
        self.stop_if_full();
        let State::Read(mut at, bytes) = std::mem::take(&mut self.cleaner.state) else {
            return Ok(None);
        };
        let (segment, end) = (self.cleaner.segment, self.cleaner.end);
        if at == segment {
            // With the first slice, so that both can go into one batch.
            self.relocate_roots(segment);
        }
        let damaged = |at: Lsn| {
            let s = self.segments.iter().find(|s| s.base <= at && at < s.end());
            let segment = s.map_or(segment, |s| s.base);
            Damaged { segment, offset: at.0 - segment.0 }
        };
        let bytes = Bytes::from(bytes);
        let mut records = Vec::new();
        let mut rest = &bytes[..];
        let start = at;
        let mut over = false;
        while !over && !rest.is_empty() {
            let batch = match Batch::decode(rest) {
                Ok(batch) if batch.header.lsn == at => batch,
                // A whole one fits into every slice; this one goes on behind it.
                _ if at > start => break,
                _ => return Err(damaged(at)),
            };
            let mut take = || -> Result<(), RecordError> {
                for fragment in fragments(batch.body) {
                    let (part, content) = fragment?;
                    let begins =
                        matches!(part, crate::record::Part::Whole | crate::record::Part::First);
                    // What began before the segment is another's; what begins behind it too.
                    if !begins && !self.cleaner.assembler.is_open() {
                        continue;
                    }
                    if begins && at >= end {
                        over = true;
                        break;
                    }
                    // A crash left one without its end; who wrote next began anew.
                    if begins && self.cleaner.assembler.is_open() {
                        self.cleaner.assembler.reset();
                    }
                    let whole = part == crate::record::Part::Whole;
                    if let Some(record) = self.cleaner.assembler.join(part, content)? {
                        records.push(match whole {
                            true => bytes.slice_ref(record),
                            false => Bytes::copy_from_slice(record),
                        });
                    }
                }
                Ok(())
            };
            take().map_err(|_| damaged(at))?;
            at = at.after(batch.len);
            rest = &rest[batch.len..];
            over |= at >= end && !self.cleaner.assembler.is_open();
        }
        match over {
            true => self.cleaner.end(),
            false => self.cleaner.state = State::Due(at),
        }
        Ok(Some(Cleaned { segment, records }))
    }

    /// Whether a record stands in the segment being cleaned.
    pub fn stands_in(&self, seq: Seq, segment: Lsn) -> bool {
        self.segment_of(seq).is_some_and(|s| s.base == segment)
    }

    /// Stages a live message again: `refs` are the places that refer to it, `old` is the record that
    /// goes. What that says besides is staged apart, by [`Log::remember`].
    pub fn relocate(&mut self, refs: Refs, old: Seq, payload: P, xid: Option<Xid>) -> Seq {
        let (places, len) = (refs.len(), payload.len());
        let new = self.publish_again(refs, payload, xid);
        for _ in 0..places {
            self.moved(old, len, new);
        }
        self.stats.relocated += 1;
        new
    }
}
