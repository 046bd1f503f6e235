//! Messages that are not to be delivered before a time, across shards.

mod cluster;

use cluster::Cluster;
use cluster::clients::{message, queue};
use fletch_amqp::types::Map;
use fletch_engine::{DeclareQueue, ErrorKind, Mode, Reply, Request, Selection, SessionId, Time};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn due_at(seconds: i64) -> Map {
    Map::new().with("x-opt-delivery-time", seconds * 1000)
}

/// A broker of each number of shards with a queue, and two sessions on the first and the last of them.
fn each(test: impl Fn(&mut Cluster, SessionId, SessionId)) {
    for shards in [1, 2, 4] {
        let mut cluster = Cluster::new(shards);
        let (one, other) = (cluster.session(0), cluster.session(shards - 1));
        cluster.queue(one, "q", None);
        test(&mut cluster, one, other);
    }
}

#[test]
fn a_waiting_consumer_gets_it_when_it_is_due() {
    each(|c, one, other| {
        let tag = c.subscribe(other, "q", Mode::Consume);
        c.grant(other, tag, 99);
        (0..20).for_each(|_| c.send(one, "q", &due_at(5)));
        c.send(one, "q", &due_at(9));
        c.send(one, "q", &Map::new());
        assert_eq!(c.take_deliveries().len(), 1);
        c.pass(4 * SECOND);
        assert_eq!(c.take_deliveries().len(), 0);
        c.pass(2 * SECOND);
        let got: Vec<_> = c.take_deliveries().iter().map(|got| got.position).collect();
        assert!(got.into_iter().eq(1..=20), "all of them, in order");
        c.pass(4 * SECOND);
        assert_eq!(c.take_deliveries().len(), 1);
    });
}

#[test]
fn one_of_a_transaction_is_there_when_that_is_committed_and_it_is_due() {
    each(|c, one, other| {
        // The first commit is before it is due, the other one behind that.
        for available in [0, 2] {
            let message = message(other, ("q", ""), &due_at(5), Time::NEVER);
            let routes = c.engines[other.shard().index()].route("", &message);
            let routes = routes.expect("no fault").expect("a plain exchange");
            c.commit(other, vec![(message, routes)]);
            assert_eq!(c.messages(one, "q"), Some(available));
            c.pass(6 * SECOND);
        }
    });
}

#[test]
fn it_waits_on_in_another_queue() {
    each(|c, one, other| {
        c.exchange(one, ("dead", "fanout"), None, Map::new());
        c.queue(one, "letters", None);
        c.bind(one, "letters", "dead", "", Map::new());
        let declare = DeclareQueue { alternate: Some("dead".into()), ..queue("a") };
        c.ok(one, Request::DeclareQueue(declare));
        c.send(other, "a", &due_at(5));
        c.send(other, "q", &due_at(5));
        let delete =
            |if_empty| Request::DeleteQueue { name: "a".into(), if_unused: false, if_empty };
        let refused = c.ask(other, delete(true)).expect_err("it is not empty");
        assert_eq!(refused.kind, ErrorKind::PreconditionFailed);
        c.ok(other, delete(false));
        let (from, to) = ("q".into(), "letters".into());
        let moved = c.ok(one, Request::MoveMessages { from, to, which: Selection::default() });
        assert!(matches!(moved, Reply::Moved(1)), "{moved:?}");
        assert_eq!(c.messages(one, "letters"), Some(0));
        c.pass(6 * SECOND);
        assert_eq!(c.messages(one, "letters"), Some(2));
    });
}

#[test]
fn it_is_purged_like_any_other() {
    each(|c, one, other| {
        (0..10).for_each(|_| c.send(one, "q", &due_at(5)));
        let purge = Request::PurgeQueue { name: "q".into(), which: Selection::default() };
        let purged = c.ok(other, purge);
        assert!(matches!(purged, Reply::Purged(10)), "{purged:?}");
        c.pass(9 * SECOND);
        assert_eq!(c.messages(one, "q"), Some(0));
    });
}
