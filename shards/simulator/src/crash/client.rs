//! What clients do: one act at a time, drawn from the seed's mix.

use super::mix::Act;
use super::orders::Wants;
use super::session::{Asked, Held, Stage, Subscription};
use super::topology::Name;
use super::world::{ALTERNATES, DEAD, World};
use crate::lifetimes;
use crate::limits::{Kind, Limit};
use crate::message::{Content, MessageId};
use fletch_amqp::types::Map;
use fletch_engine::queue::INFINITE;
use fletch_engine::topology::{ObjectKind, Routes};
use fletch_engine::{
    Binding, CreateObject, CreditUnit, DeclareExchange, DeclareQueue, ErrorKind, Message, Mode,
    Outcome, Published, QueueId, Request, Selection, SessionId, ShardId, Subscribe, SubscriptionId,
    Time,
};
use std::sync::Arc;

const BUILT_IN: [&str; 3] = ["amq.direct", "amq.topic", "amq.fanout"];
const KINDS: [&str; 4] = ["direct", "topic", "fanout", "headers"];

impl World<'_> {
    // ---- acts ----------------------------------------------------------------------------

    /// A client does something, or a new one comes.
    pub(super) fn act(&mut self) {
        let live: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, s)| s.stage != Stage::Over)
            .map(|(id, _)| *id)
            .collect();
        if live.len() < self.mix.clients && (live.is_empty() || self.rng.chance(40)) {
            let shard = self.any_shard();
            self.attach(shard);
            return;
        }
        let id = *self.rng.pick(&live);
        let session = &self.sessions[&id];
        // The client's next command waits for a change of the topology.
        let waits = |asked: &Asked| matches!(asked, Asked::Attach | Asked::Topology { .. });
        if session.stage == Stage::Live && !session.asked.values().any(waits) {
            let act = self.mix.act(&mut self.rng);
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
            Act::Commit => self.transact(id),
            Act::Subscribe => self.subscribe(id),
            Act::Grant => {
                if let Some(tag) = self.open_tag(id) {
                    let n =
                        if self.rng.chance(30) { INFINITE } else { self.rng.range(1, 5) as u32 };
                    self.grant(id, tag, n);
                }
            }
            Act::Accept => self.settle_some(id, Outcome::Accepted),
            Act::Release => {
                let set_redelivered = self.rng.chance(50);
                self.settle_some(id, Outcome::Released { set_redelivered });
            }
            Act::Reject => self.settle_some(id, Outcome::Rejected),
            Act::Cancel => {
                if let Some(tag) = self.open_tag(id) {
                    self.cancel(id, tag);
                }
            }
            Act::DeclareQueue => {
                let name = self.queue_name();
                self.declare_queue(id, name);
            }
            Act::DeleteQueue => {
                let name = self.queue_name();
                let (if_unused, if_empty) = (self.rng.chance(20), self.rng.chance(20));
                let what = Name::Queue(Arc::clone(&name));
                self.order(id, what, false, Request::DeleteQueue { name, if_unused, if_empty });
            }
            Act::Purge => {
                let name = if self.rng.chance(15) { DEAD[0].into() } else { self.queue_name() };
                let topology = self.engines[id.shard().index()].topology();
                let queue = topology.queue(&name).map(|q| q.id);
                let asked = queue.map(|queue| {
                    self.know(id.shard(), queue);
                    (queue, self.model.purges(queue))
                });
                self.ask(
                    id,
                    Asked::Purge(asked),
                    Request::PurgeQueue { name, which: Selection::default() },
                );
            }
            Act::Reroute => {
                let name = self.queue_name();
                let topology = self.engines[id.shard().index()].topology();
                let queue = topology.queue(&name).filter(|q| q.alternate.is_some()).map(|q| q.id);
                if let Some(queue) = queue {
                    self.know(id.shard(), queue);
                    self.model.reroutes(queue);
                }
                let which = Selection { limit: self.rng.below(4) as u64, filter: None };
                let request = Request::RerouteMessages { name, exchange: None, which };
                self.ask(id, Asked::Reroute(queue), request);
            }
            Act::DeclareExchange if self.rng.chance(30) => self.create_object(id),
            Act::DeclareExchange => self.declare_exchange(id),
            Act::DeleteExchange if self.rng.chance(30) => {
                let (kind, name) = self.any_object();
                let what = Name::Object(kind, Arc::clone(&name));
                self.order(id, what, false, Request::DeleteObject { kind, name });
            }
            Act::DeleteExchange => {
                let name = self.made_exchange();
                let what = Name::Exchange(Arc::clone(&name));
                let if_unused = self.rng.chance(30);
                self.order(id, what, false, Request::DeleteExchange { name, if_unused });
            }
            Act::Bind => {
                let (queue, exchange, key) = (self.queue_name(), self.any_exchange(), self.key());
                self.bind(id, queue, exchange, key);
            }
            Act::Unbind => {
                let (queue, exchange, key) = (self.queue_name(), self.any_exchange(), self.key());
                let (q, x, k) = (Arc::clone(&queue), Arc::clone(&exchange), Arc::clone(&key));
                let what = Name::Binding { queue: q, exchange: x, key: k };
                self.order(id, what, false, Request::Unbind { queue, exchange, key });
            }
            Act::Close => {
                if self.rng.chance(40) {
                    self.end(id);
                }
            }
        }
    }

    // ---- names ---------------------------------------------------------------------------

    fn queue_name(&mut self) -> Arc<str> {
        format!("queue-{}", self.rng.below(self.mix.queues)).into()
    }

    fn made_exchange(&mut self) -> Arc<str> {
        match self.rng.below(self.mix.exchanges + 1) {
            0 => ALTERNATES[2].into(),
            n => format!("exchange-{n}").into(),
        }
    }

    fn any_exchange(&mut self) -> Arc<str> {
        if self.rng.chance(self.mix.fanout_percent / 2) {
            return BUILT_IN[2].into();
        }
        if self.rng.chance(50) {
            Arc::from(*self.rng.pick(&BUILT_IN))
        } else {
            self.made_exchange()
        }
    }

    fn key(&mut self) -> Arc<str> {
        format!("key.{}", self.rng.below(self.mix.keys)).into()
    }

    // ---- topology ------------------------------------------------------------------------

    /// What is always there: where dead letters go. And what clients begin with.
    pub(super) fn set_up(&mut self) {
        let shard = self.any_shard();
        let id = self.attach(shard);
        self.rest();
        for (n, name) in ALTERNATES.into_iter().enumerate() {
            let (name, kind, durable) = (name.into(), "fanout".into(), n < 2);
            let what = Name::Exchange(Arc::clone(&name));
            let declare = DeclareExchange { name, kind, durable, ..DeclareExchange::default() };
            self.order(id, what, true, Request::DeclareExchange(declare));
        }
        for (name, alternate) in [(DEAD[0], None), (DEAD[1], Some(ALTERNATES[0].into()))] {
            let name: Arc<str> = name.into();
            let what = Name::Queue(Arc::clone(&name));
            let durable = true;
            let declare = DeclareQueue { name, durable, alternate, ..DeclareQueue::default() };
            self.order(id, what, true, Request::DeclareQueue(declare));
        }
        self.rest();
        for (queue, exchange) in [(0, 0), (0, 1), (1, 1)] {
            self.bind(id, DEAD[queue].into(), ALTERNATES[exchange].into(), "key".into());
        }
        let topology = self.engines[0].topology();
        let dead = DEAD.map(|name| topology.queue(name).expect("it was declared").id);
        self.dead = dead.to_vec();
        for n in 0..self.mix.queues {
            let name: Arc<str> = format!("queue-{n}").into();
            self.declare_queue(id, Arc::clone(&name));
            self.rest();
            let (exchange, key) = (if n < 3 { BUILT_IN[2] } else { BUILT_IN[n % 2] }, self.key());
            self.bind(id, name, exchange.into(), key);
        }
        self.end(id);
        self.rest();
    }

    fn declare_queue(&mut self, id: SessionId, name: Arc<str>) {
        let exclusive = self.rng.chance(self.mix.exclusive_percent);
        let alternate = self.rng.chance(self.mix.alternate_percent);
        let alternate = alternate.then(|| Arc::from(*self.rng.pick(&ALTERNATES)));
        let placed = self.rng.chance(70);
        let shard = self.any_shard();
        let paged = self.mix.paging.is_some() && self.rng.chance(30);
        let arguments = if paged { Map::new().with("qpid.paging", true) } else { Map::new() };
        // What leaves it for another queue is longer than what came.
        let mut arguments = match self.rng.chance(20) {
            true => arguments.with("qpid.trace.id", "here").with("qpid.queue_msg_sequence", "n"),
            false => arguments,
        };
        if self.mix.limited_percent > 0 && self.rng.chance(self.mix.limited_percent) {
            let kinds = [Kind::Free, Kind::Reject, Kind::Ring, Kind::Ring];
            arguments = Limit::draw(&mut self.rng, &kinds, arguments);
        }
        arguments = self.draw_order(arguments);
        arguments = self.draw_window(arguments);
        let percent = self.mix.auto_delete_percent;
        let (auto_delete, arguments) = lifetimes::draw(&mut self.rng, percent, true, arguments);
        let declare = DeclareQueue {
            name: Arc::clone(&name),
            durable: self.rng.chance(self.mix.durable_percent),
            exclusive,
            auto_delete,
            alternate,
            arguments: match placed {
                true => {
                    arguments.with("fletch.shard", fletch_amqp::Value::Int32(i32::from(shard.0)))
                }
                false => arguments,
            },
            ..DeclareQueue::default()
        };
        if exclusive {
            self.model.uses(&name);
        }
        self.order(id, Name::Queue(name), true, Request::DeclareQueue(declare));
    }

    fn declare_exchange(&mut self, id: SessionId) {
        let name = self.made_exchange();
        let transient = *name == *ALTERNATES[2];
        let kind = if transient { "fanout" } else { *self.rng.pick(&KINDS) };
        let auto_delete = !transient && self.rng.chance(self.mix.auto_delete_percent);
        let alternate = self.rng.chance(self.mix.alternate_percent / 3);
        let alternate = alternate.then(|| Arc::from(*self.rng.pick(&ALTERNATES)));
        let durable = !transient && self.rng.chance(self.mix.durable_percent);
        let what = Name::Exchange(Arc::clone(&name));
        let declare = DeclareExchange {
            name,
            kind: kind.into(),
            durable,
            auto_delete,
            alternate: alternate.filter(|_| !transient),
            ..DeclareExchange::default()
        };
        self.order(id, what, true, Request::DeclareExchange(declare));
    }

    fn any_object(&mut self) -> (ObjectKind, Arc<str>) {
        let kind = *self.rng.pick(&ObjectKind::ALL);
        (kind, format!("{kind}-{}", self.rng.below(2)).into())
    }

    fn create_object(&mut self, id: SessionId) {
        let (kind, name) = self.any_object();
        let durable = self.rng.chance(self.mix.durable_percent);
        let exchange = self.made_exchange();
        let properties = Map::new().with("durable", durable);
        let properties = match kind {
            ObjectKind::Topic => properties.with("exchange", &*exchange),
            _ => properties.with("qpid.max_count", 5),
        };
        let what = Name::Object(kind, Arc::clone(&name));
        let create = CreateObject { kind, name, properties, if_absent: self.rng.chance(50) };
        self.order(id, what, true, Request::CreateObject(create));
    }

    fn bind(&mut self, id: SessionId, queue: Arc<str>, exchange: Arc<str>, key: Arc<str>) {
        if *exchange == *ALTERNATES[2] {
            return; // It leads nowhere, in all seeds.
        }
        let (q, x, k) = (Arc::clone(&queue), Arc::clone(&exchange), Arc::clone(&key));
        let what = Name::Binding { queue: q, exchange: x, key: k };
        let arguments = Map::new().with("x-match", "all").with("header", 1);
        let arguments = match self.rng.chance(20) {
            // To a direct exchange, it takes the place of others with its key.
            true => arguments.with("qpid.exclusive-binding", true),
            false => arguments,
        };
        let binding = Binding { queue, exchange, key, arguments };
        self.order(id, what, true, Request::Bind(binding));
    }

    // ---- messages ------------------------------------------------------------------------

    /// An exchange and a key to publish with.
    pub(super) fn any_target(&mut self) -> (Arc<str>, Arc<str>) {
        if self.rng.chance(self.mix.fanout_percent) {
            (self.any_exchange(), self.key())
        } else {
            (Arc::from(""), self.queue_name())
        }
    }

    fn publish_any(&mut self, id: SessionId) {
        if let Some((number, exchange, message)) = self.repeat(id) {
            self.send(id, number, &exchange, &message);
            return;
        }
        let (exchange, key) = self.any_target();
        self.publish(id, &exchange, &key);
    }

    /// The next message, if its exchange exists.
    pub(super) fn make_message(
        &mut self,
        id: SessionId,
        exchange: &str,
        key: &str,
    ) -> Option<(Content, Message)> {
        let expires = match self.rng.chance(self.mix.ttl_percent) {
            true => Time(self.now.0 + self.rng.range(1, self.mix.time * 20) as u64),
            false => Time::NEVER,
        };
        let large = self.rng.chance(self.mix.large_percent);
        let most = if large { 3 * self.mix.segment as usize } else { self.mix.size };
        let size = self.rng.range(0, most.min(80_000));
        let content = Content {
            publisher: id,
            number: self.model.next_message(),
            size,
            header: self.rng.below(2) as i32,
            expires,
            durable: self.rng.chance(self.mix.persistent_percent),
            label: self.draw_label(),
            identified: self.mix.repeat_percent > 0,
            due: self.draw_due(),
        };
        let message = content.arrives(self.now, key);
        // The router has tests of its own; here its word is taken for where a message goes.
        let topology = self.engines[id.shard().index()].topology();
        topology.route(exchange, &message, &mut Routes::default()).ok()?;
        Some((content, message))
    }

    /// When a message is due; 0: at once.
    fn draw_due(&mut self) -> u64 {
        match self.mix.scheduled_percent > 0 && self.rng.chance(self.mix.scheduled_percent) {
            true => Content::draw_due(&mut self.rng, self.now, 40),
            false => 0,
        }
    }

    fn publish(&mut self, id: SessionId, exchange: &str, key: &str) {
        let Some((content, message)) = self.make_message(id, exchange, key) else { return };
        let shard = id.shard();
        let mut routes = Routes::default();
        let topology = self.engines[shard.index()].topology();
        topology.route(exchange, &message, &mut routes).expect("the exchange was there just now");
        let to: Vec<QueueId> = routes.iter().map(|r| r.queue).collect();
        to.iter().for_each(|queue| self.know(shard, *queue));
        self.mark_publish(&content, &routes);
        let number = content.number;
        self.model.published(content, to);
        let target = Some((Arc::from(exchange), Arc::from(key)));
        self.model.messages[number as usize].target = target;
        self.send(id, number, exchange, &message);
    }

    fn send(&mut self, id: SessionId, number: MessageId, exchange: &str, message: &Message) {
        let shard = id.shard();
        let session = self.session(id);
        let op = session.next_op;
        session.next_op += 1;
        session.publishing.insert(op, number);
        self.trace.add(shard.0, "publishes", id.raw(), u64::from(number));
        let result = self
            .input(shard, |engine, now, fx| engine.publish(now, (id, op), exchange, message, fx));
        match result {
            Ok(Published::Pending) => {}
            Ok(Published::Done) => {
                self.model.acknowledged(number);
                self.session(id).publishing.remove(&op);
            }
            Err(e) => {
                assert!(e.kind == ErrorKind::ResourceLimit, "a publish fails: {e}");
                self.marks.hit("publish refused", true);
                self.model.refused(number, true);
                self.session(id).publishing.remove(&op);
            }
        }
    }

    fn mark_publish(&mut self, content: &Content, routes: &Routes) {
        let topology = self.engines[content.publisher.shard().index()].topology();
        let durable = |queue| topology.queue_by_id(queue).is_some_and(|q| q.durable);
        let mut homes: Vec<ShardId> =
            routes.iter().filter(|r| durable(r.queue)).map(|r| r.home).collect();
        let queues = homes.len();
        homes.sort_unstable();
        homes.dedup();
        self.marks.hit("durable on several shards", content.durable && homes.len() > 1);
        self.marks.hit("durable on several queues", content.durable && queues > homes.len());
        let segments = content.size as u64 / self.mix.segment;
        self.marks.hit("message over several segments", content.durable && segments > 1);
    }

    // ---- subscriptions -------------------------------------------------------------------

    fn subscribe(&mut self, id: SessionId) {
        let queue = match self.rng.chance(20) {
            true => Arc::from(*self.rng.pick(&DEAD)),
            false => self.queue_name(),
        };
        let settles = !self.rng.chance(self.mix.no_accept_percent);
        let browses = self.rng.chance(self.mix.browse_percent);
        let mode = if browses { Mode::Browse } else { Mode::Consume };
        let wants = self.draw_wants();
        let tag = self.subscribe_to(id, queue, mode, settles, wants);
        if self.rng.chance(70) {
            let n = if self.rng.chance(30) { INFINITE } else { self.rng.range(1, 5) as u32 };
            self.grant(id, tag, n);
        }
    }

    pub(super) fn subscribe_to(
        &mut self,
        id: SessionId,
        queue: Arc<str>,
        mode: Mode,
        settles: bool,
        wants: Option<Wants>,
    ) -> u32 {
        self.model.subscribes(&queue, mode, settles);
        let session = self.session(id);
        let tag = session.next_tag;
        session.next_tag += 1;
        session.subscriptions.insert(tag, Subscription { mode, settles, wants, cancelled: false });
        let (exclusive, arguments) = (false, Map::new());
        let selector = wants.map(Wants::selector);
        let subscribe = Subscribe { tag, queue, mode, settles, exclusive, selector, arguments };
        self.ask(id, Asked::Subscribe(tag), Request::Subscribe(subscribe));
        tag
    }

    /// Somebody takes all there is, wherever it is.
    pub(super) fn drain(&mut self) {
        let id = self.attach(ShardId::ORDERER);
        self.rest();
        let names = self.engines[0].topology().queues().map(|q| Arc::clone(&q.name));
        for name in names.collect::<Vec<_>>() {
            let tag = self.subscribe_to(id, name, Mode::Consume, true, None);
            self.grant(id, tag, INFINITE);
        }
        self.rest();
        let held = std::mem::take(&mut self.session(id).held);
        self.settle(id, Outcome::Accepted, &held);
        self.rest();
        for (engine, q) in self.engines.iter().flat_map(|e| e.queues().map(move |q| (e, q))) {
            let owned = engine.topology().queue_by_id(q.id()).is_some_and(|d| d.owner.is_some());
            let (left, away) = (q.available(), q.away());
            assert!(
                owned || left == 0 || q.groups().is_some(),
                "{left} messages, {away} of them away, are not delivered"
            );
        }
    }

    fn open_tag(&mut self, id: SessionId) -> Option<u32> {
        let all = self.sessions[&id].subscriptions.iter().filter(|(_, s)| !s.cancelled);
        let tags: Vec<u32> = all.map(|(tag, _)| *tag).collect();
        (!tags.is_empty()).then(|| *self.rng.pick(&tags))
    }

    pub(super) fn grant(&mut self, id: SessionId, tag: u32, messages: u32) {
        let to = SubscriptionId { session: id, tag };
        for (unit, value) in [(CreditUnit::Bytes, INFINITE), (CreditUnit::Messages, messages)] {
            if self.sessions[&id].stage == Stage::Live
                && self.sessions[&id].subscriptions.contains_key(&tag)
            {
                let granted = self
                    .input(id.shard(), |engine, now, fx| engine.grant(now, to, unit, value, fx));
                if granted.is_err() {
                    self.session(id).subscriptions.remove(&tag);
                }
            }
        }
    }

    fn settle_some(&mut self, id: SessionId, outcome: Outcome) {
        let percent = *self.rng.pick(&[20, 60, 100]);
        let held = std::mem::take(&mut self.session(id).held);
        let (settled, kept): (Vec<Held>, Vec<Held>) =
            held.into_iter().partition(|_| self.rng.chance(percent));
        self.session(id).held = kept;
        if !settled.is_empty() {
            self.settle(id, outcome, &settled);
        }
    }
}
