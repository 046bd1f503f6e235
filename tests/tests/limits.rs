//! Queues with limits: refusal, rings, queues that destroy themselves; producer flow control; thresholds. On one and four
//! shards, publisher, queue and consumer apart, and what is durable over SIGKILL.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use fletch_amqp::types::{Map, Value};
use fletch_amqp::v0_10::table::queue;
use fletch_amqp::v0_10::{AcceptMode, CreditUnit, ErrorCode};
use fletch_client::{Outgoing, Session, Subscription};
use fletch_tests::scene::*;
use fletch_tests::store::*;

/// Runs a test against brokers with 1 and 4 shards.
fn each(options: &[&str], test: impl Fn(&Scene) -> Result<()>) -> Result<()> {
    Scene::each_with(&[1, 4], &[&["--log-enable", "info+"], options].concat(), test)
}

/// Declares a queue with arguments.
fn limited(
    session: &Session,
    (name, home): (&str, u16),
    (durable, alternate): (bool, Option<&str>),
    arguments: &[(&str, Value)],
) -> Result<()> {
    let mut map = Map::new().with("fletch.shard", i64::from(home));
    for (name, value) in arguments {
        map.insert(*name, value.clone());
    }
    let map = map.encoded()?;
    let (queue, alternate_exchange) = (Some(name), alternate);
    let arguments = Some(map.view());
    let declare =
        queue::Declare { queue, durable, alternate_exchange, arguments, ..Default::default() };
    session.call(&declare.into())?;
    Ok(())
}

fn n(n: i64) -> Value {
    Value::Int64(n)
}

/// The queue on the next shard to which a fanout exchange "graveyard" leads.
fn graveyard(scene: &Scene, session: &Session, home: u16) -> Result<()> {
    declare_durable(session, "dead", (home + 1) % scene.shards)?;
    declare_durable_exchange(session, "graveyard", "fanout")?;
    let (queue, exchange) = ("dead", "graveyard");
    bind(session, exchange, queue, "")
}

/// Waits until so many commands of a session are not complete.
fn incomplete(session: &Session, count: u32) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        session.flush()?;
        // Its answer comes behind what the flush has asked for.
        query(session, "nowhere")?;
        let now = session.incomplete();
        if now == count {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "{now} are incomplete, not {count}");
        std::thread::sleep(SILENCE);
    }
}

/// Sends messages and waits for none of them.
fn send(session: &Session, queue: &str, numbers: std::ops::Range<usize>) -> Result<()> {
    for number in numbers {
        session.send("", &Outgoing::to_queue(queue, format!("m{number}").as_bytes()))?;
    }
    Ok(session.flush()?)
}

/// Waits until the log has so many lines with this.
fn logged(scene: &Scene, text: &str, count: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let log = scene.broker.log();
        let now = log.lines().filter(|line| line.contains(text)).count();
        if now == count {
            return Ok(());
        }
        ensure!(now < count && Instant::now() < deadline, "{now} lines with {text:?}:\n{log}");
        std::thread::sleep(SILENCE);
    }
}

