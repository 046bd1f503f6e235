//! Our own AMQP 1.0 client against the broker.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fletch_client::amqp::v1_0::message::Body;
use fletch_client::v1_0::{
    Condition, Connection, Credit, Failure, Outcome, Outgoing, Receiver, ReceiverOptions, Sender,
    SenderOptions, Session, Terminus,
};
use fletch_client::{ConnectOptions, Error};
use fletch_tests::broker::Broker;

const PATIENCE: Duration = Duration::from_secs(20);
/// Shorter than anything that is to come, longer than it takes to find that nothing does.
const MOMENT: Duration = Duration::from_millis(200);

struct Scene {
    _broker: Broker,
    connection: Connection,
    session: Session,
}

impl Scene {
    fn start() -> Result<Scene> {
        Scene::start_with(&[])
    }

    fn start_with(arguments: &[&str]) -> Result<Scene> {
        let broker = Broker::start(arguments)?;
        let options = ConnectOptions { timeout: PATIENCE, ..ConnectOptions::default() };
        let connection = Connection::connect(broker.address(), &options)?;
        let session = connection.session()?;
        Ok(Scene { _broker: broker, connection, session })
    }

    /// To a queue that is made if it has to be.
    fn sender(&self, queue: &str) -> Result<Sender> {
        let capabilities = vec!["create-on-demand".into(), "queue".into()];
        let target = Terminus { capabilities, ..Terminus::of(queue) };
        Ok(self.session.sender(&SenderOptions { target, ..SenderOptions::default() })?)
    }

    fn receiver(&self, queue: &str) -> Result<Receiver> {
        Ok(self.session.receiver(&ReceiverOptions::of(queue))?)
    }
}

fn body(delivery: &fletch_client::v1_0::Delivery) -> Result<Vec<u8>> {
    match delivery.view()?.body() {
        Body::Data(pieces) => Ok(pieces.joined().into_owned()),
        other => bail!("not octets: {other:?}"),
    }
}

fn next(receiver: &Receiver) -> Result<fletch_client::v1_0::Delivery> {
    receiver.next_delivery(PATIENCE)?.context("no message came")
}

#[test]
fn ten_thousand_messages_come_in_order_and_are_gone_when_accepted() -> Result<()> {
    let scene = Scene::start()?;
    let sender = scene.sender("q")?;
    for number in 0..10_000u32 {
        sender.send(&Outgoing::of_data(&number.to_be_bytes()))?;
    }
    sender.settle()?;
    ensure!(sender.unsettled() == 0 && sender.take_failed().is_empty());
    let receiver = scene.receiver("q")?;
    let mut taken = Vec::new();
    let mut expected = 0..10_000u32;
    while !expected.is_empty() {
        if receiver.take_deliveries(&mut taken) == 0 {
            scene.connection.poll(PATIENCE)?;
        }
        for delivery in taken.drain(..) {
            ensure!(Some(body(&delivery)?) == expected.next().map(|n| n.to_be_bytes().to_vec()));
            receiver.accept(&delivery)?;
        }
    }
    receiver.close()?;
    ensure!(scene.receiver("q")?.next_delivery(MOMENT)?.is_none(), "accepted, and still there");
    scene.session.close()?;
    Ok(scene.connection.close()?)
}

#[test]
fn a_message_of_many_frames_comes_whole() -> Result<()> {
    let scene = Scene::start()?;
    let content: Vec<u8> = (0..5u32 << 20).map(|at| (at % 251) as u8).collect();
    let sender = scene.sender("q")?;
    sender.send(&Outgoing::of_data(&content))?;
    let receiver = scene.receiver("q")?;
    let delivery = next(&receiver)?;
    ensure!(body(&delivery)? == content);
    receiver.accept(&delivery)?;
    Ok(sender.close()?)
}

#[test]
fn draining_ends_when_there_is_no_more_and_leaves_no_credit() -> Result<()> {
    let scene = Scene::start()?;
    let sender = scene.sender("q")?;
    for number in 0..5u8 {
        sender.send(&Outgoing::of_data(&[number]))?;
    }
    sender.settle()?;
    let options = ReceiverOptions { credit: Credit::Once(0), ..ReceiverOptions::of("q") };
    let receiver = scene.session.receiver(&options)?;
    receiver.drain(3)?;
    let mut taken = Vec::new();
    ensure!(receiver.take_deliveries(&mut taken) == 3);
    receiver.drain(100)?;
    ensure!(receiver.take_deliveries(&mut taken) == 2);
    sender.send(&Outgoing::of_data(b"later"))?;
    sender.settle()?;
    ensure!(receiver.next_delivery(MOMENT)?.is_none(), "the credit is still there");
    receiver.drain(100)?;
    ensure!(receiver.take_deliveries(&mut taken) == 1);
    Ok(())
}

/// The queue may be another shard's than the link: then credit can be stated anew while it is still being used up.
#[test]
fn credit_that_is_raised_while_a_link_drains_is_used_up_too() -> Result<()> {
    let scene = Scene::start_with(&["--shards", "4"])?;
    for queue in (0..12).map(|number| format!("q{number}")) {
        let sender = scene.sender(&queue)?;
        for text in [&b"first"[..], b"second"] {
            sender.send(&Outgoing::of_data(text))?;
        }
        sender.settle()?;
        let receiver = scene.receiver(&queue)?;
        receiver.begin_drain(1)?;
        scene.connection.flush()?;
        receiver.drain(2)?;
        for text in [&b"first"[..], b"second"] {
            let delivery = receiver.take_delivery().with_context(|| format!("{queue}: drained"))?;
            ensure!(body(&delivery)? == text);
            receiver.accept(&delivery)?;
        }
        receiver.close()?;
    }
    Ok(())
}

