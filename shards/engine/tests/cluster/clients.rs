//! What clients say to a cluster, and what they get.

use super::Cluster;
use fletch_amqp::types::{Map, Uuid};
use fletch_amqp::v0_10::Compound;
use fletch_amqp::v0_10::message::MessageView;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties};
use fletch_engine::queue::Marks;
use fletch_engine::{
    Binding, CreditUnit, DeclareExchange, DeclareQueue, DeliveryRef, Error, Flags, Format, Message,
    Meta, Mode, OpId, Outcome, Position, Published, Reply, Request, Routed, SessionId, Subscribe,
    SubscriptionId, Time, Transaction,
};
use std::sync::Arc;
use std::time::Duration;

/// What a queue had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// The text of the body.
    pub text: String,
    /// The header `qpid.msg_sequence`.
    pub number: Option<i64>,
    /// The header `x-why`.
    pub why: Option<i64>,
    pub delivery: DeliveryRef,
}

impl Got {
    fn new(delivery: DeliveryRef, message: &Message) -> Got {
        let text = String::from_utf8(message.body().to_vec()).expect("text");
        let view = MessageView::parse(message.header()).expect("parses");
        let headers = view.application_headers().expect("decodes");
        let number = headers.get_int("qpid.msg_sequence");
        Got { text, number, why: headers.get_int("x-why"), delivery }
    }
}

impl Cluster {
    pub fn queue(&mut self, session: SessionId, name: &str, alternate: Option<&str>) {
        let declare = DeclareQueue { alternate: alternate.map(Arc::from), ..queue(name) };
        self.ok(session, Request::DeclareQueue(declare));
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
        self.ok(session, Request::DeclareExchange(declare));
    }

    pub fn bind(&mut self, session: SessionId, queue: &str, exchange: &str, key: &str, with: Map) {
        self.ok(session, binding(queue, exchange, key, with));
    }

    /// Messages that can be had from a queue, if it is there.
    pub fn messages(&mut self, session: SessionId, queue: &str) -> Option<u64> {
        match self.ok(session, Request::QueryQueue { name: queue.into() }) {
            Reply::Queue(report) => report.map(|report| report.messages),
            other => panic!("{other:?}"),
        }
    }

    /// Starts a publish.
    pub fn publish(
        &mut self,
        session: SessionId,
        exchange: &str,
        (key, text): (&str, &str),
        headers: &Map,
    ) -> OpId {
        self.start_publish(session, exchange, &message(session, (key, text), headers, Time::NEVER))
    }

    /// The same with a message.
    pub fn start_publish(&mut self, session: SessionId, exchange: &str, message: &Message) -> OpId {
        let op = self.next();
        let result = self.input(session.shard(), |e, now, fx| {
            e.publish(now, (session, op), exchange, message, fx)
        });
        match result {
            Ok(Published::Pending) => {}
            Ok(Published::Done) => {
                self.published.insert((session, op), Ok(()));
            }
            Err(error) => {
                self.published.insert((session, op), Err(error));
            }
        }
        op
    }

    /// What became of a publish, if it is known.
    pub fn outcome(&mut self, session: SessionId, op: OpId) -> Option<Result<(), Error>> {
        self.published.remove(&(session, op))
    }

    /// Publishes to a queue, which has it then.
    pub fn send(&mut self, session: SessionId, queue: &str, headers: &Map) {
        let message = message(session, (queue, ""), headers, Time::NEVER);
        self.send_now(session, &message);
    }

    /// The same; it expires after a time.
    pub fn send_for(&mut self, session: SessionId, queue: &str, ttl: Duration) {
        let expires = self.now.after(ttl);
        self.send_now(session, &message(session, (queue, ""), &Map::new(), expires));
    }

    /// Sends so many.
    pub fn fill(&mut self, session: SessionId, queue: &str, count: usize) {
        (0..count).for_each(|_| self.send(session, queue, &Map::new()));
    }

    fn send_now(&mut self, session: SessionId, message: &Message) {
        let op = self.start_publish(session, "", message);
        assert_eq!(self.outcome(session, op), Some(Ok(())));
    }

    /// Publishes in a transaction: what the session has to commit.
    pub fn route(
        &mut self,
        session: SessionId,
        exchange: &str,
        (key, text): (&str, &str),
    ) -> Result<Routed, Error> {
        let message = message(session, (key, text), &Map::new(), Time::NEVER);
        if let Some(routes) = self.engines[session.shard().index()].route(exchange, &message)? {
            return Ok((message, routes));
        }
        match self.ask(session, Request::Route { exchange: exchange.into(), message })? {
            Reply::Routed(routed) => Ok(*routed),
            other => panic!("{other:?}"),
        }
    }

