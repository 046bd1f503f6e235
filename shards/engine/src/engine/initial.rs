//! What an exchange with `qpid.ive` has for queues that are bound later: the newest message of each
//! routing key.

use crate::message::Message;
use crate::topology::{ExchangeKind, FixedSet};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};

/// Keys that an exchange remembers. Each comes from a client, who may never use it again; and a binding that
/// matches no message is compared with all of them in one go.
const KEYS: usize = 10_000;

/// Bytes of all messages that an exchange remembers, if the newest alone has not more: 10,000 large ones
/// would be more than there is memory.
const BYTES: usize = 100 << 20;

/// How many keys an exchange tells apart.
pub(super) fn keys_of(kind: ExchangeKind) -> usize {
    match kind {
        // Keys mean nothing to it.
        ExchangeKind::Fanout => 1,
        ExchangeKind::Direct | ExchangeKind::Topic | ExchangeKind::Headers | ExchangeKind::Xml => {
            KEYS
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct InitialValues {
    by_key: FixedSet<Newest>,
    /// The same ones by their numbers, so from the oldest to the newest.
    in_order: BTreeMap<u64, Message>,
    /// The number of the last message.
    passed: u64,
    bytes: usize,
}

/// The newest message of a key, known by that: so a key costs no memory of its own.
#[derive(Debug)]
struct Newest {
    message: Message,
    number: u64,
}

impl Borrow<[u8]> for Newest {
    fn borrow(&self) -> &[u8] {
        self.message.routing_key()
    }
}

impl Hash for Newest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.message.routing_key().hash(state);
    }
}

impl PartialEq for Newest {
    fn eq(&self, other: &Newest) -> bool {
        self.message.routing_key() == other.message.routing_key()
    }
}

impl Eq for Newest {}

impl InitialValues {
    /// A message passes, and is the newest of its key. If there are more than `keys` then, or too many bytes,
    /// the keys whose messages are oldest are forgotten.
    pub(super) fn keep(&mut self, message: Message, keys: usize) {
        self.passed += 1;
        self.bytes += message.size();
        self.in_order.insert(self.passed, message.clone());
        if let Some(old) = self.by_key.replace(Newest { message, number: self.passed }) {
            self.in_order.remove(&old.number);
            self.bytes -= old.message.size();
        }
        while self.in_order.len() > keys || (self.bytes > BYTES && self.in_order.len() > 1) {
            let Some((_, oldest)) = self.in_order.pop_first() else { break };
            self.by_key.remove(oldest.routing_key());
            self.bytes -= oldest.size();
        }
    }

    /// The newest message of a key.
    pub(super) fn of_key(&self, key: &[u8]) -> Option<&Message> {
        self.by_key.get(key).map(|newest| &newest.message)
    }

    /// All of them, the newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Message> {
        self.in_order.values().rev()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Time;
    use crate::message::{Flags, Format, Meta};
    use proptest::prelude::*;

    fn message(key: &str, body: &[u8]) -> Message {
        let meta = Meta {
            format: Format::V0_10,
            header_len: u32::try_from(key.len()).expect("short"),
            routing_key: (0, u32::try_from(key.len()).expect("short")),
            expires: Time::NEVER,
            priority: 4,
            durable: false,
            flags: Flags::of_body(true),
            publisher: None,
        };
        Message::new(meta, &[key.as_bytes(), body].concat())
    }

    fn keys(values: &InitialValues) -> Vec<&[u8]> {
        values.newest_first().map(Message::routing_key).collect()
    }

    #[test]
    fn large_messages_push_out_older_keys() {
        let body = vec![0; BYTES / 5 * 2];
        let mut values = InitialValues::default();
        for key in ["a", "b", "a"] {
            values.keep(message(key, &body), KEYS);
        }
        assert_eq!(keys(&values), [b"a", b"b"]);
        values.keep(message("c", &body), KEYS);
        assert_eq!(keys(&values), [b"c", b"a"]);
        // One that is too large alone is there all the same, as long as it is the newest.
        values.keep(message("d", &vec![0; BYTES + 1]), KEYS);
        assert_eq!(keys(&values), [b"d"]);
        values.keep(message("e", b""), KEYS);
        assert_eq!((keys(&values), values.bytes), (vec![&b"e"[..]], 1));
    }

    proptest! {
        #[test]
        fn the_newest_of_each_key(
            passing in prop::collection::vec((0..8u8, 0..100usize), 0..60),
            most in 1..6usize,
        ) {
            let mut values = InitialValues::default();
            // The newest first.
            let mut expect: Vec<(String, usize)> = Vec::new();
            for (key, size) in passing {
                let key = key.to_string();
                values.keep(message(&key, &vec![0; size]), most);
                expect.retain(|(known, _)| *known != key);
                expect.insert(0, (key, size));
                expect.truncate(most);
                let all: Vec<_> = values
                    .newest_first()
                    .map(|m| (String::from_utf8_lossy(m.routing_key()).into(), m.body().len()))
                    .collect();
                prop_assert_eq!(&all, &expect);
                for key in 0..8u8 {
                    let key = key.to_string();
                    let size = expect.iter().find(|(known, _)| *known == key).map(|(_, size)| *size);
                    prop_assert_eq!(values.of_key(key.as_bytes()).map(|m| m.body().len()), size);
                }
                let bytes: usize = expect.iter().map(|(key, size)| key.len() + size).sum();
                prop_assert_eq!((values.by_key.len(), values.bytes), (expect.len(), bytes));
            }
        }
    }
}
