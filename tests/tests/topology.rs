//! Queues, exchanges and bindings: what is complete on one connection is there on every other, on
//! whichever shard; who may do what; and storms of changes. On 1, 2 and 4 shards.

use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fletch_amqp::v0_10::ErrorCode;
use fletch_amqp::v0_10::table::{exchange, queue};
use fletch_client::{Connection, Error, Outgoing, Session};
use fletch_tests::scene::*;

/// Clients on one session each, on all shards.
const CLIENTS: usize = 8;

fn clients(scene: &Scene) -> Result<Vec<Session>> {
    (0..CLIENTS).map(|number| scene.session(&format!("client-{number}"))).collect()
}

fn is_bound(session: &Session, exchange: &str, queue: &str, key: &str) -> Result<bool> {
    let (exchange, queue, binding_key) = (Some(exchange), Some(queue), Some(key));
    let bound = exchange::Bound { exchange, queue, binding_key, ..Default::default() };
    let reply = session.call(&bound.into())?.context("bound has a result")?;
    let found: exchange::ExchangeBoundResult = reply.read()?;
    Ok(found == exchange::ExchangeBoundResult::default())
}

fn exchange_exists(session: &Session, name: &str) -> Result<bool> {
    let reply = session.call(&exchange::Query { name: Some(name) }.into())?;
    let reply = reply.context("a query has a result")?;
    let found: exchange::ExchangeQueryResult<'_> = reply.read()?;
    Ok(!found.not_found)
}

#[test]
fn a_change_that_is_complete_is_seen_by_everybody() -> Result<()> {
    Scene::each(|scene| {
        let all = clients(scene)?;
        let rounds = if scene.shards == 4 { 200 } else { 60 };
        for round in 0..rounds {
            let (queue, exchange) = (format!("q{round}"), format!("x{round}"));
            let maker = &all[round % CLIENTS];
            declare(maker, &queue, round as u16 % scene.shards)?;
            for session in &all {
                ensure!(query(session, &queue)? == Some((0, 0)), "{queue} is not there");
            }
            declare_exchange(maker, &exchange, "direct")?;
            for session in &all {
                ensure!(exchange_exists(session, &exchange)?, "{exchange} is not there");
            }
            bind(&all[(round + 1) % CLIENTS], &exchange, &queue, "key")?;
            for session in &all {
                ensure!(is_bound(session, &exchange, &queue, "key")?, "{queue} is not bound");
                session.send(&exchange, &Outgoing::with_key("key", b"x"))?;
                session.sync()?;
            }
            let breaker = &all[(round + 2) % CLIENTS];
            ensure!(query(breaker, &queue)? == Some((CLIENTS as u32, 0)), "messages are missing");
            let unbind = exchange::Unbind {
                queue: Some(&queue),
                exchange: Some(&exchange),
                binding_key: Some("key"),
            };
            breaker.call(&unbind.into())?;
            for session in &all {
                ensure!(!is_bound(session, &exchange, &queue, "key")?, "{queue} is still bound");
                session.send(&exchange, &Outgoing::with_key("key", b"x"))?;
                session.sync()?;
            }
            ensure!(query(maker, &queue)? == Some((CLIENTS as u32, 0)), "unbound, but routed");
            delete(breaker, &queue)?;
            let name = Some(exchange.as_str());
            maker.call(&exchange::Delete { exchange: name, if_unused: true }.into())?;
            for session in &all {
                ensure!(query(session, &queue)?.is_none(), "{queue} is still there");
                ensure!(!exchange_exists(session, &exchange)?, "{exchange} is still there");
            }
        }
        Ok(())
    })
}

