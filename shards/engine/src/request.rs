//! What a front end asks of the engine, and what the engine tells it: the protocol-neutral line.
//!
//! A request carries an [`OpId`] of the session's choice and is answered by exactly one
//! [`Event::Reply`] with it, at once or when other shards have answered. Replies of one session
//! may come in another order than its requests.

#![allow(missing_docs, reason = "the fields are documented by their variants and types")]

use crate::dtx::{BranchId, DtxRequest, XaStatus};
use crate::error::Error;
use crate::ids::{Position, QueueId, SessionId, SubscriptionId};
use crate::message::Message;
use crate::queue::{Marks, Selection};
use crate::selector::Selector;
use crate::topology::ObjectKind;
use crate::transaction::{Routed, Transaction};
use fletch_amqp::types::Map;
use std::sync::Arc;

/// A session's own number for a request under way.
pub type OpId = u64;

/// A request that needs an answer. Names are the protocol's, resolved by the engine.
#[derive(Clone, Debug)]
pub enum Request {
    /// Registers the session under a name that is unique in the broker (0-10: `session.attach`; 1.0: links, which have a
    /// number each; the front end puts the user into the name). Without [`Force`], one that is held is busy, unless its
    /// holder is closing. The holder gets [`Event::Evicted`]; this is answered when it has closed.
    Attach { name: Arc<str>, force: Force },
    /// Everything the session held is released (the front end has stopped and cancelled its
    /// subscriptions and released its deliveries): exclusive queues, name.
    Close,
    /// The end of a party that has a name and nothing else, such as a link of 1.0: the name is free. Who waits
    /// for it hears what it leaves, by [`Reply::Left`].
    Cede { leaves: Option<Arc<[u8]>> },
    /// Create, or check with `passive`.
    DeclareQueue(DeclareQueue),
    /// Delete under conditions.
    DeleteQueue { name: Arc<str>, if_unused: bool, if_empty: bool },
    /// Drop available messages.
    PurgeQueue { name: Arc<str>, which: Selection },
    /// Move available messages to another queue, as if they were published there; answered by
    /// [`Reply::Moved`] when they are safe there.
    MoveMessages { from: Arc<str>, to: Arc<str>, which: Selection },
    /// The same through an exchange, or with none through the queue's alternate.
    RerouteMessages { name: Arc<str>, exchange: Option<Arc<str>>, which: Selection },
    /// Has what is enqueued on the queue `source` go to `target`, and the other way round; with no target, ends
    /// that. What the target has then stays there: [`Request::MoveMessages`] moves it back.
    Redirect { source: Arc<str>, target: Option<Arc<str>> },
    /// A topic or a policy is to be there.
    CreateObject(CreateObject),
    /// It is to go.
    DeleteObject { kind: ObjectKind, name: Arc<str> },
    /// Descriptor and counts; [`Reply::Queue`] with `None` if it does not exist.
    QueryQueue { name: Arc<str> },
    /// Create, or check with `passive`.
    DeclareExchange(DeclareExchange),
    /// Delete under a condition.
    DeleteExchange { name: Arc<str>, if_unused: bool },
    /// Descriptor; [`Reply::Exchange`] with `None` if it does not exist.
    QueryExchange { name: Arc<str> },
    /// Bind a queue to an exchange.
    Bind(Binding),
    /// Undo a binding.
    Unbind { queue: Arc<str>, exchange: Arc<str>, key: Arc<str> },
    /// Which parts of a binding exist.
    Bound { exchange: Arc<str>, queue: Option<Arc<str>>, key: Option<Arc<str>>, arguments: Map },
    /// Start a subscription, stopped and without credit.
    Subscribe(Subscribe),
    /// End a subscription. When answered, no delivery of it will follow. Its unsettled
    /// deliveries stay with the session.
    Cancel { tag: u32 },
    /// Deliver what is there up to the credit, then set the credit to zero, then answer.
    Flush { tag: u32 },
    /// Set the credit to zero; when answered, no delivery will follow until new credit.
    Stop { tag: u32 },
    /// Try to acquire browsed messages; answered by [`Reply::Acquired`].
    Acquire { deliveries: Vec<DeliveryRef> },
    /// Settle deliveries; answered when every home shard has done it.
    Settle { outcome: Outcome, deliveries: Vec<DeliveryRef> },
    /// Do all of a transaction or nothing; answered when it is seen everywhere, and safe. If it is
    /// refused, nothing of it was done, and what it accepts is the session's still.
    Commit(Box<Transaction>),
    /// Where does a message go that is published in a transaction, to an exchange whose home has to say that?
    /// Answered by [`Reply::Routed`].
    Route { exchange: Arc<str>, message: Message },
    /// Something about a branch of a distributed transaction.
    Dtx(Box<DtxRequest>),
}

