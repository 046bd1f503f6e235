//! What becomes of messages: who gets them, in which order, how often, how fast credit lets them,
//! and where they go that nobody takes. On 1, 2 and 4 shards, publisher, queue and consumer apart.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fletch_amqp::SequenceSet;
use fletch_amqp::v0_10::table::{message, queue};
use fletch_amqp::v0_10::{AcceptMode, AcquireMode, CreditUnit, ErrorCode, FlowMode};
use fletch_client::{ConnectOptions, Delivery, Outgoing, Session, Subscription};
use fletch_tests::scene::*;

/// Everything the queue has sent has come, and there is nothing left to take. The answer to a query
/// comes the way deliveries come, behind them.
fn quiet(session: &Session, queue: &str) -> Result<()> {
    query(session, queue)?;
    nothing(session)
}

/// A queue on `home` that sends what it gets rid of to the queue "dead" on the next shard.
fn with_alternate(scene: &Scene, session: &Session, queue: &str, home: u16) -> Result<()> {
    declare(session, "dead", (home + 1) % scene.shards)?;
    declare_exchange(session, "graveyard", "fanout")?;
    bind(session, "graveyard", "dead", "")?;
    let (queue, alternate_exchange) = (Some(queue), Some("graveyard"));
    declare_as(session, home, &queue::Declare { queue, alternate_exchange, ..Default::default() })
}

#[test]
fn competing_consumers_take_turns() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            declare(&setup, "q", home)?;
            let consumers = (0..3)
                .map(|number| {
                    let session = scene.session(&format!("consumer-{number}"))?;
                    consume(&session, "q", "in", CreditUnit::UNLIMITED)?;
                    Ok(session)
                })
                .collect::<Result<Vec<_>>>()?;
            publish(&setup, "q", "", 0..150)?;
            let mut all = Vec::new();
            for session in &consumers {
                query(session, "q")?;
                let mine: Vec<Delivery> = std::iter::from_fn(|| session.take_delivery()).collect();
                ensure!((45..=55).contains(&mine.len()), "{} of 150 for one of 3", mine.len());
                let numbers: Vec<usize> =
                    texts(&mine).iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
                ensure!(numbers.is_sorted(), "{numbers:?}");
                all.extend(numbers);
            }
            consumers.iter().try_for_each(Session::close)?;
            all.sort_unstable();
            assert_eq!(all, (0..150).collect::<Vec<_>>());
            delete(&setup, "q")?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn accept_release_and_reject_do_what_they_say() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let session = scene.session("settles")?;
            with_alternate(scene, &session, "q", home)?;
            publish(&session, "q", "m", 0..8)?;
            let consumer = scene.session("consumer")?;
            consume(&consumer, "q", "in", 8)?;
            let held = take(&consumer, 8)?;
            assert_eq!(redelivered(&held)?, [false; 8]);
            accept(&consumer, &[held[0].id, held[5].id])?;
            consumer.release(&ids([&held[4], &held[1]]), false)?;
            consumer.release(&ids([&held[2], &held[6]]), true)?;
            consumer.reject(&ids([&held[7], &held[3]]), "no good")?;
            // A second word about any of them changes nothing.
            consumer.release(&ids(&held), true)?;
            consumer.reject(&ids(&held), "")?;
            consumer.sync()?;
            assert_eq!(query(&consumer, "q")?, Some((4, 1)));
            let back = drain(&consumer, "q")?;
            assert_eq!(texts(&back), expected("m", [1, 2, 4, 6]));
            assert_eq!(redelivered(&back)?, [false, true, false, true]);

            settle(&session, "dead", |found| found == Some((2, 0)))?;
            assert_eq!(texts(&drain(&session, "dead")?), expected("m", [3, 7]));
            consumer.close()?;
            delete(&session, "q")?;
            delete(&session, "dead")?;
            session.close()?;
        }
        Ok(())
    })
}

