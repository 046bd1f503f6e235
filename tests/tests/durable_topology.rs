//! What becomes of queues, exchanges and bindings when the broker ends, in order or by SIGKILL, and the next one starts
//! on the same data: the durable ones are as they were, the others are not there. On 1, 2 and 4 shards.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fletch_amqp::types::{Map, Value};
use fletch_amqp::v0_10::ErrorCode;
use fletch_amqp::v0_10::table::{exchange, queue};
use fletch_client::{Outgoing, Session};
use fletch_tests::scene::*;
use fletch_tests::store::*;

/// Every kind of exchange: one of ours and the one built in.
const KINDS: [(&str, &str); 4] = [
    ("direct", "amq.direct"),
    ("topic", "amq.topic"),
    ("fanout", "amq.fanout"),
    ("headers", "amq.match"),
];

fn unbind(session: &Session, exchange: &str, queue: &str, key: &str) -> Result<()> {
    let (queue, exchange, binding_key) = (Some(queue), Some(exchange), Some(key));
    session.call(&exchange::Unbind { queue, exchange, binding_key }.into())?;
    Ok(())
}

fn delete_exchange(session: &Session, name: &str) -> Result<()> {
    session.call(&exchange::Delete { exchange: Some(name), if_unused: false }.into())?;
    Ok(())
}

/// Binds with arguments that a headers exchange matches; any other keeps them.
fn bind_with_arguments(session: &Session, exchange: &str, queue: &str, key: &str) -> Result<()> {
    let arguments = Map::new()
        .with("x-match", "all")
        .with("colour", "red")
        .with("count", Value::Int32(3))
        .encoded()?;
    let bind = exchange::Bind {
        queue: Some(queue),
        exchange: Some(exchange),
        binding_key: Some(key),
        arguments: Some(arguments.view()),
    };
    session.call(&bind.into())?;
    Ok(())
}

/// Sends a message that each kind of exchange routes by `key`, or by its headers.
fn send_matching(session: &Session, exchange: &str, key: &str, colour: &str) -> Result<()> {
    let headers = Map::new().with("colour", colour).with("count", Value::Int32(3)).encoded()?;
    let mut message = Outgoing::with_key(key, b"x");
    message.message.application_headers = Some(headers.view());
    session.send(exchange, &message)?;
    Ok(session.sync()?)
}

#[test]
fn exchanges_and_bindings_of_every_kind_come_back() -> Result<()> {
    Store::restarts(
        |scene| {
            let session = scene.session("maker")?;
            declare_durable(&session, "q", scene.shards - 1)?;
            declare(&session, "passing", 0)?;
            declare_durable_exchange(&session, "other", "fanout")?;
            let mut says = Vec::new();
            for (kind, built_in) in KINDS {
                let arguments =
                    Map::new().with("qpid.msg_sequence", 1i64).with("mine", kind).encoded()?;
                let declare = exchange::Declare {
                    exchange: Some(kind),
                    r#type: Some(kind),
                    alternate_exchange: Some("other"),
                    durable: true,
                    arguments: Some(arguments.view()),
                    ..Default::default()
                };
                session.call(&declare.into())?;
                let passing = format!("passing {kind}");
                declare_exchange(&session, &passing, kind)?;
                for exchange in [kind, built_in] {
                    bind_with_arguments(&session, exchange, "q", "key.#")?;
                    bind_with_arguments(&session, exchange, "passing", "key.#")?;
                }
                bind_with_arguments(&session, &passing, "q", "key.#")?;
                says.push(exchange_says(&session, kind)?.context("it is there")?);
            }
            Ok(says)
        },
        |scene, says| {
            let session = scene.session("looker")?;
            ensure!(query(&session, "passing")?.is_none(), "a transient queue came back");
            for ((kind, built_in), before) in KINDS.into_iter().zip(says) {
                let after = exchange_says(&session, kind)?;
                ensure!(after.as_ref() == Some(&before), "{before:?} has become {after:?}");
                let passing = format!("passing {kind}");
                ensure!(exchange_says(&session, &passing)?.is_none(), "{passing} came back");
                for exchange in [kind, built_in] {
                    ensure!(is_bound(&session, exchange, "q", "key.#")?, "q not to {exchange}");
                    send_matching(&session, exchange, "key.#", "red")?;
                    assert_eq!(drain(&session, "q")?.len(), 1, "by {exchange}");
                }
            }
            send_matching(&session, "direct", "another", "red")?;
            send_matching(&session, "amq.direct", "another", "red")?;
            send_matching(&session, "topic", "key.and.more", "red")?;
            send_matching(&session, "headers", "key.#", "blue")?;
            assert_eq!(drain(&session, "q")?.len(), 1, "the topic alone matches");
            Ok(())
        },
    )
}

