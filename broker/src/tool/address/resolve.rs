//! Making an address true at a broker: senders and receivers.
//!
//! A name without a type is looked up as a queue and as an exchange; a name that is neither is a queue to be. Receiving from
//! an exchange means a subscription queue of one's own, bound as the subject says.

use std::time::Duration;

use fletch_amqp::types::{EncodedMap, Map, Value};
use fletch_amqp::v0_10::table::{exchange, queue};
use fletch_amqp::v0_10::{AcceptMode, AcquireMode, CreditUnit};
use fletch_amqp::{CommandId, EncodeError, SequenceSet};
use fletch_client::{Delivery, Error, Outgoing, Session, Subscription};
use thiserror::Error;

use super::{Address, BindingOptions, DeclareOptions, Mode, NodeKind, Policy};
use crate::tool::unique::unique_name;

/// Why an address could not be made true.
#[derive(Debug, Error)]
pub enum ResolveError {
    /// There is no such node, and nobody asked to create it.
    #[error("no such {what}: {name}")]
    NotFound {
        /// Queue or topic.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// Both a queue and an exchange have the name.
    #[error("ambiguous address {0}: say node: {{type: queue}} or node: {{type: topic}}")]
    Ambiguous(String),
    /// The node is not as the address says.
    #[error("{0}")]
    Assertion(String),
    /// The broker refused to create the node.
    #[error("creation failed for {what} {name}: {cause}")]
    Create {
        /// Queue or exchange.
        what: &'static str,
        /// Its name.
        name: String,
        /// Why.
        cause: Error,
    },
    /// Names of this kind belong to the broker.
    #[error("cannot create exchange {0}: names beginning with \"amq.\" or \"qpid.\" are reserved")]
    Reserved(String),
    /// The connection or session failed.
    #[error(transparent)]
    Client(#[from] Error),
}

impl From<EncodeError> for ResolveError {
    fn from(error: EncodeError) -> Self {
        ResolveError::Client(error.into())
    }
}

/// Who resolves: policies are for one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Sender,
    Receiver,
}

impl Policy {
    fn is_for(self, role: Role) -> bool {
        match self {
            Policy::Never => false,
            Policy::Always => true,
            Policy::Sender => role == Role::Sender,
            Policy::Receiver => role == Role::Receiver,
        }
    }
}

/// A node that is there.
#[derive(Debug)]
struct Node {
    session: Session,
    address: Address,
    role: Role,
    kind: NodeKind,
    /// The type of an exchange.
    exchange_type: String,
    /// Bindings to undo when the link ends.
    bindings: Vec<Binding>,
}

#[derive(Debug, Clone, PartialEq)]
struct Binding {
    exchange: String,
    queue: String,
    key: String,
    arguments: Map,
}

fn view(map: &Map) -> Result<Option<EncodedMap>, EncodeError> {
    if map.is_empty() { Ok(None) } else { map.encoded().map(Some) }
}

impl Node {
    fn resolve(session: &Session, address: Address, role: Role) -> Result<Node, ResolveError> {
        let mut node = Node {
            session: session.clone(),
            kind: address.options.node.kind.unwrap_or(NodeKind::Queue),
            address,
            role,
            exchange_type: String::new(),
            bindings: Vec::new(),
        };
        let wanted = node.address.options.node.kind;
        let queue = wanted != Some(NodeKind::Topic) && node.queue()?.is_some();
        let exchange = match wanted {
            Some(NodeKind::Queue) => None,
            _ => node.exchange()?,
        };
        node.kind = match (wanted, queue, &exchange) {
            (Some(kind), ..) => kind,
            (None, true, Some(_)) => return Err(ResolveError::Ambiguous(node.address.name)),
            (None, false, Some(_)) => NodeKind::Topic,
            (None, ..) => NodeKind::Queue,
        };
        let options = &node.address.options;
        // A temporary node is created by whoever names it, unless something else is said.
        let temporary = node.address.temporary && !options.create_given;
        let create = temporary || options.create.is_for(role);
        if !queue && exchange.is_none() {
            if !create {
                let what = if node.kind == NodeKind::Topic { "topic" } else { "queue" };
                return Err(ResolveError::NotFound { what, name: node.address.name });
            }
            node.create(temporary)?;
        }
        if let Some(exchange) = exchange {
            node.exchange_type = exchange.kind;
        } else if node.kind == NodeKind::Topic {
            let given = node.address.options.node.declare.exchange_type.clone();
            node.exchange_type = given.unwrap_or_else(|| "topic".into());
        }
        let node_bindings = node.bindings_of(&node.address.options.node.bindings, None);
        if create {
            node.bind(&node_bindings)?;
        }
        if node.address.options.assert.is_for(role) {
            node.check()?;
            node_bindings.iter().try_for_each(|binding| node.check_binding(binding))?;
        }
        Ok(node)
    }

