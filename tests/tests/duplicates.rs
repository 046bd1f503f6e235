//! Queues that take no message twice (`fletch.dedup_window`): clients of both protocols that publish again what they are
//! not sure of, also after the broker was killed.

use std::time::Duration;

use anyhow::{Result, ensure};
use fletch_amqp::types::{Map, Uuid, Value};
use fletch_amqp::v0_10::ErrorCode;
use fletch_amqp::v0_10::table::queue;
use fletch_amqp::v1_0::table::{Header, Properties};
use fletch_amqp::v1_0::types::ValueRef;
use fletch_client::v1_0::{self, SenderOptions};
use fletch_client::{ConnectOptions, Outgoing, Session};
use fletch_tests::scene::*;
use fletch_tests::store::*;

fn declare_remembering(session: &Session, name: &str, window: impl Into<Value>) -> Result<()> {
    let arguments = Map::new().with("fletch.dedup_window", window).encoded()?;
    let (arguments, durable) = (Some(arguments.view()), true);
    let declare = queue::Declare { queue: Some(name), durable, arguments, ..Default::default() };
    session.call(&declare.into())?;
    Ok(())
}

fn id(number: u16) -> Uuid {
    let mut octets = [0x5a; 16];
    octets[..2].copy_from_slice(&number.to_be_bytes());
    Uuid(octets)
}

/// Publishes by 0-10, which the broker accepts.
fn send(session: &Session, queue: &str, numbers: impl IntoIterator<Item = u16>) -> Result<()> {
    for number in numbers {
        let body = number.to_string();
        let mut message = persistent(queue, body.as_bytes());
        message.message.message_id = Some(id(number));
        session.send("", &message)?;
    }
    Ok(session.sync()?)
}

/// The same by 1.0, whose ids are the texts of the others.
fn send_1_0(scene: &Scene, queue: &str, numbers: impl IntoIterator<Item = u16>) -> Result<()> {
    let options = ConnectOptions { timeout: PATIENCE, ..ConnectOptions::default() };
    let connection = v1_0::Connection::connect(scene.broker.address(), &options)?;
    let session = connection.session()?;
    let sender = session.sender(&SenderOptions::of(queue))?;
    for number in numbers {
        let (body, text) = (number.to_string(), id(number).to_string());
        let mut message = v1_0::Outgoing::of_data(body.as_bytes());
        message.header = Header { durable: true, ..Header::default() };
        message.properties =
            Properties { message_id: Some(ValueRef::of_str(&text)), ..Properties::default() };
        sender.send(&message)?;
    }
    sender.settle()?;
    ensure!(sender.take_failed().is_empty(), "a duplicate was not accepted");
    session.close()?;
    Ok(connection.close()?)
}

fn bodies(session: &Session, queue: &str) -> Result<Vec<String>> {
    Ok(texts(&browse(session, queue)?))
}

#[test]
fn one_id_is_one_message_in_either_protocol() -> Result<()> {
    Scene::each(|scene| {
        let session = scene.session("publisher")?;
        declare_remembering(&session, "q", 100)?;
        send(&session, "q", [1, 2])?;
        send_1_0(scene, "q", [1, 3])?;
        send(&session, "q", [3, 4])?;
        ensure!(bodies(&session, "q")? == ["1", "2", "3", "4"]);
        ensure!(texts(&drain(&session, "q")?) == ["1", "2", "3", "4"]);
        send(&session, "q", [1, 2, 3])?;
        send_1_0(scene, "q", [4])?;
        ensure!(bodies(&session, "q")?.is_empty(), "it was consumed, and came again");
        // Without an id, every message is another one.
        publish(&session, "q", "m", 0..2)?;
        publish(&session, "q", "m", 0..2)?;
        ensure!(bodies(&session, "q")?.len() == 4);
        session.close()?;
        Ok(())
    })
}

