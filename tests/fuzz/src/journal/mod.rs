//! The journal: octets of a disk that may have torn or damaged them. Depends on nothing but
//! `fletch-journal` and its checksums.

mod batch;
mod record;
mod walk;

pub use batch::journal_batch;
pub use record::journal_record;
pub use walk::journal_walk;

/// A check of one input.
pub type Check = fn(&[u8]);

/// All of them by name.
pub const TARGETS: &[(&str, Check)] = &[
    ("journal_batch", journal_batch),
    ("journal_record", journal_record),
    ("journal_walk", journal_walk),
];
