//! Exchanges of every type, and what they keep: headers of every value type, sequences, initial values, exclusive
//! bindings, alternates; for clients on all shards, and over a restart. On 1, 2 and 4 shards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fletch_amqp::types::{Map, Value};
use fletch_amqp::v0_10::table::exchange;
use fletch_client::{Delivery, Outgoing, Session};
use fletch_tests::scene::*;
use fletch_tests::store::*;

const KINDS: [&str; 4] = ["direct", "topic", "fanout", "headers"];

fn declare_with(session: &Session, name: &str, kind: &str, arguments: Map) -> Result<()> {
    let arguments = arguments.encoded()?;
    let declare = exchange::Declare {
        exchange: Some(name),
        r#type: Some(kind),
        durable: true,
        arguments: Some(arguments.view()),
        ..Default::default()
    };
    session.call(&declare.into())?;
    Ok(())
}

fn bind_with(
    session: &Session,
    (exchange, queue, key): (&str, &str, &str),
    arguments: Map,
) -> Result<()> {
    let arguments = arguments.encoded()?;
    let bind = exchange::Bind {
        queue: Some(queue),
        exchange: Some(exchange),
        binding_key: Some(key),
        arguments: Some(arguments.view()),
    };
    session.call(&bind.into())?;
    Ok(())
}

/// Arguments that a headers exchange matches against a message's header `key`; others ignore them.
fn wanting(key: &str) -> Map {
    Map::new().with("x-match", "all").with("key", key)
}

/// Sends a message with a key, which is a header too.
fn send(session: &Session, exchange: &str, key: &str, body: &str) -> Result<()> {
    send_headers(session, exchange, key, body, Map::new().with("key", key))
}

fn send_headers(
    session: &Session,
    exchange: &str,
    key: &str,
    body: &str,
    headers: Map,
) -> Result<()> {
    let headers = headers.encoded()?;
    let mut message = Outgoing::with_key(key, body.as_bytes());
    message.message.application_headers = Some(headers.view());
    session.send(exchange, &message)?;
    Ok(())
}

fn number(delivery: &Delivery) -> Result<i64> {
    let headers = delivery.view()?.application_headers()?;
    let value = headers.get("qpid.msg_sequence").context("the message has no number")?;
    ensure!(value.to_value()? == Value::Int64(value.as_i64().unwrap_or(0)), "not an int64");
    value.as_i64().context("the number is none")
}

fn numbers(deliveries: &[Delivery]) -> Result<Vec<i64>> {
    deliveries.iter().map(number).collect()
}

#[test]
fn one_sequence_for_publishers_everywhere() -> Result<()> {
    const PUBLISHERS: usize = 8;
    const EACH: usize = 500;
    Scene::each(|scene| {
        let session = scene.session("maker")?;
        for kind in KINDS {
            declare_with(&session, kind, kind, Map::new().with("qpid.msg_sequence", 1i64))?;
            let queue = format!("q-{kind}");
            declare(&session, &queue, scene.shards - 1)?;
            bind_with(&session, (kind, &queue, "k"), wanting("k"))?;
            std::thread::scope(|scope| -> Result<()> {
                let publish = |n: usize| -> Result<()> {
                    let session = scene.session(&format!("publisher-{kind}-{n}"))?;
                    for m in 0..EACH {
                        send(&session, kind, "k", &format!("{n} {m}"))?;
                    }
                    session.sync()?;
                    Ok(())
                };
                let all: Vec<_> =
                    (0..PUBLISHERS).map(|n| scope.spawn(move || publish(n))).collect();
                all.into_iter().try_for_each(|one| one.join().expect("the publisher ends"))
            })?;
            let got = drain(&session, &queue)?;
            let all = 1..=(PUBLISHERS * EACH) as i64;
            assert_eq!(
                numbers(&got)?,
                all.collect::<Vec<_>>(),
                "{kind}: one order, one number each"
            );
            for n in 0..PUBLISHERS {
                let prefix = format!("{n} ");
                let of: Vec<String> =
                    texts(&got).into_iter().filter(|text| text.starts_with(&prefix)).collect();
                assert_eq!(of, expected(&prefix, 0..EACH), "{kind}: in the publisher's order");
            }
        }
        Ok(())
    })
}

