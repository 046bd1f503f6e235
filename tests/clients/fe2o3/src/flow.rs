//! Credit: never more than was given, drained when asked.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use crate::scene::{
    Check, Scene, accepted, check, equal, message, next, nothing, numbers, queue, send, send_all,
    take, values, within,
};

pub fn checks() -> Vec<Check> {
    vec![
        check!("credit", credit),
        check!("credit-before-messages", before_messages),
        check!("drain", drain),
        check!("flow-stop", flow_stop).needing(&[(
            "flow-stop",
            r#"{"qpid.flow_stop_count": 10, "qpid.flow_resume_count": 5}"#,
        )]),
        // Without flow control, which would hold back outcomes before the queue is full.
        check!("full-queue", full_queue).needing(&[(
            "full-queue",
            r#"{"qpid.max_count": 10, "qpid.policy_type": "reject", "qpid.flow_stop_count": 0}"#,
        )]),
    ]
}

async fn credit(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    client.fill("credit", numbers(0..100)).await?;
    let mut receiver = client.receiver(&queue("credit"), 0).await?;
    nothing(&mut receiver).await?;
    let mut given = 0;
    for more in [1, 1, 2, 10, 30] {
        receiver.set_credit(more).await?;
        let came = take(&mut receiver, more as usize).await?;
        equal(values(&came), numbers(given..given + i64::from(more)), "bodies")?;
        receiver.accept_all(&came).await?;
        given += i64::from(more);
        nothing(&mut receiver).await?;
    }
    Ok(())
}

/// Credit that is there first is used as messages come, and not beyond its end.
async fn before_messages(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let mut receiver = client.receiver(&queue("credit-before-messages"), 5).await?;
    nothing(&mut receiver).await?;
    client.fill("credit-before-messages", numbers(0..10)).await?;
    equal(values(&take(&mut receiver, 5).await?), numbers(0..5), "bodies")?;
    nothing(&mut receiver).await?;
    receiver.set_credit(5).await?;
    equal(values(&take(&mut receiver, 5).await?), numbers(5..10), "bodies")
}

async fn drain(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let mut receiver = client.receiver(&queue("drain"), 10).await?;
    receiver.drain().await?;
    nothing(&mut receiver).await?;
    client.fill("drain", numbers(0..5)).await?;
    nothing(&mut receiver).await?;
    receiver.set_credit(10).await?;
    receiver.drain().await?;
    equal(values(&take(&mut receiver, 5).await?), numbers(0..5), "bodies")?;
    // What comes now finds no credit, of which the client itself keeps the old count.
    client.fill("drain", numbers(5..7)).await?;
    nothing(&mut receiver).await
}

/// A queue above its mark keeps the outcomes of its senders until it is emptier.
async fn flow_stop(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let mut sender = client.sender(&queue("flow-stop")).await?;
    let mut outcomes = Vec::new();
    for value in numbers(0..20) {
        outcomes.push(within("sending", sender.send_batchable(message(value))).await?);
    }
    let all = tokio::spawn(async move {
        for outcome in outcomes {
            accepted(within("waiting for the outcome", outcome).await?)?;
        }
        anyhow::Ok(())
    });
    sleep(Duration::from_millis(300)).await;
    ensure!(!all.is_finished(), "all outcomes came, though the queue is above its mark");
    let mut other = scene.connect().await?;
    let mut receiver = other.receiver(&queue("flow-stop"), 20).await?;
    let came = take(&mut receiver, 20).await?;
    receiver.accept_all(&came).await?;
    all.await?
}

/// What a full queue has no room for is refused, and the link lives on.
async fn full_queue(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let mut sender = client.sender(&queue("full-queue")).await?;
    send_all(&mut sender, numbers(0..10).into_iter().map(message).collect()).await?;
    let outcome = send(&mut sender, message(numbers(10..11).remove(0))).await?;
    ensure!(outcome.is_released() || outcome.is_rejected(), "not refused but {outcome:?}");
    let mut receiver = client.receiver(&queue("full-queue"), 1).await?;
    let came = next(&mut receiver).await?;
    receiver.accept(&came).await?;
    within("closing", receiver.close()).await?;
    accepted(send(&mut sender, message(numbers(11..12).remove(0))).await?)
}
