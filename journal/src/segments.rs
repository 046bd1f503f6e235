//! The segments of a log: which there are, what lives in each, which may go.
//!
//! A record is live as long as something refers to it: a message in a queue, a definition, a decision
//! that not everybody has noted, something that is remembered of a queue. It counts in the segment where it begins. Only the oldest segment is
//! ever freed, so a record that changes the meaning of an earlier one (a dequeue, an undefine, a
//! decision noted) needs no life of its own: it is never gone before what it is about.

use crate::lsn::Lsn;
use crate::seq::Seq;
use std::collections::{BTreeMap, VecDeque};

/// One segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Its first LSN.
    pub base: Lsn,
    /// Bytes in the file.
    pub len: u64,
    /// The first record that begins in it or later.
    pub first: Seq,
    /// Live records that begin in it.
    pub live: u64,
    /// Their bytes.
    pub live_bytes: u64,
    /// Batches here and there, by their offsets, and the first record that begins in each or later: so that
    /// a record is found without reading all of the segment.
    marks: Vec<(Seq, u32)>,
    /// What made the last of them die has to be durable before the segment may go.
    until: Seq,
}

impl Segment {
    /// An empty one.
    pub fn new(base: Lsn, len: u64, first: Seq) -> Segment {
        let (live, live_bytes, until) = (0, 0, Seq::NONE);
        Segment { base, len, first, live, live_bytes, marks: Vec::new(), until }
    }

    /// The LSN behind it.
    pub fn end(&self) -> Lsn {
        Lsn(self.base.0 + self.len)
    }
}

/// Bytes of log between two marks, at least.
const MARK_EVERY: u32 = 64 << 10;

/// A record that several places refer to.
#[derive(Clone, Copy, Debug)]
struct Shared {
    refs: u32,
    len: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Segments {
    /// Oldest first; the last one is written to.
    list: VecDeque<Segment>,
    /// Records that more than one place refers to.
    shared: BTreeMap<Seq, Shared>,
    live_bytes: u64,
}

impl Segments {
    pub(crate) fn push(&mut self, segment: Segment) {
        debug_assert!(self.list.back().is_none_or(|last| last.end() == segment.base));
        self.list.push_back(segment);
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Segment> {
        self.list.iter()
    }

    /// The one written to.
    pub(crate) fn current(&self) -> Option<&Segment> {
        self.list.back()
    }

    pub(crate) fn oldest(&self) -> Option<&Segment> {
        self.list.front()
    }

    pub(crate) fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Where in the list the segment stands in which a record begins.
    fn at(&self, seq: Seq) -> Option<usize> {
        self.list.partition_point(|s| s.first <= seq).checked_sub(1)
    }

    /// The segment in which a record begins.
    pub(crate) fn of(&self, seq: Seq) -> Option<&Segment> {
        self.at(seq).and_then(|at| self.list.get(at))
    }

    /// A batch stands here, and `first` is the first record that may begin in it. Not every one is kept.
    pub(crate) fn mark(&mut self, lsn: Lsn, first: Seq) {
        let Some(s) = self.list.iter_mut().rev().find(|s| s.base <= lsn && lsn < s.end()) else {
            return;
        };
        let offset = (lsn.0 - s.base.0) as u32;
        if s.marks.last().is_none_or(|(_, last)| offset - last >= MARK_EVERY) {
            s.marks.push((first, offset));
        }
    }

    /// A batch at or before the one in which a record begins.
    pub(crate) fn batch_of(&self, seq: Seq) -> Option<Lsn> {
        let s = self.of(seq)?;
        let at = s.marks.partition_point(|(first, _)| *first <= seq);
        let offset = at.checked_sub(1).map_or(0, |at| s.marks[at].1);
        Some(Lsn(s.base.0 + u64::from(offset)))
    }

    /// A record of `len` bytes that `refs` places refer to is in the log.
    pub(crate) fn born(&mut self, seq: Seq, refs: usize, len: u64) {
        let Some(at) = self.at(seq) else { return };
        if refs > 1 {
            self.shared.insert(seq, Shared { refs: refs as u32, len });
        }
        self.list[at].live += 1;
        self.list[at].live_bytes += len;
        self.live_bytes += len;
    }

    /// One place refers to a record no more; `until` has to be durable before that counts. `len` is
    /// the record's if no other place ever did.
    pub(crate) fn died(&mut self, seq: Seq, len: u64, until: Seq) {
        let mut len = len;
        if let Some(shared) = self.shared.get_mut(&seq) {
            shared.refs -= 1;
            if shared.refs > 0 {
                return;
            }
            len = shared.len;
            self.shared.remove(&seq);
        }
        let Some(at) = self.at(seq) else { return };
        let segment = &mut self.list[at];
        segment.live -= 1;
        segment.live_bytes -= len;
        segment.until = segment.until.max(until);
        self.live_bytes -= len;
    }

    /// So many small things that a record says are to be remembered.
    pub(crate) fn hold(&mut self, seq: Seq, count: u64, bytes: u64) {
        let Some(at) = self.at(seq).filter(|_| count > 0) else { return };
        self.list[at].live += count;
        self.list[at].live_bytes += bytes;
        self.live_bytes += bytes;
    }

    /// One of those is to be remembered no more; `until` has to be durable before that counts.
    pub(crate) fn release(&mut self, seq: Seq, bytes: u64, until: Seq) {
        let Some(at) = self.at(seq) else { return };
        let segment = &mut self.list[at];
        segment.live -= 1;
        segment.live_bytes -= bytes;
        segment.until = segment.until.max(until);
        self.live_bytes -= bytes;
    }

    /// How many of the oldest segments hold nothing that is needed, the one written to never.
    pub(crate) fn free(&self, durable: Seq, durable_lsn: Lsn) -> usize {
        let written = self.list.len().saturating_sub(1);
        let free = |s: &&Segment| s.live == 0 && s.until <= durable && s.end() <= durable_lsn;
        self.list.iter().take(written).take_while(free).count()
    }

    /// Forgets the oldest.
    pub(crate) fn pop(&mut self) -> Option<Segment> {
        self.list.pop_front()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_oldest_goes_and_only_when_what_killed_its_records_is_durable() {
        let mut s = Segments::default();
        for n in 0..3u64 {
            s.push(Segment::new(Lsn(n * 8192), 8192, Seq(1 + 10 * n)));
        }
        s.born(Seq(1), 1, 100);
        s.born(Seq(11), 2, 300);
        assert_eq!(s.live_bytes(), 400);
        s.died(Seq(11), 0, Seq(20));
        assert_eq!(s.live_bytes(), 400, "the other place still refers to it");
        s.died(Seq(11), 0, Seq(21));
        assert_eq!((s.live_bytes(), s.free(Seq(30), Lsn(24576))), (100, 0));
        s.died(Seq(1), 100, Seq(22));
        assert_eq!(s.free(Seq(20), Lsn(24576)), 0);
        assert_eq!(s.free(Seq(22), Lsn(8192)), 1, "the second is not written whole");
        assert_eq!(s.free(Seq(22), Lsn(24576)), 2, "the one written to stays");
        assert_eq!(s.of(Seq(15)).map(|s| s.base), Some(Lsn(8192)));
    }
}
