//! Exchanges over several shards: sequences, initial values, alternates, exclusive bindings.
//!
//! Each test runs with many seeds; a seed decides in which order frames of different shards arrive.

mod cluster;

use cluster::Cluster;
use cluster::clients::binding;
use fletch_amqp::Map;
use fletch_engine::{DeclareQueue, DeliveryRef, ErrorKind, Mode, Outcome, Reply, Request};

const SEEDS: u64 = 60;
const KINDS: [&str; 5] = ["direct", "topic", "fanout", "headers", "xml"];

fn nothing() -> Map {
    Map::new()
}

fn sequence() -> Map {
    Map::new().with("qpid.msg_sequence", 1)
}

fn initial() -> Map {
    Map::new().with("qpid.ive", 1)
}

/// Arguments of a binding that every message with this header matches.
fn wanting(header: &str) -> Map {
    Map::new().with("x-match", "all").with("h", header)
}

fn for_seeds(shards: u16, test: impl Fn(&mut Cluster)) {
    for seed in 0..SEEDS {
        test(&mut Cluster::any_order(shards, seed));
    }
}

#[test]
fn one_sequence_over_all_shards() {
    for (n, kind) in KINDS.into_iter().enumerate() {
        for_seeds(1 + n as u16 % 4, |b| {
            let shards = 1 + n as u16 % 4;
            let s = b.session(0);
            b.queue(s, "q", None);
            b.exchange(s, ("x", kind), None, sequence());
            b.bind(s, "q", "x", "k", wanting("v"));
            let sessions: Vec<_> = (0..6).map(|n| b.session(n % shards)).collect();
            let mut ops = Vec::new();
            for round in 0..5 {
                for (n, session) in sessions.iter().enumerate() {
                    let text = format!("{n}.{round}");
                    let headers = Map::new().with("h", "v").with("qpid.msg_sequence", "old");
                    ops.push((*session, b.publish(*session, "x", ("k", &text), &headers)));
                    for _ in 0..b.random(4) {
                        b.step();
                    }
                }
            }
            b.finish();
            for (session, op) in ops {
                assert_eq!(b.outcome(session, op), Some(Ok(())), "every publish completes");
            }
            let got = b.browse(s, "q");
            let numbers: Vec<Option<i64>> = got.iter().map(|got| got.number).collect();
            assert_eq!(numbers, (1..=30).map(Some).collect::<Vec<_>>(), "{kind}");
            for n in 0..sessions.len() {
                let of: Vec<_> =
                    got.iter().filter(|got| got.text.starts_with(&format!("{n}."))).collect();
                assert!(of.is_sorted_by_key(|got| &got.text), "in its publisher's order");
                assert_eq!(of.len(), 5);
            }
        });
    }
}

#[test]
fn a_deleted_exchange_counts_anew() {
    for_seeds(3, |b| {
        let s = b.session(1);
        b.queue(s, "q", None);
        for _ in 0..2 {
            b.exchange(s, ("x", "fanout"), None, sequence());
            b.bind(s, "q", "x", "", nothing());
            b.publish(s, "x", ("", "m"), &nothing());
            // It does not overtake what the session has published.
            let delete = Request::DeleteExchange { name: "x".into(), if_unused: false };
            b.ask(s, delete).expect("deleted");
        }
        let numbers: Vec<_> = b.browse(s, "q").into_iter().map(|got| got.number).collect();
        assert_eq!(numbers, [Some(1), Some(1)]);
    });
}

#[test]
fn what_follows_a_publish_stays_behind_it() {
    for_seeds(4, |b| {
        let s = b.session(2);
        for queue in ["q", "r"] {
            b.queue(s, queue, None);
            b.bind(s, queue, "amq.fanout", "", nothing());
        }
        // Two of them, so that most likely their homes are different.
        for (name, argument) in [("x", sequence()), ("y", initial())] {
            b.exchange(s, (name, "fanout"), None, argument);
            b.bind(s, "q", name, "", nothing());
        }
        let mut sent = Vec::new();
        for n in 0..20 {
            let exchange = ["x", "y", "amq.fanout", ""][b.random(4) as usize];
            sent.push(n.to_string());
            b.publish(s, exchange, ("q", &n.to_string()), &nothing());
        }
        // So does the end of the binding, and the count.
        let unbind = Request::Unbind { queue: "q".into(), exchange: "x".into(), key: "".into() };
        let (x, query) = (b.start(s, unbind), Request::QueryQueue { name: "q".into() });
        b.publish(s, "x", ("q", "late"), &nothing());
        let count = b.ask(s, query);
        let Ok(Reply::Queue(Some(report))) = count else { panic!("{count:?}") };
        b.wait(s, x).expect("unbound");
        assert!(report.messages == 20 || report.messages == 21, "{}", report.messages);
        b.finish();
        let texts = b.texts(s, "q");
        // A client waits for a binding to be undone before it relies on that.
        assert_eq!(texts[..20], sent[..], "in the session's order");
    });
}