#[test]
fn a_full_queue_refuses() -> Result<()> {
    // Without flow control, which would hold the third of three messages back.
    let no_flow = ["--default-flow-stop-threshold", "0", "--default-flow-resume-threshold", "0"];
    each(&[&["--default-queue-limit", "4000"], &no_flow[..]].concat(), |scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            limited(&setup, ("count", home), (false, None), &[("qpid.max_count", n(3))])?;
            limited(&setup, ("size", home), (false, None), &[("qpid.max_size", n(1000))])?;
            limited(&setup, ("free", home), (false, None), &[("qpid.max_size", n(0))])?;
            declare(&setup, "default", home)?;
            publish(&setup, "count", "m", 0..3)?;
            let refused = |queue: &str, size: usize| -> Result<String> {
                let session = scene.session("refused")?;
                let body = vec![7; size];
                let sent = session.send("", &Outgoing::to_queue(queue, &body));
                let error = sent.map(drop).and_then(|()| session.sync()).expect_err("refused");
                let text = error.to_string();
                assert_eq!(refusal(Err::<(), _>(error))?, ErrorCode::RESOURCE_LIMIT_EXCEEDED);
                Ok(text)
            };
            let text = refused("count", 1)?;
            let begin = "Maximum depth exceeded on count: current=[count: 3, size: ";
            ensure!(text.contains(begin), "{text}");
            ensure!(text.contains("max=[count: 3, size: 4000]"), "{text}");
            ensure!(text.contains("qpid.max_count is 3"), "{text}");
            ensure!(refused("size", 1000)?.contains("qpid.max_size is 1000"));
            let text = refused("default", 4000)?;
            ensure!(text.contains("--default-queue-limit is 4000"), "{text}");
            setup.send("", &Outgoing::to_queue("free", &[7; 100_000]))?;
            setup.sync()?;
            // What is acquired counts, what was taken does not.
            let consumer = scene.session("consumer")?;
            consume(&consumer, "count", "in", 1)?;
            let held = next(&consumer)?;
            refused("count", 1)?;
            accept(&consumer, &[held.id])?;
            publish(&setup, "count", "m", 3..4)?;
            consumer.close()?;
            assert_eq!(texts(&drain(&setup, "count")?), expected("m", 1..4));
            for name in ["count", "size", "free", "default"] {
                delete(&setup, name)?;
            }
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn a_ring_keeps_the_newest_and_sends_the_others_on() -> Result<()> {
    each(&[], |scene| {
        for home in scene.homes() {
            let session = scene.session("publisher")?;
            graveyard(scene, &session, home)?;
            for policy in ["ring", "ring_strict"] {
                let ring = [("qpid.policy_type", policy.into()), ("qpid.max_count", n(5))];
                limited(&session, (policy, home), (false, Some("graveyard")), &ring)?;
                publish(&session, policy, "m", 0..3)?;
                // One that somebody has goes too; what he says of it later means nothing.
                let consumer = scene.session("consumer")?;
                consume(&consumer, policy, "in", 1)?;
                let held = next(&consumer)?;
                publish(&session, policy, "m", 3..100)?;
                settle(&session, "dead", |q| q == Some((95, 0)))?;
                accept(&consumer, &[held.id])?;
                consumer.close()?;
                assert_eq!(texts(&drain(&session, policy)?), expected("m", 95..100));
                assert_eq!(texts(&drain(&session, "dead")?), expected("m", 0..95));
                delete(&session, policy)?;
            }
            let bytes = [("qpid.policy_type", "ring".into()), ("qpid.max_size", n(500))];
            limited(&session, ("bytes", home), (false, None), &bytes)?;
            publish(&session, "bytes", "m", 0..200)?;
            let left = texts(&drain(&session, "bytes")?);
            let begins = 200 - left.len();
            ensure!((2..=50).contains(&left.len()) && left == expected("m", begins..200));
            let large = Outgoing::to_queue("bytes", &[0; 600]);
            let other = scene.session("large")?;
            let error = other.send("", &large).map(drop).and_then(|()| other.sync()).unwrap_err();
            let text = error.to_string();
            ensure!(
                text.contains("Message larger than configured maximum depth on bytes"),
                "{text}"
            );
            assert_eq!(refusal(Err::<(), _>(error))?, ErrorCode::RESOURCE_LIMIT_EXCEEDED);
            ["bytes", "dead"].iter().try_for_each(|name| delete(&session, name))?;
            session.close()?;
        }
        Ok(())
    })
}

#[test]
fn a_queue_destroys_itself() -> Result<()> {
    each(&[], |scene| {
        for home in scene.homes() {
            let session = scene.session("publisher")?;
            graveyard(scene, &session, home)?;
            let arguments =
                [("qpid.policy_type", "self-destruct".into()), ("qpid.max_count", n(3))];
            limited(&session, ("q", home), (false, Some("graveyard")), &arguments)?;
            let consumer = scene.session("consumer")?;
            let browse = Subscription { queue: "q", destination: "in", ..Default::default() };
            consume_as(&consumer, &browse, 1)?;
            publish(&session, "q", "m", 0..4)?;
            settle(&session, "q", |q| q.is_none())?;
            let held = next(&consumer)?;
            assert_eq!(text(&held), "m0");
            consumer.flow("in", CreditUnit::MESSAGE, 1)?;
            assert_eq!(refusal(consumer.next_delivery(PATIENCE))?, ErrorCode::RESOURCE_DELETED);
            settle(&session, "dead", |q| q == Some((4, 0)))?;
            assert_eq!(texts(&drain(&session, "dead")?), expected("m", 0..4));
            delete(&session, "dead")?;
            session.close()?;
        }
        logged(scene, "Queue q deletes itself", usize::from(scene.shards))
    })
}

#[test]
fn producers_are_held_as_the_manual_says() -> Result<()> {
    each(&[], |scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            let flow = [
                ("qpid.max_count", n(1000)),
                ("qpid.flow_stop_count", n(100)),
                ("qpid.flow_resume_count", n(50)),
            ];
            limited(&setup, ("q", home), (false, None), &flow)?;
            let (first, second) = (scene.session("first")?, scene.session("second")?);
            publish(&first, "q", "m", 0..100)?;
            // From the 101st on nothing is completed: each sends as much as its capacity is.
            send(&first, "q", 100..150)?;
            settle(&setup, "q", |q| q == Some((150, 0)))?;
            send(&second, "q", 150..165)?;
            settle(&setup, "q", |q| q == Some((165, 0)))?;
            incomplete(&first, 50)?;
            incomplete(&second, 15)?;
            // Consumers are not concerned; a message that has left completes its own transfer.
            let consumer = scene.session("consumer")?;
            consume(&consumer, "q", "in", 115)?;
            let held = take(&consumer, 115)?;
            incomplete(&first, 50)?;
            let of = |range: std::ops::Range<usize>| -> Vec<_> {
                held[range].iter().map(|d| d.id).collect()
            };
            accept(&consumer, &of(100..102))?;
            incomplete(&first, 48)?;
            // 163 - 113 are left: not fewer than 50.
            accept(&consumer, &[of(0..100), of(102..115)].concat())?;
            assert_eq!(query(&setup, "q")?, Some((50, 1)));
            incomplete(&second, 15)?;
            consumer.flow("in", CreditUnit::MESSAGE, 1)?;
            accept(&consumer, &[next(&consumer)?.id])?;
            first.sync()?;
            second.sync()?;
            publish(&first, "q", "m", 0..10)?;
            consumer.close()?;
            delete(&setup, "q")?;
            for session in [first, second, setup] {
                session.close()?;
            }
        }
        let homes = usize::from(scene.shards);
        logged(scene, "Queue q: producer flow control begins at 101 messages", homes)?;
        logged(scene, "Queue q: producer flow control ends at 49 messages", homes)
    })
}

