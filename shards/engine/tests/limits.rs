//! Limits and flow control over several shards: who is refused where, who is held and let go, what rings and
//! queues that destroy themselves leave behind.

use fletch_amqp::types::{Map, Value};
use fletch_engine::{
    Binding, Config, CreditUnit, DeclareExchange, DeclareQueue, DeliveryRef, Effects, Engine,
    ErrorKind, Event, Flags, FlowMode, Format, Message, Meta, Mode, Notice, OpId, Outcome,
    Published, Reply, Request, Selection, SessionId, ShardId, Subscribe, SubscriptionId, Time,
    Transaction, What,
};
use std::collections::VecDeque;
use std::sync::Arc;

const NOW: Time = Time(1);

/// Engines whose frames arrive at once.
struct Broker {
    engines: Vec<Engine>,
    fx: Effects,
    events: Vec<Event>,
    notices: Vec<Notice>,
    next_op: OpId,
}

impl Broker {
    fn new(shards: u16) -> Broker {
        let engine = |n| Engine::new(&Config::new(ShardId(n), shards));
        Broker {
            engines: (0..shards).map(engine).collect(),
            fx: Effects::default(),
            events: Vec::new(),
            notices: Vec::new(),
            next_op: 0,
        }
    }

    fn session(shard: u16) -> SessionId {
        SessionId::new(ShardId(shard), 1)
    }

    /// Lets everything under way arrive.
    fn settle(&mut self, shard: u16) {
        let mut frames = VecDeque::new();
        let mut at = ShardId(shard);
        loop {
            frames.extend(self.fx.frames.drain(..).map(|(to, frame)| (at, to, frame)));
            self.events.append(&mut self.fx.events);
            self.notices.append(&mut self.fx.notices);
            if let Some((from, to, frame)) = frames.pop_front() {
                at = to;
                self.engines[to.index()].frame(NOW, from, frame, &mut self.fx);
                continue;
            }
            for n in 0..self.engines.len() as u16 {
                at = ShardId(n);
                self.engines[at.index()].turn_end(NOW, &mut self.fx);
                frames.extend(self.fx.frames.drain(..).map(|(to, frame)| (at, to, frame)));
            }
            if frames.is_empty() && self.fx.events.is_empty() {
                return;
            }
        }
    }

    fn ask(&mut self, session: SessionId, request: Request) -> Result<Reply, fletch_engine::Error> {
        self.next_op += 1;
        let shard = session.shard();
        self.engines[shard.index()].request(NOW, session, self.next_op, request, &mut self.fx);
        self.settle(shard.0);
        let op = self.next_op;
        let answer = |e: &Event| matches!(e, Event::Reply { op: o, .. } if *o == op);
        let at = self.events.iter().position(answer).expect("it is answered");
        match self.events.remove(at) {
            Event::Reply { result, .. } => result,
            other => panic!("{other:?}"),
        }
    }

    /// A queue homed on a shard.
    fn declare(
        &mut self,
        name: &str,
        home: u16,
        alternate: Option<&str>,
        arguments: &[(&str, Value)],
    ) {
        let mut map = Map::new().with("fletch.shard", i32::from(home));
        for (name, value) in arguments {
            map.insert(*name, value.clone());
        }
        let declare = DeclareQueue {
            name: name.into(),
            alternate: alternate.map(Arc::from),
            arguments: map,
            ..DeclareQueue::default()
        };
        self.ask(Broker::session(0), Request::DeclareQueue(declare)).unwrap();
    }

    /// A fanout exchange to these queues.
    fn fanout(&mut self, name: &str, queues: &[&str]) {
        let (exchange, kind) = (Arc::from(name), Arc::from("fanout"));
        let declare = DeclareExchange { name: exchange, kind, ..DeclareExchange::default() };
        self.ask(Broker::session(0), Request::DeclareExchange(declare)).unwrap();
        for queue in queues {
            self.bind(name, queue);
        }
    }

    fn bind(&mut self, exchange: &str, queue: &str) {
        let (queue, exchange) = (queue.into(), exchange.into());
        let binding = Binding { queue, exchange, key: "".into(), arguments: Map::new() };
        self.ask(Broker::session(0), Request::Bind(binding)).unwrap();
    }

    /// Publishes from a shard; what comes of it at once, and its operation.
    fn publish(
        &mut self,
        shard: u16,
        exchange: &str,
        key: &str,
    ) -> (OpId, Result<Published, String>) {
        self.next_op += 1;
        let meta = Meta {
            format: Format::V0_10,
            header_len: key.len() as u32,
            routing_key: (0, key.len() as u32),
            expires: Time::NEVER,
            priority: 4,
            durable: false,
            flags: Flags::of_body(false),
            publisher: None,
        };
        let message = Message::new(meta, key.as_bytes());
        let from = (Broker::session(shard), self.next_op);
        let engine = &mut self.engines[usize::from(shard)];
        let result = engine.publish(NOW, from, exchange, &message, &mut self.fx);
        self.settle(shard);
        if let Err(e) = &result {
            assert_eq!(e.kind, ErrorKind::ResourceLimit);
        }
        (self.next_op, result.map_err(|e| e.text))
    }

