//! Queues that are not consumed as they were filled: priorities, last values, message groups; and subscriptions that
//! select. On 1, 2 and 4 shards, and over restarts.

use std::collections::BTreeMap;

use anyhow::{Result, ensure};
use fletch_amqp::types::{Map, Value};
use fletch_amqp::v0_10::table::queue;
use fletch_amqp::v0_10::{AcceptMode, AcquireMode, CreditUnit, DeliveryMode, ErrorCode};
use fletch_client::{Delivery, Outgoing, Session, Subscription};
use fletch_tests::scene::*;
use fletch_tests::store::*;

/// Declares a queue with arguments on a shard.
fn make(session: &Session, name: &str, home: u16, durable: bool, arguments: &Map) -> Result<()> {
    let arguments = arguments.clone().with("fletch.shard", i64::from(home)).encoded()?;
    let (queue, arguments) = (Some(name), Some(arguments.view()));
    session.call(&queue::Declare { queue, durable, arguments, ..Default::default() }.into())?;
    Ok(())
}

/// A message to be sent: its header `key`, its priority, its body.
#[derive(Clone, Debug)]
struct Sent<'a>(&'a str, u8, String);

fn send(session: &Session, queue: &str, durable: bool, all: &[Sent<'_>]) -> Result<()> {
    for Sent(key, priority, body) in all {
        let headers = Map::new().with("key", *key).with("size", body.len() as i64).encoded()?;
        let mut message = Outgoing::to_queue(queue, body.as_bytes());
        message.delivery.priority = Some(*priority);
        message.delivery.delivery_mode = durable.then_some(DeliveryMode::PERSISTENT);
        message.message.application_headers = Some(headers.view());
        session.send("", &message)?;
    }
    Ok(session.sync()?)
}

fn sent<'a>(all: &[(&'a str, u8, &str)]) -> Vec<Sent<'a>> {
    all.iter().map(|(key, priority, body)| Sent(key, *priority, (*body).to_owned())).collect()
}

/// The bodies of all that a queue has, taken from it.
fn bodies(session: &Session, queue: &str) -> Result<Vec<String>> {
    Ok(texts(&drain(session, queue)?))
}

const PRIORITIES: [(&str, u8, &str); 6] =
    [("", 3, "3a"), ("", 9, "9a"), ("", 0, "0"), ("", 9, "9b"), ("", 3, "3b"), ("", 200, "9c")];
const BY_PRIORITY: [&str; 6] = ["9a", "9b", "9c", "3a", "3b", "0"];

#[test]
fn the_highest_priority_comes_first() -> Result<()> {
    let priorities = Map::new().with("x-qpid-priorities", "10");
    Store::restarts(
        |scene| {
            let session = scene.session("publisher")?;
            for home in scene.homes() {
                for (name, durable) in [(format!("t{home}"), false), (format!("d{home}"), true)] {
                    make(&session, &name, home, durable, &priorities)?;
                    send(&session, &name, durable, &sent(&PRIORITIES))?;
                }
                assert_eq!(bodies(&session, &format!("t{home}"))?, BY_PRIORITY);
            }
            Ok(())
        },
        |scene, ()| {
            let session = scene.session("reader")?;
            for home in scene.homes() {
                assert_eq!(bodies(&session, &format!("d{home}"))?, BY_PRIORITY);
            }
            Ok(())
        },
    )
}

/// More than recovery keeps in memory: the queue serves when all is read back.
#[test]
fn a_large_priority_queue_is_put_in_order_after_a_restart() -> Result<()> {
    const MESSAGES: usize = 640;
    let store = Store::new()?;
    let scene = store.scene(1)?;
    let session = scene.session("publisher")?;
    make(&session, "q", 0, true, &Map::new().with("qpid.priorities", 10))?;
    let all: Vec<Sent<'_>> = (0..MESSAGES)
        .map(|n| Sent("", (n % 10) as u8, format!("{n:05}{}", "x".repeat(64 << 10))))
        .collect();
    send(&session, "q", true, &all)?;
    scene.end(Ending::Kill)?;
    let scene = store.scene(1)?;
    let session = scene.session("reader")?;
    let found = bodies(&session, "q")?;
    ensure!(found.len() == MESSAGES, "{} messages", found.len());
    let numbers: Vec<usize> =
        found.iter().map(|body| body[..5].parse()).collect::<Result<_, _>>()?;
    let mut expected: Vec<usize> = (0..MESSAGES).collect();
    expected.sort_by_key(|n| (9 - n % 10, *n));
    assert_eq!(numbers, expected);
    scene.done()
}

