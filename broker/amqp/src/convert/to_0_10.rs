//! Messages of 1.0 in terms of 0-10.

use super::values::{
    put_0_10, put_counted, put_entries_0_10, put_items_0_10, try_put, undescribed,
};
use super::{APP_ID, Converted, LIST, MAP, NOTES, SUBJECT, TEXT};
use crate::types::{MapRef, Uuid};
use crate::v0_10::table::message::{DeliveryProperties, MessageProperties, ReplyTo};
use crate::v0_10::{Compound, DeliveryMode};
use crate::v1_0::message::{Body, MessageView};
use crate::v1_0::types::{ValueRef, code};
use crate::wire::{put_bytes8, put_sized};
use std::borrow::Cow;

/// The most that a `str8` holds.
const STR8: usize = u8::MAX as usize;
/// The highest priority of 0-10.
const PRIORITY_MAX: u8 = 9;

/// What the node is that an address without a slash names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// A queue.
    Queue,
    /// An exchange, and no queue.
    Exchange,
    /// Neither.
    Unknown,
}

/// What 1.0 says in the header of a delivery, and 0-10 in the message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Delivery {
    /// Whether the message must survive a restart.
    pub durable: bool,
    /// The priority; 9 is the highest that 0-10 knows.
    pub priority: u8,
    /// Milliseconds to live.
    pub ttl: Option<u64>,
}

/// Appends header segment and body of a message of 1.0, of which `content` is what
/// [`crate::v1_0::message::ingest`] keeps. `node`: what the node is that answers go to.
pub fn to_0_10(
    content: &[u8],
    delivery: Delivery,
    node: impl FnOnce(&str) -> Node,
    out: &mut Vec<u8>,
) -> Converted {
    let start = out.len();
    let view = MessageView::parse(content).unwrap_or_default();
    let properties = view.properties().unwrap_or_default();
    let (body, content_type) = body(&view);
    out.reserve(content.len() + body.len() + 128);

    let subject = properties.subject.unwrap_or_default();
    let key = cut(subject);
    let expiration = properties.absolute_expiry_time.and_then(|at| u64::try_from(at / 1000).ok());
    let delivery = DeliveryProperties {
        priority: Some(delivery.priority.min(PRIORITY_MAX)),
        delivery_mode: delivery.durable.then_some(DeliveryMode::PERSISTENT),
        ttl: delivery.ttl,
        expiration,
        routing_key: Some(key).filter(|key| !key.is_empty()),
        ..DeliveryProperties::default()
    };
    try_put(out, |out| delivery.encode(out));
    // The key is the last of it.
    let routing_key = ((out.len() - start - key.len()) as u32, key.len() as u32);

    let headers = headers(&view, subject);
    let application = view.application_properties();
    let app_id = application.get(APP_ID).and_then(text_of);
    let correlation = properties.correlation_id.and_then(id_text);
    let short = |text: &'_ str| text.len() <= STR8;
    let content_type = properties.content_type.map(|symbol| symbol.as_str()).or(content_type);
    let content_encoding = properties.content_encoding.map(|symbol| symbol.as_str());
    let user_id = properties.user_id.map(Cow::Borrowed);
    let properties = MessageProperties {
        content_length: Some(body.len() as u64),
        message_id: properties.message_id.and_then(uuid_of_id),
        correlation_id: correlation.as_deref().filter(|id| is_vbin16(id)),
        reply_to: properties.reply_to.and_then(ValueRef::as_str).and_then(|to| reply_to(to, node)),
        content_type: content_type.filter(|text| short(text)),
        content_encoding: content_encoding.filter(|text| short(text)),
        user_id: user_id.as_deref().filter(|id| is_vbin16(id)),
        app_id: app_id.filter(|id| is_vbin16(id)),
        application_headers: MapRef::new(&headers).ok().filter(|headers| !headers.is_empty()),
    };
    try_put(out, |out| properties.encode(out));
    let header_len = (out.len() - start) as u32;
    out.extend_from_slice(&body);
    let has_body = !matches!(view.body(), Body::Absent);
    Converted { header_len, routing_key, has_body }
}

fn is_vbin16(octets: &[u8]) -> bool {
    u16::try_from(octets.len()).is_ok()
}

/// As much of a text as a `str8` holds, in whole characters.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(STR8)]
}

/// Application headers: the subject, what brokers have noted, and application properties. Their count, and
/// the entries.
fn headers(view: &MessageView<'_>, subject: &str) -> Vec<u8> {
    let mut out = Vec::new();
    let put = |out: &mut Vec<u8>| {
        let mut count = 0;
        let mut entry = |name: &str, value: ValueRef<'_>, out: &mut Vec<u8>| {
            let put = |out: &mut Vec<u8>| {
                put_bytes8(out, name.as_bytes())?;
                put_0_10(value, 1, out)
            };
            count += u32::from(try_put(out, put));
        };
        if !subject.is_empty() {
            entry(SUBJECT, ValueRef::of_str(subject), out);
        }
        for name in NOTES {
            if let Some(value) = view.message_annotations().get(name) {
                entry(name, value, out);
            }
        }
        let [trace, sequence] = NOTES;
        let mut without = vec![APP_ID, trace, sequence];
        // A subject that the application gives as a property stands if the message has no other.
        without.extend((!subject.is_empty()).then_some(SUBJECT));
        count + put_entries_0_10(view.application_properties(), 0, &without, out)
    };
    let done = put_counted(&mut out, put);
    debug_assert!(done.is_ok(), "counting cannot fail");
    out
}

