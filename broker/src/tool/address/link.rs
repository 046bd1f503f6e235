//! Senders and receivers: links to the node of an address.
//!
//! Receiving from an exchange means a subscription queue of one's own, bound as the subject says.

use std::time::Duration;

use fletch_amqp::types::{EncodedMap, Map};
use fletch_amqp::v0_10::table::queue;
use fletch_amqp::v0_10::{AcceptMode, AcquireMode, CreditUnit};
use fletch_amqp::{CommandId, SequenceSet};
use fletch_client::{Delivery, Error, Outgoing, Session, Subscription};

use super::node::{Binding, Node, ResolveError, Role, query_queue, view};
use super::{Address, DeclareOptions, Mode, NodeKind};
use crate::tool::unique::unique_name;

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
