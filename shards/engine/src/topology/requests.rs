//! The rules of each request that may change the topology.
//!
//! A request is checked whole before anything is changed. Error texts follow the reference
//! broker.

use super::change::{Binding, Change, ExchangeDescriptor, ExchangeKind, QueueDescriptor};
use super::checks::{
    cannot_be_exclusive, check_access, check_length, check_queue_name, check_same, given,
};
use super::decision::{Conditions, Decision, TopologyRequest};
use super::headers::same_arguments;
use super::objects::Object;
use super::orderer::{Asker, Decisions, Orderer, Progress, Vote};
use super::placement::home_for;
use super::{BUILT_IN, DEFAULT, Topology};
use crate::error::{Error, ErrorKind};
use crate::ids::{QueueId, SessionId};
use crate::queue::QueueSettings;
use crate::request::{self, CreateObject, DeclareExchange, DeclareQueue};
use fletch_amqp::types::Map;
use std::sync::Arc;

/// Exchange names that begin so are the broker's own.
const RESERVED: [&str; 2] = ["amq.", "qpid."];

impl Orderer {
    /// Checks a request against the newest topology and makes its change.
    pub(super) fn decide(
        &mut self,
        topology: &mut Topology,
        asker: Asker,
        request: TopologyRequest,
        out: &mut Decisions,
    ) -> Result<Progress, Error> {
        match request {
            TopologyRequest::DeclareQueue(d) => self.declare_queue(topology, asker, d, out),
            TopologyRequest::DeleteQueue { name, if_unused, if_empty } => {
                let q = topology.queue(&name).cloned();
                let missing = || format!("Delete failed. No such queue: {name}");
                let q = q.ok_or_else(|| Error::not_found(missing()))?;
                check_access(asker.0, &q, "delete")?;
                let conditions = Conditions { if_unused, if_empty, by_itself: false };
                self.ask_delete(&q, Vote::Delete(asker), conditions, out);
                Ok(Progress::Asked)
            }
            TopologyRequest::DeclareExchange(d) => self.declare_exchange(topology, d, out),
            TopologyRequest::DeleteExchange { name, if_unused } => {
                self.delete_exchange(topology, name, if_unused, out)
            }
            TopologyRequest::CreateObject(create) => self.create_object(topology, &create, out),
            TopologyRequest::DeleteObject { kind, name } => {
                let id = topology.object(kind, &name)?.id;
                self.commit(topology, Change::ObjectDeleted { id, kind, name }, out);
                Ok(Progress::Made)
            }
            TopologyRequest::Redirect { source, target: Some(target) } => {
                let (source, target) = topology.redirectable(&source, &target)?;
                self.commit(topology, Change::Redirected { source, target }, out);
                Ok(Progress::Made)
            }
            TopologyRequest::Redirect { source, target: None } => {
                let (source, target) = topology.redirect_from(&source)?;
                self.commit(topology, Change::RedirectEnded { source, target }, out);
                Ok(Progress::Made)
            }
            TopologyRequest::Bind(b) => self.bind(topology, asker.0, b, out),
            TopologyRequest::Unbind { queue, exchange, key } => {
                self.unbind(topology, asker.0, (&queue, &exchange, &key), out)
            }
        }
    }