    // ---- questions ----

    fn queue(&self) -> Result<Option<QueueFound>, ResolveError> {
        let name = self.address.name.as_str();
        query_queue(&self.session, name)
    }

    fn exchange(&self) -> Result<Option<ExchangeFound>, ResolveError> {
        let query = exchange::Query { name: Some(&self.address.name) };
        let Some(reply) = self.session.call(&query.into())? else { return Ok(None) };
        let result: exchange::ExchangeQueryResult<'_> =
            reply.read().map_err(ResolveError::Client)?;
        if result.not_found {
            return Ok(None);
        }
        Ok(Some(ExchangeFound {
            kind: result.r#type.unwrap_or_default().to_owned(),
            durable: result.durable,
            arguments: result.arguments.and_then(|map| map.to_map().ok()).unwrap_or_default(),
        }))
    }

    // ---- creation and deletion ----

    fn create(&self, temporary: bool) -> Result<(), ResolveError> {
        let options = &self.address.options.node;
        let declare = &options.declare;
        let name = self.address.name.as_str();
        let arguments = view(&declare.arguments)?;
        let arguments = arguments.as_ref().map(EncodedMap::view);
        let durable = declare.durable.unwrap_or(options.durable);
        let auto_delete = declare.auto_delete.unwrap_or(temporary);
        let alternate_exchange = declare.alternate_exchange.as_deref();
        let (what, command) = match self.kind {
            NodeKind::Queue => {
                let exclusive = declare.exclusive.unwrap_or(temporary);
                let command = queue::Declare {
                    queue: Some(name),
                    alternate_exchange,
                    passive: false,
                    durable,
                    exclusive,
                    auto_delete,
                    arguments,
                };
                ("queue", command.into())
            }
            NodeKind::Topic if name.starts_with("amq.") || name.starts_with("qpid.") => {
                return Err(ResolveError::Reserved(name.to_owned()));
            }
            NodeKind::Topic => {
                let command = exchange::Declare {
                    exchange: Some(name),
                    r#type: Some(declare.exchange_type.as_deref().unwrap_or("topic")),
                    alternate_exchange,
                    passive: false,
                    durable,
                    auto_delete,
                    arguments,
                };
                ("exchange", command.into())
            }
        };
        self.session.call(&command).map(|_| ()).map_err(|cause| match cause.session_code() {
            Some(_) => ResolveError::Create { what, name: name.to_owned(), cause },
            None => ResolveError::Client(cause),
        })
    }

    /// Deletes the node, if the address says so.
    fn delete(&self) -> Result<(), ResolveError> {
        if !self.address.options.delete.is_for(self.role) {
            return Ok(());
        }
        let name = Some(self.address.name.as_str());
        match self.kind {
            NodeKind::Queue if self.queue()?.is_some() => {
                let delete = queue::Delete { queue: name, ..Default::default() };
                self.session.call(&delete.into())?;
            }
            NodeKind::Topic if self.exchange()?.is_some() => {
                let delete = exchange::Delete { exchange: name, ..Default::default() };
                self.session.call(&delete.into())?;
            }
            _ => {}
        }
        Ok(())
    }