/// From whom a name is taken that somebody has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// From nobody.
    No,
    /// From other connections. Who has it on the same one keeps it, and the answer is [`Reply::Held`].
    Others,
    /// From whoever has it.
    All,
}

/// `queue.declare`.
#[derive(Clone, Debug, Default)]
pub struct DeclareQueue {
    /// 1 to 255 bytes.
    pub name: Arc<str>,
    /// Only check that it exists.
    pub passive: bool,
    /// Survives a restart.
    pub durable: bool,
    /// For this session alone.
    pub exclusive: bool,
    /// Deleted when the last consumer (or the owner) leaves.
    pub auto_delete: bool,
    /// Will hardly be used by others than who declares it: its home is that session's shard, unless it asks for
    /// another.
    pub near: bool,
    /// Where rejected messages, and those of a deleted queue, go.
    pub alternate: Option<Arc<str>>,
    /// As given; kept and reported.
    pub arguments: Map,
}

/// `exchange.declare`.
#[derive(Clone, Debug, Default)]
pub struct DeclareExchange {
    /// 1 to 255 bytes.
    pub name: Arc<str>,
    /// `direct`, `topic`, `fanout`, `headers`, `xml`; empty with `passive`: any.
    pub kind: Arc<str>,
    /// Only check that it exists.
    pub passive: bool,
    /// Survives a restart.
    pub durable: bool,
    /// Deleted when the last binding goes.
    pub auto_delete: bool,
    /// Where messages without a route go.
    pub alternate: Option<Arc<str>>,
    /// As given; kept and reported.
    pub arguments: Map,
}

/// An object of management that says how nodes are made.
#[derive(Clone, Debug)]
pub struct CreateObject {
    /// What it is.
    pub kind: ObjectKind,
    /// 1 to 255 bytes.
    pub name: Arc<str>,
    /// As [`ObjectKind`] says.
    pub properties: Map,
    /// One that is there is enough.
    pub if_absent: bool,
}

/// `exchange.bind`.
#[derive(Clone, Debug)]
pub struct Binding {
    /// Queue name.
    pub queue: Arc<str>,
    /// Exchange name.
    pub exchange: Arc<str>,
    /// Binding key.
    pub key: Arc<str>,
    /// As given (`x-match` and headers for a headers exchange).
    pub arguments: Map,
}

/// `message.subscribe`.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// The session's number for it.
    pub tag: u32,
    /// Queue name.
    pub queue: Arc<str>,
    /// Consume or browse.
    pub mode: Mode,
    /// False (accept mode none): a delivery is dequeued as it is sent.
    pub settles: bool,
    /// Nobody else may consume.
    pub exclusive: bool,
    /// Only what it selects is delivered.
    pub selector: Option<Arc<Selector>>,
    /// As given.
    pub arguments: Map,
}

/// What a delivery does to the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Pre-acquired: nobody else gets it.
    Consume,
    /// Not acquired: a copy; the message stays available.
    Browse,
}

/// One delivered message, as the home shard of its queue knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliveryRef {
    /// The queue.
    pub queue: QueueId,
    /// Its place there.
    pub position: Position,
}

/// The end of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done with: dequeue it.
    Accepted,
    /// Back to its place in the queue, available again.
    Released { set_redelivered: bool },
    /// The same, but the subscription with this tag, which they were delivered to, cannot take them.
    Declined { tag: u32, set_redelivered: bool },
    /// To the queue's alternate exchange, or dropped.
    Rejected,
}

