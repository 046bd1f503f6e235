//! What a binding wants of a header's value, and whether a value is that.
//!
//! Values match by what they mean, whatever type they were sent as: integers of any width and sign
//! with each other (a `boolean` counts as 0 or 1), floats with doubles, text of any encoding and
//! binary with each other, lists and arrays by their elements, maps by their entries in any order.
//! All other types (`uuid`, `char`, decimals, fixed binary, structs) match the same type with the
//! same octets. A number is never text, and an integer never a float.

use fletch_amqp::types::code;
use fletch_amqp::wire::Reader;
use fletch_amqp::{Value, ValueRef};

/// A header's value as it takes part in matching: decoded once, when the binding is made.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Wanted {
    /// Void in a binding: any value.
    Present,
    /// Void within a list or map: just that.
    Void,
    Integer(i128),
    Float(f64),
    /// Text as UTF-8, or binary as it is.
    Octets(Box<[u8]>),
    Sequence(Box<[Wanted]>),
    Map(Box<[(Box<str>, Wanted)]>),
    /// Of a type with no meaning here: the same type and octets.
    Other(u8, Box<[u8]>),
}

impl Wanted {
    /// What a binding with this value wants.
    pub(super) fn of(value: &Value) -> Wanted {
        if matches!(value, Value::Void) {
            return Wanted::Present;
        }
        let mut encoded = Vec::new();
        let decoded = match value.encode(&mut encoded) {
            Ok(()) => ValueRef::decode(&mut Reader::new(&encoded)).ok(),
            Err(_) => None,
        };
        // What cannot be encoded did not come from the wire and is on no message.
        decoded.map_or(Wanted::Other(value.code(), Box::default()), Wanted::within)
    }

    /// What a value within a binding's wants. Arguments nest no deeper than decoding allows.
    fn within(value: ValueRef<'_>) -> Wanted {
        if value.is_void() {
            return Wanted::Void;
        }
        if let Some(integer) = integer(value) {
            return Wanted::Integer(integer);
        }
        if let Some(float) = float(value) {
            return Wanted::Float(float);
        }
        if let Some(text) = converted(value) {
            return Wanted::Octets(text.into_bytes().into());
        }
        if let Some(octets) = value.as_bytes() {
            return Wanted::Octets(octets.into());
        }
        if let Some(elements) = elements(value) {
            return Wanted::Sequence(elements.map(Wanted::within).collect());
        }
        if let Some(map) = value.as_map() {
            let entries = map.iter().map_while(Result::ok);
            return Wanted::Map(entries.map(|(k, v)| (k.into(), Wanted::within(v))).collect());
        }
        Wanted::Other(value.code(), value.data().into())
    }

    /// Whether a message's value is what is wanted.
    pub(super) fn matches(&self, value: ValueRef<'_>) -> bool {
        match self {
            Wanted::Present => true,
            Wanted::Void => value.is_void(),
            Wanted::Integer(wanted) => integer(value) == Some(*wanted),
            Wanted::Float(wanted) => float(value) == Some(*wanted),
            Wanted::Octets(wanted) => match converted(value) {
                Some(text) => *text.as_bytes() == **wanted,
                None => value.as_bytes() == Some(wanted),
            },
            Wanted::Sequence(wanted) => elements(value).is_some_and(|mut elements| {
                wanted.iter().all(|w| elements.next().is_some_and(|v| w.matches(v)))
                    && elements.next().is_none()
            }),
            Wanted::Map(wanted) => value.as_map().is_some_and(|map| {
                map.len() == wanted.len()
                    && wanted.iter().all(|(key, w)| map.get(key).is_some_and(|v| w.matches(v)))
            }),
            Wanted::Other(code, wanted) => value.code() == *code && value.data() == &**wanted,
        }
    }
}

fn integer(value: ValueRef<'_>) -> Option<i128> {
    if value.code() == code::BOOLEAN {
        return value.as_bool().map(i128::from);
    }
    value.as_u64().map(i128::from).or_else(|| value.as_i64().map(i128::from))
}

fn float(value: ValueRef<'_>) -> Option<f64> {
    match value.code() {
        code::FLOAT | code::DOUBLE => value.as_f64(),
        _ => None,
    }
}

/// Text whose octets are not UTF-8 as they stand.
fn converted(value: ValueRef<'_>) -> Option<String> {
    match value.code() {
        code::STR8_LATIN | code::STR16_LATIN if !value.data().is_ascii() => {}
        code::STR8_UTF16 | code::STR16_UTF16 => {}
        _ => return None,
    }
    value.to_text().map(|text| text.into_owned())
}

fn elements<'a>(value: ValueRef<'a>) -> Option<Box<dyn Iterator<Item = ValueRef<'a>> + 'a>> {
    if let Some(list) = value.as_list() {
        return Some(Box::new(list.iter().map_while(Result::ok)));
    }
    Some(Box::new(value.as_array()?.iter().map_while(Result::ok)))
}
