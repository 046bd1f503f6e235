//! Sessions: several on one connection, names, takeover, exceptions, and connections that die with
//! messages in hand. On 1, 2 and 4 shards.

use anyhow::{Context, Result, ensure};
use fletch_amqp::v0_10::table::{message, queue};
use fletch_amqp::v0_10::{CreditUnit, DetachCode, ErrorCode};
use fletch_client::{ConnectOptions, Connection, Session};
use fletch_tests::scene::*;
use fletch_tests::wire::{End, Frame, Wire};

fn own(session: &Session, name: &str) -> Result<()> {
    let (queue, exclusive) = (Some(name), true);
    session.call(&queue::Declare { queue, exclusive, ..Default::default() }.into())?;
    Ok(())
}

#[test]
fn sessions_of_one_connection_keep_apart() -> Result<()> {
    Scene::each(|scene| {
        let connection = scene.connect()?;
        let setup = scene.session("setup")?;
        let sessions = (0..6)
            .map(|number| Ok(connection.session(&format!("session-{number}"), false)?))
            .collect::<Result<Vec<_>>>()?;
        for (number, session) in sessions.iter().enumerate() {
            let name = format!("q{number}");
            declare(&setup, &name, number as u16 % scene.shards)?;
            // The same destination in every session.
            consume(session, &name, "in", 100)?;
        }
        for number in 0..sessions.len() {
            // Each sends to the next one's queue.
            let session = &sessions[(number + 1) % sessions.len()];
            publish(session, &format!("q{number}"), &format!("to {number} "), 0..20)?;
        }
        for (number, session) in sessions.iter().enumerate() {
            let came = take(session, 20)?;
            assert_eq!(texts(&came), expected(&format!("to {number} "), 0..20));
            // Command ids are per session: what one accepts is not another's.
            accept(session, &came.iter().map(|d| d.id).collect::<Vec<_>>())?;
            nothing(session)?;
        }
        sessions[2].close()?;
        for (number, session) in sessions.iter().enumerate().filter(|(number, _)| *number != 2) {
            session.sync()?;
            assert_eq!(query(session, &format!("q{number}"))?, Some((0, 1)));
        }
        Ok(())
    })
}

#[test]
fn a_name_in_use_is_busy_and_free_again_after_detach_and_exception() -> Result<()> {
    assert_eq!(DetachCode::SESSION_BUSY.0, 1);
    Scene::each(|scene| {
        let first = scene.connect()?;
        let others = [scene.connect()?, scene.connect()?, scene.connect()?, scene.connect()?];
        let mut holder = first.session("name", false)?;
        for (round, other) in others.iter().cycle().take(12).enumerate() {
            for connection in others.iter().chain([&first]) {
                let refused = connection.session("name", false);
                if let Err(fletch_client::Error::Attach(_)) = refused {
                    continue; // The client knows that the connection has such a session.
                }
                assert_eq!(detached(refused)?, DetachCode::SESSION_BUSY);
            }
            holder.sync()?;
            // It ends with subscriptions and messages in hand, which takes the broker some time.
            declare(&holder, "q", round as u16 % scene.shards)?;
            publish(&holder, "q", "m", 0..5)?;
            holder.consume("q", "in", 3)?;
            take(&holder, 1)?;
            if round % 2 == 0 {
                holder.close()?;
            } else {
                let result = holder.stop("no such destination");
                assert_eq!(refusal(result)?, ErrorCode::NOT_FOUND);
            }
            holder = other.session("name", false).context("after the detach")?;
            delete(&holder, "q")?;
        }
        Ok(())
    })
}

#[test]
fn names_belong_to_users() -> Result<()> {
    let scene = Scene::new(2)?;
    let of = |user: &str| {
        let user = Some(user.to_owned());
        scene.connect_with(&ConnectOptions {
            user,
            password: Some("x".into()),
            ..Default::default()
        })
    };
    let (ann, bob, ann_too) = (of("ann")?, of("bob")?, of("ann")?);
    let held = [ann.session("name", false)?, bob.session("name", false)?];
    assert_eq!(detached(ann_too.session("name", false))?, DetachCode::SESSION_BUSY);
    held.iter().try_for_each(Session::sync)?;
    drop((held, ann, bob, ann_too));
    scene.done()
}

