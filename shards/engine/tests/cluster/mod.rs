//! Engines of several shards without a disk, whose frames arrive at once and whose clock a test sets.

#![allow(dead_code, reason = "not every test needs all of it")]

use fletch_amqp::types::Map;
use fletch_amqp::v0_10::Compound;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties};
use fletch_engine::{
    Config, CreditUnit, DeclareQueue, DeliveryRef, Effects, Engine, Event, Format, Message, Meta,
    Mode, OpId, Outcome, Reply, Request, SessionId, ShardId, Subscribe, SubscriptionId, Time,
};
use std::collections::VecDeque;
use std::time::Duration;

pub(crate) fn queue(name: &str) -> DeclareQueue {
    DeclareQueue { name: name.into(), ..DeclareQueue::default() }
}

pub(crate) struct Cluster {
    pub(crate) engines: Vec<Engine>,
    now: Time,
    frames: VecDeque<(ShardId, ShardId, fletch_engine::Frame)>,
    pub(crate) deliveries: Vec<(SubscriptionId, DeliveryRef, Message)>,
    ended: Vec<(SessionId, u32)>,
    replies: Vec<(SessionId, OpId, Result<Reply, fletch_engine::Error>)>,
    connections: u64,
    next: u32,
}

impl Cluster {
    pub(crate) fn new(shards: u16) -> Cluster {
        let config = |n| Config {
            purge_interval: Duration::from_secs(10),
            slice: 4,
            ..Config::new(ShardId(n), shards)
        };
        Cluster {
            engines: (0..shards).map(|n| Engine::new(&config(n))).collect(),
            now: Time(1),
            frames: VecDeque::new(),
            deliveries: Vec::new(),
            ended: Vec::new(),
            replies: Vec::new(),
            connections: 0,
            next: 0,
        }
    }

    pub(crate) fn session(&mut self, shard: u16) -> SessionId {
        self.connections += 1;
        SessionId::new(ShardId(shard), self.connections)
    }

    fn op(&mut self) -> u32 {
        self.next += 1;
        self.next
    }

    /// Runs an input and everything that follows from it.
    pub(crate) fn input<T>(
        &mut self,
        shard: ShardId,
        f: impl FnOnce(&mut Engine, Time, &mut Effects) -> T,
    ) -> T {
        let mut fx = Effects::default();
        let result = f(&mut self.engines[shard.index()], self.now, &mut fx);
        self.take(shard, &mut fx);
        self.settle_down();
        result
    }

    fn take(&mut self, shard: ShardId, fx: &mut Effects) {
        self.frames.extend(fx.frames.drain(..).map(|(to, frame)| (shard, to, frame)));
        for event in fx.events.drain(..) {
            match event {
                Event::Reply { session, op, result } => self.replies.push((session, op, result)),
                Event::Deliver { to, delivery, message, .. } => {
                    self.deliveries.push((to, delivery, message));
                }
                Event::SubscriptionEnded { to, .. } => self.ended.push((to.session, to.tag)),
                _ => {}
            }
        }
    }

    fn settle_down(&mut self) {
        loop {
            let mut worked = false;
            while let Some((from, to, frame)) = self.frames.pop_front() {
                let mut fx = Effects::default();
                self.engines[to.index()].frame(self.now, from, frame, &mut fx);
                self.take(to, &mut fx);
                worked = true;
            }
            for n in 0..self.engines.len() {
                let mut fx = Effects::default();
                if self.engines[n].next_deadline() <= self.now {
                    self.engines[n].tick(self.now, &mut fx);
                }
                self.engines[n].turn_end(self.now, &mut fx);
                self.take(ShardId(n as u16), &mut fx);
            }
            if !worked && self.frames.is_empty() {
                return;
            }
        }
    }

    pub(crate) fn ask(
        &mut self,
        session: SessionId,
        request: Request,
    ) -> Result<Reply, fletch_engine::Error> {
        let op = OpId::from(self.op());
        self.input(session.shard(), |e, now, fx| e.request(now, session, op, request, fx));
        for _ in 0..1000 {
            if let Some(at) = self.replies.iter().position(|(s, o, _)| (*s, *o) == (session, op)) {
                return self.replies.swap_remove(at).2;
            }
            self.settle_down();
        }
        panic!("never answered");
    }

