//! Selectors of any text, for messages with any header.

use fletch_engine::selector::{
    Environment, Identifier, MessageEnvironment, Selector, SelectorError, Value,
};
use fletch_engine::{Flags, Format, Message, Meta, Time};

/// The input up to its first zero octet is a selector, the rest the header of a message. A selector
/// is true, false or unknown, and says the same each time; an error points into the text.
pub fn selector(data: &[u8]) {
    let end = data.iter().position(|octet| *octet == 0).unwrap_or(data.len());
    let text = String::from_utf8_lossy(&data[..end]);
    let header = data.get(end + 1..).unwrap_or_default();
    let selector = match Selector::parse(&text) {
        Ok(selector) => selector,
        Err(error) => return points_into(&text, &error),
    };
    // Longer and deeper by one, so that it may be too much.
    let is_false = Selector::parse(&format!("NOT ({text})")).ok();
    let is_unknown = Selector::parse(&format!("(NOT ({text})) IS NULL")).ok();
    let messages = [message(Format::V0_10, header), message(Format::V1_0, header)];
    let cases = messages.iter().flat_map(|message| [(message, false), (message, true)]);
    for (message, redelivered) in cases {
        let environment = MessageEnvironment::new(message, redelivered);
        let matches = selector.matches(&environment);
        assert_eq!(matches, selector.matches(&environment));
        let (Some(is_false), Some(is_unknown)) = (&is_false, &is_unknown) else { continue };
        let ways = [matches, is_false.matches(&environment), is_unknown.matches(&environment)];
        assert_eq!(ways.iter().filter(|way| **way).count(), 1, "{ways:?}");
        let made_up = MadeUp(header);
        let ways = [&selector, is_false, is_unknown].map(|selector| selector.matches(&made_up));
        assert_eq!(ways.iter().filter(|way| **way).count(), 1, "{ways:?}");
    }
}

fn points_into(text: &str, error: &SelectorError) {
    assert!(error.to_string().len() < 400);
    let column = match error {
        SelectorError::Expected { column, .. }
        | SelectorError::Unclosed { column, .. }
        | SelectorError::TooDeep { column }
        | SelectorError::TooManyIdentifiers { column }
        | SelectorError::TooManyPatterns { column }
        | SelectorError::PatternTooLong { column } => *column,
        SelectorError::TooLong { len } => return assert_eq!(*len, text.len()),
    };
    // The end counts as a place.
    assert!((1..=text.chars().count() + 1).contains(&column), "{error}");
}

fn message(format: Format, header: &[u8]) -> Message {
    let meta = Meta {
        format,
        header_len: header.len() as u32,
        routing_key: (0, 0),
        expires: Time(header.len() as u64 * 1_000_000),
        priority: 4,
        durable: header.first() == Some(&1),
        flags: Flags::of_body(false),
        publisher: None,
    };
    Message::new(meta, header)
}

/// Values of all types, by the names they have.
struct MadeUp<'a>(&'a [u8]);

impl Environment for MadeUp<'_> {
    fn get(&self, identifier: &Identifier) -> Value<'_> {
        match identifier.name().bytes().map(usize::from).sum::<usize>() % 6 {
            0 => Value::Unknown,
            1 => Value::Bool(self.0.len().is_multiple_of(2)),
            2 => Value::Exact(self.0.len() as i64),
            3 => Value::Approx(f64::from_bits(
                self.0.iter().fold(0, |bits, octet| bits << 8 | u64::from(*octet)),
            )),
            _ => Value::Text(self.0),
        }
    }
}
