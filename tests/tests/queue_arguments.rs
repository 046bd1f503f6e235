//! What the arguments of a queue make of it: when it is deleted by itself, what it takes, what it adds to
//! messages. On 1, 2 and 4 shards, and over a restart.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fletch_amqp::types::{Map, Value};
use fletch_amqp::v0_10::AcquireMode;
use fletch_amqp::v0_10::table::queue;
use fletch_client::{Delivery, Outgoing, Session, Subscription};
use fletch_tests::scene::*;
use fletch_tests::store::*;

fn declare_with(session: &Session, declare: &queue::Declare<'_>, arguments: Map) -> Result<()> {
    let arguments = arguments.encoded()?;
    let arguments = Some(arguments.view());
    session.call(&queue::Declare { arguments, ..declare.clone() }.into())?;
    Ok(())
}

fn named(name: &str) -> queue::Declare<'_> {
    queue::Declare { queue: Some(name), ..Default::default() }
}

fn timeout(seconds: i32) -> Map {
    Map::new().with("qpid.auto_delete_timeout", Value::Int32(seconds))
}

fn policy(policy: &str) -> Map {
    Map::new().with("qpid.lifetime-policy", policy)
}

/// Waits until the queue is gone: how long that took.
fn gone(session: &Session, name: &str) -> Result<Duration> {
    let start = Instant::now();
    settle(session, name, |found| found.is_none())?;
    Ok(start.elapsed())
}

fn send_with(session: &Session, queue: &str, headers: Map) -> Result<()> {
    let headers = headers.encoded()?;
    let mut message = Outgoing::to_queue(queue, b"body");
    message.message.application_headers = Some(headers.view());
    session.send("", &message)?;
    Ok(session.sync()?)
}

fn headers(delivery: &Delivery) -> Result<Map> {
    Ok(delivery.view()?.application_headers()?.to_map()?)
}

#[test]
fn a_queue_outlives_its_session_by_its_timeout() -> Result<()> {
    Scene::each(|scene| {
        let (maker, looker) = (scene.session("maker")?, scene.session("looker")?);
        let exclusive = queue::Declare { exclusive: true, ..named("q") };
        declare_with(&maker, &exclusive, timeout(1))?;
        declare_with(&looker, &named("used"), timeout(1))?;
        publish(&looker, "q", "m", 0..3)?;
        consume(&looker, "used", "c", 1)?;
        maker.close()?;
        ensure!(query(&looker, "q")?.is_some(), "the queue went with its session");
        let took = gone(&looker, "q")?;
        ensure!(took >= Duration::from_millis(900), "it was gone after {took:?}");
        ensure!(query(&looker, "used")?.is_some(), "a queue that is used went");
        looker.cancel("c")?;
        ensure!(query(&looker, "used")?.is_some(), "the queue went with its subscription");
        gone(&looker, "used").map(drop)
    })
}

#[test]
fn a_timeout_goes_on_after_a_restart() -> Result<()> {
    Store::restarts(
        |scene| {
            let session = scene.session("maker")?;
            declare_with(&session, &queue::Declare { durable: true, ..named("q") }, timeout(1))?;
            let both = timeout(1).with("qpid.lifetime-policy", "manual");
            declare_with(&session, &queue::Declare { durable: true, ..named("stays") }, both)
        },
        |scene, ()| {
            let session = scene.session("looker")?;
            gone(&session, "q")?;
            ensure!(query(&session, "stays")?.is_some(), "a queue that is manual went");
            Ok(())
        },
    )
}

#[test]
fn a_lifetime_policy_says_when_a_queue_goes() -> Result<()> {
    Scene::each(|scene| {
        let (one, other) = (scene.session("one")?, scene.session("other")?);
        declare_with(
            &one,
            &queue::Declare { auto_delete: true, ..named("manual") },
            policy("manual"),
        )?;
        declare_with(&one, &named("unused"), policy("delete-if-unused"))?;
        declare_with(&one, &named("empty"), policy("delete-if-unused-and-empty"))?;
        for name in ["manual", "unused", "empty"] {
            publish(&one, name, "m", 0..2)?;
            consume(&other, name, name, 1)?;
            next(&other)?;
            other.cancel(name)?;
        }
        ensure!(query(&one, "manual")?.is_some(), "manual");
        ensure!(query(&one, "unused")?.is_none(), "unused");
        ensure!(query(&one, "empty")?.is_some(), "it is not empty");
        other.close()?;
        settle(&one, "empty", |found| found == Some((2, 0)))?;
        assert_eq!(drain(&one, "empty")?.len(), 2);
        gone(&one, "empty")?;
        declare_with(
            &one,
            &queue::Declare { exclusive: true, ..named("close") },
            policy("delete-on-close"),
        )?;
        let looker = scene.session("looker")?;
        ensure!(query(&looker, "close")?.is_some(), "it was just declared");
        one.close()?;
        ensure!(query(&looker, "close")?.is_none(), "its session is closed");
        Ok(())
    })
}

#[test]
fn unused_and_empty_goes_when_its_last_message_expires() -> Result<()> {
    for shards in [1, 4] {
        let scene = Scene::new_with(shards, &["--queue-purge-interval", "1"])?;
        let session = scene.session("one")?;
        declare_with(&session, &named("q"), policy("delete-if-unused-and-empty"))?;
        let mut message = Outgoing::to_queue("q", b"short");
        message.delivery.ttl = Some(100);
        session.send("", &message)?;
        session.sync()?;
        ensure!(query(&session, "q")? == Some((1, 0)), "it was just sent");
        gone(&session, "q")?;
        scene.done()?;
    }
    Ok(())
}

