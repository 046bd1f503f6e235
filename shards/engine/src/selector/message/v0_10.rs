//! What identifiers mean in a message of AMQP 0-10: the reference broker's mapping of header fields
//! (JMS 2.0 §3.4) and properties (§3.5) to `delivery-properties` and `message-properties`.

use super::super::identifier::{Field, Identifier};
use super::super::value::Value;
use super::{JMS_TYPE, Scratch, TEXT_LEN, not_empty, text_of, value_of};
use crate::message::Message;
use fletch_amqp::MapRef;
use fletch_amqp::v0_10::message::MessageView;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties, ReplyTo};
use std::cell::OnceCell;

/// The application header that has the subject of a message sent to a queue by its name.
const SUBJECT: &str = "qpid.subject";
/// Two strings of up to 255 octets and a slash.
const REPLY_TO_LEN: usize = 511;

/// The header fields and properties of one message of AMQP 0-10.
#[derive(Debug)]
pub(super) struct Fields<'m> {
    message: &'m Message,
    view: OnceCell<MessageView<'m>>,
    delivery: OnceCell<DeliveryProperties<'m>>,
    properties: OnceCell<MessageProperties<'m>>,
    subject: OnceCell<Scratch<TEXT_LEN>>,
    message_id: OnceCell<Scratch<TEXT_LEN>>,
    jms_type: OnceCell<Scratch<TEXT_LEN>>,
    reply_to: OnceCell<Scratch<REPLY_TO_LEN>>,
}

impl<'m> Fields<'m> {
    pub(super) fn new(message: &'m Message) -> Fields<'m> {
        Fields {
            message,
            view: OnceCell::new(),
            delivery: OnceCell::new(),
            properties: OnceCell::new(),
            subject: OnceCell::new(),
            message_id: OnceCell::new(),
            jms_type: OnceCell::new(),
            reply_to: OnceCell::new(),
        }
    }

    fn view(&self) -> &MessageView<'m> {
        self.view.get_or_init(|| MessageView::parse(self.message.header()).unwrap_or_default())
    }

    fn delivery(&self) -> &DeliveryProperties<'m> {
        self.delivery.get_or_init(|| self.view().delivery_properties().unwrap_or_default())
    }

    fn properties(&self) -> &MessageProperties<'m> {
        self.properties.get_or_init(|| self.view().message_properties().unwrap_or_default())
    }

    fn headers(&self) -> MapRef<'m> {
        self.properties().application_headers.unwrap_or_default()
    }

    /// Where the message was sent: to an exchange, or to a queue by its name.
    fn to(&self) -> &'m str {
        let delivery = self.delivery();
        let exchange = delivery.exchange.unwrap_or_default();
        if exchange.is_empty() { delivery.routing_key.unwrap_or_default() } else { exchange }
    }

    /// The routing key, unless that is the name of a queue.
    fn subject(&self) -> Value<'_> {
        let delivery = self.delivery();
        if delivery.exchange.unwrap_or_default().is_empty() {
            return self.annotation(SUBJECT, &self.subject);
        }
        not_empty(delivery.routing_key.unwrap_or_default().as_bytes())
    }

    fn message_id(&self) -> Value<'_> {
        match self.properties().message_id {
            Some(id) => self.message_id.get_or_init(|| Scratch::of(format_args!("{id}"))).value(),
            None => Value::Unknown,
        }
    }

    fn reply_to(&self) -> Value<'_> {
        match self.properties().reply_to {
            Some(ReplyTo { exchange: Some(exchange), routing_key: Some(key) }) => {
                let joined = || Scratch::of(format_args!("{exchange}/{key}"));
                self.reply_to.get_or_init(joined).value()
            }
            Some(
                ReplyTo { exchange: Some(name), .. } | ReplyTo { routing_key: Some(name), .. },
            ) => not_empty(name.as_bytes()),
            _ => Value::Unknown,
        }
    }

    /// An application header as text.
    fn annotation<'s>(&'s self, key: &str, place: &'s OnceCell<Scratch<TEXT_LEN>>) -> Value<'s> {
        self.headers().get(key).map_or(Value::Unknown, |value| text_of(value, place))
    }

    /// The time in the delivery properties, which are seconds, in milliseconds.
    fn creation_time(&self) -> i64 {
        self.delivery().timestamp.unwrap_or(0).wrapping_mul(1000) as i64
    }

    /// The value of an identifier that stands in another place in each protocol.
    #[inline]
    pub(super) fn get(&self, identifier: &Identifier) -> Value<'_> {
        match identifier.field() {
            Field::Property => {
                self.headers().get(identifier.name()).map_or(Value::Unknown, value_of)
            }
            Field::Subject => self.subject(),
            Field::Priority => Value::Exact(self.delivery().priority.unwrap_or(0).into()),
            Field::CorrelationId => {
                self.properties().correlation_id.map_or(Value::Unknown, Value::Text)
            }
            Field::MessageId => self.message_id(),
            Field::To => not_empty(self.to().as_bytes()),
            Field::ReplyTo => self.reply_to(),
            Field::CreationTime => Value::Exact(self.creation_time()),
            Field::JmsType => self.annotation(JMS_TYPE, &self.jms_type),
            _ => Value::Unknown,
        }
    }
}
