//! The append-only journal of a shard: its format and rules, without disk, clock or thread.
//!
//! `FORMAT.md` beside this crate says what stands on disk. A `Log` (to come) is the writer: it takes
//! operations, makes batches of them and asks its driver for IO by [`Request`]s.
#![forbid(unsafe_code)]

mod batch;
mod io;
mod lsn;
pub mod record;
mod superblock;

pub use batch::{BATCH_MAX, BODY_MAX, Batch, BatchError, HEADER, Header, encode, seal};
pub use io::{Done, Request, Write};
pub use lsn::{ALIGN, Lsn};
pub use record::{Op, Ref, Xid};
pub use superblock::SLOT;
