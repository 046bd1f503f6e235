//! A queue with `fletch.dedup_window` takes no message twice, whoever publishes it and on whichever shard.

mod cluster;

use cluster::Cluster;
use cluster::clients::{identified, queue};
use fletch_amqp::Value;
use fletch_amqp::types::{Map, Uuid};
use fletch_engine::queue::Counters;
use fletch_engine::{
    DeclareQueue, ErrorKind, Mode, Outcome, Request, Selection, SessionId, Transaction,
};

fn remembering(name: &str, shard: u16, window: impl Into<Value>) -> DeclareQueue {
    let arguments = Map::new()
        .with("fletch.shard", Value::Int32(i32::from(shard)))
        .with("fletch.dedup_window", window);
    DeclareQueue { arguments, ..queue(name) }
}

fn id(n: u8) -> Uuid {
    Uuid([n; 16])
}

/// On each number of shards: sessions on the first and the last; "q" remembers ten ids and lives on the last.
fn each(test: impl Fn(&mut Cluster, SessionId, SessionId)) {
    for shards in [1, 2, 4] {
        let mut c = Cluster::new(shards);
        let (one, other) = (c.session(0), c.session(shards - 1));
        c.ok(one, Request::DeclareQueue(remembering("q", shards - 1, 10)));
        test(&mut c, one, other);
    }
}

/// Publishes a message to an exchange, which is safe then.
fn send(c: &mut Cluster, session: SessionId, exchange: &str, (key, n): (&str, u8)) {
    let message = identified(session, (key, &n.to_string()), id(n));
    let op = c.start_publish(session, exchange, &message);
    assert_eq!(c.outcome(session, op), Some(Ok(())));
}

fn counters(c: &Cluster, name: &str) -> Counters {
    let id = c.engines[0].topology().queue(name).expect("it is there").id;
    let mut all = c.engines.iter().flat_map(|e| e.queues());
    all.find(|q| q.id() == id).expect("it is homed somewhere").counters()
}

#[test]
fn the_second_is_accepted_and_not_taken_in() {
    each(|c, one, other| {
        for (session, n) in [(one, 1), (other, 1), (one, 2), (one, 1), (other, 2)] {
            send(c, session, "", ("q", n));
        }
        c.send(one, "q", &Map::new());
        c.send(one, "q", &Map::new());
        assert_eq!(c.texts(one, "q"), ["1", "2", "", ""], "without an id none is a duplicate");
        let counters = counters(c, "q");
        assert_eq!((counters.enqueued, counters.duplicates), (4, 3));
    });
}

#[test]
fn it_is_one_also_when_the_first_is_gone() {
    each(|c, one, other| {
        send(c, one, "", ("q", 1));
        let got = c.read(other, "q", Mode::Consume);
        c.settle(other, Outcome::Accepted, &[got[0].delivery]);
        send(c, one, "", ("q", 1));
        send(c, other, "", ("q", 2));
        c.ok(one, Request::PurgeQueue { name: "q".into(), which: Selection::default() });
        send(c, other, "", ("q", 2));
        assert_eq!(c.texts(one, "q"), [""; 0]);
    });
}

#[test]
fn only_so_many_are_remembered() {
    each(|c, one, _| {
        (1..=11).for_each(|n| send(c, one, "", ("q", n)));
        send(c, one, "", ("q", 2));
        assert_eq!(counters(c, "q").duplicates, 1);
        send(c, one, "", ("q", 1));
        assert_eq!(c.texts(one, "q").last().map(String::as_str), Some("1"), "it is forgotten");
    });
}

#[test]
fn each_queue_has_its_own() {
    each(|c, one, other| {
        c.ok(one, Request::DeclareQueue(remembering("r", 0, "5")));
        c.queue(one, "plain", None);
        for name in ["q", "r", "plain"] {
            c.bind(one, name, "amq.fanout", "", Map::new());
        }
        send(c, one, "", ("r", 1));
        send(c, other, "amq.fanout", ("", 1));
        send(c, one, "amq.fanout", ("", 1));
        assert_eq!(c.texts(one, "q"), ["1"]);
        assert_eq!(c.texts(one, "r"), ["1"]);
        assert_eq!(c.texts(one, "plain"), ["1", "1"]);
    });
}

