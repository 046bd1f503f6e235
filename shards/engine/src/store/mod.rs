//! What a shard's engine keeps beside its journal: who waits for what to be durable, transactions over
//! several shards, and the orderer's changes that other shards may not see yet.
//!
//! The engine has one if the broker has a data directory. Everything durable goes through it; what to do
//! is in `engine/durable.rs`.

mod codec;
mod fit;
mod pager;
pub(crate) mod remembered;
mod restore;

pub use codec::{CodecError, Stored};
pub use pager::PagingConfig;
pub(crate) use pager::{Load, Pager, Pages, volume_of};
pub use restore::{Combined, Journal, Rehome, RestoreError, Restored, ShardRestore, combine};
pub(crate) use restore::{RestoredBranches, RestoredShare, ToNote};

use codec::definition;
pub(crate) use codec::{BranchDefinition, payload_len};
pub(crate) use remembered::{RestoredIds, id_len};

use crate::error::Error;
use crate::frame::Frame;
use crate::ids::{Position, QueueId, SessionId, ShardId, SubscriptionId, Time};
use crate::queue::Output;
use crate::request::{OpId, Reply};
use crate::topology::{Change, FixedMap};
use fletch_journal::{Log, Ref, Refs, Seq, Xid};
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// An idle log writes its voucher after this long.
const VOUCH_AFTER: Duration = Duration::from_millis(20);

/// Who is told when something is durable.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// A session here that published to queues here alone.
    Published { session: SessionId, op: OpId },
    /// A publish under way from a shard, this one included.
    /// `moves`: it left another queue for this one, or is under way in more parts than this, and must not
    /// be refused.
    Receipt { to: ShardId, slot: u32, moves: bool },
    /// A message that has taken the place of another, which leaves its queue only then.
    Safe { at: Ref },
    /// A session, anywhere, that asked for something.
    Answer { session: SessionId, op: OpId, result: Box<Result<Reply, Error>> },
    /// A subscriber: an output of a durable queue that is held back, see [`Store::is_holding`]. When it goes,
    /// the journal knows of deliveries up to `told`.
    Output { queue: QueueId, told: Position, output: Box<Output> },
    /// A subscriber whose queue is gone.
    Ended { to: SubscriptionId, waiting: bool, reason: Box<Error> },
    /// A session, anywhere, whose settlement has parts.
    Part { session: SessionId, op: OpId },
    /// The decision of this shard about a publish to several shards.
    Decided(Box<Decided>),
    /// The note of another shard's decision.
    Noted { to: ShardId, number: u64 },
    /// What is prepared here of a transaction.
    Prepared { xid: Xid },
    /// The decision of this shard about a transaction.
    Outcome { number: u64, commit: bool },
    /// A shard that is to be told something.
    Tell { to: ShardId, frame: Box<Frame> },
}

/// A publish to several shards that is decided.
#[derive(Debug)]
pub(crate) struct Decided {
    /// The publish.
    pub(crate) slot: u32,
    pub(crate) number: u64,
    pub(crate) homes: SmallVec<[ShardId; 4]>,
}

/// See the module.
pub(crate) struct Store {
    pub(crate) log: Log<Stored>,
    /// Where it is, for people.
    pub(crate) path: Arc<str>,
    pub(crate) waiting: VecDeque<(Seq, Waiter)>,
    /// The number of the next transaction this shard coordinates.
    pub(crate) next_number: u64,
    /// Transactions prepared here and not decided as far as this shard knows: the messages of each.
    pub(crate) undecided: FixedMap<Xid, Refs>,
    /// Decisions of this shard, and how many homes have not noted them yet.
    pub(crate) decisions: FixedMap<u64, u16>,
    /// Per peer: its decisions noted here, to be told at the end of the turn.
    pub(crate) noted: Vec<Vec<u64>>,
    /// Shard 0: what other shards may see only when it is durable, in order.
    pub(crate) held: VecDeque<(Seq, ShardId, Frame)>,
    /// Shard 0: the definitions of bindings.
    bindings: Bindings,
    /// Shard 0: the newest definition of a branch that was made or undone.
    pub(crate) branches_staged: Seq,
    /// The highest number of a dequeue since somebody looked.
    pub(crate) dequeued: Seq,
    /// Outputs of each queue that wait.
    holding: FixedMap<QueueId, u32>,
    /// The time of the last turn.
    pub(crate) now: Time,
    pub(crate) vouch_at: Time,
    /// How long the first operation of a batch may wait for company.
    pub(crate) gather: Duration,
    pub(crate) gather_until: Option<Time>,
}