#[test]
fn a_transfer_waits_for_all_its_queues_and_goes_on_when_they_are_deleted() -> Result<()> {
    each(&[], |scene| {
        let setup = scene.session("setup")?;
        declare_exchange(&setup, "all", "fanout")?;
        let names: Vec<String> = scene.homes().map(|home| format!("q{home}")).collect();
        for (home, name) in scene.homes().zip(&names) {
            limited(&setup, (name, home), (false, None), &[("qpid.flow_stop_count", n(2))])?;
            bind(&setup, "all", name, "")?;
        }
        let publisher = scene.session("publisher")?;
        for number in 0..3 {
            let body = format!("m{number}");
            publisher.send("all", &Outgoing::with_key("", body.as_bytes()))?;
        }
        for (at, name) in names.iter().enumerate() {
            incomplete(&publisher, 1).with_context(|| format!("{at} of the queues are gone"))?;
            delete(&setup, name)?;
        }
        publisher.sync()?;
        // Sessions end whatever is held.
        limited(&setup, ("q", 0), (false, None), &[("qpid.flow_stop_count", n(1))])?;
        send(&publisher, "q", 0..5)?;
        incomplete(&publisher, 4)?;
        drop(publisher);
        let lost = scene.session("lost")?;
        send(&lost, "q", 5..9)?;
        incomplete(&lost, 4)?;
        drop(lost);
        assert_eq!(texts(&drain(&setup, "q")?), expected("m", 0..9));
        publish(&setup, "q", "m", 0..1)?;
        Ok(setup.close()?)
    })
}

#[test]
fn a_consumer_beside_a_held_publisher_goes_on() -> Result<()> {
    // On one connection, whose publishes are more than one may have under way.
    each(&[], |scene| {
        let connection = scene.connect()?;
        let (publisher, consumer) =
            (connection.session("publisher", true)?, connection.session("consumer", true)?);
        let home = scene.shards - 1;
        let flow = [("qpid.max_size", n(0)), ("qpid.flow_stop_count", n(1))];
        limited(&consumer, ("q", home), (false, None), &flow)?;
        let body = vec![7; 1 << 20];
        for _ in 0..40 {
            publisher.send("", &Outgoing::to_queue("q", &body))?;
        }
        incomplete(&publisher, 39)?;
        let accept_mode = AcceptMode::EXPLICIT;
        let in_ = Subscription { queue: "q", destination: "in", accept_mode, ..Default::default() };
        consume_as(&consumer, &in_, CreditUnit::UNLIMITED)?;
        for _ in 0..40 {
            accept(&consumer, &[next(&consumer)?.id])?;
        }
        publisher.sync()?;
        Ok(connection.close()?)
    })
}