#[test]
fn publishes_by_different_ways_stay_in_order() -> Result<()> {
    Scene::each(|scene| {
        let session = scene.session("one")?;
        declare(&session, "q", scene.shards - 1)?;
        let kept = [("a", "qpid.msg_sequence"), ("b", "qpid.ive"), ("c", "qpid.msg_sequence")];
        for (name, argument) in kept {
            declare_with(&session, name, "fanout", Map::new().with(argument, 1i64))?;
            bind(&session, name, "q", "")?;
        }
        let ways = ["a", "", "b", "a", "c", "", "", "b", "c"];
        for n in 0..900 {
            send(&session, ways[n * 7 % ways.len()], "q", &format!("m{n}"))?;
        }
        // Whatever is asked for now comes behind them.
        assert_eq!(query(&session, "q")?, Some((900, 0)));
        assert_eq!(texts(&drain(&session, "q")?), expected("m", 0..900));
        Ok(())
    })
}

#[test]
fn a_queue_bound_later_has_the_last_message() -> Result<()> {
    Scene::each(|scene| {
        let (session, other) = (scene.session("maker")?, scene.session("binder")?);
        for kind in KINDS {
            let name = format!("x-{kind}");
            declare_with(&session, &name, kind, Map::new().with("qpid.ive", 1i64))?;
            for (key, body) in [("a", "1"), ("b", "2"), ("b", "3")] {
                send(&session, &name, key, body)?;
            }
            session.sync()?;
            for home in scene.homes() {
                // It is there when the bind is complete, on whichever shard: the last one of the key.
                for (key, expect) in [("b", "3"), ("a", if kind == "fanout" { "3" } else { "1" })] {
                    let queue = format!("{kind}-{home}-{key}");
                    declare(&session, &queue, home)?;
                    bind_with(&other, (&name, &queue, key), wanting(key))?;
                    assert_eq!(texts(&drain(&other, &queue)?), [expect], "{queue}");
                }
            }
            // Those that are bound get each message once.
            send(&session, &name, "b", "4")?;
            session.sync()?;
            declare(&session, "late", 0)?;
            bind_with(&session, (&name, "late", "b"), wanting("b"))?;
            assert_eq!(texts(&drain(&session, "late")?), ["4"], "{kind}");
            for home in scene.homes() {
                let queue = format!("{kind}-{home}-b");
                assert_eq!(texts(&drain(&other, &queue)?), ["4"], "{queue}");
            }
            delete(&session, "late")?;
        }
        Ok(())
    })
}

#[test]
fn a_queue_bound_later_has_the_last_message_of_its_keys() -> Result<()> {
    const KEYS: usize = 50;
    let key = |n: usize| format!("{}.{n}", ["even", "odd"][n % 2]);
    Scene::each(|scene| {
        let (session, other) = (scene.session("maker")?, scene.session("binder")?);
        for kind in ["direct", "topic", "headers", "xml"] {
            let name = format!("x-{kind}");
            declare_with(&session, &name, kind, Map::new().with("qpid.ive", 1i64))?;
            for round in 0..3 {
                for n in 0..KEYS {
                    send(&session, &name, &key(n), &format!("{} {round}", key(n)))?;
                }
            }
            session.sync()?;
            let expect = |queue: &str, binding: &str, arguments: Map, text: &str| -> Result<()> {
                for home in scene.homes() {
                    let queue = format!("{kind}-{queue}-{home}");
                    declare(&session, &queue, home)?;
                    bind_with(&other, (&name, &queue, binding), arguments.clone())?;
                    let expect: Vec<&str> = [text].into_iter().filter(|t| !t.is_empty()).collect();
                    assert_eq!(texts(&drain(&other, &queue)?), expect, "{queue}");
                }
                Ok(())
            };
            for n in [7, 0, KEYS - 1, KEYS / 2] {
                expect(&key(n), &key(n), wanting(&key(n)), &format!("{} 2", key(n)))?;
            }
            expect("none", "none", wanting("none"), "")?;
            // One message also for those that match many: the newest of these.
            match kind {
                "topic" => {
                    expect("all", "#", Map::new(), "odd.49 2")?;
                    expect("even", "even.*", Map::new(), "even.48 2")?;
                }
                "headers" => {
                    expect("all", "", Map::new().with("x-match", "all"), "odd.49 2")?;
                }
                _ => {}
            }
        }
        Ok(())
    })
}

