//! What clients do: one act at a time, drawn from the seed's mix.

use crate::flow::Flow;
use crate::lifetimes;
use crate::limits::{Kind, Limit};
use crate::message::Content;
use crate::mix::Act;
use crate::model::{ALTERNATES, DEAD, LOOP, LOOPED};
use crate::session::{Asked, Record, Stage, Subscription};
use crate::world::{Private, World};
use fletch_amqp::types::Map;
use fletch_engine::queue::INFINITE;
use fletch_engine::topology::Routes;
use fletch_engine::{
    Binding, CreditUnit, DeclareExchange, DeclareQueue, DeliveryRef, ErrorKind, FlowMode, Mode,
    Outcome, Published, Request, Selection, SessionId, ShardId, Subscribe, SubscriptionId, Time,
};
use std::collections::BTreeSet;
use std::sync::Arc;

const BUILT_IN: [&str; 4] = ["amq.direct", "amq.topic", "amq.fanout", "amq.match"];
const KINDS: [&str; 4] = ["direct", "topic", "fanout", "headers"];
const LARGE: usize = 300_000;

impl World<'_> {
    /// A client does something, or a new one comes.
    pub(crate) fn act(&mut self) {
        let live: Vec<SessionId> =
            self.sessions.values().filter(|s| s.stage != Stage::Over).map(|s| s.id).collect();
        let active =
            live.iter().filter(|id| matches!(self.sessions[*id].stage, Stage::Live)).count();
        if active < self.mix.clients && live.len() < self.mix.clients * 2 && self.rng.chance(30) {
            let shard = ShardId(self.rng.below(usize::from(self.mix.shards)) as u16);
            let name = format!("client-{}", self.rng.below(self.mix.clients + 1));
            let force = self.rng.chance(self.mix.force_percent);
            self.attach(shard, &name, force);
            return;
        }
        if live.is_empty() {
            return;
        }
        let id = *self.rng.pick(&live);
        let Some(act) = self.mix.act(&mut self.rng) else { return };
        if act == Act::Lose {
            // At any moment, whatever is under way; rarer than other acts of its weight.
            if self.rng.chance(30) {
                self.end(id);
            }
        } else if self.sessions[&id].is_ready() {
            self.act_as(id, act);
        }
    }

    fn act_as(&mut self, id: SessionId, act: Act) {
        match act {
            Act::Publish => {
                for _ in 0..self.rng.range(1, self.mix.burst) {
                    self.publish_any(id);
                }
            }
            Act::Subscribe => self.subscribe_any(id),
            Act::Grant => self.grant_any(id),
            Act::Complete => self.complete(id),
            Act::Room => self.give_room(id),
            Act::Accept => self.settle_some(id, Outcome::Accepted),
            Act::Release => {
                let set_redelivered = self.rng.chance(50);
                self.settle_some(id, Outcome::Released { set_redelivered });
            }
            Act::Reject => self.settle_some(id, Outcome::Rejected),
            Act::Acquire => self.acquire_some(id),
            Act::Stop => {
                if let Some(tag) = self.open_tag(id) {
                    self.clear(id, tag, Request::Stop { tag });
                }
            }
            Act::Flush => {
                if let Some(tag) = self.open_tag(id) {
                    self.clear(id, tag, Request::Flush { tag });
                }
            }
            Act::Cancel => {
                if let Some(tag) = self.open_tag(id) {
                    self.cancel(id, tag);
                }
            }
            Act::DeclareQueue => self.declare_queue(id),
            Act::DeleteQueue => {
                let name = self.shared_queue();
                let if_unused = self.rng.chance(self.mix.conditional_percent);
                let if_empty = self.rng.chance(self.mix.conditional_percent);
                self.model.deletes(&name);
                self.ask(id, Asked::Topology, Request::DeleteQueue { name, if_unused, if_empty });
            }
            Act::Purge => {
                let name = self.any_queue();
                let queue = self.resolve(id, &name);
                self.ask(
                    id,
                    Asked::Purge(queue),
                    Request::PurgeQueue { name, which: Selection::default() },
                );
            }
            Act::Redirect => {
                // Not of the looped queue: the model knows where its own letters go.
                let [source, other] = [(); 2]
                    .map(|()| Arc::from(format!("queue-{}", self.rng.range(1, self.mix.queues))));
                let target = self.rng.chance(60).then_some(other);
                self.ask(id, Asked::Topology, Request::Redirect { source, target });
            }
            Act::QueryQueue => {
                let name = self.any_queue();
                self.ask(id, Asked::Query, Request::QueryQueue { name });
            }
            Act::DeclareExchange => self.declare_exchange(id),
            Act::DeleteExchange => {
                let name = self.made_exchange();
                let if_unused = self.rng.chance(self.mix.conditional_percent);
                self.ask(id, Asked::Topology, Request::DeleteExchange { name, if_unused });
            }
            Act::Bind => self.bind_any(id),
            Act::Unbind => {
                let (queue, exchange) = (self.shared_queue(), self.any_exchange());
                let key = self.key();
                self.ask(id, Asked::Topology, Request::Unbind { queue, exchange, key });
            }
            Act::Bound => {
                let (exchange, queue) = (self.any_exchange(), Some(self.shared_queue()));
                let key = Some(self.key());
                let arguments = Map::new();
                self.ask(id, Asked::Query, Request::Bound { exchange, queue, key, arguments });
                let name = self.any_exchange();
                self.ask(id, Asked::Query, Request::QueryExchange { name });
            }
            Act::Private => self.private(id),
            Act::Close => {
                if self.rng.chance(30) {
                    self.end(id);
                }
            }
            Act::Lose => {}
        }
    }

    // ---- names ---------------------------------------------------------------------------

    fn shared_queue(&mut self) -> Arc<str> {
        match self.rng.below(self.mix.queues + 1) {
            0 => LOOPED.into(),
            n => format!("queue-{n}").into(),
        }
    }

    fn any_queue(&mut self) -> Arc<str> {
        if self.rng.chance(15) {
            return Arc::from(*self.rng.pick(&DEAD));
        }
        self.shared_queue()
    }

    fn made_exchange(&mut self) -> Arc<str> {
        format!("exchange-{}", self.rng.below(self.mix.exchanges)).into()
    }

    fn any_exchange(&mut self) -> Arc<str> {
        if self.rng.chance(50) {
            Arc::from(*self.rng.pick(&BUILT_IN))
        } else {
            self.made_exchange()
        }
    }

    fn key(&mut self) -> Arc<str> {
        format!("key.{}", self.rng.below(self.mix.keys)).into()
    }

    fn alternate(&mut self) -> Option<Arc<str>> {
        let some = self.rng.chance(self.mix.alternate_percent);
        some.then(|| Arc::from(*self.rng.pick(&ALTERNATES)))
    }

    fn resolve(&self, id: SessionId, name: &str) -> Option<fletch_engine::QueueId> {
        self.engines[id.shard().index()].topology().queue(name).map(|q| q.id)
    }

    fn open_tag(&mut self, id: SessionId) -> Option<u32> {
        let tags = self.sessions[&id].open_tags();
        (!tags.is_empty()).then(|| *self.rng.pick(&tags))
    }

    // ---- topology ------------------------------------------------------------------------

    fn declare_queue(&mut self, id: SessionId) {
        let name = self.shared_queue();
        let exclusive = self.rng.chance(self.mix.exclusive_percent);
        let passive = self.rng.chance(5);
        let looped = *name == *LOOPED;
        let alternate = if looped { Some(Arc::from(LOOP)) } else { self.alternate() };
        let mut arguments = self.placement();
        if !looped && self.rng.chance(self.mix.limited_percent) {
            let kinds = [Kind::Free, Kind::Reject, Kind::Ring, Kind::SelfDestruct];
            let kinds = if exclusive { &kinds[..3] } else { &kinds[..] };
            arguments = Limit::draw(&mut self.rng, kinds, arguments);
        }
        let percent = self.mix.auto_delete_percent;
        let (auto_delete, arguments) = lifetimes::draw(&mut self.rng, percent, false, arguments);
        let declare = DeclareQueue {
            name: Arc::clone(&name),
            passive,
            exclusive,
            auto_delete,
            alternate,
            arguments,
            ..DeclareQueue::default()
        };
        let asked = if exclusive && !passive { Asked::Exclusive(name) } else { Asked::Topology };
        self.ask(id, asked, Request::DeclareQueue(declare));
    }

    fn placement(&mut self) -> Map {
        if self.rng.chance(50) {
            let shard = self.rng.below(usize::from(self.mix.shards)) as i32;
            return Map::new().with("fletch.shard", fletch_amqp::Value::Int32(shard));
        }
        Map::new()
    }

    fn declare_exchange(&mut self, id: SessionId) {
        let name = self.made_exchange();
        let kind = Arc::from(*self.rng.pick(&KINDS));
        let auto_delete = self.rng.chance(self.mix.auto_delete_percent);
        let alternate = self.alternate();
        let declare =
            DeclareExchange { name, kind, auto_delete, alternate, ..DeclareExchange::default() };
        self.ask(id, Asked::Topology, Request::DeclareExchange(declare));
    }

    fn bind_any(&mut self, id: SessionId) {
        let queue = self.shared_queue();
        let looped = *queue == *LOOPED && self.rng.chance(50);
        let exchange = if looped { LOOP.into() } else { self.any_exchange() };
        let key = if self.rng.chance(20) { "key.#".into() } else { self.key() };
        let arguments = self.headers_wanted();
        self.ask(id, Asked::Topology, Request::Bind(Binding { queue, exchange, key, arguments }));
    }

    fn headers_wanted(&mut self) -> Map {
        let matching = *self.rng.pick(&["all", "any"]);
        Map::new().with("x-match", matching).with("header", self.rng.below(2) as i32)
    }

    /// The session's private queue: declared, used, deleted. Others look for it.
    fn private(&mut self, id: SessionId) {
        let there: Vec<Arc<str>> = self
            .privates
            .iter()
            .filter(|(_, state)| **state != Private::Moving)
            .map(|(name, _)| Arc::clone(name))
            .collect();
        if !there.is_empty() && self.rng.chance(50) {
            let name = Arc::clone(self.rng.pick(&there));
            let state = self.privates[&name];
            let seen = self.resolve(id, &name).is_some();
            assert!(seen == (state == Private::There), "{name} is {state:?}; {id:?}: {seen}");
            if state == Private::There {
                self.publish(id, "", &name);
            }
            self.ask(id, Asked::Probe(Arc::clone(&name), state), Request::QueryQueue { name });
            return;
        }
        let session = self.session(id);
        match session.private.clone() {
            None => {
                session.privates += 1;
                let name: Arc<str> = format!("private-{id:?}-{}", session.privates).into();
                session.private = Some(Arc::clone(&name));
                self.privates.insert(Arc::clone(&name), Private::Moving);
                let declare = DeclareQueue {
                    name,
                    alternate: self.alternate(),
                    arguments: self.placement(),
                    ..DeclareQueue::default()
                };
                self.ask(id, Asked::PrivateDeclare, Request::DeclareQueue(declare));
            }
            Some(queue) => match self.rng.below(4) {
                0 => {
                    self.privates.insert(Arc::clone(&queue), Private::Moving);
                    self.model.deletes(&queue);
                    let request =
                        Request::DeleteQueue { name: queue, if_unused: false, if_empty: false };
                    self.ask(id, Asked::PrivateDelete, request);
                }
                1 | 2 => {
                    let (exchange, key) = (self.any_exchange(), self.key());
                    let arguments = Map::new().with("x-match", "all");
                    let asked = Asked::PrivateBind { exchange: exchange.clone(), key: key.clone() };
                    let binding = Binding { queue, exchange, key, arguments };
                    self.ask(id, asked, Request::Bind(binding));
                }
                _ => self.subscribe(id, queue),
            },
        }
    }

    // ---- messages ------------------------------------------------------------------------

    fn publish_any(&mut self, id: SessionId) {
        match self.rng.below(3) {
            0 => {
                let queue = self.any_queue();
                self.publish(id, "", &queue);
            }
            _ => {
                let (exchange, key) = (self.any_exchange(), self.key());
                self.publish(id, &exchange, &key);
            }
        }
    }

    /// When a message is due; 0: at once.
    fn draw_due(&mut self) -> u64 {
        match self.mix.scheduled_percent > 0 && self.rng.chance(self.mix.scheduled_percent) {
            true => Content::draw_due(&mut self.rng, self.now, 8),
            false => 0,
        }
    }

    fn publish(&mut self, id: SessionId, exchange: &str, key: &str) {
        let expires = match self.rng.chance(self.mix.ttl_percent) {
            true => Time(self.now.0 + self.rng.range(1, self.mix.time * 10) as u64),
            false => Time::NEVER,
        };
        let large = self.rng.chance(self.mix.large_percent);
        let size = if large { LARGE } else { self.mix.size };
        let number = self.model.next_message();
        let header = self.rng.below(3) as i32;
        let content = Content {
            publisher: id,
            number,
            size,
            header,
            expires,
            durable: false,
            label: None,
            identified: false,
            due: self.draw_due(),
        };
        let message = content.arrives(self.now, key);

        // The router has tests of its own; here its word is taken for where a message goes.
        let engine = &self.engines[id.shard().index()];
        let mut routes = Routes::default();
        let routed = engine.topology().route(exchange, &message, &mut routes);
        let (mut deleted, unroutable) = (false, matches!(routed, Ok(false)));
        for route in routes.iter() {
            let q = engine.topology().queue_by_id(route.queue).expect("routes lead to queues");
            self.model.know(q);
            // Made and deleted within one step of the orderer's shard: nobody has seen it there.
            let missed = self.engines[0].topology().queue_by_id(q.id).is_none();
            if missed && q.home == ShardId::ORDERER && !self.model.is_deleted(q.id) {
                self.model.deleted(q.id);
            }
            deleted |= self.model.is_deleted(q.id);
        }
        self.marks.hit("unroutable", unroutable);
        self.marks.hit("published to a deleted queue", deleted);
        let session = self.sessions.get_mut(&id).expect("the session exists");
        session.next_message += 1;
        let op = session.next_op;
        session.next_op += 1;
        if routed.is_ok() {
            let queues = routes.iter().map(|r| r.queue);
            let times = (content.due(), expires);
            self.model.publish(id, session.next_message, times, queues);
            session.publishing.insert(op, number);
        }
        self.trace.add(id.shard().0, "publishes", id.raw(), u64::from(number));
        let shard = id.shard();
        let result = self
            .input(shard, |engine, now, fx| engine.publish(now, (id, op), exchange, &message, fx));
        let full = result.as_ref().is_err_and(|e| e.kind == ErrorKind::ResourceLimit);
        let agree = routed.is_ok() == (result.is_ok() || full);
        assert!(agree, "routing and publishing disagree: {result:?}");
        let held = routes.iter().any(|r| r.home == shard && self.model.may_hold(r.queue));
        let remote = routes.iter().any(|r| r.home != shard);
        match result {
            Ok(Published::Done) => {
                assert!(!remote, "a publish to another shard is done at once");
                self.session(id).publishing.remove(&op);
                self.model.published(number);
            }
            Ok(Published::Pending) => {
                assert!(remote || held, "a publish on its shard alone is pending");
            }
            Err(_) => {
                if full {
                    self.marks.hit("publish refused", true);
                    self.session(id).publishing.remove(&op);
                    self.model.refused(number, true);
                }
                if self.mix.strict {
                    self.end(id);
                }
            }
        }
    }

    // ---- subscriptions -------------------------------------------------------------------

    fn subscribe_any(&mut self, id: SessionId) {
        let name = self.any_queue();
        self.subscribe(id, name);
    }

    fn subscribe(&mut self, id: SessionId, name: Arc<str>) {
        let browse = self.rng.chance(self.mix.browse_percent);
        let mode = if browse { Mode::Browse } else { Mode::Consume };
        let settles = !self.rng.chance(self.mix.no_accept_percent);
        let exclusive = self.rng.chance(self.mix.exclusive_percent / 4);
        let flow = if self.rng.chance(50) { FlowMode::Window } else { FlowMode::Credit };
        let tag = self.start(id, name, (mode, settles, exclusive), flow);
        if self.rng.chance(80) {
            self.grant_to(id, tag);
        }
    }

    pub(crate) fn start(
        &mut self,
        id: SessionId,
        queue: Arc<str>,
        (mode, settles, exclusive): (Mode, bool, bool),
        flow: FlowMode,
    ) -> u32 {
        let resolved = self.resolve(id, &queue);
        let session = self.session(id);
        let tag = session.next_tag;
        session.next_tag += 1;
        let subscription = Subscription {
            queue: resolved,
            mode,
            settles,
            windowing: flow == FlowMode::Window,
            flow: Flow::new(flow),
            cursor: 0,
            late: BTreeSet::new(),
            started: false,
            cancelled: false,
        };
        session.subscriptions.insert(tag, subscription);
        let arguments = Map::new();
        let selector = None;
        let subscribe = Subscribe { tag, queue, mode, settles, exclusive, selector, arguments };
        self.ask(id, Asked::Subscribe(tag), Request::Subscribe(subscribe));
        let to = SubscriptionId { session: id, tag };
        if flow == FlowMode::Credit && self.is_open(to) {
            self.input(id.shard(), |engine, now, fx| engine.set_mode(now, to, flow, fx));
        }
        tag
    }

    fn is_open(&self, to: SubscriptionId) -> bool {
        let session = &self.sessions[&to.session];
        session.stage == Stage::Live
            && session.subscriptions.get(&to.tag).is_some_and(|s| !s.cancelled)
    }

    fn grant_any(&mut self, id: SessionId) {
        if let Some(tag) = self.open_tag(id) {
            self.grant_to(id, tag);
        }
    }

    fn grant_to(&mut self, id: SessionId, tag: u32) {
        let infinite = self.rng.chance(self.mix.infinite_percent);
        let messages = if infinite { INFINITE } else { self.rng.range(1, self.mix.grant) as u32 };
        let bytes = match self.rng.chance(self.mix.byte_credit_percent) {
            true => self.rng.range(1, 400) as u32,
            false => INFINITE,
        };
        self.grant(id, tag, CreditUnit::Messages, messages);
        self.grant(id, tag, CreditUnit::Bytes, bytes);
    }

    pub(crate) fn grant(&mut self, id: SessionId, tag: u32, unit: CreditUnit, value: u32) {
        let to = SubscriptionId { session: id, tag };
        if !self.is_open(to) {
            return;
        }
        let s = self.session(id).subscriptions.get_mut(&tag).expect("it is open");
        s.flow.grant(unit, value);
        self.trace.add(id.shard().0, "grants", id.raw(), u64::from(value));
        let granted =
            self.input(id.shard(), |engine, now, fx| engine.grant(now, to, unit, value, fx));
        if granted.is_err() {
            self.subscription_ended(to);
        }
    }

    /// Completes some deliveries: windows move.
    fn complete(&mut self, id: SessionId) {
        let percent = *self.rng.pick(&[30, 100]);
        let Some(tag) = self.open_tag(id) else { return };
        let (mut messages, mut bytes) = (0, 0);
        let session = self.sessions.get_mut(&id).expect("the session exists");
        for record in session.records.iter_mut().filter(|r| r.tag == tag && r.windowing) {
            if self.rng.chance(percent) {
                record.windowing = false;
                messages += 1;
                bytes += record.size;
            }
        }
        session.prune();
        if messages == 0 {
            return;
        }
        let s = session.subscriptions.get_mut(&tag).expect("it is open");
        s.flow.moved(messages, bytes);
        self.trace.add(id.shard().0, "completes", id.raw(), u64::from(messages));
        let to = SubscriptionId { session: id, tag };
        self.input(id.shard(), |engine, now, fx| engine.moved(now, to, (messages, bytes), fx));
    }

    pub(crate) fn give_room(&mut self, id: SessionId) {
        let Some(tag) = self.open_tag(id) else { return };
        let all = self.rng.chance(60);
        let s = self.session(id).subscriptions.get_mut(&tag).expect("it is open");
        let (messages, bytes) = s.flow.give(all);
        if messages == 0 && bytes == 0 {
            return;
        }
        self.trace.add(id.shard().0, "gives room", id.raw(), u64::from(messages));
        let to = SubscriptionId { session: id, tag };
        self.input(id.shard(), |engine, now, fx| engine.room(now, to, (messages, bytes), fx));
    }

    // ---- deliveries ----------------------------------------------------------------------

    fn settle_some(&mut self, id: SessionId, outcome: Outcome) {
        let percent = *self.rng.pick(&[20, 60, 100]);
        let session = self.sessions.get_mut(&id).expect("the session exists");
        let mut deliveries = Vec::new();
        for record in &mut session.records {
            if record.acquired && !record.ended && self.rng.chance(percent) {
                record.ended = true;
                deliveries.push(record.delivery);
            }
        }
        session.prune();
        if self.rng.chance(20) {
            deliveries.reverse();
        }
        if !deliveries.is_empty() {
            self.settle(id, outcome, deliveries);
        }
    }

    fn acquire_some(&mut self, id: SessionId) {
        let session = self.sessions.get_mut(&id).expect("the session exists");
        let under_way: Vec<DeliveryRef> =
            session.records.iter().filter(|r| r.acquiring).map(|r| r.delivery).collect();
        let browsed: Vec<usize> = (0..session.records.len())
            .filter(|at| !under_way.contains(&session.records[*at].delivery))
            .filter(|at| {
                let Record { acquired, acquiring, ended, windowing, .. } = session.records[*at];
                !acquired && !acquiring && (!ended || windowing)
            })
            .collect();
        let wanted = self.rng.some(&browsed, 50);
        let mut deliveries: Vec<DeliveryRef> = Vec::new();
        for at in wanted {
            let record = &mut session.records[at];
            // Two subscriptions may have browsed the same message.
            if !deliveries.contains(&record.delivery) {
                record.acquiring = true;
                deliveries.push(record.delivery);
            }
        }
        if !deliveries.is_empty() {
            self.ask(id, Asked::Acquire(deliveries.clone()), Request::Acquire { deliveries });
        }
    }
}