#[test]
fn messages_are_numbered_and_traced() -> Result<()> {
    Scene::each(|scene| {
        let (one, other) = (scene.session("one")?, scene.session("other")?);
        let marks = Map::new()
            .with("qpid.queue_msg_sequence", "n")
            .with("qpid.trace.id", "here")
            .with("qpid.trace.exclude", "there, elsewhere")
            .with("fletch.shard", i64::from(scene.shards - 1));
        declare_with(&one, &named("q"), marks)?;
        publish(&one, "q", "m", 0..1)?;
        send_with(&one, "q", Map::new().with("a", 1).with("x-qpid.trace", "before"))?;
        send_with(&one, "q", Map::new().with("x-qpid.trace", "before,there"))?;
        send_with(&one, "q", Map::new().with("x-qpid.trace", "before,here"))?;
        let browse = Subscription {
            queue: "q",
            destination: "browser",
            acquire_mode: AcquireMode::NOT_ACQUIRED,
            ..Default::default()
        };
        consume_as(&other, &browse, 3)?;
        let browsed = take(&other, 3)?;
        let drained = drain(&one, "q")?;
        for deliveries in [browsed, drained] {
            let all = deliveries.iter().map(headers).collect::<Result<Vec<_>>>()?;
            let numbers: Vec<_> = all.iter().map(|map| map.get_int("n")).collect();
            assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
            let traces: Vec<_> = all.iter().map(|map| map.get_str("x-qpid.trace")).collect();
            assert_eq!(traces, [Some("here"), Some("before,here"), Some("before,here")]);
            assert_eq!(all[1].get_int("a"), Some(1));
            assert_eq!(texts(&deliveries), ["m0", "body", "body"]);
            assert_eq!(deliveries[0].view()?.routing_key()?, Some("q"));
        }
        Ok(())
    })
}

#[test]
fn numbers_go_on_after_a_restart() -> Result<()> {
    Store::restarts(
        |scene| {
            let session = scene.session("maker")?;
            let numbered = Map::new().with("qpid.queue_msg_sequence", "n");
            declare_with(&session, &queue::Declare { durable: true, ..named("q") }, numbered)?;
            let mut message = Outgoing::to_queue("q", b"kept");
            message.delivery.delivery_mode = Some(fletch_amqp::v0_10::DeliveryMode::PERSISTENT);
            (0..3).try_for_each(|_| session.send("", &message).map(drop))?;
            Ok(session.sync()?)
        },
        |scene, ()| {
            let session = scene.session("taker")?;
            publish(&session, "q", "m", 0..1)?;
            let all = drain(&session, "q")?;
            let numbers =
                all.iter().map(|d| Ok(headers(d)?.get_int("n"))).collect::<Result<Vec<_>>>()?;
            assert_eq!(numbers, [Some(1), Some(2), Some(3), Some(4)]);
            Ok(())
        },
    )
}

#[test]
fn a_filter_says_what_comes_in() -> Result<()> {
    Scene::each(|scene| {
        let session = scene.session("one")?;
        let filter = |text: &str| Map::new().with("qpid.filter", text);
        declare_with(&session, &named("q"), filter("size > 3 AND colour = 'red'"))?;
        for (size, colour) in [(5, "red"), (5, "blue"), (1, "red")] {
            send_with(&session, "q", Map::new().with("size", size).with("colour", colour))?;
        }
        ensure!(query(&session, "q")? == Some((1, 0)), "{:?}", query(&session, "q")?);
        let bad = declare_with(&session, &named("r"), filter("size >")).expect_err("refused");
        ensure!(format!("{bad:#}").contains("qpid.filter: selector: "), "{bad:#}");
        Ok(())
    })
}

#[test]
fn a_browse_only_queue_gives_copies() -> Result<()> {
    Scene::each(|scene| {
        let (one, other) = (scene.session("one")?, scene.session("other")?);
        declare_with(&one, &named("q"), Map::new().with("qpid.browse-only", Value::Boolean(true)))?;
        publish(&one, "q", "m", 0..3)?;
        for session in [&one, &other] {
            consume(session, "q", "c", 10)?;
            let got = take(session, 3)?;
            assert_eq!(texts(&got), expected("m", 0..3));
            let ids: Vec<_> = got.iter().map(|delivery| delivery.id).collect();
            accept(session, &ids)?;
        }
        let (messages, _) = query(&one, "q")?.context("it is there")?;
        ensure!(messages == 3, "accepting a copy took the message");
        Ok(())
    })
}

#[test]
fn messages_are_stamped_when_they_arrive() -> Result<()> {
    for (option, stamped) in [("yes", true), ("no", false)] {
        let scene = Scene::new_with(1, &["--enable-timestamp", option])?;
        let session = scene.session("one")?;
        declare(&session, "q", 0)?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        publish(&session, "q", "m", 0..1)?;
        let all = drain(&session, "q")?;
        let stamp = all[0].view()?.timestamp()?;
        match stamp {
            Some(stamp) => ensure!(stamped && (now..now + 20).contains(&stamp), "{stamp}, {now}"),
            None => ensure!(!stamped, "no stamp"),
        }
        scene.done()?;
    }
    Ok(())
}
