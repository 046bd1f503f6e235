//! What a replica answers without a change: passive declares, queries, the rules of names.
//!
//! Texts follow the reference broker, since clients and tests show them to people.

use super::change::QueueDescriptor;
use super::exchange::Exchange;
use super::{DEFAULT, Topology};
use crate::error::Error;
use crate::ids::SessionId;
use crate::request::{BoundReport, DeclareExchange, DeclareQueue, ExchangeReport, Mode, Subscribe};
use fletch_amqp::types::Map;
use std::sync::Arc;

/// The longest name a queue, exchange or binding key may have, in bytes: what a `str8` holds.
const NAME_MAX: usize = 255;

/// Checks the name of a queue to be used or created.
pub(super) fn check_queue_name(name: &str) -> Result<(), Error> {
    if name.is_empty() {
        return Err(Error::illegal("No queue name specified."));
    }
    check_length("queue name", name)
}

/// Checks the length of any name or key.
pub(super) fn check_length(what: &str, name: &str) -> Result<(), Error> {
    if name.len() > NAME_MAX {
        let len = name.len();
        return Err(Error::invalid(format!("A {what} has at most {NAME_MAX} bytes, this {len}")));
    }
    Ok(())
}

/// An optional name: clients send an empty one for none.
pub(super) fn given(name: Option<&str>) -> Option<&str> {
    name.filter(|name| !name.is_empty())
}

/// Refuses the use of a queue that is exclusive to another session. `action`: "bind", "delete".
pub(super) fn check_access(
    session: SessionId,
    q: &QueueDescriptor,
    action: &str,
) -> Result<(), Error> {
    if q.owner.is_some_and(|owner| owner != session) {
        return Err(Error::locked(format!(
            "Cannot {action} queue {}; it is exclusive to another session",
            q.name
        )));
    }
    Ok(())
}

pub(super) fn cannot_be_exclusive(q: &QueueDescriptor) -> Error {
    Error::locked(format!("Cannot grant exclusive access to queue {}", q.name))
}

impl Topology {
    /// The exchange called `name`.
    pub(super) fn resolve_exchange(&self, name: &str) -> Result<&Exchange, Error> {
        let found = self.exchange(name);
        found.ok_or_else(|| Error::not_found(format!("Exchange not found: {name}")))
    }

    /// The queue called `name`.
    ///
    /// # Errors
    /// `NotFound` if it does not exist, `IllegalArgument` if the name is empty.
    pub fn resolve_queue(&self, name: &str) -> Result<&Arc<QueueDescriptor>, Error> {
        check_queue_name(name)?;
        let found = self.queue(name);
        found.ok_or_else(|| Error::not_found(format!("Queue not found: {name}")))
    }

    /// A passive `queue.declare`.
    ///
    /// # Errors
    /// `NotFound`, or `ResourceLocked` if `exclusive` is asked for and the session is not the
    /// owner.
    pub fn check_queue(&self, session: SessionId, declare: &DeclareQueue) -> Result<(), Error> {
        let q = self.resolve_queue(&declare.name)?;
        if declare.exclusive && q.owner != Some(session) {
            return Err(cannot_be_exclusive(q));
        }
        Ok(())
    }

    /// The queue of a `message.subscribe`.
    ///
    /// # Errors
    /// `NotFound`, or `ResourceLocked` if the queue is exclusive to another session; browsing is
    /// allowed even then.
    pub fn check_subscribe(
        &self,
        session: SessionId,
        subscribe: &Subscribe,
    ) -> Result<&Arc<QueueDescriptor>, Error> {
        let q = self.resolve_queue(&subscribe.queue)?;
        let locked = q.owner.is_some_and(|owner| owner != session);
        if locked && subscribe.mode == Mode::Consume {
            return Err(Error::locked(format!("Cannot subscribe to exclusive queue {}", q.name)));
        }
        Ok(q)
    }

    /// A passive `exchange.declare`.
    ///
    /// # Errors
    /// `NotFound`, or `NotAllowed` if it exists with another type or alternate.
    pub fn check_exchange(&self, declare: &DeclareExchange) -> Result<(), Error> {
        if let Some(alternate) = given(declare.alternate.as_deref()) {
            self.resolve_exchange(alternate)?;
        }
        check_same(self.resolve_exchange(&declare.name)?, declare)
    }

    /// `exchange.query`.
    pub fn query_exchange(&self, name: &str) -> Option<ExchangeReport> {
        let x = self.exchange(name)?.descriptor();
        Some(ExchangeReport {
            name: Arc::clone(&x.name),
            kind: x.kind.name().into(),
            durable: x.durable,
            arguments: (*x.arguments).clone(),
        })
    }

    /// `exchange.bound`. If no one binding has all that is asked for, each part is looked for on
    /// its own: a queue and a key that are bound, but not with each other, are both reported as
    /// matched. So the specification words it, and so the reference does it.
    pub fn bound(
        &self,
        exchange: &str,
        queue: Option<&str>,
        key: Option<&str>,
        arguments: &Map,
    ) -> BoundReport {
        let (queue, key) = (given(queue), given(key));
        let found = queue.and_then(|name| self.queue(name));
        let queue_not_found = queue.is_some() && found.is_none();
        let Some(x) = self.exchange(exchange) else {
            return BoundReport {
                exchange_not_found: true,
                queue_not_found,
                ..BoundReport::default()
            };
        };
        if queue_not_found {
            return BoundReport { queue_not_found, ..BoundReport::default() };
        }
        let bound = |queue, key, arguments| self.is_bound(x, queue, key, arguments);
        if bound(found, key, Some(arguments)) {
            return BoundReport::default();
        }
        BoundReport {
            queue_not_matched: queue.is_some() && !bound(found, None, None),
            key_not_matched: key.is_some() && !bound(None, key, None),
            args_not_matched: !arguments.is_empty() && !bound(None, None, Some(arguments)),
            ..BoundReport::default()
        }
    }

    fn is_bound(
        &self,
        x: &Exchange,
        queue: Option<&Arc<QueueDescriptor>>,
        key: Option<&str>,
        arguments: Option<&Map>,
    ) -> bool {
        if x.descriptor().name.as_ref() != DEFAULT {
            return x.is_bound(queue.map(|q| q.id), key, arguments);
        }
        // Every queue is bound to the default exchange with its name, and nothing else is.
        match (queue, key) {
            (Some(queue), Some(key)) => *queue.name == *key,
            (Some(_), None) => true,
            (None, Some(key)) => self.queue(key).is_some(),
            (None, None) => self.queues().len() > 0,
        }
    }
}

/// Checks a declare against the exchange that exists.
pub(super) fn check_same(x: &Exchange, declare: &DeclareExchange) -> Result<(), Error> {
    let x = x.descriptor();
    let kind = &*declare.kind;
    if !kind.is_empty() && kind != x.kind.name() {
        return Err(Error::not_allowed(format!(
            "Exchange declared to be of type {}, requested {kind}",
            x.kind
        )));
    }
    // Not naming an alternate asks for no change of it.
    if let Some(alternate) = given(declare.alternate.as_deref())
        && x.alternate.as_deref() != Some(alternate)
    {
        let has = x.alternate.as_deref().unwrap_or("<none>");
        return Err(Error::not_allowed(format!(
            "Exchange declared with alternate-exchange {has}, requested {alternate}"
        )));
    }
    Ok(())
}