#[test]
fn browsed_messages_stay_until_they_are_acquired() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            declare(&setup, "q", home)?;
            publish(&setup, "q", "m", 0..6)?;
            let browsers = [scene.session("one")?, scene.session("two")?];
            let mut seen = Vec::new();
            for session in &browsers {
                let acquire_mode = AcquireMode::NOT_ACQUIRED;
                let (queue, destination) = ("q", "look");
                let browse =
                    Subscription { queue, destination, acquire_mode, ..Default::default() };
                consume_as(session, &browse, CreditUnit::UNLIMITED)?;
                let came = take(session, 6)?;
                assert_eq!(texts(&came), expected("m", 0..6));
                assert!(came.iter().all(|d| d.acquire_mode == AcquireMode::NOT_ACQUIRED));
                seen.push(came);
            }
            assert_eq!(query(&setup, "q")?, Some((6, 2)));
            let acquire = |who: usize, which: &[usize]| -> Result<SequenceSet> {
                let transfers = Some(ids(which.iter().map(|at| &seen[who][*at])));
                let reply = browsers[who].call(&message::Acquire { transfers }.into())?;
                let acquired: message::Acquired = reply.context("no result")?.read()?;
                Ok(acquired.transfers.unwrap_or_default())
            };
            assert_eq!(acquire(0, &[1, 2])?, ids(&seen[0][1..3]));
            // What one has the other cannot get.
            assert_eq!(acquire(1, &[2, 3])?, ids(&seen[1][3..4]));
            accept(&browsers[0], &[seen[0][1].id, seen[0][0].id])?;
            browsers[1].release(&ids(&seen[1][3..4]), false)?;
            browsers[1].sync()?;
            // m2 is the first browser's still; accepting the merely browsed m0 took nothing.
            assert_eq!(texts(&drain(&setup, "q")?), expected("m", [0, 3, 4, 5]));
            browsers[0].close()?;
            settle(&setup, "q", |found| found == Some((1, 1)))?;
            assert_eq!(texts(&drain(&setup, "q")?), ["m2"]);
            browsers[1].close()?;
            delete(&setup, "q")?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn credit_limits_what_is_sent() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            declare(&setup, "q", home)?;
            publish(&setup, "q", "m", 0..20)?;

            let credit = scene.session("credit")?;
            consume(&credit, "q", "in", 3)?;
            accept(&credit, &take(&credit, 3)?.iter().map(|d| d.id).collect::<Vec<_>>())?;
            quiet(&credit, "q").context("accepting brings no credit")?;
            credit.flow("in", CreditUnit::MESSAGE, 2)?;
            assert_eq!(texts(&take(&credit, 2)?), expected("m", 3..5));
            quiet(&credit, "q")?;
            credit.close()?;
            settle(&setup, "q", |found| found == Some((17, 0)))?;

            let window = scene.session("window")?;
            window.consume("q", "in", 4)?;
            // m3 and m4 came back; four are in the window, none is completed yet.
            settle(&setup, "q", |found| found == Some((13, 1)))?;
            let first = take(&window, 1)?;
            window.flush()?;
            settle(&setup, "q", |found| found == Some((12, 1)))?;
            assert_eq!(texts(&first), ["m3"]);
            take(&window, 2)?;
            window.flush()?;
            settle(&setup, "q", |found| found == Some((10, 1)))?;
            window.close()?;
            settle(&setup, "q", |found| found == Some((17, 0)))?;

            delete(&setup, "q")?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn byte_credit_counts_octets() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            declare(&setup, "q", home)?;
            for _ in 0..6 {
                setup.send("", &Outgoing::to_queue("q", &[b'x'; 1000]))?;
            }
            setup.sync()?;
            let session = scene.session("consumer")?;
            session.subscribe(&Subscription {
                queue: "q",
                destination: "in",
                ..Default::default()
            })?;
            session.set_flow_mode("in", FlowMode::CREDIT)?;
            session.flow("in", CreditUnit::MESSAGE, CreditUnit::UNLIMITED)?;
            quiet(&session, "q").context("messages without octets are no credit")?;
            // A message costs its content and a little for its header.
            session.flow("in", CreditUnit::BYTE, 2500)?;
            take(&session, 2)?;
            quiet(&session, "q")?;
            session.flow("in", CreditUnit::BYTE, 1000)?;
            take(&session, 1)?;
            quiet(&session, "q")?;
            session.flow("in", CreditUnit::BYTE, CreditUnit::UNLIMITED)?;
            take(&session, 3)?;
            delete(&setup, "q")?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn flush_and_stop_leave_nothing_under_way() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            declare(&setup, "q", home)?;
            publish(&setup, "q", "m", 0..700)?;
            let session = scene.session("consumer")?;
            consume(&session, "q", "in", 600)?;
            // More than there is room for at once; all the same, when it is complete it has come.
            session.flush_credit("in")?;
            let came: Vec<Delivery> = std::iter::from_fn(|| session.take_delivery()).collect();
            assert_eq!(texts(&came), expected("m", 0..600));
            // It took the rest of the credit away.
            publish(&setup, "q", "m", 700..710)?;
            quiet(&session, "q")?;
            session.flow("in", CreditUnit::BYTE, CreditUnit::UNLIMITED)?;
            session.flow("in", CreditUnit::MESSAGE, 1000)?;
            assert_eq!(texts(&take(&session, 110)?), expected("m", 600..710));
            session.stop("in")?;
            publish(&setup, "q", "m", 710..720)?;
            quiet(&session, "q")?;
            session.flow("in", CreditUnit::BYTE, CreditUnit::UNLIMITED)?;
            session.flow("in", CreditUnit::MESSAGE, 5)?;
            session.flush_credit("in")?;
            let came: Vec<Delivery> = std::iter::from_fn(|| session.take_delivery()).collect();
            assert_eq!(texts(&came), expected("m", 710..715));
            delete(&setup, "q")?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn messages_expire() -> Result<()> {
    const SHORT: u64 = 100;
    const LONG: u64 = 60_000;
    Scene::each(|scene| {
        let home = scene.shards - 1;
        let setup = scene.session("setup")?;
        declare(&setup, "q", home)?;
        let send = |text: &str, ttl: Option<u64>| {
            let mut message = Outgoing::to_queue("q", text.as_bytes());
            message.delivery.ttl = ttl;
            setup.send("", &message).map(drop)
        };
        let sent = Instant::now();
        send("long", Some(LONG))?;
        send("short", Some(SHORT))?;
        send("never", None)?;
        send("held", Some(SHORT))?;
        setup.sync()?;
        // Time has to pass: that is what is tested.
        std::thread::sleep(Duration::from_millis(SHORT + 50));
        let session = scene.session("consumer")?;
        consume(&session, "q", "in", 100)?;
        session.flush_credit("in")?;
        let first: Vec<Delivery> = std::iter::from_fn(|| session.take_delivery()).collect();
        assert_eq!(texts(&first), ["long", "never"]);
        let left = first[0].view()?.ttl()?.context("the ttl is gone")?;
        let passed = u64::try_from(sent.elapsed().as_millis())?;
        ensure!(left <= LONG - SHORT - 50, "{left} ms are left");
        ensure!(left + passed + 1000 >= LONG, "{left} ms are left after {passed} ms");
        assert_eq!(first[1].view()?.ttl()?, None);
        assert_eq!(query(&setup, "q")?, Some((0, 1)));

        std::thread::sleep(Duration::from_millis(20));
        session.release(&ids(&first), true)?;
        consume(&session, "q", "again", 100)?;
        let second = take(&session, 2)?;
        assert_eq!(redelivered(&second)?, [true, true]);
        let less = second[0].view()?.ttl()?.context("the ttl is gone")?;
        ensure!(less < left, "{less} ms after {left} ms");
        Ok(())
    })
}

