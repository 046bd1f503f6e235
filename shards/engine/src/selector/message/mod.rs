//! What identifiers mean in a message: the reference broker's mapping of header fields (JMS 2.0 §3.4) and
//! properties (§3.5) to what messages of each protocol have.

mod v0_10;
mod v1_0;

use super::Environment;
use super::identifier::{Field, Identifier};
use super::value::Value;
use crate::ids::Time;
use crate::message::{Format, Message};
use fletch_amqp::ValueRef;
use fletch_amqp::types::code;
use std::cell::OnceCell;
use std::fmt::{self, Write};

/// The annotation that has the JMS type.
const JMS_TYPE: &str = "jms-type";
/// Digits and dashes of a UUID, which is also longer than any integer.
const TEXT_LEN: usize = 36;
const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

/// The header fields and properties of one message.
///
/// Decodes a part of the header when it is first asked for something in it. What is malformed counts as
/// absent.
#[derive(Debug)]
pub struct MessageEnvironment<'m> {
    message: &'m Message,
    redelivered: bool,
    fields: Fields<'m>,
}

/// What the protocols have in different places.
#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Fields<'m> {
    V0_10(v0_10::Fields<'m>),
    V1_0(v1_0::Fields<'m>),
}

impl<'m> MessageEnvironment<'m> {
    /// The environment of a message, for any number of selectors. The flag `redelivered` is no
    /// property of a message but of its place in a queue.
    pub fn new(message: &'m Message, redelivered: bool) -> MessageEnvironment<'m> {
        let fields = match message.meta().format {
            Format::V0_10 => Fields::V0_10(v0_10::Fields::new(message)),
            Format::V1_0 => Fields::V1_0(v1_0::Fields::new(message)),
        };
        MessageEnvironment { message, redelivered, fields }
    }

    /// Milliseconds since 1970; 0 for never.
    fn expiration(&self) -> i64 {
        match self.message.meta().expires {
            Time::NEVER => 0,
            Time(nanoseconds) => (nanoseconds / NANOSECONDS_PER_MILLISECOND) as i64,
        }
    }
}

impl Environment for MessageEnvironment<'_> {
    fn subject(&self) -> &[u8] {
        self.message.routing_key()
    }

    fn get(&self, identifier: &Identifier) -> Value<'_> {
        match identifier.field() {
            Field::DeliveryMode if self.message.meta().durable => "PERSISTENT".into(),
            Field::DeliveryMode => "NON_PERSISTENT".into(),
            Field::Redelivered => Value::Bool(self.redelivered),
            Field::Expiration => Value::Exact(self.expiration()),
            Field::Reserved => Value::Unknown,
            _ => match &self.fields {
                Fields::V0_10(fields) => fields.get(identifier),
                Fields::V1_0(fields) => fields.get(identifier),
            },
        }
    }
}

/// Where the reference broker cannot tell empty text from none.
fn not_empty(text: &[u8]) -> Value<'_> {
    if text.is_empty() { Value::Unknown } else { Value::Text(text) }
}

/// A value as text, which an integer (in 32 bits) and a UUID can be.
fn text_of<'s>(value: ValueRef<'s>, place: &'s OnceCell<Scratch<TEXT_LEN>>) -> Value<'s> {
    if let Some(text) = octets_of(value) {
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

/// The octets of text, binary, and structs, which the reference broker takes for the same.
fn octets_of(value: ValueRef<'_>) -> Option<&[u8]> {
    let is_struct = value.code() == code::STRUCT32;
    value.as_bytes().or_else(|| is_struct.then_some(value.data()))
}

/// The value of an application's property. Characters, decimals, UUIDs, maps, lists, arrays and wide
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
        _ => octets_of(value).map_or(Value::Unknown, Value::Text),
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
