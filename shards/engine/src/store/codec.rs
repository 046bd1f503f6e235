//! What the journal carries for the engine: messages and definitions, as bytes. And the paging file, which no
//! other run of the broker reads.
//!
//! ```text
//! paged       publisher u64 | 1 persistent, 2 has a publisher u8 | message
//! message     format u8 (1: AMQP 0-10, 2: 1.0) | flags u8 (1: has a body, 2: waits until it is due) | priority u8 |
//!             key length, its low bits u8 | header length u32 | key at u32 | key length, the other bits u32 |
//!             expires u64 | header, body
//! definition  kind u8 | flags u8 | then by kind:
//!   1 queue     home u16 | name, alternate | arguments       flags: 1 auto-delete, 2 has an alternate
//!   2 exchange  name, type, alternate | arguments            flags: 1 auto-delete, 2 has an alternate
//!   3 binding   queue u64 | exchange, key | arguments
//!   4 branch    number u64 | format u32 | global id, branch id   flags: 1 committed, 2 rolled back, by
//!               somebody else than its transaction manager
//!   5 object    name | properties                            flags: 1 topic, 2 queue policy, 3 topic policy
//! ```
//!
//! Little endian; texts are a `u16` length and UTF-8, the ids of a branch a `u16` length and bytes; arguments are a `u32` length and an encoded AMQP
//! 0-10 map, empty if there are none.

use crate::dtx::BranchId;
use crate::ids::{QueueId, SessionId, ShardId, Time};
use crate::message::{Flags, Format, Message, Meta};
use crate::topology::{
    Binding, Change, ExchangeDescriptor, ExchangeKind, Object, ObjectKind, QueueDescriptor,
};
use fletch_amqp::types::Map;
use fletch_amqp::wire::Reader;
use fletch_journal::{Payload, Volume};
use std::sync::Arc;

/// Bytes before a message's content.
pub(crate) const META: usize = 24;

const V0_10: u8 = 1;
const V1_0: u8 = 2;

/// Bytes before a message in the paging file.
const PAGED_META: usize = 9;
const PERSISTENT: u8 = 1;
const PUBLISHER: u8 = 2;

/// Bytes that a message of this size takes as a payload of one of the logs.
pub(crate) fn payload_len(volume: Volume, size: usize) -> usize {
    META + size
        + match volume {
            Volume::Journal => 0,
            Volume::Paging => PAGED_META,
        }
}

/// A message in one of the logs.
#[derive(Clone, Debug)]
pub enum Stored {
    /// In the journal: what a restart has to know of it.
    Durable(Message),
    /// In the paging file: what it is.
    Paged(Message),
}

impl Payload for Stored {
    fn len(&self) -> usize {
        match self {
            Stored::Durable(message) => payload_len(Volume::Journal, message.size()),
            Stored::Paged(message) => payload_len(Volume::Paging, message.size()),
        }
    }

    fn put(&self, out: &mut [u8]) {
        match self {
            Stored::Durable(message) => put(message, out),
            Stored::Paged(message) => {
                let (head, rest) = out.split_at_mut(PAGED_META);
                let Meta { publisher, durable, .. } = message.meta();
                head[..8].copy_from_slice(&publisher.map_or(0, SessionId::bits).to_le_bytes());
                head[8] =
                    (u8::from(*durable) * PERSISTENT) | (u8::from(publisher.is_some()) * PUBLISHER);
                put(message, rest);
            }
        }
    }
}

fn put(message: &Message, out: &mut [u8]) {
    let meta = message.meta();
    let (at, key_len) = meta.routing_key;
    let format = match meta.format {
        Format::V0_10 => V0_10,
        Format::V1_0 => V1_0,
    };
    let (head, content) = out.split_at_mut(META);
    head[..4].copy_from_slice(&[format, meta.flags.bits(), meta.priority, key_len as u8]);
    head[4..8].copy_from_slice(&meta.header_len.to_le_bytes());
    head[8..12].copy_from_slice(&at.to_le_bytes());
    head[12..16].copy_from_slice(&(key_len >> 8).to_le_bytes());
    head[16..24].copy_from_slice(&meta.expires.0.to_le_bytes());
    content.copy_from_slice(message.content());
}

