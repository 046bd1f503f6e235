//! Purging and deleting a queue with a backlog is done in slices, and answered when all is done.

use fletch_engine::{
    Binding, Config, DeclareExchange, DeclareQueue, Effects, Engine, Event, Flags, Format, Message,
    Meta, OpId, Reply, Request, Selection, SessionId, ShardId, Time,
};
use std::sync::Arc;

const NOW: Time = Time(1);

struct Broker {
    engine: Engine,
    session: SessionId,
    fx: Effects,
    next_op: OpId,
}

impl Broker {
    fn new(slice: usize) -> Broker {
        let shard = ShardId(0);
        let engine = Engine::new(&Config { slice, ..Config::new(shard, 1) });
        Broker { engine, session: SessionId::new(shard, 1), fx: Effects::default(), next_op: 0 }
    }

    fn ask(&mut self, request: Request) -> Option<Reply> {
        self.next_op += 1;
        self.engine.request(NOW, self.session, self.next_op, request, &mut self.fx);
        self.answer()
    }

    /// The answer to the newest request, if it is there.
    fn answer(&mut self) -> Option<Reply> {
        self.fx.events.drain(..).find_map(|event| match event {
            Event::Reply { result, .. } => Some(result.expect("granted")),
            _ => None,
        })
    }

    /// Ticks until the newest request is answered; how often that was.
    fn finish(&mut self) -> (usize, Reply) {
        for ticks in 1..100 {
            assert_eq!(self.engine.next_deadline(), Time(0), "there is work to do");
            self.engine.tick(NOW, &mut self.fx);
            if let Some(reply) = self.answer() {
                return (ticks, reply);
            }
        }
        panic!("never answered");
    }

    fn declare(&mut self, name: &str, alternate: Option<&str>) {
        let declare = DeclareQueue {
            name: name.into(),
            alternate: alternate.map(Arc::from),
            ..DeclareQueue::default()
        };
        self.ask(Request::DeclareQueue(declare)).expect("answered at once");
    }

    fn publish(&mut self, queue: &str, count: usize) {
        let meta = Meta {
            format: Format::V0_10,
            header_len: queue.len() as u32,
            routing_key: (0, queue.len() as u32),
            expires: Time::NEVER,
            priority: 4,
            durable: false,
            flags: Flags::of_body(false),
            publisher: None,
        };
        for op in 0..count {
            let message = Message::new(meta.clone(), queue.as_bytes());
            let from = (self.session, op as OpId);
            self.engine.publish(NOW, from, "", &message, &mut self.fx).expect("there is a route");
        }
    }

    fn messages(&mut self, queue: &str) -> Option<u64> {
        match self.ask(Request::QueryQueue { name: queue.into() }) {
            Some(Reply::Queue(report)) => report.map(|report| report.messages),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_purge_is_answered_when_the_last_slice_is_done() {
    let mut broker = Broker::new(4);
    broker.declare("q", None);
    broker.publish("q", 10);
    assert!(
        broker.ask(Request::PurgeQueue { name: "q".into(), which: Selection::default() }).is_none()
    );
    broker.publish("q", 3);
    let (ticks, reply) = broker.finish();
    assert!(matches!(reply, Reply::Purged(10)), "{reply:?}");
    assert_eq!(ticks, 2);
    assert_eq!(broker.messages("q"), Some(3), "what came after the purge was asked for stays");
    assert!(broker.engine.is_idle());
}

#[test]
fn a_short_purge_is_answered_at_once() {
    let mut broker = Broker::new(100);
    broker.declare("q", None);
    broker.publish("q", 10);
    let reply = broker.ask(Request::PurgeQueue { name: "q".into(), which: Selection::default() });
    assert!(matches!(reply, Some(Reply::Purged(10))), "{reply:?}");
}

#[test]
fn a_delete_is_answered_when_all_is_with_the_alternate_exchange() {
    let mut broker = Broker::new(4);
    let exchange = DeclareExchange {
        name: "dead".into(),
        kind: "fanout".into(),
        ..DeclareExchange::default()
    };
    broker.ask(Request::DeclareExchange(exchange)).expect("answered at once");
    broker.declare("letters", None);
    let binding = Binding {
        queue: "letters".into(),
        exchange: "dead".into(),
        key: "".into(),
        arguments: Default::default(),
    };
    broker.ask(Request::Bind(binding)).expect("answered at once");
    broker.declare("q", Some("dead"));
    broker.publish("q", 10);
    let delete = Request::DeleteQueue { name: "q".into(), if_unused: false, if_empty: false };
    assert!(broker.ask(delete).is_none());
    assert_eq!(broker.messages("letters"), Some(4));
    broker.finish();
    assert_eq!(broker.messages("letters"), Some(10));
    assert_eq!(broker.messages("q"), None);
    assert!(broker.engine.is_idle());
}
