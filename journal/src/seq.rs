//! Numbers of records within one run of a journal.

/// A record's number: one more for each operation staged. Says where a record stands as long as
/// it is live (its segment is found by it), and what has to be durable before somebody is told.
/// Not on disk: recovery numbers the records it finds anew, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Seq(pub u64);

impl Seq {
    /// Nowhere: before every record.
    pub const NONE: Seq = Seq(0);

    /// The next one.
    pub(crate) fn next(self) -> Seq {
        Seq(self.0 + 1)
    }
}
