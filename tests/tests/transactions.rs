//! Transactions of AMQP 0-10: all of a commit is seen or nothing, on 1, 2 and 4 shards; what a rollback and the end of a
//! session leave; errors and limits; and whole after SIGKILL at any moment.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fletch_amqp::types::Map;
use fletch_amqp::v0_10::table::{exchange, queue, tx};
use fletch_amqp::v0_10::{AcquireMode, ErrorCode};
use fletch_client::{Delivery, Error, Session, Subscription};
use fletch_tests::ledger::Tag;
use fletch_tests::random::Random;
use fletch_tests::scene::*;
use fletch_tests::store::*;

fn select(session: &Session) -> Result<()> {
    session.call(&tx::Select {}.into())?;
    Ok(())
}

fn commit(session: &Session) -> Result<(), Error> {
    session.call(&tx::Commit {}.into()).map(|_| ())
}

fn rollback(session: &Session) -> Result<()> {
    session.call(&tx::Rollback {}.into())?;
    Ok(())
}

/// A queue on each shard.
fn declare_each(scene: &Scene, session: &Session) -> Result<Vec<String>> {
    let each = scene.homes().map(|home| {
        let name = format!("q{home}");
        declare(session, &name, home).map(|()| name)
    });
    each.collect()
}

fn counts(session: &Session, queues: &[String]) -> Result<Vec<u32>> {
    let each = queues.iter().map(|name| Ok(query(session, name)?.context("it is there")?.0));
    each.collect()
}

#[test]
fn nothing_is_seen_before_the_commit_and_all_after_it() -> Result<()> {
    Scene::each(|scene| {
        let (session, other) = (scene.session("tx")?, scene.session("other")?);
        let queues = declare_each(scene, &session)?;
        select(&session)?;
        for name in &queues {
            publish(&session, name, name, 0..3)?;
        }
        session.sync()?;
        ensure!(counts(&other, &queues)?.iter().all(|n| *n == 0), "seen before the commit");
        commit(&session)?;
        ensure!(counts(&other, &queues)?.iter().all(|n| *n == 3), "not seen after the commit");
        for name in &queues {
            ensure!(texts(&drain(&other, name)?) == expected(name, 0..3), "{name} in order");
        }
        Ok(())
    })
}

#[test]
fn a_rollback_drops_messages_and_leaves_deliveries_unsettled() -> Result<()> {
    Scene::each(|scene| {
        let (session, other) = (scene.session("tx")?, scene.session("other")?);
        let queues = declare_each(scene, &session)?;
        publish(&other, &queues[0], "m", 0..2)?;
        other.sync()?;
        select(&session)?;
        consume(&session, &queues[0], "in", 10)?;
        let taken = take(&session, 2)?;
        for _ in 0..2 {
            accept(&session, &taken.iter().map(|d| d.id).collect::<Vec<_>>())?;
            queues.iter().try_for_each(|name| publish(&session, name, "x", 0..1))?;
            rollback(&session)?;
        }
        nothing(&session)?;
        ensure!(counts(&other, &queues)?.iter().all(|n| *n == 0), "they are still held");
        accept(&session, &[taken[0].id])?;
        commit(&session)?;
        session.close()?;
        let back = drain(&other, &queues[0])?;
        ensure!(texts(&back) == expected("m", 1..2), "the one not accepted since: {back:?}");
        ensure!(redelivered(&back)? == [true]);
        Ok(())
    })
}

#[test]
fn the_end_of_a_session_is_a_rollback() -> Result<()> {
    Scene::each(|scene| {
        let (session, other) = (scene.session("tx")?, scene.session("other")?);
        let queues = declare_each(scene, &session)?;
        publish(&other, &queues[0], "m", 0..1)?;
        other.sync()?;
        select(&session)?;
        consume(&session, &queues[0], "in", 10)?;
        accept(&session, &[next(&session)?.id])?;
        queues.iter().try_for_each(|name| publish(&session, name, "x", 0..1))?;
        session.sync()?;
        session.close()?;
        let mut left = vec![0; queues.len()];
        left[0] = 1;
        ensure!(counts(&other, &queues)? == left);
        Ok(())
    })
}

#[test]
fn browsers_that_have_passed_see_what_is_committed() -> Result<()> {
    Scene::each(|scene| {
        let (session, browser) = (scene.session("tx")?, scene.session("browser")?);
        let queues = declare_each(scene, &session)?;
        let acquire_mode = AcquireMode::NOT_ACQUIRED;
        for name in &queues {
            let how =
                Subscription { queue: name, destination: name, acquire_mode, ..Default::default() };
            consume_as(&browser, &how, 100)?;
        }
        select(&session)?;
        for round in 0..20 {
            queues.iter().try_for_each(|name| publish(&session, name, "m", round..round + 1))?;
            commit(&session)?;
            ensure!(take(&browser, queues.len())?.len() == queues.len(), "round {round}");
        }
        nothing(&browser)
    })
}