#[test]
fn messages_of_any_size_pass_in_frames_of_any_size() -> Result<()> {
    const SMALL: u16 = 4096;
    Scene::each(|scene| {
        for (out, back, home) in [(SMALL, u16::MAX, 0), (u16::MAX, SMALL, scene.shards - 1)] {
            let framed = |max_frame_size| {
                scene.connect_with(&ConnectOptions { max_frame_size, ..Default::default() })
            };
            let (publisher, consumer) = (framed(out)?, framed(back)?);
            assert_eq!((publisher.max_frame_size(), consumer.max_frame_size()), (out, back));
            let (publisher, consumer) =
                (publisher.session("out", false)?, consumer.session("in", false)?);
            declare(&publisher, "q", home)?;
            consumer.consume("q", "in", 2)?;
            let pattern: Vec<u8> =
                (0..8 << 20).map(|at: usize| (at * 7 + at / 251) as u8).collect();
            let sizes = [1, 100, 4083, 4084, 4085, 8168, 65_522, 65_523, 65_524, 1 << 20, 8 << 20];
            std::thread::scope(|scope| {
                let sending = scope.spawn(|| -> Result<()> {
                    for size in sizes {
                        publisher.send("", &Outgoing::to_queue("q", &pattern[..size]))?;
                    }
                    Ok(publisher.sync()?)
                });
                for size in sizes {
                    let came = next(&consumer).with_context(|| format!("{size} octets"))?;
                    ensure!(came.body().len() == size, "{} of {size} octets", came.body().len());
                    ensure!(came.body() == &pattern[..size], "{size} octets, but others");
                    assert_eq!(came.view()?.routing_key()?, Some("q"));
                    consumer.accept(came.id)?;
                }
                sending.join().expect("the publisher")
            })?;
            consumer.close()?;
            delete(&publisher, "q")?;
            publisher.close()?;
        }
        Ok(())
    })
}

