//! One exchange of a replica: its descriptor and the table of its kind.

use super::change::{Binding, ExchangeDescriptor, ExchangeKind};
use super::direct::Direct;
use super::fanout::Fanout;
use super::headers::{self, Headers};
use super::routes::{Route, Routes};
use super::topic::{self, Topic};
use super::xml::{self, Xml};
use crate::error::Error;
use crate::ids::QueueId;
use crate::message::Message;
use fletch_amqp::types::Map;
use std::sync::Arc;

/// An exchange and its bindings.
#[derive(Debug)]
pub struct Exchange {
    descriptor: Arc<ExchangeDescriptor>,
    table: Table,
    keeps: Keeps,
    bindings: usize,
    alternate_users: u32,
}

/// The argument of a binding to a direct exchange that makes it the only one of its key. As in the
/// reference it need only be there, whatever its value.
const EXCLUSIVE_BINDING: &str = "qpid.exclusive-binding";

/// Arguments of an exchange that keeps something of its messages. As in the reference they need only be
/// there, whatever their value.
const SEQUENCE: &str = "qpid.msg_sequence";
const LAST: &str = "qpid.ive";

/// What an exchange keeps of the messages that pass it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Keeps {
    /// Their number, which each is given.
    pub(crate) sequence: bool,
    /// The last one of each key, for queues that are bound later.
    pub(crate) last: bool,
}

impl Keeps {
    fn of(arguments: &Map) -> Keeps {
        Keeps { sequence: arguments.get(SEQUENCE).is_some(), last: arguments.get(LAST).is_some() }
    }

    pub(crate) fn is_nothing(self) -> bool {
        self == Keeps::default()
    }
}

#[derive(Debug)]
enum Table {
    Direct(Direct),
    Topic(Topic),
    Fanout(Fanout),
    Headers(Headers),
    Xml(Xml),
}

/// One binding, made once to be asked about many messages.
#[derive(Debug)]
pub(crate) struct Sole {
    alone: Exchange,
    routes: Routes,
}

impl Sole {
    /// Whether a message takes the way of this binding.
    pub(crate) fn takes(&mut self, message: &Message) -> bool {
        self.routes.clear();
        self.alone.route(message, &mut self.routes);
        !self.routes.is_empty()
    }
}

impl ExchangeKind {
    /// The part of a binding key that matters to the kind: what tells two bindings of one queue
    /// apart.
    pub(super) fn normal_key(self, key: &Arc<str>) -> Arc<str> {
        match self {
            ExchangeKind::Direct | ExchangeKind::Headers | ExchangeKind::Xml => Arc::clone(key),
            ExchangeKind::Topic => match topic::normalise(key) {
                normal if normal == **key => Arc::clone(key),
                normal => normal.into(),
            },
            ExchangeKind::Fanout => "".into(),
        }
    }

    /// The routing key that all messages have which take the way of a binding with this key (in normal
    /// form), if it is one.
    pub(crate) fn only_key(self, key: &str) -> Option<&[u8]> {
        match self {
            ExchangeKind::Direct | ExchangeKind::Xml => Some(key.as_bytes()),
            ExchangeKind::Topic => topic::is_plain(key).then_some(key.as_bytes()),
            ExchangeKind::Fanout | ExchangeKind::Headers => None,
        }
    }

    /// Whether a binding with these arguments is to be the only one of its key.
    pub(crate) fn is_exclusive(self, arguments: &Map) -> bool {
        self == ExchangeKind::Direct && arguments.get(EXCLUSIVE_BINDING).is_some()
    }

    /// Checks a binding's arguments.
    pub(super) fn check_arguments(self, arguments: &Map) -> Result<(), Error> {
        match self {
            ExchangeKind::Headers => headers::check_arguments(arguments),
            ExchangeKind::Xml => xml::check_arguments(arguments),
            ExchangeKind::Direct | ExchangeKind::Topic | ExchangeKind::Fanout => Ok(()),
        }
    }
}

impl Exchange {
    pub(super) fn new(descriptor: Arc<ExchangeDescriptor>) -> Exchange {
        let table = match descriptor.kind {
            ExchangeKind::Direct => Table::Direct(Direct::default()),
            ExchangeKind::Topic => Table::Topic(Topic::default()),
            ExchangeKind::Fanout => Table::Fanout(Fanout::default()),
            ExchangeKind::Headers => Table::Headers(Headers::default()),
            ExchangeKind::Xml => Table::Xml(Xml::default()),
        };
        let keeps = Keeps::of(&descriptor.arguments);
        Exchange { descriptor, table, keeps, bindings: 0, alternate_users: 0 }
    }

    /// What it was declared as.
    pub fn descriptor(&self) -> &Arc<ExchangeDescriptor> {
        &self.descriptor
    }