#[test]
fn defaults_follow_from_the_brokers_options() -> Result<()> {
    let options = [
        "--default-queue-limit",
        "10000",
        "--default-flow-stop-threshold",
        "50",
        "--default-flow-resume-threshold",
        "0",
    ];
    each(&options, |scene| {
        let session = scene.session("session")?;
        declare(&session, "q", scene.shards - 1)?;
        let body = vec![7; 2400];
        for count in 1..=4 {
            session.send("", &Outgoing::to_queue("q", &body))?;
            // Two are less than half, three are more.
            incomplete(&session, u32::saturating_sub(count, 2))?;
        }
        let stop = [("qpid.flow_stop_size", n(20_000))];
        let other = scene.session("other")?;
        let refused = limited(&other, ("wrong", 0), (false, None), &stop);
        assert_eq!(code_of(refused)?, ErrorCode::INVALID_ARGUMENT);
        let consumer = scene.session("consumer")?;
        drain(&consumer, "q")?;
        session.sync()?;
        Ok(session.close()?)
    })
}

#[test]
fn thresholds_are_told() -> Result<()> {
    each(&["--default-event-threshold-ratio", "50"], |scene| {
        let session = scene.session("session")?;
        let own = [("qpid.alert_count_up", n(5)), ("qpid.alert_count_down", n(2))];
        limited(&session, ("own", scene.shards - 1), (false, None), &own)?;
        limited(&session, ("half", 0), (false, None), &[("qpid.max_count", n(10))])?;
        for _ in 0..2 {
            for queue in ["own", "half"] {
                publish(&session, queue, "m", 0..5)?;
                drain(&session, queue)?;
            }
        }
        logged(scene, "Queue own has grown to a threshold: 5 messages", 2)?;
        logged(scene, "Queue own has shrunk to a threshold: 2 messages", 2)?;
        logged(scene, "Queue half has grown to a threshold: 5 messages", 2)?;
        logged(scene, "Queue half exceeds a threshold: 5 messages", 2)?;
        logged(scene, "Queue half has shrunk to a threshold: 2 messages", 2)?;
        logged(scene, "Queue own exceeds", 0)?;
        Ok(session.close()?)
    })
}

#[test]
fn queues_tell_what_comes_and_goes_if_they_are_asked_to() -> Result<()> {
    each(&["--log-enable", "debug+:model"], |scene| {
        let session = scene.session("session")?;
        for (name, events) in [("none", 0), ("comes", 1), ("goes", 2)] {
            let events = [("qpid.queue_event_generation", n(events))];
            limited(&session, (name, scene.shards - 1), (false, None), &events)?;
            publish(&session, name, "m", 0..3)?;
            drain(&session, name)?;
        }
        let wrong = [("qpid.queue_event_generation", n(3))];
        let refused = limited(&scene.session("wrong")?, ("wrong", 0), (false, None), &wrong);
        assert_eq!(code_of(refused)?, ErrorCode::INVALID_ARGUMENT);
        for position in 1..=3 {
            logged(scene, &format!("Queue goes: message {position} dequeued"), 1)?;
            for name in ["comes", "goes"] {
                logged(scene, &format!("Queue {name}: message {position} enqueued"), 1)?;
            }
        }
        logged(scene, "Queue comes: message 1 dequeued", 0)?;
        logged(scene, "Queue none: message", 0)?;
        logged(scene, "not available yet", 0)?;
        Ok(session.close()?)
    })
}

