//! What becomes of messages when the broker ends, in order or by SIGKILL, and the next one starts on the same data: what
//! was confirmed is there, what was accepted is gone, and nothing else has changed. On 1, 2 and 4 shards. What becomes
//! of queues, exchanges and bindings is in `durable_topology.rs`, the directory and its options are in `storage.rs`,
//! random moments under load in `crash.rs`.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fletch_amqp::types::{Array, List, Map, Uuid, Value};
use fletch_amqp::v0_10::table::message::ReplyTo;
use fletch_amqp::v0_10::table::{exchange, queue};
use fletch_client::Session;
use fletch_tests::scene::*;
use fletch_tests::store::*;

/// The name of the queue on each shard.
fn names(scene: &Scene) -> Vec<(u16, String)> {
    scene.homes().map(|home| (home, format!("q{home}"))).collect()
}

/// A durable queue on each shard.
fn declare_each(scene: &Scene, session: &Session) -> Result<Vec<String>> {
    names(scene)
        .into_iter()
        .map(|(home, name)| declare_durable(session, &name, home).map(|()| name))
        .collect()
}

#[test]
fn persistent_messages_come_back_as_they_were() -> Result<()> {
    const SIZES: [usize; 13] = [
        0,
        1,
        100,
        4031,
        4096,
        4097,
        65_535,
        65_536,
        1_048_000,
        1 << 20,
        1_048_577,
        3 << 20,
        4 << 20,
    ];
    let pattern: Vec<u8> = (0..4 << 20).map(|at: usize| (at * 7 + at / 251) as u8).collect();
    let headers = Map::new()
        .with("text", "näıve")
        .with("empty", "")
        .with("number", Value::Int32(-7))
        .with("large", Value::Uint64(u64::MAX))
        .with("double", Value::Double(0.1))
        .with("yes", Value::Boolean(true))
        .with("void", Value::Void)
        .with("octets", Value::Vbin32(vec![0, 255, 7]))
        .with("map", Value::Map(Map::new().with("inner", "text")))
        .with("list", Value::List(List(vec![Value::Uint8(1), Value::Void])))
        .with("array", Value::Array(Array::of_str16(["a", "b"])));
    let encoded = headers.encoded()?;
    let send = |session: &Session, queue: &str| -> Result<()> {
        for (number, size) in SIZES.into_iter().enumerate() {
            let mut message = persistent(queue, &pattern[..size]);
            message.delivery.priority = Some(7);
            message.delivery.timestamp = Some(1_600_000_000);
            message.delivery.discard_unroutable = true;
            message.message.message_id = Some(Uuid([number as u8; 16]));
            message.message.correlation_id = Some(b"\0\xffid");
            message.message.reply_to =
                Some(ReplyTo { exchange: Some("amq.direct"), routing_key: Some("back") });
            message.message.content_type = Some("application/octet-stream");
            message.message.content_encoding = Some("none");
            message.message.app_id = Some(b"tests");
            message.message.application_headers = Some(encoded.view());
            session.send("", &message)?;
        }
        // One without any property but what makes it durable, and of a body of other octets.
        session.send("", &persistent(queue, b"bare"))?;
        Ok(session.sync()?)
    };
    Store::restarts(
        |scene| {
            let session = scene.session("publisher")?;
            let mut all = Vec::new();
            for name in declare_each(scene, &session)? {
                send(&session, &name)?;
                all.push((name.clone(), browse(&session, &name)?));
            }
            Ok(all)
        },
        |scene, all| {
            let session = scene.session("reader")?;
            for (name, before) in all {
                let after = browse(&session, &name)?;
                ensure!(after.len() == SIZES.len() + 1, "{} messages in {name}", after.len());
                for (at, (before, after)) in before.iter().zip(&after).enumerate() {
                    ensure!(before.header() == after.header(), "the header of {at} in {name}");
                    ensure!(before.body() == after.body(), "the body of {at} in {name}");
                    let sent = SIZES.get(at).map_or(&b"bare"[..], |size| &pattern[..*size]);
                    ensure!(after.body() == sent, "{at} in {name} is not what was sent");
                }
                let view = after[3].view()?;
                assert_eq!(view.application_headers()?.to_map()?, headers);
                assert_eq!(view.message_id()?, Some(Uuid([3; 16])));
                assert_eq!((view.priority()?, view.is_persistent()?), (Some(7), true));
            }
            Ok(())
        },
    )
}