#[test]
fn queues_come_back_as_they_were_declared() -> Result<()> {
    let names = |scene: &Scene| -> Vec<String> {
        scene.homes().flat_map(|home| ["plain", "full"].map(|n| format!("{n}{home}"))).collect()
    };
    Store::restarts(
        |scene| {
            let session = scene.session("maker")?;
            declare_durable_exchange(&session, "graveyard", "fanout")?;
            for home in scene.homes() {
                declare_durable(&session, &format!("plain{home}"), home)?;
                declare(&session, &format!("passing{home}"), home)?;
                let arguments = Map::new()
                    .with("fletch.shard", i64::from(home))
                    .with("qpid.max_count", Value::Uint32(100_000))
                    .with("qpid.max_size", "1000000000")
                    .with("mine.text", "näıve")
                    .with("mine.map", Value::Map(Map::new().with("inner", Value::Void)))
                    .encoded()?;
                let full = format!("full{home}");
                let declare = queue::Declare {
                    queue: Some(&full),
                    durable: true,
                    auto_delete: true,
                    alternate_exchange: Some("graveyard"),
                    arguments: Some(arguments.view()),
                    ..Default::default()
                };
                session.call(&declare.into())?;
                publish_durable(&session, &full, "m", 0..3)?;
            }
            names(scene)
                .iter()
                .map(|name| queue_says(&session, name)?.context("it is there"))
                .collect::<Result<Vec<_>>>()
        },
        |scene, says| {
            let session = scene.session("looker")?;
            for (name, before) in names(scene).iter().zip(says) {
                ensure!(before.durable, "{name} was not durable");
                let after = queue_says(&session, name)?;
                ensure!(after.as_ref() == Some(&before), "{name}: {before:?} is now {after:?}");
            }
            for home in scene.homes() {
                let passing = format!("passing{home}");
                ensure!(query(&session, &passing)?.is_none(), "{passing} came back");
            }
            Ok(())
        },
    )
}

#[test]
fn an_auto_delete_queue_waits_for_its_first_consumer() -> Result<()> {
    let declare = |name: &str, home: u16, session: &Session| {
        let (queue, durable, auto_delete) = (Some(name), true, true);
        let declare = queue::Declare { queue, durable, auto_delete, ..Default::default() };
        declare_as(session, home, &declare)
    };
    Store::restarts(
        |scene| {
            let session = scene.session("maker")?;
            for home in scene.homes() {
                declare(&format!("auto{home}"), home, &session)?;
                publish_durable(&session, &format!("auto{home}"), "m", 0..3)?;
            }
            Ok(())
        },
        |scene, ()| {
            let session = scene.session("consumer")?;
            for home in scene.homes() {
                let name = format!("auto{home}");
                assert_eq!(query(&session, &name)?, Some((3, 0)), "{name}");
                consume(&session, &name, "in", 2)?;
                assert_eq!(texts(&take(&session, 2)?), expected("m", 0..2));
                session.cancel("in")?;
                ensure!(query(&session, &name)?.is_none(), "{name} outlived its consumer");
            }
            Ok(())
        },
    )
}

#[test]
fn an_exclusive_queue_comes_back_without_an_owner() -> Result<()> {
    let mine = queue::Declare {
        queue: Some("mine"),
        durable: true,
        exclusive: true,
        ..Default::default()
    };
    Store::restarts(
        |scene| {
            let owner = scene.session("owner")?;
            declare_as(&owner, scene.shards - 1, &mine)?;
            publish_durable(&owner, "mine", "m", 0..3)?;
            ensure!(queue_says(&owner, "mine")?.is_some_and(|says| says.exclusive), "exclusive");
            Ok(owner)
        },
        |scene, owner| {
            drop(owner);
            let heir = scene.session("heir")?;
            let says = queue_says(&heir, "mine")?.context("it is gone")?;
            ensure!(!says.exclusive && says.durable && !says.auto_delete, "{says:?}");
            heir.call(&mine.clone().into()).context("it is anybody's")?;
            let other = scene.session("other")?;
            let refused = code_of(consume(&other, "mine", "in", 1))?;
            assert_eq!(refused, ErrorCode::RESOURCE_LOCKED);
            assert_eq!(texts(&drain(&heir, "mine")?), expected("m", 0..3));
            Ok(())
        },
    )
}

