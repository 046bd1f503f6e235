//! Purges, moves and reroutes of some of a queue's messages, in slices, over several shards.

mod cluster;

use cluster::Cluster;
use cluster::clients::queue;
use fletch_amqp::Value;
use fletch_amqp::types::Map;
use fletch_engine::{
    Binding, DeclareExchange, DeclareQueue, ErrorKind, HeaderFilter, Mode, Outcome, Reply, Request,
    Selection, SessionId,
};

/// A queue that lives on a shard.
fn at(name: &str, shard: u16) -> DeclareQueue {
    let arguments = Map::new().with("fletch.shard", Value::Int32(i32::from(shard)));
    DeclareQueue { arguments, ..queue(name) }
}

/// On each number of shards: two sessions on the first and the last shard, which is where "to" lives; "from"
/// is on the first.
fn each(test: impl Fn(&mut Cluster, SessionId, SessionId)) {
    for shards in [1, 2, 4] {
        let mut cluster = Cluster::new(shards);
        let (one, other) = (cluster.session(0), cluster.session(shards - 1));
        cluster.ok(one, Request::DeclareQueue(at("from", 0)));
        cluster.ok(one, Request::DeclareQueue(at("to", shards - 1)));
        test(&mut cluster, one, other);
    }
}

fn some(limit: u64, colour: Option<&str>) -> Selection {
    let filter = |value: &str| HeaderFilter { header: "colour".into(), value: value.into() };
    Selection { limit, filter: colour.map(filter) }
}

fn fill(c: &mut Cluster, session: SessionId, queue: &str, count: usize) {
    for n in 0..count {
        let colour = ["red", "blue", "green"][n % 3];
        c.send(session, queue, &Map::new().with("colour", colour));
    }
}

fn purge(c: &mut Cluster, session: SessionId, which: Selection) -> u64 {
    match c.ok(session, Request::PurgeQueue { name: "from".into(), which }) {
        Reply::Purged(n) => n,
        other => panic!("{other:?}"),
    }
}

fn moved(reply: &Reply) -> u64 {
    match reply {
        Reply::Moved(n) => *n,
        other => panic!("{other:?}"),
    }
}

fn move_all(c: &mut Cluster, session: SessionId, which: Selection) -> u64 {
    moved(&c.ok(session, Request::MoveMessages { from: "from".into(), to: "to".into(), which }))
}

#[test]
fn so_many_are_purged_and_those_that_match() {
    each(|c, one, other| {
        fill(c, one, "from", 30);
        assert_eq!(purge(c, other, some(7, None)), 7);
        assert_eq!(c.messages(one, "from"), Some(23));
        assert_eq!(purge(c, other, some(2, Some("blue"))), 2);
        assert_eq!(purge(c, other, some(0, Some("blue"))), 10 - 2 - 2);
        assert_eq!(purge(c, other, some(0, Some("yellow"))), 0);
        assert_eq!(c.messages(one, "from"), Some(15));
        assert_eq!(purge(c, one, some(0, None)), 15);
    });
}

#[test]
fn what_is_acquired_stays() {
    each(|c, one, other| {
        fill(c, one, "from", 6);
        let tag = c.subscribe(other, "from", Mode::Consume);
        c.grant(other, tag, 2);
        let held = c.take_deliveries();
        assert_eq!(purge(c, one, some(0, Some("red"))), 1);
        assert_eq!(move_all(c, one, some(0, None)), 3);
        c.settle(other, Outcome::Released { set_redelivered: false }, &held);
        assert_eq!(c.messages(one, "from"), Some(2));
        assert_eq!(c.messages(one, "to"), Some(3));
    });
}

#[test]
fn messages_move_in_order_and_are_there_when_that_is_answered() {
    each(|c, one, other| {
        fill(c, one, "from", 20);
        assert_eq!(move_all(c, other, some(3, Some("green"))), 3);
        assert_eq!(c.messages(other, "to"), Some(3));
        assert_eq!(move_all(c, one, some(0, None)), 17);
        assert_eq!((c.messages(one, "from"), c.messages(one, "to")), (Some(0), Some(20)));
        let tag = c.subscribe(one, "to", Mode::Browse);
        c.grant(one, tag, 100);
        let positions: Vec<_> = c.take_deliveries().iter().map(|d| d.position).collect();
        assert_eq!(positions, (1..=20).collect::<Vec<_>>());
        // To itself: each once, to the end.
        let request =
            Request::MoveMessages { from: "to".into(), to: "to".into(), which: some(5, None) };
        assert_eq!(moved(&c.ok(one, request)), 5);
        assert_eq!(c.messages(one, "to"), Some(20));
    });
}

#[test]
fn a_consumer_gets_what_moves() {
    each(|c, one, other| {
        fill(c, one, "from", 9);
        let tag = c.subscribe(other, "to", Mode::Consume);
        c.grant(other, tag, 100);
        assert_eq!(move_all(c, one, some(4, None)), 4);
        assert_eq!(c.take_deliveries().len(), 4);
    });
}

