//! Engines of several shards in one thread, whose frames arrive in any order that the rings allow.

use fletch_amqp::Map;
use fletch_amqp::v0_10::Compound;
use fletch_amqp::v0_10::message::MessageView;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties};
use fletch_engine::{
    Binding, Config, CreditUnit, DeclareExchange, DeclareQueue, DeliveryRef, Effects, Engine,
    Error, Event, Format, Frame, Message, Meta, Mode, OpId, Outcome, Published, Reply, Request,
    Routed, SessionId, ShardId, Subscribe, SubscriptionId, Time, Transaction,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

const NOW: Time = Time(1);

/// What a queue had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// The text of the body.
    pub text: String,
    /// The header `qpid.msg_sequence`.
    pub number: Option<i64>,
    pub delivery: DeliveryRef,
}

/// See the module.
pub struct Broker {
    engines: Vec<Engine>,
    mail: Vec<Vec<VecDeque<Frame>>>,
    fx: Effects,
    random: u64,
    next: u64,
    replies: BTreeMap<(SessionId, OpId), Result<Reply, Error>>,
    published: BTreeMap<(SessionId, OpId), Result<(), Error>>,
    delivered: BTreeMap<SubscriptionId, Vec<Got>>,
}

impl Broker {
    pub fn new(shards: u16, seed: u64) -> Broker {
        let engine = |n| Engine::new(&Config::new(ShardId(n), shards));
        let row = || (0..shards).map(|_| VecDeque::new()).collect();
        Broker {
            engines: (0..shards).map(engine).collect(),
            mail: (0..shards).map(|_| row()).collect(),
            fx: Effects::default(),
            random: seed,
            next: 1,
            replies: BTreeMap::new(),
            published: BTreeMap::new(),
            delivered: BTreeMap::new(),
        }
    }

    pub fn session(&mut self, shard: u16) -> SessionId {
        self.next += 1;
        SessionId::new(ShardId(shard), self.next)
    }