#[test]
fn what_is_wrong_is_said_as_the_reference_says_it() -> Result<()> {
    Scene::each(|scene| {
        let invalid = |command: &fletch_amqp::v0_10::Command<'_>| -> Result<()> {
            let session = scene.session("wrong")?;
            ensure!(refusal(session.call(command))? == ErrorCode::COMMAND_INVALID);
            Ok(())
        };
        invalid(&tx::Commit {}.into())?;
        invalid(&tx::Rollback {}.into())?;
        let session = scene.session("tx")?;
        declare(&session, "q", 0)?;
        select(&session)?;
        publish(&session, "q", "m", 0..1)?;
        select(&session)?;
        commit(&session)?;
        ensure!(query(&session, "q")? == Some((0, 0)), "a second select begins anew");
        session.send("nowhere", &persistent("q", b"m"))?;
        ensure!(refusal(session.sync())? == ErrorCode::NOT_FOUND, "said when it is published");
        Ok(())
    })
}

#[test]
fn a_queue_that_is_deleted_before_the_commit_harms_nobody() -> Result<()> {
    Scene::each(|scene| {
        let (session, other) = (scene.session("tx")?, scene.session("other")?);
        let queues = declare_each(scene, &session)?;
        declare(&session, "gone", scene.shards - 1)?;
        publish(&other, "gone", "m", 0..1)?;
        other.sync()?;
        select(&session)?;
        consume(&session, "gone", "in", 1)?;
        accept(&session, &[next(&session)?.id])?;
        publish(&session, "gone", "x", 0..2)?;
        queues.iter().try_for_each(|name| publish(&session, name, "x", 0..1))?;
        session.sync()?;
        delete(&other, "gone")?;
        commit(&session)?;
        ensure!(counts(&other, &queues)?.iter().all(|n| *n == 1));
        Ok(())
    })
}

#[test]
fn a_transaction_has_a_limit() -> Result<()> {
    let broker = fletch_tests::broker::Broker::start(&[
        "--shards",
        "2",
        "--max-transaction-size",
        "100000",
    ])?;
    let scene = Scene { broker, shards: 2 };
    let session = scene.session("tx")?;
    declare(&session, "q", 1)?;
    select(&session)?;
    for _ in 0..3 {
        publish(&session, "q", "m", 0..500)?;
        commit(&session)?;
    }
    let result = publish(&session, "q", "m", 0..1000);
    let said = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
    ensure!(code_of(result)? == ErrorCode::RESOURCE_LIMIT_EXCEEDED);
    ensure!(said.contains("max-transaction-size"), "{said}");
    ensure!(query(&scene.session("other")?, "q")? == Some((1500, 0)));
    scene.done()
}

/// A message with nothing but a number from its exchange, and what it says.
fn numbered(deliveries: &[Delivery]) -> Result<Vec<(i64, String)>> {
    let number = |delivery: &Delivery| -> Result<i64> {
        let headers = delivery.view()?.application_headers()?;
        headers.get_int("qpid.msg_sequence").context("it has no number")
    };
    let each = deliveries.iter().zip(texts(deliveries));
    each.map(|(delivery, text)| Ok((number(delivery)?, text))).collect()
}

#[test]
fn an_exchange_that_numbers_messages_does_so_when_they_are_published() -> Result<()> {
    Scene::each(|scene| {
        let (session, other) = (scene.session("tx")?, scene.session("other")?);
        declare(&session, "q", scene.shards - 1)?;
        // Several, so that some have another home than the session.
        for name in ["w", "x", "y", "z"] {
            let arguments = Map::new().with("qpid.msg_sequence", 1i64).encoded()?;
            let declare = exchange::Declare {
                exchange: Some(name),
                r#type: Some("fanout"),
                arguments: Some(arguments.view()),
                ..Default::default()
            };
            session.call(&declare.into())?;
            let bind = exchange::Bind {
                queue: Some("q"),
                exchange: Some(name),
                binding_key: Some(""),
                ..Default::default()
            };
            session.call(&bind.into())?;
            select(&session)?;
            let send = |session: &Session, body: &str| {
                session.send(name, &persistent("", body.as_bytes())).map(drop)
            };
            // The second is done with when the broker says so, not before.
            send(&session, "1")?;
            send(&session, "2")?;
            session.sync()?;
            send(&other, "3")?;
            other.sync()?;
            commit(&session)?;
            send(&session, "4")?;
            rollback(&session)?;
            send(&session, "5")?;
            commit(&session)?;
            let got = numbered(&drain(&other, "q")?)?;
            let expected = [3, 1, 2, 5].map(|n: i64| (n, n.to_string()));
            ensure!(got == expected, "{name}: {got:?}");
        }
        Ok(())
    })
}