#[test]
fn messages_are_rerouted_through_an_exchange_or_the_alternate() {
    each(|c, one, other| {
        for name in ["x", "dead"] {
            let declare =
                DeclareExchange { name: name.into(), kind: "fanout".into(), ..Default::default() };
            c.ok(one, Request::DeclareExchange(declare));
        }
        let bind = |exchange: &str| {
            Request::Bind(Binding {
                queue: "to".into(),
                exchange: exchange.into(),
                key: "".into(),
                arguments: Map::new(),
            })
        };
        c.ok(one, bind("x"));
        let reroute = |name: &str, exchange: Option<&str>, which| Request::RerouteMessages {
            name: name.into(),
            exchange: exchange.map(Into::into),
            which,
        };
        fill(c, one, "from", 9);
        let error = c.ask(one, reroute("from", None, some(0, None))).expect_err("no alternate");
        assert_eq!(error.text, "No alternate-exchange defined");
        let error = c.ask(one, reroute("from", Some("y"), some(0, None))).expect_err("no exchange");
        assert_eq!((error.kind, &*error.text), (ErrorKind::NotFound, "Exchange not found"));
        assert_eq!(moved(&c.ok(other, reroute("from", Some("x"), some(2, Some("red"))))), 2);
        assert_eq!(c.messages(one, "to"), Some(2));
        // Nothing is bound there: dropped, and counted as rerouted all the same.
        assert_eq!(moved(&c.ok(other, reroute("from", Some("dead"), some(3, None)))), 3);
        assert_eq!((c.messages(one, "from"), c.messages(one, "to")), (Some(4), Some(2)));
        let alternate = Some("x".into());
        c.ok(one, Request::DeclareQueue(DeclareQueue { alternate, ..at("with", 0) }));
        let traced = Map::new().with("x-qpid.trace", "A,B,C");
        c.send(one, "with", &traced);
        assert_eq!(moved(&c.ok(other, reroute("with", None, some(0, None)))), 1);
        let tag = c.subscribe(one, "to", Mode::Browse);
        c.grant(one, tag, 100);
        let (_, _, last) = c.deliveries.last().expect("it was rerouted");
        let view = fletch_amqp::v0_10::message::MessageView::parse(last.header()).expect("reads");
        let trace = view.application_headers().expect("reads").get_str("x-qpid.trace");
        assert_eq!(trace, Some(""), "where it came by is forgotten");
    });
}

#[test]
fn an_emptied_queue_may_go() {
    each(|c, one, other| {
        let lifetime = Map::new().with("qpid.lifetime-policy", "delete-if-unused-and-empty");
        c.ok(one, Request::DeclareQueue(DeclareQueue { arguments: lifetime, ..queue("q") }));
        c.fill(one, "q", 9);
        let request = |limit| Request::MoveMessages {
            from: "q".into(),
            to: "to".into(),
            which: some(limit, None),
        };
        assert_eq!(moved(&c.ok(other, request(8))), 8);
        assert!(c.exists("q"));
        assert_eq!(moved(&c.ok(other, request(8))), 1);
        assert!(!c.exists("q"));
        assert_eq!(c.messages(one, "to"), Some(9));
    });
}

#[test]
fn redirected_queues_get_what_is_meant_for_each_other() {
    each(|c, one, other| {
        let redirect = |source: &str, target: Option<&str>| Request::Redirect {
            source: source.into(),
            target: target.map(Into::into),
        };
        c.ok(one, redirect("from", Some("to")));
        for session in [one, other] {
            c.fill(session, "from", 2);
            c.fill(session, "to", 1);
        }
        assert_eq!((c.messages(one, "from"), c.messages(one, "to")), (Some(2), Some(4)));
        let ends: Vec<_> = ["from", "to"]
            .map(|name| {
                let topology = c.engines[0].topology();
                let id = topology.queue(name).expect("it is there").id;
                topology.redirect_of(id).expect("it is redirected").1
            })
            .into();
        assert_eq!(ends, [true, false]);
        let refusals = [
            (
                redirect("from", Some("to")),
                "Queue redirect source queue: from is already redirected",
            ),
            (redirect("to", None), "Queue redirect source queue: to is not a redirect source"),
            (redirect("no", Some("to")), "Queue redirect failed: source queue not found: no"),
            (redirect("from", Some("no")), "Queue redirect failed: target queue not found: no"),
            (
                redirect("to", Some("to")),
                "Queue redirect source queue: to cannot be its own target",
            ),
        ];
        for (request, text) in refusals {
            assert_eq!(c.ask(other, request).expect_err("refused").text, text);
        }
        c.ok(other, redirect("from", None));
        c.fill(one, "from", 1);
        assert_eq!((c.messages(one, "from"), c.messages(one, "to")), (Some(3), Some(4)));
        let request =
            Request::MoveMessages { from: "to".into(), to: "from".into(), which: some(0, None) };
        assert_eq!(moved(&c.ok(one, request)), 4);
        let error = c.ask(one, redirect("from", None)).expect_err("it is over");
        assert_eq!(error.text, "Queue redirect source queue: from is not in redirected");
        c.ok(one, Request::DeclareQueue(DeclareQueue { auto_delete: true, ..queue("auto") }));
        let error = c.ask(one, redirect("from", Some("auto"))).expect_err("it is auto-delete");
        assert!(error.text.contains("auto is autodelete"), "{error}");
    });
}

#[test]
fn a_redirect_ends_with_either_queue() {
    each(|c, one, other| {
        let redirect = |source: &str, target: &str| Request::Redirect {
            source: source.into(),
            target: Some(target.into()),
        };
        c.ok(one, Request::DeclareQueue(at("third", 0)));
        c.ok(one, redirect("from", "to"));
        c.ok(other, Request::DeleteQueue { name: "to".into(), if_unused: false, if_empty: false });
        c.fill(one, "from", 1);
        assert_eq!(c.messages(one, "from"), Some(1));
        c.ok(one, redirect("third", "from"));
        c.ok(
            other,
            Request::DeleteQueue { name: "third".into(), if_unused: false, if_empty: false },
        );
        c.fill(other, "from", 1);
        assert_eq!(c.messages(one, "from"), Some(2));
    });
}
