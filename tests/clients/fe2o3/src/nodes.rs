//! Which node a link reaches, and what of the node: exchanges, filters, copies, dynamic nodes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use fe2o3_amqp::Receiver;
use fe2o3_amqp::link::receiver::CreditMode;
use fe2o3_amqp::types::messaging::{
    ApplicationProperties, DistributionMode, Message, MessageId, Properties, Source, Target,
    TerminusDurability, TerminusExpiryPolicy,
};
use fe2o3_amqp::types::primitives::Value;
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use tokio::time::sleep;

use crate::scene::{
    Check, Client, Scene, Sent, accepted, check, equal, message, next, nothing, numbers, queue,
    refusal, send, send_all, take, text, value, values, within,
};

pub fn checks() -> Vec<Check> {
    vec![
        check!("missing-node", missing).needing(&[]),
        check!("selector", selector),
        check!("selector-bad", selector_bad),
        check!("browse", browse),
        check!("request-reply", request_reply),
        check!("anonymous-sender", anonymous),
        check!("topic", topic).needing(&[]),
        check!("direct", direct).needing(&[]),
        check!("fanout", fanout).needing(&[]),
        check!("durable-subscription", durable).needing(&[]),
    ]
}

fn filter(code: u64, value: &str) -> Described<Value> {
    Described { descriptor: Descriptor::Code(code), value: text(value) }
}

fn selecting(address: &str, selector: &str) -> Source {
    let filter = filter(0x0000_468C_0000_0004, selector);
    let source = Source::builder().address(address);
    source.add_to_filter("apache.org:selector-filter:string", filter).build()
}

fn topic_key(address: &str, key: &str) -> Source {
    let filter = filter(0x0000_468C_0000_0001, key);
    let source = Source::builder().address(address);
    source.add_to_filter("apache.org:legacy-amqp-topic-binding:string", filter).build()
}

fn direct_key(address: &str, key: &str) -> Source {
    let filter = filter(0x0000_468C_0000_0000, key);
    let source = Source::builder().address(address);
    source.add_to_filter("apache.org:legacy-amqp-direct-binding:string", filter).build()
}

async fn missing(scene: Scene) -> Result<()> {
    // The client does not always use a session again on which a link was refused.
    let error = refusal(scene.connect().await?.sender("not-there").await)?;
    ensure!(error.contains("NotFound"), "refused with {error}");
    let error = refusal(scene.connect().await?.receiver("not-there", 1).await)?;
    ensure!(error.contains("NotFound"), "refused with {error}");
    scene.connect().await?.sender("amq.fanout").await.map(drop)
}

fn numbered(number: i64) -> Sent {
    let colour = if number % 2 == 1 { "red" } else { "blue" };
    let properties = ApplicationProperties::builder()
        .insert("number", number)
        .insert("colour", colour.to_owned())
        .build();
    Message { application_properties: Some(properties), ..message(Value::Long(number)) }
}

async fn selector(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let mut sender = client.sender(&queue("selector")).await?;
    send_all(&mut sender, (0..20).map(numbered).collect()).await?;
    let source = selecting(&queue("selector"), "colour = 'red' AND number BETWEEN 5 AND 11");
    let mut receiver = client.receiver_from(source, 20).await?;
    let came = take(&mut receiver, 4).await?;
    let wanted = [5, 7, 9, 11].map(Value::Long).to_vec();
    equal(values(&came), wanted, "bodies")?;
    receiver.accept_all(&came).await?;
    nothing(&mut receiver).await?;
    let taken = receiver.source().as_ref().and_then(|source| source.filter.as_ref());
    equal(taken.map(|filter| filter.len()), Some(1), "filters the broker took")?;
    within("closing", receiver.close()).await?;
    equal(scene.left("selector").await?.len(), 16, "what is left")
}

async fn selector_bad(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let source = selecting(&queue("selector-bad"), "colour = = 'red'");
    let error = refusal(client.receiver_from(source, 1).await)?;
    let known = error.contains("InvalidField") || error.contains("InternalError");
    ensure!(known, "refused with {error}");
    Ok(())
}

async fn browse(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    client.fill("browse", numbers(0..10)).await?;
    for _ in 0..2 {
        let source = Source::builder().address(queue("browse"));
        let source = source.distribution_mode(DistributionMode::Copy).build();
        let mut browser = client.receiver_from(source, 20).await?;
        equal(values(&take(&mut browser, 10).await?), numbers(0..10), "bodies")?;
        nothing(&mut browser).await?;
        within("closing", browser.close()).await?;
    }
    equal(scene.left("browse").await?, numbers(0..10), "what is left")
}