#[test]
fn a_message_that_has_expired_is_nobodys_first() -> Result<()> {
    Scene::each(|scene| {
        let session = scene.session("one")?;
        declare_with(&session, "x", "topic", Map::new().with("qpid.ive", 1i64))?;
        send(&session, "x", "a", "stays")?;
        let mut message = Outgoing::with_key("b", b"expires");
        message.delivery.ttl = Some(1);
        session.send("x", &message)?;
        session.sync()?;
        std::thread::sleep(Duration::from_millis(50));
        for (queue, key, expect) in [("b", "b", None), ("all", "#", Some("stays"))] {
            declare(&session, queue, scene.shards - 1)?;
            bind(&session, "x", queue, key)?;
            let expect: Vec<&str> = expect.into_iter().collect();
            assert_eq!(texts(&drain(&session, queue)?), expect, "{queue}");
        }
        Ok(())
    })
}

#[test]
fn a_key_changes_hands_under_a_stream() -> Result<()> {
    const PUBLISHERS: usize = 4;
    Scene::each(|scene| {
        let session = scene.session("maker")?;
        for queue in ["here", "there"] {
            declare(&session, queue, u16::from(queue == "there") * (scene.shards - 1))?;
        }
        let alone = || Map::new().with("qpid.exclusive-binding", 1i64);
        bind_with(&session, ("amq.direct", "here", "k"), alone())?;
        let over = AtomicBool::new(false);
        let publish = |n: usize| -> Result<usize> {
            let session = scene.session(&format!("publisher-{n}"))?;
            let mut sent = 0;
            while !over.load(Ordering::Relaxed) {
                send(&session, "amq.direct", "k", &format!("{n} {sent}"))?;
                sent += 1;
                if sent % 4 == 0 {
                    session.sync()?;
                }
            }
            session.sync()?;
            Ok(sent)
        };
        let publish = &publish;
        let sent = std::thread::scope(|scope| -> Result<usize> {
            let all: Vec<_> = (0..PUBLISHERS).map(|n| scope.spawn(move || publish(n))).collect();
            for turn in 0..60 {
                let queue = ["there", "here"][turn % 2];
                bind_with(&session, ("amq.direct", queue, "k"), alone())?;
            }
            over.store(true, Ordering::Relaxed);
            let counts = all.into_iter().map(|one| one.join().expect("the publisher ends"));
            Ok(counts.collect::<Result<Vec<usize>>>()?.into_iter().sum())
        })?;
        let (here, there) = (drain(&session, "here")?, drain(&session, "there")?);
        ensure!(!here.is_empty() && !there.is_empty(), "both had their time");
        let mut all = texts(&here);
        all.extend(texts(&there));
        all.sort_unstable();
        let count = all.len();
        all.dedup();
        assert_eq!((all.len(), count), (sent, sent), "each message is in one queue, once");
        Ok(())
    })
}

