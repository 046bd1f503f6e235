//! What the engines tell sessions, and what must hold when they do.

use crate::message::message_id;
use crate::session::{Asked, Record, Stage};
use crate::world::{Private, World};
use fletch_engine::{
    DeliveryRef, Engine, Error, ErrorKind, Event, Message, Mode, Outcome, QueueId, Reply,
    SessionId, SubscriptionId,
};
use std::sync::Arc;

impl World<'_> {
    pub(crate) fn on_event(&mut self, event: Event) {
        let id = event.session();
        assert!(self.sessions.contains_key(&id), "an event for no session: {event:?}");
        match event {
            Event::Deliver { to, delivery, message, .. } => self.on_deliver(to, delivery, &message),
            Event::Published { op, .. } => {
                self.trace.add(id.shard().0, "published", id.raw(), op);
                let known = self.session(id).publishing.remove(&op);
                let known = known.unwrap_or_else(|| panic!("{op} of {id:?} completed twice"));
                self.model.published(known);
            }
            Event::Withheld { op, .. } => {
                self.trace.add(id.shard().0, "withheld", id.raw(), op);
                let known = self.session(id).publishing.get(&op).copied();
                self.model.published(known.expect("it is not complete"));
            }
            Event::Refused { op, reason, .. } => {
                self.trace.add(id.shard().0, "refused", id.raw(), op);
                assert!(reason.kind == ErrorKind::ResourceLimit, "a publish is refused: {reason}");
                self.marks.hit("publish refused by another shard", true);
                let known = self.session(id).publishing.remove(&op);
                self.model.refused(known.expect("it is refused once"), false);
                if self.mix.strict {
                    self.end(id);
                }
            }
            Event::Reply { op, result, .. } => {
                self.trace.add(
                    id.shard().0,
                    "answer",
                    id.raw(),
                    op << 1 | u64::from(result.is_ok()),
                );
                let asked = self.session(id).asked.remove(&op);
                let asked = asked.unwrap_or_else(|| panic!("{id:?}: request {op} answered twice"));
                self.on_reply(id, asked, result);
                self.answered(id, op);
            }
            Event::SubscriptionEnded { to, .. } => self.subscription_ended(to),
            Event::BranchExpired { .. } => panic!("nobody works in a branch"),
            Event::Evicted { force: false, .. } => {
                self.trace.add(id.shard().0, "asked for its name", id.raw(), 0);
                if self.session(id).stage == Stage::Live {
                    self.marks.hit("kept its name", true);
                    self.input(id.shard(), |engine, now, fx| engine.keep_name(now, id, fx));
                }
            }
            Event::Evicted { .. } => {
                self.trace.add(id.shard().0, "evicted", id.raw(), 0);
                self.marks.hit("evicted", true);
                self.end(id);
            }
        }
    }

    fn on_deliver(&mut self, to: SubscriptionId, delivery: DeliveryRef, message: &Message) {
        self.trace.add(to.session.shard().0, "delivery", to.session.raw(), delivery.position);
        let number = message_id(message);
        if let Some(drained) = &mut self.drained {
            *drained.entry(delivery.queue).or_default().entry(number).or_default() += 1;
        }
        let waited = self.model.has_waited(number);
        let session = self.session(to.session);
        let s = session.subscriptions.get_mut(&to.tag);
        let s = s.unwrap_or_else(|| panic!("{to:?} is over and gets {delivery:?}"));
        let size = message.size() as u64;
        s.flow.received(size);
        if s.mode == Mode::Browse {
            let news = match waited {
                true => s.late.insert(delivery.position),
                false => s.cursor < delivery.position,
            };
            assert!(news, "{to:?} browses {delivery:?} twice");
            if !waited {
                s.cursor = delivery.position;
            }
        }
        if session.stage == Stage::Live {
            session.records.push(Record {
                delivery,
                tag: to.tag,
                size,
                acquired: s.mode == Mode::Consume,
                acquiring: false,
                ended: !s.settles,
                windowing: s.windowing && !s.cancelled,
            });
            session.prune();
        } else if s.holds() {
            assert!(session.stage == Stage::Stopping, "{to:?} gets {delivery:?} after its stop");
            session.unsent.push(delivery);
            self.marks.hit("delivered while ending", true);
        }
    }

    fn on_reply(&mut self, id: SessionId, asked: Asked, result: Result<Reply, Error>) {
        let failed = result.is_err();
        match asked {
            Asked::Attach => self.on_attached(id, result),
            Asked::Topology | Asked::Query => {}
            Asked::Exclusive(name) => {
                self.marks.hit("exclusive refused", failed);
                if !failed {
                    self.check_owned(id, &name);
                }
            }
            Asked::PrivateDeclare => {
                result.expect("a private queue can be declared");
                self.private_answered(id, Private::There, |_, _, _| true);
            }
            Asked::PrivateBind { exchange, key } => {
                // The exchange may have been deleted, and so the binding.
                if !failed && exchange.starts_with("amq.") {
                    self.private_answered(id, Private::There, |engine, name, _| {
                        let nothing = fletch_amqp::types::Map::new();
                        let bound =
                            engine.topology().bound(&exchange, Some(name), Some(&key), &nothing);
                        bound == fletch_engine::BoundReport::default()
                    });
                }
            }
            Asked::PrivateDelete => {
                result.expect("a private queue can be deleted");
                self.private_answered(id, Private::Gone, |_, _, _| true);
                self.session(id).private = None;
            }
            Asked::Probe(name, then) => {
                let there = match result.expect("queries do not fail") {
                    Reply::Queue(report) => report.is_some(),
                    other => panic!("a query is answered by {other:?}"),
                };
                self.marks.hit("a private queue looked for", there);
                self.marks.hit("a deleted private queue looked for", then == Private::Gone);
                if self.privates[&name] == then {
                    let expected = then == Private::There;
                    assert!(there == expected, "{id:?} asks for {name}, {then:?}: {there}");
                }
                return;
            }
            Asked::Purge(queue) => {
                if let (Some(queue), Ok(Reply::Purged(n))) = (queue, &result) {
                    self.model.purged(queue, *n);
                }
            }
            Asked::Subscribe(tag) => self.on_subscribed(id, tag, failed),
            Asked::Cancel(tag) => {
                assert!(!failed, "a cancel failed");
                self.session(id).subscriptions.remove(&tag);
            }
            Asked::Clear(tag) => {
                assert!(!failed, "a stop or flush failed");
                if let Some(s) = self.session(id).subscriptions.get_mut(&tag) {
                    s.flow.cleared();
                }
            }
            Asked::Acquire(wanted) => match result {
                Ok(Reply::Acquired(got)) => self.on_acquired(id, &wanted, &got),
                other => panic!("an acquire is answered by {other:?}"),
            },
            Asked::Settle(outcome, deliveries) => {
                assert!(!failed, "a settle failed");
                if outcome == Outcome::Accepted {
                    for delivery in deliveries {
                        self.model.accepted(delivery);
                    }
                }
            }
            Asked::Close => {
                assert!(!failed, "a close failed");
                let name = Arc::clone(&self.session(id).name);
                if self.names.get(&name) == Some(&id) {
                    self.names.remove(&name);
                }
            }
        }
        if failed && self.mix.strict {
            self.end(id);
        }
    }

    fn on_attached(&mut self, id: SessionId, result: Result<Reply, Error>) {
        let session = self.session(id);
        let Stage::Attaching { doomed } = session.stage else {
            panic!("{id:?} attached as {:?}", session.stage)
        };
        if result.is_err() {
            session.stage = Stage::Over;
            self.marks.hit("attach refused", true);
            return;
        }
        session.stage = Stage::Live;
        let name = Arc::clone(&session.name);
        if let Some(other) = self.names.insert(name, id) {
            // Its last answer may still be under way.
            let stage = self.session(other).stage;
            let closes = matches!(stage, Stage::Closing | Stage::Over);
            assert!(closes, "{id:?} has the name of {other:?}, which is {stage:?}");
        }
        if doomed {
            self.end(id);
        }
    }

    fn on_subscribed(&mut self, id: SessionId, tag: u32, failed: bool) {
        self.marks.hit("subscribe refused", failed);
        let session = self.session(id);
        let live = session.stage == Stage::Live;
        let Some(s) = session.subscriptions.get_mut(&tag) else { return };
        if failed {
            // The engine knows the subscription until it is cancelled.
            if live && !s.cancelled && !self.mix.strict {
                self.cancel(id, tag);
            }
            return;
        }
        s.started = true;
        let (queue, consumes) = (s.queue, s.mode == Mode::Consume && !s.cancelled);
        let Some(queue) = queue.filter(|q| consumes && live && !self.model.is_deleted(*q)) else {
            return;
        };
        let owner = self.owners.get(&queue).filter(|owner| **owner != id);
        assert!(owner.is_none(), "{id:?} consumes from {queue:?}, exclusive to {owner:?}");
        self.consumers.entry(queue).or_default().insert(SubscriptionId { session: id, tag });
    }

    fn on_acquired(&mut self, id: SessionId, wanted: &[DeliveryRef], got: &[DeliveryRef]) {
        assert!(got.iter().all(|d| wanted.contains(d)), "acquired what was not asked for");
        self.marks.hit("acquired", !got.is_empty());
        self.marks.hit("acquired too late", got.len() < wanted.len());
        let mut taken = Vec::new();
        for delivery in got {
            if !self.model.acquired(id, *delivery) {
                continue;
            }
            let session = self.session(id);
            let record =
                session.records.iter_mut().find(|r| r.acquiring && r.delivery == *delivery);
            let record = record.expect("the records of an acquire stay until it is answered");
            record.acquired = true;
            if record.ended {
                taken.push(*delivery); // Accept mode none: acquiring it is taking it.
            }
        }
        let session = self.session(id);
        for record in session.records.iter_mut().filter(|r| wanted.contains(&r.delivery)) {
            record.acquiring = false;
        }
        session.prune();
        if !taken.is_empty() {
            let op = session.next_op;
            if session.stage != Stage::Live {
                session.awaited.insert(op);
            }
            self.settle(id, Outcome::Accepted, taken);
        }
    }

    // ---- what every shard must know ------------------------------------------------------

    /// The session has a queue for itself: all shards know, and nobody else consumes.
    fn check_owned(&mut self, id: SessionId, name: &str) {
        if self.session(id).stage != Stage::Live {
            return;
        }
        // It may have been too full meanwhile.
        if self.model.has_destroyed_itself(name) {
            return;
        }
        let mut queue = None;
        for engine in &self.engines {
            let q = engine.topology().queue(name);
            let q = q.unwrap_or_else(|| panic!("{name} was declared exclusive and is not there"));
            assert!(q.owner == Some(id), "{name} belongs to {:?}, not {id:?}", q.owner);
            queue = Some(q.id);
        }
        let consumers = queue.and_then(|q| self.consumers.get(&q)).into_iter().flatten();
        let mut foreign = consumers.filter(|c| c.session != id);
        let other = foreign.next();
        assert!(other.is_none(), "{name} is exclusive to {id:?}, but {other:?} consumes");
        self.owners.extend(queue.map(|queue| (queue, id)));
        self.marks.hit("exclusive", true);
    }

    /// A session is told that a subscription's queue was deleted.
    pub(crate) fn subscription_ended(&mut self, to: SubscriptionId) {
        let id = to.session;
        self.trace.add(id.shard().0, "subscription ended", id.raw(), u64::from(to.tag));
        self.marks.hit("subscription ended", true);
        let ended = self.session(id).subscriptions.remove(&to.tag);
        let ended = ended.expect("a subscription ends once");
        let queue = ended.queue.expect("only subscriptions on queues end with them");
        assert!(self.model.is_deleted(queue), "{to:?} ended without its queue");
        self.consumers.remove(&queue);
        let session = self.session(id);
        for record in session.records.iter_mut().filter(|r| r.tag == to.tag) {
            record.windowing = false;
        }
        if self.mix.strict {
            self.end(id);
        }
    }

    /// A request about a session's private queue was answered: what it says holds on all shards.
    pub(crate) fn private_answered(
        &mut self,
        id: SessionId,
        now: Private,
        holds: impl Fn(&Engine, &str, QueueId) -> bool,
    ) {
        let session = self.session(id);
        let Some(name) = session.private.clone() else { return }; // The session is ending.
        for engine in &self.engines {
            match (engine.topology().queue(&name), now) {
                (None, Private::Gone) => {}
                (Some(q), Private::There) => {
                    assert!(holds(engine, &name, q.id), "a shard does not know all about {name}");
                    let home = &self.engines[q.home.index()];
                    let there = home.queues().any(|queue| queue.id() == q.id);
                    assert!(there, "{name} is not at its home");
                }
                (found, _) => panic!("{name} should be {now:?}, a shard has {found:?}"),
            }
        }
        self.privates.insert(name, now);
    }
}
