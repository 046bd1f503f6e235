//! Topics, and policies that make nodes on demand.

mod cluster;

use cluster::Cluster;
use fletch_amqp::types::Map;
use fletch_engine::topology::{Made, ObjectKind};
use fletch_engine::{CreateObject, Error, ErrorKind, Request, SessionId};
use std::sync::Arc;

const POLICY: ObjectKind = ObjectKind::QueuePolicy;
const TOPICS: ObjectKind = ObjectKind::TopicPolicy;
const TOPIC: ObjectKind = ObjectKind::Topic;

fn create(kind: ObjectKind, name: &str, properties: Map) -> Request {
    Request::CreateObject(CreateObject { kind, name: name.into(), properties, if_absent: false })
}

fn refusal(c: &mut Cluster, session: SessionId, request: Request) -> Error {
    c.ask(session, request).expect_err("refused")
}

/// What a shard would make for a name.
fn made(c: &mut Cluster, shard: u16, name: &str) -> Option<Made> {
    let name: Arc<str> = name.into();
    let session = c.session(shard);
    c.input(session.shard(), |engine, _, _| engine.topology().policy(&name)?.make(&name))
}

#[test]
fn every_shard_knows_the_policies() {
    let mut c = Cluster::new(2);
    let one = c.session(1);
    c.ok(one, create(POLICY, "^q", Map::new().with("qpid.max_count", 5)));
    c.ok(one, create(POLICY, "^q-lasting", Map::new().with("durable", true)));
    c.ok(one, create(TOPICS, "^t", Map::new().with("exchange-type", "fanout").with("x", "y")));
    for shard in 0..2 {
        let Some(Made::Queue(queue)) = made(&mut c, shard, "q1") else { panic!("a queue") };
        assert_eq!((queue.durable, queue.auto_delete), (false, true));
        assert_eq!(queue.arguments.get_int("qpid.max_count"), Some(5));
        let lifetime = queue.arguments.get_str("qpid.lifetime-policy");
        assert_eq!(lifetime, Some("delete-if-unused-and-empty"));
        let Some(Made::Queue(queue)) = made(&mut c, shard, "q-lasting-1") else {
            panic!("a queue")
        };
        assert_eq!((queue.durable, queue.auto_delete), (true, false), "the longest one says more");
        assert!(queue.arguments.is_empty());
        let Some(Made::Topic(exchange, topic)) = made(&mut c, shard, "t1") else {
            panic!("a topic")
        };
        assert_eq!((&*exchange.kind, exchange.auto_delete), ("fanout", true));
        assert_eq!((&*topic.name, topic.properties.get_str("exchange")), ("t1", Some("t1")));
        assert_eq!(topic.properties.get_str("x"), Some("y"));
        assert!(made(&mut c, shard, "other").is_none());
    }
    c.ok(one, Request::DeleteObject { kind: POLICY, name: "^q".into() });
    assert!(made(&mut c, 0, "q1").is_none());
}

#[test]
fn what_makes_no_sense_is_refused() {
    let mut c = Cluster::new(1);
    let one = c.session(0);
    c.exchange(one, ("passing", "fanout"), None, Map::new());
    let error = refusal(&mut c, one, create(POLICY, "(", Map::new()));
    assert_eq!(error.kind, ErrorKind::InvalidArgument);
    assert!(error.text.contains("QueuePolicy ("), "{error}");
    for (kind, name, properties) in [
        (POLICY, "q", Map::new().with("qpid.max_count", -1)),
        (POLICY, "q", Map::new().with("durable", "perhaps")),
        (POLICY, "q", Map::new().with("alternate-exchange", "nowhere")),
        (TOPICS, "t", Map::new().with("exchange-type", "unheard of")),
        (TOPICS, "t", Map::new().with("qpid.lifetime-policy", "for ever")),
        (TOPICS, "t", Map::new().with("qpid.max_count", -1)),
        (TOPIC, "t", Map::new()),
        (TOPIC, "t", Map::new().with("exchange", "nowhere")),
        (TOPIC, "t", Map::new().with("exchange", "passing").with("durable", true)),
        (TOPIC, "t", Map::new().with("exchange", "passing").with("qpid.max_count", -1)),
        (TOPIC, "", Map::new().with("exchange", "passing")),
    ] {
        let shown = format!("{kind} {properties:?}");
        assert!(c.ask(one, create(kind, name, properties)).is_err(), "{shown}");
    }
    c.ok(one, create(POLICY, "q", Map::new()));
    let error = refusal(&mut c, one, create(POLICY, "q", Map::new()));
    assert_eq!(error.text, "An object of type QueuePolicy with key q already exists");
    let error = refusal(&mut c, one, create(TOPICS, "q", Map::new()));
    assert!(error.text.contains("as an object of type QueuePolicy already exists"), "{error}");
    let error = refusal(&mut c, one, Request::DeleteObject { kind: TOPICS, name: "q".into() });
    assert_eq!(error.text, "Object with key q is of type QueuePolicy not TopicPolicy");
    let error = refusal(&mut c, one, Request::DeleteObject { kind: TOPIC, name: "q".into() });
    assert_eq!(error.kind, ErrorKind::NotFound);
}

#[test]
fn a_topic_says_what_subscriptions_are_like_and_goes_with_its_exchange() {
    let mut c = Cluster::new(2);
    let one = c.session(1);
    c.exchange(one, ("x", "topic"), None, Map::new());
    let properties = Map::new().with("exchange", "x").with("qpid.max_count", 5);
    c.ok(one, create(TOPIC, "news", properties));
    let topic = |c: &mut Cluster, shard: u16| {
        let session = c.session(shard);
        c.input(session.shard(), |engine, _, _| engine.topology().topic("news").cloned())
    };
    for shard in 0..2 {
        let topic = topic(&mut c, shard).expect("everywhere");
        let queue = topic.subscription_queue("sub".into());
        assert_eq!((topic.exchange(), queue.arguments.get_int("qpid.max_count")), ("x", Some(5)));
        assert_eq!(queue.arguments.len(), 1);
    }
    c.ok(one, Request::DeleteExchange { name: "x".into(), if_unused: false });
    assert!(topic(&mut c, 0).is_none() && topic(&mut c, 1).is_none());
}