#[test]
fn headers_of_every_type_match_by_what_they_mean() -> Result<()> {
    Scene::each(|scene| {
        let session = scene.session("one")?;
        declare(&session, "q", 0)?;
        let list = Value::List(fletch_amqp::types::List(vec![Value::Int8(1), Value::Void]));
        let map = Value::Map(Map::new().with("a", 1i64).with("b", "c"));
        let values = [
            Value::Boolean(true),
            Value::Int8(-3),
            Value::Uint16(3),
            Value::Int32(-70_000),
            Value::Uint64(u64::MAX),
            Value::Float(1.5),
            Value::Double(-0.1),
            Value::Str16("text".into()),
            Value::Vbin32(vec![0, 255]),
            Value::Uuid(fletch_amqp::types::Uuid([7; 16])),
            Value::CharUtf32(0x20ac),
            Value::Datetime(77),
            list,
            map,
        ];
        for (n, value) in values.iter().enumerate() {
            let arguments = Map::new().with("x-match", "all").with(format!("h{n}"), value.clone());
            bind_with(&session, ("amq.match", "q", &format!("k{n}")), arguments)?;
        }
        for (n, value) in values.iter().enumerate() {
            for other in &values {
                let headers = Map::new().with(format!("h{n}"), other.clone());
                let body = if other == value { "match" } else { "none" };
                send_headers(&session, "amq.match", "", body, headers)?;
            }
        }
        let got = texts(&drain(&session, "q")?);
        assert_eq!(got, vec!["match"; values.len()], "each its own value and no other");
        // All of them at once: one message in the queue.
        let everything = values.iter().enumerate();
        let headers =
            everything.fold(Map::new(), |map, (n, v)| map.with(format!("h{n}"), v.clone()));
        send_headers(&session, "amq.match", "", "once", headers)?;
        assert_eq!(texts(&drain(&session, "q")?), ["once"]);
        Ok(())
    })
}

#[test]
fn what_exchanges_do_comes_back_with_them() -> Result<()> {
    Store::restarts(
        |scene| {
            let session = scene.session("maker")?;
            for queue in ["old", "new", "q"] {
                declare_durable(&session, queue, scene.shards - 1)?;
            }
            let keeps = Map::new().with("qpid.msg_sequence", 1i64).with("qpid.ive", 1i64);
            declare_with(&session, "keeps", "direct", keeps)?;
            declare_durable_exchange(&session, "plain", "direct")?;
            for queue in ["old", "new"] {
                let alone = Map::new().with("qpid.exclusive-binding", 1i64);
                bind_with(&session, ("plain", queue, "k"), alone)?;
            }
            // To queues on several shards: whole, or not at all.
            declare_durable(&session, "other", 0)?;
            for queue in ["q", "other"] {
                bind(&session, "keeps", queue, "k")?;
            }
            for n in 0..3 {
                session.send("keeps", &persistent("k", format!("m{n}").as_bytes()))?;
            }
            session.sync()?;
            Ok(())
        },
        |scene, ()| {
            let session = scene.session("looker")?;
            // Numbers of stored messages are stored; the exchange begins anew, as in the reference.
            send(&session, "keeps", "k", "m3")?;
            session.sync()?;
            for queue in ["q", "other"] {
                let got = drain(&session, queue)?;
                assert_eq!(texts(&got), expected("m", 0..4), "{queue}");
                assert_eq!(numbers(&got)?, [1, 2, 3, 1], "{queue}");
            }
            declare(&session, "late", 0)?;
            bind(&session, "keeps", "late", "k")?;
            assert_eq!(texts(&drain(&session, "late")?), ["m3"]);
            // The binding that took the other's place is alone.
            ensure!(!is_bound(&session, "plain", "old", "k")?, "the old binding came back");
            send(&session, "plain", "k", "m")?;
            session.sync()?;
            assert_eq!(texts(&drain(&session, "new")?), ["m"]);
            assert_eq!(texts(&drain(&session, "old")?), [""; 0]);
            Ok(())
        },
    )
}