#[test]
fn who_binds_later_has_the_last_message() {
    for (n, kind) in KINDS.into_iter().enumerate() {
        for_seeds(1 + n as u16 % 4, |b| {
            let shards = 1 + n as u16 % 4;
            let (s, other) = (b.session(0), b.session(shards - 1));
            for queue in ["first", "q", "r", "t"] {
                b.queue(s, queue, None);
            }
            b.exchange(s, ("x", kind), None, initial());
            b.bind(s, "first", "x", "a", wanting("a"));
            for (key, text) in [("b", "1"), ("a", "2"), ("a", "3")] {
                b.publish(other, "x", (key, text), &Map::new().with("h", key));
            }
            b.finish();
            // It is there when the bind is answered.
            b.bind(other, "q", "x", "a", wanting("a"));
            assert_eq!(b.texts(s, "q"), ["3"], "{kind}");
            // Once: making the same binding again is no new one.
            b.bind(other, "q", "x", "a", wanting("a"));
            assert_eq!(b.texts(s, "q"), ["3"], "{kind}");
            // The last message of its key, though others came later; keys mean nothing to a fanout.
            b.bind(other, "r", "x", "b", wanting("b"));
            let expect = if kind == "fanout" { "3" } else { "1" };
            assert_eq!(b.texts(s, "r"), [expect], "{kind}");
            b.publish(s, "x", ("b", "4"), &Map::new().with("h", "b"));
            b.finish();
            b.bind(other, "t", "x", "b", wanting("b"));
            assert_eq!(b.texts(s, "t"), ["4"], "{kind}");
            // Who was bound before has had it.
            let expect: &[&str] =
                if kind == "fanout" { &["1", "2", "3", "4"] } else { &["2", "3"] };
            assert_eq!(b.texts(s, "first"), expect, "{kind}");
        });
    }
}

#[test]
fn every_key_has_its_last_message() {
    for (n, kind) in KINDS.into_iter().enumerate() {
        for_seeds(1 + n as u16 % 4, |b| {
            let (s, other) = (b.session(0), b.session(n as u16 % 4));
            b.exchange(s, ("x", kind), None, initial());
            // In turns, so that every key but the last is older than others.
            for round in 0..3 {
                for key in ["a", "b", "c", "d"] {
                    let text = format!("{key}{round}");
                    b.publish(other, "x", (key, &text), &Map::new().with("h", key));
                }
            }
            b.finish();
            for key in ["c", "a", "d", "b", "none"] {
                // The same key once more by another queue: what one is given is there for the next.
                for queue in ["q", "r"] {
                    let queue = format!("{queue}-{key}");
                    b.queue(other, &queue, None);
                    b.bind(s, &queue, "x", key, wanting(key));
                    let expect = match (kind, key) {
                        ("fanout", _) => vec!["d2".into()],
                        (_, "none") => Vec::new(),
                        (_, key) => vec![format!("{key}2")],
                    };
                    assert_eq!(b.texts(s, &queue), expect, "{kind}");
                }
            }
        });
    }
}

