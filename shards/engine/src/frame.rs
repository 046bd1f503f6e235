//! What engines on different shards send each other.
//!
//! A frame travels on the ring of its ordered pair of shards, so frames from one shard to another
//! arrive in the order they were sent, and none is ever dropped: when a ring is full the runtime
//! keeps frames in the sender's outbox and stops reading sockets. `C` is a connection's shard,
//! `O` a queue's home, `0` the orderer.

#![allow(missing_docs, reason = "the fields are documented by their variants and types")]

use crate::annotations::Annotations;
use crate::dtx::{BranchId, DtxRequest};
use crate::error::Error;
use crate::ids::{Epoch, Position, QueueId, SessionId, ShardId, SubscriptionId};
use crate::message::Message;
use crate::notice::{Notice, QueueEvent};
use crate::queue::{CreditUnit, FlowMode, Marks, Selection};
use crate::request::{DeliveryRef, Force, OpId, Outcome, Reply, Subscribe};
use crate::topology::{Change, Conditions, TopologyRequest};
use crate::transaction::TxFrame;
use smallvec::SmallVec;
use std::num::NonZeroU64;
use std::sync::Arc;

/// One message between engines.
#[derive(Debug)]
pub enum Frame {
    /// C → O: a message for queues homed there, all of them known to the sender at `epoch`.
    /// With a `slot`, O answers it in [`Frame::Receipts`] when the message is safe, or in
    /// [`Frame::Refused`]. With a `number`, it is prepared under this transaction of C's. One that
    /// `moves` there from another queue is never refused: it waits for room. `hops`: how often it did so
    /// because it gave way to another message.
    Publish {
        epoch: Epoch,
        slot: Option<u32>,
        number: Option<NonZeroU64>,
        moves: bool,
        hops: u8,
        message: Message,
        queues: SmallVec<[QueueId; 1]>,
    },
    /// C → the home of an exchange that keeps something of its messages: a message for that exchange, which
    /// routes it. Answered as a `Publish` is; `hops` as there. `last`: the exchange is an alternate, so its own is not
    /// asked. One that `moves` has left this queue, does not come back to it, and is never refused.
    Route {
        epoch: Epoch,
        slot: Option<u32>,
        moves: Option<QueueId>,
        hops: u8,
        last: bool,
        exchange: Arc<str>,
        message: Message,
    },
    /// O → C: these publish slots are safe.
    Receipts(Vec<u32>),
    /// O → C: there is no room for this one, on the disk or in a queue.
    Refused { slot: u32, reason: Box<Error> },
    /// O → C, before its receipt: a queue holds the completion of this one back.
    Held { slot: u32 },
    /// O → C: for each, one queue that did does so no more.
    Resumed(Vec<u32>),
    /// C → O: a transaction of C's that was prepared there is decided.
    Decided { number: u64, commit: bool },
    /// O → C: these decisions are noted durably.
    Noted(Vec<u64>),
    /// Between C and O: about a transaction of C's.
    Transact(Box<TxFrame>),
    /// C → O: something about one queue.
    Queue(Box<QueueFrame>),
    /// O → C: a message for a subscription there.
    Deliver {
        to: SubscriptionId,
        delivery: DeliveryRef,
        message: Message,
        redelivered: bool,
        failures: u32,
        marks: Option<Arc<Marks>>,
    },
    /// O → C: the queue of this subscription was deleted.
    SubscriptionEnded { to: SubscriptionId, waiting: bool, reason: Box<Error> },
    /// O or 0 → C: the answer to a request. 0 → O: one to pass on.
    Reply { session: SessionId, op: OpId, result: Box<Result<Reply, Error>> },
    /// O → C: one home's part of a settle or acquire; the positions it acquired, if that was asked.
    Part { session: SessionId, op: OpId, acquired: Vec<DeliveryRef> },
    /// C → 0: a change of the topology is asked for.
    Topology { session: SessionId, op: OpId, request: Box<TopologyRequest> },
    /// C → 0: a session wants its name.
    Attach { session: SessionId, op: OpId, name: Arc<str>, force: Force },
    /// C → 0: a session has released all it held.
    Close { session: SessionId, op: OpId },
    /// C → 0: a party that has only its name is over, and leaves this.
    Cede { session: SessionId, op: OpId, leaves: Option<Arc<[u8]>> },
    /// 0 → C: somebody takes this session's name, or wants it if it is closing.
    Evict { session: SessionId, force: bool },
    /// C → 0: the session whose name is wanted is not closing.
    Keep { session: SessionId },
    /// 0 → all: the next version of the topology.
    Apply { epoch: Epoch, change: Arc<Change> },
    /// all → 0: `epoch` and all before it are applied here.
    Applied { epoch: Epoch },
    /// 0 → O: may this queue be deleted? If so it is, for O, from here on.
    AskDelete { queue: QueueId, conditions: Conditions },
    /// 0 → O: has this queue no subscription, so that `session` may have it for itself? If so it
    /// has it, for O, from here on.
    AskUnused { queue: QueueId, session: SessionId },
    /// 0 → O: the queue was declared again: the time until it is deleted begins anew.
    Touched { queue: QueueId },
    /// O → 0: the answer.
    Vote { queue: QueueId, result: Result<(), Box<Error>> },
    /// O → 0: this auto-delete queue has become unused; `asker` is answered when it is gone, by way
    /// of O, whose deliveries come before.
    Unused { queue: QueueId, asker: Option<(SessionId, OpId)> },
    /// O → 0: this queue is to be deleted because it was too full.
    SelfDestruct { queue: QueueId },
    /// C → 0: about a branch of a distributed transaction. Answered by `Reply`.
    Dtx { session: SessionId, op: OpId, request: Box<DtxRequest> },
    /// 0 → C: a branch that this session works in took too long.
    BranchExpired { session: SessionId, branch: BranchId },
}

