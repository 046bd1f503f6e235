//! The topology: queues' descriptors, exchanges and bindings, replicated on every shard.
//!
//! [`Topology`] is one shard's replica. It changes only by [`Topology::apply`], one epoch at a
//! time, in the order that the [`Orderer`] on shard 0 has put all changes in; so all replicas of an
//! epoch are equal. It answers everything that needs no change on the spot: routing, passive
//! declares, queries. It knows where queues live, never what is in them.

mod change;
mod checks;
mod decision;
mod direct;
mod exchange;
mod fanout;
mod headers;
mod names;
mod objects;
mod orderer;
mod placement;
mod redirects;
mod registry;
mod requests;
mod routes;
mod subject;
#[cfg(test)]
mod tests;
mod topic;
mod wanted;
mod xml;

pub use change::{Binding, Change, ExchangeDescriptor, ExchangeKind, QueueDescriptor};
pub use decision::{Conditions, Decision, TopologyRequest};
pub use exchange::Exchange;
pub use objects::{Made, Object, ObjectKind};
pub use orderer::Orderer;
pub(crate) use placement::{home_of, home_of_exchange};
pub(crate) use routes::{Detour, Way};
pub use routes::{Route, Routes};
pub(crate) use subject::Subject;

use crate::error::Error;
use crate::ids::{Epoch, QueueId, SessionId, ShardId};
use crate::message::Message;
use crate::request::Target;
use fletch_amqp::convert::Node;
use fletch_amqp::types::Map;
use names::{ByName, Name};
pub(crate) use names::{FixedMap, FixedSet};
use objects::Objects;
use redirects::Redirects;
use std::collections::hash_map;
use std::sync::Arc;

/// The name of the default exchange, which routes to the queue named by the routing key.
const DEFAULT: &str = "";

/// The exchanges that are always there.
const BUILT_IN: [(&str, ExchangeKind); 5] = [
    (DEFAULT, ExchangeKind::Direct),
    ("amq.direct", ExchangeKind::Direct),
    ("amq.topic", ExchangeKind::Topic),
    ("amq.fanout", ExchangeKind::Fanout),
    ("amq.match", ExchangeKind::Headers),
];

/// One shard's replica. See the module.
#[derive(Debug)]
pub struct Topology {
    epoch: Epoch,
    names: FixedSet<ByName>,
    queues: FixedMap<QueueId, Arc<QueueDescriptor>>,
    exchanges: FixedMap<Name, Exchange>,
    /// How many of those have a home, because they keep something.
    homes: usize,
    /// Of the queues that have any; most bind none or few.
    bindings: FixedMap<QueueId, Vec<Arc<Binding>>>,
    /// Queues whose messages go to another one.
    redirects: Redirects,
    /// Topics, and policies that make nodes.
    objects: Objects,
}

impl Default for Topology {
    fn default() -> Topology {
        Topology::new()
    }
}

impl Topology {
    /// The built-in exchanges alone, at epoch 0.
    pub fn new() -> Topology {
        let no_arguments = Arc::new(Map::new());
        let mut exchanges = FixedMap::default();
        for (name, kind) in BUILT_IN {
            let name: Arc<str> = name.into();
            let descriptor = ExchangeDescriptor {
                id: 0,
                name: Arc::clone(&name),
                kind,
                durable: true,
                auto_delete: false,
                alternate: None,
                arguments: Arc::clone(&no_arguments),
            };
            exchanges.insert(Name(name), Exchange::new(Arc::new(descriptor)));
        }
        Topology {
            epoch: Epoch(0),
            names: FixedSet::default(),
            queues: FixedMap::default(),
            exchanges,
            homes: 0,
            bindings: FixedMap::default(),
            redirects: Redirects::default(),
            objects: Objects::default(),
        }
    }

    /// The same with policies.
    pub fn with_policies(policies: &[Arc<Object>]) -> Topology {
        let mut topology = Topology::new();
        policies.iter().for_each(|policy| topology.objects.create(policy));
        topology
    }

    /// The last change applied.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    // ---- looking up ----------------------------------------------------------------------

    /// The queue called `name`.
    pub fn queue(&self, name: &str) -> Option<&Arc<QueueDescriptor>> {
        self.names.get(name.as_bytes()).map(|q| &q.0)
    }

    /// The queue with this id.
    pub fn queue_by_id(&self, queue: QueueId) -> Option<&Arc<QueueDescriptor>> {
        self.queues.get(&queue)
    }

    /// Where a queue lives.
    pub fn home_of(&self, queue: QueueId) -> Option<ShardId> {
        self.queue_by_id(queue).map(|q| q.home)
    }

    /// The name of a queue's alternate exchange.
    pub fn alternate_of(&self, queue: QueueId) -> Option<Arc<str>> {
        self.queue_by_id(queue)?.alternate.clone()
    }

    /// All queues, in no order.
    pub fn queues(&self) -> impl ExactSizeIterator<Item = &Arc<QueueDescriptor>> {
        self.queues.values()
    }

