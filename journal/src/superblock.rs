//! The superblock of a shard's journal: what recovery has to know before it reads the log.

/// Bytes of each of the two slots.
pub const SLOT: usize = 4096;