#[test]
fn a_last_value_queue_holds_the_newest_of_each_key() -> Result<()> {
    let arguments = Map::new().with("qpid.last_value_queue_key", "key");
    let prices = sent(&[
        ("1", 4, "a"),
        ("2", 4, "b"),
        ("3", 4, "c"),
        ("4", 4, "d"),
        ("2", 4, "e"),
        ("1", 4, "f"),
    ]);
    Store::restarts(
        |scene| {
            let session = scene.session("publisher")?;
            for home in scene.homes() {
                let name = format!("q{home}");
                make(&session, &name, home, true, &arguments)?;
                send(&session, &name, true, &prices)?;
                assert_eq!(texts(&browse(&session, &name)?), ["c", "d", "e", "f"]);
            }
            Ok(())
        },
        |scene, ()| {
            let session = scene.session("reader")?;
            for home in scene.homes() {
                let name = format!("q{home}");
                send(&session, &name, true, &sent(&[("3", 4, "g")]))?;
                // What somebody has is his; if it comes back it gives way to what came meanwhile.
                consume(&session, &name, "held", 1)?;
                let held = next(&session)?;
                assert_eq!(text(&held), "d");
                send(&session, &name, true, &sent(&[("4", 4, "h")]))?;
                session.release(&ids([&held]), true)?;
                session.cancel("held")?;
                assert_eq!(bodies(&session, &name)?, ["e", "f", "g", "h"]);
            }
            Ok(())
        },
    )
}

/// Consumers of a queue with groups, each on a connection of its own.
#[test]
fn a_group_is_one_consumers_at_a_time() -> Result<()> {
    let arguments =
        Map::new().with("qpid.group_header_key", "key").with("qpid.shared_msg_group", 1);
    Scene::each(|scene| {
        let publisher = scene.session("publisher")?;
        let (one, two) = (scene.session("one")?, scene.session("two")?);
        for home in scene.homes() {
            let name = format!("q{home}");
            make(&publisher, &name, home, false, &arguments)?;
            let all = sent(&[
                ("A", 4, "A1"),
                ("B", 4, "B1"),
                ("A", 4, "A2"),
                ("", 4, "N1"),
                ("A", 4, "A3"),
            ]);
            send(&publisher, &name, false, &all)?;
            consume(&one, &name, "one", 2)?;
            let (a1, b1) = (next(&one)?, next(&one)?);
            assert_eq!((text(&a1), text(&b1)), ("A1".into(), "B1".into()));
            // The rest of A is not for the other, whatever it stands before.
            consume(&two, &name, "two", 10)?;
            let n1 = next(&two)?;
            assert_eq!(text(&n1), "N1");
            nothing(&two)?;
            // One keeps A as long as it holds any of it.
            one.flow("one", CreditUnit::MESSAGE, 1)?;
            let a2 = next(&one)?;
            assert_eq!(text(&a2), "A2");
            accept(&one, &[a1.id])?;
            nothing(&two)?;
            accept(&one, &[a2.id])?;
            let a3 = next(&two)?;
            assert_eq!(text(&a3), "A3");
            // What is released goes to whoever is there, in order.
            two.cancel("two")?;
            two.release(&ids([&n1, &a3]), false)?;
            two.sync()?;
            one.release(&ids([&b1]), false)?;
            one.flow("one", CreditUnit::MESSAGE, 3)?;
            assert_eq!(texts(&take(&one, 3)?), ["B1", "N1", "A3"]);
            one.cancel("one")?;
        }
        Ok(())
    })
}