    // ---- bindings ----

    /// Bindings with the node's name, or that of its subscription queue, where none is given.
    fn bindings_of(&self, options: &[BindingOptions], queue: Option<&str>) -> Vec<Binding> {
        let own = self.address.name.as_str();
        let (exchange, queue) = match self.kind {
            NodeKind::Queue => ("", own),
            NodeKind::Topic => (own, queue.unwrap_or_default()),
        };
        let or =
            |given: &Option<String>, own: &str| given.clone().unwrap_or_else(|| own.to_owned());
        let binding = |options: &BindingOptions| Binding {
            exchange: or(&options.exchange, exchange),
            queue: or(&options.queue, queue),
            key: or(&options.key, ""),
            arguments: options.arguments.clone(),
        };
        options.iter().map(binding).collect()
    }

    fn bind(&self, bindings: &[Binding]) -> Result<(), ResolveError> {
        for binding in bindings {
            let arguments = view(&binding.arguments)?;
            let bind = exchange::Bind {
                queue: Some(&binding.queue),
                exchange: Some(&binding.exchange),
                binding_key: Some(&binding.key),
                arguments: arguments.as_ref().map(EncodedMap::view),
            };
            self.session.call(&bind.into())?;
        }
        Ok(())
    }

    fn bind_link(&mut self, queue: Option<&str>) -> Result<(), ResolveError> {
        let bindings = self.bindings_of(&self.address.options.link.bindings, queue);
        self.bind(&bindings)?;
        self.bindings = bindings;
        Ok(())
    }

    fn unbind_link(&self) -> Result<(), ResolveError> {
        for binding in &self.bindings {
            let unbind = exchange::Unbind {
                queue: Some(&binding.queue),
                exchange: Some(&binding.exchange),
                binding_key: Some(&binding.key),
            };
            self.session.call(&unbind.into())?;
        }
        Ok(())
    }

    // ---- assertions ----

    fn check(&self) -> Result<(), ResolveError> {
        let name = &self.address.name;
        let options = &self.address.options.node;
        let declare = &options.declare;
        let wrong = |what: String| Err(ResolveError::Assertion(what));
        let (durable, arguments) = match self.kind {
            NodeKind::Queue => {
                let Some(found) = self.queue()? else {
                    return wrong(format!("queue not found: {name}"));
                };
                if declare.auto_delete == Some(true) && !found.auto_delete {
                    return wrong(format!("queue not set to auto-delete: {name}"));
                }
                if declare.exclusive == Some(true) && !found.exclusive {
                    return wrong(format!("queue not exclusive: {name}"));
                }
                let alternate = declare.alternate_exchange.as_deref();
                if alternate.is_some_and(|wanted| wanted != found.alternate_exchange) {
                    return wrong(format!(
                        "alternate exchange does not match for {name}: expected {}, got {}",
                        alternate.unwrap_or_default(),
                        found.alternate_exchange
                    ));
                }
                (found.durable, found.arguments)
            }
            NodeKind::Topic => {
                let Some(found) = self.exchange()? else {
                    return wrong(format!("exchange not found: {name}"));
                };
                if declare.exchange_type.as_ref().is_some_and(|wanted| *wanted != found.kind) {
                    return wrong(format!(
                        "exchange {name} is of incorrect type: expected {}, got {}",
                        declare.exchange_type.as_deref().unwrap_or_default(),
                        found.kind
                    ));
                }
                (found.durable, found.arguments)
            }
        };
        if options.durable && !durable {
            return wrong(format!("not durable: {name}"));
        }
        check_arguments(name, &declare.arguments, &arguments)
    }

