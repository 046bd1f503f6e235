//! The store's directory and options: who may use it, what is set aside, what is on disk and what is in memory.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fletch_client::Subscription;
use fletch_client::amqp::v0_10::{AcceptMode, CreditUnit};
use fletch_tests::numbered::{numbered, send_numbered};
use fletch_tests::scene::*;
use fletch_tests::store::*;

#[test]
fn truncate_sets_data_aside_and_deletes_nothing() -> Result<()> {
    let store = Store::new()?;
    let marker = b"set aside and not deleted";
    let holds_marker = |dir: &Path| -> Result<bool> {
        for file in files_below(dir)? {
            if std::fs::read(&file)?.windows(marker.len()).any(|part| part == marker) {
                return Ok(true);
            }
        }
        Ok(false)
    };
    for round in 1..=2 {
        let scene = store.scene(2)?;
        let session = scene.session("publisher")?;
        declare_durable(&session, "q", 1)?;
        session.send("", &persistent("q", marker))?;
        session.sync()?;
        drop(session);
        scene.end(if round == 1 { Ending::Stop } else { Ending::Kill })?;

        let scene = store.scene_with(2, &["--truncate", "yes"])?;
        said(&scene, |scene| {
            let session = scene.session("reader")?;
            ensure!(query(&session, "q")?.is_none(), "the queue is still there");
            Ok(())
        })?;
        scene.done()?;
        let aside = |dir: &Path| {
            dir.file_name().is_some_and(|name| {
                let name = name.to_string_lossy();
                name.starts_with("aside") && name.ends_with(&round.to_string())
            })
        };
        let mut found = Vec::new();
        for entry in std::fs::read_dir(store.journal())? {
            found.push(entry?.path());
        }
        let dir = found.iter().find(|path| aside(path));
        let dir = dir.with_context(|| format!("nothing numbered {round} among {found:?}"))?;
        ensure!(holds_marker(dir)?, "{} has lost the message", dir.display());
    }
    // Without the option nothing more is set aside, and the store is the empty one.
    let scene = store.scene(2)?;
    ensure!(query(&scene.session("reader")?, "q")?.is_none(), "the queue is back");
    scene.done()
}

#[test]
fn a_store_directory_of_its_own_is_used_and_is_one_brokers() -> Result<()> {
    let (data, other, store) = (Store::new()?, Store::new()?, tempfile::tempdir()?);
    let dir = store.path().to_str().context("a temporary path is text")?;
    let options = ["--store-dir", dir];
    let scene = data.scene_with(2, &options)?;
    said(&scene, |scene| {
        let session = scene.session("publisher")?;
        declare_durable(&session, "q", 1)?;
        publish_durable(&session, "q", "m", 0..3)
    })?;
    ensure!(size_of(store.path())? > 0, "{dir} is empty");
    ensure!(!data.journal().exists(), "{} is used beside it", data.journal().display());
    let (status, errors) = other.refused(2, &options)?;
    assert_eq!(status.code(), Some(1), "{errors}");
    ensure!(errors.contains(dir), "no {dir} in: {errors}");
    scene.end(Ending::Kill)?;
    let scene = other.scene_with(2, &options)?;
    assert_eq!(texts(&drain(&scene.session("reader")?, "q")?), expected("m", 0..3));
    scene.done()
}

#[test]
fn a_second_broker_on_the_same_data_is_refused() -> Result<()> {
    let store = Store::new()?;
    let scene = store.scene(2)?;
    let session = scene.session("publisher")?;
    declare_durable(&session, "q", 0)?;
    publish_durable(&session, "q", "m", 0..3)?;
    let (status, errors) = store.refused(2, &["--truncate", "yes"])?;
    assert_eq!(status.code(), Some(1), "{errors}");
    let path = store.path().to_string_lossy();
    for word in [&*path, &scene.broker.pid().to_string()] {
        ensure!(errors.contains(word), "no {word} in: {errors}");
    }
    // It has changed nothing.
    publish_durable(&session, "q", "m", 3..5)?;
    drop(session);
    scene.end(Ending::Kill)?;
    let scene = store.scene(2)?;
    assert_eq!(texts(&drain(&scene.session("reader")?, "q")?), expected("m", 0..5));
    scene.done()
}