/// `old` has the name, queues and messages; `taker` takes the name.
fn take_over(scene: &Scene, home: u16, old: &Connection, taker: &Connection) -> Result<()> {
    let setup = scene.session("setup")?;
    declare(&setup, "work", home)?;
    publish(&setup, "work", "m", 0..8)?;

    let neighbour = old.session("neighbour", false)?;
    let victim = old.session("name", false)?;
    own(&victim, "own")?;
    consume(&victim, "work", "in", 5)?;
    let held = take(&victim, 5)?;
    accept(&victim, &[held[0].id])?;

    let winner = taker.session("name", true).context("attach with force")?;
    assert_eq!(detached(victim.sync())?, DetachCode::SESSION_BUSY);
    neighbour.sync().context("the other session of the connection")?;

    // All that was the victim's is free, at once.
    own(&winner, "own").context("the exclusive queue")?;
    consume(&winner, "work", "in", 100)?;
    winner.flush_credit("in")?;
    let came = take(&winner, 7)?;
    assert_eq!(texts(&came), expected("m", 1..8));
    let sent_before = [true, true, true, true, false, false, false];
    assert_eq!(redelivered(&came)?, sent_before);
    nothing(&winner)?;

    // What the victim still says about them is nobody's.
    assert_eq!(detached(victim.accept_all(&ids(&held)))?, DetachCode::SESSION_BUSY);
    winner.release(&ids(&came), false)?;
    winner.sync()?;
    assert_eq!(query(&setup, "work")?, Some((7, 1)));
    winner.close()?;
    neighbour.close()?;
    delete(&setup, "work")?;
    delete(&setup, "own")?;
    Ok(())
}

#[test]
fn force_takes_a_session_over() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let (old, taker) = (scene.connect()?, scene.connect()?);
            take_over(scene, home, &old, &taker).context("on another connection")?;
        }
        Ok(())
    })
}

