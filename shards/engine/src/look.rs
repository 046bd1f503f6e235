//! Looking into messages of either format, and adding to what they say.
//!
//! Values are seen as those of 0-10. What is malformed counts as absent.

use crate::message::{Format, Message};
use fletch_amqp::ValueRef;
use fletch_amqp::convert::scalar;
use fletch_amqp::types::MapRef;
use fletch_amqp::v0_10::message::{Annotated, MessageView, annotate_header};
use fletch_amqp::v1_0;
use fletch_amqp::v1_0::message::{Body, annotate};
use fletch_amqp::wire::Reader;
use smallvec::SmallVec;
use std::borrow::Cow;

/// The properties of an application by their names.
pub(crate) type Present<'m> = SmallVec<[(&'m str, ValueRef<'m>); 16]>;

/// The application headers of a message of 0-10.
fn headers(message: &Message) -> MapRef<'_> {
    let view = MessageView::parse(message.header()).ok();
    view.and_then(|view| view.application_headers().ok()).unwrap_or_default()
}

/// The head of a message of 1.0.
pub(crate) fn view_1_0(message: &Message) -> v1_0::message::MessageView<'_> {
    v1_0::message::MessageView::parse(message.header()).unwrap_or_default()
}

/// The application's property with this name: an application header of 0-10, an application property of
/// 1.0 if it is a scalar.
pub(crate) fn property<'m>(message: &'m Message, name: &str) -> Option<ValueRef<'m>> {
    match message.meta().format {
        Format::V0_10 => headers(message).get(name),
        Format::V1_0 => view_1_0(message).application_properties().get(name).and_then(scalar),
    }
}

/// All of them.
pub(crate) fn properties(message: &Message) -> Present<'_> {
    match message.meta().format {
        Format::V0_10 => headers(message).iter().map_while(Result::ok).collect(),
        Format::V1_0 => {
            let properties = view_1_0(message).application_properties();
            let entries = properties.iter().map_while(Result::ok);
            entries.filter_map(|(key, value)| Some((key.as_str()?, scalar(value)?))).collect()
        }
    }
}

/// What a broker has noted under this name: an application header of 0-10, a message annotation of 1.0.
pub(crate) fn annotation<'m>(message: &'m Message, name: &str) -> Option<ValueRef<'m>> {
    match message.meta().format {
        Format::V0_10 => headers(message).get(name),
        Format::V1_0 => view_1_0(message).message_annotations().get(name).and_then(scalar),
    }
}

/// When a message was made, or came, in seconds since 1970: what 0-10 is told by the broker that it came
/// to, and 1.0 by the message's maker.
pub(crate) fn timestamp(message: &Message) -> Option<u64> {
    match message.meta().format {
        Format::V0_10 => MessageView::parse(message.header()).ok()?.timestamp().ok()?,
        Format::V1_0 => {
            let created = view_1_0(message).properties().ok()?.creation_time?;
            u64::try_from(created / 1000).ok()
        }
    }
}

/// The octets or the text in a message's body. A body of other values has none.
pub(crate) fn content(message: &Message) -> Cow<'_, [u8]> {
    if message.meta().format == Format::V0_10 {
        return message.body().into();
    }
    let view = v1_0::message::MessageView::parse(message.body()).unwrap_or_default();
    match view.body() {
        Body::Data(pieces) => pieces.joined(),
        Body::Value(value) => scalar(value).and_then(ValueRef::as_bytes).unwrap_or_default().into(),
        Body::Sequence(_) | Body::Absent => (&[]).into(),
    }
}

/// What a broker notes on a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Note<'a> {
    Uint(u32),
    Int(i64),
    Text(Cow<'a, str>),
    /// What a client of 1.0 has said; in 0-10 if it is a scalar.
    Value(&'a v1_0::types::Value),
}

impl Note<'_> {
    fn to_0_10(&self) -> Option<fletch_amqp::Value> {
        Some(match self {
            Note::Uint(number) => (*number).into(),
            Note::Int(number) => (*number).into(),
            Note::Text(text) => (&**text).into(),
            Note::Value(value) => {
                let mut octets = Vec::new();
                value.encode(&mut octets).ok()?;
                let value = v1_0::types::ValueRef::decode(&mut Reader::new(&octets)).ok()?;
                scalar(value)?.to_value().ok()?
            }
        })
    }

    fn to_1_0(&self) -> v1_0::types::Value {
        match self {
            Note::Uint(number) => v1_0::types::Value::Uint(*number),
            Note::Int(number) => v1_0::types::Value::Long(*number),
            Note::Text(text) => v1_0::types::Value::String((**text).to_owned()),
            Note::Value(value) => (*value).clone(),
        }
    }
}