/// Why a payload is none of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// It ends too early, or its lengths contradict each other.
    #[error("cut short")]
    Short,
    /// An encoding or kind of thing that this version does not know.
    #[error("of a kind this version does not know ({0})")]
    Kind(u8),
    /// A text is not UTF-8, or arguments are no map.
    #[error("not decodable")]
    Content,
}

impl Stored {
    /// The message of a payload of one of the logs.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn read(volume: Volume, payload: &[u8]) -> Result<Message, CodecError> {
        match volume {
            Volume::Journal => take(payload, None, true),
            Volume::Paging => {
                let head = payload.split_first_chunk::<PAGED_META>().ok_or(CodecError::Short)?;
                let ([id @ .., flags], message) = head;
                let id = SessionId::from_bits(u64::from_le_bytes(*id));
                let publisher = (flags & PUBLISHER != 0).then_some(id);
                take(message, publisher, flags & PERSISTENT != 0)
            }
        }
    }
}

fn format(stored: u8) -> Result<Format, CodecError> {
    match stored {
        V0_10 => Ok(Format::V0_10),
        V1_0 => Ok(Format::V1_0),
        other => Err(CodecError::Kind(other)),
    }
}

fn take(
    payload: &[u8],
    publisher: Option<SessionId>,
    durable: bool,
) -> Result<Message, CodecError> {
    let (head, content) = payload.split_first_chunk::<META>().ok_or(CodecError::Short)?;
    let u32_at =
        |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    let format = format(head[0])?;
    let (header_len, key_at) = (u32_at(4), u32_at(8));
    let key_len = u32::from(head[3]) | u32_at(12) << 8;
    let key_end = u64::from(key_at) + u64::from(key_len);
    if header_len as usize > content.len() || key_end > u64::from(header_len) {
        return Err(CodecError::Short);
    }
    let meta = Meta {
        format,
        header_len,
        routing_key: (key_at, key_len),
        expires: Time(u64::from(u32_at(16)) | u64::from(u32_at(20)) << 32),
        priority: head[2],
        durable,
        flags: Flags::from_bits(head[1]),
        publisher,
    };
    Ok(Message::new(meta, content))
}

/// Whether a payload's message waits until it is due.
pub(crate) fn is_scheduled(payload: &[u8]) -> bool {
    payload.get(1).is_some_and(|bits| Flags::from_bits(*bits).is_scheduled())
}

/// Size and expiry of a payload's message.
pub(crate) fn outline(payload: &[u8]) -> Result<(usize, Time), CodecError> {
    let (head, content) = payload.split_first_chunk::<META>().ok_or(CodecError::Short)?;
    format(head[0])?;
    let mut expires = [0; 8];
    expires.copy_from_slice(&head[16..24]);
    Ok((content.len(), Time(u64::from_le_bytes(expires))))
}

const QUEUE: u8 = 1;
const EXCHANGE: u8 = 2;
const BINDING: u8 = 3;
const BRANCH: u8 = 4;
const OBJECT: u8 = 5;
const AUTO_DELETE: u8 = 1;
const ALTERNATE: u8 = 2;
const TOPIC: u8 = 1;
const QUEUE_POLICY: u8 = 2;
const TOPIC_POLICY: u8 = 3;
const COMMITTED: u8 = 1;
const ROLLED_BACK: u8 = 2;

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    // Names and ids have at most 255 bytes.
    out.extend_from_slice(&(bytes.len() as u16).to_le_bytes());
    out.extend_from_slice(bytes);
}

/// A branch of a distributed transaction that is prepared, or was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BranchDefinition {
    pub(crate) branch: BranchId,
    /// Under which it was prepared, by the orderer's shard.
    pub(crate) number: u64,
    /// Somebody else than its transaction manager has ended it so.
    pub(crate) heuristic: Option<bool>,
}

