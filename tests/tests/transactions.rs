//! Transactions of AMQP 0-10: all of a commit is seen or nothing, on 1, 2 and 4 shards; what a rollback and the end of a
//! session leave; errors and limits; and whole after SIGKILL at any moment.

use std::ops::ControlFlow;

use anyhow::{Context, Result, ensure};
use fletch_amqp::types::Map;
use fletch_amqp::v0_10::table::{exchange, queue, tx};
use fletch_amqp::v0_10::{AcquireMode, ErrorCode};
use fletch_client::{Delivery, Error, Session, Subscription};
use fletch_tests::random::Random;
use fletch_tests::scene::*;
use fletch_tests::store::*;
use fletch_tests::tokens::{self, Transactions};

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
    let scene = Scene::new_with(2, &["--max-transaction-size", "100000"])?;
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

/// Transactions that are committed, but for the last of a session.
struct Tx;

impl Transactions for Tx {
    fn select(&self, session: &Session) -> Result<()> {
        select(session)
    }

    fn run(
        &self,
        session: &Session,
        random: &mut Random,
        work: impl FnOnce(&mut Random) -> Result<()>,
    ) -> Result<ControlFlow<()>> {
        work(random)?;
        if random.one_in(8) {
            rollback(session)?;
            return Ok(ControlFlow::Break(()));
        }
        commit(session)?;
        Ok(ControlFlow::Continue(()))
    }
}

#[test]
fn each_message_is_in_one_queue_whenever_the_broker_is_killed() -> Result<()> {
    tokens::kills(&Tx, &[1])
}

#[test]
fn each_message_is_in_one_queue_over_four_shards_too() -> Result<()> {
    tokens::kills(&Tx, &[4, 4, 2, 4])
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