impl Store {
    pub(crate) fn new(log: Log<Stored>, path: Arc<str>, shards: u16, next: u64) -> Store {
        Store {
            log,
            path,
            waiting: VecDeque::new(),
            next_number: next,
            undecided: FixedMap::default(),
            decisions: FixedMap::default(),
            noted: vec![Vec::new(); usize::from(shards)],
            held: VecDeque::new(),
            bindings: Bindings::default(),
            branches_staged: Seq::NONE,
            dequeued: Seq::NONE,
            holding: FixedMap::default(),
            now: Time(0),
            vouch_at: Time(0),
            gather: Duration::ZERO,
            gather_until: None,
        }
    }

    /// Whether nothing waits to be durable, and no transaction is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty()
            && self.undecided.is_empty()
            && self.decisions.is_empty()
            && self.held.is_empty()
            && self.noted.iter().all(Vec::is_empty)
    }

    /// Whether outputs of a queue are held back. A message whose record is written already is delivered
    /// when the journal knows durably that it may have been, so that after a crash it is told to be
    /// redelivered; and what follows for the queue's subscribers waits with it.
    pub(crate) fn is_holding(&self, queue: QueueId) -> bool {
        !self.holding.is_empty() && self.holding.contains_key(&queue)
    }

    /// Whether anything is held back.
    pub(crate) fn is_holding_any(&self) -> bool {
        !self.holding.is_empty()
    }

    /// Holds an output back until all that is staged is durable.
    pub(crate) fn hold(&mut self, queue: QueueId, told: Position, output: Output) {
        *self.holding.entry(queue).or_insert(0) += 1;
        self.wait_for_all(Waiter::Output { queue, told, output: Box::new(output) });
    }

    /// One that was held back is on its way.
    pub(crate) fn released(&mut self, queue: QueueId) {
        if let Some(holding) = self.holding.get_mut(&queue) {
            *holding -= 1;
            if *holding == 0 {
                self.holding.remove(&queue);
            }
        }
    }

    /// A log that has nothing to write is to write its voucher in a while.
    pub(crate) fn watch(&mut self, now: Time) {
        if self.vouch_at == Time::NEVER && self.log.is_unvouched() {
            self.vouch_at = now.after(VOUCH_AFTER);
        }
    }

    pub(crate) fn wait(&mut self, seq: Seq, waiter: Waiter) {
        // Nearly always the last: a publish may wait after what its own deliveries have staged.
        let at = match self.waiting.back() {
            Some((last, _)) if *last > seq => self.waiting.partition_point(|(s, _)| *s <= seq),
            _ => self.waiting.len(),
        };
        self.waiting.insert(at, (seq, waiter));
    }

    /// Waits for everything staged so far.
    pub(crate) fn wait_for_all(&mut self, waiter: Waiter) {
        let seq = self.log.last_seq();
        self.wait(seq, waiter);
    }

    /// Journals a change of the topology if it is one of durable things: what has to be durable before
    /// others may see it.
    pub(crate) fn record(&mut self, change: &Change) -> Option<Seq> {
        let defined = definition(change).map(|(id, bytes)| {
            self.bindings.note(change);
            self.log.define(id, &bytes)
        });
        // In one record: a crash must not leave a queue without some of its bindings.
        let mut gone = match change {
            Change::QueueDeleted { queue } => self.bindings.of_queue(*queue),
            Change::ExchangeDeleted { name, .. } => self.bindings.of_exchange(name),
            Change::Unbound(b) if b.id != 0 => {
                self.bindings.forget(b.id, b.queue);
                vec![b.id]
            }
            // Behind the new one: what a crash leaves of the old, recovery leaves out; see `fit`.
            Change::Rebound { instead_of, .. } => {
                let durable = instead_of.iter().filter(|b| b.id != 0);
                durable.clone().for_each(|b| self.bindings.forget(b.id, b.queue));
                durable.map(|b| b.id).collect()
            }
            _ => Vec::new(),
        };
        match change {
            Change::QueueDeleted { queue: QueueId(id) }
            | Change::ExchangeDeleted { id, .. }
            | Change::ObjectDeleted { id, .. }
                if self.log.is_defined(*id) =>
            {
                gone.push(*id);
            }
            _ => {}
        }
        if gone.is_empty() { defined } else { Some(self.log.undefine(&gone)) }
    }

    /// A definition that recovery found.
    pub(crate) fn adopt(&mut self, change: &Change) {
        self.bindings.note(change);
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("waiting", &self.waiting.len())
            .field("decisions", &self.decisions.len())
            .field("undecided", &self.undecided.len())
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

/// Which durable bindings there are, by what they go with.
#[derive(Debug, Default)]
struct Bindings(FixedMap<QueueId, Vec<(u64, Arc<str>)>>);

impl Bindings {
    fn note(&mut self, change: &Change) {
        if let Change::Bound(b) | Change::Rebound { binding: b, .. } = change {
            self.0.entry(b.queue).or_default().push((b.id, Arc::clone(&b.exchange)));
        }
    }

    fn forget(&mut self, id: u64, queue: QueueId) {
        if let Some(all) = self.0.get_mut(&queue) {
            all.retain(|(other, _)| *other != id);
            if all.is_empty() {
                self.0.remove(&queue);
            }
        }
    }

    fn of_queue(&mut self, queue: QueueId) -> Vec<u64> {
        let all = self.0.remove(&queue).unwrap_or_default();
        all.into_iter().map(|(id, _)| id).collect()
    }

    fn of_exchange(&mut self, exchange: &str) -> Vec<u64> {
        let mut ids = Vec::new();
        self.0.retain(|_, all| {
            all.retain(|(id, of)| {
                let gone = **of == *exchange;
                if gone {
                    ids.push(*id);
                }
                !gone
            });
            !all.is_empty()
        });
        ids
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topology::{Binding, QueueDescriptor};
    use fletch_amqp::types::Map;
    use fletch_journal::{LogConfig, Position as LogPosition};

    #[test]
    fn a_queue_goes_with_its_bindings_at_once() {
        let config = LogConfig { segment: LogConfig::SEGMENT_MIN, depth: 1 };
        let log = Log::new(config, LogPosition::volatile(0, 7, Seq::NONE));
        let mut store = Store::new(log, "journal".into(), 1, 1);
        let queue = QueueId(1);
        let descriptor = QueueDescriptor {
            id: queue,
            name: "queue".into(),
            home: ShardId(0),
            durable: true,
            auto_delete: false,
            owner: None,
            alternate: None,
            arguments: Arc::new(Map::new()),
        };
        assert!(store.record(&Change::QueueCreated(Arc::new(descriptor))).is_some());
        for id in 2..5 {
            let binding = Binding {
                id,
                exchange: "amq.topic".into(),
                queue,
                home: ShardId(0),
                key: format!("key.{id}").into(),
                arguments: Map::new(),
            };
            assert!(store.record(&Change::Bound(Arc::new(binding))).is_some());
        }
        let before = store.log.last_seq();
        let safe = store.record(&Change::QueueDeleted { queue });
        assert_eq!(store.log.last_seq(), Seq(before.0 + 1), "in one record");
        assert_eq!(safe, Some(Seq(before.0 + 1)));
        assert!((1..5).all(|id| !store.log.is_defined(id)));
        assert_eq!(store.record(&Change::QueueDeleted { queue }), None, "it is gone");
    }
}
