//! What the unit tests of this module build on.

use crate::ids::{SessionId, ShardId, SubscriptionId, Time};
use crate::message::{Flags, Format, Message, Meta};
use fletch_amqp::types::{Map, Uuid, Value};
use fletch_amqp::v0_10::Compound;
use fletch_amqp::v0_10::table::message::MessageProperties;

fn meta() -> Meta {
    Meta {
        format: Format::V0_10,
        header_len: 0,
        routing_key: (0, 0),
        expires: Time::NEVER,
        priority: 4,
        durable: false,
        flags: Flags::of_body(true),
        publisher: None,
    }
}

pub(super) fn message(size: usize) -> Message {
    message_until(size, Time::NEVER)
}

pub(super) fn message_until(size: usize, expires: Time) -> Message {
    Message::new(Meta { expires, ..meta() }, &vec![0; size])
}

pub(super) fn message_of_priority(priority: u8) -> Message {
    Message::new(Meta { priority, ..meta() }, &[0; 10])
}

/// One with an application header.
pub(crate) fn message_with(key: &str, value: impl Into<Value>) -> Message {
    let headers = Map::new().with(key, value).encoded().expect("a small map");
    let mut content = Vec::new();
    MessageProperties { application_headers: Some(headers.view()), ..Default::default() }
        .encode(&mut content)
        .expect("a small header");
    let header_len = content.len() as u32;
    Message::new(Meta { header_len, ..meta() }, &content)
}

/// One with a message-id, or none.
pub(crate) fn message_with_id(message_id: Option<Uuid>) -> Message {
    let mut content = Vec::new();
    MessageProperties { message_id, ..Default::default() }
        .encode(&mut content)
        .expect("a small header");
    let header_len = content.len() as u32;
    Message::new(Meta { header_len, ..meta() }, &content)
}

pub(super) fn subscription_id(tag: u32) -> SubscriptionId {
    SubscriptionId { session: SessionId::new(ShardId(1), 7), tag }
}
