//! Counters of one shard, written on its thread and read by anybody.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// What a shard counts. All but `connections` have one writer, so a count is a load and a store.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct ShardStats {
    pub(crate) turns: AtomicU64,
    pub(crate) activity: AtomicU64,
    pub(crate) frames_sent: AtomicU64,
    pub(crate) frames_received: AtomicU64,
    pub(crate) outbox_frames: AtomicU64,
    pub(crate) congestions: AtomicU64,
    pub(crate) signals: AtomicU64,
    pub(crate) bytes_received: AtomicU64,
    pub(crate) bytes_sent: AtomicU64,
    pub(crate) connected: AtomicU64,
    pub(crate) disconnected: AtomicU64,
    pub(crate) longest_turn: AtomicU64,
    pub(crate) long_turns: AtomicU64,
    pub(crate) journal_writes: AtomicU64,
    pub(crate) journal_bytes: AtomicU64,
    pub(crate) longest_journal_write: AtomicU64,
    /// Placed here: counted up by the accept thread, down by the shard.
    pub(crate) connections: AtomicUsize,
    /// Written by the watchdog's task on the shard.
    pub(crate) rescues: AtomicU64,
}

pub(crate) fn raise(counter: &AtomicU64, to: u64) {
    if to > counter.load(Relaxed) {
        counter.store(to, Relaxed);
    }
}

pub(crate) fn add(counter: &AtomicU64, n: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(n), Relaxed);
}

macro_rules! readers {
    ($($(#[$doc:meta])* $name:ident)*) => {
        impl ShardStats {
            $($(#[$doc])* pub fn $name(&self) -> u64 {
                self.$name.load(Relaxed)
            })*
        }
    };
}

readers! {
    /// Turns of the pump.
    turns
    /// Frames sent to other shards.
    frames_sent
    /// Frames received from other shards.
    frames_received
    /// Frames that wait because a ring is full.
    outbox_frames
    /// How often the outboxes went over their mark and reading stopped.
    congestions
    /// Wake signals sent to sleeping shards; under load there are few.
    signals
    /// Bytes read from sockets.
    bytes_received
    /// Bytes written to sockets.
    bytes_sent
    /// Connections that came.
    connected
    /// Connections that went.
    disconnected
    /// Turns longer than the configured limit.
    long_turns
    /// Writes of the journal that are durable.
    journal_writes
    /// The bytes of these.
    journal_bytes
    /// Times the watchdog woke a shard that slept although it had work.
    rescues
}

impl ShardStats {
    /// Connections that are here now.
    pub fn connections(&self) -> usize {
        self.connections.load(Relaxed)
    }

    /// The longest turn so far, in nanoseconds; starts again from zero.
    pub fn take_longest_turn(&self) -> u64 {
        self.longest_turn.swap(0, Relaxed)
    }

    /// The longest write of the journal so far, in nanoseconds; starts again from zero.
    pub fn take_longest_journal_write(&self) -> u64 {
        self.longest_journal_write.swap(0, Relaxed)
    }
}