async fn request_reply(scene: Scene) -> Result<()> {
    let (mut asking, mut answering) = (scene.connect().await?, scene.connect().await?);
    let mut replies = asking.receiver_from(Source::builder().dynamic(true).build(), 10).await?;
    let address = replies.source().as_ref().and_then(|source| source.address.clone());
    let address = address.context("a dynamic node without address")?;
    let mut server = answering.receiver(&queue("request-reply"), 10).await?;
    let mut reply = answering.sender_to(Target::default()).await?;
    let mut ask = asking.sender(&queue("request-reply")).await?;
    for number in 0..10 {
        let id = MessageId::Ulong(number);
        let properties = Properties {
            reply_to: Some(address.clone()),
            correlation_id: Some(id.clone()),
            ..Properties::default()
        };
        let question = message(Value::Ulong(number));
        send_all(&mut ask, vec![Message { properties: Some(properties), ..question }]).await?;
        let came = next(&mut server).await?;
        server.accept(&came).await?;
        let asked = came.message().properties.clone().context("no properties")?;
        let properties = Properties {
            to: asked.reply_to,
            correlation_id: asked.correlation_id,
            ..Properties::default()
        };
        let answer = message(Value::Ulong(number * 2));
        send_all(&mut reply, vec![Message { properties: Some(properties), ..answer }]).await?;
        let came = next(&mut replies).await?;
        equal(value(&came), Value::Ulong(number * 2), "body")?;
        let correlation = came.message().properties.clone().and_then(|p| p.correlation_id);
        equal(correlation, Some(id), "correlation-id")?;
        replies.accept(&came).await?;
    }
    // The node is gone with its link.
    within("closing", replies.close()).await?;
    sleep(Duration::from_millis(100)).await;
    let error = refusal(answering.sender(&address).await)?;
    ensure!(error.contains("NotFound"), "refused with {error}");
    Ok(())
}

async fn anonymous(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let mut sender = client.sender_to(Target::default()).await?;
    let to = |address: &str, number| {
        let properties = Properties { to: Some(address.to_owned()), ..Properties::default() };
        Message { properties: Some(properties), ..message(Value::Long(number)) }
    };
    for number in 0..10 {
        accepted(send(&mut sender, to(&queue("anonymous-sender"), number)).await?)?;
    }
    // Nowhere to go, which the reference tells nobody: the link lives on.
    send(&mut sender, to("not-there", 0)).await?;
    accepted(send(&mut sender, to(&queue("anonymous-sender"), 10)).await?)?;
    equal(scene.left("anonymous-sender").await?, numbers(0..11), "bodies")
}

fn about(subject: &str) -> Sent {
    let properties = Properties { subject: Some(subject.to_owned()), ..Properties::default() };
    Message { properties: Some(properties), ..message(text(subject)) }
}

/// Receivers from an exchange, and what each of them gets of these subjects.
async fn routed(
    client: &mut Client,
    exchange: &str,
    wanted: Vec<(Source, Vec<&str>)>,
    subjects: &[&str],
) -> Result<()> {
    let mut receivers = Vec::new();
    for (source, bodies) in wanted {
        receivers.push((client.receiver_from(source, 20).await?, bodies));
    }
    let mut sender = client.sender(exchange).await?;
    send_all(&mut sender, subjects.iter().map(|subject| about(subject)).collect()).await?;
    for (receiver, bodies) in &mut receivers {
        let found = values(&take(receiver, bodies.len()).await?);
        equal(found, bodies.iter().map(|body| text(body)).collect(), "bodies")?;
        nothing(receiver).await?;
    }
    Ok(())
}

async fn topic(scene: Scene) -> Result<()> {
    let all = ["news.sport", "news.a.b", "weather", "news", "x.sport"];
    let key = |key| topic_key("amq.topic", key);
    let wanted = vec![
        (key("news.*"), vec!["news.sport"]),
        (key("news.#"), vec!["news.sport", "news.a.b", "news"]),
        (key("*.sport"), vec!["news.sport", "x.sport"]),
        (key("#"), all.to_vec()),
        (key("weather"), vec!["weather"]),
    ];
    routed(&mut scene.connect().await?, "amq.topic", wanted, &all).await
}

async fn direct(scene: Scene) -> Result<()> {
    let key = |key| direct_key("amq.direct", key);
    let wanted = vec![(key("red"), vec!["red", "red"]), (key("blue"), vec!["blue"])];
    let all = ["red", "blue", "green", "red"];
    routed(&mut scene.connect().await?, "amq.direct", wanted, &all).await
}

async fn fanout(scene: Scene) -> Result<()> {
    let each = || (Source::builder().address("amq.fanout").build(), vec!["a", "b"]);
    let wanted = vec![each(), each(), each()];
    routed(&mut scene.connect().await?, "amq.fanout", wanted, &["a", "b"]).await
}

/// A subscription that never expires goes on collecting while its connection is away.
async fn durable(scene: Scene) -> Result<()> {
    let subscribe = async || -> Result<(Client, Receiver)> {
        let mut client = scene.connect_as("fe2o3-durable", 65536).await?;
        let source = Source {
            durable: TerminusDurability::UnsettledState,
            expiry_policy: TerminusExpiryPolicy::Never,
            ..topic_key("amq.topic", "durable.#")
        };
        let builder = Receiver::builder().name("fe2o3-durable").source(source);
        let attach = builder.credit_mode(CreditMode::Manual).attach(&mut client.session);
        let receiver = within("attaching", attach).await?;
        Ok((client, receiver))
    };
    let (mut client, receiver) = subscribe().await?;
    within("closing", client.connection.close()).await?;
    drop(receiver);
    let mut other = scene.connect().await?;
    let mut sender = other.sender("amq.topic").await?;
    send_all(&mut sender, ["durable.one", "other", "durable.two"].map(about).to_vec()).await?;
    let (_client, mut again) = subscribe().await?;
    again.set_credit(10).await?;
    let wanted = vec![text("durable.one"), text("durable.two")];
    equal(values(&take(&mut again, 2).await?), wanted, "bodies")?;
    nothing(&mut again).await?;
    within("closing", again.close()).await
}