#[test]
fn what_moves_or_comes_back_is_no_duplicate() {
    each(|c, one, other| {
        c.queue(one, "from", None);
        send(c, one, "", ("q", 1));
        send(c, one, "", ("from", 1));
        let all = Selection::default();
        let (from, to) = ("from".into(), "q".into());
        c.ok(one, Request::MoveMessages { from, to, which: all });
        assert_eq!(c.texts(one, "q"), ["1", "1"]);
        // Nor is it remembered: it was taken in elsewhere.
        send(c, one, "", ("from", 2));
        c.ok(
            one,
            Request::MoveMessages {
                from: "from".into(),
                to: "q".into(),
                which: Selection::default(),
            },
        );
        send(c, other, "", ("q", 2));
        assert_eq!(c.texts(one, "q"), ["1", "1", "2", "2"]);
        assert_eq!(counters(c, "q").duplicates, 0);
    });
}

#[test]
fn what_is_rejected_and_comes_back_is_not_lost() {
    let mut c = Cluster::new(1);
    let one = c.session(0);
    c.exchange(one, ("retry", "fanout"), None, Map::new());
    let declare = DeclareQueue { alternate: Some("retry".into()), ..remembering("q", 0, 10) };
    c.ok(one, Request::DeclareQueue(declare));
    let later = DeclareQueue { alternate: Some("amq.fanout".into()), ..queue("later") };
    c.ok(one, Request::DeclareQueue(later));
    c.bind(one, "later", "retry", "", Map::new());
    c.bind(one, "q", "amq.fanout", "", Map::new());
    send(&mut c, one, "", ("q", 1));
    for name in ["q", "later"] {
        let got = c.read(one, name, Mode::Consume);
        c.settle(one, Outcome::Rejected, &[got[0].delivery]);
    }
    assert_eq!(c.texts(one, "q"), ["1"]);
}

#[test]
fn a_transaction_publishes_a_message_once() {
    each(|c, one, other| {
        let routed = |c: &mut Cluster, n: u8| {
            let message = identified(one, ("q", &n.to_string()), id(n));
            let routes = c.engines[0].route("", &message).expect("the exchange is there");
            (message, routes.expect("it has no home"))
        };
        let publishes = [1, 2, 1].map(|n| routed(c, n)).to_vec();
        send(c, other, "", ("q", 2));
        c.commit(one, publishes);
        assert_eq!(c.texts(one, "q"), ["2", "1"]);
        let again = [1, 3].map(|n| routed(c, n)).to_vec();
        let transaction = Transaction { publishes: again, ..Transaction::default() };
        c.ok(one, Request::Commit(Box::new(transaction)));
        send(c, one, "", ("q", 3));
        assert_eq!(c.texts(one, "q"), ["2", "1", "3"]);
        assert_eq!(counters(c, "q").duplicates, 4);
    });
}

#[test]
fn one_that_a_full_queue_has_had_is_not_refused() {
    for policy in ["reject", "ring"] {
        let mut c = Cluster::new(2);
        let one = c.session(0);
        for (name, shard) in [("here", 0), ("there", 1)] {
            let mut declare = remembering(name, shard, 10);
            declare.arguments =
                declare.arguments.with("qpid.max_count", 1).with("qpid.policy_type", policy);
            c.ok(one, Request::DeclareQueue(declare));
            send(&mut c, one, "", (name, 1));
            send(&mut c, one, "", (name, 1));
            assert_eq!(c.texts(one, name), ["1"]);
            let other = identified(one, (name, "2"), id(2));
            let op = c.start_publish(one, "", &other);
            let refused = c.outcome(one, op).expect("answered").is_err();
            assert_eq!(refused, policy == "reject");
            assert_eq!(counters(&c, name).duplicates, 1);
        }
    }
}

#[test]
fn a_window_that_makes_no_sense_is_refused() {
    let mut c = Cluster::new(2);
    let one = c.session(0);
    let wrong: [Value; 6] = [
        0.into(),
        (-1).into(),
        "many".into(),
        1_000_001.into(),
        Value::Uint64(u64::MAX),
        Value::Double(1.5),
    ];
    for window in wrong {
        let declare = Request::DeclareQueue(remembering("q", 0, window.clone()));
        let error = c.ask(one, declare).expect_err("refused");
        assert_eq!(error.kind, ErrorKind::InvalidArgument);
        assert!(error.text.contains("fletch.dedup_window"), "{error}");
        assert!(!c.exists("q"), "{window:?}");
    }
    let error = c.ask(one, Request::DeclareQueue(remembering("q", 0, 2_000_000)));
    let text = error.expect_err("refused").text;
    assert_eq!(text, "fletch.dedup_window must be from 1 to 1000000 message-ids, not 2000000");
    c.ok(one, Request::DeclareQueue(remembering("q", 0, "1000000")));
}