/// What a request came to.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Done, nothing to tell.
    Done,
    /// The name is given, and this is what whoever had it before leaves: see [`Request::Cede`].
    Left(Arc<[u8]>),
    /// This one has the name, on the same connection: see [`Force::Others`].
    Held(SessionId),
    /// `queue.query`; `None` if there is no such queue.
    Queue(Option<Box<QueueReport>>),
    /// `exchange.query`.
    Exchange(Option<Box<ExchangeReport>>),
    /// `exchange.bound`.
    Bound(BoundReport),
    /// Which deliveries are now acquired.
    Acquired(Vec<DeliveryRef>),
    /// How many messages were dropped.
    Purged(u64),
    /// How many messages left for other queues.
    Moved(u64),
    /// A message as it passed an exchange, and where it goes.
    Routed(Box<Routed>),
    /// What became of a branch.
    Xa(XaStatus),
    /// Branches that wait for their transaction manager.
    InDoubt(Vec<BranchId>),
    /// Of a branch, in seconds; 0 is none.
    Timeout(u32),
}

/// `queue.query`.
#[derive(Clone, Debug)]
pub struct QueueReport {
    /// Name.
    pub name: Arc<str>,
    /// Alternate exchange.
    pub alternate: Option<Arc<str>>,
    /// Durable flag.
    pub durable: bool,
    /// Has an exclusive owner.
    pub exclusive: bool,
    /// Auto-delete flag.
    pub auto_delete: bool,
    /// As declared.
    pub arguments: Map,
    /// Messages a consumer could get; those delivered and not settled do not count.
    pub messages: u64,
    /// Bytes of all messages in it.
    pub bytes: u64,
    /// Subscriptions on it.
    pub subscriptions: u32,
}

/// `exchange.query`.
#[derive(Clone, Debug)]
pub struct ExchangeReport {
    /// Name.
    pub name: Arc<str>,
    /// Type.
    pub kind: Arc<str>,
    /// Durable flag.
    pub durable: bool,
    /// As declared.
    pub arguments: Map,
}

/// `exchange.bound`; all false means bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BoundReport {
    /// No such exchange.
    pub exchange_not_found: bool,
    /// No such queue.
    pub queue_not_found: bool,
    /// The queue is not bound to it.
    pub queue_not_matched: bool,
    /// Nothing is bound with that key.
    pub key_not_matched: bool,
    /// Nothing is bound with those arguments.
    pub args_not_matched: bool,
}

/// What the engine tells the sessions of its own shard.
#[derive(Debug)]
pub enum Event {
    /// The answer to a request.
    Reply { session: SessionId, op: OpId, result: Result<Reply, Error> },
    /// All receipts of a publish that was not done at once are in: it is safe.
    Published { session: SessionId, op: OpId },
    /// Such a publish is safe but not complete: a queue is so full that publishers are held back.
    Withheld { session: SessionId, op: OpId },
    /// Such a publish could not be stored everywhere, or a queue has no room for it.
    Refused { session: SessionId, op: OpId, reason: Error },
    /// A message for a subscription. `redelivered`: it may have been delivered before; `failures`: so
    /// often it is known to have come back from that. `marks`: what its header has to say besides.
    Deliver {
        to: SubscriptionId,
        delivery: DeliveryRef,
        message: Message,
        redelivered: bool,
        failures: u32,
        marks: Option<Arc<Marks>>,
    },
    /// The subscription waits for messages of a queue that was deleted.
    SubscriptionEnded { to: SubscriptionId, reason: Error },
    /// Somebody wants the session's name. By force: close it. Without: unless it is closing already,
    /// say so by [`crate::Engine::keep_name`].
    Evicted { session: SessionId, force: bool },
    /// A branch the session works in took too long: what it has done there is void.
    BranchExpired { session: SessionId, branch: BranchId },
}

impl Event {
    /// Whom it is for.
    pub fn session(&self) -> SessionId {
        match self {
            Event::Reply { session, .. }
            | Event::Published { session, .. }
            | Event::Withheld { session, .. }
            | Event::Refused { session, .. }
            | Event::Evicted { session, .. }
            | Event::BranchExpired { session, .. } => *session,
            Event::Deliver { to, .. } | Event::SubscriptionEnded { to, .. } => to.session,
        }
    }
}

/// What a message is published to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target<'a> {
    /// An exchange, which goes by the message's routing key and headers. The default one has no name.
    Exchange(&'a str),
    /// A queue by its name, whatever the message's routing key is.
    Queue(&'a str),
}

impl<'a> From<&'a str> for Target<'a> {
    fn from(exchange: &'a str) -> Target<'a> {
        Target::Exchange(exchange)
    }
}

/// Whether a publish is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// Safe, and durable where it should be, on every queue it goes to (or had no route and was dropped: see the count in stats).
    Done,
    /// [`Event::Published`] will follow.
    Pending,
}
