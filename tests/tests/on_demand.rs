//! Nodes that policies make when a client of AMQP 1.0 names them.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fletch_client::v1_0::{
    Connection, Outgoing, Receiver, ReceiverOptions, Sender, SenderOptions, Session, Terminus,
};
use fletch_client::{ConnectOptions, Error};
use fletch_tests::broker::Broker;

const PATIENCE: Duration = Duration::from_secs(20);
/// Shorter than anything that is to come, longer than it takes to find that nothing does.
const MOMENT: Duration = Duration::from_millis(200);

fn connect(broker: &Broker) -> Result<Session> {
    let options = ConnectOptions { timeout: PATIENCE, ..ConnectOptions::default() };
    Ok(Connection::connect(broker.address(), &options)?.session()?)
}

fn sender(session: &Session, name: &str) -> Result<Sender, Error> {
    let target = Terminus::of(name);
    session.sender(&SenderOptions { target, ..SenderOptions::default() })
}

fn receiver(session: &Session, name: &str) -> Result<Receiver, Error> {
    session.receiver(&ReceiverOptions::of(name))
}

fn send(sender: &Sender, count: usize) -> Result<()> {
    for _ in 0..count {
        sender.send(&Outgoing::of_data(b"something"))?;
    }
    sender.settle()?;
    ensure!(sender.take_failed().is_empty(), "refused");
    Ok(())
}

fn take(receiver: &Receiver, count: usize) -> Result<()> {
    for _ in 0..count {
        let delivery = receiver.next_delivery(PATIENCE)?.context("no message came")?;
        receiver.accept(&delivery)?;
    }
    ensure!(receiver.next_delivery(MOMENT)?.is_none(), "one too many");
    Ok(())
}

#[test]
fn patterns_make_queues_and_topics() -> Result<()> {
    for shards in ["1", "2"] {
        let patterns = ["--queue-patterns", "^q[.]", "--topic-patterns", "^t[.]"];
        let more = ["--queue-patterns", "^t[.]queues[.]", "--shards", shards];
        let broker = Broker::start(&[patterns, more].concat())?;
        let (one, other) = (connect(&broker)?, connect(&broker)?);
        let refused = sender(&one, "other").err().context("made without a pattern")?;
        ensure!(refused.to_string().contains("Node not found: other"), "{refused}");
        // A queue keeps what nobody reads yet; the longest pattern says what is made.
        for name in ["q.1", "t.queues.1"] {
            let publisher = sender(&one, name)?;
            send(&publisher, 3)?;
            publisher.close()?;
            let consumer = receiver(&other, name)?;
            take(&consumer, 3)?;
            consumer.close()?;
        }
        // A topic gives to each who is there.
        let subscribers = [receiver(&one, "t.1")?, receiver(&other, "t.1")?];
        let publisher = sender(&other, "t.1")?;
        send(&publisher, 2)?;
        for subscriber in subscribers {
            take(&subscriber, 2)?;
            subscriber.close()?;
        }
    }
    Ok(())
}
