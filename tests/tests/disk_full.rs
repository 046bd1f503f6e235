//! A disk without room: what is refused, what goes on, what is kept, and how it ends.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fletch_amqp::v0_10::ErrorCode;
use fletch_client::{ConnectOptions, Connection, Error, Session};
use fletch_tests::disk::Disk;
use fletch_tests::scene::*;
use fletch_tests::store::*;

const SEGMENTS: [&str; 2] = ["--journal-segment-size", "1m"];

/// Octets of each body that fills the disk.
const BODY: usize = 32 << 10;

/// A body that begins with its number.
fn body(prefix: &str, number: usize) -> Vec<u8> {
    let mut body = format!("{prefix}{number} ").into_bytes();
    body.resize(BODY, b'.');
    body
}

/// Publishes durable messages to an exchange, each confirmed before the next, until one is refused because the disk is full.
/// How many were confirmed, and what was said.
fn fill(session: &Session, exchange: &str, key: &str, prefix: &str) -> Result<(usize, String)> {
    for number in 0.. {
        let sent = session.send(exchange, &persistent(key, &body(prefix, number)));
        match sent.map(drop).and_then(|()| session.sync()) {
            Ok(()) => ensure!(number < 10_000, "the disk is never full"),
            Err(Error::Session { code: ErrorCode::RESOURCE_LIMIT_EXCEEDED, text }) => {
                return Ok((number, text));
            }
            Err(error) => return Err(error).context(format!("message {number}")),
        }
    }
    bail!("there are no more numbers")
}

/// The first words of bodies.
fn words(found: &[fletch_client::Delivery]) -> Vec<String> {
    let word = |all: String| all.split(' ').next().unwrap_or_default().to_owned();
    texts(found).into_iter().map(word).collect()
}

