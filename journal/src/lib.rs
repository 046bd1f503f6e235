//! The append-only journal of a shard: its format and rules, without disk, clock or thread.
//!
//! `FORMAT.md` beside this crate says what stands on disk. A [`Log`] is the writer: it takes operations,
//! makes batches of them and asks its driver for IO.
#![forbid(unsafe_code)]

mod batch;
mod cleaner;
mod io;
mod log;
mod lsn;
pub mod record;
pub mod recovery;
mod segments;
mod seq;
mod superblock;

pub use batch::{BATCH_MAX, BODY_MAX, Batch, BatchError, HEADER, Header, encode, seal};
pub use cleaner::{Cleaned, Damaged};
pub use io::{Done, Request, Volume, Write};
pub use log::{Log, LogConfig, LogStats, Payload, Position, REFS_MAX, Refs, Remembered};
pub use lsn::{ALIGN, Lsn};
pub use record::{Op, RecordError, Ref, Xid};
pub use segments::Segment;
pub use seq::Seq;
pub use superblock::{Found, SLOT, State, Superblock};

/// The version of the format on disk; one more for every change of it. See `FORMAT.md`.
pub const FORMAT: u16 = 1;