impl BranchDefinition {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let flags = match self.heuristic {
            None => 0,
            Some(true) => COMMITTED,
            Some(false) => ROLLED_BACK,
        };
        let mut out = vec![BRANCH, flags];
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.branch.format().to_le_bytes());
        put_bytes(&mut out, self.branch.global());
        put_bytes(&mut out, self.branch.branch());
        out
    }

    /// If the definition is one of a branch.
    ///
    /// # Errors
    /// It is, and cannot be read.
    pub(crate) fn read(definition: &[u8]) -> Result<Option<BranchDefinition>, CodecError> {
        let mut take = Take(definition);
        let (kind, flags) = (take.number(1)? as u8, take.number(1)? as u8);
        if kind != BRANCH {
            return Ok(None);
        }
        let (number, format) = (take.number(8)?, take.number(4)? as u32);
        let branch = BranchId::new(format, take.sized()?, take.sized()?);
        let heuristic = (flags & (COMMITTED | ROLLED_BACK) != 0).then_some(flags & COMMITTED != 0);
        Ok(Some(BranchDefinition { branch, number, heuristic }))
    }
}

fn put_arguments(out: &mut Vec<u8>, arguments: &Map) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    if !arguments.is_empty() {
        // They came encoded, so they can be; what could not be is better lost than the definition.
        if arguments.encode(out).is_err() {
            out.truncate(at + 4);
        }
    }
    let len = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&len.to_le_bytes());
}

/// The id and the definition of what a change makes, if that is durable.
pub(crate) fn definition(change: &Change) -> Option<(u64, Vec<u8>)> {
    let mut out = Vec::new();
    let flags = |auto_delete: bool, alternate: &Option<Arc<str>>| {
        (u8::from(auto_delete) * AUTO_DELETE) | (u8::from(alternate.is_some()) * ALTERNATE)
    };
    match change {
        Change::QueueCreated(q) if q.durable => {
            out.extend_from_slice(&[QUEUE, flags(q.auto_delete, &q.alternate)]);
            out.extend_from_slice(&q.home.0.to_le_bytes());
            put_text(&mut out, &q.name);
            put_text(&mut out, q.alternate.as_deref().unwrap_or_default());
            put_arguments(&mut out, &q.arguments);
            Some((q.id.0, out))
        }
        Change::ExchangeCreated(x) if x.id != 0 => {
            out.extend_from_slice(&[EXCHANGE, flags(x.auto_delete, &x.alternate)]);
            put_text(&mut out, &x.name);
            put_text(&mut out, x.kind.name());
            put_text(&mut out, x.alternate.as_deref().unwrap_or_default());
            put_arguments(&mut out, &x.arguments);
            Some((x.id, out))
        }
        Change::Bound(b) | Change::Rebound { binding: b, .. } if b.id != 0 => {
            out.extend_from_slice(&[BINDING, 0]);
            out.extend_from_slice(&b.queue.0.to_le_bytes());
            put_text(&mut out, &b.exchange);
            put_text(&mut out, &b.key);
            put_arguments(&mut out, &b.arguments);
            Some((b.id, out))
        }
        Change::ObjectCreated(object) if object.id != 0 => {
            let kind = match object.kind {
                ObjectKind::Topic => TOPIC,
                ObjectKind::QueuePolicy => QUEUE_POLICY,
                ObjectKind::TopicPolicy => TOPIC_POLICY,
            };
            out.extend_from_slice(&[OBJECT, kind]);
            put_text(&mut out, &object.name);
            put_arguments(&mut out, &object.properties);
            Some((object.id, out))
        }
        _ => None,
    }
}

struct Take<'a>(&'a [u8]);

impl<'a> Take<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8], CodecError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(CodecError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn number(&mut self, len: usize) -> Result<u64, CodecError> {
        let bytes = self.bytes(len)?;
        Ok(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    }

    fn sized(&mut self) -> Result<&'a [u8], CodecError> {
        let len = self.number(2)? as usize;
        self.bytes(len)
    }

    fn text(&mut self) -> Result<Arc<str>, CodecError> {
        let text = std::str::from_utf8(self.sized()?).map_err(|_| CodecError::Content)?;
        Ok(text.into())
    }

    fn arguments(&mut self) -> Result<Map, CodecError> {
        let len = self.number(4)? as usize;
        let bytes = self.bytes(len)?;
        if bytes.is_empty() {
            return Ok(Map::new());
        }
        Map::decode(&mut Reader::new(bytes)).map_err(|_| CodecError::Content)
    }
}