#[test]
fn one_of_many_declares_makes_the_queue() -> Result<()> {
    Scene::each(|scene| {
        let all = clients(scene)?;
        let start = Barrier::new(CLIENTS);
        for round in 0..25 {
            let (shared, own) = (format!("shared-{round}"), format!("own-{round}"));
            let owners = std::thread::scope(|scope| {
                let threads: Vec<_> = all
                    .iter()
                    .enumerate()
                    .map(|(number, session)| {
                        let (start, shared, own) = (&start, &shared, &own);
                        scope.spawn(move || -> Result<usize> {
                            start.wait();
                            // Each would have it on another shard.
                            declare(session, shared, number as u16 % scene.shards)?;
                            publish(session, shared, "m", number..number + 1)?;
                            let contender = scene.session(&format!("own-{round}-{number}"))?;
                            let mine = queue::Declare {
                                queue: Some(own),
                                exclusive: true,
                                ..Default::default()
                            };
                            let result = contender.call(&mine.into());
                            start.wait();
                            match result {
                                Ok(_) => Ok(1),
                                refused => {
                                    assert_eq!(refusal(refused)?, ErrorCode::RESOURCE_LOCKED);
                                    Ok(0)
                                }
                            }
                        })
                    })
                    .collect();
                threads
                    .into_iter()
                    .map(|thread| thread.join().expect("a client"))
                    .sum::<Result<usize>>()
            })?;
            assert_eq!(owners, 1, "owners of {own}");
            assert_eq!(query(&all[0], &shared)?, Some((CLIENTS as u32, 0)));
        }
        Ok(())
    })
}

#[test]
fn an_auto_delete_queue_goes_with_its_last_consumer() -> Result<()> {
    Scene::each(|scene| {
        let watcher = scene.session("watcher")?;
        for round in 0..scene.shards * 2 {
            let maker = scene.session(&format!("maker-{round}"))?;
            let (queue, auto_delete) = (Some("auto"), true);
            maker.call(&queue::Declare { queue, auto_delete, ..Default::default() }.into())?;
            let one = scene.session(&format!("one-{round}"))?;
            let two = scene.session(&format!("two-{round}"))?;
            consume(&one, "auto", "in", 1)?;
            consume(&two, "auto", "in", 1)?;
            one.cancel("in")?;
            assert_eq!(query(&watcher, "auto")?, Some((0, 1)));
            match round % 3 {
                0 => two.cancel("in")?,
                1 => two.close()?,
                _ => drop(two),
            }
            if round % 3 == 0 {
                ensure!(query(&watcher, "auto")?.is_none(), "it is gone when that is complete");
            }
            settle(&watcher, "auto", |found| found.is_none())?;
        }
        Ok(())
    })
}

#[test]
fn an_exclusive_queue_is_locked_until_its_owner_goes() -> Result<()> {
    Scene::each(|scene| {
        for round in 0..scene.shards * 2 {
            let owner = scene.connect()?;
            let session = owner.session(&format!("owner-{round}"), false)?;
            let keep =
                queue::Declare { queue: Some("keep"), exclusive: true, ..Default::default() };
            let goes = queue::Declare { queue: Some("goes"), auto_delete: true, ..keep.clone() };
            session.call(&keep.clone().into())?;
            session.call(&goes.clone().into())?;
            session.call(&keep.clone().into()).context("again by its owner")?;

            let other = scene.connect()?;
            let attempt = |what: &str, attempt: &dyn Fn(&Session) -> Result<()>| -> Result<()> {
                let session = other.session(&format!("other-{round}"), false)?;
                let code = code_of(attempt(&session)).with_context(|| what.to_owned())?;
                ensure!(code == ErrorCode::RESOURCE_LOCKED, "{what}: {code}");
                Ok(())
            };
            attempt("declare", &|s| Ok(s.call(&keep.clone().into()).map(drop)?))?;
            attempt("passive", &|s| {
                let passive = queue::Declare { passive: true, ..keep.clone() };
                Ok(s.call(&passive.into()).map(drop)?)
            })?;
            attempt("subscribe", &|s| consume(s, "keep", "in", 1))?;
            attempt("bind", &|s| bind(s, "amq.direct", "keep", "key"))?;
            attempt("delete", &|s| delete(s, "keep"))?;
            // Publishing to it is everybody's.
            let watcher = other.session("watcher", false)?;
            publish(&watcher, "keep", "m", 0..1)?;
            assert_eq!(query(&watcher, "keep")?, Some((1, 0)));

            if round % 2 == 0 {
                session.close()?;
            }
            drop((session, owner));
            let heir = scene.connect()?.session(&format!("owner-{round}"), true)?;
            ensure!(query(&watcher, "goes")?.is_none(), "auto-delete goes with its owner");
            heir.call(&keep.clone().into()).context("free when its owner has gone")?;
            delete(&heir, "keep")?;
            watcher.close()?;
        }
        Ok(())
    })
}