    pub(crate) fn ok(&mut self, session: SessionId, request: Request) -> Reply {
        self.ask(session, request).expect("granted")
    }

    /// Time passes, a tenth of a second at a time.
    pub(crate) fn pass(&mut self, time: Duration) {
        let tick = Duration::from_millis(100);
        for _ in 0..time.as_millis() / tick.as_millis() {
            self.now = self.now.after(tick);
            self.settle_down();
        }
    }

    pub(crate) fn exists(&self, name: &str) -> bool {
        let seen: Vec<bool> =
            self.engines.iter().map(|e| e.topology().queue(name).is_some()).collect();
        assert!(seen.iter().all(|s| *s == seen[0]), "shards disagree about {name}");
        seen[0]
    }

    /// Messages that can be had from a queue, if it is there.
    pub(crate) fn messages(&mut self, session: SessionId, queue: &str) -> Option<u64> {
        match self.ok(session, Request::QueryQueue { name: queue.into() }) {
            Reply::Queue(report) => report.map(|report| report.messages),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn subscribe(&mut self, session: SessionId, queue: &str, mode: Mode) -> u32 {
        let tag = self.op();
        let subscribe = Subscribe {
            tag,
            queue: queue.into(),
            mode,
            settles: true,
            exclusive: false,
            selector: None,
            arguments: Map::new(),
        };
        self.ok(session, Request::Subscribe(subscribe));
        tag
    }

    pub(crate) fn grant(&mut self, session: SessionId, tag: u32, messages: u32) {
        let to = SubscriptionId { session, tag };
        self.input(session.shard(), |e, now, fx| {
            for (unit, value) in [(CreditUnit::Messages, messages), (CreditUnit::Bytes, u32::MAX)] {
                e.grant(now, to, unit, value, fx).expect("its queue is there");
            }
        });
    }

    pub(crate) fn take_deliveries(&mut self) -> Vec<DeliveryRef> {
        std::mem::take(&mut self.deliveries).into_iter().map(|(_, delivery, _)| delivery).collect()
    }

    pub(crate) fn take_ended(&mut self) -> Vec<(SessionId, u32)> {
        std::mem::take(&mut self.ended)
    }

    pub(crate) fn settle(
        &mut self,
        session: SessionId,
        outcome: Outcome,
        deliveries: &[DeliveryRef],
    ) {
        self.ok(session, Request::Settle { outcome, deliveries: deliveries.to_vec() });
    }

    pub(crate) fn send(&mut self, session: SessionId, exchange: &str, message: &Message) {
        let op = OpId::from(self.op());
        self.input(session.shard(), |e, now, fx| {
            e.publish(now, (session, op), exchange, message, fx).expect("there is an exchange");
        });
    }

    pub(crate) fn publish(&mut self, session: SessionId, queue: &str, count: usize) {
        for _ in 0..count {
            self.send(session, "", &message(queue, Time::NEVER, session));
        }
    }

    pub(crate) fn publish_for(&mut self, session: SessionId, queue: &str, ttl: Duration) {
        let expires = self.now.after(ttl);
        self.send(session, "", &message(queue, expires, session));
    }
}

/// A message whose header is nothing but its routing key.
fn message(key: &str, expires: Time, publisher: SessionId) -> Message {
    let meta = Meta {
        format: Format::V0_10,
        header_len: key.len() as u32,
        routing_key: (0, key.len() as u8),
        expires,
        priority: 4,
        durable: false,
        has_body: false,
        publisher: Some(publisher),
    };
    Message::new(meta, key.as_bytes())
}

/// A message with a real header: its routing key and application headers.
pub(crate) fn message_with(key: &str, headers: Map, publisher: SessionId) -> Message {
    let headers = headers.encoded().expect("encodes");
    let delivery = DeliveryProperties { routing_key: Some(key), ..Default::default() };
    let properties =
        MessageProperties { application_headers: Some(headers.view()), ..Default::default() };
    let mut header = Vec::new();
    delivery.encode(&mut header).expect("encodes");
    let at = header.len() - key.len();
    properties.encode(&mut header).expect("encodes");
    let plain = message(key, Time::NEVER, publisher);
    let meta = Meta {
        header_len: header.len() as u32,
        routing_key: (at as u32, key.len() as u8),
        ..plain.meta().clone()
    };
    Message::new(meta, &header)
}