/// Messages that go from queue to queue.
const TOKENS: u64 = 60;
const QUEUES: usize = 5;

fn name(number: usize) -> String {
    format!("q{number}")
}

/// Takes some messages and passes them on, each time in one transaction.
fn pass_on(scene: &Scene, number: usize, over: &AtomicBool, random: &mut Random) -> Result<()> {
    let session = scene.session(&format!("mover-{number}"))?;
    select(&session)?;
    for at in (number..QUEUES).step_by(2) {
        session.consume(&name(at), &at.to_string(), 20)?;
    }
    while !over.load(Ordering::Relaxed) {
        let Some(first) = session.next_delivery(Duration::from_millis(5))? else { continue };
        let more = std::iter::from_fn(|| session.take_delivery()).take(random.within(0..6));
        let mut taken = Vec::new();
        for delivery in std::iter::once(first).chain(more) {
            let to = name(random.within(0..QUEUES));
            session.send("", &persistent(&to, delivery.body()))?;
            taken.push(delivery.id);
        }
        accept(&session, &taken)?;
        match random.one_in(8) {
            true => {
                rollback(&session)?;
                return Ok(());
            }
            false => commit(&session)?,
        }
    }
    Ok(())
}

fn kills(shards: &[u16]) -> Result<()> {
    let kills =
        std::env::var("FLETCH_KILLS").ok().map_or(Ok(40), |kills| kills.parse::<usize>())?;
    let seed = Random::seed();
    println!("again with FLETCH_SEED={seed}");
    let mut random = Random::new(seed);
    let store = Store::new()?;
    for kill in 0..=kills.div_ceil(2) {
        let scene =
            store.scene_with(shards[kill % shards.len()], &["--journal-segment-size", "1m"])?;
        said(&scene, |scene| {
            let session = scene.session("auditor")?;
            if kill == 0 {
                for number in 0..QUEUES {
                    declare_durable(&session, &name(number), number as u16 % scene.shards)?;
                }
                for number in 0..TOKENS {
                    let body = Tag { publisher: 0, number }.body(random.within(40..5000));
                    session.send("", &persistent(&name(number as usize % QUEUES), &body))?;
                }
                session.sync()?;
            }
            let mut seen = BTreeMap::new();
            for number in 0..QUEUES {
                for found in found_in(&session, &name(number))? {
                    *seen.entry(found.tag.number).or_insert(0) += 1;
                }
            }
            let once = seen.len() as u64 == TOKENS && seen.values().all(|n| *n == 1);
            ensure!(once, "each message is in one queue: {seen:?}");
            let over = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let movers: Vec<_> = (0..2)
                    .map(|number| {
                        let (over, mut random) = (&over, random.fork());
                        scope.spawn(move || pass_on(scene, number, over, &mut random))
                    })
                    .collect();
                std::thread::sleep(Duration::from_micros(random.within(5_000..150_000) as u64));
                let killed = scene.broker.signal(Ending::Kill.signal());
                over.store(true, Ordering::Relaxed);
                for mover in movers {
                    let lost = |e: &anyhow::Error| {
                        let error = e.downcast_ref::<Error>();
                        matches!(error, Some(Error::Lost | Error::Io(_) | Error::Connect { .. }))
                    };
                    let result = mover.join().expect("a client");
                    ensure!(result.as_ref().err().is_none_or(lost), "{result:?}");
                }
                killed
            })
        })
        .with_context(|| format!("kill {kill}, FLETCH_SEED={seed}"))?;
        scene.end(Ending::Kill)?;
    }
    Ok(())
}

#[test]
fn each_message_is_in_one_queue_whenever_the_broker_is_killed() -> Result<()> {
    kills(&[1])
}

#[test]
fn each_message_is_in_one_queue_over_four_shards_too() -> Result<()> {
    kills(&[4, 4, 2, 4])
}

#[test]
fn an_accept_of_a_purged_queue_changes_nothing() -> Result<()> {
    let scene = Scene::new(2)?;
    let session = scene.session("tx")?;
    declare(&session, "q", 1)?;
    publish(&session, "q", "m", 0..3)?;
    select(&session)?;
    consume(&session, "q", "in", 1)?;
    accept(&session, &[next(&session)?.id])?;
    session.call(&queue::Purge { queue: Some("q") }.into())?;
    commit(&session)?;
    ensure!(query(&session, "q")?.context("it is there")?.0 == 0);
    scene.done()
}
