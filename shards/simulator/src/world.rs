//! The simulated broker: engines, channels, sessions, virtual time; and what every event does.
//!
//! All of it runs in one thread, and all choices come from the seed. Assertions here and in the
//! model are the checks; a failed one is a failed seed.

use crate::mix::Mix;
use crate::model::{MessageId, Model};
use crate::network::{Network, label};
use crate::rng::Rng;
use crate::session::{Asked, Record, Session, Stage};
use crate::trace::{Marks, Trace};
use fletch_engine::{
    Config, DeliveryRef, Effects, Engine, Error, Event, Frame, Message, Mode, OpId, Outcome,
    QueueId, Reply, Request, SessionId, ShardId, SubscriptionId, Time,
};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// How far a private queue's life has come, for the sessions that look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Private {
    /// Declared everywhere, and nobody has asked to delete it.
    There,
    /// Being declared or deleted.
    Moving,
    Gone,
}

/// A delivery as its home sends it.
type Sent<'a> = (SubscriptionId, DeliveryRef, &'a Message, bool);

/// See the module.
pub(crate) struct World<'t> {
    pub(crate) rng: Rng,
    pub(crate) mix: Mix,
    pub(crate) now: Time,
    pub(crate) engines: Vec<Engine>,
    pub(crate) network: Network,
    pub(crate) sessions: BTreeMap<SessionId, Session>,
    next_session: u64,
    pub(crate) model: Model,
    pub(crate) privates: BTreeMap<Arc<str>, Private>,
    /// Who has which session name.
    names: BTreeMap<Arc<str>, SessionId>,
    /// Who consumes from a queue, as far as answers have told.
    consumers: BTreeMap<QueueId, BTreeSet<SubscriptionId>>,
    pub(crate) trace: &'t mut Trace,
    pub(crate) marks: Marks,
    fx: Effects,
    events: VecDeque<Event>,
    busy: bool,
    /// Live queues of each shard.
    live: Vec<BTreeSet<QueueId>>,
    homes: BTreeMap<QueueId, ShardId>,
    /// Sessions that were told that they have a queue for themselves.
    owners: BTreeMap<QueueId, SessionId>,
    /// While set, what consumers get is counted here.
    pub(crate) drained: Option<BTreeMap<QueueId, BTreeMap<MessageId, u64>>>,
}

/// What the simulator writes into a message: its number.
pub(crate) fn message_id(message: &Message) -> MessageId {
    let body: [u8; 4] = message.body()[..4].try_into().expect("bodies begin with the number");
    u32::from_be_bytes(body)
}

