//! Which bodies should leave memory, and which are on their way back.

use super::{Stored, Waiter};
use crate::ids::{Position, QueueId, Time};
use crate::topology::FixedMap;
use fletch_journal::record::Assembler;
use fletch_journal::{BATCH_MAX, Log, LogConfig, Lsn, Position as LogPosition, Seq, Volume};
use std::collections::VecDeque;
use std::sync::Arc;

/// The numbers of records in the paging file have this bit, those of the journal do not.
const PAGED: u64 = 1 << 63;

/// The log in which a record stands.
pub(crate) fn volume_of(place: Seq) -> Volume {
    if place.0 & PAGED == 0 { Volume::Journal } else { Volume::Paging }
}

/// Where transient bodies go that leave memory.
#[derive(Clone, Debug)]
pub struct PagingConfig {
    /// How the file is set up.
    pub log: LogConfig,
    /// Drawn at random. Nobody outside may learn it: a message's content could otherwise pass for a batch.
    pub salt: u64,
    /// Where it is, for people.
    pub path: Arc<str>,
}

/// The paging file.
#[derive(Debug)]
pub(crate) struct Pages {
    pub(crate) log: Log<Stored>,
    pub(crate) path: Arc<str>,
    /// Publishes that are held up until so much is written.
    pub(crate) waiting: VecDeque<(Seq, Waiter)>,
    /// Nothing goes to it before this time: its disk was full a moment ago.
    pub(crate) again: Time,
}

impl Pages {
    pub(crate) fn new(shard: u16, config: &PagingConfig) -> Pages {
        let position = LogPosition::volatile(shard, config.salt, Seq(PAGED));
        Pages {
            log: Log::new(config.log, position),
            path: Arc::clone(&config.path),
            waiting: VecDeque::new(),
            again: Time(0),
        }
    }
}

/// Reads that may be under way at once.
const READS: usize = 2;

/// A read of bodies under way.
#[derive(Debug)]
pub(crate) struct Load {
    /// Whose bodies are wanted.
    pub(crate) queue: QueueId,
    /// The log that has them.
    pub(crate) volume: Volume,
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
    /// Chunks of 64 messages at the front of each queue that stay.
    pub(crate) kept: usize,
    /// As many as they take at most: what they took when that was last counted, and what came since.
    pub(crate) estimate: u64,
    /// They take too many.
    pub(crate) shedding: bool,
    /// Until they take more than this there is no point in trying again.
    pub(crate) in_vain: u64,
    /// Paged queues that have more in memory than they may, each once.
    pub(crate) over: Vec<QueueId>,
    /// Where transient bodies go, if there is such a place.
    pub(crate) pages: Option<Pages>,
    /// The record that the last publish waits for which is held up.
    pub(crate) confirmed: Seq,
    /// Queues that want bodies, each once.
    pub(crate) waiting: VecDeque<QueueId>,
    /// Some of them were not looked at yet.
    pub(crate) asked: bool,
    /// Reads under way, by their numbers.
    pub(crate) loads: FixedMap<u64, Load>,
    pub(crate) next: u64,
    /// The queue whose emptying waits for a read.
    pub(crate) job: Option<QueueId>,
    /// It waits until this is durable.
    pub(crate) job_after: Seq,
}

impl Pager {
    pub(crate) fn new(budget: u64, kept: usize, pages: Option<Pages>) -> Pager {
        Pager { budget, kept, pages, ..Pager::default() }
    }

    /// A message of that size came to so many queues.
    pub(crate) fn grown(&mut self, refs: usize, size: usize) {
        self.estimate += refs as u64 * (size as u64 + 80);
    }

    /// What has to be written to the paging file before a message that came to so many queues is confirmed,
    /// if memory is short, or a queue is `pressed`, and that would help. Each waits for as many records more
    /// than the one before as it takes room: publishers go on as fast as the file is written.
    pub(crate) fn behind(&mut self, pressed: bool, refs: usize) -> Option<Seq> {
        let pressed = pressed || self.estimate > (self.budget / 8).saturating_mul(9);
        let log = &self.pages.as_ref().filter(|_| pressed)?.log;
        let last = log.last_seq();
        if last <= log.durable() || log.is_full() {
            return None;
        }
        self.confirmed = Seq(self.confirmed.max(last).0 + refs as u64);
        Some(self.confirmed)
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