#[test]
fn a_binding_of_many_keys_has_the_newest() {
    for_seeds(4, |b| {
        let (s, other) = (b.session(1), b.session(3));
        b.exchange(s, ("topic", "topic"), None, initial());
        b.exchange(s, ("headers", "headers"), None, initial());
        let headers = |color: &str, size: i32| Map::new().with("color", color).with("size", size);
        let published = [
            ("eu.shares.a", headers("red", 1)),
            ("eu.bonds.b", headers("green", 1)),
            ("us.shares.c", headers("red", 2)),
            ("eu.shares.a", headers("blue", 2)),
            ("us.bonds.d", headers("blue", 3)),
        ];
        for (n, (key, headers)) in published.iter().enumerate() {
            for exchange in ["topic", "headers"] {
                b.publish(other, exchange, (key, &n.to_string()), headers);
            }
        }
        b.finish();
        let any = || Map::new().with("x-match", "any");
        let all = || Map::new().with("x-match", "all");
        let bindings = [
            ("topic", "eu.#", nothing(), Some("3")),
            ("topic", "*.bonds.*", nothing(), Some("4")),
            ("topic", "eu.bonds.*", nothing(), Some("1")),
            ("topic", "#.c", nothing(), Some("2")),
            ("topic", "eu.shares.a", nothing(), Some("3")),
            ("topic", "#", nothing(), Some("4")),
            ("topic", "asia.#", nothing(), None),
            ("topic", "eu", nothing(), None),
            ("headers", "", all().with("color", "green"), Some("1")),
            // The first of its key is not the newest of that any more.
            ("headers", "", all().with("color", "red"), Some("2")),
            ("headers", "", all().with("color", "red").with("size", 1), None),
            ("headers", "", any().with("color", "red").with("size", 1), Some("2")),
            ("headers", "", any().with("color", "green").with("size", 2), Some("3")),
            ("headers", "", all(), Some("4")),
            ("headers", "", all().with("color", "white"), None),
        ];
        for (n, (exchange, key, arguments, expect)) in bindings.into_iter().enumerate() {
            let queue = format!("q{n}");
            b.queue(s, &queue, None);
            b.bind(other, &queue, exchange, key, arguments);
            let expect: Vec<&str> = expect.into_iter().collect();
            assert_eq!(b.texts(s, &queue), expect, "{exchange} {key}");
        }
    });
}

#[test]
fn a_query_is_asked_of_the_last_message_of_its_key() {
    for_seeds(3, |b| {
        let (s, other) = (b.session(2), b.session(0));
        b.exchange(s, ("x", "xml"), None, initial());
        for (key, text) in [("a", "<n>1</n>"), ("a", "<n>2</n>"), ("b", "<n>1</n>")] {
            b.publish(other, "x", (key, text), &nothing());
        }
        b.finish();
        let query = |text: &str| Map::new().with("xquery", text);
        let bindings = [
            ("a", query("/n = 2"), Some("<n>2</n>")),
            ("a", query("/n = 1"), None),
            ("b", query("/n = 1"), Some("<n>1</n>")),
            ("b", nothing(), Some("<n>1</n>")),
        ];
        for (n, (key, arguments, expect)) in bindings.into_iter().enumerate() {
            let queue = format!("q{n}");
            b.queue(s, &queue, None);
            b.bind(other, &queue, "x", key, arguments);
            let expect: Vec<&str> = expect.into_iter().collect();
            assert_eq!(b.texts(s, &queue), expect, "{key}");
        }
    });
}

#[test]
fn too_many_keys_are_forgotten_from_the_oldest() {
    const KEYS: usize = 10_000;
    for shards in [1, 3] {
        let b = &mut Cluster::any_order(shards, u64::from(shards));
        let (s, other) = (b.session(0), b.session(shards - 1));
        for kind in ["direct", "topic", "headers", "xml"] {
            b.exchange(s, (kind, kind), None, initial());
            let mut publish = |n: usize, text: &str| {
                let key = n.to_string();
                b.publish(other, kind, (&key, text), &Map::new().with("h", &*key));
                b.finish();
            };
            (0..KEYS).for_each(|n| publish(n, "old"));
            // One that is used again is not the oldest any more; the next two are.
            for n in [0, KEYS, KEYS + 1] {
                publish(n, "new");
            }
            let expected =
                [(0, "new"), (1, ""), (2, ""), (3, "old"), (KEYS - 1, "old"), (KEYS + 1, "new")];
            for (n, text) in expected {
                let (key, queue) = (n.to_string(), format!("{kind}-{n}"));
                b.queue(s, &queue, None);
                b.bind(s, &queue, kind, &key, wanting(&key));
                let expect: Vec<&str> = [text].into_iter().filter(|t| !t.is_empty()).collect();
                assert_eq!(b.texts(s, &queue), expect, "{kind} {n}");
            }
        }
    }
}

