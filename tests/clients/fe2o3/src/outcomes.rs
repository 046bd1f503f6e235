//! What a receiver makes of a message, and what becomes of the message then.

use std::collections::BTreeSet;

use anyhow::Result;
use fe2o3_amqp::Receiver;
use fe2o3_amqp::types::definitions::{AmqpError, Error, Fields};
use fe2o3_amqp::types::messaging::Modified;
use fe2o3_amqp::types::primitives::{Symbol, Value};

use crate::scene::{
    Came, Check, Client, Scene, check, count, equal, next, nothing, numbers, queue, take, text,
    value, values, within,
};

pub fn checks() -> Vec<Check> {
    vec![
        check!("outcome-accepted", accepted),
        check!("outcome-rejected", rejected),
        check!("outcome-rejected-alternate", alternate)
            .needing(&[("outcome-rejected-alternate", r#"{"alternate-exchange": "amq.fanout"}"#)]),
        check!("outcome-released", released),
        check!("outcome-released-order", released_order),
        check!("outcome-modified", modified),
        check!("outcome-undeliverable-here", undeliverable_here),
        check!("outcome-none", none),
        check!("competing", competing),
    ]
}

/// A receiver that was given the only message of its queue.
async fn one(scene: &Scene, name: &str) -> Result<(Client, Receiver, Came)> {
    let mut client = scene.connect().await?;
    client.fill(name, vec![text("first")]).await?;
    let mut receiver = client.receiver(&queue(name), 1).await?;
    let came = next(&mut receiver).await?;
    equal(count(came.message()), 0, "delivery-count")?;
    Ok((client, receiver, came))
}

async fn gone(scene: &Scene, receiver: Receiver, name: &str) -> Result<()> {
    within("closing", receiver.close()).await?;
    equal(scene.left(name).await?, vec![], "what is left")
}

async fn accepted(scene: Scene) -> Result<()> {
    let (_client, receiver, came) = one(&scene, "outcome-accepted").await?;
    let first = came.message().header.as_ref().is_some_and(|header| header.first_acquirer);
    equal(first, true, "first-acquirer")?;
    receiver.accept(&came).await?;
    gone(&scene, receiver, "outcome-accepted").await
}

async fn rejected(scene: Scene) -> Result<()> {
    let (_client, receiver, came) = one(&scene, "outcome-rejected").await?;
    let why = Error::new(AmqpError::DecodeError, "cannot be read".to_owned(), None);
    receiver.reject(&came, why).await?;
    gone(&scene, receiver, "outcome-rejected").await
}

async fn alternate(scene: Scene) -> Result<()> {
    let mut other = scene.connect().await?;
    let mut dead = other.receiver("amq.fanout", 10).await?;
    let (_client, receiver, came) = one(&scene, "outcome-rejected-alternate").await?;
    receiver.reject(&came, None).await?;
    equal(value(&next(&mut dead).await?), text("first"), "body")
}

async fn released(scene: Scene) -> Result<()> {
    let (_client, mut receiver, came) = one(&scene, "outcome-released").await?;
    receiver.release(&came).await?;
    receiver.set_credit(1).await?;
    let again = next(&mut receiver).await?;
    equal(value(&again), text("first"), "body")?;
    equal(count(again.message()), 0, "delivery-count of a released message")?;
    receiver.accept(&again).await?;
    gone(&scene, receiver, "outcome-released").await
}

/// Released messages come back in their places.
async fn released_order(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    client.fill("outcome-released-order", numbers(0..20)).await?;
    let mut receiver = client.receiver(&queue("outcome-released-order"), 10).await?;
    let came = take(&mut receiver, 10).await?;
    receiver.release_all(&came).await?;
    within("closing", receiver.close()).await?;
    equal(scene.left("outcome-released-order").await?, numbers(0..20), "order")
}

async fn modified(scene: Scene) -> Result<()> {
    let (_client, mut receiver, mut came) = one(&scene, "outcome-modified").await?;
    let key = Symbol::from("x-try");
    for tries in 1..4u32 {
        let mut annotations = Fields::new();
        annotations.insert(key.clone(), Value::Uint(tries));
        let how = Modified {
            delivery_failed: Some(true),
            undeliverable_here: None,
            message_annotations: Some(annotations),
        };
        receiver.modify(&came, how).await?;
        receiver.set_credit(1).await?;
        came = next(&mut receiver).await?;
        equal(value(&came), text("first"), "body")?;
        equal(count(came.message()), tries, "delivery-count")?;
        let found = came.message().message_annotations.as_ref();
        let found = found.and_then(|found| found.0.values().next().cloned());
        equal(found, Some(Value::Uint(tries)), "annotation")?;
    }
    receiver.accept(&came).await?;
    Ok(())
}

/// Not to this link again; to another it may go.
async fn undeliverable_here(scene: Scene) -> Result<()> {
    let name = "outcome-undeliverable-here";
    let (mut client, mut receiver, came) = one(&scene, name).await?;
    let how = Modified {
        delivery_failed: Some(true),
        undeliverable_here: Some(true),
        message_annotations: None,
    };
    receiver.modify(&came, how).await?;
    receiver.set_credit(1).await?;
    nothing(&mut receiver).await?;
    let mut other = client.receiver(&queue(name), 1).await?;
    let again = next(&mut other).await?;
    equal((value(&again), count(again.message())), (text("first"), 1), "body, delivery-count")?;
    other.accept(&again).await?;
    Ok(())
}

/// Messages of a link that is closed without an outcome are another's.
async fn none(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    client.fill("outcome-none", numbers(0..10)).await?;
    let mut receiver = client.receiver(&queue("outcome-none"), 10).await?;
    take(&mut receiver, 10).await?;
    within("closing", receiver.close()).await?;
    let again = scene.contents("outcome-none").await?;
    let counts: Vec<u32> = again.iter().map(count).collect();
    equal(counts, vec![1; 10], "delivery-counts")
}

/// Two receivers share the messages of a queue; neither gets what the other has.
async fn competing(scene: Scene) -> Result<()> {
    let mut clients = [scene.connect().await?, scene.connect().await?];
    let mut receivers = Vec::new();
    for client in &mut clients {
        receivers.push(client.receiver(&queue("competing"), 0).await?);
    }
    scene.connect().await?.fill("competing", numbers(0..1000)).await?;
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        for receiver in &mut receivers {
            receiver.set_credit(25).await?;
            let came = take(receiver, 25).await?;
            seen.extend(values(&came));
            receiver.accept_all(&came).await?;
        }
    }
    equal(seen.into_iter().collect(), numbers(0..1000), "all of them, once")
}
