//! What addresses name: queues and exchanges, those that are there and those that a client wants made.

use super::error::Refusal;
use fletch_amqp::v1_0::Multiple;
use fletch_amqp::v1_0::types::ValueRef;
use fletch_engine::topology::{ExchangeKind, Made, Object, Topology};
use fletch_engine::{Request, Target};
use std::sync::Arc;

/// Where messages come from or go to.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Queue(Arc<str>),
    Exchange(Arc<str>, ExchangeKind),
    /// A name for an exchange, which may have another.
    Topic {
        topic: Arc<Object>,
        exchange: Arc<str>,
        kind: ExchangeKind,
    },
}

impl Node {
    /// What deletes it.
    pub(super) fn deletion(&self) -> Request {
        match self {
            Node::Queue(name) => {
                let name = Arc::clone(name);
                Request::DeleteQueue { name, if_unused: false, if_empty: false }
            }
            Node::Exchange(name, _) | Node::Topic { exchange: name, .. } => {
                Request::DeleteExchange { name: Arc::clone(name), if_unused: false }
            }
        }
    }

    /// Its name.
    pub(super) fn name(&self) -> &Arc<str> {
        match self {
            Node::Queue(name) | Node::Exchange(name, _) => name,
            Node::Topic { topic, .. } => &topic.name,
        }
    }

    /// As the engine takes it.
    pub(super) fn target(&self) -> Target<'_> {
        match self {
            Node::Queue(name) => Target::Queue(name),
            Node::Exchange(name, _) | Node::Topic { exchange: name, .. } => Target::Exchange(name),
        }
    }

    /// How its exchange routes, if it has one.
    pub(super) fn exchange_kind(&self) -> Option<ExchangeKind> {
        match self {
            Node::Queue(_) => None,
            Node::Exchange(_, kind) | Node::Topic { kind, .. } => Some(*kind),
        }
    }
}

/// What a client says of the node that it means.
#[derive(Debug, Default)]
pub(super) struct Wish {
    pub(super) queue: bool,
    pub(super) topic: bool,
    create: bool,
}

impl Wish {
    pub(super) fn of(capabilities: &Multiple<'_>, dynamic: bool) -> Wish {
        let is = |name: &str| capabilities.contains(name);
        let queue = is("queue") || is("temporary-queue");
        let topic = is("topic") || is("temporary-topic");
        // To ask for both is to ask for nothing.
        let (queue, topic) = (queue && !topic, topic && !queue);
        Wish { queue, topic, create: dynamic || is("create-on-demand") }
    }

    /// Whether a node that is not there is to be made.
    pub(super) fn wants_creation(&self) -> bool {
        self.create
    }
}

/// The node of a name. As in the reference, where several have it a topic is meant, or else a queue, unless
/// the client says otherwise.
pub(super) fn find(topology: &Topology, name: &str, wish: &Wish) -> Option<Node> {
    let queue = || topology.queue(name).map(|queue| Node::Queue(Arc::clone(&queue.name)));
    let exchange = || {
        let found = topology.exchange(name).filter(|_| !name.is_empty())?;
        let descriptor = found.descriptor();
        Some(Node::Exchange(Arc::clone(&descriptor.name), descriptor.kind))
    };
    let topic = || {
        let topic = topology.topic(name)?;
        let exchange = topology.exchange(topic.exchange())?.descriptor();
        let (topic, kind) = (Arc::clone(topic), exchange.kind);
        Some(Node::Topic { topic, exchange: Arc::clone(&exchange.name), kind })
    };
    match (wish.queue, wish.topic) {
        (true, _) => queue(),
        (_, true) => topic().or_else(exchange),
        _ => topic().or_else(queue).or_else(exchange),
    }
}

/// No such node.
pub(super) fn not_found(name: &str) -> Refusal {
    Refusal::not_found(format!("Node not found: {name}"))
}

/// An address: text, of which a whole URL may be given, as some clients do.
pub(super) fn address(value: Option<ValueRef<'_>>) -> Result<Option<&str>, Refusal> {
    let Some(value) = value.filter(|value| !value.is_null()) else { return Ok(None) };
    let Some(text) = value.as_str() else {
        return Err(Refusal::invalid("an address is no string"));
    };
    Ok(Some(path(text)))
}

/// What of an address names a node.
pub(super) fn path(text: &str) -> &str {
    let rest = ["amqp://", "amqps://"].iter().find_map(|scheme| text.strip_prefix(scheme));
    rest.and_then(|rest| rest.split_once('/')).map_or(text, |(_, path)| path)
}

/// What of an address names a node here: behind an `@` may stand the broker's domain.
pub(super) fn local<'a>(address: &'a str, domain: Option<&str>) -> &'a str {
    let Some(domain) = domain else { return address };
    let name = address.strip_suffix(domain).and_then(|rest| rest.strip_suffix('@'));
    name.unwrap_or(address)
}

/// The address of a node, with the domain if it says that.
pub(super) fn address_of(node: &Node, domain: Option<&str>) -> String {
    match domain {
        None => node.name().to_string(),
        Some(domain) => format!("{}@{domain}", node.name()),
    }
}

/// What makes the node of a name that a policy of the broker's matches.
pub(super) fn on_demand(topology: &Topology, name: &Arc<str>) -> Option<(Vec<Request>, Node)> {
    let policy = topology.policy(name)?;
    tracing::info!(target: "model", "{name} is made by {} {}", policy.kind, policy.name);
    match policy.make(name)? {
        Made::Queue(queue) => {
            Some((vec![Request::DeclareQueue(queue)], Node::Queue(Arc::clone(name))))
        }
        Made::Topic(exchange, topic) => {
            let kind = ExchangeKind::from_name(&exchange.kind)?;
            let properties = Arc::new(topic.properties.clone());
            let object = Object::new(0, topic.kind, Arc::clone(name), properties).ok()?;
            let topic_exchange = Arc::clone(&exchange.name);
            let node = Node::Topic { topic: Arc::new(object), exchange: topic_exchange, kind };
            let made = vec![Request::DeclareExchange(exchange), Request::CreateObject(topic)];
            Some((made, node))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    #[test]
    fn addresses_may_be_urls_and_have_the_domain() {
        assert_eq!(path("orders"), "orders");
        assert_eq!(path("amqp://host:5672/orders"), "orders");
        assert_eq!(path("amqps://host/a/b"), "a/b");
        assert_eq!(path("amqp://host"), "amqp://host");
        assert_eq!(local("orders@here", Some("here")), "orders");
        assert_eq!(local("orders@there", Some("here")), "orders@there");
        assert_eq!(local("orders@here", None), "orders@here");
        assert_eq!(address_of(&Node::Queue("q".into()), Some("here")), "q@here");
    }
}