    fn check_binding(&self, binding: &Binding) -> Result<(), ResolveError> {
        let arguments = view(&binding.arguments)?;
        let bound = exchange::Bound {
            exchange: Some(&binding.exchange),
            queue: Some(&binding.queue),
            binding_key: Some(&binding.key),
            arguments: arguments.as_ref().map(EncodedMap::view),
        };
        let reply = self.session.call(&bound.into())?;
        let result: exchange::ExchangeBoundResult = match &reply {
            Some(reply) => reply.read()?,
            None => Default::default(),
        };
        if result == exchange::ExchangeBoundResult::default() {
            return Ok(());
        }
        Err(ResolveError::Assertion(format!(
            "no such binding [exchange={}, queue={}, key={}]",
            binding.exchange, binding.queue, binding.key
        )))
    }
}

struct QueueFound {
    alternate_exchange: String,
    durable: bool,
    exclusive: bool,
    auto_delete: bool,
    arguments: Map,
}

struct ExchangeFound {
    kind: String,
    durable: bool,
    arguments: Map,
}

fn query_queue(session: &Session, name: &str) -> Result<Option<QueueFound>, ResolveError> {
    let Some(reply) = session.call(&queue::Query { queue: Some(name) }.into())? else {
        return Ok(None);
    };
    let result: queue::QueueQueryResult<'_> = reply.read()?;
    if result.queue != Some(name) {
        return Ok(None);
    }
    Ok(Some(QueueFound {
        alternate_exchange: result.alternate_exchange.unwrap_or_default().to_owned(),
        durable: result.durable,
        exclusive: result.exclusive,
        auto_delete: result.auto_delete,
        arguments: result.arguments.and_then(|map| map.to_map().ok()).unwrap_or_default(),
    }))
}

fn check_arguments(name: &str, wanted: &Map, found: &Map) -> Result<(), ResolveError> {
    for (key, wanted) in wanted.iter() {
        let Some(found) = found.get(key) else {
            return Err(ResolveError::Assertion(format!("option {key} not set for {name}")));
        };
        let both = |value: &Value| (value.as_i64(), value.as_str().map(str::to_owned));
        let same_number = wanted.as_i64().is_some() && wanted.as_i64() == found.as_i64();
        let same_text = wanted.as_str().is_some() && both(wanted).1 == both(found).1;
        if wanted != found && !same_number && !same_text {
            return Err(ResolveError::Assertion(format!(
                "option {key} does not match for {name}: expected {}, got {}",
                crate::tool::value::Shown(wanted),
                crate::tool::value::Shown(found)
            )));
        }
    }
    Ok(())
}

/// Sends to an address.
#[derive(Debug)]
pub struct Sender {
    node: Node,
}

impl Sender {
    /// Resolves an address to send to.
    pub fn open(session: &Session, address: Address) -> Result<Sender, ResolveError> {
        let mut node = Node::resolve(session, address, Role::Sender)?;
        node.bind_link(None)?;
        Ok(Sender { node })
    }

    /// The subject of messages that have none of their own.
    pub fn subject(&self) -> Option<&str> {
        self.node.address.subject.as_deref()
    }

    /// Sends a message: its routing key is the queue's name, or the subject at an exchange.
    pub fn send<'a>(
        &'a self,
        subject: &'a str,
        mut message: Outgoing<'a>,
    ) -> Result<CommandId, Error> {
        let node = &self.node;
        let (exchange, key) = match node.kind {
            NodeKind::Queue => ("", node.address.name.as_str()),
            NodeKind::Topic => (node.address.name.as_str(), subject),
        };
        message.delivery.routing_key = Some(key);
        match node.address.options.link.reliability {
            Some(reliability) if reliability.is_unreliable() => {
                node.session.send(exchange, &message)
            }
            _ => node.session.send_to_be_accepted(exchange, &message),
        }
    }

    /// Waits until all is sent, and undoes what the address says to undo.
    pub fn close(&self) -> Result<(), ResolveError> {
        self.node.session.sync()?;
        self.node.unbind_link()?;
        self.node.delete()
    }
}