    pub fn commit(&mut self, session: SessionId, publishes: Vec<Routed>) {
        let transaction = Transaction { publishes, ..Transaction::default() };
        self.ok(session, Request::Commit(Box::new(transaction)));
    }

    pub fn subscribe(&mut self, session: SessionId, queue: &str, mode: Mode) -> u32 {
        let tag = self.next() as u32;
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

    pub fn grant(&mut self, session: SessionId, tag: u32, messages: u32) {
        let to = SubscriptionId { session, tag };
        self.input(session.shard(), |e, now, fx| {
            for (unit, value) in [(CreditUnit::Messages, messages), (CreditUnit::Bytes, u32::MAX)] {
                e.grant(now, to, unit, value, fx).expect("its queue is there");
            }
        });
    }

    pub fn take_deliveries(&mut self) -> Vec<DeliveryRef> {
        std::mem::take(&mut self.deliveries).into_iter().map(|(_, delivery, _)| delivery).collect()
    }

    pub fn take_ended(&mut self) -> Vec<(SessionId, u32)> {
        std::mem::take(&mut self.ended)
    }

    pub fn settle(&mut self, session: SessionId, outcome: Outcome, deliveries: &[DeliveryRef]) {
        self.ok(session, Request::Settle { outcome, deliveries: deliveries.to_vec() });
    }

    /// Everything that can be had from a queue now, in order.
    pub fn read(&mut self, session: SessionId, queue: &str, mode: Mode) -> Vec<Got> {
        let tag = self.subscribe(session, queue, mode);
        self.grant(session, tag, u32::MAX);
        self.ok(session, Request::Flush { tag });
        self.ok(session, Request::Cancel { tag });
        let of = SubscriptionId { session, tag };
        let got = self.deliveries.extract_if(.., |(to, ..)| *to == of);
        got.map(|(_, delivery, message)| Got::new(delivery, &message)).collect()
    }

    /// The same; it stays there.
    pub fn browse(&mut self, session: SessionId, queue: &str) -> Vec<Got> {
        self.read(session, queue, Mode::Browse)
    }

    pub fn texts(&mut self, session: SessionId, queue: &str) -> Vec<String> {
        self.browse(session, queue).into_iter().map(|got| got.text).collect()
    }
}

/// The message as a client gets it.
pub fn marked(message: &Message, marks: &Marks, position: Position) -> Message {
    let mut content = Vec::new();
    marks.put_header(message, position, &mut content);
    let header_len = content.len() as u32;
    content.extend_from_slice(message.body());
    Message::new(Meta { header_len, ..message.meta().clone() }, &content)
}

pub fn queue(name: &str) -> DeclareQueue {
    DeclareQueue { name: name.into(), ..DeclareQueue::default() }
}

pub fn binding(queue: &str, exchange: &str, key: &str, arguments: Map) -> Request {
    Request::Bind(Binding {
        queue: queue.into(),
        exchange: exchange.into(),
        key: key.into(),
        arguments,
    })
}

/// One with a message-id.
pub fn identified(publisher: SessionId, (key, text): (&str, &str), id: Uuid) -> Message {
    build(publisher, (key, text), (&Map::new(), Some(id)), Time::NEVER)
}

pub fn message(
    publisher: SessionId,
    (key, text): (&str, &str),
    headers: &Map,
    expires: Time,
) -> Message {
    build(publisher, (key, text), (headers, None), expires)
}

fn build(
    publisher: SessionId,
    (key, text): (&str, &str),
    (headers, message_id): (&Map, Option<Uuid>),
    expires: Time,
) -> Message {
    let mut content = Vec::new();
    let delivery = DeliveryProperties { routing_key: Some(key), ..Default::default() };
    delivery.encode(&mut content).expect("encodes");
    let at = content.len() - key.len();
    if !headers.is_empty() || message_id.is_some() {
        let headers = headers.encoded().expect("encodes");
        let application_headers = Some(headers.view());
        let properties =
            MessageProperties { message_id, application_headers, ..Default::default() };
        properties.encode(&mut content).expect("encodes");
    }
    let meta = Meta {
        format: Format::V0_10,
        header_len: content.len() as u32,
        routing_key: (at as u32, key.len() as u32),
        expires,
        priority: 4,
        durable: false,
        flags: Flags::of_body(true),
        publisher: Some(publisher),
    };
    content.extend_from_slice(text.as_bytes());
    fletch_engine::scheduled(Time(0), Message::new(meta, &content))
}
