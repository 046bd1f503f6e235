//! Last value queues: of the messages with one key the newest is there.
//!
//! The key is the value of a header; messages without it have one key in common. A message that somebody
//! has acquired is not taken from him by a newer one; if it is released it gives way to that.

use super::header::with_text;
use super::named::Named;
use super::provisional::Provisional;
use super::tags::Tags;
use crate::ids::Position;
use crate::message::Message;

/// Where the newest message of each key is.
#[derive(Debug)]
pub(super) struct LastValues {
    header: Box<str>,
    /// None: it has left.
    newest: Named<Option<Position>>,
    /// The key of each of those, so that no message is looked into when it leaves.
    keys: Tags,
    pub(super) provisional: Provisional,
}

impl LastValues {
    pub(super) fn new(header: &str) -> LastValues {
        LastValues {
            header: header.into(),
            newest: Named::new(),
            keys: Tags::default(),
            provisional: Provisional::default(),
        }
    }

    /// The newest message with the key of this one.
    fn newest(&self, message: &Message) -> Option<Position> {
        let key = with_text(message, &self.header, |key| self.newest.find(key));
        key.and_then(|key| self.newest[key])
    }

    /// A message is the newest of its key now. The one that was before.
    pub(super) fn push(&mut self, position: Position, message: &Message) -> Option<Position> {
        let newest = &mut self.newest;
        let key = with_text(message, &self.header, |key| newest.number(key));
        let older = self.newest[key].replace(position);
        if let Some(older) = older {
            self.keys.remove(older);
        }
        self.keys.insert(position, key);
        older
    }

    /// An acquired message is available again: which one is to give way, it or an older one.
    pub(super) fn released(&mut self, position: Position, message: &Message) -> Option<Position> {
        match self.newest(message) {
            Some(newest) if newest > position => Some(position),
            Some(newest) if newest == position => None,
            _ => self.push(position, message),
        }
    }

    /// The newest message with the key of an older one, if it is not safe yet.
    pub(super) fn provisional_before(
        &self,
        older: Position,
        message: &Message,
    ) -> Option<Position> {
        let newest = self.newest(message)?;
        (newest > older && self.provisional.is_open(newest)).then_some(newest)
    }

    /// A message has left the queue.
    pub(super) fn forget(&mut self, position: Position) {
        let Some(key) = self.keys.remove(position) else { return };
        self.newest[key] = None;
        self.newest.unused(key);
        if self.keys.is_empty() {
            self.newest.all_unused();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::testing::{message, message_with};

    #[test]
    fn the_newest_of_a_key_is_known() {
        let mut values = LastValues::new("key");
        let (a, b) = (message_with("key", "a"), message_with("key", "b"));
        assert_eq!(values.push(1, &a), None);
        assert_eq!(values.push(2, &b), None);
        assert_eq!(values.push(3, &a), Some(1));
        assert_eq!((values.released(1, &a), values.released(3, &a)), (Some(1), None));
        values.forget(1);
        values.forget(3);
        // Only older ones are left: the newest of them stays.
        assert_eq!((values.released(1, &a), values.released(2, &a)), (None, Some(1)));
        assert_eq!(values.push(4, &a), Some(2));
    }

    #[test]
    fn messages_without_a_key_have_one_in_common() {
        let mut values = LastValues::new("key");
        assert_eq!(values.push(1, &message(3)), None);
        assert_eq!(values.push(2, &message_with("other", "a")), Some(1));
        assert_eq!(values.push(3, &message_with("key", 7)), None);
        assert_eq!(values.push(4, &message_with("key", "7")), Some(3), "a number as text");
    }
}
