//! What the log asks of its disk besides writes, and what follows when things end.

use super::{Log, Payload};
use crate::io::{Done, Request};
use crate::segments::Segment;
use crate::superblock::State;

impl<P: Payload> Log<P> {
    /// The next thing to be done besides writing batches.
    pub fn next_request(&mut self) -> Option<Request> {
        self.free_segments();
        self.write_superblock();
        self.requests.pop_front()
    }

    /// A write or request has ended. What was read is for [`Log::cleaned`].
    pub fn done(&mut self, done: Done) {
        match done {
            Done::Written { number } => self.written(number),
            Done::Prepared { segment } => {
                if let Some(ahead) = self.ahead.iter_mut().find(|a| a.base == segment) {
                    ahead.ready = true;
                }
                self.full &= self.ahead.iter().any(|a| !a.ready);
            }
            Done::Full { .. } => self.full = true,
            Done::Retired { .. } => self.retiring -= 1,
            Done::Superblock => {
                self.superblock_busy = false;
                self.closed &= self.superblock_stale || self.superblock.state != State::Running;
                for _ in 0..std::mem::take(&mut self.leaving) {
                    if let Some(Segment { base, len, .. }) = self.segments.pop() {
                        self.retiring += 1;
                        self.stats.freed += 1;
                        self.requests.push_back(Request::Retire { segment: base, len });
                    }
                }
            }
            Done::Read { bytes, .. } => self.cleaner.read(bytes),
        }
    }

    fn written(&mut self, number: u64) {
        if let Some(write) = self.writes.iter_mut().find(|w| w.number == number) {
            write.done = true;
        }
        while let Some(write) = self.writes.pop_front_if(|w| w.done) {
            self.durable_lsn = write.end;
            self.durable = write.seq;
        }
        self.skip_gone();
    }

    /// Gives up the oldest segments that hold nothing any more: in the superblock first.
    fn free_segments(&mut self) {
        if self.leaving > 0 || self.superblock_busy {
            return;
        }
        let free = match self.cleaner.is_idle() {
            true => self.segments.free(self.durable, self.durable_lsn),
            false => 0, // It reads the oldest.
        };
        let pinned = self.pins.keys().next();
        let unread = |s: &&Segment| pinned.is_none_or(|pinned| s.base < *pinned);
        let free = self.segments.iter().take(free).take_while(unread).count();
        if free > 0 {
            self.leaving = free;
            let oldest = self.segments.iter().nth(free).map_or(self.head, |s| s.base);
            self.superblock.oldest_lsn = oldest;
            self.superblock_stale = true;
        }
    }

    fn write_superblock(&mut self) {
        if !self.superblock_stale || self.superblock_busy {
            return;
        }
        self.superblock_stale = false;
        self.superblock_busy = true;
        self.superblock.sequence += 1;
        let bytes = Box::new(self.superblock.encode());
        self.requests.push_back(Request::Superblock { slot: self.slot, bytes });
        self.slot = 1 - self.slot;
    }

    /// Notes a clean stop: where the log ends. Only when it is idle. What is staged afterwards opens it
    /// again.
    pub fn close(&mut self) {
        debug_assert!(self.is_idle());
        self.closed = true;
        // The superblock vouches for all of it.
        self.vouch = false;
        self.superblock.state = State::Clean { end: self.head, crc: self.prev_crc };
        self.superblock_stale = true;
    }

    /// Whether [`Log::close`] was called, and nothing was staged since.
    pub fn is_closing(&self) -> bool {
        self.superblock.state != State::Running && self.staged.is_empty()
    }

    /// Whether that is on disk.
    pub fn is_closed(&self) -> bool {
        self.is_closing() && !self.superblock_busy && !self.superblock_stale
    }
}
