//! `qpid.exclusive-binding`: a binding that takes the place of all others of its key.

use super::*;
use fletch_amqp::Value;

fn alone(queue: &str, exchange: &str, key: &str) -> TopologyRequest {
    // As in the reference, being there is enough.
    bind_with(queue, exchange, key, Map::new().with("qpid.exclusive-binding", Value::Int32(0)))
}

fn broker() -> (Broker, SessionId) {
    let (mut b, s) = (Broker::new(3), session(1, 1));
    for name in ["q", "r", "t"] {
        b.ok(s, queue(name));
    }
    (b, s)
}

#[test]
fn others_of_the_key_are_gone() {
    let (mut b, s) = broker();
    for (queue, key) in [("q", "k"), ("r", "k"), ("q", "l"), ("t", "l")] {
        b.ok(s, bind(queue, "amq.direct", key));
    }
    b.ok(s, alone("t", "amq.direct", "k"));
    assert_eq!(b.goes_to("amq.direct", "k"), ["t"]);
    assert_eq!(b.goes_to("amq.direct", "l"), ["q", "t"]);
    assert_eq!(b.replicas[2].exchange("amq.direct").unwrap().bindings(), 3);
    // Those that follow are bound beside it, until it is made again.
    b.ok(s, bind("q", "amq.direct", "k"));
    assert_eq!(b.goes_to("amq.direct", "k"), ["q", "t"]);
    b.ok(s, alone("q", "amq.direct", "k"));
    assert_eq!(b.goes_to("amq.direct", "k"), ["q"]);
    // What was replaced is no part of its queue any more.
    b.ok(s, unbind("t", "amq.direct", "k"));
    for name in ["t", "r", "q"] {
        b.ok(s, delete(name));
    }
    assert_eq!(b.replicas[2].exchange("amq.direct").unwrap().bindings(), 0);
}

#[test]
fn no_replica_ever_has_both_or_neither() {
    let (mut b, s) = broker();
    b.ok(s, bind("q", "amq.direct", "k"));
    for turn in 0..6 {
        let (from, to) = if turn % 2 == 0 { ("q", "r") } else { ("r", "q") };
        let op = b.submit(s, alone(to, "amq.direct", "k"));
        for shard in 0..3 {
            // A stream that is routed on another shard goes on to the old queue alone.
            assert_eq!(b.goes_to("amq.direct", "k"), [from]);
            assert_eq!(b.mail[usize::from(shard)].len(), 1, "it is one change");
            b.apply(shard);
        }
        assert_eq!(b.goes_to("amq.direct", "k"), [to]);
        assert_eq!(b.finish(op), Ok(()));
    }
}

#[test]
fn an_auto_delete_exchange_outlives_the_change() {
    let (mut b, s) = broker();
    let x = DeclareExchange { auto_delete: true, ..declare_exchange("x", "direct") };
    b.ok(s, TopologyRequest::DeclareExchange(x));
    b.ok(s, bind("q", "x", "k"));
    b.ok(s, alone("r", "x", "k"));
    assert_eq!(b.goes_to("x", "k"), ["r"]);
    b.ok(s, unbind("r", "x", "k"));
    assert!(b.replicas[2].exchange("x").is_none());
}

#[test]
fn only_direct_exchanges_know_it() {
    let (mut b, s) = broker();
    for (name, kind) in [("y", "topic"), ("z", "fanout")] {
        b.ok(s, exchange(name, kind));
        b.ok(s, bind("q", name, "k"));
        b.ok(s, alone("r", name, "k"));
        assert_eq!(b.goes_to(name, "k"), ["q", "r"]);
    }
}
