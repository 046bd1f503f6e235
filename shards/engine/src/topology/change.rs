//! What the topology is made of, and the changes that make it.
//!
//! Everything here is immutable once made and shared by all shards through `Arc`s: a queue's
//! descriptor exists once in the broker, whatever the number of replicas that know it.

use crate::ids::{QueueId, SessionId, ShardId};
use fletch_amqp::types::Map;
use std::fmt;
use std::sync::Arc;

/// A queue, as every shard knows it. Its messages and subscriptions are known to its home alone.
#[derive(Clone, Debug)]
pub struct QueueDescriptor {
    /// Never reused.
    pub id: QueueId,
    /// 1 to 255 bytes.
    pub name: Arc<str>,
    /// The shard that holds its messages.
    pub home: ShardId,
    /// Survives a restart.
    pub durable: bool,
    /// Deleted when unused.
    pub auto_delete: bool,
    /// The session it is exclusive to.
    pub owner: Option<SessionId>,
    /// Exchange for rejected messages, and those left at deletion.
    pub alternate: Option<Arc<str>>,
    /// As declared.
    pub arguments: Arc<Map>,
}

/// An exchange, without its bindings.
#[derive(Clone, Debug)]
pub struct ExchangeDescriptor {
    /// What the journal knows it by; 0 if it is not durable, or always there.
    pub id: u64,
    /// Empty for the default exchange.
    pub name: Arc<str>,
    /// How it routes.
    pub kind: ExchangeKind,
    /// Survives a restart.
    pub durable: bool,
    /// Deleted when its last binding goes.
    pub auto_delete: bool,
    /// Exchange for messages no binding matches.
    pub alternate: Option<Arc<str>>,
    /// As declared.
    pub arguments: Arc<Map>,
}

/// How an exchange routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExchangeKind {
    /// Binding key equals routing key.
    Direct,
    /// Binding key is a pattern of words, `*` and `#`.
    Topic,
    /// To every queue bound.
    Fanout,
    /// By the message's application headers.
    Headers,
}

impl ExchangeKind {
    /// The kind the protocol calls `name`.
    pub fn from_name(name: &str) -> Option<ExchangeKind> {
        match name {
            "direct" => Some(ExchangeKind::Direct),
            "topic" => Some(ExchangeKind::Topic),
            "fanout" => Some(ExchangeKind::Fanout),
            "headers" => Some(ExchangeKind::Headers),
            _ => None,
        }
    }

    /// The protocol's name for it.
    pub fn name(self) -> &'static str {
        match self {
            ExchangeKind::Direct => "direct",
            ExchangeKind::Topic => "topic",
            ExchangeKind::Fanout => "fanout",
            ExchangeKind::Headers => "headers",
        }
    }
}

impl fmt::Display for ExchangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A queue bound to an exchange. There is one for each (exchange, queue, key).
#[derive(Clone, Debug)]
pub struct Binding {
    /// What the journal knows it by; 0 if queue or exchange is not durable.
    pub id: u64,
    /// Exchange name.
    pub exchange: Arc<str>,
    /// The queue.
    pub queue: QueueId,
    /// The queue's home.
    pub home: ShardId,
    /// In the form that identifies the binding: a topic's pattern normalised, empty for fanout.
    pub key: Arc<str>,
    /// As given.
    pub arguments: Map,
}

/// One step of the topology. Made by the orderer, applied by every replica.
#[derive(Clone, Debug)]
pub enum Change {
    /// A queue exists.
    QueueCreated(Arc<QueueDescriptor>),
    /// A queue is now exclusive to a session, or to none.
    QueueOwner {
        /// The queue.
        queue: QueueId,
        /// Its owner from now on.
        owner: Option<SessionId>,
    },
    /// A queue and all its bindings are gone.
    QueueDeleted {
        /// The queue.
        queue: QueueId,
    },
    /// An exchange exists.
    ExchangeCreated(Arc<ExchangeDescriptor>),
    /// An exchange and all its bindings are gone.
    ExchangeDeleted {
        /// What the journal knows it by; 0 if it does not.
        id: u64,
        /// Its name.
        name: Arc<str>,
    },
    /// A binding exists.
    Bound(Arc<Binding>),
    /// A binding is gone.
    Unbound(Arc<Binding>),
}
