//! What a queue adds to the headers of the messages that leave it: their numbers in the queue, and where
//! they came by.
//!
//! A message stays as it came in, for other queues have it too: what is added is added to a delivery's
//! own header, or to the copy that goes to another queue.

use super::settings::QueueSettings;
use crate::annotations::Annotations;
use crate::ids::Position;
use crate::look::{Note, annotation, noted, put_noted};
use crate::message::Message;
use smallvec::SmallVec;
use std::sync::Arc;

/// The annotation that says where a message came by.
const TRACE: &str = "x-qpid.trace";

/// See the module.
#[derive(Debug)]
pub struct Marks {
    /// `qpid.queue_msg_sequence`.
    sequence: Option<Box<str>>,
    /// `qpid.trace.id`.
    trace: Option<Box<str>>,
    /// What consumers have said of this message.
    annotations: Option<Arc<Annotations>>,
}

impl Marks {
    /// Those that a queue's arguments ask for.
    pub(super) fn of(settings: &QueueSettings) -> Option<Arc<Marks>> {
        let boxed = |text: &Option<String>| text.as_deref().map(Box::from);
        let (sequence, trace) = (boxed(&settings.sequence_key), boxed(&settings.trace_id));
        let marks = Marks { sequence, trace, annotations: None };
        (marks.sequence.is_some() || marks.trace.is_some()).then(|| Arc::new(marks))
    }

    /// Those of a queue, and what was said of a message besides.
    #[inline]
    pub(super) fn with(
        queue: Option<&Arc<Marks>>,
        annotations: Option<Arc<Annotations>>,
    ) -> Option<Arc<Marks>> {
        if annotations.is_none() {
            return queue.cloned();
        }
        let of =
            |mark: fn(&Marks) -> &Option<Box<str>>| queue.and_then(|marks| mark(marks).clone());
        let (sequence, trace) = (of(|marks| &marks.sequence), of(|marks| &marks.trace));
        Some(Arc::new(Marks { sequence, trace, annotations }))
    }

    /// Appends the header that the message at a position leaves with. One that cannot be read stays as it
    /// is.
    pub fn put_header(&self, message: &Message, position: Position, out: &mut Vec<u8>) {
        if put_noted(message, out, &self.notes(message, position)).is_none() {
            out.extend_from_slice(message.header());
        }
    }

    /// The message as it goes to another queue.
    pub(crate) fn apply(&self, message: &Message, position: Position) -> Message {
        noted(message, &self.notes(message, position))
    }