#[test]
fn only_persistent_messages_come_back() -> Result<()> {
    Store::restarts(
        |scene| {
            let session = scene.session("publisher")?;
            for name in declare_each(scene, &session)? {
                for number in 0..10 {
                    publish(&session, &name, "transient", number..number + 1)?;
                    publish_durable(&session, &name, "m", number..number + 1)?;
                }
                assert_eq!(query(&session, &name)?, Some((20, 0)));
            }
            Ok(())
        },
        |scene, ()| {
            let session = scene.session("reader")?;
            for (_, name) in names(scene) {
                assert_eq!(texts(&drain(&session, &name)?), expected("m", 0..10));
            }
            Ok(())
        },
    )
}

#[test]
fn what_was_accepted_stays_gone_and_what_was_delivered_is_flagged() -> Result<()> {
    Store::restarts(
        |scene| {
            let setup = scene.session("setup")?;
            let mut held = Vec::new();
            for name in declare_each(scene, &setup)? {
                publish_durable(&setup, &name, "m", 0..20)?;
                let session = scene.session(&format!("holder of {name}"))?;
                consume(&session, &name, "in", 8)?;
                let came = take(&session, 8)?;
                accept(&session, &[0, 2, 3, 7].map(|at: usize| came[at].id))?;
                held.push((session, came));
            }
            // Held until the end: nobody gives anything back.
            Ok(held)
        },
        |scene, held| {
            drop(held);
            let session = scene.session("reader")?;
            for (_, name) in names(scene) {
                let found = browse(&session, &name)?;
                assert_eq!(texts(&found), expected("m", [1, 4, 5, 6].into_iter().chain(8..20)));
                let flagged = redelivered(&found)?;
                assert_eq!(flagged, [&[true; 4][..], &[false; 12]].concat(), "in {name}");
                let came = drain(&session, &name)?;
                assert_eq!(redelivered(&came)?, flagged);
            }
            Ok(())
        },
    )
}

#[test]
fn rejected_messages_are_where_their_alternate_put_them() -> Result<()> {
    Store::restarts(
        |scene| {
            let session = scene.session("settles")?;
            declare_durable(&session, "dead", scene.shards - 1)?;
            declare_durable_exchange(&session, "graveyard", "fanout")?;
            bind(&session, "graveyard", "dead", "")?;
            let declare = queue::Declare {
                queue: Some("q"),
                durable: true,
                alternate_exchange: Some("graveyard"),
                ..Default::default()
            };
            declare_as(&session, 0, &declare)?;
            publish_durable(&session, "q", "m", 0..6)?;
            consume(&session, "q", "in", 6)?;
            let held = take(&session, 6)?;
            session.reject(&ids([&held[1], &held[4]]), "no good")?;
            session.sync()?;
            settle(&session, "dead", |found| found == Some((2, 0)))
        },
        |scene, ()| {
            let session = scene.session("reader")?;
            assert_eq!(texts(&drain(&session, "q")?), expected("m", [0, 2, 3, 5]));
            assert_eq!(texts(&drain(&session, "dead")?), expected("m", [1, 4]));
            Ok(())
        },
    )
}

#[test]
fn a_purge_survives() -> Result<()> {
    Store::restarts(
        |scene| {
            let session = scene.session("setup")?;
            for name in declare_each(scene, &session)? {
                publish_durable(&session, &name, "old", 0..300)?;
                session.call(&queue::Purge { queue: Some(&name) }.into())?;
                publish_durable(&session, &name, "new", 0..3)?;
            }
            Ok(())
        },
        |scene, ()| {
            let session = scene.session("reader")?;
            for (_, name) in names(scene) {
                assert_eq!(texts(&drain(&session, &name)?), expected("new", 0..3));
            }
            Ok(())
        },
    )
}

