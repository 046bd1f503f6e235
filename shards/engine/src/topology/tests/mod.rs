//! A broker without queues: an orderer, and replicas that lag as each test likes.

mod exclusive;
mod lag;
mod ordering;
mod routing;
mod rules;

use super::*;
use crate::QueueDefaults;
use crate::ids::Time;
use crate::message::{Flags, Format, Meta};
use crate::request::{self, DeclareExchange, DeclareQueue, Force, OpId, Reply};
use fletch_amqp::v0_10::Compound;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties};
use std::collections::VecDeque;

type Answer = (SessionId, OpId, Result<(), Error>);

/// What a home was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Delete(Conditions),
    Unused,
}

struct Broker {
    orderer: Orderer,
    replicas: Vec<Topology>,
    mail: Vec<VecDeque<(Epoch, Arc<Change>)>>,
    answers: Vec<Answer>,
    asked: Vec<(ShardId, QueueId, Question)>,
    touched: Vec<QueueId>,
    evicted: Vec<SessionId>,
    /// What names were left with, by the request that got them.
    left: Vec<(OpId, Vec<u8>)>,
    /// Who has the name that was asked for.
    held: Vec<(OpId, SessionId)>,
    /// Asked whether they are closing.
    wanted: Vec<SessionId>,
    /// Those that are.
    closing: Vec<SessionId>,
    out: Vec<Decision>,
    next_op: OpId,
}

fn session(shard: u16, n: u64) -> SessionId {
    SessionId::new(ShardId(shard), n)
}

impl Broker {
    fn new(shards: u16) -> Broker {
        Broker {
            orderer: Orderer::new(shards, QueueDefaults::UNLIMITED, 7),
            replicas: (0..shards).map(|_| Topology::new()).collect(),
            mail: (0..shards).map(|_| VecDeque::new()).collect(),
            answers: Vec::new(),
            asked: Vec::new(),
            touched: Vec::new(),
            evicted: Vec::new(),
            left: Vec::new(),
            held: Vec::new(),
            wanted: Vec::new(),
            closing: Vec::new(),
            out: Vec::new(),
            next_op: 0,
        }
    }

    fn sort_out(&mut self) {
        for decision in self.out.drain(..) {
            match decision {
                Decision::Broadcast { epoch, change } => {
                    for mail in &mut self.mail {
                        mail.push_back((epoch, Arc::clone(&change)));
                    }
                }
                Decision::Answer { session, op, result } => {
                    if let Ok(Reply::Left(leaves)) = &result {
                        self.left.push((op, leaves.to_vec()));
                    }
                    if let Ok(Reply::Held(by)) = result {
                        self.held.push((op, by));
                    }
                    self.answers.push((session, op, result.map(|_: Reply| ())));
                }
                Decision::AskHome { home, queue, conditions } => {
                    self.asked.push((home, queue, Question::Delete(conditions)));
                }
                Decision::AskUnused { home, queue, .. } => {
                    self.asked.push((home, queue, Question::Unused));
                }
                Decision::Touched { queue, .. } => self.touched.push(queue),
                Decision::Evict { session, force: true } => self.evicted.push(session),
                Decision::Evict { session, .. } => self.wanted.push(session),
            }
        }
    }

    fn op(&mut self) -> OpId {
        self.next_op += 1;
        self.next_op
    }

    fn submit(&mut self, session: SessionId, request: TopologyRequest) -> OpId {
        let op = self.op();
        self.orderer.submit(&mut self.replicas[0], session, op, request, &mut self.out);
        self.sort_out();
        op
    }

    fn close(&mut self, session: SessionId) -> OpId {
        let op = self.op();
        self.orderer.close_session(&mut self.replicas[0], session, op, &mut self.out);
        self.sort_out();
        op
    }

    fn cede(&mut self, session: SessionId, leaves: &'static [u8]) -> OpId {
        let op = self.op();
        self.orderer.cede(session, op, Some(leaves.into()), &mut self.out);
        self.sort_out();
        op
    }

    fn attach(&mut self, session: SessionId, name: &str, force: bool) -> OpId {
        let op = self.op();
        let force = if force { Force::All } else { Force::No };
        self.orderer.attach(session, op, name, force, &mut self.out);
        self.sort_out();
        for holder in std::mem::take(&mut self.wanted) {
            if !self.closing.contains(&holder) {
                self.orderer.keep(holder, &mut self.out);
            }
        }
        self.sort_out();
        op
    }

    fn unused(&mut self, queue: QueueId, asker: Option<(SessionId, OpId)>) {
        self.orderer.auto_delete(&mut self.replicas[0], queue, asker, &mut self.out);
        self.sort_out();
    }

    /// The oldest question is answered.
    fn vote(&mut self, result: Result<(), Error>) -> (ShardId, QueueId, Question) {
        let asked = self.asked.remove(0);
        self.orderer.voted(&mut self.replicas[0], asked.1, result, &mut self.out);
        self.sort_out();
        asked
    }

    /// One shard applies its next change. False if it has none.
    fn apply(&mut self, shard: u16) -> bool {
        let at = usize::from(shard);
        let Some((epoch, change)) = self.mail[at].pop_front() else { return false };
        if at > 0 {
            self.replicas[at].apply(epoch, &change);
        }
        self.orderer.applied(ShardId(shard), epoch, &mut self.out);
        self.sort_out();
        true
    }