    fn declare_queue(
        &mut self,
        topology: &mut Topology,
        asker: Asker,
        mut d: DeclareQueue,
        out: &mut Decisions,
    ) -> Result<Progress, Error> {
        let (session, _) = asker;
        if d.passive {
            return topology.check_queue(session, &d).map(|()| Progress::Made);
        }
        check_queue_name(&d.name)?;
        let settings = QueueSettings::new(&d.name, &d.arguments)?;
        d.auto_delete = settings.auto_delete(d.auto_delete);
        settings.check_against(&self.defaults, &d.name)?;
        let alternate = existing_alternate(topology, d.alternate.as_deref())?;
        let home = home_for(self.shards, session, &d)?;
        if let Some(q) = topology.queue(&d.name) {
            if !d.exclusive || q.owner == Some(session) {
                if q.auto_delete && !q.delay().is_zero() {
                    out.push(Decision::Touched { home: q.home, queue: q.id });
                }
                return Ok(Progress::Made);
            }
            if q.owner.is_some() {
                return Err(cannot_be_exclusive(q));
            }
            out.push(Decision::AskUnused { home: q.home, queue: q.id, session });
            self.open_ballot(q.id, Vote::Own(asker));
            return Ok(Progress::Asked);
        }
        self.check_room(d.durable, "queue", &d.name)?;
        let id = QueueId(self.new_id());
        if d.exclusive {
            self.owned.entry(session).or_default().push(id);
        }
        let descriptor = QueueDescriptor {
            id,
            name: d.name,
            home,
            durable: d.durable,
            auto_delete: d.auto_delete,
            owner: d.exclusive.then_some(session),
            alternate,
            arguments: self.arguments(d.arguments),
        };
        self.commit(topology, Change::QueueCreated(Arc::new(descriptor)), out);
        Ok(Progress::Made)
    }

    fn declare_exchange(
        &mut self,
        topology: &mut Topology,
        d: DeclareExchange,
        out: &mut Decisions,
    ) -> Result<Progress, Error> {
        if d.passive {
            return topology.check_exchange(&d).map(|()| Progress::Made);
        }
        let alternate = existing_alternate(topology, d.alternate.as_deref())?;
        if RESERVED.iter().any(|prefix| d.name.starts_with(prefix)) {
            return Err(Error::not_allowed(format!(
                "Exchange names beginning with \"amq.\" or \"qpid.\" are reserved. \
                 (exchange=\"{}\")",
                d.name
            )));
        }
        check_length("exchange name", &d.name)?;
        if let Some(x) = topology.exchange(&d.name) {
            return check_same(x, &d).map(|()| Progress::Made);
        }
        let kind = ExchangeKind::from_name(&d.kind).ok_or_else(|| {
            Error::not_found(format!("Exchange type not implemented: {}", d.kind))
        })?;
        self.check_room(d.durable, "exchange", &d.name)?;
        let descriptor = ExchangeDescriptor {
            id: if d.durable { self.new_id() } else { 0 },
            name: d.name,
            kind,
            durable: d.durable,
            auto_delete: d.auto_delete,
            alternate,
            arguments: self.arguments(d.arguments),
        };
        self.commit(topology, Change::ExchangeCreated(Arc::new(descriptor)), out);
        Ok(Progress::Made)
    }

    fn delete_exchange(
        &mut self,
        topology: &mut Topology,
        name: Arc<str>,
        if_unused: bool,
        out: &mut Decisions,
    ) -> Result<Progress, Error> {
        if *name == *DEFAULT {
            return Err(Error::invalid("Delete not allowed for default exchange"));
        }
        let x = topology.resolve_exchange(&name)?;
        if x.in_use_as_alternate() {
            let text = format!("Cannot delete {name}, in use as alternate-exchange.");
            return Err(Error::not_allowed(text));
        }
        if BUILT_IN.iter().any(|(built_in, _)| *built_in == &*name) {
            return Err(Error::not_allowed(format!("Cannot delete default exchange: '{name}'")));
        }
        if if_unused && x.bindings() > 0 {
            let text = format!("Cannot delete exchange {name}; exchange in use");
            return Err(Error::precondition(text));
        }
        let id = x.descriptor().id;
        self.exchange_goes(topology, id, name, out);
        Ok(Progress::Made)
    }

    fn create_object(
        &mut self,
        topology: &mut Topology,
        create: &CreateObject,
        out: &mut Decisions,
    ) -> Result<Progress, Error> {
        if let Some(object) = topology.check_object(create)? {
            let durable = object.wants_durable();
            self.check_room(durable, object.kind.name(), &object.name)?;
            let id = if durable { self.new_id() } else { 0 };
            self.commit(topology, Change::ObjectCreated(Arc::new(Object { id, ..object })), out);
        }
        Ok(Progress::Made)
    }