#[test]
fn what_was_deleted_stays_deleted_and_its_name_is_free() -> Result<()> {
    let two_lives = |ending: Ending, shards: u16| -> Result<()> {
        let store = Store::new()?;
        let scene = store.scene(shards)?;
        said(&scene, |scene| {
            let session = scene.session("maker")?;
            declare_durable_exchange(&session, "gone", "direct")?;
            declare_durable_exchange(&session, "kept", "direct")?;
            for home in scene.homes() {
                let name = format!("q{home}");
                for round in 0..3 {
                    declare_durable(&session, &name, home)?;
                    bind(&session, "kept", &name, "old key")?;
                    bind(&session, "gone", &name, "key")?;
                    publish_durable(&session, &name, &format!("old{round} "), 0..20)?;
                    delete(&session, &name)?;
                }
                let new = format!("new{home}");
                declare_durable(&session, &new, home)?;
                publish_durable(&session, &new, "old", 0..20)?;
                delete(&session, &new)?;
                declare_durable(&session, &new, home)?;
                bind(&session, "gone", &new, "key")?;
                publish_durable(&session, &new, "new", 0..2)?;
            }
            delete_exchange(&session, "gone")
        })?;
        scene.end(ending)?;
        let scene = store.scene(shards)?;
        said(&scene, |scene| {
            let session = scene.session("looker")?;
            ensure!(exchange_says(&session, "gone")?.is_none(), "a deleted exchange is back");
            for home in scene.homes() {
                let (name, new) = (format!("q{home}"), format!("new{home}"));
                ensure!(query(&session, &name)?.is_none(), "{name} is back");
                assert_eq!(texts(&browse(&session, &new)?), expected("new", 0..2));
                // The name is free, and what was in the queue of that name is not in this one.
                declare_durable(&session, &name, home)?;
                assert_eq!(query(&session, &name)?, Some((0, 0)));
                ensure!(!is_bound(&session, "kept", &name, "old key")?, "{name} is bound");
            }
            declare_durable_exchange(&session, "gone", "topic")?;
            ensure!(!is_bound(&session, "gone", "new0", "key")?, "bound by the old exchange");
            Ok(())
        })?;
        scene.end(ending)?;
        let scene = store.scene(shards)?;
        said(&scene, |scene| {
            let session = scene.session("looker")?;
            for home in scene.homes() {
                assert_eq!(query(&session, &format!("q{home}"))?, Some((0, 0)));
                assert_eq!(query(&session, &format!("new{home}"))?, Some((2, 0)));
            }
            let says = exchange_says(&session, "gone")?;
            ensure!(says.as_ref().is_some_and(|says| says.0 == "topic"), "{says:?}");
            Ok(())
        })?;
        scene.done()
    };
    for shards in [1, 2, 4] {
        for ending in [Ending::Stop, Ending::Kill] {
            two_lives(ending, shards)?;
        }
    }
    Ok(())
}

#[test]
fn an_unbind_survives() -> Result<()> {
    Store::restarts(
        |scene| {
            let session = scene.session("maker")?;
            declare_durable(&session, "q", scene.shards - 1)?;
            for exchange in ["mine", "amq.topic"] {
                if exchange == "mine" {
                    declare_durable_exchange(&session, exchange, "topic")?;
                }
                for key in ["stays", "goes", "comes back"] {
                    bind(&session, exchange, "q", key)?;
                }
                unbind(&session, exchange, "q", "goes")?;
                unbind(&session, exchange, "q", "comes back")?;
                bind(&session, exchange, "q", "comes back")?;
            }
            Ok(())
        },
        |scene, ()| {
            let session = scene.session("looker")?;
            for exchange in ["mine", "amq.topic"] {
                for (key, there) in [("stays", true), ("goes", false), ("comes back", true)] {
                    let bound = is_bound(&session, exchange, "q", key)?;
                    ensure!(bound == there, "by {key} to {exchange}: {bound}");
                    session.send(exchange, &Outgoing::with_key(key, key.as_bytes()))?;
                }
            }
            session.sync()?;
            assert_eq!(texts(&drain(&session, "q")?), ["stays", "comes back"].repeat(2));
            Ok(())
        },
    )
}

