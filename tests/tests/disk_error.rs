//! A disk that fails: nothing more is acknowledged, the broker says which file it was and ends, and the next one finds
//! what was confirmed. And what keeps a broker from starting.

use std::path::Path;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fletch_client::{ConnectOptions, Error, Session};
use fletch_tests::disk::{Disk, Fault};
use fletch_tests::scene::*;
use fletch_tests::store::*;

/// EX_IOERR.
const DISK_FAILED: i32 = 74;

const SEGMENTS: [&str; 2] = ["--journal-segment-size", "1m"];

/// What a client knows when the broker went away under it.
fn lost(error: Error) -> Result<()> {
    match error {
        Error::Lost | Error::Io(_) => Ok(()),
        other => Err(other).context("the broker should have gone away"),
    }
}

/// Ended with the status and a critical line, one of each shard that met it, that names an operation, a file and, if it
/// has one, the place in it.
fn failed((status, log): (ExitStatus, String), operation: &str, at: bool) -> Result<()> {
    ensure!(status.code() == Some(DISK_FAILED), "ended with {status}:\n{log}");
    let critical: Vec<&str> = log.lines().filter(|line| line.contains(" critical ")).collect();
    ensure!(!critical.is_empty(), "nothing is said:\n{log}");
    for line in critical {
        for word in [operation, ".seg", "Input/output error"] {
            ensure!(line.contains(word), "no {word} in: {line}");
        }
        ensure!(line.contains(" at ") == at, "{line}");
    }
    Ok(())
}