/// What a command fails with, on a session of its own.
struct Errors {
    connection: Connection,
}

impl Errors {
    fn check(
        &self,
        what: &str,
        expected: ErrorCode,
        attempt: impl Fn(&Session) -> Result<()>,
    ) -> Result<()> {
        let session = self.connection.session("errors", false).context("attach for the next")?;
        let code = code_of(attempt(&session)).with_context(|| what.to_owned())?;
        ensure!(code == expected, "{what}: {code} and not {expected}");
        Ok(())
    }
}

#[test]
fn what_is_not_possible_fails_with_its_code() -> Result<()> {
    use ErrorCode as Code;
    Scene::each(|scene| {
        let setup = scene.session("setup")?;
        declare(&setup, "full", scene.shards - 1)?;
        publish(&setup, "full", "m", 0..1)?;
        declare(&setup, "used", 0)?;
        setup.consume("used", "in", 1)?;
        declare_exchange(&setup, "direct", "direct")?;
        declare_exchange(&setup, "alternate", "fanout")?;
        bind(&setup, "direct", "full", "key")?;
        let (queue, alternate_exchange) = (Some("with alternate"), Some("alternate"));
        declare_as(&setup, 0, &queue::Declare { queue, alternate_exchange, ..Default::default() })?;

        for _ in 0..scene.shards {
            let errors = Errors { connection: scene.connect()? };
            let declare_x = |name: &'static str, kind: &'static str| {
                move |s: &Session| declare_exchange(s, name, kind)
            };
            errors.check("reserved", Code::NOT_ALLOWED, declare_x("amq.mine", "direct"))?;
            errors.check("reserved", Code::NOT_ALLOWED, declare_x("qpid.mine", "direct"))?;
            errors.check("other type", Code::NOT_ALLOWED, declare_x("direct", "topic"))?;
            errors.check("no such type", Code::NOT_FOUND, declare_x("new", "sideways"))?;
            let delete_x = |name: &'static str, if_unused: bool| {
                move |s: &Session| {
                    let delete = exchange::Delete { exchange: Some(name), if_unused };
                    Ok(s.call(&delete.into()).map(drop)?)
                }
            };
            errors.check("in use", Code::NOT_ALLOWED, delete_x("alternate", false))?;
            errors.check("built in", Code::NOT_ALLOWED, delete_x("amq.topic", false))?;
            errors.check("default", Code::INVALID_ARGUMENT, delete_x("", false))?;
            errors.check("bound", Code::PRECONDITION_FAILED, delete_x("direct", true))?;
            errors.check("no exchange", Code::NOT_FOUND, delete_x("missing", false))?;
            let delete_q = |queue: &'static str, if_unused: bool, if_empty: bool| {
                move |s: &Session| {
                    let delete = queue::Delete { queue: Some(queue), if_unused, if_empty };
                    Ok(s.call(&delete.into()).map(drop)?)
                }
            };
            errors.check("full", Code::PRECONDITION_FAILED, delete_q("full", false, true))?;
            errors.check("used", Code::PRECONDITION_FAILED, delete_q("used", true, false))?;
            errors.check("no queue", Code::NOT_FOUND, delete_q("missing", false, false))?;
            let declare_q = |declare: queue::Declare<'static>| {
                move |s: &Session| Ok(s.call(&declare.clone().into()).map(drop)?)
            };
            let missing = queue::Declare { queue: Some("missing"), ..Default::default() };
            let passive = queue::Declare { passive: true, ..missing.clone() };
            errors.check("passive", Code::NOT_FOUND, declare_q(passive))?;
            let alternate = queue::Declare { alternate_exchange: Some("no"), ..missing.clone() };
            errors.check("no alternate", Code::NOT_FOUND, declare_q(alternate))?;
            let unnamed = queue::Declare { queue: Some(""), ..missing.clone() };
            errors.check("no name", Code::ILLEGAL_ARGUMENT, declare_q(unnamed))?;
            let shards = scene.shards;
            errors.check("shard", Code::INVALID_ARGUMENT, |s| declare(s, "missing", shards))?;
            errors.check("bind", Code::NOT_FOUND, |s| bind(s, "direct", "missing", "k"))?;
            errors.check("bind", Code::NOT_FOUND, |s| bind(s, "missing", "full", "k"))?;
            errors.check("bind", Code::INVALID_ARGUMENT, |s| bind(s, "", "full", "k"))?;
            errors.check("subscribe", Code::NOT_FOUND, |s| consume(s, "missing", "in", 1))?;
            errors.check("publish", Code::NOT_FOUND, |s| {
                s.send("missing", &Outgoing::with_key("k", b"x"))?;
                Ok(s.sync()?)
            })?;
            errors.check("purge", Code::NOT_FOUND, |s| {
                Ok(s.call(&queue::Purge { queue: Some("missing") }.into()).map(drop)?)
            })?;
        }
        // None of it has changed anything.
        assert_eq!(query(&setup, "full")?, Some((1, 0)));
        assert_eq!(query(&setup, "used")?, Some((0, 1)));
        ensure!(query(&setup, "missing")?.is_none() && !exchange_exists(&setup, "new")?);
        ensure!(is_bound(&setup, "direct", "full", "key")?);
        Ok(())
    })
}