#[test]
fn bodies_that_left_memory_come_back_in_order() -> Result<()> {
    const SIZE: usize = 16 << 10;
    const COUNT: u32 = 600;
    for shards in [1, 2] {
        let store = Store::new()?;
        let options = ["--queue-memory", "262144", "--journal-segment-size", "1m"];
        let mut taken = 0;
        for life in 0..3 {
            let scene = store.scene_with(shards, &options)?;
            said(&scene, |scene| {
                let session = scene.session("client")?;
                if life == 0 {
                    declare_durable(&session, "q", shards - 1)?;
                    send_numbered(&session, persistent, "q", SIZE, 0..COUNT).context("sending")?;
                }
                // Read to the end twice: looking at a message does not bring it back to stay.
                for turn in 0..2 {
                    let found = browse(&session, "q").with_context(|| format!("look {turn}"))?;
                    let found = numbered(&found, SIZE)?;
                    assert_eq!(found, (taken..COUNT).collect::<Vec<_>>());
                }
                consume(&session, "q", "in", 200)?;
                let came = take(&session, 200).context("taking")?;
                assert_eq!(numbered(&came, SIZE)?, (taken..taken + 200).collect::<Vec<_>>());
                accept(&session, &came.iter().map(|d| d.id).collect::<Vec<_>>())?;
                taken += 200;
                Ok(())
            })
            .with_context(|| format!("life {life}"))?;
            scene.end(Ending::Kill)?;
        }
    }
    Ok(())
}

#[test]
fn one_message_nobody_takes_does_not_keep_the_rest_on_disk() -> Result<()> {
    const SIZE: usize = 64 << 10;
    const ROUNDS: u32 = 24;
    const EACH: u32 = 64;
    /// Twice what is alive, which is next to nothing, and the files in use and ready: not what was published.
    const BOUND: u64 = ROUNDS as u64 * EACH as u64 * SIZE as u64 / 3;
    let store = Store::new()?;
    let options = ["--journal-segment-size", "1m"];
    let scene = store.scene_with(1, &options)?;
    said(&scene, |scene| {
        let session = scene.session("client")?;
        declare_durable(&session, "old", 0)?;
        declare_durable(&session, "q", 0)?;
        publish_durable(&session, "old", "m", 0..1)?;
        session.consume("q", "in", EACH)?;
        for round in 0..ROUNDS {
            let numbers = round * EACH..(round + 1) * EACH;
            send_numbered(&session, persistent, "q", SIZE, numbers)?;
            let came = take(&session, EACH as usize)?;
            accept(&session, &came.iter().map(|d| d.id).collect::<Vec<_>>())?;
        }
        // Files may be given back a little later than what was in them.
        let deadline = Instant::now() + PATIENCE;
        while size_of(&store.journal())? > BOUND {
            let size = size_of(&store.journal())?;
            ensure!(Instant::now() < deadline, "{size} octets on disk, {BOUND} would be fine");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })?;
    scene.end(Ending::Kill)?;
    let scene = store.scene_with(1, &options)?;
    said(&scene, |scene| {
        let session = scene.session("reader")?;
        assert_eq!(texts(&drain(&session, "old")?), ["m0"]);
        assert_eq!(query(&session, "q")?, Some((0, 0)));
        Ok(())
    })?;
    scene.done()
}

#[test]
fn either_durability_survives_a_kill_of_the_process() -> Result<()> {
    for durability in ["sync", "device"] {
        let store = Store::new()?;
        let options = ["--durability", durability, "--journal-flush-timeout", "1ms"];
        for life in 0..3 {
            let scene = store.scene_with(2, &options)?;
            said(&scene, |scene| {
                let session = scene.session("client")?;
                if life == 0 {
                    declare_durable(&session, "q", 1)?;
                }
                assert_eq!(texts(&browse(&session, "q")?), expected("m", 0..life * 20));
                publish_durable(&session, "q", "m", life * 20..(life + 1) * 20)
            })
            .with_context(|| format!("--durability {durability}, life {life}"))?;
            scene.end(Ending::Kill)?;
        }
    }
    Ok(())
}

/// Such a message leaves nothing to be written, and with one shard nothing else happens: its publisher must not have to
/// wait until something does.
#[test]
fn a_publisher_hears_at_once_of_what_was_consumed_before_it_was_written() -> Result<()> {
    const MESSAGES: usize = 20;
    let store = Store::new()?;
    let scene = store.scene(1)?;
    said(&scene, |scene| {
        let publisher = scene.session("publisher")?;
        declare_durable(&publisher, "q", 0)?;
        let consumer = scene.session("consumer")?;
        let accept_mode = AcceptMode::NONE;
        let subscription = Subscription { queue: "q", accept_mode, ..Default::default() };
        consume_as(&consumer, &subscription, CreditUnit::UNLIMITED)?;
        let began = Instant::now();
        for number in 0..MESSAGES {
            publish_durable(&publisher, "q", "m", number..number + 1)?;
        }
        // The watchdog has an idle shard look around twice a second.
        let took = began.elapsed();
        ensure!(took < Duration::from_millis(500) * MESSAGES as u32 / 2, "{took:?}");
        assert_eq!(texts(&take(&consumer, MESSAGES)?), expected("m", 0..MESSAGES));
        Ok(())
    })?;
    scene.done()
}