/// Waits until no shard's journal has anything to do: both segments that are made ahead are there, and what was written
/// is vouched for.
fn rests(store: &Store, shards: usize) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all = files_below(&store.journal())?;
        let segments = all.iter().filter(|file| file.extension().is_some_and(|end| end == "seg"));
        if segments.count() == 3 * shards {
            // Far longer than anything waits to be written.
            std::thread::sleep(Duration::from_millis(200));
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "the journals do not come to rest: {all:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What is in a queue is all that was confirmed, in order, and perhaps some that were sent after that.
fn holds(session: &Session, queue: &str, confirmed: usize, sent: usize) -> Result<()> {
    let found = texts(&browse(session, queue)?);
    ensure!((confirmed..=sent).contains(&found.len()), "{} of {confirmed} to {sent}", found.len());
    assert_eq!(found, expected("m", 0..found.len()));
    Ok(())
}

/// Publishes one after the other, each confirmed, until the broker goes away: how many were.
fn publish_to_the_end(session: &Session, from: usize) -> Result<usize> {
    for number in from.. {
        let sent = session.send("", &persistent("q", format!("m{number}").as_bytes()));
        if let Err(error) = sent.map(drop).and_then(|()| session.sync()) {
            return lost(error).map(|()| number);
        }
        ensure!(number < 100_000, "the disk does not fail");
    }
    Ok(from)
}

#[test]
fn nothing_is_acknowledged_after_a_write_or_a_sync_that_failed() -> Result<()> {
    // A shard that rests has the cache flushed by the write itself.
    for (fault, idle, operation) in [
        (Fault::Io, "park", "write"),
        (Fault::Sync, "park", "write"),
        (Fault::Sync, "spin:20us", "sync"),
    ] {
        let Some(disk) = Disk::fallible(48)? else { return Ok(()) };
        let store = Store::new_in(&disk.path())?;
        let scene = store.scene_with(2, &[&SEGMENTS[..], &["--idle-strategy", idle]].concat())?;
        let session = scene.session("publisher")?;
        declare_durable(&session, "q", 1)?;
        declare_durable(&session, "other", 0)?;
        publish_durable(&session, "q", "m", 0..100)?;
        rests(&store, 2)?;
        disk.break_by(fault)?;
        // No more than what was durable before.
        let confirmed = publish_to_the_end(&session, 100)?;
        ensure!(confirmed == 100, "{} were confirmed on a broken disk", confirmed - 100);
        failed(scene.broker.ended(PATIENCE)?, operation, operation == "write")?;
        disk.heal()?;
        let scene = store.scene_with(2, &SEGMENTS)?;
        said(&scene, |scene| {
            let session = scene.session("reader")?;
            holds(&session, "q", 100, 101)?;
            publish_durable(&session, "q", "after", 0..1)
        })
        .with_context(|| format!("after {fault:?}, {idle}"))?;
        scene.done()?;
    }
    Ok(())
}

#[test]
fn a_disk_that_fails_under_load_loses_nothing_confirmed() -> Result<()> {
    for (fault, operation) in [(Fault::Io, "write"), (Fault::Sync, "sync")] {
        let Some(disk) = Disk::fallible(96)? else { return Ok(()) };
        let store = Store::new_in(&disk.path())?;
        let scene = store.scene_with(2, &SEGMENTS)?;
        let session = scene.session("setup")?;
        declare_durable(&session, "q", 0)?;
        declare_durable(&session, "batches", 1)?;
        let (one, (batches, sent)) = std::thread::scope(|scope| -> Result<_> {
            let one = scope.spawn(|| publish_to_the_end(&session, 0));
            let many = scope.spawn(|| -> Result<(usize, usize)> {
                let options = ConnectOptions { send_window: 1 << 20, ..Default::default() };
                let session = scene.connect_with(&options)?.session("batches", true)?;
                for batch in 0.. {
                    let numbers = batch * 500..(batch + 1) * 500;
                    let Err(error) = publish_durable(&session, "batches", "m", numbers) else {
                        continue;
                    };
                    lost(error.downcast::<Error>()?)?;
                    return Ok((batch * 500, (batch + 1) * 500));
                }
                anyhow::bail!("there are no more numbers")
            });
            std::thread::sleep(Duration::from_millis(300));
            disk.break_by(fault)?;
            Ok((one.join().expect("a publisher")?, many.join().expect("a publisher")?))
        })?;
        let (status, log) = scene.broker.ended(PATIENCE)?;
        // Writes of several shards may fail at once, and the one that makes a segment's file.
        ensure!(status.code() == Some(DISK_FAILED), "ended with {status}:\n{log}");
        ensure!(log.contains(" critical The disk of the journal failed"), "{operation}: {log}");
        disk.heal()?;
        let scene = store.scene_with(2, &SEGMENTS)?;
        said(&scene, |scene| {
            let session = scene.session("reader")?;
            ensure!(one > 10, "{one} were confirmed before");
            holds(&session, "q", one, one + 1)?;
            holds(&session, "batches", batches, sent)
        })
        .with_context(|| format!("after {fault:?}"))?;
        scene.done()?;
    }
    Ok(())
}

#[test]
fn a_read_that_fails_ends_the_broker_too() -> Result<()> {
    const SIZE: usize = 16 << 10;
    let Some(disk) = Disk::new(64)? else { return Ok(()) };
    let store = Store::new_in(&disk.path())?;
    // What is not in memory has to be read back.
    let options = [&SEGMENTS[..], &["--queue-memory", "256k"]].concat();
    let scene = store.scene_with(1, &options)?;
    let session = scene.session("client")?;
    declare_durable(&session, "q", 0)?;
    for _ in 0..600 {
        session.send("", &persistent("q", &[b'm'; SIZE]))?;
    }
    session.sync()?;
    // Beyond what is read ahead; the journal has nothing to write meanwhile.
    std::thread::sleep(Duration::from_millis(500));
    disk.break_by(Fault::Io)?;
    match browse(&session, "q").map_err(anyhow::Error::downcast::<Error>) {
        Ok(found) => anyhow::bail!("{} messages came from a broken disk", found.len()),
        Err(error) => lost(error?)?,
    }
    failed(scene.broker.ended(PATIENCE)?, "read", true)?;
    disk.heal()?;
    let scene = store.scene_with(1, &options)?;
    said(&scene, |scene| {
        let found = browse(&scene.session("reader")?, "q")?;
        ensure!(found.len() == 600, "{} are left", found.len());
        ensure!(found.iter().all(|d| d.body() == [b'm'; SIZE]), "a body has changed");
        Ok(())
    })?;
    scene.done()
}

/// One line with the path, and exit status 1.
fn refused(store: &Store, words: &[&str]) -> Result<()> {
    let (status, errors) = store.refused(2, &SEGMENTS)?;
    ensure!(status.code() == Some(1), "ended with {status}: {errors}");
    // The log is there too; what is said is one line.
    let said: Vec<&str> = errors.lines().filter(|line| line.starts_with("fletchd: ")).collect();
    let [line] = said[..] else { anyhow::bail!("not one line but {said:?} in:\n{errors}") };
    for word in words {
        ensure!(line.contains(word), "no {word} in: {line}");
    }
    ensure!(!errors.contains("panicked"), "{errors}");
    Ok(())
}

fn path_of(path: &Path) -> String {
    path.display().to_string()
}

/// A store with 1,000 messages on a disk of its own, and no broker on it.
fn stored() -> Result<Option<(Disk, Store)>> {
    let Some(disk) = Disk::new(48)? else { return Ok(None) };
    let store = Store::new_in(&disk.path())?;
    let scene = store.scene_with(2, &SEGMENTS)?;
    let session = scene.session("client")?;
    declare_durable(&session, "q", 0)?;
    publish_durable(&session, "q", "m", 0..1000)?;
    drop(session);
    scene.end(Ending::Kill)?;
    Ok(Some((disk, store)))
}

/// The messages are there.
fn complete(store: &Store) -> Result<()> {
    let scene = store.scene_with(2, &SEGMENTS)?;
    said(&scene, |scene| holds(&scene.session("reader")?, "q", 1000, 1000))?;
    scene.done()
}

#[test]
fn a_start_on_a_disk_that_cannot_be_read_says_which_file() -> Result<()> {
    let Some((disk, store)) = stored()? else { return Ok(()) };
    let shard = store.journal().join("g1").join("0");
    let all = files_below(&store.journal())?;
    // All files but one can be had from memory.
    for (name, words) in [("superblock", "cannot read"), ("0000000000000000.seg", "cannot read")] {
        for file in &all {
            std::fs::read(file)?;
        }
        let file = shard.join(name);
        disk.forget(&file)?;
        disk.break_by(Fault::Io)?;
        let failed = refused(&store, &[&path_of(&file), words, "Input/output error"]);
        disk.heal()?;
        failed?;
    }
    complete(&store)
}

#[test]
fn a_start_on_a_disk_that_cannot_be_written_says_so() -> Result<()> {
    let Some((disk, store)) = stored()? else { return Ok(()) };
    disk.read_only(true)?;
    refused(&store, &[&path_of(store.path()), "Read-only file system"])?;
    disk.read_only(false)?;
    complete(&store)
}

#[test]
fn a_start_without_permission_says_which_file() -> Result<()> {
    let Some((disk, store)) = stored()? else { return Ok(()) };
    let file = store.journal().join("g1").join("1").join("superblock");
    disk.immutable(&file, true)?;
    let failed = refused(&store, &[&path_of(&file), "not permitted"]);
    disk.immutable(&file, false)?;
    failed?;
    complete(&store)
}

#[test]
fn a_start_without_room_for_the_first_segments_says_where() -> Result<()> {
    let Some(disk) = Disk::new(48)? else { return Ok(()) };
    let store = Store::new_in(&disk.path())?;
    disk.fill(512 << 10)?;
    refused(&store, &[&path_of(&store.journal()), "No space left"])?;
    // What was begun is not in the way of the next one.
    disk.clear()?;
    let scene = store.scene_with(2, &SEGMENTS)?;
    said(&scene, |scene| declare_durable(&scene.session("client")?, "q", 0))?;
    scene.done()
}