    fn notes(&self, message: &Message, position: Position) -> SmallVec<[(&str, Note<'_>); 2]> {
        let annotations = self.annotations.as_deref();
        let mut notes: SmallVec<_> = annotations.into_iter().flat_map(Annotations::notes).collect();
        if let Some(key) = &self.sequence {
            // 32 bits, as in the reference: then it begins anew.
            notes.push((&**key, Note::Uint(position as u32)));
        }
        if let Some(id) = &self.trace {
            let trace = trace_of(message);
            if trace.is_empty() {
                notes.push((TRACE, Note::Text((&**id).into())));
            } else if !trace.contains(&**id) {
                notes.push((TRACE, Note::Text(format!("{trace},{id}").into())));
            }
        }
        notes
    }
}

/// Where a message came by, so far: ids with commas between them.
fn trace_of(message: &Message) -> String {
    let Some(value) = annotation(message, TRACE) else { return String::new() };
    match (value.to_text(), value.as_i64()) {
        (Some(text), _) => text.into_owned(),
        (None, Some(number)) => number.to_string(),
        (None, None) => String::new(),
    }
}

/// Whether a message came by one of these.
pub(super) fn came_by(message: &Message, ids: &[String]) -> bool {
    let trace = trace_of(message);
    trace.split([',', ' ']).any(|id| ids.iter().any(|excluded| excluded == id))
}

/// The message without what it says of where it came by, as it is rerouted.
pub(crate) fn without_trace(message: Message) -> Message {
    if trace_of(&message).is_empty() {
        return message;
    }
    noted(&message, &[(TRACE, Note::Text("".into()))])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Time;
    use crate::message::{Flags, Format, Meta};
    use fletch_amqp::types::Map;
    use fletch_amqp::v0_10::Compound;
    use fletch_amqp::v0_10::message::MessageView;
    use fletch_amqp::v0_10::table::message::{DeliveryProperties, MessageProperties};

    /// Its message properties come first, so that the routing key moves.
    fn message(headers: Option<Map>) -> Message {
        let encoded = headers.map(|map| map.encoded().expect("encodes"));
        let properties = MessageProperties {
            application_headers: encoded.as_ref().map(Into::into),
            content_type: Some("text/plain"),
            ..MessageProperties::default()
        };
        let delivery = DeliveryProperties { routing_key: Some("key"), ..Default::default() };
        let mut content = Vec::new();
        properties.encode(&mut content).expect("encodes");
        delivery.encode(&mut content).expect("encodes");
        let header_len = content.len() as u32;
        content.extend_from_slice(b"body");
        let meta = Meta {
            format: Format::V0_10,
            header_len,
            routing_key: (header_len - 3, 3),
            expires: Time::NEVER,
            priority: 4,
            durable: true,
            flags: Flags::of_body(true),
            publisher: None,
        };
        Message::new(meta, &content)
    }

    fn headers(message: &Message) -> Map {
        let view = MessageView::parse(message.header()).expect("reads");
        view.application_headers().expect("reads").to_map().expect("reads")
    }

    fn marks(sequence: Option<&str>, trace: Option<&str>) -> Marks {
        let annotations = None;
        Marks { sequence: sequence.map(Box::from), trace: trace.map(Box::from), annotations }
    }

    fn traced(trace: &str) -> Message {
        message(Some(Map::new().with("a", 1).with(TRACE, trace)))
    }

    #[test]
    fn a_number_is_added_and_all_else_stays() {
        for (before, more) in [(None, 0), (Some(Map::new().with("a", 1).with("n", "old")), 1)] {
            let old = message(before);
            let new = marks(Some("n"), None).apply(&old, 7);
            assert_eq!(new.routing_key(), b"key");
            assert_eq!(new.body(), b"body");
            let map = headers(&new);
            assert_eq!((map.get_int("n"), map.len()), (Some(7), 1 + more));
            let view = MessageView::parse(new.header()).expect("reads");
            assert_eq!(view.content_type(), Ok(Some("text/plain")));
            let mut header = Vec::new();
            marks(Some("n"), None).put_header(&old, 7, &mut header);
            assert_eq!(header, new.header());
        }
    }

    #[test]
    fn an_id_is_added_once() {
        let marks = marks(None, Some("here"));
        let trace =
            |message: &Message| headers(&marks.apply(message, 1)).get_str(TRACE).map(str::to_owned);
        assert_eq!(trace(&message(None)).as_deref(), Some("here"));
        assert_eq!(trace(&traced("a,b")).as_deref(), Some("a,b,here"));
        assert_eq!(trace(&traced("a,here,b")).as_deref(), Some("a,here,b"));
        assert_eq!(headers(&marks.apply(&traced("a"), 1)).get_int("a"), Some(1));
    }

    #[test]
    fn where_it_came_by_is_known_and_forgotten() {
        let ids = ["b".to_owned(), "x".to_owned()];
        assert!(came_by(&traced("a,b"), &ids) && came_by(&traced("a, x"), &ids));
        assert!(!came_by(&traced("ab,c"), &ids) && !came_by(&message(None), &ids));
        assert_eq!(headers(&without_trace(traced("a,b"))).get_str(TRACE), Some(""));
        assert!(headers(&without_trace(message(None))).is_empty());
    }

    #[test]
    fn messages_of_1_0_are_marked_too() {
        use crate::look::annotation;
        let old = crate::testing::Says::default().message();
        let marks = marks(Some("n"), Some("here"));
        let new = marks.apply(&marks.apply(&old, 6), 7);
        assert_eq!(annotation(&new, "n").and_then(|value| value.as_i64()), Some(7));
        assert_eq!(trace_of(&new), "here");
        assert!(came_by(&new, &["here".to_owned()]) && !came_by(&old, &["here".to_owned()]));
        assert_eq!(trace_of(&without_trace(new)), "");
    }

    #[test]
    fn a_header_that_cannot_be_read_stays() {
        let meta = message(None).meta().clone();
        let odd = Message::new(Meta { header_len: 3, routing_key: (0, 3), ..meta }, b"oddbody");
        let new = marks(Some("n"), Some("here")).apply(&odd, 7);
        assert_eq!((new.header(), new.body()), (&b"odd"[..], &b"body"[..]));
    }
}
