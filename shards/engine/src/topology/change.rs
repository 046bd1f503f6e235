//! What the topology is made of, and the changes that make it.
//!
//! Everything here is immutable once made and shared by all shards through `Arc`s: a queue's
//! descriptor exists once in the broker, whatever the number of replicas that know it.

use super::objects::{Object, ObjectKind};
use crate::ids::{QueueId, SessionId, ShardId};
use crate::queue::QueueSettings;
use crate::queue::settings::Lifetime;
use fletch_amqp::types::Map;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

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

impl QueueDescriptor {
    /// What its arguments ask for. Read anew each time: not for the way of messages.
    pub fn settings(&self) -> QueueSettings {
        QueueSettings::of(&self.name, &self.arguments)
    }

    /// Who would consume from it gets copies.
    pub fn is_browse_only(&self) -> bool {
        self.settings().browse_only
    }

    /// How long it stays after nobody needs it any more, if it is deleted by itself.
    pub(super) fn delay(&self) -> Duration {
        self.settings().auto_delete_timeout
    }

    /// It goes by itself even if a session has it for itself.
    pub(crate) fn ends_on_close(&self) -> bool {
        self.settings().lifetime == Some(Lifetime::OnClose)
    }
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
    /// By key, and by queries of headers and content.
    Xml,
}

impl ExchangeKind {
    /// The kind the protocol calls `name`.
    pub fn from_name(name: &str) -> Option<ExchangeKind> {
        match name {
            "direct" => Some(ExchangeKind::Direct),
            "topic" => Some(ExchangeKind::Topic),
            "fanout" => Some(ExchangeKind::Fanout),
            "headers" => Some(ExchangeKind::Headers),
            "xml" => Some(ExchangeKind::Xml),
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
            ExchangeKind::Xml => "xml",
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
    /// An object exists.
    ObjectCreated(Arc<Object>),
    /// An object is gone.
    ObjectDeleted {
        /// What the journal knows it by; 0 if it does not.
        id: u64,
        /// What it was.
        kind: ObjectKind,
        /// Its name.
        name: Arc<str>,
    },
    /// What is enqueued on each of two queues goes to the other from now on. Not durable.
    Redirected {
        /// The queue that management has redirected.
        source: QueueId,
        /// The one it was redirected to.
        target: QueueId,
    },
    /// That is over.
    RedirectEnded {
        /// The queue that was redirected.
        source: QueueId,
        /// The one it was redirected to.
        target: QueueId,
    },
    /// A binding exists.
    Bound(Arc<Binding>),
    /// A binding exists, and others of its exchange and key are gone: at once, so that no message
    /// goes both ways or neither.
    Rebound {
        /// The new one.
        binding: Arc<Binding>,
        /// Those it takes the place of.
        instead_of: Vec<Arc<Binding>>,
    },
    /// A binding is gone.
    Unbound(Arc<Binding>),
}
