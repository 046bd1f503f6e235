//! What a record says of queues besides their messages: it counts as long as somebody needs it.

use crate::record::Op;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Remembered {
    bytes: Vec<u8>,
    /// How many things in it are needed, and their bytes.
    count: u64,
    needed: u64,
}

impl Remembered {
    /// Something about a queue: `count` things, of so many bytes together, that are to be remembered.
    pub fn add(&mut self, queue: u64, payload: &[u8], (count, bytes): (u64, u64)) {
        Op::Remember { queue, payload }.put(&mut self.bytes);
        self.count += count;
        self.needed += bytes;
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The same behind other operations in one record.
    pub(super) fn behind(mut self, mut operations: Vec<u8>) -> Remembered {
        operations.append(&mut self.bytes);
        Remembered { bytes: operations, ..self }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
    }

    /// How many things are needed, and their bytes.
    pub(super) fn needed(&self) -> (u64, u64) {
        (self.count, self.needed)
    }

    /// One of them is needed no more.
    pub(super) fn forget(&mut self, bytes: u64) {
        self.count -= 1;
        self.needed -= bytes;
    }
}
