//! What tells a message from others, whichever protocol it came in: its message-id.
//!
//! Ids are the same if they are so by value, across protocols as messages are converted (`amqp/src/convert`): a UUID of
//! 0-10 is a UUID of 1.0, the text of one with dashes, and its 16 octets (1.0, part 3.2.11 to 3.2.14). Others exist in
//! 1.0 alone, where a number, a text and octets are never the same.

use crate::look::view_1_0;
use crate::message::{Format, Message};
use fletch_amqp::convert::uuid_of_id;
use fletch_amqp::v0_10::message::MessageView;
use smallvec::SmallVec;

/// Octets that are equal if ids are.
pub(crate) type Identity = SmallVec<[u8; 36]>;

/// Longer ids count as none: the journal has to keep them, whoever sends them. Those of known clients have at most 100.
pub(crate) const ID_MAX: usize = 255;

const UUID: u8 = 1;
const NUMBER: u8 = 2;
const TEXT: u8 = 3;
const OCTETS: u8 = 4;

/// A message's id, if it has one.
pub(crate) fn identity(message: &Message) -> Option<Identity> {
    let of = |kind: u8, octets: &[u8]| {
        let mut id = Identity::new();
        id.push(kind);
        id.extend_from_slice(octets);
        id
    };
    match message.meta().format {
        Format::V0_10 => {
            let id = MessageView::parse(message.header()).ok()?.message_id().ok()??;
            Some(of(UUID, &id.0))
        }
        Format::V1_0 => {
            let id = view_1_0(message).properties().ok()?.message_id?;
            if let Some(uuid) = uuid_of_id(id) {
                return Some(of(UUID, &uuid.0));
            }
            if let Some(number) = id.as_u64() {
                return Some(of(NUMBER, &number.to_be_bytes()));
            }
            let (kind, octets) = match id.as_str() {
                Some(text) => (TEXT, text.as_bytes()),
                None => (OCTETS, id.as_binary()?),
            };
            (octets.len() <= ID_MAX).then(|| of(kind, octets))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::message_with_id;
    use crate::testing::Says;
    use fletch_amqp::types::Uuid;
    use fletch_amqp::v1_0::table::Properties;
    use fletch_amqp::v1_0::types::ValueRef;

    fn of_1_0(id: Option<ValueRef<'_>>) -> Option<Identity> {
        let properties = Properties { message_id: id, ..Properties::default() };
        identity(&Says { properties, ..Says::default() }.message())
    }

    fn of_text(text: &str) -> Option<Identity> {
        of_1_0(Some(ValueRef::of_str(text)))
    }

    fn of_octets(octets: &[u8]) -> Option<Identity> {
        of_1_0(Some(ValueRef::of_binary(octets)))
    }

    #[test]
    fn a_uuid_is_one_however_it_is_written() {
        let uuid = Uuid([0xa1; 16]);
        let in_0_10 = identity(&message_with_id(Some(uuid)));
        assert!(in_0_10.is_some());
        assert_eq!(of_text("a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1"), in_0_10);
        assert_eq!(of_text("A1A1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1"), in_0_10);
        assert_eq!(of_octets(&uuid.0), in_0_10);
        assert_ne!(of_text("a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a2"), in_0_10);
        assert_ne!(
            of_text("a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1"),
            in_0_10,
            "without dashes it is text"
        );
    }

    #[test]
    fn ids_of_different_types_are_different() {
        let number = fletch_amqp::v1_0::types::Value::Ulong(7);
        let mut encoded = Vec::new();
        number.encode(&mut encoded).expect("encodes");
        let number =
            ValueRef::decode(&mut fletch_amqp::wire::Reader::new(&encoded)).expect("a number");
        let all =
            [of_1_0(Some(number)), of_text("7"), of_octets(b"7"), of_text(""), of_octets(b"")];
        for (n, id) in all.iter().enumerate() {
            assert!(id.is_some());
            assert!(!all[..n].contains(id), "{n}");
        }
    }

    #[test]
    fn without_an_id_there_is_none() {
        assert_eq!((identity(&message_with_id(None)), of_1_0(None)), (None, None));
        assert!(of_text(&"x".repeat(ID_MAX)).is_some());
        assert_eq!(of_text(&"x".repeat(ID_MAX + 1)), None, "nor if it is too long");
    }
}
