//! Messages on their way out.

use fletch_amqp::EncodeError;
use fletch_amqp::v1_0::Composite;
use fletch_amqp::v1_0::message::{Section, put_header};
use fletch_amqp::v1_0::table::{Header, Properties};
use fletch_amqp::v1_0::types::{Value, put_binary, put_described, put_map, put_string};

/// The body of a message.
#[derive(Debug, Clone, Copy, Default)]
pub enum Content<'a> {
    /// None at all.
    #[default]
    None,
    /// Octets.
    Data(&'a [u8]),
    /// One value.
    Value(&'a Value),
}

/// A message to send.
#[derive(Debug, Clone, Default)]
pub struct Outgoing<'a> {
    /// What brokers look at.
    pub header: Header,
    /// What receivers look at.
    pub properties: Properties<'a>,
    /// The application's own.
    pub application: Vec<(&'a str, Value)>,
    /// The body.
    pub content: Content<'a>,
}

impl<'a> Outgoing<'a> {
    /// A message of octets.
    pub fn of_data(body: &'a [u8]) -> Self {
        Outgoing { content: Content::Data(body), ..Default::default() }
    }

    /// A message of one value.
    pub fn of_value(value: &'a Value) -> Self {
        Outgoing { content: Content::Value(value), ..Default::default() }
    }

    /// Appends the message.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let Header { durable, priority, ttl, first_acquirer, delivery_count } = self.header;
        put_header(out, durable, priority, ttl, first_acquirer, delivery_count);
        if self.properties != Properties::default() {
            self.properties.encode(out)?;
        }
        if !self.application.is_empty() {
            put_described(Section::ApplicationProperties.code(), out);
            put_map(out, |out| {
                for (name, value) in &self.application {
                    put_string(name, out)?;
                    value.encode(out)?;
                }
                fletch_amqp::wire::length32(self.application.len() * 2)
            })?;
        }
        match self.content {
            Content::None => Ok(()),
            Content::Data(body) => put_data(body, out),
            Content::Value(value) => {
                put_described(Section::Value.code(), out);
                value.encode(out)
            }
        }
    }
}

/// Appends a body of octets.
fn put_data(body: &[u8], out: &mut Vec<u8>) -> Result<(), EncodeError> {
    put_described(Section::Data.code(), out);
    put_binary(body, out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fletch_amqp::v1_0::message::{Body, MessageView};
    use fletch_amqp::v1_0::types::ValueRef;

    #[test]
    fn what_is_put_in_is_there_again() -> Result<(), Box<dyn std::error::Error>> {
        let message = Outgoing {
            header: Header { durable: true, ttl: Some(7), ..Header::default() },
            properties: Properties {
                message_id: Some(ValueRef::of_str("m")),
                subject: Some("s"),
                ..Properties::default()
            },
            application: vec![("a", Value::Int(-1)), ("b", Value::String("c".into()))],
            content: Content::Data(b"body"),
        };
        let mut encoded = Vec::new();
        message.encode(&mut encoded)?;
        let view = MessageView::parse(&encoded)?;
        assert_eq!(view.header()?, message.header);
        assert_eq!(view.properties()?, message.properties);
        let b = view.application_properties().get("b").and_then(|value| value.as_str());
        assert_eq!((view.application_properties().len(), b), (2, Some("c")));
        assert!(matches!(view.body(), Body::Data(body) if *body.clone().joined() == *b"body"));
        Ok(())
    }

    #[test]
    fn a_message_of_a_value_has_nothing_else() -> Result<(), Box<dyn std::error::Error>> {
        let mut encoded = Vec::new();
        Outgoing::of_value(&Value::Ubyte(3)).encode(&mut encoded)?;
        assert_eq!(encoded, [0x00, 0x53, 0x77, 0x50, 3]);
        Ok(())
    }
}
