//! Clients that publish durable messages faster than the disk takes them and wait for nothing: what the broker holds of
//! them is bounded, nobody else notices, and all of it is stored when the disk goes on.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use fletch_client::{ConnectOptions, Session};
use fletch_tests::disk::Disk;
use fletch_tests::scene::*;
use fletch_tests::store::*;

/// A connection that sends on and on, and a heartbeat each second.
fn careless(scene: &Scene, name: &str) -> Result<Session> {
    let options = ConnectOptions { send_window: u32::MAX, heartbeat: 1, ..Default::default() };
    Ok(scene.connect_with(&options)?.session(name, true)?)
}

/// Resident memory when it grows no more.
fn grown(scene: &Scene) -> Result<u64> {
    let mut highest = 0;
    let deadline = Instant::now() + PATIENCE;
    let mut since = Instant::now();
    while since.elapsed() < Duration::from_secs(1) {
        let now = scene.broker.counters()?.resident;
        if now > highest + (64 << 10) {
            (highest, since) = (now, Instant::now());
        }
        ensure!(Instant::now() < deadline, "it grows and grows: {now}");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(highest)
}

/// While the disk stands still two connections publish messages, all in all far more than `bound` bytes of memory would
/// hold; while they are held up others are served, and so are the deliveries of the very same connections.
fn held_up(shards: u16, size: usize, count: usize, bound: u64) -> Result<()> {
    let Some(disk) = Disk::new(224)? else { return Ok(()) };
    let store = Store::new_in(&disk.path())?;
    let scene = store.scene_with(shards, &["--journal-segment-size", "8m"])?;
    said(&scene, |scene| {
        let setup = scene.session("setup")?;
        for name in ["q0", "q1"] {
            declare_durable(&setup, name, shards - 1)?;
        }
        for name in ["t0", "t1", "t2"] {
            declare(&setup, name, shards - 1)?;
        }
        let before = scene.broker.counters()?.resident;
        let body = vec![b'.'; size];
        disk.freeze()?;
        std::thread::scope(|scope| {
            let publishers: Vec<_> = (0..2)
                .map(|number| {
                    let body = &body;
                    scope.spawn(move || -> Result<()> {
                        let session = careless(scene, &format!("floods {number}"))?;
                        consume(&session, &format!("t{number}"), "in", 10)?;
                        let queue = format!("q{number}");
                        for _ in 0..count {
                            session.send("", &persistent(&queue, body))?;
                        }
                        for came in take(&session, 10)? {
                            session.accept(came.id)?;
                        }
                        Ok(session.sync()?)
                    })
                })
                .collect();
            let checked = (|| {
                let began = Instant::now();
                let after = grown(scene)?;
                let held = after.saturating_sub(before);
                eprintln!(
                    "{count} x 2 messages of {size} octets on {shards} shards: {held} octets held"
                );
                ensure!(held < bound, "{held} octets are held, {bound} would be fine");
                ensure!(held > bound / 8, "{held} octets are next to nothing: nobody is held up");
                let others = scene.session("others")?;
                publish(&others, "t2", "m", 0..100)?;
                assert_eq!(texts(&drain(&others, "t2")?), expected("m", 0..100));
                for name in ["t0", "t1"] {
                    publish(&others, name, "m", 0..10)?;
                    // They are on their way though their connections are not read.
                    settle(&others, name, |found| found == Some((0, 1)))?;
                }
                // Longer than a peer may be silent.
                std::thread::sleep(Duration::from_millis(3500).saturating_sub(began.elapsed()));
                Ok(())
            })();
            // Whatever was found, the publishers have to come to an end.
            disk.thaw()?;
            let published: Result<()> =
                publishers.into_iter().enumerate().try_for_each(|(number, thread)| {
                    thread.join().expect("a publisher").context(number)
                });
            checked.and(published)
        })?;
        for name in ["q0", "q1"] {
            assert_eq!(query(&setup, name)?, Some((count as u32, 0)));
        }
        Ok(())
    })?;
    scene.end(Ending::Kill)?;
    let scene = store.scene_with(shards, &["--journal-segment-size", "8m"])?;
    said(&scene, |scene| {
        let session = scene.session("reader")?;
        for name in ["q0", "q1"] {
            assert_eq!(query(&session, name)?, Some((count as u32, 0)));
        }
        Ok(())
    })?;
    scene.done()
}

#[test]
fn large_messages_are_bounded_by_their_octets() -> Result<()> {
    // 2 x 16 MiB, a quarter more because of the sizes memory comes in, and what is in buffers on the way.
    for shards in [1, 2] {
        held_up(shards, 64 << 10, 1200, 80 << 20)?;
    }
    Ok(())
}

#[test]
fn small_messages_are_bounded_by_their_number() -> Result<()> {
    for shards in [1, 2] {
        held_up(shards, 16, 200_000, 64 << 20)?;
    }
    Ok(())
}