/// The change that a definition stands for. A binding's home is the caller's to fill in.
pub(crate) fn change(id: u64, definition: &[u8]) -> Result<Change, CodecError> {
    let mut take = Take(definition);
    let (kind, flags) = (take.number(1)? as u8, take.number(1)? as u8);
    let auto_delete = flags & AUTO_DELETE != 0;
    let alternate = |name: Arc<str>| (flags & ALTERNATE != 0).then_some(name);
    Ok(match kind {
        QUEUE => {
            let home = ShardId(take.number(2)? as u16);
            let name = take.text()?;
            let alternate = alternate(take.text()?);
            let arguments = Arc::new(take.arguments()?);
            Change::QueueCreated(Arc::new(QueueDescriptor {
                id: QueueId(id),
                name,
                home,
                durable: true,
                auto_delete,
                owner: None,
                alternate,
                arguments,
            }))
        }
        EXCHANGE => {
            let (name, kind) = (take.text()?, take.text()?);
            let alternate = alternate(take.text()?);
            let arguments = Arc::new(take.arguments()?);
            let kind = ExchangeKind::from_name(&kind).ok_or(CodecError::Content)?;
            Change::ExchangeCreated(Arc::new(ExchangeDescriptor {
                id,
                name,
                kind,
                durable: true,
                auto_delete,
                alternate,
                arguments,
            }))
        }
        BINDING => {
            let queue = QueueId(take.number(8)?);
            let (exchange, key) = (take.text()?, take.text()?);
            let arguments = take.arguments()?;
            let home = ShardId(0);
            Change::Bound(Arc::new(Binding { id, exchange, queue, home, key, arguments }))
        }
        OBJECT => {
            let kind = match flags {
                TOPIC => ObjectKind::Topic,
                QUEUE_POLICY => ObjectKind::QueuePolicy,
                TOPIC_POLICY => ObjectKind::TopicPolicy,
                _ => return Err(CodecError::Content),
            };
            let (name, properties) = (take.text()?, Arc::new(take.arguments()?));
            let object = Object::new(id, kind, name, properties);
            Change::ObjectCreated(Arc::new(object.map_err(|_| CodecError::Content)?))
        }
        kind => return Err(CodecError::Kind(kind)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_comes_back_as_it_was() {
        let meta = Meta {
            format: Format::V0_10,
            header_len: 5,
            routing_key: (1, 3),
            expires: Time(1 << 60),
            priority: 7,
            durable: true,
            flags: Flags::of_body(true),
            publisher: None,
        };
        let before = Message::new(meta, b"_key_body");
        let mut bytes = vec![0; payload_len(Volume::Journal, before.size())];
        Stored::Durable(before.clone()).put(&mut bytes);
        let after = Stored::read(Volume::Journal, &bytes).expect("whole");
        assert_eq!((after.header(), after.body()), (before.header(), before.body()));
        assert_eq!(after.routing_key(), b"key");
        assert_eq!((after.meta().expires, after.meta().priority), (Time(1 << 60), 7));
        for len in 0..META + 5 {
            assert!(
                Stored::read(Volume::Journal, &bytes[..len]).is_err(),
                "{len} bytes are too few"
            );
        }
    }

    #[test]
    fn the_format_and_a_long_key_come_back() {
        let content = vec![b'k'; 70_000];
        for (format, key) in [(Format::V1_0, (3, 69_000)), (Format::V0_10, (0, 255))] {
            let meta = Meta {
                format,
                header_len: 69_500,
                routing_key: key,
                expires: Time::NEVER,
                priority: 200,
                durable: true,
                flags: Flags::of_body(true).scheduled(),
                publisher: None,
            };
            let before = Message::new(meta, &content);
            let mut bytes = vec![0; payload_len(Volume::Journal, before.size())];
            Stored::Durable(before.clone()).put(&mut bytes);
            let after = Stored::read(Volume::Journal, &bytes).expect("whole");
            assert_eq!(format!("{:?}", after.meta()), format!("{:?}", before.meta()));
            assert_eq!(outline(&bytes), Ok((content.len(), Time::NEVER)));
            assert!(is_scheduled(&bytes));
            bytes[0] = 3;
            let newer = CodecError::Kind(3);
            assert_eq!(Stored::read(Volume::Journal, &bytes).map(drop), Err(newer));
            assert_eq!(outline(&bytes), Err(newer));
        }
    }

    #[test]
    fn a_message_that_an_older_version_stored_is_read() {
        let mut bytes = vec![1, 1, 7, 3, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&[9, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(b"_key_body");
        let message = Stored::read(Volume::Journal, &bytes).expect("whole");
        assert_eq!(message.meta().format, Format::V0_10);
        assert_eq!((message.routing_key(), message.body()), (&b"key"[..], &b"body"[..]));
    }

    #[test]
    fn a_paged_message_is_all_that_it_was() {
        let session = SessionId::new(ShardId(3), 7).of_same_connection(2);
        for (durable, publisher) in [(false, Some(session)), (true, None)] {
            let meta = Meta {
                format: Format::V0_10,
                header_len: 5,
                routing_key: (1, 3),
                expires: Time(1 << 60),
                priority: 7,
                durable,
                flags: Flags::of_body(false),
                publisher,
            };
            let before = Message::new(meta, b"_key_");
            let mut bytes = vec![0; payload_len(Volume::Paging, before.size())];
            let stored = Stored::Paged(before.clone());
            assert_eq!(stored.len(), bytes.len());
            stored.put(&mut bytes);
            let after = Stored::read(Volume::Paging, &bytes).expect("whole");
            assert_eq!(format!("{:?}", after.meta()), format!("{:?}", before.meta()));
            assert_eq!(after.content(), before.content());
            for len in 0..bytes.len() - before.size() {
                assert!(Stored::read(Volume::Paging, &bytes[..len]).is_err(), "{len} are too few");
            }
        }
    }

    #[test]
    fn a_branch_comes_back_as_it_was() {
        for heuristic in [None, Some(true), Some(false)] {
            let branch = BranchId::new(7, b"global", &[0, 255]);
            let before = BranchDefinition { branch, number: 5 << 32 | 1, heuristic };
            let bytes = before.encode();
            assert_eq!(BranchDefinition::read(&bytes), Ok(Some(before)));
            for len in 0..bytes.len() {
                assert!(BranchDefinition::read(&bytes[..len]).is_err(), "{len} are too few");
            }
            assert_eq!(change(1, &bytes).map(|_| ()), Err(CodecError::Kind(BRANCH)));
        }
    }

    #[test]
    fn definitions_come_back_as_they_were() {
        let arguments = Map::new().with("qpid.max_count", 5).with("x", "y");
        let object = |kind, name: &str| {
            let object = Object::new(10, kind, name.into(), Arc::new(arguments.clone()));
            Change::ObjectCreated(Arc::new(object.expect("a pattern")))
        };
        let changes = [
            Change::QueueCreated(Arc::new(QueueDescriptor {
                id: QueueId(7),
                name: "orders".into(),
                home: ShardId(3),
                durable: true,
                auto_delete: true,
                owner: None,
                alternate: Some("dead".into()),
                arguments: Arc::new(arguments.clone()),
            })),
            Change::ExchangeCreated(Arc::new(ExchangeDescriptor {
                id: 8,
                name: "prices".into(),
                kind: ExchangeKind::Topic,
                durable: true,
                auto_delete: false,
                alternate: None,
                arguments: Arc::new(Map::new()),
            })),
            Change::Bound(Arc::new(Binding {
                id: 9,
                exchange: "prices".into(),
                queue: QueueId(7),
                home: ShardId(0),
                key: "eu.#".into(),
                arguments: arguments.clone(),
            })),
            object(ObjectKind::Topic, "news"),
            object(ObjectKind::QueuePolicy, "^q[.]"),
            object(ObjectKind::TopicPolicy, "^t[.]"),
        ];
        for before in changes {
            let (id, bytes) = definition(&before).expect("durable");
            let after = change(id, &bytes).expect("whole");
            assert_eq!(format!("{after:?}"), format!("{before:?}"));
            for len in 0..bytes.len() {
                assert!(change(id, &bytes[..len]).is_err(), "{len} bytes are too few");
            }
        }
    }
}
