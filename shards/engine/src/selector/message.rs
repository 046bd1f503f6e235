//! What identifiers mean in a message of AMQP 0-10: the reference broker's mapping of header fields
//! (JMS 2.0 §3.4) and properties (§3.5) to `delivery-properties` and `message-properties`.

use super::Environment;
use super::identifier::{Field, Identifier};
use super::value::Value;
use crate::ids::Time;
use crate::message::{Format, Message};
use fletch_amqp::types::code;
use fletch_amqp::v0_10::message::MessageView;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties, ReplyTo};
use fletch_amqp::{MapRef, ValueRef};
use std::cell::OnceCell;
use std::fmt::{self, Write};

/// The application header that has the subject of a message sent to a queue by its name.
const SUBJECT: &str = "qpid.subject";
/// The application header that has the JMS type.
const JMS_TYPE: &str = "jms-type";
/// Digits and dashes of a UUID, which is also longer than any integer.
const UUID_LEN: usize = 36;
/// Two strings of up to 255 octets and a slash.
const REPLY_TO_LEN: usize = 511;
const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// The header fields and properties of one message of AMQP 0-10.
///
/// Decodes a struct of the header when it is first asked for something in it. What is malformed
/// counts as absent.
#[derive(Debug)]
pub struct MessageEnvironment<'m> {
    message: &'m Message,
    redelivered: bool,
    view: OnceCell<MessageView<'m>>,
    delivery: OnceCell<DeliveryProperties<'m>>,
    properties: OnceCell<MessageProperties<'m>>,
    subject: OnceCell<Scratch<UUID_LEN>>,
    message_id: OnceCell<Scratch<UUID_LEN>>,
    jms_type: OnceCell<Scratch<UUID_LEN>>,
    reply_to: OnceCell<Scratch<REPLY_TO_LEN>>,
}

impl<'m> MessageEnvironment<'m> {
    /// The environment of a message, for any number of selectors. The flag `redelivered` is no
    /// property of a message but of its place in a queue.
    pub fn new(message: &'m Message, redelivered: bool) -> MessageEnvironment<'m> {
        MessageEnvironment {
            message,
            redelivered,
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
        self.view.get_or_init(|| match self.message.meta().format {
            Format::V0_10 => MessageView::parse(self.message.header()).unwrap_or_default(),
        })
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

    /// An application header as text, which an integer (in 32 bits) and a UUID can be.
    fn annotation<'s>(&'s self, key: &str, place: &'s OnceCell<Scratch<UUID_LEN>>) -> Value<'s> {
        let Some(value) = self.headers().get(key) else { return Value::Unknown };
        if let Some(text) = text_of(value) {
            return not_empty(text);
        }
        if let Some(id) = value.as_uuid() {
            return place.get_or_init(|| Scratch::of(format_args!("{id}"))).value();
        }
        match value.as_i64() {
            Some(n) => place.get_or_init(|| Scratch::of(format_args!("{}", n as i32))).value(),
            None => Value::Unknown,
        }
    }

    /// Milliseconds since 1970; 0 for never.
    fn expiration(&self) -> i64 {
        match self.message.meta().expires {
            Time::NEVER => 0,
            Time(nanoseconds) => (nanoseconds / NANOSECONDS_PER_MILLISECOND) as i64,
        }
    }

    /// The time in the delivery properties, which are seconds, in milliseconds.
    fn creation_time(&self) -> i64 {
        self.delivery().timestamp.unwrap_or(0).wrapping_mul(1000) as i64
    }
}

impl Environment for MessageEnvironment<'_> {
    fn get(&self, identifier: &Identifier) -> Value<'_> {
        match identifier.field() {
            Field::Property => {
                self.headers().get(identifier.name()).map_or(Value::Unknown, value_of)
            }
            Field::DeliveryMode if self.message.meta().durable => "PERSISTENT".into(),
            Field::DeliveryMode => "NON_PERSISTENT".into(),
            Field::Subject => self.subject(),
            Field::Redelivered => Value::Bool(self.redelivered),
            Field::Priority => Value::Exact(self.delivery().priority.unwrap_or(0).into()),
            Field::CorrelationId => {
                self.properties().correlation_id.map_or(Value::Unknown, Value::Text)
            }
            Field::MessageId => self.message_id(),
            Field::To => not_empty(self.to().as_bytes()),
            Field::ReplyTo => self.reply_to(),
            Field::Expiration => Value::Exact(self.expiration()),
            Field::CreationTime => Value::Exact(self.creation_time()),
            Field::JmsType => self.annotation(JMS_TYPE, &self.jms_type),
            Field::Reserved => Value::Unknown,
        }
    }
}

/// Where the reference broker cannot tell empty text from none.
fn not_empty(text: &[u8]) -> Value<'_> {
    if text.is_empty() { Value::Unknown } else { Value::Text(text) }
}

/// The octets of text, binary, and structs, which the reference broker takes for the same.
fn text_of(value: ValueRef<'_>) -> Option<&[u8]> {
    let is_struct = value.code() == code::STRUCT32;
    value.as_bytes().or_else(|| is_struct.then_some(value.data()))
}

/// The value of an application header. Characters, decimals, UUIDs, maps, lists, arrays and wide
/// binary are unknown to selectors.
fn value_of(value: ValueRef<'_>) -> Value<'_> {
    match value.code() {
        code::BOOLEAN => value.as_bool().map_or(Value::Unknown, Value::Bool),
        code::FLOAT | code::DOUBLE => value.as_f64().map_or(Value::Unknown, Value::Approx),
        // Opaque binary of the width of an integer counts as one, with its sign.
        code::BIN8 | code::BIN16 | code::BIN32 | code::BIN64 => signed(value.data()),
        code::INT8..=code::UINT8
        | code::INT16..=code::UINT16
        | code::INT32..=code::UINT32
        | code::INT64..=code::UINT64
        | code::DATETIME => match (value.as_i64(), value.as_f64(), value.as_u64()) {
            (Some(exact), ..) => Value::Exact(exact),
            (None, Some(approx), _) => Value::Approx(approx),
            // A time beyond what 63 bits hold.
            (None, None, Some(time)) => Value::Approx(time as f64),
            _ => Value::Unknown,
        },
        _ => text_of(value).map_or(Value::Unknown, Value::Text),
    }
}

fn signed(octets: &[u8]) -> Value<'static> {
    let from = if octets.first().is_some_and(|first| *first >= 0x80) { -1 } else { 0 };
    Value::Exact(octets.iter().fold(from, |bits, octet| bits << 8 | i64::from(*octet)))
}

/// Text that the header does not hold as such, made without an allocation.
struct Scratch<const N: usize> {
    octets: [u8; N],
    len: usize,
}

impl<const N: usize> Scratch<N> {
    /// What does not fit is cut off; sizes are chosen so that all does.
    fn of(text: fmt::Arguments<'_>) -> Scratch<N> {
        let mut scratch = Scratch { octets: [0; N], len: 0 };
        let whole = scratch.write_fmt(text);
        debug_assert!(whole.is_ok(), "text longer than {N} octets");
        scratch
    }

    fn value(&self) -> Value<'_> {
        Value::Text(&self.octets[..self.len])
    }
}

impl<const N: usize> Write for Scratch<N> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.octets.get_mut(self.len..self.len + text.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(text.as_bytes());
        self.len += text.len();
        Ok(())
    }
}

impl<const N: usize> fmt::Debug for Scratch<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value().fmt(f)
    }
}