/// The octets of a body, and the type that they have by the type of the body.
fn body<'a>(view: &MessageView<'a>) -> (Cow<'a, [u8]>, Option<&'static str>) {
    match view.body() {
        Body::Absent => (Cow::Borrowed(&[]), None),
        Body::Data(pieces) => (pieces.joined(), None),
        Body::Sequence(lists) => {
            let octets = listed(|out| {
                lists.fold(0, |count, list| {
                    let items = list.iter().map_while(Result::ok);
                    items.fold(count, |count, item| count + put_item(item, out))
                })
            });
            (octets.into(), Some(LIST))
        }
        Body::Value(value) => value_body(undescribed(value)),
    }
}

fn value_body(value: ValueRef<'_>) -> (Cow<'_, [u8]>, Option<&'static str>) {
    match value.code() {
        code::NULL => (Cow::Borrowed(&[]), None),
        code::BINARY8 | code::BINARY32 => (value.data().into(), None),
        code::STRING8 | code::STRING32 | code::SYMBOL8 | code::SYMBOL32 => {
            (value.data().into(), Some(TEXT))
        }
        code::MAP8 | code::MAP32 => {
            let map = value.as_map().unwrap_or_default();
            (listed(|out| put_entries_0_10(map, 0, &[], out)).into(), Some(MAP))
        }
        code::LIST0 | code::LIST8 | code::LIST32 | code::ARRAY8 | code::ARRAY32 => {
            (listed(|out| put_items_0_10(value, 0, out)).into(), Some(LIST))
        }
        _ => (listed(|out| put_item(value, out)).into(), Some(LIST)),
    }
}

/// A map or a list with its size; empty if it is too large for one.
fn listed(items: impl FnOnce(&mut Vec<u8>) -> u32) -> Vec<u8> {
    let mut out = Vec::new();
    try_put(&mut out, |out| put_sized(out, 4, |out| put_counted(out, items)));
    out
}

/// Appends an item of a list; answers how many that are.
fn put_item(value: ValueRef<'_>, out: &mut Vec<u8>) -> u32 {
    if !try_put(out, |out| put_0_10(value, 1, out)) {
        out.push(crate::types::code::VOID);
    }
    1
}

/// The octets of text or binary.
fn text_of(value: ValueRef<'_>) -> Option<&[u8]> {
    value.as_text().map(str::as_bytes).or_else(|| value.as_binary())
}

/// A message id that is a UUID: one, the text of one, or its octets.
pub fn uuid_of_id(id: ValueRef<'_>) -> Option<Uuid> {
    let octets = || id.as_binary().and_then(|octets| octets.try_into().ok()).map(Uuid);
    id.as_uuid().or_else(octets).or_else(|| id.as_str().and_then(uuid_of_text))
}

/// The UUID that a text is, in the form with dashes.
fn uuid_of_text(text: &str) -> Option<Uuid> {
    let text = text.as_bytes();
    if text.len() != 36 {
        return None;
    }
    let mut octets = [0; 16];
    let mut at = 0;
    for (index, octet) in octets.iter_mut().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            (text[at] == b'-').then_some(())?;
            at += 1;
        }
        let digit = |at: usize| char::from(text[at]).to_digit(16);
        *octet = (digit(at)? << 4 | digit(at + 1)?) as u8;
        at += 2;
    }
    Some(Uuid(octets))
}

/// A correlation id as octets.
fn id_text(id: ValueRef<'_>) -> Option<Cow<'_, [u8]>> {
    if let Some(octets) = text_of(id) {
        return Some(octets.into());
    }
    let text = id.as_uuid().map(|id| id.to_string());
    let text = text.or_else(|| id.as_u64().map(|number| number.to_string()));
    text.map(|text| text.into_bytes().into())
}

/// What an address stands for. None if it is too long, or names nothing.
fn reply_to(address: &str, node: impl FnOnce(&str) -> Node) -> Option<ReplyTo<'_>> {
    let (exchange, key) = match address.split_once('/') {
        Some((exchange, key)) => (exchange, key),
        None => match node(address) {
            Node::Queue => ("", address),
            Node::Exchange => (address, ""),
            Node::Unknown => return None,
        },
    };
    if exchange.len() > STR8 || key.len() > STR8 || exchange.len() + key.len() == 0 {
        return None;
    }
    Some(ReplyTo { exchange: Some(exchange), routing_key: Some(key) })
}