/// Receives from an address.
#[derive(Debug)]
pub struct Receiver {
    node: Node,
    destination: String,
    capacity: u32,
    /// A subscription queue to delete when done.
    own_queue: Option<String>,
    accept_mode: AcceptMode,
}

impl Receiver {
    /// Resolves an address to receive from, with room for `capacity` messages in advance.
    pub fn open(
        session: &Session,
        address: Address,
        destination: &str,
        capacity: u32,
    ) -> Result<Receiver, ResolveError> {
        let node = Node::resolve(session, address, Role::Receiver)?;
        let mut receiver = Receiver {
            node,
            destination: destination.to_owned(),
            capacity,
            own_queue: None,
            accept_mode: AcceptMode::EXPLICIT,
        };
        match receiver.node.kind {
            NodeKind::Queue => receiver.subscribe_to_queue()?,
            NodeKind::Topic => receiver.subscribe_to_exchange()?,
        }
        if capacity > 0 {
            receiver.node.session.window(destination, capacity)?;
        }
        receiver.node.session.sync()?;
        Ok(receiver)
    }

    fn subscribe_to_queue(&mut self) -> Result<(), ResolveError> {
        self.node.bind_link(None)?;
        let options = &self.node.address.options;
        let mut arguments = options.link.subscribe.arguments.clone();
        if let Some(selector) = &options.link.selector {
            arguments.insert("x-apache-selector", selector.as_str());
        }
        let browse = options.mode == Mode::Browse;
        let unreliable = options.link.reliability.is_some_and(|r| r.is_unreliable());
        // What is only looked at need not be accepted.
        self.accept_mode =
            if browse || unreliable { AcceptMode::NONE } else { AcceptMode::EXPLICIT };
        let arguments = view(&arguments)?;
        let subscription = Subscription {
            queue: &self.node.address.name,
            destination: &self.destination,
            accept_mode: self.accept_mode,
            acquire_mode: if browse {
                AcquireMode::NOT_ACQUIRED
            } else {
                AcquireMode::PRE_ACQUIRED
            },
            exclusive: options.link.subscribe.exclusive.unwrap_or(false),
            arguments: arguments.as_ref().map(EncodedMap::view),
        };
        self.node.session.subscribe(&subscription)?;
        Ok(())
    }

    fn subscribe_to_exchange(&mut self) -> Result<(), ResolveError> {
        let link = self.node.address.options.link.clone();
        let name = self.node.address.name.as_str();
        let queue = link.name.clone().unwrap_or_else(|| format!("{name}_{}", unique_name()));
        // Durable subscriptions are reliable, others are not, unless the address says so.
        let unreliable = link.reliability.is_some_and(|r| r.is_unreliable());
        let said_reliable = link.reliability.is_some() && !unreliable;
        let reliable = if link.durable { !unreliable } else { said_reliable };
        let DeclareOptions { exclusive, auto_delete, alternate_exchange, durable, .. } =
            &link.declare;
        let exclusive = exclusive.unwrap_or(true);
        let said_auto_delete = auto_delete.is_some();
        let auto_delete = auto_delete.unwrap_or(!(link.durable || reliable));

        let mut arguments = link.declare.arguments.clone();
        match link.timeout {
            Some(0) => {}
            Some(seconds) => drop(arguments.insert("qpid.auto_delete_timeout", seconds)),
            // A durable subscription that nobody comes back for must not stay for ever.
            None if link.durable && !said_reliable && !said_auto_delete => {
                arguments.insert("qpid.auto_delete_timeout", 120u32);
            }
            None => {}
        }
        if let Some(selector) = &link.selector {
            arguments.insert("qpid.filter", selector.as_str());
        }
        let arguments = view(&arguments)?;
        let declare = queue::Declare {
            queue: Some(&queue),
            alternate_exchange: alternate_exchange.as_deref(),
            passive: false,
            durable: durable.unwrap_or(link.durable),
            exclusive,
            auto_delete,
            arguments: arguments.as_ref().map(EncodedMap::view),
        };
        self.node.session.call(&declare.into())?;
        if let Some(binding) = self.subject_binding(&queue) {
            self.node.bind(&[binding])?;
        }
        self.node.bind_link(Some(&queue))?;
        self.accept_mode = if reliable { AcceptMode::EXPLICIT } else { AcceptMode::NONE };
        let arguments = view(&link.subscribe.arguments)?;
        self.node.session.subscribe(&Subscription {
            queue: &queue,
            destination: &self.destination,
            accept_mode: self.accept_mode,
            exclusive: link.subscribe.exclusive.unwrap_or(exclusive),
            arguments: arguments.as_ref().map(EncodedMap::view),
            ..Default::default()
        })?;
        // One that is deleted by itself needs no help.
        self.own_queue = (exclusive && !auto_delete).then_some(queue);
        Ok(())
    }

