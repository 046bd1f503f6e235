//! Messages of 0-10 in terms of 1.0.

use super::values::{To1_0, try_put};
use super::{APP_ID, Converted, LIST, MAP, NOTES, SUBJECT};
use crate::types::{ListRef, MapRef, code};
use crate::v0_10;
use crate::v0_10::table::message::{DeliveryProperties, MessageProperties, ReplyTo};
use crate::v1_0::Composite;
use crate::v1_0::message::{MessageView, Section};
use crate::v1_0::table::Properties;
use crate::v1_0::types::{
    Symbol, ValueRef, put_binary, put_described, put_map, put_string, put_symbol,
};
use crate::wire::Reader;
use std::borrow::Cow;

/// Levels of nesting down to the value that a section describes.
const DEPTH: usize = 1;

/// Appends the message of 0-10 with this header segment and this body as [`crate::v1_0::message::ingest`]
/// would keep it. Durability, priority and time to live are what the header of a delivery says.
pub fn to_1_0(header: &[u8], body: &[u8], out: &mut Vec<u8>) -> Converted {
    let start = out.len();
    let view = v0_10::message::MessageView::parse(header).unwrap_or_default();
    let delivery = view.delivery_properties().unwrap_or_default();
    let properties = view.message_properties().unwrap_or_default();
    let headers = properties.application_headers.unwrap_or_default();
    out.reserve(header.len() + body.len() + 64);
    let mut values = To1_0::default();
    put_annotations(headers, &mut values, out);
    put_properties(&delivery, &properties, headers, out);
    put_application_properties(&properties, headers, &mut values, out);
    let header_len = out.len() - start;
    put_body(properties.content_type, body, &mut values, out);

    let octets = &out[start..];
    let subject = MessageView::parse(&octets[..header_len])
        .ok()
        .and_then(|view| view.properties().ok()?.subject)
        .filter(|subject| !subject.is_empty());
    let routing_key = subject.map_or((0, 0), |subject| {
        let at = subject.as_ptr() as usize - octets.as_ptr() as usize;
        (at as u32, subject.len() as u32)
    });
    Converted { header_len: header_len as u32, routing_key, has_body: true }
}

fn put_annotations(headers: MapRef<'_>, values: &mut To1_0, out: &mut Vec<u8>) {
    let notes = NOTES.map(|name| (name, headers.get(name)));
    if notes.iter().all(|(_, value)| value.is_none()) {
        return;
    }
    try_put(out, |out| {
        put_described(Section::MessageAnnotations.code(), out);
        put_map(out, |out| {
            let mut count = 0;
            for (name, value) in notes {
                let (Some(name), Some(value)) = (Symbol::new(name), value) else { continue };
                let put = |out: &mut Vec<u8>| {
                    put_symbol(name, out)?;
                    values.put(value, DEPTH + 1, out)
                };
                count += if try_put(out, put) { 2 } else { 0 };
            }
            Ok(count)
        })
    });
}

fn put_properties(
    delivery: &DeliveryProperties<'_>,
    properties: &MessageProperties<'_>,
    headers: MapRef<'_>,
    out: &mut Vec<u8>,
) {
    // A message that was sent to a queue by its name has that for a routing key, and no exchange.
    let exchange = delivery.exchange.filter(|exchange| !exchange.is_empty());
    let subject = match exchange {
        Some(_) => delivery.routing_key.map(Cow::Borrowed),
        None => headers.get(SUBJECT).and_then(|subject| subject.to_text()),
    };
    let subject = subject.as_deref().filter(|subject| !subject.is_empty());
    let id = properties.message_id.map(|id| id.to_string());
    let reply_to = properties.reply_to.as_ref().and_then(address);
    let correlation = properties.correlation_id.map(|id| match std::str::from_utf8(id) {
        Ok(text) => ValueRef::of_str(text),
        Err(_) => ValueRef::of_binary(id),
    });
    let expiry = delivery.expiration.and_then(|at| i64::try_from(at.checked_mul(1000)?).ok());
    let properties = Properties {
        message_id: id.as_deref().map(ValueRef::of_str),
        user_id: properties.user_id,
        to: exchange.or(subject).map(ValueRef::of_str),
        subject,
        reply_to: reply_to.as_deref().map(ValueRef::of_str),
        correlation_id: correlation,
        content_type: properties.content_type.and_then(Symbol::new),
        content_encoding: properties.content_encoding.and_then(Symbol::new),
        absolute_expiry_time: expiry,
        ..Properties::default()
    };
    if properties != Properties::default() {
        try_put(out, |out| properties.encode(out));
    }
}

/// The address that a reply-to stands for, if for any.
fn address<'a>(reply_to: &ReplyTo<'a>) -> Option<Cow<'a, str>> {
    let some = |text: Option<&'a str>| text.filter(|text| !text.is_empty());
    match (some(reply_to.exchange), some(reply_to.routing_key)) {
        (Some(exchange), Some(key)) => Some(format!("{exchange}/{key}").into()),
        (exchange, key) => exchange.or(key).map(Cow::Borrowed),
    }
}

fn put_application_properties(
    properties: &MessageProperties<'_>,
    headers: MapRef<'_>,
    values: &mut To1_0,
    out: &mut Vec<u8>,
) {
    if headers.is_empty() && properties.app_id.is_none() {
        return;
    }
    try_put(out, |out| {
        put_described(Section::ApplicationProperties.code(), out);
        put_map(out, |out| {
            let mut count = 0;
            if let Some(id) = properties.app_id {
                put_string(APP_ID, out)?;
                match std::str::from_utf8(id) {
                    Ok(id) => put_string(id, out)?,
                    Err(_) => put_binary(id, out)?,
                }
                count += 2;
            }
            Ok(count + values.put_entries(headers, DEPTH, &NOTES, out))
        })
    });
}

fn put_body(content_type: Option<&str>, body: &[u8], values: &mut To1_0, out: &mut Vec<u8>) {
    let mut typed = |out: &mut Vec<u8>| {
        let content = Reader::new(body).bytes32().ok()?;
        match content_type {
            Some(MAP) => {
                let map = MapRef::new(content).ok()?;
                map.validate_outline().ok()?;
                put_described(Section::Value.code(), out);
                values.put_map(map, DEPTH, out).ok()
            }
            Some(LIST) => {
                let value = crate::types::ValueRef::from_parts(code::LIST, content);
                value.validate_outline().ok()?;
                put_described(Section::Value.code(), out);
                values.put_list(ListRef::new(content).ok()?, DEPTH, out).ok()
            }
            _ => None,
        }
    };
    let start = out.len();
    if typed(out).is_none() {
        out.truncate(start);
        put_described(Section::Data.code(), out);
        let whole = try_put(out, |out| put_binary(body, out));
        debug_assert!(whole, "a body has a size of 32 bits");
    }
}