#[test]
fn a_message_to_many_queues_is_in_all_of_them() -> Result<()> {
    const QUEUES: u16 = 8;
    Store::restarts(
        |scene| {
            let session = scene.session("publisher")?;
            declare_durable_exchange(&session, "all", "fanout")?;
            for number in 0..QUEUES {
                let name = format!("q{number}");
                declare_durable(&session, &name, number % scene.shards)?;
                bind(&session, "all", &name, "")?;
            }
            for number in 0..50 {
                session.send("all", &persistent("", format!("m{number}").as_bytes()))?;
            }
            session.sync()?;
            // From one of them everything is taken: the others have it all the same.
            consume(&session, "q1", "in", 50)?;
            let came = take(&session, 50)?;
            accept(&session, &came.iter().map(|delivery| delivery.id).collect::<Vec<_>>())
        },
        |scene, ()| {
            let session = scene.session("reader")?;
            for number in 0..QUEUES {
                let left = if number == 1 { 0..0 } else { 0..50 };
                let found = texts(&drain(&session, &format!("q{number}"))?);
                assert_eq!(found, expected("m", left), "in q{number}");
            }
            Ok(())
        },
    )
}

#[test]
fn time_to_live_goes_on_while_no_broker_runs() -> Result<()> {
    const SHORT: u64 = 400;
    const LONG: u64 = 60_000;
    Store::restarts(
        |scene| {
            let session = scene.session("publisher")?;
            declare_durable(&session, "q", scene.shards - 1)?;
            let sent = Instant::now();
            for (text, ttl) in [("long", Some(LONG)), ("short", Some(SHORT)), ("never", None)] {
                let mut message = persistent("q", text.as_bytes());
                message.delivery.ttl = ttl;
                session.send("", &message)?;
            }
            session.sync()?;
            Ok(sent)
        },
        |scene, sent| {
            let passed = sent.elapsed();
            // Time has to pass: that is what is tested.
            std::thread::sleep(Duration::from_millis(SHORT + 50).saturating_sub(passed));
            let session = scene.session("reader")?;
            let found = drain(&session, "q")?;
            assert_eq!(texts(&found), ["long", "never"]);
            let left = found[0].view()?.ttl()?.context("the ttl is gone")?;
            ensure!(left <= LONG - SHORT, "{left} ms are left after {:?}", sent.elapsed());
            ensure!(left + 10_000 > LONG - SHORT, "{left} ms are left");
            assert_eq!(found[1].view()?.ttl()?, None);
            Ok(())
        },
    )
}

#[test]
fn another_number_of_shards_loses_nothing() -> Result<()> {
    const QUEUES: u16 = 6;
    for ending in [Ending::Stop, Ending::Kill] {
        let store = Store::new()?;
        let mut published = 0;
        for (life, shards) in [1, 4, 2, 4, 1].into_iter().enumerate() {
            let scene = store.scene(shards)?;
            said(&scene, |scene| {
                let session = scene.session("client")?;
                if life == 0 {
                    declare_durable_exchange(&session, "all", "fanout")?;
                }
                for number in 0..QUEUES {
                    let name = format!("q{number}");
                    if life == 0 {
                        declare_durable(&session, &name, 0)?;
                        bind(&session, "all", &name, "")?;
                    }
                    // Each life one message was taken from the front.
                    let found = texts(&browse(&session, &name)?);
                    assert_eq!(found, expected("m", life..published), "in {name}");
                }
                for number in published..published + 30 {
                    session.send("all", &persistent("", format!("m{number}").as_bytes()))?;
                }
                session.sync()?;
                published += 30;
                for number in 0..QUEUES {
                    let name = format!("q{number}");
                    consume(&session, &name, &name, 1)?;
                    let first = next(&session)?;
                    assert_eq!(text(&first), format!("m{life}"));
                    accept(&session, &[first.id])?;
                }
                Ok(())
            })
            .with_context(|| format!("life {life}, each ended by {ending:?}"))?;
            scene.end(ending)?;
        }
    }
    Ok(())
}