/// Appends the header of a message with notes put among its annotations. None, and nothing is appended, if
/// it cannot be read, or nobody could with more in it.
pub(crate) fn put_noted(
    message: &Message,
    out: &mut Vec<u8>,
    notes: &[(&str, Note<'_>)],
) -> Option<Annotated> {
    match message.meta().format {
        Format::V0_10 => {
            let entries: SmallVec<[_; 2]> =
                notes.iter().filter_map(|(key, note)| Some((*key, note.to_0_10()?))).collect();
            annotate_header(message.header(), out, &entries).ok()
        }
        Format::V1_0 => {
            let entries: SmallVec<[_; 2]> =
                notes.iter().map(|(key, note)| (*key, note.to_1_0())).collect();
            annotate(message.header(), out, &entries).ok()
        }
    }
}

/// The message with notes put among its annotations; as it is where [`put_noted`] would do nothing.
pub(crate) fn noted(message: &Message, notes: &[(&str, Note<'_>)]) -> Message {
    let mut content = Vec::with_capacity(message.size() + 64);
    match put_noted(message, &mut content, notes) {
        Some(moved) => message.with_header(content, moved.from, moved.by),
        None => message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Says, message_with, symbol, text};
    use fletch_amqp::v1_0::message::Section;
    use fletch_amqp::v1_0::table::Properties;
    use fletch_amqp::v1_0::types::Value;

    #[test]
    fn properties_of_1_0_are_seen_as_those_of_0_10() {
        let message = message_with("n", Value::Ulong(7));
        assert_eq!(property(&message, "n").and_then(ValueRef::as_i64), Some(7));
        assert_eq!((property(&message, "x"), annotation(&message, "n")), (None, None));
        assert_eq!(properties(&message).len(), 1);
        let list = message_with("n", Value::List(vec![]));
        assert_eq!(property(&list, "n"), None);
        assert!(properties(&list).is_empty());
    }

    #[test]
    fn a_message_of_1_0_says_when_it_was_made() {
        let made = |creation_time| {
            let properties = Properties { creation_time, ..Properties::default() };
            timestamp(&Says { properties, ..Says::default() }.message())
        };
        assert_eq!(made(Some(1_999)), Some(1));
        assert_eq!((made(None), made(Some(-5_000))), (None, None));
    }

    #[test]
    fn content_is_what_stands_in_the_body() {
        let of = |body: &[(Section, Value)]| {
            let message = Says { body: body.to_vec(), ..Says::default() }.message();
            content(&message).into_owned()
        };
        let data = |octets: &[u8]| (Section::Data, Value::Binary(octets.to_vec()));
        assert_eq!(of(&[]), b"");
        assert_eq!(of(&[data(b"one")]), b"one");
        assert_eq!(of(&[data(b"one"), data(b""), data(b"two")]), b"onetwo");
        assert_eq!(of(&[(Section::Value, text("text"))]), b"text");
        assert_eq!(of(&[(Section::Value, Value::Uint(1))]), b"");
        assert_eq!(of(&[(Section::Sequence, Value::List(vec![text("t")]))]), b"");
        let footer = (Section::Footer, Value::Map(vec![]));
        assert_eq!(of(&[data(b"one"), footer.clone()]), b"one");
        assert_eq!(of(&[footer]), b"");
    }

    #[test]
    fn notes_are_message_annotations_of_1_0() {
        let message = Says {
            annotations: vec![(symbol("x-opt-a"), text("stays"))],
            properties: Properties { subject: Some("key"), ..Properties::default() },
            body: vec![(Section::Data, Value::Binary(b"body".to_vec()))],
            ..Says::default()
        }
        .message();
        let notes = [
            ("n", Note::Uint(7)),
            ("m", Note::Int(-1)),
            ("t", Note::Text("text".repeat(100).into())),
        ];
        let new = noted(&message, &notes);
        assert_eq!((new.routing_key(), new.body()), (&b"key"[..], message.body()));
        assert_eq!(annotation(&new, "n").and_then(ValueRef::as_u64), Some(7));
        assert_eq!(annotation(&new, "m").and_then(ValueRef::as_i64), Some(-1));
        assert_eq!(annotation(&new, "t").and_then(ValueRef::as_str).map(str::len), Some(400));
        assert_eq!(annotation(&new, "x-opt-a").and_then(ValueRef::as_str), Some("stays"));
        let odd = noted(&message, &[("\u{fc}", Note::Uint(1))]);
        assert_eq!(odd.header(), message.header());
    }
}
