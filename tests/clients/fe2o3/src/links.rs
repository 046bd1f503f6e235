//! Links by name: taken over by whoever attaches them, resumed with what is not settled.

use anyhow::{Result, ensure};
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::types::definitions::{ReceiverSettleMode, SenderSettleMode};
use fe2o3_amqp::types::messaging::{
    Body, Source, Target, TerminusDurability, TerminusExpiryPolicy,
};
use fe2o3_amqp::types::primitives::Value;
use fe2o3_amqp::{Receiver, Sender};
use tokio::time::timeout;

use crate::reconnect::Proxy;
use crate::scene::{
    Check, Client, PATIENCE, Scene, accepted, check, count, equal, message, numbers, queue, take,
    values, within,
};

pub fn checks() -> Vec<Check> {
    vec![
        check!("link-stolen", stolen),
        check!("resume-sender", resume_sender),
        check!("resume-receiver", resume_receiver),
    ]
}

async fn stolen(scene: Scene) -> Result<()> {
    async fn attach(client: &mut Client) -> Result<Receiver> {
        let builder = Receiver::builder().name("stolen").source(queue("link-stolen"));
        let attach = builder.credit_mode(CreditMode::Auto(10)).attach(&mut client.session);
        within("attaching", attach).await
    }
    scene.connect().await?.fill("link-stolen", numbers(0..3)).await?;
    let mut holding = scene.connect_as("fe2o3-stolen", 65536).await?;
    let mut holder = attach(&mut holding).await?;
    equal(values(&take(&mut holder, 3).await?), numbers(0..3), "bodies")?;
    for turn in 1..5 {
        let mut client = scene.connect_as("fe2o3-stolen", 65536).await?;
        let mut thief = attach(&mut client).await?;
        let again = take(&mut thief, 3).await?;
        equal(values(&again), numbers(0..3), "bodies")?;
        ensure!(again.iter().all(|came| count(came.message()) == turn), "{turn} times delivered");
        let end = timeout(PATIENCE, holder.recv::<Body<Value>>()).await?;
        let end = format!("{:?}", end.err());
        ensure!(end.contains("Stolen"), "taken away with {end}");
        (holder, holding) = (thief, client);
    }
    within("closing", holder.close()).await?;
    holding.close().await
}

/// A link whose client settles last, to a target that outlives it.
async fn attach(client: &mut Client, name: &str) -> Result<Sender> {
    let target = Target::builder().address(queue(name));
    let target = target.expiry_policy(TerminusExpiryPolicy::Never).build();
    let builder = Sender::builder().name(name).target(target);
    let builder = builder.sender_settle_mode(SenderSettleMode::Unsettled);
    let builder = builder.receiver_settle_mode(ReceiverSettleMode::Second);
    within("attaching", builder.attach(&mut client.session)).await
}

/// A link that is left while outcomes are on their way is resumed, and each message arrives once. Within one session: the
/// client forgets what was not settled on a link when the session ends on which it was sent.
async fn resume_sender(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let mut sender = attach(&mut client, "resume-sender").await?;
    let mut outcomes = Vec::new();
    for turn in 0..5 {
        for value in numbers(turn * 100..turn * 100 + 100) {
            outcomes.push(within("sending", sender.send_batchable(message(value))).await?);
        }
        let detached = sender.detach().await.map_err(|(_, error)| error)?;
        sender = within("resuming", detached.resume()).await?;
    }
    for outcome in outcomes {
        accepted(within("waiting for the outcome", outcome).await?)?;
    }
    within("closing", sender.close()).await?;
    equal(scene.left("resume-sender").await?.len(), 500, "messages")
}

/// What a client had when it lost its link is still there for it, and for nobody else.
async fn resume_receiver(scene: Scene) -> Result<()> {
    scene.connect().await?.fill("resume-receiver", numbers(0..4)).await?;
    let proxy = Proxy::new(&scene.address).await?;
    let mut lost = Scene::connect_to(&proxy.address, "fe2o3-resume", 65536).await?;
    let source = Source::builder().address(queue("resume-receiver"));
    let source = source.expiry_policy(TerminusExpiryPolicy::Never);
    let source = source.durable(TerminusDurability::UnsettledState).build();
    let builder = Receiver::builder().name("resume-receiver").source(source);
    let builder = builder.receiver_settle_mode(ReceiverSettleMode::Second);
    let builder = builder.credit_mode(CreditMode::Manual);
    let mut receiver = within("attaching", builder.attach(&mut lost.session)).await?;
    receiver.set_credit(4).await?;
    let held = take(&mut receiver, 4).await?;
    equal(values(&held), numbers(0..4), "bodies")?;
    let detached = receiver.detach().await.map_err(|(_, error)| error)?;
    proxy.cut();
    equal(scene.left("resume-receiver").await?, numbers(0..0), "what others get")?;
    let mut client = Scene::connect_to(&proxy.address, "fe2o3-resume", 65536).await?;
    let resumed = within("resuming", detached.resume_on_session(&client.session)).await?;
    let mut receiver = resumed.into_receiver();
    receiver.set_credit(10).await?;
    // The client says that it has these, and not what becomes of them.
    let again = take(&mut receiver, 4).await?;
    equal(values(&again), numbers(0..4), "bodies")?;
    ensure!(again.iter().all(|came| count(came.message()) == 1), "they were delivered before");
    receiver.accept_all(&again).await?;
    within("closing", receiver.close()).await?;
    client.close().await?;
    equal(scene.left("resume-receiver").await?, numbers(0..0), "what is left")
}