#[test]
fn it_goes_on_after_each_of_several_crashes() -> Result<()> {
    const LIVES: usize = 5;
    const EACH: usize = 40;
    for shards in [1, 2, 4] {
        let store = Store::new()?;
        for life in 0..LIVES {
            let scene = store.scene(shards)?;
            said(&scene, |scene| {
                let session = scene.session("client")?;
                if life == 0 {
                    declare_each(scene, &session)?;
                }
                for (_, name) in names(scene) {
                    let found = browse(&session, &name)?;
                    let (first, last) = (life * 10, life * EACH);
                    assert_eq!(texts(&found), expected("m", first..last), "in {name}");
                    // The life before took ten and held five.
                    let held = if life == 0 { 0 } else { 5 };
                    let flags = redelivered(&found)?;
                    ensure!(flags[..held].iter().all(|flag| *flag), "{flags:?} in {name}");
                    publish_durable(&session, &name, "m", last..last + EACH)?;
                    let holder = scene.session(&format!("holder of {name}"))?;
                    consume(&holder, &name, "in", 15)?;
                    let came = take(&holder, 15)?;
                    accept(&holder, &came[..10].iter().map(|d| d.id).collect::<Vec<_>>())?;
                }
                Ok(())
            })
            .with_context(|| format!("life {life}"))?;
            scene.end(Ending::Kill)?;
        }
    }
    Ok(())
}

#[test]
fn what_is_consumed_while_it_is_published_is_gone() -> Result<()> {
    const MESSAGES: usize = 2000;
    Store::restarts(
        |scene| {
            let setup = scene.session("setup")?;
            declare_durable(&setup, "q", scene.shards - 1)?;
            std::thread::scope(|scope| {
                let consuming = scope.spawn(|| -> Result<()> {
                    let session = scene.session("consumer")?;
                    session.consume("q", "in", 100)?;
                    for number in 0..MESSAGES {
                        let came = next(&session)?;
                        ensure!(text(&came) == format!("m{number}"), "{} came", text(&came));
                        session.accept(came.id)?;
                    }
                    // The last ones are told before what says that all is done.
                    session.flush()?;
                    Ok(session.sync()?)
                });
                publish_durable(&setup, "q", "m", 0..MESSAGES)?;
                consuming.join().expect("the consumer")
            })
        },
        |scene, ()| {
            let session = scene.session("reader")?;
            assert_eq!(query(&session, "q")?, Some((0, 0)));
            publish_durable(&session, "q", "after", 0..1)?;
            assert_eq!(texts(&drain(&session, "q")?), ["after0"]);
            Ok(())
        },
    )
}

#[test]
fn without_a_data_directory_durable_is_a_word() -> Result<()> {
    let scene = Scene::new(2)?;
    let session = scene.session("client")?;
    declare_durable(&session, "q", 1)?;
    declare_durable_exchange(&session, "x", "direct")?;
    bind(&session, "x", "q", "key")?;
    session.call(&exchange::Query { name: Some("x") }.into())?;
    publish_durable(&session, "q", "m", 0..10)?;
    assert_eq!(texts(&drain(&session, "q")?), expected("m", 0..10));
    scene.done()
}

#[test]
fn a_busy_journal_serves_everybody() -> Result<()> {
    const PUBLISHERS: u16 = 4;
    const BUSY: Duration = Duration::from_millis(700);
    for shards in [1, 2, 4] {
        let store = Store::new()?;
        // What they send may be more than the broker's own limit of a queue.
        let options = ["--default-queue-limit", "0"];
        let scene = store.scene_with(shards, &options)?;
        let setup = scene.session("setup")?;
        let (began, body) = (Instant::now(), vec![b'x'; 1024]);
        let sent = std::thread::scope(|scope| -> Result<Vec<u32>> {
            let mut publishers = Vec::new();
            // Each begins while those before it publish as fast as their windows allow.
            for number in 0..PUBLISHERS {
                let name = format!("q{number}");
                said(&scene, |scene| declare_durable(&setup, &name, number % scene.shards))
                    .with_context(|| format!("declaring {name}"))?;
                let session = scene.session(&format!("publisher-{number}"))?;
                let body = &body;
                publishers.push(scope.spawn(move || -> Result<u32> {
                    let mut sent = 0;
                    while began.elapsed() < BUSY {
                        for _ in 0..64 {
                            session.send("", &persistent(&name, body))?;
                        }
                        sent += 64;
                    }
                    session.sync()?;
                    Ok(sent)
                }));
            }
            let publishers = publishers.into_iter().map(|p| p.join().expect("a publisher"));
            publishers.collect()
        })?;
        scene.end(Ending::Kill)?;
        let scene = store.scene_with(shards, &options)?;
        let session = scene.session("reader")?;
        for (number, sent) in sent.into_iter().enumerate() {
            assert_eq!(query(&session, &format!("q{number}"))?, Some((sent, 0)));
        }
        scene.done()?;
    }
    Ok(())
}