    /// How the subscription queue is bound, unless the address leaves that to its own bindings.
    fn subject_binding(&self, queue: &str) -> Option<Binding> {
        let address = &self.node.address;
        let kind = self.node.exchange_type.as_str();
        let mut arguments = Map::new();
        let key = match &address.subject {
            Some(subject) => {
                if kind == "headers" {
                    arguments =
                        Map::new().with("qpid.subject", subject.as_str()).with("x-match", "all");
                }
                subject.as_str()
            }
            None if !address.options.link.bindings.is_empty() => return None,
            None => match kind {
                "topic" => "#",
                "fanout" => queue,
                "headers" => {
                    arguments.insert("x-match", "all");
                    "match-all"
                }
                _ => "",
            },
        };
        let exchange = address.name.clone();
        Some(Binding { exchange, queue: queue.to_owned(), key: key.to_owned(), arguments })
    }

    /// Whether messages have to be accepted.
    pub fn is_reliable(&self) -> bool {
        self.accept_mode == AcceptMode::EXPLICIT
    }

    /// The next message; waits at most `timeout`, or for ever. Says that there is none only when the broker has said so.
    pub fn fetch(&self, timeout: Option<Duration>) -> Result<Option<Delivery>, Error> {
        let session = &self.node.session;
        if self.capacity == 0 {
            session.flow(&self.destination, CreditUnit::BYTE, CreditUnit::UNLIMITED)?;
            session.flow(&self.destination, CreditUnit::MESSAGE, 1)?;
        }
        let Some(timeout) = timeout else { return session.wait_delivery() };
        if let Some(delivery) = session.next_delivery(timeout)? {
            return Ok(Some(delivery));
        }
        // Perhaps one is on its way. This takes the credit, which must be given anew.
        session.flush_credit(&self.destination)?;
        if self.capacity > 0 {
            session.flow(&self.destination, CreditUnit::BYTE, CreditUnit::UNLIMITED)?;
            session.flow(&self.destination, CreditUnit::MESSAGE, self.capacity)?;
        }
        Ok(session.take_delivery())
    }

    /// Ends the subscription, gives back what came and was not fetched, and undoes what the address says to undo.
    pub fn close(&self) -> Result<(), ResolveError> {
        let session = &self.node.session;
        // While its queue is there: it may go with the subscription.
        self.node.unbind_link()?;
        session.cancel(&self.destination)?;
        let mut unread = SequenceSet::new();
        while let Some(delivery) = session.take_delivery() {
            unread.add(delivery.id);
        }
        if self.is_reliable() && !unread.is_empty() {
            session.release(&unread, false)?;
            session.sync()?;
        }
        if let Some(queue) = &self.own_queue
            && query_queue(session, queue)?.is_some()
        {
            let delete = queue::Delete { queue: Some(queue), if_unused: true, if_empty: false };
            session.call(&delete.into())?;
        }
        self.node.delete()
    }
}
