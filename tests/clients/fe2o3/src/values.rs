//! Bodies, properties and headers of every kind come back as they were sent.

use std::time::Duration;

use anyhow::{Context, Result};
use fe2o3_amqp::types::messaging::{
    AmqpSequence, ApplicationProperties, Batch, Body, Data, Footer, Header, Message,
    MessageAnnotations, MessageId, Priority, Properties,
};
use fe2o3_amqp::types::primitives::{
    Array, Binary, Dec32, Dec64, Dec128, OrderedMap, SimpleValue, Symbol, Timestamp, Uuid, Value,
};
use serde_amqp::described::Described;
use serde_amqp::descriptor::Descriptor;
use tokio::time::sleep;

use crate::scene::{
    Check, Scene, Sent, accepted, check, equal, message, next, nothing, queue, send, text, value,
};

pub fn checks() -> Vec<Check> {
    vec![
        check!("body-scalars", body_scalars),
        check!("body-rare-scalars", body_rare_scalars),
        check!("body-compound", body_compound),
        check!("body-sections", body_sections),
        check!("application-properties", application_properties),
        check!("message-ids", message_ids),
        check!("properties", properties),
        check!("header", header),
        check!("annotations", annotations),
        check!("time-to-live", time_to_live),
    ]
}

fn uuid() -> Uuid {
    Uuid::from([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16])
}

fn scalars() -> Vec<(&'static str, Value)> {
    vec![
        ("null", Value::Null),
        ("true", Value::Bool(true)),
        ("false", Value::Bool(false)),
        ("ubyte", Value::Ubyte(200)),
        ("ushort", Value::Ushort(60000)),
        ("uint", Value::Uint(4_000_000_000)),
        ("small uint", Value::Uint(7)),
        ("zero uint", Value::Uint(0)),
        ("ulong", Value::Ulong(u64::MAX)),
        ("small ulong", Value::Ulong(7)),
        ("zero ulong", Value::Ulong(0)),
        ("byte", Value::Byte(-100)),
        ("short", Value::Short(-30000)),
        ("int", Value::Int(i32::MIN)),
        ("small int", Value::Int(-7)),
        ("long", Value::Long(i64::MIN)),
        ("small long", Value::Long(-7)),
        ("float", Value::Float(0.25.into())),
        ("double", Value::Double(0.1.into())),
        ("timestamp", Value::Timestamp(Timestamp::from_milliseconds(1_700_000_000_123))),
        ("before 1970", Value::Timestamp(Timestamp::from_milliseconds(-123))),
        ("uuid", Value::Uuid(uuid())),
        ("binary", Value::Binary(Binary::from((0..=255).collect::<Vec<u8>>()))),
        ("empty binary", Value::Binary(Binary::from(Vec::new()))),
        ("string", text("text: \u{e4}\u{20ac}\u{1f600}")),
        ("long string", text(&"long ".repeat(1000))),
        ("empty string", text("")),
        ("symbol", Value::Symbol(Symbol::from("a-symbol"))),
    ]
}

fn rare() -> Vec<(&'static str, Value)> {
    vec![
        ("char", Value::Char('\u{1f600}')),
        ("decimal32", Value::Decimal32(Dec32::from([1, 2, 3, 4]))),
        ("decimal64", Value::Decimal64(Dec64::from([1, 2, 3, 4, 5, 6, 7, 8]))),
        ("decimal128", Value::Decimal128(Dec128::from([7; 16]))),
    ]
}

fn map(entries: Vec<(Value, Value)>) -> Value {
    Value::Map(entries.into_iter().collect::<OrderedMap<_, _>>())
}

fn compounds() -> Vec<(&'static str, Value)> {
    let all: Vec<Value> = scalars().into_iter().map(|(_, value)| value).collect();
    let named = scalars().into_iter().map(|(name, value)| (text(name), value)).collect();
    let deep = (0..20).fold(Value::List(vec![]), |inner, _| Value::List(vec![inner, text("x")]));
    let described = Described {
        descriptor: Descriptor::Name(Symbol::from("x:point:list")),
        value: Value::List(vec![Value::Int(1), Value::Int(2)]),
    };
    let ints = vec![Value::Int(1), Value::Int(2), Value::Int(300)];
    vec![
        ("list", Value::List(all)),
        ("empty list", Value::List(vec![])),
        ("long list", Value::List((0..1000).map(Value::Long).collect())),
        ("deep list", deep),
        ("map", map(named)),
        ("empty map", map(vec![])),
        ("map, mixed", map(vec![(Value::Int(7), text("number")), (text("s"), Value::Null)])),
        ("array", Value::Array(Array::from(ints))),
        ("described", Value::Described(Box::new(described))),
    ]
}

/// Sends each message and returns what comes back.
async fn back(scene: &Scene, name: &str, messages: Vec<Sent>) -> Result<Vec<Sent>> {
    let mut client = scene.connect().await?;
    let mut sender = client.sender(&queue(name)).await?;
    let mut receiver = client.receiver(&queue(name), 0).await?;
    let mut back = Vec::new();
    for message in messages {
        accepted(send(&mut sender, message).await?)?;
        receiver.set_credit(1).await?;
        let came = next(&mut receiver).await?;
        receiver.accept(&came).await?;
        back.push(came.into_message());
    }
    Ok(back)
}

async fn body_types(scene: &Scene, name: &str, all: Vec<(&str, Value)>) -> Result<()> {
    let messages: Vec<Sent> = all.iter().map(|(_, value)| message(value.clone())).collect();
    for ((what, sent), came) in all.into_iter().zip(back(scene, name, messages).await?) {
        equal(crate::scene::value_of(came.body), sent, what)?;
    }
    Ok(())
}

async fn body_scalars(scene: Scene) -> Result<()> {
    body_types(&scene, "body-scalars", scalars()).await
}