#[test]
fn without_acceptance_a_message_sent_is_gone() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            declare(&setup, "q", home)?;
            publish(&setup, "q", "m", 0..5)?;
            let session = scene.session("takes")?;
            let accept_mode = AcceptMode::NONE;
            let (queue, destination) = ("q", "in");
            let take_all = Subscription { queue, destination, accept_mode, ..Default::default() };
            consume_as(&session, &take_all, 3)?;
            let came = take(&session, 3)?;
            assert!(came.iter().all(|delivery| delivery.accept_mode == AcceptMode::NONE));
            session.release(&ids(&came), false)?;
            session.sync()?;
            drop(session);
            scene.connect()?.session("takes", true)?.close()?;
            assert_eq!(texts(&drain(&setup, "q")?), expected("m", 3..5));
            delete(&setup, "q")?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn an_exclusive_subscription_wants_no_other() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            declare(&setup, "q", home)?;
            let (queue, destination) = ("q", "in");
            let shared = Subscription { queue, destination, ..Default::default() };
            let exclusive = Subscription { exclusive: true, ..shared };
            let looks = Subscription { acquire_mode: AcquireMode::NOT_ACQUIRED, ..shared };
            let other = scene.connect()?;
            let refused = |subscription| -> Result<ErrorCode> {
                code_of(consume_as(&other.session("refused", false)?, subscription, 1))
            };
            let holder = scene.session("holder")?;
            consume_as(&holder, &exclusive, 1)?;
            assert_eq!(refused(&shared)?, ErrorCode::RESOURCE_LOCKED);
            assert_eq!(refused(&exclusive)?, ErrorCode::RESOURCE_LOCKED);
            let browser = other.session("browser", false)?;
            consume_as(&browser, &looks, 1).context("looking is free")?;
            holder.cancel("in")?;
            let next = other.session("next", false)?;
            consume_as(&next, &shared, 1).context("after the cancel")?;
            assert_eq!(refused(&exclusive)?, ErrorCode::RESOURCE_LOCKED);
            next.close()?;
            settle(&setup, "q", |found| found == Some((0, 1)))?;
            consume_as(&holder, &exclusive, 1).context("alone but for a browser")?;
            browser.close()?;
            holder.cancel("in")?;
            delete(&setup, "q")?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn nothing_is_lost_doubled_or_overtaken() -> Result<()> {
    const PUBLISHERS: usize = 3;
    const EACH: usize = 3400;
    const ALL: usize = PUBLISHERS * EACH;
    Scene::each(|scene| {
        let setup = scene.session("setup")?;
        declare(&setup, "q", scene.shards / 2)?;
        let received = AtomicUsize::new(0);
        let deadline = Instant::now() + 2 * PATIENCE;
        let consume_some = |number: usize| -> Result<Vec<(usize, usize)>> {
            let session = scene.session(&format!("consumer-{number}"))?;
            session.consume("q", "in", 50)?;
            let mut mine = Vec::new();
            while received.load(Ordering::Relaxed) < ALL {
                ensure!(Instant::now() < deadline, "{received:?} of {ALL} came");
                let Some(came) = session.next_delivery(Duration::from_millis(50))? else {
                    continue;
                };
                ensure!(!came.redelivered()?, "nothing was delivered before");
                let text = text(&came);
                let (publisher, message) = text.split_once('.').context("another's message")?;
                mine.push((publisher.parse()?, message.parse()?));
                session.accept(came.id)?;
                received.fetch_add(1, Ordering::Relaxed);
            }
            session.close()?;
            Ok(mine)
        };
        let publish_all = |number: usize| -> Result<()> {
            let session = scene.session(&format!("publisher-{number}"))?;
            publish(&session, "q", &format!("{number}."), 0..EACH)
        };
        let taken = std::thread::scope(|scope| {
            let consumers: Vec<_> =
                (0..3).map(|number| scope.spawn(move || consume_some(number))).collect();
            let publishers: Vec<_> =
                (0..PUBLISHERS).map(|number| scope.spawn(move || publish_all(number))).collect();
            for thread in publishers {
                thread.join().expect("a publisher")?;
            }
            let threads = consumers.into_iter().map(|thread| thread.join().expect("a consumer"));
            threads.collect::<Result<Vec<_>>>()
        })?;
        let mut times = BTreeMap::new();
        for mine in &taken {
            let mut last = [None; PUBLISHERS];
            for (publisher, message) in mine {
                ensure!(
                    last[*publisher] < Some(*message),
                    "{message} of {publisher} was overtaken"
                );
                last[*publisher] = Some(*message);
                *times.entry((*publisher, *message)).or_insert(0) += 1;
            }
        }
        assert_eq!(times.len(), ALL);
        ensure!(times.values().all(|times| *times == 1), "a message came twice");
        settle(&setup, "q", |found| found == Some((0, 0)))
    })
}