/// C → O, about one queue.
#[derive(Debug)]
pub struct QueueFrame {
    /// The sender's topology, so that O answers with one at least as new.
    pub epoch: Epoch,
    /// The queue.
    pub queue: QueueId,
    /// Who asks.
    pub session: SessionId,
    /// What.
    pub command: QueueCommand,
}

/// Messages of a queue are dropped or go elsewhere.
#[derive(Clone, Debug)]
pub struct Taking {
    /// Which.
    pub which: Selection,
    /// Where to.
    pub to: Destination,
}

/// Where messages go that are taken out of a queue.
#[derive(Clone, Debug)]
pub enum Destination {
    /// Nowhere.
    Dropped,
    /// To a queue, and its home.
    Queue(QueueId, ShardId),
    /// Through an exchange.
    Exchange(Arc<str>),
}

/// What a session does with a queue or a subscription on it.
#[derive(Debug)]
pub enum QueueCommand {
    /// Answered by `Reply`.
    Subscribe { op: OpId, subscribe: Box<Subscribe> },
    /// Answered by `Reply`.
    Cancel { op: OpId, tag: u32 },
    /// Answered by `Reply`, after the last delivery.
    Flush { op: OpId, tag: u32 },
    /// Answered by `Reply`.
    Stop { op: OpId, tag: u32 },
    /// Answered by `Reply`, when what is taken is gone for good.
    Take { op: OpId, take: Box<Taking> },
    /// Answered by `Reply`.
    Query { op: OpId },
    /// Passed on to the orderer: so it comes there after what the home has had from C.
    /// Answered by `Reply`.
    Delete { op: OpId, request: Box<TopologyRequest> },
    /// Answered by `Part`.
    Acquire { op: OpId, positions: Vec<Position> },
    /// Answered by `Part`.
    Settle { op: OpId, outcome: Outcome, positions: Vec<Position> },
    /// No answer: what is said of messages that are about to be released.
    Annotate { positions: Vec<Position>, annotations: Arc<Annotations> },
    /// No answer.
    Grant { tag: u32, unit: CreditUnit, value: u32 },
    /// No answer.
    Mode { tag: u32, mode: FlowMode },
    /// No answer: completed deliveries move the window.
    Moved { tag: u32, messages: u32, bytes: u64 },
    /// No answer: the connection has written this much.
    Room { tag: u32, messages: u32, bytes: u64 },
}

impl Frame {
    /// The topology version the sender knew, for frames that name queues.
    pub(crate) fn epoch(&self) -> Option<Epoch> {
        match self {
            Frame::Publish { epoch, .. } | Frame::Route { epoch, .. } => Some(*epoch),
            Frame::Queue(q) => Some(q.epoch),
            Frame::Transact(tx) => match **tx {
                TxFrame::Prepare { epoch, .. }
                | TxFrame::Route { epoch, .. }
                | TxFrame::Routed { epoch, .. } => Some(epoch),
                _ => None,
            },
            _ => None,
        }
    }
}

/// What handling an input asks of the runtime. Reused; the runtime drains all lists.
#[derive(Debug, Default)]
pub struct Effects {
    /// For sessions of this shard, in order.
    pub events: Vec<crate::request::Event>,
    /// For other shards, in order; never to this shard itself.
    pub frames: Vec<(ShardId, Frame)>,
    /// For management.
    pub notices: Vec<Notice>,
    /// What queues tell that generate events, each queue's in order.
    pub queue_events: Vec<QueueEvent>,
}

// Rings hold thousands of frames.
const _: () = assert!(std::mem::size_of::<Frame>() <= 64);
