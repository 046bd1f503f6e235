//! The messages that simulated clients publish: real 0-10 headers, a body that tells its number.

use crate::rng::Rng;
use fletch_amqp::types::{Map, Uuid};
use fletch_amqp::v0_10::Compound;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties};
use fletch_engine::{Flags, Format, Message, Meta, SessionId, Time};

/// A message as the simulator numbers them.
pub(crate) type MessageId = u32;

/// What a message has for orders of queues and selectors to go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    /// The value of the header that is its key and its group, if it has that.
    pub(crate) key: Option<u8>,
    pub(crate) priority: u8,
}

impl Default for Label {
    fn default() -> Label {
        Label { key: None, priority: 4 }
    }
}

impl Label {
    /// A key as it stands in the header.
    pub(crate) fn text(key: u8) -> String {
        format!("key-{key}")
    }
}

/// What is in a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub(crate) publisher: SessionId,
    pub(crate) number: MessageId,
    /// Bytes of the body behind the number.
    pub(crate) size: usize,
    /// A header that exchanges may route by.
    pub(crate) header: i32,
    pub(crate) expires: Time,
    pub(crate) durable: bool,
    /// Of one that says so.
    pub(crate) label: Option<Label>,
    /// It has a message-id: its number.
    pub(crate) identified: bool,
    /// Nobody gets it before: 0, or in milliseconds since 1970, as it says.
    pub(crate) due: u64,
}

/// Nanoseconds of a millisecond.
const MS: u64 = 1_000_000;

impl Content {
    /// When it may be delivered.
    pub(crate) fn due(&self) -> Time {
        Time(self.due * MS)
    }

    /// When a message is due that is published now, and waits: within the next so many milliseconds.
    pub(crate) fn draw_due(rng: &mut Rng, now: Time, most: usize) -> u64 {
        now.0 / MS + rng.range(1, most) as u64
    }

    /// The message as it comes in.
    pub(crate) fn arrives(&self, now: Time, key: &str) -> Message {
        match self.due {
            0 => self.message(key),
            _ => fletch_engine::scheduled(now, self.message(key)),
        }
    }

    fn message(&self, key: &str) -> Message {
        let mut content = Vec::new();
        let label = self.label.unwrap_or_default();
        let delivery = DeliveryProperties {
            routing_key: Some(key),
            priority: self.label.map(|label| label.priority),
            ..DeliveryProperties::default()
        };
        delivery.encode(&mut content).expect("encodes");
        // The last field of the last struct so far.
        let at = (content.len() - key.len()) as u32;
        let headers = Map::new().with("header", self.header);
        let headers = match label.key {
            Some(key) => headers.with("k", Label::text(key)),
            None => headers,
        };
        let headers = match self.due {
            0 => headers,
            due => headers.with("x-opt-delivery-time", due as i64),
        };
        let headers = headers.encoded().expect("encodes");
        let mut id = [0; 16];
        id[..4].copy_from_slice(&self.number.to_be_bytes());
        let properties = MessageProperties {
            message_id: self.identified.then_some(Uuid(id)),
            application_headers: Some(headers.view()),
            ..MessageProperties::default()
        };
        properties.encode(&mut content).expect("encodes");
        let meta = Meta {
            format: Format::V0_10,
            header_len: content.len() as u32,
            routing_key: (at, key.len() as u32),
            expires: self.expires,
            priority: label.priority,
            durable: self.durable,
            flags: Flags::of_body(true),
            publisher: Some(self.publisher),
        };
        content.extend_from_slice(&self.number.to_be_bytes());
        content.resize(content.len() + self.size, fill(self.number));
        Message::new(meta, &content)
    }
}

/// What the body consists of behind the number.
fn fill(number: MessageId) -> u8 {
    number as u8
}

/// The number of a message that a [`Content`] has made.
pub(crate) fn message_id(message: &Message) -> MessageId {
    let body: [u8; 4] = message.body()[..4].try_into().expect("bodies begin with the number");
    u32::from_be_bytes(body)
}

/// Whether a message's body is still the one of this number and size.
pub(crate) fn is_whole(message: &Message, size: usize) -> bool {
    let fill = fill(message_id(message));
    let rest = &message.body()[4..];
    rest.len() == size && rest.iter().all(|b| *b == fill)
}