    /// What sessions were told about publishes since the last look.
    fn told(&mut self) -> Vec<(OpId, &'static str)> {
        let mut told = Vec::new();
        self.events.retain(|event| {
            told.push(match event {
                Event::Published { op, .. } => (*op, "published"),
                Event::Withheld { op, .. } => (*op, "withheld"),
                Event::Refused { op, .. } => (*op, "refused"),
                _ => return true,
            });
            false
        });
        told
    }

    fn depth(&self, name: &str) -> Option<u64> {
        let id = self.engines[0].topology().queue(name)?.id;
        let mut all = self.engines.iter().flat_map(Engine::queues);
        all.find(|q| q.id() == id).map(|q| q.depth().0)
    }

    /// Takes so many messages from a queue, and has them to accept.
    fn consume(&mut self, shard: u16, queue: &str, n: u32) -> Vec<DeliveryRef> {
        let session = Broker::session(shard);
        self.next_op += 1;
        let tag = self.next_op as u32;
        let (mode, settles, exclusive) = (Mode::Consume, true, false);
        let queue = queue.into();
        let s = Subscribe {
            tag,
            queue,
            mode,
            settles,
            exclusive,
            selector: None,
            arguments: Map::new(),
        };
        self.ask(session, Request::Subscribe(s)).unwrap();
        let to = SubscriptionId { session, tag };
        let engine = &mut self.engines[usize::from(shard)];
        engine.set_mode(NOW, to, FlowMode::Credit, &mut self.fx);
        engine
            .grant(NOW, to, CreditUnit::Bytes, u32::MAX, &mut self.fx)
            .expect("its queue is there");
        engine.grant(NOW, to, CreditUnit::Messages, n, &mut self.fx).expect("its queue is there");
        self.settle(shard);
        self.ask(session, Request::Cancel { tag }).unwrap();
        let delivered = |event: &Event| match event {
            Event::Deliver { delivery, .. } => Some(*delivery),
            _ => None,
        };
        let got = self.events.iter().filter_map(delivered).collect();
        self.events.retain(|event| !matches!(event, Event::Deliver { .. }));
        got
    }

    fn accept(&mut self, shard: u16, deliveries: Vec<DeliveryRef>) {
        let settle = Request::Settle { outcome: Outcome::Accepted, deliveries };
        self.ask(Broker::session(shard), settle).unwrap();
    }

    fn assert_idle(&self) {
        assert!(self.engines.iter().all(|e| e.is_idle() && e.withheld() == 0));
    }
}

fn n(count: u64) -> Value {
    Value::Uint64(count)
}

#[test]
fn a_full_queue_refuses_from_anywhere_and_keeps_local_ones_whole() {
    let mut b = Broker::new(2);
    b.declare("free", 0, None, &[]);
    b.declare("full", 0, None, &[("qpid.max_count", n(1))]);
    b.fanout("both", &["free", "full"]);
    assert_eq!(b.publish(0, "both", "").1, Ok(Published::Done));
    let (_, refused) = b.publish(0, "both", "");
    let text = refused.unwrap_err();
    assert!(text.starts_with("Maximum depth exceeded on full: current=[count: 1]"), "{text}");
    assert_eq!(b.depth("free"), Some(1), "refused whole");
    let (op, pending) = b.publish(1, "both", "");
    assert_eq!((pending, b.told()), (Ok(Published::Pending), vec![(op, "refused")]));
    assert_eq!((b.depth("free"), b.depth("full")), (Some(1), Some(1)));
    let got = b.consume(1, "full", 1);
    let (op, _) = b.publish(1, "", "full");
    assert_eq!(b.told(), [(op, "refused")], "acquired is not gone");
    b.accept(1, got);
    let (op, _) = b.publish(1, "", "full");
    assert_eq!(b.told(), [(op, "published")]);
    b.assert_idle();
}