#[test]
fn a_deleted_exchange_forgets_all_keys() {
    for_seeds(3, |b| {
        let (s, other) = (b.session(1), b.session(2));
        b.queue(s, "q", None);
        for kind in KINDS {
            b.exchange(s, ("x", kind), None, initial());
            for key in ["a", "b"] {
                b.publish(s, "x", (key, key), &Map::new().with("h", key));
            }
            let delete = || Request::DeleteExchange { name: "x".into(), if_unused: false };
            b.ask(s, delete()).expect("deleted");
            b.exchange(s, ("x", kind), None, initial());
            for key in ["a", "b"] {
                b.bind(other, "q", "x", key, wanting(key));
            }
            assert_eq!(b.texts(s, "q"), [""; 0], "{kind}");
            b.ask(s, delete()).expect("deleted");
        }
    });
}

#[test]
fn who_binds_under_a_stream_misses_nothing_of_its_key() {
    for seed in 0..SEEDS * 4 {
        let b = &mut Cluster::any_order(4, seed);
        let (s, binder) = (b.session(seed as u16 % 4), b.session(0));
        b.queue(binder, "q", None);
        let kind = KINDS[seed as usize % 2];
        let exchange = format!("x{seed}");
        b.exchange(binder, (&exchange, kind), None, initial());
        b.publish(s, &exchange, ("a", "0"), &nothing());
        b.finish();
        let mut bind = None;
        for n in 1..20 {
            b.publish(s, &exchange, ("a", &n.to_string()), &nothing());
            b.publish(s, &exchange, ("b", "other"), &nothing());
            if n == 8 {
                bind = Some(b.start(binder, binding("q", &exchange, "a", nothing())));
            }
            for _ in 0..b.random(6) {
                b.step();
            }
        }
        b.wait(binder, bind.expect("begun")).expect("bound");
        assert!(!b.texts(binder, "q").is_empty(), "there when the bind is answered");
        b.finish();
        let got = b.texts(binder, "q");
        let first: usize = got[0].parse().expect("a number");
        let expect: Vec<String> = (first..20).map(|n| n.to_string()).collect();
        assert_eq!(got, expect, "{kind}, seed {seed}: from one on all, in order and once");
    }
}

#[test]
fn an_initial_value_keeps_its_number() {
    for_seeds(3, |b| {
        let s = b.session(2);
        b.queue(s, "q", None);
        b.exchange(s, ("x", "topic"), None, sequence().with("qpid.ive", true));
        for text in ["1", "2"] {
            b.publish(s, "x", ("a.b", text), &nothing());
        }
        b.bind(s, "q", "x", "a.#", nothing());
        b.publish(s, "x", ("a.c", "3"), &nothing());
        b.finish();
        let got: Vec<_> = b.browse(s, "q").into_iter().map(|got| got.number).collect();
        assert_eq!(got, [Some(2), Some(3)]);
    });
}

#[test]
fn an_exclusive_binding_has_it_too() {
    for_seeds(3, |b| {
        let s = b.session(1);
        b.queue(s, "q", None);
        b.queue(s, "r", None);
        b.exchange(s, ("x", "direct"), None, initial());
        b.bind(s, "q", "x", "k", nothing());
        b.publish(s, "x", ("k", "1"), &nothing());
        b.bind(s, "r", "x", "k", Map::new().with("qpid.exclusive-binding", 1));
        b.publish(s, "x", ("k", "2"), &nothing());
        b.finish();
        assert_eq!(
            (b.texts(s, "q"), b.texts(s, "r")),
            (vec!["1".into()], vec!["1".into(), "2".into()])
        );
    });
}

#[test]
fn an_exchange_deleted_under_a_publish_refuses_it() {
    let mut refused = 0;
    for seed in 0..SEEDS {
        let b = &mut Cluster::any_order(4, seed);
        let (s, other) = (b.session(1), b.session(3));
        b.queue(s, "q", None);
        b.exchange(s, ("x", "fanout"), None, sequence());
        b.bind(s, "q", "x", "", nothing());
        let delete = Request::DeleteExchange { name: "x".into(), if_unused: false };
        let deleted = b.start(other, delete);
        let op = b.publish(s, "x", ("", "m"), &nothing());
        b.finish();
        b.answer(other, deleted).expect("answered").expect("deleted");
        match b.outcome(s, op).expect("it has an outcome") {
            Ok(()) => assert_eq!(b.texts(s, "q"), ["m"]),
            Err(error) => {
                refused += 1;
                assert_eq!(error.kind, ErrorKind::NotFound);
                assert_eq!(b.texts(s, "q"), [""; 0]);
            }
        }
    }
    assert!(refused > 0, "some come too late");
}

