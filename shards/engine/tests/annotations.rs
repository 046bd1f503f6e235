//! What consumers say of messages that they give back goes with those from then on.

mod cluster;

use cluster::Cluster;
use cluster::clients::queue;
use fletch_amqp::types::Map;
use fletch_amqp::v1_0::types::{Symbol, ValueRef, put_map, put_symbol, put_uint};
use fletch_amqp::wire::Reader;
use fletch_engine::{Annotations, DeclareQueue, DeliveryRef, Mode, Outcome, Request, SessionId};
use std::sync::Arc;

const BACK: Outcome = Outcome::Released { set_redelivered: false };

fn annotations(why: u32) -> Arc<Annotations> {
    let mut octets = Vec::new();
    let put = put_map(&mut octets, |out| {
        put_symbol(Symbol::new("x-why").expect("ascii"), out)?;
        put_uint(why, out);
        Ok(2)
    });
    put.expect("encodes");
    let value = ValueRef::decode(&mut Reader::new(&octets)).expect("decodes");
    Arc::new(Annotations::of(value.as_map().expect("a map")).expect("few"))
}

fn give_back(c: &mut Cluster, session: SessionId, outcome: Outcome, of: &[DeliveryRef], why: u32) {
    let annotations = annotations(why);
    c.input(session.shard(), |engine, _, fx| engine.annotate(session, of, &annotations, fx));
    c.settle(session, outcome, of);
}

fn whys(c: &mut Cluster, session: SessionId, queue: &str) -> Vec<Option<i64>> {
    c.browse(session, queue).into_iter().map(|got| got.why).collect()
}

/// A queue with two messages, and what is rejected from it goes to `letters`.
fn scene(shards: u16) -> (Cluster, SessionId, SessionId) {
    let mut c = Cluster::new(shards);
    let (one, other) = (c.session(0), c.session(shards - 1));
    c.exchange(one, ("dead", "fanout"), None, Map::new());
    c.queue(one, "letters", None);
    c.bind(one, "letters", "dead", "", Map::new());
    let arguments = Map::new().with("fletch.max_deliveries", 2);
    let alternate = Some("dead".into());
    c.ok(one, Request::DeclareQueue(DeclareQueue { alternate, arguments, ..queue("q") }));
    c.fill(one, "q", 2);
    (c, one, other)
}

#[test]
fn they_stay_with_the_message() {
    for shards in [1, 2] {
        let (mut c, one, other) = scene(shards);
        let tag = c.subscribe(other, "q", Mode::Consume);
        for why in 1..4 {
            c.grant(other, tag, 1);
            let held = c.take_deliveries();
            give_back(&mut c, other, BACK, &held, why);
            assert_eq!(whys(&mut c, one, "q"), [Some(why.into()), None]);
        }
        c.grant(other, tag, 1);
        let held = c.take_deliveries();
        c.settle(other, Outcome::Accepted, &held);
        assert_eq!(whys(&mut c, one, "q"), [None]);
    }
}

#[test]
fn they_go_with_it_to_other_queues() {
    for shards in [1, 2] {
        let (mut c, one, other) = scene(shards);
        let tag = c.subscribe(other, "q", Mode::Consume);
        let failed = Outcome::Released { set_redelivered: true };
        c.grant(other, tag, 1);
        let held = c.take_deliveries();
        give_back(&mut c, other, failed, &held, 1);
        c.grant(other, tag, 1);
        let held = c.take_deliveries();
        give_back(&mut c, other, failed, &held, 2);
        assert_eq!(whys(&mut c, one, "letters"), [Some(2)], "delivered too often");
        c.grant(other, tag, 1);
        let held = c.take_deliveries();
        give_back(&mut c, other, Outcome::Rejected, &held, 3);
        assert_eq!(whys(&mut c, one, "letters"), [Some(2), Some(3)]);
        // By a deletion, too.
        c.fill(one, "q", 1);
        c.grant(other, tag, 1);
        let held = c.take_deliveries();
        give_back(&mut c, other, BACK, &held, 4);
        c.ok(other, Request::Cancel { tag });
        let name = "q".into();
        c.ok(one, Request::DeleteQueue { name, if_unused: false, if_empty: false });
        assert_eq!(whys(&mut c, one, "letters"), [Some(2), Some(3), Some(4)]);
    }
}

#[test]
fn only_who_has_a_message_may_say_something_of_it() {
    let (mut c, one, _) = scene(1);
    let all: Vec<_> = c.browse(one, "q").into_iter().map(|got| got.delivery).collect();
    give_back(&mut c, one, BACK, &all, 1);
    assert_eq!(whys(&mut c, one, "q"), [None, None]);
}
