//! Local transactions through the coordinator: sends and outcomes, committed and rolled back.

use std::time::Duration;

use anyhow::{Result, ensure};
use fe2o3_amqp::transaction::{
    Controller, Transaction, TransactionDischarge, TransactionPosting, TransactionRetirement,
};
use fe2o3_amqp::types::primitives::Value;
use tokio::time::sleep;

use crate::scene::{
    Check, Client, Scene, check, equal, message, next, numbers, queue, take, value, values, within,
};

pub fn checks() -> Vec<Check> {
    vec![
        check!("tx-commit-send", commit_send),
        check!("tx-rollback-send", rollback_send),
        check!("tx-commit-ack", commit_ack),
        check!("tx-rollback-ack", rollback_ack),
        check!("tx-move", moved).needing(&[("tx-move-from", "{}"), ("tx-move-to", "{}")]),
        check!("tx-lost", lost),
        check!("tx-two", two),
    ]
}

async fn controller(client: &mut Client) -> Result<Controller> {
    within("attaching", Controller::attach(&mut client.session, "controller")).await
}

async fn end(transaction: Transaction<'_>, commit: bool) -> Result<()> {
    if commit {
        within("committing", transaction.commit()).await
    } else {
        within("rolling back", transaction.rollback()).await
    }
}

async fn sent(scene: &Scene, name: &str, commit: bool) -> Result<Vec<Value>> {
    let mut client = scene.connect().await?;
    let controller = controller(&mut client).await?;
    let mut sender = client.sender(&queue(name)).await?;
    let transaction = within("declaring", Transaction::declare(&controller, None)).await?;
    for number in numbers(0..10) {
        let outcome = within("posting", transaction.post(&mut sender, message(number))).await?;
        ensure!(outcome.is_accepted(), "not accepted but {outcome:?}");
    }
    equal(scene.left(name).await?, vec![], "what is there before the end")?;
    end(transaction, commit).await?;
    scene.left(name).await
}

async fn commit_send(scene: Scene) -> Result<()> {
    equal(sent(&scene, "tx-commit-send", true).await?, numbers(0..10), "committed")
}

async fn rollback_send(scene: Scene) -> Result<()> {
    equal(sent(&scene, "tx-rollback-send", false).await?, vec![], "rolled back")
}

async fn taken(scene: &Scene, name: &str, commit: bool) -> Result<Vec<Value>> {
    let mut client = scene.connect().await?;
    client.fill(name, numbers(0..10)).await?;
    let controller = controller(&mut client).await?;
    let mut receiver = client.receiver(&queue(name), 5).await?;
    let transaction = within("declaring", Transaction::declare(&controller, None)).await?;
    let came = take(&mut receiver, 5).await?;
    equal(values(&came), numbers(0..5), "bodies")?;
    for each in &came {
        within("accepting", transaction.accept(&mut receiver, each)).await?;
    }
    end(transaction, commit).await?;
    within("closing", receiver.close()).await?;
    scene.left(name).await
}

async fn commit_ack(scene: Scene) -> Result<()> {
    equal(taken(&scene, "tx-commit-ack", true).await?, numbers(5..10), "what is left")
}

async fn rollback_ack(scene: Scene) -> Result<()> {
    equal(taken(&scene, "tx-rollback-ack", false).await?, numbers(0..10), "what is left")
}

/// From queue to queue, one transaction each.
async fn moved(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    client.fill("tx-move-from", numbers(0..20)).await?;
    let controller = controller(&mut client).await?;
    let mut sender = client.sender(&queue("tx-move-to")).await?;
    let mut receiver = client.receiver(&queue("tx-move-from"), 0).await?;
    for number in numbers(0..20) {
        let transaction = within("declaring", Transaction::declare(&controller, None)).await?;
        receiver.set_credit(1).await?;
        let came = next(&mut receiver).await?;
        equal(value(&came), number.clone(), "body")?;
        within("accepting", transaction.accept(&mut receiver, &came)).await?;
        within("posting", transaction.post(&mut sender, message(number))).await?;
        end(transaction, true).await?;
    }
    within("closing", receiver.close()).await?;
    equal(scene.left("tx-move-to").await?, numbers(0..20), "moved")?;
    equal(scene.left("tx-move-from").await?, vec![], "what is left")
}

/// A transaction whose connection ends is rolled back.
async fn lost(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let controller = controller(&mut client).await?;
    let mut sender = client.sender(&queue("tx-lost")).await?;
    let transaction = within("declaring", Transaction::declare(&controller, None)).await?;
    within("posting", transaction.post(&mut sender, message(Value::Long(1)))).await?;
    within("closing", client.connection.close()).await?;
    sleep(Duration::from_millis(50)).await;
    equal(scene.left("tx-lost").await?, vec![], "what is there")
}

/// Two at once on one controller, one committed and one rolled back.
async fn two(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let controller = controller(&mut client).await?;
    let mut sender = client.sender(&queue("tx-two")).await?;
    let kept = within("declaring", Transaction::declare(&controller, None)).await?;
    let dropped = within("declaring", Transaction::declare(&controller, None)).await?;
    for number in 0..10 {
        let transaction = if number % 2 == 0 { &kept } else { &dropped };
        within("posting", transaction.post(&mut sender, message(Value::Long(number)))).await?;
    }
    end(dropped, false).await?;
    end(kept, true).await?;
    let wanted = [0, 2, 4, 6, 8].map(Value::Long).to_vec();
    equal(scene.left("tx-two").await?, wanted, "what is there")
}