#[test]
fn a_storm_of_changes_wedges_nothing() -> Result<()> {
    const STORM: Duration = Duration::from_millis(700);
    const NAMES: [&str; 3] = ["storm-0", "storm-1", "storm-2"];
    /// What may happen to a client of queues that come and go.
    fn tolerable(error: &anyhow::Error) -> bool {
        error.downcast_ref::<Error>().and_then(Error::session_code).is_some_and(|code| {
            [ErrorCode::NOT_FOUND, ErrorCode::RESOURCE_DELETED, ErrorCode::RESOURCE_LOCKED]
                .contains(&code)
        })
    }
    Scene::each(|scene| {
        let began = Instant::now();
        let done = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..6)
                .map(|number| {
                    scope.spawn(move || -> Result<usize> {
                        let connection = scene.connect()?;
                        let mut session = connection.session(&format!("storm-{number}"), false)?;
                        let (mut done, mut turn) = (0, number);
                        while began.elapsed() < STORM {
                            turn += 1;
                            let queue = NAMES[turn % 3];
                            let step = match number {
                                0..2 => declare(&session, queue, turn as u16 % scene.shards)
                                    .and_then(|()| bind(&session, "amq.fanout", queue, "")),
                                2 => delete(&session, queue),
                                3 | 4 => (0..20)
                                    .try_for_each(|_| {
                                        let message = Outgoing::to_queue(queue, b"storm");
                                        let to = ["", "amq.fanout"][number - 3];
                                        session.send(to, &message).map(drop)
                                    })
                                    .and_then(|()| session.sync())
                                    .map_err(Into::into),
                                _ => drain(&session, queue).map(drop),
                            };
                            match step {
                                Ok(()) => done += 1,
                                Err(error) if tolerable(&error) => {
                                    let name = format!("storm-{number}");
                                    session = connection.session(&name, false).context("again")?;
                                }
                                Err(error) => return Err(error.context(format!("by {number}"))),
                            }
                        }
                        Ok(done)
                    })
                })
                .collect();
            let threads = threads.into_iter().map(|thread| thread.join().expect("a client"));
            threads.collect::<Result<Vec<_>>>()
        })?;
        ensure!(done.iter().all(|done| *done > 0), "somebody never got anywhere: {done:?}");
        let after = scene.session("after")?;
        for queue in NAMES {
            declare(&after, queue, 0)?;
            drain(&after, queue)?;
            publish(&after, queue, "m", 0..3)?;
            assert_eq!(texts(&drain(&after, queue)?), expected("m", 0..3));
            delete(&after, queue)?;
        }
        ensure!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
        Ok(())
    })
}