#[test]
fn force_takes_a_session_over_on_its_own_connection() -> Result<()> {
    Scene::each(|scene| {
        let mut wire = Wire::open(scene.broker.connect()?, u16::MAX)?;
        wire.attach(3, "name")?;
        wire.sync(3)?;
        wire.send(&Frame::control(4, 2, 1, &[0x03, 0, 0, 4, b'n', b'a', b'm', b'e']))?;
        // Both come, in either order.
        let (mut attached, mut forced) = (false, false);
        while !(attached && forced) {
            let frame = wire.read()?.context("the broker closed the socket")?;
            match (frame.channel, frame.code()) {
                (3, Some((2, 4))) => forced = true,
                (4, Some((2, 2))) => attached = true,
                (_, Some((2, 0x06..=0x0a))) => {}
                other => anyhow::bail!("{other:?} came"),
            }
        }
        wire.send(&Frame::control(4, 2, 7, &[0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))?;
        wire.sync(4)?;
        // What the client sent before it knew has had its answer.
        wire.send(&Frame::command(3, 3, 1, true, &[0, 0]))?;
        wire.sync(4)?;
        wire.attach(3, "another")?;
        wire.sync(3)
    })
}

#[test]
fn many_take_one_name_by_force_and_one_has_it() -> Result<()> {
    Scene::each(|scene| {
        let setup = scene.session("setup")?;
        declare(&setup, "work", scene.shards - 1)?;
        publish(&setup, "work", "m", 0..50)?;
        let connections = (0..6).map(|_| scene.connect()).collect::<Result<Vec<_>>>()?;
        std::thread::scope(|scope| {
            let threads: Vec<_> = connections
                .iter()
                .map(|connection| {
                    scope.spawn(move || -> Result<usize> {
                        let mut won = 0;
                        for _ in 0..10 {
                            // Who is overtaken while waiting is told it is busy.
                            match connection.session("name", true) {
                                Ok(session) => {
                                    won += 1;
                                    // May be overtaken at any point of this.
                                    let _ = session.consume("work", "in", 10);
                                }
                                refused => {
                                    assert_eq!(detached(refused)?, DetachCode::SESSION_BUSY);
                                }
                            }
                        }
                        Ok(won)
                    })
                })
                .collect();
            let won: Vec<_> = threads.into_iter().map(|t| t.join().expect("a client")).collect();
            for won in won {
                won?;
            }
            anyhow::Ok(())
        })?;
        let last = scene.connect()?.session("name", true)?;
        assert_eq!(texts(&drain(&last, "work")?), expected("m", 0..50), "all are back, in order");
        Ok(())
    })
}

#[test]
fn an_exception_says_what_failed_and_ends_its_session_only() -> Result<()> {
    Scene::each(|scene| {
        let mut wire = Wire::open(scene.broker.connect()?, u16::MAX)?;
        wire.attach(0, "good")?;
        wire.attach(1, "bad")?;
        wire.sync(1)?; // command 0
        wire.sync(1)?; // command 1
        // message.stop of a destination that is not there, command 2; two more behind it.
        wire.send(&Frame::command(1, 4, 12, false, &[1, 0, 1, b'x']))?;
        wire.send(&Frame::command(1, 3, 1, true, &[0, 0]))?;
        wire.send(&Frame::command(0, 3, 1, true, &[0, 0]))?;
        let exception = wire.expect(3, 3)?;
        assert_eq!(exception.channel, 1);
        // Session header (2), flags (2), error-code, command-id, class, command.
        let fields = exception.payload.get(6..14).context("a short exception")?;
        assert_eq!(fields, [&404u16.to_be_bytes()[..], &2u32.to_be_bytes(), &[4, 12]].concat());
        // The broker detaches; the answer is session.detached, normal.
        let detach = wire.expect(2, 3)?;
        assert_eq!(detach.channel, 1);
        wire.send(&Frame::control(1, 2, 4, &[0x03, 0, 0, 3, b'b', b'a', b'd', 0]))?;
        wire.sync(0)?;
        // A command for a session that is no more.
        wire.send(&Frame::command(1, 3, 1, true, &[0, 0]))?;
        assert_eq!(wire.read_end()?, End::Detached(DetachCode::NOT_ATTACHED.0));
        wire.sync(0)?;
        wire.attach(1, "bad")?;
        wire.sync(1)
    })
}

#[test]
fn what_a_failed_session_held_is_free_and_its_neighbours_go_on() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            declare(&setup, "q", home)?;
            publish(&setup, "q", "m", 0..4)?;
            let connection = scene.connect()?;
            let (good, bad) =
                (connection.session("good", false)?, connection.session("bad", false)?);
            consume(&bad, "q", "in", 2)?;
            own(&bad, "mine")?;
            let held = take(&bad, 2)?;
            accept(&bad, &[held[0].id])?;
            // A command, the failure, a command that must have no effect.
            publish(&bad, "q", "late", 0..1)?;
            bad.command(&message::Stop { destination: Some("x") }.into())?;
            bad.command(&message::Accept { transfers: Some(ids(&held)) }.into())?;
            assert_eq!(refusal(bad.sync())?, ErrorCode::NOT_FOUND);
            let again = connection.session("bad", false).context("its name is free")?;
            own(&again, "mine").context("its exclusive queue is free")?;
            let came = drain(&good, "q")?;
            assert_eq!(texts(&came), ["m1", "m2", "m3", "late0"]);
            assert_eq!(redelivered(&came)?, [true, false, false, false]);
            delete(&again, "mine")?;
            again.close()?;
            good.close()?;
            delete(&setup, "q")?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn a_killed_connection_gives_its_messages_back_in_order() -> Result<()> {
    Scene::each(|scene| {
        for home in scene.homes() {
            let setup = scene.session("setup")?;
            declare(&setup, "q", home)?;
            publish(&setup, "q", "m", 0..10)?;
            {
                let dies = scene.session("dies")?;
                consume(&dies, "q", "in", 6)?;
                let held = take(&dies, 6)?;
                accept(&dies, &[held[0].id, held[3].id])?;
                own(&dies, "mine")?;
            }
            // Taking the name waits for the end of who had it.
            let heir = scene.connect()?.session("dies", true)?;
            own(&heir, "mine")?;
            let came = drain(&heir, "q")?;
            assert_eq!(texts(&came), expected("m", [1, 2, 4, 5, 6, 7, 8, 9]));
            let sent = [true, true, true, true, false, false, false, false];
            assert_eq!(redelivered(&came)?, sent);
            delete(&heir, "mine")?;
            delete(&setup, "q")?;
            heir.close()?;
            setup.close()?;
        }
        Ok(())
    })
}

#[test]
fn messages_that_never_left_the_broker_are_not_flagged() -> Result<()> {
    const COUNT: usize = 3000;
    Scene::each(|scene| {
        let home = scene.shards - 1;
        let setup = scene.session("setup")?;
        declare(&setup, "q", home)?;
        {
            // It subscribes and reads nothing of what comes.
            let deaf = scene.session("deaf")?;
            consume(&deaf, "q", "in", CreditUnit::UNLIMITED)?;
            let body = vec![b'x'; 4096];
            for _ in 0..COUNT {
                setup.send("", &fletch_client::Outgoing::to_queue("q", &body))?;
            }
            setup.sync()?;
        }
        let heir = scene.connect()?.session("deaf", true)?;
        let came = drain(&heir, "q")?;
        assert_eq!(came.len(), COUNT);
        let flags = redelivered(&came)?;
        let sent = flags.iter().take_while(|flag| **flag).count();
        ensure!(flags[sent..].iter().all(|flag| !flag), "the flagged ones are the first");
        ensure!(sent > 0, "some were sent");
        ensure!(sent < COUNT, "all {COUNT} were sent to a client that does not read");
        Ok(())
    })
}

#[test]
fn killed_consumers_lose_and_double_nothing() -> Result<()> {
    const COUNT: usize = 400;
    Scene::each(|scene| {
        let setup = scene.session("setup")?;
        declare(&setup, "q", scene.shards - 1)?;
        publish(&setup, "q", "m", 0..COUNT)?;
        let mut accepted = Vec::new();
        for round in 0..12 {
            // Each takes some, accepts the first of them, and dies.
            let dies = scene.session(&format!("dies-{round}"))?;
            consume(&dies, "q", "in", 30)?;
            let held = take(&dies, 15)?;
            let (kept, _) = held.split_at(10);
            accept(&dies, &kept.iter().map(|d| d.id).collect::<Vec<_>>())?;
            accepted.extend(texts(kept));
        }
        for round in 0..12 {
            scene.connect()?.session(&format!("dies-{round}"), true)?.close()?;
        }
        let left = drain(&setup, "q")?;
        accepted.extend(texts(&left));
        accepted.sort();
        let mut all = expected("m", 0..COUNT);
        all.sort();
        assert_eq!(accepted, all);
        // Those never touched are behind the ones that came back, in order.
        let numbers: Vec<usize> =
            texts(&left).iter().map(|text| text[1..].parse()).collect::<Result<_, _>>()?;
        ensure!(numbers.is_sorted(), "{numbers:?}");
        Ok(())
    })
}

#[test]
fn who_hears_that_a_session_is_detached_finds_its_messages_released() -> Result<()> {
    Scene::each(|scene| {
        let other = scene.session("other")?;
        let connection = scene.connect()?;
        for round in 0..40 {
            let name = format!("q{round}");
            declare(&other, &name, round % scene.shards)?;
            publish(&other, &name, "m", 0..5)?;
            let session = connection.session(&format!("s{round}"), false)?;
            consume(&session, &name, "in", 100)?;
            take(&session, 5)?;
            session.close()?;
            // At once, without asking again.
            assert_eq!(query(&other, &name)?, Some((5, 0)), "round {round}");
            delete(&other, &name)?;
        }
        Ok(())
    })
}

#[test]
fn who_hears_that_a_connection_is_closed_finds_its_messages_released() -> Result<()> {
    Scene::each(|scene| {
        let other = scene.session("other")?;
        for round in 0..20 {
            let name = format!("q{round}");
            declare(&other, &name, round % scene.shards)?;
            publish(&other, &name, "m", 0..5)?;
            let connection = scene.connect()?;
            let session = connection.session("s", false)?;
            consume(&session, &name, "in", 100)?;
            take(&session, 5)?;
            connection.close()?;
            assert_eq!(query(&other, &name)?, Some((5, 0)), "round {round}");
        }
        Ok(())
    })
}