#[test]
fn a_publish_goes_on_when_all_its_queues_do() {
    let flow = |stop| [("qpid.flow_stop_count", n(stop)), ("qpid.flow_resume_count", n(stop))];
    let mut b = Broker::new(3);
    b.declare("a", 0, None, &flow(1));
    b.declare("b", 1, None, &flow(1));
    b.declare("c", 2, None, &[]);
    b.fanout("all", &["a", "b", "c"]);
    let (first, _) = b.publish(1, "all", "");
    assert_eq!(b.told(), [(first, "published")]);
    let (second, _) = b.publish(1, "all", "");
    assert_eq!(b.told(), [(second, "withheld")]);
    let (local, pending) = b.publish(1, "", "b");
    assert_eq!((pending, b.told()), (Ok(Published::Pending), vec![(local, "withheld")]));
    // Queue a resumes below one message.
    let got = b.consume(2, "a", 2);
    assert_eq!((got.len(), b.told()), (2, vec![]), "consumers are not concerned, nor is it enough");
    b.accept(2, got);
    assert_eq!(b.told(), [], "b is still too full");
    let got = b.consume(0, "b", 2);
    b.accept(0, got);
    assert_eq!(b.told(), [(second, "published")], "its message has left");
    let got = b.consume(0, "b", 1);
    b.accept(0, got);
    assert_eq!(b.told(), [(local, "published")]);
    let what: Vec<(&str, What)> = b.notices.iter().map(|n| (&*n.queue, n.what)).collect();
    use What::{FlowResumed, FlowStopped};
    assert_eq!(
        what,
        [("b", FlowStopped), ("a", FlowStopped), ("a", FlowResumed), ("b", FlowResumed)]
    );
    b.assert_idle();
}

#[test]
fn a_queue_that_is_deleted_or_purged_lets_its_publishers_go() {
    let mut b = Broker::new(2);
    for (name, home) in [("deleted", 1), ("purged", 0)] {
        b.declare(name, home, None, &[("qpid.flow_stop_count", n(1))]);
    }
    for queue in ["deleted", "purged"] {
        let _ = b.publish(0, "", queue);
        b.told();
        let (op, _) = b.publish(0, "", queue);
        assert_eq!(b.told(), [(op, "withheld")]);
        assert_eq!(b.engines[0].withheld(), 1);
        let (name, session) = (Arc::from(queue), Broker::session(1));
        if queue == "purged" {
            let purge = Request::PurgeQueue { name, which: Selection::default() };
            assert!(matches!(b.ask(session, purge), Ok(Reply::Purged(2))));
        } else {
            let delete = Request::DeleteQueue { name, if_unused: false, if_empty: false };
            b.ask(session, delete).unwrap();
        }
        assert_eq!(b.told(), [(op, "published")], "{queue}");
    }
    b.assert_idle();
}

#[test]
fn one_that_is_refused_elsewhere_is_not_mistaken_for_another_when_it_goes_on() {
    let mut b = Broker::new(3);
    b.declare("slow", 1, None, &[("qpid.flow_stop_count", n(1))]);
    b.declare("full", 2, None, &[("qpid.max_count", n(1))]);
    b.fanout("both", &["slow", "full"]);
    let _ = b.publish(0, "both", "");
    b.told();
    let (refused, _) = b.publish(0, "both", "");
    assert_eq!(b.told(), [(refused, "refused")]);
    // Another one that is under way all the while, perhaps in its place.
    let (held, _) = b.publish(0, "", "slow");
    assert_eq!(b.told(), [(held, "withheld")]);
    let got = b.consume(0, "slow", 2);
    b.accept(0, got);
    assert_eq!(b.told(), [], "that was the refused one");
    let got = b.consume(0, "slow", 1);
    b.accept(0, got);
    assert_eq!(b.told(), [(held, "published")]);
    b.assert_idle();
}

#[test]
fn rings_that_lead_into_each_other_come_to_an_end() {
    let ring = |max| [("qpid.policy_type", Value::from("ring")), ("qpid.max_count", n(max))];
    let mut b = Broker::new(2);
    for name in ["to-a", "to-b"] {
        b.fanout(name, &[]);
    }
    b.declare("a", 0, Some("to-b"), &ring(2));
    b.declare("b", 1, Some("to-a"), &ring(2));
    b.declare("self", 0, Some("to-a"), &ring(1));
    b.bind("to-a", "a");
    b.bind("to-b", "b");
    b.bind("to-a", "self");
    for _ in 0..20 {
        let _ = b.publish(0, "", "a");
        let _ = b.publish(1, "", "self");
    }
    assert_eq!((b.depth("a"), b.depth("b"), b.depth("self")), (Some(2), Some(2), Some(1)));
    assert!(b.engines.iter().map(|e| e.stats().discarded).sum::<u64>() > 0);
    b.told();
    b.assert_idle();
}

#[test]
fn a_queue_destroys_itself_and_leaves_its_messages_to_the_alternate() {
    let arguments = [("qpid.policy_type", Value::from("self-destruct")), ("qpid.max_count", n(2))];
    for (home, publisher) in [(0, 0), (1, 0), (0, 1), (1, 1)] {
        let mut b = Broker::new(2);
        b.declare("rest", 1, None, &[]);
        b.fanout("dead", &["rest"]);
        b.declare("q", home, Some("dead"), &arguments);
        let got = b.consume(publisher, "q", 9);
        assert!(got.is_empty());
        for _ in 0..2 {
            let _ = b.publish(publisher, "", "q");
        }
        assert_eq!(b.depth("q"), Some(2));
        let _ = b.publish(publisher, "", "q");
        assert_eq!((b.depth("q"), b.depth("rest")), (None, Some(3)), "{home} {publisher}");
        let destroyed = b.notices.iter().filter(|n| n.what == What::SelfDestructed).count();
        assert_eq!(destroyed, 1);
        b.assert_idle();
    }
}

