//! SIGTERM while durable messages are published and taken as fast as they can be: the stop is in time and clean, which is
//! what the journals say, and the next broker finds all that was confirmed.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fletch_client::{ConnectOptions, Error, Session};
use fletch_tests::broker::bin_dir;
use fletch_tests::scene::*;
use fletch_tests::store::*;
use rustix::process::Signal;

/// Seconds of `--stop-timeout`; far more than a stop takes.
const TIMEOUT: &str = "10";

/// The end of a client: the broker closed its connection, in order, or the socket behind it.
fn closed(error: anyhow::Error) -> Result<()> {
    match error.downcast::<Error>()? {
        Error::Closed { .. } | Error::Lost | Error::Io(_) => Ok(()),
        error => bail!("the broker should have ended the connection: {error}"),
    }
}

/// Publishes batches, each confirmed, to the end: `confirmed` counts messages.
fn publish_batches(session: &Session, queue: &str, confirmed: &AtomicUsize) -> Result<()> {
    loop {
        let from = confirmed.load(Ordering::Relaxed);
        publish_durable(session, queue, "m", from..from + 50)?;
        confirmed.store(from + 50, Ordering::Relaxed);
    }
}

/// Publishes large messages and waits for nothing.
fn flood(scene: &Scene) -> Result<()> {
    let options = ConnectOptions { send_window: u32::MAX, ..Default::default() };
    let session = scene.connect_with(&options)?.session("floods", true)?;
    let body = vec![b'.'; 40 << 10];
    loop {
        session.send("", &persistent("flooded", &body))?;
    }
}

/// Takes what the flood brings.
fn take_flood(scene: &Scene) -> Result<()> {
    let session = scene.session("takes")?;
    session.consume("flooded", "in", 500)?;
    loop {
        session.accept(next(&session)?.id)?;
    }
}

/// What `fletch journal verify` says of every shard.
fn verified(store: &Store) -> Result<Vec<String>> {
    let mut command = Command::new(bin_dir()?.join("fletch"));
    let output = command.arg("journal").arg("verify").arg(store.journal()).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
}

#[test]
fn a_stop_under_load_is_clean_and_in_time() -> Result<()> {
    for shards in [1, 2, 4] {
        let store = Store::new()?;
        // The flood may be more than the broker's own limit of a queue.
        let options = ["--stop-timeout", TIMEOUT, "--default-queue-limit", "0"];
        let scene = store.scene_with(shards, &options)?;
        let confirmed = AtomicUsize::new(0);
        let took = said(&scene, |scene| {
            let setup = scene.session("setup")?;
            declare_durable(&setup, "q", shards - 1)?;
            declare_durable(&setup, "flooded", 0)?;
            drop(setup);
            std::thread::scope(|scope| -> Result<Duration> {
                let batches = || publish_batches(&scene.session("batches")?, "q", &confirmed);
                let clients = [
                    scope.spawn(batches),
                    scope.spawn(|| flood(scene)),
                    scope.spawn(|| take_flood(scene)),
                ];
                std::thread::sleep(Duration::from_millis(600));
                scene.broker.signal(Signal::TERM)?;
                let asked = Instant::now();
                for client in clients {
                    match client.join().expect("a client") {
                        Ok(()) => bail!("a client has nothing more to do"),
                        Err(error) => closed(error)?,
                    }
                }
                Ok(asked.elapsed())
            })
        })?;
        let stopping = Instant::now();
        let (status, log) = scene.broker.ended(PATIENCE)?;
        let took = took + stopping.elapsed();
        ensure!(status.success(), "ended with {status}:\n{log}");
        ensure!(took < Duration::from_secs(5), "the stop took {took:?}");
        ensure!(!log.contains("did not stop"), "{log}");
        let said_of = verified(&store)?;
        ensure!(said_of.len() == usize::from(shards), "{said_of:?}");
        ensure!(said_of.iter().all(|line| line.contains(": sound, closed;")), "{said_of:?}");

        let scene = store.scene(shards)?;
        said(&scene, |scene| {
            ensure!(!scene.broker.log().contains("dropped"), "a clean stop leaves nothing to cut");
            let confirmed = confirmed.into_inner();
            ensure!(confirmed >= 100, "{confirmed} were confirmed");
            let found = texts(&browse(&scene.session("reader")?, "q")?);
            ensure!(found.len() >= confirmed, "{} of {confirmed} are there", found.len());
            assert_eq!(found, expected("m", 0..found.len()));
            Ok(())
        })
        .with_context(|| format!("{shards} shards"))?;
        scene.done()?;
    }
    Ok(())
}
