//! The node of an address at a broker: found or created, checked, bound, and deleted again, as its options say.
//!
//! A name without a type is looked up as a queue and as an exchange; a name that is neither is a queue to be.

use fletch_amqp::EncodeError;
use fletch_amqp::types::{EncodedMap, Map};
use fletch_amqp::v0_10::table::{exchange, queue};
use fletch_client::{Error, Session};
use thiserror::Error;

use super::{Address, BindingOptions, NodeKind, Policy};

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
pub(super) enum Role {
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
pub(super) struct Node {
    pub(super) session: Session,
    pub(super) address: Address,
    pub(super) role: Role,
    pub(super) kind: NodeKind,
    /// The type of an exchange.
    pub(super) exchange_type: String,
    /// Bindings to undo when the link ends.
    pub(super) bindings: Vec<Binding>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Binding {
    pub(super) exchange: String,
    pub(super) queue: String,
    pub(super) key: String,
    pub(super) arguments: Map,
}

pub(super) fn view(map: &Map) -> Result<Option<EncodedMap>, EncodeError> {
    if map.is_empty() { Ok(None) } else { map.encoded().map(Some) }
}

impl Node {
    pub(super) fn resolve(
        session: &Session,
        address: Address,
        role: Role,
    ) -> Result<Node, ResolveError> {
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
    pub(super) fn delete(&self) -> Result<(), ResolveError> {
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

    pub(super) fn bind(&self, bindings: &[Binding]) -> Result<(), ResolveError> {
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

    pub(super) fn bind_link(&mut self, queue: Option<&str>) -> Result<(), ResolveError> {
        let bindings = self.bindings_of(&self.address.options.link.bindings, queue);
        self.bind(&bindings)?;
        self.bindings = bindings;
        Ok(())
    }

    pub(super) fn unbind_link(&self) -> Result<(), ResolveError> {
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

pub(super) struct QueueFound {
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

pub(super) fn query_queue(
    session: &Session,
    name: &str,
) -> Result<Option<QueueFound>, ResolveError> {
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
        // Numbers of another width and text of another type mean the same.
        let same_number = wanted.as_i64().is_some() && wanted.as_i64() == found.as_i64();
        let same_text = wanted.as_str().is_some() && wanted.as_str() == found.as_str();
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
