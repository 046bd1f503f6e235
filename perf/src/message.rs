//! Messages as a client would send them, for benchmarks that have an engine and no broker around it.

use fletch_amqp::Map;
use fletch_amqp::v0_10::Compound;
use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties};
use fletch_engine::{Flags, Format, Message, Meta, Time};

/// The priority of a message that says nothing of it.
pub const PRIORITY: u8 = 4;

/// A message that is not durable and never expires. Its header says what there is to say: nothing of an
/// empty key, nothing of no application headers.
///
/// # Panics
/// If the key or the headers are too long for the wire.
pub fn message(key: &str, headers: &Map, priority: u8, body: &[u8]) -> Message {
    let mut content = Vec::new();
    if !key.is_empty() {
        let delivery = DeliveryProperties { routing_key: Some(key), ..Default::default() };
        delivery.encode(&mut content).expect("encodes");
    }
    // The key is the last of what is encoded so far.
    let key_at = (content.len() - key.len()) as u32;
    if !headers.is_empty() {
        let headers = headers.encoded().expect("encodes");
        let properties =
            MessageProperties { application_headers: Some(headers.view()), ..Default::default() };
        properties.encode(&mut content).expect("encodes");
    }
    let meta = Meta {
        format: Format::V0_10,
        header_len: content.len() as u32,
        routing_key: (key_at, key.len() as u32),
        expires: Time::NEVER,
        priority,
        durable: false,
        flags: Flags::of_body(true),
        publisher: None,
    };
    content.extend_from_slice(body);
    Message::new(meta, &content)
}
