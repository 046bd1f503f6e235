//! What the orderer is asked, and what it decides.

use super::change::Change;
use super::objects::ObjectKind;
use crate::error::Error;
use crate::ids::{Epoch, QueueId, SessionId, ShardId};
use crate::request::{self, CreateObject, DeclareExchange, DeclareQueue, OpId, Reply};
use std::sync::Arc;

/// A request that may change the topology.
#[derive(Clone, Debug)]
pub enum TopologyRequest {
    /// `queue.declare`.
    DeclareQueue(DeclareQueue),
    /// `queue.delete`.
    DeleteQueue {
        /// Its name.
        name: Arc<str>,
        /// Only without subscriptions.
        if_unused: bool,
        /// Only without messages.
        if_empty: bool,
    },
    /// `exchange.declare`.
    DeclareExchange(DeclareExchange),
    /// `exchange.delete`.
    DeleteExchange {
        /// Its name.
        name: Arc<str>,
        /// Only without bindings.
        if_unused: bool,
    },
    /// A topic or a policy is to be there.
    CreateObject(CreateObject),
    /// It is to go.
    DeleteObject {
        /// What it is.
        kind: ObjectKind,
        /// Its name.
        name: Arc<str>,
    },
    /// Has what is enqueued on a queue go to another, or ends that.
    Redirect {
        /// Name of the queue.
        source: Arc<str>,
        /// Name of the other.
        target: Option<Arc<str>>,
    },
    /// `exchange.bind`.
    Bind(request::Binding),
    /// `exchange.unbind`.
    Unbind {
        /// Queue name.
        queue: Arc<str>,
        /// Exchange name.
        exchange: Arc<str>,
        /// Binding key.
        key: Arc<str>,
    },
}

impl TopologyRequest {
    /// The queue it is about.
    pub(super) fn queue(&self) -> Option<&str> {
        match self {
            TopologyRequest::DeclareQueue(d) => Some(&d.name),
            TopologyRequest::DeleteQueue { name, .. } => Some(name),
            TopologyRequest::Bind(b) => Some(&b.queue),
            TopologyRequest::Unbind { queue, .. } => Some(queue),
            TopologyRequest::Redirect { source, .. } => Some(source),
            TopologyRequest::DeclareExchange(_)
            | TopologyRequest::DeleteExchange { .. }
            | TopologyRequest::CreateObject(_)
            | TopologyRequest::DeleteObject { .. } => None,
        }
    }
}

/// When a queue may be deleted; only its home can tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Without subscriptions.
    pub if_unused: bool,
    /// Without messages.
    pub if_empty: bool,
    /// By itself: as its lifetime says.
    pub by_itself: bool,
}

/// When a queue may go by itself.
pub(super) const BY_ITSELF: Conditions =
    Conditions { if_unused: false, if_empty: false, by_itself: true };
/// When it may because the session ends that has it for itself: others may browse it.
pub(super) const RELEASED: Conditions = Conditions { if_unused: true, ..BY_ITSELF };

/// What the engine of shard 0 has to carry out, in this order.
#[derive(Clone, Debug)]
pub enum Decision {
    /// To every shard: the next change. The replica given to the orderer has it already.
    Broadcast {
        /// Its version.
        epoch: Epoch,
        /// The change.
        change: Arc<Change>,
    },
    /// To a session's shard: the answer to its request.
    Answer {
        /// Who asked.
        session: SessionId,
        /// Its number for the request.
        op: OpId,
        /// The answer.
        result: Result<Reply, Error>,
    },
    /// To a queue's home: delete it if it may be, and say so by [`super::Orderer::voted`]. After `Ok` the
    /// change follows in any case.
    AskHome {
        /// The shard to ask.
        home: ShardId,
        /// The queue.
        queue: QueueId,
        /// When it may.
        conditions: Conditions,
    },
    /// To a queue's home: say by [`super::Orderer::voted`] whether it has no subscription, so that a
    /// session may have it for itself. After `Ok` its owner follows in any case.
    AskUnused {
        /// The shard to ask.
        home: ShardId,
        /// The queue.
        queue: QueueId,
        /// Who wants it.
        session: SessionId,
    },
    /// To a queue's home: it was declared again, so that the time until it is deleted begins anew.
    Touched {
        /// The shard to tell.
        home: ShardId,
        /// The queue.
        queue: QueueId,
    },
    /// To a session's shard: somebody wants its name. It has to close if it is by force; if not, and
    /// it is not closing already, the shard says so by [`super::Orderer::keep`].
    Evict {
        /// The session.
        session: SessionId,
        /// Whether the name is taken by force.
        force: bool,
    },
}