#[test]
fn a_deleted_queue_ends_its_subscriptions() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            declare(&setup, "q", home)?;
            let connection = scene.connect()?;
            let bystander = connection.session("bystander", false)?;
            let waiting = connection.session("waiting", false)?;
            let idle = scene.session("idle")?;
            consume(&waiting, "q", "in", 10)?;
            consume(&idle, "q", "in", 0)?;
            publish(&setup, "q", "m", 0..3)?;
            let held = take(&waiting, 3)?;
            delete(&setup, "q")?;
            assert_eq!(refusal(waiting.next_delivery(PATIENCE))?, ErrorCode::RESOURCE_DELETED);
            bystander.sync()?;
            // Who did not wait for a message is told when it asks for one.
            idle.sync()?;
            idle.flow("in", CreditUnit::MESSAGE, 1)?;
            assert_eq!(refusal(idle.next_delivery(PATIENCE))?, ErrorCode::RESOURCE_DELETED);
            drop(held);
            declare(&setup, "q", home)?;
            assert_eq!(query(&bystander, "q")?, Some((0, 0)), "the new queue is another");
            bystander.close()?;
            delete(&setup, "q")?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn a_deleted_queue_leaves_its_messages_to_the_alternate() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            with_alternate(scene, &setup, "q", home)?;
            publish(&setup, "q", "m", 0..500)?;
            let holder = scene.session("holder")?;
            consume(&holder, "q", "in", 5)?;
            take(&holder, 5)?;
            delete(&setup, "q")?;
            settle(&setup, "dead", |found| found == Some((500, 0)))?;
            assert_eq!(texts(&drain(&setup, "dead")?), expected("m", 0..500));
            delete(&setup, "dead")?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn what_has_no_route_goes_to_the_alternate_or_nowhere() -> Result<()> {
    use fletch_amqp::v0_10::table::exchange;
    Scene::each(|scene| {
        let setup = scene.session("setup")?;
        with_alternate(scene, &setup, "q", 0)?;
        let declare = exchange::Declare {
            exchange: Some("x"),
            r#type: Some("direct"),
            alternate_exchange: Some("graveyard"),
            ..Default::default()
        };
        setup.call(&declare.into())?;
        bind(&setup, "x", "q", "known")?;
        for number in 0..4 {
            let session = scene.session(&format!("publisher-{number}"))?;
            for key in ["known", "unknown"] {
                session.send("x", &Outgoing::with_key(key, key.as_bytes()))?;
                // Without an alternate: nowhere, and no error.
                session.send("amq.direct", &Outgoing::with_key(key, b"lost"))?;
            }
            session.sync()?;
        }
        assert_eq!(texts(&drain(&setup, "q")?), ["known"; 4]);
        assert_eq!(texts(&drain(&setup, "dead")?), ["unknown"; 4]);
        Ok(())
    })
}

