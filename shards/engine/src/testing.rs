//! Messages of AMQP 1.0 for the unit tests.

use crate::ids::Time;
use crate::message::{Flags, Format, Message, Meta};
use fletch_amqp::v1_0::Composite;
use fletch_amqp::v1_0::message::{Section, ingest};
use fletch_amqp::v1_0::table::Properties;
use fletch_amqp::v1_0::types::{Value, put_described};

/// What a message says.
#[derive(Debug, Clone, Default)]
pub(crate) struct Says<'a> {
    pub(crate) annotations: Vec<(Value, Value)>,
    pub(crate) properties: Properties<'a>,
    pub(crate) application: Vec<(Value, Value)>,
    /// Sections of the body.
    pub(crate) body: Vec<(Section, Value)>,
}

pub(crate) fn text(text: &str) -> Value {
    Value::String(text.into())
}

pub(crate) fn symbol(text: &str) -> Value {
    Value::Symbol(text.into())
}

/// A section that holds a value.
pub(crate) fn section(section: Section, value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    put_described(section.code(), &mut out);
    value.encode(&mut out).expect("encodes");
    out
}

impl Says<'_> {
    /// The message as a front end takes it in.
    pub(crate) fn message(&self) -> Message {
        let mut encoded =
            section(Section::MessageAnnotations, &Value::Map(self.annotations.clone()));
        self.properties.encode(&mut encoded).expect("encodes");
        let application = Value::Map(self.application.clone());
        encoded.extend(section(Section::ApplicationProperties, &application));
        for (kind, value) in &self.body {
            encoded.extend(section(*kind, value));
        }
        let mut content = Vec::new();
        let taken = ingest(&encoded, &mut content).expect("sound");
        let meta = Meta {
            format: Format::V1_0,
            header_len: taken.header_len,
            routing_key: taken.subject,
            expires: Time::NEVER,
            priority: taken.priority,
            durable: taken.durable,
            flags: Flags::of_body(taken.has_body),
            publisher: None,
        };
        Message::new(meta, &content)
    }
}

/// One with an application property.
pub(crate) fn message_with(key: &str, value: Value) -> Message {
    Says { application: vec![(text(key), value)], ..Says::default() }.message()
}