#[test]
fn alternates_keep_too() {
    for_seeds(4, |b| {
        let s = b.session(3);
        // The last resort counts; what it does not route has its own alternate, which counts as well.
        b.queue(s, "all", None);
        b.exchange(s, ("rest", "fanout"), None, sequence());
        b.bind(s, "all", "rest", "", nothing());
        b.exchange(s, ("dead", "direct"), Some("rest"), sequence());
        b.exchange(s, ("x", "direct"), Some("dead"), nothing());
        b.queue(s, "letters", None);
        b.bind(s, "letters", "dead", "k", nothing());
        // No route: the alternate of `x`, but not the alternate's.
        for (key, text) in [("k", "1"), ("other", "2")] {
            b.publish(s, "x", (key, text), &nothing());
        }
        b.finish();
        // Published to `dead` itself, it has one.
        b.publish(s, "dead", ("other", "3"), &nothing());
        b.finish();
        let numbered = |b: &mut Cluster, queue: &str| -> Vec<(String, i64)> {
            let got = b.browse(s, queue).into_iter();
            got.map(|got| (got.text, got.number.expect("numbered"))).collect()
        };
        assert_eq!(numbered(b, "letters"), [("1".into(), 1)]);
        assert_eq!(numbered(b, "all"), [("3".into(), 1)]);
        // Rejected, and left over in a deleted queue that is bound to its own alternate.
        b.queue(s, "k", Some("dead"));
        b.bind(s, "k", "dead", "k", nothing());
        b.publish(s, "", ("k", "4"), &nothing());
        b.finish();
        let got = b.read(s, "k", Mode::Consume).into_iter();
        let got: Vec<DeliveryRef> = got.map(|got| got.delivery).collect();
        b.settle(s, Outcome::Rejected, &got);
        b.finish();
        assert_eq!(numbered(b, "letters"), [("1".into(), 1), ("4".into(), 4)]);
        // The rejected message came back to the queue by way of its binding; or so the reference has it.
        let delete = Request::DeleteQueue { name: "k".into(), if_unused: false, if_empty: false };
        b.publish(s, "", ("k", "5"), &nothing());
        b.ask(s, delete).expect("deleted");
        b.finish();
        let texts: Vec<_> = numbered(b, "letters").into_iter().map(|(text, _)| text).collect();
        assert!(texts.contains(&"5".to_string()), "{texts:?}");
    });
}

#[test]
fn a_key_changes_hands_under_a_stream() {
    for_seeds(4, |b| {
        let s = b.session(0);
        let queues = ["q", "r", "t"];
        for queue in queues {
            b.queue(s, queue, None);
        }
        b.bind(s, "q", "amq.direct", "k", nothing());
        let sessions: Vec<_> = (0..4).map(|n| b.session(n)).collect();
        let mut sent = 0;
        for turn in 0..12 {
            let alone = Map::new().with("qpid.exclusive-binding", 1);
            let bind = b.start(s, binding(queues[turn % 3], "amq.direct", "k", alone));
            loop {
                let session = sessions[b.random(4) as usize];
                b.publish(session, "amq.direct", ("k", &sent.to_string()), &nothing());
                sent += 1;
                for _ in 0..b.random(5) {
                    b.step();
                }
                if let Some(result) = b.answer(s, bind) {
                    result.expect("bound");
                    break;
                }
            }
        }
        b.finish();
        let mut all: Vec<usize> = Vec::new();
        for queue in queues {
            all.extend(b.texts(s, queue).iter().map(|text| text.parse::<usize>().expect("number")));
        }
        all.sort_unstable();
        assert_eq!(all, (0..sent).collect::<Vec<_>>(), "each message once");
    });
}