#[test]
fn alternates_that_keep_take_what_is_left_over() -> Result<()> {
    Scene::each(|scene| {
        let session = scene.session("one")?;
        declare_with(&session, "dead", "fanout", Map::new().with("qpid.msg_sequence", 1i64))?;
        declare(&session, "letters", scene.shards - 1)?;
        bind(&session, "dead", "letters", "")?;
        let no_route = exchange::Declare {
            exchange: Some("x"),
            r#type: Some("direct"),
            alternate_exchange: Some("dead"),
            ..Default::default()
        };
        session.call(&no_route.into())?;
        for home in scene.homes() {
            let queue = format!("q{home}");
            let declare = fletch_amqp::v0_10::table::queue::Declare {
                queue: Some(&queue),
                alternate_exchange: Some("dead"),
                ..Default::default()
            };
            declare_as(&session, home, &declare)?;
            send(&session, "x", "nowhere", "no route")?;
            for body in ["rejected", "deleted"] {
                send(&session, "", &queue, body)?;
            }
            consume(&session, &queue, &queue, 1)?;
            let got = take(&session, 1)?;
            session.reject(&ids(&got), "")?;
            session.cancel(&queue)?;
            delete(&session, &queue)?;
            let got = drain(&session, "letters")?;
            assert_eq!(texts(&got), ["no route", "rejected", "deleted"], "{queue}");
            let first = 3 * i64::from(home) + 1;
            assert_eq!(numbers(&got)?, [first, first + 1, first + 2]);
        }
        Ok(())
    })
}

fn xquery(text: &str) -> Map {
    Map::new().with("xquery", text)
}

/// Numbers and texts in documents, a header, both; and all.
const QUERIES: [(&str, &str); 4] = [
    ("large", "/order/quantity > 100"),
    ("mine", "declare variable $from external; $from = 'me'"),
    ("both", "declare variable $from external; //note[contains(., 'now')] and $from = 'me'"),
    ("all", "true()"),
];

fn expect_xml(session: &Session, binder: &Session) -> Result<()> {
    let send = |content: &str, from: &str| {
        send_headers(session, "feed", "orders", content, Map::new().with("from", from))
    };
    send("<order><quantity>101</quantity><note>now</note></order>", "you")?;
    send("<order><quantity>7</quantity><note>right now</note></order>", "me")?;
    send("<!DOCTYPE o [<!ENTITY n 'now'>]><order><note>&n;</note></order>", "me")?;
    send("<order><quantity>101</quantity>", "you")?;
    send_headers(session, "feed", "others", "<order/>", Map::new())?;
    session.sync()?;
    for (queue, count) in [("large", 1), ("mine", 2), ("both", 1), ("all", 4)] {
        assert_eq!(drain(binder, queue)?.len(), count, "{queue}");
    }
    Ok(())
}

#[test]
fn xml_exchanges_route_by_query() -> Result<()> {
    Store::restarts(
        |scene| {
            let (session, binder) = (scene.session("maker")?, scene.session("binder")?);
            declare_with(&session, "feed", "xml", Map::new())?;
            for (n, (queue, query)) in QUERIES.into_iter().enumerate() {
                declare_durable(&session, queue, n as u16 % scene.shards)?;
                bind_with(&session, ("feed", queue, "orders"), xquery(query))?;
            }
            expect_xml(&session, &binder)?;
            // What is wrong is said where the query is given.
            let bad = scene.session("bad")?;
            let refused = bind_with(&bad, ("feed", "all", "x"), xquery("/order[1"));
            let text = refused.as_ref().map_or_else(|error| format!("{error:#}"), |()| "".into());
            ensure!(
                text.contains("Could not parse xquery:/order[1: \"]\" expected at 8"),
                "{text}"
            );
            ensure!(code_of(refused)? == fletch_amqp::v0_10::ErrorCode::INTERNAL_ERROR);
            Ok(())
        },
        |scene, ()| expect_xml(&scene.session("looker")?, &scene.session("binder")?),
    )
}
