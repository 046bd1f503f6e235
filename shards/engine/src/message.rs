//! One immutable message: a single reference-counted allocation that holds what the engine needs
//! to know about it, then its header and body as they are encoded on the wire.
//!
//! Cloning bumps a counter; a message may be held by several queues, shards and deliveries at
//! once. Nothing is decoded here, but for consumers of the other protocol: what they get is made when the
//! first one asks, and kept with the message for the others.

use crate::ids::{SessionId, Time};
use fletch_amqp::convert::{Converted, Delivery, Node, to_0_10, to_1_0};
use once_cell::race::OnceBox;
use std::borrow::Cow;
use triomphe::ThinArc;

/// The encoding a message arrived in, and is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// AMQP 0-10: the header is a sequence of `struct32`, the body is opaque.
    V0_10,
    /// AMQP 1.0: what `fletch_amqp::v1_0::message::ingest` keeps. The header is the sections from message
    /// annotations to application properties, the body all sections behind them, a footer included.
    V1_0,
}

/// What there is to a message, in one octet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    const BODY: u8 = 1;
    const SCHEDULED: u8 = 2;

    /// With a body or without. It may be empty: 0-10 tells that from none. In 1.0 a footer is none.
    pub fn of_body(has_body: bool) -> Flags {
        Flags(u8::from(has_body) * Flags::BODY)
    }

    /// Whether there is a body.
    pub fn has_body(self) -> bool {
        self.0 & Flags::BODY != 0
    }

    /// The same of a message that is not to be delivered before a time, which it says itself.
    pub(crate) fn scheduled(self) -> Flags {
        Flags(self.0 | Flags::SCHEDULED)
    }

    /// Whether it is such a message.
    pub fn is_scheduled(self) -> bool {
        self.0 & Flags::SCHEDULED != 0
    }

    /// As they are stored.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// What was stored; a bit that this version does not know means nothing.
    pub(crate) fn from_bits(bits: u8) -> Flags {
        Flags(bits & (Flags::BODY | Flags::SCHEDULED))
    }
}

/// What the engine reads of a message on its way, extracted once by the front end.
#[derive(Clone, Debug)]
pub struct Meta {
    /// Encoding of header and body.
    pub format: Format,
    /// Length in bytes of the header at the start of the content.
    pub header_len: u32,
    /// Where in the content the routing key stands, which in 1.0 is the subject: offset and length, both
    /// in bytes.
    pub routing_key: (u32, u32),
    /// Drop at this time; [`Time::NEVER`] without a ttl.
    pub expires: Time,
    /// 0 to 9, in 1.0 to 255; 4 is the default of the specification.
    pub priority: u8,
    /// Delivery mode persistent.
    pub durable: bool,
    /// What else there is to it.
    pub flags: Flags,
    /// Who published it; `None` for messages the broker made.
    pub publisher: Option<SessionId>,
}

/// A queue and one delivery: with no more that hold a message, nobody else is about to ask for it.
const HELD_ONCE: usize = 2;

/// What stands before the content.
struct Head {
    meta: Meta,
    /// The message in the other format, once somebody has asked for it who was not alone.
    other: OnceBox<Message>,
}

/// See the module.
#[derive(Clone)]
pub struct Message(ThinArc<Head, u8>);

impl Message {
    /// Makes a message of `content`: the header, then the body.
    ///
    /// # Panics
    /// If `meta` points outside of `content`: a bug of the front end, not of a peer.
    pub fn new(meta: Meta, content: &[u8]) -> Message {
        let (at, len) = meta.routing_key;
        let header_len = meta.header_len as usize;
        assert!(header_len <= content.len(), "header longer than the content");
        assert!(at as usize + len as usize <= header_len, "routing key outside of the header");
        Message(ThinArc::from_header_and_slice(Head { meta, other: OnceBox::new() }, content))
    }

