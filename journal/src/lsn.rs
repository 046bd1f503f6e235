//! Positions in the log.

/// Batches start and end at multiples of this many bytes: what O_DIRECT asks of every disk.
pub const ALIGN: usize = 4096;

/// A position in a shard's endless log: the number of bytes before it. Grows, never wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lsn(pub u64);

impl Lsn {
    /// The position `bytes` later.
    ///
    /// # Panics
    /// On overflow, which at 10 GB/s takes 58 years of one log's life.
    pub fn after(self, bytes: usize) -> Lsn {
        Lsn(self.0.checked_add(bytes as u64).expect("a log does not outgrow 2^64 bytes"))
    }

    /// Whether a batch may start here.
    pub fn is_aligned(self) -> bool {
        self.0.is_multiple_of(ALIGN as u64)
    }
}