/// A durable publish succeeds, at the latest after a while.
fn accepts_again(scene: &Scene, exchange: &str, key: &str) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let session = scene.session("again")?;
        session.send(exchange, &persistent(key, b"again"))?;
        match session.sync() {
            Ok(()) => return Ok(()),
            Err(Error::Session { code: ErrorCode::RESOURCE_LIMIT_EXCEEDED, .. })
                if Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[test]
fn only_durable_publishes_are_refused_and_nothing_is_lost() -> Result<()> {
    for shards in [1, 2] {
        let Some(disk) = Disk::new(64)? else { return Ok(()) };
        let store = Store::new_in(&disk.path())?;
        let scene = store.scene_with(shards, &SEGMENTS)?;
        let home = shards - 1;
        let confirmed = said(&scene, |scene| {
            let session = scene.session("publisher")?;
            declare_durable(&session, "q", home)?;
            declare(&session, "transient", home)?;
            disk.fill(8 << 20)?;
            let (confirmed, text) = fill(&session, "", "q", "m")?;
            ensure!(confirmed > 10, "{confirmed} fit");
            let path = store.journal().join("g1").join(home.to_string());
            ensure!(text.contains(&*path.to_string_lossy()), "no {} in: {text}", path.display());
            ensure!(text.contains("no space left"), "{text}");
            // Not even a small file has room.
            disk.fill(0)?;

            let session = scene.session("others")?;
            publish(&session, "transient", "t", 0..100)?;
            assert_eq!(texts(&drain(&session, "transient")?), expected("t", 0..100));
            // A message that is not durable needs no room in a durable queue either.
            publish(&session, "q", "t", 0..1)?;
            assert_eq!(query(&session, "q")?, Some((confirmed as u32 + 1, 0)));
            consume(&session, "q", "in", 3)?;
            let came = take(&session, 3)?;
            assert_eq!(words(&came), expected("m", 0..3));
            accept(&session, &came.iter().map(|d| d.id).collect::<Vec<_>>())?;
            session.cancel("in")?;
            // What is little uses the reserve.
            declare_durable(&session, "late", 0)?;
            declare_durable_exchange(&session, "late", "fanout")?;
            bind(&session, "late", "late", "key")?;
            publish(&session, "late", "t", 0..1)?;
            // A purge is a dequeue of many.
            assert_eq!(drain(&session, "late")?.len(), 1);
            Ok(confirmed)
        })?;
        scene.end(Ending::Kill)?;

        let scene = store.scene_with(shards, &SEGMENTS)?;
        said(&scene, |scene| {
            let session = scene.session("reader")?;
            let found = words(&browse(&session, "q")?);
            assert_eq!(found[..confirmed - 3], expected("m", 3..confirmed));
            ensure!(found.len() <= confirmed - 2, "more than was sent: {}", found.len());
            ensure!(is_bound(&session, "late", "late", "key")?, "the binding is gone");
            let (more, _) = fill(&session, "", "q", "more")?;
            ensure!(more < 200, "{more} fit into a full disk");
            disk.clear()?;
            accepts_again(scene, "", "q")
        })
        .context("after the restart")?;
        scene.done()?;
    }
    Ok(())
}

#[test]
fn consuming_makes_room() -> Result<()> {
    let Some(disk) = Disk::new(64)? else { return Ok(()) };
    let store = Store::new_in(&disk.path())?;
    let scene = store.scene_with(2, &SEGMENTS)?;
    let left = said(&scene, |scene| {
        let session = scene.session("publisher")?;
        declare_durable(&session, "q", 1)?;
        disk.fill(12 << 20)?;
        let mut left = std::collections::VecDeque::new();
        // What is left over of each round takes room from the next.
        for round in 0..3 {
            let (confirmed, _) =
                fill(&scene.session("publisher")?, "", "q", &format!("r{round}-"))?;
            ensure!(confirmed > 50, "{confirmed} fit in round {round}");
            left.extend(expected(&format!("r{round}-"), 0..confirmed));
            // One after the other, each in a write of its own; from the second round on not all of a segment's.
            let session = scene.session("consumer")?;
            let taken = confirmed * 3 / 4;
            consume(&session, "q", "in", u32::try_from(taken)?)?;
            for number in 0..taken {
                let came = next(&session)?;
                let wanted = left.pop_front();
                assert_eq!(words(std::slice::from_ref(&came)), wanted.as_slice(), "{number}");
                accept(&session, &[came.id])?;
            }
            accepts_again(scene, "", "q")?;
            left.push_back("again".to_owned());
        }
        Ok(left)
    })?;
    scene.end(Ending::Kill)?;
    let scene = store.scene_with(2, &SEGMENTS)?;
    said(&scene, |scene| {
        let found = words(&drain(&scene.session("reader")?, "q")?);
        // One that was refused may not be there; nothing is anywhere else.
        assert_eq!(found, Vec::from(left));
        accepts_again(scene, "", "q")
    })?;
    scene.done()
}

#[test]
fn a_message_for_several_shards_is_refused_whole_if_one_is_full() -> Result<()> {
    let Some(disk) = Disk::new(64)? else { return Ok(()) };
    let store = Store::new_in(&disk.path())?;
    let scene = store.scene_with(2, &SEGMENTS)?;
    let counts = said(&scene, |scene| {
        let session = scene.session("setup")?;
        declare_durable_exchange(&session, "all", "fanout")?;
        for home in 0..2 {
            let name = format!("q{home}");
            declare_durable(&session, &name, home)?;
            bind(&session, "all", &name, "")?;
        }
        session.send("all", &persistent("", b"before "))?;
        session.sync()?;
        disk.fill(8 << 20)?;
        // One of them is full, the other has a segment that it has hardly begun.
        let (confirmed, _) = fill(&session, "", "q1", "m")?;
        let path = store.journal().join("g1").join("1");
        for at in 0..4 {
            // From sessions on both shards: connections go round.
            let _between = (at == 2).then(|| scene.connect()).transpose()?;
            let session = scene.session("several")?;
            let (fit, text) = fill(&session, "all", "", "x")?;
            ensure!(fit == 0, "{fit} fit at {at}");
            ensure!(text.contains(&*path.to_string_lossy()), "{text}");
            // Where there is room there is room, wherever one comes from.
            let session = scene.session("room")?;
            session.send("", &persistent("q0", &body("m", at)))?;
            session.sync()?;
        }
        Ok(confirmed)
    })?;
    let check = |scene: &Scene| -> Result<()> {
        let session = scene.session("reader")?;
        let found = words(&browse(&session, "q0")?);
        assert_eq!(found, ["before", "m0", "m1", "m2", "m3"]);
        let found = words(&browse(&session, "q1")?);
        assert_eq!(found, [vec!["before".to_owned()], expected("m", 0..counts)].concat());
        Ok(())
    };
    said(&scene, check).context("before the restart")?;
    scene.end(Ending::Kill)?;
    let scene = store.scene_with(2, &SEGMENTS)?;
    said(&scene, check).context("after the restart")?;
    disk.clear()?;
    said(&scene, |scene| {
        // To both of them.
        accepts_again(scene, "all", "")?;
        let found = words(&browse(&scene.session("reader")?, "q1")?);
        assert_eq!(found.last().map(String::as_str), Some("again"));
        Ok(())
    })?;
    scene.done()
}

#[test]
fn what_was_taken_on_before_the_disk_was_full_is_refused_and_the_reserve_is_left() -> Result<()> {
    const PUBLISHERS: usize = 8;
    const MOST: usize = 400;
    let Some(disk) = Disk::new(64)? else { return Ok(()) };
    let store = Store::new_in(&disk.path())?;
    let scene = store.scene_with(1, &SEGMENTS)?;
    said(&scene, |scene| {
        let session = scene.session("setup")?;
        declare_durable(&session, "before", 0)?;
        publish_durable(&session, "before", "m", 0..100)?;
        for number in 0..PUBLISHERS {
            declare_durable(&session, &format!("q{number}"), 0)?;
        }
        disk.fill(4 << 20)?;
        std::thread::scope(|scope| {
            let publishers: Vec<_> = (0..PUBLISHERS)
                .map(|number| {
                    scope.spawn(move || -> Result<()> {
                        let options = ConnectOptions { send_window: 1 << 20, ..Default::default() };
                        let queue = format!("q{number}");
                        let session = scene.connect_with(&options)?.session(&queue, true)?;
                        let flood = || {
                            for number in 0..MOST {
                                session.send("", &persistent(&queue, &body("m", number)))?;
                            }
                            session.sync()
                        };
                        assert_eq!(refusal(flood())?, ErrorCode::RESOURCE_LIMIT_EXCEEDED);
                        Ok(())
                    })
                })
                .collect();
            publishers.into_iter().try_for_each(|thread| thread.join().expect("a publisher"))
        })?;
        let session = scene.session("consumer")?;
        consume(&session, "before", "in", 100)?;
        for number in 0..100 {
            let came = next(&session)?;
            assert_eq!(text(&came), format!("m{number}"));
            accept(&session, &[came.id])?;
        }
        Ok(())
    })?;
    let asked = Instant::now();
    scene.done()?;
    let took = asked.elapsed();
    ensure!(took < Duration::from_secs(5), "the stop took {took:?}");
    let scene = store.scene_with(1, &SEGMENTS)?;
    said(&scene, |scene| {
        ensure!(!scene.broker.log().contains("dropped"), "a clean stop leaves nothing to cut");
        let session = scene.session("reader")?;
        assert_eq!(query(&session, "before")?, Some((0, 0)));
        let mut all = 0;
        for number in 0..PUBLISHERS {
            let found = words(&browse(&session, &format!("q{number}"))?);
            assert_eq!(found, expected("m", 0..found.len()));
            all += found.len();
        }
        ensure!(all > 30 && all < 200, "{all} messages in 4 MiB");
        Ok(())
    })?;
    scene.done()
}

/// Whether all that was sent is completed within a while.
fn completes(connection: &Connection, session: &Session, within: Duration) -> Result<bool> {
    let deadline = Instant::now() + within;
    while session.incomplete() > 0 {
        if Instant::now() >= deadline {
            return Ok(false);
        }
        connection.poll(Duration::from_millis(10))?;
    }
    Ok(true)
}

#[test]
fn without_a_reserve_what_is_durable_waits_or_fails_and_the_rest_goes_on() -> Result<()> {
    const SMALL: u32 = 1000;
    let Some(disk) = Disk::new(64)? else { return Ok(()) };
    let store = Store::new_in(&disk.path())?;
    let options = [&SEGMENTS[..], &["--stop-timeout", "3s"]].concat();
    for ending in [Ending::Kill, Ending::Stop] {
        let scene = store.scene_with(1, &options)?;
        let taken = said(&scene, |scene| {
            let session = scene.session("setup")?;
            declare_durable(&session, "q", 0)?;
            declare_durable_exchange(&session, "x", "fanout")?;
            publish_durable(&session, "q", "m", 0..SMALL as usize)?;
            disk.fill(4 << 20)?;
            fill(&scene.session("publisher")?, "", "q", "x")?;
            // A write of its own for each accept: 256 of them are the reserve.
            let connection = scene.connect()?;
            let consumer = connection.session("consumer", true)?;
            consume(&consumer, "q", "in", SMALL)?;
            let mut taken = 0;
            loop {
                let came = next(&consumer)?;
                assert_eq!(text(&came), format!("m{taken}"));
                consumer.accept(came.id)?;
                consumer.flush()?;
                if !completes(&connection, &consumer, Duration::from_secs(1))? {
                    break;
                }
                taken += 1;
                ensure!(taken < 600, "the reserve has no end");
            }
            ensure!(taken > 100, "the reserve is but {taken} accepts");

            let others = || scene.session("others");
            let limit = ErrorCode::RESOURCE_LIMIT_EXCEEDED;
            assert_eq!(code_of(declare_durable(&others()?, "new", 0))?, limit);
            assert_eq!(code_of(declare_durable_exchange(&others()?, "new", "fanout"))?, limit);
            assert_eq!(code_of(bind(&others()?, "x", "q", ""))?, limit);
            assert_eq!(code_of(publish_durable(&others()?, "q", "m", 0..1))?, limit);
            let session = others()?;
            declare_durable(&session, "q", 0)?;
            declare(&session, "transient", 0)?;
            bind(&session, "x", "transient", "")?;
            publish(&session, "transient", "t", 0..10)?;
            assert_eq!(drain(&session, "transient")?.len(), 10);
            delete(&session, "transient")?;
            if ending == Ending::Kill {
                disk.clear()?;
                ensure!(completes(&connection, &consumer, PATIENCE)?, "the accept is lost");
                declare_durable(&session, "later", 0)?;
                taken += 1;
            }
            Ok(taken)
        })
        .with_context(|| format!("before {ending:?}"))?;
        let asked = Instant::now();
        scene.end(ending)?;
        ensure!(asked.elapsed() < Duration::from_secs(6), "the stop took {:?}", asked.elapsed());
        let scene = store.scene_with(1, &options)?;
        said(&scene, |scene| {
            let session = scene.session("reader")?;
            let found = words(&browse(&session, "q")?);
            // The accept that was not completed may hold or not.
            let first = found.first().context("all is gone")?;
            let may = [format!("m{taken}"), format!("m{}", taken + 1)];
            ensure!(may.contains(first), "{first} is first after {taken} accepts");
            ensure!(*first == may[0] || ending == Ending::Stop, "{first} after {taken} accepts");
            if ending == Ending::Stop {
                disk.clear()?;
            }
            accepts_again(scene, "", "q")?;
            delete(&session, "q")
        })?;
        scene.done()?;
    }
    Ok(())
}