    fn bind(
        &mut self,
        topology: &mut Topology,
        session: SessionId,
        b: request::Binding,
        out: &mut Decisions,
    ) -> Result<Progress, Error> {
        let (q, x) = ends(topology, session, &b.queue, &b.exchange, "bind")?;
        check_length("binding key", &b.key)?;
        x.kind.check_arguments(&b.arguments)?;
        let key = x.kind.normal_key(&b.key);
        let exclusive = x.kind.is_exclusive(&b.arguments);
        let exists =
            !exclusive && topology.exchange(&x.name).is_some_and(|t| t.has_binding(&key, q.id));
        if exists {
            let bound = topology.binding(q.id, &x.name, &key);
            let differs = |b: &Arc<Binding>, given: &Map| !same_arguments(&b.arguments, given);
            if x.kind == ExchangeKind::Headers && bound.is_some_and(|o| differs(o, &b.arguments)) {
                let text = format!(
                    "Exchange: {}, binding key: {key} Duplicate binding key not allowed.",
                    x.name
                );
                return Err(Error::new(ErrorKind::Internal, text));
            }
            return Ok(Progress::Made);
        }
        // As durable as both its ends.
        let durable = q.durable && x.durable;
        self.check_room(durable, "a binding of queue", &q.name)?;
        let binding = Binding {
            id: if durable { self.new_id() } else { 0 },
            exchange: Arc::clone(&x.name),
            queue: q.id,
            home: q.home,
            key,
            arguments: b.arguments,
        };
        let instead_of = match topology.exchange(&x.name) {
            Some(t) if exclusive => {
                topology.bindings_among(t.direct_queues(&binding.key), &binding)
            }
            _ => Vec::new(),
        };
        let binding = Arc::new(binding);
        let change = match instead_of.is_empty() {
            true => Change::Bound(binding),
            false => Change::Rebound { binding, instead_of },
        };
        self.commit(topology, change, out);
        Ok(Progress::Made)
    }

    fn unbind(
        &mut self,
        topology: &mut Topology,
        session: SessionId,
        (queue, exchange, key): (&str, &str, &Arc<str>),
        out: &mut Decisions,
    ) -> Result<Progress, Error> {
        let (q, x) = ends(topology, session, queue, exchange, "unbind")?;
        let key = x.kind.normal_key(key);
        // As in the reference, a binding that does not exist is as good as undone.
        if let Some(binding) = topology.binding(q.id, &x.name, &key).cloned() {
            self.commit(topology, Change::Unbound(binding), out);
            self.delete_if_unbound(topology, Arc::clone(&x.name), out);
        }
        Ok(Progress::Made)
    }
}

fn existing_alternate(topology: &Topology, name: Option<&str>) -> Result<Option<Arc<str>>, Error> {
    match given(name) {
        None => Ok(None),
        Some(name) => {
            let x = topology.resolve_exchange(name)?;
            Ok(Some(Arc::clone(&x.descriptor().name)))
        }
    }
}

type Ends = (Arc<QueueDescriptor>, Arc<ExchangeDescriptor>);

/// Queue and exchange of a binding that `session` may make or undo. `action`: "bind", "unbind".
fn ends(
    topology: &Topology,
    session: SessionId,
    queue: &str,
    exchange: &str,
    action: &str,
) -> Result<Ends, Error> {
    let verb = if action == "bind" { "Bind" } else { "Unbind" };
    if exchange == DEFAULT {
        return Err(Error::invalid(format!("{verb} not allowed for default exchange")));
    }
    let x = topology.resolve_exchange(exchange)?;
    let q = topology
        .queue(queue)
        .ok_or_else(|| Error::not_found(format!("{verb} failed. No such queue: {queue}")))?;
    check_access(session, q, action)?;
    Ok((Arc::clone(q), Arc::clone(x.descriptor())))
}