    /// All shards catch up.
    fn catch_up(&mut self) {
        for shard in 0..self.mail.len() {
            while self.apply(shard as u16) {}
        }
    }

    /// Submits, lets every home agree and every shard catch up: the answer.
    fn run(&mut self, session: SessionId, request: TopologyRequest) -> Result<(), Error> {
        let op = self.submit(session, request);
        self.finish(op)
    }

    fn finish(&mut self, op: OpId) -> Result<(), Error> {
        while !self.asked.is_empty() {
            self.vote(Ok(()));
        }
        self.catch_up();
        self.take_answer(op).expect("the request is answered")
    }

    fn take_answer(&mut self, op: OpId) -> Option<Result<(), Error>> {
        let at = self.answers.iter().position(|(_, answered, _)| *answered == op)?;
        Some(self.answers.remove(at).2)
    }

    fn ok(&mut self, session: SessionId, request: TopologyRequest) {
        assert_eq!(self.run(session, request), Ok(()));
    }

    fn refused(&mut self, session: SessionId, request: TopologyRequest) -> (ErrorKind, String) {
        let error = self.run(session, request).expect_err("the request is refused");
        (error.kind, error.text)
    }

    fn queue(&self, name: &str) -> QueueId {
        self.replicas[0].queue(name).expect("the queue exists").id
    }

    /// The queues a message goes to on the last shard's replica, by name. `None` without a route.
    fn route(&self, exchange: &str, message: &Message) -> Option<Vec<String>> {
        let topology = self.replicas.last().expect("a broker has a shard");
        let mut routes = Routes::default();
        let found = topology.route(exchange, message, &mut routes).expect("the exchange exists");
        let mut names: Vec<String> = routes
            .iter()
            .map(|r| {
                let q = topology.queue_by_id(r.queue).expect("routed queue exists");
                assert_eq!(q.home, r.home);
                q.name.to_string()
            })
            .collect();
        names.sort();
        assert_eq!(found, !names.is_empty());
        found.then_some(names)
    }

    fn goes_to(&self, exchange: &str, key: &str) -> Vec<String> {
        self.route(exchange, &keyed(key)).unwrap_or_default()
    }
}

use crate::error::ErrorKind;

fn keyed(key: &str) -> Message {
    message(key, &Map::new())
}

fn message(key: &str, headers: &Map) -> Message {
    let mut content = Vec::new();
    let delivery = DeliveryProperties { routing_key: Some(key), ..DeliveryProperties::default() };
    delivery.encode(&mut content).expect("encodes");
    // The last field of the last struct so far.
    let at = u32::try_from(content.len() - key.len()).expect("short");
    let headers = headers.encoded().expect("encodes");
    let properties = MessageProperties {
        application_headers: Some(headers.view()),
        ..MessageProperties::default()
    };
    properties.encode(&mut content).expect("encodes");
    let meta = Meta {
        format: Format::V0_10,
        header_len: u32::try_from(content.len()).expect("short"),
        routing_key: (at, u32::try_from(key.len()).expect("short")),
        expires: Time::NEVER,
        priority: 4,
        durable: false,
        flags: Flags::of_body(true),
        publisher: None,
    };
    let message = Message::new(meta, &content);
    assert_eq!(message.routing_key(), key.as_bytes());
    message
}

fn declare(name: &str) -> DeclareQueue {
    DeclareQueue { name: name.into(), ..DeclareQueue::default() }
}

fn queue(name: &str) -> TopologyRequest {
    TopologyRequest::DeclareQueue(declare(name))
}

fn exclusive(name: &str) -> TopologyRequest {
    TopologyRequest::DeclareQueue(DeclareQueue { exclusive: true, ..declare(name) })
}

fn auto_delete(name: &str) -> TopologyRequest {
    TopologyRequest::DeclareQueue(DeclareQueue { auto_delete: true, ..declare(name) })
}

fn delete(name: &str) -> TopologyRequest {
    TopologyRequest::DeleteQueue { name: name.into(), if_unused: false, if_empty: false }
}

fn declare_exchange(name: &str, kind: &str) -> DeclareExchange {
    DeclareExchange { name: name.into(), kind: kind.into(), ..DeclareExchange::default() }
}

fn exchange(name: &str, kind: &str) -> TopologyRequest {
    TopologyRequest::DeclareExchange(declare_exchange(name, kind))
}

fn with_alternate(name: &str, kind: &str, alternate: &str) -> TopologyRequest {
    let alternate = Some(alternate.into());
    TopologyRequest::DeclareExchange(DeclareExchange { alternate, ..declare_exchange(name, kind) })
}

fn delete_exchange(name: &str) -> TopologyRequest {
    TopologyRequest::DeleteExchange { name: name.into(), if_unused: false }
}

fn bind(queue: &str, exchange: &str, key: &str) -> TopologyRequest {
    bind_with(queue, exchange, key, Map::new())
}

fn bind_with(queue: &str, exchange: &str, key: &str, arguments: Map) -> TopologyRequest {
    TopologyRequest::Bind(request::Binding {
        queue: queue.into(),
        exchange: exchange.into(),
        key: key.into(),
        arguments,
    })
}

fn unbind(queue: &str, exchange: &str, key: &str) -> TopologyRequest {
    TopologyRequest::Unbind { queue: queue.into(), exchange: exchange.into(), key: key.into() }
}