    /// What it keeps of its messages.
    pub(crate) fn keeps(&self) -> Keeps {
        self.keeps
    }

    /// A binding, which it has or may have, by itself.
    pub(crate) fn sole(&self, binding: &Arc<Binding>) -> Sole {
        let mut alone = Exchange::new(Arc::clone(&self.descriptor));
        alone.bind(binding);
        Sole { alone, routes: Routes::default() }
    }

    /// How many bindings it has.
    pub fn bindings(&self) -> usize {
        self.bindings
    }

    /// Whether a queue or exchange has it as its alternate.
    pub fn in_use_as_alternate(&self) -> bool {
        self.alternate_users > 0
    }

    pub(super) fn is_default(&self) -> bool {
        self.descriptor.name.is_empty()
    }

    pub(super) fn count_alternate(&mut self, by: i32) {
        let users = self.alternate_users.checked_add_signed(by);
        self.alternate_users = users.expect("users of an alternate are counted");
    }

    pub(super) fn bind(&mut self, binding: &Arc<Binding>) {
        let route = Route { home: binding.home, queue: binding.queue };
        match &mut self.table {
            Table::Direct(t) => t.bind(&binding.key, route),
            Table::Topic(t) => t.bind(&binding.key, route),
            Table::Fanout(t) => t.bind(route),
            Table::Headers(t) => t.bind(binding, route),
            Table::Xml(t) => t.bind(binding, route),
        }
        self.bindings += 1;
    }

    pub(super) fn unbind(&mut self, binding: &Arc<Binding>) {
        match &mut self.table {
            Table::Direct(t) => t.unbind(&binding.key, binding.queue),
            Table::Topic(t) => t.unbind(&binding.key, binding.queue),
            Table::Fanout(t) => t.unbind(binding.queue),
            Table::Headers(t) => t.unbind(binding),
            Table::Xml(t) => t.unbind(&binding.key, binding.queue),
        }
        self.bindings -= 1;
    }

    pub(super) fn route(&self, message: &Message, out: &mut Routes) {
        match &self.table {
            Table::Direct(t) => t.route(message.routing_key(), out),
            Table::Topic(t) => t.route(message.routing_key(), out),
            Table::Fanout(t) => t.route(out),
            Table::Headers(t) => t.route(message, out),
            Table::Xml(t) => t.route(message, out),
        }
    }

    /// The queue of every binding.
    pub(super) fn routes(&self) -> Box<dyn Iterator<Item = Route> + '_> {
        match &self.table {
            Table::Direct(t) => Box::new(t.routes()),
            Table::Topic(t) => Box::new(t.routes()),
            Table::Fanout(t) => Box::new(t.routes()),
            Table::Headers(t) => Box::new(t.routes()),
            Table::Xml(t) => Box::new(t.routes()),
        }
    }

    /// The queues bound to a direct exchange with this key.
    pub(super) fn direct_queues(&self, key: &str) -> &[Route] {
        match &self.table {
            Table::Direct(t) => t.queues(key),
            Table::Topic(_) | Table::Fanout(_) | Table::Headers(_) | Table::Xml(_) => &[],
        }
    }

    /// Whether `queue` has a binding with this key (in normal form).
    pub(super) fn has_binding(&self, key: &str, queue: QueueId) -> bool {
        match &self.table {
            Table::Direct(t) => t.has(key, Some(queue)),
            Table::Topic(t) => t.has(key, Some(queue)),
            Table::Fanout(t) => t.has(queue),
            Table::Headers(t) => t.has_key(key, queue),
            Table::Xml(t) => t.has(key, Some(queue)),
        }
    }

    /// Whether there is a binding of this queue, with this key, with these arguments, as far as
    /// each is given and matters to the kind.
    pub(super) fn is_bound(
        &self,
        queue: Option<QueueId>,
        key: Option<&str>,
        arguments: Option<&Map>,
    ) -> bool {
        match (&self.table, queue, key) {
            (Table::Direct(t), _, Some(key)) => t.has(key, queue),
            (Table::Topic(t), _, Some(key)) => t.has(&topic::normalise(key), queue),
            (Table::Xml(t), _, Some(key)) => t.has(key, queue),
            (Table::Direct(_) | Table::Topic(_) | Table::Xml(_), None, None) => self.bindings > 0,
            (Table::Direct(t), Some(queue), None) => t.routes().any(|r| r.queue == queue),
            (Table::Topic(t), Some(queue), None) => t.routes().any(|r| r.queue == queue),
            (Table::Xml(t), Some(queue), None) => t.routes().any(|r| r.queue == queue),
            // Keys and arguments mean nothing to a fanout: without a queue, nothing matches.
            (Table::Fanout(t), _, _) => queue.is_some_and(|queue| t.has(queue)),
            (Table::Headers(t), _, _) => t.has(queue, arguments),
        }
    }
}