#[test]
fn what_a_transaction_publishes_has_its_number_at_once() {
    for shards in 1..=4 {
        for_seeds(shards, |b| {
            let (s, other) = (b.session(0), b.session(shards - 1));
            for queue in ["q", "late"] {
                b.queue(s, queue, None);
            }
            b.exchange(s, ("x", "direct"), None, sequence().with("qpid.ive", 1));
            b.exchange(s, ("y", "direct"), Some("x"), nothing());
            b.bind(s, "q", "x", "k", nothing());
            // By way of the alternate exchange of another, too.
            let first: Vec<_> =
                ["x", "y"].map(|x| b.route(other, x, ("k", x)).expect("routed")).into();
            let between = b.publish(s, "x", ("k", "between"), &nothing());
            b.finish();
            assert_eq!(b.outcome(s, between), Some(Ok(())));
            b.commit(other, first);
            // This one is not committed: its number is nobody's.
            b.route(other, "x", ("k", "dropped")).expect("routed");
            b.publish(s, "x", ("k", "end"), &nothing());
            b.finish();
            let got = b.browse(s, "q");
            let got: Vec<_> = got.iter().map(|got| (got.text.as_str(), got.number)).collect();
            let expected = [("between", 3), ("x", 1), ("y", 2), ("end", 5)];
            assert_eq!(got, expected.map(|(text, number)| (text, Some(number))));
            // The last message of a key is that which has passed last, in whatever transaction.
            let last = b.route(other, "x", ("k", "last")).expect("routed");
            b.bind(s, "late", "x", "k", nothing());
            assert_eq!(b.texts(s, "late"), ["last"]);
            b.commit(other, vec![last]);
            assert_eq!(b.texts(s, "q").last().map(String::as_str), Some("last"));
            // So of every key, whatever has passed later and becomes of it.
            b.queue(s, "later", None);
            b.route(other, "x", ("l", "kept")).expect("routed");
            b.publish(s, "x", ("k", "after"), &nothing());
            b.bind(s, "later", "x", "l", nothing());
            assert_eq!(b.texts(s, "later"), ["kept"]);
        });
    }
}

#[test]
fn a_transaction_reaches_queues_that_its_shard_does_not_know_yet() {
    let mut reached = 0;
    for seed in 0..SEEDS * 10 {
        let mut b = Cluster::any_order(4, seed);
        let (maker, s) = (b.session(0), b.session(1));
        // Of each seed's own, for names decide about homes.
        let (queue, exchange) = (format!("queue-{seed}"), format!("x-{seed}"));
        b.exchange(maker, (&exchange, "fanout"), None, sequence());
        let mut asked = Vec::new();
        for name in ["a", "b", "c", "d", &queue] {
            let declare = DeclareQueue { name: name.into(), ..DeclareQueue::default() };
            asked.push(b.start(maker, Request::DeclareQueue(declare)));
        }
        asked.push(b.start(maker, binding(&queue, &exchange, "", nothing())));
        for _ in 0..b.random(12) {
            b.step();
        }
        let routed = b.route(s, &exchange, ("", "m")).expect("routed");
        let found = routed.1.len();
        b.commit(s, vec![routed]);
        for op in asked {
            b.wait(maker, op).expect("declared and bound");
        }
        b.finish();
        assert_eq!(b.texts(maker, &queue).len(), found, "seed {seed}");
        reached += found as u64;
    }
    assert!((1..SEEDS * 10).contains(&reached), "{reached} were bound in time");
}

#[test]
fn an_exchange_that_is_deleted_meanwhile_is_not_found() {
    let mut gone = 0;
    for seed in 0..SEEDS {
        let mut b = Cluster::any_order(3, seed);
        let (maker, s) = (b.session(0), b.session(1));
        b.queue(maker, "q", None);
        b.exchange(maker, ("x", "fanout"), None, sequence());
        b.bind(maker, "q", "x", "", nothing());
        let delete = Request::DeleteExchange { name: "x".into(), if_unused: false };
        let delete = b.start(maker, delete);
        for _ in 0..b.random(4) {
            b.step();
        }
        match b.route(s, "x", ("", "m")) {
            Ok(routed) => b.commit(s, vec![routed]),
            Err(error) => {
                assert_eq!(error.kind, ErrorKind::NotFound);
                gone += 1;
            }
        }
        b.wait(maker, delete).expect("deleted");
        b.finish();
    }
    assert!(gone > 0, "it was deleted in time at least once");
}
