//! What of a queue is in memory: bodies of messages that have a record may be away, and are read back when
//! somebody wants them.

use super::settings::{Depth, Policy, QueueSettings};
use super::{Output, Queue};
use crate::ids::{Position, Time};
use crate::message::Message;
use crate::store::volume_of;
use fletch_journal::{Seq, Volume};

/// What a paged queue may have in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MemoryLimit {
    bytes: u64,
    messages: u64,
}

impl MemoryLimit {
    pub(super) fn of(settings: &QueueSettings) -> Option<MemoryLimit> {
        let most = |n: Option<u64>| n.filter(|n| *n > 0).unwrap_or(u64::MAX);
        match settings.paging {
            Some(paging) => {
                let bytes = paging.pages.saturating_mul(paging.factor).saturating_mul(PAGE);
                Some(MemoryLimit { bytes, messages: u64::MAX })
            }
            None if settings.policy == Policy::FlowToDisk => {
                let Depth { count, size } = settings.limit;
                Some(MemoryLimit { bytes: most(size), messages: most(count) })
            }
            None => None,
        }
    }
}

/// Bytes of a page.
const PAGE: u64 = 4096;

/// So many messages ahead of a consumer are brought back.
const READ_AHEAD: u64 = 16 * 1024;
/// The same ahead of a browser.
const SLOTS_AHEAD: u64 = 1024;
/// Messages that the sweep looks at when bodies have come back for it.
const RETURNED: usize = 1000;

impl Queue {
    /// Bytes of memory that messages take, about.
    pub fn resident(&self) -> u64 {
        self.entries.resident()
    }

    /// Bytes of memory that stay taken when all bodies are away, about.
    pub fn index(&self) -> u64 {
        self.entries.index()
    }

    /// Messages whose bodies are not in memory.
    pub fn away(&self) -> u64 {
        self.entries.away()
    }

    /// Messages that have a record in the paging file. Counted: for tests.
    pub fn paged(&self) -> usize {
        self.entries.iter().filter(|e| volume_of(e.place()) == Volume::Paging).count()
    }

    /// Lets bodies leave memory whose records are safe, about so many at most; so many chunks of 64 that a
    /// consumer comes to next stay. How many left.
    pub fn send_away(&mut self, is_safe: impl Fn(Seq) -> bool, keep: usize, most: usize) -> usize {
        if self.order.is_fifo() { self.entries.send_away(is_safe, keep, most) } else { 0 }
    }

    /// Messages that could leave memory if they had a record, about so many bytes of them, in order.
    pub(crate) fn without_record(&self, keep: usize, bytes: usize) -> Vec<(Position, Message)> {
        match self.order.is_fifo() {
            true => self.entries.without_record(keep, bytes),
            false => Vec::new(),
        }
    }

    /// Whether more is in memory than three quarters of what the queue may have there: so far it is
    /// emptied when there was too much.
    pub(crate) fn is_full(&self) -> bool {
        self.exceeds(|limit| limit / 4 * 3)
    }

    /// Whether too much is in memory, said once until [`Queue::relieved`].
    pub(crate) fn is_over(&mut self) -> bool {
        let over = !self.relieving && self.exceeds(|limit| limit);
        self.relieving |= over;
        over
    }

    /// Whether so much is that publishers have to wait.
    pub(crate) fn is_far_over(&self) -> bool {
        self.exceeds(|limit| limit.saturating_mul(2))
    }

    /// It is not, or nothing can be done about it now.
    pub(crate) fn relieved(&mut self) {
        self.relieving = false;
    }

    fn exceeds(&self, part: impl Fn(u64) -> u64) -> bool {
        self.limit.as_ref().is_some_and(|limit| {
            self.entries.resident() > part(limit.bytes)
                || self.entries.messages() - self.entries.away() > part(limit.messages)
        })
    }

    /// Says that a body is wanted, once.
    pub(super) fn want(&mut self, out: &mut Vec<Output>) {
        if !std::mem::replace(&mut self.wanting, true) {
            out.push(Output::Wanted { queue: self.id });
        }
    }

    /// Of the bodies that are wanted, now or soon, the first: its position, and where its record stands.
    /// `short` of memory, so soon that it does not leave again before: it is in one of `keep` chunks.
    pub fn first_wanted(&mut self, short: bool, keep: usize) -> Option<(Position, Seq)> {
        if self.is_unsorted() {
            let position = self.entries.any_away();
            let entry = position.and_then(|p| self.entries.get(p)).map(|e| (e.position, e.place()));
            self.wanting = entry.is_some();
            return entry;
        }
        let consumed = self.subscriptions.any_plain();
        let front = consumed.then(|| self.entries.first().map(|e| e.position)).flatten();
        let short = short || self.is_full();
        // They may begin in the middle of the first one.
        let kept = (keep as u64).saturating_sub(1) * 64;
        let (far, browsed) = if short { (kept, 1) } else { (READ_AHEAD, SLOTS_AHEAD) };
        let ahead = front.and_then(|front| self.entries.first_away(front, far));
        let browsed = || {
            let mut cursors = self.subscriptions.cursors();
            // What comes next to a cursor may be far ahead of it.
            let next = |cursor| self.entries.next(cursor).map(|e| e.position);
            cursors.find_map(|cursor| self.entries.first_away(next(cursor)?, browsed))
        };
        let swept = || (self.swept > 0).then(|| self.entries.first_away(self.swept, 1)).flatten();
        let position = self.first_leaving().or(ahead).or_else(browsed).or_else(swept);
        let entry = position.and_then(|p| self.entries.get(p)).map(|e| (e.position, e.place()));
        self.wanting = entry.is_some();
        entry
    }

    /// Whether there is a message at a position whose body is away.
    pub fn is_away(&self, position: Position) -> bool {
        self.entries.is_away(position)
    }

    /// A body is back. False if nobody misses it.
    pub fn bring_back(&mut self, position: Position, message: Message) -> bool {
        self.entries.bring_back(position, message)
    }

    /// A body comes back, or stays, and has no record any more.
    pub(crate) fn keep(&mut self, position: Position, message: Message) {
        self.entries.keep(position, message);
    }

    /// Bodies came back: whoever waited for them is served.
    pub fn serve_returned(&mut self, now: Time, out: &mut Vec<Output>) {
        self.wanting = false;
        self.reroute_returned(out);
        self.sort(out);
        if self.swept > 0 {
            // At once: they may have left again when the next sweep comes.
            let mut budget = RETURNED;
            self.expire(now, &mut budget, out);
        }
        self.serve_all(now, out);
        for key in self.subscriptions.flushing() {
            self.serve(now, key, out);
        }
    }
}
