//! Which bodies should leave memory, and which are on their way back.

use crate::ids::{Position, QueueId};
use crate::topology::FixedMap;
use fletch_journal::record::Assembler;
use fletch_journal::{BATCH_MAX, Lsn, Seq};
use std::collections::VecDeque;

/// Reads that may be under way at once.
const READS: usize = 2;

/// A read of bodies under way.
#[derive(Debug)]
pub(crate) struct Load {
    /// Whose bodies are wanted.
    pub(crate) queue: QueueId,
    /// The message that is wanted first.
    pub(crate) position: Position,
    /// Where the slice begins that is being read.
    pub(crate) at: Lsn,
    /// The segment it is in, which must not be given up meanwhile.
    pub(crate) segment: Lsn,
    /// A record that went on beyond the slice before.
    pub(crate) assembler: Assembler,
    /// Slices read so far.
    pub(crate) slices: u32,
    /// A record begins in what is read: what comes before belongs to one that is not wanted.
    pub(crate) begun: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Pager {
    /// Bytes that messages may take.
    pub(crate) budget: u64,
    /// As many as they take at most: what they took when that was last counted, and what came since.
    pub(crate) estimate: u64,
    /// They take too many.
    pub(crate) shedding: bool,
    /// Queues that want bodies, each once.
    pub(crate) waiting: VecDeque<QueueId>,
    /// Reads under way, by their numbers.
    pub(crate) loads: FixedMap<u64, Load>,
    pub(crate) next: u64,
    /// The queue whose emptying waits for a read.
    pub(crate) job: Option<QueueId>,
    /// It waits until this is durable.
    pub(crate) job_after: Seq,
}

impl Pager {
    /// A message of that size came to so many queues.
    pub(crate) fn grown(&mut self, refs: usize, size: usize) {
        self.estimate += refs as u64 * (size as u64 + 80);
    }

    /// Whether another read may begin.
    pub(crate) fn may_read(&self) -> bool {
        self.loads.len() < READS
    }

    /// Bytes that reads under way and one more may bring.
    pub(crate) fn reading(&self) -> u64 {
        (self.loads.len() as u64 + 1) * BATCH_MAX as u64
    }

    /// Whether a queue's bodies are being read.
    pub(crate) fn is_loading(&self, queue: QueueId) -> bool {
        self.loads.values().any(|load| load.queue == queue)
    }
}