#[test]
fn a_purge_drops_what_nobody_holds() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            declare(&setup, "q", home)?;
            publish(&setup, "q", "m", 0..1000)?;
            let holder = scene.session("holder")?;
            consume(&holder, "q", "in", 2)?;
            let held = take(&holder, 2)?;
            setup.call(&queue::Purge { queue: Some("q") }.into())?;
            assert_eq!(query(&setup, "q")?, Some((0, 1)));
            publish(&setup, "q", "new", 0..1)?;
            holder.release(&ids(&held), false)?;
            holder.sync()?;
            assert_eq!(texts(&drain(&setup, "q")?), ["m0", "m1", "new0"]);
            delete(&setup, "q")?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn a_consumer_that_does_not_read_costs_little_and_holds_up_nobody() -> Result<()> {
    const BACKLOG: usize = 15_000;
    const DEAF: usize = 6;
    /// For each of them: what its subscriptions have room for, and what waits for its socket.
    const COST: u64 = 4 << 20;
    Scene::each(|scene| {
        let setup = scene.session("setup")?;
        declare(&setup, "huge", scene.shards - 1)?;
        declare(&setup, "other", scene.shards - 1)?;
        let body = vec![b'x'; 4096];
        for _ in 0..BACKLOG {
            setup.send("", &Outgoing::to_queue("huge", &body))?;
        }
        setup.sync()?;
        let before = scene.broker.counters()?.resident;
        let deaf = (0..DEAF)
            .map(|number| {
                let session = scene.session(&format!("deaf-{number}"))?;
                // Browsers: each would be sent all there is.
                let (queue, destination) = ("huge", "in");
                let acquire_mode = AcquireMode::NOT_ACQUIRED;
                let looks = Subscription { queue, destination, acquire_mode, ..Default::default() };
                session.subscribe(&looks)?;
                session.set_flow_mode("in", FlowMode::CREDIT)?;
                session.flow("in", CreditUnit::BYTE, CreditUnit::UNLIMITED)?;
                session.flow("in", CreditUnit::MESSAGE, CreditUnit::UNLIMITED)?;
                session.flush()?;
                Ok(session)
            })
            .collect::<Result<Vec<_>>>()?;
        settle(&setup, "huge", |found| found.is_some_and(|(_, deaf)| deaf == DEAF as u32))?;
        // The others are served, and the broker has long done what it will for the deaf.
        for round in 0..40 {
            let session = scene.session(&format!("served-{round}"))?;
            publish(&session, "other", "m", 0..50)?;
            assert_eq!(texts(&drain(&session, "other")?), expected("m", 0..50));
        }
        let after = scene.broker.counters()?.resident;
        let limit = before + DEAF as u64 * COST;
        ensure!(after <= limit, "{before} bytes have become {after}");
        drop(deaf);
        settle(&setup, "huge", |found| found == Some((BACKLOG as u32, 0)))
    })
}