    pub fn random(&mut self, below: u64) -> u64 {
        self.random =
            self.random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.random >> 33) % below
    }

    fn sort_out(&mut self, shard: usize) {
        self.engines[shard].turn_end(NOW, &mut self.fx);
        for (to, frame) in self.fx.frames.drain(..) {
            self.mail[shard][to.index()].push_back(frame);
        }
        for event in self.fx.events.drain(..) {
            match event {
                Event::Reply { session, op, result } => {
                    assert!(self.replies.insert((session, op), result).is_none(), "answered twice");
                }
                Event::Published { session, op } => {
                    assert!(self.published.insert((session, op), Ok(())).is_none());
                }
                Event::Refused { session, op, reason } => {
                    assert!(self.published.insert((session, op), Err(reason)).is_none());
                }
                Event::Deliver { to, delivery, message, .. } => {
                    let text = String::from_utf8(message.body().to_vec()).expect("text");
                    let view = MessageView::parse(message.header()).expect("parses");
                    let headers = view.application_headers().expect("decodes");
                    let number = headers.get_int("qpid.msg_sequence");
                    let got = Got { text, number, delivery };
                    self.delivered.entry(to).or_default().push(got);
                }
                Event::SubscriptionEnded { .. }
                | Event::BranchExpired { .. }
                | Event::Evicted { .. }
                | Event::Withheld { .. } => {}
            }
        }
    }

    /// One frame arrives somewhere. False if none is under way.
    pub fn step(&mut self) -> bool {
        let shards = self.mail.len();
        let pairs = (0..shards).flat_map(|from| (0..shards).map(move |to| (from, to)));
        let busy: Vec<(usize, usize)> =
            pairs.filter(|(from, to)| !self.mail[*from][*to].is_empty()).collect();
        if busy.is_empty() {
            return false;
        }
        let (from, to) = busy[self.random(busy.len() as u64) as usize];
        let frame = self.mail[from][to].pop_front().expect("there is one");
        self.engines[to].frame(NOW, ShardId(from as u16), frame, &mut self.fx);
        self.sort_out(to);
        true
    }

    /// All frames arrive.
    pub fn settle(&mut self) {
        while self.step() {}
        assert!(self.engines.iter().all(|e| e.pending() == 0), "all that was begun ends");
    }

    /// Starts a request.
    pub fn start(&mut self, session: SessionId, request: Request) -> OpId {
        self.next += 1;
        let (op, shard) = (self.next, session.shard().index());
        self.engines[shard].request(NOW, session, op, request, &mut self.fx);
        self.sort_out(shard);
        op
    }

    pub fn answer(&mut self, session: SessionId, op: OpId) -> Option<Result<Reply, Error>> {
        self.replies.remove(&(session, op))
    }

    /// Frames arrive until a request is answered, and no longer.
    pub fn wait(&mut self, session: SessionId, op: OpId) -> Result<Reply, Error> {
        loop {
            if let Some(result) = self.answer(session, op) {
                return result;
            }
            assert!(self.step(), "the request is answered");
        }
    }

    pub fn ask(&mut self, session: SessionId, request: Request) -> Result<Reply, Error> {
        let op = self.start(session, request);
        self.wait(session, op)
    }

    pub fn queue(&mut self, session: SessionId, name: &str, alternate: Option<&str>) {
        let declare = DeclareQueue {
            name: name.into(),
            alternate: alternate.map(Arc::from),
            ..DeclareQueue::default()
        };
        self.ask(session, Request::DeclareQueue(declare)).expect("declared");
    }

    pub fn exchange(
        &mut self,
        session: SessionId,
        (name, kind): (&str, &str),
        alternate: Option<&str>,
        arguments: Map,
    ) {
        let declare = DeclareExchange {
            name: name.into(),
            kind: kind.into(),
            alternate: alternate.map(Arc::from),
            arguments,
            ..DeclareExchange::default()
        };
        self.ask(session, Request::DeclareExchange(declare)).expect("declared");
    }

    pub fn bind(&mut self, session: SessionId, queue: &str, exchange: &str, key: &str, with: Map) {
        self.ask(session, binding(queue, exchange, key, with)).expect("bound");
    }

    /// Starts a publish.
    pub fn publish(
        &mut self,
        session: SessionId,
        exchange: &str,
        (key, text): (&str, &str),
        headers: &Map,
    ) -> OpId {
        self.next += 1;
        let (op, shard) = (self.next, session.shard().index());
        let message = message(key, text, headers);
        let result =
            self.engines[shard].publish(NOW, (session, op), exchange, &message, &mut self.fx);
        match result {
            Ok(Published::Pending) => {}
            Ok(Published::Done) => {
                self.published.insert((session, op), Ok(()));
            }
            Err(error) => {
                self.published.insert((session, op), Err(error));
            }
        }
        self.sort_out(shard);
        op
    }

    /// Publishes in a transaction: what the session has to commit.
    pub fn route(
        &mut self,
        session: SessionId,
        exchange: &str,
        (key, text): (&str, &str),
    ) -> Result<Routed, Error> {
        let message = message(key, text, &Map::new());
        let shard = session.shard().index();
        if let Some(routes) = self.engines[shard].route(exchange, &message)? {
            return Ok((message, routes));
        }
        match self.ask(session, Request::Route { exchange: exchange.into(), message })? {
            Reply::Routed(routed) => Ok(*routed),
            other => panic!("{other:?}"),
        }
    }

    pub fn commit(&mut self, session: SessionId, publishes: Vec<Routed>) {
        let transaction = Transaction { publishes, ..Transaction::default() };
        self.ask(session, Request::Commit(Box::new(transaction))).expect("committed");
    }

    /// What became of a publish, if it is known.
    pub fn outcome(&mut self, session: SessionId, op: OpId) -> Option<Result<(), Error>> {
        self.published.remove(&(session, op))
    }

    /// Everything that is in a queue now, in order; it stays there.
    pub fn browse(&mut self, session: SessionId, queue: &str) -> Vec<Got> {
        self.read(session, queue, Mode::Browse)
    }

    pub fn read(&mut self, session: SessionId, queue: &str, mode: Mode) -> Vec<Got> {
        self.next += 1;
        let tag = self.next as u32;
        let subscribe = Subscribe {
            tag,
            queue: queue.into(),
            mode,
            settles: true,
            exclusive: false,
            selector: None,
            arguments: Map::new(),
        };
        self.ask(session, Request::Subscribe(subscribe)).expect("subscribed");
        let (to, shard) = (SubscriptionId { session, tag }, session.shard().index());
        for unit in [CreditUnit::Messages, CreditUnit::Bytes] {
            let granted = self.engines[shard].grant(NOW, to, unit, u32::MAX, &mut self.fx);
            granted.expect("its queue is there");
            self.sort_out(shard);
        }
        self.ask(session, Request::Flush { tag }).expect("flushed");
        self.ask(session, Request::Cancel { tag }).expect("cancelled");
        self.delivered.remove(&to).unwrap_or_default()
    }

    pub fn texts(&mut self, session: SessionId, queue: &str) -> Vec<String> {
        self.browse(session, queue).into_iter().map(|got| got.text).collect()
    }

    pub fn reject(&mut self, session: SessionId, of: &[Got]) {
        let deliveries = of.iter().map(|got| got.delivery).collect();
        self.ask(session, Request::Settle { outcome: Outcome::Rejected, deliveries })
            .expect("rejected");
    }
}

pub fn binding(queue: &str, exchange: &str, key: &str, arguments: Map) -> Request {
    Request::Bind(Binding {
        queue: queue.into(),
        exchange: exchange.into(),
        key: key.into(),
        arguments,
    })
}

fn message(key: &str, text: &str, headers: &Map) -> Message {
    let mut content = Vec::new();
    let delivery = DeliveryProperties { routing_key: Some(key), ..DeliveryProperties::default() };
    delivery.encode(&mut content).expect("encodes");
    let at = u32::try_from(content.len() - key.len()).expect("short");
    if !headers.is_empty() {
        let headers = headers.encoded().expect("encodes");
        let properties = MessageProperties {
            application_headers: Some(headers.view()),
            ..MessageProperties::default()
        };
        properties.encode(&mut content).expect("encodes");
    }
    let meta = Meta {
        format: Format::V0_10,
        header_len: u32::try_from(content.len()).expect("short"),
        routing_key: (at, u8::try_from(key.len()).expect("short")),
        expires: Time::NEVER,
        priority: 4,
        durable: false,
        has_body: true,
        publisher: None,
    };
    content.extend_from_slice(text.as_bytes());
    Message::new(meta, &content)
}