#[test]
fn a_link_to_nowhere_is_refused_and_the_session_lives() -> Result<()> {
    let scene = Scene::start()?;
    for refused in [
        scene.session.sender(&SenderOptions::of("nowhere")).err(),
        scene.session.receiver(&ReceiverOptions::of("nowhere")).err(),
    ] {
        let Some(Error::V1_0(Failure::Refused(Condition { name, text }))) = refused else {
            bail!("not refused: {refused:?}");
        };
        ensure!(name == "amqp:not-found" && text.contains("nowhere"), "{name} {text}");
    }
    scene.sender("q")?.send(&Outgoing::of_data(b"x"))?;
    next(&scene.receiver("q")?).map(drop)
}

#[test]
fn what_is_done_in_a_transaction_is_done_at_its_end_or_not_at_all() -> Result<()> {
    let scene = Scene::start()?;
    let (sender, coordinator) = (scene.sender("q")?, scene.session.coordinator()?);
    let receiver = scene.receiver("q")?;
    let given_up = coordinator.declare()?;
    sender.send_in(&given_up, &Outgoing::of_data(b"never"))?;
    sender.settle()?;
    given_up.rollback()?;
    ensure!(receiver.next_delivery(MOMENT)?.is_none(), "it was rolled back");
    let done = coordinator.declare()?;
    sender.send_in(&done, &Outgoing::of_data(b"there"))?;
    sender.settle()?;
    ensure!(receiver.next_delivery(MOMENT)?.is_none(), "it is not committed");
    done.commit()?;
    let delivery = next(&receiver)?;
    ensure!(body(&delivery)? == b"there");
    // Accepted in one that is given up, and not settled otherwise: it is still ours.
    let given_up = coordinator.declare()?;
    receiver.accept_in(&given_up, &delivery)?;
    scene.connection.flush()?;
    given_up.rollback()?;
    receiver.close()?;
    let receiver = scene.receiver("q")?;
    let delivery = next(&receiver)?;
    ensure!(body(&delivery)? == b"there" && delivery.redelivered()?);
    let done = coordinator.declare()?;
    receiver.accept_in(&done, &delivery)?;
    scene.connection.flush()?;
    done.commit()?;
    receiver.close()?;
    ensure!(scene.receiver("q")?.next_delivery(MOMENT)?.is_none(), "it was accepted");
    Ok(())
}

#[test]
fn a_transaction_that_is_over_cannot_be_ended_again() -> Result<()> {
    let scene = Scene::start()?;
    let transaction = scene.session.coordinator()?.declare()?;
    transaction.clone().commit()?;
    match transaction.commit() {
        Err(Error::V1_0(Failure::Transaction(condition))) => {
            ensure!(condition.name == "amqp:transaction:unknown-id", "{condition}");
            Ok(())
        }
        other => bail!("{other:?}"),
    }
}

#[test]
fn what_is_rejected_is_gone_and_what_is_given_back_comes_again() -> Result<()> {
    let scene = Scene::start()?;
    let sender = scene.sender("q")?;
    for text in ["bad", "good", "ugly"] {
        sender.send(&Outgoing::of_data(text.as_bytes()))?;
    }
    let receiver = scene.receiver("q")?;
    let condition = Condition { name: "test:bad".into(), text: "no good".into() };
    receiver.reject(&next(&receiver)?, condition)?;
    receiver.release(&next(&receiver)?)?;
    receiver.modify(&next(&receiver)?, true, false)?;
    receiver.close()?;
    let receiver = scene.receiver("q")?;
    let mut again = Vec::new();
    for _ in 0..2 {
        let delivery = next(&receiver)?;
        again.push((String::from_utf8(body(&delivery)?)?, delivery.redelivered()?));
        receiver.accept(&delivery)?;
    }
    ensure!(again == [("good".into(), false), ("ugly".into(), true)], "{again:?}");
    ensure!(receiver.next_delivery(MOMENT)?.is_none());
    Ok(())
}

#[test]
fn a_message_that_the_broker_does_not_take_is_said_to_be_rejected() -> Result<()> {
    let scene = Scene::start()?;
    let target = Terminus {
        capabilities: vec!["create-on-demand".into(), "queue".into()],
        properties: vec![
            ("qpid.max_count".into(), fletch_client::amqp::v1_0::types::Value::Int(1)),
            (
                "qpid.policy_type".into(),
                fletch_client::amqp::v1_0::types::Value::String("reject".into()),
            ),
        ],
        ..Terminus::of("small")
    };
    let sender = scene.session.sender(&SenderOptions { target, ..SenderOptions::default() })?;
    let first = sender.send(&Outgoing::of_data(b"fits"))?;
    let second = sender.send(&Outgoing::of_data(b"does not"))?;
    sender.settle()?;
    match &sender.take_failed()[..] {
        [(id, Outcome::Rejected(condition))] => {
            ensure!(*id == second && *id != first, "{condition}");
            Ok(())
        }
        other => bail!("{other:?}"),
    }
}

#[test]
fn a_client_that_says_nothing_keeps_its_connection_alive() -> Result<()> {
    let broker = Broker::start(&[])?;
    let options = ConnectOptions { heartbeat: 1, ..ConnectOptions::default() };
    let connection = Connection::connect(broker.address(), &options)?;
    // Longer than either side waits for the other.
    let over = std::time::Instant::now() + Duration::from_millis(2500);
    while std::time::Instant::now() < over {
        connection.poll(Duration::from_millis(100))?;
    }
    connection.session()?;
    Ok(connection.close()?)
}