/// Apart from the others: the reference cannot read them.
async fn body_rare_scalars(scene: Scene) -> Result<()> {
    body_types(&scene, "body-rare-scalars", rare()).await
}

async fn body_compound(scene: Scene) -> Result<()> {
    body_types(&scene, "body-compound", compounds()).await
}

/// Data and sequence sections, also several of them.
async fn body_sections(scene: Scene) -> Result<()> {
    let data = |octets: &[u8]| Data(Binary::from(octets.to_vec()));
    let bodies = vec![
        Body::Data(Batch::new(vec![data(b"data")])),
        Body::Data(Batch::new(vec![data(b"one"), data(b"two"), data(&[7; 100_000])])),
        Body::Sequence(Batch::new(vec![
            AmqpSequence(vec![Value::Int(1), text("two")]),
            AmqpSequence(vec![Value::List(vec![Value::Int(3)])]),
        ])),
    ];
    let messages = bodies.iter().map(|body| Message::builder().body(body.clone()).build());
    for (sent, came) in bodies.iter().zip(back(&scene, "body-sections", messages.collect()).await?)
    {
        equal(&came.body, sent, "body")?;
    }
    Ok(())
}

async fn application_properties(scene: Scene) -> Result<()> {
    let mut wanted = OrderedMap::new();
    for (name, value) in scalars().into_iter().chain(rare()) {
        let simple = SimpleValue::try_from(value).ok().context("a simple value")?;
        wanted.insert(name.to_owned(), simple);
    }
    let sent = Message {
        application_properties: Some(ApplicationProperties(wanted.clone())),
        ..message(text("body"))
    };
    let came = back(&scene, "application-properties", vec![sent]).await?.remove(0);
    equal(came.application_properties.map(|found| found.0), Some(wanted), "properties")
}

async fn message_ids(scene: Scene) -> Result<()> {
    let ids = [
        MessageId::String("text".to_owned()),
        MessageId::Ulong(u64::MAX),
        MessageId::Uuid(uuid()),
        MessageId::Binary(Binary::from(vec![0, 255, 7])),
    ];
    let messages = ids.iter().map(|id| Message {
        properties: Some(Properties {
            message_id: Some(id.clone()),
            correlation_id: Some(id.clone()),
            ..Properties::default()
        }),
        ..message(text("body"))
    });
    for (id, came) in ids.iter().zip(back(&scene, "message-ids", messages.collect()).await?) {
        let properties = came.properties.context("no properties")?;
        equal(properties.message_id.as_ref(), Some(id), "message-id")?;
        equal(properties.correlation_id.as_ref(), Some(id), "correlation-id")?;
    }
    Ok(())
}

async fn properties(scene: Scene) -> Result<()> {
    let wanted = Properties {
        message_id: Some(MessageId::String("id".to_owned())),
        user_id: Some(Binary::from(b"anonymous".to_vec())),
        to: Some(queue("properties")),
        subject: Some("subject".to_owned()),
        reply_to: Some("somewhere".to_owned()),
        correlation_id: Some(MessageId::String("correlation".to_owned())),
        content_type: Some(Symbol::from("text/plain")),
        content_encoding: Some(Symbol::from("utf-8")),
        absolute_expiry_time: Some(Timestamp::from_milliseconds(33_000_000_000_000)),
        creation_time: Some(Timestamp::from_milliseconds(1_700_000_000_000)),
        group_id: Some("group".to_owned()),
        group_sequence: Some(17),
        reply_to_group_id: Some("reply group".to_owned()),
    };
    let sent = Message { properties: Some(wanted.clone()), ..message(text("body")) };
    let came = back(&scene, "properties", vec![sent]).await?.remove(0);
    equal(came.properties, Some(wanted), "properties")
}

async fn header(scene: Scene) -> Result<()> {
    let head = Header::builder().durable(true).priority(Priority(7)).ttl(60_000).build();
    let sent = Message { header: Some(head), ..message(text("body")) };
    let came = back(&scene, "header", vec![sent]).await?.remove(0);
    let found = came.header.context("no header")?;
    equal((found.durable, found.priority.0), (true, 7), "durable, priority")?;
    let ttl = found.ttl.context("no ttl")?;
    equal(ttl > 59_000 && ttl <= 60_000, true, "ttl in its range")
}

async fn annotations(scene: Scene) -> Result<()> {
    let list = Value::List(vec![Value::Int(1), Value::Bool(true)]);
    let wanted = MessageAnnotations::builder()
        .insert(Symbol::from("x-opt-text"), text("text"))
        .insert(Symbol::from("x-opt-list"), list)
        .build();
    let footer = Footer::builder().insert(Symbol::from("x-sum"), Value::Int(7)).build();
    let sent = Message {
        message_annotations: Some(wanted.clone()),
        footer: Some(footer.clone()),
        ..message(text("body"))
    };
    let came = back(&scene, "annotations", vec![sent]).await?.remove(0);
    equal(came.message_annotations, Some(wanted), "annotations")?;
    equal(came.footer, Some(footer), "footer")
}

/// What has expired is not delivered.
async fn time_to_live(scene: Scene) -> Result<()> {
    let mut client = scene.connect().await?;
    let mut sender = client.sender(&queue("time-to-live")).await?;
    for (body, ttl) in [("short", 100), ("long", 60_000)] {
        let header = Some(Header::builder().ttl(ttl).build());
        accepted(send(&mut sender, Message { header, ..message(text(body)) }).await?)?;
    }
    sleep(Duration::from_millis(300)).await;
    let mut receiver = client.receiver(&queue("time-to-live"), 10).await?;
    equal(value(&next(&mut receiver).await?), text("long"), "body")?;
    nothing(&mut receiver).await
}
