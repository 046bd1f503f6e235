//! Transactions, as shards tell each other of them and keep them.
//!
//! A session's shard *coordinates*: it splits what the session has done into one [`Share`] for each home
//! shard. If there is one only, it is carried out there at once. Else each home prepares its share, the
//! coordinator decides when all have, and each home then carries it out or forgets it.

use crate::error::Error;
use crate::ids::{Epoch, Position, QueueId, SessionId, ShardId};
use crate::message::Message;
use crate::request::{DeliveryRef, OpId};
use crate::topology::{FixedMap, Route};
use fletch_journal::{Ref, Seq, Xid};
use smallvec::SmallVec;

/// What a session has done in a transaction, to be done as a whole.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// Messages, in the order in which they were published, each with the queues it was routed to then.
    pub publishes: Vec<(Message, SmallVec<[Route; 1]>)>,
    /// Deliveries that were accepted.
    pub accepts: Vec<DeliveryRef>,
}

impl Transaction {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.publishes.is_empty() && self.accepts.is_empty()
    }
}

/// What a transaction does on one shard.
#[derive(Debug, Default)]
pub struct Share {
    /// Messages, in order, and their queues there.
    pub publishes: Vec<(Message, SmallVec<[QueueId; 1]>)>,
    /// Runs of accepted deliveries.
    pub accepts: Vec<(QueueId, Vec<Position>)>,
}

/// What coordinator (C) and home (O) tell each other. `number` is the coordinator's for the transaction.
#[derive(Debug)]
pub enum TxFrame {
    /// C → O: prepare this, which names nothing newer than `epoch`; or do it, if it is `alone`.
    Prepare {
        /// The sender's topology.
        epoch: Epoch,
        /// Which transaction.
        number: u64,
        /// No other shard takes part.
        alone: bool,
        /// What to do.
        share: Share,
    },
    /// O → C: it is prepared, or there is a reason why it cannot be. Then nothing is left of it there.
    Prepared {
        /// Which transaction.
        number: u64,
        /// The journal there has to hear of the decision.
        durable: bool,
        /// Why not.
        refused: Option<Error>,
    },
    /// C → O: what was prepared holds, or does not.
    End {
        /// Which transaction.
        number: u64,
        /// Whether it holds.
        commit: bool,
    },
    /// O → C: it is carried out.
    Ended {
        /// Which transaction.
        number: u64,
    },
}

/// The transactions that this shard has to do with.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// Of sessions here, by their numbers.
    pub(crate) coordinated: FixedMap<u64, Coordinated>,
    /// Prepared here.
    pub(crate) prepared: FixedMap<Xid, Branch>,
    /// The number of the next one, without a store.
    pub(crate) next: u64,
}

impl Transactions {
    pub(crate) fn is_empty(&self) -> bool {
        self.coordinated.is_empty() && self.prepared.is_empty()
    }
}

/// A transaction of a session here.
#[derive(Debug)]
pub(crate) struct Coordinated {
    pub(crate) asker: (SessionId, OpId),
    pub(crate) homes: SmallVec<[ShardId; 4]>,
    /// Answers that are not in.
    pub(crate) missing: usize,
    /// Homes whose journals have to hear of the decision.
    pub(crate) durable: u16,
    pub(crate) refused: Option<Error>,
    /// It accepts messages of queues whose deletion has to be durable before that is so for good.
    pub(crate) behind_deletes: bool,
}

/// What is prepared here of a transaction.
#[derive(Debug)]
pub(crate) struct Branch {
    /// Who coordinates it, and that shard's number for it.
    pub(crate) asker: (ShardId, u64),
    /// No other shard takes part.
    pub(crate) alone: bool,
    pub(crate) publishes: Vec<Kept>,
    pub(crate) accepts: Vec<(QueueId, Vec<Position>)>,
    /// The journal knows of it.
    pub(crate) durable: bool,
}

/// A message that is not in its queues yet, in which its places are kept for it.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) message: Message,
    pub(crate) at: SmallVec<[(QueueId, Position); 1]>,
    /// Where its record stands, if it has one.
    pub(crate) place: Seq,
}

impl Branch {
    /// Which record each journalled place belongs to.
    pub(crate) fn index(&self) -> FixedMap<Ref, usize> {
        let durable = self.publishes.iter().enumerate().filter(|(_, kept)| kept.place != Seq::NONE);
        let places = durable.flat_map(|(n, kept)| kept.at.iter().map(move |at| (*at, n)));
        places.map(|((queue, position), n)| (Ref { queue: queue.0, position }, n)).collect()
    }
}