#[test]
fn a_window_that_makes_no_sense_is_refused() -> Result<()> {
    Scene::each(|scene| {
        let looker = scene.session("looker")?;
        let wrong: [Value; 4] = [0.into(), "many".into(), 1_000_001.into(), Value::Double(2.0)];
        for window in wrong {
            let session = scene.session("declarer")?;
            let code = code_of(declare_remembering(&session, "q", window))?;
            ensure!(code == ErrorCode::INVALID_ARGUMENT, "{code:?}");
            ensure!(query(&looker, "q")?.is_none(), "it was refused, and is there");
        }
        declare_remembering(&looker, "q", "7")
    })
}

#[test]
fn a_restart_forgets_none() -> Result<()> {
    Store::restarts(
        |scene| {
            let session = scene.session("publisher")?;
            declare_remembering(&session, "q", 100)?;
            send(&session, "q", 1..=4)?;
            let taken = {
                consume(&session, "q", "c", 2)?;
                take(&session, 2)?
            };
            accept(&session, &taken.iter().map(|d| d.id).collect::<Vec<_>>())?;
            send_1_0(scene, "q", 5..=6)
        },
        |scene, ()| {
            let session = scene.session("publisher")?;
            send(&session, "q", 1..=7)?;
            send_1_0(scene, "q", 1..=8)?;
            let found = bodies(&session, "q")?;
            ensure!(found == ["3", "4", "5", "6", "7", "8"], "{found:?}");
            Ok(())
        },
    )
}

#[test]
fn ids_outlive_the_segments_they_were_written_to() -> Result<()> {
    let options = ["--journal-segment-size", "1m"];
    let store = Store::new()?;
    let scene = store.scene_with(2, &options)?;
    said(&scene, |scene| {
        let session = scene.session("publisher")?;
        declare_remembering(&session, "q", 500)?;
        let body = vec![b'x'; 8000];
        for number in 0..2000 {
            let mut message = persistent("q", &body);
            message.message.message_id = Some(id(number));
            session.send("", &message)?;
            if number % 100 == 99 {
                session.sync()?;
                ensure!(drain(&session, "q")?.len() == 100);
            }
        }
        Ok(())
    })?;
    // 16 MB were written, and the journal is far smaller.
    std::thread::sleep(Duration::from_millis(200));
    let size = size_of(&store.journal())?;
    ensure!(size < 14 << 20, "the journal has {size} octets");
    scene.end(Ending::Kill)?;
    let scene = store.scene_with(2, &options)?;
    said(&scene, |scene| {
        let session = scene.session("publisher")?;
        send(&session, "q", 1500..2000)?;
        let found = bodies(&session, "q")?;
        ensure!(found.is_empty(), "{} came again: {:?}", found.len(), found.first());
        send(&session, "q", 0..500)?;
        ensure!(bodies(&session, "q")?.len() == 500, "those were forgotten long ago");
        Ok(())
    })?;
    scene.done()
}

#[test]
fn what_a_killed_broker_had_not_confirmed_comes_once() -> Result<()> {
    let store = Store::new()?;
    let mut sent = 0;
    for life in 0..6 {
        let scene = store.scene(2)?;
        if life == 0 {
            declare_remembering(&scene.session("declarer")?, "q", 10_000)?;
        }
        // Everything of before again, which was confirmed or was not.
        let again = scene.session("again")?;
        send(&again, "q", 0..sent)?;
        let found = bodies(&again, "q")?;
        let expected: Vec<String> = (0..sent).map(|n| n.to_string()).collect();
        let mut sorted = found.clone();
        sorted.sort_by_key(|text| text.parse::<u32>().unwrap_or(u32::MAX));
        ensure!(sorted == expected, "life {life}: {} of {sent} in {found:?}", found.len());
        let session = scene.session("publisher")?;
        for number in sent..sent + 200 {
            let body = number.to_string();
            let mut message = Outgoing { body: body.as_bytes(), ..persistent("q", b"") };
            message.message.message_id = Some(id(number));
            session.send("", &message)?;
        }
        session.flush()?;
        std::thread::sleep(Duration::from_millis(u64::from(sent % 7)));
        sent += 200;
        scene.end(Ending::Kill)?;
    }
    Ok(())
}