    /// The message in this format: itself, or what it becomes (see [`fletch_amqp::convert`]). Of a message
    /// that several hold, that is made once, unless two threads ask at the same time, and freed with it; of
    /// another it is made each time, so that a backlog that is browsed does not grow. `node`: what the node
    /// is that answers go to, which 0-10 must know; the first answer counts.
    pub fn in_format(&self, format: Format, node: impl FnOnce(&str) -> Node) -> Cow<'_, Message> {
        if self.meta().format == format {
            return Cow::Borrowed(self);
        }
        let other = &self.0.header.header.other;
        if other.get().is_none() && ThinArc::strong_count(&self.0) <= HELD_ONCE {
            return Cow::Owned(self.converted(node));
        }
        Cow::Borrowed(other.get_or_init(|| Box::new(self.converted(node))))
    }

    /// The message in the other format.
    fn converted(&self, node: impl FnOnce(&str) -> Node) -> Message {
        let meta = self.meta();
        let mut content = Vec::new();
        let (format, converted) = match meta.format {
            Format::V0_10 => (Format::V1_0, to_1_0(self.header(), self.body(), &mut content)),
            Format::V1_0 => {
                let delivery = Delivery {
                    durable: meta.durable,
                    priority: meta.priority,
                    // Room for what is left of it when it is delivered.
                    ttl: (meta.expires != Time::NEVER).then_some(0),
                };
                (Format::V0_10, to_0_10(self.content(), delivery, node, &mut content))
            }
        };
        let Converted { header_len, routing_key, has_body } = converted;
        let scheduled = meta.flags.is_scheduled();
        let flags = Flags::of_body(has_body);
        let flags = if scheduled { flags.scheduled() } else { flags };
        let meta = Meta { format, header_len, routing_key, flags, ..meta.clone() };
        Message::new(meta, &content)
    }

    /// The same message with another header in which what stood at `from` or behind it has moved `by` so many
    /// bytes.
    pub(crate) fn with_header(&self, header: Vec<u8>, from: usize, by: isize) -> Message {
        let mut meta = self.meta().clone();
        meta.header_len = header.len() as u32;
        if meta.routing_key.0 as usize >= from {
            meta.routing_key.0 = (meta.routing_key.0 as isize + by) as u32;
        }
        let mut content = header;
        content.extend_from_slice(self.body());
        Message::new(meta, &content)
    }

    /// What the front end extracted.
    pub fn meta(&self) -> &Meta {
        &self.0.header.header.meta
    }

    /// The header, encoded.
    pub fn header(&self) -> &[u8] {
        &self.0.slice[..self.meta().header_len as usize]
    }

    /// The body; empty also if there is none.
    pub fn body(&self) -> &[u8] {
        &self.0.slice[self.meta().header_len as usize..]
    }

    /// Header and body, one after the other.
    pub(crate) fn content(&self) -> &[u8] {
        &self.0.slice
    }

    /// Bytes of header and body: what byte credit and queue sizes count.
    pub fn size(&self) -> usize {
        self.0.slice.len()
    }

    /// The routing key's bytes (UTF-8 unless the peer broke the rule).
    pub fn routing_key(&self) -> &[u8] {
        let (at, len) = self.meta().routing_key;
        &self.0.slice[at as usize..at as usize + len as usize]
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("routing_key", &String::from_utf8_lossy(self.routing_key()))
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ShardId;
    use crate::look::{content, property};
    use crate::testing::{Says, text};
    use fletch_amqp::v0_10::message::MessageView;
    use fletch_amqp::v1_0::message::Section;
    use fletch_amqp::v1_0::table::Properties;
    use fletch_amqp::v1_0::types::{Value, ValueRef};

    fn node(_: &str) -> Node {
        Node::Queue
    }

    fn message() -> Message {
        let properties = Properties {
            subject: Some("key"),
            reply_to: Some(ValueRef::of_str("answers")),
            ..Properties::default()
        };
        let application = vec![(text("n"), Value::Int(7))];
        let body = vec![(Section::Data, Value::Binary(b"body".to_vec()))];
        Says { properties, application, body, ..Says::default() }.message()
    }

    #[test]
    fn a_message_takes_no_more_room_than_it_must() {
        fn is_shared<T: Send + Sync>() {}
        is_shared::<Message>();
        assert_eq!((size_of::<Meta>(), size_of::<Head>()), (32, 40));
    }

    #[test]
    fn a_message_that_several_hold_is_converted_once() {
        let new = message();
        assert!(std::ptr::eq(&*new.in_format(Format::V1_0, node), &raw const new));
        let held = [new.clone()];
        assert!(matches!(new.in_format(Format::V0_10, node), Cow::Owned(_)));
        let more = [held[0].clone(), new.clone()];
        let old = new.in_format(Format::V0_10, node);
        for other in held.iter().chain(&more) {
            assert!(std::ptr::eq(&*old, &*other.in_format(Format::V0_10, |_| Node::Unknown)));
        }
        drop((held, more));
        assert!(std::ptr::eq(&*old, &*new.in_format(Format::V0_10, node)));
    }

    #[test]
    fn a_message_is_converted_there_and_back() {
        let new = message();
        let old = new.in_format(Format::V0_10, node);
        assert_eq!((old.routing_key(), old.body()), (&b"key"[..], &b"body"[..]));
        assert_eq!(property(&old, "n").and_then(|value| value.as_i64()), Some(7));
        let view = MessageView::parse(old.header()).expect("our own");
        let to = view.reply_to().expect("our own").expect("converted");
        assert_eq!((to.exchange, to.routing_key), (Some(""), Some("answers")));
        let again = old.in_format(Format::V1_0, node);
        assert_eq!(content(&again), &b"body"[..]);
        assert_eq!(again.meta().format, Format::V1_0);
    }

    #[test]
    fn what_is_known_of_a_message_stays() {
        let publisher = Some(SessionId::new(ShardId(3), 7));
        let meta = Meta { durable: true, priority: 7, publisher, ..message().meta().clone() };
        let expires = Time(5_000_000_000);
        let new = Message::new(Meta { expires, ..meta }, message().content());
        let old = new.in_format(Format::V0_10, node);
        let Meta { durable, priority, .. } = *old.meta();
        assert_eq!((durable, priority, old.meta().expires), (true, 7, expires));
        assert_eq!(old.meta().publisher, publisher);
        let view = MessageView::parse(old.header()).expect("our own");
        // A delivery says how long it is; there must be a place for that.
        assert_eq!(view.ttl(), Ok(Some(0)));
        assert_eq!(message().in_format(Format::V0_10, node).meta().expires, Time::NEVER);
        let view = MessageView::parse(message().in_format(Format::V0_10, node).header())
            .map(|view| view.ttl());
        assert_eq!(view, Ok(Ok(None)));
    }
}
