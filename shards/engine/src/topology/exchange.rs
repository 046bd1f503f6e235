//! One exchange of a replica: its descriptor and the table of its kind.

use super::change::{Binding, ExchangeDescriptor, ExchangeKind};
use super::direct::Direct;
use super::fanout::Fanout;
use super::headers::{self, Headers};
use super::routes::{Route, Routes};
use super::topic::{self, Topic};
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
    bindings: usize,
    alternate_users: u32,
}

#[derive(Debug)]
enum Table {
    Direct(Direct),
    Topic(Topic),
    Fanout(Fanout),
    Headers(Headers),
}

impl ExchangeKind {
    /// The part of a binding key that matters to the kind: what tells two bindings of one queue
    /// apart.
    pub(super) fn normal_key(self, key: &Arc<str>) -> Arc<str> {
        match self {
            ExchangeKind::Direct | ExchangeKind::Headers => Arc::clone(key),
            ExchangeKind::Topic => match topic::normalise(key) {
                normal if normal == **key => Arc::clone(key),
                normal => normal.into(),
            },
            ExchangeKind::Fanout => "".into(),
        }
    }

    /// Checks a binding's arguments.
    pub(super) fn check_arguments(self, arguments: &Map) -> Result<(), Error> {
        match self {
            ExchangeKind::Headers => headers::check_arguments(arguments),
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
        };
        Exchange { descriptor, table, bindings: 0, alternate_users: 0 }
    }

    /// What it was declared as.
    pub fn descriptor(&self) -> &Arc<ExchangeDescriptor> {
        &self.descriptor
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
        }
        self.bindings += 1;
    }

    pub(super) fn unbind(&mut self, binding: &Arc<Binding>) {
        match &mut self.table {
            Table::Direct(t) => t.unbind(&binding.key, binding.queue),
            Table::Topic(t) => t.unbind(&binding.key, binding.queue),
            Table::Fanout(t) => t.unbind(binding.queue),
            Table::Headers(t) => t.unbind(binding),
        }
        self.bindings -= 1;
    }

    pub(super) fn route(&self, message: &Message, out: &mut Routes) {
        match &self.table {
            Table::Direct(t) => t.route(message.routing_key(), out),
            Table::Topic(t) => t.route(message.routing_key(), out),
            Table::Fanout(t) => t.route(out),
            Table::Headers(t) => t.route(message, out),
        }
    }

    /// The queue of every binding.
    pub(super) fn routes(&self) -> Box<dyn Iterator<Item = Route> + '_> {
        match &self.table {
            Table::Direct(t) => Box::new(t.routes()),
            Table::Topic(t) => Box::new(t.routes()),
            Table::Fanout(t) => Box::new(t.routes()),
            Table::Headers(t) => Box::new(t.routes()),
        }
    }

    /// Whether `queue` has a binding with this key (in normal form).
    pub(super) fn has_binding(&self, key: &str, queue: QueueId) -> bool {
        match &self.table {
            Table::Direct(t) => t.has(key, Some(queue)),
            Table::Topic(t) => t.has(key, Some(queue)),
            Table::Fanout(t) => t.has(queue),
            Table::Headers(t) => t.has_key(key, queue),
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
            (Table::Direct(_) | Table::Topic(_), None, None) => self.bindings > 0,
            (Table::Direct(t), Some(queue), None) => t.routes().any(|r| r.queue == queue),
            (Table::Topic(t), Some(queue), None) => t.routes().any(|r| r.queue == queue),
            // Keys and arguments mean nothing to a fanout: without a queue, nothing matches.
            (Table::Fanout(t), _, _) => queue.is_some_and(|queue| t.has(queue)),
            (Table::Headers(t), _, _) => t.has(queue, arguments),
        }
    }
}
