//! The superblock of a shard's journal: what recovery has to know before it reads the log.

use crate::lsn::Lsn;

/// Bytes of each of the two slots.
pub const SLOT: usize = 4096;

/// How the journal was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In use, or a crash ended it.
    Running,
    /// Stopped in order.
    Clean {
        /// Where the log ends.
        end: Lsn,
        /// The checksum of the last batch's header.
        crc: u32,
    },
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Whose journal it is.
    pub shard: u16,
    /// How many shards the generation has.
    pub shards: u16,
    /// One more with each one written.
    pub sequence: u64,
    /// In every batch.
    pub salt: u64,
    /// One more with each start.
    pub incarnation: u64,
    /// Where the log begins.
    pub oldest_lsn: Lsn,
    /// The HA term.
    pub epoch: u32,
    /// How it was left.
    pub state: State,
}

impl Superblock {
    /// The slot's bytes.
    pub fn encode(&self) -> [u8; SLOT] {
        [0; SLOT]
    }
}
