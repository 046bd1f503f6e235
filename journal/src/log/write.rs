//! Batches: what is staged becomes one, in the driver's buffer.

use super::{Ahead, InFlight, Log, Payload, Staged};
use crate::batch::{BATCH_MAX, HEADER, Header, seal};
use crate::io::{Request, Write};
use crate::lsn::{ALIGN, Lsn};
use crate::record::{FRAGMENT_HEAD, Op, Part, fragment_head, publish_len, put_publish};
use crate::segments::Segment;
use crate::seq::Seq;
use crate::superblock::State;

impl<P: Payload> Log<P> {
    /// Bytes of buffer for a batch that may be written now.
    pub fn next_write(&mut self) -> Option<usize> {
        self.skip_gone();
        let wanted = self.staged_bytes as usize + self.spill.len() - self.spilled;
        if wanted == 0 && !self.vouch || self.writes.len() >= self.config.depth {
            return None;
        }
        if self.closed {
            // What follows the end that the superblock notes would be taken for damage.
            if self.superblock.state != State::Running {
                self.superblock.state = State::Running;
                self.superblock_stale = true;
            }
            return None;
        }
        self.prepare_ahead();
        if self.rest() == 0 && !self.next_segment() {
            return None;
        }
        let most = BATCH_MAX.min(usize::try_from(self.rest()).unwrap_or(BATCH_MAX));
        Some((HEADER + FRAGMENT_HEAD + wanted).next_multiple_of(ALIGN).min(most))
    }

    /// Drops what was taken back from the front; if nothing is left, nothing has to be waited for.
    pub fn skip_gone(&mut self) {
        while let Some(Staged::Gone) = self.staged.front() {
            self.staged.pop_front();
            self.first = self.first.next();
        }
        if self.staged.is_empty() && self.spill.is_empty() {
            let last = self.last_seq();
            match self.writes.back_mut() {
                Some(write) => write.seq = last,
                None => self.durable = last,
            }
            if self.staged.capacity() > 4096 {
                self.staged.shrink_to(1024);
            }
        }
    }

    /// Goes on to the next segment, if it is there. Not before it is known whether the disk has room for the one
    /// after it: if not, this one is the reserve, and publishes that are staged are not for it.
    fn next_segment(&mut self) -> bool {
        if !self.full && self.ahead.get(1).is_some_and(|after| !after.ready) {
            return false;
        }
        let Some(next) = self.ahead.pop_front_if(|a| a.ready) else { return false };
        debug_assert_eq!(next.base, self.head);
        // A record that is under way began in an earlier one.
        self.segments.push(Segment::new(next.base, next.len, self.first));
        self.prepare_ahead();
        true
    }

    /// Asks for segments, so that two are ready before they are needed.
    fn prepare_ahead(&mut self) {
        while self.ahead.len() < 2 {
            let end = self.segments.current().map_or(self.head, Segment::end);
            let base = self.ahead.back().map_or(end, |a| Lsn(a.base.0 + a.len));
            let first = base == Lsn(0);
            let len = if first { self.config.first() } else { self.config.segment };
            self.ahead.push_back(Ahead { base, len, ready: false });
            self.requests.push_back(Request::Prepare { segment: base, len });
        }
    }

    /// Builds the batch in the driver's buffer, which is as long as [`Log::next_write`] said.
    ///
    /// # Panics
    /// If that was `None`.
    pub fn fill(&mut self, buffer: &mut [u8]) -> Write {
        let room = buffer.len().min(usize::try_from(self.rest()).unwrap_or(usize::MAX));
        let room = room.min(BATCH_MAX) / ALIGN * ALIGN;
        assert!(room >= ALIGN, "a batch needs a segment");
        let mut body = Body { bytes: &mut buffer[HEADER..room], len: 0, fragments: 0 };
        let first_seq = self.first;
        self.continue_spill(&mut body);
        while self.spill.is_empty() && body.room() > FRAGMENT_HEAD {
            let Some(op) = self.staged.pop_front() else { break };
            let seq = self.first;
            self.first = seq.next();
            self.put(seq, op, &mut body);
        }
        let (len, fragments) = (body.len, body.fragments);
        let batch = (HEADER + len).next_multiple_of(ALIGN);
        let header = Header {
            salt: self.superblock.salt,
            lsn: self.head,
            synced_lsn: self.durable_lsn,
            epoch: self.superblock.epoch,
            shard: self.superblock.shard,
            records: fragments,
            prev_crc: self.prev_crc,
        };
        self.segments.mark(self.head, first_seq);
        self.prev_crc = seal(&header, &mut buffer[..batch], len);
        self.vouched = self.durable_lsn;
        self.vouch = false;
        if fragments > 0 {
            self.written = self.head.after(batch);
        }
        let number = self.next_write;
        self.next_write += 1;
        let current = self.segments.current().expect("there is room in it");
        let (segment, offset) = (current.base, self.head.0 - current.base.0);
        self.head = self.head.after(batch);
        // The last record is complete only if nothing of it is left. What was taken back since it
        // began has been passed over already.
        let next = if self.spill.is_empty() { self.first } else { self.spilling };
        let seq = Seq(next.0 - 1);
        self.writes.push_back(InFlight { number, end: self.head, seq, done: false });
        self.stats.batches += 1;
        self.stats.bytes += batch as u64;
        Write { number, segment, offset, len: batch }
    }

