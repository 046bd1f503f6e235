//! Messages there and back: order, settlement modes, size.

use anyhow::{Result, ensure};
use fe2o3_amqp::link::delivery::Sendable;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::types::definitions::{ReceiverSettleMode, SenderSettleMode};
use fe2o3_amqp::types::messaging::{Batch, Body, Data, Message};
use fe2o3_amqp::types::primitives::{Binary, Value};
use fe2o3_amqp::{Receiver, Sender};

use crate::scene::{
    Check, Scene, check, equal, message, next, numbers, queue, send_all, take, text, value, values,
    within,
};

const COUNT: usize = 10_000;
const LARGE: usize = 64 << 20;

pub fn checks() -> Vec<Check> {
    vec![
        check!("order", order),
        check!("settle-presettled", presettled),
        check!("settle-unsettled", unsettled),
        check!("settle-mixed", mixed),
        check!("settle-second", second),
        check!("large", large).within(60),
        check!("many-links", many_links),
    ]
}

async fn order(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let texts: Vec<Value> = (0..COUNT).map(|n| text(&format!("message {n}"))).collect();
    client.fill("order", texts.clone()).await?;
    let builder = Receiver::builder().name("order").source(queue("order"));
    // The client gives credit itself, as messages are settled.
    let attach = builder.credit_mode(CreditMode::Auto(500)).attach(&mut client.session);
    let mut receiver = within("attaching", attach).await?;
    for wanted in texts {
        let came = next(&mut receiver).await?;
        equal(value(&came), wanted, "body")?;
        receiver.accept(&came).await?;
    }
    within("closing", receiver.close()).await?;
    equal(scene.left("order").await?, vec![], "what is left")
}

/// A thousand messages in this mode, there and back.
async fn both_ways(scene: &Scene, name: &str, mode: SenderSettleMode) -> Result<()> {
    let mut client = scene.connect().await?;
    let builder = Sender::builder().name("sender").target(queue(name));
    let attach = builder.sender_settle_mode(mode.clone()).attach(&mut client.session);
    let mut sender = within("attaching", attach).await?;
    let messages = numbers(0..1000).into_iter().map(message);
    if mode == SenderSettleMode::Settled {
        for message in messages {
            within("sending", sender.send(message)).await?;
        }
    } else {
        send_all(&mut sender, messages.collect()).await?;
    }
    let builder = Receiver::builder().name("receiver").source(queue(name));
    let builder = builder.sender_settle_mode(mode.clone()).credit_mode(CreditMode::Manual);
    let mut receiver = within("attaching", builder.attach(&mut client.session)).await?;
    receiver.set_credit(1000).await?;
    for wanted in numbers(0..1000) {
        let came = next(&mut receiver).await?;
        equal(value(&came), wanted, "body")?;
        if mode != SenderSettleMode::Settled {
            receiver.accept(&came).await?;
        }
    }
    within("closing", sender.close()).await?;
    within("closing", receiver.close()).await?;
    equal(scene.left(name).await?, vec![], "what is left")
}

async fn presettled(scene: Scene) -> Result<()> {
    both_ways(&scene, "settle-presettled", SenderSettleMode::Settled).await
}

async fn unsettled(scene: Scene) -> Result<()> {
    both_ways(&scene, "settle-unsettled", SenderSettleMode::Unsettled).await
}

async fn mixed(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let mut sender = client.sender(&queue("settle-mixed")).await?;
    for (number, value) in numbers(0..400).into_iter().enumerate() {
        let sendable = Sendable::builder().message(message(value)).settled(number % 2 == 0);
        within("sending", sender.send(sendable.build())).await?;
    }
    let mut receiver = client.receiver(&queue("settle-mixed"), 400).await?;
    let came = take(&mut receiver, 400).await?;
    equal(values(&came), numbers(0..400), "bodies")?;
    receiver.accept_all(&came).await?;
    within("closing", receiver.close()).await?;
    equal(scene.left("settle-mixed").await?, vec![], "what is left")
}

/// The receiver settles when the broker has.
async fn second(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    client.fill("settle-second", numbers(0..100)).await?;
    let builder = Receiver::builder().name("receiver").source(queue("settle-second"));
    let builder = builder.receiver_settle_mode(ReceiverSettleMode::Second);
    let builder = builder.credit_mode(CreditMode::Manual);
    let mut receiver = within("attaching", builder.attach(&mut client.session)).await?;
    receiver.set_credit(100).await?;
    let came = take(&mut receiver, 100).await?;
    equal(values(&came), numbers(0..100), "bodies")?;
    for each in &came {
        within("accepting", receiver.accept(each)).await?;
    }
    within("closing", receiver.close()).await?;
    equal(scene.left("settle-second").await?, vec![], "what is left")
}

/// No checksum here: the octets are compared with what was sent.
async fn large(scene: Scene) -> Result<()> {
    let mut state = 1u64;
    let mut content = Vec::with_capacity(LARGE);
    while content.len() < LARGE {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        content.extend_from_slice(&state.to_be_bytes());
    }
    let mut client = scene.connect_as("fe2o3-large", 16 << 10).await?;
    let mut sender = client.sender(&queue("large")).await?;
    let data: Body<Value> = Body::Data(Batch::new(vec![Data(Binary::from(content.clone()))]));
    let outcome = within("sending", sender.send(Message::builder().body(data).build())).await?;
    ensure!(outcome.is_accepted(), "not accepted but {outcome:?}");
    let mut receiver = client.receiver(&queue("large"), 1).await?;
    let came = next(&mut receiver).await?;
    receiver.accept(&came).await?;
    let Body::Data(found) = came.into_body() else { anyhow::bail!("no data") };
    let found: Vec<u8> = found.into_iter().flat_map(|data| data.0.into_vec()).collect();
    equal(found.len(), LARGE, "length")?;
    ensure!(found == content, "other octets");
    Ok(())
}

/// A hundred senders on one session, mixed.
async fn many_links(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let mut senders = Vec::new();
    for _ in 0..100 {
        senders.push(client.sender(&queue("many-links")).await?);
    }
    for turn in 0..10 {
        for sender in &mut senders {
            send_all(sender, vec![message(Value::Long(turn))]).await?;
        }
    }
    equal(scene.left("many-links").await?.len(), 1000, "messages")
}
