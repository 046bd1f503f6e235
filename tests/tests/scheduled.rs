//! Messages of 0-10 that say when they are due, by the headers that are message annotations of 1.0: nobody gets them before,
//! a restart included.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use fletch_amqp::types::{Map, Value};
use fletch_amqp::v0_10::CreditUnit;
use fletch_client::Session;
use fletch_tests::scene::*;
use fletch_tests::store::*;

/// Longer than what a test does before it looks, on a busy machine.
const DELAY: Duration = Duration::from_millis(1500);
const DELAYED: &str = "x-opt-delivery-delay";
const AT: &str = "x-opt-delivery-time";

fn milliseconds(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

fn now() -> Result<Duration> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?)
}

/// Publishes a persistent message with a header, which the broker has then.
fn send(
    session: &Session,
    queue: &str,
    body: &str,
    header: (&str, impl Into<Value>),
) -> Result<()> {
    let headers = Map::new().with(header.0, header.1).encoded()?;
    let mut message = persistent(queue, body.as_bytes());
    message.message.application_headers = Some(headers.view());
    session.send("", &message)?;
    Ok(session.sync()?)
}

#[test]
fn a_message_comes_when_it_is_due() -> Result<()> {
    Scene::each(|scene| {
        let session = scene.session("publisher")?;
        for home in scene.homes() {
            let name = format!("q{home}");
            declare(&session, &name, home)?;
            consume(&session, &name, &name, CreditUnit::UNLIMITED)?;
            let (start, due) = (Instant::now(), now()? + DELAY);
            send(&session, &name, "delayed", (DELAYED, milliseconds(DELAY)))?;
            send(&session, &name, "at", (AT, milliseconds(due)))?;
            send(&session, &name, "past", (AT, 1i64))?;
            send(&session, &name, "now", (DELAYED, 0i64))?;
            ensure!(texts(&take(&session, 2)?) == ["past", "now"]);
            ensure!(start.elapsed() < DELAY, "the machine is too slow to tell");
            ensure!(query(&session, &name)?.is_some_and(|(available, _)| available == 0));
            let mut late = texts(&take(&session, 2)?);
            ensure!(now()? >= due, "a message came before it was due");
            late.sort_unstable();
            ensure!(late == ["at", "delayed"], "{late:?}");
        }
        session.close()?;
        Ok(())
    })
}

#[test]
fn a_restart_neither_hastens_nor_loses_it() -> Result<()> {
    for ending in [Ending::Stop, Ending::Kill] {
        let store = Store::new()?;
        let scene = store.scene(2)?;
        let due = said(&scene, |scene| {
            let session = scene.session("publisher")?;
            declare_durable(&session, "q", 1)?;
            let due = now()? + 2 * DELAY;
            send(&session, "q", "at", (AT, milliseconds(due)))?;
            send(&session, "q", "delayed", (DELAYED, milliseconds(2 * DELAY)))?;
            Ok(due)
        })?;
        scene.end(ending)?;
        let scene = store.scene(2)?;
        said(&scene, |scene| {
            let session = scene.session("consumer")?;
            consume(&session, "q", "c", CreditUnit::UNLIMITED)?;
            let early = session.take_delivery();
            ensure!(early.is_none() || now()? >= due, "it came before it was due");
            let mut came = texts(&early.into_iter().collect::<Vec<_>>());
            came.extend(texts(&take(&session, 2 - came.len())?));
            ensure!(now()? >= due, "it came before it was due");
            came.sort_unstable();
            ensure!(came == ["at", "delayed"], "{came:?}");
            Ok(())
        })?;
        scene.done()?;
    }
    Ok(())
}
