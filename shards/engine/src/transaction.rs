//! Transactions, as shards tell each other of them and keep them.
//!
//! A session's shard *coordinates*: it splits what the session has done into one [`Share`] for each home
//! shard. If there is one only, it is carried out there at once. Else each home prepares its share, the
//! coordinator decides when all have, and each home then carries it out or forgets it. Branches of
//! distributed transactions are the orderer's shard's to coordinate: see [`crate::dtx`].

use crate::dtx::BranchId;
use crate::error::Error;
use crate::ids::{Epoch, Position, QueueId, SessionId, ShardId};
use crate::message::Message;
use crate::request::{DeliveryRef, OpId};
use crate::topology::{FixedMap, Route};
use fletch_journal::{Ref, Seq, Xid};
use smallvec::SmallVec;
use std::sync::Arc;

/// A message of a transaction, and the queues it was routed to when it was published.
pub type Routed = (Message, SmallVec<[Route; 1]>);

/// What a session has done in a transaction, to be done as a whole.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    /// Messages, in the order in which they were published.
    pub publishes: Vec<Routed>,
    /// Deliveries that were accepted.
    pub accepts: Vec<DeliveryRef>,
}

impl Transaction {
    /// What a message costs that waits for the commit, besides its content, about.
    pub const MESSAGE: u64 = 128;
    /// What each of its queues costs.
    pub const ROUTE: u64 = 16;

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.publishes.is_empty() && self.accepts.is_empty()
    }

    /// Bytes that it takes, about.
    pub(crate) fn size(&self) -> u64 {
        let accepts = self.accepts.len() as u64 * size_of::<DeliveryRef>() as u64;
        let of = |(message, routes): &Routed| {
            Self::MESSAGE + Self::ROUTE * routes.len() as u64 + message.size() as u64
        };
        accepts + self.publishes.iter().map(of).sum::<u64>()
    }

    /// Goes on with what another session has done in it.
    pub(crate) fn extend(&mut self, other: Transaction) {
        self.publishes.extend(other.publishes);
        self.accepts.extend(other.accepts);
    }
}

/// What a transaction does on one shard.
#[derive(Debug, Default)]
pub struct Share {
    /// Messages, in order, and their queues there.
    pub publishes: Vec<(Message, SmallVec<[QueueId; 1]>)>,
    /// Runs of accepted deliveries.
    pub accepts: Vec<Accepted>,
    /// Those are nobody's but the transaction's: they go back to their queues if it fails.
    pub owned: bool,
}

/// Accepted deliveries of one queue.
pub type Accepted = (QueueId, Vec<Position>);

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
    /// C → O: what was accepted goes back to its queues; nothing is prepared.
    Release {
        /// Which transaction.
        number: u64,
        /// What.
        accepts: Vec<Accepted>,
    },
    /// O → C: it is carried out, or nothing is left of it.
    Ended {
        /// Which transaction.
        number: u64,
    },
    /// C → the home of an exchange that keeps something of its messages: where does this one go, and as what?
    Route {
        /// The sender's topology.
        epoch: Epoch,
        /// Who asks.
        asker: (SessionId, OpId),
        /// The exchange.
        exchange: Arc<str>,
        /// It is an alternate: its own is not asked.
        last: bool,
        /// The message.
        message: Message,
    },
    /// The answer, which names nothing newer than `epoch`.
    Routed {
        /// The sender's topology.
        epoch: Epoch,
        /// Who has asked.
        asker: (SessionId, OpId),
        /// The message as it passed the exchange.
        routed: Routed,
    },
}

/// The transactions that this shard has to do with.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    /// Of sessions here, by their numbers.
    pub(crate) coordinated: FixedMap<u64, Coordinated>,
    /// Prepared here.
    pub(crate) prepared: FixedMap<Xid, PreparedShare>,
    /// The number of the next one, without a store.
    pub(crate) next: u64,
}

impl Transactions {
    /// Whether the record of a message that waits for a decision stands here. Looked at when the disk is full.
    pub(crate) fn waits_at(&self, place: Seq) -> bool {
        let mut kept = self.prepared.values().flat_map(|share| &share.publishes);
        kept.any(|kept| kept.place == place)
    }

    /// Whether nothing is under way: branches that are prepared wait for somebody else.
    pub(crate) fn is_idle(&self) -> bool {
        self.coordinated.is_empty() && self.prepared.values().all(|share| share.owned)
    }
}

/// For whom something is coordinated.
#[derive(Clone, Debug)]
pub(crate) enum Asker {
    /// A session here commits.
    Session(SessionId, OpId),
    /// A branch is to be prepared, or is.
    Prepare(BranchId),
    /// A branch is committed that was not prepared, or given up.
    Complete(BranchId),
    /// Nobody waits for it.
    Nobody,
}

/// A transaction of a session here, or a branch.
#[derive(Debug)]
pub(crate) struct Coordinated {
    pub(crate) asker: Asker,
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
pub(crate) struct PreparedShare {
    /// Who coordinates it, and that shard's number for it.
    pub(crate) asker: (ShardId, u64),
    /// No other shard takes part.
    pub(crate) alone: bool,
    pub(crate) publishes: Vec<Kept>,
    pub(crate) accepts: Vec<Accepted>,
    /// See [`Share::owned`].
    pub(crate) owned: bool,
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

impl PreparedShare {
    /// Which record each journalled place belongs to.
    pub(crate) fn index(&self) -> FixedMap<Ref, usize> {
        let durable = self.publishes.iter().enumerate().filter(|(_, kept)| kept.place != Seq::NONE);
        let places = durable.flat_map(|(n, kept)| kept.at.iter().map(move |at| (*at, n)));
        places.map(|((queue, position), n)| (Ref { queue: queue.0, position }, n)).collect()
    }
}