#[test]
fn subscribers_are_told_that_the_queue_destroyed_itself() {
    let arguments = [("qpid.policy_type", Value::from("self-destruct")), ("qpid.max_count", n(1))];
    let mut b = Broker::new(2);
    b.declare("q", 1, None, &arguments);
    let (mode, settles, exclusive) = (Mode::Consume, true, false);
    let s = Subscribe {
        tag: 7,
        queue: "q".into(),
        mode,
        settles,
        exclusive,
        selector: None,
        arguments: Map::new(),
    };
    b.ask(Broker::session(0), Request::Subscribe(s)).unwrap();
    let _ = b.publish(0, "", "q");
    let _ = b.publish(0, "", "q");
    let to = SubscriptionId { session: Broker::session(0), tag: 7 };
    let granted = b.engines[0].grant(NOW, to, CreditUnit::Messages, 1, &mut b.fx);
    assert_eq!(granted.map_err(|error| error.kind), Err(ErrorKind::ResourceDeleted));
}

#[test]
fn settings_that_mean_nothing_are_refused_or_told() {
    let mut b = Broker::new(1);
    b.declare("resumes", 0, None, &[("qpid.flow_resume_count", n(1))]);
    b.declare(
        "ring",
        0,
        None,
        &[
            ("qpid.policy_type", Value::from("ring")),
            ("qpid.max_count", n(9)),
            ("qpid.flow_stop_count", n(5)),
        ],
    );
    let told: Vec<(&str, What)> = b.notices.iter().map(|n| (&*n.queue, n.what)).collect();
    assert_eq!(told, [("resumes", What::FlowIgnored), ("ring", What::FlowIgnored)]);
}

/// The body of a message that goes to a queue by the default exchange.
fn keyed(key: &str) -> Message {
    let meta = Meta {
        format: Format::V0_10,
        header_len: key.len() as u32,
        routing_key: (0, key.len() as u32),
        expires: Time::NEVER,
        priority: 4,
        durable: false,
        flags: Flags::of_body(false),
        publisher: None,
    };
    Message::new(meta, key.as_bytes())
}

#[test]
fn a_transaction_that_a_queue_has_no_room_for_comes_to_nothing() {
    for (shards, home) in [(1, 0), (2, 1)] {
        let mut b = Broker::new(shards);
        b.declare("free", 0, None, &[]);
        b.declare("full", home, None, &[("qpid.max_count", n(3))]);
        let session = Broker::session(0);
        let commit = |b: &mut Broker, queues: &[&str]| {
            let mut transaction = Transaction::default();
            for queue in queues {
                let message = keyed(queue);
                let routes = b.engines[0].route("", &message).unwrap().unwrap();
                transaction.publishes.push((message, routes));
            }
            b.ask(session, Request::Commit(Box::new(transaction))).map(drop)
        };
        commit(&mut b, &["full", "free", "full"]).unwrap();
        let refused = commit(&mut b, &["free", "full", "full"]).unwrap_err();
        let begin =
            "Transaction prepare failed. Maximum depth exceeded on full: current=[count: 3]";
        assert!(refused.text.starts_with(begin), "{}", refused.text);
        assert_eq!((b.depth("free"), b.depth("full")), (Some(1), Some(2)));
        // Nothing is kept for what did not hold.
        commit(&mut b, &["full", "free"]).unwrap();
        assert_eq!((b.depth("free"), b.depth("full")), (Some(2), Some(3)));
        commit(&mut b, &["full"]).unwrap_err();
        b.assert_idle();
    }
}

#[test]
fn a_transaction_fills_a_ring() {
    let ring = [("qpid.policy_type", Value::from("ring")), ("qpid.max_count", n(2))];
    let mut b = Broker::new(2);
    b.declare("rest", 0, None, &[]);
    b.fanout("dead", &["rest"]);
    b.declare("ring", 1, Some("dead"), &ring);
    let mut transaction = Transaction::default();
    for _ in 0..5 {
        let message = keyed("ring");
        let routes = b.engines[0].route("", &message).unwrap().unwrap();
        transaction.publishes.push((message, routes));
    }
    b.ask(Broker::session(0), Request::Commit(Box::new(transaction))).unwrap();
    assert_eq!((b.depth("ring"), b.depth("rest")), (Some(2), Some(3)));
    b.assert_idle();
}