#[test]
fn alternates_work_after_a_restart_and_what_they_did_survives() -> Result<()> {
    let declare = |session: &Session, name: &str, home: u16| {
        let declare = queue::Declare {
            queue: Some(name),
            durable: true,
            alternate_exchange: Some("graveyard"),
            ..Default::default()
        };
        declare_as(session, home, &declare)
    };
    for shards in [1, 2, 4] {
        for ending in [Ending::Stop, Ending::Kill] {
            let store = Store::new()?;
            let scene = store.scene(shards)?;
            said(&scene, |scene| {
                let session = scene.session("maker")?;
                declare_durable_exchange(&session, "graveyard", "fanout")?;
                declare_durable(&session, "dead", scene.shards - 1)?;
                bind(&session, "graveyard", "dead", "")?;
                let exchange = exchange::Declare {
                    exchange: Some("x"),
                    r#type: Some("direct"),
                    alternate_exchange: Some("graveyard"),
                    durable: true,
                    ..Default::default()
                };
                session.call(&exchange.into())?;
                for name in ["one", "two"] {
                    declare(&session, name, 0)?;
                    publish_durable(&session, name, name, 0..100)?;
                }
                delete(&session, "one")?;
                settle(&session, "dead", |found| found == Some((100, 0)))
            })?;
            scene.end(ending)?;
            let scene = store.scene(shards)?;
            said(&scene, |scene| {
                let session = scene.session("looker")?;
                assert_eq!(texts(&browse(&session, "dead")?), expected("one", 0..100));
                delete(&session, "two")?;
                settle(&session, "dead", |found| found == Some((200, 0)))?;
                session.send("x", &persistent("no such key", b"unrouted"))?;
                session.sync()?;
                let refused = scene.session("errors")?;
                let refused = code_of(delete_exchange(&refused, "graveyard"))?;
                assert_eq!(refused, ErrorCode::NOT_ALLOWED, "it is in use as an alternate");
                Ok(())
            })?;
            scene.end(ending)?;
            let scene = store.scene(shards)?;
            said(&scene, |scene| {
                let session = scene.session("looker")?;
                let mut all = [expected("one", 0..100), expected("two", 0..100)].concat();
                all.push("unrouted".to_owned());
                assert_eq!(texts(&drain(&session, "dead")?), all);
                ensure!(query(&session, "two")?.is_none(), "a deleted queue is back");
                Ok(())
            })?;
            scene.done()?;
        }
    }
    Ok(())
}

#[test]
fn many_changes_survive_a_kill() -> Result<()> {
    const QUEUES: usize = 200;
    for shards in [1, 4] {
        let store = Store::new()?;
        for life in 0..3 {
            let scene = store.scene(shards)?;
            said(&scene, |scene| {
                let session = scene.session("maker")?;
                for number in 0..QUEUES {
                    let name = format!("q{number}");
                    // Each life takes away every third of what is there and puts back the others.
                    let there = life > 0 && number % 3 != life - 1;
                    ensure!(query(&session, &name)?.is_some() == there, "{name} in life {life}");
                    declare_durable(&session, &name, number as u16 % shards)?;
                    bind(&session, "amq.topic", &name, &name)?;
                    if number % 3 == life {
                        delete(&session, &name)?;
                    }
                }
                Ok(())
            })?;
            scene.end(Ending::Kill)?;
        }
    }
    Ok(())
}

#[test]
fn a_second_restart_at_once_changes_nothing() -> Result<()> {
    let store = Store::new()?;
    let scene = store.scene(2)?;
    let session = scene.session("maker")?;
    declare_durable(&session, "q", 1)?;
    bind(&session, "amq.direct", "q", "key")?;
    publish_durable(&session, "q", "m", 0..50)?;
    drop(session);
    scene.end(Ending::Kill)?;
    for after in [0, 3, 10, 30, 60, 100, 200] {
        store.killed_in_start(2, &[], Duration::from_millis(after))?;
    }
    for ending in [Ending::Stop, Ending::Stop, Ending::Kill, Ending::Stop] {
        let scene = store.scene(2)?;
        said(&scene, |scene| {
            let session = scene.session("looker")?;
            assert_eq!(texts(&browse(&session, "q")?), expected("m", 0..50));
            ensure!(is_bound(&session, "amq.direct", "q", "key")?, "it is not bound");
            Ok(())
        })?;
        scene.end(ending)?;
    }
    Ok(())
}