#[test]
fn what_a_durable_ring_displaced_stays_gone() -> Result<()> {
    Store::restarts(
        |scene| {
            let session = scene.session("publisher")?;
            graveyard(scene, &session, 0)?;
            for home in scene.homes() {
                let ring = [("qpid.policy_type", "ring".into()), ("qpid.max_count", n(10))];
                let (plain, sends) = (format!("plain{home}"), format!("sends{home}"));
                limited(&session, (&plain, home), (true, None), &ring)?;
                limited(&session, (&sends, home), (true, Some("graveyard")), &ring)?;
                publish_durable(&session, &plain, "m", 0..100)?;
                publish_durable(&session, &sends, "m", 0..100)?;
                // All that was displaced for these is on the disk with them, or before.
                publish_durable(&session, &plain, "m", 100..101)?;
            }
            let all = Some((90 * u32::from(scene.shards), 0));
            settle(&session, "dead", |q| q == all)?;
            publish_durable(&session, "plain0", "m", 101..102)
        },
        |scene, ()| {
            let session = scene.session("reader")?;
            for home in scene.homes() {
                let last = if home == 0 { 102 } else { 101 };
                let plain = texts(&browse(&session, &format!("plain{home}"))?);
                ensure!(plain.ends_with(&expected("m", last - 10..last)), "{plain:?}");
                ensure!(plain.len() <= 12, "{plain:?}: a crash brings no more back than the last");
                let sends = format!("sends{home}");
                // They come back with their bodies on the disk, and are displaced all the same.
                publish_durable(&session, &sends, "n", 0..10)?;
                assert_eq!(texts(&browse(&session, &sends)?), expected("n", 0..10));
            }
            let all = 100 * u32::from(scene.shards);
            settle(&session, "dead", |q| q.is_some_and(|(count, _)| count >= all))
        },
    )
}

#[test]
fn a_refused_durable_message_is_on_no_queue() -> Result<()> {
    Store::restarts(
        |scene| {
            let session = scene.session("publisher")?;
            declare_durable_exchange(&session, "all", "fanout")?;
            for home in scene.homes() {
                let limit = if home + 1 == scene.shards { 2 } else { 100 };
                let name = format!("q{home}");
                limited(&session, (&name, home), (true, None), &[("qpid.max_count", n(limit))])?;
                bind(&session, "all", &name, "")?;
            }
            // Not durable itself, and on another shard than most.
            limited(&session, ("transient", 0), (false, None), &[("qpid.max_count", n(3))])?;
            bind(&session, "all", "transient", "")?;
            for number in 0..2 {
                session.send("all", &persistent("", format!("m{number}").as_bytes()))?;
            }
            session.sync()?;
            for attempt in 0..4 {
                let other = scene.session(&format!("refused-{attempt}"))?;
                let sent = other.send("all", &persistent("", b"refused"));
                let refused = refusal(sent.map(drop).and_then(|()| other.sync()))?;
                assert_eq!(refused, ErrorCode::RESOURCE_LIMIT_EXCEEDED);
            }
            for home in scene.homes() {
                settle(&session, &format!("q{home}"), |q| q == Some((2, 0)))?;
            }
            Ok(())
        },
        |scene, ()| {
            let session = scene.session("reader")?;
            for home in scene.homes() {
                let name = format!("q{home}");
                assert_eq!(texts(&browse(&session, &name)?), expected("m", 0..2), "{name}");
            }
            let full = format!("q{}", scene.shards - 1);
            let refused = publish_durable(&session, &full, "m", 2..3);
            assert_eq!(code_of(refused)?, ErrorCode::RESOURCE_LIMIT_EXCEEDED);
            Ok(())
        },
    )
}

#[test]
fn a_queue_that_comes_back_full_holds_its_producers() -> Result<()> {
    Store::restarts(
        |scene| {
            for home in scene.homes() {
                let name = format!("q{home}");
                let session = scene.session(&name)?;
                let flow = [("qpid.max_count", n(20)), ("qpid.flow_stop_count", n(9))];
                limited(&session, (&name, home), (true, None), &flow)?;
                publish_durable(&session, &name, "m", 0..9)?;
                session.send("", &persistent(&name, b"m9"))?;
                incomplete(&session, 1)?;
            }
            // Held back, and safe all the same: what follows on another queue is behind it.
            let other = scene.session("other")?;
            for home in scene.homes() {
                let name = format!("other{home}");
                declare_durable(&other, &name, home)?;
                publish_durable(&other, &name, "m", 0..1)?;
            }
            Ok(())
        },
        |scene, ()| {
            let session = scene.session("publisher")?;
            for home in scene.homes() {
                let name = format!("q{home}");
                assert_eq!(texts(&browse(&session, &name)?), expected("m", 0..10), "{name}");
                session.send("", &persistent(&name, b"m10"))?;
                incomplete(&session, 1)?;
                let consumer = scene.session("consumer")?;
                assert_eq!(texts(&drain(&consumer, &name)?), expected("m", 0..11));
                session.sync()?;
            }
            Ok(session.close()?)
        },
    )
}