    /// Goes on with the record that did not fit into the last batch.
    fn continue_spill(&mut self, body: &mut Body<'_>) {
        if self.spill.is_empty() {
            return;
        }
        let first = self.spilled == 0;
        self.spilled += body.fragment(first, &self.spill[self.spilled..]);
        if self.spilled == self.spill.len() {
            self.spilled = 0;
            self.spill.clear();
            if self.spill.capacity() > BATCH_MAX {
                self.spill = Vec::new();
            }
        }
    }

    fn put(&mut self, seq: Seq, op: Staged<P>, body: &mut Body<'_>) {
        let len = op.len();
        self.staged_bytes -= len as u64;
        if len == 0 {
            return;
        }
        self.stats.records += 1;
        let scratch = &mut self.scratch;
        scratch.clear();
        match op {
            Staged::Gone => return,
            Staged::Publish { refs, payload, xid, again: _, with } => {
                if let Some(xid) = xid {
                    Op::Prepare(xid).put(scratch);
                }
                if let Some(with) = with {
                    with.put(scratch);
                    let (count, bytes) = with.needed();
                    self.segments.hold(seq, count, bytes);
                }
                put_publish(scratch, &refs, payload.len());
                let bytes = publish_len(1, payload.len()) as u64;
                self.segments.born(seq, refs.len(), bytes);
                if body.room() >= len {
                    body.whole(&[scratch], |out| payload.put(out), payload.len());
                    return;
                }
                let head = scratch.len();
                scratch.resize(head + payload.len(), 0);
                payload.put(&mut scratch[head..]);
            }
            Staged::Dequeue { queue, first, last } => {
                Op::Dequeue { queue, first, last }.put(scratch)
            }
            Staged::Delivered { queue, upto } => Op::Delivered { queue, upto }.put(scratch),
            Staged::Remember(remembered) => {
                remembered.put(scratch);
                let (count, bytes) = remembered.needed();
                self.segments.hold(seq, count, bytes);
            }
            Staged::Bytes { bytes, root } => {
                if root {
                    self.segments.born(seq, 1, bytes.len() as u64);
                }
                scratch.extend_from_slice(&bytes);
            }
        }
        if body.room() >= len {
            body.whole(&[scratch], |_| {}, 0);
        } else {
            std::mem::swap(&mut self.spill, scratch);
            self.spilling = seq;
            self.continue_spill(body);
        }
    }
}

/// The body of a batch being built.
struct Body<'a> {
    bytes: &'a mut [u8],
    len: usize,
    fragments: u16,
}

impl Body<'_> {
    fn room(&self) -> usize {
        if self.fragments == u16::MAX { 0 } else { self.bytes.len() - self.len }
    }

    fn append(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    /// A record that fits.
    fn whole(&mut self, parts: &[&[u8]], put: impl FnOnce(&mut [u8]), put_len: usize) {
        let len = parts.iter().map(|p| p.len()).sum::<usize>() + put_len;
        self.append(&fragment_head(Part::Whole, len));
        parts.iter().for_each(|p| self.append(p));
        put(&mut self.bytes[self.len..self.len + put_len]);
        self.len += put_len;
        self.fragments += 1;
    }

    /// As much of a record as fits; how much that is. Nothing if there is not even room for its head.
    fn fragment(&mut self, first: bool, rest: &[u8]) -> usize {
        if self.room() <= FRAGMENT_HEAD {
            return 0;
        }
        let len = rest.len().min(self.room() - FRAGMENT_HEAD);
        self.append(&fragment_head(Part::of(first, len == rest.len()), len));
        self.append(&rest[..len]);
        self.fragments += 1;
        len
    }
}
