//! One immutable message: a single reference-counted allocation that holds what the engine needs
//! to know about it, then its header segment and body as they are encoded on the wire.
//!
//! Cloning bumps a counter; a message may be held by several queues, shards and deliveries at
//! once. Nothing is decoded here.

use crate::ids::{SessionId, Time};
use triomphe::ThinArc;

/// The encoding a message arrived in, and is kept in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// AMQP 0-10: the header is a sequence of `struct32`, the body is opaque.
    V0_10,
}

/// What the engine reads of a message on its way, extracted once by the front end.
#[derive(Clone, Debug)]
pub struct Meta {
    /// Encoding of header and body.
    pub format: Format,
    /// Length in bytes of the header segment at the start of the content.
    pub header_len: u32,
    /// Where in the content the routing key stands: offset and length, both in bytes.
    pub routing_key: (u32, u8),
    /// Drop at this time; [`Time::NEVER`] without a ttl.
    pub expires: Time,
    /// 0 to 9; 4 is the default of the specification.
    pub priority: u8,
    /// Delivery mode persistent.
    pub durable: bool,
    /// There is a body, though it may be empty: 0-10 tells that from none.
    pub has_body: bool,
    /// Who published it; `None` for messages the broker made.
    pub publisher: Option<SessionId>,
}

/// See the module.
#[derive(Clone)]
pub struct Message(ThinArc<Meta, u8>);

impl Message {
    /// Makes a message of `content`: the header segment, then the body.
    ///
    /// # Panics
    /// If `meta` points outside of `content`: a bug of the front end, not of a peer.
    pub fn new(meta: Meta, content: &[u8]) -> Message {
        let (at, len) = meta.routing_key;
        let header_len = meta.header_len as usize;
        assert!(header_len <= content.len(), "header longer than the content");
        assert!(at as usize + usize::from(len) <= header_len, "routing key outside of the header");
        Message(ThinArc::from_header_and_slice(meta, content))
    }

    /// The same message with another header in which what stood at `from` or behind it has moved `by` so many
    /// bytes.
    pub(crate) fn with_header(&self, header: Vec<u8>, from: usize, by: isize) -> Message {
        let mut meta = self.meta().clone();
        meta.header_len = header.len() as u32;
        if meta.routing_key.0 as usize >= from {
            meta.routing_key.0 = (meta.routing_key.0 as isize + by) as u32;
        }
        let mut content = header;
        content.extend_from_slice(self.body());
        Message::new(meta, &content)
    }

    /// What the front end extracted.
    pub fn meta(&self) -> &Meta {
        &self.0.header.header
    }

    /// The header segment, encoded.
    pub fn header(&self) -> &[u8] {
        &self.0.slice[..self.meta().header_len as usize]
    }

    /// The body; empty also if there is none.
    pub fn body(&self) -> &[u8] {
        &self.0.slice[self.meta().header_len as usize..]
    }

    /// Header segment and body, one after the other.
    pub(crate) fn content(&self) -> &[u8] {
        &self.0.slice
    }

    /// Bytes of header segment and body: what byte credit and queue sizes count.
    pub fn size(&self) -> usize {
        self.0.slice.len()
    }

    /// The routing key's bytes (UTF-8 unless the peer broke the rule).
    pub fn routing_key(&self) -> &[u8] {
        let (at, len) = self.meta().routing_key;
        &self.0.slice[at as usize..at as usize + usize::from(len)]
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("routing_key", &String::from_utf8_lossy(self.routing_key()))
            .field("size", &self.size())
            .finish_non_exhaustive()
    }
}