/// Subscribes with a selector.
fn select(
    session: &Session,
    queue: &str,
    destination: &str,
    selector: &str,
    acquire_mode: AcquireMode,
) -> Result<()> {
    let arguments = Map::new().with("x-apache-selector", selector).encoded()?;
    let (accept_mode, arguments) = (AcceptMode::EXPLICIT, Some(arguments.view()));
    let more = Subscription { accept_mode, acquire_mode, arguments, ..Default::default() };
    consume_as(session, &Subscription { queue, destination, ..more }, CreditUnit::UNLIMITED)
}

#[test]
fn subscribers_get_what_they_select() -> Result<()> {
    const MESSAGES: usize = 3000;
    Scene::each(|scene| {
        let publisher = scene.session("publisher")?;
        let session = scene.session("reader")?;
        for home in scene.homes() {
            let name = format!("q{home}");
            make(&publisher, &name, home, false, &Map::new())?;
            let keys = ["red", "green", "blue"];
            let all: Vec<Sent<'_>> = (0..MESSAGES)
                .map(|n| Sent(keys[n % 3], 4, format!("{}{n}", keys[n % 3])))
                .collect();
            send(&publisher, &name, false, &all)?;
            let of = |key: &str| all.iter().filter(|s| s.0 == key).map(|s| s.2.clone()).collect();
            let browsed = "key LIKE 'gr%' AND size >= 6";
            select(&session, &name, "browse", browsed, AcquireMode::NOT_ACQUIRED)?;
            select(&session, &name, "take", "key = 'red'", AcquireMode::PRE_ACQUIRED)?;
            select(&session, &name, "none", "key = 'black'", AcquireMode::PRE_ACQUIRED)?;
            let mut found: BTreeMap<String, Vec<Delivery>> = BTreeMap::new();
            for delivery in take(&session, MESSAGES / 3 * 2)? {
                let to = delivery.destination.to_string();
                found.entry(to).or_default().push(delivery);
            }
            nothing(&session)?;
            let green: Vec<String> = of("green");
            assert_eq!(texts(&found["browse"]), green);
            let red: Vec<String> = of("red");
            assert_eq!(texts(&found["take"]), red);
            // What comes back is for whoever selects it.
            session.release(&ids(&found["take"][10..12]), true)?;
            assert_eq!(texts(&take(&session, 2)?), red[10..12]);
            for destination in ["browse", "take", "none"] {
                session.cancel(destination)?;
            }
        }
        Ok(())
    })
}

#[test]
fn a_selector_that_is_not_understood_is_refused() -> Result<()> {
    let scene = Scene::new(1)?;
    let session = scene.session("reader")?;
    declare(&session, "q", 0)?;
    let result = select(&session, "q", "d", "colour = ", AcquireMode::PRE_ACQUIRED);
    let text = result.as_ref().err().map(|e| format!("{e:#}")).unwrap_or_default();
    ensure!(text.contains("column"), "{text}");
    assert_eq!(code_of(result)?, ErrorCode::INVALID_ARGUMENT);
    scene.done()
}

#[test]
fn kinds_of_queues_exclude_each_other() -> Result<()> {
    let scene = Scene::new(1)?;
    let refused = [
        Map::new().with("qpid.priorities", 5).with("qpid.last_value_queue_key", "key"),
        Map::new().with("qpid.group_header_key", "key"),
        Map::new().with("qpid.fairshare", 5),
        Map::new().with("qpid.max_count", Value::Double(1.5)),
    ];
    for (n, arguments) in refused.iter().enumerate() {
        let session = scene.session(&format!("session-{n}"))?;
        let code = code_of(make(&session, "q", 0, false, arguments))?;
        assert_eq!(code, ErrorCode::INVALID_ARGUMENT);
        let session = scene.session(&format!("other-{n}"))?;
        assert_eq!(query(&session, "q")?, None);
    }
    scene.done()
}