    /// The exchange called `name`.
    pub fn exchange(&self, name: &str) -> Option<&Exchange> {
        self.exchanges.get(name.as_bytes())
    }

    /// What is called `name`, for the address that answers to a message of AMQP 1.0 go to.
    pub fn node(&self, name: &str) -> Node {
        match (self.queue(name), self.exchange(name)) {
            (Some(_), _) => Node::Queue,
            (None, Some(_)) => Node::Exchange,
            (None, None) => Node::Unknown,
        }
    }

    /// Whether an exchange keeps something of its messages.
    pub(crate) fn has_homes(&self) -> bool {
        self.homes > 0
    }

    /// All exchanges, in no order.
    pub fn exchanges(&self) -> impl ExactSizeIterator<Item = &Exchange> {
        self.exchanges.values()
    }

    /// The bindings of a queue, the one to the default exchange not included.
    pub fn bindings_of(&self, queue: QueueId) -> &[Arc<Binding>] {
        self.bindings.get(&queue).map_or(&[], Vec::as_slice)
    }

    /// A binding by its identity: `key` in normal form.
    fn binding(&self, queue: QueueId, exchange: &str, key: &str) -> Option<&Arc<Binding>> {
        let mut bindings = self.bindings_of(queue).iter();
        bindings.find(|b| *b.key == *key && *b.exchange == *exchange)
    }

    /// The bindings of these queues that have exchange and key of another one.
    fn bindings_among(&self, queues: &[Route], like: &Binding) -> Vec<Arc<Binding>> {
        let of = |route: &Route| self.binding(route.queue, &like.exchange, &like.key).cloned();
        queues.iter().filter_map(of).collect()
    }

    // ---- routing -------------------------------------------------------------------------

