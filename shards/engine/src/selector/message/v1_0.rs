//! What identifiers mean in a message of AMQP 1.0: header fields (JMS 2.0 §3.4) are standard properties,
//! and properties (§3.5) application properties. Where the reference broker knows the seconds in which a
//! message was made, this one knows the milliseconds.

use super::super::identifier::{Field, Identifier};
use super::super::value::Value;
use super::{JMS_TYPE, Scratch, TEXT_LEN, not_empty, text_of, value_of};
use crate::look::view_1_0;
use crate::message::Message;
use fletch_amqp::convert::scalar;
use fletch_amqp::v1_0::message::MessageView;
use fletch_amqp::v1_0::table::Properties;
use fletch_amqp::v1_0::types::ValueRef;
use std::cell::OnceCell;

/// The header fields and properties of one message of AMQP 1.0.
#[derive(Debug)]
pub(super) struct Fields<'m> {
    message: &'m Message,
    view: OnceCell<MessageView<'m>>,
    properties: OnceCell<Properties<'m>>,
    message_id: OnceCell<Scratch<TEXT_LEN>>,
    correlation_id: OnceCell<Scratch<TEXT_LEN>>,
    jms_type: OnceCell<Scratch<TEXT_LEN>>,
}

impl<'m> Fields<'m> {
    pub(super) fn new(message: &'m Message) -> Fields<'m> {
        Fields {
            message,
            view: OnceCell::new(),
            properties: OnceCell::new(),
            message_id: OnceCell::new(),
            correlation_id: OnceCell::new(),
            jms_type: OnceCell::new(),
        }
    }

    fn view(&self) -> &MessageView<'m> {
        self.view.get_or_init(|| view_1_0(self.message))
    }

    fn properties(&self) -> &Properties<'m> {
        self.properties.get_or_init(|| self.view().properties().unwrap_or_default())
    }

    /// The value of an identifier that stands in another place in each protocol.
    pub(super) fn get(&self, identifier: &Identifier) -> Value<'_> {
        match identifier.field() {
            Field::Property => {
                let value = self.view().application_properties().get(identifier.name());
                value.and_then(scalar).map_or(Value::Unknown, value_of)
            }
            // The subject, by its place in the message.
            Field::Subject => not_empty(self.message.routing_key()),
            Field::Priority => Value::Exact(self.message.meta().priority.into()),
            Field::MessageId => id(self.properties().message_id, &self.message_id),
            Field::CorrelationId => id(self.properties().correlation_id, &self.correlation_id),
            Field::To => address(self.properties().to),
            Field::ReplyTo => address(self.properties().reply_to),
            Field::CreationTime => Value::Exact(self.properties().creation_time.unwrap_or(0)),
            Field::JmsType => {
                let value = self.view().message_annotations().get(JMS_TYPE).and_then(scalar);
                value.map_or(Value::Unknown, |value| text_of(value, &self.jms_type))
            }
            _ => Value::Unknown,
        }
    }
}

fn address(value: Option<ValueRef<'_>>) -> Value<'_> {
    not_empty(value.and_then(ValueRef::as_str).unwrap_or_default().as_bytes())
}

/// An id of any type that the specification knows, as text.
fn id<'s>(value: Option<ValueRef<'s>>, place: &'s OnceCell<Scratch<TEXT_LEN>>) -> Value<'s> {
    let Some(value) = value else { return Value::Unknown };
    let octets = value.as_str().map(str::as_bytes).or_else(|| value.as_binary());
    if let Some(octets) = octets {
        return Value::Text(octets);
    }

    if let Some(id) = value.as_uuid() {
        return place.get_or_init(|| Scratch::of(format_args!("{id}"))).value();
    }
    match value.as_u64() {
        Some(number) => place.get_or_init(|| Scratch::of(format_args!("{number}"))).value(),
        None => Value::Unknown,
    }
}