impl<'t> World<'t> {
    pub(crate) fn new(seed: u64, steps: Option<u64>, trace: &'t mut Trace) -> World<'t> {
        let mut rng = Rng::new(seed);
        let mix = Mix::draw(&mut rng, steps);
        let purge_interval = Duration::from_nanos(rng.range(0, mix.time * 20) as u64);
        let engine = |shard| {
            let config = Config { shard: ShardId(shard), shards: mix.shards, purge_interval };
            Engine::new(&config)
        };
        World {
            now: Time(1),
            engines: (0..mix.shards).map(engine).collect(),
            network: Network::new(mix.shards),
            live: vec![BTreeSet::new(); usize::from(mix.shards)],
            sessions: BTreeMap::new(),
            next_session: 1,
            model: Model::default(),
            privates: BTreeMap::new(),
            names: BTreeMap::new(),
            consumers: BTreeMap::new(),
            homes: BTreeMap::new(),
            owners: BTreeMap::new(),
            fx: Effects::default(),
            marks: Marks::default(),
            events: VecDeque::new(),
            busy: false,
            drained: None,
            trace,
            rng,
            mix,
        }
    }

    // ---- engines -------------------------------------------------------------------------

    /// One input to one engine, and all that follows on its shard.
    pub(crate) fn input<T>(
        &mut self,
        shard: ShardId,
        f: impl FnOnce(&mut Engine, Time, &mut Effects) -> T,
    ) -> T {
        let result = f(&mut self.engines[shard.index()], self.now, &mut self.fx);
        self.see_home(shard);
        self.collect(shard);
        if !self.busy {
            self.busy = true;
            while let Some(event) = self.events.pop_front() {
                self.on_event(event);
            }
            self.busy = false;
        }
        result
    }

    /// Queues that have come or gone at their home, and deliveries it sends. What a queue sent
    /// before it went is seen before, what its messages did elsewhere after.
    fn see_home(&mut self, shard: ShardId) {
        let engine = &self.engines[shard.index()];
        let live = &mut self.live[shard.index()];
        let mut here: Vec<QueueId> = engine.queues().map(fletch_engine::queue::Queue::id).collect();
        here.sort_unstable();
        for queue in &here {
            if live.insert(*queue) {
                self.trace.add(shard.0, "queue", queue.0, 0);
                let descriptor = engine.topology().queue_by_id(*queue);
                self.model.know(descriptor.expect("a live queue is in its home's topology"));
                self.homes.insert(*queue, shard);
            }
        }
        let gone: Vec<QueueId> =
            live.iter().filter(|q| here.binary_search(q).is_err()).copied().collect();
        let fx = std::mem::take(&mut self.fx);
        if !gone.is_empty() {
            self.see_deliveries(shard, &fx, |queue| gone.contains(&queue));
            for queue in &gone {
                self.live[shard.index()].remove(queue);
                self.trace.add(shard.0, "queue gone", queue.0, 0);
                self.marks.hit("queue deleted", true);
                self.model.deleted(*queue);
            }
        }
        self.see_deliveries(shard, &fx, |queue| !gone.contains(&queue));
        self.fx = fx;
    }

    fn see_deliveries(&mut self, shard: ShardId, fx: &Effects, of: impl Fn(QueueId) -> bool) {
        // Per queue: to other shards, and to this one; each in the order they were sent in. How
        // the two interleave is not told: by position, and browsers before consumers.
        let mut sent: BTreeMap<QueueId, [VecDeque<Sent<'_>>; 2]> = BTreeMap::new();
        for (_, frame) in &fx.frames {
            if let Frame::Deliver { to, delivery, message, redelivered } = frame
                && of(delivery.queue)
            {
                let all = sent.entry(delivery.queue).or_default();
                all[0].push_back((*to, *delivery, message, *redelivered));
            }
        }
        for event in &fx.events {
            if let Event::Deliver { to, delivery, message, redelivered } = event
                && self.homes.get(&delivery.queue) == Some(&shard)
                && of(delivery.queue)
            {
                let all = sent.entry(delivery.queue).or_default();
                all[1].push_back((*to, *delivery, message, *redelivered));
            }
        }
        for mut all in sent.into_values() {
            let rank = |sent: Option<&Sent<'_>>| {
                let (to, delivery, ..) = sent?;
                let s = self.sessions.get(&to.session)?.subscriptions.get(&to.tag)?;
                Some((delivery.position, s.mode == Mode::Consume))
            };
            let mut merged = Vec::new();
            loop {
                let heads = [rank(all[0].front()), rank(all[1].front())];
                let from = match heads {
                    [Some(other), Some(own)] => usize::from(own < other),
                    _ => usize::from(all[0].is_empty()),
                };
                let Some(next) = all[from].pop_front() else { break };
                merged.push(next);
            }
            for (to, delivery, message, redelivered) in merged {
                self.emitted(to, delivery, message, redelivered);
            }
        }
    }

    fn collect(&mut self, shard: ShardId) {
        for (to, frame) in self.fx.frames.drain(..) {
            self.network.send(shard, to, frame);
        }
        for event in self.fx.events.drain(..) {
            assert!(event.session().shard() == shard, "an event of another shard: {event:?}");
            self.events.push_back(event);
        }
    }

    /// The home sends a message to a subscription.
    fn emitted(
        &mut self,
        to: SubscriptionId,
        delivery: DeliveryRef,
        message: &Message,
        redelivered: bool,
    ) {
        let session = self.sessions.get_mut(&to.session).expect("deliveries go to sessions");
        let s = session.subscriptions.get_mut(&to.tag).expect("deliveries go to subscriptions");
        assert!(s.queue == Some(delivery.queue), "{to:?} is sent from another queue");
        s.flow.emitted(message.size() as u64);
        self.marks.hit("room full", s.flow.is_full());
        self.marks.hit("redelivered", redelivered);
        let how = (s.settles, s.mode == Mode::Browse);
        self.model.emitted(self.now, to.session, delivery, message_id(message), redelivered, how);
    }

    // ---- asking --------------------------------------------------------------------------

    pub(crate) fn session(&mut self, id: SessionId) -> &mut Session {
        self.sessions.get_mut(&id).expect("the session exists")
    }

    pub(crate) fn ask(&mut self, id: SessionId, asked: Asked, request: Request) -> OpId {
        let session = self.session(id);
        let op = session.next_op;
        session.next_op += 1;
        session.asked.insert(op, asked);
        self.trace.add(id.shard().0, name_of(&request), id.raw(), op);
        self.input(id.shard(), |engine, now, fx| engine.request(now, id, op, request, fx));
        op
    }

    /// A new session asks for its name.
    pub(crate) fn attach(&mut self, shard: ShardId, name: &str, force: bool) -> SessionId {
        let id = SessionId::new(shard, self.next_session);
        self.next_session += 1;
        let name: Arc<str> = name.into();
        self.sessions.insert(id, Session::new(id, Arc::clone(&name)));
        self.ask(id, Asked::Attach, Request::Attach { name, force });
        id
    }

    /// Asks for a settlement of deliveries the session holds.
    pub(crate) fn settle(
        &mut self,
        id: SessionId,
        outcome: Outcome,
        deliveries: Vec<DeliveryRef>,
    ) -> OpId {
        let deliveries: Vec<DeliveryRef> = deliveries;
        let mut answered = Vec::new();
        for delivery in &deliveries {
            match outcome {
                Outcome::Accepted => {
                    if !self.model.is_deleted(delivery.queue) {
                        answered.push(*delivery);
                    }
                    self.model.accepts(id, *delivery);
                }
                Outcome::Released { set_redelivered } => {
                    self.model.releases(id, *delivery, set_redelivered);
                }
                Outcome::Rejected => self.model.rejects(id, *delivery),
            }
        }
        self.ask(id, Asked::Settle(outcome, answered), Request::Settle { outcome, deliveries })
    }

    // ---- the end of a session ------------------------------------------------------------

    /// The session ends, whether its client wants it or is gone.
    pub(crate) fn end(&mut self, id: SessionId) {
        let session = self.session(id);
        match session.stage {
            Stage::Attaching { .. } => {
                session.stage = Stage::Attaching { doomed: true };
                self.marks.hit("lost while attaching", true);
                return;
            }
            Stage::Live => session.stage = Stage::Stopping,
            _ => return,
        }
        self.owners.retain(|_, owner| *owner != id);
        let session = self.session(id);
        let acquires = session.asked.iter().filter(|(_, a)| matches!(a, Asked::Acquire(_)));
        session.awaited = acquires.map(|(op, _)| *op).collect();
        let tags: Vec<u32> = session.subscriptions.keys().copied().collect();
        if let Some(private) = session.private.take() {
            // Left to itself: nothing can be said of it until its last request is answered.
            self.privates.insert(private, Private::Moving);
        }
        // Answers may come while the others are asked for: nothing may be thought complete yet.
        let hold = OpId::MAX;
        self.session(id).awaited.insert(hold);
        for tag in tags {
            self.clear(id, tag, Request::Stop { tag });
        }
        self.answered(id, hold);
    }

    /// Asks for a stop or flush.
    pub(crate) fn clear(&mut self, id: SessionId, tag: u32, request: Request) {
        let session = self.session(id);
        if let Some(s) = session.subscriptions.get_mut(&tag) {
            s.flow.clears();
        }
        let op = session.next_op;
        if session.stage != Stage::Live {
            session.awaited.insert(op);
        }
        self.ask(id, Asked::Clear(tag), request);
    }

    pub(crate) fn cancel(&mut self, id: SessionId, tag: u32) {
        let session = self.session(id);
        if let Some(s) = session.subscriptions.get_mut(&tag) {
            s.cancelled = true;
            if let Some(consumers) = s.queue.and_then(|q| self.consumers.get_mut(&q)) {
                consumers.remove(&SubscriptionId { session: id, tag });
            }
        }
        let session = self.session(id);
        for record in session.records.iter_mut().filter(|r| r.tag == tag) {
            record.windowing = false;
        }
        session.prune();
        let op = session.next_op;
        if session.stage != Stage::Live {
            session.awaited.insert(op);
        }
        self.ask(id, Asked::Cancel(tag), Request::Cancel { tag });
    }

    /// An answer that the end of the session waits for may have come.
    fn answered(&mut self, id: SessionId, op: OpId) {
        let session = self.session(id);
        session.awaited.remove(&op);
        if !session.awaited.is_empty() {
            return;
        }
        let hold = OpId::MAX;
        match session.stage {
            Stage::Attaching { .. } | Stage::Live | Stage::Over => {}
            Stage::Stopping => {
                session.stage = Stage::Settling;
                session.awaited.insert(hold);
                let held = |r: &Record| r.acquired && !r.ended;
                let held: Vec<DeliveryRef> =
                    session.records.iter().copied().filter(held).map(|r| r.delivery).collect();
                session.records.clear();
                let unsent = std::mem::take(&mut session.unsent);
                for (deliveries, set_redelivered) in [(held, true), (unsent, false)] {
                    let op = self.session(id).next_op;
                    self.session(id).awaited.insert(op);
                    self.settle(id, Outcome::Released { set_redelivered }, deliveries);
                }
                self.answered(id, hold);
            }
            Stage::Settling => {
                session.stage = Stage::Cancelling;
                session.awaited.insert(hold);
                let tags: Vec<u32> = session.subscriptions.keys().copied().collect();
                for tag in tags {
                    self.cancel(id, tag);
                }
                self.answered(id, hold);
            }
            Stage::Cancelling => {
                session.stage = Stage::Closing;
                let op = session.next_op;
                session.awaited.insert(op);
                self.ask(id, Asked::Close, Request::Close);
            }
            Stage::Closing => session.stage = Stage::Over,
        }
    }

    // ---- events --------------------------------------------------------------------------

    fn on_event(&mut self, event: Event) {
        let id = event.session();
        assert!(self.sessions.contains_key(&id), "an event for no session: {event:?}");
        match event {
            Event::Deliver { to, delivery, message, .. } => self.on_deliver(to, delivery, &message),
            Event::Published { op, .. } => {
                self.trace.add(id.shard().0, "published", id.raw(), op);
                let known = self.session(id).publishing.remove(&op);
                assert!(known.is_some(), "publish {op} of {id:?} completed twice");
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
            Event::SubscriptionEnded { to, .. } => {
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
        let session = self.session(to.session);
        let s = session.subscriptions.get_mut(&to.tag);
        let s = s.unwrap_or_else(|| panic!("{to:?} is over and gets {delivery:?}"));
        let size = message.size() as u64;
        s.flow.received(size);
        if s.mode == Mode::Browse {
            assert!(s.cursor < delivery.position, "{to:?} browses {delivery:?} twice");
            s.cursor = delivery.position;
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

    /// A request about a session's private queue was answered: what it says holds on all shards.
    fn private_answered(
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

    // ---- steps ---------------------------------------------------------------------------

    /// Moves some frames of one channel. False if there is none that may move.
    pub(crate) fn deliver(&mut self, all: bool) -> bool {
        let Some((from, to)) = self.network.choose(&mut self.rng, all) else { return false };
        let n = self.rng.range(1, self.mix.batch);
        for _ in 0..n {
            let Some(frame) = self.network.take(from, to) else { break };
            if let Frame::Publish { epoch, .. } = &frame {
                let early = *epoch > self.engines[to.index()].topology().epoch();
                self.marks.hit("a publish waits for the topology", early);
            }
            let (what, a, b) = label(&frame);
            self.trace.add(to.0, what, a, b);
            self.input(to, |engine, now, fx| engine.frame(now, from, frame, fx));
        }
        true
    }

    pub(crate) fn turn_end(&mut self, shard: ShardId) {
        self.trace.add(shard.0, "turn end", 0, 0);
        self.input(shard, |engine, _, fx| engine.turn_end(fx));
    }

    pub(crate) fn pass_time(&mut self) {
        self.now = Time(self.now.0 + self.rng.range(1, self.mix.time) as u64);
        for shard in 0..self.mix.shards {
            if self.rng.chance(50) {
                self.trace.add(shard, "tick", self.now.0, 0);
                self.input(ShardId(shard), |engine, now, fx| engine.tick(now, fx));
            }
        }
    }
}

fn name_of(request: &Request) -> &'static str {
    match request {
        Request::Attach { .. } => "ask attach",
        Request::Close => "ask close",
        Request::DeclareQueue(_) => "ask declare queue",
        Request::DeleteQueue { .. } => "ask delete queue",
        Request::PurgeQueue { .. } => "ask purge",
        Request::QueryQueue { .. } => "ask query",
        Request::DeclareExchange(_) => "ask declare exchange",
        Request::DeleteExchange { .. } => "ask delete exchange",
        Request::QueryExchange { .. } => "ask query exchange",
        Request::Bind(_) => "ask bind",
        Request::Unbind { .. } => "ask unbind",
        Request::Bound { .. } => "ask bound",
        Request::Subscribe(_) => "ask subscribe",
        Request::Cancel { .. } => "ask cancel",
        Request::Flush { .. } => "ask flush",
        Request::Stop { .. } => "ask stop",
        Request::Acquire { .. } => "ask acquire",
        Request::Settle { .. } => "ask settle",
    }
}