    /// Appends to `out` the queues that `message`, published so, goes to, each once. If
    /// there is none, those of the exchange's alternate (whose own alternate is not asked). False
    /// if there is still none. What exchanges keep of messages plays no part in that.
    ///
    /// # Errors
    /// `NotFound` if the exchange does not exist.
    pub fn route<'t>(
        &self,
        to: impl Into<Target<'t>>,
        message: &Message,
        out: &mut Routes,
    ) -> Result<bool, Error> {
        let mut way = self.way(to.into(), message, out)?;
        loop {
            way = match way {
                Way::Queues(found) => return Ok(found),
                Way::Home(detour) => self.way_on(&detour, message, out)?,
            }
        }
    }

    /// As [`Topology::route`], up to the first exchange that keeps something of its messages: that one
    /// has to be asked where it does.
    pub(crate) fn way(
        &self,
        to: Target<'_>,
        message: &Message,
        out: &mut Routes,
    ) -> Result<Way, Error> {
        let start = out.len();
        let way = self.way_before_redirects(to, message, out);
        self.redirects.apply(&mut out.list[start..]);
        way
    }

    fn way_before_redirects(
        &self,
        to: Target<'_>,
        message: &Message,
        out: &mut Routes,
    ) -> Result<Way, Error> {
        let exchange = match to {
            // The default exchange is always there and has no alternate.
            Target::Exchange("") => {
                return Ok(Way::Queues(self.route_by_name(message.routing_key(), out)));
            }
            Target::Queue(name) if !self.route_by_name(name.as_bytes(), out) => {
                return Err(Error::not_found(format!("Queue not found: {name}")));
            }
            Target::Queue(_) => return Ok(Way::Queues(true)),
            Target::Exchange(name) => name,
        };
        Ok(self.way_to(self.resolve_exchange(exchange)?, false, message, out))
    }

    /// Goes on where the exchange of a detour has kept what it keeps.
    pub(crate) fn way_on(
        &self,
        detour: &Detour,
        message: &Message,
        out: &mut Routes,
    ) -> Result<Way, Error> {
        let exchange = self.resolve_exchange(&detour.exchange)?;
        let start = out.len();
        let way = self.way_through(exchange, detour.last, message, out);
        self.redirects.apply(&mut out.list[start..]);
        Ok(way)
    }

    fn way_to(&self, exchange: &Exchange, last: bool, message: &Message, out: &mut Routes) -> Way {
        if exchange.keeps().is_nothing() {
            return self.way_through(exchange, last, message, out);
        }
        Way::Home(Detour { exchange: Arc::clone(&exchange.descriptor().name), last })
    }

    fn way_through(
        &self,
        exchange: &Exchange,
        last: bool,
        message: &Message,
        out: &mut Routes,
    ) -> Way {
        if self.route_through(exchange, message, out) {
            return Way::Queues(true);
        }
        let alternate = exchange.descriptor().alternate.as_deref().filter(|_| !last);
        match alternate.and_then(|name| self.exchange(name)) {
            Some(alternate) => self.way_to(alternate, true, message, out),
            None => Way::Queues(false),
        }
    }

    fn route_by_name(&self, name: &[u8], out: &mut Routes) -> bool {
        let queue = self.names.get(name);
        out.list.extend(queue.map(|ByName(q)| Route { home: q.home, queue: q.id }));
        queue.is_some()
    }

    fn route_through(&self, exchange: &Exchange, message: &Message, out: &mut Routes) -> bool {
        if exchange.is_default() {
            return self.route_by_name(message.routing_key(), out);
        }
        let before = out.len();
        exchange.route(message, out);
        out.len() > before
    }

    // ---- changing ------------------------------------------------------------------------

    /// Makes the next change.
    ///
    /// # Panics
    /// If `epoch` is not the one after this replica's, or the change does not fit: replicas would
    /// have come apart, and messages would be lost in silence.
    pub fn apply(&mut self, epoch: Epoch, change: &Change) {
        assert_eq!(epoch.0, self.epoch.0 + 1, "topology changes apply in order");
        self.epoch = epoch;
        match change {
            Change::QueueCreated(q) => self.create_queue(q),
            Change::QueueOwner { queue, owner } => self.set_owner(*queue, *owner),
            Change::QueueDeleted { queue } => self.delete_queue(*queue),
            Change::ExchangeCreated(x) => self.create_exchange(x),
            Change::ExchangeDeleted { name, .. } => self.delete_exchange(name),
            Change::ObjectCreated(object) => self.objects.create(object),
            Change::ObjectDeleted { kind, name, .. } => self.objects.delete(*kind, name),
            Change::Redirected { source, target } => self.redirect(*source, *target),
            Change::RedirectEnded { source, target } => self.redirects.end(*source, *target),
            Change::Bound(b) => self.bind(b),
            Change::Rebound { binding, instead_of } => {
                instead_of.iter().for_each(|old| self.unbind(old));
                self.bind(binding);
            }
            Change::Unbound(b) => self.unbind(b),
        }
    }

    fn create_queue(&mut self, q: &Arc<QueueDescriptor>) {
        assert!(self.names.insert(ByName(Arc::clone(q))), "queue {} created twice", q.name);
        self.queues.insert(q.id, Arc::clone(q));
        self.count_alternate(q.alternate.as_deref(), 1);
    }

    fn set_owner(&mut self, queue: QueueId, owner: Option<SessionId>) {
        let q = self.queues.get_mut(&queue).expect("owned queue exists");
        *q = Arc::new(QueueDescriptor { owner, ..(**q).clone() });
        self.names.replace(ByName(Arc::clone(q)));
    }

    fn delete_queue(&mut self, queue: QueueId) {
        let q = self.queues.remove(&queue).expect("deleted queue exists");
        self.names.remove(q.name.as_bytes());
        for binding in self.bindings.remove(&queue).unwrap_or_default() {
            self.exchange_mut(&binding.exchange).unbind(&binding);
        }
        self.count_alternate(q.alternate.as_deref(), -1);
    }

    fn create_exchange(&mut self, x: &Arc<ExchangeDescriptor>) {
        let made = match self.exchanges.entry(Name(Arc::clone(&x.name))) {
            hash_map::Entry::Occupied(_) => panic!("exchange {} created twice", x.name),
            hash_map::Entry::Vacant(entry) => entry.insert(Exchange::new(Arc::clone(x))),
        };
        self.homes += usize::from(!made.keeps().is_nothing());
        self.count_alternate(x.alternate.as_deref(), 1);
    }

    fn delete_exchange(&mut self, name: &str) {
        let x = self.exchanges.remove(name.as_bytes()).expect("deleted exchange exists");
        assert!(!x.in_use_as_alternate(), "deleted exchange {name} is an alternate");
        self.homes -= usize::from(!x.keeps().is_nothing());
        for route in x.routes() {
            // A queue bound by several keys is met several times, and is done the first time.
            if let hash_map::Entry::Occupied(mut entry) = self.bindings.entry(route.queue) {
                entry.get_mut().retain(|b| *b.exchange != *name);
                if entry.get().is_empty() {
                    entry.remove();
                }
            }
        }
        self.count_alternate(x.descriptor().alternate.as_deref(), -1);
    }

    fn bind(&mut self, binding: &Arc<Binding>) {
        assert!(self.queues.contains_key(&binding.queue), "bound queue exists");
        self.exchange_mut(&binding.exchange).bind(binding);
        self.bindings.entry(binding.queue).or_default().push(Arc::clone(binding));
    }

    fn unbind(&mut self, binding: &Arc<Binding>) {
        let bindings = self.bindings.get_mut(&binding.queue).expect("unbound queue is bound");
        let at = bindings.iter().position(|b| Arc::ptr_eq(b, binding));
        bindings.swap_remove(at.expect("unbound binding exists"));
        if bindings.is_empty() {
            self.bindings.remove(&binding.queue);
        }
        self.exchange_mut(&binding.exchange).unbind(binding);
    }

    fn exchange_mut(&mut self, name: &str) -> &mut Exchange {
        self.exchanges.get_mut(name.as_bytes()).expect("exchange of the change exists")
    }

    fn count_alternate(&mut self, name: Option<&str>, by: i32) {
        if let Some(name) = name {
            self.exchange_mut(name).count_alternate(by);
        }
    }
}
